//! Settings of a device as they were before a run: everything that a move to another namespace takes away (addresses, routes,
//! neighbours, sysctls below `/proc/sys/net`, name and index) and everything that a trial may change (MTU, flags, offloads,
//! rings, channels, the XDP program).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xdproof_netns::{
    Channels, Error, Host, IfIndex, Link, LinkName, LinkSettings, MacAddr, Record, RecordKind, Rings, XdpMode,
};

use crate::model::device::PortRole;

/// All settings of a device. The aliases are the names in journals of version 0.1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeviceSettings {
    pub role: PortRole,
    pub name: LinkName,
    pub index: IfIndex,
    /// Kind of a virtual link.
    pub kind: Option<String>,
    /// Name of the parent device on its bus.
    pub parent: Option<String>,
    pub link: LinkSettings,
    /// Bridge or bond that the device is a port of.
    #[serde(alias = "controller")]
    pub master: Option<LinkName>,
    /// Ports of a bridge, bond or other master device.
    #[serde(default)]
    pub ports: Vec<PortSettings>,
    /// The kernel refused to move the device: it was isolated in its namespace.
    #[serde(default, alias = "stays")]
    pub stays_in_place: bool,
    /// Things that a move destroys and that the user has sacrificed with `--force`, in words.
    #[serde(alias = "forgone")]
    pub lost_by_move: Vec<String>,
    /// Up and with a carrier.
    pub running: bool,
    /// Root qdisc.
    #[serde(alias = "discipline")]
    pub qdisc: Option<String>,
    pub rings: Option<Rings>,
    pub channels: Option<Channels>,
    pub offloads: StoredOffloads,
    /// XDP programs attached by netlink.
    #[serde(alias = "xdp")]
    pub programs: Vec<AttachedProgram>,
    /// Sysctls below `/proc/sys/net`, with `*` for the name of the device.
    #[serde(alias = "switches")]
    pub sysctls: BTreeMap<String, String>,
    /// Addresses, in the kernel's order.
    pub addresses: Vec<StoredRecord>,
    /// Routes of all tables.
    pub routes: Vec<StoredRecord>,
    /// Permanent neighbours and proxies.
    pub neighbours: Vec<StoredRecord>,
    /// An earlier attempt has restored it: whatever differs since then is meant so.
    #[serde(default)]
    pub is_restored: bool,
    /// Link-layer group addresses that someone has set.
    #[serde(default)]
    pub multicast: Vec<MacAddr>,
}

/// Settings that a trial may change at a port of a device that stays in place: a bond passes its MTU on to its ports
/// (`bond_change_mtu()` of `drivers/net/bonding/bond_main.c`), and their offloads change frames before the bond receives them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PortSettings {
    pub name: LinkName,
    pub mtu: u32,
    pub offloads: StoredOffloads,
}

/// Offloads by the kernel's names.
pub(super) type StoredOffloads = BTreeMap<String, StoredOffload>;

/// State of an offload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredOffload {
    /// Requested.
    pub wanted: bool,
    pub on: bool,
}

/// An XDP program attached by netlink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AttachedProgram {
    pub mode: XdpMode,
    pub id: u32,
}

impl AttachedProgram {
    /// Returns the file name of its pin.
    pub(super) fn pin(self, role: PortRole) -> String {
        format!("{role}-{}", self.mode).to_lowercase()
    }
}

/// An address, a route or a neighbour as the kernel reported it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredRecord {
    /// Description for people who read the journal.
    #[serde(alias = "says")]
    pub text: String,
    /// Message behind its netlink header, in the machine's byte order.
    #[serde(with = "hex::serde")]
    pub body: Vec<u8>,
}

impl StoredRecord {
    pub(super) fn list(records: &[Record]) -> Vec<Self> {
        let store = |record: &Record| Self { text: record.to_string(), body: record.body().to_vec() };
        records.iter().map(store).collect()
    }

    pub(super) fn parse(stored: &[Self], kind: RecordKind) -> Vec<Record> {
        stored.iter().filter_map(|stored| Record::new(kind, stored.body.clone()).ok()).collect()
    }
}

/// All kinds of records, in an order in which they can be added.
pub(super) const RECORD_KINDS: [RecordKind; 3] =
    [RecordKind::Address, RecordKind::Route, RecordKind::Neighbour];

impl DeviceSettings {
    /// Reads all settings of a link.
    pub(super) fn read(host: &mut Host, role: PortRole, link: &Link) -> Result<Self, Error> {
        let index = link.index;
        let [addresses, routes, neighbours] =
            RECORD_KINDS.map(|kind| host.records(kind, index).map(|records| StoredRecord::list(&records)));
        let ports = host.links()?.into_iter().filter(|port| port.master == Some(index)).map(|port| {
            let offloads = read_offloads(host, port.index)?;
            Ok(PortSettings { name: port.name, mtu: port.settings.mtu, offloads })
        });
        Ok(Self {
            role,
            name: link.name.clone(),
            index,
            kind: link.kind.clone(),
            parent: link.parent.clone(),
            link: link.settings.clone(),
            ports: ports.collect::<Result<_, Error>>()?,
            master: link
                .master
                .map(|master| host.link_by_index(master))
                .transpose()?
                .map(|master| master.name),
            stays_in_place: false,
            lost_by_move: Vec::new(),
            running: link.running,
            qdisc: link.qdisc.clone(),
            rings: host.rings(index)?,
            channels: host.channels(index)?,
            offloads: read_offloads(host, index)?,
            programs: link.xdp.iter().map(|(mode, id)| AttachedProgram { mode, id }).collect(),
            sysctls: host.sysctls(&link.name)?,
            addresses: addresses?,
            routes: routes?,
            neighbours: neighbours?,
            is_restored: false,
            multicast: host.multicast_addresses(index)?,
        })
    }

    /// Returns the records of one kind.
    pub(super) fn records(&self, kind: RecordKind) -> Vec<Record> {
        let stored = match kind {
            RecordKind::Address => &self.addresses,
            RecordKind::Route => &self.routes,
            RecordKind::Neighbour => &self.neighbours,
        };
        StoredRecord::parse(stored, kind)
    }

    /// Returns true if a link is this device, and not another one of the same name. A device keeps its kind and its place on
    /// its bus, and at least one of its index and its link-layer address.
    pub(super) fn is(&self, link: &Link) -> bool {
        let same = link.index == self.index || link.settings.mac == self.link.mac;
        link.kind == self.kind && link.parent == self.parent && same
    }
}

fn read_offloads(host: &mut Host, index: IfIndex) -> Result<StoredOffloads, Error> {
    let offloads = host.offloads(index)?;
    // A bit that this kernel no longer uses has no name.
    let named = offloads.iter().filter(|(name, _)| !name.is_empty());
    Ok(named
        .map(|(name, state)| (name.to_string(), StoredOffload { wanted: state.wanted, on: state.active }))
        .collect())
}
