//! A trial that agrees with its expectation, for the tests of single checks.

use std::collections::{BTreeMap, BTreeSet};

use xdproof_scenarios::Spread;

use crate::{
    judge::checks::ALL,
    model::{
        ArrivalOrder, Counts, ExpectationSource, ExpectedTotals, FrameSequence, Mismatch, Observation, Sink,
        TrialExpectation,
    },
};

/// Three UDP frames that pass and one that is dropped, and the observation that agrees.
pub(in crate::judge) fn agreeing() -> (TrialExpectation, Observation) {
    let frames = BTreeMap::from([(Sink::Stack, FrameSequence::from_iter([([1, 2, 3], 3)]))]);
    let expected = TrialExpectation {
        totals: ExpectedTotals {
            source: ExpectationSource::Both,
            counts: Some(Counts::from([(17, 3)])),
            frames: [(Sink::Stack, 3), (Sink::Nowhere, 1)].into(),
        },
        frames: frames.clone(),
        unobservable: BTreeMap::new(),
        verdicts: BTreeSet::from([1, 2]),
        spread: Spread::default(),
    };
    let observed = Observation {
        sent: 4,
        ran: 4,
        per_cpu: Some(vec![Counts::from([(17, 1)]), Counts::from([(17, 2)])]),
        frames,
        order: ArrivalOrder::PerEtherType,
        closed: Some(true),
        ..Observation::default()
    };
    (expected, observed)
}

/// The mismatches that a check finds when expectation and observation are changed.
pub(in crate::judge) fn found_by(
    name: &str,
    change: impl FnOnce(&mut TrialExpectation, &mut Observation),
) -> Vec<Mismatch> {
    let (mut expected, mut observed) = agreeing();
    change(&mut expected, &mut observed);
    let check = ALL.iter().find(|check| check.0 == name).unwrap();
    let found = check.run(&expected, &observed);
    assert!(found.iter().all(|mismatch| mismatch.check.to_string() == name));
    found
}

#[test]
fn no_check_finds_anything_where_all_is_well() {
    for check in ALL {
        assert_eq!(found_by(check.0, |_, _| {}), [], "{}", check.0);
    }
}

#[test]
fn every_check_has_an_id_of_its_own() {
    let ids: BTreeSet<_> = ALL.iter().map(|check| check.0).collect();
    assert_eq!(ids.len(), ALL.len());
}
