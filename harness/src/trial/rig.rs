//! A rig is everything that is up and ready for a trial: a testbed, the program on its DUT, a sender, captures. Rigs are pooled:
//! one goes from trial to trial, and is let go if it does not come back as it was taken.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::io::Errno;
use xdproof_ebpf::abi;
use xdproof_netns::{NetNs, Offload, Worker, XdpMode};
use xdproof_scenarios::{Frame, KernelVersion, SHORTEST_FRAME, describe};

use crate::{
    error::chain,
    exchange::{self, Capture, ObserveError, Refusals},
    host::{kernel, xdp_mode},
    inject::sender::Sender,
    judge::findings::Attached,
    model::mode::{InjectorKind, Mode, TrialPath},
    plan::selection::Trial,
    program::{Attachment, DispatcherHold, Object, ProgramError, Subject},
    testbed::{
        DevicePath, PortPair, Spec,
        path::{self, PathError},
        veth,
    },
};

/// How long a device may take until the first frame reaches a program that was just attached.
const FIRST_FRAME: Duration = Duration::from_secs(10);

/// The first kernel of which it is known that a test run which is not repeated leaves the XDP dispatcher alone. On 5.10 each one
/// switches it, which takes some hundred microseconds even with one CPU.
const LONE_RUNS_KERNEL: KernelVersion = KernelVersion { major: 6, minor: 1, patch: 0 };

/// On what trials take place.
#[derive(Clone, Debug, Default)]
pub enum Ground {
    /// Veth pairs, each made for the purpose.
    #[default]
    Veth,
    /// Two devices of this host, one trial at a time.
    Devices(Arc<DevicePath>),
}

/// Rigs of one kind are interchangeable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RigKind {
    pub(crate) path: TrialPath,
    pub(crate) spec: Spec,
    /// Offloads of the DUT that must be on or off.
    offloads: BTreeMap<String, bool>,
    role: Role,
}

/// What the program of a rig is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Role {
    /// It is tested.
    UnderTest,
    /// It shows on which receive queues the frames of a trial arrive (`abi::QUEUES_PROGRAM`).
    ShowQueues,
}

/// The rigs of one kind that wait for a trial, or why there are none.
#[derive(Debug)]
enum Shelf {
    Ready(Vec<Rig>),
    Barred(Obstacle),
}

/// What the kernel or the driver answered.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) errno: Option<Errno>,
    /// In words, the kernel's own sentence included where it gives one.
    pub(crate) answer: String,
}

/// Everything that is up and ready for a trial.
#[derive(Debug)]
pub(crate) enum Rig {
    /// A program on a device.
    Wire(Box<Wire>),
    /// A program on its own.
    Unattached(Box<Alone>),
}

/// A program that is on no device which frames reach.
#[derive(Debug)]
pub(crate) struct Alone {
    pub(crate) counter: Subject,
    /// Where each test run would else wait for all CPUs.
    _held: Option<DispatcherHold>,
}

// The order of the fields is the order in which they are let go: the program comes off before its device goes.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) attachment: Attachment,
    pub(crate) counter: Subject,
    pub(crate) sender: Sender,
    pub(crate) capture: Capture,
    pub(crate) returned: Capture,
    pub(crate) testbed: Arc<PortPair>,
    /// How long the link may take to come up again after a trial; a veth's never goes down.
    comes_up_within: Duration,
    runs: u64,
}

/// Why there is no rig.
#[derive(Clone, Debug)]
pub(crate) enum Obstacle {
    /// The kernel or the driver refuses the program.
    Refused(Refusal),
    /// The device cannot be what the scenario needs: it has no such MTU, offload or number of queues.
    Unfit(String),
    /// The program is attached, frames arrive without it, and none reaches it.
    Mute(String),
    /// Something else broke.
    Broken(String),
}

impl Obstacle {
    /// What it is, whichever it is.
    pub(crate) fn into_words(self) -> String {
        match self {
            Self::Refused(Refusal { answer: words, .. })
            | Self::Unfit(words)
            | Self::Mute(words)
            | Self::Broken(words) => words,
        }
    }
}

