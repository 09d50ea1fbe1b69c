//! What several results come to: a verdict in a sentence, and what keeps it from being clean, the weightiest first. Pure.

use std::{collections::BTreeMap, fmt};

use xdproof_core::model::{
    finding::{Finding, InfrastructureFailure, Severity},
    result::{Collection, RunResult, Summary, TrialRecord},
};
use xdproof_core::model::{
    judgement::Judgement, measurement::Unmeasured, mismatch::FaultClass, verdict::VerdictKind,
};

/// What may be built on a collection of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Something did not come out as it had to.
    Failed,
    /// Nothing did not, and a part is missing.
    Incomplete,
    /// There are trials, and none of them could be judged.
    NothingProved,
    /// There is nothing in it.
    Empty,
    /// Everything came out as it had to, and there is something to know about it.
    Reserved,
    /// There are figures, and nothing was judged.
    Measured,
    /// Everything came out as it had to.
    Passed,
}

impl Standing {
    /// One word or two, as the first of a sentence.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Failed => "Failed",
            Self::Incomplete => "Incomplete",
            Self::NothingProved => "Nothing proved",
            Self::Empty => "Nothing tested",
            Self::Reserved => "Passed, with reservations",
            Self::Measured => "Measured",
            Self::Passed => "Passed",
        }
    }
}

/// How much an obstacle weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IssueSeverity {
    /// It fails the whole.
    Fault,
    /// It leaves a part untested.
    Gap,
    /// It keeps a pass from being clean.
    Reservation,
    /// Good to know.
    Note,
}

/// What an obstacle is, the weightiest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObstacleKind {
    /// A file counts other verdicts than it has trials.
    Disagreement,
    /// Trials failed.
    Failure,
    /// A program was refused, or taken, against what the support table says.
    Refusal,
    /// A rule of attaching does not hold.
    Rule,
    /// A finding that is a fault.
    Fault,
    /// A measurement that is slower than it may be.
    Slower,
    /// The testbed broke in trials.
    Error,
    /// A part of a larger run came to nothing.
    InfrastructureFailure,
    /// Trials of the plan that were never begun.
    NotRun,
    /// A measurement that broke.
    Unmeasured,
    /// A finding that is a warning.
    Warning,
    /// A measurement that cannot be judged.
    Inconclusive,
    /// A part of a larger run that gave a result only when it was tried again.
    Recovered,
    /// Trials that deviate as declared.
    Deviation,
    /// A finding that is good to know.
    Note,
}

impl ObstacleKind {
    /// How much it weighs.
    #[must_use]
    pub fn severity(self) -> IssueSeverity {
        match self {
            Self::Disagreement | Self::Failure | Self::Refusal | Self::Rule | Self::Fault | Self::Slower => {
                IssueSeverity::Fault
            }
            Self::Error | Self::InfrastructureFailure | Self::NotRun | Self::Unmeasured => IssueSeverity::Gap,
            Self::Warning | Self::Inconclusive | Self::Recovered => IssueSeverity::Reservation,
            Self::Deviation | Self::Note => IssueSeverity::Note,
        }
    }

    /// What all of its kind are, as a heading.
    #[must_use]
    pub fn heading(self) -> &'static str {
        match self {
            Self::Disagreement => "Files that contradict themselves",
            Self::Failure => "Failed trials",
            Self::Refusal => "Attached or refused against the support table",
            Self::Rule => "Rules of attaching that do not hold",
            Self::Fault => "Findings that are faults",
            Self::Slower => "Slower than allowed",
            Self::Error => "Trials whose testbed broke",
            Self::InfrastructureFailure => "Parts that came to nothing",
            Self::NotRun => "Never begun",
            Self::Unmeasured => "Measurements that broke",
            Self::Warning => "Findings",
            Self::Inconclusive => "Measurements that cannot be judged",
            Self::Recovered => "Parts that had to be tried again",
            Self::Deviation => "Known deviations",
            Self::Note => "Good to know",
        }
    }
}

