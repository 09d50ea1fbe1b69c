//! Everything that a collection holds as test cases in groups, for forms that know nothing else (JUnit, KTAP). Pure.
//!
//! What did not come out as it had to is a case that did not pass, whatever it is: a trial, a rule, a measurement, a finding, a
//! part of a run that is missing. Nobody who counts cases can take an incomplete run for a good one.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anstream::adapter::strip_str;

use xdproof_core::model::{
    environment::Environment,
    judgement::Judgement,
    measurement::{Measurement, Unmeasured},
    mode::TrialPath,
    verdict::VerdictKind,
};

use xdproof_core::model::attach_step::StepRecord;
use xdproof_core::model::{
    finding::{Finding, FindingKind, InfrastructureFailure, Severity},
    result::{AttachTestRecord, Collection, RunResult, TrialRecord},
};

use crate::console::{explain, several};

/// What was tried in one place.
#[derive(Debug)]
pub(super) struct Group<'a> {
    /// The place: kernel, device, mode and injector.
    pub(super) name: String,
    /// The result that it is from; none for what is from no result.
    pub(super) result: Option<&'a RunResult>,
    /// In the order of the plan.
    pub(super) cases: Vec<Case<'a>>,
}

/// One thing that was tried.
#[derive(Debug)]
pub(super) struct Case<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) outcome: Outcome,
    /// Why it came out so, in one line; none where there is nothing to say.
    pub(super) reason: Option<Cow<'a, str>>,
    /// How long it took, if that is known.
    pub(super) time: Option<Duration>,
    detail: Detail<'a>,
}

/// How a case came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Pass,
    Fail,
    /// What was to try it broke.
    Error,
    /// It was not run, for a declared reason, or nothing can be said.
    Skip,
    /// It deviates, as is known.
    Xfail,
}

impl Outcome {
    /// Whether it is not as it has to be.
    pub(super) fn is_bad(self) -> bool {
        matches!(self, Self::Fail | Self::Error)
    }
}

#[derive(Debug)]
enum Detail<'a> {
    None,
    Trial(&'a TrialRecord),
    Steps(&'a [StepRecord]),
    Text(&'a str),
}

impl Case<'_> {
    /// What is needed to understand it, several lines without colours; empty where there is nothing.
    pub(super) fn detail(&self) -> String {
        match &self.detail {
            Detail::None => String::new(),
            Detail::Trial(trial) => strip_str(&explain(trial)).to_string(),
            Detail::Steps(steps) => {
                let step = |StepRecord { action, expected, observed }: &StepRecord| {
                    format!("{action}\n  expected: {expected}\n  observed: {observed}\n")
                };
                steps.iter().map(step).collect()
            }
            Detail::Text(text) => (*text).to_owned(),
        }
    }
}

/// The groups of a collection: its results one after the other, then what came to nothing.
pub(super) fn groups(collection: &Collection) -> Vec<Group<'_>> {
    let Collection { schema: _, results, infrastructure_failures, summary: _ } = collection;
    let mut groups = Vec::new();
    for (label, result) in labels(results).into_iter().zip(results) {
        groups.extend(of_result(&label, result));
    }
    if !infrastructure_failures.is_empty() {
        let cases = infrastructure_failures.iter().map(of_breakdown).collect();
        groups.push(Group { name: "parts that came to nothing".to_owned(), result: None, cases });
    }
    groups
}

/// What each result is called: by its kernel, and where that is not enough by its program, and by a number. Results of one
/// environment have one name: no trial is in two of them.
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
    environments.iter().map(|its| label(its)).collect()
}

fn of_result<'a>(label: &str, result: &'a RunResult) -> Vec<Group<'a>> {
    let RunResult {
        schema: _,
        environment: _,
        partition: _,
        devices: _,
        findings,
        kernel_messages: _,
        attach_semantics,
        trials,
        measurements,
        summary,
    } = result;
    let mut cells: BTreeMap<(&str, TrialPath), Vec<Case<'_>>> = BTreeMap::new();
    for trial in trials {
        cells.entry((nic(trial), trial.path())).or_default().push(of_trial(trial));
    }
    let mut tried: BTreeMap<&str, Vec<Case<'_>>> = BTreeMap::new();
    for rule in attach_semantics {
        tried.entry(&rule.nic).or_default().push(of_rule(rule));
    }
    let mut places: Vec<(String, Vec<Case<'_>>)> = Vec::new();
    places.extend(cells.into_iter().map(|((nic, path), cases)| (format!("{nic}/{path}"), cases)));
    places.extend(tried.into_iter().map(|(nic, cases)| (format!("{nic}/rules of attaching"), cases)));
    places.push(("measurements".to_owned(), measurements.iter().map(of_measurement).collect()));
    places.push(("findings".to_owned(), findings.iter().map(of_finding).collect()));
    places.push(("never begun".to_owned(), not_run(summary.not_run).into_iter().collect()));
    let filled = places.into_iter().filter(|(_, cases)| !cases.is_empty());
    filled
        .map(|(place, cases)| Group { name: format!("{label}/{place}"), result: Some(result), cases })
        .collect()
}

/// What a trial's device is called.
pub(super) fn nic(trial: &TrialRecord) -> &str {
    trial.nic.as_deref().unwrap_or("no device")
}

