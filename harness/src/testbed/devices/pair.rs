//! Two devices of this host that are connected to each other: by a cable, a switch, an emulator's hub, or as the ends of a veth.
//!
//! Promises: nothing is changed before all [checks](preflight) have passed and all settings are [journaled](journal); while
//! the devices are claimed, each is isolated in a namespace of its own, and only the trial sends on them (no address, no ARP, no
//! IPv6); when the pair is restored, or dropped, or the process was killed and `xdproof restore` was run, they are as they were.
//!
//! The kernel keeps some devices in their namespace, above all bonds and bridges (`dev_change_net_namespace()` of
//! `net/core/dev.c` answers EINVAL): such a device is isolated among the host's interfaces, and so are its ports. Two things of a
//! bridge cannot be restored: it knows the tester's address until that ages, and once its MTU was set it no longer follows that
//! of its ports (`br_change_mtu()` of `net/bridge/br_device.c`).
//!
//! A service that manages interfaces (`NetworkManager`, `systemd-networkd`, `udev`) sees the devices disappear and reappear, and
//! may configure them when they do: exclude them from it.

use std::{
    fmt, mem,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use xdproof_netns::{Error, IfIndex, LinkName, Mounts, NetNs, PacketOptions, Worker};

use crate::{
    error::chain,
    exchange::PROBE_TYPE,
    host::interrupt::{self, Rounds},
    model::device::PortRole,
    testbed::{
        PortPair, Topology,
        devices::{
            journal::{self, JournalError, JournaledRun, Journals, Recovery},
            preflight::{self, Objection, PreflightError},
            route_order,
            snapshot::DeviceSettings,
            spanning_tree::{self, SpanningTree},
            step::{ClaimStep, RestoreOutcome, RestoredItem},
        },
        veth::bring_up,
    },
};

/// Deadline for the carrier of hardware, which negotiates for some seconds.
const CARRIER_TIMEOUT: Duration = Duration::from_secs(10);
/// Deadline for the carrier of two devices of [these kinds](AT_ONCE).
const VIRTUAL_CARRIER_TIMEOUT: Duration = Duration::from_secs(2);
/// Kinds of devices that have a carrier as soon as both ends are up, or never (`veth_open()` of `drivers/net/veth.c`). Others get
/// theirs from a lower device, in the background.
const AT_ONCE: [&str; 2] = ["veth", "tun"];
/// Deadline for the kernel to see that a device with a carrier is operational: milliseconds, unless many interfaces change at the same
/// time on a busy machine, for it takes the RTNL lock for that (`linkwatch_event()` of `net/core/link_watch.c`).
const OPERATIONAL_TIMEOUT: Duration = Duration::from_secs(30);
/// Deadline for the first probe to arrive.
const PROBE_TIMEOUT: Duration = Duration::from_millis(2_500);
/// Deadline where one device is a bond: in 802.3ad mode it waits for its partner before it forwards frames
/// (`AD_AGGREGATOR_SELECTION_TIMER` of 8 s and more, `drivers/net/bonding/bond_3ad.c`).
const BOND_PROBE_TIMEOUT: Duration = Duration::from_secs(15);
/// Interval between probes: igb and e1000 lose the first frames after their link is up.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);
/// Length in bytes of the shortest frame that no driver has to pad.
const PROBE_LENGTH: usize = 60;
const BOND: &str = "bond";
/// The kernel's answer when a device cannot leave its namespace.
const EINVAL: i32 = rustix::io::Errno::INVAL.raw_os_error();

/// Options for claiming devices.
#[derive(Clone, Debug)]
pub struct ClaimOptions {
    /// Claim them in spite of objections that [yield to force](Objection::yields_to_force).
    pub force: bool,
    /// Directory of the journals; see [`journal::directory`].
    pub journals: PathBuf,
    /// Called after each step, so that a test can end the process there.
    #[doc(hidden)]
    pub after_step: Option<fn(ClaimStep)>,
}

impl Default for ClaimOptions {
    fn default() -> Self {
        Self { force: false, journals: journal::directory(), after_step: None }
    }
}

/// The reason why two devices were not claimed. They are as they were, unless [`NotRestored`](Self::NotRestored) says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    #[error(
        "{device} cannot be both the DUT and the tester: name two interfaces that are connected to each other"
    )]
    Same { device: LinkName },
    #[error("no network interface is named {device} here")]
    NoDevice { device: LinkName },
    #[error("{device} is in use by another run of xdproof (process {process})")]
    InUse { device: LinkName, process: u32 },
    /// The checks found objections.
    #[error("{device} cannot be used: {}{}", listed(objections), hint(objections))]
    Rejected { device: LinkName, objections: Vec<Objection> },
    /// The checks failed.
    #[error("failed to check whether {device} can be used")]
    Preflight { device: LinkName, source: PreflightError },
    /// Nothing is plugged in, or the other end is down.
    #[error("{device} has no carrier after {waited:?}: check that it is connected to {other}")]
    NoCarrier { device: LinkName, other: LinkName, waited: Duration },
    /// No probe arrived.
    #[error(
        "no frame from {tester} reached {dut} within {waited:?}: check that they are connected to each other{stp}"
    )]
    NoPeer { tester: LinkName, dut: LinkName, waited: Duration, stp: SpanningTree },
    /// A killed run would take the namespaces of the devices with it, and virtual devices with them.
    #[error("a killed run would lose the devices, which only --force accepts: failed to {0}")]
    NotLasting(#[source] Error),
    /// A signal asked the run to end.
    #[error("interrupted before the devices were ready")]
    Interrupted,
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("failed to {0}")]
    Network(#[from] Error),
    /// The devices were not claimed, and not everything could be restored.
    #[error("{cause}; moreover, {left}")]
    NotRestored { cause: Box<DeviceError>, left: NotRestored },
}

