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
        is_restored: _,
        multicast,
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
    for address in multicast.iter().filter(|address| !now.multicast.contains(address)) {
        found.push((format!("group address {address}"), "absent".to_owned()));
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// `valid_lft` of 3,600 s.
    const EXPIRING: &str = "021801000300000008000100c000020708000200c000020707000300743000000800080001000000080009002c01000014000600050700000d0e0000bee30400bee30400";
    const ADDRESS: &str = "021880000300000008000100c000020108000200c000020108000400c00002ff0b00030074303a6c61620000080008008000000014000600ffffffffffffffffbee30400bee30400";
    const KERNEL_ROUTE: &str =
        "02180000fe02fd010000000008000f00fe00000008000100c000020008000700c00002010800040003000000";
    const LOCAL_IPV6_ROUTE: &str = "0a800000ff0300020000000008000f00ff0000001400010020010db80000000000000000000000010800060000000000080004000300000024000c0000000000000000000000000000000000000000000000000000000000000000000500140000000000";

    fn record(text: &str, body: &str) -> Value {
        json!({ "text": text, "body": body })
    }

    fn settings() -> Value {
        json!({
            "role": "tester", "name": "t0", "index": 3, "kind": "veth", "parent": null,
            "link": {
                "mac": "02:aa:00:00:00:01", "mtu": 1437, "tx_queue_length": 77, "alias": "lab", "group": 5,
                "promiscuous": true, "all_multicast": false, "arp": true, "token": null, "up": true,
            },
            "master": "br0",
            "ports": [{
                "name": "p1", "mtu": 1500, "offloads": { "rx-gro": { "wanted": true, "on": true } },
            }],
            "stays_in_place": false, "lost_by_move": ["configured qdisc fq"], "running": true, "qdisc": "mq",
            "rings": { "rx": 256, "rx_max": 512, "tx": 128, "tx_max": 512 },
            "channels": { "rx": 0, "rx_max": 0, "tx": 0, "tx_max": 0, "combined": 4, "combined_max": 8 },
            "offloads": {
                "rx-gro": { "wanted": true, "on": true }, "rx-lro": { "wanted": true, "on": false },
                "unknown": { "wanted": true, "on": true },
            },
            "programs": [{ "mode": "generic", "id": 7 }],
            "sysctls": { "ipv4/conf/*/rp_filter": "2", "ipv6/conf/*/hop_limit": "33" },
            "addresses": [record("address 192.0.2.1/24", ADDRESS), record("address 192.0.2.7/24", EXPIRING)],
            "routes": [record("", KERNEL_ROUTE), record("", LOCAL_IPV6_ROUTE)],
            "neighbours": [],
        })
    }

    fn parse(settings: Value) -> DeviceSettings {
        serde_json::from_value(settings).unwrap()
    }

    /// Differences of settings that are changed so from what they were, in words.
    fn after(change: impl FnOnce(&mut Value), moved: bool, age: u64) -> Vec<String> {
        let mut now = settings();
        change(&mut now);
        let found = differences(&parse(settings()), &parse(now), moved, Duration::from_secs(age));
        let words = |(what, outcome)| match outcome {
            RestoreOutcome::Failed(why) => format!("{what}: {why}"),
            RestoreOutcome::Lost(why) => format!("{what}: lost: {why}"),
            RestoreOutcome::Done => format!("{what}: done"),
        };
        found.into_iter().map(words).collect()
    }

    #[test]
    fn equal_settings_do_not_differ() {
        assert_eq!(after(|_| (), false, 0), [""; 0]);
    }

    #[test]
    fn the_carrier_and_unknown_offloads_are_not_compared() {
        let change = |now: &mut Value| {
            now["running"] = json!(false);
            now["offloads"].as_object_mut().unwrap().remove("unknown");
        };
        assert_eq!(after(change, false, 0), [""; 0]);
    }

    #[test]
    fn every_setting_that_differs_is_listed_with_both_values() {
        let change = |now: &mut Value| {
            (now["link"]["mtu"], now["link"]["up"], now["master"]) = (json!(9000), json!(false), json!(null));
            now["link"]["alias"] = json!(null);
            (now["rings"]["rx"], now["channels"]["combined"]) = (json!(512), json!(1));
            now["offloads"]["rx-lro"] = json!({ "wanted": false, "on": true });
            (now["ports"][0]["mtu"], now["ports"][0]["offloads"]["rx-gro"]["on"]) =
                (json!(9000), json!(false));
            now["programs"] = json!([]);
            now["sysctls"] = json!({ "ipv4/conf/*/rp_filter": "1" });
            now["qdisc"] = json!("noqueue");
        };
        let expected = [
            "MTU 1437: it is 9000 now",
            "alias lab: it is none now",
            "up: it is down now",
            "master br0: it is none now",
            "rings rx 256/512, tx 128/512: it is rx 512/512, tx 128/512 now",
            "channels rx 0/0, tx 0/0, combined 4/8: it is rx 0/0, tx 0/0, combined 1/8 now",
            "offload rx-lro off but requested: it is on but not requested now",
            "MTU 1500 of port p1: it is 9000 now",
            "offload rx-gro on of port p1: it is off but requested now",
            "XDP program generic 7: it is none now",
            "net/ipv4/conf/*/rp_filter: it is 1 now",
            "net/ipv6/conf/*/hop_limit: it is absent now",
            "qdisc mq: lost: it is noqueue now",
        ];
        assert_eq!(after(change, false, 0), expected);
    }

    #[test]
    fn a_port_that_has_left_is_missing_and_after_a_move_a_loss() {
        let change = |now: &mut Value| now["ports"] = json!([]);
        assert_eq!(after(change, false, 0), ["port p1: it is not a port now"]);
        let lost = "configured qdisc fq: lost: the move destroyed it, which --force accepted";
        assert_eq!(after(change, true, 0), [lost]);
    }

    #[test]
    fn a_device_in_place_that_was_never_up_keeps_the_qdisc_of_being_up() {
        let never_up = |stays_in_place: bool| {
            let mut was = parse(settings());
            (was.qdisc, was.stays_in_place) = (Some(NOT_READY.to_owned()), stays_in_place);
            differences(&was, &parse(settings()), false, Duration::ZERO).len()
        };
        assert_eq!((never_up(true), never_up(false)), (0, 1));
    }

    #[test]
    fn missing_records_are_listed_unless_they_have_expired() {
        let change = |now: &mut Value| {
            (now["addresses"], now["routes"]) = (json!([]), json!([]));
        };
        let of_age = |age| after(change, false, age);
        let expected = [
            "address 192.0.2.1/24: it is missing",
            "address 192.0.2.7/24: it is missing",
            "route 192.0.2.0/24 in table 254: the kernel has not made it again",
            "route 2001:db8::1/128 in table 255: lost: user space cannot add it",
        ];
        assert_eq!(of_age(60), expected);
        assert_eq!(of_age(3600), [expected[0], expected[2], expected[3]]);
    }
}
