//! A mode that a driver does not have is one trial: that it is refused as declared. The trials that would have run in it say nothing more.
//! Pure.

use std::collections::BTreeMap;

use crate::{
    judge::findings::Attached,
    model::{Mode, TrialOutcome, TrialPath, TrialRecord, Verdict, VerdictKind},
};

/// The scenario that the record of a refused mode names.
pub const SCENARIO: &str = "attach";

/// Replaces the trials of each mode that was refused, and skipped for that declared reason, by one record in the place of the first.
/// A mode with any other verdict stays as it is.
#[must_use]
pub fn collapse(trials: Vec<TrialRecord>, attached: &BTreeMap<Mode, Attached>) -> Vec<TrialRecord> {
    let mut refused = BTreeMap::new();
    for (&mode, outcome) in attached {
        let Attached::Refused(answer) = outcome else { continue };
        let of_mode = || trials.iter().filter(|trial| trial.mode == mode);
        let is_declared = |trial: &&TrialRecord| {
            trial.reason.as_ref().is_some_and(|reason| reason.contains(answer.as_str()))
        };
        if of_mode().count() > 1
            && of_mode().all(|trial| trial.verdict == VerdictKind::Skip)
            && let Some(reason) =
                of_mode().filter(is_declared).filter_map(|trial| trial.reason.as_deref()).min()
        {
            // Without the number of trials: parts of a run have others, and their records are one when they are joined.
            refused.insert(mode, Some(format!("refused as declared: {reason}")));
        }
    }
    let mut collapsed = Vec::with_capacity(trials.len());
    for trial in trials {
        match refused.get_mut(&trial.mode) {
            None => collapsed.push(trial),
            Some(reason) => {
                let reason = reason.take().map(|reason| Verdict::Skip { reason });
                collapsed.extend(reason.map(|verdict| record(trial.path(), trial.nic.as_deref(), verdict)));
            }
        }
    }
    collapsed
}

fn record(path: TrialPath, nic: Option<&str>, verdict: Verdict) -> TrialRecord {
    TrialRecord::of_no_scenario(SCENARIO, path, nic, &TrialOutcome::without_running(verdict))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::InjectorKind;

    const ANSWER: &str = "Operation not supported (os error 95)";

    fn trial(scenario: &str, mode: Mode, verdict: Verdict) -> TrialRecord {
        let path = TrialPath { mode, injector: InjectorKind::Pnet };
        TrialRecord::of_no_scenario(scenario, path, Some("e1000"), &TrialOutcome::without_running(verdict))
    }

    fn skip(reason: &str) -> Verdict {
        Verdict::Skip { reason: reason.to_owned() }
    }

    fn refused() -> BTreeMap<Mode, Attached> {
        [(Mode::Native, Attached::Refused(ANSWER.to_owned())), (Mode::Generic, Attached::Yes)].into()
    }

    fn ids(trials: &[TrialRecord]) -> Vec<&str> {
        trials.iter().map(|trial| trial.id.as_str()).collect()
    }

    #[test]
    fn a_mode_that_a_driver_does_not_have_is_one_skip() {
        let declared = format!("the driver has no native XDP ({ANSWER})");
        let trials = vec![
            trial("a", Mode::Generic, Verdict::Pass),
            trial("a", Mode::Native, skip("the scenario sends 9 frames, and --most-frames is 1")),
            trial("b", Mode::Generic, Verdict::Pass),
            trial("b", Mode::Native, skip(&declared)),
        ];
        let collapsed = collapse(trials, &refused());
        assert_eq!(ids(&collapsed), ["a::generic::pnet", "attach::native::pnet", "b::generic::pnet"]);
        let its = &collapsed[1];
        assert_eq!((its.verdict, its.nic.as_deref()), (VerdictKind::Skip, Some("e1000")));
        let told = format!("refused as declared: {declared}");
        assert_eq!(its.reason.as_deref(), Some(told.as_str()));
    }

    #[test]
    fn a_mode_with_another_verdict_or_an_undeclared_skip_stays() {
        let declared = skip(&format!("no native XDP ({ANSWER})"));
        let failed = Verdict::Error { reason: "the testbed broke".to_owned() };
        for other in [failed, Verdict::Pass] {
            let trials = vec![
                trial("a", Mode::Native, declared.clone()),
                trial("b", Mode::Native, declared.clone()),
                trial("c", Mode::Native, other),
            ];
            assert_eq!(collapse(trials.clone(), &refused()), trials);
        }
        let undeclared = vec![trial("a", Mode::Native, skip("x")), trial("b", Mode::Native, skip("x"))];
        assert_eq!(collapse(undeclared.clone(), &refused()), undeclared);
    }

    #[test]
    fn a_mode_that_was_attached_keeps_its_skips() {
        let trials = vec![trial("a", Mode::Generic, skip(ANSWER)), trial("b", Mode::Generic, skip(ANSWER))];
        assert_eq!(collapse(trials.clone(), &refused()), trials);
    }
}