fn listed(objections: &[Objection]) -> String {
    objections.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn hint(objections: &[Objection]) -> &'static str {
    if objections.iter().all(Objection::yields_to_force) { " (--force overrides this)" } else { "" }
}

/// Everything that could not be restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct NotRestored {
    /// Each thing, with its device and the reason.
    pub left: Vec<RestoredItem>,
    /// The journal is kept, so that `xdproof restore` can try again.
    pub kept: bool,
}

impl fmt::Display for NotRestored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = |item: &RestoredItem| format!("{}: {}: {}", item.device, item.what, item.outcome.reason());
        let items: Vec<_> = self.left.iter().map(each).collect();
        write!(f, "not everything could be restored: {}", items.join("; "))?;
        if self.kept {
            f.write_str(" (`xdproof restore` tries again, and `xdproof restore --discard` gives up)")?;
        }
        Ok(())
    }
}

/// Two devices of this host, up and connected, each isolated in a namespace of its own under its own name, unless the kernel
/// keeps it in place.
#[derive(Debug)]
pub struct DevicePair {
    pub testbed: Arc<PortPair>,
    /// Dead runs whose devices were restored before these were claimed.
    pub recovered: Vec<Recovery>,
    claim: Claim,
}

impl DevicePair {
    /// Claims two devices of the calling thread's namespace. Devices of this namespace that dead runs have left changed are
    /// restored first. Needs `CAP_SYS_ADMIN`, `CAP_NET_ADMIN` and `CAP_NET_RAW`.
    ///
    /// It takes as long as the devices need for a carrier (10 s at most, 2 s for veths and taps) and for the first probe that arrives
    /// (2.5 s at most, 15 s if one is a bond).
    ///
    /// # Errors
    ///
    /// [`DeviceError`]; the devices are restored.
    pub fn claim(dut: &LinkName, tester: &LinkName, options: ClaimOptions) -> Result<Self, DeviceError> {
        let ClaimOptions { force, journals, after_step } = options;
        let after_step = after_step.unwrap_or(|_| ());
        if dut == tester {
            return Err(DeviceError::Same { device: dut.clone() });
        }
        let origin = Worker::spawn(&NetNs::current()?, "origin")?;
        let mounts = match Mounts::lasting() {
            Err(_) if force => Mounts::default(),
            found => found.map_err(DeviceError::NotLasting)?,
        };
        let journals = Journals::lock(&journals, mounts)?;
        let recovered = journals.recover(&origin, false)?;
        let here = origin.namespace().inode()?;
        let examine = |role, device: &LinkName| match journals.holder_of(device, here)? {
            Some(process) => Err(DeviceError::InUse { device: device.clone(), process }),
            None => check(&origin, role, device, force),
        };
        let devices = [examine(PortRole::Tester, tester)?, examine(PortRole::Dut, dut)?];
        let indices = devices.each_ref().map(|settings| settings.index);
        let competing = origin.call(move |host| route_order::competing_routes(host, &indices))?;
        let run = journals.begin(&origin, devices.to_vec(), competing)?;
        // From here on, every end of this function restores the devices.
        let mut claim = Claim { run, origin, after_step, restored: false };
        after_step(ClaimStep::Journal);
        let linked = claim.isolate(&devices).and_then(|[tester, dut]| {
            // Others may claim devices now.
            drop(journals);
            let topology = link_up(&devices, &tester, &dut, after_step)?;
            Ok(PortPair { topology, tester, dut })
        });
        match linked {
            Ok(ports) => Ok(Self { testbed: Arc::new(ports), recovered, claim }),
            Err(cause) => match claim.restore() {
                Ok(()) => Err(cause),
                Err(left) => Err(DeviceError::NotRestored { cause: Box::new(cause), left }),
            },
        }
    }

