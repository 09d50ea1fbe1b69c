//! The state of a case while it is measured.

use crate::{
    error::chain,
    measure::{
        case::Case,
        judge,
        series::{Costs, believe, series},
        wants_more,
    },
    model::{LEAST_BLOCKS, Sample, Tolerance, Unmeasured, stable_hash},
};

/// Frames of the very first trial, by which the others are sized.
pub(super) const FIRST: u32 = 512;

/// A case and its samples so far.
pub(super) struct State<'a> {
    pub(super) case: &'a Case,
    pub(super) seed: u64,
    /// Decides which blocks begin with the subject.
    pub(super) draws: fastrand::Rng,
    /// Frames or runs of a burst, the same for both sides of a comparison: the kernel's work for each burst
    /// is shared by more frames in a longer one.
    pub(super) frames: u32,
    pub(super) trials: Vec<Sample>,
    pub(super) blocks: u32,
    looked_at: usize,
    pub(super) settled: bool,
    pub(super) unmeasured: Option<Unmeasured>,
}

/// The reason why a case cannot be measured.
pub(super) struct Obstacle(pub(super) Unmeasured);

impl Obstacle {
    pub(super) fn declared(reason: impl Into<String>) -> Self {
        Self(Unmeasured { reason: reason.into(), declared: true })
    }

    pub(super) fn broken(error: &dyn std::error::Error) -> Self {
        Self(Unmeasured { reason: chain(error), declared: false })
    }
}

impl<'a> State<'a> {
    pub(super) fn new(case: &'a Case) -> Self {
        Self {
            case,
            seed: stable_hash(&case.id()),
            draws: fastrand::Rng::with_seed(stable_hash(&case.id())),
            frames: FIRST,
            trials: Vec::new(),
            blocks: 0,
            looked_at: 0,
            settled: false,
            unmeasured: None,
        }
    }

    /// Settles the case if it needs no more blocks; checked each time that half as many again have come.
    /// Checking after each block would sooner or later find a moment in which chance decides.
    pub(super) fn settle(&mut self, tolerance: Tolerance) {
        let tried = self.blocks as usize / 2;
        if self.settled || tried < LEAST_BLOCKS.max(self.looked_at + self.looked_at / 2) {
            return;
        }
        self.looked_at = tried;
        let [subject, control] = [false, true].map(|control| series(&self.trials, control, Costs::Gross));
        self.settled = if self.case.is_judged() {
            !wants_more(&judge(&subject, &control, tolerance, self.seed))
        } else {
            believe(&subject, &control, tolerance, self.seed).is_none()
        };
    }
}
