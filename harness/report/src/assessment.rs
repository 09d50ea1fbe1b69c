//! The verdict on several results in a sentence, and their issues, the most severe first. Pure.

use std::collections::BTreeMap;

use xdproof_core::model::{
    Collection, FaultClass, Finding, InfrastructureFailure, Judgement, Measurement, RunResult, Severity,
    Summary, TrialRecord, Unmeasured, VerdictKind,
};

use crate::terminal_style::{numbers, several};

/// The verdict on a collection of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// A trial, a test, a measurement or a finding failed.
    Failed,
    /// Nothing failed, but a part is missing.
    Incomplete,
    /// None of the trials could be judged.
    NothingProved,
    /// There are neither trials nor tests nor measurements.
    Empty,
    /// Everything passed, with warnings.
    PassedWithWarnings,
    /// There are figures, but nothing to judge.
    Measured,
    /// Everything passed.
    Passed,
}

impl Standing {
    /// Returns the verdict as a heading.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Failed => "Failed",
            Self::Incomplete => "Incomplete",
            Self::NothingProved => "Nothing proved",
            Self::Empty => "Nothing tested",
            Self::PassedWithWarnings => "Passed with warnings",
            Self::Measured => "Measured",
            Self::Passed => "Passed",
        }
    }
}

/// The effect of an issue on the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IssueSeverity {
    /// Fails the whole.
    Fault,
    /// Leaves a part untested.
    Gap,
    /// Adds a warning to a pass.
    Warning,
    /// Good to know.
    Note,
}

/// Kinds of issues, the most severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IssueKind {
    /// The summary of a file disagrees with its trials.
    Contradiction,
    /// Failed trials.
    Failure,
    /// A device refused or accepted a program, contrary to the support table.
    UnexpectedAttach,
    /// A failed attach-semantics test.
    AttachSemantics,
    /// A finding of severity fault.
    Fault,
    /// A measurement that is slower than the tolerance allows.
    Slower,
    /// Trials whose testbed broke.
    Error,
    /// A part of a larger run without a result.
    InfrastructureFailure,
    /// Planned trials that were not started.
    NotRun,
    /// A measurement that failed for technical reasons.
    Unmeasured,
    /// A finding of severity warning.
    Warning,
    /// An inconclusive measurement.
    Inconclusive,
    /// A part of a larger run that gave a result after a retry.
    Recovered,
    /// Trials that deviate as declared.
    Deviation,
    /// A finding of severity note.
    Note,
}

impl IssueKind {
    #[must_use]
    pub fn severity(self) -> IssueSeverity {
        self.severity_and_heading().0
    }

    /// Returns the heading of issues of this kind.
    #[must_use]
    pub fn heading(self) -> &'static str {
        self.severity_and_heading().1
    }

    fn severity_and_heading(self) -> (IssueSeverity, &'static str) {
        use IssueSeverity::{Fault, Gap, Note, Warning};
        match self {
            Self::Contradiction => (Fault, "Inconsistent result files"),
            Self::Failure => (Fault, "Failed trials"),
            Self::UnexpectedAttach => (Fault, "Unexpected attach results"),
            Self::AttachSemantics => (Fault, "Failed attach-semantics tests"),
            Self::Fault => (Fault, "Faults"),
            Self::Slower => (Fault, "Performance regressions"),
            Self::Error => (Gap, "Errors of the testbed"),
            Self::InfrastructureFailure => (Gap, "Infrastructure failures"),
            Self::NotRun => (Gap, "Trials not run"),
            Self::Unmeasured => (Gap, "Failed measurements"),
            Self::Warning => (Warning, "Warnings"),
            Self::Inconclusive => (Warning, "Inconclusive measurements"),
            Self::Recovered => (Warning, "Parts that were retried"),
            Self::Deviation => (Note, "Known deviations"),
            Self::Note => (Note, "Notes"),
        }
    }
}

/// The place of an issue in a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssuePlace {
    /// A whole result.
    Result(usize),
    /// A trial of a result.
    Trial(usize, usize),
    /// An attach-semantics test of a result.
    AttachTest(usize, usize),
    /// A measurement of a result.
    Measurement(usize, usize),
    InfrastructureFailure(usize),
}

