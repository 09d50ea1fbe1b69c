//! What can be seen of a trial: the map before and after, and the frames that the DUT's stack receives.
//!
//! Promises: nothing is missed and nothing is waited for longer than it takes. Every wait is for something that can be
//! observed and has one of two deadlines.

use std::{
    io,
    time::{Duration, Instant},
};

use xdproof_netns::PacketSocket;
use xdproof_scenarios::{DUT_MAC, TESTER_MAC, describe};

use crate::{
    inject::{
        cpu::Pinned,
        cpu_rotation::Turns,
        sender::{SendError, Sender},
        test_run,
    },
    model::{
        frame_sequence::FrameSequence,
        observation::{ArrivalOrder, Counts, Observation},
        sink::Sink,
    },
    program::{Program, ProgramError, Subject, Width},
};

/// Something must arrive: it normally takes microseconds; a machine under load may take much longer.
pub(crate) const MUST_ARRIVE: Duration = Duration::from_secs(3);

/// Nothing may arrive any more: only for kernels that have no [`barrier`] for us.
const MUST_NOT_ARRIVE: Duration = Duration::from_secs(1);

/// Frames under way at once. veth's native receive ring holds 256 (`VETH_RING_SIZE`), the stack's backlog 1,000 for all
/// senders of a CPU (`net.core.netdev_max_backlog`).
pub(crate) const WINDOW: usize = 64;

/// How much later than after a [`barrier`] a frame of a device may still come up: tun runs the program in the writer's call and hands
/// the frame up behind that, outside of any section that a grace period would outlast (`tun_build_skb()`, `tun_get_user()` of
/// `drivers/net/tun.c`).
const HANDED_UP: Duration = Duration::from_secs(1);

/// After how long a lone frame counts as lost while a device is still being set up.
const PROBE: Duration = Duration::from_millis(100);

/// How often to look for frames before resting, and how long to rest.
const LOOKS: u32 = 8;
const REST: Duration = Duration::from_millis(1);

/// Room in the capture's socket: a window many times over.
pub(crate) const CAPTURE_BUFFER: usize = 4 << 20;

/// The largest frame that a socket hands up: a merged one of 64 KiB, with headers to spare.
const MAX_FRAME: usize = 128 * 1024;

/// What devices and switches say by themselves, by its `EtherType`: LACP and markers of a bond (`PKT_TYPE_LACPDU`, the slow
/// protocols' type), the learning packets of balance-alb (`ETH_P_LOOPBACK`; `alb_send_lp_vid()` of
/// `drivers/net/bonding/bond_alb.c`), and LLDP, which some NICs' firmware sends, too (IEEE 802.1AB, clause 8).
const LINK_TYPES: [[u8; 2]; 3] = [[0x88, 0x09], [0x90, 0x00], [0x88, 0xcc]];

/// And by its destination: what the 16 addresses begin with that no bridge forwards (STP's among them; IEEE 802.1Q, table 8-1).
const RESERVED: [u8; 5] = [0x01, 0x80, 0xc2, 0, 0];

/// And CDP's.
const CDP: [u8; 6] = [0x01, 0, 0x0c, 0xcc, 0xcc, 0xcc];

/// IGMP, by which a bridge tells that it snoops (`br_ip4_multicast_join_snoopers()` of `net/bridge/br_multicast.c`), some seconds after it
/// came up.
const IGMP: u8 = 2;

/// `EtherType` for local experiments (IEEE 802, clause 9.2.4): the closing frame's.
const CLOSING_TYPE: [u8; 2] = [0x88, 0xb5];

/// The frames that a port's stack receives, byte for byte, outer VLAN tag put back.
#[derive(Debug)]
pub struct Capture {
    socket: PacketSocket,
    buffer: Vec<u8>,
    seen: FrameSequence,
    /// Others may speak on this link.
    shared: bool,
}

