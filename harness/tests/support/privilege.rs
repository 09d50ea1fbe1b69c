//! Privilege of a test binary: whether this machine can run trials, and the exit code if it cannot.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Conclusion};
use xdproof::{
    error::chain,
    program::Object,
    trial::{Lab, LabOptions},
};

/// Set to 1 where skipped tests are a failure, as in CI.
const REQUIRE: &str = "XDPROOF_REQUIRE_PRIVILEGED";

/// Returns why no trial can run here, if that is so.
pub(crate) fn obstacle() -> Option<String> {
    Lab::open(Object::default(), LabOptions::default()).err().map(|error| chain(&error))
}

/// Returns the exit code of a test binary: a run that skipped trials, or that had none, is a failure where privilege is
/// required.
pub(crate) fn conclude(arguments: &Arguments, obstacle: Option<&str>, conclusion: &Conclusion) -> ExitCode {
    if let Some(reason) = obstacle {
        eprintln!("the privileged tests are ignored: {reason}");
    }
    let ran = conclusion.num_passed + conclusion.num_failed;
    let nothing = obstacle.is_some() || (ran == 0 && conclusion.num_filtered_out == 0);
    if nothing && !arguments.list && std::env::var(REQUIRE).as_deref() == Ok("1") {
        return broken(&format!("{REQUIRE}=1, and the privileged tests did not run"));
    }
    conclusion.exit_code()
}

/// Reports that nothing can be tested at all.
pub(crate) fn broken(reason: &str) -> ExitCode {
    eprintln!("error: {reason}");
    ExitCode::FAILURE
}
