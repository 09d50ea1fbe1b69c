//! One virtual machine: QEMU's arguments, process and timeouts.
//!
//! Promises: QEMU never outlives this process, and the machine's output stays in files.

use std::{
    io::Read as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{self, Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use fs_err::{self as fs, File};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open},
};

use crate::{
    catalog::{Bus, Emulated, Nic, Software, Tester},
    kernels::Kernel,
    protocol::{Decoder, Message},
};

/// Exit status after the guest wrote 42 to the port of `isa-debug-exit` (`(42 << 1) | 1`); nothing else causes it.
const GUEST_DONE: i32 = 85;

/// Arguments of every machine.
const ARGUMENTS: &str = "-machine q35 -smp 1 -m 768M -nodefaults -no-user-config -display none -no-reboot \
                         -device isa-debug-exit,iobase=0xf4,iosize=0x04";

/// CPU model of an emulated machine. It takes a sixth fewer host instructions than `max`, whose further features have to be
/// checked all the time (protection keys, five-level paging) or are no faster when emulated.
const TCG_CPU: &str = "qemu64";

/// Kernel command line. Warnings go to the console; an Oops is a panic, and a panic ends the machine. On a busy host, a late
/// timer interrupt is no reason to panic while booting (`check_timer` of the IO-APIC).
const COMMAND_LINE: &str = "console=ttyS0 loglevel=5 panic=-1 oops=panic no_timer_check";

/// Further kernel parameters of an emulated machine. Security modules asked about every frame, and mitigations for a CPU
/// that does not speculate, took a seventh of its instructions.
const TCG_COMMAND_LINE: &str = " lsm=capability audit=0 mitigations=off randomize_kstack_offset=off";

/// Frames in flight to an emulated NIC without a limit of its own.
const DEFAULT_WINDOW: u16 = 64;

/// Interval at which a machine's output is read.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accelerator {
    Kvm,
    /// Emulation by QEMU.
    Tcg,
}

#[derive(Clone, Debug)]
pub(crate) struct Machine<'a> {
    pub(crate) accelerator: Accelerator,
    pub(crate) kernel: &'a Kernel,
    pub(crate) initrd: PathBuf,
    pub(crate) tester: &'a Tester,
    pub(crate) nics: Vec<&'a Emulated>,
    /// Further kernel parameters.
    pub(crate) parameters: String,
    /// Output of the first serial port.
    pub(crate) console: PathBuf,
    /// Output of the second serial port.
    pub(crate) results: PathBuf,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    pub(crate) total: Duration,
    /// Without any output.
    pub(crate) silence: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The guest ran its plan, and its output is complete.
    Complete,
    /// An infrastructure failure.
    Failed(String),
    Cancelled,
}

/// Returns the MAC addresses of the tester and of the NIC, in QEMU's range: the fifth octet is the NIC's number, the sixth tells
/// the ports apart.
fn mac_addresses(nic: &Emulated) -> (String, String) {
    let (number, first_octet) = (nic.number, nic.first_octet.unwrap_or(0x52));
    (format!("52:54:00:00:{number:02x}:0a"), format!("{first_octet:02x}:54:00:00:{number:02x}:0b"))
}

/// Returns the line of a NIC's cell in the guest's plan.
pub(crate) fn plan_line(tester: &Tester, nic: &Nic) -> String {
    match nic {
        Nic::Emulated(nic) => {
            let (tester_mac, mac) = mac_addresses(nic);
            let (Emulated { name, driver, .. }, window) = (nic, nic.window.unwrap_or(DEFAULT_WINDOW));
            format!("{name} emulated {tester_mac} {} {mac} {driver} {window}", tester.driver)
        }
        Nic::Software(Software { name, setup, mode, .. }) => {
            format!("{name} software {setup} {}", mode.as_deref().unwrap_or_default())
        }
    }
}

