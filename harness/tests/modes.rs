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

use libtest_mimic::{Arguments, Trial as Test};
use xdproof::rules;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let obstacle = gate::obstacle();
    let bench = match trying::bench(obstacle.as_deref()) {
        Ok(bench) => bench,
        Err(error) => return gate::broken(&error),
    };
    let mut tests = trying::trials(bench.as_ref(), rules::modes(), obstacle.is_some());
    tests.push(Test::test("every_rule_has_a_name_of_its_own_and_a_mode", || {
        trying::named(&rules::modes(), ["::generic", "::native"])
    }));
    let conclusion = libtest_mimic::run(&arguments, tests);
    gate::conclude(&arguments, obstacle.as_deref(), &conclusion)
}
