//! What generic and native make of the same packets under `cargo test`: one trial a row and mode, each named like
//! `modes/a_packet_of_ten_segments_counts_once::generic`.
//!
//! Ignored without privilege, as in `conformance.rs`.

#[path = "gate/mod.rs"]
#[expect(dead_code, reason = "the rules have nothing to do with the corpus")]
mod gate;

use std::{collections::BTreeSet, process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Failed, Trial as Test};
use xdproof::{
    rules::{self, Bench, Rule},
    verdict::VerdictKind,
};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let obstacle = gate::obstacle();
    let bench = match Bench::open() {
        Ok(bench) => Some(Arc::new(bench)),
        Err(_) if obstacle.is_some() => None,
        Err(error) => return gate::broken(&error.to_string()),
    };
    let rules = rules::modes();
    let mut tests = vec![Test::test("every_rule_has_a_name_of_its_own_and_a_mode", named(&rules))];
    tests.extend(rules.into_iter().map(|rule| {
        let bench = bench.clone();
        Test::test(rule.id, move || hold(bench.as_deref(), &rule)).with_ignored_flag(obstacle.is_some())
    }));
    let conclusion = libtest_mimic::run(&arguments, tests);
    gate::conclude(&arguments, obstacle.as_deref(), &conclusion)
}

fn hold(bench: Option<&Bench>, rule: &Rule) -> Result<(), Failed> {
    let record = bench.ok_or("this machine cannot try rules")?.attempt(rule);
    match record.kind() {
        VerdictKind::Pass => Ok(()),
        VerdictKind::Skip => {
            println!("{record}");
            Ok(())
        }
        _ => Err(record.to_string().into()),
    }
}

fn named(rules: &[Rule]) -> impl FnOnce() -> Result<(), Failed> + Send + 'static {
    let ids: Vec<&'static str> = rules.iter().map(|rule| rule.id).collect();
    move || {
        let distinct: BTreeSet<&str> = ids.iter().copied().collect();
        if distinct.len() != ids.len() {
            return Err("two rules have the same name".into());
        }
        match ids.iter().find(|id| !id.ends_with("::generic") && !id.ends_with("::native")) {
            Some(id) => Err(format!("{id} does not say its mode").into()),
            None => Ok(()),
        }
    }
}
