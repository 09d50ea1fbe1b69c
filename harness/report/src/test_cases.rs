//! A collection as test cases in groups, for formats that have nothing else (JUnit, KTAP). Pure.
//!
//! Promises: everything that failed or is missing is a case that did not pass, so that nobody who counts cases mistakes an
//! incomplete run for a complete one.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use anstream::adapter::strip_str;

use xdproof_core::model::{
    AttachTestRecord, Collection, Environment, Finding, FindingKind, InfrastructureFailure, Judgement,
    Measurement, RunResult, Severity, StepRecord, TrialPath, TrialRecord, Unmeasured, VerdictKind,
};

use crate::{console::explain, terminal_style::several};

/// The most cases whose details are written.
const DETAILED: usize = 1000;

/// Test cases of one place.
#[derive(Debug)]
pub(super) struct CaseGroup<'a> {
    /// Kernel, device, mode and injector.
    pub(super) name: String,
    /// None for infrastructure failures.
    pub(super) result: Option<&'a RunResult>,
    /// In the order of the plan.
    pub(super) cases: Vec<ReportCase<'a>>,
}

/// A test case.
#[derive(Debug)]
pub(super) struct ReportCase<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) status: CaseStatus,
    /// Reason on one line.
    pub(super) reason: Option<Cow<'a, str>>,
    pub(super) time: Option<Duration>,
    detail: CaseDetail<'a>,
}

/// The status of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CaseStatus {
    Pass,
    Fail,
    /// The infrastructure broke.
    Error,
    /// Not run for a declared reason, or inconclusive.
    Skip,
    /// Deviates as declared.
    Xfail,
}

impl CaseStatus {
    /// Returns whether it failed or errored.
    pub(super) fn is_bad(self) -> bool {
        matches!(self, Self::Fail | Self::Error)
    }
}

#[derive(Debug)]
enum CaseDetail<'a> {
    None,
    Trial(&'a TrialRecord),
    Steps(&'a [StepRecord]),
    Text(&'a str),
}

/// The details of the cases beyond [`DETAILED`].
const NOT_DETAILED: &str = "the details are in result.json; this file has those of the first 1000 cases";

impl ReportCase<'_> {
    /// Returns details in several lines without colours.
    pub(super) fn detail(&self) -> String {
        match &self.detail {
            CaseDetail::None => String::new(),
            CaseDetail::Trial(trial) => strip_str(&explain(trial)).to_string(),
            CaseDetail::Steps(steps) => {
                let step = |StepRecord { action, expected, observed }: &StepRecord| {
                    format!("{action}\n  expected: {expected}\n  observed: {observed}\n")
                };
                steps.iter().map(step).collect()
            }
            CaseDetail::Text(text) => (*text).to_owned(),
        }
    }
}

/// Returns the groups of all results, then that of the infrastructure failures.
pub(super) fn groups(collection: &Collection) -> Vec<CaseGroup<'_>> {
    let Collection { schema: _, results, infrastructure_failures, summary: _ } = collection;
    let mut groups = Vec::new();
    for (label, result) in labels(results).into_iter().zip(results) {
        groups.extend(of_result(&label, result));
    }
    if !infrastructure_failures.is_empty() {
        let cases = infrastructure_failures.iter().map(of_breakdown).collect();
        groups.push(CaseGroup { name: "infrastructure failures".to_owned(), result: None, cases });
    }
    let cases = groups.iter_mut().flat_map(|group| &mut group.cases);
    for case in cases.filter(|case| !matches!(case.detail, CaseDetail::None)).skip(DETAILED) {
        case.detail = CaseDetail::Text(NOT_DETAILED);
    }
    groups
}

