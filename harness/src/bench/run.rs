//! The runner for measurements: from cases to measurements.
//!
//! ```text
//! Wanted --Case--> round: programs loaded anew
//!                    case: block of four trials, block of the control    (path or test runs)
//!                  until each case is settled or the budget is spent --Measurement--> reporters
//! ```

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use xdproof_scenarios::KernelVersion;

use crate::{
    bench::{
        cost,
        machine::{IdleTimes, fingerprint},
        path::{Load, MeasuredPath, PathKind},
        programs::{Loaded, Objects, Programs},
    },
    error::chain,
    host::{kernel, xdp_mode},
    inject::{cpu::Pinned, live_frames, pace::Pps},
    measure::{
        Series,
        case::{Case, Place, Setup},
        judge,
        series::{Costs, believe, figures, series},
        wants_more,
    },
    model::{
        BURSTS, Facts, InjectorKind, Judgement, LEAST_BLOCKS, Losses, MAX_MTU, Measurement, Mode,
        ProgramRole, Quantity, RunResult, Sample, SideStats, Tolerance, Unmeasured, Void, stable_hash,
    },
    plan::{
        eligibility::Conditions,
        needs::Needs,
        support::{self, RefusalMeaning},
    },
    program::ProgramError,
    report::{Event, Reporter},
    testbed::Testbed,
    trial::attaching::NoRig,
};
/// Minimum and maximum length of a path's trial. A shorter one measures the clock's resolution and wake-ups;
/// a longer one leaves few blocks.
const TRIAL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(3));

/// Length of a trial of a program's cost.
const COST_TRIAL: Duration = Duration::from_millis(2);

/// Rounds that fit the budget, so that each case gets at least [`LEAST_BLOCKS`].
const ROUNDS: u32 = 26;

/// Overhead of a round: loading the programs anew, most of it waiting for the kernel.
const RELOAD: Duration = Duration::from_millis(150);

/// Overhead of a trial: reading counters, replacing programs.
const AROUND_TRIAL: Duration = Duration::from_micros(600);

/// Returns the blocks in a round of a program's cost, and of a path: with few cases, loading programs takes
/// longer than they do.
fn blocks_in_a_round(cases: usize) -> [u32; 2] {
    /// Cases that take as long as loading does.
    const FEW: usize = 8;
    if cases <= FEW { [4, 2] } else { [2, 1] }
}

/// Frames of the very first trial, by which the others are sized.
const FIRST: u32 = 512;

/// Minimum and maximum frames of a burst. The minimum does not apply to an offered load.
const LEAST_FRAMES: u32 = 64;
const MOST_FRAMES: u32 = 4_000_000;

/// A list of cases to measure, and the precision.
#[derive(Debug)]
pub struct Order {
    pub objects: Objects,
    /// The comparisons, in the order in which they are reported.
    pub cases: Vec<Case>,
    pub budget: Duration,
    pub tolerance: Tolerance,
    /// Frames per second to offer; none: as many as possible.
    pub rate: Option<Pps>,
    pub testbed: Arc<dyn Testbed>,
}

/// An error that keeps a run from measuring.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error(transparent)]
    Attach(#[from] ProgramError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A case and its samples so far.
struct State<'a> {
    case: &'a Case,
    seed: u64,
    /// Decides which blocks begin with the subject.
    draws: fastrand::Rng,
    /// Frames or runs of a burst, the same for both sides of a comparison: the kernel's work for each burst
    /// is shared by more frames in a longer one.
    frames: u32,
    trials: Vec<Sample>,
    blocks: u32,
    looked_at: usize,
    settled: bool,
    unmeasured: Option<Unmeasured>,
}

/// The reason why a case cannot be measured.
struct Obstacle(Unmeasured);

impl Obstacle {
    fn declared(reason: impl Into<String>) -> Self {
        Self(Unmeasured { reason: reason.into(), declared: true })
    }

    fn broken(error: &dyn std::error::Error) -> Self {
        Self(Unmeasured { reason: chain(error), declared: false })
    }
}

/// Everything with which trials are run.
struct Stand {
    programs: Programs,
    paths: HashMap<PathKind, MeasuredPath>,
    testbed: Arc<dyn Testbed>,
    cpus: Vec<usize>,
    rate: Option<Pps>,
    /// For a program's cost, and for a path.
    blocks_in_a_round: [u32; 2],
}

