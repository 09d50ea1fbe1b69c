//! The program runs once for each frame that is sent: the path loses none and adds none.

use crate::{
    judge::checks::MismatchNotes,
    model::{FaultClass, Observation, TrialExpectation},
};

pub(super) fn run(_: &TrialExpectation, observed: &Observation, found: &mut MismatchNotes) {
    let Observation { sent, ran, .. } = *observed;
    let class = if ran < sent { FaultClass::LostBeforeProgram } else { FaultClass::Duplicated };
    if ran != sent {
        found.note(class, "runs of the program", sent, ran);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::checks::tests::found_by;

    #[test]
    fn lost_and_foreign_frames_break_conservation() {
        let found = |ran| {
            let found = found_by("conservation", |_, seen| seen.ran = ran);
            found.iter().map(|its| (its.class, its.to_string())).collect::<Vec<_>>()
        };
        let told = |observed| format!("runs of the program: expected 4, got {observed}");
        assert_eq!(found(4), []);
        assert_eq!(found(3), [(FaultClass::LostBeforeProgram, told(3))]);
        assert_eq!(found(5), [(FaultClass::Duplicated, told(5))]);
    }
}
