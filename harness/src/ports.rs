//! Two linked ports, and the threads in their namespaces through which everything is done to them.

use xdproof_netns::{
    Error, IfIndex, LinkName, MacAddr, Mounts, Offloads, PacketOptions, PacketSocket, Published, Worker,
    XdpMode,
};

/// One end of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Index within its namespace.
    pub index: IfIndex,
    pub name: LinkName,
    pub mac: MacAddr,
}

/// Both ends of a link: frames enter at `tester`, the program under test is attached to `dut`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    pub tester: Port,
    pub dut: Port,
}

/// Both ends, up, each in a namespace of its own, unless it is a device that the kernel keeps in the host's.
#[derive(Debug)]
pub struct PortPair {
    pub topology: Topology,
    /// Runs in the tester's namespace.
    pub tester: Worker,
    /// Runs in the DUT's namespace.
    pub dut: Worker,
}

impl PortPair {
    /// Turns GRO off at the DUT, which would merge frames. Call it after the program is attached: some
    /// kernels turn it on for a native program (`veth_enable_xdp`; 6.18 does not).
    pub fn keep_frames_apart(&self) -> Result<(), Error> {
        let index = self.topology.dut.index;
        self.dut.call(move |host| host.set_offload(index, Offloads::GRO, false))
    }

    /// Opens a socket that sees every frame that the DUT's stack receives, and turns [GRO
    /// off](Self::keep_frames_apart) if the device allows it (a macvlan of Linux 5.10 does not): merged
    /// frames would appear as unexpected ones.
    pub fn watch_dut(&self, receive_buffer: usize) -> Result<PacketSocket, Error> {
        match self.keep_frames_apart() {
            Ok(()) | Err(Error::OffloadUnchanged { .. }) => {}
            Err(error) => return Err(error),
        }
        let index = self.topology.dut.index;
        self.dut.call(move |host| {
            host.packet_socket(index, PacketOptions { receive_buffer, ..Default::default() })
        })
    }

    /// Lets the DUT accept frames that are redirected to the tester's port. A veth accepts them only while
    /// its peer polls for them, which it does with a native program, and otherwise with GRO (`veth_xdp_xmit`
    /// of `drivers/net/veth.c`): in generic mode GRO is turned on. Call it after everything that turns it
    /// off.
    pub fn take_redirected(&self, mode: XdpMode) -> Result<(), Error> {
        if mode == XdpMode::Native {
            return Ok(());
        }
        let index = self.topology.dut.index;
        self.dut.call(move |host| host.set_offload(index, Offloads::GRO, true))
    }

    /// Opens a socket that sees every frame that comes back to the tester.
    pub fn watch_tester(&self, receive_buffer: usize) -> Result<PacketSocket, Error> {
        let index = self.topology.tester.index;
        self.tester.call(move |host| {
            host.packet_socket(index, PacketOptions { receive_buffer, ..Default::default() })
        })
    }

    /// Gives both namespaces names that `ip netns` lists, in mounts that outlive this process where it may use them.
    ///
    /// # Errors
    ///
    /// An error of the kernel, such as a name that is taken.
    pub fn publish(&self, prefix: &str) -> Result<[Published; 2], Error> {
        let publish = |worker: &Worker, end: &str| {
            let (namespace, name) = (worker.namespace().clone(), format!("{prefix}-{end}"));
            Mounts::lasting().unwrap_or_default().run(move || namespace.publish(&name)).flatten()
        };
        Ok([publish(&self.tester, "tester")?, publish(&self.dut, "dut")?])
    }
}
