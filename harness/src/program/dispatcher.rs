//! A program that stays in the kernel's XDP dispatcher.
//!
//! A test run puts its program into the dispatcher for as long as it takes, and each change waits for all CPUs, some ten
//! milliseconds (`bpf_dispatcher_change_prog()` of `kernel/bpf/dispatcher.c`); a program that is attached to a device is in
//! it already.

use std::os::fd::{AsFd as _, OwnedFd};

use xdproof_netns::{Error, NetNs, Worker, XdpLink, XdpMode};

/// A program on the loopback device of a namespace of ours, which no frame passes. It is detached when this is dropped.
#[derive(Debug)]
pub struct DispatcherHold {
    link: XdpLink,
    /// The loopback device ends with its namespace, and its attachments with the device.
    _namespace: NetNs,
}

impl DispatcherHold {
    /// Attaches a program to the loopback device of the worker's namespace. Needs `CAP_NET_ADMIN` there.
    ///
    /// # Errors
    ///
    /// The kernel's refusal: EBUSY if the device has a program.
    pub fn on_loopback(worker: &Worker, program: OwnedFd) -> Result<Self, Error> {
        let link = worker.call(move |host| {
            let loopback = host.link(&"lo".parse()?)?.index;
            host.link_xdp(loopback, program.as_fd(), &[XdpMode::Generic], false)
        })?;
        Ok(Self { link, _namespace: worker.namespace().clone() })
    }

    /// Returns whether the program is still attached.
    ///
    /// # Errors
    ///
    /// When the kernel does not say what the link is on.
    pub fn is_attached(&self) -> Result<bool, Error> {
        Ok(self.link.device()?.is_some())
    }
}
