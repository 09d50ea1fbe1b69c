//! Runs the suite on the testbed of a lab.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{
    error::chain,
    model::result::RuleResult,
    suites::attach_semantics::{
        attach_cases::table,
        case::{Ground, Rule, RuleRecord},
        fixture::{Bench, Device},
        mode_cases::modes,
    },
    trial::Lab,
};

/// Runs every test case that fits the testbed: all of them on links of our own, or those for any device on the user's DUT. Once
/// `cancelled` is set, no further case is begun.
#[must_use]
pub fn run(lab: &Lab, cancelled: &AtomicBool) -> Vec<RuleResult> {
    let Some(ports) = lab.testbed().pair() else {
        return attempt(table().into_iter().chain(modes()), cancelled, Bench::attempt);
    };
    // There is one DUT: the program under test has to be detached first.
    lab.detach();
    let facts = lab.testbed().facts();
    let device = Device {
        worker: &ports.dut,
        index: ports.topology.dut.index,
        driver: &facts.driver,
        native: lab.attaches_natively(),
    };
    let fits = |rule: &Rule| matches!(rule.ground, Ground::Device | Ground::NativeDevice);
    let results =
        attempt(table().into_iter().filter(fits), cancelled, |bench, rule| bench.attempt_on(rule, &device));
    results.into_iter().map(|result| RuleResult { nic: facts.label.clone(), ..result }).collect()
}

fn attempt(
    rules: impl Iterator<Item = Rule>,
    cancelled: &AtomicBool,
    attempt: impl Fn(&Bench, &Rule) -> RuleRecord,
) -> Vec<RuleResult> {
    let bench = match Bench::open() {
        Ok(bench) => bench,
        Err(error) => return vec![RuleResult::not_tried(chain(&error))],
    };
    rules
        .take_while(|_| !cancelled.load(Ordering::Relaxed))
        .map(|rule| attempt(&bench, &rule).into())
        .collect()
}
