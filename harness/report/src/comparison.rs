//! Compares two sets of results: regressions, fixes, lost and new trials, slower and faster measurements. Pure.
//!
//! The sets usually differ in a kernel, a driver version or a program, and trials must compare all the same. A trial is therefore
//! identified by device and id, and by kernel and program only if both sides have several.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use schemars::JsonSchema;
use serde::Serialize;

use xdproof_core::{
    measure::compare::{against, is_comparable, pairs},
    model::{
        Change, Collection, Finding, Judgement, Measurement, PortRole, RunResult, Severity, Tolerance,
        VerdictKind,
    },
};

use crate::{store, terminal_style::several, test_cases::kind_name};

mod html;
mod markdown;
mod text;

pub use crate::comparison::html::write as write_html;
pub use crate::comparison::markdown::write as write_markdown;
pub use crate::comparison::text::write as write_text;

/// Schema version of a comparison.
pub const SCHEMA: &str = "xdproof.comparison/2";

/// The differences of two sets of results.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Comparison {
    pub schema: &'static str,
    pub old: Side,
    pub new: Side,
    /// Trials with another verdict, or in one set only.
    pub trials: Vec<VerdictChange>,
    /// Number of trials in both sets.
    pub trials_compared: usize,
    /// Attach-semantics tests, likewise.
    pub attach_semantics: Vec<VerdictChange>,
    /// Number of attach-semantics tests in both sets.
    pub attach_semantics_compared: usize,
    /// Findings in one set only.
    pub findings: Vec<FindingChange>,
    /// Measurements of both sets.
    pub measurements: Vec<MeasurementChange>,
    /// Reasons why the new set is incomplete, so that a missing trial is not lost.
    pub incomplete: Vec<String>,
}

/// One of the two sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Side {
    /// The kernels' releases.
    pub kernels: BTreeSet<String>,
    /// The programs under test: name and tag.
    pub programs: BTreeSet<String>,
    /// The devices, as trials call them, with driver, version and firmware where they are known.
    pub devices: BTreeSet<String>,
}

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// Failed before, passes now.
    Fixed,
    /// In the new set only, and not failed.
    New,
    /// Another verdict, neither being worse.
    Changed,
    /// In the old set only; the new set is incomplete.
    Missing,
    /// Passed before, and is absent or skipped now.
    Lost,
    /// Passed or was absent before, fails now.
    Regressed,
}

impl ChangeKind {
    /// Returns the word for it, in capitals for the worse ones.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::New => "new",
            Self::Changed => "changed",
            Self::Missing => "missing",
            Self::Lost => "LOST",
            Self::Regressed => "REGRESSED",
        }
    }

    fn is_worse(self) -> bool {
        matches!(self, Self::Lost | Self::Regressed)
    }
}

/// A trial or an attach-semantics test that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct VerdictChange {
    pub id: String,
    /// None where there is no device.
    pub nic: Option<String>,
    /// Kernel and program, if both sets have several.
    pub place: Option<String>,
    /// None if it is in the new set only.
    pub old: Option<VerdictKind>,
    /// None if it is in the old set only.
    pub new: Option<VerdictKind>,
    pub kind: ChangeKind,
    pub worse: bool,
    /// Reason of the new verdict, or of the old one if there is no new one.
    pub reason: Option<String>,
}

/// A finding in one set only, or with another severity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FindingChange {
    pub finding: Finding,
    /// Kernel and program, if both sets have several.
    pub place: Option<String>,
    /// [`ChangeKind::New`], [`ChangeKind::Regressed`] for a fault, [`ChangeKind::Fixed`] for a finding that is gone.
    pub kind: ChangeKind,
    pub worse: bool,
}

/// A measurement of either set or of both.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MeasurementChange {
    pub id: String,
    /// Kernel and program, if both sets have several.
    pub place: Option<String>,
    /// The change, if both sets have it and it compares.
    pub change: Option<Change>,
    /// The reason why it does not compare.
    pub reason: Option<&'static str>,
    /// Set if the old set has it, and it cannot be compared.
    #[serde(skip)]
    is_lost: bool,
}