/// Why there is no observation.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The kernel refused to take frames for sending.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The sending thread cannot be kept on one CPU.
    #[error("failed to stay on one CPU")]
    Pin {
        /// What the kernel answered.
        source: io::Error,
    },
    /// The kernel refused to run the program on a frame.
    #[error("failed to run the program on a frame")]
    TestRun {
        /// What the kernel answered.
        source: io::Error,
    },
    /// The sender cannot be moved from CPU to CPU.
    #[error("failed to send from another CPU")]
    Turn {
        /// What the kernel answered.
        source: io::Error,
    },
    /// The counters cannot be read.
    #[error(transparent)]
    Counter(#[from] ProgramError),
    /// The capture failed.
    #[error("failed to {0}")]
    Network(#[from] xdproof_netns::Error),
    /// A frame came to the DUT that was not sent and that may be the link's own: then the program has counted it.
    #[error("a frame of somebody else's came in between: {frame}")]
    Stranger {
        /// Its layers.
        frame: String,
        /// Everything that was seen.
        seen: Box<Observation>,
    },
    /// A capture lost frames, so that it proves nothing.
    #[error("a capture lost {frames} frames")]
    CaptureLost {
        /// How many.
        frames: u32,
    },
}

impl ObserveError {
    /// Whether the kernel refused a frame as such: EINVAL, or EMSGSIZE for one beyond the MTU (`packet_snd`).
    #[must_use]
    pub fn refused_frame(&self) -> bool {
        matches!(self, Self::Send(SendError { source, .. }) | Self::TestRun { source }
            if source.kind() == io::ErrorKind::InvalidInput
                || source.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()))
    }
}

impl Capture {
    /// Keeps what the socket receives from now on.
    #[must_use]
    pub fn new(socket: PacketSocket) -> Self {
        Self { socket, buffer: vec![0; MAX_FRAME], seen: FrameSequence::default(), shared: false }
    }

    /// From now on, devices and switches may speak by themselves, and what they say is told from what was sent.
    pub fn share(&mut self) {
        self.shared = true;
    }

    /// Takes in whatever waits in the socket.
    fn drain(&mut self) -> Result<(), xdproof_netns::Error> {
        while let Some(received) = self.socket.receive(&mut self.buffer)? {
            if received.outgoing {
                continue;
            }
            let bytes = self.buffer.get(..received.len).unwrap_or(&self.buffer);
            self.seen.push(bytes);
        }
        Ok(())
    }

    /// A frame that was received since the last observation, if there is one that is not the link's own.
    pub(crate) fn late(&mut self) -> Result<Option<&[u8]>, xdproof_netns::Error> {
        self.drain()?;
        if self.shared {
            self.seen.retain(|frame| !is_links_own(frame));
        }
        Ok(self.seen.distinct().next())
    }

    /// Takes in what comes until it is enough, or `within` has passed.
    fn drain_until(
        &mut self,
        within: Duration,
        is_enough: impl Fn(&FrameSequence) -> bool,
    ) -> Result<(), xdproof_netns::Error> {
        let deadline = Instant::now() + within;
        self.drain()?;
        while !is_enough(&self.seen) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.socket.wait_readable(left)? {
                break;
            }
            self.drain()?;
        }
        Ok(())
    }

    /// Takes in what comes until `frames` frames have come since the last observation, or `within` has passed; then gives
    /// everything that came.
    pub(crate) fn take_within(
        &mut self,
        frames: u64,
        within: Duration,
    ) -> Result<FrameSequence, ObserveError> {
        self.drain_until(within, |seen| seen.len() >= frames)?;
        self.take()
    }

    /// Takes in what comes until a certain frame has come, or `within` has passed; then gives everything else that came.
    pub(crate) fn take_until(
        &mut self,
        last: &[u8],
        within: Duration,
    ) -> Result<FrameSequence, ObserveError> {
        self.drain_until(within, |seen| seen.contains(last))?;
        let mut seen = self.take()?;
        seen.retain(|frame| frame != last);
        Ok(seen)
    }

    /// Everything that was received since the last call.
    fn take(&mut self) -> Result<FrameSequence, ObserveError> {
        self.drain()?;
        match self.socket.drops()? {
            0 => Ok(std::mem::take(&mut self.seen)),
            frames => Err(ObserveError::CaptureLost { frames }),
        }
    }
}

