//! Attaching a program to the DUT of a testbed, for trials, suites and measurements alike.

use std::sync::Arc;

use rustix::io::Errno;
use xdproof_netns::XdpMode;

use crate::{
    error::chain,
    plan::{needs::Needs, support::Refusal},
    program::{Attachment, Program, ProgramError},
    testbed::{PortPair, Testbed, TestbedError},
};

/// The reason why there is no program at the DUT, or no rig around it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoRig {
    /// The kernel or the driver refuses the program.
    #[error("{}", .0.answer)]
    Refused(Refusal),
    /// The ports cannot be what is needed: no such MTU, offload or number of queues.
    #[error("{0}")]
    Incapable(String),
    /// The program is attached, frames arrive without it, and none reaches it.
    #[error("{0}")]
    NoTraffic(String),
    /// Another error.
    #[error("{0}")]
    Failed(String),
}

impl NoRig {
    pub(crate) fn failed(error: impl std::error::Error) -> Self {
        Self::Failed(chain(&error))
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

/// Acquires ports for the needs and attaches a program to the DUT; the mode is read back.
pub(crate) fn attach_at_dut(
    testbed: &dyn Testbed,
    needs: &Needs,
    program: &Program,
    mode: XdpMode,
) -> Result<(Attachment, Arc<PortPair>), NoRig> {
    let ports = testbed.acquire(needs)?;
    let attachment = program.attach(&ports.dut, ports.topology.dut.index, Some(mode));
    let attachment = attachment.map_err(|error| match &error {
        ProgramError::Refused { answer, .. } => {
            NoRig::Refused(Refusal { errno: Errno::from_io_error(answer), answer: error.to_string() })
        }
        _ => NoRig::failed(error),
    })?;
    testbed.settle(&ports)?;
    Ok((attachment, ports))
}