/// Something that fails the verdict or that a reader has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    pub kind: IssueKind,
    /// A scenario, a test, a measurement or a device.
    pub subject: String,
    /// A sentence without its full stop.
    pub message: String,
    /// At least one.
    pub places: Vec<IssuePlace>,
}

/// The verdict on a collection, and its issues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    pub standing: Standing,
    /// The verdict in a sentence, without the [standing](Standing::name) and without its full stop.
    pub sentence: String,
    /// The most severe first.
    pub issues: Vec<Issue>,
    /// Trials by verdict, recounted.
    pub summary: Summary,
}

impl Assessment {
    #[must_use]
    pub fn of(collection: &Collection) -> Self {
        let results = &collection.results;
        let summary = Summary::total(results);
        let issues = issues(collection, &summary);
        let worst = issues.iter().map(|issue| issue.kind.severity()).min();
        let tally = Tally::of(results, &summary);
        let standing = match worst {
            Some(IssueSeverity::Fault) => Standing::Failed,
            Some(IssueSeverity::Gap) => Standing::Incomplete,
            _ if tally.trials + tally.rules + tally.measurements == 0 => Standing::Empty,
            _ if tally.proved() == 0 && tally.measured == 0 => Standing::NothingProved,
            _ if tally.proved() == 0 => Standing::Measured,
            Some(IssueSeverity::Warning) => Standing::PassedWithWarnings,
            Some(IssueSeverity::Note) | None => Standing::Passed,
        };
        let sentence = sentence(standing, &tally, &issues);
        Self { standing, sentence, issues, summary }
    }

    /// Returns the issues by kind, the most severe first.
    pub fn by_kind(&self) -> impl Iterator<Item = (IssueKind, &[Issue])> {
        self.issues
            .chunk_by(|a, b| a.kind == b.kind)
            .filter_map(|group| group.first().map(|first| (first.kind, group)))
    }
}

/// Counts of trials, tests and measurements.
struct Tally<'a> {
    summary: &'a Summary,
    trials: usize,
    rules: usize,
    rules_held: usize,
    measurements: usize,
    measured: usize,
    judged: usize,
    judged_well: usize,
}

impl<'a> Tally<'a> {
    fn of(results: &[RunResult], summary: &'a Summary) -> Self {
        let rules = || results.iter().flat_map(|result| &result.attach_semantics);
        let measurements = || results.iter().flat_map(|result| &result.measurements);
        let verdicts = || measurements().filter_map(|measurement| measurement.verdict);
        Self {
            summary,
            trials: results.iter().map(|result| result.trials.len()).sum(),
            rules: rules().count(),
            rules_held: rules().filter(|rule| rule.verdict == VerdictKind::Pass).count(),
            measurements: measurements().count(),
            measured: measurements().filter(|measurement| measurement.unmeasured.is_none()).count(),
            judged: verdicts().count(),
            judged_well: verdicts()
                .filter(|verdict| matches!(verdict, Judgement::Pass | Judgement::Improved))
                .count(),
        }
    }

    /// Returns how many trials, tests and measurements passed.
    fn proved(&self) -> usize {
        self.summary.pass + self.summary.xfail + self.rules_held + self.judged_well
    }
}

