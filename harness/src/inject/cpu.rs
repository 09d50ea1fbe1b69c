//! On which CPU frames are sent.
//!
//! A frame that is sent on a CPU goes through that CPU's backlog (`netif_rx`), or is polled from a ring that keeps its order.
//! So frames that one thread sends keep their order as long as it stays on one CPU, and only so long.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// While this is held, the thread that made it stays on one CPU.
#[derive(Debug)]
pub struct Pinned {
    before: CpuSet,
}

impl Pinned {
    /// Keeps the calling thread on the CPU that it runs on.
    ///
    /// # Errors
    ///
    /// What the kernel answered.
    pub fn here() -> io::Result<Self> {
        let before = sched_getaffinity(None)?;
        Self::to(sched_getcpu(), before)
    }

    /// Keeps the calling thread on a CPU.
    ///
    /// # Errors
    ///
    /// What the kernel answered: EINVAL for a CPU that is not there or not allowed.
    pub fn on(cpu: usize) -> io::Result<Self> {
        Self::to(cpu, sched_getaffinity(None)?)
    }

    fn to(cpu: usize, before: CpuSet) -> io::Result<Self> {
        let mut only = CpuSet::new();
        only.set(cpu);
        sched_setaffinity(None, &only)?;
        Ok(Self { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // It was so before; if the kernel refuses it now, the thread stays where it is, which harms nothing.
        let _refused = sched_setaffinity(None, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_may_run_on_one_cpu_and_later_on_all_again() {
        let before = sched_getaffinity(None).unwrap();
        let pinned = Pinned::here().unwrap();
        let allowed = sched_getaffinity(None).unwrap();
        assert_eq!(allowed.count(), 1);
        assert!(allowed.is_set(sched_getcpu()));
        drop(pinned);
        assert_eq!(sched_getaffinity(None).unwrap(), before);
    }
}
