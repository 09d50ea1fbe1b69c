//! Devices that the kernel keeps in their namespace: bridges and bonds.

use std::{os::fd::AsFd as _, process::Command, time::Duration};

use libtest_mimic::Failed;
use xdproof::{
    error::chain,
    program::{Object, Program},
    testbed::devices::step::ClaimStep,
};
use xdproof_netns::{LinkName, LinkSetting, PacketOptions, RecordKind, XdpFlags, XdpMode};

use crate::{
    cli::{self, Result, expect_code},
    host::{BRIDGED, TestHost, expect},
    validate::expect_interruptible,
};

/// The one test that not every kernel can run.
pub(crate) const BOND: &str = "validate_proves_a_bond_and_restores_it";

/// Returns false if this kernel has no bonds, and no module for them. Any other obstacle has to fail the test.
pub(crate) fn makes_bonds() -> bool {
    let made = Command::new("unshare").args(["--net", "ip", "link", "add", "type", "bond"]).output();
    // The answer of rtnl_newlink() in net/core/rtnetlink.c if no module provides the kind.
    !made.is_ok_and(|made| String::from_utf8_lossy(&made.stderr).contains("Unknown device type"))
}

/// A bond as the DUT.
const BONDED: &str = "
ip link set lo up
ip link add t0 type veth peer name t1
ip link add d0 type bond mode active-backup miimon 20
ip link set t1 master d0
ip link set t0 up
ip link set d0 up
ip address add 192.0.2.1/24 brd + dev d0
ip address add 198.51.100.1/24 dev t0
ip address add 2001:db8::1/64 dev d0
ip route add 203.0.113.0/24 via 192.0.2.9 metric 77
ip neighbour add 192.0.2.9 lladdr 02:bb:00:00:00:09 dev d0 nud permanent
";

pub(crate) fn bridge() -> Result {
    let host = TestHost::bridged()?;
    let before = host.state()?;
    let pair = host.claim().map_err(|error| chain(&error))?;
    expect(host.has("d0")? && host.has("t1")? && !host.has("t0")?, "only the tester has to move")?;
    let (dut, index) = (&pair.testbed.dut, pair.testbed.topology.dut.index);
    let port: LinkName = "t1".parse()?;
    let own = dut.call(move |host| {
        let mut own = host.records(RecordKind::Address, index)?;
        own.extend(host.records(RecordKind::Route, index)?);
        own.extend(host.records(RecordKind::Neighbour, index)?);
        Ok(own.iter().map(ToString::to_string).collect::<Vec<_>>())
    })?;
    expect(own.is_empty(), &format!("it has {own:?}"))?;
    expect(!dut.call(move |host| host.link_by_index(index))?.settings.arp, "it may use ARP")?;
    expect(host.sh("cat /proc/sys/net/ipv6/conf/d0/disable_ipv6")? == "1\n", "it may use IPv6")?;
    let socket = dut.call(move |host| host.packet_socket(index, PacketOptions::default()))?;
    expect(!socket.wait_readable(Duration::from_millis(300))?, "a frame arrived that nobody sent")?;
    drop(socket);
    // A trial may leave it so, with a program attached by netlink.
    let program = Program::load(&Object::default())?.descriptor()?;
    dut.call(move |host| {
        let port = host.link(&port)?.index;
        for index in [index, port] {
            host.set_mtu(index, 1300)?;
            host.set_offload(index, xdproof_netns::Offloads::GRO, false)?;
        }
        host.set_link(index, &LinkSetting::Promiscuous(true))?;
        host.attach_xdp(index, program.as_fd(), &[XdpMode::Generic], XdpFlags::default())
    })?;
    pair.restore()?;
    host.expect_state(&before)?;
    expect(host.runs()?.is_empty(), "the journal is still there")
}

pub(crate) fn bridge_killed_anywhere() -> Result {
    for step in ClaimStep::ALL {
        let host = TestHost::bridged()?;
        let before = host.state()?;
        let (mut child, _) = host.start_until(step)?;
        drop(child.stdin.take());
        expect(!child.wait()?.success(), &format!("it lived on after {step:?}"))?;
        expect(host.has("d0")?, "the bridge is gone")?;
        host.restore(0)?;
        host.expect_state(&before)
            .map_err(|error| format!("killed after {step:?}: {}", error.message().unwrap_or_default()))?;
        expect(host.restore(0)? == "There is nothing to restore.\n", "something is left")?;
    }
    Ok(())
}

