//! One virtual machine: what QEMU is started with, and how long it may live.
//!
//! Promises: QEMU dies with this process, whatever ends it, and what the machine said stays in files.

use std::{
    fs::File,
    io::Read as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, getppid, kill_process_group, set_parent_process_death_signal};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{PidfdFlags, pidfd_open},
};

use crate::{
    catalog::{Bus, Emulated, Nic, Tester},
    frames::{Damage, Decoder, Received},
    kernels::Kernel,
};

/// This program, even if its file was replaced since it was started.
const OURSELVES: &str = "/proc/self/exe";

/// The first argument by which this program becomes one that does not outlive its parent.
pub(crate) const BECOME: &str = "run-with-parent";

/// What QEMU exits with when the guest writes 42 to the port of `isa-debug-exit` (`(42 << 1) | 1`): nothing else gives it.
const DONE: i32 = 85;

/// Megabytes of a guest.
const MEMORY: &str = "768M";

/// The processor that QEMU executes with the fewest instructions, a sixth less than those of `max`: what that can do beyond it has to
/// be minded all the time (protection keys, five levels of pages) or does not get quicker by being emulated.
const PLAIN: &str = "qemu64";

/// What every kernel is told. What it thinks worth a warning goes to the console; an Oops is a panic, and a panic ends the machine. Where
/// this machine is busy, a timer that ticks late is no reason to panic at once (`check_timer` of the IO-APIC).
const COMMAND_LINE: &str = "console=ttyS0 loglevel=5 panic=-1 oops=panic no_timer_check";

/// And where QEMU executes every instruction. To ask security modules about each frame, and to keep a processor from guessing that
/// guesses nothing, took a seventh of them.
const EMULATED: &str = " lsm=capability audit=0 mitigations=off randomize_kstack_offset=off";

/// How often a machine is looked at.
const TICK: Duration = Duration::from_millis(50);

/// Who executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accelerator {
    /// The processor, by KVM.
    Kvm,
    /// QEMU, instruction by instruction.
    Tcg,
}

/// A machine to be started.
#[derive(Clone, Debug)]
pub(crate) struct Machine<'a> {
    pub(crate) accelerator: Accelerator,
    pub(crate) kernel: &'a Kernel,
    pub(crate) initrd: PathBuf,
    /// What sends to the emulated NICs.
    pub(crate) tester: &'a Tester,
    /// The emulated NICs, each with its number.
    pub(crate) nics: Vec<(usize, &'a Emulated)>,
    /// More for the kernel's command line.
    pub(crate) parameters: String,
    /// Where its console and its results go.
    pub(crate) console: PathBuf,
    pub(crate) results: PathBuf,
}

/// How long a machine may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// In all.
    pub(crate) whole: Duration,
    /// Without saying anything.
    pub(crate) silence: Duration,
}

/// How a machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// All that it had to do is done, and all of it came out.
    Whole,
    /// Something kept it from it: a sentence without its full stop.
    Broken(String),
    /// We were asked to end.
    Cancelled,
}

/// The address of a port: the NIC's number and which of the two it is.
pub(crate) fn address(nic: &Emulated, number: usize, port: Port) -> String {
    let (first, last) = match port {
        Port::Tester => (0x52, 0x0a),
        Port::Dut => (nic.first_octet, 0x0b),
    };
    format!("{first:02x}:54:00:00:{number:02x}:{last:02x}")
}

/// One of the two ports of a NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// The one that sends.
    Tester,
    /// The one under test.
    Dut,
}

/// A line of the guest's plan for a cell.
pub(crate) fn plan_line(tester: &Tester, nic: &Nic, number: usize) -> String {
    match nic {
        Nic::Emulated(nic) => format!(
            "{} emulated {} {} {} {}{}",
            nic.name,
            address(nic, number, Port::Tester),
            tester.driver,
            address(nic, number, Port::Dut),
            nic.driver,
            nic.window.map(|window| format!(" {window}")).unwrap_or_default()
        ),
        Nic::Software(nic) => {
            let mode = nic.mode.as_ref().map(|mode| format!(" {mode}")).unwrap_or_default();
            format!("{} software {}{mode}", nic.name, nic.setup.name())
        }
    }
}

