//! The map counts each protocol as expected, where the program has a counter map.

use crate::{
    judge::checks::MismatchNotes,
    model::{FaultClass, Observation, TrialExpectation, protocol_subject, side_by_side},
};

pub(super) fn run(expected: &TrialExpectation, observed: &Observation, found: &mut MismatchNotes) {
    let (Some(expected), Some(observed)) = (&expected.totals.counts, observed.counts()) else { return };
    for (&protocol, expected, observed) in side_by_side(expected, &observed) {
        if expected != observed {
            found.note(FaultClass::Miscounted, protocol_subject(protocol), expected, observed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{judge::checks::tests::found_by, model::Counts};

    fn found(per_cpu: Vec<Counts>) -> Vec<String> {
        let found = found_by("counts", |_, seen| seen.per_cpu = Some(per_cpu));
        assert!(found.iter().all(|its| its.class == FaultClass::Miscounted));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn one_packet_too_few_or_elsewhere_is_found() {
        assert_eq!(found(vec![Counts::from([(17, 3)])]), Vec::<String>::new());
        let too_few = found(vec![Counts::new(), Counts::from([(17, 2)])]);
        assert_eq!(too_few, ["protocol 17 (udp): expected 3, got 2"]);
        let elsewhere = found(vec![Counts::from([(6, 1)]), Counts::from([(17, 2)])]);
        assert_eq!(
            elsewhere,
            ["protocol 6 (tcp): expected 0, got 1", "protocol 17 (udp): expected 3, got 2"]
        );
    }

    #[test]
    fn counts_that_are_off_by_opposite_amounts_do_not_cancel_out() {
        let found = found(vec![Counts::from([(17, u64::MAX - 1)]), Counts::from([(17, 5)])]);
        assert_eq!(found, [format!("protocol 17 (udp): expected 3, got {}", u64::MAX)]);
    }

    #[test]
    fn a_program_without_a_counter_map_is_not_held_to_counts() {
        assert!(found_by("counts", |_, seen| seen.per_cpu = None).is_empty());
        assert!(found_by("counts", |expected, _| expected.totals.counts = None).is_empty());
    }
}
