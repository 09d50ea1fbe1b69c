//! Sending frames to an attached program, and observing what it does with them.

use std::{
    cell::LazyCell,
    collections::{BTreeMap, BTreeSet, HashSet},
    time::{Duration, Instant},
};

use xdproof_scenarios::describe;

use super::{
    Capture, ExchangeError,
    barrier::{ARRIVAL_TIMEOUT, HAND_UP_TIMEOUT, barrier, closing_frame, wait_closing},
    detached::counted_since,
    is_link_control,
};
use crate::{
    host::interrupt::{self, Rounds},
    inject::{
        cpu::Pinned,
        cpu_rotation::CpuRotation,
        lockstep::{self, Deal, Played},
        sender::Sender,
    },
    model::{
        facts::WINDOW,
        frame_sequence::FrameSequence,
        observation::{ArrivalOrder, Observation, Overlap},
        sink::Sink,
    },
    program::{Program, Subject},
};

/// Polls of a capture without a pause, and the pause between further ones.
const BUSY_POLLS: u32 = 8;
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Time in which a link that others use carries a frame of theirs.
const IDLE: Duration = Duration::from_secs(1);

/// The most foreign frames that an error describes.
const MOST_SHOWN: usize = 3;

/// Both ends of a link: the tester's sender, and the captures of both.
#[derive(Debug)]
pub struct ExchangePorts<'a> {
    /// Sends at the tester.
    pub sender: &'a mut Sender,
    /// Further senders there, for CPUs that send at the same time.
    pub crowd: &'a mut [Sender],
    /// The frames that the DUT's stack receives.
    pub capture: &'a mut Capture,
    /// The frames that come back to the tester.
    pub returned: &'a mut Capture,
}

/// Options of sending.
#[derive(Clone, Copy, Debug)]
pub struct SendOptions<'a> {
    /// The most frames in flight at once.
    pub window: usize,
    /// Time that a window of frames may take to reach the program.
    pub timeout: Duration,
    /// Set if frames take several paths (CPUs, queues), so that a closing frame can overtake others.
    pub spread: bool,
    /// Each CPU has its turn to send.
    pub rotation: Option<&'a CpuRotation>,
    /// These CPUs send at the same time, the first by the sender and the others by one of the crowd each. Frames are spread then.
    pub at_once: Option<&'a [usize]>,
    /// Set to wait for frames without keeping the CPU busy: they come from a device, whose interrupt wakes us up. A veth
    /// delivers while it sends, so that there is nothing to wait for.
    pub rests: bool,
    /// The order in which the path delivers these frames.
    pub order: ArrivalOrder,
}

impl Default for SendOptions<'_> {
    /// Those of a veth.
    fn default() -> Self {
        Self {
            window: WINDOW,
            timeout: ARRIVAL_TIMEOUT,
            spread: false,
            rotation: None,
            at_once: None,
            rests: false,
            order: ArrivalOrder::Unspecified,
        }
    }
}

/// An exchange of frames while it goes on.
struct Exchange<'a> {
    program: &'a Program,
    ports: ExchangePorts<'a>,
    options: SendOptions<'a>,
    /// Runs of the program before the first frame.
    start: u64,
    sent: u64,
}

/// The frames that arrived.
struct Arrived {
    frames: BTreeMap<Sink, FrameSequence>,
    foreign: Option<Foreign>,
}

/// Foreign frames: those that others have sent.
struct Foreign {
    /// Some of them, described.
    frames: String,
    is_control: bool,
}