impl MeasurementChange {
    /// Returns the change in a word, verdicts in capitals.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.change {
            Some(change) if change.is_slower() => Judgement::Regression.name().to_uppercase(),
            Some(change) => change.verdict.name().to_uppercase(),
            None => "changed".to_owned(),
        }
    }

    fn is(&self, wanted: impl Fn(&Judgement) -> bool) -> bool {
        self.change.as_ref().is_some_and(|change| wanted(&change.verdict))
    }

    /// Returns whether the speeds are the same within the tolerance.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.is(|verdict| *verdict == Judgement::Pass) && !self.is_slower()
    }

    /// Returns whether it is slower than the tolerance allows.
    #[must_use]
    pub fn is_slower(&self) -> bool {
        self.change.as_ref().is_some_and(Change::is_slower)
    }
}

impl fmt::Display for MeasurementChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.change, self.reason) {
            (Some(change), _) => write!(f, ": {change}"),
            (None, reason) => write!(f, " {}", reason.unwrap_or("does not compare")),
        }
    }
}

/// The outcome of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComparisonOutcome {
    /// Nothing got worse.
    AsExpected,
    /// Something got worse.
    Worse,
    /// Too little compares.
    Inconclusive,
}

impl Comparison {
    /// Compares two sets. `tolerance` replaces that of the new measurements.
    #[must_use]
    pub fn of(old: &Collection, new: &Collection, tolerance: Option<Tolerance>) -> Self {
        let incomplete = incomplete(new);
        let places = Places::of(&old.results, &new.results);
        let trials = |results: &'_ [RunResult]| -> VerdictIndex {
            let mut table = VerdictIndex::default();
            for result in results {
                for trial in &result.trials {
                    table.add(
                        &places,
                        result,
                        trial.nic.as_deref(),
                        &trial.id,
                        trial.verdict,
                        trial.reason.as_ref(),
                    );
                }
            }
            table
        };
        let rules = |results: &'_ [RunResult]| -> VerdictIndex {
            let mut table = VerdictIndex::default();
            for result in results {
                for rule in &result.attach_semantics {
                    table.add(&places, result, Some(&rule.nic), &rule.id, rule.verdict, rule.reason.as_ref());
                }
            }
            table
        };
        let whole = incomplete.is_empty();
        let (trials, trials_compared) = trials(&old.results).against(trials(&new.results), whole);
        let (rules, attach_semantics_compared) = rules(&old.results).against(rules(&new.results), whole);
        Self {
            schema: SCHEMA,
            old: Side::of(&old.results),
            new: Side::of(&new.results),
            trials,
            trials_compared,
            attach_semantics: rules,
            attach_semantics_compared,
            findings: findings(&places, old, new),
            measurements: measurements(&places, old, new, tolerance),
            incomplete,
        }
    }

    /// Returns changed trials and tests, the worse ones last.
    pub fn verdicts(&self) -> impl Iterator<Item = &VerdictChange> {
        let both = || self.trials.iter().chain(&self.attach_semantics);
        both().filter(|change| !change.worse).chain(both().filter(|change| change.worse))
    }

    /// Returns the outcome. It is inconclusive if nothing got worse, but nothing compares, or a figure is doubtful or missing.
    #[must_use]
    pub fn outcome(&self) -> ComparisonOutcome {
        let worse = self.worse() > 0;
        let compared = self.trials_compared + self.attach_semantics_compared + self.rates_compared();
        let lost = self.measurements.iter().filter(|its| its.is_lost).count();
        let missing = self.verdicts().filter(|change| change.kind == ChangeKind::Missing).count();
        match (worse, compared == 0 || self.doubtful() + lost + missing > 0) {
            (true, _) => ComparisonOutcome::Worse,
            (false, true) => ComparisonOutcome::Inconclusive,
            (false, false) => ComparisonOutcome::AsExpected,
        }
    }

    /// Returns how many trials, tests, findings and measurements got worse.
    #[must_use]
    pub fn worse(&self) -> usize {
        let findings = self.findings.iter().filter(|change| change.worse).count();
        self.verdicts().filter(|change| change.worse).count() + findings + self.slower()
    }

    fn rates_compared(&self) -> usize {
        self.measurements.iter().filter(|its| its.change.is_some()).count()
    }

    fn slower(&self) -> usize {
        self.measurements.iter().filter(|its| its.is_slower()).count()
    }

    fn faster(&self) -> usize {
        self.measurements.iter().filter(|its| its.is(|verdict| *verdict == Judgement::Improved)).count()
    }

    fn doubtful(&self) -> usize {
        let doubtful =
            |its: &&MeasurementChange| its.is(|verdict| matches!(verdict, Judgement::Inconclusive { .. }));
        self.measurements.iter().filter(doubtful).count()
    }

    /// Returns the outcome in a few words.
    #[must_use]
    pub fn headline(&self) -> String {
        match self.outcome() {
            ComparisonOutcome::AsExpected => "Nothing got worse".to_owned(),
            ComparisonOutcome::Worse => several(self.worse(), "regression"),
            ComparisonOutcome::Inconclusive => "Inconclusive".to_owned(),
        }
    }

    /// Returns the numbers of compared and changed items on one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let worse = self.trials.iter().filter(|change| change.worse).count();
        let mut text = format!(
            "{} compared: {} changed, {worse} worse",
            several(self.trials_compared, "trial"),
            self.trials.len()
        );
        if self.attach_semantics_compared + self.attach_semantics.len() > 0 {
            let worse = self.attach_semantics.iter().filter(|change| change.worse).count();
            text.push_str(&format!(
                "; {} compared: {} changed, {worse} worse",
                several(self.attach_semantics_compared, "attach-semantics test"),
                self.attach_semantics.len()
            ));
        }
        if !self.findings.is_empty() {
            let gone = self.findings.iter().filter(|change| change.kind == ChangeKind::Fixed).count();
            text.push_str(&format!("; findings: {} new, {gone} gone", self.findings.len() - gone));
        }
        text.push_str(&format!(
            "; {} compared: {} slower, {} faster, {} inconclusive",
            several(self.rates_compared(), "measurement"),
            self.slower(),
            self.faster(),
            self.doubtful()
        ));
        text
    }
}

