//! The closing frame, sent after all others, comes through: no frame is still in flight.

use crate::{
    judge::checks::MismatchNotes,
    model::{FaultClass, Observation, TrialExpectation},
};

pub(super) fn run(_: &TrialExpectation, observed: &Observation, found: &mut MismatchNotes) {
    if observed.closed == Some(false) {
        found.note(FaultClass::StillInFlight, "closing frame", "passed", "missing");
    }
}

#[cfg(test)]
mod tests {
    use crate::judge::checks::tests::found_by;

    #[test]
    fn a_closing_frame_that_does_not_come_through_is_found() {
        let found = |closed| found_by("closing", |_, seen| seen.closed = closed).len();
        assert_eq!([found(None), found(Some(true)), found(Some(false))], [0, 0, 1]);
    }
}
