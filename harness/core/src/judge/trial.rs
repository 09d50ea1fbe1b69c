//! The verdict of a trial: an observation compared with its expectation by every [check](crate::judge::checks).

use crate::{
    judge::checks,
    model::{
        attach_step::StepRecord,
        expectation::TrialExpectation,
        mismatch::{CheckId, FaultClass, Mismatch},
        observation::{Observation, Overlap},
        verdict::Verdict,
    },
};

/// Judges a trial that ran. `deviation` is the reason of the deviation that is declared for it, if there is one.
#[must_use]
pub fn judge(expected: &TrialExpectation, observed: &Observation, deviation: Option<&str>) -> Verdict {
    let mismatches: Vec<_> = checks::ALL.iter().flat_map(|check| check.run(expected, observed)).collect();
    match (mismatches.is_empty(), deviation) {
        (true, None) => undetermined(observed).map_or(Verdict::Pass, |reason| Verdict::Skip { reason }),
        (true, Some(reason)) => Verdict::Fail(vec![stale_deviation(reason)]),
        (false, Some(reason)) if mismatches.iter().all(|its| its.class.is_excusable()) => {
            Verdict::Xfail { reason: reason.to_owned(), mismatches }
        }
        (false, _) => Verdict::Fail(mismatches),
    }
}

/// Returns why agreement proves nothing about CPUs that were to count at the same time, if they did not.
fn undetermined(observed: &Observation) -> Option<String> {
    let Overlap { updates, lost } = observed.overlap.filter(|overlap| !overlap.is_proof())?;
    let least = Overlap::PROOF;
    Some(format!(
        "proves nothing: the CPUs hardly counted at the same time (a plain counter of the senders lost {lost} of {updates} updates, \
         and a pass needs {least})"
    ))
}

pub fn stale_deviation(reason: &str) -> Mismatch {
    let subject = format!("declared deviation ({reason})");
    Mismatch::new(CheckId::new("deviation"), FaultClass::StaleDeviation, subject, "deviates", "passes")
}

/// The kernel or the driver accepted or rejected a program or a frame contrary to what is known of it.
pub fn unexpected_attach(expected: impl Into<String>, observed: impl Into<String>) -> Mismatch {
    let (expected, observed) = (expected.into(), observed.into());
    Mismatch::new(CheckId::new("attach"), FaultClass::UnexpectedAttach, "attach", expected, observed)
}

/// The map counted at a key that is no protocol number.
#[must_use]
pub fn stray_key(key: u32) -> Mismatch {
    let (subject, observed) =
        (format!("key {key} of the counter map"), "a count; protocol numbers end at 255");
    Mismatch::new(CheckId::new("counts"), FaultClass::Miscounted, subject, "no count", observed)
}

/// The trial left its testbed changed.
#[must_use]
pub fn testbed_changed(what: String) -> Mismatch {
    let subject = "testbed after the trial";
    Mismatch::new(CheckId::new("testbed"), FaultClass::TestbedChanged, subject, "unchanged", what)
}

/// A step of an attach-semantics test had another result than the kernel gives; none if it had the expected one.
#[must_use]
pub fn attach_step(step: &StepRecord) -> Option<Mismatch> {
    let StepRecord { action, expected, observed } = step;
    let check = CheckId::new("attach_semantics");
    let mismatch = || {
        let (subject, expected, observed) = (action.clone(), expected.clone(), observed.clone());
        Mismatch::new(check, FaultClass::AttachSemantics, subject, expected, observed)
    };
    (expected != observed).then(mismatch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        judge::checks::tests::agreeing,
        model::{Sink, VerdictKind},
    };

    #[test]
    fn agreement_passes() {
        let (expected, observed) = agreeing();
        assert_eq!(judge(&expected, &observed, None), Verdict::Pass);
    }

    #[test]
    fn agreement_of_cpus_that_did_not_count_at_the_same_time_is_no_pass() {
        let (expected, mut observed) = agreeing();
        let judged = |observed: &Observation| judge(&expected, observed, None);
        let overlap = |lost| Some(Overlap { updates: 4000, lost });
        observed.overlap = overlap(Overlap::PROOF);
        assert_eq!(judged(&observed), Verdict::Pass);
        observed.overlap = overlap(Overlap::PROOF - 1);
        assert_eq!(judged(&observed).kind(), VerdictKind::Skip);
        assert!(judged(&observed).reason().unwrap().contains("31 of 4000"));
        observed.ran = 3;
        assert_eq!(judged(&observed).kind(), VerdictKind::Fail);
    }

    #[test]
    fn the_mismatches_of_all_checks_are_in_the_verdict() {
        let (expected, mut observed) = agreeing();
        (observed.ran, observed.closed) = (5, Some(false));
        let verdict = judge(&expected, &observed, None);
        let checks: Vec<String> = verdict.mismatches().iter().map(|its| its.check.to_string()).collect();
        assert_eq!(checks, ["conservation", "sinks", "closing"]);
    }

    #[test]
    fn a_declared_deviation_excuses_no_lost_frame() {
        let (expected, mut observed) = agreeing();
        observed.ran = 3;
        assert_eq!(judge(&expected, &observed, Some("driver pads")).kind(), VerdictKind::Fail);
    }

    #[test]
    fn a_declared_deviation_excuses_frames_that_are_dropped_instead_of_passed() {
        let (expected, mut observed) = agreeing();
        observed.frames.remove(&Sink::Stack);
        assert_eq!(judge(&expected, &observed, Some("driver drops")).kind(), VerdictKind::Xfail);
    }

    #[test]
    fn a_declared_deviation_must_deviate() {
        let (expected, mut observed) = agreeing();
        let verdict = judge(&expected, &observed, Some("driver pads"));
        assert_eq!(verdict.kind(), VerdictKind::Fail);
        observed.per_cpu = Some(Vec::new());
        let verdict = judge(&expected, &observed, Some("driver pads"));
        assert_eq!(verdict.kind(), VerdictKind::Xfail);
        assert_eq!(verdict.reason().as_deref(), Some("driver pads"));
    }
}