impl Machine<'_> {
    pub(crate) fn arguments(&self) -> Vec<String> {
        let Self { accelerator, kernel, initrd, tester, nics, parameters, console, results } = self;
        let (acceleration, cpu, more) = match accelerator {
            Accelerator::Kvm => ("kvm", "host", ""),
            Accelerator::Tcg => ("tcg,thread=multi", TCG_CPU, TCG_COMMAND_LINE),
        };
        let escaped = |path: &Path| path.display().to_string().replace(',', ",,");
        let mut arguments: Vec<String> = ARGUMENTS.split(' ').map(str::to_owned).collect();
        let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
        add("-accel", acceleration.to_owned());
        add("-cpu", cpu.to_owned());
        add("-kernel", kernel.image.display().to_string());
        add("-initrd", initrd.display().to_string());
        add("-append", format!("{COMMAND_LINE}{more} {parameters}").trim_end().to_owned());
        add("-serial", format!("file:{}", escaped(console)));
        add("-serial", format!("file:{}", escaped(results)));
        if nics.iter().any(|nic| nic.bus == Bus::Usb) {
            add("-device", "qemu-xhci,id=usb".to_owned());
        }
        for nic in nics {
            let number = nic.number;
            for side in ['a', 'b'] {
                add("-netdev", format!("hubport,id={side}{number},hubid={number}"));
            }
            let (tester_mac, mac) = mac_addresses(nic);
            let Tester { device, batched, unbatched, .. } = tester;
            let properties = if nic.window == Some(1) { unbatched } else { batched };
            add("-device", format!("{device},netdev=a{number},mac={tester_mac},romfile=,{properties}"));
            let bus = match nic.bus {
                Bus::Root => "romfile=".to_owned(),
                Bus::RootPort => {
                    let slot = number + 1;
                    add("-device", format!("pcie-root-port,id=r{number},chassis={slot},slot={slot}"));
                    format!("romfile=,bus=r{number}")
                }
                Bus::Usb => "bus=usb.0".to_owned(),
            };
            add("-device", format!("{},netdev=b{number},mac={mac},{bus}", nic.device));
        }
        arguments
    }

    /// Runs the machine until it ends and passes the messages of the guest to `receive` as they arrive.
    ///
    /// # Errors
    ///
    /// If QEMU cannot be started or observed.
    pub(crate) fn run(
        &self,
        qemu: &Path,
        timeouts: Timeouts,
        cancelled: &AtomicBool,
        mut receive: impl FnMut(Message),
    ) -> Result<Ending> {
        let Timeouts { total, silence } = timeouts;
        for file in [&self.console, &self.results] {
            File::create(file)?;
        }
        let mut results = File::open(&self.results)?;
        let stderr = self.console.with_extension("qemu");
        let mut qemu = Qemu::start(qemu, &self.arguments(), &stderr)?;
        let begun = Instant::now();
        let mut decoder = Decoder::default();
        let (mut length, mut last_output) = (0, begun);
        loop {
            let status = qemu.child.try_wait().context("failed to wait for QEMU")?;
            let mut bytes = Vec::new();
            results.read_to_end(&mut bytes)?;
            decoder.feed(&bytes).into_iter().for_each(&mut receive);
            if let Some(status) = status {
                return Ok(ending(status, &decoder, &stderr));
            }
            let file_length = |file: &PathBuf| file.metadata().map_or(0, |metadata| metadata.len());
            let new_length = file_length(&self.console) + file_length(&self.results);
            if new_length != length {
                (length, last_output) = (new_length, Instant::now());
            }
            if cancelled.load(Ordering::Relaxed) {
                return Ok(Ending::Cancelled);
            }
            if begun.elapsed() > total {
                return Ok(Ending::Failed(format!("the guest did not finish within {} s", total.as_secs())));
            }
            if last_output.elapsed() > silence {
                return Ok(Ending::Failed(format!("the guest hung: no output for {} s", silence.as_secs())));
            }
            qemu.wait(POLL_INTERVAL)?;
        }
    }
}

/// A QEMU process, killed when dropped.
struct Qemu {
    child: Child,
}

impl Qemu {
    /// Starts QEMU so that the kernel kills it when this thread ends. After `prctl(PR_SET_PDEATHSIG)`, the shell checks that
    /// the parent had not ended before.
    fn start(qemu: &Path, arguments: &[String], stderr: &Path) -> Result<Self> {
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "sh", "-c", r#"test "$PPID" = "$0" && exec "$@""#])
            .arg(process::id().to_string())
            .arg(qemu)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::from(File::create(stderr)?))
            // Ctrl-C on the terminal must not reach it.
            .process_group(0)
            .spawn()
            .with_context(|| format!("failed to start setpriv for {}", qemu.display()))?;
        Ok(Self { child })
    }

    /// Waits for the process to end, up to a limit.
    fn wait(&self, limit: Duration) -> Result<()> {
        let process = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty())?;
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&Timespec::try_from(limit)?)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // It may end between the two calls.
        let _ended = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _reaped = self.child.wait();
    }
}

