//! Findings that are in one set only.

use xdproof_core::model::{Finding, RunResult, Severity};

use crate::comparison::{
    change::{ChangeKind, FindingChange},
    sides::Places,
};

/// A finding and its place.
type Placed = (Option<String>, Finding);

pub(super) fn changes(sets: [&[RunResult]; 2], places: &Places) -> Vec<FindingChange> {
    let [mut old, mut new] = sets.map(|results| -> Vec<Placed> {
        let placed = |result: &RunResult, its: &Finding| (places.place(result), its.clone());
        results.iter().flat_map(|of| of.findings.iter().map(|its| placed(of, its))).collect()
    });
    // Equal findings are paired first, then those of one subject, whose numbers change from run to run.
    take_pairs(&mut old, &mut new, |a, b| a == b);
    let about = |(place, its): &Placed| (place.clone(), its.kind, its.nic.clone(), its.mode, its.severity);
    take_pairs(&mut old, &mut new, |a, b| about(a) == about(b));
    let change =
        |(place, finding), kind: ChangeKind| FindingChange { finding, place, kind, worse: kind.is_worse() };
    let gone = old.into_iter().map(|its| change(its, ChangeKind::Fixed));
    let came = new.into_iter().map(|its| {
        let is_fault = its.1.severity == Severity::Fault;
        change(its, if is_fault { ChangeKind::Regressed } else { ChangeKind::New })
    });
    gone.chain(came).collect()
}

/// Removes pairs of items that match.
fn take_pairs<T>(old: &mut Vec<T>, new: &mut Vec<T>, same: impl Fn(&T, &T) -> bool) {
    old.retain(|one| {
        let pair = new.iter().position(|other| same(one, other)).map(|index| new.remove(index));
        pair.is_none()
    });
}
