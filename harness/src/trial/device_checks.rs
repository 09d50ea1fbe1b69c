//! What is found out about devices beside the trials: whether their statistics are true, whether an MTU that they accept is safe,
//! which rules of attaching hold on them.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use xdproof_netns::XdpFeatures;

use crate::{
    error::chain,
    exchange::{self, Manner, ObserveError, Ports},
    host::kernel_log::KernelLog,
    judge::findings::{self, Attached, Known},
    model::{
        device::DeviceRecord,
        finding::{Finding, FindingKind, KernelMessage, Weight},
        mode::Mode,
        result::{RuleResult, TrialRecord},
    },
    plan::support::{self, Support},
    program::ProgramError,
    suites::attach_semantics::{self, Bench, Device, Ground as RuleGround, Rule},
    testbed::{DevicePath, PortPair, StatisticsReading, path::PathError},
    trial::{
        lab::{Ground, Lab},
        rig::{Obstacle, Rig, RigKind, Wire},
    },
};

/// Frames by which statistics are tried. Less than any ring holds, in windows that the path takes.
const FRAMES: u32 = 100;

/// How long a driver may take to bring its statistics up to date: e1000's watchdog does so every two seconds.
const UP_TO_DATE: Duration = Duration::from_secs(4);

/// An MTU that needs several buffers of any driver's.
const JUMBO: u32 = 9000;

/// What is begun before the first trial.
#[derive(Debug)]
pub(crate) struct Watch {
    log: Option<KernelLog>,
    /// Of the DUT and the tester, where there are devices.
    counted: Vec<StatisticsReading>,
}

/// What is known when all trials have ended.
#[derive(Debug, Default)]
pub(crate) struct Examined {
    pub(crate) devices: Vec<DeviceRecord>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) kernel_messages: Vec<KernelMessage>,
    pub(crate) rules: Vec<RuleResult>,
}

