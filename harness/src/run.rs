//! One way through: from a planned trial to its record.
//!
//! ```text
//! plan --Trial--> Lab::run: testbed up, program attached (a rig, from the pool)
//!                 inject -> observe -> verdict -> TrialRecord --Event--> reporters
//! ```
//!
//! [`run`] does it for a whole plan, in parallel; `cargo test` calls [`Lab::run`] for one trial at a time.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use rustix::io::Errno;
use xdproof_ebpf::abi;
use xdproof_netns::{Offload, XdpMode};
use xdproof_scenarios::{Frame, KernelVersion, SHORTEST_FRAME, Scenario, Spread, oracle};

use crate::{
    attach::{AttachError, Attachment, Counter, Identity, Object, RunCounting},
    environment::{self, Environment},
    inject::{sender::Sender, test_run, turns::Turns},
    observe::{self, Capture, ObserveError, Ports, Refusals},
    plan::{InjectorKind, Mode, Path, Trial},
    report::{
        Event, Reporter,
        json::{Outcome, RunResult, TrialRecord},
    },
    support::{self, Request, Support},
    testbed::{Spec, Testbed, veth},
    verdict::{Counts, Expected, Frames, Mismatch, Observation, Verdict, stack_discards},
};

/// What the program under test does with a frame that it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum CountedAction {
    /// `XDP_PASS`, as the classic sample does.
    #[default]
    Pass,
    /// `XDP_DROP`.
    Drop,
}

/// Why trials cannot be run here at all.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The program cannot be loaded, or the kernel counts no runs.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The machine cannot be read.
    #[error("failed to read what this machine is")]
    Environment(#[from] io::Error),
}

/// The option of the command line by which scenarios were found, and its value.
pub type Origin = (&'static str, PathBuf);

/// What all trials of a run share: the object under test and a pool of rigs.
#[derive(Debug)]
pub struct Lab {
    object: Object,
    counted: CountedAction,
    origin: Option<Origin>,
    identity: Identity,
    takes_fragments: bool,
    kernel: KernelVersion,
    nonce: AtomicU64,
    pool: Mutex<HashMap<RigKind, Shelf>>,
    _counting: RunCounting,
}

/// Rigs of one kind are interchangeable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct RigKind {
    path: Path,
    spec: Spec,
    /// Offloads of the DUT that must be on or off.
    offloads: BTreeMap<String, bool>,
    role: Role,
}

/// What the program of a rig is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Role {
    /// It is tested.
    UnderTest,
    /// It shows on which receive queues the frames of a trial arrive (`abi::QUEUES_PROGRAM`).
    ShowQueues,
}

/// The rigs of one kind that wait for a trial, or why there are none.
#[derive(Debug)]
enum Shelf {
    Ready(Vec<Rig>),
    Refused(Refusal),
}

/// What the kernel or the driver answered.
#[derive(Clone, Debug)]
struct Refusal {
    errno: Option<Errno>,
    answer: String,
}

/// Everything that is up and ready for a trial.
#[derive(Debug)]
enum Rig {
    /// A program on a device.
    Wire(Box<Wire>),
    /// A program on its own.
    Unattached(Box<Counter>),
}

// The order of the fields is the order in which they are let go: the program comes off before its device goes.
#[derive(Debug)]
struct Wire {
    attachment: Attachment,
    counter: Counter,
    sender: Sender,
    capture: Capture,
    returned: Capture,
    testbed: Testbed,
    runs: u64,
}

/// Why there is no rig.
enum Obstacle {
    /// The kernel or the driver refuses the program.
    Refused(Refusal),
    /// Something else broke.
    Broken(String),
}

