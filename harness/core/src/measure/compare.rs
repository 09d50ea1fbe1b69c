//! Comparison of measurements with stored ones: ratio by ratio, and absolute figures only on the same
//! machine. Pure.

use crate::{
    measure::{
        judge_against_baseline,
        series::{Costs, series},
    },
    model::{
        judgement::{Change, Judgement, Tolerance},
        measurement::{Measurement, Quantity},
    },
};

/// Compares a measurement with the stored one of the same id.
#[must_use]
pub fn against(new: &Measurement, old: &Measurement, tolerance: Tolerance) -> Change {
    let logs = |measurement: &Measurement| series(&measurement.trials, false, Costs::Gross).logs();
    let judged = judge_against_baseline(&logs(new), &logs(old), tolerance, new.seed);
    // A figure that was in doubt when it was measured is no baseline.
    let doubted = [new, old].into_iter().find_map(|measurement| match &measurement.verdict {
        Some(verdict @ Judgement::Inconclusive { .. }) => Some(*verdict),
        _ => None,
    });
    let comparable = new.fingerprint == old.fingerprint && new.offered_pps == old.offered_pps;
    // Costs: lower is faster. Rates: higher is faster.
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

/// Returns every measurement of either side, by id: those of `new` in their order, then those that only `old`
/// has.
pub fn pairs<'a>(
    new: &'a [Measurement],
    old: &'a [Measurement],
) -> impl Iterator<Item = (Option<&'a Measurement>, Option<&'a Measurement>)> {
    let find = |measurements: &'a [Measurement], id: &str| measurements.iter().find(|its| its.id == id);
    let both = new.iter().map(move |its| (Some(its), find(old, &its.id)));
    let gone = old.iter().filter(move |its| find(new, &its.id).is_none()).map(|its| (None, Some(its)));
    both.chain(gone)
}

/// Returns true if a ratio means anything beyond its own run: the reference is the null program or another
/// place. A ratio to a version of a program is about these two only, and at an offered load every program
/// that keeps up has the same rate.
#[must_use]
pub fn is_comparable(new: &Measurement, old: &Measurement) -> bool {
    let same_reference = new.reference.tag == old.reference.tag;
    new.quantity == old.quantity
        && new.traffic == old.traffic
        && new.offered_pps == old.offered_pps
        && (same_reference || matches!(new.quantity, Quantity::NativeToGeneric | Quantity::SizeToSmallest))
}
