//! The judge: holds what was observed against what had to be observed. Pure.

use xdproof_scenarios::{Expectation, Spread};

use crate::model::{
    expectation::Expected,
    mismatch::Mismatch,
    observation::{Observation, side_by_side},
    verdict::Verdict,
};

/// `XDP_DROP` and `XDP_PASS` (include/uapi/linux/bpf.h): the answers that a counter gives.
const LEGAL_ANSWERS: [u32; 2] = [1, 2];

/// Judges a trial that ran. `deviation` is the reason of the deviation that is declared for it, if there is one.
#[must_use]
pub fn judge(expected: &Expected, observed: &Observation, deviation: Option<&str>) -> Verdict {
    let mismatches = compare(expected, observed);
    match (mismatches.is_empty(), deviation) {
        (true, None) => Verdict::Pass,
        (true, Some(reason)) => Verdict::Fail(vec![Mismatch::NoDeviation { reason: reason.to_owned() }]),
        (false, Some(reason)) if mismatches.iter().all(Mismatch::is_excusable) => {
            Verdict::Xfail { reason: reason.to_owned(), mismatches }
        }
        (false, _) => Verdict::Fail(mismatches),
    }
}

fn compare(expected: &Expected, observed: &Observation) -> Vec<Mismatch> {
    let mut found = Vec::new();
    if observed.sent != observed.ran {
        found.push(Mismatch::Conservation { sent: observed.sent, ran: observed.ran });
    }
    let Expectation { counts, passed, dropped } = &expected.numbers;
    let counted = observed.counts();
    for (protocol, expected, observed) in side_by_side(counts, &counted) {
        if expected != observed {
            found.push(Mismatch::Count { protocol: *protocol, expected, observed });
        }
    }
    let seen_passed = passed.saturating_sub(expected.undecided_passed);
    if seen_passed != observed.passed() {
        found.push(Mismatch::Passed { expected: seen_passed, observed: observed.passed() });
    }
    let seen_dropped = dropped.saturating_sub(expected.undecided_dropped);
    if seen_dropped != observed.dropped() {
        found.push(Mismatch::Dropped { expected: seen_dropped, observed: observed.dropped() });
    }
    for (&action, &times) in observed.answers.iter().filter(|(action, _)| !LEGAL_ANSWERS.contains(action)) {
        found.push(Mismatch::Answer { action, times });
    }
    for (bytes, &times) in &observed.returned {
        found.push(Mismatch::Returned { hex: hex::encode(bytes), times });
    }
    for (bytes, expected, observed) in side_by_side(&expected.passed, &observed.passed) {
        if expected > observed {
            found.push(Mismatch::Missing { hex: hex::encode(bytes), times: expected - observed });
        }
        if expected < observed {
            found.push(Mismatch::Unexpected { hex: hex::encode(bytes), times: observed - expected });
        }
    }
    if observed.closed == Some(false) {
        found.push(Mismatch::NotClosed);
    }
    found.extend(not_spread(expected.spread, observed));
    found
}

