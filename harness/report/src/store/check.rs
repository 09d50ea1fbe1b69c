//! Checks that a result does not contradict itself. Pure.

use std::{collections::HashSet, path::Path};

use xdproof_core::model::{PartitionRecord, RunResult, Summary, VerdictKind, side_by_side};

use crate::store::{error::StoreError, keyed::Keyed as _};

/// Checks a result; `at` is the JSON path of the result within its file.
pub(super) fn check(file: &Path, at: &str, result: &RunResult) -> Result<(), StoreError> {
    let contradiction =
        |path: String, what: String| StoreError::Contradiction { file: file.to_owned(), path, what };
    if let Some(PartitionRecord { parts, count }) = &result.partition {
        let ascend = parts.windows(2).all(|pair| pair[0] < pair[1]);
        if parts.is_empty() || !ascend || parts.iter().any(|part| !(1..=*count).contains(part)) {
            return Err(contradiction(
                format!("{at}partition"),
                format!("{parts:?} are not parts of {count}"),
            ));
        }
    }
    let mut keys = HashSet::new();
    for (index, trial) in result.trials.iter().enumerate() {
        let wrong = |what: String| Err(contradiction(format!("{at}trials[{index}]"), what));
        let id = format!("{}::{}", trial.scenario, trial.path());
        if trial.id != id {
            return wrong(format!("the id is {}, but scenario, mode and injector make {id}", trial.id));
        }
        if !keys.insert(trial.key()) {
            return wrong(format!("{id} is there twice"));
        }
        if trial.verdict == VerdictKind::Pass {
            if trial.failure.is_some() {
                return wrong(format!("{id} passes, but has a failure"));
            }
            let counted = trial.observed.as_ref().and_then(|observed| observed.counts.as_ref());
            let departs = trial.expected.counts.as_ref().zip(counted).is_some_and(|(expected, counted)| {
                side_by_side(expected, counted).any(|(_, expected, observed)| expected != observed)
            });
            if departs {
                return wrong(format!("{id} passes, but the counts differ from the expected ones"));
            }
        }
    }
    let mut keys = HashSet::new();
    for (index, test) in result.attach_semantics.iter().enumerate() {
        if !keys.insert(test.key()) {
            return Err(contradiction(
                format!("{at}attach_semantics[{index}]"),
                format!("{} is there twice", test.id),
            ));
        }
    }
    let counted = Summary::of(&result.trials, result.summary.not_run);
    if counted != result.summary {
        return Err(miscounted(file, &format!("{at}summary"), &result.summary, &counted));
    }
    Ok(())
}

pub(super) fn miscounted(file: &Path, path: &str, told: &Summary, counted: &Summary) -> StoreError {
    let pairs = told.numbers().into_iter().zip(counted.numbers());
    let differing = pairs.filter(|((_, told), (_, counted))| told != counted);
    let differing =
        differing.map(|((name, told), (_, counted))| format!("{told} {name}, but the trials make {counted}"));
    let what = differing.collect::<Vec<_>>().join("; ");
    StoreError::Contradiction { file: file.to_owned(), path: path.to_owned(), what }
}