/// Measures until the budget is spent or `cancelled` is set. Needs the privileges of
/// [`Lab::open`](crate::trial::Lab::open).
///
/// # Errors
///
/// An object that cannot be measured or that changes meanwhile, a machine that cannot be read, a reporter
/// that fails.
pub fn run(
    order: &Order,
    cancelled: &AtomicBool,
    reporter: &mut dyn Reporter,
) -> Result<RunResult, BenchError> {
    let deadline = Instant::now() + order.budget;
    let idle = IdleTimes::read()?;
    let programs = Programs::load(order.objects.clone())?;
    let mut stand = Stand {
        programs,
        paths: HashMap::new(),
        testbed: Arc::clone(&order.testbed),
        cpus: idle.quietest_since()?,
        rate: order.rate,
        blocks_in_a_round: blocks_in_a_round(order.cases.len()),
    };
    let is_over = || Instant::now() >= deadline || cancelled.load(Ordering::Relaxed);
    let identity = stand.program(ProgramRole::Subject, false)?.program.identity().clone();
    let environment = kernel::environment(identity.of(&order.objects.subject))?;
    reporter.report(Event::Measuring {
        environment: &environment,
        cases: order.cases.len(),
        budget: order.budget,
    })?;
    let home = stand.cpus.first().copied().unwrap_or(0);
    let _pinned = Pinned::on(home)?;

    let length = trial_length(&order.cases, order.budget);
    let mut states: Vec<State<'_>> = order.cases.iter().map(State::new).collect();
    for state in &mut states {
        if is_over() {
            break;
        }
        state.unmeasured = stand.warm_up(state, length).err().map(|Obstacle(why)| why);
    }
    let tags = stand.tags();
    let mut round = 0;
    'measuring: loop {
        if round > 0 {
            stand.programs.reload()?;
            if stand.tags() != tags {
                return Err(io::Error::other("an object file changed while it was measured").into());
            }
        }
        round += 1;
        for state in &mut states {
            if is_over() {
                break 'measuring;
            }
            let whole = order.budget.as_secs_f64().max(f64::MIN_POSITIVE);
            let left = deadline.saturating_duration_since(Instant::now());
            let spent = 1.0 - left.as_secs_f64() / whole;
            reporter.report(Event::Progress { round, spent, case: &state.case.id() })?;
            stand.round(state)?;
            state.settle(order.tolerance);
        }
        if states.iter().all(|state| state.settled || state.unmeasured.is_some()) {
            break;
        }
    }
    let measurements =
        states.into_iter().map(|state| stand.measurement(state, order)).collect::<Result<_, _>>()?;
    let result = RunResult::new(environment, Vec::new(), measurements, 0);
    let devices = order.testbed.devices().to_vec();
    Ok(RunResult { devices, findings: order.testbed.findings(), ..result })
}

/// Returns the length of a path's trial with which the budget holds [`ROUNDS`].
fn trial_length(cases: &[Case], budget: Duration) -> Duration {
    let paths = cases.iter().filter(|case| case.quantity != Quantity::ProgramCost).count();
    let costs = cases.len() - paths;
    // A block of the subject and one of the control, with the null program around both for a net cost.
    let [cost_blocks, path_blocks] = blocks_in_a_round(cases.len());
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let each_cost = (COST_TRIAL + AROUND_TRIAL) * (12 * cost_blocks).saturating_mul(number(costs));
    let round = (budget / ROUNDS).saturating_sub(RELOAD + each_cost);
    let trials = (8 * path_blocks).saturating_mul(number(paths.max(1)));
    (round / trials).saturating_sub(AROUND_TRIAL).clamp(TRIAL.0, TRIAL.1)
}

impl<'a> State<'a> {
    fn new(case: &'a Case) -> Self {
        Self {
            case,
            seed: stable_hash(&case.id()),
            draws: fastrand::Rng::with_seed(stable_hash(&case.id())),
            frames: FIRST,
            trials: Vec::new(),
            blocks: 0,
            looked_at: 0,
            settled: false,
            unmeasured: None,
        }
    }

    /// Settles the case if it needs no more blocks; checked each time that half as many again have come.
    /// Checking after each block would sooner or later find a moment in which chance decides.
    fn settle(&mut self, tolerance: Tolerance) {
        let tried = self.blocks as usize / 2;
        if self.settled || tried < LEAST_BLOCKS.max(self.looked_at + self.looked_at / 2) {
            return;
        }
        self.looked_at = tried;
        let [subject, control] = [false, true].map(|control| series(&self.trials, control, Costs::Gross));
        self.settled = if self.case.is_judged() {
            !wants_more(&judge(&subject, &control, tolerance, self.seed))
        } else {
            believe(&subject, &control, tolerance, self.seed).is_none()
        };
    }
}

