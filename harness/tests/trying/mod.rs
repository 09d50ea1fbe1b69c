//! What the test binaries about rules share: a rule as a trial, and when it may be left out.

use std::{collections::BTreeSet, sync::Arc};

use libtest_mimic::{Completion, Failed, Trial as Test};
use xdproof::{
    host::kernel::kernel_version,
    model::verdict::VerdictKind,
    suites::attach_semantics::{Bench, Rule},
};
use xdproof_scenarios::KernelVersion;

/// The first kernel that tells XDP features.
const FEATURES_KERNEL: KernelVersion = KernelVersion { major: 6, minor: 3, patch: 0 };

/// A trial for each rule.
pub(crate) fn trials(bench: Option<&Arc<Bench>>, rules: Vec<Rule>, ignored: bool) -> Vec<Test> {
    let trial = |rule: Rule| {
        let bench = bench.cloned();
        Test::ignorable_test(rule.id, move || hold(bench.as_deref(), &rule)).with_ignored_flag(ignored)
    };
    rules.into_iter().map(trial).collect()
}

/// The programs that rules attach, if this machine can try rules at all.
pub(crate) fn bench(obstacle: Option<&str>) -> Result<Option<Arc<Bench>>, String> {
    match Bench::open() {
        Ok(bench) => Ok(Some(Arc::new(bench))),
        Err(_) if obstacle.is_some() => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

fn hold(bench: Option<&Bench>, rule: &Rule) -> Result<Completion, Failed> {
    let record = bench.ok_or("this machine cannot try rules")?.attempt(rule);
    match record.kind() {
        VerdictKind::Pass => Ok(Completion::Completed),
        VerdictKind::Skip if may_be_left_out(rule) => {
            Ok(Completion::ignored_with(record.verdict.reason().unwrap_or_default()))
        }
        _ => Err(record.to_string().into()),
    }
}

/// What this machine need not have. Anything else that is left out is a failure.
fn may_be_left_out(rule: &Rule) -> bool {
    let what = rule.id;
    // A module that a kernel may be built without.
    let module = what.contains("_on_dummy_") || what.contains("_on_ifb_") || what.contains("ifb_advertises");
    // veth has neither LRO nor GRO_HW.
    let device = what.starts_with("modes/attaching_turns_lro_and_gro_hw_off");
    let kernel = what.contains("advertises") && kernel_version().is_ok_and(|kernel| kernel < FEATURES_KERNEL);
    module || device || kernel
}

/// No two rules have one id, and each ends in one of these.
pub(crate) fn named(rules: &[Rule], endings: [&str; 2]) -> Result<(), Failed> {
    let distinct: BTreeSet<&str> = rules.iter().map(|rule| rule.id).collect();
    if distinct.len() != rules.len() {
        return Err("two rules have the same name".into());
    }
    match distinct.iter().find(|id| !endings.iter().any(|ending| id.ends_with(ending))) {
        Some(id) => Err(format!("{id} ends in none of {endings:?}").into()),
        None => Ok(()),
    }
}
