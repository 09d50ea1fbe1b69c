//! One way through: from a planned trial to its record.
//!
//! ```text
//! plan --Trial--> Lab::run: testbed up, program attached (a rig, from the pool)
//!                 inject -> observe -> verdict -> TrialRecord --Event--> reporters
//! ```
//!
//! [`run`] does it for a whole plan, in parallel; `cargo test` calls [`Lab::run`] for one trial at a time.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Instant,
};

use xdproof_netns::XdpFeatures;
use xdproof_scenarios::{Frame, KernelVersion, Scenario, Spread, describe, oracle};

use crate::{
    error::chain,
    exchange::{self, Manner, ObserveError, Ports, Refusals},
    host::kernel,
    inject::{cpu_rotation::Turns, test_run},
    judge::trial::judge,
    model::{
        action::CountedAction,
        environment::Environment,
        expectation::Expected,
        mismatch::Mismatch,
        mode::{Mode, TrialPath},
        observation::{Counts, Frames, Observation},
        partition::Partition,
        result::{Outcome, TrialRecord},
        rx_transform::{RxTransform, stack_discards},
        verdict::Verdict,
    },
    plan::{
        selection::Trial,
        support::{self, Refused, Request, Support},
    },
    program::{Identity, Object, Program, ProgramError, RunCounting},
    testbed::{
        Port, Topology,
        path::{Fate, PathError},
    },
    trial::rig::{Obstacle, Pool, Refusal, Rig, RigKind, Role, Wire},
};

pub(super) use crate::trial::rig::Ground;

/// How often a trial is begun anew because a switch or a device has put in a word of its own: they speak every second at most.
const TRIES: u32 = 5;

