//! The lab: runs one trial at a time, from its plan to its record.
//!
//! [`run`](crate::trial::run) does it for a whole plan, in parallel; `cargo test` calls [`Lab::run`] for each
//! trial.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use xdproof_scenarios::{KernelVersion, Scenario, Spread};

use crate::{
    error::chain,
    exchange::{self, ExchangeError, ExchangePorts, Offered, SendOptions},
    host::kernel,
    inject::{cpu_rotation::CpuRotation, sender::Sender, test_run},
    judge::{
        arrival_order::OrderTraits,
        expectation::CounterTrial,
        findings::Attached,
        trial::{judge, stray_key, testbed_changed, unexpected_attach},
    },
    model::{
        action::CountedAction,
        environment::Environment,
        expectation::TrialExpectation,
        finding::{Finding, FindingKind, Severity},
        frame_sequence::{FrameSequence, Surplus},
        mode::{Mode, TrialPath},
        observation::{ArrivalOrder, Counts, Observation},
        result::{TrialOutcome, TrialRecord},
        verdict::Verdict,
    },
    plan::{
        eligibility::{Carriage, Conditions},
        needs::Needs,
        selection::Trial,
        support::{RefusalMeaning, Refused, Support},
    },
    program::{Identity, Object, Program, ProgramError, RunCounting},
    testbed::{Testbed, TestbedError},
    trial::{
        attaching::NoRig,
        health::Health,
        options::LabOptions,
        pool::Pool,
        reproduce,
        rig::{AttachedRig, Rig, RigKind, RigRole},
    },
};

/// Attempts at a trial during which link-local control frames arrive, which switches and devices send every second at most, or in which
/// CPUs do not count at the same time, because others have them.
const TRIES: u32 = 5;

/// Frames that arrived and should not have, by sink.
pub(super) type UnexpectedFrames = Vec<Surplus>;