/// Where something stands in a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A whole result.
    Result(usize),
    /// A trial of a result.
    Trial(usize, usize),
    /// A rule of a result.
    Rule(usize, usize),
    /// A measurement of a result.
    Measurement(usize, usize),
    /// A breakdown.
    InfrastructureFailure(usize),
}

/// Something that keeps the verdict from being clean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// What it is.
    pub kind: ObstacleKind,
    /// What it is about: a scenario, a rule, a device.
    pub subject: String,
    /// What happened.
    pub what: String,
    /// Where, at least once.
    pub places: Vec<Place>,
}

/// What a collection comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// What may be built on it.
    pub standing: Standing,
    /// The verdict in a sentence, without the [standing](Standing::name) and without its full stop.
    pub sentence: String,
    /// What keeps it from being clean, the weightiest first.
    pub obstacles: Vec<Obstacle>,
    /// Trials by verdict, counted anew.
    pub summary: Summary,
}

impl Assessment {
    /// Assesses results.
    #[must_use]
    pub fn of(collection: &Collection) -> Self {
        let results = &collection.results;
        let summary = Summary::total(results);
        let obstacles = obstacles(collection, &summary);
        let worst = obstacles.iter().map(|obstacle| obstacle.kind.severity()).min();
        let tally = Tally::of(results, &summary);
        let standing = match worst {
            Some(IssueSeverity::Fault) => Standing::Failed,
            Some(IssueSeverity::Gap) => Standing::Incomplete,
            _ if tally.trials + tally.rules + tally.measurements == 0 => Standing::Empty,
            _ if tally.proved() == 0 && tally.measured == 0 => Standing::NothingProved,
            _ if tally.proved() == 0 => Standing::Measured,
            Some(IssueSeverity::Reservation) => Standing::Reserved,
            Some(IssueSeverity::Note) | None => Standing::Passed,
        };
        let sentence = sentence(standing, &tally, &obstacles);
        Self { standing, sentence, obstacles, summary }
    }

    /// The obstacles by their kind, the weightiest first.
    pub fn by_kind(&self) -> impl Iterator<Item = (ObstacleKind, &[Obstacle])> {
        self.obstacles
            .chunk_by(|a, b| a.kind == b.kind)
            .filter_map(|group| group.first().map(|first| (first.kind, group)))
    }
}

/// What there is to be counted in results.
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

    /// What was tried and came out as it had to.
    fn proved(&self) -> usize {
        self.summary.pass + self.summary.xfail + self.rules_held + self.judged_well
    }
}

fn sentence(standing: Standing, tally: &Tally<'_>, obstacles: &[Obstacle]) -> String {
    let Tally { summary, trials, rules, measurements, measured, judged, judged_well, .. } = tally;
    let Summary { pass, fail, skip, xfail, error, unreachable, not_run } = **summary;
    let number = |kind| obstacles.iter().filter(|obstacle| obstacle.kind == kind).count();
    let mut parts = Vec::new();
    let mut part = |number: usize, text: String| {
        if number > 0 {
            parts.push(text);
        }
    };
    let broken_rules = number(ObstacleKind::Rule);
    let faults = number(ObstacleKind::Fault);
    let slower = number(ObstacleKind::Slower);
    let infrastructure_failures = number(ObstacleKind::InfrastructureFailure);
    let unmeasured = number(ObstacleKind::Unmeasured);
    match standing {
        Standing::Failed | Standing::Incomplete => {
            part(fail, format!("{fail} of {} failed", Count(*trials, "trial")));
            part(
                broken_rules,
                format!("{broken_rules} of {} did not hold", Count(*rules, "rule of attaching")),
            );
            part(faults, format!("{} beside the trials", Count(faults, "fault")));
            part(slower, format!("{slower} of {} slower than allowed", Count(*measurements, "measurement")));
            let contradictions = number(ObstacleKind::Disagreement);
            part(
                contradictions,
                verb(contradictions, "file contradicts itself", "files contradict themselves"),
            );
            part(error, format!("the testbed broke in {error} of {}", Count(*trials, "trial")));
            part(
                infrastructure_failures,
                format!("{} came to nothing", Count(infrastructure_failures, "part")),
            );
            part(not_run, format!("{} never begun", verb(not_run, "trial was", "trials were")));
            part(unmeasured, format!("{} broke", Count(unmeasured, "measurement")));
            if standing == Standing::Incomplete {
                part(pass, verb(pass, "trial came out as it had to", "trials came out as they had to"));
            }
        }
        Standing::NothingProved => {
            part(
                1,
                format!("none of {} was run and judged", Count(*trials + *rules + *measurements, "trial")),
            );
        }
        Standing::Empty => part(1, "the results have neither trials nor measurements".to_owned()),
        Standing::Measured => {
            part(
                1,
                format!(
                    "{} made, none of them judged",
                    verb(*measured, "comparison was", "comparisons were")
                ),
            );
        }
        Standing::Reserved | Standing::Passed => {
            part(
                pass,
                verb(pass, "trial came out exactly as it had to", "trials came out exactly as they had to"),
            );
            part(xfail, format!("{} as declared", verb(xfail, "deviates", "deviate")));
            part(*rules, format!("{} of {} hold", tally.rules_held, Count(*rules, "rule of attaching")));
            part(
                *judged,
                format!("{judged_well} of {} as fast as allowed", Count(*judged, "judged measurement")),
            );
            part(
                skip + unreachable,
                format!("{} not run, for declared reasons", verb(skip + unreachable, "was", "were")),
            );
            let warnings = number(ObstacleKind::Warning) + number(ObstacleKind::Recovered);
            part(
                warnings,
                verb(warnings, "thing to know before relying on it", "things to know before relying on it"),
            );
        }
    }
    parts.join(", ")
}

