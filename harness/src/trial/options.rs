//! Options of a run that say nothing about the testbed.

use std::path::PathBuf;

use crate::model::{action::CountedAction, partition::Partition};

/// The command line option by which scenarios were found, and its value.
pub type Origin = (&'static str, PathBuf);

/// Options of a run that say nothing about the testbed.
#[derive(Clone, Debug, Default)]
pub struct LabOptions {
    /// What the program under test does with a frame that it counts.
    pub counted: CountedAction,
    /// Where the scenarios came from, if they are not the built-in ones; the command that repeats a trial needs it.
    pub origin: Option<Origin>,
    /// The part of the plan that is run, so that results can be joined.
    pub part: Option<Partition>,
    /// Skip scenarios that send more frames.
    pub most_frames: Option<u64>,
}
