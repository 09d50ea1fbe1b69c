//! The result file: what a run found, for programs.
//!
//! `"schema": "xdproof.result/2"`. Unknown keys are rejected on reading; older versions are upgraded by the store.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xdproof_scenarios::{Frame, ScenarioId, describe};

use crate::model::{
    attach_step::StepRecord,
    device::DeviceRecord,
    environment::Environment,
    expectation::ExpectedTotals,
    finding::{Finding, InfrastructureFailure, KernelMessage, Severity},
    measurement::Measurement,
    mismatch::{FrameRoom, Mismatch},
    mode::{InjectorKind, Mode, TrialPath},
    observation::{Counts, Observation},
    partition::Partition,
    sink::Sink,
    verdict::{Verdict, VerdictKind},
};

/// Schema version of a result.
pub const SCHEMA: &str = "xdproof.result/2";

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunResult {
    #[schemars(extend("const" = SCHEMA))]
    pub schema: String,
    /// The machine and the program.
    pub environment: Environment,
    /// Seconds from 1970-01-01 UTC to the begin of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<u64>,
    /// The parts that this result covers, if the run was split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<PartitionRecord>,
    /// Devices of the run; none where the run created its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceRecord>,
    /// Findings beyond the trials, the most severe first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// Lines that the kernel printed during the run, with level warning or worse.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernel_messages: Vec<KernelMessage>,
    /// Attach-semantics tests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attach_semantics: Vec<AttachTestRecord>,
    /// Trials in the order of the plan.
    pub trials: Vec<TrialRecord>,
    pub measurements: Vec<Measurement>,
    /// Trials by verdict.
    pub summary: Summary,
}

/// The parts that a result covers of a run that was split (`--partition`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartitionRecord {
    /// Numbers from 1 in ascending order; one unless results were merged.
    pub parts: Vec<u64>,
    /// Number of all parts.
    pub count: u64,
}

/// Schema version of a collection.
pub const COLLECTION_SCHEMA: &str = "xdproof.results/2";

/// Several results in one file: of several kernels, devices, hosts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Collection {
    #[schemars(extend("const" = COLLECTION_SCHEMA))]
    pub schema: String,
    /// One result for each machine and program.
    pub results: Vec<RunResult>,
    /// Parts of the run without a result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub infrastructure_failures: Vec<InfrastructureFailure>,
    /// All trials by verdict.
    pub summary: Summary,
}

/// An attach-semantics test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AttachTestRecord {
    /// `attach/` and a fact, then `::` and the API that attaches (`netlink` or `bpf_link`).
    pub id: String,
    /// The tested fact in words.
    pub fact: String,
    /// The device, as trials call it.
    pub nic: String,
    pub verdict: VerdictKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Every executed step, up to the first that differs.
    pub steps: Vec<StepRecord>,
}

impl RunResult {
    /// Creates a result with trials and measurements only, out of a plan of `planned` trials.
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
            started: None,
            partition: None,
            devices: Vec::new(),
            findings: Vec::new(),
            kernel_messages: Vec::new(),
            attach_semantics: Vec::new(),
            trials,
            measurements,
            summary,
        }
    }

    /// Marks the result as a part of a run that was split.
    #[must_use]
    pub fn of_part(mut self, partition: Option<Partition>) -> Self {
        let parts = |its: Partition| PartitionRecord { parts: vec![its.index()], count: its.count() };
        self.partition = partition.map(parts);
        self
    }

    /// Returns whether a trial or an attach-semantics test failed or errored, or a finding is a fault.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.summary.is_bad()
            || self.attach_semantics.iter().any(|test| test.verdict.is_bad())
            || self.findings.iter().any(|finding| finding.severity == Severity::Fault)
    }
}

impl AttachTestRecord {
    /// Returns the record that stands for the tests where none can run.
    #[must_use]
    pub fn not_run(reason: String) -> Self {
        Self {
            id: "attach".to_owned(),
            fact: "attach semantics".to_owned(),
            nic: String::new(),
            verdict: VerdictKind::Error,
            reason: Some(reason),
            steps: Vec::new(),
        }
    }
}

impl Collection {
    /// Collects results and sums up their trials.
    #[must_use]
    pub fn new(results: Vec<RunResult>, infrastructure_failures: Vec<InfrastructureFailure>) -> Self {
        let summary = Summary::total(&results);
        Self { schema: COLLECTION_SCHEMA.to_owned(), results, infrastructure_failures, summary }
    }
}

/// Trials by verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    pub pass: usize,
    pub fail: usize,
    /// Not run for a declared reason.
    pub skip: usize,
    /// Deviated as declared.
    pub xfail: usize,
    /// The testbed broke.
    pub error: usize,
    /// No injector can produce the frames.
    pub unreachable: usize,
    /// Planned but not started, because the run was interrupted.
    pub not_run: usize,
}

