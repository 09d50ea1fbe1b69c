//! A veth pair between two unnamed namespaces: the tester's end and the DUT's end.
//!
//! Promises: nothing speaks on the pair but the trial (IPv6, ARP and receive offloads that merge frames are off), and the
//! kernel takes all of it back when this is dropped or the process dies.

use std::time::Duration;

use xdproof_netns::{
    Error, IfIndex, LinkName, MacAddr, NetNs, Offload, PacketSocket, Published, VethEnd, VethSpec, Worker,
    XdpMode,
};
use xdproof_scenarios::{DUT_MAC, TESTER_MAC};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// One end of the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The link's index within its namespace.
    pub index: IfIndex,
    /// The link's name within its namespace.
    pub name: LinkName,
    /// Its address.
    pub mac: MacAddr,
}

/// Both ends: frames go in at `tester`, the program under test sits at `dut`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The traffic source.
    pub tester: Port,
    /// The device under test.
    pub dut: Port,
}

/// A veth pair that is up.
#[derive(Debug)]
pub struct Veth {
    /// Both ends.
    pub topology: Topology,
    /// The thread in the tester's namespace.
    pub tester: Worker,
    /// The thread in the DUT's namespace.
    pub dut: Worker,
}

impl Veth {
    /// Makes two namespaces, the pair between them, and brings it up. Needs `CAP_SYS_ADMIN` and `CAP_NET_ADMIN`.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn up(spec: Spec) -> Result<Self, Error> {
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

    /// Switches GRO off at the DUT, which would merge frames. Call it after the program is attached: some kernels switch it on
    /// for a native program (`veth_enable_xdp`; 6.18 does not).
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn keep_frames_apart(&self) -> Result<(), Error> {
        let index = self.topology.dut.index;
        self.dut.call(move |host| host.set_offload(index, &Offload::GRO, false))
    }

    /// Opens a socket that sees every frame that the DUT's stack receives, and [keeps them apart](Self::keep_frames_apart).
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn watch_dut(&self, receive_buffer: usize) -> Result<PacketSocket, Error> {
        self.keep_frames_apart()?;
        let index = self.topology.dut.index;
        self.dut.call(move |host| {
            host.packet_socket(index, xdproof_netns::PacketOptions { receive_buffer, ..Default::default() })
        })
    }

    /// Has the DUT take frames that are redirected to the tester's port. A veth takes them only while its peer polls for them,
    /// which it does with a native program, and else with GRO (`veth_xdp_xmit` of `drivers/net/veth.c`): in generic mode GRO
    /// goes on. Call it after everything that switches it off.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn take_redirected(&self, mode: XdpMode) -> Result<(), Error> {
        if mode == XdpMode::Native {
            return Ok(());
        }
        let index = self.topology.dut.index;
        self.dut.call(move |host| host.set_offload(index, &Offload::GRO, true))
    }

    /// Opens a socket that sees every frame that comes back to the tester.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn watch_tester(&self, receive_buffer: usize) -> Result<PacketSocket, Error> {
        let index = self.topology.tester.index;
        self.tester.call(move |host| {
            host.packet_socket(index, xdproof_netns::PacketOptions { receive_buffer, ..Default::default() })
        })
    }

    /// Gives both namespaces names under which `ip netns` finds them, for looking around.
    ///
    /// # Errors
    ///
    /// What the kernel refused; a name that is taken.
    pub fn publish(&self, prefix: &str) -> Result<[Published; 2], Error> {
        Ok([
            self.tester.namespace().publish(&format!("{prefix}-tester"))?,
            self.dut.namespace().publish(&format!("{prefix}-dut"))?,
        ])
    }
}

fn bring_up(worker: &Worker, name: LinkName) -> Result<Port, Error> {
    worker.call(move |host| {
        let link = host.link(&name)?;
        host.set_arp(link.index, false)?;
        host.set_up(link.index, true)?;
        let mac = link.mac.unwrap_or(MacAddr([0; 6]));
        Ok(Port { index: link.index, name, mac })
    })
}
