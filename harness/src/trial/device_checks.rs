//! Checks of devices beside the trials: their statistics against the frames, the safety of an MTU that they
//! accept, and the kernel log meanwhile.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use xdproof_netns::Host;

use crate::{
    error::chain,
    exchange::{self, ExchangeError, ExchangePorts, SendOptions},
    host::{interrupt, kernel_log::KernelLog},
    judge::findings::{self, Attached, Outcomes},
    model::{
        device::DeviceRecord,
        facts::Facts,
        finding::{Finding, FindingKind, KernelMessage, Severity},
        mode::Mode,
        result::{AttachTestRecord, TrialRecord},
        sink::Sink,
    },
    plan::{needs::Needs, support::Support},
    program::ProgramError,
    testbed::{PortPair, StatisticsReading, TestbedError},
    trial::{
        lab::Lab,
        rig::{AttachedRig, Rig, RigKind},
    },
};

/// Frames by which statistics are checked: fewer than any ring holds, in windows that the path takes.
const FRAMES: u32 = 100;

/// Time that a driver may take to update its statistics: e1000's watchdog does so every two seconds.
const STATS_UPDATE: Duration = Duration::from_secs(4);

/// An MTU whose frames need several buffers of any driver.
const JUMBO: u32 = 9000;

/// Ethernet header in bytes.
const HEADER: usize = 14;

/// Drivers that count each frame when they hand it up, and not by a timer (`ndo_get_stats64` of each).
const DRIVERS_WITH_LIVE_STATS: [&str; 13] = [
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

/// Another suite of a run: returns the results of its test cases. It stops early once the flag is set.
pub type Suite<'a> = &'a (dyn Fn(&Lab, &AtomicBool) -> Vec<AttachTestRecord> + Sync);

/// Readings from before the first trial.
#[derive(Debug)]
pub(crate) struct Watch {
    log: Option<KernelLog>,
    /// Statistics of the DUT and the tester; empty where the testbed creates its own ports.
    counted: Vec<StatisticsReading>,
}

/// Results of the checks and of other suites.
#[derive(Debug, Default)]
pub(crate) struct Examined {
    pub(crate) devices: Vec<DeviceRecord>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) kernel_messages: Vec<KernelMessage>,
    pub(crate) attach_semantics: Vec<AttachTestRecord>,
}

