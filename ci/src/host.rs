//! The host: the programs that it has for guests, and KVM.

use std::{env, path::PathBuf, sync::atomic::AtomicBool, time::Duration};

use anyhow::{Context as _, Result};
use fs_err as fs;

use crate::{
    catalog::Tester,
    fixtures::FixtureFiles,
    initrd::{self, GuestOptions, GuestPrograms},
    kernels::Kernel,
    qemu::{Accelerator, Ending, Machine, Timeouts},
    terminal::log,
};

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
        initrd::write(
            &initrd,
            &self.programs,
            kernel,
            &[],
            &[],
            &GuestOptions::default(),
            &FixtureFiles::default(),
        )?;
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
