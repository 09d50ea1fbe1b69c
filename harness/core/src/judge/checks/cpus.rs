//! Every CPU from which frames were sent counted some.

use crate::{
    judge::checks::MismatchNotes,
    model::{Counts, FaultClass, Observation, TrialExpectation},
};

pub(super) fn run(expected: &TrialExpectation, observed: &Observation, found: &mut MismatchNotes) {
    let Some(per_cpu) = observed.per_cpu.as_ref().filter(|_| expected.spread.cpus) else { return };
    let is_idle = |cpu: &&usize| per_cpu.get(**cpu).is_none_or(Counts::is_empty);
    for cpu in observed.cpus.iter().filter(is_idle) {
        found.note(FaultClass::NotSpread, format!("packets counted on CPU {cpu}"), "at least 1", 0);
    }
}

#[cfg(test)]
mod tests {
    use crate::judge::checks::tests::found_by;

    #[test]
    fn a_cpu_that_had_a_turn_and_counted_nothing_is_found() {
        let found = |cpus: &[usize], per_cpu: [&[(u8, u64)]; 2]| {
            let per_cpu = per_cpu.map(|counts| counts.iter().copied().collect()).to_vec();
            let found = found_by("cpus", |expected, seen| {
                expected.spread.cpus = true;
                (seen.cpus, seen.per_cpu) = (cpus.to_vec(), Some(per_cpu));
            });
            found.iter().map(|its| its.subject.clone()).collect::<Vec<_>>()
        };
        assert_eq!(found(&[0, 1], [&[(17, 1)], &[(17, 2)]]), Vec::<String>::new());
        assert_eq!(found(&[0, 1], [&[], &[(17, 3)]]), ["packets counted on CPU 0"]);
        assert_eq!(found(&[1, 2], [&[], &[(17, 3)]]), ["packets counted on CPU 2"]);
    }
}