/// Sends frames (bytes, and how many times) and observes what the attached program does with them.
///
/// When everything was counted, frames that were passed may still be on their way up. `passes` says whether the program
/// passes what it counts. If it does, a closing frame with `nonce` in it follows: frames that are sent on one CPU to one
/// queue keep their order, so once it has come through, nothing is in flight. It is not part of the observation. Where frames
/// are [spread](SendOptions::spread), where the closing frame does not come, and for a program that passes nothing, an RCU
/// grace period proves the same at a price of some milliseconds.
///
/// On a link that others may share, frames with bytes that nobody of the trial has sent are foreign if the trial alone cannot explain
/// them, so that a program or a driver that makes such frames is not taken for a noisy link:
/// * at the stack, if the program has run once more for each. A program that alters a frame runs once for it, and the frame that was
///   sent is missing;
/// * at the tester, and where the program does not pass what it gets, if more follow while nothing is sent.
///
/// # Errors
///
/// A frame that cannot be sent, counters that cannot be read, a capture that lost frames, foreign frames.
pub fn run_attached<'a>(
    subject: &Subject,
    ports: ExchangePorts<'_>,
    frames: &(impl Iterator<Item = (&'a [u8], u32)> + Clone),
    passes: bool,
    nonce: u64,
    options: SendOptions<'_>,
) -> Result<Observation, ExchangeError> {
    let _in_order = Pinned::here().map_err(|source| ExchangeError::Pin { source })?;
    let before = subject.counts()?;
    let (program, start) = (&subject.program, subject.runs()?);
    let mut exchange = Exchange { program, ports, options, start, sent: 0 };
    let overlap = match options.at_once {
        Some(cpus) => Some(exchange.send_at_once(frames.clone(), cpus)?),
        None => exchange.send_all(frames.clone()).map(|()| None)?,
    };
    let ran = program.runs()?.wrapping_sub(start);
    let per_cpu = counted_since(subject, &before)?;
    let closing = closing_frame(nonce);
    let closed = exchange.come_to_rest(passes, &closing, ran)?;
    // Bytes may have been appended to it on the way. Frames are looked up by hash: there may be a million.
    let sent = LazyCell::new(|| frames.clone().map(|(frame, _)| frame).collect::<HashSet<&[u8]>>());
    let lengths = LazyCell::new(|| sent.iter().map(|frame| frame.len()).collect::<BTreeSet<usize>>());
    let is_sent = |one: &[u8]| {
        lengths.iter().any(|length| one.get(..*length).is_some_and(|begin| sent.contains(begin)))
    };
    let Arrived { frames, foreign } = exchange.collect(&closing, closed, passes, is_sent)?;
    if interrupt::is_requested() {
        // A wait may have been cut short.
        return Err(ExchangeError::Interrupted);
    }
    let observed = Observation {
        sent: exchange.sent,
        ran,
        per_cpu,
        frames,
        order: options.order,
        closed,
        overlap,
        ..Observation::default()
    };
    match foreign {
        None => Ok(observed),
        Some(Foreign { frames, is_control }) => {
            Err(ExchangeError::ForeignFrames { frames, is_control, observed: Box::new(observed) })
        }
    }
}

impl Exchange<'_> {
    /// Sends all frames in windows, each when the program has run on those before it. Stops early if it does not.
    fn send_all<'f>(&mut self, frames: impl Iterator<Item = (&'f [u8], u32)>) -> Result<(), ExchangeError> {
        let SendOptions { window: most, rotation, .. } = self.options;
        let mut window: Vec<&[u8]> = Vec::with_capacity(most);
        for (bytes, repeat) in frames {
            for _ in 0..repeat {
                let over = rotation.filter(|rotation| rotation.is_due(self.sent + window.len() as u64));
                if (window.len() >= most || over.is_some()) && !self.flush(&mut window)? {
                    return Ok(());
                }
                if let Some(rotation) = over {
                    rotation.advance(self.sent).map_err(|source| ExchangeError::Turn { source })?;
                }
                window.push(bytes);
            }
        }
        self.flush(&mut window).map(drop)
    }

    /// Sends a window and waits until the program has run on every frame so far; false if it does not in time.
    fn flush(&mut self, window: &mut Vec<&[u8]>) -> Result<bool, ExchangeError> {
        if !window.is_empty() {
            self.ports.sender.send(window)?;
            self.sent += window.len() as u64;
            window.clear();
        }
        let runs = self.start.wrapping_add(self.sent);
        wait_for_runs(self.program, self.ports.capture, runs, self.options)
    }

    /// Sends all frames from these CPUs at the same time, and waits between two rounds until the program has run on every frame so far.
    /// Stops early if it does not.
    fn send_at_once<'f>(
        &mut self,
        frames: impl Iterator<Item = (&'f [u8], u32)>,
        cpus: &[usize],
    ) -> Result<Overlap, ExchangeError> {
        let Self { program, ports, options, start, .. } = self;
        let ExchangePorts { sender, crowd, capture, .. } = ports;
        let (program, options, start) = (*program, *options, *start);
        let deal = Deal::new(frames, cpus.len());
        let senders = cpus.iter().copied().zip(std::iter::once(&mut **sender).chain(crowd.iter_mut()));
        let Played { sent, overlap } = lockstep::play(
            &deal,
            senders,
            |sender, frame| Ok(sender.send(&[frame])?),
            |sent| wait_for_runs(program, capture, start.wrapping_add(sent), options),
            |source| ExchangeError::Pin { source },
        )?;
        self.sent = sent;
        Ok(overlap)
    }

    /// Waits until no frame is in flight; tells whether the closing frame came through, where one was sent.
    fn come_to_rest(
        &mut self,
        passes: bool,
        closing: &[u8],
        ran: u64,
    ) -> Result<Option<bool>, ExchangeError> {
        let ExchangePorts { sender, capture, .. } = &mut self.ports;
        if self.options.spread || !passes {
            barrier(capture)?;
        }
        if !passes {
            return Ok(None);
        }
        sender.send(&[closing])?;
        let late = if self.options.rests { HAND_UP_TIMEOUT } else { Duration::ZERO };
        wait_closing(self.program, capture, self.start.wrapping_add(ran), closing, late).map(Some)
    }

    /// Takes the frames that arrived at each sink, and describes foreign ones, if there are some.
    fn collect(
        &mut self,
        closing: &[u8],
        closed: Option<bool>,
        passes: bool,
        is_sent: impl Fn(&[u8]) -> bool,
    ) -> Result<Arrived, ExchangeError> {
        let is_control = |frame: &[u8]| is_link_control(frame) && !is_sent(frame);
        let is_unsent = |frame: &[u8]| frame != closing && !is_sent(frame);
        let ExchangePorts { capture, returned, .. } = &mut self.ports;
        let is_shared = capture.is_shared();
        let mut passed = capture.take()?;
        // One of them may have been taken for the last of ours, which then are still in flight.
        let is_disturbed = is_shared && passed.distinct().any(is_unsent);
        if is_disturbed && (closed != Some(true) || self.options.spread) {
            capture.drain_until(HAND_UP_TIMEOUT, |_| false)?;
            passed.append(&capture.take()?);
        }
        let mut sent_back = returned.take()?;
        let shared = returned.is_shared();
        sent_back.retain(|frame| frame != closing && !(shared && is_control(frame)));
        let control = listed(&passed, |frame| is_shared && is_control(frame));
        let foreign = match control {
            Some(frames) => Some(Foreign { frames, is_control: true }),
            None if is_shared => {
                let closing = u64::from(closed == Some(true));
                let foreign = self.foreign([&passed, &sent_back], closing, passes, is_unsent)?;
                foreign.map(|frames| Foreign { frames, is_control: false })
            }
            None => None,
        };
        passed.retain(|frame| frame != closing);
        let frames = [(Sink::Stack, passed), (Sink::Tester, sent_back)].into();
        Ok(Arrived { frames, foreign })
    }

    /// Describes frames that others have sent; `closing` is the number of closing frames among the runs.
    fn foreign(
        &mut self,
        [passed, sent_back]: [&FrameSequence; 2],
        closing: u64,
        passes: bool,
        is_unsent: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<String>, ExchangeError> {
        let unsent = passed.totals().filter(|(frame, _)| is_unsent(frame)).map(|(_, times)| times).sum();
        let runs = self.program.runs()?.wrapping_sub(self.start).saturating_sub(closing);
        let unexplained = runs.saturating_sub(self.sent);
        if unsent > 0 && unexplained >= unsent {
            return Ok(listed(passed, is_unsent));
        }
        if !passes && unsent == 0 && unexplained > 0 && self.runs_idly()? {
            return Ok(Some("the program, which passes none, also runs while nothing is sent".to_owned()));
        }
        let Some(seen) = listed(sent_back, &is_unsent) else { return Ok(None) };
        let returned = &mut self.ports.returned;
        returned.drain_until(IDLE, |seen| seen.distinct().any(&is_unsent))?;
        Ok(returned.take()?.distinct().any(is_unsent).then_some(seen))
    }

    /// Returns true if the program runs while nothing is sent.
    fn runs_idly(&self) -> Result<bool, ExchangeError> {
        let (runs, deadline) = (self.program.runs()?, Instant::now() + IDLE);
        while Instant::now() < deadline && !interrupt::is_requested() {
            if self.program.runs()? != runs {
                return Ok(true);
            }
            self.ports.capture.wait_readable(POLL_INTERVAL)?;
        }
        Ok(false)
    }
}

