//! The verdict on several results in a sentence, and their issues, the most severe first. Pure.

use std::{collections::BTreeMap, fmt};

use xdproof_core::model::{
    Collection, FaultClass, Finding, InfrastructureFailure, Judgement, RunResult, Severity, Summary,
    TrialRecord, Unmeasured, VerdictKind,
};

use crate::terminal_style::numbers;

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
        match self {
            Self::Contradiction
            | Self::Failure
            | Self::UnexpectedAttach
            | Self::AttachSemantics
            | Self::Fault
            | Self::Slower => IssueSeverity::Fault,
            Self::Error | Self::InfrastructureFailure | Self::NotRun | Self::Unmeasured => IssueSeverity::Gap,
            Self::Warning | Self::Inconclusive | Self::Recovered => IssueSeverity::Warning,
            Self::Deviation | Self::Note => IssueSeverity::Note,
        }
    }

    /// Returns the heading of issues of this kind.
    #[must_use]
    pub fn heading(self) -> &'static str {
        match self {
            Self::Contradiction => "Inconsistent result files",
            Self::Failure => "Failed trials",
            Self::UnexpectedAttach => "Unexpected attach results",
            Self::AttachSemantics => "Failed attach-semantics tests",
            Self::Fault => "Faults",
            Self::Slower => "Performance regressions",
            Self::Error => "Errors of the testbed",
            Self::InfrastructureFailure => "Infrastructure failures",
            Self::NotRun => "Trials not run",
            Self::Unmeasured => "Failed measurements",
            Self::Warning => "Warnings",
            Self::Inconclusive => "Inconclusive measurements",
            Self::Recovered => "Parts that were retried",
            Self::Deviation => "Known deviations",
            Self::Note => "Notes",
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
    let Tally { summary, trials, rules, measurements, measured, judged, judged_well, .. } = tally;
    let Summary { pass, fail, skip, xfail, error, unreachable, not_run } = **summary;
    let number = |kind| issues.iter().filter(|issue| issue.kind == kind).count();
    let mut parts = Vec::new();
    let mut part = |number: usize, text: String| {
        if number > 0 {
            parts.push(text);
        }
    };
    let broken_rules = number(IssueKind::AttachSemantics);
    let faults = number(IssueKind::Fault);
    let slower = number(IssueKind::Slower);
    let infrastructure_failures = number(IssueKind::InfrastructureFailure);
    let unmeasured = number(IssueKind::Unmeasured);
    match standing {
        Standing::Failed | Standing::Incomplete => {
            part(fail, format!("{fail} of {} failed", Count(*trials, "trial")));
            part(
                broken_rules,
                format!("{broken_rules} of {} failed", Count(*rules, "attach-semantics test")),
            );
            part(faults, format!("{} found beyond the trials", Count(faults, "fault")));
            part(
                slower,
                format!(
                    "{slower} of {} slower than the tolerance allows",
                    Count(*measurements, "measurement")
                ),
            );
            let contradictions = number(IssueKind::Contradiction);
            part(
                contradictions,
                verb(contradictions, "result file is inconsistent", "result files are inconsistent"),
            );
            part(error, format!("the testbed broke in {error} of {}", Count(*trials, "trial")));
            part(
                infrastructure_failures,
                format!("{} without a result", Count(infrastructure_failures, "part")),
            );
            part(not_run, format!("{} not run", verb(not_run, "trial was", "trials were")));
            part(unmeasured, format!("{} failed", Count(unmeasured, "measurement")));
            if standing == Standing::Incomplete {
                part(pass, verb(pass, "trial passed", "trials passed"));
            }
        }
        Standing::NothingProved => {
            part(
                1,
                format!(
                    "none of {} could be run and judged",
                    Count(*trials + *rules + *measurements, "trial")
                ),
            );
        }
        Standing::Empty => part(1, "the results contain neither trials nor measurements".to_owned()),
        Standing::Measured => {
            part(
                1,
                format!(
                    "{} made, none of them judged",
                    verb(*measured, "comparison was", "comparisons were")
                ),
            );
        }
        Standing::PassedWithWarnings | Standing::Passed => {
            part(pass, verb(pass, "trial passed", "trials passed"));
            part(xfail, format!("{} as declared", verb(xfail, "deviates", "deviate")));
            part(tally.rules_held, format!("{} passed", Count(tally.rules_held, "attach-semantics test")));
            let other_rules = rules - tally.rules_held;
            part(
                other_rules,
                format!(
                    "{} for what a driver or a kernel does not have",
                    verb(other_rules, "was skipped", "were skipped")
                ),
            );
            part(
                *judged,
                format!("{judged_well} of {} within the tolerance", Count(*judged, "judged measurement")),
            );
            part(skip + unreachable, format!("{} skipped for declared reasons", skip + unreachable));
            let warnings = number(IssueKind::Warning) + number(IssueKind::Recovered);
            part(warnings, verb(warnings, "warning", "warnings"));
        }
    }
    parts.join(", ")
}