/// A number with its noun, in the plural where it is not one.
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

/// A number with what agrees with it.
fn verb(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn obstacles(collection: &Collection, summary: &Summary) -> Vec<Obstacle> {
    let Collection { schema: _, results, infrastructure_failures, summary: stored } = collection;
    let mut found = Found::default();
    for (run, result) in results.iter().enumerate() {
        let counted =
            Summary::new(&result.trials, result.trials.len().saturating_add(result.summary.not_run));
        if counted != result.summary {
            let what = format!("its summary says {}, and its trials {}", In(&result.summary), In(&counted));
            found.add(ObstacleKind::Disagreement, "summary", what, Place::Result(run));
        }
        for (number, trial) in result.trials.iter().enumerate() {
            let Some(kind) = of_trial(trial) else { continue };
            let reason = brief(trial);
            // A deviation is one, however many scenarios show it.
            let subject = if kind == ObstacleKind::Deviation { "" } else { &trial.scenario };
            found.add(kind, subject, reason, Place::Trial(run, number));
        }
        for (number, rule) in result.attach_semantics.iter().enumerate() {
            if rule.verdict.is_bad() {
                let reason = rule.reason.clone().unwrap_or_else(|| rule.fact.clone());
                let kind =
                    if rule.verdict == VerdictKind::Error { ObstacleKind::Error } else { ObstacleKind::Rule };
                found.add(kind, &rule.id, reason, Place::Rule(run, number));
            }
        }
        for Finding { kind: _, severity, nic, mode, message } in &result.findings {
            let kind = match severity {
                Severity::Fault => ObstacleKind::Fault,
                Severity::Warning => ObstacleKind::Warning,
                Severity::Note => ObstacleKind::Note,
            };
            let subject = match (nic, mode) {
                (Some(nic), Some(mode)) => format!("{nic}, {mode}"),
                (Some(nic), None) => nic.clone(),
                (None, Some(mode)) => mode.to_string(),
                (None, None) => "the machine".to_owned(),
            };
            found.add(kind, &subject, message.clone(), Place::Result(run));
        }
        for (number, measurement) in result.measurements.iter().enumerate() {
            let place = Place::Measurement(run, number);
            if let Some(Unmeasured { reason, declared: false }) = &measurement.unmeasured {
                found.add(ObstacleKind::Unmeasured, &measurement.id, reason.clone(), place);
            }
            match &measurement.verdict {
                Some(Judgement::Regression) => {
                    let what = measurement.ratio.map_or_else(
                        || "slower than allowed".to_owned(),
                        |its| format!("{:.3} times as fast ({})", its.ratio, its.interval),
                    );
                    found.add(ObstacleKind::Slower, &measurement.id, what, place);
                }
                Some(Judgement::Inconclusive { reason }) => {
                    found.add(ObstacleKind::Inconclusive, &measurement.id, reason.to_string(), place);
                }
                Some(Judgement::Pass | Judgement::Improved) | None => {}
            }
            if let Some(change) = measurement.baseline.as_ref().filter(|change| change.is_slower()) {
                found.add(ObstacleKind::Slower, &measurement.id, change.to_string(), place);
            }
        }
        let not_run = result.summary.not_run;
        if not_run > 0 {
            let what = format!("{} of the plan never begun", verb(not_run, "trial was", "trials were"));
            found.add(ObstacleKind::NotRun, "interrupted", what, Place::Result(run));
        }
    }
    for (number, breakdown) in infrastructure_failures.iter().enumerate() {
        let InfrastructureFailure { cell, message, attempts, recovered, console: _ } = breakdown;
        let kind = if *recovered { ObstacleKind::Recovered } else { ObstacleKind::InfrastructureFailure };
        let what = format!("{message} ({} tried)", verb(*attempts as usize, "time", "times"));
        found.add(kind, cell, what, Place::InfrastructureFailure(number));
    }
    if stored != summary {
        let what = format!("the collection's summary says {}, and its trials {}", In(stored), In(summary));
        found.add(ObstacleKind::Disagreement, "summary", what, Place::Result(0));
    }
    found.in_order()
}

/// What a trial keeps from being clean, if it does.
fn of_trial(trial: &TrialRecord) -> Option<ObstacleKind> {
    let mismatches = trial.failure.as_ref().map_or(&[][..], |failure| &failure.mismatches);
    match trial.verdict {
        VerdictKind::Fail if mismatches.iter().any(|its| its.class == FaultClass::UnexpectedAttach) => {
            Some(ObstacleKind::Refusal)
        }
        VerdictKind::Fail => Some(ObstacleKind::Failure),
        VerdictKind::Error => Some(ObstacleKind::Error),
        VerdictKind::Xfail => Some(ObstacleKind::Deviation),
        VerdictKind::Pass | VerdictKind::Skip | VerdictKind::Unreachable => None,
    }
}

/// The reason of a trial's verdict, without bytes: `reason` of version 1 has them.
fn brief(trial: &TrialRecord) -> String {
    match trial.failure.as_ref().filter(|_| trial.verdict == VerdictKind::Fail) {
        Some(failure) => failure.mismatches.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        None => trial.reason.clone().unwrap_or_else(|| "no reason is given".to_owned()),
    }
}

/// Verdicts by number, as words.
struct In<'a>(&'a Summary);