/// Why trials cannot be run here at all.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The program cannot be loaded, or the kernel counts no runs.
    #[error(transparent)]
    Attach(#[from] ProgramError),
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
    pub(super) part: Option<Partition>,
    identity: Identity,
    takes_fragments: bool,
    kernel: KernelVersion,
    most_frames: Option<u64>,
    nonce: AtomicU64,
    pub(crate) pool: Pool,
    _counting: RunCounting,
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
        let (program, _counters) = Program::load_counter(&object)?;
        let (identity, takes_fragments) = (program.identity().clone(), program.takes_frags());
        let kernel = kernel::kernel_version()?;
        Ok(Self {
            object,
            counted,
            origin: None,
            part: None,
            identity,
            takes_fragments,
            kernel,
            most_frames: None,
            nonce: AtomicU64::new(0),
            pool: Pool::default(),
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

    /// Leaves out scenarios that send more frames.
    #[must_use]
    pub fn with_at_most(mut self, frames: Option<u64>) -> Self {
        self.most_frames = frames;
        self
    }

    /// Lets trials take place on other ground than veth pairs.
    #[must_use]
    pub fn on(mut self, ground: Ground) -> Self {
        self.pool.ground = ground;
        self
    }

    /// On what trials take place.
    #[must_use]
    pub fn ground(&self) -> &Ground {
        &self.pool.ground
    }

    /// The running kernel.
    #[must_use]
    pub fn kernel(&self) -> KernelVersion {
        self.kernel
    }

    /// The program under test.
    #[must_use]
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// Whether the program under test takes frames of several buffers.
    #[must_use]
    pub fn takes_fragments(&self) -> bool {
        self.takes_fragments
    }

    /// Takes the program off whatever it waits on.
    pub fn detach(&self) {
        self.pool.clear();
    }

    /// Says that its plan is a part of one, so that results can be joined.
    #[must_use]
    pub fn of_part(mut self, part: Option<Partition>) -> Self {
        self.part = part;
        self
    }

    /// What this machine and the program under test are.
    ///
    /// # Errors
    ///
    /// When `/proc` cannot be read.
    pub fn environment(&self) -> io::Result<Environment> {
        kernel::environment(self.identity.of(&self.object))
    }

    /// Runs one trial and judges it. Takes a rig from the pool, or brings one up; hands it back only if it is clean.
    #[must_use]
    pub fn run(&self, trial: &Trial<'_>) -> TrialRecord {
        let delivery = self.delivery(trial.path);
        let arriving = delivery.scenario(trial.scenario);
        let (expected, outcome) = if let Some(reason) = self.unmet_requirement(trial) {
            // What is not sent need not be looked at, frame by frame.
            (self.expected_numbers(&arriving), Outcome::without_running(Verdict::Skip { reason }))
        } else {
            let expected = self.expected(&arriving, trial.path, delivery);
            let outcome = self.outcome(trial, &arriving, &expected);
            (expected, outcome)
        };
        let nic = trial.path.mode.is_attached().then(|| self.pool.ground.nic());
        let repeat = || self.repeat_command(trial);
        TrialRecord::new(trial.scenario, trial.path, nic, &expected, &outcome, repeat)
    }

    /// Gives the namespaces of one rig of each kind names that outlive this process, under `prefix`; returns their paths.
    ///
    /// # Errors
    ///
    /// When a name is taken or cannot be made.
    pub fn keep(self, prefix: &str) -> Result<Vec<String>, xdproof_netns::Error> {
        self.pool.keep(prefix)
    }

    /// What frames become on the way to the program.
    fn delivery(&self, path: TrialPath) -> RxTransform {
        let devices = self.pool.ground.devices().filter(|_| path.mode.is_attached());
        devices.map_or_else(RxTransform::default, |ground| ground.delivery(path.mode))
    }

    /// What the frames that arrive must come to for the program under test.
    fn expected(&self, arriving: &Scenario, path: TrialPath, delivery: RxTransform) -> Expected {
        let on_device = path.mode.is_attached();
        let passes = |frame: &Frame| {
            self.counted == CountedAction::Pass
                && matches!(delivery.fate(&frame.bytes), oracle::CounterOutcome::Counted(_))
        };
        let mut passed = Frames::new();
        for frame in arriving.frames.iter().filter(|frame| passes(frame)) {
            if !on_device || !stack_discards(&frame.bytes) {
                *passed.entry(frame.bytes.clone()).or_default() += u64::from(frame.repeat);
            }
        }
        let (mut undecided_passed, mut undecided_dropped) = (0, 0);
        for frame in discarded(arriving).filter(|_| on_device) {
            *(if passes(frame) { &mut undecided_passed } else { &mut undecided_dropped }) +=
                u64::from(frame.repeat);
        }
        Expected { passed, undecided_passed, undecided_dropped, ..self.expected_numbers(arriving) }
    }

    /// What they must come to in numbers, and over what they are spread.
    fn expected_numbers(&self, arriving: &Scenario) -> Expected {
        let mut numbers = arriving.expect.clone();
        if self.counted == CountedAction::Drop {
            numbers.dropped += std::mem::take(&mut numbers.passed);
        }
        let spread = arriving.spread;
        Expected { numbers, passed: Frames::new(), undecided_passed: 0, undecided_dropped: 0, spread }
    }

    fn outcome(&self, trial: &Trial<'_>, arriving: &Scenario, expected: &Expected) -> Outcome {
        let without_running = Outcome::without_running;
        let kind = RigKind::for_trial(trial, Role::UnderTest, &self.pool.ground);
        let support = self.support(trial, &kind);
        let rig = match (self.pool.take(&self.object, &kind), support) {
            (Ok(rig), Support::Supported | Support::Depends(_) | Support::Unknown) => rig,
            (Ok(_), Support::Unsupported(Refused { reason, .. })) => {
                let what = format!("attached, although it is known to be impossible: {reason}");
                return without_running(Verdict::Fail(vec![Mismatch::Support { what }]));
            }
            (Err(Obstacle::Refused(refusal)), support) => {
                return without_running(self.refused(trial, refusal, support));
            }
            (Err(Obstacle::Unfit(reason)), _) => return without_running(Verdict::Skip { reason }),
            (Err(Obstacle::Mute(what)), _) => {
                return without_running(Verdict::Fail(vec![Mismatch::Support { what }]));
            }
            (Err(Obstacle::Broken(reason)), _) => return without_running(Verdict::Error { reason }),
        };
        if let Some(reason) = self.not_carried(trial, &kind) {
            let dirty = self.pool.hand_back(&kind, rig).err();
            let verdict = dirty.map_or(Verdict::Unreachable { reason }, |reason| Verdict::Error { reason });
            return without_running(verdict);
        }
        let (rig, queues) = match self.queues(trial, &kind, rig) {
            Ok(both) => both,
            Err(reason) => return without_running(Verdict::Error { reason }),
        };
        if let Some(reason) = self.not_spread(trial, &queues) {
            let dirty = self.pool.hand_back(&kind, rig).err();
            return without_running(
                dirty.map_or(Verdict::Skip { reason }, |reason| Verdict::Error { reason }),
            );
        }
        let started = Instant::now();
        let (mut verdict, observation, rig) = self.observe_and_judge(rig, trial, arriving, expected, queues);
        if let Some(rig) = rig
            && let Err(what) = self.pool.hand_back(&kind, rig)
        {
            let mut mismatches = verdict.mismatches().to_vec();
            mismatches.push(Mismatch::Dirty { what });
            verdict = Verdict::Fail(mismatches);
        }
        Outcome { verdict, observation, duration: started.elapsed() }
    }

    /// Why a trial shows nothing of what it is for: over which queues a device spreads frames is its own affair (its indirection
    /// table, its hash), while a veth has to.
    fn not_spread(&self, trial: &Trial<'_>, queues: &Counts) -> Option<String> {
        self.pool.ground.devices()?;
        let needed = trial.scenario.spread.queues?.saturating_sub(1) as usize;
        (queues.len() < needed).then(|| {
            let numbers: Vec<&u8> = queues.keys().collect();
            format!(
                "the scenario needs frames on {needed} receive queues, and the DUT puts them on {numbers:?}"
            )
        })
    }

    /// What is known of attaching for a trial: by the table, and else by what the device itself advertises.
    fn support(&self, trial: &Trial<'_>, kind: &RigKind) -> Support {
        let ground = &self.pool.ground;
        let known = support::lookup(Request {
            driver: ground.driver(),
            mode: trial.path.mode,
            kernel: self.kernel,
            mtu: kind.spec.mtu,
            fragments: self.takes_fragments,
            page: rustix::param::page_size(),
        });
        let promises = trial.path.mode == Mode::Native
            && ground
                .devices()
                .and_then(|path| path.advertised)
                .is_some_and(|advertised| advertised.contains(XdpFeatures::BASIC));
        if known == Support::Unknown && promises { Support::Supported } else { known }
    }

    /// What it means that the kernel or the driver refuses the program.
    fn refused(&self, trial: &Trial<'_>, refusal: Refusal, support: Support) -> Verdict {
        let Refusal { errno, answer } = refusal;
        let what = match support {
            Support::Unsupported(known) | Support::Depends(known) if known.is(errno, &answer) => {
                let Refused { reason, .. } = known;
                return Verdict::Skip { reason: format!("{reason} ({answer})") };
            }
            Support::Unsupported(Refused { reason, errnos, texts })
            | Support::Depends(Refused { reason, errnos, texts }) => {
                let sentence: String = texts.iter().map(|text| format!(", \"{text}\"")).collect();
                format!("refused otherwise than is known ({reason}: {errnos:?}{sentence}): {answer}")
            }
            Support::Supported => match self.too_long(trial) {
                Some(reason) => return Verdict::Unreachable { reason: format!("{reason} ({answer})") },
                None => answer,
            },
            Support::Unknown => {
                let driver = self.pool.ground.driver();
                let reason =
                    format!("nothing is known of {driver} in {} mode, and it refuses", trial.path.mode);
                return Verdict::Skip { reason: format!("{reason} ({answer})") };
            }
        };
        Verdict::Fail(vec![Mismatch::Support { what }])
    }

    /// Why the frames of a trial do not arrive on devices, program or not.
    fn not_carried(&self, trial: &Trial<'_>, kind: &RigKind) -> Option<String> {
        let path = self.pool.ground.devices().filter(|_| trial.path.mode.is_attached())?;
        if trial.scenario.is_unreachable() {
            return None;
        }
        let lengths = || trial.scenario.frames.iter().map(|frame| frame.bytes.len());
        let (shortest, longest) = (lengths().min()?, lengths().max()?);
        let mtu = kind.spec.mtu;
        let carried = path.longest(mtu).ok()?;
        if shortest < path.traits.shortest {
            let least = path.traits.shortest;
            return Some(format!(
                "what arrives of a frame of {shortest} bytes cannot be foretold: this path carries frames from {least} bytes on"
            ));
        }
        if longest > carried {
            return Some(format!(
                "a frame of {longest} bytes does not arrive, program or not: at an MTU of {mtu} this path carries {carried} bytes"
            ));
        }
        let discarded =
            |frame: &&Frame| stack_discards(&path.delivery(trial.path.mode).arriving(&frame.bytes));
        if path.is_stacked(trial.path.mode)
            && let Some(frame) = trial.scenario.frames.iter().find(discarded)
        {
            let frame = describe(&frame.bytes);
            return Some(format!("the stack of the device beneath discards it, program or not: {frame}"));
        }
        let (frame, fate) =
            trial.scenario.frames.iter().find_map(|frame| Some((frame, path.fate(&frame.bytes)?)))?;
        let what = match fate {
            Fate::Lost => "does not arrive",
            Fate::Altered => "arrives otherwise than it was sent",
        };
        Some(format!("{what}, program or not: {}", describe(&frame.bytes)))
    }

    /// What the scenario needs and this trial does not offer.
    fn unmet_requirement(&self, trial: &Trial<'_>) -> Option<String> {
        if !trial.is_possible() {
            return Some(format!("{} cannot inject these frames as they are meant", trial.path.injector));
        }
        let sends = trial.scenario.sent();
        if let Some(most) = self.most_frames.filter(|most| sends > *most) {
            return Some(format!("the scenario sends {sends} frames, and --most-frames is {most}"));
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
        arriving: &Scenario,
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
                    let mismatches = vec![Mismatch::Support { what }];
                    let verdict = match self.deviation(trial) {
                        Some(reason) => Verdict::Xfail { reason: reason.to_owned(), mismatches },
                        None => Verdict::Fail(mismatches),
                    };
                    (verdict, None, None)
                }
                Err(error) => (Verdict::Error { reason: chain(&error) }, None, None),
            };
        }
        match self.observe_preset(&mut rig, trial.scenario, expected) {
            Ok(observation) => {
                let hidden = discarded(arriving).filter(|_| trial.path.mode.is_attached());
                let undecided = hidden.map(|frame| u64::from(frame.repeat)).sum();
                let observation = Observation { queues, undecided, ..observation };
                let verdict = judge(expected, &observation, self.deviation(trial));
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
    fn queues(&self, trial: &Trial<'_>, kind: &RigKind, rig: Rig) -> Result<(Rig, Counts), String> {
        if trial.scenario.spread.queues.is_none() || !trial.path.mode.is_attached() {
            return Ok((rig, Counts::new()));
        }
        let take = |object, kind| self.pool.take(object, kind).map_err(Obstacle::into_words);
        // Of devices there is one DUT, which the other program needs.
        let waiting = if self.pool.ground.devices().is_some() {
            drop(rig);
            None
        } else {
            Some(rig)
        };
        let showing = RigKind::for_trial(trial, Role::ShowQueues, &self.pool.ground);
        let mut shows = take(&self.object, &showing)?;
        let observation = undisturbed(None, || self.observe(&mut shows, trial.scenario, CountedAction::Pass));
        let observation = observation.map_err(|error| chain(&error))?;
        let queues = observation.counts();
        let counted: u64 = queues.values().sum();
        if counted != observation.sent || observation.ran != observation.sent {
            let Observation { sent, ran, .. } = observation;
            return Err(format!("of {sent} frames {ran} arrived and {counted} were counted by their queue"));
        }
        self.pool.hand_back(&showing, shows)?;
        let rig = waiting.map_or_else(|| take(&self.object, kind), Ok)?;
        Ok((rig, queues))
    }

    /// As [`Lab::observe`], with the scenario's slots set before it and back at 0 after it.
    fn observe_preset(
        &self,
        rig: &mut Rig,
        scenario: &Scenario,
        expected: &Expected,
    ) -> Result<Observation, ObserveError> {
        undisturbed(Some(expected), || {
            for (&protocol, &start) in &scenario.preset {
                rig.counter().preset(protocol, start)?;
            }
            let observed = self.observe(rig, scenario, self.counted);
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
    ) -> Result<Observation, ObserveError> {
        let turns = scenario.spread.cpus.then(|| Turns::new(scenario.sent())).transpose();
        let turns = turns.map_err(|source| ObserveError::Turn { source })?;
        // Where all CPUs share their counters, it does not show which of them counted.
        // On which CPU a device hands frames up is its own affair.
        let shows = rig.counter().is_per_cpu() && self.pool.ground.devices().is_none();
        let cpus = turns.as_ref().filter(|_| shows).map_or(&[][..], Turns::cpus).to_vec();
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
                let manner = self.manner();
                let spread = manner.spread || scenario.spread != Spread::default();
                exchange::on_wire(counter, ports, frames, passes, nonce, Manner { spread, turns, ..manner })
            }
            Rig::Unattached(alone) => exchange::alone(&alone.counter, |subject| {
                test_run::run(&subject.program, &scenario.frames, turns)
            }),
        }
    }

    /// Finds out which frames of a plan do not arrive at devices as they should, before any program is attached.
    pub(super) fn survey(&self, plan: &[Trial<'_>], cancelled: &AtomicBool) -> Result<(), PathError> {
        let Some(path) = self.pool.ground.devices() else { return Ok(()) };
        let mut by_mtu = BTreeMap::<u32, Vec<&[u8]>>::new();
        let is_sent =
            |trial: &&Trial<'_>| trial.path.mode.is_attached() && self.unmet_requirement(trial).is_none();
        for trial in plan.iter().filter(is_sent) {
            let mtu = RigKind::for_trial(trial, Role::UnderTest, &self.pool.ground).spec.mtu;
            let frames = trial.scenario.frames.iter().map(|frame| frame.bytes.as_slice());
            by_mtu.entry(mtu).or_default().extend(frames);
        }
        for (mtu, frames) in by_mtu {
            if cancelled.load(Ordering::Relaxed) {
                break;
            }
            match path.set_mtu(mtu) {
                Ok(()) => path.survey(frames.into_iter())?,
                // The trials that need it say so.
                Err(PathError::Mtu { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// How the ground takes frames.
    pub(crate) fn manner(&self) -> Manner<'static> {
        match self.pool.ground.devices() {
            None => Manner::default(),
            Some(path) => {
                let (window, spread) = (path.traits.window, path.queues > 1);
                Manner { window, spread, rests: true, ..Manner::default() }
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
        let TrialPath { mode, injector } = trial.path;
        // Where no device takes part, no driver can deviate.
        let driver = if mode.is_attached() { self.pool.ground.driver() } else { "" };
        let holds = |deviation: &&xdproof_scenarios::Deviation| {
            deviation.holds(driver, mode.name(), self.kernel, injector.name())
        };
        trial.scenario.deviations.iter().find(holds).map(|deviation| deviation.reason.as_str())
    }

    /// The command that runs this trial and no other.
    fn repeat_command(&self, trial: &Trial<'_>) -> String {
        let TrialPath { mode, injector } = trial.path;
        let Object { path, program, map } = &self.object;
        let counted = (self.counted == CountedAction::Drop).then_some("drop");
        let path_text = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let devices = self.pool.ground.devices().filter(|_| mode.is_attached());
        let port =
            |name: fn(&Topology) -> &Port| devices.map(|path| name(&path.testbed.topology).name.to_string());
        let options = [
            ("dut", port(|topology| &topology.dut)),
            ("tester", port(|topology| &topology.tester)),
            ("scenario", Some(trial.scenario.id.to_string())),
            ("mode", mode.is_attached().then(|| mode.to_string())),
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
            .filter_map(|(name, value)| Some(format!(" --{name} {}", super::reproduce::quoted(&value?))));
        format!("xdproof validate{}", given.collect::<String>())
    }
}

/// Observes until nobody else has spoken meanwhile. What is judged is one try and no part of another: the first of which something that is
/// expected is missing, for then it may be one of ours that was made into what looks like somebody else's.
fn undisturbed(
    expected: Option<&Expected>,
    mut observe: impl FnMut() -> Result<Observation, ObserveError>,
) -> Result<Observation, ObserveError> {
    let is_whole = |seen: &Observation| {
        let mut passed = expected.iter().flat_map(|expected| &expected.passed);
        passed.all(|(frame, times)| seen.passed.get(frame) == Some(times))
    };
    let mut tries = 1;
    loop {
        match observe() {
            Err(ObserveError::Stranger { seen, .. }) if !is_whole(&seen) => return Ok(*seen),
            Err(ObserveError::Stranger { .. }) if tries < TRIES => tries += 1,
            observed => return observed,
        }
    }
}

/// The frames that the stack discards whatever the program answers, so that nobody can see the answer on a device.
fn discarded(scenario: &Scenario) -> impl Iterator<Item = &Frame> {
    scenario.frames.iter().filter(|frame| stack_discards(&frame.bytes))
}