/// Describes the first of the frames that are meant, and says how many different ones there are.
fn listed(frames: &FrameSequence, is_meant: impl Fn(&[u8]) -> bool) -> Option<String> {
    let meant: Vec<&[u8]> = frames.distinct().filter(|frame| is_meant(frame)).collect();
    let shown: Vec<String> = meant.iter().take(MOST_SHOWN).map(|frame| describe(frame)).collect();
    let more = meant.len().saturating_sub(MOST_SHOWN);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    (!meant.is_empty()).then(|| format!("{}{more}", shown.join("; ")))
}

/// Receives frames until the program has run `runs` times, as [`Program::runs`] counts; false if it does not in time.
pub(super) fn wait_for_runs(
    program: &Program,
    capture: &mut Capture,
    runs: u64,
    options: SendOptions<'_>,
) -> Result<bool, ExchangeError> {
    let mut polls = 0;
    for () in Rounds::new(options.timeout) {
        capture.drain()?;
        // More runs than frames are no reason to wait, and the counter of runs may wrap.
        if runs.wrapping_sub(program.runs()?).cast_signed() <= 0 {
            return Ok(true);
        }
        if interrupt::is_requested() {
            return Err(ExchangeError::Interrupted);
        }
        polls += 1;
        if options.rests && polls > BUSY_POLLS {
            // A frame that the program drops arrives nowhere: poll again all the same.
            capture.wait_readable(POLL_INTERVAL)?;
        } else {
            std::thread::yield_now();
        }
    }
    Ok(false)
}