/// The rigs of a run.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    pub(crate) ground: Ground,
    /// How attaching to devices came out, by mode, where nothing out of the ordinary was asked of them.
    attached: Mutex<BTreeMap<Mode, Attached>>,
    shelves: Mutex<HashMap<RigKind, Shelf>>,
}

impl Ground {
    /// The kernel's name of the DUT's driver.
    pub(crate) fn driver(&self) -> &str {
        match self {
            Self::Veth => veth::DRIVER,
            Self::Devices(path) => &path.driver,
        }
    }

    /// What results call the DUT.
    pub(crate) fn nic(&self) -> &str {
        match self {
            Self::Veth => veth::DRIVER,
            Self::Devices(path) => &path.nic,
        }
    }

    /// What a rig of that kind needs and devices have not, as far as it is known without touching them.
    fn lacks(&self, kind: &RigKind) -> Option<String> {
        let (needed, queues) = (kind.spec.queues, self.devices()?.queues);
        (needed > queues).then(|| format!("the scenario needs {needed} receive queues; the DUT has {queues}"))
    }

    /// The devices, where it is devices.
    pub(crate) fn devices(&self) -> Option<&Arc<DevicePath>> {
        match self {
            Self::Veth => None,
            Self::Devices(path) => Some(path),
        }
    }
}

impl Pool {
    /// A rig from the pool that is still as it was handed back, or a new one.
    pub(crate) fn take(&self, object: &Object, kind: &RigKind) -> Result<Rig, Obstacle> {
        loop {
            let waiting = match self.shelves().get_mut(kind) {
                Some(Shelf::Barred(obstacle)) => return Err(obstacle.clone()),
                Some(Shelf::Ready(rigs)) => rigs.pop(),
                None => None,
            };
            match waiting {
                Some(rig) if rig.is_untouched() => return Ok(rig),
                Some(_) => {}
                None => break,
            }
        }
        if self.ground.devices().is_some() {
            if let Some(refusal) = self.refused_altogether(kind) {
                return Err(Obstacle::Refused(refusal));
            }
            if let Some(reason) = self.ground.lacks(kind) {
                return Err(Obstacle::Unfit(reason));
            }
            // There is one DUT: what sits on it has to go first.
            self.clear();
        }
        let rig = match kind.role {
            Role::UnderTest => Rig::bring_up(object, kind, &self.ground),
            Role::ShowQueues => {
                let program = Some(abi::QUEUES_PROGRAM.to_owned());
                Rig::bring_up(&Object { program, ..Object::default() }, kind, &self.ground)
            }
        };
        self.note(kind, &rig);
        if let Err(obstacle @ (Obstacle::Refused(_) | Obstacle::Unfit(_) | Obstacle::Mute(_))) = &rig {
            // The answer of a device does not change from trial to trial.
            self.shelves().insert(kind.clone(), Shelf::Barred(obstacle.clone()));
        }
        rig
    }

    /// A driver that does not take the program in a mode as it is usually set (EOPNOTSUPP, EINVAL) does not take it with a greater
    /// MTU either; setting that would only reset the device.
    fn refused_altogether(&self, kind: &RigKind) -> Option<Refusal> {
        let usual = RigKind { path: kind.path, ..RigKind::usual(kind.path.mode, &self.ground) };
        match self.shelves().get(&usual) {
            Some(Shelf::Barred(Obstacle::Refused(refusal))) => Some(refusal.clone()),
            _ => None,
        }
    }

