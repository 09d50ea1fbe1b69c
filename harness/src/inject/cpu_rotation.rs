//! Sending from one CPU after another: it shows a counter that is not per CPU, or is on one CPU alone.
//!
//! A veth hands a frame to its peer on the CPU that sends it, and a test run runs where it is called: the CPU of the sending thread
//! is the one that counts. Promises: the thread gets back the affinity that it had.

use std::io;

use crate::inject::cpu::{RestoredAffinity, allowed, stay_on};

/// Most frames sent in a row from one CPU, where there are enough for all.
const LONGEST: u64 = 64;

/// Pins the calling thread to each CPU that is [allowed], in turn.
#[derive(Debug)]
pub struct CpuRotation {
    _restored: RestoredAffinity,
    cpus: Vec<usize>,
    length: u64,
}

impl CpuRotation {
    /// Prepares the calling thread to send `frames` frames.
    pub(crate) fn new(frames: u64) -> io::Result<Self> {
        let restored = RestoredAffinity::save()?;
        let cpus = allowed()?;
        let length = turn(frames, cpus.len());
        Ok(Self { _restored: restored, cpus, length })
    }

    pub(crate) fn cpus(&self) -> &[usize] {
        &self.cpus
    }

    /// Returns true if the next frame is another CPU's, after `sent` frames.
    pub(crate) fn is_due(&self, sent: u64) -> bool {
        sent.is_multiple_of(self.length)
    }

    /// Moves the calling thread to the CPU that sends the next frame, after `sent` frames.
    ///
    /// Fails if that CPU has gone offline.
    pub(crate) fn advance(&self, sent: u64) -> io::Result<()> {
        let turns = usize::try_from(sent / self.length).map_err(io::Error::other)?;
        let Some(&cpu) = self.cpus.get(turns % self.cpus.len().max(1)) else { return Ok(()) };
        stay_on(cpu)
    }
}

/// Returns the frames that a CPU sends in a row, so that each of `cpus` sends one if there are as many frames.
fn turn(frames: u64, cpus: usize) -> u64 {
    let share = u64::try_from(cpus).map_or(1, |cpus| frames / cpus.max(1));
    share.clamp(1, LONGEST)
}

#[cfg(test)]
mod tests {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    use super::*;

    #[test]
    fn each_cpu_sends_where_there_is_a_frame_for_each() {
        assert_eq!(turn(100_000, 2), LONGEST);
        assert_eq!(turn(100, 2), 50);
        assert_eq!(turn(7, 4), 1);
        assert_eq!(turn(0, 4), 1);
    }

    #[test]
    fn an_affinity_of_the_thread_is_no_limit_and_is_restored() {
        let unlimited = CpuRotation::new(1_000).unwrap().cpus().to_vec();
        let mut first = CpuSet::new();
        first.set(unlimited[0]);
        sched_setaffinity(None, &first).unwrap();
        let rotation = CpuRotation::new(1_000).unwrap();
        assert_eq!(rotation.cpus(), unlimited);
        drop(rotation);
        assert_eq!(sched_getaffinity(None).unwrap(), first);
    }

    #[test]
    fn the_thread_visits_each_cpu_and_returns() {
        let before = sched_getaffinity(None).unwrap();
        let rotation = CpuRotation::new(1_000).unwrap();
        assert!(!rotation.cpus().is_empty());
        for (turn, &cpu) in (0..).zip(rotation.cpus()) {
            rotation.advance(turn * rotation.length).unwrap();
            assert_eq!(rustix::thread::sched_getcpu(), cpu);
        }
        drop(rotation);
        assert_eq!(sched_getaffinity(None).unwrap(), before);
    }
}
