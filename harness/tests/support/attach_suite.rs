//! Attach-semantics cases as trials, and the cases that a machine may skip.

use std::{collections::BTreeSet, sync::Arc};

use libtest_mimic::{Completion, Failed, Trial as Test};
use xdproof::{
    host::kernel::kernel_version,
    model::{result::AttachTestRecord, verdict::VerdictKind},
    suites::attach_semantics::{AttachCase, AttachSuite},
};
use xdproof_scenarios::KernelVersion;

/// The first kernel that tells XDP features.
const FEATURES_KERNEL: KernelVersion = KernelVersion { major: 6, minor: 3, patch: 0 };

/// Returns a trial for each case.
pub(crate) fn trials(suite: Option<&Arc<AttachSuite>>, cases: Vec<AttachCase>, ignored: bool) -> Vec<Test> {
    let trial = |case: AttachCase| {
        let suite = suite.cloned();
        Test::ignorable_test(case.id.clone(), move || run(suite.as_deref(), &case)).with_ignored_flag(ignored)
    };
    cases.into_iter().map(trial).collect()
}

/// Opens the suite, which only a machine with an obstacle may fail to do.
pub(crate) fn open(obstacle: Option<&str>) -> Result<Option<Arc<AttachSuite>>, String> {
    match AttachSuite::open() {
        Ok(suite) => Ok(Some(Arc::new(suite))),
        Err(_) if obstacle.is_some() => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

fn run(suite: Option<&AttachSuite>, case: &AttachCase) -> Result<Completion, Failed> {
    let result = suite.ok_or("this machine cannot run attach-semantics tests")?.run(case);
    match result.verdict {
        VerdictKind::Pass => Ok(Completion::Completed),
        VerdictKind::Skip if may_be_skipped(case) => {
            Ok(Completion::ignored_with(result.reason.unwrap_or_default()))
        }
        _ => Err(describe(&result).into()),
    }
}

/// Describes a result with every step.
pub(crate) fn describe(result: &AttachTestRecord) -> String {
    let AttachTestRecord { id, nic, verdict, reason, steps, .. } = result;
    let steps = steps.iter().map(|step| {
        let mark = if step.expected == step.observed { "as expected" } else { "NOT as expected" };
        let (action, expected, observed) = (&step.action, &step.expected, &step.observed);
        format!("\n  {action}\n    expected: {expected}\n    observed: {observed} ({mark})")
    });
    let reason = reason.as_deref().unwrap_or("no reason");
    format!("{id} on {nic}: {verdict}: {reason}{}", steps.collect::<String>())
}

/// Returns whether a machine may lack what a case needs. Any other skip is a failure.
fn may_be_skipped(case: &AttachCase) -> bool {
    let id = &case.id;
    // A module that a kernel may be built without.
    let module = id.contains("_on_dummy_") || id.contains("_on_ifb_") || id.contains("ifb_advertises");
    // veth has neither LRO nor GRO_HW.
    let device = id.starts_with("modes/attaching_turns_lro_and_gro_hw_off");
    let kernel = id.contains("advertises") && kernel_version().is_ok_and(|kernel| kernel < FEATURES_KERNEL);
    module || device || kernel
}

/// Fails unless there are `count` cases, each with an id of its own that ends in one of `endings`.
pub(crate) fn check_ids(cases: &[AttachCase], count: usize, endings: [&str; 2]) -> Result<(), Failed> {
    let distinct: BTreeSet<&str> = cases.iter().map(|case| case.id.as_str()).collect();
    if (distinct.len(), cases.len()) != (count, count) {
        let (distinct, cases) = (distinct.len(), cases.len());
        return Err(format!("expected {count} cases, got {cases} with {distinct} different ids").into());
    }
    match distinct.iter().find(|id| !endings.iter().any(|ending| id.ends_with(ending))) {
        Some(id) => Err(format!("{id} ends in none of {endings:?}").into()),
        None => Ok(()),
    }
}