/// Interprets QEMU's exit status.
fn ending(status: ExitStatus, decoder: &Decoder, stderr: &Path) -> Ending {
    let when = match (status.code() == Some(GUEST_DONE), decoder.finish()) {
        (true, Ok(())) => return Ending::Complete,
        (true, Err(error)) => return Ending::Failed(error),
        (false, Ok(())) => "after",
        (false, Err(_)) => "before",
    };
    let stderr = fs::read_to_string(stderr).unwrap_or_default();
    let stderr = if stderr.trim().is_empty() { String::new() } else { format!(" ({})", stderr.trim()) };
    Ending::Failed(format!("QEMU ended with {status} {when} the guest was done{stderr}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Nics;

    fn nics() -> Nics {
        Nics::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("nics.toml")).unwrap()
    }

    fn arguments(names: &[&str], accelerator: Accelerator) -> Vec<String> {
        let nics = nics();
        let kernel = Kernel { image: PathBuf::from("/cache/vmlinux"), ..Kernel::default() };
        let chosen = nics.nics.iter().filter_map(|nic| match nic {
            Nic::Emulated(nic) if names.contains(&nic.name.as_str()) => Some(nic),
            _ => None,
        });
        let machine = Machine {
            accelerator,
            kernel: &kernel,
            initrd: PathBuf::from("/run/initrd"),
            tester: &nics.tester,
            nics: chosen.collect(),
            parameters: "xdproof.fault=panic@igb".to_owned(),
            console: PathBuf::from("/out/a,b/console.log"),
            results: PathBuf::from("/out/results"),
        };
        machine.arguments()
    }

    /// Returns the values of an option.
    fn values<'a>(arguments: &'a [String], option: &str) -> Vec<&'a str> {
        arguments.windows(2).filter(|pair| pair[0] == option).map(|pair| pair[1].as_str()).collect()
    }

    #[test]
    fn a_nic_and_its_tester_have_a_hub_of_their_own() {
        let devices = |nics: &[&str], expected: &[&str]| {
            let arguments = arguments(nics, Accelerator::Tcg);
            assert_eq!(values(&arguments, "-device")[1..], *expected);
            values(&arguments, "-netdev").join(" ")
        };
        let hubs = devices(
            &["virtio-net", "vmxnet3"],
            &[
                "virtio-net-pci,netdev=a0,mac=52:54:00:00:00:0a,romfile=,tx=timer,x-txtimer=150000",
                "virtio-net-pci,netdev=b0,mac=52:54:00:00:00:0b,romfile=",
                "virtio-net-pci,netdev=a2,mac=52:54:00:00:02:0a,romfile=,tx=timer,x-txtimer=150000",
                "vmxnet3,netdev=b2,mac=52:54:00:00:02:0b,romfile=",
            ],
        );
        let two_hubs = ["id=a0,hubid=0", "id=b0,hubid=0", "id=a2,hubid=2", "id=b2,hubid=2"];
        assert_eq!(hubs, two_hubs.map(|port| format!("hubport,{port}")).join(" "));
        devices(
            &["igb"],
            &[
                "virtio-net-pci,netdev=a1,mac=52:54:00:00:01:0a,romfile=,tx=timer,x-txtimer=150000",
                "pcie-root-port,id=r1,chassis=2,slot=2",
                "igb,netdev=b1,mac=52:54:00:00:01:0b,romfile=,bus=r1",
            ],
        );
        // A window of one frame disables batching.
        devices(
            &["i82559er"],
            &[
                "virtio-net-pci,netdev=a7,mac=52:54:00:00:07:0a,romfile=,ioeventfd=off",
                "i82559er,netdev=b7,mac=52:54:00:00:07:0b,romfile=",
            ],
        );
        // A USB device has no ROM.
        devices(
            &["usb-net"],
            &[
                "qemu-xhci,id=usb",
                "virtio-net-pci,netdev=a8,mac=52:54:00:00:08:0a,romfile=,tx=timer,x-txtimer=150000",
                "usb-net,netdev=b8,mac=40:54:00:00:08:0b,bus=usb.0",
            ],
        );
    }

    #[test]
    fn a_machine_ends_on_a_panic_and_has_only_serial_ports() {
        let arguments = arguments(&[], Accelerator::Kvm);
        assert_eq!(
            values(&arguments, "-append"),
            ["console=ttyS0 loglevel=5 panic=-1 oops=panic no_timer_check xdproof.fault=panic@igb"]
        );
        for flag in ["-nodefaults", "-no-user-config", "-no-reboot"] {
            assert!(arguments.iter().any(|argument| argument == flag), "{flag}");
        }
        assert_eq!(values(&arguments, "-serial"), ["file:/out/a,,b/console.log", "file:/out/results"]);
        assert_eq!(values(&arguments, "-accel"), ["kvm"]);
        assert_eq!(values(&arguments, "-cpu"), ["host"]);
        assert!(values(&arguments, "-netdev").is_empty());
    }

    #[test]
    fn a_plan_line_names_ports_and_drivers() {
        let Nics { tester, nics, .. } = nics();
        let line = |name: &str| plan_line(&tester, nics.iter().find(|nic| nic.name() == name).unwrap());
        assert_eq!(line("igb"), "igb emulated 52:54:00:00:01:0a virtio_net 52:54:00:00:01:0b igb 64");
        assert_eq!(line("bond-802.3ad"), "bond-802.3ad software bond 802.3ad");
        assert_eq!(line("veth-pair"), "veth-pair software veth ");
    }

    #[test]
    fn only_the_guests_exit_status_and_a_complete_stream_make_an_ending_complete() {
        use std::os::unix::process::ExitStatusExt as _;
        let exited = |code: i32| ExitStatus::from_raw(code << 8);
        let mut complete = Decoder::default();
        complete.feed(b"{\"message\":\"end\",\"messages\":0}\n");
        let truncated = Decoder::default();
        let none = Path::new("/nonexistent");
        assert_eq!(ending(exited(GUEST_DONE), &complete, none), Ending::Complete);
        for (status, decoder) in [
            (exited(0), &complete),
            (exited(1), &complete),
            (exited(GUEST_DONE), &truncated),
            (ExitStatus::from_raw(9), &truncated),
        ] {
            assert!(matches!(ending(status, decoder, none), Ending::Failed(_)), "{status:?}");
        }
    }
}
