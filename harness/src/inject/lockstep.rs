//! Sending from all CPUs at the same time: it shows a counter that CPUs share without atomic updates.
//!
//! Two CPUs lose an update only if they are within some nanoseconds of each other. CPUs that send as fast as they can meet in 1 of some
//! thousand frames; here they begin each frame together. Promises: frames are dealt to CPUs in the order of the scenario, all of them
//! are sent unless `rest` ends it early, and every thread gets back the affinity that it had.

use std::{
    io,
    panic::resume_unwind,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{inject::cpu::Pinned, model::observation::Overlap};

/// Time to wait for another thread before the CPU is offered to other processes: longer than a round takes. Threads that give it up
/// earlier seldom run at the same time on a busy machine.
const PATIENCE: Duration = Duration::from_micros(300);

/// The frames of a scenario, dealt to CPUs: one to each in each round.
#[derive(Debug)]
pub(crate) struct Deal<'a> {
    /// The frames in order, each with the number of frames up to its last repetition.
    frames: Vec<(u64, &'a [u8])>,
    cpus: u64,
}

/// The frames that were sent, and how far the CPUs overlapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Played {
    pub(crate) sent: u64,
    pub(crate) overlap: Overlap,
}

/// The meeting points of the threads.
#[derive(Debug, Default)]
struct Meeting {
    /// Frames that were sent by all threads but the first, and threads that wait to send their first one.
    ready: Line<AtomicU64>,
    /// Rounds that were begun.
    begun: Line<AtomicU64>,
    /// Set when no further round begins.
    over: Line<AtomicBool>,
    /// The plain counter of [`Overlap`], for one round: its loads and stores are apart.
    counter: Line<AtomicU64>,
}

/// A value on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line<T>(T);

/// Rounds between two rests. Frames of so many may be in flight.
const ROUNDS: u64 = 16;

impl<'a> Deal<'a> {
    pub(crate) fn new(frames: impl Iterator<Item = (&'a [u8], u32)>, cpus: usize) -> Self {
        let ends = frames.scan(0, |end, (frame, times)| {
            *end += u64::from(times);
            Some((*end, frame))
        });
        Self { frames: ends.collect(), cpus: u64::try_from(cpus).unwrap_or(u64::MAX).max(1) }
    }

    fn len(&self) -> u64 {
        self.frames.last().map_or(0, |(end, _)| *end)
    }

    fn rounds(&self) -> u64 {
        self.len().div_ceil(self.cpus)
    }

    /// Returns the number of frames in the first rounds.
    fn sent_in(&self, rounds: u64) -> u64 {
        rounds.saturating_mul(self.cpus).min(self.len())
    }

    /// Returns the frame of a CPU, by its place, in a round; the last round may have none for it.
    fn frame(&self, round: u64, place: u64) -> Option<&'a [u8]> {
        let number = round.checked_mul(self.cpus)?.checked_add(place)?;
        let after = self.frames.partition_point(|(end, _)| *end <= number);
        self.frames.get(after).map(|(_, bytes)| *bytes)
    }
}