impl Machine<'_> {
    /// QEMU's arguments.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let Self { accelerator, kernel, initrd, tester, nics, parameters, console, results } = self;
        let (acceleration, processor, more) = match accelerator {
            Accelerator::Kvm => ("kvm", "host", ""),
            Accelerator::Tcg => ("tcg,thread=multi", PLAIN, EMULATED),
        };
        let escaped = |path: &Path| path.display().to_string().replace(',', ",,");
        let command_line = format!("{COMMAND_LINE}{more} {parameters}");
        let mut arguments: Vec<String> = [
            "-machine",
            "q35",
            "-accel",
            acceleration,
            "-cpu",
            processor,
            "-smp",
            "1",
            "-m",
            MEMORY,
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-device",
            "isa-debug-exit,iobase=0xf4,iosize=0x04",
        ]
        .map(str::to_owned)
        .to_vec();
        let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
        add("-kernel", kernel.image.display().to_string());
        add("-initrd", initrd.display().to_string());
        add("-append", command_line.trim_end().to_owned());
        add("-serial", format!("file:{}", escaped(console)));
        add("-serial", format!("file:{}", escaped(results)));
        if nics.iter().any(|(_, nic)| nic.bus == Bus::Usb) {
            add("-device", "qemu-xhci,id=usb".to_owned());
        }
        for (number, nic) in nics {
            for side in ['a', 'b'] {
                add("-netdev", format!("hubport,id={side}{number},hubid={number}"));
            }
            let mac = address(nic, *number, Port::Tester);
            let Tester { device, several, single, .. } = tester;
            let how = if nic.window == Some(1) { single } else { several };
            add("-device", format!("{device},netdev=a{number},mac={mac},romfile=,{how}"));
            let place = match nic.bus {
                Bus::Root => "romfile=".to_owned(),
                Bus::RootPort => {
                    let slot = number + 1;
                    add("-device", format!("pcie-root-port,id=r{number},chassis={slot},slot={slot}"));
                    format!("romfile=,bus=r{number}")
                }
                Bus::Usb => "bus=usb.0".to_owned(),
            };
            let mac = address(nic, *number, Port::Dut);
            add("-device", format!("{},netdev=b{number},mac={mac},{place}", nic.device));
        }
        arguments
    }

    /// Runs it to its end. What comes out whole is given to `receive` as it comes.
    ///
    /// # Errors
    ///
    /// When QEMU cannot be started at all.
    pub(crate) fn run(
        &self,
        qemu: &Path,
        limits: Limits,
        cancelled: &AtomicBool,
        mut receive: impl FnMut(Received),
    ) -> Result<Ending> {
        let Limits { whole, silence } = limits;
        for file in [&self.console, &self.results] {
            File::create(file).with_context(|| format!("failed to make {}", file.display()))?;
        }
        let mut results = File::open(&self.results)?;
        let words = self.console.with_extension("qemu");
        let mut guard = Guard::start(qemu, &self.arguments(), &words)?;
        let begun = Instant::now();
        let mut decoder = Decoder::default();
        let (mut said, mut heard) = (0, begun);
        loop {
            let status = guard.child.try_wait().context("failed to wait for QEMU")?;
            for received in decoder.feed(&read_on(&mut results)?) {
                receive(received);
            }
            if let Some(status) = status {
                return Ok(ending(status, &decoder, &words));
            }
            let now_said = length(&self.console) + length(&self.results);
            if now_said != said {
                (said, heard) = (now_said, Instant::now());
            }
            if cancelled.load(Ordering::Relaxed) {
                return Ok(Ending::Cancelled);
            }
            if begun.elapsed() > whole {
                return Ok(Ending::Broken(format!("the guest was not done after {} s", whole.as_secs())));
            }
            if heard.elapsed() > silence {
                return Ok(Ending::Broken(format!(
                    "the guest hung: it said nothing for {} s",
                    silence.as_secs()
                )));
            }
            guard.wait(TICK)?;
        }
    }
}

