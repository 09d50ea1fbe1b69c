//! Trials and attach-semantics tests whose verdicts differ.

use std::collections::BTreeMap;

use xdproof_core::model::{RunResult, VerdictKind};

use crate::{
    comparison::{
        change::{ChangeKind, VerdictChange},
        sides::Places,
    },
    store::Keyed,
};

/// Place, device and id.
type ChangeKey = (Option<String>, Option<String>, String);

/// A verdict and its reason.
type ReasonedVerdict = (VerdictKind, Option<String>);

/// Returns the changes, and the number of keys in both sets.
pub(super) fn changes<T: Keyed>(
    [old, new]: [&[RunResult]; 2],
    tests: fn(&RunResult) -> &Vec<T>,
    places: &Places,
    whole: bool,
) -> (Vec<VerdictChange>, usize) {
    let [old, mut new] = [old, new].map(|results| outcomes(results, tests, places));
    let (mut changes, mut compared) = (Vec::new(), 0);
    for (key, olds) in old {
        let news = new.remove(&key).unwrap_or_default();
        // One compares with each of many; many compare with many by position.
        let at = |of: &[ReasonedVerdict], index: usize| match of {
            [one] => Some(one.clone()),
            many => many.get(index).cloned(),
        };
        for index in 0..olds.len().max(news.len()) {
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

/// Returns the outcomes of a set; several of one key if only one of the sets has several kernels or programs.
fn outcomes<T: Keyed>(
    results: &[RunResult],
    tests: fn(&RunResult) -> &Vec<T>,
    places: &Places,
) -> BTreeMap<ChangeKey, Vec<ReasonedVerdict>> {
    let mut outcomes = BTreeMap::<ChangeKey, Vec<ReasonedVerdict>>::new();
    for result in results {
        for test in tests(result) {
            let (nic, id) = test.key();
            let key = (places.place(result), nic.map(str::to_owned), id.to_owned());
            outcomes.entry(key).or_default().push((test.verdict(), test.reason().map(str::to_owned)));
        }
    }
    outcomes
}

fn change(
    (place, nic, id): &ChangeKey,
    old: Option<ReasonedVerdict>,
    new: Option<ReasonedVerdict>,
    whole: bool,
) -> Option<VerdictChange> {
    let [was, is] = [&old, &new].map(|outcome| outcome.as_ref().map(|(verdict, _)| *verdict));
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
