//! What the privileged benches share: whether this machine can run them, and what it means if it cannot.

use std::process::ExitCode;

use xdproof::{
    error::chain,
    program::Object,
    trial::{Lab, LabOptions},
};

/// Set to 1 by whoever must not mistake "nothing could be measured" for "nothing is slow".
const REQUIRE: &str = "XDPROOF_REQUIRE_PRIVILEGED";

/// Says why nothing can be measured here, if that is so; a failure where privilege is required.
pub(crate) fn obstacle(bench: &str) -> Option<ExitCode> {
    // The lab is closed at once: while one is open, the kernel counts the runs of every program, which slows them.
    let error = Lab::open(Object::default(), LabOptions::default()).err()?;
    eprintln!("{bench}: nothing is measured: {}", chain(&error));
    let required = std::env::var(REQUIRE).as_deref() == Ok("1");
    Some(if required { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
