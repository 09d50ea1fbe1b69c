//! A veth pair between two unnamed namespaces: the tester's end and the DUT's end.
//!
//! Promises: nothing speaks on the pair but the trial (IPv6, ARP and receive offloads that merge frames are off), and the
//! kernel takes all of it back when this is dropped or the process dies.

use std::time::Duration;

use xdproof_netns::{Error, LinkName, LinkSetting, MacAddr, NetNs, VethEnd, VethSpec, Worker};
use xdproof_scenarios::{DUT_MAC, TESTER_MAC};

use crate::testbed::{Port, PortPair, Topology};

/// The kernel's name of the driver.
pub const DRIVER: &str = "veth";

/// Frames of 1,500 bytes of payload behind two VLAN tags fit (`packet_snd`: `AF_PACKET` forgives one outer 0x8100 tag, and
/// no 0x88a8 one).
pub const DEFAULT_MTU: u32 = 1508;

/// The largest MTU of a link (`ETH_MAX_MTU`).
pub const MAX_MTU: u32 = 65_535;

/// How long a link may take to come up. It takes microseconds; the rest is for a machine under load.
const LINK_UP: Duration = Duration::from_secs(5);

/// What a testbed is built like. Two testbeds of one spec are interchangeable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spec {
    /// MTU of both ends in bytes, without the Ethernet header.
    pub mtu: u32,
    /// Receive and transmit queues of both ends.
    pub queues: u32,
}

impl Default for Spec {
    fn default() -> Self {
        Self { mtu: DEFAULT_MTU, queues: 1 }
    }
}

impl PortPair {
    /// Makes two namespaces, a veth pair between them, and brings it up. Needs `CAP_SYS_ADMIN` and `CAP_NET_ADMIN`.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn veth(spec: Spec) -> Result<Self, Error> {
        let tester = Worker::spawn(&NetNs::create()?, "tester")?;
        let dut = Worker::spawn(&NetNs::create()?, "dut")?;
        let end = |name: &str, mac| -> Result<VethEnd, Error> {
            Ok(VethEnd {
                name: name.parse()?,
                mac: MacAddr(mac),
                mtu: spec.mtu,
                rx_queues: spec.queues,
                tx_queues: spec.queues,
            })
        };
        let pair = VethSpec { near: end("tester", TESTER_MAC)?, far: end("dut", DUT_MAC)? };
        let names = (pair.near.name.clone(), pair.far.name.clone());
        let far = dut.namespace().clone();
        tester.call(move |host| host.create_veth(&pair, &far))?;
        let topology = Topology { tester: bring_up(&tester, names.0)?, dut: bring_up(&dut, names.1)? };
        for (worker, port) in [(&tester, &topology.tester), (&dut, &topology.dut)] {
            let index = port.index;
            worker.call(move |host| host.wait_running(index, LINK_UP))?;
        }
        Ok(Self { topology, tester, dut })
    }
}

/// Brings a link up that is to say nothing by itself.
pub(super) fn bring_up(worker: &Worker, name: LinkName) -> Result<Port, Error> {
    worker.call(move |host| {
        let link = host.link(&name)?;
        host.set_link(link.index, &LinkSetting::Arp(false))?;
        host.set_up(link.index, true)?;
        let mac = link.settings.mac.unwrap_or(MacAddr([0; 6]));
        Ok(Port { index: link.index, name, mac })
    })
}
