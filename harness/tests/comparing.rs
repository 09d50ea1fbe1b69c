//! Measurements against stored ones (`measure::compare`): what is found, what is not judged, and what does not compare.

#[path = "measurement/mod.rs"]
mod measurement;

use measurement::measurement;
use xdproof::{
    measure::compare::{against, is_comparable, pairs},
    model::{
        judgement::{Change, Contender, Inconclusive, Judgement, Tolerance, Void},
        measurement::{Fingerprint, Measurement, Quantity},
    },
};

fn costing(cost: f64) -> Measurement {
    measurement("path", 30, move |_| cost)
}

fn change(new: &Measurement, old: &Measurement) -> Change {
    against(new, old, Tolerance::VM)
}

#[test]
fn a_planted_change_is_found_with_its_size_and_direction() {
    for (cost, verdict) in [
        (100.0, Judgement::Pass),
        (104.0, Judgement::Pass),
        (110.0, Judgement::Regression),
        (90.0, Judgement::Improved),
    ] {
        let found = change(&costing(cost), &costing(100.0));
        assert_eq!(found.verdict, verdict, "{cost}");
        let (ratio, absolute) = (found.ratio.unwrap().ratio, found.absolute.unwrap());
        assert!((ratio - 100.0 / cost).abs() < 1e-9, "{cost}: {ratio}");
        assert!((absolute - 100.0 / cost).abs() < 1e-9, "{cost}: {absolute}");
        assert_eq!(found.absolute_verdict, Some(verdict), "{cost}");
        assert_eq!(found.is_slower(), verdict == Judgement::Regression);
    }
}

#[test]
fn noise_is_inconclusive() {
    let noise = measurement("path", 30, |block| if block % 2 == 0 { 80.0 } else { 125.0 });
    let found = change(&noise, &costing(100.0));
    assert!(matches!(found.verdict.reason(), Some(Inconclusive::TooWide { .. })), "{found:?}");
    assert!(!found.is_slower());
}

#[test]
fn too_few_blocks_on_either_side_are_inconclusive() {
    let few = measurement("path", 19, |_| 150.0);
    for (new, old, series) in
        [(&few, &costing(100.0), Contender::Subject), (&costing(100.0), &few, Contender::Baseline)]
    {
        let reason = change(new, old).verdict.reason();
        assert_eq!(reason, Some(Inconclusive::TooFewBlocks { series, blocks: 19 }));
    }
}

#[test]
fn what_was_not_believed_when_it_was_measured_is_nothing_to_judge_by() {
    let reason = Inconclusive::TooManyVoid { series: Contender::Control, void_blocks: 20, blocks: 30 };
    let doubted = Measurement { verdict: Some(Judgement::Inconclusive { reason }), ..costing(150.0) };
    for (new, old) in [(&doubted, &costing(100.0)), (&costing(100.0), &doubted)] {
        let found = change(new, old);
        assert_eq!(found.verdict.reason(), Some(reason));
        assert_eq!(found.absolute_verdict, None);
        assert!(!found.is_slower());
    }
}

#[test]
fn void_blocks_are_not_compared() {
    let mut new = measurement("path", 60, |block| if block < 30 { 100.0 } else { 200.0 });
    for trial in new.trials.iter_mut().filter(|trial| trial.block >= 30) {
        trial.void = Some(Void::Softnet { dropped: 1 });
    }
    assert_eq!(change(&new, &costing(100.0)).verdict, Judgement::Pass);
}

#[test]
fn another_machine_program_or_load_has_no_absolute_figure() {
    let old = costing(100.0);
    let fingerprints = [
        Fingerprint { kernel: "6.2".to_owned(), ..old.fingerprint.clone() },
        Fingerprint { program: "another".to_owned(), ..old.fingerprint.clone() },
        Fingerprint { cpus: 4, ..old.fingerprint.clone() },
    ];
    let others = fingerprints.map(|fingerprint| Measurement { fingerprint, ..costing(150.0) });
    let paced = Measurement { offered_pps: Some(1e6), ..costing(150.0) };
    for new in others.into_iter().chain([paced]) {
        let found = change(&new, &old);
        assert_eq!((found.absolute, found.absolute_verdict), (None, None));
        assert!(found.to_string().contains("compare for one machine"), "{found}");
        // The ratio is another matter.
        assert_eq!(found.verdict, Judgement::Regression);
    }
}

#[test]
fn in_a_virtual_machine_an_absolute_figure_is_shown_and_not_judged() {
    // Both programs got slower alike: the ratio is what it was.
    let slow_machine = |mut measurement: Measurement, slower: f64| {
        measurement.fingerprint.virtual_machine = true;
        measurement.trials.iter_mut().for_each(|trial| trial.ns_per_frame *= slower);
        measurement
    };
    let found = change(&slow_machine(costing(100.0), 2.0), &slow_machine(costing(100.0), 1.0));
    assert_eq!((found.verdict, found.absolute_verdict), (Judgement::Pass, None));
    assert!((found.absolute.unwrap() - 0.5).abs() < 1e-9);
    assert!(!found.is_slower());
    assert!(found.to_string().contains("0.500 times as fast as then (not judged"), "{found}");
    // On a machine of one's own it is.
    let mut slow = costing(100.0);
    slow.trials.iter_mut().for_each(|trial| trial.ns_per_frame *= 2.0);
    let found = change(&slow, &costing(100.0));
    assert_eq!((found.verdict, found.absolute_verdict), (Judgement::Pass, Some(Judgement::Regression)));
    assert!(found.is_slower());
}

#[test]
fn new_and_vanished_ids_are_paired_with_nothing() {
    let of =
        |ids: &[&str]| -> Vec<Measurement> { ids.iter().map(|id| measurement(id, 0, |_| 1.0)).collect() };
    let (new, old) = (of(&["new", "both"]), of(&["gone", "both"]));
    let ids: Vec<_> =
        pairs(&new, &old).map(|(new, old)| [new, old].map(|its| its.map(|its| its.id.as_str()))).collect();
    assert_eq!(ids, [[Some("new"), None], [Some("both"), Some("both")], [None, Some("gone")]]);
}

#[test]
fn what_is_held_against_another_program_or_at_another_load_does_not_compare() {
    let old = costing(100.0);
    assert!(is_comparable(&costing(150.0), &old));
    let mut reference = costing(100.0);
    reference.reference.tag = "another".to_owned();
    let traffic = Measurement { traffic: "imix".to_owned(), ..costing(100.0) };
    let load = Measurement { offered_pps: Some(1e6), ..costing(100.0) };
    let quantity = Measurement { quantity: Quantity::SizeToSmallest, ..costing(100.0) };
    for new in [&reference, &traffic, &load, &quantity] {
        assert!(!is_comparable(new, &old), "{new:?}");
    }
    // One place against another: both are of the program under test, whatever became of it.
    let place = |mut measurement: Measurement| {
        measurement.quantity = Quantity::NativeToGeneric;
        measurement
    };
    assert!(is_comparable(&place(reference), &place(old)));
}
