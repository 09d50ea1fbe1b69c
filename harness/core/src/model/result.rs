//! The result file: what a run found, for programs.
//!
//! `"schema": "xdproof.result/1"`. Keys that are not known are refused on reading.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xdproof_scenarios::{Scenario, describe};

use crate::model::{
    attach_step::StepRecord,
    device::DeviceRecord,
    environment::Environment,
    expectation::ExpectedTotals,
    finding::{Finding, InfrastructureFailure, KernelMessage, Weight},
    measurement::Measurement,
    mismatch::Mismatch,
    mode::{InjectorKind, Mode, TrialPath},
    observation::{Counts, Observation},
    partition::Partition,
    sink::Sink,
    verdict::{Verdict, VerdictKind},
};

/// The version of the file's form.
pub const SCHEMA: &str = "xdproof.result/1";

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunResult {
    /// The form's version.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: String,
    /// The machine and the program.
    pub environment: Environment,
    /// The parts of the run that are here, where it was split; none where all of it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<PartitionRecord>,
    /// The devices that took part; none where the run made its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceRecord>,
    /// What was found out beside the trials, the weightiest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// What the kernel printed meanwhile, of the level of a warning or worse.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernel_messages: Vec<KernelMessage>,
    /// The rules of attaching that were tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleResult>,
    /// What was tried, in the order of the plan.
    pub trials: Vec<TrialRecord>,
    /// What was measured.
    pub measurements: Vec<Measurement>,
    /// How it came out.
    pub summary: Summary,
}

/// The parts that a result holds of a run that was split into several (`--partition`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartitionRecord {
    /// Those that are here, from 1, in ascending order; one unless results were joined.
    pub parts: Vec<u64>,
    /// How many there are in all.
    pub count: u64,
}

/// The version of a collection's form.
pub const COLLECTION_SCHEMA: &str = "xdproof.results/1";

/// Several results in one file: of several kernels, devices, hosts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Collection {
    /// The form's version.
    #[schemars(extend("const" = COLLECTION_SCHEMA))]
    pub schema: String,
    /// Each machine and program once.
    pub results: Vec<RunResult>,
    /// What came to nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub breakdowns: Vec<InfrastructureFailure>,
    /// How all trials came out.
    pub summary: Summary,
}

/// A rule of attaching that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleResult {
    /// `attach/` and a fact, then `::` and the way in which it attaches (`netlink` or `bpf_link`).
    pub id: String,
    /// The row of the table of rules that it stands for, in words.
    pub row: String,
    /// The device that it was tried on, as trials call it.
    pub nic: String,
    /// How it came out.
    pub verdict: VerdictKind,
    /// Why, where there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Every step that was made, to the first that came out otherwise.
    pub steps: Vec<StepRecord>,
}

impl RunResult {
    /// A result of nothing but trials and measurements, out of a plan of `planned` trials.
    #[must_use]
    pub fn new(
        environment: Environment,
        trials: Vec<TrialRecord>,
        measurements: Vec<Measurement>,
        planned: usize,
    ) -> Self {
        let summary = Summary::new(&trials, planned);
        Self {
            schema: SCHEMA.to_owned(),
            environment,
            partition: None,
            devices: Vec::new(),
            findings: Vec::new(),
            kernel_messages: Vec::new(),
            rules: Vec::new(),
            trials,
            measurements,
            summary,
        }
    }

    /// The same as a part of a run that was split.
    #[must_use]
    pub fn of_part(mut self, partition: Option<Partition>) -> Self {
        let parts = |its: Partition| PartitionRecord { parts: vec![its.index()], count: its.count() };
        self.partition = partition.map(parts);
        self
    }

    /// Whether something came out that was not expected: a trial, a rule, or a finding that is a fault.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.summary.is_bad()
            || self.rules.iter().any(|rule| rule.verdict.is_bad())
            || self.findings.iter().any(|finding| finding.weight == Weight::Fault)
    }
}

