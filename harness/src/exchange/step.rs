//! One step of a fixture: frames that are sent one behind the other, and every place at which they can come out.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    Capture, ExchangeError, SendOptions,
    barrier::{ARRIVAL_TIMEOUT, barrier, closing_frame},
    is_link_control,
    send::wait_for_runs,
};
use crate::{
    host::interrupt,
    inject::{cpu::Pinned, pnet::PnetSender, sender::Sender},
    model::{
        frame_sequence::FrameSequence,
        observation::Observation,
        sink::{PortId, Sink},
    },
    program::Program,
};

/// Time that frames may take to arrive before the path is flushed. On a veth they have arrived when the program has run.
const PROMPT: Duration = Duration::from_millis(20);

/// The far end of a link, and a socket at its near end, from which a frame follows those that a program has sent there.
#[derive(Debug)]
pub struct Outlet {
    /// The frames that arrive at the far end.
    pub capture: Capture,
    /// Sends from the near end.
    pub marker: PnetSender,
}

/// All ports of a fixture.
#[derive(Debug)]
pub struct StepPorts<'a> {
    /// Sends at the tester.
    pub sender: &'a mut Sender,
    /// The frames that the DUT's stack receives.
    pub stack: &'a mut Capture,
    /// The DUT's port towards the tester.
    pub tester: &'a mut Outlet,
    /// The redirect targets, by number.
    pub devices: &'a mut [Outlet],
}

/// Sends frames and observes at which sinks they come out. `expected` is the number of frames by sink: if all of them arrive and the
/// program has run as often as frames were sent, no frame is left that could arrive anywhere else. Otherwise the path is flushed: an
/// RCU grace period outlasts the runs of the program, and a frame that is sent behind theirs from each of the DUT's ports
/// arrives behind them, because a link with one queue keeps the order.
///
/// # Errors
///
/// A frame that cannot be sent, a capture that lost frames, a flush that does not arrive.
pub fn run_step<'f>(
    program: &Program,
    ports: &mut StepPorts<'_>,
    frames: impl Iterator<Item = &'f [u8]>,
    expected: &BTreeMap<Sink, u64>,
    nonce: u64,
    options: SendOptions<'_>,
) -> Result<Observation, ExchangeError> {
    let _in_order = Pinned::here().map_err(|source| ExchangeError::Pin { source })?;
    let start = program.runs()?;
    let frames: Vec<&[u8]> = frames.collect();
    let mut sent = 0;
    for window in frames.chunks(options.window.max(1)) {
        ports.sender.send(window)?;
        sent += window.len() as u64;
        if !wait_for_runs(program, ports.stack, start.wrapping_add(sent), options)? {
            break;
        }
    }
    let prompt = ports.arrive(expected, if options.rests { ARRIVAL_TIMEOUT } else { PROMPT })?;
    let ran = program.runs()?.wrapping_sub(start);
    let arriving: u64 =
        expected.iter().filter(|(sink, _)| **sink != Sink::Nowhere).map(|(_, times)| times).sum();
    let mut closed = None;
    if !(prompt && arriving == sent && ran == sent) {
        closed = Some(ports.flush(&closing_frame(nonce))?);
    }
    let marker = closing_frame(nonce);
    let is_ours = |frame: &[u8]| frames.iter().any(|sent| frame.starts_with(sent));
    let observed = ports.take(|frame| frame != marker && (!is_link_control(frame) || is_ours(frame)))?;
    if interrupt::is_requested() {
        return Err(ExchangeError::Interrupted);
    }
    let ran = program.runs()?.wrapping_sub(start);
    Ok(Observation { sent, ran, frames: observed, closed, order: options.order, ..Observation::default() })
}

impl StepPorts<'_> {
    /// Waits until the expected number of frames has arrived at each sink; false if they do not within a time.
    fn arrive(&mut self, expected: &BTreeMap<Sink, u64>, within: Duration) -> Result<bool, ExchangeError> {
        let deadline = Instant::now() + within;
        for (&sink, &times) in expected {
            let Some(capture) = self.capture(sink) else { continue };
            let left = deadline.saturating_duration_since(Instant::now());
            capture.drain_until(left, |seen| seen.len() >= times)?;
            if capture.seen() < times {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn capture(&mut self, sink: Sink) -> Option<&mut Capture> {
        match sink {
            Sink::Stack => Some(self.stack),
            Sink::Tester => Some(&mut self.tester.capture),
            Sink::Device(PortId(number)) => {
                self.devices.get_mut(usize::from(number)).map(|device| &mut device.capture)
            }
            Sink::Nowhere => None,
        }
    }

    /// Waits until no frame is in flight any more; false if that cannot be known.
    fn flush(&mut self, marker: &[u8]) -> Result<bool, ExchangeError> {
        barrier(self.stack)?;
        let mut whole = true;
        for outlet in std::iter::once(&mut *self.tester).chain(self.devices.iter_mut()) {
            outlet.marker.send(marker).map_err(|source| ExchangeError::Flush { source })?;
            outlet.capture.drain_until(ARRIVAL_TIMEOUT, |seen| seen.contains(marker))?;
            whole &= outlet.capture.has_seen(marker);
        }
        Ok(whole)
    }

    /// Takes the frames that are to be kept, by sink.
    fn take(&mut self, keep: impl Fn(&[u8]) -> bool) -> Result<BTreeMap<Sink, FrameSequence>, ExchangeError> {
        let mut taken = BTreeMap::new();
        taken.insert(Sink::Stack, self.stack.take()?);
        taken.insert(Sink::Tester, self.tester.capture.take()?);
        for (number, device) in (0..).zip(self.devices.iter_mut()) {
            taken.insert(Sink::Device(PortId(number)), device.capture.take()?);
        }
        taken.values_mut().for_each(|frames| frames.retain(&keep));
        Ok(taken)
    }
}