/// Whether a frame is of a kind that devices and switches say by themselves: it comes from neither of the two ends of a scenario.
pub(crate) fn is_links_own(frame: &[u8]) -> bool {
    let Some((header, rest)) = frame.split_first_chunk::<14>() else { return false };
    let (addresses, kind) = header.split_at(12);
    let (destination, source) = addresses.split_at(6);
    let is_of_an_end = [TESTER_MAC, DUT_MAC].iter().any(|end| source == end);
    let is_igmp = kind == [0x08, 0x00] && rest.get(9) == Some(&IGMP);
    let is_reserved = destination.starts_with(&RESERVED) && destination[5] <= 0x0f;
    !is_of_an_end
        && (is_igmp || is_reserved || destination == CDP || LINK_TYPES.iter().any(|own| kind == own))
}

/// Both ends of a wire: where frames go in, and where they are seen.
#[derive(Debug)]
pub struct Ports<'a> {
    /// Sends at the tester.
    pub sender: &'a mut Sender,
    /// What the DUT's stack receives.
    pub capture: &'a mut Capture,
    /// What comes back to the tester.
    pub returned: &'a mut Capture,
}

/// How frames are sent.
#[derive(Clone, Copy, Debug)]
pub struct Manner<'a> {
    /// The most frames under way at once.
    pub window: usize,
    /// How long a frame may take to reach the program.
    pub patience: Duration,
    /// Whether frames go several ways (CPUs, queues), so that they do not keep their order.
    pub spread: bool,
    /// Each CPU has its turn to send.
    pub turns: Option<&'a Turns>,
    /// Whether to wait for frames without keeping the CPU busy: where they come from a device, whose interrupt wakes us up. A veth
    /// delivers while it sends, so that there is nothing to wait for.
    pub rests: bool,
    /// The order in which the path delivers these frames.
    pub order: ArrivalOrder,
}

impl Default for Manner<'_> {
    /// As a veth takes them.
    fn default() -> Self {
        Self {
            window: WINDOW,
            patience: MUST_ARRIVE,
            spread: false,
            turns: None,
            rests: false,
            order: ArrivalOrder::Unspecified,
        }
    }
}

/// Sends frames (bytes, and how many times) and observes what the attached program does with them.
///
/// When everything was counted, frames that were passed may still be on their way up. `passes` says whether the program
/// passes what it counts. If it does, a closing frame with `nonce` in it follows: frames that are sent on one CPU to one
/// queue keep their order, so once it has come through, nothing is under way. It is not part of the observation. Where frames
/// are [spread](Manner::spread), where the closing frame does not come, and for a program that passes nothing, an RCU
/// grace period proves the same at a price of some milliseconds.
///
/// # Errors
///
/// A frame that cannot be sent, counters that cannot be read, a capture that lost frames, a frame that is the link's own.
pub fn on_wire<'a>(
    counter: &Subject,
    ports: Ports<'_>,
    frames: impl Iterator<Item = (&'a [u8], u32)> + Clone,
    passes: bool,
    nonce: u64,
    manner: Manner<'_>,
) -> Result<Observation, ObserveError> {
    let Manner { window: most, patience, spread, turns, rests, order } = manner;
    let Ports { sender, capture, returned } = ports;
    let is_sent = {
        let frames = frames.clone();
        // Something may have been put behind it on the way.
        move |one: &[u8]| frames.clone().any(|(frame, _)| one.starts_with(frame))
    };
    let _in_order = Pinned::here().map_err(|source| ObserveError::Pin { source })?;
    let before = counter.counts()?;
    let start = counter.runs()?;
    let mut sent = 0;
    let mut window: Vec<&[u8]> = Vec::with_capacity(most);
    'sending: for (bytes, repeat) in frames {
        for _ in 0..repeat {
            let over = turns.filter(|turns| turns.is_over(sent + window.len() as u64));
            if window.len() >= most || over.is_some() {
                sent += flush(sender, &mut window)?;
                if !settle(counter, capture, start, sent, patience, rests)? {
                    break 'sending;
                }
            }
            if let Some(turns) = over {
                turns.go(sent).map_err(|source| ObserveError::Turn { source })?;
            }
            window.push(bytes);
        }
    }
    sent += flush(sender, &mut window)?;
    settle(counter, capture, start, sent, patience, rests)?;
    let ran = counter.runs()?.wrapping_sub(start);
    let per_cpu = difference(counter.width(), &before, &counter.counts()?);

    if spread {
        barrier(capture)?;
    }
    let closing = closing_frame(nonce);
    let closed = if passes {
        sender.send(&[&closing])?;
        let late = if rests { HANDED_UP } else { Duration::ZERO };
        Some(wait_closing(counter, capture, start.wrapping_add(ran), &closing, late)?)
    } else {
        barrier(capture)?;
        None
    };
    let mut passed = capture.take()?;
    let shared = returned.shared;
    let mut returned = returned.take()?;
    let is_stranger = |frame: &[u8]| is_links_own(frame) && !is_sent(frame);
    returned.retain(|frame| frame != closing && !(shared && is_stranger(frame)));
    let stranger = passed.distinct().find(|frame| capture.shared && is_stranger(frame));
    let stranger = stranger.map(describe);
    // It may have been taken for the last of ours, which then are still under way.
    if stranger.is_some() && (closed != Some(true) || spread) {
        capture.drain_until(HANDED_UP, |_| false)?;
        passed.append(&capture.take()?);
    }
    passed.retain(|frame| frame != closing);
    let frames = [(Sink::Stack, passed), (Sink::Tester, returned)].into();
    let per_cpu = Some(per_cpu);
    let seen = Observation { sent, ran, per_cpu, frames, order, closed, ..Observation::default() };
    match stranger {
        None => Ok(seen),
        Some(frame) => Err(ObserveError::Stranger { frame, seen: Box::new(seen) }),
    }
}