fn outcome(verdict: VerdictKind) -> Outcome {
    match verdict {
        VerdictKind::Pass => Outcome::Pass,
        VerdictKind::Fail => Outcome::Fail,
        VerdictKind::Error => Outcome::Error,
        VerdictKind::Skip | VerdictKind::Unreachable => Outcome::Skip,
        VerdictKind::Xfail => Outcome::Xfail,
    }
}

fn of_trial(trial: &TrialRecord) -> Case<'_> {
    let unreachable = trial.verdict == VerdictKind::Unreachable;
    Case {
        name: Cow::from(&trial.scenario),
        outcome: outcome(trial.verdict),
        reason: match &trial.reason {
            Some(reason) if unreachable => Some(format!("unreachable: {reason}").into()),
            reason => reason.as_deref().map(Cow::from),
        },
        time: Some(Duration::from_micros(trial.duration_us)),
        detail: if trial.failure.is_some() || trial.verdict.is_bad() {
            Detail::Trial(trial)
        } else {
            Detail::None
        },
    }
}

fn of_rule(rule: &AttachTestRecord) -> Case<'_> {
    Case {
        name: Cow::from(&rule.id),
        outcome: outcome(rule.verdict),
        reason: rule.reason.as_deref().map(Cow::from),
        time: None,
        detail: if rule.verdict.is_bad() { Detail::Steps(&rule.steps) } else { Detail::None },
    }
}

fn of_measurement(measurement: &Measurement) -> Case<'_> {
    let inconclusive =
        |reason: &dyn std::fmt::Display| (Outcome::Skip, Some(format!("inconclusive: {reason}").into()));
    let slower = |against: &dyn std::fmt::Display| {
        (Outcome::Fail, Some(format!("slower than allowed: {against}").into()))
    };
    let baseline = measurement.baseline.as_ref();
    let (outcome, reason): (Outcome, Option<Cow<'_, str>>) =
        match (&measurement.unmeasured, &measurement.verdict) {
            (Some(Unmeasured { reason, declared: true }), _) => (Outcome::Skip, Some(Cow::from(reason))),
            (Some(Unmeasured { reason, declared: false }), _) => (Outcome::Error, Some(Cow::from(reason))),
            (None, Some(Judgement::Regression)) => match measurement.ratio {
                Some(its) => slower(&format!("{:.3} times as fast ({})", its.ratio, its.interval)),
                None => slower(&"no ratio is given"),
            },
            (None, verdict) => match (baseline, verdict) {
                (Some(change), _) if change.is_slower() => slower(change),
                (_, Some(Judgement::Inconclusive { reason })) => inconclusive(reason),
                (Some(change), _) => match &change.verdict {
                    Judgement::Inconclusive { reason } => inconclusive(reason),
                    Judgement::Pass | Judgement::Improved | Judgement::Regression => (Outcome::Pass, None),
                },
                (None, Some(Judgement::Pass | Judgement::Improved | Judgement::Regression) | None) => {
                    (Outcome::Pass, None)
                }
            },
        };
    Case { name: Cow::from(&measurement.id), outcome, reason, time: None, detail: Detail::None }
}

fn of_finding(finding: &Finding) -> Case<'_> {
    let Finding { kind, severity, nic, mode, message } = finding;
    let mut name = kind_name(*kind).to_owned();
    for of in [nic.clone(), mode.map(|mode| mode.to_string())].into_iter().flatten() {
        name.push_str(", ");
        name.push_str(&of);
    }
    let outcome = match severity {
        Severity::Fault => Outcome::Fail,
        Severity::Warning | Severity::Note => Outcome::Pass,
    };
    Case { name: name.into(), outcome, reason: Some(Cow::from(message)), time: None, detail: Detail::None }
}

/// What a finding is about, in words.
pub(super) fn kind_name(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::KernelFault => "kernel fault",
        FindingKind::AdvertisedNotWorking => "advertised and not so",
        FindingKind::NotAdvertised => "not advertised",
        FindingKind::SupportTable => "against the support table",
        FindingKind::UnknownSupport => "unknown support",
        FindingKind::UnexpectedPass => "no deviation any more",
        FindingKind::UnsafeMtu => "unsafe MTU",
        FindingKind::Statistics => "statistics disagree",
        FindingKind::ModifiedFrames => "altered frames",
        FindingKind::NotRestored => "not restored",
    }
}

fn not_run(number: usize) -> Option<Case<'static>> {
    (number > 0).then(|| Case {
        name: "the whole plan".into(),
        outcome: Outcome::Error,
        reason: Some(format!("{} of the plan never begun", several(number, "trial")).into()),
        time: None,
        detail: Detail::None,
    })
}

fn of_breakdown(breakdown: &InfrastructureFailure) -> Case<'_> {
    let InfrastructureFailure { cell, message, attempts: _, recovered, console } = breakdown;
    Case {
        name: Cow::from(cell),
        outcome: if *recovered { Outcome::Pass } else { Outcome::Error },
        reason: Some(Cow::from(message)),
        time: None,
        detail: if console.is_empty() { Detail::None } else { Detail::Text(console) },
    }
}