/// Sends a deal, each frame from its CPU, all CPUs beginning a round at the same time. Every few rounds, when no CPU sends, and at the end
/// `rest` is called with the number of frames sent so far; if it returns false, no further round begins.
///
/// # Errors
///
/// The first error of `send` or `rest`, and `unpinned` of the kernel's refusal to keep a thread on a CPU.
pub(crate) fn play<S: Send, E: Send>(
    deal: &Deal<'_>,
    senders: impl IntoIterator<Item = (usize, S)>,
    send: impl Fn(&mut S, &[u8]) -> Result<(), E> + Sync,
    rest: impl FnMut(u64) -> Result<bool, E>,
    unpinned: fn(io::Error) -> E,
) -> Result<Played, E> {
    let meeting = Meeting::default();
    let mut senders = senders.into_iter();
    let Some((home, first)) = senders.next() else {
        return Ok(Played { sent: 0, overlap: Overlap::default() });
    };
    thread::scope(|scope| {
        let (meeting, send) = (&meeting, &send);
        let others: Vec<_> = (1..)
            .zip(senders)
            .map(|(place, (cpu, mut sender))| {
                scope.spawn(move || {
                    let departure = Departure { meeting, done: false };
                    let pinned = Pinned::on(cpu).map_err(unpinned)?;
                    let mut rounds = (0..deal.rounds()).take_while(|&round| meeting.follow(round));
                    rounds.try_for_each(|round| meeting.send(deal.frame(round, place), &mut sender, send))?;
                    drop(pinned);
                    departure.of_a_thread_that_is_done();
                    Ok(())
                })
            })
            .collect();
        let pinned = Pinned::on(home).map_err(unpinned);
        let led = pinned.and_then(|_pinned| lead(deal, meeting, others.len(), first, send, rest));
        meeting.over.0.store(true, Ordering::Release);
        let results =
            others.into_iter().map(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        results.collect::<Result<(), E>>().and(led)
    })
}

/// Begins the rounds and sends the frames of the first CPU.
fn lead<S, E>(
    deal: &Deal<'_>,
    meeting: &Meeting,
    others: usize,
    mut sender: S,
    send: &impl Fn(&mut S, &[u8]) -> Result<(), E>,
    mut rest: impl FnMut(u64) -> Result<bool, E>,
) -> Result<Played, E> {
    let others = u64::try_from(others).unwrap_or(u64::MAX);
    let mut overlap = Overlap::default();
    let mut round = 0;
    loop {
        let sent = deal.sent_in(round);
        let is_last = round == deal.rounds();
        if !meeting.gather(others.saturating_mul(round + 1)) {
            return Ok(Played { sent, overlap });
        }
        // The last round may not have had a frame for each.
        if round > 0 && sent == round * deal.cpus {
            overlap.updates += deal.cpus;
            overlap.lost += deal.cpus.saturating_sub(meeting.counter.0.load(Ordering::Acquire));
        }
        meeting.counter.0.store(0, Ordering::Release);
        let rests = is_last || round.is_multiple_of(ROUNDS);
        let goes_on = !rests || rest(sent)?;
        if is_last || !goes_on {
            return Ok(Played { sent, overlap });
        }
        meeting.begun.0.store(round + 1, Ordering::Release);
        meeting.send(deal.frame(round, 0), &mut sender, send)?;
        round += 1;
    }
}

impl Meeting {
    /// Sends a frame, and adds to the plain counter.
    fn send<S, E>(
        &self,
        frame: Option<&[u8]>,
        sender: &mut S,
        send: impl Fn(&mut S, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(frame) = frame else { return Ok(()) };
        send(sender, frame)?;
        let before = self.counter.0.load(Ordering::Relaxed);
        self.counter.0.store(before + 1, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until the others have sent so many frames; false if a thread has given up.
    fn gather(&self, frames: u64) -> bool {
        wait(|| self.ready.0.load(Ordering::Acquire) >= frames || self.over.0.load(Ordering::Acquire));
        !self.over.0.load(Ordering::Acquire)
    }

    /// Waits until a round begins; false if none does any more.
    fn follow(&self, round: u64) -> bool {
        self.ready.0.fetch_add(1, Ordering::AcqRel);
        wait(|| self.begun.0.load(Ordering::Acquire) > round || self.over.0.load(Ordering::Acquire));
        self.begun.0.load(Ordering::Acquire) > round
    }
}

/// Ends the part of a thread, and everything if the thread fails or panics.
struct Departure<'a> {
    meeting: &'a Meeting,
    done: bool,
}

impl Departure<'_> {
    fn of_a_thread_that_is_done(mut self) {
        self.done = true;
    }
}

impl Drop for Departure<'_> {
    fn drop(&mut self) {
        let Meeting { ready, over, .. } = self.meeting;
        if self.done {
            ready.0.fetch_add(1, Ordering::AcqRel);
        } else {
            over.0.store(true, Ordering::Release);
        }
    }
}

/// Waits until something is so, which is a matter of microseconds unless another process has the other thread's CPU.
fn wait(is_so: impl Fn() -> bool) {
    let mut begun = Instant::now();
    while !is_so() {
        if begun.elapsed() < PATIENCE {
            std::hint::spin_loop();
        } else {
            thread::yield_now();
            begun = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::inject::cpu;

    const FRAMES: [(&[u8], u32); 3] = [(b"a", 5), (b"b", 1), (b"c", 3)];

    fn deal(cpus: usize) -> Deal<'static> {
        Deal::new(FRAMES.into_iter(), cpus)
    }

    fn text(frame: Option<&[u8]>) -> &str {
        frame.map_or("", |frame| std::str::from_utf8(frame).unwrap())
    }

    #[test]
    fn frames_are_dealt_in_order_and_none_is_left() {
        let dealt = deal(2);
        let rounds: Vec<String> = (0..dealt.rounds())
            .map(|round| [0, 1].map(|place| text(dealt.frame(round, place))).concat())
            .collect();
        assert_eq!(rounds, ["aa", "aa", "ab", "cc", "c"]);
        assert_eq!([0, 1, 4, 5].map(|rounds| dealt.sent_in(rounds)), [0, 2, 8, 9]);
        assert_eq!(Deal::new(std::iter::empty(), 2).rounds(), 0);
    }

    /// Plays on all CPUs, twice on each so that there are two with one CPU; returns what was sent by whom.
    fn played(rest: impl FnMut(u64) -> Result<bool, String>) -> (Result<Played, String>, Vec<String>) {
        let cpus: Vec<usize> = cpu::allowed().unwrap().into_iter().flat_map(|cpu| [cpu, cpu]).collect();
        let sent: Vec<Mutex<String>> = cpus.iter().map(|_| Mutex::default()).collect();
        let send = |to: &mut &Mutex<String>, frame: &[u8]| {
            to.lock().unwrap().push_str(text(Some(frame)));
            Ok(())
        };
        let senders = cpus.iter().copied().zip(&sent);
        let result = play(&deal(cpus.len()), senders, send, rest, |error| error.to_string());
        (result, sent.into_iter().map(|sent| sent.into_inner().unwrap()).collect())
    }

    #[test]
    fn every_frame_is_sent_once_and_the_senders_rest_between_rounds() {
        let mut rests = Vec::new();
        let (result, sent) = played(|sent| {
            rests.push(sent);
            Ok(true)
        });
        let mut all: Vec<char> = sent.concat().chars().collect();
        all.sort_unstable();
        assert_eq!(all.into_iter().collect::<String>(), "aaaaabccc");
        assert_eq!(result.unwrap().sent, 9);
        assert_eq!((rests.first(), rests.last()), (Some(&0), Some(&9)));
    }

    #[test]
    fn no_round_begins_after_a_rest_that_says_so_or_fails() {
        let (result, sent) = played(|_| Ok(false));
        assert_eq!((result.unwrap().sent, sent.concat()), (0, String::new()));
        let (result, _) = played(|_| Err("no".to_owned()));
        assert_eq!(result.unwrap_err(), "no");
    }

    #[test]
    fn an_error_of_one_cpu_ends_it_for_all() {
        let cpus = cpu::allowed().unwrap();
        for works in [[true, false], [false, true]] {
            let senders = works.map(|works| (cpus[0], works));
            let send = |works: &mut bool, _: &[u8]| if *works { Ok(()) } else { Err("broken".to_owned()) };
            let result = play(&deal(2), senders, send, |_| Ok(true), |error| error.to_string());
            assert_eq!(result.unwrap_err(), "broken");
        }
    }
}
