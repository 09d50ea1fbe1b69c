//! CPU affinity of the sending thread.
//!
//! A frame that is sent on a CPU goes through that CPU's backlog (`netif_rx`), or is polled from a ring that keeps its order.
//! Frames that one thread sends therefore keep their order as long as it stays on one CPU, and only so long.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// Keeps the thread that made it on one CPU, until it is dropped.
#[derive(Debug)]
pub struct Pinned {
    _restored: RestoredAffinity,
}

impl Pinned {
    /// Keeps the calling thread on the CPU that it runs on.
    pub fn here() -> io::Result<Self> {
        Self::on(sched_getcpu())
    }

    /// Keeps the calling thread on a CPU.
    ///
    /// # Errors
    ///
    /// The kernel's: EINVAL for a CPU that does not exist or is not allowed.
    pub fn on(cpu: usize) -> io::Result<Self> {
        let restored = RestoredAffinity::save()?;
        stay_on(cpu)?;
        Ok(Self { _restored: restored })
    }
}

/// Returns the CPUs that the kernel lets this thread run on: every one that is online, or those of the control group that it is in. An
/// affinity that it was started with (`taskset`) is no limit.
///
/// # Errors
///
/// The kernel's.
pub fn allowed() -> io::Result<Vec<usize>> {
    let _restored = RestoredAffinity::save()?;
    // The kernel keeps of a set whatever is allowed (`__sched_setaffinity` in kernel/sched/syscalls.c).
    let mut all = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|cpu| all.set(cpu));
    sched_setaffinity(None, &all)?;
    let allowed = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect())
}

/// Limits the calling thread to one CPU.
pub(super) fn stay_on(cpu: usize) -> io::Result<()> {
    let mut only = CpuSet::new();
    only.set(cpu);
    Ok(sched_setaffinity(None, &only)?)
}

/// The affinity of the calling thread, which it gets back when this is dropped.
#[derive(Debug)]
pub(super) struct RestoredAffinity(CpuSet);

impl RestoredAffinity {
    pub(super) fn save() -> io::Result<Self> {
        Ok(Self(sched_getaffinity(None)?))
    }
}

impl Drop for RestoredAffinity {
    fn drop(&mut self) {
        // The set was valid before; if the kernel refuses it now, the thread stays where it is, which harms nothing.
        let _refused = sched_setaffinity(None, &self.0);
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