impl Side {
    fn of(results: &[RunResult]) -> Self {
        let devices = results.iter().flat_map(|result| &result.devices);
        let devices = devices.filter(|device| device.role == PortRole::Dut).map(|device| {
            let details = [&device.driver_version, &device.firmware].into_iter().flatten();
            details
                .fold(format!("{}: {}", device.nic, device.driver), |text, detail| format!("{text} {detail}"))
        });
        let mut devices: BTreeSet<String> = devices.collect();
        if devices.is_empty() {
            devices = results
                .iter()
                .flat_map(|result| &result.trials)
                .filter_map(|trial| trial.nic.clone())
                .collect();
        }
        Self {
            kernels: results.iter().map(kernel).collect(),
            programs: results.iter().map(program).collect(),
            devices,
        }
    }
}

fn kernel(result: &RunResult) -> String {
    result.environment.kernel_release.clone()
}

fn program(result: &RunResult) -> String {
    let program = &result.environment.program;
    format!("{} {}", program.name, program.tag)
}

/// Returns the reasons why a collection is incomplete.
fn incomplete(collection: &Collection) -> Vec<String> {
    let mut incomplete: Vec<String> = store::missing(collection).iter().map(ToString::to_string).collect();
    for result in &collection.results {
        if result.summary.not_run > 0 {
            incomplete.push(format!(
                "{}: {} not run",
                kernel(result),
                several(result.summary.not_run, "trial")
            ));
        }
    }
    let broken = collection.infrastructure_failures.iter().filter(|breakdown| !breakdown.recovered);
    incomplete.extend(broken.map(|breakdown| format!("{}: {}", breakdown.cell, breakdown.message)));
    incomplete
}

/// The properties that identify results within a set: kernel and program, if both sets have several.
struct Places {
    kernels: bool,
    programs: bool,
}

impl Places {
    fn of(old: &[RunResult], new: &[RunResult]) -> Self {
        let several = |of: fn(&RunResult) -> String| {
            [old, new].iter().all(|results| results.iter().map(of).collect::<BTreeSet<_>>().len() > 1)
        };
        Self { kernels: several(kernel), programs: several(program) }
    }