impl Lab {
    /// Makes ready to run trials of one object: loads it once, so that whatever is wrong with it is known before the
    /// first trial. Needs root, or `CAP_BPF`, `CAP_NET_ADMIN`, `CAP_NET_RAW` and `CAP_SYS_ADMIN`.
    ///
    /// # Errors
    ///
    /// An object that is not a counter, a kernel that refuses it.
    pub fn open(object: Object, counted: CountedAction) -> Result<Self, LabError> {
        let counting = RunCounting::enable()?;
        let counter = Counter::load(&object)?;
        let (identity, takes_fragments) = (counter.identity().clone(), counter.takes_fragments());
        let kernel = environment::kernel_version()?;
        Ok(Self {
            object,
            counted,
            origin: None,
            identity,
            takes_fragments,
            kernel,
            nonce: AtomicU64::new(0),
            pool: Mutex::default(),
            _counting: counting,
        })
    }

    /// Names the option of the command line by which the scenarios were found, if they are not the built-in ones: the
    /// command that repeats a trial needs it.
    #[must_use]
    pub fn repeated_with(mut self, origin: Option<Origin>) -> Self {
        self.origin = origin;
        self
    }

    /// What this machine and the program under test are.
    ///
    /// # Errors
    ///
    /// When `/proc` cannot be read.
    pub fn environment(&self) -> io::Result<Environment> {
        Environment::read(&self.object, &self.identity)
    }

    /// Runs one trial and judges it. Takes a rig from the pool, or brings one up; hands it back only if it is clean.
    #[must_use]
    pub fn run(&self, trial: &Trial<'_>) -> TrialRecord {
        let expected = self.expected(trial);
        let outcome = self.outcome(trial, &expected);
        let nic = trial.path.mode.attach().map(|_| veth::DRIVER);
        TrialRecord::new(trial.scenario, trial.path, nic, &expected, &outcome, &self.repeat_command(trial))
    }

