//! Testbeds: two linked ports, each in a namespace of its own, between which frames are sent.
//!
//! * [`Testbed`]: everything that trials, suites and measurements ask of a testbed. Its [`Facts`] are plain data, so that no other
//!   module asks which testbed it has.
//! * [`veth`]: veth pairs, created for each rig; needs no hardware.
//! * [`devices`]: two devices of this host, which are restored afterwards.

pub mod devices;
pub mod redirect_target;
pub mod veth;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use xdproof_netns::Error;

use crate::{
    model::{
        device::DeviceRecord,
        facts::{Facts, FrameFate},
        finding::Finding,
    },
    plan::needs::Needs,
};

pub use crate::ports::{Port, PortPair, Topology};
pub use crate::testbed::devices::inventory::StatisticsReading;
pub use crate::testbed::devices::pair::{ClaimOptions, DeviceError, DevicePair, NotRestored};
pub use crate::testbed::devices::prober::PathError;
pub use crate::testbed::devices::testbed::DeviceTestbed;
pub use crate::testbed::veth::{Spec, VethTestbed};

/// A place to attach programs to and to send frames through.
///
/// To add one, implement this trait and construct it in `cli/devices.rs`; nothing else asks what it is. Both ports must be
/// interfaces of this host, because a [`PortPair`] has a thread in the namespace of each.
pub trait Testbed: fmt::Debug + Send + Sync {
    /// Returns what is known of it without asking the kernel again.
    fn facts(&self) -> &Facts;

    /// Returns both ends, set up for the needs and running, with no program attached. Where the testbed is
    /// [exclusive](Facts::exclusive), it is the same pair each time.
    ///
    /// # Errors
    ///
    /// [`TestbedError::Incapable`] where the ports cannot meet the needs.
    fn acquire(&self, needs: &Needs) -> Result<Arc<PortPair>, TestbedError>;

    /// Waits for both ends after a program was attached, and turns off again what attaching has turned on.
    ///
    /// # Errors
    ///
    /// When an end does not come up again.
    fn settle(&self, ports: &PortPair) -> Result<(), TestbedError>;

    /// Turns offloads of the DUT on or off, after everything that changes them by itself, and waits until both ends run.
    ///
    /// # Errors
    ///
    /// [`TestbedError::Incapable`] where one cannot be changed.
    fn set_offloads(&self, ports: &PortPair, offloads: &BTreeMap<String, bool>) -> Result<(), TestbedError>;

    /// Waits until the last program that was attached is gone.
    fn wait_released(&self) -> Result<(), TestbedError>;

    /// Finds out, before any program is attached, which of these frames do not arrive as they should at an MTU. `tell` is told how many
    /// were sent, and how many of them were lost so far.
    fn survey(
        &self,
        mtu: u32,
        frames: &[&[u8]],
        tell: &mut dyn FnMut(usize, usize),
    ) -> Result<(), TestbedError>;

    /// Returns the longest frame in bytes, without FCS, that arrives at an MTU for which ports have been acquired.
    fn longest(&self, mtu: u32) -> Result<usize, TestbedError>;

    /// Returns what becomes of a frame that was [surveyed](Self::survey) and does not arrive as it should.
    fn fate(&self, frame: &[u8]) -> Option<FrameFate>;

    /// Sets the MTU of both ends beneath a program that is attached.
    ///
    /// # Errors
    ///
    /// [`TestbedError::Incapable`] where an end does not accept it.
    fn set_mtu(&self, ports: &PortPair, mtu: u32) -> Result<(), TestbedError>;

    /// Returns what keeps the devices from carrying frames, once it has lasted for a time: one is gone, down or has no carrier.
    fn fault(&self, _lasting: Duration) -> Option<Fault> {
        None
    }

    /// Returns the ports, where they are always the same pair.
    fn pair(&self) -> Option<Arc<PortPair>> {
        None
    }

    /// Returns the devices as they were found, the DUT first; none where the testbed creates its own.
    fn devices(&self) -> &[DeviceRecord] {
        &[]
    }

    /// Returns what a reader of the result has to know of the path.
    fn findings(&self) -> Vec<Finding> {
        Vec::new()
    }
}

/// A state of the devices in which no trial proves anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The device and its state, as a clause: `d0 has no carrier`.
    pub what: String,
    /// Set if waiting does not help.
    pub is_final: bool,
}

/// An error that leaves ports of no use.
#[derive(Debug, thiserror::Error)]
pub enum TestbedError {
    /// They cannot be what is needed: no such MTU, offload or number of queues.
    #[error("{0}")]
    Incapable(String),
    /// A namespace or a link failed.
    #[error("failed to {0}")]
    Network(#[from] Error),
    /// The path between two devices failed.
    #[error(transparent)]
    Path(PathError),
}
