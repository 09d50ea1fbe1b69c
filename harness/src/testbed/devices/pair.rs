//! Two devices of this host that are wired together: by a cable, a switch, a hub of an emulator, or as the ends of a veth.
//!
//! Promises: nothing is changed before everything that speaks against it was looked at and everything that is set was written
//! down ([`journal`]); while they are taken, each is alone in a namespace of its own, and nothing speaks on them but the trial
//! (no address, no ARP, no IPv6); when the pair is given back, or dropped, or the process was killed and `xdproof restore` was
//! called, they are as they were.
//!
//! The kernel keeps some devices in their namespace, bonds and bridges above all (`dev_change_net_namespace()` of
//! `net/core/dev.c` answers EINVAL): such a device stays among the host's interfaces, as silent as it would be elsewhere, and so
//! do its ports. Two things of a bridge cannot be put back: it knows the tester's address until that ages, and once its MTU was
//! set it does not follow its ports' any more (`br_change_mtu()` of `net/bridge/br_device.c`).
//!
//! A service that manages interfaces (`NetworkManager`, `systemd-networkd`, `udev`) sees them go and come back, and may set them up
//! in its own way when they do: have it leave them alone.

use std::{
    fmt, mem,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use xdproof_netns::{Error, Host, IfIndex, LinkName, NetNs, PacketOptions, Worker};

use crate::model::device::PortRole;
use crate::testbed::{
    PortPair, Topology,
    devices::{
        journal::{self, JournalError, Journals, Recovery, Run},
        preflight::{self, LookError, Objection},
        restore::{DeviceSettings, Outcome, PutBack},
        route_order,
    },
    veth::bring_up,
};

/// How long hardware may take to have a carrier: negotiating takes it some seconds.
const CARRIER: Duration = Duration::from_secs(10);
/// How long a virtual device may take, which has it at once or never.
const VIRTUAL_CARRIER: Duration = Duration::from_secs(2);
/// How long to try whether a frame comes through.
const PROBING: Duration = Duration::from_millis(2_500);
/// How long to try it where a bond is: one by 802.3ad waits for its partner before it lets frames through
/// (`AD_AGGREGATOR_SELECTION_TIMER` of 8 s and more, `drivers/net/bonding/bond_3ad.c`).
const BOND_PROBING: Duration = Duration::from_secs(15);
/// The kind of a bond.
const BOND: &str = "bond";
/// What the kernel answers when a device is to leave that has to stay.
const EINVAL: i32 = rustix::io::Errno::INVAL.raw_os_error();
/// How long to wait for one probe: igb and e1000 lose the first frames after their link is up.
const PROBE_AGAIN: Duration = Duration::from_millis(20);
/// "IEEE Std 802 - Local Experimental Ethertype 1".
const PROBE_TYPE: [u8; 2] = [0x88, 0xb5];
/// The shortest frame that no driver has to pad.
const PROBE_LENGTH: usize = 60;

/// How devices are taken.
#[derive(Clone, Debug)]
pub struct TakeOptions {
    /// Take them in spite of objections that [yield to force](Objection::yields_to_force).
    pub force: bool,
    /// Where the journal is; see [`journal::directory`].
    pub journals: PathBuf,
    /// Called behind each step, so that a test can end the process there.
    #[doc(hidden)]
    pub behind: Option<fn(Step)>,
}

impl Default for TakeOptions {
    fn default() -> Self {
        Self { force: false, journals: journal::directory(), behind: None }
    }
}

/// A step of taking devices, or of giving them back.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The journal is written.
    Journal,
    /// The namespaces are made and held.
    Namespaces,
    /// XDP programs are off, and kept.
    Programs,
    /// The tester is in its namespace, or silent where it has to stay.
    TesterMoved,
    /// The DUT is in its namespace, or silent where it has to stay.
    DutMoved,
    /// Both run.
    Running,
    /// A probe has come through.
    Probed,
    /// The tester is back among the interfaces of the host.
    TesterHome,
    /// The DUT is back among the interfaces of the host.
    DutHome,
    /// What belongs to the links is set.
    LinksSet,
    /// XDP programs are attached again.
    ProgramsBack,
    /// Offloads are set.
    OffloadsSet,
    /// Both are up or down as they were.
    SwitchedOn,
    /// Addresses, routes and neighbours are entered.
    RecordsEntered,
    /// All was put back, and the journal is not yet gone.
    PutBack,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 15] = [
        Self::Journal,
        Self::Namespaces,
        Self::Programs,
        Self::TesterMoved,
        Self::DutMoved,
        Self::Running,
        Self::Probed,
        Self::TesterHome,
        Self::DutHome,
        Self::LinksSet,
        Self::ProgramsBack,
        Self::OffloadsSet,
        Self::SwitchedOn,
        Self::RecordsEntered,
        Self::PutBack,
    ];

    /// Whether it is one of giving back.
    #[must_use]
    pub fn is_of_giving_back(self) -> bool {
        Self::ALL.into_iter().skip_while(|step| *step != Self::TesterHome).any(|step| step == self)
    }
}

