//! What a device is known to support: the only ground on which a trial may be skipped.
//!
//! A refusal that is declared here is a `skip`, if the kernel refuses with the declared error; any other refusal is a
//! failure, and so is an attachment that succeeds where it is declared impossible.

use rustix::io::Errno;

use xdproof_scenarios::{
    KernelVersion,
    capture::{LONGEST_CARRIED, LONGEST_SINGLE_BUFFER},
};

use crate::plan::{InjectorKind, Mode};

/// What the table says of an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Attaching must succeed.
    Supported,
    /// Attaching must be refused.
    Unsupported {
        /// A fragment of a sentence: why no kernel does it.
        reason: &'static str,
        /// What the kernel answers.
        errno: Errno,
    },
}

/// An attachment to be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The kernel's name of the driver.
    pub driver: &'a str,
    /// Where the program is to sit.
    pub mode: Mode,
    /// MTU of both ends in bytes, without the Ethernet header.
    pub mtu: u32,
    /// Whether the program takes frames of several buffers.
    pub fragments: bool,
    /// The size of a page of this machine in bytes.
    pub page: usize,
}

/// The least of a page that does not hold a frame's payload for a native program on veth, in bytes:
/// `XDP_PACKET_HEADROOM` (256), `struct skb_shared_info` (320) and an Ethernet header (14). With pages of 4 KiB the largest
/// MTU is 3,506.
const VETH_PAGE_OVERHEAD: usize = 256 + 320 + 14;

/// What is known of an attachment.
///
/// Source for veth: `drivers/net/veth.c`. `veth_xdp` knows no `XDP_SETUP_PROG_HW`; `veth_xdp_set` answers ERANGE ("Peer MTU
/// is too large to set XDP") where a frame of the peer would not fit in a page and the program does not take several.
#[must_use]
pub fn lookup(request: Request<'_>) -> Support {
    match request {
        Request { driver: "veth", mode: Mode::Offload, .. } => Support::Unsupported {
            reason: "veth is software: there is no device to offload to",
            errno: Errno::INVAL,
        },
        Request { driver: "veth", mode: Mode::Native, mtu, fragments: false, page }
            if usize::try_from(mtu).is_ok_and(|mtu| mtu > page.saturating_sub(VETH_PAGE_OVERHEAD)) =>
        {
            Support::Unsupported {
                reason: "the program takes frames of one buffer, and veth does not put a frame of this MTU into one",
                errno: Errno::RANGE,
            }
        }
        _ => Support::Supported,
    }
}

/// The first kernel that makes live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`).
pub const LIVE_FRAMES_KERNEL: KernelVersion = KernelVersion { major: 5, minor: 18, patch: 0 };

/// Why a kernel has no such injector, if it has none.
#[must_use]
pub fn injector(kind: InjectorKind, kernel: KernelVersion) -> Option<String> {
    match kind {
        InjectorKind::LiveFrames if kernel < LIVE_FRAMES_KERNEL => {
            Some(format!("{kind} need kernel {LIVE_FRAMES_KERNEL}; this is {kernel}"))
        }
        InjectorKind::Pnet | InjectorKind::Ring | InjectorKind::LiveFrames | InjectorKind::TestRun => None,
    }
}

/// The longest frame in bytes that a mode gives to a program, which takes frames of several buffers or does not.
///
/// In generic mode the stack makes one buffer of every frame (`netif_skb_check_for_xdp`). A driver and a test run do not: for
/// veth see `veth_xdp_set`, for a test run `bpf_prog_test_run_xdp`.
#[must_use]
pub fn longest_frame(mode: Mode, frags: bool) -> usize {
    match mode {
        Mode::Generic => LONGEST_CARRIED,
        Mode::Native | Mode::Offload | Mode::Unattached if frags => LONGEST_CARRIED,
        Mode::Native | Mode::Offload | Mode::Unattached => LONGEST_SINGLE_BUFFER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errno(mode: Mode, mtu: u32, fragments: bool) -> Option<Errno> {
        match lookup(Request { driver: "veth", mode, mtu, fragments, page: 4096 }) {
            Support::Supported => None,
            Support::Unsupported { errno, .. } => Some(errno),
        }
    }

    #[test]
    fn a_veth_of_a_large_mtu_takes_a_native_program_only_if_that_takes_fragments() {
        assert_eq!(errno(Mode::Native, 3506, false), None);
        assert_eq!(errno(Mode::Native, 3507, false), Some(Errno::RANGE));
        assert_eq!(errno(Mode::Native, 9000, true), None);
        for mode in [Mode::Generic, Mode::Unattached] {
            assert_eq!(errno(mode, 9000, false), None);
        }
    }

    #[test]
    fn only_live_frames_need_a_kernel_that_makes_them() {
        let kernel = |minor| KernelVersion { major: 5, minor, patch: 0 };
        assert!(injector(InjectorKind::LiveFrames, kernel(17)).is_some_and(|reason| reason.contains("5.18")));
        assert_eq!(injector(InjectorKind::LiveFrames, kernel(18)), None);
        assert_eq!(injector(InjectorKind::Ring, kernel(9)), None);
    }

    #[test]
    fn nothing_is_offloaded_to_a_veth() {
        assert_eq!(errno(Mode::Offload, 1500, true), Some(Errno::INVAL));
    }
}
