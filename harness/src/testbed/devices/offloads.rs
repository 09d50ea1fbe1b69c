//! Receive offloads that change frames before a program gets them: turned off at a device and at its ports.

use xdproof_netns::{Error, Host, IfIndex, Link, Offloads, Worker};

use crate::model::rx_transform::Strips;

/// Offloads that merge or modify received frames, or keep frames from a program. They are turned off at both ends.
const RX_OFFLOADS_TO_DISABLE: [&str; 9] = [
    Offloads::GRO,
    Offloads::GRO_HW,
    "rx-gro-list",
    Offloads::LRO,
    "rx-udp-gro-forwarding",
    "rx-vlan-filter",
    "rx-vlan-stag-filter",
    Offloads::RX_VLAN,
    Offloads::RX_VLAN_STAG,
];

/// Lists the ports of a master device.
pub(super) fn ports_of(host: &mut Host, index: IfIndex) -> Result<Vec<Link>, Error> {
    Ok(host.links()?.into_iter().filter(|link| link.master == Some(index)).collect())
}

/// Turns off whatever of [`RX_OFFLOADS_TO_DISABLE`] can be, at a device and at its ports.
pub(super) fn disable_rx_offloads(worker: &Worker, index: IfIndex) -> Result<(), Error> {
    worker.call(move |host| {
        let ports = ports_of(host, index)?.into_iter().map(|port| port.index);
        for index in ports.chain([index]) {
            for offload in RX_OFFLOADS_TO_DISABLE {
                // An offload that stays on is found by `strips_of`, or has no effect on lone frames.
                try_set(host, index, offload, false)?;
            }
        }
        Ok(())
    })
}

/// Turns an offload on or off, and returns true if it now is as requested.
pub(super) fn try_set(host: &mut Host, index: IfIndex, offload: &str, on: bool) -> Result<bool, Error> {
    let Some(state) = host.offloads(index)?.get(offload) else { return Ok(!on) };
    if state.active == on {
        return Ok(true);
    }
    match host.set_offload(index, offload, on) {
        Ok(()) => Ok(true),
        Err(Error::OffloadUnchanged { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the VLAN tags that any of these devices strips although the offload was turned off.
pub(super) fn strips_of(
    host: &mut Host,
    devices: impl IntoIterator<Item = IfIndex>,
) -> Result<Strips, Error> {
    let mut any = Strips::default();
    for index in devices {
        let offloads = host.offloads(index)?;
        let is_on = |name| offloads.get(name).is_some_and(|state| state.active);
        any.customer |= is_on(Offloads::RX_VLAN);
        any.service |= is_on(Offloads::RX_VLAN_STAG);
    }
    Ok(any)
}