/// One trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrialRecord {
    /// `scenario::mode::injector`.
    pub id: String,
    pub scenario: String,
    /// Attach mode of the program.
    pub mode: Mode,
    pub injector: InjectorKind,
    /// The driver or label of the DUT; none where there is no device.
    pub nic: Option<String>,
    pub verdict: VerdictKind,
    pub reason: Option<String>,
    /// The expected numbers.
    pub expected: ExpectedTotals,
    /// The observed numbers; none where nothing was observed.
    pub observed: Option<Observed>,
    /// Frames sent.
    pub sent: u64,
    /// Microseconds without the time to bring up the testbed.
    pub duration_us: u64,
    /// Details of a trial that deviated.
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

/// Details of a trial that deviated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    pub mismatches: Vec<Mismatch>,
    /// The first frames that were sent.
    pub frames: Vec<SentFrame>,
    /// Number of distinct frames that were sent beyond those; the capture has them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: u64,
    /// The command that reproduces the trial.
    pub reproducer: String,
    /// Capture of the frames, relative to the result file; none where no file is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pcap: Option<PathBuf>,
}

/// A frame that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SentFrame {
    /// Layers, as decoded from the bytes.
    pub layers: String,
    /// Bytes in hexadecimal, without FCS.
    pub hex: String,
    pub times: u32,
}

/// A trial that has ended.
#[derive(Clone, Debug)]
pub struct TrialOutcome {
    pub verdict: Verdict,
    /// None where nothing ran.
    pub observation: Option<Observation>,
    pub duration: std::time::Duration,
}

impl TrialOutcome {
    /// Creates the outcome of a trial in which no frame was sent.
    pub fn without_running(verdict: Verdict) -> Self {
        Self { verdict, observation: None, duration: std::time::Duration::ZERO }
    }
}

impl TrialRecord {
    /// Records a trial of a scenario or a fixture, by its id and the frames that are sent; `reproducer` returns the command that reproduces it and is called for a deviation only.
    #[must_use]
    pub fn new(
        (id, frames): (&ScenarioId, &[Frame]),
        path: TrialPath,
        nic: Option<&str>,
        expected: &ExpectedTotals,
        outcome: &TrialOutcome,
        reproducer: impl FnOnce() -> String,
    ) -> Self {
        let TrialOutcome { verdict, observation, duration } = outcome;
        let failure = (!verdict.mismatches().is_empty())
            .then(|| Failure::new(verdict.mismatches(), frames, reproducer()));
        Self {
            id: format!("{id}::{path}"),
            scenario: id.to_string(),
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

    /// Records a trial that is about a path and no scenario, and in which no frame was sent.
    #[must_use]
    pub fn of_no_scenario(name: &str, path: TrialPath, nic: Option<&str>, outcome: &TrialOutcome) -> Self {
        let TrialOutcome { verdict, observation: _, duration } = outcome;
        Self {
            id: format!("{name}::{path}"),
            scenario: name.to_owned(),
            mode: path.mode,
            injector: path.injector,
            nic: nic.map(str::to_owned),
            verdict: verdict.kind(),
            reason: verdict.reason(),
            expected: ExpectedTotals::default(),
            observed: None,
            sent: 0,
            duration_us: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
            failure: None,
        }
    }

    /// Returns the mode and the injector.
    #[must_use]
    pub fn path(&self) -> TrialPath {
        TrialPath { mode: self.mode, injector: self.injector }
    }
}

impl Failure {
    fn new(mismatches: &[Mismatch], sent: &[Frame], reproducer: String) -> Self {
        let mut room = FrameRoom::default();
        let kept = sent.iter().take_while(|frame| room.take(frame.bytes.len()));
        let frames: Vec<SentFrame> = kept.map(SentFrame::new).collect();
        let omitted = (sent.len() - frames.len()) as u64;
        Self { mismatches: mismatches.to_vec(), frames, omitted, reproducer, pcap: None }
    }

    /// Leaves out the bytes of all frames if there is no `room` for them; returns the room that is left.
    #[must_use]
    pub fn fit(&mut self, room: usize) -> usize {
        let sent = self.frames.iter().map(|frame| frame.hex.len() / 2);
        let deltas = self.mismatches.iter().flat_map(|its| &its.frames).map(|frame| frame.bytes.len());
        if let Some(left) = room.checked_sub(sent.chain(deltas).sum()) {
            return left;
        }
        self.omitted = self.omitted.saturating_add(self.frames.len() as u64);
        self.frames.clear();
        self.mismatches.iter_mut().for_each(Mismatch::omit_frames);
        room
    }
}

impl SentFrame {
    fn new(frame: &Frame) -> Self {
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

    /// Counts trials by verdict, besides those that were not started.
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

    /// Returns whether a trial failed or errored.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.fail + self.error > 0
    }

    /// Returns each verdict's name and number.
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
