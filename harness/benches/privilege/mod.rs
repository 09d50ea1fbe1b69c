//! Privilege of a bench: whether this machine can run it, and the exit code if it cannot.

use std::process::ExitCode;

use xdproof::{
    error::chain,
    program::Object,
    trial::{Lab, LabOptions},
};

/// Set to 1 where a skipped bench is a failure, as in CI.
const REQUIRE: &str = "XDPROOF_REQUIRE_PRIVILEGED";

/// Prints why nothing can be measured here, if that is so, and returns the exit code: a failure where privilege is required.
pub(crate) fn obstacle(bench: &str) -> Option<ExitCode> {
    // The lab is closed at once: while it is open, the kernel counts the runs of every program, which slows them.
    let error = Lab::open(Object::default(), LabOptions::default()).err()?;
    eprintln!("{bench}: nothing is measured: {}", chain(&error));
    let required = std::env::var(REQUIRE).as_deref() == Ok("1");
    Some(if required { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
