//! Sends frames of no protocol between two devices while no program is attached, and receives them: which of them arrive, how
//! they are padded, and how many can be in flight.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use xdproof_netns::{PacketOptions, PacketSocket};
use xdproof_scenarios::{DUT_MAC, SHORTEST_FRAME, TESTER_MAC, describe};

use crate::{
    exchange::{self, Capture, ExchangeError, PROBE_TYPE, two_in_a_row},
    host::interrupt,
    model::{
        facts::{FrameFate, WINDOW},
        frame_sequence::FrameSequence,
    },
    testbed::PortPair,
};

/// Deadline for the first frames to arrive on a link that has just come up.
const FIRST_FRAMES_TIMEOUT: Duration = Duration::from_secs(10);

/// Time after which a frame in flight alone is lost.
const LONE_FRAME_TIMEOUT: Duration = Duration::from_millis(300);

/// Delay of frames on other receive queues than that of the frame that was sent after them.
const QUEUE_SKEW: Duration = Duration::from_millis(20);

/// Length in bytes, without FCS, beyond the longest frame that anything pads (IEEE 802.3, clause 4A.2.3.2.2: 60).
pub(super) const LONGEST_PADDED: usize = 64;

/// Length in bytes of an Ethernet header.
pub(super) const HEADER: usize = 14;

/// Filler of a frame, which no padding has.
const FILLER: u8 = 0xa5;

/// The most foreign frames while a property of the path is explored.
const MOST_FOREIGN: u64 = 10;

/// Number of bursts of one length that must all arrive before the length is trusted.
const BURSTS: u32 = 3;

/// The reason why a path cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// A namespace or a link failed.
    #[error("failed to {0}")]
    Network(#[from] xdproof_netns::Error),
    /// Frames cannot be sent or seen.
    #[error(transparent)]
    Observe(#[from] ExchangeError),
    #[error(
        "of {sent} frames sent by {tester} none arrived at {dut}, which has a carrier: check that they are connected to each other"
    )]
    Nothing { sent: u32, tester: String, dut: String },
    /// Frames arrive that xdproof did not send.
    #[error(
        "unexpected frames on the link: {frame} (one of {frames}); turn off STP, LLDP and flooding at the switch ports"
    )]
    NotQuiet {
        /// Layers of the first.
        frame: String,
        frames: u64,
    },
    /// Not even frames in flight alone all arrive.
    #[error("frames are lost without a program: {arrived} arrived of {sent} sent one at a time")]
    Lossy { sent: u32, arrived: u64 },
    #[error("{device} rejects an MTU of {mtu} bytes: {answer}")]
    Mtu { device: String, mtu: u32, answer: String },
    /// A device is gone, down or without a carrier.
    #[error("{0}")]
    Fault(String),
}

/// Fate of frames that were sent at once.
pub(super) struct Exchanged {
    pub(super) arrived: FrameSequence,
    /// The tester's device has taken all of them.
    pub(super) accepted: bool,
    /// The frame that was sent after them arrived.
    pub(super) closed: bool,
}

/// Sends and receives frames while no program is attached.
pub(super) struct Prober<'a> {
    socket: PacketSocket,
    /// Sends from the DUT.
    answers: PacketSocket,
    capture: Capture,
    ports: &'a PortPair,
    /// Receive queues of the DUT.
    queues: u32,
    sent: u32,
    /// Frames that others have sent.
    foreign: u64,
}

impl<'a> Prober<'a> {
    pub(super) fn open(ports: &'a PortPair) -> Result<Self, PathError> {
        let index = ports.topology.tester.index;
        let socket = ports.tester.call(move |host| host.packet_socket(index, PacketOptions::default()))?;
        let capture = Capture::new(ports.watch_dut(exchange::CAPTURE_BUFFER)?);
        let index = ports.topology.dut.index;
        let (queues, answers) = ports.dut.call(move |host| {
            let queues = host.link_by_index(index)?.rx_queues;
            Ok((queues, host.packet_socket(index, PacketOptions::default())?))
        })?;
        Ok(Self { socket, answers, capture, ports, queues, sent: 0, foreign: 0 })
    }

    /// Returns a frame of a length in bytes; each is unique if it has room for a number.
    fn frame(&mut self, length: usize, tagged: bool) -> Vec<u8> {
        self.sent += 1;
        let mut frame = [DUT_MAC, TESTER_MAC].concat();
        if tagged {
            frame.extend([0x81, 0x00, 0x00, 0x01]);
        }
        frame.extend(PROBE_TYPE);
        frame.extend(self.sent.to_be_bytes());
        frame.resize(length, FILLER);
        frame
    }

