//! Redirect targets: further devices of the DUT's namespace, to which a program redirects frames, each linked to a namespace of its own.

use xdproof_netns::{Error, LinkName, MacAddr, NetNs, VethEnd, VethSpec, Worker, XdpMode};

use crate::{
    ports::{Port, PortPair},
    program::{Attachment, Object, Program, ProgramError},
    testbed::veth::{LINK_UP, bring_up},
};

/// The longest MTU in bytes at which a veth takes a program without multi-buffer support (`veth_xdp_set()` of `drivers/net/veth.c`
/// subtracts headroom and headers from a page).
const SINGLE_BUFFER_MTU: u32 = 3000;

/// A veth pair with one end in the DUT's namespace.
#[derive(Debug)]
pub struct RedirectTarget {
    /// The end to which frames are redirected, in the DUT's namespace.
    pub near: Port,
    /// The end at which they come out.
    pub far: Port,
    /// Runs in the namespace of the far end.
    pub worker: Worker,
    _receives: Attachment,
}

/// A program that passes everything. A veth takes frames by `ndo_xdp_xmit` only if its peer polls for them, which it does with a native
/// program (`veth_xdp_xmit()` of `drivers/net/veth.c`).
#[derive(Debug)]
pub struct PassingProgram(Program);

impl PassingProgram {
    /// Loads the program for links of an MTU.
    pub fn load(mtu: u32) -> Result<Self, ProgramError> {
        let name = if mtu > SINGLE_BUFFER_MTU {
            xdproof_ebpf::abi::FRAGS_PROGRAM
        } else {
            xdproof_ebpf::abi::NULL_PROGRAM
        };
        Program::load(&Object::builtin(name)).map(Self)
    }

    /// Attaches it in native mode.
    pub fn attach(&self, worker: &Worker, port: &Port) -> Result<Attachment, ProgramError> {
        self.0.attach(worker, port.index, Some(XdpMode::Native))
    }
}

impl RedirectTarget {
    /// Creates a target in the DUT's namespace. Needs `CAP_SYS_ADMIN` and `CAP_NET_ADMIN`.
    pub fn create(
        ports: &PortPair,
        number: u16,
        mtu: u32,
        receives: &PassingProgram,
    ) -> Result<Self, ProgramError> {
        let worker = Worker::spawn(&NetNs::create()?, "target")?;
        let name = |end: &str| -> Result<LinkName, Error> { format!("xdp-{end}{number}").parse() };
        let [low, high] = number.to_be_bytes();
        let end = |name, side| VethEnd { mtu, ..VethEnd::new(name, MacAddr([2, 0, 1, high, low, side])) };
        let (near, far) = (name("to")?, name("out")?);
        let pair = VethSpec { near: end(near.clone(), 1), far: end(far.clone(), 2) };
        let there = worker.namespace().clone();
        ports.dut.call(move |host| host.create_veth(&pair, &there))?;
        let (far, near) = (bring_up(&worker, far)?, bring_up(&ports.dut, near)?);
        for (worker, index) in [(&worker, far.index), (&ports.dut, near.index)] {
            worker.call(move |host| host.wait_running(index, LINK_UP))?;
        }
        let receives = receives.attach(&worker, &far)?;
        Ok(Self { near, far, worker, _receives: receives })
    }
}