fn sentence(standing: Standing, tally: &Tally<'_>, issues: &[Issue]) -> String {
    let Tally { summary, trials, rules, rules_held, measurements, measured, judged, judged_well } = *tally;
    let Summary { pass, fail, skip, xfail, error, unreachable, not_run } = *summary;
    let number = |kind| issues.iter().filter(|issue| issue.kind == kind).count();
    let test = "attach-semantics test";
    let mut parts = match standing {
        Standing::Failed | Standing::Incomplete => {
            let [broken, faults, slower] =
                [IssueKind::AttachSemantics, IssueKind::Fault, IssueKind::Slower].map(number);
            let [contradictions, lost, unmeasured] =
                [IssueKind::Contradiction, IssueKind::InfrastructureFailure, IssueKind::Unmeasured]
                    .map(number);
            let (these, measurements) = (several(trials, "trial"), several(measurements, "measurement"));
            let incomplete = standing == Standing::Incomplete;
            vec![
                (fail, format!("{fail} of {these} failed")),
                (broken, format!("{broken} of {} failed", several(rules, test))),
                (faults, format!("{} found beyond the trials", several(faults, "fault"))),
                (slower, format!("{slower} of {measurements} slower than the tolerance allows")),
                (
                    contradictions,
                    verb(contradictions, "result file is inconsistent", "result files are inconsistent"),
                ),
                (error, format!("the testbed broke in {error} of {these}")),
                (lost, format!("{} without a result", several(lost, "part"))),
                (not_run, format!("{} not run", verb(not_run, "trial was", "trials were"))),
                (unmeasured, format!("{} failed", several(unmeasured, "measurement"))),
                (if incomplete { pass } else { 0 }, verb(pass, "trial passed", "trials passed")),
            ]
        }
        Standing::NothingProved => {
            let all = several(trials + rules + measurements, "trial");
            vec![(1, format!("none of {all} could be run and judged"))]
        }
        Standing::Empty => vec![(1, "the results contain neither trials nor measurements".to_owned())],
        Standing::Measured => {
            let made = verb(measured, "comparison was", "comparisons were");
            vec![(1, format!("{made} made, none of them judged"))]
        }
        Standing::PassedWithWarnings | Standing::Passed => {
            let warnings = number(IssueKind::Warning) + number(IssueKind::Recovered);
            let skipped = skip + unreachable;
            vec![
                (pass, verb(pass, "trial passed", "trials passed")),
                (xfail, format!("{} as declared", verb(xfail, "deviates", "deviate"))),
                (rules_held, format!("{} passed", several(rules_held, test))),
                (
                    rules - rules_held,
                    format!(
                        "{} for what a driver or a kernel does not have",
                        verb(rules - rules_held, "was skipped", "were skipped")
                    ),
                ),
                (
                    judged,
                    format!(
                        "{judged_well} of {} within the tolerance",
                        several(judged, "judged measurement")
                    ),
                ),
                (skipped, format!("{skipped} skipped for declared reasons")),
                (warnings, several(warnings, "warning")),
            ]
        }
    };
    parts.retain(|(number, _)| *number > 0);
    parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(", ")
}