/// Why something beside the trials could not be found out.
#[derive(Debug, thiserror::Error)]
enum ExamineError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    Observe(#[from] ObserveError),
    #[error(transparent)]
    Attach(#[from] ProgramError),
    #[error("failed to {0}")]
    Network(#[from] xdproof_netns::Error),
    #[error("{0}")]
    NoRig(String),
}

impl Watch {
    /// Listens to the kernel from now on, and reads what devices have counted.
    pub(crate) fn begin(ground: &Ground) -> Self {
        // What cannot be read is told at the end, when it cannot be read again.
        let counted = ground.devices().and_then(|path| readings(path).ok()).unwrap_or_default();
        Self { log: KernelLog::from_now().ok(), counted }
    }

    /// Finds out the rest. `rules` says whether the rules of attaching are tried, too. Once `cancelled` is set, nothing further is
    /// begun.
    pub(crate) fn end(
        mut self,
        lab: &Lab,
        trials: &[TrialRecord],
        rules: bool,
        cancelled: &AtomicBool,
    ) -> Examined {
        let mut examined = Examined::default();
        let go_on = || !cancelled.load(Ordering::Relaxed);
        if let Ground::Devices(path) = lab.ground() {
            examined.findings.clone_from(&path.findings);
            if path.lost() > 0 {
                let what = format!(
                    "{} of the frames do not arrive as they were sent, program or not; the trials that need them say which",
                    path.lost()
                );
                let (kind, weight) = (FindingKind::AlteredFrames, Weight::Note);
                let nic = Some(path.nic.clone());
                examined.findings.push(Finding { kind, weight, nic, mode: None, what });
            }
            let attached = lab.pool.attached();
            let unknown = unknown(lab, path);
            let known = Known {
                nic: &path.nic,
                advertised: path.advertised.map(|features| features.contains(XdpFeatures::BASIC)),
                attached: &attached,
                unknown: &unknown,
            };
            examined.findings.extend(findings::of_device(known, trials));
            for (&mode, _) in attached.iter().filter(|(_, outcome)| **outcome == Attached::Yes) {
                if go_on() {
                    examined.note(path, mode, "statistics", statistics(lab, path, mode));
                }
                if go_on() && mode == Mode::Native {
                    examined.note(path, mode, "the MTU", unsafe_mtu(lab, path));
                }
            }
            if go_on() && rules {
                let native = attached.get(&Mode::Native) == Some(&Attached::Yes);
                examined.rules = rules_on_device(lab, path, native, cancelled);
            }
        } else if rules {
            examined.rules = rules_on_veth(cancelled);
        }
        if let Ground::Devices(path) = lab.ground() {
            examined.devices = path.devices.to_vec();
            match readings(path) {
                Ok(after) => {
                    let both = after.iter().zip(&self.counted);
                    for (device, (after, before)) in examined.devices.iter_mut().zip(both) {
                        device.statistics = after.since(before);
                    }
                }
                Err(error) => {
                    let what = format!("the devices' statistics could not be read: {}", chain(&error));
                    let nic = Some(path.nic.clone());
                    let (kind, weight) = (FindingKind::Statistics, Weight::Warning);
                    examined.findings.push(Finding { kind, weight, nic, mode: None, what });
                }
            }
        }
        self.read_log(lab.ground(), &mut examined);
        examined
    }

    fn read_log(&mut self, ground: &Ground, examined: &mut Examined) {
        let messages = self.log.as_mut().and_then(|log| log.take().ok());
        match messages {
            Some(messages) => {
                examined.findings.extend(findings::of_kernel(&messages));
                examined.kernel_messages = messages;
            }
            None if ground.devices().is_some() => examined.findings.push(Finding {
                kind: FindingKind::KernelFault,
                weight: Weight::Note,
                nic: None,
                mode: None,
                what: "the kernel's log (/dev/kmsg) cannot be read here: a fault that it printed would not be seen".to_owned(),
            }),
            None => {}
        }
    }
}

/// What the DUT and the tester have counted.
fn readings(path: &DevicePath) -> Result<Vec<StatisticsReading>, ExamineError> {
    let PortPair { topology, dut, tester, .. } = &*path.testbed;
    Ok(vec![
        StatisticsReading::read(dut, topology.dut.index)?,
        StatisticsReading::read(tester, topology.tester.index)?,
    ])
}

impl Examined {
    /// Keeps a finding, or that it could not be looked for.
    fn note(
        &mut self,
        path: &DevicePath,
        mode: Mode,
        what: &str,
        found: Result<Option<Finding>, ExamineError>,
    ) {
        self.findings.extend(found.unwrap_or_else(|error| {
            let what = format!("{what} could not be examined: {}", chain(&error));
            Some(about(path, mode, FindingKind::Statistics, Weight::Warning, what))
        }));
    }
}

fn about(path: &DevicePath, mode: Mode, kind: FindingKind, weight: Weight, what: String) -> Finding {
    Finding { kind, weight, nic: Some(path.nic.clone()), mode: Some(mode), what }
}

/// The modes in which nothing is known of the DUT's driver.
fn unknown(lab: &Lab, path: &DevicePath) -> BTreeSet<Mode> {
    let lookup = |mode| {
        support::lookup(support::Request {
            driver: &path.driver,
            mode,
            kernel: lab.kernel(),
            mtu: path.usual_mtu,
            fragments: lab.takes_fragments(),
            page: rustix::param::page_size(),
        })
    };
    Mode::ATTACHED.into_iter().filter(|&mode| lookup(mode) == Support::Unknown).collect()
}

fn wire(lab: &Lab, kind: &RigKind) -> Result<Box<Wire>, ExamineError> {
    match lab.pool.take(lab.object(), kind) {
        Ok(Rig::Wire(wire)) => Ok(wire),
        Ok(Rig::Unattached(_)) => Err(ExamineError::NoRig("nothing is attached".to_owned())),
        Err(obstacle) => Err(ExamineError::NoRig(Obstacle::into_words(obstacle))),
    }
}

/// Sends frames of no protocol; gives how many reached the program, and how many came through.
fn send(lab: &Lab, wire: &mut Wire, frame: &[u8], times: u32) -> Result<(u64, u64), ExamineError> {
    let Wire { counter, sender, capture, returned, .. } = wire;
    let ports = Ports { sender, capture, returned };
    let manner = Manner { spread: true, ..lab.manner() };
    let seen = exchange::on_wire(counter, ports, std::iter::once((frame, times)), false, 0, manner)?;
    Ok((seen.ran, seen.passed.get(frame).copied().unwrap_or(0)))
}

/// Holds the kernel's statistics of the DUT against the frames that reached the program.
fn statistics(lab: &Lab, path: &DevicePath, mode: Mode) -> Result<Option<Finding>, ExamineError> {
    let index = path.testbed.topology.dut.index;
    let mut wire = wire(lab, &RigKind::usual(mode, lab.ground()))?;
    // What came before is in the statistics once they stand still.
    let before = still(path)?;
    let frame = exchange::closing_frame(0);
    let (ran, _) = send(lab, &mut wire, &frame, FRAMES)?;
    let counted = move |link: &xdproof_netns::Link| link.statistics.rx_packets.wrapping_sub(before) >= ran;
    let after = match path
        .testbed
        .dut
        .call(move |host| host.wait_link(index, "see the statistics grow", UP_TO_DATE, counted))
    {
        Ok(link) => link.statistics.rx_packets,
        Err(xdproof_netns::Error::Timeout { .. }) => {
            path.testbed.dut.call(move |host| host.link_by_index(index))?.statistics.rx_packets
        }
        Err(error) => return Err(error.into()),
    };
    let grown = after.wrapping_sub(before);
    Ok((grown != ran).then(|| {
        let what = format!("rx_packets of the DUT grew by {grown} for {ran} frames that reached the program");
        about(path, mode, FindingKind::Statistics, Weight::Warning, what)
    }))
}

/// The DUT's `rx_packets` when they have not changed for as long as a driver takes to bring them up to date; drivers that do so at
/// once are not waited for.
fn still(path: &DevicePath) -> Result<u64, ExamineError> {
    let index = path.testbed.topology.dut.index;
    let read = || path.testbed.dut.call(move |host| host.link_by_index(index));
    let mut last = read()?.statistics.rx_packets;
    if IMMEDIATE.contains(&path.driver.as_str()) {
        return Ok(last);
    }
    loop {
        let changed = move |link: &xdproof_netns::Link| link.statistics.rx_packets != last;
        match path
            .testbed
            .dut
            .call(move |host| host.wait_link(index, "see the statistics change", UP_TO_DATE, changed))
        {
            Ok(link) => last = link.statistics.rx_packets,
            Err(xdproof_netns::Error::Timeout { .. }) => return Ok(last),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Drivers that count each frame when they hand it up, and not by a timer (`ndo_get_stats64` of each).
const IMMEDIATE: [&str; 13] = [
    "veth",
    "virtio_net",
    "igb",
    "vmxnet3",
    "e1000e",
    "e100",
    "tulip",
    "8139cp",
    "8139too",
    "bridge",
    "macvlan",
    "tun",
    "bonding",
];

/// Whether the DUT accepts, with a linear program attached, an MTU whose frames then do not reach the program as they are.
fn unsafe_mtu(lab: &Lab, path: &DevicePath) -> Result<Option<Finding>, ExamineError> {
    if lab.takes_fragments() {
        return Ok(None);
    }
    lab.detach();
    let accepted_alone = match path.set_mtu(JUMBO) {
        Ok(()) => path.longest(JUMBO)? >= JUMBO as usize + HEADER,
        Err(PathError::Mtu { .. }) => false,
        Err(error) => return Err(error.into()),
    };
    path.set_mtu(path.usual_mtu)?;
    if !accepted_alone {
        return Ok(None);
    }
    let mut wire = wire(lab, &RigKind::usual(Mode::Native, lab.ground()))?;
    let accepted = match path.set_mtu_beneath(JUMBO) {
        Ok(()) => true,
        Err(PathError::Mtu { .. }) => false,
        Err(error) => return Err(error.into()),
    };
    let tried = if accepted {
        let mut frame = exchange::closing_frame(0);
        frame.resize(JUMBO as usize + HEADER, 0);
        send(lab, &mut wire, &frame, 1).map(Some)
    } else {
        Ok(None)
    };
    // While the program is there: virtio_net of Linux 6.1 and before does not let go of it at such an MTU, and the kernel warns of
    // that (`bpf_xdp_link_release()` of `net/core/dev.c`).
    path.set_mtu_beneath(path.usual_mtu)?;
    drop(wire);
    path.wait_running()?;
    Ok(tried?.filter(|&(ran, passed)| (ran, passed) != (1, 1)).map(|(ran, _)| {
        let fate = if ran == 0 { "does not reach the program" } else { "reaches the program and does not come through" };
        let what = format!(
            "an MTU of {JUMBO} is accepted while a program is attached that takes frames of one buffer, and a frame of that size {fate}"
        );
        about(path, Mode::Native, FindingKind::UnsafeMtu, Weight::Warning, what)
    }))
}

/// Of an Ethernet frame, in bytes.
const HEADER: usize = 14;

/// The rules that can be tried on a device.
fn rules_on_device(lab: &Lab, path: &DevicePath, native: bool, cancelled: &AtomicBool) -> Vec<RuleResult> {
    lab.detach();
    let device = Device {
        worker: &path.testbed.dut,
        index: path.testbed.topology.dut.index,
        driver: &path.driver,
        native,
    };
    let fits = |rule: &Rule| matches!(rule.ground, RuleGround::Device | RuleGround::NativeDevice);
    let rules = attach_semantics::table().into_iter().filter(fits);
    let named = |result| RuleResult { nic: path.nic.clone(), ..result };
    attempt(rules, cancelled, |bench, rule| bench.attempt_on(rule, &device)).into_iter().map(named).collect()
}

fn rules_on_veth(cancelled: &AtomicBool) -> Vec<RuleResult> {
    attempt(attach_semantics::table().into_iter().chain(attach_semantics::modes()), cancelled, Bench::attempt)
}

fn attempt(
    rules: impl Iterator<Item = Rule>,
    cancelled: &AtomicBool,
    attempt: impl Fn(&Bench, &Rule) -> attach_semantics::RuleRecord,
) -> Vec<RuleResult> {
    let bench = match Bench::open() {
        Ok(bench) => bench,
        Err(error) => return vec![RuleResult::not_tried(chain(&error))],
    };
    rules
        .take_while(|_| !cancelled.load(Ordering::Relaxed))
        .map(|rule| attempt(&bench, &rule).into())
        .collect()
}