/// Why two devices were not taken. They are as they were, unless [`NotRestored`](Self::NotRestored) says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// One device cannot be both ends.
    #[error("the DUT and the tester are one and the same device, {device}: two are needed, wired together")]
    Same {
        /// The device.
        device: LinkName,
    },
    /// There is no such device.
    #[error("there is no network interface named {device} here")]
    NoDevice {
        /// Its name.
        device: LinkName,
    },
    /// Another run has it.
    #[error("{device} is in use by another run of xdproof ({holder})")]
    InUse {
        /// The device.
        device: LinkName,
        /// Who has it.
        holder: String,
    },
    /// Something speaks against taking it.
    #[error("{device} is not taken: {}{}", listed(objections), hint(objections))]
    Refused {
        /// The device.
        device: LinkName,
        /// What.
        objections: Vec<Objection>,
    },
    /// It could not be found out whether it may be taken.
    #[error("failed to find out whether {device} may be taken")]
    Look {
        /// The device.
        device: LinkName,
        /// Why.
        source: LookError,
    },
    /// A device has no carrier: nothing is plugged in, or the other end is down.
    #[error("{device} has no carrier after {waited:?}: is it wired to {other}?")]
    NoCarrier {
        /// The device.
        device: LinkName,
        /// The other end.
        other: LinkName,
        /// How long it was waited for.
        waited: Duration,
    },
    /// No frame came through.
    #[error("nothing that {tester} sent came to {dut} within {waited:?}: are they wired together?")]
    NoPeer {
        /// The sender.
        tester: LinkName,
        /// Where nothing arrived.
        dut: LinkName,
        /// How long it was tried.
        waited: Duration,
    },
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The kernel refused something.
    #[error("failed to {0}")]
    Network(#[from] Error),
    /// The devices were not taken, and not everything could be put back.
    #[error("{cause}; moreover, {left}")]
    NotRestored {
        /// Why they were not taken.
        cause: Box<DeviceError>,
        /// What could not be put back.
        left: NotRestored,
    },
}

fn listed(objections: &[Objection]) -> String {
    objections.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn hint(objections: &[Objection]) -> &'static str {
    if objections.iter().all(Objection::yields_to_force) { " (--force takes it all the same)" } else { "" }
}

/// What could not be put back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct NotRestored {
    /// Each thing, with its device and the reason.
    pub left: Vec<PutBack>,
    /// Whether the journal is kept, so that `xdproof restore` can try again.
    pub kept: bool,
}

impl fmt::Display for NotRestored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not everything could be put back: ")?;
        for (place, PutBack { device, what, outcome }) in self.left.iter().enumerate() {
            let why = match outcome {
                Outcome::Done => "",
                Outcome::Failed(why) | Outcome::Lost(why) => why,
            };
            write!(f, "{}{device}: {what}: {why}", if place == 0 { "" } else { "; " })?;
        }
        if self.kept {
            f.write_str(" (`xdproof restore` tries again)")?;
        }
        Ok(())
    }
}

/// Two devices of this host, up and wired together, each alone in a namespace of its own under the name that it had, unless the
/// kernel keeps it where it is.
#[derive(Debug)]
pub struct DevicePair {
    /// Both ends.
    pub testbed: Arc<PortPair>,
    /// What dead runs had left, which was put back before these were taken.
    pub recovered: Vec<Recovery>,
    taken: Taken,
}