impl Stand {
    /// Returns the tags of the programs.
    fn tags(&self) -> [Option<String>; 3] {
        [ProgramRole::Null, ProgramRole::Subject, ProgramRole::Reference]
            .map(|role| self.programs.describe(role).map(|program| program.tag))
    }

    fn program(&self, role: ProgramRole, second: bool) -> Result<&Loaded, BenchError> {
        let missing = || io::Error::other("a program is not loaded").into();
        self.programs.get(role, second).ok_or_else(missing)
    }

    /// Brings up everything that a case needs, and finds out how many frames its trials take. The samples are
    /// discarded.
    fn warm_up(&mut self, state: &mut State<'_>, length: Duration) -> Result<(), Obstacle> {
        let case = state.case;
        let subject = self.fitting(&case.setup, case.subject, length)?;
        // The slower one decides: neither then has longer trials than there is time for.
        let reference = self.fitting(case.reference_setup(), case.reference, length)?;
        state.frames = subject.min(reference);
        Ok(())
    }

    /// Returns the frames of a burst with which a trial takes this long, by the rate of two trials.
    fn fitting(&mut self, setup: &Setup, role: ProgramRole, length: Duration) -> Result<u32, Obstacle> {
        self.prepare(setup)?;
        let (length, cpus) = match setup.place {
            Place::Alone => (COST_TRIAL, 1),
            Place::Wire { cpus, .. } => (length, cpus),
        };
        let burst = (length / BURSTS).as_secs_f64();
        // A paced burst takes as long as its frames are apart, however few they are.
        let paced = self.rate.filter(|_| setup.place != Place::Alone);
        let due = paced.map(|Pps(rate)| rate / cpus as f64 * burst);
        let mut frames = due.map_or(FIRST, |due| between(due, 1, FIRST));
        for _ in 0..2 {
            let sample = self.trial(setup, (role, false), frames, ProgramRole::Reference);
            let sample = sample.map_err(|error| Obstacle::broken(&error))?;
            if let Some(Void::Injector { reason }) = sample.void {
                return Err(Obstacle(Unmeasured { reason, declared: false }));
            }
            // Each CPU sends this many, all at once.
            let each = (sample.time_ns.max(1) as f64 * cpus as f64 / sample.sent.max(1) as f64).max(0.1);
            let fits = burst * 1e9 / each;
            frames = match due {
                Some(due) => between(due.min(fits), 1, MOST_FRAMES),
                None => self.whole_bursts(setup, between(fits, LEAST_FRAMES, MOST_FRAMES)),
            };
        }
        Ok(frames)
    }

    /// Brings up the path that a setup needs, and prepares its senders.
    fn prepare(&mut self, setup: &Setup) -> Result<(), Obstacle> {
        let Place::Wire { mode, injector, cpus } = setup.place else {
            return match setup.traffic.frames.len() {
                1 => Ok(()),
                several => Err(Obstacle::declared(format!(
                    "the cost of a program is measured on one frame, and the traffic has {several}"
                ))),
            };
        };
        let kernel = kernel::kernel_version().map_err(|error| Obstacle::broken(&error))?;
        let facts = self.testbed.facts();
        if let Some(reason) = support::injector(injector, kernel) {
            return Err(Obstacle::declared(reason));
        }
        let longest = setup.traffic.longest();
        if injector == InjectorKind::LiveFrames && longest > live_frames::LONGEST {
            let most = live_frames::LONGEST;
            return Err(Obstacle::declared(format!(
                "a live frame has at most {most} bytes, and the traffic has frames of {longest}"
            )));
        }
        if cpus > self.cpus.len() {
            let reason = format!("--cpus {cpus} exceeds the {} CPUs that can be used", self.cpus.len());
            return Err(Obstacle::declared(reason));
        }
        let Some(kind) = kind_of(setup, facts) else {
            return Err(Obstacle::declared("test runs attach to nothing"));
        };
        if let Some(reason) = kind.needs.unmet(facts) {
            return Err(Obstacle::declared(reason));
        }
        if !self.paths.contains_key(&kind) {
            if facts.exclusive {
                // There is one DUT: its last program has to be detached first.
                self.paths.clear();
                self.testbed.wait_released().map_err(|error| Obstacle::broken(&error))?;
            }
            let path = self.bring_up(kind.clone(), mode, kernel, longest)?;
            self.paths.insert(kind.clone(), path);
        }
        let Some(path) = self.paths.get_mut(&kind) else { return Ok(()) };
        path.prepare(injector, &setup.traffic).map_err(|error| Obstacle::broken(&error))
    }

