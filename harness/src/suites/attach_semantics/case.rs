//! A case: the fact that it tests, the device that it needs, and its steps.

use std::fmt;

use xdproof_netns::{VirtualKind, XdpMode};

use crate::suites::attach_semantics::{error::CaseError, fixture::AttachFixture, step::AttachStep};

/// A fact about attaching, and how it is tested.
#[derive(Debug)]
pub struct AttachCase {
    /// `attach/` and a fact, then `::` and the method (`netlink` or `bpf_link`); or `modes/`, then `::` and the mode.
    pub id: String,
    /// The row of [`ATTACHING`](super::ATTACHING) or [`DIFFERENCES`](super::DIFFERENCES) that it covers.
    pub row: &'static str,
    pub target: CaseTarget,
    pub(super) body: CaseBody,
}

/// Device that a case needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaseTarget {
    /// Any device.
    Device,
    /// Any device whose driver has native XDP.
    NativeDevice,
    /// A device that may be moved and deleted: a veth of our own, never hardware.
    Expendable,
    /// A veth pair with these numbers of queues at its ends.
    Veth {
        dut_queues: u32,
        tester_queues: u32,
    },
    Loopback,
    Virtual(VirtualKind),
}

impl CaseTarget {
    pub(super) const VETH: Self = Self::Veth { dut_queues: 1, tester_queues: 1 };

    /// Returns any device that has `mode`.
    pub(super) fn with(mode: XdpMode) -> Self {
        if mode == XdpMode::Native { Self::NativeDevice } else { Self::Device }
    }
}

/// A test that steps cannot express.
pub(super) type CaseFunction = Box<dyn Fn(&mut AttachFixture<'_>) -> Result<(), CaseError> + Send + Sync>;

pub(super) enum CaseBody {
    /// Steps in order: after each, the reply and the attached program must be the expected ones.
    Steps(Vec<AttachStep>),
    /// A function, which gets programs of its own that have counted nothing.
    Function(CaseFunction),
}

impl fmt::Debug for CaseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps(steps) => f.debug_tuple("Steps").field(steps).finish(),
            Self::Function(_) => f.write_str("Function"),
        }
    }
}

impl AttachCase {
    /// Begins a case about attaching, whose steps follow by [`then`](Self::then).
    pub(super) fn of_steps(row: &'static str, target: CaseTarget, name: &str) -> Self {
        Self { id: format!("attach/{name}"), row, target, body: CaseBody::Steps(Vec::new()) }
    }

    pub(super) fn then(mut self, step: AttachStep) -> Self {
        if let CaseBody::Steps(steps) = &mut self.body {
            steps.push(step);
        }
        self
    }

    pub(super) fn of_function(
        row: &'static str,
        target: CaseTarget,
        id: &str,
        function: impl Fn(&mut AttachFixture<'_>) -> Result<(), CaseError> + Send + Sync + 'static,
    ) -> Self {
        Self { id: id.to_owned(), row, target, body: CaseBody::Function(Box::new(function)) }
    }
}
