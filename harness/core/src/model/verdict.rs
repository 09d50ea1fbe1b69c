//! Verdicts of trials.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::mismatch::Mismatch;

/// How a trial came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything was as it had to be.
    Pass,
    /// Something was not.
    Fail(Vec<Mismatch>),
    /// It was not run, for a reason that was declared beforehand.
    Skip {
        /// The declared reason.
        reason: String,
    },
    /// It deviated as a reviewed entry says that it does.
    Xfail {
        /// The declared reason.
        reason: String,
        /// In what it deviated.
        mismatches: Vec<Mismatch>,
    },
    /// The testbed broke; this says nothing about the program, the driver or the mode.
    Error {
        /// What broke.
        reason: String,
    },
    /// No injector can produce these frames; the kernel was asked, and refused them.
    Unreachable {
        /// What the kernel answered.
        reason: String,
    },
}

/// The kind of a verdict, by the name that results use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VerdictKind {
    /// See [`Verdict::Pass`].
    Pass,
    /// See [`Verdict::Fail`].
    Fail,
    /// See [`Verdict::Skip`].
    Skip,
    /// See [`Verdict::Xfail`].
    Xfail,
    /// See [`Verdict::Error`].
    Error,
    /// See [`Verdict::Unreachable`].
    Unreachable,
}

impl VerdictKind {
    /// The name that results use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Skip => "skip",
            Self::Xfail => "xfail",
            Self::Error => "error",
            Self::Unreachable => "unreachable",
        }
    }

    /// Whether a run with such a verdict has not come out as expected.
    #[must_use]
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Fail | Self::Error)
    }
}

impl fmt::Display for VerdictKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

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

    /// Why, where there is something to say.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Pass => None,
            Self::Fail(mismatches) => {
                Some(mismatches.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
            }
            Self::Skip { reason }
            | Self::Xfail { reason, .. }
            | Self::Error { reason }
            | Self::Unreachable { reason } => Some(reason.clone()),
        }
    }

    /// In what the trial departed from what was expected.
    #[must_use]
    pub fn mismatches(&self) -> &[Mismatch] {
        match self {
            Self::Fail(mismatches) | Self::Xfail { mismatches, .. } => mismatches,
            Self::Pass | Self::Skip { .. } | Self::Error { .. } | Self::Unreachable { .. } => &[],
        }
    }
}