    /// Brings a path up. A refusal is declared where the [support table](support) has its errno and its sentence.
    fn bring_up(
        &self,
        kind: PathKind,
        mode: Mode,
        kernel: KernelVersion,
        longest: usize,
    ) -> Result<MeasuredPath, Obstacle> {
        let program = self.program(ProgramRole::Subject, false).map_err(|error| Obstacle::broken(&error))?;
        let conditions = Conditions {
            facts: self.testbed.facts(),
            kernel,
            page: rustix::param::page_size(),
            takes_frags: program.program.takes_frags(),
            most_frames: None,
        };
        let mtu = kind.needs.mtu;
        MeasuredPath::up(self.testbed.as_ref(), kind, program).map_err(|error| match error {
            NoRig::Incapable(reason) => Obstacle::declared(reason),
            NoRig::Refused(refusal) => match conditions.explain(mode, mtu, longest, &refusal) {
                RefusalMeaning::Declared(reason) | RefusalMeaning::Unreachable(reason) => {
                    Obstacle::declared(reason)
                }
                RefusalMeaning::Unexpected(reason) => Obstacle(Unmeasured { reason, declared: false }),
            },
            NoRig::NoTraffic(reason) | NoRig::Failed(reason) => {
                Obstacle(Unmeasured { reason, declared: false })
            }
        })
    }

    fn whole_bursts(&self, setup: &Setup, frames: u32) -> u32 {
        let wire = kind_of(setup, self.testbed.facts()).and_then(|kind| self.paths.get(&kind));
        match (wire, setup.place) {
            (Some(wire), Place::Wire { injector, .. }) => wire.whole_bursts(injector, frames),
            _ => frames,
        }
    }

    /// Runs a block of the subject and one of the control, or several of each if they are short.
    fn round(&mut self, state: &mut State<'_>) -> Result<(), BenchError> {
        if state.settled || state.unmeasured.is_some() {
            return Ok(());
        }
        let [cost, path] = self.blocks_in_a_round;
        for _ in 0..if state.case.quantity == Quantity::ProgramCost { cost } else { path } {
            for control in [false, true] {
                self.block(state, control)?;
            }
        }
        Ok(())
    }

    fn block(&mut self, state: &mut State<'_>, control: bool) -> Result<(), BenchError> {
        let case = state.case;
        let reference_setup = case.reference_setup();
        let reference = (ProgramRole::Reference, reference_setup, (case.reference, false));
        let subject = if control {
            (ProgramRole::Subject, reference_setup, (case.reference, true))
        } else {
            (ProgramRole::Subject, &case.setup, (case.subject, false))
        };
        let net = case.quantity == Quantity::ProgramCost && case.reference != ProgramRole::Null;
        let null = net.then_some((ProgramRole::Null, reference_setup, (ProgramRole::Null, false)));
        let [outer, inner] = if state.draws.bool() { [reference, subject] } else { [subject, reference] };
        let order = [null, Some(outer), Some(inner), Some(inner), Some(outer), null];
        for (role, setup, program) in order.into_iter().flatten() {
            if let Err(Obstacle(why)) = self.prepare(setup) {
                // The samples so far stay.
                state.unmeasured = Some(why);
                break;
            }
            let sample = self.trial(setup, program, state.frames, role)?;
            state.trials.push(Sample { block: state.blocks, control, ..sample });
        }
        state.blocks += 1;
        Ok(())
    }

    fn trial(
        &mut self,
        setup: &Setup,
        (program, second): (ProgramRole, bool),
        frames: u32,
        role: ProgramRole,
    ) -> Result<Sample, BenchError> {
        let missing = || io::Error::other("a program or a path is missing");
        let program = self.programs.get(program, second).ok_or_else(missing)?;
        match (kind_of(setup, self.testbed.facts()), setup.place) {
            (Some(kind), Place::Wire { injector, cpus, .. }) => {
                let wire = self.paths.get_mut(&kind).ok_or_else(missing)?;
                let cpus = self.cpus.get(..cpus).ok_or_else(missing)?;
                let load = Load { injector, traffic: &setup.traffic, frames, cpus, rate: self.rate };
                Ok(wire.trial(program, load, role)?)
            }
            _ => Ok(cost::trial(program, &setup.traffic, frames, role)?),
        }
    }

