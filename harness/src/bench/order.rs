//! The order of a run of measurements, and the errors that keep it from being carried out.

use std::{io, sync::Arc, time::Duration};

use crate::{
    bench::programs::Objects, inject::pace::Pps, measure::case::Case, model::Tolerance,
    program::ProgramError, testbed::Testbed,
};

/// A list of cases to measure, and the precision.
#[derive(Debug)]
pub struct BenchOrder {
    pub objects: Objects,
    /// The comparisons, in the order in which they are reported.
    pub cases: Vec<Case>,
    pub budget: Duration,
    pub tolerance: Tolerance,
    /// Frames per second to offer; none: as many as possible.
    pub rate: Option<Pps>,
    pub testbed: Arc<dyn Testbed>,
}

/// An error that keeps a run from measuring.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error(transparent)]
    Attach(#[from] ProgramError),
    #[error(transparent)]
    Io(#[from] io::Error),
}