/// Names each result by its kernel, and if that is ambiguous by its program and a number. Results of one environment share a
/// name, unless one repeats trials of another: then it has the number of the run.
pub(super) fn labels(results: &[RunResult]) -> Vec<String> {
    let environments: Vec<&Environment> = results.iter().map(|result| &result.environment).collect();
    let named =
        |its: &Environment| format!("{} ({} {})", its.kernel_release, its.program.name, its.program.tag);
    let distinct = |name: &dyn Fn(&Environment) -> String, its: &Environment| -> Vec<&Environment> {
        let mut distinct: Vec<&Environment> = Vec::new();
        for other in environments.iter().filter(|other| name(other) == name(its)) {
            if !distinct.contains(other) {
                distinct.push(other);
            }
        }
        distinct
    };
    let label = |its: &Environment| {
        let of_kernel = distinct(&|its| its.kernel_release.clone(), its);
        let programs: BTreeSet<String> = of_kernel.iter().map(|its| named(its)).collect();
        let (name, same) = if programs.len() > 1 {
            (named(its), distinct(&named, its))
        } else {
            (its.kernel_release.clone(), of_kernel)
        };
        match same.iter().position(|other| *other == its) {
            Some(number) if same.len() > 1 => format!("{name} ({})", number + 1),
            _ => name,
        }
    };
    let named = environments.iter().map(|its| label(its)).zip(runs(results));
    named.map(|(label, run)| if run > 1 { format!("{label} run {run}") } else { label }).collect()
}

/// Returns for each result which run of its trials it is on the same machine, from 1.
pub(super) fn runs(results: &[RunResult]) -> Vec<usize> {
    let first_of = |environment: &Environment| results.iter().position(|its| its.environment == *environment);
    let mut known: HashMap<(Option<usize>, Option<&str>, &str), usize> = HashMap::new();
    let mut runs = Vec::new();
    for result in results {
        let machine = first_of(&result.environment);
        let keys =
            || result.trials.iter().map(move |trial| (machine, trial.nic.as_deref(), trial.id.as_str()));
        let run = 1 + keys().filter_map(|key| known.get(&key)).max().unwrap_or(&0);
        known.extend(keys().map(|key| (key, run)));
        runs.push(run);
    }
    runs
}

fn of_result<'a>(label: &str, result: &'a RunResult) -> Vec<CaseGroup<'a>> {
    let RunResult {
        schema: _,
        environment: _,
        started: _,
        partition: _,
        devices: _,
        findings,
        kernel_messages: _,
        attach_semantics,
        trials,
        measurements,
        summary,
    } = result;
    let mut cells: BTreeMap<(&str, TrialPath), Vec<ReportCase<'_>>> = BTreeMap::new();
    for trial in trials {
        cells.entry((nic(trial), trial.path())).or_default().push(of_trial(trial));
    }
    let mut tried: BTreeMap<&str, Vec<ReportCase<'_>>> = BTreeMap::new();
    for rule in attach_semantics {
        tried.entry(&rule.nic).or_default().push(of_rule(rule));
    }
    let mut places: Vec<(String, Vec<ReportCase<'_>>)> = Vec::new();
    places.extend(cells.into_iter().map(|((nic, path), cases)| (format!("{nic}/{path}"), cases)));
    places.extend(tried.into_iter().map(|(nic, cases)| (format!("{nic}/attach semantics"), cases)));
    places.push(("measurements".to_owned(), measurements.iter().map(of_measurement).collect()));
    places.push(("findings".to_owned(), findings.iter().map(of_finding).collect()));
    places.push(("not run".to_owned(), not_run(summary.not_run).into_iter().collect()));
    let filled = places.into_iter().filter(|(_, cases)| !cases.is_empty());
    filled
        .map(|(place, cases)| CaseGroup { name: format!("{label}/{place}"), result: Some(result), cases })
        .collect()
}

/// Returns the name of a trial's device.
pub(super) fn nic(trial: &TrialRecord) -> &str {
    trial.nic.as_deref().unwrap_or("no device")
}

fn status(verdict: VerdictKind) -> CaseStatus {
    match verdict {
        VerdictKind::Pass => CaseStatus::Pass,
        VerdictKind::Fail => CaseStatus::Fail,
        VerdictKind::Error => CaseStatus::Error,
        VerdictKind::Skip | VerdictKind::Unreachable => CaseStatus::Skip,
        VerdictKind::Xfail => CaseStatus::Xfail,
    }
}

fn of_trial(trial: &TrialRecord) -> ReportCase<'_> {
    let unreachable = trial.verdict == VerdictKind::Unreachable;
    ReportCase {
        name: Cow::from(&trial.scenario),
        status: status(trial.verdict),
        reason: match &trial.reason {
            Some(reason) if unreachable => Some(format!("unreachable: {reason}").into()),
            reason => reason.as_deref().map(Cow::from),
        },
        time: Some(Duration::from_micros(trial.duration_us)),
        detail: if trial.failure.is_some() || trial.verdict.is_bad() {
            CaseDetail::Trial(trial)
        } else {
            CaseDetail::None
        },
    }
}