    /// Returns a note if two programs have different verdicts on a frame, so that the paths behind them differ too.
    fn different_answers(&self, case: &Case) -> Result<Option<String>, BenchError> {
        let Some((frame, _)) = case.setup.traffic.frames.first() else { return Ok(None) };
        let mut out = vec![0; frame.len() + 4096];
        let mut answer = |role| {
            let program = self.program(role, false)?;
            // Nothing is known of a frame that a test run rejects.
            Ok::<_, BenchError>(program.program.test_run(frame, &mut out).ok().map(|answer| answer.action))
        };
        Ok(match (answer(case.subject)?, answer(case.reference)?) {
            (Some(its), Some(other)) if its != other => Some(format!(
                "the programs return {its} and {other} (XDP_DROP is 1, XDP_PASS 2): the paths behind them differ, and are measured too"
            )),
            _ => None,
        })
    }

    /// Returns the measurement of a case.
    fn measurement(&self, state: State<'_>, order: &Order) -> Result<Measurement, BenchError> {
        let State { case, seed, trials, unmeasured, .. } = state;
        let [judged_series, judged_control] =
            [false, true].map(|control| series(&trials, control, Costs::Gross));
        let subject = series(&trials, false, Costs::Net);
        let judged = judge(&judged_series, &judged_control, order.tolerance, seed);
        let verdict = if unmeasured.is_some() {
            None
        } else if case.is_judged() {
            Some(judged.verdict)
        } else {
            believe(&judged_series, &judged_control, order.tolerance, seed)
        };
        let [value, reference_value] =
            figures(case.quantity, case.reference == ProgramRole::Null, &subject, seed);
        let missing = || io::Error::other("a program is not loaded");
        let describe = |role| self.programs.describe(role).ok_or_else(missing);
        let wire = kind_of(&case.setup, self.testbed.facts()).and_then(|kind| self.paths.get(&kind));
        let device =
            wire.map(MeasuredPath::device).transpose().map_err(|error| io::Error::other(chain(&error)))?;
        let described = describe(case.subject)?;
        let (mode, injector, cpus) = match case.setup.place {
            Place::Wire { mode, injector, cpus } => (mode, injector, cpus),
            Place::Alone => (Mode::Unattached, InjectorKind::TestRun, 1),
        };
        let mut notes = wire.map(|path| path.notes(injector, &case.setup.traffic)).unwrap_or_default();
        if order.rate.is_some() && wire.is_some() {
            notes.push("at an offered load, every program that keeps up has the same rate".to_owned());
        }
        if let Some(answers) = self.different_answers(case)? {
            notes.push(answers);
        }
        if kernel::counts_runs() {
            notes.push("the kernel counts the runs of every program (kernel.bpf_stats_enabled)".to_owned());
        }
        Ok(Measurement {
            id: case.id(),
            quantity: case.quantity,
            mode,
            injector,
            traffic: case.setup.traffic.name.clone(),
            cpus,
            offered_pps: order.rate.map(|Pps(rate)| rate),
            fingerprint: fingerprint(described.tag.clone(), self.cpus.len(), device)?,
            subject: described,
            reference: describe(case.reference)?,
            value,
            reference_value,
            ratio: judged.estimate,
            net_ratio: subject
                .blocks
                .iter()
                .any(|block| block.null.is_some())
                .then(|| subject.estimate(seed))
                .flatten(),
            control: judged.control,
            tolerance: order.tolerance,
            seed,
            verdict,
            unmeasured,
            baseline: None,
            notes,
            side_stats: side_stats(&trials, &judged_series, &judged_control),
            trials,
        })
    }
}

/// Returns a whole number of frames within limits.
fn between(frames: f64, least: u32, most: u32) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let frames = frames.clamp(f64::from(least), f64::from(most)) as u32;
    frames
}

/// Returns the kind of path that a setup needs; none for test runs.
#[must_use]
pub fn kind_of(setup: &Setup, facts: &Facts) -> Option<PathKind> {
    let Place::Wire { mode, injector, cpus } = setup.place else { return None };
    let header = 14;
    let mtu = u32::try_from(setup.traffic.longest().saturating_sub(header)).ok()?;
    let usual = Needs::usual(facts);
    // A veth has a receive queue for each sender; a device spreads frames as it likes.
    let queues = if facts.asynchronous { usual.queues } else { u32::try_from(cpus).ok()? };
    Some(PathKind {
        mode: xdp_mode::to_kernel(mode)?,
        needs: Needs { mtu: mtu.clamp(usual.mtu, MAX_MTU.max(usual.mtu)), queues, ..usual },
        redirected: injector == InjectorKind::LiveFrames,
    })
}

