//! What took part in a run: the devices, what is peculiar about them, and what the kernel said meanwhile.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A device that took part in a run, as the kernel and its driver describe it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceRecord {
    /// Which end of the wire it was.
    pub role: PortRole,
    /// What results call it, in `nic`: its driver's name, or what the user called it.
    pub nic: String,
    /// Its name as a network interface.
    pub name: String,
    /// The kernel's name of its driver (`ETHTOOL_GDRVINFO`), or the kind of a virtual link.
    pub driver: String,
    /// The driver's version, where it has one of its own; most say the kernel's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver_version: Option<String>,
    /// The version of the firmware, where the driver tells one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    /// Its place on its bus: `0000:00:03.0`, `virtio0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus: Option<String>,
    /// PCI vendor and device, `8086:10d3`, where it is a PCI device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pci_id: Option<String>,
    /// Its address, with colons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The speed of its link in Mbit/s, where it tells one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_mbps: Option<u32>,
    /// Its MTU in bytes when it was found.
    pub mtu: u32,
    /// The greatest MTU in bytes that it takes without a program, where it tells one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_mtu: Option<u32>,
    /// Receive queues that the kernel has made room for.
    pub rx_queues: u32,
    /// Transmit queues that the kernel has made room for.
    pub tx_queues: u32,
    /// Descriptors in its rings, where it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rings: Option<Rings>,
    /// Queues in use, where it tells.
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
    /// What the path from the tester to this device does to frames, as probing found out; only of a DUT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathTraits>,
}

/// The end of the wire that a device was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PortRole {
    /// The device under test, to which the program is attached.
    Dut,
    /// The device that sends.
    Tester,
}

impl fmt::Display for PortRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dut => "DUT",
            Self::Tester => "tester",
        })
    }
}

/// Descriptors in a device's rings (`ETHTOOL_MSG_RINGS_GET`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rings {
    /// In use for receiving.
    pub rx: u32,
    /// The most that there can be for receiving.
    pub rx_max: u32,
    /// In use for sending.
    pub tx: u32,
    /// The most that there can be for sending.
    pub tx_max: u32,
}

/// A device's channels (`ETHTOOL_MSG_CHANNELS_GET`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Channels {
    /// That only receive.
    pub rx: u32,
    /// The most of them.
    pub rx_max: u32,
    /// That only send.
    pub tx: u32,
    /// The most of them.
    pub tx_max: u32,
    /// That do both.
    pub combined: u32,
    /// The most of them.
    pub combined_max: u32,
}

/// The state of an offload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// Whether it is on.
    pub on: bool,
    /// Whether it can be changed.
    pub changeable: bool,
}

/// A counter of a device before and after the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Statistic {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub source: StatisticSource,
    /// What it said before the first frame.
    pub before: u64,
    /// What it said after the last frame.
    pub after: u64,
}

/// Who keeps a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StatisticSource {
    /// The kernel, by a definition that is one for all (`struct rtnl_link_stats64`).
    Kernel,
    /// The driver, by a name of its own (`ethtool -S`).
    Driver,
}

/// What a path does to frames between the tester's socket and the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PathTraits {
    /// Frames that are shorter arrive padded with zeros to this many bytes, without FCS; 0 where nothing is padded.
    pub padded_to: usize,
    /// The shortest frame in bytes, without FCS, that arrives.
    pub shortest: usize,
    /// The most frames under way at once that all arrived.
    pub window: usize,
    /// The longest frame in bytes, without FCS, that was tried and arrived.
    pub longest: usize,
}
