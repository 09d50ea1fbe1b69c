//! The checks of a trial, one file each. A new check is a file and a line in [`ALL`].

mod closing;
mod conservation;
mod counts;
mod cpus;
mod order;
mod queues;
mod sinks;
mod verdicts;

#[cfg(test)]
pub(super) mod tests;

use crate::model::{CheckId, FaultClass, FrameDeltas, Mismatch, Observation, Reading, TrialExpectation};

/// One comparison of an observation with its expectation: its name in results, and a function that notes what does not agree.
#[derive(Clone, Copy, Debug)]
pub struct TrialCheck(pub &'static str, fn(&TrialExpectation, &Observation, &mut MismatchNotes));

/// Every check, in the order in which a report lists their mismatches.
pub const ALL: &[TrialCheck] = &[
    TrialCheck("conservation", conservation::run),
    TrialCheck("counts", counts::run),
    TrialCheck("sinks", sinks::run),
    TrialCheck("order", order::run),
    TrialCheck("verdicts", verdicts::run),
    TrialCheck("closing", closing::run),
    TrialCheck("cpus", cpus::run),
    TrialCheck("queues", queues::run),
];

impl TrialCheck {
    /// Returns what does not agree.
    #[must_use]
    pub fn run(self, expected: &TrialExpectation, observed: &Observation) -> Vec<Mismatch> {
        let Self(name, check) = self;
        let mut found = MismatchNotes { check: CheckId::new(name), mismatches: Vec::new() };
        check(expected, observed, &mut found);
        found.mismatches
    }
}

/// The mismatches that a check finds.
#[derive(Debug)]
struct MismatchNotes {
    check: CheckId,
    mismatches: Vec<Mismatch>,
}

impl MismatchNotes {
    fn note(
        &mut self,
        class: FaultClass,
        subject: impl Into<String>,
        expected: impl Into<Reading>,
        observed: impl Into<Reading>,
    ) {
        self.note_frames(class, subject, expected, observed, FrameDeltas::default());
    }

    fn note_frames(
        &mut self,
        class: FaultClass,
        subject: impl Into<String>,
        expected: impl Into<Reading>,
        observed: impl Into<Reading>,
        frames: FrameDeltas,
    ) {
        let mismatch = Mismatch::new(self.check.clone(), class, subject, expected, observed);
        self.mismatches.push(mismatch.with_frames(frames));
    }
}