impl fmt::Display for In<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self
            .0
            .numbers()
            .into_iter()
            .filter(|(_, number)| *number > 0)
            .map(|(name, number)| format!("{number} {name}"))
            .collect();
        f.write_str(if numbers.is_empty() { "nothing" } else { "" })?;
        f.write_str(&numbers.join(", "))
    }
}

/// Obstacles, those that say the same of the same put together.
#[derive(Default)]
struct Found {
    obstacles: Vec<Obstacle>,
    known: BTreeMap<(ObstacleKind, String, String), usize>,
}

impl Found {
    fn add(&mut self, kind: ObstacleKind, subject: &str, what: String, place: Place) {
        let key = (kind, subject.to_owned(), what);
        if let Some(&at) = self.known.get(&key) {
            self.obstacles[at].places.push(place);
            return;
        }
        let (kind, subject, what) = key.clone();
        self.known.insert(key, self.obstacles.len());
        self.obstacles.push(Obstacle { kind, subject, what, places: vec![place] });
    }

    /// By severity; what happened at more places first, then as it was found.
    fn in_order(self) -> Vec<Obstacle> {
        let mut obstacles = self.obstacles;
        obstacles.sort_by_key(|obstacle| (obstacle.kind, std::cmp::Reverse(obstacle.places.len())));
        obstacles
    }
}
