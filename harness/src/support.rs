//! What a device is known to support: the only ground on which a trial may be skipped.
//!
//! A refusal that is declared here is a `skip`; any other refusal is a failure, and so is an attachment that succeeds
//! where it is declared impossible.

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