fn of_rule(rule: &AttachTestRecord) -> ReportCase<'_> {
    ReportCase {
        name: Cow::from(&rule.id),
        status: status(rule.verdict),
        reason: rule.reason.as_deref().map(Cow::from),
        time: None,
        detail: if rule.verdict.is_bad() { CaseDetail::Steps(&rule.steps) } else { CaseDetail::None },
    }
}

fn of_measurement(measurement: &Measurement) -> ReportCase<'_> {
    let inconclusive =
        |reason: &dyn std::fmt::Display| (CaseStatus::Skip, Some(format!("inconclusive: {reason}").into()));
    let slower = |against: &dyn std::fmt::Display| {
        (CaseStatus::Fail, Some(format!("slower than the tolerance allows: {against}").into()))
    };
    let baseline = measurement.baseline.as_ref();
    let (status, reason): (CaseStatus, Option<Cow<'_, str>>) =
        match (&measurement.unmeasured, &measurement.verdict) {
            (Some(Unmeasured { reason, declared: true }), _) => (CaseStatus::Skip, Some(Cow::from(reason))),
            (Some(Unmeasured { reason, declared: false }), _) => (CaseStatus::Error, Some(Cow::from(reason))),
            (None, Some(Judgement::Regression)) => match measurement.ratio {
                Some(its) => slower(&format!("{:.3} times as fast ({})", its.ratio, its.interval)),
                None => slower(&"no ratio given"),
            },
            (None, verdict) => match (baseline, verdict) {
                (Some(change), _) if change.is_slower() => slower(change),
                (_, Some(Judgement::Inconclusive { reason })) => inconclusive(reason),
                (Some(change), _) => match &change.verdict {
                    Judgement::Inconclusive { reason } => inconclusive(reason),
                    Judgement::Pass | Judgement::Improved | Judgement::Regression => (CaseStatus::Pass, None),
                },
                (None, Some(Judgement::Pass | Judgement::Improved | Judgement::Regression) | None) => {
                    (CaseStatus::Pass, None)
                }
            },
        };
    ReportCase { name: Cow::from(&measurement.id), status, reason, time: None, detail: CaseDetail::None }
}

fn of_finding(finding: &Finding) -> ReportCase<'_> {
    let Finding { kind, severity, nic, mode, message } = finding;
    let mut name = kind_name(*kind).to_owned();
    for of in [nic.clone(), mode.map(|mode| mode.to_string())].into_iter().flatten() {
        name.push_str(", ");
        name.push_str(&of);
    }
    let status = match severity {
        Severity::Fault => CaseStatus::Fail,
        Severity::Warning | Severity::Note => CaseStatus::Pass,
    };
    ReportCase {
        name: name.into(),
        status,
        reason: Some(Cow::from(message)),
        time: None,
        detail: CaseDetail::None,
    }
}

/// Returns the subject of a finding in words.
pub(super) fn kind_name(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::KernelFault => "kernel fault",
        FindingKind::AdvertisedNotWorking => "advertised but not working",
        FindingKind::NotAdvertised => "not advertised",
        FindingKind::SupportTable => "contradicts the support table",
        FindingKind::UnknownSupport => "unknown support",
        FindingKind::UnexpectedPass => "unexpected pass",
        FindingKind::UnsafeMtu => "unsafe MTU",
        FindingKind::Statistics => "wrong statistics",
        FindingKind::ModifiedFrames => "frames modified in transit",
        FindingKind::NotRestored => "not restored",
        FindingKind::TestbedFailure => "testbed failure",
    }
}

fn not_run(number: usize) -> Option<ReportCase<'static>> {
    (number > 0).then(|| ReportCase {
        name: "the rest of the plan".into(),
        status: CaseStatus::Error,
        reason: Some(format!("{} not run", several(number, "planned trial")).into()),
        time: None,
        detail: CaseDetail::None,
    })
}

fn of_breakdown(breakdown: &InfrastructureFailure) -> ReportCase<'_> {
    let InfrastructureFailure { cell, message, attempts: _, recovered, console } = breakdown;
    ReportCase {
        name: Cow::from(cell),
        status: if *recovered { CaseStatus::Pass } else { CaseStatus::Error },
        reason: Some(Cow::from(message)),
        time: None,
        detail: if console.is_empty() { CaseDetail::None } else { CaseDetail::Text(console) },
    }
}
