//! The machine and its kernel: version, build, processor and the options on which results depend.

use std::{fs, io, time::SystemTime};

use xdproof_scenarios::KernelVersion;

use crate::model::environment::{Environment, ProgramIdentity};

/// Returns the record of this machine with the program under test, as a result has it.
pub fn environment(program: ProgramIdentity) -> io::Result<Environment> {
    Ok(Environment {
        xdproof: env!("CARGO_PKG_VERSION").to_owned(),
        kernel_release: kernel("osrelease")?,
        kernel_version: kernel("version")?,
        architecture: std::env::consts::ARCH.to_owned(),
        cpu_model: cpu_model(),
        cpus_available: std::thread::available_parallelism()?.get(),
        bpf_jit: bpf_jit(),
        program,
    })
}

/// Returns the running kernel's version.
///
/// # Errors
///
/// When `/proc` cannot be read, or the release does not begin with a version.
pub fn kernel_version() -> io::Result<KernelVersion> {
    let release = kernel("osrelease")?;
    KernelVersion::from_release(&release)
        .ok_or_else(|| io::Error::other(format!("the kernel's release `{release}` has no version")))
}

/// Returns `net.core.bpf_jit_enable`, if this kernel has it and it can be read.
#[must_use]
pub fn bpf_jit() -> Option<u8> {
    fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").ok()?.trim().parse().ok()
}

/// Returns the kernel's release, as `uname -r` prints it.
pub fn kernel_release() -> io::Result<String> {
    kernel("osrelease")
}

/// Returns true if a hypervisor can be detected: by the flags of `/proc/cpuinfo` (x86), in the device tree
/// (arm64), or by its files.
#[must_use]
pub fn is_virtual() -> bool {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = text.lines().find(|line| line.starts_with("flags"));
    let flagged = flags.is_some_and(|flags| flags.split_ascii_whitespace().any(|flag| flag == "hypervisor"));
    let places = ["/proc/device-tree/hypervisor", "/sys/hypervisor/type", "/sys/firmware/qemu_fw_cfg"];
    flagged || places.iter().any(|place| std::path::Path::new(place).exists())
}

/// Returns true if the kernel counts the runs of all programs (`kernel.bpf_stats_enabled`), which slows down
/// each run.
#[must_use]
pub fn counts_runs() -> bool {
    kernel("bpf_stats_enabled").is_ok_and(|enabled| enabled != "0")
}

/// Returns the seconds from 1970-01-01 UTC to now; none if the clock was never set.
#[must_use]
pub fn seconds_since_1970() -> Option<u64> {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

fn kernel(name: &str) -> io::Result<String> {
    Ok(fs::read_to_string(format!("/proc/sys/kernel/{name}"))?.trim().to_owned())
}

/// Returns the processor's model, if the kernel names it.
#[must_use]
pub fn cpu_model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
