//! The judge: holds what was observed against what had to be observed. Pure.

use xdproof_scenarios::{Expectation, Spread};

use crate::model::observation::Frames;

/// What a trial has to come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Numbers: what the map counts, how many frames pass and how many are dropped.
    pub numbers: Expectation,
    /// Bytes: the frames that can be seen to pass.
    pub passed: Frames,
    /// Of `numbers.passed`, frames that nobody can see pass.
    pub undecided_passed: u64,
    /// Of `numbers.dropped`, frames that nobody could see pass either.
    pub undecided_dropped: u64,
    /// Over what the frames are spread.
    pub spread: Spread,
}
