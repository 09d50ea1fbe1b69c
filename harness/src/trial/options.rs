//! Options of a run that say nothing about the testbed.

use std::path::PathBuf;

use crate::model::{action::CountedAction, partition::Partition};

/// The command line option that named the scenarios, and its value.
pub type Origin = (&'static str, PathBuf);

/// Options of a run that say nothing about the testbed.
#[derive(Clone, Debug, Default)]
pub struct LabOptions {
    /// Action of the program under test on frames that it counts.
    pub counted: CountedAction,
    /// Set if the scenarios are not the built-in ones; the command that repeats a trial needs it.
    pub origin: Option<Origin>,
    /// Part of the plan that is run, so that results can be merged.
    pub part: Option<Partition>,
    /// Skip scenarios that send more frames.
    pub most_frames: Option<u64>,
    /// Leave programs attached after the last trial, until the lab is dropped or [kept](crate::trial::Lab::keep).
    pub keep: bool,
}
