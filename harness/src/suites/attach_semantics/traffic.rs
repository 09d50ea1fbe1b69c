//! Frames of the cases: how they are made, sent, received and compared.

use std::time::Duration;

use xdproof_netns::{IfIndex, Offloads, PacketOptions, PacketSocket, SkbLayout, Worker};
use xdproof_scenarios::{DUT_MAC, TESTER_MAC};

use crate::suites::attach_semantics::{
    deadlines::ARRIVAL, error::CaseError, fixture::AttachFixture, step::TestProgram,
};
use crate::{error::chain, model::observation::sum};

/// Frames of a case: enough to tell each from once, few enough for any queue.
pub(super) const FRAMES: usize = 10;

/// Returns an IPv4 frame of `length` bytes with tags before its type; the bytes behind its header tell their places.
pub(super) fn ipv4(protocol: u8, length: usize, tags: &[[u8; 4]]) -> Vec<u8> {
    let mut bytes = [DUT_MAC, TESTER_MAC].concat();
    bytes.extend(tags.concat());
    let inside = u16::try_from(length.saturating_sub(bytes.len() + 2)).unwrap_or(u16::MAX);
    bytes.extend([0x08, 0x00, 0x45, 0]);
    bytes.extend(inside.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    bytes.extend((bytes.len()..length).map(pattern));
    bytes
}

/// Returns the byte at a place: 251 is prime to every length of a piece.
pub(super) fn pattern(place: usize) -> u8 {
    u8::try_from(place % 251).unwrap_or_default()
}

/// Opens a socket that sees what the DUT's stack receives, nothing merged.
pub(super) fn capture(fixture: &AttachFixture<'_>) -> Result<PacketSocket, CaseError> {
    Ok(fixture.on_device(|host, index| {
        host.set_offload(index, Offloads::GRO, false)?;
        host.packet_socket(index, PacketOptions::default())
    })?)
}

/// Sends the frames of a case.
pub(super) fn send(worker: &Worker, index: IfIndex, frame: &[u8]) -> Result<(), CaseError> {
    let socket = worker.call(move |host| host.packet_socket(index, PacketOptions::default()))?;
    Ok((0..FRAMES).try_for_each(|_| socket.send(frame).map(drop))?)
}

/// Sends packets of a given layout from the peer.
pub(super) fn send_skbs(
    fixture: &AttachFixture<'_>,
    packet: &[u8],
    times: usize,
    layout: SkbLayout,
) -> Result<(), CaseError> {
    let (worker, index) = fixture.peer()?;
    let socket =
        worker.call(move |host| host.packet_socket(index, PacketOptions::default())?.into_vnet_socket())?;
    Ok((0..times).try_for_each(|_| socket.send(packet, layout))?)
}

/// Receives until it is enough, or nothing arrived for too long; then whatever else waits.
pub(super) fn receive(
    socket: &PacketSocket,
    enough: impl Fn(&[Vec<u8>]) -> bool,
) -> Result<Vec<Vec<u8>>, CaseError> {
    let mut arrived = Vec::new();
    let mut buffer = vec![0; 1 << 17];
    loop {
        while let Some(received) = socket.receive(&mut buffer)? {
            arrived.push(buffer.get(..received.len).unwrap_or_default().to_vec());
        }
        let deadline = if enough(&arrived) { Duration::ZERO } else { ARRIVAL };
        if !socket.wait_readable(deadline)? {
            return Ok(arrived);
        }
    }
}

pub(super) const RECEIVED: &str = "compare the frames at the stack";

/// Receives the frames of a case, and records what a program counted and what the stack received.
pub(super) fn arrive(
    fixture: &mut AttachFixture<'_>,
    capture: &PacketSocket,
    (action, program, expected): (&str, TestProgram, String),
    frame: &[u8],
) -> Result<(), CaseError> {
    let arrived = receive(capture, |arrived| arrived.len() >= FRAMES)?;
    fixture.record(action, expected, counted(fixture, program));
    fixture.record(RECEIVED, same(frame), differing(&arrived, frame));
    Ok(())
}

/// Describes the counts of one protocol as [`counted`] does.
pub(super) fn counts(protocol: u8, frames: usize) -> String {
    if frames == 0 { "{}".to_owned() } else { format!("{{{protocol}: {frames}}}") }
}

/// Describes what a counter has counted since it was loaded.
pub(super) fn counted(fixture: &AttachFixture<'_>, program: TestProgram) -> String {
    match fixture.counter(program).and_then(|counter| Ok(counter.counts()?)) {
        Ok(per_cpu) => format!("{:?}", sum(&per_cpu)),
        Err(error) => chain(&error),
    }
}

/// Describes the frames of a case if each arrives as `frame`.
pub(super) fn same(frame: &[u8]) -> String {
    format!("{FRAMES} frames of {} bytes, all as expected", frame.len())
}

/// Describes the frames that arrived, in the words of [`same`] where they are what they must be.
pub(super) fn differing(arrived: &[Vec<u8>], frame: &[u8]) -> String {
    let frames = arrived.len();
    match arrived.iter().find(|other| other.as_slice() != frame) {
        None => format!("{frames} frames of {} bytes, all as expected", frame.len()),
        Some(other) => {
            let place = other.iter().zip(frame).position(|(one, two)| one != two);
            let place = place.map_or("in its length alone".to_owned(), |place| format!("at byte {place}"));
            format!("{frames} frames, one of {} bytes that differs {place}", other.len())
        }
    }
}
