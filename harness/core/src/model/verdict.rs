//! Verdicts of trials.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::mismatch::Mismatch;

/// Mismatches that the reason of a verdict has; the record of the trial has all of them.
const TOLD_MISMATCHES: usize = 16;

/// Verdict of a trial. [`VerdictKind`] explains each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Fail(Vec<Mismatch>),
    Skip {
        /// The declared reason.
        reason: String,
    },
    Xfail {
        /// The declared reason.
        reason: String,
        mismatches: Vec<Mismatch>,
    },
    Error {
        reason: String,
    },
    Unreachable {
        /// The reply of the kernel, or the limit of the path.
        reason: String,
    },
}

/// Kind of a verdict, by the name that results use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VerdictKind {
    /// The observation agrees with the expectation.
    Pass,
    /// It does not.
    Fail,
    /// The trial was not run, for a reason that was declared beforehand, or ran and proves nothing.
    Skip,
    /// The trial deviated as a reviewed entry declares.
    Xfail,
    /// The testbed failed; this says nothing about the program, the driver or the mode.
    Error,
    /// No injector can produce these frames on this path; the kernel was asked, and refused them.
    Unreachable,
}

impl VerdictKind {
    /// Returns true for a verdict that fails the run.
    #[must_use]
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Fail | Self::Error)
    }
}

named!(VerdictKind {
    Pass = "pass",
    Fail = "fail",
    Skip = "skip",
    Xfail = "xfail",
    Error = "error",
    Unreachable = "unreachable",
});

impl Verdict {
    /// The kind of this verdict.
    #[must_use]
    pub fn kind(&self) -> VerdictKind {
        match self {
            Self::Pass => VerdictKind::Pass,
            Self::Fail(_) => VerdictKind::Fail,
            Self::Skip { .. } => VerdictKind::Skip,
            Self::Xfail { .. } => VerdictKind::Xfail,
            Self::Error { .. } => VerdictKind::Error,
            Self::Unreachable { .. } => VerdictKind::Unreachable,
        }
    }

    /// Returns the reason of the verdict, if it has one.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Pass => None,
            Self::Fail(mismatches) => {
                let first = mismatches.iter().take(TOLD_MISMATCHES).map(ToString::to_string);
                let more = mismatches.len().saturating_sub(TOLD_MISMATCHES);
                let more = (more > 0).then(|| format!("and {more} more"));
                Some(first.chain(more).collect::<Vec<_>>().join("; "))
            }
            Self::Skip { reason }
            | Self::Xfail { reason, .. }
            | Self::Error { reason }
            | Self::Unreachable { reason } => Some(reason.clone()),
        }
    }

    /// Returns the mismatches of the trial.
    #[must_use]
    pub fn mismatches(&self) -> &[Mismatch] {
        match self {
            Self::Fail(mismatches) | Self::Xfail { mismatches, .. } => mismatches,
            Self::Pass | Self::Skip { .. } | Self::Error { .. } | Self::Unreachable { .. } => &[],
        }
    }
}
