//! Claiming devices, and restoring them in the same run or after it was killed.

use std::{fs, os::fd::AsFd as _, process::Command};

use libtest_mimic::Failed;
use serde_json::Value;
use xdproof::{
    error::chain,
    program::{Object, Program},
    testbed::{
        ClaimOptions, DeviceError,
        devices::{
            journal::{self, RunState},
            step::ClaimStep,
        },
    },
};
use xdproof_netns::{LinkSetting, Mounts, NetNs, Worker, XdpFlags, XdpMode};

use crate::{
    cli::{self, Result, expect_code, stdout},
    host::{TestHost, expect, expect_end, kill, without_times},
};

pub(crate) fn restored() -> Result {
    let host = TestHost::configured()?;
    let before = host.state()?;
    let pair = host.claim().map_err(|error| chain(&error))?;
    expect(!host.has("t0")? && !host.has("d0")?, "they have not moved")?;
    // As a trial may leave them.
    for (worker, index) in [
        (&pair.testbed.tester, pair.testbed.topology.tester.index),
        (&pair.testbed.dut, pair.testbed.topology.dut.index),
    ] {
        let program = Program::load(&Object::default())?.descriptor()?;
        let fewer = worker.call(move |host| {
            host.set_mtu(index, 9000)?;
            host.set_link(index, &LinkSetting::Promiscuous(true))?;
            host.set_offload(index, xdproof_netns::Offloads::GRO, false)?;
            host.attach_xdp(index, program.as_fd(), &[XdpMode::Generic], XdpFlags::default())?;
            host.channels(index)
        })?;
        let mut fewer = fewer.ok_or("no channels")?;
        (fewer.rx, fewer.tx) = (1, 1);
        worker.call(move |host| host.set_channels(index, fewer))?;
    }
    pair.restore()?;
    host.expect_state(&before)?;
    expect(host.runs()?.is_empty(), "the journal is still there")
}

pub(crate) fn dropped() -> Result {
    let host = TestHost::configured()?;
    let before = host.state()?;
    drop(host.claim().map_err(|error| chain(&error))?);
    host.expect_state(&before)
}