    /// Gives the namespaces of one rig of each kind names that outlive this process, under `prefix`; returns their paths.
    ///
    /// # Errors
    ///
    /// When a name is taken or cannot be made.
    pub fn keep(mut self, prefix: &str) -> Result<Vec<String>, xdproof_netns::Error> {
        let pool = std::mem::take(self.pool.get_mut().unwrap_or_else(PoisonError::into_inner));
        let mut names = Vec::new();
        for (kind, shelf) in pool {
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

    /// What the trial must come to for the program under test.
    fn expected(&self, trial: &Trial<'_>) -> Expected {
        let (scenario, on_device) = (trial.scenario, trial.path.mode.attach().is_some());
        let passes = |frame: &Frame| self.counted == CountedAction::Pass && is_counted(frame);
        let mut passed = Frames::new();
        for frame in scenario.frames.iter().filter(|frame| passes(frame)) {
            if !on_device || !stack_discards(&frame.bytes) {
                *passed.entry(frame.bytes.clone()).or_default() += u64::from(frame.repeat);
            }
        }
        let (mut undecided_passed, mut undecided_dropped) = (0, 0);
        for frame in discarded(scenario).filter(|_| on_device) {
            *(if passes(frame) { &mut undecided_passed } else { &mut undecided_dropped }) +=
                u64::from(frame.repeat);
        }
        let mut numbers = scenario.expect.clone();
        if self.counted == CountedAction::Drop {
            numbers.dropped += std::mem::take(&mut numbers.passed);
        }
        Expected { numbers, passed, undecided_passed, undecided_dropped, spread: scenario.spread }
    }

    fn outcome(&self, trial: &Trial<'_>, expected: &Expected) -> Outcome {
        let without_running = |verdict| Outcome { verdict, observation: None, duration: Duration::ZERO };
        if let Some(reason) = self.unmet_requirement(trial) {
            return without_running(Verdict::Skip { reason });
        }
        let kind = RigKind::for_trial(trial, Role::UnderTest);
        let support = support::lookup(Request {
            driver: veth::DRIVER,
            mode: trial.path.mode,
            mtu: kind.spec.mtu,
            fragments: self.takes_fragments,
            page: rustix::param::page_size(),
        });
        let rig = match (self.take(&kind), support) {
            (Ok(rig), Support::Supported) => rig,
            (Ok(_), Support::Unsupported { reason, .. }) => {
                let what = format!("attached, although it is known to be impossible: {reason}");
                return without_running(Verdict::Fail(vec![Mismatch::Support { what }]));
            }
            (
                Err(Obstacle::Refused(Refusal { errno: Some(given), answer })),
                Support::Unsupported { reason, errno },
            ) if given == errno => {
                return without_running(Verdict::Skip { reason: format!("{reason} ({answer})") });
            }
            (Err(Obstacle::Refused(Refusal { answer, .. })), Support::Supported)
                if let Some(reason) = self.too_long(trial) =>
            {
                return without_running(Verdict::Unreachable { reason: format!("{reason} ({answer})") });
            }
            (Err(Obstacle::Refused(Refusal { answer, .. })), Support::Unsupported { reason, errno }) => {
                let what = format!("refused otherwise than is known ({reason}: {errno}): {answer}");
                return without_running(Verdict::Fail(vec![Mismatch::Support { what }]));
            }
            (Err(Obstacle::Refused(Refusal { answer: what, .. })), Support::Supported) => {
                return without_running(Verdict::Fail(vec![Mismatch::Support { what }]));
            }
            (Err(Obstacle::Broken(reason)), _) => return without_running(Verdict::Error { reason }),
        };
        let queues = match self.queues(trial) {
            Ok(queues) => queues,
            Err(reason) => return without_running(Verdict::Error { reason }),
        };
        let started = Instant::now();
        let (mut verdict, observation, rig) = self.observe_and_judge(rig, trial, expected, queues);
        if let Some(rig) = rig
            && let Err(what) = self.hand_back(&kind, rig)
        {
            let mut mismatches = verdict.mismatches().to_vec();
            mismatches.push(Mismatch::Dirty { what });
            verdict = Verdict::Fail(mismatches);
        }
        Outcome { verdict, observation, duration: started.elapsed() }
    }

    /// What the scenario needs and this trial does not offer.
    fn unmet_requirement(&self, trial: &Trial<'_>) -> Option<String> {
        if !trial.is_possible() {
            return Some(format!("{} cannot inject these frames as they are meant", trial.path.injector));
        }
        if let Some(reason) = support::injector(trial.path.injector, self.kernel) {
            return Some(reason);
        }
        let oldest = trial.scenario.requires.min_kernel.filter(|oldest| self.kernel < *oldest)?;
        Some(format!("the scenario needs kernel {oldest}; this is {}", self.kernel))
    }

    /// Sends, observes, judges. The rig comes back if it can still be used.
    fn observe_and_judge(
        &self,
        mut rig: Rig,
        trial: &Trial<'_>,
        expected: &Expected,
        queues: Counts,
    ) -> (Verdict, Option<Observation>, Option<Rig>) {
        if trial.scenario.is_unreachable() {
            return match rig.offer_each(&trial.scenario.frames) {
                Ok(Refusals::All { lengths }) => {
                    let reason = format!("the kernel refuses frames of {lengths:?} bytes (EINVAL)");
                    (Verdict::Unreachable { reason }, None, Some(rig))
                }
                Ok(Refusals::Taken { length }) => {
                    let what = format!(
                        "a frame of {length} bytes, which nothing should be able to inject, was taken"
                    );
                    (Verdict::Fail(vec![Mismatch::Support { what }]), None, None)
                }
                Err(error) => (Verdict::Error { reason: chain(&error) }, None, None),
            };
        }
        match self.observe_preset(&mut rig, trial.scenario) {
            Ok(observation) => {
                let observation = Observation { queues, ..observation };
                let verdict = Verdict::judge(expected, &observation, self.deviation(trial));
                (verdict, Some(observation), Some(rig))
            }
            Err(error) => match self.too_long(trial) {
                Some(reason) if error.refused_frame() => {
                    let reason = format!("{reason} ({})", chain(&error));
                    (Verdict::Unreachable { reason }, None, None)
                }
                _ => (Verdict::Error { reason: chain(&error) }, None, None),
            },
        }
    }

    /// The frames of a trial by the receive queue on which they arrive: they are sent to a program that counts by queue,
    /// over a wire like the trial's own. Which queue a veth chooses follows from a frame's bytes, by a hash whose key the
    /// kernel draws once (`skb_tx_hash` in `net/core/dev.c`). Nothing where the scenario does not ask for it.
    fn queues(&self, trial: &Trial<'_>) -> Result<Counts, String> {
        if trial.scenario.spread.queues.is_none() || trial.path.mode.attach().is_none() {
            return Ok(Counts::new());
        }
        let kind = RigKind::for_trial(trial, Role::ShowQueues);
        let mut rig = self.take(&kind).map_err(|obstacle| match obstacle {
            Obstacle::Refused(Refusal { answer, .. }) => answer,
            Obstacle::Broken(reason) => reason,
        })?;
        let observation =
            self.observe(&mut rig, trial.scenario, CountedAction::Pass).map_err(|error| chain(&error))?;
        let queues = observation.counts();
        let counted: u64 = queues.values().sum();
        if counted != observation.sent || observation.ran != observation.sent {
            let Observation { sent, ran, .. } = observation;
            return Err(format!("of {sent} frames {ran} arrived and {counted} were counted by their queue"));
        }
        self.hand_back(&kind, rig)?;
        Ok(queues)
    }

    /// As [`Lab::observe`], with the scenario's slots set before it and back at 0 after it.
    fn observe_preset(&self, rig: &mut Rig, scenario: &Scenario) -> Result<Observation, ObserveError> {
        for (&protocol, &start) in &scenario.preset {
            rig.counter().preset(protocol, start)?;
        }
        let observed = self.observe(rig, scenario, self.counted);
        for &protocol in scenario.preset.keys() {
            rig.counter().preset(protocol, 0)?;
        }
        observed
    }

    fn observe(
        &self,
        rig: &mut Rig,
        scenario: &Scenario,
        counted: CountedAction,
    ) -> Result<Observation, ObserveError> {
        let turns = scenario.spread.cpus.then(|| Turns::new(scenario.sent())).transpose();
        let turns = turns.map_err(|source| ObserveError::Turn { source })?;
        // Where all CPUs share their counters, it does not show which of them counted.
        let cpus =
            turns.as_ref().filter(|_| rig.counter().is_per_cpu()).map_or(&[][..], Turns::cpus).to_vec();
        let observed = self.observe_in_turns(rig, scenario, counted, turns.as_ref())?;
        Ok(Observation { cpus, ..observed })
    }

    fn observe_in_turns(
        &self,
        rig: &mut Rig,
        scenario: &Scenario,
        counted: CountedAction,
        turns: Option<&Turns>,
    ) -> Result<Observation, ObserveError> {
        match rig {
            Rig::Wire(wire) => {
                let frames = scenario.frames.iter().map(|frame| (frame.bytes.as_slice(), frame.repeat));
                let passes = counted == CountedAction::Pass;
                let nonce = self.nonce.fetch_add(1, Ordering::Relaxed);
                let Wire { counter, sender, capture, returned, .. } = wire.as_mut();
                let ports = Ports { sender, capture, returned };
                let spread = scenario.spread != Spread::default();
                let mut observation = observe::on_wire(counter, ports, frames, passes, nonce, spread, turns)?;
                observation.undecided = discarded(scenario).map(|frame| u64::from(frame.repeat)).sum();
                Ok(observation)
            }
            Rig::Unattached(counter) => {
                observe::alone(counter, |counter| test_run::run(counter, &scenario.frames, turns))
            }
        }
    }

    /// Why the path cannot carry the trial's longest frame, if it is known that it cannot.
    fn too_long(&self, trial: &Trial<'_>) -> Option<String> {
        let longest = trial.scenario.frames.iter().map(|frame| frame.bytes.len()).max()?;
        let carried = support::longest_frame(trial.path.mode, self.takes_fragments);
        (longest > carried).then(|| {
            let mtu = longest.saturating_sub(14);
            format!("a frame of {longest} bytes needs an MTU of {mtu}, and this path carries {carried} bytes at most")
        })
    }

    /// The reason of the deviation that is declared for this trial, if there is one.
    fn deviation<'a>(&self, trial: &Trial<'a>) -> Option<&'a str> {
        let Path { mode, injector } = trial.path;
        // Where no device takes part, no driver can deviate.
        let driver = mode.attach().map_or("", |_| veth::DRIVER);
        let holds = |deviation: &&xdproof_scenarios::Deviation| {
            deviation.holds(driver, mode.name(), self.kernel, injector.name())
        };
        trial.scenario.deviations.iter().find(holds).map(|deviation| deviation.reason.as_str())
    }