impl RuleResult {
    /// What stands for the rules where none can be tried.
    #[must_use]
    pub fn not_tried(reason: String) -> Self {
        Self {
            id: "attach".to_owned(),
            row: "the rules of attaching".to_owned(),
            nic: String::new(),
            verdict: VerdictKind::Error,
            reason: Some(reason),
            steps: Vec::new(),
        }
    }
}

impl Collection {
    /// Several results, their trials counted together.
    #[must_use]
    pub fn new(results: Vec<RunResult>, breakdowns: Vec<InfrastructureFailure>) -> Self {
        let summary = Summary::total(&results);
        Self { schema: COLLECTION_SCHEMA.to_owned(), results, breakdowns, summary }
    }
}

/// Trials by verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Trials that passed.
    pub pass: usize,
    /// Trials that failed.
    pub fail: usize,
    /// Trials that were not run, for a declared reason.
    pub skip: usize,
    /// Trials that deviated as declared.
    pub xfail: usize,
    /// Trials whose testbed broke.
    pub error: usize,
    /// Trials whose frames nothing can inject.
    pub unreachable: usize,
    /// Trials of the plan that were never begun, because the run was interrupted.
    pub not_run: usize,
}

/// One trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrialRecord {
    /// `scenario::mode::injector`.
    pub id: String,
    /// The scenario's id.
    pub scenario: String,
    /// Where the program sat.
    pub mode: Mode,
    /// How frames reached it.
    pub injector: InjectorKind,
    /// The driver of the DUT; none where there is no device.
    pub nic: Option<String>,
    /// How it came out.
    pub verdict: VerdictKind,
    /// Why, where there is something to say.
    pub reason: Option<String>,
    /// The expected numbers.
    pub expected: ExpectedTotals,
    /// The observed numbers; none where nothing was observed.
    pub observed: Option<Observed>,
    /// Frames sent.
    pub sent: u64,
    /// How long it took in microseconds, without the time to bring the testbed up.
    pub duration_us: u64,
    /// What is needed to understand a trial that deviated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// The observed numbers of a trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Observed {
    /// Packets by protocol number, summed over the CPUs; none where the program has no counter map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// Frames by the sink at which they came out.
    pub frames: BTreeMap<Sink, u64>,
    /// Frames of which nothing can observe whether they passed, because the stack discards them before any socket gets them.
    /// `frames` has none of them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unobservable: u64,
    /// Packets by protocol number for each CPU, the first being CPU 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub per_cpu: Vec<Counts>,
}

/// A trial that deviated, in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// In what it deviated.
    pub mismatches: Vec<Mismatch>,
    /// What was sent.
    pub frames: Vec<SentFrame>,
    /// The one command that repeats it.
    pub repeat: String,
    /// The file with the frames, beside the result file; none where no file is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pcap: Option<PathBuf>,
}

/// A frame that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SentFrame {
    /// Its layers, as decoded from its bytes.
    pub layers: String,
    /// Its bytes in hexadecimal, without FCS.
    pub hex: String,
    /// How many times it was sent.
    pub times: u32,
}

/// What is known of a trial when it has ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it came out.
    pub verdict: Verdict,
    /// What was seen; none where nothing ran.
    pub observation: Option<Observation>,
    /// How long it took.
    pub duration: std::time::Duration,
}

impl Outcome {
    /// What is known of a trial in which no frame was sent.
    pub fn without_running(verdict: Verdict) -> Self {
        Self { verdict, observation: None, duration: std::time::Duration::ZERO }
    }
}

