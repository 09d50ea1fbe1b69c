//! Differences between the settings of a device before a run and after it was restored.

use std::time::Duration;

use xdproof_netns::{Channels, Rings};

use crate::testbed::devices::{
    snapshot::{AttachedProgram, DeviceSettings, PortSettings, RECORD_KINDS, StoredOffload, StoredOffloads},
    step::RestoreOutcome,
};

/// Qdisc of a device whose carrier the network layer has not yet been told of (`dev_activate()` of
/// `net/sched/sch_generic.c`); its flags may already show the carrier.
pub(super) const NOT_READY: &str = "noop";

/// Lists what is not as it was: each thing with its former value, and the reason. `moved` says that the device was in another
/// namespace, `age` is the age of the settings.
pub(super) fn differences(
    was: &DeviceSettings,
    now: &DeviceSettings,
    moved: bool,
    age: Duration,
) -> Vec<(String, RestoreOutcome)> {
    let DeviceSettings {
        // Checked when the device returned.
        role: _,
        name: _,
        index: _,
        kind: _,
        parent: _,
        link,
        master,
        ports,
        stays_in_place,
        lost_by_move,
        // The carrier depends on the other end.
        running: _,
        qdisc,
        rings,
        channels,
        offloads,
        programs,
        sysctls,
        // Compared by kind.
        addresses: _,
        routes: _,
        neighbours: _,
    } = was;
    let failed = |now: &str| RestoreOutcome::Failed(format!("it is {now} now"));
    let mut found: Vec<(String, String)> =
        link.differences(&now.link).map(|(was, is)| (was.to_string(), is.value())).collect();
    found.extend(changed("master ", &shown(master.as_ref()), &shown(now.master.as_ref())));
    found.extend(changed("rings ", &shown_rings(*rings), &shown_rings(now.rings)));
    found.extend(changed("channels ", &shown_channels(*channels), &shown_channels(now.channels)));
    found.extend(changed_offloads(offloads, &now.offloads, ""));
    // The ports of a device that was moved have left it, which `lost_by_move` reports.
    for port in ports.iter().filter(|_| !moved) {
        match now.ports.iter().find(|other| other.name == port.name) {
            None => found.push((format!("port {}", port.name), "not a port".to_owned())),
            Some(is) => found.extend(changed_port(port, is)),
        }
    }
    let ids = |programs: &[AttachedProgram]| {
        let ids: Vec<_> = programs.iter().map(|program| format!("{} {}", program.mode, program.id)).collect();
        Some(ids.join(", ")).filter(|ids| !ids.is_empty())
    };
    found.extend(changed("XDP program ", &shown(ids(programs)), &shown(ids(&now.programs))));
    for (name, was) in sysctls {
        let is = now.sysctls.get(name);
        if is != Some(was) {
            found.push((format!("net/{name}"), is.map_or("absent", String::as_str).to_owned()));
        }
    }
    let mut found: Vec<_> = found.into_iter().map(|(what, is)| (what, failed(&is))).collect();
    // A device that was never up has no qdisc of its own yet, and keeps the one that it gets by being up; only a move takes it
    // away.
    let was_never_up = *stays_in_place && qdisc.as_deref() == Some(NOT_READY);
    if *qdisc != now.qdisc && !was_never_up {
        let why = RestoreOutcome::Lost(format!("it is {} now", shown(now.qdisc.as_ref())));
        found.push((format!("qdisc {}", shown(qdisc.as_ref())), why));
    }
    if moved {
        let lost = || RestoreOutcome::Lost("the move destroyed it, which --force accepted".to_owned());
        found.extend(lost_by_move.iter().map(|what| (what.clone(), lost())));
    }
    found.extend(missing_records(was, now, age));
    found
}

/// Lists addresses, routes and neighbours that are missing and have not expired.
fn missing_records(
    was: &DeviceSettings,
    now: &DeviceSettings,
    age: Duration,
) -> Vec<(String, RestoreOutcome)> {
    let mut missing = Vec::new();
    for kind in RECORD_KINDS {
        let there = now.records(kind);
        for record in was.records(kind) {
            if record.has_expired(age)
                || there.iter().any(|other| record.is_like(was.index, other, now.index))
            {
                continue;
            }
            let outcome = if record.is_kernel_made() {
                RestoreOutcome::Failed("the kernel has not made it again".to_owned())
            } else if record.is_unrestorable() {
                RestoreOutcome::Lost("user space cannot add it".to_owned())
            } else {
                RestoreOutcome::Failed("it is missing".to_owned())
            };
            missing.push((record.to_string(), outcome));
        }
    }
    missing
}

/// The thing with its former value, and its value now, if they differ.
fn changed(what: &str, was: &str, is: &str) -> Option<(String, String)> {
    (was != is).then(|| (format!("{what}{was}"), is.to_owned()))
}

fn changed_offloads(
    was: &StoredOffloads,
    is: &StoredOffloads,
    of: &str,
) -> impl Iterator<Item = (String, String)> {
    // An offload that this kernel does not list does not differ.
    was.iter().filter_map(move |(name, was)| {
        let is = is.get(name).filter(|is| *is != was)?;
        Some((format!("offload {name} {}{of}", shown_offload(*was)), shown_offload(*is).to_owned()))
    })
}

fn changed_port(was: &PortSettings, is: &PortSettings) -> impl Iterator<Item = (String, String)> {
    let of = format!(" of port {}", was.name);
    let mtu = (was.mtu != is.mtu).then(|| (format!("MTU {}{of}", was.mtu), is.mtu.to_string()));
    mtu.into_iter().chain(changed_offloads(&was.offloads, &is.offloads, &of).collect::<Vec<_>>())
}

fn shown(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

fn shown_offload(offload: StoredOffload) -> &'static str {
    match (offload.on, offload.wanted) {
        (true, true) => "on",
        (true, false) => "on but not requested",
        (false, true) => "off but requested",
        (false, false) => "off",
    }
}

fn shown_rings(rings: Option<Rings>) -> String {
    shown(rings.map(|Rings { rx, rx_max, tx, tx_max }| format!("rx {rx}/{rx_max}, tx {tx}/{tx_max}")))
}

fn shown_channels(channels: Option<Channels>) -> String {
    shown(channels.map(|Channels { rx, rx_max, tx, tx_max, combined, combined_max }| {
        format!("rx {rx}/{rx_max}, tx {tx}/{tx_max}, combined {combined}/{combined_max}")
    }))
}