    /// A rig from the pool that is still as it was handed back, or a new one.
    fn take(&self, kind: &RigKind) -> Result<Rig, Obstacle> {
        loop {
            let waiting = match self.pool().get_mut(kind) {
                Some(Shelf::Refused(refusal)) => return Err(Obstacle::Refused(refusal.clone())),
                Some(Shelf::Ready(rigs)) => rigs.pop(),
                None => None,
            };
            match waiting {
                Some(rig) if rig.is_untouched() => return Ok(rig),
                Some(_) => {}
                None => break,
            }
        }
        let rig = match kind.role {
            Role::UnderTest => Rig::bring_up(&self.object, kind),
            Role::ShowQueues => {
                let program = Some(abi::QUEUES_PROGRAM.to_owned());
                Rig::bring_up(&Object { program, ..Object::default() }, kind)
            }
        };
        if let Err(Obstacle::Refused(refusal)) = &rig {
            // The answer of a device does not change from trial to trial.
            self.pool().insert(kind.clone(), Shelf::Refused(refusal.clone()));
        }
        rig
    }

    /// Puts a rig back if it is clean; else says what is wrong with it.
    fn hand_back(&self, kind: &RigKind, mut rig: Rig) -> Result<(), String> {
        rig.check_clean()?;
        if let Shelf::Ready(rigs) =
            self.pool().entry(kind.clone()).or_insert_with(|| Shelf::Ready(Vec::new()))
        {
            rigs.push(rig);
        }
        Ok(())
    }

