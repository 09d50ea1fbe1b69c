//! Preconditions of a run on this machine: privilege, `/proc/sys`, `/sys`, and limits of the process. They are checked once and before
//! the first trial, so that a machine that cannot run any says so in one sentence.

use std::{
    fs, io, iter,
    sync::mpsc::{Sender, channel},
    thread,
};

use procfs::process::Process;
use rustix::{
    param,
    process::{Resource, getrlimit},
};
use xdproof_netns::{Error, NetNs, PacketOptions, Worker};

/// Capabilities that a run needs: name, bit (include/uapi/linux/capability.h), purpose.
pub const CAPABILITIES: [(&str, u32, &str); 4] = [
    ("CAP_NET_ADMIN", 12, "to create links and attach programs"),
    ("CAP_NET_RAW", 13, "to send and receive frames"),
    ("CAP_SYS_ADMIN", 21, "to create network namespaces and count program runs"),
    ("CAP_BPF", 39, "to load programs"),
];

/// Stands for the privileged operations of BPF where a kernel before 5.8 has no `CAP_BPF`, and still includes it.
const SYS_ADMIN: u32 = 21;

/// The CPUs that a per-CPU map has values for.
const POSSIBLE_CPUS: &str = "/sys/devices/system/cpu/possible";

/// The id map of the calling process's user namespace, and its content in the machine's first one.
const UID_MAP: &str = "/proc/self/uid_map";
const ALL_IDS: [&str; 3] = ["0", "0", "4294967295"];

/// Threads of a run beside its trials, and those of one trial at once with the rigs that wait for it.
const THREADS: usize = 8;
const THREADS_EACH: usize = 28;

/// Descriptors of a run beside its trials, and those of one trial at once with the rigs that wait for it.
const DESCRIPTORS: u64 = 64;
const DESCRIPTORS_EACH: u64 = 128;

/// Address space in bytes of a run beside its threads, and of a thread. 58 threads took 1.1 GiB in all.
const ADDRESSES: u64 = 1 << 30;
const ADDRESSES_EACH: u64 = 8 << 20;

/// The reason why nothing can run on this machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PreconditionError {
    #[error("{} {}", missing.join(", "), if missing.len() == 1 { "is missing" } else { "are missing" })]
    Capabilities { missing: Vec<&'static str> },
    /// BPF needs the capabilities of the machine's first user namespace.
    #[error("the kernel refuses BPF in this user namespace, whatever capabilities it gives")]
    UserNamespace,
    #[error("failed to read {path}")]
    Sysfs { path: &'static str, source: io::Error },
    #[error("/proc/sys is read-only: failed to {0}")]
    ReadOnly(#[source] Error),
    #[error("failed to {0}")]
    Network(#[from] Error),
    #[error("failed to start the {threads} threads that {jobs} trials at once need")]
    Threads { threads: usize, jobs: usize, source: io::Error },
    #[error("{limit} is {allowed}, and {jobs} trials at once need {needed}")]
    Limit { limit: &'static str, allowed: String, needed: String, jobs: usize },
}

impl PreconditionError {
    /// Returns what to do about it.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Capabilities { .. } | Self::Network(_) => {
                "run as root (sudo xdproof ...), or in a container with --privileged"
            }
            Self::UserNamespace => "run as root of the machine, or in a container with --privileged",
            Self::Sysfs { .. } => "mount sysfs: mount -t sysfs sysfs /sys",
            Self::ReadOnly(_) => {
                "run the container with --privileged, or remount it: mount -o remount,rw /proc/sys"
            }
            Self::Threads { .. } => "raise pids.max of the control group or ulimit -u, or lower --jobs",
            Self::Limit { .. } => "raise the limit, or lower --jobs",
        }
    }
}

/// Checks everything that trials need of this machine, `jobs` of them at once.
///
/// # Errors
///
/// [`PreconditionError`], the first one that is found.
pub fn check(jobs: usize) -> Result<(), PreconditionError> {
    check_capabilities()?;
    check_limits(jobs)?;
    check_threads(jobs)?;
    fs::metadata(POSSIBLE_CPUS).map_err(|source| PreconditionError::Sysfs { path: POSSIBLE_CPUS, source })?;
    check_network()
}

/// Returns the names of the capabilities that are missing, if they can be read.
#[must_use]
pub fn missing_capabilities() -> Vec<&'static str> {
    let Ok(held) = Process::myself().and_then(|process| process.status()).map(|status| status.capeff) else {
        return Vec::new();
    };
    let has = |bit: u32| held >> bit & 1 == 1;
    let lacks = |&&(name, bit, _): &&(&str, u32, &str)| !(has(bit) || name == "CAP_BPF" && has(SYS_ADMIN));
    CAPABILITIES.iter().filter(lacks).map(|&(name, ..)| name).collect()
}

