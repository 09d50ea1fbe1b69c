//! `xdproof compare`

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    path::PathBuf,
};

use clap::Args;
use serde::Serialize;

use super::args::{Exit, Failure, Output};
use crate::{
    measure::{
        Judgement, Tolerance,
        compare::{Change, against, is_comparable, pairs},
    },
    report::{
        console::Verbosity,
        json::{RunResult, TrialRecord},
        store,
    },
    verdict::VerdictKind,
};

#[derive(Debug, Args)]
pub(super) struct Compare {
    /// The result to compare with: a result.json, or the directory that it is in.
    old: PathBuf,
    /// The result that is compared.
    new: PathBuf,
    /// What two speeds may differ by and still be the same; the default is the new result's.
    #[arg(long, value_name = "SHARE")]
    tolerance: Option<Tolerance>,
}

/// What two results differ in.
#[derive(Debug, Default, Serialize)]
struct Differences {
    /// Trials that came out otherwise, or are in one result only.
    trials: Vec<TrialChange>,
    /// Measurements that both have, or one only.
    measurements: Vec<MeasurementChange>,
    /// How many trials both have.
    trials_compared: usize,
}

#[derive(Debug, Serialize)]
struct TrialChange {
    id: String,
    old: Option<VerdictKind>,
    new: Option<VerdictKind>,
    worse: bool,
}

#[derive(Debug, Serialize)]
struct MeasurementChange {
    id: String,
    /// What became of it, where both have it and it compares.
    change: Option<Change>,
    /// Why it does not compare.
    reason: Option<&'static str>,
    /// Whether it was there before, so that nobody can tell what became of it.
    #[serde(skip)]
    is_lost: bool,
}

impl Compare {
    pub(super) fn run(self, output: Output) -> Result<Exit, Failure> {
        let Self { old, new, tolerance } = self;
        let [old, new] = [old, new].map(|path| store::read_one(&path));
        let (old, new) = (old?, new?);
        let old_ids: BTreeSet<&String> = old.trials.iter().map(|trial| &trial.id).collect();
        let differences = Differences {
            trials: trials(&old, &new),
            measurements: measurements(&old, &new, tolerance),
            trials_compared: new.trials.iter().filter(|trial| old_ids.contains(&trial.id)).count(),
        };
        differences.print(output).map_err(Failure::output)?;
        if output.json {
            Output::print_json(&differences)?;
        }
        Ok(differences.exit())
    }
}

fn trials(old: &RunResult, new: &RunResult) -> Vec<TrialChange> {
    // An id is unique within a result.
    let by_id = |result: &RunResult| -> BTreeMap<String, VerdictKind> {
        result.trials.iter().map(|TrialRecord { id, verdict, .. }| (id.clone(), *verdict)).collect()
    };
    let (old, new) = (by_id(old), by_id(new));
    let mut ids: Vec<&String> = old.keys().chain(new.keys()).collect();
    ids.sort_unstable();
    ids.dedup();
    let change = |id: &String| {
        let (old, new) = (old.get(id).copied(), new.get(id).copied());
        let worse = new.is_some_and(VerdictKind::is_bad) && !old.is_some_and(VerdictKind::is_bad);
        // A trial that proved something, and is not there any more or proves nothing.
        let lost = old == Some(VerdictKind::Pass)
            && matches!(new, None | Some(VerdictKind::Skip | VerdictKind::Unreachable));
        (old != new).then(|| TrialChange { id: id.clone(), old, new, worse: worse || lost })
    };
    ids.into_iter().filter_map(change).collect()
}

fn measurements(old: &RunResult, new: &RunResult, tolerance: Option<Tolerance>) -> Vec<MeasurementChange> {
    pairs(&new.measurements, &old.measurements)
        .filter_map(|pair| {
            let (id, change, reason) = match pair {
                (Some(new), None) => (&new.id, None, Some("is new")),
                (None, Some(old)) => (&old.id, None, Some("was measured before, and is not any more")),
                // What was not measured then and is not now is no change.
                (Some(new), Some(old)) if new.unmeasured.is_some() && old.unmeasured.is_some() => {
                    return None;
                }
                (Some(new), Some(old)) if is_comparable(new, old) => {
                    (&new.id, Some(against(new, old, tolerance.unwrap_or(new.tolerance))), None)
                }
                (Some(new), Some(_)) => {
                    (&new.id, None, Some("is held against something else, or at another load, than before"))
                }
                (None, None) => return None,
            };
            let is_lost = pair.1.is_some() && change.is_none();
            Some(MeasurementChange { id: id.clone(), change, reason, is_lost })
        })
        .collect()
}

impl Differences {
    fn print(&self, output: Output) -> std::io::Result<()> {
        let mut to = output.people();
        for TrialChange { id, old, new, worse } in &self.trials {
            let name = |verdict: &Option<VerdictKind>| verdict.map_or("not there", VerdictKind::name);
            let mark = if *worse { "WORSE" } else { "changed" };
            writeln!(to, "{mark:12} {id}: {} -> {}", name(old), name(new))?;
        }
        for MeasurementChange { id, change, reason, is_lost: _ } in &self.measurements {
            match (change, reason) {
                (Some(change), _) => {
                    let name = change.verdict.name().to_uppercase();
                    if output.verbosity() >= Verbosity::Normal || change.is_slower() {
                        writeln!(to, "{name:12} {id}: {change}")?;
                    }
                }
                (None, Some(reason)) => writeln!(to, "{:12} {id} {reason}", "changed")?,
                (None, None) => {}
            }
        }
        let worse = self.trials.iter().filter(|change| change.worse).count();
        let slower = self.slower();
        writeln!(
            to,
            "{} trials compared: {} came out otherwise, {worse} of them worse; {} measurements compared: {slower} slower, {} \
             faster, {} cannot be told",
            self.trials_compared,
            self.trials.len(),
            self.measurements.iter().filter(|its| its.change.is_some()).count(),
            self.count(|verdict| *verdict == Judgement::Improved),
            self.count(|verdict| matches!(verdict, Judgement::Inconclusive { .. })),
        )
    }

    fn count(&self, wanted: impl Fn(&Judgement) -> bool) -> usize {
        let verdicts = self.measurements.iter().filter_map(|its| its.change.as_ref()).map(|its| &its.verdict);
        verdicts.filter(|verdict| wanted(verdict)).count()
    }

    fn slower(&self) -> usize {
        self.measurements.iter().filter(|its| its.change.as_ref().is_some_and(Change::is_slower)).count()
    }

    fn exit(&self) -> Exit {
        let worse = self.trials.iter().any(|change| change.worse) || self.slower() > 0;
        let compared =
            self.trials_compared + self.measurements.iter().filter(|its| its.change.is_some()).count();
        let doubtful = self.count(|verdict| matches!(verdict, Judgement::Inconclusive { .. }))
            + self.measurements.iter().filter(|its| its.is_lost).count();
        match (worse, compared == 0 || doubtful > 0) {
            (true, _) => Exit::Failed,
            (false, true) => Exit::Inconclusive,
            (false, false) => Exit::AsExpected,
        }
    }
}
