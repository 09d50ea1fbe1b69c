//! What generic and native make of the same packets under `cargo test`: one trial a row and mode, each named like
//! `modes/a_packet_of_ten_segments_counts_once::generic`.
//!
//! Ignored without privilege, as in `conformance.rs`.

#[path = "gate/mod.rs"]
#[expect(dead_code, reason = "the rules have nothing to do with the corpus")]
mod gate;
#[path = "trying/mod.rs"]
mod trying;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial as Test};
use xdproof::{
    model::verdict::VerdictKind,
    suites::attach_semantics::{self, Bench},
};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let obstacle = gate::obstacle();
    let bench = match trying::bench(obstacle.as_deref()) {
        Ok(bench) => bench,
        Err(error) => return gate::broken(&error),
    };
    let mut tests = trying::trials(bench.as_ref(), attach_semantics::modes(), obstacle.is_some());
    tests.push(Test::test("every_rule_has_a_name_of_its_own_and_a_mode", || {
        trying::named(&attach_semantics::modes(), ["::generic", "::native"])
    }));
    // This binary is the one that does not call `hold_if_asked`.
    tests.push(
        Test::test("a_program_that_cannot_hold_another_is_not_started_again", move || {
            starts_nothing(bench.as_deref())
        })
        .with_ignored_flag(obstacle.is_some()),
    );
    let conclusion = libtest_mimic::run(&arguments, tests);
    gate::conclude(&arguments, obstacle.as_deref(), &conclusion)
}

fn starts_nothing(bench: Option<&Bench>) -> Result<(), Failed> {
    let bench = bench.ok_or("this machine cannot try rules")?;
    let rule = attach_semantics::table()
        .into_iter()
        .find(|rule| rule.id == "attach/dies_with_its_process::bpf_link");
    let record = bench.attempt(&rule.ok_or("the rule is gone")?);
    if record.kind() == VerdictKind::Error
        && record.verdict.reason().is_some_and(|why| why.contains("hold_if_asked"))
    {
        Ok(())
    } else {
        Err(record.to_string().into())
    }
}