/// The bridge gets its frames from the stack of its port, which has stripped the outer tag.
pub(crate) fn bridge_validated() -> Result {
    let host = TestHost::bridged()?;
    expect_validated(&host, &[("generic", "pass"), ("native", "skip")])
}

/// Some scenarios have these verdicts, and everything is restored.
fn expect_validated(host: &TestHost, verdicts: &[(&str, &str)]) -> Result {
    let before = host.state()?;
    let out = tempfile::tempdir()?;
    let directory = out.path().to_str().ok_or("not UTF-8")?;
    let words = ["validate", "--dut", "d0", "--tester", "t0", "--out", directory];
    let selection =
        ["--scenario", "vlan/*qinq_ipv*", "--scenario", "vlan/three_tags", "--scenario", "ipv?/udp"];
    let output = host.xdproof(&[&words[..], &selection, &["--mode", "generic,native"]].concat())?;
    expect_code(&output, 0)?;
    host.expect_state(&before)?;
    expect(host.runs()?.is_empty(), "the journal is left")?;
    let result = cli::read_result(out.path())?;
    for (mode, verdict) in verdicts {
        let all: Vec<_> = result["trials"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|trial| trial["mode"] == *mode)
            .map(|trial| (&trial["id"], &trial["verdict"]))
            .collect();
        let same = all.iter().all(|(_, one)| *one == verdict);
        // A mode that the driver refuses is one trial.
        let least = if *verdict == "skip" { 1 } else { 4 };
        expect(all.len() >= least && same, &format!("{mode}: {all:?}"))?;
    }
    Ok(())
}

pub(crate) fn bridge_interrupted() -> Result {
    expect_interruptible(&TestHost::bridged()?, |host| host.validate_until("::generic::"))
}

pub(crate) fn bridge_as_tester() -> Result {
    let host = TestHost::bridged()?;
    let before = host.state()?;
    let pair = host.claim_with("t0", "d0", host.options()).map_err(|error| chain(&error))?;
    expect(host.has("d0")? && !host.has("t0")?, "only the DUT has to move")?;
    pair.restore()?;
    host.expect_state(&before)
}

pub(crate) fn bridge_down() -> Result {
    let host = TestHost::with(
        "ip link add t0 type veth peer name t1\nip link add d0 type bridge\nip link set t1 master d0\nip address add 192.0.2.1/24 dev d0\nip link set t1 up",
    )?;
    // It gets a qdisc by being up, and keeps it. A program that a trial leaves by netlink is detached.
    let state = || Ok::<_, Failed>(host.sh("ip address show dev d0")?.replace("qdisc noqueue", "qdisc noop"));
    let before = state()?;
    let pair = host.claim().map_err(|error| chain(&error))?;
    let index = pair.testbed.topology.dut.index;
    let program = Program::load(&Object::default())?.descriptor()?;
    pair.testbed.dut.call(move |host| {
        host.attach_xdp(index, program.as_fd(), &[XdpMode::Generic], XdpFlags::default())
    })?;
    pair.restore()?;
    let after = state()?;
    expect(before == after && before.contains("state DOWN"), &format!("{before}\n{after}"))
}

pub(crate) fn two_bridges() -> Result {
    let other = BRIDGED
        .replace(
            "type veth peer name t1",
            "type bridge\nip link add t2 type veth peer name t1\nip link set t2 mtu 1437 up",
        )
        .replace("ip link set t0 mtu 1437\n", "ip link set t2 master t0\n");
    let host = TestHost::with(&other)?;
    host.settle(&["t0", "d0"])?;
    let before = host.state()?;
    let pair = host.claim().map_err(|error| chain(&error))?;
    expect(host.has("d0")? && host.has("t0")?, "both have to stay")?;
    pair.restore()?;
    host.expect_state(&before)
}

pub(crate) fn bond_validated() -> Result {
    let host = TestHost::with(BONDED)?;
    host.settle(&["t0", "d0"])?;
    expect_validated(&host, &[("generic", "pass")])
}