    fn pool(&self) -> std::sync::MutexGuard<'_, HashMap<RigKind, Shelf>> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The command that runs this trial and no other.
    fn repeat_command(&self, trial: &Trial<'_>) -> String {
        let Path { mode, injector } = trial.path;
        let Object { path, program, map } = &self.object;
        let counted = (self.counted == CountedAction::Drop).then_some("drop");
        let path_text = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let options = [
            ("scenario", Some(trial.scenario.id.to_string())),
            ("mode", mode.attach().map(|mode| mode.to_string())),
            ("injector", Some(injector.to_string())),
            ("object", path_text(path)),
            ("program", program.clone()),
            ("map", map.clone()),
            ("expect-action", counted.map(str::to_owned)),
        ];
        let origin = self.origin.iter().map(|(name, path)| (*name, Some(path.display().to_string())));
        let given = options
            .into_iter()
            .chain(origin)
            .filter_map(|(name, value)| Some(format!(" --{name} {}", quoted(&value?))));
        format!("xdproof validate{}", given.collect::<String>())
    }
}

impl Drop for Lab {
    /// Lets all rigs go at once. Closing a packet socket or a `bpf_link` waits for an RCU grace period of some ten
    /// milliseconds, and grace periods that are waited for at the same time are one.
    fn drop(&mut self) {
        let pool = self.pool.get_mut().unwrap_or_else(PoisonError::into_inner);
        std::thread::scope(|scope| {
            for shelf in std::mem::take(pool).into_values() {
                if let Shelf::Ready(rigs) = shelf {
                    for rig in rigs {
                        scope.spawn(move || drop(rig));
                    }
                }
            }
        });
    }
}