/// An error that keeps a check from being made.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error(transparent)]
    Testbed(#[from] TestbedError),
    #[error(transparent)]
    Observe(#[from] ExchangeError),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("failed to {0}")]
    Network(#[from] xdproof_netns::Error),
    #[error("{0}")]
    NoRig(String),
}

impl Watch {
    /// Listens to the kernel from now on, and reads the devices' statistics.
    pub(crate) fn begin(lab: &Lab) -> Self {
        // A failure shows at the end, when they cannot be read again.
        Self { log: KernelLog::from_now().ok(), counted: readings(lab).unwrap_or_default() }
    }

    /// Makes the checks, and runs other suites. Once `cancelled` is set, nothing further is begun.
    pub(crate) fn end(
        mut self,
        lab: &Lab,
        trials: &[TrialRecord],
        suites: &[Suite<'_>],
        cancelled: &AtomicBool,
    ) -> Examined {
        let facts = lab.testbed().facts();
        let mut examined = Examined { findings: lab.testbed().findings(), ..Examined::default() };
        let go_on = || !cancelled.load(Ordering::Relaxed);
        let on_devices = !lab.testbed().devices().is_empty();
        if on_devices {
            let attached = lab.pool.attached();
            let outcomes = Outcomes {
                nic: &facts.label,
                advertised: facts.advertises_native,
                attached: &attached,
                unknown: &unknown(lab),
            };
            examined.findings.extend(findings::of_device(outcomes, trials));
            for (&mode, _) in attached.iter().filter(|(_, outcome)| **outcome == Attached::Yes) {
                if go_on() {
                    examined.note(facts, mode, "statistics", statistics(lab, mode));
                }
                if go_on() && mode == Mode::Native {
                    examined.note(facts, mode, "the MTU", unsafe_mtu(lab));
                }
            }
        }
        for suite in suites.iter().filter(|_| go_on()) {
            examined.attach_semantics.extend(suite(lab, cancelled));
        }
        if on_devices {
            self.read_statistics(lab, &mut examined);
        }
        self.read_log(lab, &mut examined);
        examined
    }

    fn read_statistics(&self, lab: &Lab, examined: &mut Examined) {
        examined.devices = lab.testbed().devices().to_vec();
        match readings(lab) {
            Ok(after) => {
                let both = after.iter().zip(&self.counted);
                for (device, (after, before)) in examined.devices.iter_mut().zip(both) {
                    device.statistics = after.since(before);
                }
            }
            Err(error) => examined.findings.push(Finding {
                kind: FindingKind::Statistics,
                severity: Severity::Warning,
                nic: Some(lab.testbed().facts().label.clone()),
                mode: None,
                message: format!("the devices' statistics could not be read: {}", chain(&error)),
            }),
        }
    }

    fn read_log(&mut self, lab: &Lab, examined: &mut Examined) {
        let messages = self.log.as_mut().and_then(|log| log.take().ok());
        match messages {
            Some(messages) => {
                examined.findings.extend(findings::of_kernel(&messages));
                examined.kernel_messages = messages;
            }
            None if lab.testbed().devices().is_empty() => {}
            None => examined.findings.push(Finding {
                kind: FindingKind::KernelFault,
                severity: Severity::Note,
                nic: None,
                mode: None,
                message: "the kernel log (/dev/kmsg) cannot be read here: a WARN or BUG during the run would go unnoticed".to_owned(),
            }),
        }
    }
}

/// Reads the statistics of the DUT and the tester.
fn readings(lab: &Lab) -> Result<Vec<StatisticsReading>, CheckError> {
    if lab.testbed().devices().is_empty() {
        return Ok(Vec::new());
    }
    let PortPair { topology, dut, tester } = &*ports(lab)?;
    Ok(vec![
        StatisticsReading::read(dut, topology.dut.index)?,
        StatisticsReading::read(tester, topology.tester.index)?,
    ])
}

/// Returns the ports of a testbed whose pair is always the same, without changing their MTU.
fn ports(lab: &Lab) -> Result<std::sync::Arc<PortPair>, CheckError> {
    lab.testbed().pair().ok_or_else(|| CheckError::NoRig("the testbed has no ports of its own".to_owned()))
}

impl Examined {
    /// Keeps a finding, or that the check could not be made.
    fn note(&mut self, facts: &Facts, mode: Mode, what: &str, found: Result<Option<Finding>, CheckError>) {
        self.findings.extend(found.unwrap_or_else(|error| {
            let what = format!("{what} could not be examined: {}", chain(&error));
            Some(about(facts, mode, FindingKind::Statistics, Severity::Warning, what))
        }));
    }
}

fn about(facts: &Facts, mode: Mode, kind: FindingKind, severity: Severity, message: String) -> Finding {
    Finding { kind, severity, nic: Some(facts.label.clone()), mode: Some(mode), message }
}

/// Returns the modes in which the support table does not know the DUT's driver.
fn unknown(lab: &Lab) -> BTreeSet<Mode> {
    let facts = Facts { advertises_native: None, ..lab.testbed().facts().clone() };
    let conditions = crate::plan::eligibility::Conditions { facts: &facts, ..lab.conditions() };
    let is_unknown = |mode: &Mode| conditions.support(*mode, facts.usual_mtu) == Support::Unknown;
    Mode::ATTACHED.into_iter().filter(is_unknown).collect()
}

fn attached_rig(lab: &Lab, kind: &RigKind) -> Result<Box<AttachedRig>, CheckError> {
    match lab.pool.take(lab.object(), kind) {
        Ok(Rig::Attached(rig)) => Ok(rig),
        Ok(Rig::Detached(_)) => Err(CheckError::NoRig("nothing is attached".to_owned())),
        Err(error) => Err(CheckError::NoRig(error.to_string())),
    }
}

/// Sends frames of no protocol; returns how many reached the program, and how many the stack.
fn send(lab: &Lab, rig: &mut AttachedRig, frame: &[u8], times: u32) -> Result<(u64, u64), CheckError> {
    let AttachedRig { counter, sender, capture, returned, .. } = rig;
    let ports = ExchangePorts { sender, crowd: &mut [], capture, returned };
    let options = SendOptions { spread: true, ..lab.send_options() };
    let seen = exchange::run_attached(counter, ports, &std::iter::once((frame, times)), false, 0, options)?;
    Ok((seen.ran, seen.frames.get(&Sink::Stack).map_or(0, |stack| stack.times(frame))))
}

/// Compares the kernel's statistics of the DUT with the frames that reached the program.
fn statistics(lab: &Lab, mode: Mode) -> Result<Option<Finding>, CheckError> {
    let facts = lab.testbed().facts();
    let mut rig = attached_rig(lab, &RigKind::usual(mode, facts))?;
    // Earlier frames are in the statistics once these stand still.
    let before = settled_rx_packets(&rig.ports, facts)?;
    let frame = exchange::closing_frame(0);
    let (ran, _) = send(lab, &mut rig, &frame, FRAMES)?;
    let counted = move |link: &xdproof_netns::Link| link.statistics.rx_packets.wrapping_sub(before) >= ran;
    let after = rx_packets_once(&rig.ports, "see the statistics grow", counted)?;
    let after = after.map_or_else(|| rx_packets(&rig.ports), Ok)?;
    let grown = after.wrapping_sub(before);
    Ok((grown != ran).then(|| {
        let what = format!("rx_packets of the DUT grew by {grown} for {ran} frames that reached the program");
        about(facts, mode, FindingKind::Statistics, Severity::Warning, what)
    }))
}

fn rx_packets(ports: &PortPair) -> Result<u64, CheckError> {
    let index = ports.topology.dut.index;
    Ok(ports.dut.call(move |host| host.link_by_index(index))?.statistics.rx_packets)
}

/// Returns the DUT's `rx_packets` once the predicate holds; none if it does not within [`STATS_UPDATE`].
fn rx_packets_once(
    ports: &PortPair,
    awaited: &'static str,
    predicate: impl Fn(&xdproof_netns::Link) -> bool + Send + 'static,
) -> Result<Option<u64>, CheckError> {
    let index = ports.topology.dut.index;
    let wait = move |host: &mut Host| {
        interrupt::wait(STATS_UPDATE, |slice| host.wait_link(index, awaited, slice, &predicate))
    };
    match ports.dut.call(wait) {
        Ok(link) => Ok(Some(link.statistics.rx_packets)),
        Err(xdproof_netns::Error::Timeout { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns the DUT's `rx_packets` when they have not changed for as long as a driver takes to update them; drivers that count at
/// once are not waited for.
fn settled_rx_packets(ports: &PortPair, facts: &Facts) -> Result<u64, CheckError> {
    let mut last = rx_packets(ports)?;
    if DRIVERS_WITH_LIVE_STATS.contains(&facts.driver.as_str()) {
        return Ok(last);
    }
    loop {
        let changed = move |link: &xdproof_netns::Link| link.statistics.rx_packets != last;
        match rx_packets_once(ports, "see the statistics change", changed)? {
            Some(now) => last = now,
            None => return Ok(last),
        }
    }
}

/// Checks whether the DUT accepts, with a linear program attached, an MTU whose frames then do not reach the program unchanged.
fn unsafe_mtu(lab: &Lab) -> Result<Option<Finding>, CheckError> {
    if lab.conditions().takes_frags {
        return Ok(None);
    }
    lab.detach();
    let (testbed, facts) = (lab.testbed(), lab.testbed().facts());
    let usual = Needs::usual(facts);
    let accepted_alone = match testbed.acquire(&Needs { mtu: JUMBO, ..usual.clone() }) {
        Ok(_) => testbed.longest(JUMBO)? >= JUMBO as usize + HEADER,
        Err(TestbedError::Incapable(_)) => false,
        Err(error) => return Err(error.into()),
    };
    testbed.acquire(&usual)?;
    if !accepted_alone {
        return Ok(None);
    }
    let mut rig = attached_rig(lab, &RigKind::usual(Mode::Native, facts))?;
    let ports = std::sync::Arc::clone(&rig.ports);
    let accepted = match testbed.set_mtu(&ports, JUMBO) {
        Ok(()) => true,
        Err(TestbedError::Incapable(_)) => false,
        Err(error) => return Err(error.into()),
    };
    let sent = if accepted {
        let mut frame = exchange::closing_frame(0);
        frame.resize(JUMBO as usize + HEADER, 0);
        send(lab, &mut rig, &frame, 1).map(Some)
    } else {
        Ok(None)
    };
    // While the program is attached: virtio_net of Linux 6.1 and before does not detach it at such an MTU, and the kernel warns
    // of that (`bpf_xdp_link_release()` of `net/core/dev.c`).
    testbed.set_mtu(&ports, usual.mtu)?;
    drop(rig);
    testbed.set_offloads(&ports, &usual.offloads)?;
    Ok(sent?.filter(|&(ran, passed)| (ran, passed) != (1, 1)).map(|(ran, _)| {
        let fate = if ran == 0 { "does not reach the program" } else { "reaches the program but not the stack" };
        let what = format!(
            "the MTU {JUMBO} is accepted while a program without frags support is attached, and a frame of that size {fate}"
        );
        about(facts, Mode::Native, FindingKind::UnsafeMtu, Severity::Warning, what)
    }))
}
