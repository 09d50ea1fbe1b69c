//! A program that stays in the kernel's XDP dispatcher.
//!
//! A test run puts its program in for as long as it takes, and each change waits for all CPUs, some ten milliseconds
//! (`bpf_dispatcher_change_prog()` of `kernel/bpf/dispatcher.c`); a program that is attached somewhere is in already.

use std::os::fd::{AsFd as _, OwnedFd};

use xdproof_netns::{Error, NetNs, Worker, XdpLink, XdpMode};

/// A program on the loopback device of a namespace of ours, where no frame passes. It comes off when this is dropped.
#[derive(Debug)]
pub struct Held {
    link: XdpLink,
    /// The loopback device ends with its namespace, and what is attached to it with the device.
    _namespace: NetNs,
}

impl Held {
    /// Attaches a program to the loopback device of the worker's namespace, which holds one. Needs `CAP_NET_ADMIN` there.
    ///
    /// # Errors
    ///
    /// What the kernel refused: EBUSY if one is there.
    pub fn in_dispatcher(worker: &Worker, program: OwnedFd) -> Result<Self, Error> {
        let link = worker.call(move |host| {
            let loopback = host.link(&"lo".parse()?)?.index;
            host.link_xdp(loopback, program.as_fd(), &[XdpMode::Generic], false)
        })?;
        Ok(Self { link, _namespace: worker.namespace().clone() })
    }

    /// Whether it is still attached.
    ///
    /// # Errors
    ///
    /// When the kernel does not say what the link is on.
    pub fn is_attached(&self) -> Result<bool, Error> {
        Ok(self.link.device()?.is_some())
    }
}
