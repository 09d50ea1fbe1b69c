//! The program returns no other verdict than it may, where verdicts can be observed.

use crate::{
    judge::checks::MismatchNotes,
    model::{FaultClass, Observation, TrialExpectation},
};

/// `XDP_*` actions by their number (`include/uapi/linux/bpf.h`).
const ACTIONS: [&str; 5] = ["XDP_ABORTED", "XDP_DROP", "XDP_PASS", "XDP_TX", "XDP_REDIRECT"];

pub(super) fn run(expected: &TrialExpectation, observed: &Observation, found: &mut MismatchNotes) {
    for (verdict, &times) in observed.verdicts.iter().filter(|(its, _)| !expected.verdicts.contains(its)) {
        let name = usize::try_from(*verdict).ok().and_then(|number| ACTIONS.get(number));
        let name = name.map_or_else(String::new, |name| format!(" ({name})"));
        found.note(FaultClass::WrongVerdict, format!("returns of verdict {verdict}{name}"), 0, times);
    }
}

#[cfg(test)]
mod tests {
    use crate::judge::checks::tests::found_by;

    fn found(verdicts: &[(u32, u64)]) -> Vec<String> {
        let verdicts = verdicts.iter().copied().collect();
        let found = found_by("verdicts", |_, seen| seen.verdicts = verdicts);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_verdict_that_no_counter_returns_is_found_although_the_numbers_agree() {
        assert_eq!(found(&[(1, 1), (2, 3)]), Vec::<String>::new());
        assert_eq!(
            found(&[(1, 1), (2, 2), (3, 1), (77, 2)]),
            ["returns of verdict 3 (XDP_TX): expected 0, got 1", "returns of verdict 77: expected 0, got 2"]
        );
    }
}
