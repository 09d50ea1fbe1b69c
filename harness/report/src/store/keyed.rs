//! The identities by which results are compared: of a trial or a test, and of the tested devices. Pure.

use std::collections::BTreeSet;

use xdproof_core::model::{AttachTestRecord, PortRole, RunResult, TrialRecord, VerdictKind};

/// Device and id, which identify a trial or a test within one environment.
pub(crate) type Key<'a> = (Option<&'a str>, &'a str);

/// A trial or an attach-semantics test.
pub(crate) trait Keyed: PartialEq {
    fn key(&self) -> Key<'_>;

    fn verdict(&self) -> VerdictKind;

    fn reason(&self) -> Option<&str>;
}

impl Keyed for TrialRecord {
    fn key(&self) -> Key<'_> {
        (self.nic.as_deref(), &self.id)
    }

    fn verdict(&self) -> VerdictKind {
        self.verdict
    }

    fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }
}

impl Keyed for AttachTestRecord {
    fn key(&self) -> Key<'_> {
        (Some(&self.nic), &self.id)
    }

    fn verdict(&self) -> VerdictKind {
        self.verdict
    }

    fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }
}

/// Returns the tested devices, as trials call them.
pub(super) fn nics(result: &RunResult) -> BTreeSet<&str> {
    let tested = result.devices.iter().filter(|device| device.role == PortRole::Dut);
    let tested: BTreeSet<&str> = tested.map(|device| device.nic.as_str()).collect();
    if tested.is_empty() {
        return result.trials.iter().filter_map(|trial| trial.nic.as_deref()).collect();
    }
    tested
}