/// Returns the state of the machine during the complete trials of the subject.
fn side_stats(trials: &[Sample], subject: &Series, control: &Series) -> SideStats {
    let mut stats = SideStats::default();
    let (mut frames, mut cpu_ns, mut time_ns, mut stolen) = (0, 0, 0, 0.0);
    let its = trials
        .iter()
        .filter(|trial| !trial.control && trial.role == ProgramRole::Subject && trial.void.is_none());
    for Sample { counted, cpu_ns: cpu, time_ns: time, steal, losses, per_cpu, .. } in its {
        frames += counted;
        cpu_ns += cpu;
        time_ns += time;
        stolen += steal * *time as f64;
        let Losses { tx_dropped, tx_errors, rx_dropped, rx_missed, softnet } = *losses;
        stats.losses.tx_dropped += tx_dropped;
        stats.losses.tx_errors += tx_errors;
        stats.losses.rx_dropped += rx_dropped;
        stats.losses.rx_missed += rx_missed;
        stats.losses.softnet += softnet;
        stats.per_cpu.resize(stats.per_cpu.len().max(per_cpu.len()), 0);
        for (sum, frames) in stats.per_cpu.iter_mut().zip(per_cpu) {
            *sum += frames;
        }
    }
    if frames > 0 {
        stats.cpu_ns_per_frame = Some(cpu_ns as f64 / frames as f64);
        stats.steal = Some(stolen / time_ns.max(1) as f64);
    }
    for void in subject.void.iter().chain(&control.void) {
        *stats.void_blocks.entry(void.name().to_owned()).or_default() += 1;
    }
    stats
}

/// Returns the outcome of a run of measurements.
#[must_use]
pub fn outcome(measurements: &[Measurement]) -> Outcome {
    let is = |measurement: &Measurement, wanted: fn(&Judgement) -> bool| {
        measurement.verdict.as_ref().is_some_and(wanted)
    };
    let inconclusive = |verdict: &Judgement| matches!(verdict, Judgement::Inconclusive { .. });
    let broken = |measurement: &Measurement| measurement.unmeasured.as_ref().is_some_and(|why| !why.declared);
    let mut measured = measurements.iter().filter(|measurement| measurement.unmeasured.is_none()).peekable();
    if measurements.iter().any(|measurement| is(measurement, |verdict| *verdict == Judgement::Regression)) {
        Outcome::Slower
    } else if measured.peek().is_none()
        || measurements.iter().any(broken)
        || measured.any(|measurement| is(measurement, inconclusive))
    {
        Outcome::Inconclusive
    } else {
        Outcome::AsExpected
    }
}

/// The outcome of a run of measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every verdict is conclusive, and nothing is slower than allowed.
    AsExpected,
    /// A measurement is slower than allowed.
    Slower,
    /// A verdict is inconclusive, or nothing was measured.
    Inconclusive,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{
        case::Wanted,
        traffic::{Mix, Traffic},
    };

    #[test]
    fn a_small_budget_makes_short_trials_and_a_large_one_no_long_ones() {
        let cases = Wanted { cpus_available: 2, ..Wanted::default() }.cases().unwrap();
        assert_eq!(trial_length(&cases, Duration::from_secs(1)), TRIAL.0);
        assert_eq!(trial_length(&cases, Duration::from_secs(600)), TRIAL.1);
        let length = trial_length(&cases, Duration::from_secs(20));
        assert!(TRIAL.0 < length && length < TRIAL.1, "{length:?}");
    }

    #[test]
    fn a_veth_has_room_for_the_frames_and_a_queue_for_each_cpu() {
        let place = Place::Wire { mode: Mode::Native, injector: InjectorKind::Ring, cpus: 2 };
        let setup = |size| Setup { place, traffic: Traffic::of(Mix::Udp, size).unwrap() };
        let facts = Facts::veth();
        let needs = |size| kind_of(&setup(size), &facts).unwrap().needs;
        assert_eq!(needs(64), Needs { queues: 2, ..Needs::usual(&facts) });
        assert_eq!(needs(9018), Needs { mtu: 9000, queues: 2, ..Needs::usual(&facts) });
        let alone = Setup { place: Place::Alone, traffic: Traffic::of(Mix::Udp, 64).unwrap() };
        assert_eq!(kind_of(&alone, &facts), None);
    }
}