impl DevicePair {
    /// Takes two devices of the calling thread's namespace. What dead runs have left of this namespace's devices is put back
    /// first. Needs `CAP_SYS_ADMIN`, `CAP_NET_ADMIN` and `CAP_NET_RAW`.
    ///
    /// It takes as long as the devices need for a carrier (10 s at most, 2 s if one is virtual and none is a bond) and for the
    /// first frame that comes through (2.5 s at most, 15 s if one is a bond).
    ///
    /// # Errors
    ///
    /// [`DeviceError`]; what was changed is put back.
    pub fn take(dut: &LinkName, tester: &LinkName, options: TakeOptions) -> Result<Self, DeviceError> {
        let TakeOptions { force, journals, behind } = options;
        let behind = behind.unwrap_or(|_| ());
        if dut == tester {
            return Err(DeviceError::Same { device: dut.clone() });
        }
        let origin = Worker::spawn(&NetNs::current()?, "origin")?;
        let journals = Journals::hold(&journals)?;
        let recovered = journals.recover(&origin)?;
        let here = origin.namespace().inode()?;
        let look = |role, name: &LinkName| match journals.holder_of(name.as_ref(), here)? {
            Some(holder) => Err(DeviceError::InUse { device: name.clone(), holder }),
            None => examine(&origin, role, name, force),
        };
        let devices = [look(PortRole::Tester, tester)?, look(PortRole::Dut, dut)?];
        let indices = devices.iter().filter_map(|settings| IfIndex::new(settings.index)).collect::<Vec<_>>();
        let rivals = origin.call(move |host| route_order::rivals(host, &indices))?;
        let run = journals.begin(&origin, devices.to_vec(), rivals)?;
        // From here on, whatever ends this function puts back what was changed.
        let mut taken = Taken { run, origin, behind, given_back: false };
        behind(Step::Journal);
        let moved = match move_away(&mut taken, &devices, behind) {
            Ok(workers) => {
                drop(journals);
                let [tester, dut] = workers;
                wire(&devices, &tester, &dut, behind).map(|topology| PortPair { topology, tester, dut })
            }
            Err(error) => Err(error),
        };
        match moved {
            Ok(testbed) => Ok(Self { testbed: Arc::new(testbed), recovered, taken }),
            Err(cause) => match taken.put_back() {
                Ok(()) => Err(cause),
                Err(left) => Err(DeviceError::NotRestored { cause: Box::new(cause), left }),
            },
        }
    }

    /// Puts both devices back where and as they were. Programs and sockets that are on them are best dropped before: a program
    /// that a `bpf_link` holds goes along with its device.
    ///
    /// # Errors
    ///
    /// [`NotRestored`] names what is not as it was.
    pub fn give_back(mut self) -> Result<(), NotRestored> {
        self.taken.put_back()
    }
}

/// What has to be put back; dropping it does so and has nobody to tell.
#[derive(Debug)]
struct Taken {
    run: Run,
    origin: Worker,
    behind: fn(Step),
    given_back: bool,
}

impl Taken {
    fn put_back(&mut self) -> Result<(), NotRestored> {
        if mem::replace(&mut self.given_back, true) {
            return Ok(());
        }
        let mut told = self.run.put_back(&self.origin, self.behind);
        (self.behind)(Step::PutBack);
        let kept = match self.run.finish(&told) {
            Ok(ended) => !ended,
            Err(error) => {
                let why = Outcome::Failed(crate::error::chain(&error));
                told.push(PutBack {
                    device: "journal".to_owned(),
                    what: "its removal".to_owned(),
                    outcome: why,
                });
                true
            }
        };
        let left: Vec<_> = told.into_iter().filter(|one| one.outcome != Outcome::Done).collect();
        if left.is_empty() { Ok(()) } else { Err(NotRestored { left, kept }) }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // The journal is kept if something could not be put back: the next run tells it.
        drop(self.put_back());
    }
}

/// Looks at a device, at what speaks against taking it, and at everything that is set at it.
fn examine(
    origin: &Worker,
    role: PortRole,
    name: &LinkName,
    force: bool,
) -> Result<DeviceSettings, DeviceError> {
    let wanted = name.clone();
    let link = match origin.call(move |host| host.link(&wanted)) {
        Err(Error::NoSuchLink { name }) => return Err(DeviceError::NoDevice { device: name }),
        link => link?,
    };
    let looked_at = link.clone();
    let objections = origin
        .run(move |host| preflight::objections(host, &looked_at))?
        .map_err(|source| DeviceError::Look { device: name.clone(), source })?;
    let refused = objections.iter().any(|objection| !force || !objection.yields_to_force());
    if refused {
        return Err(DeviceError::Refused { device: name.clone(), objections });
    }
    let mut settings = origin.call(move |host| DeviceSettings::read(host, role, &link))?;
    settings.forgone = objections.iter().flat_map(Objection::forgoes).collect();
    Ok(settings)
}

