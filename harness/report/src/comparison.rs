//! Compares two sets of results: regressions, fixes, lost and new trials, slower and faster measurements. Pure.
//!
//! The sets usually differ in a kernel, a driver version or a program, and trials must compare all the same. A trial is therefore
//! identified by device and id, and by kernel and program only if both sides have several.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use xdproof_core::model::{Collection, Tolerance};

use crate::{
    comparison::sides::{Places, incomplete},
    terminal_style::several,
};

mod change;
mod findings;
mod html;
mod markdown;
mod measurements;
mod sides;
mod tables;
mod text;
mod verdicts;

pub use crate::comparison::change::{ChangeKind, FindingChange, MeasurementChange, VerdictChange};
pub use crate::comparison::html::write as write_html;
pub use crate::comparison::markdown::write as write_markdown;
pub use crate::comparison::sides::Side;
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
        let sets = [old.results.as_slice(), &new.results];
        let (places, whole) = (Places::of(sets), incomplete.is_empty());
        let (trials, trials_compared) = verdicts::changes(sets, |its| &its.trials, &places, whole);
        let (attach_semantics, attach_semantics_compared) =
            verdicts::changes(sets, |its| &its.attach_semantics, &places, whole);
        Self {
            schema: SCHEMA,
            old: Side::of(&old.results),
            new: Side::of(&new.results),
            trials,
            trials_compared,
            attach_semantics,
            attach_semantics_compared,
            findings: findings::changes(sets, &places),
            measurements: measurements::changes(sets, &places, tolerance),
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
        let rates = self.rates(|its| its.change.is_some());
        let compares = self.trials_compared + self.attach_semantics_compared + rates > 0;
        let in_doubt = self.measurements.iter().any(|its| its.is_lost || its.is_doubtful())
            || self.verdicts().any(|change| change.kind == ChangeKind::Missing);
        match (worse, !compares || in_doubt) {
            (true, _) => ComparisonOutcome::Worse,
            (false, true) => ComparisonOutcome::Inconclusive,
            (false, false) => ComparisonOutcome::AsExpected,
        }
    }

    /// Returns how many trials, tests, findings and measurements got worse.
    #[must_use]
    pub fn worse(&self) -> usize {
        let findings = self.findings.iter().filter(|change| change.worse).count();
        let verdicts = self.verdicts().filter(|change| change.worse).count();
        verdicts + findings + self.rates(MeasurementChange::is_slower)
    }

    /// Returns the number of measurements that are so.
    fn rates(&self, are: impl Fn(&MeasurementChange) -> bool) -> usize {
        self.measurements.iter().filter(|its| are(its)).count()
    }

    /// Returns whether the changes are of several devices.
    fn has_several_nics(&self) -> bool {
        let nics: BTreeSet<_> = self.verdicts().filter_map(|change| change.nic.as_ref()).collect();
        nics.len() > 1
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
        let tests = |compared: usize, noun, changes: &[VerdictChange]| {
            let worse = changes.iter().filter(|change| change.worse).count();
            format!("{} compared: {} changed, {worse} worse", several(compared, noun), changes.len())
        };
        let mut parts = vec![tests(self.trials_compared, "trial", &self.trials)];
        if self.attach_semantics_compared + self.attach_semantics.len() > 0 {
            parts.push(tests(
                self.attach_semantics_compared,
                "attach-semantics test",
                &self.attach_semantics,
            ));
        }
        if !self.findings.is_empty() {
            let gone = self.findings.iter().filter(|change| change.kind == ChangeKind::Fixed).count();
            parts.push(format!("findings: {} new, {gone} gone", self.findings.len() - gone));
        }
        parts.push(format!(
            "{} compared: {} slower, {} faster, {} inconclusive",
            several(self.rates(|its| its.change.is_some()), "measurement"),
            self.rates(MeasurementChange::is_slower),
            self.rates(MeasurementChange::is_faster),
            self.rates(MeasurementChange::is_doubtful)
        ));
        parts.join("; ")
    }
}