    /// Moves both devices back and restores their settings. Drop the programs and sockets on them first: a program that a
    /// `bpf_link` holds moves along with its device.
    ///
    /// # Errors
    ///
    /// [`NotRestored`] names everything that is not as it was.
    pub fn restore(mut self) -> Result<(), NotRestored> {
        self.claim.restore()
    }
}

/// A claim on the devices of a run; dropping it restores them and reports nothing.
#[derive(Debug)]
struct Claim {
    run: JournaledRun,
    origin: Worker,
    after_step: fn(ClaimStep),
    restored: bool,
}

impl Claim {
    /// Isolates the tester and the DUT in namespaces of their own, their programs detached. A device that the kernel does not
    /// move is isolated in place.
    fn isolate(&mut self, devices: &[DeviceSettings; 2]) -> Result<[Worker; 2], DeviceError> {
        let Self { run, origin, after_step, .. } = self;
        let spawn = |role, label| -> Result<Worker, DeviceError> {
            let namespace = NetNs::create()?;
            run.hold(role, &namespace)?;
            Ok(Worker::spawn(&namespace, label)?)
        };
        let mut workers = [spawn(PortRole::Tester, "tester")?, spawn(PortRole::Dut, "dut")?];
        after_step(ClaimStep::Namespaces);
        if devices.iter().any(|device| !device.programs.is_empty()) {
            let pins = run.mount_pins()?;
            devices.iter().try_for_each(|device| device.detach_programs(origin, &pins))?;
        }
        after_step(ClaimStep::ProgramsDetached);
        for ((device, worker), (label, step)) in devices
            .iter()
            .zip(&mut workers)
            .zip([("tester", ClaimStep::TesterMoved), ("dut", ClaimStep::DutMoved)])
        {
            match device.move_to(origin, worker.namespace()) {
                Err(error) if error.errno() == Some(EINVAL) => {
                    run.stays_in_place(device.role)?;
                    device.isolate_in_place(origin)?;
                    *worker = Worker::spawn(origin.namespace(), label)?;
                }
                moved => moved?,
            }
            after_step(step);
        }
        Ok(workers)
    }

    fn restore(&mut self) -> Result<(), NotRestored> {
        if mem::replace(&mut self.restored, true) {
            return Ok(());
        }
        let mut items = self.run.restore(&self.origin, self.after_step);
        (self.after_step)(ClaimStep::Restored);
        let kept = match self.run.finish(&items) {
            Ok(ended) => !ended,
            Err(error) => {
                let outcome = RestoreOutcome::Failed(chain(&error));
                let (device, what) = ("journal".to_owned(), "removal".to_owned());
                items.push(RestoredItem { device, what, outcome });
                true
            }
        };
        items.retain(|item| item.outcome != RestoreOutcome::Done);
        if items.is_empty() { Ok(()) } else { Err(NotRestored { left: items, kept }) }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The journal is kept if something could not be restored: the next run reports it.
        drop(self.restore());
    }
}

/// Checks a device and reads its settings.
fn check(
    origin: &Worker,
    role: PortRole,
    device: &LinkName,
    force: bool,
) -> Result<DeviceSettings, DeviceError> {
    let name = device.clone();
    let link = match origin.call(move |host| host.link(&name)) {
        Err(Error::NoSuchLink { name }) => return Err(DeviceError::NoDevice { device: name }),
        link => link?,
    };
    let checked = link.clone();
    let objections = origin
        .run(move |host| preflight::objections(host, &checked))?
        .map_err(|source| DeviceError::Preflight { device: device.clone(), source })?;
    if objections.iter().any(|objection| !force || !objection.yields_to_force()) {
        return Err(DeviceError::Rejected { device: device.clone(), objections });
    }
    let mut settings = origin.call(move |host| DeviceSettings::read(host, role, &link))?;
    settings.lost_by_move = objections.iter().flat_map(Objection::losses).collect();
    Ok(settings)
}

