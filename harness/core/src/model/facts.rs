//! Facts about a testbed: everything that planning, judging and reporting ask of it, as plain data.

use std::time::Duration;

use crate::model::{
    mode::Mode,
    rx_transform::{RxTransform, Strips},
};

/// The MTU in bytes of both ends for trials that need no larger one: 1,500 bytes of payload behind two VLAN tags fit
/// (`packet_snd()` of `net/packet/af_packet.c`: `AF_PACKET` allows one outer 0x8100 tag beyond the MTU, and no 0x88a8 one).
pub const DEFAULT_MTU: u32 = 1508;

/// The largest MTU of a link (`ETH_MAX_MTU`).
pub const MAX_MTU: u32 = 65_535;

/// The most frames in flight at once: as many as any receive ring and socket buffer holds.
pub const WINDOW: usize = 64;

/// The kernel's name of the veth driver.
pub const VETH: &str = "veth";

/// Facts that are known before any program is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The kernel's name of the DUT's driver.
    pub driver: String,
    /// The name of the DUT in results.
    pub label: String,
    /// Names of the ports, where a user chose them; none where the testbed creates its own.
    pub ports: Option<PortNames>,
    /// Set if there is one DUT, so that one program is attached to it at a time, and nothing runs in parallel.
    pub exclusive: bool,
    /// Set if frames cross a device: they arrive after the send call has returned, on a CPU and a queue that the device
    /// chooses, and other stations may be heard. A veth runs the program while the frame is being sent, on the sender's CPU.
    pub asynchronous: bool,
    /// CPUs from which frames can be sent at the same time, in ascending order.
    pub cpus: Vec<usize>,
    /// Receive queues of the DUT; none: as many as a trial asks for.
    pub queues: Option<u32>,
    /// MTU in bytes of both ends for trials that need no larger one.
    pub usual_mtu: u32,
    /// The most frames in flight at once of which none is lost.
    pub window: usize,
    /// The shortest frame in bytes, without FCS, of which is known how it arrives.
    pub shortest: usize,
    /// Length in bytes to which shorter frames are padded with zeros on the way; 0 where they are not.
    pub padded_to: usize,
    /// VLAN tags that are taken out of a frame before a generic program runs, and cannot be left in.
    pub stack_strips: Strips,
    /// VLAN tags that are taken out of a frame before a native program runs, and cannot be left in.
    pub driver_strips: Strips,
    /// Set if a generic program gets its frames from the stack of a lower device (macvlan, bridge, bond), which has discarded
    /// what the DUT's own stack would discard.
    pub stacked: bool,
    /// Set if an end is a bond or a team, which may send the frames of a flow by several ports.
    pub aggregated: bool,
    /// Set if the DUT advertised native XDP (`NETDEV_XDP_ACT_BASIC`); none where the kernel cannot be asked.
    pub advertises_native: Option<bool>,
    /// Time that the link may take to come up again after a setting was changed.
    pub link_up: Duration,
}

/// Names of two network interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortNames {
    /// The device under test.
    pub dut: String,
    /// The traffic source.
    pub tester: String,
}

impl Facts {
    /// Returns the facts about veth pairs that are created for each rig.
    #[must_use]
    pub fn veth() -> Self {
        Self {
            driver: VETH.to_owned(),
            label: VETH.to_owned(),
            ports: None,
            exclusive: false,
            asynchronous: false,
            cpus: Vec::new(),
            queues: None,
            usual_mtu: DEFAULT_MTU,
            window: WINDOW,
            shortest: 0,
            padded_to: 0,
            stack_strips: Strips::default(),
            driver_strips: Strips::default(),
            stacked: false,
            aggregated: false,
            advertises_native: None,
            link_up: Duration::ZERO,
        }
    }

    /// Returns what frames become on the way to a program that is attached in a mode.
    #[must_use]
    pub fn rx_transform(&self, mode: Mode) -> RxTransform {
        match mode {
            // A test run gets the frame as it is.
            Mode::Unattached => RxTransform::default(),
            Mode::Native => RxTransform { padded_to: self.padded_to, strips: self.driver_strips },
            Mode::Generic | Mode::Offload => {
                RxTransform { padded_to: self.padded_to, strips: self.stack_strips }
            }
        }
    }

    /// Returns whether the frames of one sender may reach the program by several queues.
    #[must_use]
    pub fn has_several_queues(&self) -> bool {
        self.queues.is_some_and(|queues| queues > 1)
    }
}

/// The fate of a frame that does not arrive as it should, with or without a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFate {
    /// It does not arrive.
    Lost,
    /// Something else arrives in its place.
    Altered,
    /// Nothing has shown that it arrives.
    Unseen,
}
