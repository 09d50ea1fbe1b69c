//! The devices of a run, as the kernel and their drivers describe them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A device that took part in a run, as the kernel and its driver describe it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceRecord {
    pub role: PortRole,
    /// Its name in the `nic` of trials: its driver's, or the one that the user gave it.
    pub nic: String,
    /// Name of the network interface.
    pub name: String,
    /// Name of the driver in the kernel (`ETHTOOL_GDRVINFO`), or the kind of a virtual link.
    pub driver: String,
    /// The version of the driver, or the kernel's if the driver has none of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver_version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    /// Bus address: `0000:00:03.0`, `virtio0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus: Option<String>,
    /// PCI vendor and device: `8086:10d3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pci_id: Option<String>,
    /// Link-layer address with colons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_mbps: Option<u32>,
    /// MTU in bytes at the beginning of the run.
    pub mtu: u32,
    /// Maximum MTU in bytes without a program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_mtu: Option<u32>,
    /// Receive queues at creation.
    pub rx_queues: u32,
    /// Transmit queues at creation.
    pub tx_queues: u32,
    /// Descriptors in the rings; none where the driver does not report them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rings: Option<Rings>,
    /// Queues in use; none where the driver does not report them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Channels>,
    /// Offloads by the names that `ethtool -k` knows in long form (`rx-gro`, `rx-vlan-hw-parse`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub features: BTreeMap<String, Feature>,
    /// XDP features that the driver advertises (`NETDEV_A_DEV_XDP_FEATURES`), by their names in
    /// `Documentation/netlink/specs/netdev.yaml`; none where the kernel cannot be asked (before 6.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertised: Option<Vec<String>>,
    /// Counters that changed during the run: the kernel's own (`rx_packets`) and the driver's (`ethtool -S`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statistics: Vec<Statistic>,
    /// Effects of the path from the tester on frames, as measured; none for a tester.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathTraits>,
}

/// The role of a device in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PortRole {
    /// The device under test, to which the program is attached.
    Dut,
    /// The device that sends.
    Tester,
}

named!(PortRole { Dut = "DUT", Tester = "tester" });

/// Descriptors in a device's rings (`ETHTOOL_MSG_RINGS_GET`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rings {
    pub rx: u32,
    pub rx_max: u32,
    pub tx: u32,
    pub tx_max: u32,
}

/// A device's channels (`ETHTOOL_MSG_CHANNELS_GET`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Channels {
    pub rx: u32,
    pub rx_max: u32,
    pub tx: u32,
    pub tx_max: u32,
    /// Channels that receive and transmit.
    pub combined: u32,
    pub combined_max: u32,
}

/// The state of an offload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    pub on: bool,
    /// It can be turned on and off on this device.
    pub changeable: bool,
}

/// A counter of a device before and after the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Statistic {
    pub name: String,
    pub source: StatisticSource,
    /// Its value before the first frame.
    pub before: u64,
    /// Its value after the last frame.
    pub after: u64,
}

/// The owner of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StatisticSource {
    /// The kernel, with the same definition for all drivers (`struct rtnl_link_stats64`).
    Kernel,
    /// The driver, with a name of its own (`ethtool -S`).
    Driver,
}

/// Effects of a path on frames between the tester's socket and the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PathTraits {
    /// Length in bytes, without FCS, to which shorter frames are padded with zeros; 0 where they are not.
    pub padded_to: usize,
    /// Length in bytes, without FCS, of the shortest frame that arrives.
    pub shortest: usize,
    /// Maximum number of frames in flight of which none was lost.
    pub window: usize,
    /// Length in bytes, without FCS, of the longest frame that was tried and arrived.
    pub longest: usize,
}
