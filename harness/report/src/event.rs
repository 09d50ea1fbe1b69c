//! Events of a run in the order of their occurrence: the only thing between running and reporting.

use std::time::Duration;

use xdproof_core::model::{Environment, RunResult, Surplus, TrialPath, TrialRecord};
use xdproof_scenarios::Frame;

/// An event of a run.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Trials begin.
    Started {
        /// The machine and the program.
        environment: &'a Environment,
        /// Attach modes with their injectors.
        paths: &'a [TrialPath],
        /// Number of planned trials.
        trials: usize,
    },
    /// Before the first trial, all frames are sent without the program.
    Surveying {
        /// Number of frames.
        frames: usize,
        /// Number of frames that were sent so far.
        sent: usize,
        /// Number of those that were lost.
        lost: usize,
    },
    /// The frames of a trial that deviated, all of them: its record, which follows, has the first ones.
    Frames {
        trial: &'a TrialRecord,
        /// In the order of sending.
        sent: &'a [Frame],
        /// Frames that arrived and should not have, and how many times.
        unexpected: &'a [Surplus],
    },
    /// A trial ended. Trials run in parallel and end in any order.
    Trial(&'a TrialRecord),
    /// Measuring begins.
    Measuring {
        /// The machine and the program.
        environment: &'a Environment,
        /// Number of comparisons.
        cases: usize,
        /// Time that measuring may take.
        budget: Duration,
    },
    /// Measuring goes on.
    Progress {
        /// From 1; every comparison has a turn in each round.
        round: u32,
        /// Spent share of the budget.
        spent: f64,
        /// Id of the current comparison.
        case: &'a str,
    },
    /// The run ended.
    Ended {
        /// Everything in the order of the plan.
        result: &'a RunResult,
    },
}

/// A receiver of events.
pub trait Reporter {
    /// Handles an event.
    ///
    /// # Errors
    ///
    /// When it cannot be passed on, for instance to a closed pipe or a full disk.
    fn report(&mut self, event: Event<'_>) -> std::io::Result<()>;
}
