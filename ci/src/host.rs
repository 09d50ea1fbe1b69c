//! The host: its tools, the programs that it has for guests, and KVM.

use std::{
    env, iter,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::AtomicBool,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;

use crate::{
    catalog::Tester,
    command,
    initrd::{self, GuestOptions, GuestPrograms},
    kernels::Kernel,
    qemu::{Accelerator, Ending, Machine, Timeouts},
    terminal::log,
};

/// Path of the dynamic linker, which `PT_INTERP` of a dynamically linked program names.
const DYNAMIC_LINKER: &[u8] = b"/lib64/ld-linux-x86-64.so.2\0";

/// Limit of the boot that tests KVM.
const BOOT_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) qemu: PathBuf,
    pub(crate) accelerator: Accelerator,
    pub(crate) programs: GuestPrograms,
}

impl Host {
    /// Returns KVM if the CPU has it and a guest boots with it: an existing `/dev/kvm` proves nothing.
    pub(crate) fn usable_accelerator(
        &self,
        tester: &Tester,
        kernel: &Kernel,
        cancelled: &AtomicBool,
    ) -> Accelerator {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let flags = cpuinfo.lines().filter(|line| line.starts_with("flags"));
        let has_kvm = flags.flat_map(str::split_ascii_whitespace).any(|flag| flag == "vmx" || flag == "svm");
        if !has_kvm || fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
            return Accelerator::Tcg;
        }
        let reason = match self.boot_with_kvm(tester, kernel, cancelled) {
            Ok(Ending::Complete) => return Accelerator::Kvm,
            Ok(Ending::Failed(reason)) => reason,
            Ok(Ending::Cancelled) => "cancelled".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        log(&format!("no guest boots with KVM, using emulation: {reason}"));
        Accelerator::Tcg
    }

    /// Boots a guest that has no cells.
    fn boot_with_kvm(&self, tester: &Tester, kernel: &Kernel, cancelled: &AtomicBool) -> Result<Ending> {
        let scratch = tempfile::tempdir()?;
        let initrd = scratch.path().join("initrd");
        initrd::write(&initrd, &self.programs, kernel, &[], &[], &GuestOptions::default())?;
        let machine = Machine {
            accelerator: Accelerator::Kvm,
            kernel,
            initrd,
            tester,
            nics: Vec::new(),
            parameters: String::new(),
            console: scratch.path().join("console.log"),
            results: scratch.path().join("results"),
        };
        let timeouts = Timeouts { total: BOOT_TIMEOUT, silence: BOOT_TIMEOUT };
        machine.run(&self.qemu, timeouts, cancelled, drop)
    }
}

/// Returns the directory of this program, in which `ci/matrix` builds the others.
pub(crate) fn own_directory() -> Result<PathBuf> {
    let program = env::current_exe().context("failed to find this program")?;
    Ok(program.parent().context("this program is in no directory")?.to_owned())
}

/// Fails if a program is linked dynamically: a guest has no libraries.
pub(crate) fn check_static(program: &Path) -> Result<()> {
    let bytes = fs::read(program)?;
    ensure!(bytes.starts_with(b"\x7fELF"), "{} is not an ELF file", program.display());
    let head = bytes.get(..4096).unwrap_or(&bytes);
    let is_dynamic = head.windows(DYNAMIC_LINKER.len()).any(|window| window == DYNAMIC_LINKER);
    ensure!(!is_dynamic, "{} is not linked statically; `ci/matrix` builds it so", program.display());
    Ok(())
}

/// Finds a program of the host.
pub(crate) fn find(name: &str) -> Result<PathBuf> {
    let path = command::path();
    let found = env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file());
    found.with_context(|| format!("{name} is not installed; `ci/bootstrap --matrix` installs it"))
}

/// Returns a dynamically linked program and its libraries, at the paths where it looks for them.
pub(crate) fn with_libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let libraries = command::text(Command::new("ldd").arg(program))?;
    // `libmnl.so.0 => /lib/x86_64-linux-gnu/libmnl.so.0 (0x00007f)`, or only the path for the dynamic linker.
    let path = |line: &str| {
        let path = line.rsplit("=> ").next()?.trim().split(' ').next()?;
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    Ok(iter::once(program.to_owned()).chain(libraries.lines().filter_map(path)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_comes_with_its_libraries_and_its_dynamic_linker() {
        let sort = find("ldd").and_then(|_| find("sort")).unwrap();
        let files = with_libraries(&sort).unwrap();
        assert_eq!(files[0], sort);
        for part in ["libc.so", "ld-linux"] {
            let is_it = |file: &PathBuf| file.is_file() && file.to_string_lossy().contains(part);
            assert!(files.iter().any(is_it), "{files:?} without {part}");
        }
        assert!(check_static(&sort).is_err_and(|error| error.to_string().contains("not linked statically")));
    }
}
