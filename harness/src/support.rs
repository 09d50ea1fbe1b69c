//! What a device is known to support: the only ground on which a trial may be skipped.
//!
//! A refusal that is declared here is a `skip`; any other refusal is a failure, and so is an attachment that succeeds
//! where it is declared impossible.

use xdproof_scenarios::capture::{LONGEST_CARRIED, LONGEST_SINGLE_BUFFER};

use crate::plan::Mode;

/// What the table says of a driver and a mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Attaching must succeed.
    Supported,
    /// Attaching must be refused, for this reason.
    Unsupported {
        /// A fragment of a sentence: why no kernel does it.
        reason: &'static str,
    },
}

/// What is known of `driver` (the kernel's name of it) in `mode`.
///
/// Source for veth: `veth_xdp` in `drivers/net/veth.c` knows no `XDP_SETUP_PROG_HW`.
#[must_use]
pub fn lookup(driver: &str, mode: Mode) -> Support {
    match (driver, mode) {
        ("veth", Mode::Offload) => {
            Support::Unsupported { reason: "veth is software: there is no device to offload to" }
        }
        _ => Support::Supported,
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
