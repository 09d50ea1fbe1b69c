//! Frames that are spread over receive queues arrive on all of them but one: [`Spread`](xdproof_scenarios::Spread) says why.

use crate::{
    judge::checks::MismatchNotes,
    model::{FaultClass, Observation, TrialExpectation},
};

pub(super) fn run(expected: &TrialExpectation, observed: &Observation, found: &mut MismatchNotes) {
    let Some(queues) = expected.spread.queues else { return };
    let least = queues.saturating_sub(1) as usize;
    let used: Vec<String> = observed.queues.keys().map(ToString::to_string).collect();
    if used.len() < least {
        let used = if used.is_empty() { "none".to_owned() } else { used.join(", ") };
        found.note(FaultClass::NotSpread, "receive queues with frames", format!("at least {least}"), used);
    }
}

#[cfg(test)]
mod tests {
    use crate::judge::checks::tests::found_by;

    #[test]
    fn frames_that_leave_more_than_one_queue_out_are_not_spread() {
        let found = |queues: &[u8]| {
            let found = found_by("queues", |expected, seen| {
                expected.spread.queues = Some(4);
                seen.queues = queues.iter().map(|&queue| (queue, 1)).collect();
            });
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(found(&[0, 1, 3]), Vec::<String>::new());
        assert_eq!(found(&[1, 3]), ["receive queues with frames: expected at least 3, got 1, 3"]);
        assert_eq!(found(&[]), ["receive queues with frames: expected at least 3, got none"]);
    }
}