/// In what the frames were not spread as they had to be.
fn not_spread(spread: Spread, observed: &Observation) -> Vec<Mismatch> {
    let Spread { cpus, queues } = spread;
    let mut found = Vec::new();
    if cpus {
        let counted = |cpu: usize| observed.per_cpu.get(cpu).is_some_and(|counts| !counts.is_empty());
        found
            .extend(observed.cpus.iter().filter(|&&cpu| !counted(cpu)).map(|&cpu| Mismatch::IdleCpu { cpu }));
    }
    if let Some(queues) = queues {
        let least = queues.saturating_sub(1);
        let seen: Vec<u8> = observed.queues.keys().copied().collect();
        if u32::try_from(seen.len()).is_ok_and(|seen| seen < least) {
            found.push(Mismatch::NotSpread { least, queues: seen });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{
        observation::{Counts, Frames},
        verdict::VerdictKind,
    };

    #[test]
    fn maps_are_walked_side_by_side() {
        let walk = |left: &[(u8, u64)], right: &[(u8, u64)]| {
            let [left, right] = [left, right].map(|map| Counts::from_iter(map.iter().copied()));
            side_by_side(&left, &right).map(|(key, left, right)| (*key, left, right)).collect::<Vec<_>>()
        };
        assert_eq!(walk(&[], &[]), []);
        assert_eq!(walk(&[(1, 5)], &[]), [(1, 5, 0)]);
        assert_eq!(walk(&[], &[(1, 5)]), [(1, 0, 5)]);
        assert_eq!(
            walk(&[(1, 2), (4, 1), (6, 7)], &[(0, 3), (4, 9), (5, 8), (9, 1)]),
            [(0, 0, 3), (1, 2, 0), (4, 1, 9), (5, 0, 8), (6, 7, 0), (9, 0, 1)]
        );
    }

    /// Three UDP frames and one that is dropped, and the observation that agrees.
    fn agreeing() -> (Expected, Observation) {
        let frames = Frames::from([(vec![1, 2, 3], 3)]);
        let expected = Expected {
            numbers: Expectation { counts: Counts::from([(17, 3)]), passed: 3, dropped: 1 },
            passed: frames.clone(),
            undecided_passed: 0,
            undecided_dropped: 0,
            spread: Spread::default(),
        };
        let observed = Observation {
            sent: 4,
            ran: 4,
            per_cpu: vec![Counts::from([(17, 1)]), Counts::from([(17, 2)])],
            passed: frames,
            closed: Some(true),
            ..Observation::default()
        };
        (expected, observed)
    }

    /// What is found when the agreeing observation is changed.
    fn after(change: impl FnOnce(&mut Observation)) -> Vec<Mismatch> {
        let (expected, mut observed) = agreeing();
        change(&mut observed);
        match judge(&expected, &observed, None) {
            Verdict::Fail(mismatches) => mismatches,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn agreement_passes() {
        let (expected, observed) = agreeing();
        assert_eq!(judge(&expected, &observed, None), Verdict::Pass);
    }

    #[test]
    fn one_packet_too_few_too_many_or_elsewhere_fails() {
        let too_few = after(|seen| seen.per_cpu[0].clear());
        assert_eq!(too_few, [Mismatch::Count { protocol: 17, expected: 3, observed: 2 }]);
        let elsewhere = after(|seen| seen.per_cpu[0] = Counts::from([(6, 1)]));
        assert_eq!(
            elsewhere,
            [
                Mismatch::Count { protocol: 6, expected: 0, observed: 1 },
                Mismatch::Count { protocol: 17, expected: 3, observed: 2 },
            ]
        );
    }

    #[test]
    fn a_damaged_frame_fails_although_the_numbers_agree() {
        let found = after(|seen| seen.passed = Frames::from([(vec![1, 2, 3], 2), (vec![1, 2, 4], 1)]));
        assert_eq!(
            found,
            [
                Mismatch::Missing { hex: "010203".to_owned(), times: 1 },
                Mismatch::Unexpected { hex: "010204".to_owned(), times: 1 },
            ]
        );
    }

    #[test]
    fn a_frame_that_is_dropped_instead_of_passed_fails() {
        let found = after(|seen| seen.passed = Frames::from([(vec![1, 2, 3], 2)]));
        assert!(found.contains(&Mismatch::Passed { expected: 3, observed: 2 }));
        assert!(found.contains(&Mismatch::Dropped { expected: 1, observed: 2 }));
    }

    #[test]
    fn what_nobody_can_see_is_neither_missing_nor_dropped() {
        let (mut expected, mut observed) = agreeing();
        observed.passed = Frames::from([(vec![1, 2, 3], 2)]);
        (expected.passed, expected.undecided_passed, observed.undecided) = (observed.passed.clone(), 1, 1);
        assert_eq!(judge(&expected, &observed, None), Verdict::Pass);
        (expected.undecided_dropped, observed.undecided) = (1, 2);
        assert_eq!(judge(&expected, &observed, None), Verdict::Pass);
        observed.undecided = 0;
        assert_eq!(judge(&expected, &observed, None).kind(), VerdictKind::Fail);
    }

    #[test]
    fn an_answer_that_no_counter_gives_fails_although_the_numbers_agree() {
        let found = after(|seen| seen.answers = BTreeMap::from([(1, 1), (2, 2), (3, 1)]));
        assert_eq!(found, [Mismatch::Answer { action: 3, times: 1 }]);
        let (expected, mut observed) = agreeing();
        observed.answers = BTreeMap::from([(1, 1), (2, 3)]);
        assert_eq!(judge(&expected, &observed, None), Verdict::Pass);
    }

    #[test]
    fn a_frame_that_comes_back_fails() {
        let found = after(|seen| seen.returned = Frames::from([(vec![1], 2)]));
        assert_eq!(found, [Mismatch::Returned { hex: "01".to_owned(), times: 2 }]);
    }

    #[test]
    fn a_declared_deviation_excuses_no_lost_frame() {
        let (expected, mut observed) = agreeing();
        observed.ran = 3;
        assert_eq!(judge(&expected, &observed, Some("driver pads")).kind(), VerdictKind::Fail);
    }

    #[test]
    fn lost_and_foreign_frames_break_conservation() {
        assert!(after(|seen| seen.ran = 3).contains(&Mismatch::Conservation { sent: 4, ran: 3 }));
        assert!(after(|seen| seen.ran = 5).contains(&Mismatch::Conservation { sent: 4, ran: 5 }));
    }

    #[test]
    fn a_cpu_that_had_a_turn_and_counted_nothing_fails() {
        let (mut expected, mut observed) = agreeing();
        expected.spread.cpus = true;
        observed.cpus = vec![0, 1];
        assert_eq!(judge(&expected, &observed, None), Verdict::Pass);
        observed.per_cpu = vec![Counts::new(), Counts::from([(17, 3)])];
        let verdict = judge(&expected, &observed, None);
        assert_eq!(verdict.mismatches(), [Mismatch::IdleCpu { cpu: 0 }]);
        observed.cpus = vec![1, 2];
        let verdict = judge(&expected, &observed, None);
        assert_eq!(verdict.mismatches(), [Mismatch::IdleCpu { cpu: 2 }]);
    }

    #[test]
    fn frames_that_leave_more_than_one_queue_out_are_not_spread() {
        let (mut expected, mut observed) = agreeing();
        expected.spread.queues = Some(4);
        observed.queues = Counts::from([(0, 1), (1, 2), (3, 3)]);
        assert_eq!(judge(&expected, &observed, None), Verdict::Pass);
        observed.queues.remove(&0);
        let verdict = judge(&expected, &observed, None);
        assert_eq!(verdict.mismatches(), [Mismatch::NotSpread { least: 3, queues: vec![1, 3] }]);
        observed.queues.clear();
        let verdict = judge(&expected, &observed, None);
        assert_eq!(verdict.mismatches(), [Mismatch::NotSpread { least: 3, queues: vec![] }]);
    }

    #[test]
    fn counts_that_are_off_by_opposite_amounts_do_not_cancel_out() {
        let found =
            after(|seen| seen.per_cpu = vec![Counts::from([(17, u64::MAX - 1)]), Counts::from([(17, 5)])]);
        assert_eq!(found, [Mismatch::Count { protocol: 17, expected: 3, observed: u64::MAX }]);
    }

    #[test]
    fn an_open_end_fails() {
        assert_eq!(after(|seen| seen.closed = Some(false)), [Mismatch::NotClosed]);
    }

    #[test]
    fn a_declared_deviation_must_deviate() {
        let (expected, mut observed) = agreeing();
        let verdict = judge(&expected, &observed, Some("driver pads"));
        assert_eq!(verdict.kind(), VerdictKind::Fail);
        observed.per_cpu.clear();
        let verdict = judge(&expected, &observed, Some("driver pads"));
        assert_eq!(verdict.kind(), VerdictKind::Xfail);
        assert_eq!(verdict.reason().as_deref(), Some("driver pads"));
    }
}