/// A number with its noun.
struct Count(usize, &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number, noun) = *self;
        match (number, noun.split_once(" of ")) {
            (1, _) => write!(f, "{number} {noun}"),
            (_, Some((noun, of))) => write!(f, "{number} {noun}s of {of}"),
            (_, None) => write!(f, "{number} {noun}s"),
        }
    }
}

/// Returns a number with the words that agree with it.
fn verb(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn issues(collection: &Collection, summary: &Summary) -> Vec<Issue> {
    let Collection { schema: _, results, infrastructure_failures, summary: stored } = collection;
    let mut found = IssueList::default();
    for (run, result) in results.iter().enumerate() {
        let counted =
            Summary::new(&result.trials, result.trials.len().saturating_add(result.summary.not_run));
        if counted != result.summary {
            let message = format!(
                "the summary counts {}, but the trials are {}",
                counts(&result.summary),
                counts(&counted)
            );
            found.add(IssueKind::Contradiction, "summary", message, IssuePlace::Result(run));
        }
        for (number, trial) in result.trials.iter().enumerate() {
            let Some(kind) = of_trial(trial) else { continue };
            let reason = brief(trial);
            // A deviation is one, however many scenarios show it.
            let subject = if kind == IssueKind::Deviation { "" } else { &trial.scenario };
            found.add(kind, subject, reason, IssuePlace::Trial(run, number));
        }
        for (number, rule) in result.attach_semantics.iter().enumerate() {
            if rule.verdict.is_bad() {
                let reason = rule.reason.clone().unwrap_or_else(|| rule.fact.clone());
                let kind = if rule.verdict == VerdictKind::Error {
                    IssueKind::Error
                } else {
                    IssueKind::AttachSemantics
                };
                found.add(kind, &rule.id, reason, IssuePlace::AttachTest(run, number));
            }
        }
        for Finding { kind: _, severity, nic, mode, message } in &result.findings {
            let kind = match severity {
                Severity::Fault => IssueKind::Fault,
                Severity::Warning => IssueKind::Warning,
                Severity::Note => IssueKind::Note,
            };
            let subject = match (nic, mode) {
                (Some(nic), Some(mode)) => format!("{nic}, {mode}"),
                (Some(nic), None) => nic.clone(),
                (None, Some(mode)) => mode.to_string(),
                (None, None) => "the machine".to_owned(),
            };
            found.add(kind, &subject, message.clone(), IssuePlace::Result(run));
        }
        for (number, measurement) in result.measurements.iter().enumerate() {
            let place = IssuePlace::Measurement(run, number);
            if let Some(Unmeasured { reason, declared: false }) = &measurement.unmeasured {
                found.add(IssueKind::Unmeasured, &measurement.id, reason.clone(), place);
            }
            match &measurement.verdict {
                Some(Judgement::Regression) => {
                    let message = measurement.ratio.map_or_else(
                        || "slower than the tolerance allows".to_owned(),
                        |its| format!("{:.3} times as fast ({})", its.ratio, its.interval),
                    );
                    found.add(IssueKind::Slower, &measurement.id, message, place);
                }
                Some(Judgement::Inconclusive { reason }) => {
                    found.add(IssueKind::Inconclusive, &measurement.id, reason.to_string(), place);
                }
                Some(Judgement::Pass | Judgement::Improved) | None => {}
            }
            if let Some(change) = measurement.baseline.as_ref().filter(|change| change.is_slower()) {
                found.add(IssueKind::Slower, &measurement.id, change.to_string(), place);
            }
        }
        let not_run = result.summary.not_run;
        if not_run > 0 {
            let message = format!("{} not run", verb(not_run, "planned trial was", "planned trials were"));
            found.add(IssueKind::NotRun, "interrupted", message, IssuePlace::Result(run));
        }
    }
    for (number, breakdown) in infrastructure_failures.iter().enumerate() {
        let InfrastructureFailure { cell, message, attempts, recovered, console: _ } = breakdown;
        let kind = if *recovered { IssueKind::Recovered } else { IssueKind::InfrastructureFailure };
        let message = format!("{message} ({})", verb(*attempts as usize, "attempt", "attempts"));
        found.add(kind, cell, message, IssuePlace::InfrastructureFailure(number));
    }
    if stored != summary {
        let message = format!(
            "the summary of the collection counts {}, but the trials are {}",
            counts(stored),
            counts(summary)
        );
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

    /// Sorts by severity, then by the number of places, then in the order of discovery.
    fn in_order(self) -> Vec<Issue> {
        let mut issues = self.issues;
        issues.sort_by_key(|issue| (issue.kind, std::cmp::Reverse(issue.places.len())));
        issues
    }
}
