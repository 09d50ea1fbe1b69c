//! Differences between generic and native mode under `cargo test`: one trial a row and mode, each named like
//! `modes/a_packet_of_ten_segments_counts_once::generic`.
//!
//! Ignored without privilege, as in `conformance.rs`.

#[path = "support/attach_suite.rs"]
mod attach_suite;
#[path = "support/privilege.rs"]
mod privilege;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial as Test};
use xdproof::{
    model::verdict::VerdictKind,
    suites::attach_semantics::{AttachSuite, attach_cases, mode_cases},
};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let obstacle = privilege::obstacle();
    let suite = match attach_suite::open(obstacle.as_deref()) {
        Ok(suite) => suite,
        Err(error) => return privilege::broken(&error),
    };
    let mut tests = attach_suite::trials(suite.as_ref(), mode_cases(), obstacle.is_some());
    tests.push(Test::test("every_case_has_an_id_of_its_own_and_a_mode", || {
        attach_suite::check_ids(&mode_cases(), 23, ["::generic", "::native"])
    }));
    // This binary is the one that does not call `hold_if_asked`.
    tests.push(
        Test::test("a_program_that_cannot_hold_another_is_not_started_again", move || {
            starts_nothing(suite.as_deref())
        })
        .with_ignored_flag(obstacle.is_some()),
    );
    let conclusion = libtest_mimic::run(&arguments, tests);
    privilege::conclude(&arguments, obstacle.as_deref(), &conclusion)
}

fn starts_nothing(suite: Option<&AttachSuite>) -> Result<(), Failed> {
    let suite = suite.ok_or("this machine cannot run attach-semantics tests")?;
    let case = attach_cases().into_iter().find(|case| case.id == "attach/dies_with_its_process::bpf_link");
    let result = suite.run(&case.ok_or("the case is gone")?);
    let reason = result.reason.as_deref().unwrap_or_default();
    if result.verdict == VerdictKind::Error && reason.contains("hold_if_asked") {
        Ok(())
    } else {
        Err(attach_suite::describe(&result).into())
    }
}
