//! Isolating a device: its XDP programs are pinned and detached, and it moves to a namespace of its own. A device that the
//! kernel keeps in its namespace loses there what the move would have taken away.

use std::path::Path;

use xdproof_netns::{Error, Host, IfIndex, LinkSetting, NetNs, Worker};

use crate::testbed::devices::snapshot::{DeviceSettings, RECORD_KINDS};

/// Answers of the kernel to the removal of a record that went with another: addresses (IPv4, IPv6), routes.
const ALREADY_GONE: [i32; 3] = [
    rustix::io::Errno::ADDRNOTAVAIL.raw_os_error(),
    rustix::io::Errno::SRCH.raw_os_error(),
    rustix::io::Errno::NOENT.raw_os_error(),
];
/// Sysctls of a device that neither sends nor answers anything by itself. Without an address of its own and with a strict
/// reverse path filter it accepts no IPv4 packet for other addresses of the host (`__fib_validate_source()` of
/// `net/ipv4/fib_frontend.c`).
const ISOLATED: [(&str, &str); 2] = [("ipv6/conf/*/disable_ipv6", "1"), ("ipv4/conf/*/rp_filter", "1")];

impl DeviceSettings {
    /// Runs a job on the device in its original namespace.
    pub(super) fn run_at_origin<T: Send + 'static>(
        &self,
        origin: &Worker,
        job: impl FnOnce(&Self, &mut Host, IfIndex) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let settings = self.clone();
        origin.call(move |host| {
            let index = host.link(&settings.name)?.index;
            job(&settings, host, index)
        })
    }

    /// Pins the XDP programs of the device below a directory of a bpf file system, and detaches them: the device is free for
    /// another program, and they outlive this process.
    pub(super) fn detach_programs(&self, origin: &Worker, pins: &Path) -> Result<(), Error> {
        let pins = pins.to_owned();
        self.run_at_origin(origin, move |settings, host, index| {
            settings.programs.iter().try_for_each(|program| {
                host.pin_program(program.id, &pins.join(program.pin(settings.role)))?;
                host.detach_xdp(index, program.mode)
            })
        })
    }

    /// Moves the device to another namespace.
    pub(super) fn move_to(&self, origin: &Worker, to: &NetNs) -> Result<(), Error> {
        let to = to.clone();
        self.run_at_origin(origin, move |_, host, index| host.move_link(index, &to, None))
    }

    /// Isolates the device in its namespace: no ARP, no IPv6, and no address, route or neighbour. Its ports are left alone.
    pub(super) fn isolate_in_place(&self, origin: &Worker) -> Result<(), Error> {
        self.run_at_origin(origin, |settings, host, index| {
            host.set_link(index, &LinkSetting::Arp(false))?;
            for (sysctl, value) in ISOLATED {
                // A kernel without IPv6, or a link without it, has no such sysctl.
                if settings.sysctls.contains_key(sysctl) {
                    host.set_sysctl(&settings.name, sysctl, value)?;
                }
            }
            for kind in RECORD_KINDS {
                for record in host.records(kind, index)? {
                    match host.remove_record(index, &record) {
                        Err(error) if error.errno().is_some_and(|errno| ALREADY_GONE.contains(&errno)) => {}
                        removed => removed?,
                    }
                }
            }
            Ok(())
        })
    }
}