/// Brings both devices up and waits until a frame arrives.
fn link_up(
    devices: &[DeviceSettings; 2],
    tester: &Worker,
    dut: &Worker,
    after_step: fn(ClaimStep),
) -> Result<Topology, DeviceError> {
    let [sending, receiving] = devices;
    let topology = Topology {
        tester: bring_up(tester, sending.name.clone())?,
        dut: bring_up(dut, receiving.name.clone())?,
    };
    let bonds = devices.iter().any(|settings| settings.kind.as_deref() == Some(BOND));
    let waited = carrier_timeout(devices.each_ref().map(|settings| settings.kind.as_deref()));
    let begun = Instant::now();
    for (worker, port, other) in
        [(tester, &topology.tester, &topology.dut), (dut, &topology.dut, &topology.tester)]
    {
        let (index, left) = (port.index, waited.saturating_sub(begun.elapsed()));
        let carrier = worker.call(move |host| {
            interrupt::wait(left, |slice| {
                host.wait_link(index, "see a carrier", slice, |link| link.carrier).map(drop)
            })
        });
        match carrier {
            Err(Error::Timeout { .. }) if interrupt::is_requested() => return Err(DeviceError::Interrupted),
            Err(Error::Timeout { .. }) => {
                let (device, other) = (port.name.clone(), other.name.clone());
                return Err(DeviceError::NoCarrier { device, other, waited });
            }
            seen => seen?,
        }
        let running = worker.call(move |host| {
            interrupt::wait(OPERATIONAL_TIMEOUT, |slice| host.wait_running(index, slice).map(drop))
        });
        match running {
            Err(Error::Timeout { .. }) if interrupt::is_requested() => return Err(DeviceError::Interrupted),
            running => running?,
        }
    }
    after_step(ClaimStep::Running);
    probe(&topology, tester, dut, if bonds { BOND_PROBE_TIMEOUT } else { PROBE_TIMEOUT })?;
    after_step(ClaimStep::Probed);
    Ok(topology)
}

/// Returns the deadline for the carrier of devices of these kinds, of which hardware has none.
fn carrier_timeout(kinds: [Option<&str>; 2]) -> Duration {
    let at_once = kinds.iter().all(|kind| kind.is_some_and(|kind| AT_ONCE.contains(&kind)));
    if at_once { VIRTUAL_CARRIER_TIMEOUT } else { CARRIER_TIMEOUT }
}

/// Returns bytes that no other probe of this machine has: the time since the boot in nanoseconds, and the process id.
fn nonce() -> [u8; 16] {
    let now = clock_gettime(ClockId::Boottime);
    let time = i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec);
    (time << 32 | i128::from(std::process::id())).to_ne_bytes()
}

/// Sends unique frames from the tester to the DUT's own address until the DUT's stack has received one. Frames of others do not
/// matter yet.
fn probe(topology: &Topology, tester: &Worker, dut: &Worker, waited: Duration) -> Result<(), DeviceError> {
    let open = |worker: &Worker, index: IfIndex| {
        worker.call(move |host| {
            host.packet_socket(index, PacketOptions { receive_buffer: 1 << 20, ..PacketOptions::default() })
        })
    };
    let (to, from) = (open(tester, topology.tester.index)?, open(dut, topology.dut.index)?);
    let nonce = nonce();
    let mut frame = [topology.dut.mac.0, topology.tester.mac.0].concat();
    frame.extend(PROBE_TYPE.iter().chain(b"xdproof probe ").chain(&nonce));
    frame.resize(PROBE_LENGTH, 0);
    let (mut rounds, mut waited, mut learning) = (Rounds::new(waited), waited, None);
    let mut buffer = [0; 2048];
    while rounds.next().is_some() {
        if interrupt::is_requested() {
            return Err(DeviceError::Interrupted);
        }
        // The next attempt follows if the ring is full or the link is not ready yet.
        drop(to.send(&frame));
        if !from.wait_readable(PROBE_INTERVAL)? {
            continue;
        }
        while let Some(received) = from.receive(&mut buffer)? {
            let received = &buffer[..received.len];
            if received.windows(nonce.len()).any(|window| window == nonce) {
                return Ok(());
            }
            if let (None, Some(delay)) = (learning, spanning_tree::forward_delay(received)) {
                // The port listens for one delay and learns for another one.
                learning = Some(delay);
                waited += delay * 2;
                rounds.extend(delay * 2);
            }
        }
    }
    let (tester, dut) = (topology.tester.name.clone(), topology.dut.name.clone());
    let stp = learning.map_or(SpanningTree::Silent, SpanningTree::Delays);
    Err(DeviceError::NoPeer { tester, dut, waited, stp })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_devices_that_have_a_carrier_at_once_or_never_are_waited_for_shortly() {
        for (kinds, expected) in [
            ([Some("veth"), Some("tun")], VIRTUAL_CARRIER_TIMEOUT),
            ([None, None], CARRIER_TIMEOUT),
            ([Some("veth"), Some("bridge")], CARRIER_TIMEOUT),
            ([Some("bond"), Some("veth")], CARRIER_TIMEOUT),
        ] {
            assert_eq!(carrier_timeout(kinds), expected, "{kinds:?}");
        }
    }
}
