//! What happens in a run, in the order in which it happens: the only thing between running and reporting.

use std::time::Duration;

use xdproof_core::model::result::{RunResult, TrialRecord};
use xdproof_core::model::{environment::Environment, mode::TrialPath};

/// Something that happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The plan is made; trials begin.
    Started {
        /// The machine and the program.
        environment: &'a Environment,
        /// The columns: each mode with its injector.
        paths: &'a [TrialPath],
        /// How many trials there are.
        trials: usize,
    },
    /// A trial ended. Trials run in parallel and end in any order.
    Trial(&'a TrialRecord),
    /// Measuring begins.
    Measuring {
        /// The machine and the program.
        environment: &'a Environment,
        /// How many comparisons there are.
        cases: usize,
        /// How long it may take.
        budget: Duration,
    },
    /// Measuring goes on.
    Progress {
        /// The round, from 1: in each, every comparison has its turn.
        round: u32,
        /// The share of the budget that is spent.
        spent: f64,
        /// The comparison whose turn it is.
        case: &'a str,
    },
    /// The run ended.
    Ended {
        /// Everything, in the order of the plan.
        result: &'a RunResult,
    },
}

/// Someone who is told what happens.
pub trait Reporter {
    /// Takes in one event.
    ///
    /// # Errors
    ///
    /// When it cannot be passed on, as to a closed pipe or a full disk.
    fn report(&mut self, event: Event<'_>) -> std::io::Result<()>;
}