/// QEMU while it runs: gone when this is dropped.
struct Guard {
    child: Child,
}

impl Guard {
    /// Returns when QEMU has ended, or after a while.
    fn wait(&self, most: Duration) -> Result<()> {
        let process = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty())?;
        let most = Timespec::try_from(most)?;
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&most)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn start(qemu: &Path, arguments: &[String], words: &Path) -> Result<Self> {
        let child = Command::new(OURSELVES)
            .arg(BECOME)
            .arg(std::process::id().to_string())
            .arg(qemu)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(words).with_context(|| format!("failed to make {}", words.display()))?)
            // Ctrl-C on the terminal is for us alone.
            .process_group(0)
            .spawn()
            .with_context(|| format!("failed to start {OURSELVES} for {}", qemu.display()))?;
        Ok(Self { child })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // It may end between the two calls.
        let _gone = group.map(|group| kill_process_group(group, Signal::KILL));
        let _reaped = self.child.wait();
    }
}

/// Becomes another program that the kernel kills when the parent ends: `run-with-parent PARENT PROGRAM ARGUMENT...`.
///
/// # Errors
///
/// Always: it returns only if it did not become it.
pub(crate) fn become_child(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> Result<()> {
    let parent = arguments.next().and_then(|parent| parent.to_str()?.parse().ok()).and_then(Pid::from_raw);
    let program = arguments.next().context("no program is named")?;
    // The thread that started us is meant, and it waits for us.
    set_parent_process_death_signal(Some(Signal::KILL)).context("failed to bind to the parent")?;
    if getppid() != parent {
        bail!("the parent is gone already");
    }
    Err(Command::new(&program).args(arguments).exec())
        .with_context(|| format!("failed to become {}", program.display()))
}

fn read_on(file: &mut File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).context("failed to read what the guest sent")?;
    Ok(bytes)
}

fn length(file: &Path) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.len())
}