/// An error that keeps all trials from running.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    #[error(transparent)]
    Attach(#[from] ProgramError),
    #[error("failed to read the identity of this machine")]
    Environment(#[from] io::Error),
}

/// The shared state of all trials of a run: the object under test, a pool of rigs on a testbed, and options.
#[derive(Debug)]
pub struct Lab {
    object: LoadableObject,
    pub(super) options: LabOptions,
    pub(super) pool: Pool,
    nonce: AtomicU64,
    health: Health,
    /// A trial has failed because the map counted at a key that is no protocol number.
    has_stray: AtomicBool,
    _counting: RunCounting,
}

/// The object under test, and everything known from loading it once.
#[derive(Debug)]
struct LoadableObject {
    object: Object,
    identity: Identity,
    takes_frags: bool,
    kernel: KernelVersion,
}

impl Lab {
    /// Prepares to run trials of one object on veth pairs. It is loaded once, so that its errors show before
    /// the first trial. Needs root, or `CAP_BPF`, `CAP_NET_ADMIN`, `CAP_NET_RAW` and `CAP_SYS_ADMIN`.
    ///
    /// # Errors
    ///
    /// An object that is not a counter, or that the kernel rejects.
    pub fn open(object: Object, options: LabOptions) -> Result<Self, LabError> {
        let counting = RunCounting::enable()?;
        let (program, _counters) = Program::load_counter(&object)?;
        let (identity, takes_frags) = (program.identity().clone(), program.takes_frags());
        let kernel = kernel::kernel_version()?;
        let object = LoadableObject { object, identity, takes_frags, kernel };
        Ok(Self {
            object,
            options,
            pool: Pool::default(),
            nonce: AtomicU64::new(0),
            health: Health::default(),
            has_stray: AtomicBool::new(false),
            _counting: counting,
        })
    }

    /// Uses another testbed than veth pairs.
    #[must_use]
    pub fn on(mut self, testbed: Arc<dyn Testbed>) -> Self {
        self.pool = Pool::on(testbed);
        self
    }

    /// Returns the testbed on which trials run.
    #[must_use]
    pub fn testbed(&self) -> &dyn Testbed {
        self.pool.testbed.as_ref()
    }

    /// Returns the conditions on which the eligibility of trials depends.
    #[must_use]
    pub fn conditions(&self) -> Conditions<'_> {
        Conditions {
            facts: self.testbed().facts(),
            kernel: self.object.kernel,
            page: rustix::param::page_size(),
            takes_frags: self.object.takes_frags,
            most_frames: self.options.most_frames,
        }
    }

    /// Returns the program under test.
    #[must_use]
    pub fn object(&self) -> &Object {
        &self.object.object
    }

    /// Returns true if the program was attached in native mode at the usual MTU, and frames reached it.
    #[must_use]
    pub fn attaches_natively(&self) -> bool {
        self.pool.attached().get(&Mode::Native) == Some(&Attached::Yes)
    }

    /// Detaches the programs of all rigs that wait in the pool.
    pub fn detach(&self) {
        self.pool.clear();
    }

    /// Returns the record of this machine and of the program under test.
    pub fn environment(&self) -> io::Result<Environment> {
        kernel::environment(self.object.identity.of(&self.object.object))
    }

    /// Runs one trial and judges it. The rig is taken from the pool or brought up, and returned only if it is
    /// clean.
    #[must_use]
    pub fn run(&self, trial: &Trial<'_>) -> TrialRecord {
        self.run_with_frames(trial).0
    }

    /// Runs one trial as [`run`](Self::run) does, and returns with its record all frames that arrived and should not
    /// have, each with the number of times.
    pub(super) fn run_with_frames(&self, trial: &Trial<'_>) -> (TrialRecord, UnexpectedFrames) {
        let facts = self.testbed().facts();
        let counter = self.counter_trial(trial.path);
        let arriving = counter.arriving(trial.scenario);
        let (expected, frames, mut outcome) = if let Some(reason) = self.conditions().unmet_requirement(trial)
        {
            // The frames that are not sent need no expectation one by one.
            let outcome = TrialOutcome::without_running(Verdict::Skip { reason });
            (counter.totals(&arriving), BTreeMap::new(), outcome)
        } else {
            let expected = counter.expectation(&arriving);
            // With a million frames, a copy of them is a quarter of a gigabyte.
            drop(arriving);
            let outcome = self.outcome(trial, &expected);
            (expected.totals, expected.frames, self.health.judged(self.testbed(), trial, outcome))
        };
        let nic = trial.path.mode.is_attached().then_some(facts.label.as_str());
        let repeat = || reproduce::command(trial, facts, self.object(), &self.options);
        let record = TrialRecord::new(
            (&trial.scenario.id, &trial.scenario.frames),
            trial.path,
            nic,
            &expected,
            &outcome,
            repeat,
        );
        let observation = outcome.observation.take().filter(|_| record.failure.is_some());
        let observed = observation.map(|observation| observation.frames).unwrap_or_default();
        let none = FrameSequence::default();
        let surplus =
            |(sink, came): (_, FrameSequence)| came.into_surplus(frames.get(&sink).unwrap_or(&none));
        let unexpected = observed.into_iter().map(surplus).collect();
        (record, unexpected)
    }

    /// Observes until no foreign frame has interfered. One attempt is judged by itself: the first one in which an
    /// expected frame is missing, because that frame may have been turned into what looks like a foreign one.
    fn undisturbed(
        &self,
        expected: Option<&TrialExpectation>,
        mut observe: impl FnMut() -> Result<Observation, ExchangeError>,
    ) -> Result<Observation, ExchangeError> {
        let mut tries = 1;
        loop {
            match observe() {
                Err(ExchangeError::ForeignFrames { observed: seen, .. }) if !is_whole(expected, &seen) => {
                    return Ok(*seen);
                }
                Err(ExchangeError::ForeignFrames { frames, is_control, .. }) if tries < TRIES => {
                    tries += 1;
                    if !is_control {
                        self.health.disturbed(frames);
                    }
                }
                observed => return observed,
            }
        }
    }

    /// Returns what a reader of the result has to know about disturbances of the trials.
    pub(super) fn disturbances(&self) -> Option<Finding> {
        let (attempts, frames) = self.health.disturbances()?;
        let message = format!(
            "frames that nobody of the run sent arrived during {attempts} attempts of trials, which were retried: {frames}"
        );
        Some(Finding {
            kind: FindingKind::TestbedFailure,
            severity: Severity::Warning,
            nic: Some(self.testbed().facts().label.clone()),
            mode: None,
            message,
        })
    }

    /// Returns why no further trial should run, if the testbed is broken.
    pub(super) fn broken(&self) -> Option<String> {
        self.health.broken(self.testbed())
    }

    /// Publishes the namespaces of one rig of each kind under names that outlive this process and begin with
    /// `prefix`; returns those names.
    ///
    /// # Errors
    ///
    /// A name that is taken or cannot be created.
    pub fn keep(self, prefix: &str) -> Result<Vec<String>, xdproof_netns::Error> {
        self.pool.keep(prefix)
    }

    /// Returns the program under test in its place on a path.
    fn counter_trial(&self, path: TrialPath) -> CounterTrial {
        CounterTrial {
            transform: self.testbed().facts().rx_transform(path.mode),
            action: self.options.counted,
            attached: path.mode.is_attached(),
        }
    }

    fn outcome(&self, trial: &Trial<'_>, expected: &TrialExpectation) -> TrialOutcome {
        let kind = RigKind::for_trial(trial, RigRole::UnderTest, self.testbed().facts());
        let prepared = self.take_rig(trial, &kind).and_then(|rig| self.prepare(trial, &kind, rig));
        let (rig, queues) = match prepared {
            Ok(prepared) => prepared,
            Err(verdict) => return TrialOutcome::without_running(verdict),
        };
        let started = Instant::now();
        let (mut verdict, observation, rig) = self.observe_and_judge(rig, trial, expected, queues);
        if let Some(rig) = rig
            && let Err(what) = self.pool.hand_back(&kind, rig, &trial.scenario.frames)
        {
            let mut mismatches = verdict.mismatches().to_vec();
            mismatches.push(testbed_changed(what));
            verdict = Verdict::Fail(mismatches);
        }
        TrialOutcome { verdict, observation, duration: started.elapsed() }
    }

    /// Takes a rig for a trial; without one, returns the verdict that follows.
    fn take_rig(&self, trial: &Trial<'_>, kind: &RigKind) -> Result<Rig, Verdict> {
        let (conditions, mode, mtu) = (self.conditions(), trial.path.mode, kind.needs.mtu);
        let fail =
            |expected: &str, observed: &str| Verdict::Fail(vec![unexpected_attach(expected, observed)]);
        match self.pool.take(self.object(), kind) {
            Ok(rig) => match conditions.support(mode, mtu) {
                Support::Supported | Support::Depends(_) | Support::Unknown => Ok(rig),
                Support::Unsupported(Refused { reason, .. }) => {
                    Err(fail(&format!("refused ({reason})"), "attached"))
                }
            },
            Err(NoRig::Refused(refusal)) => {
                Err(match conditions.explain(mode, mtu, trial.longest(), &refusal) {
                    RefusalMeaning::Declared(reason) => Verdict::Skip { reason },
                    RefusalMeaning::Unreachable(reason) => Verdict::Unreachable { reason },
                    RefusalMeaning::Unexpected(expected) => {
                        fail(&expected, &format!("refused: {}", refusal.answer))
                    }
                })
            }
            Err(NoRig::Incapable(reason)) => Err(Verdict::Skip { reason }),
            Err(NoRig::NoTraffic(what)) => Err(fail("frames reach the program", &what)),
            Err(NoRig::Failed(reason)) => Err(Verdict::Error { reason }),
        }
    }

    /// Finds out whether the frames of a trial arrive and on which queues; if not, returns the rig to the
    /// pool and gives the verdict.
    fn prepare(&self, trial: &Trial<'_>, kind: &RigKind, rig: Rig) -> Result<(Rig, Counts), Verdict> {
        let error = |reason| Verdict::Error { reason };
        let without = |rig, verdict| {
            self.pool.hand_back(kind, rig, &trial.scenario.frames).err().map_or(verdict, error)
        };
        match self.not_carried(trial, kind) {
            Ok(None) => {}
            Ok(Some(reason)) => return Err(without(rig, Verdict::Unreachable { reason })),
            Err(reason) => return Err(error(reason)),
        }
        let (rig, queues) = self.queues(trial, kind, rig).map_err(error)?;
        match self.conditions().not_spread(trial, &queues) {
            Some(reason) => Err(without(rig, Verdict::Skip { reason })),
            None => Ok((rig, queues)),
        }
    }

    /// Returns the reason why the frames of a trial do not arrive, with or without a program.
    fn not_carried(&self, trial: &Trial<'_>, kind: &RigKind) -> Result<Option<String>, String> {
        if !trial.path.mode.is_attached() {
            return Ok(None);
        }
        let (testbed, mtu) = (self.testbed(), kind.needs.mtu);
        let longest = testbed.longest(mtu).map_err(|error| chain(&error))?;
        let carriage = Carriage { mtu, longest, fate: &|frame| testbed.fate(frame) };
        Ok(self.conditions().not_carried(trial, carriage))
    }

    /// Sends, observes and judges. Returns the rig if it can be used again.
    fn observe_and_judge(
        &self,
        mut rig: Rig,
        trial: &Trial<'_>,
        expected: &TrialExpectation,
        queues: Counts,
    ) -> (Verdict, Option<Observation>, Option<Rig>) {
        if trial.scenario.is_unreachable() {
            return match rig.offer_each(&trial.scenario.frames) {
                Ok(Offered::Refused { lengths }) => {
                    let reason = format!("the kernel refuses frames of {lengths:?} bytes (EINVAL)");
                    (Verdict::Unreachable { reason }, None, Some(rig))
                }
                Ok(Offered::Accepted { length }) => {
                    let expected = format!("a frame of {length} bytes is refused");
                    let mismatches = vec![unexpected_attach(expected, "accepted")];
                    let verdict = match self.conditions().deviation(trial) {
                        Some(reason) => Verdict::Xfail { reason: reason.to_owned(), mismatches },
                        None => Verdict::Fail(mismatches),
                    };
                    (verdict, None, None)
                }
                Err(error) => (Verdict::Error { reason: chain(&error) }, None, None),
            };
        }
        match self.observe_overlapping(&mut rig, trial.scenario, expected) {
            Ok(observation) => {
                let unobservable = expected.unobservable.values().sum();
                let observation = Observation { queues, unobservable, ..observation };
                let verdict = judge(expected, &observation, self.conditions().deviation(trial));
                (verdict, Some(observation), Some(rig))
            }
            Err(ExchangeError::Program(ProgramError::KeyOutOfRange { key })) => {
                // One trial fails for it; the others are judged by the rest of the map.
                if !self.has_stray.swap(true, Ordering::Relaxed) {
                    return (Verdict::Fail(vec![stray_key(key)]), None, None);
                }
                rig.counter().ignore_stray();
                self.observe_and_judge(rig, trial, expected, queues)
            }
            Err(error) => match self.conditions().too_long(trial.path.mode, trial.longest()) {
                Some(reason) if error.refused_frame() => {
                    let reason = format!("{reason} ({})", chain(&error));
                    (Verdict::Unreachable { reason }, None, None)
                }
                _ => (Verdict::Error { reason: chain(&error) }, None, None),
            },
        }
    }

    /// Counts the frames of a trial by receive queue: they are sent to a program that counts by queue, over a
    /// link like the trial's own. A veth chooses the queue by a hash of the frame's bytes, whose key the
    /// kernel draws once (`skb_tx_hash` of `net/core/dev.c`). Empty if the scenario does not ask for it.
    fn queues(&self, trial: &Trial<'_>, kind: &RigKind, rig: Rig) -> Result<(Rig, Counts), String> {
        if trial.scenario.spread.queues.is_none() || !trial.path.mode.is_attached() {
            return Ok((rig, Counts::new()));
        }
        let take = |object, kind| self.pool.take(object, kind).map_err(|error| error.to_string());
        // The other program needs the only DUT.
        let waiting = if self.testbed().facts().exclusive {
            drop(rig);
            None
        } else {
            Some(rig)
        };
        let showing = RigKind::for_trial(trial, RigRole::CountsQueues, self.testbed().facts());
        let mut shows = take(self.object(), &showing)?;
        let observation =
            self.undisturbed(None, || self.observe(&mut shows, trial.scenario, CountedAction::Pass));
        let observation = observation.map_err(|error| chain(&error))?;
        let queues = observation.counts().unwrap_or_default();
        let counted: u64 = queues.values().sum();
        if counted != observation.sent || observation.ran != observation.sent {
            let Observation { sent, ran, .. } = observation;
            return Err(format!("of {sent} frames {ran} arrived and {counted} were counted by their queue"));
        }
        self.pool.hand_back(&showing, shows, &trial.scenario.frames)?;
        let rig = waiting.map_or_else(|| take(self.object(), kind), Ok)?;
        Ok((rig, queues))
    }

    /// Calls [`Lab::observe_preset`], again if CPUs that were to count at the same time hardly did and nothing is wrong.
    fn observe_overlapping(
        &self,
        rig: &mut Rig,
        scenario: &Scenario,
        expected: &TrialExpectation,
    ) -> Result<Observation, ExchangeError> {
        let mut observed = self.observe_preset(rig, scenario, expected)?;
        for _ in 1..TRIES {
            let Some(overlap) = observed.overlap.filter(|overlap| !overlap.is_proof()) else { break };
            if !judge(expected, &observed, None).mismatches().is_empty() {
                break;
            }
            observed = self.observe_preset(rig, scenario, expected)?;
            observed.overlap = observed.overlap.map(|its| its + overlap);
        }
        Ok(observed)
    }

    /// Calls [`Lab::observe`] with the scenario's slots preset, and resets them to 0 afterwards.
    fn observe_preset(
        &self,
        rig: &mut Rig,
        scenario: &Scenario,
        expected: &TrialExpectation,
    ) -> Result<Observation, ExchangeError> {
        self.undisturbed(Some(expected), || {
            for (&protocol, &start) in &scenario.preset {
                rig.counter().preset(protocol, start)?;
            }
            let observed = self.observe(rig, scenario, self.options.counted);
            for &protocol in scenario.preset.keys() {
                rig.counter().preset(protocol, 0)?;
            }
            observed
        })
    }

    fn observe(
        &self,
        rig: &mut Rig,
        scenario: &Scenario,
        counted: CountedAction,
    ) -> Result<Observation, ExchangeError> {
        let Spread { cpus, at_once, .. } = scenario.spread;
        let rotation = (cpus && !at_once).then(|| CpuRotation::new(scenario.sent())).transpose();
        let rotation = rotation.map_err(|source| ExchangeError::Turn { source })?;
        // Counters that all CPUs share do not show which of them counted.
        // A device chooses the CPU on which it hands frames up.
        let shows = rig.counter().is_per_cpu() && !self.testbed().facts().asynchronous;
        let at_once = at_once.then_some(self.testbed().facts().cpus.as_slice());
        let cpus = at_once.or(rotation.as_ref().map(CpuRotation::cpus)).filter(|_| shows).unwrap_or_default();
        let cpus = cpus.to_vec();
        let observed = self.observe_from(rig, scenario, counted, rotation.as_ref(), at_once)?;
        Ok(Observation { cpus, ..observed })
    }

    /// Sends from each CPU in turn where there is a rotation, or from some at the same time.
    fn observe_from(
        &self,
        rig: &mut Rig,
        scenario: &Scenario,
        counted: CountedAction,
        rotation: Option<&CpuRotation>,
        at_once: Option<&[usize]>,
    ) -> Result<Observation, ExchangeError> {
        match rig {
            Rig::Attached(rig) => {
                let frames = scenario.frames.iter().map(|frame| (frame.bytes.as_slice(), frame.repeat));
                let passes = counted == CountedAction::Pass;
                let nonce = self.nonce.fetch_add(1, Ordering::Relaxed);
                let AttachedRig { counter, sender, crowd, capture, returned, .. } = rig.as_mut();
                let ports = ExchangePorts { sender, crowd: &mut crowd.senders, capture, returned };
                let options = self.send_options();
                let spread = options.spread || scenario.spread != Spread::default();
                let order = self.arrival_order(ports.sender, scenario);
                let options = SendOptions { spread, rotation, at_once, order, ..options };
                exchange::run_attached(counter, ports, &frames, passes, nonce, options)
            }
            Rig::Detached(rig) => exchange::run_detached(&rig.counter, |subject| match at_once {
                Some(cpus) => test_run::run_at_once(&subject.program, &scenario.frames, cpus),
                None => test_run::run(&subject.program, &scenario.frames, rotation),
            }),
        }
    }

    /// Finds out which frames of a plan do not arrive as they should, before any program is attached. `tell` is told the number of
    /// frames, how many were sent, and how many of them were lost so far.
    pub(super) fn survey(
        &self,
        plan: &[Trial<'_>],
        cancelled: &AtomicBool,
        tell: &mut dyn FnMut(usize, usize, usize),
    ) -> Result<(), TestbedError> {
        let facts = self.testbed().facts();
        if !facts.asynchronous {
            return Ok(());
        }
        let mut by_mtu = BTreeMap::<u32, BTreeSet<&[u8]>>::new();
        let conditions = self.conditions();
        let is_sent = |trial: &&Trial<'_>| {
            trial.path.mode.is_attached() && conditions.unmet_requirement(trial).is_none()
        };
        for trial in plan.iter().filter(is_sent) {
            let frames = trial.scenario.frames.iter().map(|frame| frame.bytes.as_slice());
            by_mtu.entry(Needs::of(trial, facts).mtu).or_default().extend(frames);
        }
        for (mtu, frames) in by_mtu {
            if cancelled.load(Ordering::Relaxed) {
                break;
            }
            let frames: Vec<&[u8]> = frames.into_iter().collect();
            self.testbed().survey(mtu, &frames, &mut |sent, lost| tell(frames.len(), sent, lost))?;
        }
        Ok(())
    }

    /// Returns the order in which a scenario's frames arrive if nothing is wrong with the path.
    fn arrival_order(&self, sender: &Sender, scenario: &Scenario) -> ArrivalOrder {
        let facts = self.testbed().facts();
        let merges = |(name, on): (&String, &bool)| {
            *on && ["rx-gro", "rx-lro"].iter().any(|its| name.starts_with(its))
        };
        let traits = OrderTraits {
            sender_keeps_order: sender.keeps_order(),
            cpus_in_turn: scenario.spread.cpus,
            crosses_devices: facts.asynchronous,
            queues: facts.queues.or(scenario.spread.queues).unwrap_or(1),
            aggregated: facts.aggregated,
            merges: scenario.requires.offloads.iter().any(merges),
        };
        traits.arrival_order()
    }

    /// Returns the options of sending on this testbed.
    pub(super) fn send_options(&self) -> SendOptions<'static> {
        let facts = self.testbed().facts();
        let (window, spread, rests) = (facts.window, facts.has_several_queues(), facts.asynchronous);
        SendOptions { window, spread, rests, ..SendOptions::default() }
    }
}

/// Returns true if all expected frames are among those that were observed.
fn is_whole(expected: Option<&TrialExpectation>, seen: &Observation) -> bool {
    let mut sinks = expected.iter().flat_map(|expected| &expected.frames);
    sinks.all(|(sink, frames)| {
        let came = seen.frames.get(sink);
        frames.totals().all(|(frame, times)| came.is_some_and(|came| came.times(frame) == times))
    })
}
