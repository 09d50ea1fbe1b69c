//! The machine: its identity, and its state while something is measured.

use std::{
    collections::BTreeMap,
    fs, io,
    time::{Duration, Instant},
};

use procfs::{CurrentSI as _, KernelStats};
use rustix::time::{ClockId, clock_gettime};

use crate::{
    host::kernel,
    model::{Fingerprint, MeasuredDevice, Tolerance},
};

/// Counters of the kernel since boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineReading {
    at: Instant,
    /// Milliseconds stolen by the hypervisor, over all CPUs. The kernel counts them in ticks.
    stolen_ms: u64,
    /// Frames dropped because a CPU's backlog was full, over all CPUs.
    softnet_dropped: u64,
}

/// The difference of two readings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Meanwhile {
    /// Time stolen by the hypervisor, as a share of one CPU's time.
    pub steal: f64,
    /// Frames dropped because a CPU's backlog was full.
    pub softnet_dropped: u64,
}

impl MachineReading {
    /// Reads `/proc`.
    pub fn take() -> io::Result<Self> {
        let stolen = KernelStats::current().map_err(io::Error::other)?.total.steal_ms();
        let softnet = fs::read_to_string("/proc/net/softnet_stat")?;
        let softnet_dropped = softnet_dropped(&softnet)
            .ok_or_else(|| io::Error::other("/proc/net/softnet_stat has no number of drops"))?;
        Ok(Self { at: Instant::now(), stolen_ms: stolen.unwrap_or(0), softnet_dropped })
    }

    /// Returns the difference to an earlier reading.
    #[must_use]
    pub fn since(&self, before: &Self) -> Meanwhile {
        let elapsed = self.at.saturating_duration_since(before.at).as_secs_f64();
        let stolen = Duration::from_millis(self.stolen_ms.saturating_sub(before.stolen_ms)).as_secs_f64();
        Meanwhile {
            steal: if elapsed > 0.0 { stolen / elapsed } else { 0.0 },
            softnet_dropped: self.softnet_dropped.saturating_sub(before.softnet_dropped),
        }
    }
}

/// Sums the second number of each line, in hexadecimal, over the CPUs (`softnet_seq_show()` of
/// `net/core/net-procfs.c`).
fn softnet_dropped(text: &str) -> Option<u64> {
    text.lines().map(|line| u64::from_str_radix(line.split_ascii_whitespace().nth(1)?, 16).ok()).sum()
}

/// Returns the CPU time of the calling thread in nanoseconds (`CLOCK_THREAD_CPUTIME_ID`).
#[must_use]
pub fn thread_cpu_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let whole = u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000;
    whole + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Returns the default tolerance of this machine.
#[must_use]
pub fn tolerance() -> Tolerance {
    if kernel::is_virtual() { Tolerance::VM } else { Tolerance::BARE_METAL }
}

/// Idle time of each CPU since boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdleTimes(Vec<u64>);

impl IdleTimes {
    /// Reads `/proc/stat`.
    pub fn read() -> io::Result<Self> {
        let stats = KernelStats::current().map_err(io::Error::other)?;
        Ok(Self(stats.cpu_time.iter().map(|cpu| cpu.idle).collect()))
    }

    /// Returns the CPUs that the calling thread may run on, the one first that has been idle most since these
    /// times were read. Call it after something that takes a while and little CPU time, such as [loading
    /// programs](super::programs::Programs::load).
    pub fn quietest_since(&self) -> io::Result<Vec<usize>> {
        let allowed = rustix::thread::sched_getaffinity(None)?;
        let allowed = (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu));
        Ok(self.quietest(&Self::read()?, allowed.collect()))
    }

    fn quietest(&self, now: &Self, mut cpus: Vec<usize>) -> Vec<usize> {
        let of = |times: &Self, cpu: usize| times.0.get(cpu).copied().unwrap_or(0);
        let idle = |cpu| of(now, cpu).saturating_sub(of(self, cpu));
        cpus.sort_by_key(|&cpu| std::cmp::Reverse((idle(cpu), cpu)));
        cpus
    }
}

/// Returns the identity of this machine, without which absolute figures cannot be compared. The caller gives
/// `cpus`, because it is pinned to one itself.
pub fn fingerprint(program: String, cpus: usize, device: Option<MeasuredDevice>) -> io::Result<Fingerprint> {
    Ok(Fingerprint {
        kernel: kernel::kernel_release()?,
        cpu_model: kernel::cpu_model(),
        cpus,
        virtual_machine: kernel::is_virtual(),
        bpf_jit: kernel::bpf_jit(),
        mitigations: mitigations(),
        program,
        device,
    })
}

fn mitigations() -> BTreeMap<String, String> {
    let Ok(files) = fs::read_dir("/sys/devices/system/cpu/vulnerabilities") else { return BTreeMap::new() };
    let read = |file: io::Result<fs::DirEntry>| {
        let file = file.ok()?;
        let text = fs::read_to_string(file.path()).ok()?;
        Some((file.file_name().to_string_lossy().into_owned(), text.trim().to_owned()))
    };
    files.filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_of_the_backlog_are_summed_over_the_cpus() {
        let text = "0000272d 00000000 00000001 0 0 0 0 0 0 0 0 0 00000000\n00034d1a 0000001f 00000045 0 0 0 0 0 0 0 0 0 00000001\n";
        assert_eq!(softnet_dropped(text), Some(31));
        assert_eq!(softnet_dropped("nothing"), None);
    }

    #[test]
    fn the_share_that_was_stolen_is_of_the_time_between() {
        let at = Instant::now();
        let before = MachineReading { at, stolen_ms: 100, softnet_dropped: 5 };
        let after = MachineReading { at: at + Duration::from_secs(1), stolen_ms: 150, softnet_dropped: 7 };
        assert_eq!(after.since(&before), Meanwhile { steal: 0.05, softnet_dropped: 2 });
    }

    #[test]
    fn the_clock_of_a_thread_goes_while_it_works() {
        let before = thread_cpu_time();
        let mut sum = 0_u64;
        while thread_cpu_time() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(thread_cpu_time() > before);
    }

    #[test]
    fn the_cpu_that_was_idle_most_comes_first_whatever_it_was_before() {
        let (before, now) = (IdleTimes(vec![900, 10, 50]), IdleTimes(vec![905, 40, 80]));
        assert_eq!(before.quietest(&now, vec![0, 1, 2]), [2, 1, 0]);
        assert_eq!(before.quietest(&now, vec![0, 1]), [1, 0]);
    }

    #[test]
    fn each_cpu_that_may_be_used_is_named_once() {
        let mut cpus = IdleTimes::read().unwrap().quietest_since().unwrap();
        assert!(!cpus.is_empty());
        cpus.sort_unstable();
        cpus.windows(2).for_each(|pair| assert_ne!(pair[0], pair[1]));
    }
}