/// What an exit of QEMU means.
fn ending(status: ExitStatus, decoder: &Decoder, words: &Path) -> Ending {
    let said = std::fs::read_to_string(words).unwrap_or_default();
    let said = if said.trim().is_empty() { String::new() } else { format!(" ({})", said.trim()) };
    match (status.code() == Some(DONE), decoder.finish()) {
        (true, Ok(())) => Ending::Whole,
        (true, Err(Damage(damage))) => Ending::Broken(damage),
        (false, _) if decoder.ended() => {
            Ending::Broken(format!("QEMU ended with {status} after the guest was done{said}"))
        }
        (false, _) => Ending::Broken(format!("QEMU ended with {status} before the guest was done{said}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Nics;

    fn nics() -> Nics {
        Nics::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("nics.toml")).unwrap()
    }

    fn kernel() -> Kernel {
        Kernel {
            name: "6.1".to_owned(),
            release: "6.1.0-52-amd64".to_owned(),
            image: PathBuf::from("/cache/vmlinux"),
            module_root: None,
            config: None,
        }
    }

    fn arguments(names: &[&str], accelerator: Accelerator) -> Vec<String> {
        let (nics, kernel) = (nics(), kernel());
        let chosen = nics.emulated.iter().enumerate().filter(|(_, nic)| names.contains(&nic.name.as_str()));
        Machine {
            accelerator,
            kernel: &kernel,
            initrd: PathBuf::from("/run/initrd"),
            tester: &nics.tester,
            nics: chosen.collect(),
            parameters: "xdproof.fault=panic@igb".to_owned(),
            console: PathBuf::from("/out/a,b/console.log"),
            results: PathBuf::from("/out/results"),
        }
        .arguments()
    }

    /// The values of an option.
    fn values<'a>(arguments: &'a [String], option: &str) -> Vec<&'a str> {
        arguments.windows(2).filter(|pair| pair[0] == option).map(|pair| pair[1].as_str()).collect()
    }

    #[test]
    fn a_nic_and_its_tester_sit_on_a_hub_of_their_own() {
        let arguments = arguments(&["virtio-net", "vmxnet3"], Accelerator::Tcg);
        assert_eq!(
            values(&arguments, "-netdev"),
            [
                "hubport,id=a0,hubid=0",
                "hubport,id=b0,hubid=0",
                "hubport,id=a2,hubid=2",
                "hubport,id=b2,hubid=2"
            ]
        );
        assert_eq!(
            values(&arguments, "-device")[1..],
            [
                "virtio-net-pci,netdev=a0,mac=52:54:00:00:00:0a,romfile=,tx=timer,x-txtimer=150000",
                "virtio-net-pci,netdev=b0,mac=52:54:00:00:00:0b,romfile=",
                "virtio-net-pci,netdev=a2,mac=52:54:00:00:02:0a,romfile=,tx=timer,x-txtimer=150000",
                "vmxnet3,netdev=b2,mac=52:54:00:00:02:0b,romfile=",
            ]
        );
    }

    #[test]
    fn igb_sits_behind_a_root_port() {
        let arguments = arguments(&["igb"], Accelerator::Tcg);
        assert_eq!(
            values(&arguments, "-device")[1..],
            [
                "virtio-net-pci,netdev=a1,mac=52:54:00:00:01:0a,romfile=,tx=timer,x-txtimer=150000",
                "pcie-root-port,id=r1,chassis=2,slot=2",
                "igb,netdev=b1,mac=52:54:00:00:01:0b,romfile=,bus=r1",
            ]
        );
    }

    #[test]
    fn frames_that_go_one_at_a_time_do_not_wait_for_others() {
        let devices = arguments(&["i82559er"], Accelerator::Tcg);
        let tester = values(&devices, "-device").into_iter().find(|device| device.contains("netdev=a"));
        assert!(tester.is_some_and(|tester| tester.ends_with(",ioeventfd=off") && !tester.contains("timer")));
    }

    #[test]
    fn a_usb_nic_brings_its_controller_and_has_no_rom() {
        let arguments = arguments(&["usb-net"], Accelerator::Tcg);
        let devices = values(&arguments, "-device");
        assert_eq!(devices[1], "qemu-xhci,id=usb");
        assert_eq!(
            devices[2],
            "virtio-net-pci,netdev=a8,mac=52:54:00:00:08:0a,romfile=,tx=timer,x-txtimer=150000"
        );
        assert_eq!(devices[3], "usb-net,netdev=b8,mac=40:54:00:00:08:0b,bus=usb.0");
    }

    #[test]
    fn a_machine_ends_on_a_panic_and_has_no_way_out_but_its_serial_ports() {
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
    fn a_guest_gets_its_plan_line_by_line() {
        let Nics { tester, .. } = nics();
        let nics = nics().all();
        let line = |name: &str| {
            let (number, nic) = nics.iter().enumerate().find(|(_, nic)| nic.name() == name).unwrap();
            plan_line(&tester, nic, number)
        };
        assert_eq!(line("igb"), "igb emulated 52:54:00:00:01:0a virtio_net 52:54:00:00:01:0b igb");
        assert_eq!(line("bond-802.3ad"), "bond-802.3ad software bond 802.3ad");
        assert_eq!(line("veth-pair"), "veth-pair software veth");
    }

    #[test]
    fn only_the_guests_own_word_and_a_whole_stream_make_an_ending_whole() {
        use std::os::unix::process::ExitStatusExt as _;
        let exited = |code: i32| ExitStatus::from_raw(code << 8);
        let mut whole = Decoder::default();
        whole.feed(b"{\"frame\":\"end\",\"frames\":0}\n");
        let cut = Decoder::default();
        let none = Path::new("/nonexistent");
        assert_eq!(ending(exited(DONE), &whole, none), Ending::Whole);
        for (status, decoder) in
            [(exited(0), &whole), (exited(1), &whole), (exited(DONE), &cut), (ExitStatus::from_raw(9), &cut)]
        {
            assert!(matches!(ending(status, decoder, none), Ending::Broken(_)), "{status:?}");
        }
    }
}
