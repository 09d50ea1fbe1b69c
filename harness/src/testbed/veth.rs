//! A veth pair between two unnamed namespaces: the tester's end and the DUT's end.
//!
//! Promises: nothing speaks on the pair but the trial (IPv6, ARP and receive offloads that merge frames are off), and the
//! kernel takes all of it back when this is dropped or the process dies.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use xdproof_netns::{Error, LinkName, LinkSetting, MacAddr, NetNs, VethEnd, VethSpec, Worker};
use xdproof_scenarios::{DUT_MAC, TESTER_MAC};

use crate::{
    inject::cpu,
    model::facts::{DEFAULT_MTU, Facts, FrameFate},
    plan::needs::Needs,
    testbed::{Port, PortPair, Testbed, TestbedError, Topology},
};

/// Time that a link may take to come up. It takes microseconds; the rest is for a machine under load.
pub(super) const LINK_UP: Duration = Duration::from_secs(30);

/// Veth pairs between unnamed namespaces, one for each rig.
#[derive(Debug)]
pub struct VethTestbed {
    facts: Facts,
}

impl Default for VethTestbed {
    fn default() -> Self {
        // Without them, nothing is sent from several at once.
        Self { facts: Facts { cpus: cpu::allowed().unwrap_or_default(), ..Facts::veth() } }
    }
}

impl Testbed for VethTestbed {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn acquire(&self, needs: &Needs) -> Result<Arc<PortPair>, TestbedError> {
        Ok(Arc::new(PortPair::veth(Spec { mtu: needs.mtu, queues: needs.queues })?))
    }

    fn settle(&self, _: &PortPair) -> Result<(), TestbedError> {
        Ok(())
    }

    fn set_offloads(&self, ports: &PortPair, offloads: &BTreeMap<String, bool>) -> Result<(), TestbedError> {
        let index = ports.topology.dut.index;
        for (name, &on) in offloads {
            let offload = name.clone();
            ports.dut.call(move |host| host.set_offload(index, &offload, on))?;
        }
        Ok(())
    }

    fn wait_released(&self) -> Result<(), TestbedError> {
        Ok(())
    }

    fn survey(&self, _: u32, _: &[&[u8]], _: &mut dyn FnMut(usize, usize)) -> Result<(), TestbedError> {
        Ok(())
    }

    fn longest(&self, _: u32) -> Result<usize, TestbedError> {
        // A veth carries what its MTU allows, and what is longer is refused when it is sent.
        Ok(usize::MAX)
    }

    fn fate(&self, _: &[u8]) -> Option<FrameFate> {
        None
    }

    fn set_mtu(&self, ports: &PortPair, mtu: u32) -> Result<(), TestbedError> {
        for (worker, port) in [(&ports.tester, &ports.topology.tester), (&ports.dut, &ports.topology.dut)] {
            let index = port.index;
            worker.call(move |host| host.set_mtu(index, mtu))?;
        }
        Ok(())
    }
}

/// The settings of a pair. Two pairs of one spec are interchangeable.
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
    pub fn veth(spec: Spec) -> Result<Self, Error> {
        Self::veth_with_queues(spec.mtu, spec.queues, spec.queues)
    }

    /// Creates the same with numbers of queues that may differ between the ends.
    pub fn veth_with_queues(mtu: u32, tester_queues: u32, dut_queues: u32) -> Result<Self, Error> {
        let tester = Worker::spawn(&NetNs::create()?, "tester")?;
        let dut = Worker::spawn(&NetNs::create()?, "dut")?;
        let end = |name: &str, mac, queues| -> Result<VethEnd, Error> {
            Ok(VethEnd { name: name.parse()?, mac: MacAddr(mac), mtu, rx_queues: queues, tx_queues: queues })
        };
        let near = end("tester", TESTER_MAC, tester_queues)?;
        let pair = VethSpec { near, far: end("dut", DUT_MAC, dut_queues)? };
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
