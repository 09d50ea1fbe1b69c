//! Two linked ports, and the threads in their namespaces through which everything is done to them.

use xdproof_netns::{
    Error, IfIndex, LinkName, MacAddr, Offloads, PacketOptions, PacketSocket, Published, Worker, XdpMode,
};

/// One end of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Index within its namespace.
    pub index: IfIndex,
    pub name: LinkName,
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

/// Both ends, up, each in a namespace of its own, unless it is a device that the kernel keeps in the host's.
#[derive(Debug)]
pub struct PortPair {
    /// Both ends.
    pub topology: Topology,
    /// The thread in the tester's namespace.
    pub tester: Worker,
    /// The thread in the DUT's namespace.
    pub dut: Worker,
}

impl PortPair {
    /// Switches GRO off at the DUT, which would merge frames. Call it after the program is attached: some kernels switch it on
    /// for a native program (`veth_enable_xdp`; 6.18 does not).
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn keep_frames_apart(&self) -> Result<(), Error> {
        let index = self.topology.dut.index;
        self.dut.call(move |host| host.set_offload(index, Offloads::GRO, false))
    }

    /// Opens a socket that sees every frame that the DUT's stack receives, and [keeps them apart](Self::keep_frames_apart) if the
    /// device lets itself be told (a macvlan of Linux 5.10 does not): merged frames would show as frames that nobody sent.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
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
        self.dut.call(move |host| host.set_offload(index, Offloads::GRO, true))
    }

    /// Opens a socket that sees every frame that comes back to the tester.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn watch_tester(&self, receive_buffer: usize) -> Result<PacketSocket, Error> {
        let index = self.topology.tester.index;
        self.tester.call(move |host| {
            host.packet_socket(index, PacketOptions { receive_buffer, ..Default::default() })
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