/// Moves the tester and the DUT to namespaces of their own, their programs taken off. One that the kernel does not let go is made
/// silent where it is.
fn move_away(
    taken: &mut Taken,
    devices: &[DeviceSettings; 2],
    behind: fn(Step),
) -> Result<[Worker; 2], DeviceError> {
    let Taken { run, origin, .. } = taken;
    let make = |role, label| -> Result<Worker, DeviceError> {
        let namespace = NetNs::create()?;
        namespace.hold_at(&run.namespace(role))?;
        Ok(Worker::spawn(&namespace, label)?)
    };
    let mut workers = [make(PortRole::Tester, "tester")?, make(PortRole::Dut, "dut")?];
    behind(Step::Namespaces);
    let pins = devices
        .iter()
        .any(|device| !device.xdp.is_empty())
        .then(|| run.make_room_for_programs())
        .transpose()?;
    if let Some(pins) = pins {
        for settings in devices {
            let (aside, pins) = (settings.clone(), pins.clone());
            at(origin, settings, move |host, index| aside.set_programs_aside(host, index, &pins))?;
        }
    }
    behind(Step::Programs);
    for ((settings, worker), (label, step)) in
        devices.iter().zip(&mut workers).zip([("tester", Step::TesterMoved), ("dut", Step::DutMoved)])
    {
        let to = worker.namespace().clone();
        match at(origin, settings, move |host, index| host.move_link(index, &to, None)) {
            Err(error) if error.errno() == Some(EINVAL) => {
                run.stays(settings.role)?;
                let silent = settings.clone();
                at(origin, settings, move |host, index| silent.silence(host, index))?;
                *worker = Worker::spawn(origin.namespace(), label)?;
            }
            moved => moved?,
        }
        behind(step);
    }
    Ok(workers)
}

/// Does something to a device where it belongs.
fn at<T: Send + 'static>(
    origin: &Worker,
    settings: &DeviceSettings,
    job: impl FnOnce(&mut Host, IfIndex) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let name: LinkName = settings.name.parse()?;
    origin.call(move |host| {
        let index = host.link(&name)?.index;
        job(host, index)
    })
}

/// Brings both up and sees a frame go through.
fn wire(
    devices: &[DeviceSettings; 2],
    tester: &Worker,
    dut: &Worker,
    behind: fn(Step),
) -> Result<Topology, DeviceError> {
    let begun = Instant::now();
    let [sending, receiving] = devices;
    let topology = Topology {
        tester: bring_up(tester, sending.name.parse()?)?,
        dut: bring_up(dut, receiving.name.parse()?)?,
    };
    let is_bond = |settings: &DeviceSettings| settings.kind.as_deref() == Some(BOND);
    let (bonds, virtuals) =
        (devices.iter().any(is_bond), devices.iter().any(|settings| settings.kind.is_some()));
    let deadline = if virtuals && !bonds { VIRTUAL_CARRIER } else { CARRIER };
    for (worker, port, other) in
        [(tester, &topology.tester, &topology.dut), (dut, &topology.dut, &topology.tester)]
    {
        let (index, left) = (port.index, deadline.saturating_sub(begun.elapsed()));
        match worker.call(move |host| host.wait_running(index, left)) {
            Err(Error::Timeout { .. }) => {
                let (device, other) = (port.name.clone(), other.name.clone());
                return Err(DeviceError::NoCarrier { device, other, waited: deadline });
            }
            running => drop(running?),
        }
    }
    behind(Step::Running);
    probe(&topology, tester, dut, if bonds { BOND_PROBING } else { PROBING })?;
    behind(Step::Probed);
    Ok(topology)
}

/// Bytes that no other probe of this machine has: the time since it was started, in nanoseconds, and the process.
fn nonce() -> [u8; 16] {
    let now = clock_gettime(ClockId::Boottime);
    let time = i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec);
    (time << 32 | i128::from(std::process::id())).to_ne_bytes()
}

/// Sends frames that nobody else sends from the tester until the DUT's stack has received one.
fn probe(topology: &Topology, tester: &Worker, dut: &Worker, probing: Duration) -> Result<(), DeviceError> {
    let open = |worker: &Worker, index| {
        worker.call(move |host| {
            host.packet_socket(index, PacketOptions { receive_buffer: 1 << 20, ..PacketOptions::default() })
        })
    };
    let (to, from) = (open(tester, topology.tester.index)?, open(dut, topology.dut.index)?);
    let nonce = nonce();
    let mut frame = [topology.dut.mac.0, topology.tester.mac.0].concat();
    frame.extend(PROBE_TYPE.iter().chain(b"xdproof probe ").chain(&nonce));
    frame.resize(PROBE_LENGTH, 0);
    let begun = Instant::now();
    let mut buffer = [0; 2048];
    while begun.elapsed() < probing {
        // A ring that is full, or a link that is not ready yet, is what the next attempt is for.
        drop(to.send(&frame));
        if !from.wait_readable(PROBE_AGAIN)? {
            continue;
        }
        while let Some(received) = from.receive(&mut buffer)? {
            if buffer[..received.len].windows(nonce.len()).any(|window| window == nonce) {
                return Ok(());
            }
        }
    }
    let (tester, dut) = (topology.tester.name.clone(), topology.dut.name.clone());
    Err(DeviceError::NoPeer { tester, dut, waited: probing })
}
