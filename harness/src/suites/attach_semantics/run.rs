//! Runs the suite on the testbed of a lab.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{
    error::chain,
    model::AttachTestRecord,
    suites::attach_semantics::{
        attach_cases::attach_cases,
        case::CaseTarget,
        mode_cases::mode_cases,
        suite::{AttachSuite, TargetDevice},
    },
    trial::Lab,
};

/// Runs every case that fits the testbed: all of them on links of our own, or those for any device on the user's DUT. Once
/// `cancelled` is set, no further case begins.
#[must_use]
pub fn run(lab: &Lab, cancelled: &AtomicBool) -> Vec<AttachTestRecord> {
    let suite = match AttachSuite::open() {
        Ok(suite) => suite,
        Err(error) => return vec![AttachTestRecord::not_run(chain(&error))],
    };
    let go_on = || !cancelled.load(Ordering::Relaxed);
    let Some(ports) = lab.testbed().pair() else {
        let cases = attach_cases().into_iter().chain(mode_cases());
        return cases.take_while(|_| go_on()).map(|case| suite.run(&case)).collect();
    };
    // There is one DUT: the program under test has to be detached first.
    lab.detach();
    let facts = lab.testbed().facts();
    let device = TargetDevice {
        worker: &ports.dut,
        index: ports.topology.dut.index,
        driver: &facts.driver,
        native: lab.attaches_natively(),
    };
    attach_cases()
        .into_iter()
        .filter(|case| matches!(case.target, CaseTarget::Device | CaseTarget::NativeDevice))
        .take_while(|_| go_on())
        .map(|case| AttachTestRecord { nic: facts.label.clone(), ..suite.run_on(&case, &device) })
        .collect()
}