/// Offers each frame to something that has to refuse it. Says what was answered, or that one was taken.
///
/// # Errors
///
/// Any answer but a refusal of the frame as such.
pub fn refusals<'a>(
    frames: impl Iterator<Item = &'a [u8]>,
    mut offer: impl FnMut(&'a [u8]) -> Result<(), ObserveError>,
) -> Result<Refusals, ObserveError> {
    let mut refused = Vec::new();
    for frame in frames {
        match offer(frame) {
            Ok(()) => return Ok(Refusals::Taken { length: frame.len() }),
            Err(error) if error.refused_frame() => refused.push(frame.len()),
            Err(error) => return Err(error),
        }
    }
    Ok(Refusals::All { lengths: refused })
}

/// What became of frames that nothing should take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusals {
    /// Each was refused (EINVAL); their lengths in bytes.
    All {
        /// In the order in which they were offered.
        lengths: Vec<usize>,
    },
    /// One was taken.
    Taken {
        /// Its length in bytes.
        length: usize,
    },
}

/// Observes what a program does that is not attached: `run` runs it and says what it was given and what it passed.
///
/// # Errors
///
/// What `run` answered; counters that cannot be read.
pub fn alone(
    counter: &Subject,
    run: impl FnOnce(&Subject) -> io::Result<test_run::Ran>,
) -> Result<Observation, ObserveError> {
    let before = counter.counts()?;
    let start = counter.runs()?;
    let test_run::Ran { sent, passed, verdicts } =
        run(counter).map_err(|source| ObserveError::TestRun { source })?;
    let ran = counter.runs()?.wrapping_sub(start);
    let per_cpu = difference(counter.width(), &before, &counter.counts()?);
    let (per_cpu, frames) = (Some(per_cpu), [(Sink::Stack, passed)].into());
    // The program runs on one frame after the other.
    let order = ArrivalOrder::Total;
    Ok(Observation { sent, ran, per_cpu, frames, verdicts, order, ..Observation::default() })
}

/// Sends the frames of a window and says how many they were.
fn flush(sender: &mut Sender, window: &mut Vec<&[u8]>) -> Result<u64, ObserveError> {
    let frames = window.len() as u64;
    if frames > 0 {
        sender.send(window)?;
        window.clear();
    }
    Ok(frames)
}

