//! Sending from one CPU after another, so that a counter that is not per CPU, or is on one alone, shows.
//!
//! A veth hands a frame to its peer on the CPU that sends it, and a test run runs where it is called, so the CPU that the
//! sending thread is on is the one that counts. Promises: the thread goes back to where it could be before.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Frames sent in a row before it is the next CPU's turn, where there are enough for all.
const LONGEST: u64 = 64;

/// Pins the calling thread to each CPU that the kernel lets it run on, in turn: every one that is online, or those of the
/// control group that it is in. An affinity that it was started with (`taskset`) is no limit.
#[derive(Debug)]
pub struct Turns {
    home: CpuSet,
    cpus: Vec<usize>,
    length: u64,
}

impl Turns {
    /// For a thread that is going to send `frames` frames.
    ///
    /// # Errors
    ///
    /// When the kernel does not say where the thread may run.
    pub fn new(frames: u64) -> io::Result<Self> {
        let mut turns = Self { home: sched_getaffinity(None)?, cpus: Vec::new(), length: 1 };
        // The kernel keeps of what it is given whatever is allowed (`__sched_setaffinity` in kernel/sched/syscalls.c).
        let mut all = CpuSet::new();
        (0..CpuSet::MAX_CPU).for_each(|cpu| all.set(cpu));
        sched_setaffinity(None, &all)?;
        let allowed = sched_getaffinity(None)?;
        turns.cpus = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
        turns.length = turn(frames, turns.cpus.len());
        Ok(turns)
    }

    /// The CPUs whose turn comes.
    #[must_use]
    pub fn cpus(&self) -> &[usize] {
        &self.cpus
    }

    /// Whether it is another CPU's turn to send the next frame, `sent` having been sent.
    #[must_use]
    pub fn is_over(&self, sent: u64) -> bool {
        sent.is_multiple_of(self.length)
    }

    /// Moves the calling thread to the CPU whose turn it is to send the next frame, `sent` having been sent.
    ///
    /// # Errors
    ///
    /// When the kernel refuses: a CPU may have gone offline.
    pub fn go(&self, sent: u64) -> io::Result<()> {
        let turns = usize::try_from(sent / self.length).map_err(io::Error::other)?;
        let Some(&cpu) = self.cpus.get(turns % self.cpus.len().max(1)) else { return Ok(()) };
        let mut only = CpuSet::new();
        only.set(cpu);
        Ok(sched_setaffinity(None, &only)?)
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        // It was the thread's own set a moment ago; if the kernel does not give it back, sending goes on where it is.
        let _kept = sched_setaffinity(None, &self.home);
    }
}

/// Frames in a turn, so that each of `cpus` has one if there are as many frames.
fn turn(frames: u64, cpus: usize) -> u64 {
    let share = u64::try_from(cpus).map_or(1, |cpus| frames / cpus.max(1));
    share.clamp(1, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cpu_has_a_turn_where_there_is_a_frame_for_each() {
        assert_eq!(turn(100_000, 2), LONGEST);
        assert_eq!(turn(100, 2), 50);
        assert_eq!(turn(7, 4), 1);
        assert_eq!(turn(0, 4), 1);
    }

    #[test]
    fn an_affinity_that_the_thread_was_given_is_no_limit_and_is_given_back() {
        let unlimited = Turns::new(1_000).unwrap().cpus().to_vec();
        let mut first = CpuSet::new();
        first.set(unlimited[0]);
        sched_setaffinity(None, &first).unwrap();
        let turns = Turns::new(1_000).unwrap();
        assert_eq!(turns.cpus(), unlimited);
        drop(turns);
        assert_eq!(sched_getaffinity(None).unwrap(), first);
    }

    #[test]
    fn the_thread_goes_where_it_is_sent_and_back() {
        let before = sched_getaffinity(None).unwrap();
        let turns = Turns::new(1_000).unwrap();
        assert!(!turns.cpus().is_empty());
        for (turn, &cpu) in (0..).zip(turns.cpus()) {
            turns.go(turn * turns.length).unwrap();
            assert_eq!(rustix::thread::sched_getcpu(), cpu);
        }
        drop(turns);
        assert_eq!(sched_getaffinity(None).unwrap(), before);
    }
}