    fn place(&self, result: &RunResult) -> Option<String> {
        match (self.kernels, self.programs) {
            (true, true) => Some(format!("{}, {}", kernel(result), program(result))),
            (true, false) => Some(kernel(result)),
            (false, true) => Some(program(result)),
            (false, false) => None,
        }
    }
}

/// Place, device and id.
type Key = (Option<String>, Option<String>, String);

/// Verdicts by place, device and id; several of one key if only one of the sets has several kernels or programs.
#[derive(Default)]
struct VerdictIndex(BTreeMap<Key, Vec<(VerdictKind, Option<String>)>>);

impl VerdictIndex {
    fn add(
        &mut self,
        places: &Places,
        result: &RunResult,
        nic: Option<&str>,
        id: &str,
        verdict: VerdictKind,
        reason: Option<&String>,
    ) {
        let key = (places.place(result), nic.map(str::to_owned), id.to_owned());
        self.0.entry(key).or_default().push((verdict, reason.cloned()));
    }

    /// Returns the changes, and the number of keys in both sets.
    fn against(self, new: Self, whole: bool) -> (Vec<VerdictChange>, usize) {
        let (Self(old), Self(mut new)) = (self, new);
        let mut changes = Vec::new();
        let mut compared = 0;
        for (key, olds) in old {
            let news = new.remove(&key).unwrap_or_default();
            // One compares with each of many; many compare with many by position.
            let number = olds.len().max(news.len());
            let at = |of: &[(VerdictKind, Option<String>)], index: usize| match of {
                [one] => Some(one.clone()),
                many => many.get(index).cloned(),
            };
            for index in 0..number {
                let (old, new) = (at(&olds, index), at(&news, index));
                compared += usize::from(old.is_some() && new.is_some());
                changes.extend(change(&key, old, new, whole));
            }
        }
        for (key, news) in new {
            changes.extend(news.into_iter().filter_map(|new| change(&key, None, Some(new), whole)));
        }
        changes.sort_by(|a, b| (&a.place, &a.nic, &a.id).cmp(&(&b.place, &b.nic, &b.id)));
        (changes, compared)
    }
}

type Came = Option<(VerdictKind, Option<String>)>;

fn change((place, nic, id): &Key, old: Came, new: Came, whole: bool) -> Option<VerdictChange> {
    let [was, is] = [&old, &new].map(|came| came.as_ref().map(|(verdict, _)| *verdict));
    let kind = kind(was, is, whole)?;
    let reason = new.or(old).and_then(|(_, reason)| reason);
    let (place, nic, id) = (place.clone(), nic.clone(), id.clone());
    Some(VerdictChange { id, nic, place, old: was, new: is, kind, worse: kind.is_worse(), reason })
}

/// Returns the kind of a change; none if the verdict is the same.
fn kind(old: Option<VerdictKind>, new: Option<VerdictKind>, whole: bool) -> Option<ChangeKind> {
    if old == new {
        return None;
    }
    let proves = |verdict: VerdictKind| matches!(verdict, VerdictKind::Pass | VerdictKind::Xfail);
    Some(match (old, new) {
        (old, Some(new)) if new.is_bad() && !old.is_some_and(VerdictKind::is_bad) => ChangeKind::Regressed,
        (None, Some(_)) => ChangeKind::New,
        (Some(old), Some(new)) if old.is_bad() && proves(new) => ChangeKind::Fixed,
        (Some(_), None) if !whole => ChangeKind::Missing,
        // The coverage is lost.
        (Some(VerdictKind::Pass), new) if !new.is_some_and(proves) => ChangeKind::Lost,
        _ => ChangeKind::Changed,
    })
}