/// Waits until the program has run `sent` times since `start`; false if it does not come to that.
fn settle(
    counter: &Subject,
    capture: &mut Capture,
    start: u64,
    sent: u64,
    patience: Duration,
    rests: bool,
) -> Result<bool, ObserveError> {
    let deadline = Instant::now() + patience;
    let mut looks = 0;
    loop {
        capture.drain()?;
        if counter.runs()?.wrapping_sub(start) >= sent {
            return Ok(true);
        }
        if Instant::now() > deadline {
            return Ok(false);
        }
        looks += 1;
        if rests && looks > LOOKS {
            // What the program drops arrives nowhere: look again all the same.
            capture.socket.wait_readable(REST)?;
        } else {
            std::thread::yield_now();
        }
    }
}

/// Waits until the closing frame has come through. If the program has run on it and it is not there so much later than after a
/// [`barrier`], it never comes.
fn wait_closing(
    counter: &Subject,
    capture: &mut Capture,
    runs: u64,
    closing: &[u8],
    late: Duration,
) -> Result<bool, ObserveError> {
    let deadline = Instant::now() + MUST_ARRIVE;
    loop {
        capture.drain()?;
        if capture.seen.contains(closing) {
            return Ok(true);
        }
        if counter.runs()? != runs || Instant::now() > deadline {
            barrier(capture)?;
            capture.drain_until(late, |seen| seen.contains(closing))?;
            return Ok(capture.seen.contains(closing));
        }
        std::thread::yield_now();
    }
}

/// Returns when every frame on which the program has run is in the capture, if it is ever going to be.
///
/// A driver's poll and the stack's backlog run with softirqs off, which is an RCU read-side section: the program's run, its
/// verdict and the delivery to sockets all lie in one. `membarrier(MEMBARRIER_CMD_GLOBAL)` is a `synchronize_rcu()`
/// (kernel/sched/membarrier.c): it outlasts every such section that has begun. With one CPU it is nothing, and nothing is
/// needed: we do not run before such a section has ended, unless the kernel is `PREEMPT_RT`. There, and where `nohz_full`
/// makes the kernel refuse it, nothing may arrive for a second.
fn barrier(capture: &mut Capture) -> Result<(), ObserveError> {
    use rustix::thread::{MembarrierCommand, membarrier};
    let real_time = std::path::Path::new("/sys/kernel/realtime").exists();
    if real_time || membarrier(MembarrierCommand::Global).is_err() {
        while capture.socket.wait_readable(MUST_NOT_ARRIVE)? {
            capture.drain()?;
        }
    }
    capture.drain()?;
    Ok(())
}

/// Sends frames of no protocol, one at a time, until one has reached the program and another has after it: a device that
/// was just set up may drop the first ones (igb and e1000 do). Returns how many were lost, or nothing if none arrived `within`
/// that time.
///
/// # Errors
///
/// A frame that cannot be sent, counters that cannot be read.
pub fn first_frame(
    counter: &Subject,
    sender: &mut Sender,
    captures: [&mut Capture; 2],
    within: Duration,
) -> Result<Option<u32>, ObserveError> {
    let before = counter.runs()?;
    let Some(lost) = until_first_frame(&counter.program, sender, within)? else { return Ok(None) };
    let probe = probe();
    let ran = counter.runs()?.wrapping_sub(before);
    let [capture, returned] = captures;
    for capture in [&mut *capture, returned] {
        barrier(capture)?;
    }
    // None of them must come up during a trial. A program that does not pass them is waited for in vain, once.
    capture.drain_until(HANDED_UP, |seen| seen.times(&probe) >= ran)?;
    drop((capture.take()?, returned.take()?));
    Ok(Some(lost))
}

/// Sends frames of no protocol, one at a time, until one has reached the program and another has after it. Returns how many were
/// lost, or nothing if none arrived `within` that time. The kernel has to count runs.
///
/// # Errors
///
/// A frame that cannot be sent, runs that cannot be read.
pub fn until_first_frame(
    program: &Program,
    sender: &mut Sender,
    within: Duration,
) -> Result<Option<u32>, ObserveError> {
    let deadline = Instant::now() + within;
    let probe = probe();
    let mut in_a_row = 0;
    let mut lost = 0;
    while in_a_row < 2 {
        if Instant::now() > deadline {
            return Ok(None);
        }
        let start = program.runs()?;
        sender.send(&[&probe])?;
        let soon = Instant::now() + PROBE;
        while program.runs()? == start && Instant::now() < soon {
            std::thread::yield_now();
        }
        if program.runs()? == start {
            lost += 1;
            in_a_row = 0;
        } else {
            in_a_row += 1;
        }
    }
    Ok(Some(lost))
}

