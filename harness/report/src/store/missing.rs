//! Parts of split runs that no result covers. Pure.

use std::fmt;

use xdproof_core::model::{Collection, PartitionRecord, RunResult};

use crate::store::keyed::nics;

/// The missing parts of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingParts {
    /// Kernel and devices of the run.
    pub run: String,
    /// Numbers of the first ones.
    pub parts: Vec<u64>,
    /// Number of missing parts.
    pub missing: u64,
    /// Number of all parts.
    pub count: u64,
}

impl fmt::Display for MissingParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { run, parts, missing, count } = self;
        let named: Vec<String> = parts.iter().map(u64::to_string).collect();
        let more =
            if usize::try_from(*missing).is_ok_and(|missing| missing == parts.len()) { "" } else { ", ..." };
        let (noun, verb) = if *missing == 1 { ("part", "is") } else { ("parts", "are") };
        write!(f, "{run}: {noun} {}{more} of {count} {verb} missing", named.join(", "))
    }
}

/// Limit of the listed parts.
const NAMED_PARTS: usize = 20;

/// Returns the runs with missing parts.
#[must_use]
pub fn missing(collection: &Collection) -> Vec<MissingParts> {
    let of = |result: &RunResult| {
        let mut missing = missing_parts(result.partition.as_ref()?)?;
        let nics: Vec<&str> = nics(result).into_iter().collect();
        let kernel = &result.environment.kernel_release;
        missing.run = if nics.is_empty() { kernel.clone() } else { format!("{kernel}/{}", nics.join("+")) };
        Some(missing)
    };
    collection.results.iter().filter_map(of).collect()
}

pub(super) fn missing_parts(
    PartitionRecord { parts: held, count }: &PartitionRecord,
) -> Option<MissingParts> {
    let missing = count.saturating_sub(u64::try_from(held.len()).unwrap_or(u64::MAX));
    let parts = (1..=*count).filter(|part| held.binary_search(part).is_err()).take(NAMED_PARTS);
    (missing > 0).then(|| MissingParts { run: String::new(), parts: parts.collect(), missing, count: *count })
}
