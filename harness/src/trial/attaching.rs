//! Attaching a program to the DUT of a testbed: once for trials, suites and measurements.

use std::sync::Arc;

use rustix::io::Errno;
use xdproof_netns::XdpMode;

use crate::{
    error::chain,
    plan::{needs::Needs, support::Refusal},
    program::{Attachment, ProgramError, Subject},
    testbed::{PortPair, Testbed, TestbedError},
};

/// Why there is no program at the DUT, or no rig around it.
#[derive(Clone, Debug)]
pub(crate) enum NoRig {
    /// The kernel or the driver refuses the program.
    Refused(Refusal),
    /// The ports cannot be what is needed: no such MTU, offload or number of queues.
    Incapable(String),
    /// The program is attached, frames arrive without it, and none reaches it.
    NoTraffic(String),
    /// Something else failed.
    Failed(String),
}

impl NoRig {
    pub(crate) fn failed(error: impl std::error::Error) -> Self {
        Self::Failed(chain(&error))
    }

    /// Returns the reason, whichever it is.
    pub(crate) fn into_reason(self) -> String {
        match self {
            Self::Refused(Refusal { answer: reason, .. })
            | Self::Incapable(reason)
            | Self::NoTraffic(reason)
            | Self::Failed(reason) => reason,
        }
    }
}

impl From<TestbedError> for NoRig {
    fn from(error: TestbedError) -> Self {
        match error {
            TestbedError::Incapable(reason) => Self::Incapable(reason),
            error => Self::failed(error),
        }
    }
}

/// A program that is attached to the DUT.
#[derive(Debug)]
// The order of the fields is the order in which they are dropped: the program is detached before its device goes.
pub(crate) struct AtDut {
    pub(crate) attachment: Attachment,
    pub(crate) counter: Subject,
    pub(crate) ports: Arc<PortPair>,
}

/// Acquires ports for the needs and attaches a program to the DUT; the mode is read back.
pub(crate) fn attach_at_dut(
    testbed: &dyn Testbed,
    needs: &Needs,
    counter: Subject,
    mode: XdpMode,
) -> Result<AtDut, NoRig> {
    let ports = testbed.acquire(needs)?;
    let attachment = attach(&counter, &ports, mode)?;
    testbed.settle(&ports)?;
    Ok(AtDut { attachment, counter, ports })
}

/// Attaches a program to the DUT.
fn attach(subject: &Subject, ports: &PortPair, mode: XdpMode) -> Result<Attachment, NoRig> {
    let attached = subject.program.attach(&ports.dut, ports.topology.dut.index, Some(mode));
    attached.map_err(|error| match &error {
        ProgramError::Refused { answer, .. } => {
            NoRig::Refused(Refusal { errno: Errno::from_io_error(answer), answer: error.to_string() })
        }
        _ => NoRig::failed(error),
    })
}
