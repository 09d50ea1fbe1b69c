//! Today's measurements against stored ones: ratio by ratio, and absolute figures only on the same machine. Pure.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Estimate, Judgement, Tolerance,
    case::What,
    judge_against_baseline,
    record::{Costs, Measurement, series},
};

/// What became of a measurement since a stored one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// How the ratio compares, each being taken in its own run: today's over the stored one.
    pub ratio: Option<Estimate>,
    /// The verdict on it.
    pub verdict: Judgement,
    /// Today's speed over the stored one. Only where both were measured on the same machine, which is not to say that the
    /// machine was as fast.
    pub absolute: Option<f64>,
    /// The verdict on that; none in a virtual machine, whose speed is not its own from one run to the next.
    pub absolute_verdict: Option<Judgement>,
}

impl Change {
    /// Whether anything is slower than it may be.
    #[must_use]
    pub fn is_slower(&self) -> bool {
        self.verdict == Judgement::Regression || self.absolute_verdict == Some(Judgement::Regression)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ratio {
            Some(Estimate { ratio, interval, .. }) => {
                write!(f, "the ratio is {ratio:.3} times the baseline's ({interval})")?;
            }
            None => f.write_str("the ratio cannot be compared")?,
        }
        if let Judgement::Inconclusive { reason } = &self.verdict {
            write!(f, ": {reason}")?;
        }
        match (self.absolute, &self.absolute_verdict) {
            (Some(speed), Some(verdict)) => {
                write!(f, "; {speed:.3} times as fast as then: {}", verdict.name().to_uppercase())
            }
            (Some(speed), None) => {
                write!(
                    f,
                    "; {speed:.3} times as fast as then (not judged in a virtual machine, nor by a figure in doubt)"
                )
            }
            (None, _) => f.write_str("; absolute figures compare for one machine, program and load only"),
        }
    }
}

/// Holds a measurement against the stored one of the same id.
#[must_use]
pub fn against(new: &Measurement, old: &Measurement, tolerance: Tolerance) -> Change {
    let logs = |measurement: &Measurement| series(&measurement.trials, false, Costs::Gross).logs();
    let judged = judge_against_baseline(&logs(new), &logs(old), tolerance, new.seed);
    // A figure that was not believed when it was measured is nothing to judge by.
    let doubted = [new, old].into_iter().find_map(|measurement| match &measurement.verdict {
        Some(verdict @ Judgement::Inconclusive { .. }) => Some(*verdict),
        _ => None,
    });
    let comparable = new.fingerprint == old.fingerprint && new.offered_pps == old.offered_pps;
    // Costs: a lower one is faster. Rates: a higher one.
    let speeds = |measurement: &Measurement| -> Vec<f64> {
        let blocks = series(&measurement.trials, false, Costs::Gross).blocks;
        blocks.iter().map(|block| -f64::midpoint(block.subject[0], block.subject[1]).ln()).collect()
    };
    let absolute =
        comparable.then(|| judge_against_baseline(&speeds(new), &speeds(old), tolerance, new.seed));
    let is_real = !new.fingerprint.virtual_machine && doubted.is_none();
    Change {
        ratio: judged.estimate,
        verdict: doubted.unwrap_or(judged.verdict),
        absolute: absolute.and_then(|judged| Some(judged.estimate?.ratio)),
        absolute_verdict: absolute.filter(|_| is_real).map(|judged| judged.verdict),
    }
}

/// Every measurement of either, by id, and what became of it: those of `new` in their order, then what only `old` has.
pub fn pairs<'a>(
    new: &'a [Measurement],
    old: &'a [Measurement],
) -> impl Iterator<Item = (Option<&'a Measurement>, Option<&'a Measurement>)> {
    let find = |measurements: &'a [Measurement], id: &str| measurements.iter().find(|its| its.id == id);
    let both = new.iter().map(move |its| (Some(its), find(old, &its.id)));
    let gone = old.iter().filter(move |its| find(new, &its.id).is_none()).map(|its| (None, Some(its)));
    both.chain(gone)
}

/// Whether a ratio means anything beyond its own run: what is held against a program that does nothing, or one place
/// against another. What is held against a version of a program means something for these two only, and what was offered
/// less than goes comes out as fast as it was offered.
#[must_use]
pub fn is_comparable(new: &Measurement, old: &Measurement) -> bool {
    let same_reference = new.reference.tag == old.reference.tag;
    new.what == old.what
        && new.traffic == old.traffic
        && new.offered_pps == old.offered_pps
        && (same_reference || matches!(new.what, What::NativeToGeneric | What::SizeToSmallest))
}
