//! Two sets of results against each other: what broke, what was mended, what is new, what is gone, what became slower. Pure.
//!
//! What differs between the sets (a kernel, a driver's version, a program) must not keep trials from being held against each
//! other. So a trial is known by its device and its id, and by kernel and program only where both sides have several.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use schemars::JsonSchema;
use serde::Serialize;

use xdproof_core::model::{
    finding::{Finding, Severity},
    result::{Collection, RunResult},
};
use xdproof_core::{
    measure::compare::{against, is_comparable, pairs},
    model::{
        device::PortRole,
        judgement::{Change, Judgement, Tolerance},
        measurement::Measurement,
        verdict::VerdictKind,
    },
};

use crate::{cases::kind_name, console::several, store};

mod html;
mod markdown;
mod text;

pub use crate::comparison::html::write as write_html;
pub use crate::comparison::markdown::write as write_markdown;
pub use crate::comparison::text::write as write_text;

/// The version of the form that programs get.
pub const SCHEMA: &str = "xdproof.comparison/1";

/// What two sets of results differ in.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Comparison {
    /// The form's version.
    pub schema: &'static str,
    /// What was compared with.
    pub old: Side,
    /// What was compared.
    pub new: Side,
    /// Trials that came out otherwise, or are in one set only.
    pub trials: Vec<VerdictChange>,
    /// Trials that both have.
    pub trials_compared: usize,
    /// Rules of attaching, likewise.
    pub rules: Vec<VerdictChange>,
    /// Rules of attaching that both have.
    pub rules_compared: usize,
    /// Findings that one set has only.
    pub findings: Vec<FindingChange>,
    /// Measurements that both have, or one only.
    pub measurements: Vec<MeasurementChange>,
    /// What the new set lacks to be whole, so that what is not in it has not vanished.
    pub lacking: Vec<String>,
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

/// What became of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It is as it has to be, and was not.
    Mended,
    /// It was not there before, and is as it has to be.
    New,
    /// It came out otherwise, and neither is worse.
    Changed,
    /// It is not there any more, and nobody can tell why.
    Missing,
    /// It is not there any more, or proves nothing any more.
    Vanished,
    /// It is not as it has to be, and was, or was not there.
    Broke,
}

impl Fate {
    /// The word for it; in capitals for what is worse.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mended => "mended",
            Self::New => "new",
            Self::Changed => "changed",
            Self::Missing => "missing",
            Self::Vanished => "VANISHED",
            Self::Broke => "BROKE",
        }
    }

    fn is_worse(self) -> bool {
        matches!(self, Self::Vanished | Self::Broke)
    }
}

/// A trial or a rule that came out otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct VerdictChange {
    /// Its id.
    pub id: String,
    /// Its device; none where there is no device.
    pub nic: Option<String>,
    /// Kernel and program, where both sets have several.
    pub place: Option<String>,
    /// How it came out before; none where it was not there.
    pub old: Option<VerdictKind>,
    /// How it comes out now; none where it is not there.
    pub new: Option<VerdictKind>,
    /// What that means.
    pub fate: Fate,
    /// Whether it got worse.
    pub worse: bool,
    /// Why it came out as it does now, or did before if it is not there now.
    pub reason: Option<String>,
}

/// A finding that one set has only, or that weighs otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FindingChange {
    /// The finding.
    pub finding: Finding,
    /// Kernel and program, where both sets have several.
    pub place: Option<String>,
    /// [`Fate::New`], [`Fate::Broke`] for a fault, [`Fate::Mended`] for what is gone.
    pub fate: Fate,
    /// Whether it got worse.
    pub worse: bool,
}

/// A measurement that both sets have, or one only.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MeasurementChange {
    /// Its id.
    pub id: String,
    /// Kernel and program, where both sets have several.
    pub place: Option<String>,
    /// What became of it, where both have it and it compares.
    pub change: Option<Change>,
    /// Why it does not compare.
    pub reason: Option<&'static str>,
    /// Whether it was there before, so that nobody can tell what became of it.
    #[serde(skip)]
    is_lost: bool,
}

impl MeasurementChange {
    /// What the change is, in a word: in capitals, as the measuring rules say.
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

    /// Whether it is the same as before, by the measuring rules.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.is(|verdict| *verdict == Judgement::Pass) && !self.is_slower()
    }

    /// Whether it is slower than it may be.
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

