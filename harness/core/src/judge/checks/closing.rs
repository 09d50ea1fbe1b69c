//! The closing frame, sent after all others, comes through: no frame is still in flight.

use crate::{
    judge::checks::Check,
    model::{
        expectation::TrialExpectation,
        mismatch::{CheckId, FaultClass, Mismatch},
        observation::Observation,
    },
};

const ID: CheckId = CheckId::new("closing");

pub(super) const CHECK: Check = Check { id: ID, run };

fn run(_: &TrialExpectation, observed: &Observation, found: &mut Vec<Mismatch>) {
    if observed.closed == Some(false) {
        found.push(Mismatch::new(ID, FaultClass::StillInFlight, "closing frame", "passed", "missing"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::checks::tests::found_by;

    #[test]
    fn a_closing_frame_that_does_not_come_through_is_found() {
        let found = |closed| found_by(&CHECK, |_, seen| seen.closed = closed).len();
        assert_eq!([found(None), found(Some(true)), found(Some(false))], [0, 0, 1]);
    }
}
