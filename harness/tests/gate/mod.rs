//! What the privileged test binaries share: whether this machine can run trials, and what it means if it cannot.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Conclusion};
use xdproof::{
    error::chain,
    program::Object,
    trial::{Lab, LabOptions},
};
use xdproof_scenarios::{Scenario, load};

/// Set to 1 by whoever must not mistake "nothing could be tried" for "nothing is wrong".
const REQUIRE: &str = "XDPROOF_REQUIRE_PRIVILEGED";

/// The built-in corpus.
pub(crate) fn corpus() -> Result<&'static [Scenario], String> {
    let errors = match load::builtin() {
        Ok(scenarios) => return Ok(scenarios.leak()),
        Err(errors) => errors,
    };
    Err(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// Why no trial can run here, if that is so.
pub(crate) fn obstacle() -> Option<String> {
    Lab::open(Object::default(), LabOptions::default()).err().map(|error| chain(&error))
}

/// The exit code of a test binary: a run in which trials were left out, or in which there were none, is a failure where
/// privilege is required.
pub(crate) fn conclude(arguments: &Arguments, obstacle: Option<&str>, conclusion: &Conclusion) -> ExitCode {
    if let Some(reason) = obstacle {
        eprintln!("the privileged trials are ignored: {reason}");
    }
    let ran = conclusion.num_passed + conclusion.num_failed;
    let nothing = obstacle.is_some() || (ran == 0 && conclusion.num_filtered_out == 0);
    if nothing && !arguments.list && std::env::var(REQUIRE).as_deref() == Ok("1") {
        return broken(&format!("{REQUIRE}=1, and the privileged trials did not run"));
    }
    conclusion.exit_code()
}

/// Nothing can be tested at all.
pub(crate) fn broken(reason: &str) -> ExitCode {
    eprintln!("error: {reason}");
    ExitCode::FAILURE
}
