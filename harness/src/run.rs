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
use xdproof_scenarios::{Expectation, Frame, KernelVersion, Scenario, oracle};

use crate::{
    attach::{AttachError, Attachment, Counter, Identity, Object, RunCounting},
    environment::{self, Environment},
    inject::{pnet::PnetSender, test_run, turns::Turns},
    observe::{self, Capture, ObserveError},
    plan::{InjectorKind, Mode, Path, Trial},
    report::{
        Event, Reporter,
        json::{Outcome, RunResult, SCHEMA, Summary, TrialRecord},
    },
    support::{self, Request, Support},
    testbed::{Spec, Veth, veth},
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

/// What all trials of a run share: the object under test and a pool of rigs.
#[derive(Debug)]
pub struct Lab {
    object: Object,
    counted: CountedAction,
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
    sender: PnetSender,
    capture: Capture,
    testbed: Veth,
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
            identity,
            takes_fragments,
            kernel,
            nonce: AtomicU64::new(0),
            pool: Mutex::default(),
            _counting: counting,
        })
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
    pub fn keep(self, prefix: &str) -> Result<Vec<String>, xdproof_netns::Error> {
        let pool = self.pool.into_inner().unwrap_or_else(PoisonError::into_inner);
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
        match self.counted {
            CountedAction::Pass => {
                let mut passed = Frames::new();
                for frame in passing(scenario).filter(|frame| !on_device || !stack_discards(&frame.bytes)) {
                    *passed.entry(frame.bytes.clone()).or_default() += u64::from(frame.repeat);
                }
                Expected { numbers: scenario.expect.clone(), passed, spread: scenario.spread }
            }
            CountedAction::Drop => {
                let Expectation { counts, passed, dropped } = scenario.expect.clone();
                let numbers = Expectation { counts, passed: 0, dropped: passed + dropped };
                Expected { numbers, passed: Frames::new(), spread: scenario.spread }
            }
        }
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
        let requires = &trial.scenario.requires;
        if let Some(oldest) = requires.min_kernel
            && self.kernel < oldest
        {
            return Some(format!("the scenario needs kernel {oldest}; this is {}", self.kernel));
        }
        let injector = trial.path.injector.name();
        match &requires.injectors {
            Some(able) if !able.iter().any(|able| able == injector) => {
                Some(format!("only {} can inject these frames as they are meant", able.join(" and ")))
            }
            _ => None,
        }
    }

    /// Sends, observes, judges. The rig comes back if it can still be used.
    fn observe_and_judge(
        &self,
        mut rig: Rig,
        trial: &Trial<'_>,
        expected: &Expected,
        queues: Counts,
    ) -> (Verdict, Option<Observation>, Option<Rig>) {
        match (self.observe_preset(&mut rig, trial.scenario), trial.scenario.is_unreachable()) {
            (Ok(observation), false) => {
                let observation = Observation { queues, ..observation };
                let deviation = self.deviation(trial);
                let verdict = Verdict::judge(expected, &observation, deviation);
                (verdict, Some(observation), Some(rig))
            }
            (Ok(observation), true) => {
                let what = "frames that nothing should be able to inject were taken".to_owned();
                (Verdict::Fail(vec![Mismatch::Support { what }]), Some(observation), Some(rig))
            }
            (Err(error), true) if error.refused_frame() => {
                (Verdict::Unreachable { reason: chain(&error) }, None, Some(rig))
            }
            (Err(error), _) => (Verdict::Error { reason: chain(&error) }, None, None),
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
        let cpus = turns.as_ref().map_or(&[][..], Turns::cpus).to_vec();
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
                let Wire { counter, sender, capture, .. } = wire.as_mut();
                let mut observation =
                    observe::on_wire(counter, sender, capture, frames, passes, nonce, turns)?;
                observation.unseen = if passes { unseen(scenario) } else { 0 };
                Ok(observation)
            }
            Rig::Unattached(counter) => {
                observe::alone(counter, |counter| test_run::run(counter, &scenario.frames, turns))
            }
        }
    }

    /// The reason of the deviation that is declared for this trial, if there is one.
    fn deviation<'a>(&self, trial: &Trial<'a>) -> Option<&'a str> {
        let Path { mode, injector } = trial.path;
        let holds = |deviation: &&xdproof_scenarios::Deviation| {
            deviation.holds(veth::DRIVER, mode.name(), self.kernel, injector.name())
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

    fn repeat_command(&self, trial: &Trial<'_>) -> String {
        use std::fmt::Write as _;
        let mut command = format!("xdproof validate --scenario {}", trial.scenario.id);
        let mut option = |name: &str, value: Option<&dyn std::fmt::Display>| {
            if let Some(value) = value {
                // Writing to a String cannot fail.
                let _infallible = write!(command, " --{name} {value}");
            }
        };
        let Path { mode, injector } = trial.path;
        option("mode", mode.attach().as_ref().map(|mode| mode as _));
        option("injector", Some(&injector));
        let Object { path, program, map } = &self.object;
        option("object", path.as_ref().map(|path| path.display()).as_ref().map(|path| path as _));
        option("program", program.as_ref().map(|name| name as _));
        option("map", map.as_ref().map(|name| name as _));
        if self.counted == CountedAction::Drop {
            option("expect-action", Some(&"drop"));
        }
        command
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
            mtu: scenario.requires.mtu.map_or(veth::DEFAULT_MTU, |mtu| mtu.max(veth::DEFAULT_MTU)),
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
            (Some(mode), InjectorKind::Pnet) => {
                Wire::bring_up(counter, mode, *spec, offloads).map(Box::new).map(Self::Wire)
            }
            (None, InjectorKind::TestRun) => Ok(Self::Unattached(Box::new(counter))),
            (mode, injector) => Err(Obstacle::Broken(format!(
                "{injector} does not go with {}",
                mode.map_or(Mode::Unattached.name(), |_| path.mode.name())
            ))),
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
        spec: Spec,
        offloads: &BTreeMap<String, bool>,
    ) -> Result<Self, Obstacle> {
        let testbed = Veth::up(spec).map_err(broken)?;
        let (counter, attached) =
            counter.attach(&testbed.dut, testbed.topology.dut.index, Some(mode)).map_err(broken)?;
        let attachment = attached.map_err(|error| match error {
            AttachError::Refused { ref source, .. } => {
                Obstacle::Refused(Refusal { errno: Errno::from_io_error(source), answer: chain(&error) })
            }
            other => broken(other),
        })?;
        let capture = testbed.watch_dut(observe::CAPTURE_BUFFER).map(Capture::new).map_err(broken)?;
        // What a scenario asks for comes last: attaching and watching switch offloads themselves.
        for (name, &on) in offloads {
            let (index, offload) = (testbed.topology.dut.index, Offload::from(name.as_str()));
            testbed.dut.call(move |host| host.set_offload(index, &offload, on)).map_err(broken)?;
        }
        let sender = PnetSender::open(&testbed.tester, &testbed.topology.tester).map_err(broken)?;
        let runs = counter.runs().map_err(broken)?;
        Ok(Self { attachment, counter, sender, capture, testbed, runs })
    }

    fn check_clean(&mut self) -> Result<(), String> {
        self.runs = self.counter.runs().map_err(|error| chain(&error))?;
        if !self.capture.is_empty().map_err(|error| chain(&error))? {
            return Err("a frame came through after the trial had ended".to_owned());
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
    let next = AtomicUsize::new(0);
    let (done, ended) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, plan.len().max(1)) {
            let (next, done) = (&next, done.clone());
            scope.spawn(move || {
                while !cancelled.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(trial) = plan.get(index) else { break };
                    if done.send((index, lab.run(trial))).is_err() {
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
    let summary = Summary::new(&trials, plan.len());
    let result =
        RunResult { schema: SCHEMA.to_owned(), environment, trials, measurements: Vec::new(), summary };
    reporter.report(Event::Ended { result: &result })?;
    Ok(result)
}

/// The frames that a counter passes.
fn passing(scenario: &Scenario) -> impl Iterator<Item = &Frame> {
    scenario.frames.iter().filter(|frame| matches!(oracle::fate(&frame.bytes), oracle::Fate::Counted(_)))
}

/// How many frames a counter passes on a device without anyone being able to see it.
fn unseen(scenario: &Scenario) -> u64 {
    passing(scenario).filter(|frame| stack_discards(&frame.bytes)).map(|frame| u64::from(frame.repeat)).sum()
}

fn broken(error: impl std::error::Error) -> Obstacle {
    Obstacle::Broken(chain(&error))
}

/// An error with everything behind it, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
