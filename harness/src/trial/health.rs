//! The health of a testbed: a fault of it that lasts, or three failures in a row, end a run on devices.
//!
//! Promises: what a trial finds while a device is gone, down or without a carrier is an infrastructure error that names the device, and
//! neither a failure of the program nor a skip.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    model::{result::TrialOutcome, verdict::Verdict},
    plan::selection::Trial,
    testbed::Testbed,
};

/// Trials in a row that fail on the testbed before the run ends.
const MOST: usize = 3;

/// Faults of a testbed so far.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Failures since the last trial that did not fail on it.
    failures: Mutex<Vec<Failure>>,
    /// Attempts of trials during which foreign frames arrived, and the first of these frames.
    disturbed: Mutex<Option<(u64, String)>>,
}

#[derive(Clone, Debug)]
struct Failure {
    trial: String,
    what: String,
    /// The devices are in a state in which no trial can run.
    is_fault: bool,
}

impl Health {
    /// Returns the outcome of a trial, the testbed blamed for it where that is at fault, and remembers it.
    pub(super) fn judged(
        &self,
        testbed: &dyn Testbed,
        trial: &Trial<'_>,
        outcome: TrialOutcome,
    ) -> TrialOutcome {
        let facts = testbed.facts();
        if !facts.exclusive || !trial.path.mode.is_attached() {
            return outcome;
        }
        if matches!(outcome.verdict, Verdict::Pass) {
            self.failures().clear();
            return outcome;
        }
        let failure = |what: &str, is_fault| Failure { trial: trial.id(), what: what.to_owned(), is_fault };
        // A link that a trial has reset comes up again.
        if let Some(fault) = testbed.fault(facts.link_up) {
            self.failures().push(failure(&fault.what, true));
            return TrialOutcome { verdict: Verdict::Error { reason: fault.what }, ..outcome };
        }
        match &outcome.verdict {
            Verdict::Error { reason } if outcome.observation.is_none() => {
                self.failures().push(failure(reason, false));
            }
            _ => self.failures().clear(),
        }
        outcome
    }

    /// Returns why no further trial should run, if that is so.
    pub(super) fn broken(&self, testbed: &dyn Testbed) -> Option<String> {
        let failures = self.failures().clone();
        let last = failures.last()?;
        let fault = if last.is_fault { testbed.fault(Duration::ZERO) } else { None };
        if let Some(fault) = fault {
            let since = failures.iter().rev().take_while(|its| its.is_fault).last().unwrap_or(last);
            return Some(format!("{} since trial {}", fault.what, since.trial));
        }
        let since = failures.first().filter(|_| failures.len() >= MOST)?;
        let count = failures.len();
        Some(format!("{count} trials in a row failed on the testbed since {}: {}", since.trial, last.what))
    }

    /// Notes an attempt of a trial during which foreign frames arrived.
    pub(super) fn disturbed(&self, frames: String) {
        let mut disturbed = self.disturbed.lock().unwrap_or_else(PoisonError::into_inner);
        disturbed.get_or_insert((0, frames)).0 += 1;
    }

    pub(super) fn disturbances(&self) -> Option<(u64, String)> {
        self.disturbed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn failures(&self) -> MutexGuard<'_, Vec<Failure>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