/// How a comparison ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// Nothing got worse.
    AsExpected,
    /// Something did.
    Worse,
    /// It cannot be told.
    Inconclusive,
}

impl Comparison {
    /// Compares. `tolerance` is what two speeds may differ by and still be the same; none: what the new measurement says.
    #[must_use]
    pub fn of(old: &Collection, new: &Collection, tolerance: Option<Tolerance>) -> Self {
        let lacking = lacking(new);
        let places = Places::of(&old.results, &new.results);
        let trials = |results: &'_ [RunResult]| -> Table {
            let mut table = Table::default();
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
        let rules = |results: &'_ [RunResult]| -> Table {
            let mut table = Table::default();
            for result in results {
                for rule in &result.attach_semantics {
                    table.add(&places, result, Some(&rule.nic), &rule.id, rule.verdict, rule.reason.as_ref());
                }
            }
            table
        };
        let whole = lacking.is_empty();
        let (trials, trials_compared) = trials(&old.results).against(trials(&new.results), whole);
        let (rules, rules_compared) = rules(&old.results).against(rules(&new.results), whole);
        Self {
            schema: SCHEMA,
            old: Side::of(&old.results),
            new: Side::of(&new.results),
            trials,
            trials_compared,
            rules,
            rules_compared,
            findings: findings(&places, old, new),
            measurements: measurements(&places, old, new, tolerance),
            lacking,
        }
    }

    /// Trials and rules that came out otherwise, what got worse last.
    pub fn verdicts(&self) -> impl Iterator<Item = &VerdictChange> {
        let both = || self.trials.iter().chain(&self.rules);
        both().filter(|change| !change.worse).chain(both().filter(|change| change.worse))
    }

    /// How it ends. Only what got worse fails; where nothing compares, or a figure is in doubt or gone, it cannot be told.
    #[must_use]
    pub fn conclusion(&self) -> Conclusion {
        let worse = self.worse() > 0;
        let compared = self.trials_compared + self.rules_compared + self.rates_compared();
        let lost = self.measurements.iter().filter(|its| its.is_lost).count();
        let missing = self.verdicts().filter(|change| change.fate == Fate::Missing).count();
        match (worse, compared == 0 || self.doubtful() + lost + missing > 0) {
            (true, _) => Conclusion::Worse,
            (false, true) => Conclusion::Inconclusive,
            (false, false) => Conclusion::AsExpected,
        }
    }

    /// How much got worse.
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

    /// The verdict in a few words.
    #[must_use]
    pub fn headline(&self) -> String {
        match self.conclusion() {
            Conclusion::AsExpected => "Nothing got worse".to_owned(),
            Conclusion::Worse => format!("{} got worse", several(self.worse(), "thing")),
            Conclusion::Inconclusive => "It cannot be told".to_owned(),
        }
    }

    /// What was compared, and what came of it, on one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let worse = self.trials.iter().filter(|change| change.worse).count();
        let mut text = format!(
            "{} compared: {} came out otherwise, {worse} of them worse",
            several(self.trials_compared, "trial"),
            self.trials.len()
        );
        if self.rules_compared + self.rules.len() > 0 {
            let worse = self.rules.iter().filter(|change| change.worse).count();
            text.push_str(&format!(
                "; {} compared: {} otherwise, {worse} worse",
                several(self.rules_compared, "rule"),
                self.rules.len()
            ));
        }
        if !self.findings.is_empty() {
            let gone = self.findings.iter().filter(|change| change.fate == Fate::Mended).count();
            text.push_str(&format!("; findings: {} new, {gone} gone", self.findings.len() - gone));
        }
        text.push_str(&format!(
            "; {} compared: {} slower, {} faster, {} cannot be told",
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

/// What a collection lacks to be whole.
fn lacking(collection: &Collection) -> Vec<String> {
    let mut lacking: Vec<String> = store::missing(collection).iter().map(ToString::to_string).collect();
    for result in &collection.results {
        if result.summary.not_run > 0 {
            lacking.push(format!(
                "{}: {} never begun",
                kernel(result),
                several(result.summary.not_run, "trial")
            ));
        }
    }
    let broken = collection.infrastructure_failures.iter().filter(|breakdown| !breakdown.recovered);
    lacking.extend(broken.map(|breakdown| format!("{}: {}", breakdown.cell, breakdown.message)));
    lacking
}

/// What tells results of one set apart: kernel and program, where both sets have several.
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

/// Verdicts by what they are of. There are several of one where a set has several kernels or programs and the other has not.
#[derive(Default)]
struct Table(BTreeMap<Key, Vec<(VerdictKind, Option<String>)>>);

impl Table {
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

    /// What came out otherwise, and how many both have.
    fn against(self, new: Self, whole: bool) -> (Vec<VerdictChange>, usize) {
        let (Self(old), Self(mut new)) = (self, new);
        let mut changes = Vec::new();
        let mut compared = 0;
        for (key, olds) in old {
            let news = new.remove(&key).unwrap_or_default();
            // The one is held against each of the many; of many and many, each against that in its place.
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
    let fate = fate(was, is, whole)?;
    let reason = new.or(old).and_then(|(_, reason)| reason);
    let (place, nic, id) = (place.clone(), nic.clone(), id.clone());
    Some(VerdictChange { id, nic, place, old: was, new: is, fate, worse: fate.is_worse(), reason })
}

/// What it means that something came out so and so; none where it came out as before.
fn fate(old: Option<VerdictKind>, new: Option<VerdictKind>, whole: bool) -> Option<Fate> {
    if old == new {
        return None;
    }
    let proves = |verdict: VerdictKind| matches!(verdict, VerdictKind::Pass | VerdictKind::Xfail);
    Some(match (old, new) {
        (old, Some(new)) if new.is_bad() && !old.is_some_and(VerdictKind::is_bad) => Fate::Broke,
        (None, Some(_)) => Fate::New,
        (Some(old), Some(new)) if old.is_bad() && proves(new) => Fate::Mended,
        (Some(_), None) if !whole => Fate::Missing,
        // It proved something, and does not any more.
        (Some(VerdictKind::Pass), new) if !new.is_some_and(proves) => Fate::Vanished,
        _ => Fate::Changed,
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
    // What is the same word by word goes first; then what is about the same, for numbers in it change from run to run.
    take_pairs(&mut old, &mut new, |a, b| a == b);
    let about = |its: &(Option<String>, Finding)| {
        (its.0.clone(), its.1.kind, its.1.nic.clone(), its.1.mode, its.1.severity)
    };
    take_pairs(&mut old, &mut new, |a, b| about(a) == about(b));
    let gone = old.into_iter().map(|(place, finding)| FindingChange {
        finding,
        place,
        fate: Fate::Mended,
        worse: false,
    });
    let came = new.into_iter().map(|(place, finding)| {
        let fate = if finding.severity == Severity::Fault { Fate::Broke } else { Fate::New };
        FindingChange { finding, place, fate, worse: fate.is_worse() }
    });
    gone.chain(came).collect()
}

/// Takes out what has a match on the other side, each once.
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
        (None, Some(old)) => (&old.id, None, Some("was measured before, and is not any more")),
        // What was not measured then and is not now is no change.
        (Some(new), Some(old)) if new.unmeasured.is_some() && old.unmeasured.is_some() => return None,
        (Some(new), Some(old)) if is_comparable(new, old) => {
            (&new.id, Some(against(new, old, tolerance.unwrap_or(new.tolerance))), None)
        }
        (Some(new), Some(_)) => {
            (&new.id, None, Some("is held against something else, or at another load, than before"))
        }
        (None, None) => return None,
    };
    let is_lost = pair.1.is_some() && change.is_none();
    Some(MeasurementChange { id: id.clone(), place: place.cloned(), change, reason, is_lost })
}

/// How a verdict reads, or that there is none.
fn named(verdict: Option<VerdictKind>) -> &'static str {
    verdict.map_or("not there", VerdictKind::name)
}

/// Where something is that is named by its id: device and place, where ids do not tell.
fn suffix(nic: Option<&str>, place: Option<&str>, several_nics: bool) -> String {
    let nic = nic.filter(|_| several_nics);
    let parts: Vec<&str> = nic.into_iter().chain(place).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

impl Comparison {
    /// Whether changes are of several devices, so that each has to say which.
    fn has_several_nics(&self) -> bool {
        let nics = self.trials.iter().chain(&self.rules).filter_map(|change| change.nic.as_ref());
        nics.collect::<BTreeSet<_>>().len() > 1
    }
}