impl TrialRecord {
    /// Writes a trial down; `repeat` gives the command that repeats it, where somebody needs that.
    #[must_use]
    pub fn new(
        scenario: &Scenario,
        path: TrialPath,
        nic: Option<&str>,
        expected: &ExpectedTotals,
        outcome: &Outcome,
        repeat: impl FnOnce() -> String,
    ) -> Self {
        let Outcome { verdict, observation, duration } = outcome;
        let failure = (!verdict.mismatches().is_empty()).then(|| Failure {
            mismatches: verdict.mismatches().to_vec(),
            frames: scenario.frames.iter().map(SentFrame::new).collect(),
            repeat: repeat(),
            pcap: None,
        });
        Self {
            id: format!("{}::{path}", scenario.id),
            scenario: scenario.id.to_string(),
            mode: path.mode,
            injector: path.injector,
            nic: nic.map(str::to_owned),
            verdict: verdict.kind(),
            reason: verdict.reason(),
            expected: expected.clone(),
            observed: observation.as_ref().map(|observation| Observed::new(observation, expected)),
            sent: observation.as_ref().map_or(0, |observation| observation.sent),
            duration_us: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
            failure,
        }
    }

    /// The column that it belongs to.
    #[must_use]
    pub fn path(&self) -> TrialPath {
        TrialPath { mode: self.mode, injector: self.injector }
    }
}

impl SentFrame {
    fn new(frame: &xdproof_scenarios::Frame) -> Self {
        Self { layers: describe(&frame.bytes), hex: hex::encode(&frame.bytes), times: frame.repeat }
    }
}

impl Observed {
    /// The numbers of each sink at which frames are expected or were observed.
    fn new(observation: &Observation, expected: &ExpectedTotals) -> Self {
        let watched = observation.frames.keys().filter(|sink| observation.total(**sink) > 0);
        let sinks = expected.frames.keys().chain(watched).chain([&Sink::Nowhere]);
        Self {
            counts: observation.counts(),
            frames: sinks.map(|&sink| (sink, observation.total(sink))).collect(),
            unobservable: observation.unobservable,
            per_cpu: observation.per_cpu.clone().unwrap_or_default(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes what it skips by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Summary {
    /// Counts trials by verdict, out of a plan of `planned`.
    #[must_use]
    pub fn new(trials: &[TrialRecord], planned: usize) -> Self {
        Self::of(trials, planned.saturating_sub(trials.len()))
    }

    /// Counts the trials of several results together.
    #[must_use]
    pub fn total(results: &[RunResult]) -> Self {
        let not_run = results.iter().map(|result| result.summary.not_run);
        let not_run = not_run.fold(0, usize::saturating_add);
        Self::of(results.iter().flat_map(|result| &result.trials), not_run)
    }

    /// Counts trials by verdict, beside those that were never begun.
    pub fn of<'a>(trials: impl IntoIterator<Item = &'a TrialRecord>, not_run: usize) -> Self {
        let mut by_kind = BTreeMap::<VerdictKind, usize>::new();
        for trial in trials {
            *by_kind.entry(trial.verdict).or_default() += 1;
        }
        let of = |kind| by_kind.get(&kind).copied().unwrap_or(0);
        Self {
            pass: of(VerdictKind::Pass),
            fail: of(VerdictKind::Fail),
            skip: of(VerdictKind::Skip),
            xfail: of(VerdictKind::Xfail),
            error: of(VerdictKind::Error),
            unreachable: of(VerdictKind::Unreachable),
            not_run,
        }
    }

    /// Whether something came out that was not expected.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.fail + self.error > 0
    }

    /// Each verdict's name and number, the most important first.
    #[must_use]
    pub fn numbers(&self) -> [(&'static str, usize); 7] {
        let Self { pass, fail, skip, xfail, error, unreachable, not_run } = *self;
        [
            (VerdictKind::Pass.name(), pass),
            (VerdictKind::Fail.name(), fail),
            (VerdictKind::Error.name(), error),
            (VerdictKind::Skip.name(), skip),
            (VerdictKind::Xfail.name(), xfail),
            (VerdictKind::Unreachable.name(), unreachable),
            ("not run", not_run),
        ]
    }
}