fn findings(places: &Places, old: &Collection, new: &Collection) -> Vec<FindingChange> {
    let all = |collection: &Collection| -> Vec<(Option<String>, Finding)> {
        let results = collection.results.iter();
        results
            .flat_map(|result| result.findings.iter().map(|its| (places.place(result), its.clone())))
            .collect()
    };
    let (mut old, mut new) = (all(old), all(new));
    // Equal findings are paired first, then those of one subject, whose numbers change from run to run.
    take_pairs(&mut old, &mut new, |a, b| a == b);
    let about = |its: &(Option<String>, Finding)| {
        (its.0.clone(), its.1.kind, its.1.nic.clone(), its.1.mode, its.1.severity)
    };
    take_pairs(&mut old, &mut new, |a, b| about(a) == about(b));
    let gone = old.into_iter().map(|(place, finding)| FindingChange {
        finding,
        place,
        kind: ChangeKind::Fixed,
        worse: false,
    });
    let came = new.into_iter().map(|(place, finding)| {
        let kind = if finding.severity == Severity::Fault { ChangeKind::Regressed } else { ChangeKind::New };
        FindingChange { finding, place, kind, worse: kind.is_worse() }
    });
    gone.chain(came).collect()
}

/// Removes pairs of items that match.
fn take_pairs<T>(old: &mut Vec<T>, new: &mut Vec<T>, same: impl Fn(&T, &T) -> bool) {
    old.retain(|one| match new.iter().position(|other| same(one, other)) {
        Some(index) => {
            new.remove(index);
            false
        }
        None => true,
    });
}

impl fmt::Display for FindingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { kind, severity: _, nic, mode, message } = &self.finding;
        f.write_str(kind_name(*kind))?;
        if let Some(nic) = nic {
            write!(f, " on {nic}")?;
        }
        if let Some(mode) = mode {
            write!(f, " in {mode} mode")?;
        }
        write!(f, ": {message}")
    }
}

fn measurements(
    places: &Places,
    old: &Collection,
    new: &Collection,
    tolerance: Option<Tolerance>,
) -> Vec<MeasurementChange> {
    let by_place = |collection: &Collection| -> BTreeMap<Option<String>, Vec<Measurement>> {
        let mut by_place: BTreeMap<_, Vec<Measurement>> = BTreeMap::new();
        for result in &collection.results {
            by_place.entry(places.place(result)).or_default().extend(result.measurements.iter().cloned());
        }
        by_place
    };
    let (old, new) = (by_place(old), by_place(new));
    let all: BTreeSet<&Option<String>> = old.keys().chain(new.keys()).collect();
    let none = Vec::new();
    let mut changes = Vec::new();
    for place in all {
        let [old, new] = [&old, &new].map(|by_place| by_place.get(place).unwrap_or(&none));
        for pair in pairs(new, old) {
            changes.extend(measured(place.as_ref(), pair, tolerance));
        }
    }
    changes
}

fn measured(
    place: Option<&String>,
    pair: (Option<&Measurement>, Option<&Measurement>),
    tolerance: Option<Tolerance>,
) -> Option<MeasurementChange> {
    let (id, change, reason) = match pair {
        (Some(new), None) => (&new.id, None, Some("is new")),
        (None, Some(old)) => (&old.id, None, Some("is in the old set only")),
        // Not measured in either set is no change.
        (Some(new), Some(old)) if new.unmeasured.is_some() && old.unmeasured.is_some() => return None,
        (Some(new), Some(old)) if is_comparable(new, old) => {
            (&new.id, Some(against(new, old, tolerance.unwrap_or(new.tolerance))), None)
        }
        (Some(new), Some(_)) => (&new.id, None, Some("has another reference or another load than before")),
        (None, None) => return None,
    };
    let is_lost = pair.1.is_some() && change.is_none();
    Some(MeasurementChange { id: id.clone(), place: place.cloned(), change, reason, is_lost })
}

/// Returns the name of a verdict, or that there is none.
fn named(verdict: Option<VerdictKind>) -> &'static str {
    verdict.map_or("absent", VerdictKind::name)
}

/// Returns device and place, as far as an id does not tell them.
fn suffix(nic: Option<&str>, place: Option<&str>, several_nics: bool) -> String {
    let nic = nic.filter(|_| several_nics);
    let parts: Vec<&str> = nic.into_iter().chain(place).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

impl Comparison {
    /// Returns whether the changes are of several devices.
    fn has_several_nics(&self) -> bool {
        let nics = self.trials.iter().chain(&self.attach_semantics).filter_map(|change| change.nic.as_ref());
        nics.collect::<BTreeSet<_>>().len() > 1
    }
}