fn probe() -> Vec<u8> {
    closing_frame(u64::MAX)
}

/// A frame of 60 bytes from the tester to the DUT that nothing else sends.
pub(crate) fn closing_frame(nonce: u64) -> Vec<u8> {
    let mut frame = Vec::with_capacity(60);
    frame.extend_from_slice(&DUT_MAC);
    frame.extend_from_slice(&TESTER_MAC);
    frame.extend_from_slice(&CLOSING_TYPE);
    frame.extend_from_slice(b"xdproof closing frame ");
    frame.extend_from_slice(&nonce.to_be_bytes());
    frame.resize(60, 0);
    frame
}

/// What was added between two readings, per CPU. Counters wrap at their width.
pub(crate) fn difference(width: Width, before: &[Counts], after: &[Counts]) -> Vec<Counts> {
    let none = Counts::new();
    let cpus = before.len().max(after.len());
    (0..cpus)
        .map(|cpu| {
            let [before, after] = [before, after].map(|counts| counts.get(cpu).unwrap_or(&none));
            crate::model::observation::side_by_side(before, after)
                .map(|(protocol, before, after)| (*protocol, width.added(before, after)))
                .filter(|(_, added)| *added != 0)
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_taken_for_each_cpu_and_wraps() {
        let before = [Counts::from([(6, u64::MAX)]), Counts::from([(17, 5)])];
        let after = [Counts::from([(6, 2)]), Counts::from([(17, 5), (58, 1)])];
        assert_eq!(
            difference(Width::Bits64, &before, &after),
            [Counts::from([(6, 3)]), Counts::from([(58, 1)])]
        );
    }

    #[test]
    fn a_counter_that_wrapped_to_zero_still_counts() {
        let before = [Counts::from([(6, u64::MAX)])];
        assert_eq!(difference(Width::Bits64, &before, &[Counts::new()]), [Counts::from([(6, 1)])]);
    }

    #[test]
    fn what_devices_and_switches_say_is_not_what_an_end_had_sent() {
        const HOST: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];
        const SOME: [u8; 6] = [0x01, 0, 0x5e, 0, 0, 0x16];
        let frame = |to: [u8; 6], from: [u8; 6], kind: [u8; 2], protocol: u8| {
            let mut bytes = [&to[..], &from, &kind, &[0; 46]].concat();
            bytes[14 + 9] = protocol;
            bytes
        };
        let stp = [0x01, 0x80, 0xc2, 0, 0, 0];
        let own = [
            (SOME, [0x88, 0x09], 0),
            (SOME, [0x90, 0x00], 0),
            (SOME, [0x88, 0xcc], 0),
            (SOME, [0x08, 0x00], IGMP),
            (stp, [0x00, 0x26], 0),
            ([0x01, 0, 0x0c, 0xcc, 0xcc, 0xcc], [0x00, 0x40], 0),
        ];
        for (to, kind, protocol) in own {
            assert!(is_links_own(&frame(to, HOST, kind, protocol)), "{to:x?} {kind:x?}");
            for end in [TESTER_MAC, DUT_MAC] {
                assert!(!is_links_own(&frame(to, end, kind, protocol)), "{to:x?} {kind:x?}");
            }
        }
        assert!(!is_links_own(&frame(SOME, HOST, [0x08, 0x00], 17)) && !is_links_own(&[0; 13]));
        assert!(!is_links_own(&frame(DUT_MAC, HOST, [0x86, 0xdd], IGMP)));
        assert!(!is_links_own(&frame([0x01, 0x80, 0xc2, 0, 0, 0x10], HOST, [0x00, 0x26], 0)));
    }

    #[test]
    fn closing_frames_differ_by_their_nonce() {
        assert_ne!(closing_frame(1), closing_frame(2));
        assert_eq!(closing_frame(7).len(), 60);
    }
}
