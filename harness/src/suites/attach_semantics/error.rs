//! Reasons for which a case has no verdict, or none of its own.

use std::io;

use crate::{inject::tc_tools::ToolError, program::ProgramError};

/// Reason for which a case cannot be run, or not to its end. A reply that differs from the expected one is no error: it is a
/// step of the record, and [`CaseError::Mismatch`] only ends the case.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// The machine or the device is known to lack what the case is about: the case is skipped.
    #[error("{reason}")]
    NotApplicable { reason: String },
    /// The programs cannot be loaded.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// A namespace or a link failed outside of what the case tests.
    #[error("failed to {0}")]
    Network(#[from] xdproof_netns::Error),
    /// A program beside the counter cannot be used.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A system call of the case, or its holder process, failed.
    #[error("failed to {action}")]
    Process { action: &'static str, source: io::Error },
    /// The case acts on something that its target does not have: a fault in the case.
    #[error("the case has {missing} to act on")]
    InvalidCase { missing: &'static str },
    #[error("{awaited} did not happen in time")]
    Timeout { awaited: &'static str },
    /// A step did not match; the rest of the case did not run.
    #[error("a step did not match")]
    Mismatch,
}

/// Returns a conversion of an I/O error of `action`.
pub(super) fn failed_to(action: &'static str) -> impl Fn(io::Error) -> CaseError {
    move |source| CaseError::Process { action, source }
}