    /// Sends frames; returns false if one is too long for the tester. Waits for a driver whose ring is full.
    fn send(&self, frames: &[&[u8]]) -> Result<bool, PathError> {
        match self.socket.send_all(frames) {
            Ok(_) => Ok(true),
            Err(error) if error.errno() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a frame and returns the frame that arrived, if one did.
    fn send_alone(&mut self, frame: &[u8]) -> Result<Option<Vec<u8>>, PathError> {
        if !self.send(&[frame])? {
            return Ok(None);
        }
        let deadline = Instant::now() + LONE_FRAME_TIMEOUT;
        loop {
            reject_interrupted()?;
            let left = deadline.saturating_duration_since(Instant::now());
            let arrived = self.capture.take_within(1, left)?;
            self.reject_foreign(&arrived)?;
            if let Some(bytes) = arrived.distinct().find(|bytes| bytes.starts_with(frame)) {
                return Ok(Some(bytes.to_vec()));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
        }
    }

    /// Waits until two frames in a row arrive.
    pub(super) fn wait_for_first(&mut self) -> Result<(), PathError> {
        let arrived = two_in_a_row(FIRST_FRAMES_TIMEOUT, || {
            let frame = self.frame(60, false);
            Ok::<_, PathError>(self.send_alone(&frame)?.is_some())
        })?;
        reject_interrupted()?;
        arrived.map(drop).map_err(|probed| {
            let topology = &self.ports.topology;
            let (tester, dut) = (topology.tester.name.to_string(), topology.dut.name.to_string());
            PathError::Nothing { sent: probed.sent, tester, dut }
        })
    }

    /// Sends a frame of each short length alone, again if it does not arrive, and returns how they are padded.
    pub(super) fn padding(&mut self) -> Result<Padding, PathError> {
        let mut arrived = BTreeMap::new();
        for length in SHORTEST_FRAME..=LONGEST_PADDED {
            for _ in 0..BURSTS {
                let frame = self.frame(length, false);
                if let Some(bytes) = self.send_alone(&frame)? {
                    arrived.insert(length, bytes);
                    break;
                }
            }
        }
        Ok(Padding::of(&arrived))
    }

    /// Returns true if a frame of a length arrives unmodified.
    pub(super) fn arrives(&mut self, length: usize, tagged: bool) -> Result<bool, PathError> {
        for _ in 0..BURSTS {
            let frame = self.frame(length, tagged);
            if self.send_alone(&frame)?.is_some_and(|bytes| bytes == frame) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Sends frames at once and one more after them, and returns the frames that arrived until that one did: frames of one
    /// queue keep their order. Where there are several queues, the others get some time.
    pub(super) fn exchange(&mut self, frames: &[&[u8]]) -> Result<Exchanged, PathError> {
        reject_interrupted()?;
        let last = self.frame(60, false);
        let accepted = self.send(frames)?;
        self.send(&[&last])?;
        let (mut arrived, closed) = self.capture.take_until(&last, LONE_FRAME_TIMEOUT)?;
        if self.queues > 1 && arrived.len() < frames.len() as u64 {
            arrived.append(&self.capture.take_within(frames.len() as u64, QUEUE_SKEW)?);
        }
        reject_interrupted()?;
        Ok(Exchanged { arrived, accepted, closed })
    }

    /// Sends a frame from the DUT, so that a switch learns on which port the DUT's address is.
    pub(super) fn announce(&self) -> Result<(), PathError> {
        let mut frame = [TESTER_MAC, DUT_MAC].concat();
        frame.extend(PROBE_TYPE);
        frame.resize(60, 0);
        Ok(self.answers.send(&frame).map(drop)?)
    }

    /// Returns the fate of a frame that is sent alone, unless it arrives as it should.
    pub(super) fn fate(&mut self, frame: &[u8], arriving: &[u8]) -> Result<Option<FrameFate>, PathError> {
        let mut fate = FrameFate::Lost;
        for _ in 0..2 {
            let arrived = self.exchange(&[frame])?.arrived;
            if arrived.contains(arriving) {
                return Ok(None);
            }
            if arrived.distinct().any(|frame| !exchange::is_link_control(frame)) {
                fate = FrameFate::Altered;
            }
        }
        Ok(Some(fate))
    }

    /// Returns the number of frames in flight at once of which none is lost: at most [`WINDOW`], tried with short and
    /// with full frames. If a longer burst lost some, it is half of what arrived, for the device is then near its limit.
    pub(super) fn widest_window(&mut self, mtu: u32) -> Result<usize, PathError> {
        let full = usize::try_from(mtu).unwrap_or(1500).min(1500) + HEADER;
        let mut widest = 0;
        for window in [1, 2, 4, 8, 16, 32, WINDOW] {
            for length in [60, full] {
                for _ in 0..BURSTS {
                    let arrived = self.burst(window, length)?;
                    if arrived < window as u64 {
                        return match widest {
                            0 => Err(PathError::Lossy { sent: 1, arrived }),
                            _ => Ok((widest / 2).max(1)),
                        };
                    }
                }
            }
            widest = window;
        }
        Ok(widest)
    }

    /// Sends frames at once and returns the number of frames that arrived.
    fn burst(&mut self, window: usize, length: usize) -> Result<u64, PathError> {
        let frames: Vec<Vec<u8>> = (0..window).map(|_| self.frame(length, false)).collect();
        let each: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        self.socket.send_all(&each)?;
        let deadline = Instant::now() + LONE_FRAME_TIMEOUT;
        let mut ours = 0;
        while ours < window as u64 {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut arrived = self.capture.take_within(window as u64 - ours, left)?;
            reject_interrupted()?;
            self.reject_foreign(&arrived)?;
            arrived.retain(is_ours);
            ours += arrived.len();
            if Instant::now() >= deadline {
                break;
            }
        }
        Ok(ours)
    }

    /// Rejects a link on which others send many frames. Hosts and bridges that have just come up send a few.
    fn reject_foreign(&mut self, arrived: &FrameSequence) -> Result<(), PathError> {
        let foreign = |bytes: &&[u8]| !is_ours(bytes) && !exchange::is_link_control(bytes);
        let Some(bytes) = arrived.distinct().find(foreign) else { return Ok(()) };
        self.foreign +=
            arrived.totals().filter(|(frame, _)| foreign(frame)).map(|(_, times)| times).sum::<u64>();
        if self.foreign <= MOST_FOREIGN {
            return Ok(());
        }
        Err(PathError::NotQuiet { frame: describe(bytes), frames: self.foreign })
    }
}

/// Returns an error once a signal has asked the run to end, which cuts waits short.
fn reject_interrupted() -> Result<(), PathError> {
    if interrupt::is_requested() { Err(ExchangeError::Interrupted.into()) } else { Ok(()) }
}

/// Returns true for a frame from one end to the other.
fn is_ours(frame: &[u8]) -> bool {
    frame.starts_with(&[DUT_MAC, TESTER_MAC].concat())
}

/// The way in which short frames arrive.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Padding {
    /// Frames of `shortest` bytes and more arrive, padded with zeros to `padded_to` bytes; 0 if none is padded.
    Regular { shortest: usize, padded_to: usize },
    /// The bytes behind short frames cannot be predicted: the reason.
    Irregular(String),
}

impl Padding {
    /// Derives it from the frames that arrived, by the length in bytes of the frame that was sent.
    fn of(arrived: &BTreeMap<usize, Vec<u8>>) -> Self {
        let is_dirty = |(length, bytes): (&usize, &Vec<u8>)| {
            let padding = bytes.get(*length..).unwrap_or_default();
            padding.iter().any(|&byte| byte != 0).then_some(*length)
        };
        if let Some(length) = arrived.iter().find_map(is_dirty) {
            return Self::Irregular(format!(
                "a frame of {length} bytes arrives padded with other bytes than zeros: the sender leaks memory"
            ));
        }
        let length_of = |length| arrived.get(&length).map(Vec::len);
        let shortest = arrived.keys().next().copied().unwrap_or(LONGEST_PADDED);
        let padded_to = length_of(shortest).filter(|length| *length > shortest).unwrap_or(0);
        if (shortest..=LONGEST_PADDED).all(|length| length_of(length) == Some(length.max(padded_to))) {
            Self::Regular { shortest, padded_to }
        } else {
            Self::Irregular("short frames arrive with lengths that follow no rule".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames that arrive for those of `from` bytes and more, padded with a byte to a length.
    fn padded(from: usize, to: usize, with: u8) -> BTreeMap<usize, Vec<u8>> {
        let arriving = |length: usize| {
            let mut bytes = vec![FILLER; length];
            bytes.resize(length.max(to), with);
            (length, bytes)
        };
        (from..=LONGEST_PADDED).map(arriving).collect()
    }

    #[test]
    fn frames_that_arrive_as_they_are_are_not_padded() {
        let unpadded = Padding::Regular { shortest: SHORTEST_FRAME, padded_to: 0 };
        assert_eq!(Padding::of(&padded(SHORTEST_FRAME, 0, 0)), unpadded);
    }

    #[test]
    fn zeros_up_to_one_length_are_padding() {
        for (shortest, padded_to) in
            [(SHORTEST_FRAME, 60), (17, 60), (33, 0), (SHORTEST_FRAME, LONGEST_PADDED)]
        {
            let expected = Padding::Regular { shortest, padded_to };
            assert_eq!(Padding::of(&padded(shortest, padded_to, 0)), expected);
        }
    }

    #[test]
    fn padding_with_other_bytes_than_zeros_leaks_memory() {
        let Padding::Irregular(why) = Padding::of(&padded(17, 60, 0x2e)) else { panic!("it is regular") };
        assert!(why.starts_with("a frame of 17 bytes arrives padded with other bytes than zeros"), "{why}");
    }

    #[test]
    fn lengths_that_follow_no_rule_are_irregular() {
        let mut gap = padded(SHORTEST_FRAME, 60, 0);
        gap.remove(&40);
        let mut jump = padded(SHORTEST_FRAME, 0, 0);
        jump.insert(50, vec![0; 52]);
        for arrived in [gap, jump, BTreeMap::new()] {
            assert!(matches!(Padding::of(&arrived), Padding::Irregular(why) if why.contains("no rule")));
        }
    }
}