    /// How attaching to devices came out, by mode.
    pub(crate) fn attached(&self) -> BTreeMap<Mode, Attached> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, kind: &RigKind, rig: &Result<Rig, Obstacle>) {
        if *kind != (RigKind { path: kind.path, ..RigKind::usual(kind.path.mode, &self.ground) }) {
            return;
        }
        let outcome = match rig {
            Ok(Rig::Wire(_)) => Attached::Yes,
            Err(Obstacle::Refused(Refusal { answer, .. })) => Attached::Refused(answer.clone()),
            Err(Obstacle::Mute(what)) => Attached::Mute(what.clone()),
            Ok(Rig::Unattached(_)) | Err(Obstacle::Unfit(_) | Obstacle::Broken(_)) => return,
        };
        self.attached.lock().unwrap_or_else(PoisonError::into_inner).insert(kind.path.mode, outcome);
    }

    /// Puts a rig back if it is clean; else says what is wrong with it.
    pub(crate) fn hand_back(&self, kind: &RigKind, mut rig: Rig) -> Result<(), String> {
        rig.check_clean()?;
        if let Shelf::Ready(rigs) =
            self.shelves().entry(kind.clone()).or_insert_with(|| Shelf::Ready(Vec::new()))
        {
            rigs.push(rig);
        }
        Ok(())
    }

    fn shelves(&self) -> MutexGuard<'_, HashMap<RigKind, Shelf>> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets all rigs go that wait. Those that are refused stay so.
    pub(crate) fn clear(&self) {
        let mut rigs = Vec::new();
        for shelf in self.shelves().values_mut() {
            if let Shelf::Ready(ready) = shelf {
                rigs.append(ready);
            }
        }
        if rigs.is_empty() {
            return;
        }
        // Closing a packet socket or a `bpf_link` waits for an RCU grace period of some ten milliseconds, and grace periods
        // that are waited for at the same time are one.
        std::thread::scope(|scope| {
            for rig in rigs {
                scope.spawn(move || drop(rig));
            }
        });
        if let Some(path) = self.ground.devices() {
            // What is in the way of the next program, its own refusal tells.
            let _bare = path.wait_bare();
        }
    }

    /// Gives the namespaces of one rig of each kind names that outlive this process, under `prefix`; returns their paths.
    pub(crate) fn keep(&self, prefix: &str) -> Result<Vec<String>, xdproof_netns::Error> {
        let mut names = Vec::new();
        for (kind, shelf) in std::mem::take(&mut *self.shelves()) {
            let Shelf::Ready(mut rigs) = shelf else { continue };
            if let Some(Rig::Wire(wire)) = rigs.pop() {
                let prefix = format!("{prefix}-{}", kind.name());
                for name in wire.testbed.publish(&prefix)? {
                    names.push(name.path().display().to_string());
                    name.persist();
                }
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.clear();
    }
}

impl RigKind {
    pub(crate) fn for_trial(trial: &Trial<'_>, role: Role, ground: &Ground) -> Self {
        let Trial { scenario, path } = *trial;
        if !path.mode.is_attached() {
            // There is no device to be of one kind or another.
            return Self { path, spec: Spec::default(), offloads: BTreeMap::new(), role };
        }
        let usual = ground.devices().map_or(veth::DEFAULT_MTU, |path| path.usual_mtu);
        let needed = scenario.requires.mtu.filter(|mtu| *mtu > usual);
        let spec = Spec {
            mtu: needed.unwrap_or(usual).min(veth::MAX_MTU),
            queues: scenario.spread.queues.unwrap_or(Spec::default().queues),
        };
        Self { path, spec, offloads: scenario.requires.offloads.clone(), role }
    }

    /// The rig of a trial that asks for nothing out of the ordinary, by pnet.
    pub(crate) fn usual(mode: Mode, ground: &Ground) -> Self {
        let mtu = ground.devices().map_or(veth::DEFAULT_MTU, |path| path.usual_mtu);
        Self {
            path: TrialPath { mode, injector: InjectorKind::Pnet },
            spec: Spec { mtu, ..Spec::default() },
            offloads: BTreeMap::new(),
            role: Role::UnderTest,
        }
    }

    /// A name that no other kind with a device has.
    fn name(&self) -> String {
        let Self { path, spec: Spec { mtu, queues }, offloads, role } = self;
        let mut name = format!("{}-mtu{mtu}", path.mode);
        if *queues != Spec::default().queues {
            name.push_str(&format!("-queues{queues}"));
        }
        for (offload, on) in offloads {
            name.push_str(&format!("-{offload}-{}", if *on { "on" } else { "off" }));
        }
        match role {
            Role::UnderTest => {}
            Role::ShowQueues => name.push_str("-probe"),
        }
        name
    }
}

impl Rig {
    fn bring_up(object: &Object, kind: &RigKind, ground: &Ground) -> Result<Self, Obstacle> {
        let path = kind.path;
        let counter = Subject::load(object).map_err(broken)?;
        match (xdp_mode::to_kernel(path.mode), path.injector) {
            (Some(mode), InjectorKind::Pnet | InjectorKind::Ring | InjectorKind::LiveFrames) => {
                let wire = match ground {
                    Ground::Veth => Wire::on_veth(counter, mode, kind),
                    Ground::Devices(path) => Wire::on_devices(counter, mode, kind, path),
                };
                wire.map(Box::new).map(Self::Wire)
            }
            (None, InjectorKind::TestRun) => Ok(Self::Unattached(Box::new(Alone::new(counter)?))),
            (mode, injector) => Err(Obstacle::Broken(format!(
                "{injector} does not go with {}",
                mode.map_or(Mode::Unattached.name(), |_| path.mode.name())
            ))),
        }
    }

    /// Offers each frame by itself, once.
    pub(crate) fn offer_each(&mut self, frames: &[Frame]) -> Result<Refusals, ObserveError> {
        let frames = frames.iter().map(|frame| frame.bytes.as_slice());
        match self {
            Self::Wire(wire) => exchange::refusals(frames, |frame| Ok(wire.sender.send(&[frame])?)),
            Self::Unattached(alone) => exchange::refusals(frames, |frame| {
                let taken = alone.counter.program.test_run(frame, &mut [0; SHORTEST_FRAME]);
                taken.map(drop).map_err(|source| ObserveError::TestRun { source })
            }),
        }
    }

    pub(crate) fn counter(&mut self) -> &mut Subject {
        match self {
            Self::Wire(wire) => &mut wire.counter,
            Self::Unattached(alone) => &mut alone.counter,
        }
    }

    /// Whether nothing happened while the rig waited.
    fn is_untouched(&self) -> bool {
        match self {
            Self::Wire(wire) => wire.counter.runs().is_ok_and(|runs| runs == wire.runs),
            Self::Unattached(_) => true,
        }
    }

    /// Whether the next trial finds everything as this one did.
    pub(crate) fn check_clean(&mut self) -> Result<(), String> {
        match self {
            Self::Wire(wire) => wire.check_clean(),
            Self::Unattached(_) => Ok(()),
        }
    }
}

impl Alone {
    fn new(counter: Subject) -> Result<Self, Obstacle> {
        let version = kernel::kernel_version().map_err(broken)?;
        let held = if version < LONE_RUNS_KERNEL {
            let shelf =
                NetNs::create().and_then(|namespace| Worker::spawn(&namespace, "shelf")).map_err(broken)?;
            Some(
                DispatcherHold::on_loopback(&shelf, counter.program.descriptor().map_err(broken)?)
                    .map_err(broken)?,
            )
        } else {
            None
        };
        Ok(Self { counter, _held: held })
    }
}

impl Wire {
    fn on_veth(counter: Subject, mode: XdpMode, kind: &RigKind) -> Result<Self, Obstacle> {
        let testbed = Arc::new(PortPair::veth(kind.spec).map_err(broken)?);
        let attachment = attach(&counter, &testbed, mode)?;
        Self::stand(testbed, counter, attachment, mode, kind, |testbed| {
            // What a scenario asks for comes last: attaching and watching switch offloads themselves.
            for (name, &on) in &kind.offloads {
                let offload = Offload::from(name.as_str());
                let index = testbed.topology.dut.index;
                testbed.dut.call(move |host| host.set_offload(index, &offload, on)).map_err(broken)?;
            }
            Ok(())
        })
    }

    fn on_devices(
        counter: Subject,
        mode: XdpMode,
        kind: &RigKind,
        path: &DevicePath,
    ) -> Result<Self, Obstacle> {
        let unfit = |error: PathError| match error {
            PathError::Mtu { .. } => Obstacle::Unfit(error.to_string()),
            error => broken(error),
        };
        path.set_mtu(kind.spec.mtu).map_err(unfit)?;
        // While nothing is attached.
        path.longest(kind.spec.mtu).map_err(unfit)?;
        let testbed = Arc::clone(&path.testbed);
        let attachment = attach(&counter, &testbed, mode)?;
        path.settle().map_err(broken)?;
        let mut wire = Self::stand(testbed, counter, attachment, mode, kind, |_| {
            match path.set_offloads(&kind.offloads).map_err(broken)? {
                None => Ok(()),
                Some(name) => {
                    Err(Obstacle::Unfit(format!("the DUT cannot switch {name}, which the scenario needs")))
                }
            }
        })?;
        path.wait_running().map_err(broken)?;
        wire.comes_up_within = path::LINK_UP;
        wire.capture.share();
        wire.returned.share();
        let captures = [&mut wire.capture, &mut wire.returned];
        let first =
            exchange::first_frame(&wire.counter, &mut wire.sender, captures, FIRST_FRAME).map_err(broken)?;
        if first.is_none() {
            return Err(Obstacle::Mute(format!(
                "attached in {} mode, and no frame reached the program within {} s, although frames arrive without it",
                kind.path.mode,
                FIRST_FRAME.as_secs()
            )));
        }
        wire.runs = wire.counter.runs().map_err(broken)?;
        Ok(wire)
    }

    /// Everything around an attached program.
    fn stand(
        testbed: Arc<PortPair>,
        counter: Subject,
        attachment: Attachment,
        mode: XdpMode,
        kind: &RigKind,
        set_offloads: impl FnOnce(&PortPair) -> Result<(), Obstacle>,
    ) -> Result<Self, Obstacle> {
        let injector = kind.path.injector;
        let capture = testbed.watch_dut(exchange::CAPTURE_BUFFER).map(Capture::new).map_err(broken)?;
        let returned = testbed.watch_tester(exchange::CAPTURE_BUFFER).map(Capture::new).map_err(broken)?;
        set_offloads(&testbed)?;
        if injector == InjectorKind::LiveFrames {
            testbed.take_redirected(mode).map_err(broken)?;
        }
        let sender = Sender::open(injector, &testbed).map_err(broken)?;
        let runs = counter.runs().map_err(broken)?;
        let comes_up_within = Duration::ZERO;
        Ok(Self { attachment, counter, sender, capture, returned, testbed, comes_up_within, runs })
    }

    fn check_clean(&mut self) -> Result<(), String> {
        self.runs = self.counter.runs().map_err(|error| chain(&error))?;
        for (capture, port) in [(&mut self.capture, "DUT"), (&mut self.returned, "tester")] {
            if let Some(frame) = capture.late().map_err(|error| chain(&error))? {
                let frame = describe(frame);
                return Err(format!("a frame arrived at the {port} after the trial had ended: {frame}"));
            }
        }
        let Attachment { index, id, mode, .. } = self.attachment;
        let patience = self.comes_up_within;
        let link = self.testbed.dut.call(move |host| {
            let link = host.link_state(index)?;
            if link.running || patience.is_zero() {
                return Ok(link);
            }
            // Switching an offload resets some devices (e1000e), whose link then takes its time.
            match host.wait_running(index, patience) {
                Ok(_) | Err(xdproof_netns::Error::Timeout { .. }) => host.link_state(index),
                Err(error) => Err(error),
            }
        });
        let link = link.map_err(|error| chain(&error))?;
        if !link.running || link.xdp.attached(mode) != Some(id) {
            return Err(format!("the DUT was left with {} attached, running: {}", link.xdp, link.running));
        }
        Ok(())
    }
}

/// Attaches a program to the DUT.
fn attach(subject: &Subject, testbed: &PortPair, mode: XdpMode) -> Result<Attachment, Obstacle> {
    let attached = subject.program.attach(&testbed.dut, testbed.topology.dut.index, Some(mode));
    attached.map_err(|error| match &error {
        ProgramError::Refused { answer, .. } => {
            Obstacle::Refused(Refusal { errno: Errno::from_io_error(answer), answer: error.to_string() })
        }
        _ => broken(error),
    })
}

fn broken(error: impl std::error::Error) -> Obstacle {
    Obstacle::Broken(chain(&error))
}