pub(crate) fn panicked() -> Result {
    let host = TestHost::configured()?;
    let before = host.state()?;
    let pair = host.claim().map_err(|error| chain(&error))?;
    let ended = std::thread::spawn(move || {
        let _pair = pair;
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    expect(ended.join().is_err(), "it did not panic")?;
    host.expect_state(&before)
}

pub(crate) fn killed() -> Result {
    let host = TestHost::configured()?;
    let before = host.state()?;
    let child = host.start()?;
    expect(!host.has("t0")?, "the devices have not moved")?;
    kill(child)?;
    let printed = host.restore(0)?;
    for part in
        ["was killed; its devices are restored", "t0: address 192.0.2.1/24: restored", "d0: XDP program"]
    {
        expect(printed.contains(part), &format!("it does not say {part}: {printed}"))?;
    }
    host.expect_state(&before)?;
    expect(host.restore(0)? == "There is nothing to restore.\n", "something is left")
}

pub(crate) fn killed_anywhere() -> Result {
    for step in ClaimStep::ALL {
        let host = TestHost::configured()?;
        let before = host.state()?;
        let (mut child, claimed) = host.start_until(step)?;
        // It restores them when its input ends.
        drop(child.stdin.take());
        expect(
            claimed == step.is_of_restoring() && !child.wait()?.success(),
            &format!("it lived on after {step:?}"),
        )?;
        expect(host.runs()?.len() == 1, "there is no journal")?;
        host.restore(0)?;
        host.expect_state(&before)
            .map_err(|error| format!("killed after {step:?}: {}", error.message().unwrap_or_default()))?;
    }
    Ok(())
}

/// The mount namespace of a process that `ip netns exec` or `unshare` starts ends with the process.
pub(crate) fn killed_in_private_mounts() -> Result {
    const STEPS: [Option<ClaimStep>; 4] =
        [Some(ClaimStep::ProgramsDetached), Some(ClaimStep::DutMoved), None, Some(ClaimStep::LinksSet)];
    for step in STEPS {
        let host = TestHost::configured()?;
        let before = host.state()?;
        match step {
            None => kill(host.start_in_private_mounts()?)?,
            Some(step) => {
                let (mut child, _) = host.start_in_private_mounts_until(step)?;
                drop(child.stdin.take());
                expect(!child.wait()?.success(), &format!("it lived on after {step:?}"))?;
            }
        }
        let mut private = Command::new("unshare");
        private.arg("--mount").arg(cli::xdproof().get_program()).arg("restore").env("NO_COLOR", "1");
        let output = if step.is_none() { host.run(private)? } else { host.xdproof(&["restore"])? };
        expect_code(&output, 0)?;
        host.expect_state(&before)
            .map_err(|error| format!("killed after {step:?}: {}", error.message().unwrap_or_default()))?;
        expect(host.runs()?.is_empty(), "the journal is left")?;
    }
    Ok(())
}

/// Process 1 of a PID namespace takes everything in it along.
pub(crate) fn first_process() -> Result {
    let host = TestHost::plain()?;
    let run = |force: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc"]).arg(cli::xdproof().get_program());
        command.args(["validate", "--dut", "d0", "--tester", "t0", "--scenario", "ipv4/udp"]).args(force);
        command.env("NO_COLOR", "1");
        host.run(command)
    };
    let output = run(&[])?;
    cli::expect_one_error(&output, 3, &["a killed run would lose the devices", "--force", "process 1"])?;
    expect(host.has("d0")? && host.runs()?.is_empty(), "something was changed")?;
    expect_code(&run(&["--force"])?, 0)?;
    expect(host.has("d0")? && host.has("t0")?, "the devices are not restored")
}

/// Whatever held the namespaces of a killed run is gone.
pub(crate) fn unheld() -> Result {
    let host = TestHost::configured()?;
    let child = host.start()?;
    kill(child)?;
    let run = host.runs()?.pop().ok_or("no journal")?;
    for name in ["tester", "dut"] {
        let path = run.join(name);
        let file = path.clone();
        Mounts::lasting()?.run(move || NetNs::release(&file))??;
        fs::write(&path, "")?;
    }
    for _ in 0..2 {
        let printed = host.restore(1)?;
        expect(printed.contains("d0: network namespace: not restored: the device has vanished"), &printed)?;
        expect(printed.contains("--discard") && run.join("journal.json").exists(), &printed)?;
    }
    let output = host.xdproof(&["restore", "--discard"])?;
    expect_code(&output, 0)?;
    expect(stdout(&output).contains("its journal is discarded"), &stdout(&output))?;
    expect(host.restore(0)? == "There is nothing to restore.\n", "it is still there")
}

pub(crate) fn next_run() -> Result {
    let host = TestHost::configured()?;
    let before = host.state()?;
    let child = host.start()?;
    kill(child)?;
    let pair = host.claim().map_err(|error| chain(&error))?;
    let states: Vec<_> = pair.recovered.iter().map(|run| &run.state).collect();
    expect(states == [&RunState::Ended], &format!("{states:?}"))?;
    pair.restore()?;
    host.expect_state(&before)
}

pub(crate) fn living() -> Result {
    let host = TestHost::configured()?;
    let before = host.state()?;
    let child = host.start()?;
    let printed = host.restore(0)?;
    expect(printed.contains("is alive and keeps its devices"), &printed)?;
    expect(!host.has("t0")?, "they were taken from a living run")?;
    let error = host.claim().err().ok_or("the devices of a living run were claimed")?;
    expect(matches!(&error, DeviceError::InUse { device, .. } if device.as_ref() == "t0"), &chain(&error))?;
    let by_force = ClaimOptions { force: true, ..host.options() };
    let error =
        host.claim_with("d0", "t0", by_force).err().ok_or("force claimed the devices of a living run")?;
    expect(matches!(error, DeviceError::InUse { .. }), &chain(&error))?;
    expect_end(child)?;
    host.expect_state(&before)
}

pub(crate) fn restore_json() -> Result {
    let host = TestHost::configured()?;
    let child = host.start()?;
    kill(child)?;
    let output = host.xdproof(&["restore", "--json"])?;
    expect_code(&output, 0)?;
    let listed: Value = serde_json::from_slice(&output.stdout)?;
    expect(listed[0]["state"] == "ended", &listed.to_string())?;
    let items = listed[0]["put_back"].as_array().ok_or("nothing was restored")?;
    let mtu = items
        .iter()
        .any(|item| item["device"] == "t0" && item["what"] == "ARP on" && item["outcome"] == "done");
    expect(mtu && items.iter().all(|item| item["outcome"] == "done"), &listed.to_string())
}

pub(crate) fn nothing() -> Result {
    let host = TestHost::plain()?;
    expect(host.restore(0)? == "There is nothing to restore.\n", "there is something")?;
    let output = host.xdproof(&["restore", "--json"])?;
    expect(stdout(&output).trim() == "[]", &stdout(&output))
}

pub(crate) fn unprivileged_restore() -> Result {
    let output = cli::unprivileged(&["restore"])?;
    cli::expect_one_error(&output, 3, &["root", "create a network namespace", "Operation not permitted"])
}

pub(crate) fn damaged() -> Result {
    let host = TestHost::configured()?;
    let child = host.start()?;
    kill(child)?;
    let path = host.runs()?.pop().ok_or("no journal")?.join("journal.json");
    let whole = fs::read(&path)?;
    fs::write(&path, &whole[..whole.len() / 2])?;
    let printed = host.restore(1)?;
    expect(printed.contains("cannot be restored: ") && printed.contains("is damaged"), &printed)?;
    expect(path.exists(), "it was thrown away")?;
    fs::write(&path, &whole)?;
    host.restore(0)?;
    expect(host.has("t0")? && host.has("d0")?, "they are not back")
}

pub(crate) fn elsewhere() -> Result {
    let host = TestHost::configured()?;
    let before = host.state()?;
    let child = host.start()?;
    kill(child)?;
    let mut command = cli::xdproof();
    command.arg("restore").env(journal::DIRECTORY_VARIABLE, host.journals.path());
    let output = command.output()?;
    expect_code(&output, 1)?;
    expect(stdout(&output).contains("run this in that namespace"), &stdout(&output))?;
    host.restore(0)?;
    host.expect_state(&before)
}

pub(crate) fn vanished() -> Result {
    let host = TestHost::configured()?;
    let child = host.start()?;
    kill(child)?;
    // Deleting one end of a veth deletes both.
    let inside = NetNs::at(&host.runs()?.pop().ok_or("no journal")?.join("dut"))?;
    Worker::spawn(&inside, "inside")?.call(|host| {
        let index = host.link(&"d0".parse()?)?.index;
        host.delete_link(index)
    })?;
    for _ in 0..2 {
        let printed = host.restore(1)?;
        expect(printed.contains("t0") && printed.contains("the device has vanished"), &printed)?;
    }
    expect_code(&host.xdproof(&["restore", "--discard"])?, 0)?;
    expect(host.restore(0)? == "There is nothing to restore.\n", "it is reported again")
}

pub(crate) fn index_in_use() -> Result {
    let host = TestHost::configured()?;
    let index = host.sh("ip -o link show t0 | cut -d : -f 1")?;
    let state = || {
        let text = host.sh("ip address show dev t0 | tail -n +2; ip route show table all dev t0")?;
        Ok::<_, Failed>(without_times(&text))
    };
    let before = state()?;
    let child = host.start()?;
    kill(child)?;
    host.sh(&format!("ip link add squatter index {} type bridge", index.trim()))?;
    let printed = host.restore(1)?;
    let line = format!("t0: index {}: lost: another device has it: the index is ", index.trim());
    expect(printed.contains(&line) && printed.contains("its devices are restored"), &printed)?;
    expect(host.restore(0)? == "There is nothing to restore.\n", "it is reported again")?;
    let after = state()?;
    expect(before == after, &format!("{before}\n{after}"))
}

/// Filters and addresses that a trial has left at a device stay in the namespace; a program attached by netlink is detached.
pub(crate) fn leftovers() -> Result {
    let host = TestHost::configured()?;
    let before = host.state()?;
    let pair = host.claim().map_err(|error| chain(&error))?;
    let index = pair.testbed.topology.dut.index;
    let program = Program::load(&Object::default())?.descriptor()?;
    let filter = |line: &'static str| -> Result {
        let output = pair.testbed.dut.run(move |_| Command::new("sh").args(["-ec", line]).output())??;
        expect(output.status.success(), &format!("{output:?}"))
    };
    filter(
        "tc qdisc add dev d0 clsact; ip address add 203.0.113.77/24 dev d0; ip link set d0 alias other group 9",
    )?;
    pair.testbed
        .dut
        .call(move |host| host.attach_xdp(index, program.as_fd(), &[XdpMode::Native], XdpFlags::default()))?;
    pair.restore()?;
    host.expect_state(&before)
}

pub(crate) fn name_in_use() -> Result {
    let host = TestHost::configured()?;
    let before = host.state()?;
    let child = host.start()?;
    kill(child)?;
    host.sh("ip link add t0 type bridge")?;
    let printed = host.restore(1)?;
    expect(printed.contains("t0: network namespace: not restored"), &printed)?;
    expect(host.has("d0")?, "a device that cannot be restored kept the other from it")?;
    host.sh("ip link delete t0")?;
    host.restore(0)?;
    host.expect_state(&before)
}
