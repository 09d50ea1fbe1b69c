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

use crate::model::{
    expectation::TrialExpectation,
    mismatch::{CheckId, Mismatch},
    observation::Observation,
};

/// One comparison of an observation with its expectation.
#[derive(Clone, Debug)]
pub struct Check {
    /// Its name in results.
    pub id: CheckId,
    /// Appends what does not agree.
    pub run: fn(&TrialExpectation, &Observation, &mut Vec<Mismatch>),
}

/// Every check, in the order in which a report lists their mismatches.
pub const ALL: &[Check] = &[
    conservation::CHECK,
    counts::CHECK,
    sinks::CHECK,
    order::CHECK,
    verdicts::CHECK,
    closing::CHECK,
    cpus::CHECK,
    queues::CHECK,
];