impl RigKind {
    fn for_trial(trial: &Trial<'_>, role: Role) -> Self {
        let Trial { scenario, path } = *trial;
        if path.mode.attach().is_none() {
            // There is no device to be of one kind or another.
            return Self { path, spec: Spec::default(), offloads: BTreeMap::new(), role };
        }
        let spec = Spec {
            mtu: scenario.requires.mtu.unwrap_or(0).clamp(veth::DEFAULT_MTU, veth::MAX_MTU),
            queues: scenario.spread.queues.unwrap_or(Spec::default().queues),
        };
        Self { path, spec, offloads: scenario.requires.offloads.clone(), role }
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
    fn bring_up(object: &Object, kind: &RigKind) -> Result<Self, Obstacle> {
        let RigKind { path, spec, offloads, role: _ } = kind;
        let counter = Counter::load(object).map_err(broken)?;
        match (path.mode.attach(), path.injector) {
            (Some(mode), InjectorKind::Pnet | InjectorKind::Ring | InjectorKind::LiveFrames) => {
                Wire::bring_up(counter, mode, path.injector, *spec, offloads).map(Box::new).map(Self::Wire)
            }
            (None, InjectorKind::TestRun) => Ok(Self::Unattached(Box::new(counter))),
            (mode, injector) => Err(Obstacle::Broken(format!(
                "{injector} does not go with {}",
                mode.map_or(Mode::Unattached.name(), |_| path.mode.name())
            ))),
        }
    }

    /// Offers each frame by itself, once.
    fn offer_each(&mut self, frames: &[Frame]) -> Result<Refusals, ObserveError> {
        let frames = frames.iter().map(|frame| frame.bytes.as_slice());
        match self {
            Self::Wire(wire) => observe::refusals(frames, |frame| Ok(wire.sender.send(&[frame])?)),
            Self::Unattached(counter) => observe::refusals(frames, |frame| {
                let taken = counter.test_run(frame, &mut [0; SHORTEST_FRAME]);
                taken.map(drop).map_err(|source| ObserveError::TestRun { source })
            }),
        }
    }

    fn counter(&mut self) -> &mut Counter {
        match self {
            Self::Wire(wire) => &mut wire.counter,
            Self::Unattached(counter) => counter,
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
    fn check_clean(&mut self) -> Result<(), String> {
        match self {
            Self::Wire(wire) => wire.check_clean(),
            Self::Unattached(_) => Ok(()),
        }
    }
}

impl Wire {
    fn bring_up(
        counter: Counter,
        mode: XdpMode,
        injector: InjectorKind,
        spec: Spec,
        offloads: &BTreeMap<String, bool>,
    ) -> Result<Self, Obstacle> {
        let testbed = Testbed::veth(spec).map_err(broken)?;
        let (counter, attached) =
            counter.attach(&testbed.dut, testbed.topology.dut.index, Some(mode)).map_err(broken)?;
        let attachment = attached.map_err(|error| match error {
            AttachError::Refused { ref source, .. } => {
                Obstacle::Refused(Refusal { errno: Errno::from_io_error(source), answer: chain(&error) })
            }
            other => broken(other),
        })?;
        let capture = testbed.watch_dut(observe::CAPTURE_BUFFER).map(Capture::new).map_err(broken)?;
        let returned = testbed.watch_tester(observe::CAPTURE_BUFFER).map(Capture::new).map_err(broken)?;
        // What a scenario asks for comes last: attaching and watching switch offloads themselves.
        for (name, &on) in offloads {
            let (index, offload) = (testbed.topology.dut.index, Offload::from(name.as_str()));
            testbed.dut.call(move |host| host.set_offload(index, &offload, on)).map_err(broken)?;
        }
        if injector == InjectorKind::LiveFrames {
            testbed.take_redirected(mode).map_err(broken)?;
        }
        let sender = Sender::open(injector, &testbed).map_err(broken)?;
        let runs = counter.runs().map_err(broken)?;
        Ok(Self { attachment, counter, sender, capture, returned, testbed, runs })
    }

    fn check_clean(&mut self) -> Result<(), String> {
        self.runs = self.counter.runs().map_err(|error| chain(&error))?;
        for capture in [&mut self.capture, &mut self.returned] {
            if !capture.is_empty().map_err(|error| chain(&error))? {
                return Err("a frame arrived after the trial had ended".to_owned());
            }
        }
        let Attachment { index, id, mode, .. } = self.attachment;
        let link =
            self.testbed.dut.call(move |host| host.link_by_index(index)).map_err(|error| chain(&error))?;
        if !link.running || link.xdp.attached(mode) != Some(id) {
            return Err(format!("the DUT was left with {} attached, running: {}", link.xdp, link.running));
        }
        Ok(())
    }
}

/// Runs a plan on `jobs` threads and tells `reporter` what happens. Stops early, with what there is, once `cancelled` is
/// set.
///
/// # Errors
///
/// When a reporter cannot pass on what it is told, or the machine cannot be read.
pub fn run(
    lab: &Lab,
    plan: &[Trial<'_>],
    paths: &[Path],
    jobs: usize,
    cancelled: &AtomicBool,
    reporter: &mut dyn Reporter,
) -> io::Result<RunResult> {
    let environment = lab.environment()?;
    reporter.report(Event::Started { environment: &environment, paths, trials: plan.len() })?;
    let mut records: Vec<Option<TrialRecord>> = vec![None; plan.len()];
    // The longest first, so that no thread is left with one when the others are done.
    let mut order: Vec<(usize, &Trial<'_>)> = plan.iter().enumerate().collect();
    order.sort_by_key(|(_, trial)| std::cmp::Reverse(trial.scenario.sent()));
    let next = AtomicUsize::new(0);
    let (done, ended) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, plan.len().max(1)) {
            let (order, next, done) = (&order, &next, done.clone());
            scope.spawn(move || {
                while !cancelled.load(Ordering::Relaxed) {
                    let Some((index, trial)) = order.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                    if done.send((*index, lab.run(trial))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(done);
        for (index, record) in ended {
            reporter.report(Event::Trial(&record))?;
            records[index] = Some(record);
        }
        Ok::<(), io::Error>(())
    })?;
    let trials: Vec<TrialRecord> = records.into_iter().flatten().collect();
    let result = RunResult::new(environment, trials, Vec::new(), plan.len());
    reporter.report(Event::Ended { result: &result })?;
    Ok(result)
}

/// The frames that the stack discards whatever the program answers, so that nobody can see the answer on a device.
fn discarded(scenario: &Scenario) -> impl Iterator<Item = &Frame> {
    scenario.frames.iter().filter(|frame| stack_discards(&frame.bytes))
}

/// Whether a counter passes a frame.
fn is_counted(frame: &Frame) -> bool {
    matches!(oracle::fate(&frame.bytes), oracle::Fate::Counted(_))
}

fn broken(error: impl std::error::Error) -> Obstacle {
    Obstacle::Broken(chain(&error))
}

/// A word as a shell has to be given it.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:,+@%=".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// An error with everything behind it, on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        // An error that says of what it came says it once.
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_error_says_of_its_source_is_said_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("failed to {0}")]
        struct Outer(#[from] Inner);
        #[derive(Debug, thiserror::Error)]
        #[error("open a door")]
        struct Inner(#[source] io::Error);
        let error = Outer(Inner(io::ErrorKind::NotFound.into()));
        assert_eq!(chain(&error), "failed to open a door: entity not found");
    }

    #[test]
    fn a_word_is_quoted_only_where_a_shell_needs_it() {
        assert_eq!(quoted("vlan/qinq_ipv4_udp"), "vlan/qinq_ipv4_udp");
        assert_eq!(quoted("my counter.o"), "'my counter.o'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