fn check_capabilities() -> Result<(), PreconditionError> {
    let missing = missing_capabilities();
    if !missing.is_empty() {
        return Err(PreconditionError::Capabilities { missing });
    }
    match fs::read_to_string(UID_MAP) {
        Ok(map) if !map.split_whitespace().eq(ALL_IDS) => Err(PreconditionError::UserNamespace),
        _ => Ok(()),
    }
}

fn check_limits(jobs: usize) -> Result<(), PreconditionError> {
    let each = u64::try_from(jobs).unwrap_or(u64::MAX);
    let threads = u64::try_from(threads(jobs)).unwrap_or(u64::MAX);
    let limits = [
        (
            Resource::Nofile,
            "ulimit -n (open files)",
            DESCRIPTORS + each.saturating_mul(DESCRIPTORS_EACH),
            1,
            "",
        ),
        (Resource::As, "ulimit -v (address space)", ADDRESSES + threads * ADDRESSES_EACH, 1024, " KiB"),
    ];
    for (resource, limit, needed, unit, name) in limits {
        // The command line raises the soft limit to the hard one.
        if let Some(allowed) = getrlimit(resource).current
            && allowed < needed
        {
            let [allowed, needed] = [allowed, needed].map(|value| format!("{}{name}", value / unit));
            return Err(PreconditionError::Limit { limit, allowed, needed, jobs });
        }
    }
    Ok(())
}

fn threads(jobs: usize) -> usize {
    jobs.saturating_mul(THREADS_EACH).saturating_add(THREADS)
}

/// Starts as many threads as a run has at once, and ends them.
fn check_threads(jobs: usize) -> Result<(), PreconditionError> {
    let threads = threads(jobs);
    let mut held: Vec<(Sender<()>, thread::JoinHandle<()>)> = Vec::new();
    let started = iter::repeat_with(|| {
        let (end, ended) = channel::<()>();
        // Each ends when its sender is dropped.
        let wait = move || ended.into_iter().for_each(drop);
        // They need no stack of their own.
        let thread = thread::Builder::new().stack_size(64 * param::page_size()).spawn(wait)?;
        Ok::<_, io::Error>((end, thread))
    });
    let mut result = Ok(());
    for thread in started.take(threads) {
        match thread {
            Ok(thread) => held.push(thread),
            Err(source) => {
                result = Err(PreconditionError::Threads { threads, jobs, source });
                break;
            }
        }
    }
    let (ends, started): (Vec<_>, Vec<_>) = held.into_iter().unzip();
    drop(ends);
    for thread in started {
        // Nothing in it panics.
        drop(thread.join());
    }
    result
}

/// Creates a namespace and opens a packet socket in it, as every trial does.
fn check_network() -> Result<(), PreconditionError> {
    let created = NetNs::create().and_then(|namespace| Worker::spawn(&namespace, "preconditions"));
    let worker = created.map_err(|error| match error.errno() {
        Some(errno) if errno == rustix::io::Errno::ROFS.raw_os_error() => PreconditionError::ReadOnly(error),
        _ => error.into(),
    })?;
    worker.call(|host| {
        let index = host.link(&"lo".parse()?)?.index;
        host.packet_socket(index, PacketOptions::default()).map(drop)
    })?;
    Ok(())
}