/// Returns a number with the words that agree with it.
fn verb(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn issues(collection: &Collection, summary: &Summary) -> Vec<Issue> {
    let Collection { schema: _, results, infrastructure_failures, summary: stored } = collection;
    let mut found = IssueList::default();
    for (run, result) in results.iter().enumerate() {
        found.add_result(run, result);
    }
    for (number, failure) in infrastructure_failures.iter().enumerate() {
        let InfrastructureFailure { cell, message, attempts, recovered, console: _ } = failure;
        let kind = if *recovered { IssueKind::Recovered } else { IssueKind::InfrastructureFailure };
        let message = format!("{message} ({})", verb(*attempts as usize, "attempt", "attempts"));
        found.add(kind, cell, message, IssuePlace::InfrastructureFailure(number));
    }
    if stored != summary {
        let [stored, counted] = [stored, summary].map(counts);
        let message = format!("the summary of the collection counts {stored}, but the trials are {counted}");
        found.add(IssueKind::Contradiction, "summary", message, IssuePlace::Result(0));
    }
    found.in_order()
}

/// Returns the kind of issue of a trial, if it is one.
fn of_trial(trial: &TrialRecord) -> Option<IssueKind> {
    let mismatches = trial.failure.as_ref().map_or(&[][..], |failure| &failure.mismatches);
    match trial.verdict {
        VerdictKind::Fail if mismatches.iter().any(|its| its.class == FaultClass::UnexpectedAttach) => {
            Some(IssueKind::UnexpectedAttach)
        }
        VerdictKind::Fail => Some(IssueKind::Failure),
        VerdictKind::Error => Some(IssueKind::Error),
        VerdictKind::Xfail => Some(IssueKind::Deviation),
        VerdictKind::Pass | VerdictKind::Skip | VerdictKind::Unreachable => None,
    }
}

/// The reason of a trial's verdict, without bytes: `reason` of version 1 has them.
fn brief(trial: &TrialRecord) -> String {
    match trial.failure.as_ref().filter(|_| trial.verdict == VerdictKind::Fail) {
        Some(failure) => failure.mismatches.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        None => trial.reason.clone().unwrap_or_else(|| "no reason given".to_owned()),
    }
}

/// Returns trials by verdict in words.
fn counts(summary: &Summary) -> String {
    let counts = numbers(summary);
    if counts.is_empty() { "nothing".to_owned() } else { counts }
}

/// Issues; equal ones of the same subject are merged.
#[derive(Default)]
struct IssueList {
    issues: Vec<Issue>,
    known: BTreeMap<(IssueKind, String, String), usize>,
}

impl IssueList {
    fn add(&mut self, kind: IssueKind, subject: &str, message: String, place: IssuePlace) {
        let key = (kind, subject.to_owned(), message);
        if let Some(&at) = self.known.get(&key) {
            self.issues[at].places.push(place);
            return;
        }
        let (kind, subject, message) = key.clone();
        self.known.insert(key, self.issues.len());
        self.issues.push(Issue { kind, subject, message, places: vec![place] });
    }

    fn add_result(&mut self, run: usize, result: &RunResult) {
        let not_run = result.summary.not_run;
        let counted = Summary::of(&result.trials, not_run);
        if counted != result.summary {
            let [stored, counted] = [&result.summary, &counted].map(counts);
            let message = format!("the summary counts {stored}, but the trials are {counted}");
            self.add(IssueKind::Contradiction, "summary", message, IssuePlace::Result(run));
        }
        for (number, trial) in result.trials.iter().enumerate() {
            let Some(kind) = of_trial(trial) else { continue };
            // A deviation is one, however many scenarios show it.
            let subject = if kind == IssueKind::Deviation { "" } else { &trial.scenario };
            self.add(kind, subject, brief(trial), IssuePlace::Trial(run, number));
        }
        for (number, test) in result.attach_semantics.iter().enumerate() {
            let kind = match test.verdict {
                VerdictKind::Error => IssueKind::Error,
                verdict if verdict.is_bad() => IssueKind::AttachSemantics,
                _ => continue,
            };
            let reason = test.reason.clone().unwrap_or_else(|| test.fact.clone());
            self.add(kind, &test.id, reason, IssuePlace::AttachTest(run, number));
        }
        for Finding { kind: _, severity, nic, mode, message } in &result.findings {
            let kind = match severity {
                Severity::Fault => IssueKind::Fault,
                Severity::Warning => IssueKind::Warning,
                Severity::Note => IssueKind::Note,
            };
            let subject: Vec<String> = nic.iter().cloned().chain(mode.map(|mode| mode.to_string())).collect();
            let subject = if subject.is_empty() { "the machine".to_owned() } else { subject.join(", ") };
            self.add(kind, &subject, message.clone(), IssuePlace::Result(run));
        }
        for (number, measurement) in result.measurements.iter().enumerate() {
            self.add_measurement(IssuePlace::Measurement(run, number), measurement);
        }
        if not_run > 0 {
            let message = format!("{} not run", verb(not_run, "planned trial was", "planned trials were"));
            self.add(IssueKind::NotRun, "interrupted", message, IssuePlace::Result(run));
        }
    }

    fn add_measurement(&mut self, place: IssuePlace, measurement: &Measurement) {
        let Measurement { id, unmeasured, verdict, ratio, baseline, .. } = measurement;
        if let Some(Unmeasured { reason, declared: false }) = unmeasured {
            self.add(IssueKind::Unmeasured, id, reason.clone(), place);
        }
        match verdict {
            Some(Judgement::Regression) => {
                let ratio = ratio.map(|its| format!("{:.3} times as fast ({})", its.ratio, its.interval));
                let message = ratio.unwrap_or_else(|| "slower than the tolerance allows".to_owned());
                self.add(IssueKind::Slower, id, message, place);
            }
            Some(Judgement::Inconclusive { reason }) => {
                self.add(IssueKind::Inconclusive, id, reason.to_string(), place);
            }
            Some(Judgement::Pass | Judgement::Improved) | None => {}
        }
        if let Some(change) = baseline.as_ref().filter(|change| change.is_slower()) {
            self.add(IssueKind::Slower, id, change.to_string(), place);
        }
    }

    /// Sorts by severity, then by the number of places, then in the order of discovery.
    fn in_order(self) -> Vec<Issue> {
        let mut issues = self.issues;
        issues.sort_by_key(|issue| (issue.kind, std::cmp::Reverse(issue.places.len())));
        issues
    }
}
