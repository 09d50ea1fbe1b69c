//! Devices behind a switch, for which a Linux bridge stands in: it learns addresses, loses frames, takes tags out, and others speak.

use std::{
    sync::mpsc::{RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;
use xdproof_netns::{LinkName, PacketOptions, Worker};

use crate::{
    broken::SWITCHED,
    cli::{self, Result, expect_code},
    host::{TestHost, expect},
};

/// Runs trials and returns the result. Exit code 0 is expected.
fn validate(host: &TestHost, words: &[&str]) -> Result<Value> {
    let out = tempfile::tempdir()?;
    let directory = out.path().to_str().ok_or("not UTF-8")?;
    let fixed = ["validate", "--dut", "d0", "--tester", "t0", "--out", directory];
    expect_code(&host.xdproof(&[&fixed[..], words].concat())?, 0)?;
    cli::read_result(out.path())
}

fn switched() -> Result<TestHost> {
    let host = TestHost::with(SWITCHED)?;
    host.settle(&["d0", "t0"])?;
    Ok(host)
}

/// The verdicts of the trials, with their reasons.
fn verdicts(result: &Value) -> Vec<(&str, &str, &str)> {
    let trials = result["trials"].as_array().map(Vec::as_slice).unwrap_or_default();
    trials
        .iter()
        .map(|trial| {
            let [id, verdict, reason] =
                ["id", "verdict", "reason"].map(|key| trial[key].as_str().unwrap_or_default());
            (id, verdict, reason)
        })
        .collect()
}

/// A frame from the DUT's own address teaches the switch that it is at the tester's port. Frames that are lost cost no time each.
pub(crate) fn corpus() -> Result {
    let result = validate(&switched()?, &["--mode", "generic", "--scenario", "ethernet/*"])?;
    let all = verdicts(&result);
    let passed = all.iter().filter(|(_, verdict, _)| *verdict == "pass").count();
    let wrong: Vec<_> =
        all.iter().filter(|(_, verdict, _)| !["pass", "unreachable"].contains(verdict)).collect();
    expect(
        wrong.is_empty() && passed > all.len() / 3,
        &format!("{passed} of {} pass: {wrong:?}", all.len()),
    )?;
    let taught = all.iter().find(|(id, ..)| id.starts_with("ethernet/odd_source::"));
    expect(taught.is_some_and(|(_, verdict, _)| *verdict == "unreachable"), &format!("{taught:?}"))
}

pub(crate) fn interrupted() -> Result {
    let host = switched()?;
    let before = host.state()?;
    // The first line comes before the survey of the whole corpus.
    let (mut child, printed) = host.validate_with(&["--mode", "generic"], "")?;
    let asked = Instant::now();
    cli::signal(&child, Signal::INT)?;
    let status = child.wait()?;
    let took = asked.elapsed();
    let printed = printed.join().map_err(|_| "the reader panicked")?;
    expect(status.code() == Some(4), &format!("it ended with {status}\n{printed}"))?;
    expect(took < Duration::from_secs(10), &format!("it took {took:?}"))?;
    expect(host.runs()?.is_empty(), "the journal is left")?;
    host.expect_state(&before)
}

/// The stack of the switch discards them, and so does that of the DUT, which no packet socket shows.
pub(crate) fn short_tagged() -> Result {
    let scenarios = ["--scenario", "boundary/ipv?_tag_cut_anywhere", "--scenario", "ipv4/udp"];
    let result = validate(&switched()?, &[&["--mode", "generic"][..], &scenarios].concat())?;
    let all = verdicts(&result);
    let right = all.iter().all(|(id, verdict, reason)| match id.starts_with("boundary/") {
        true => *verdict == "unreachable" && reason.contains("does not arrive, with or without a program"),
        false => *verdict == "pass",
    });
    expect(right && all.len() == 3, &format!("{all:?}"))
}

/// The DUT's settings say nothing of the tag that the switch sends beside the frame.
pub(crate) fn stripping() -> Result {
    let commands =
        SWITCHED.replace("tx-vlan-hw-insert off tx-vlan-stag-hw-insert off", "tx-vlan-hw-insert on");
    let host = TestHost::with(&commands)?;
    host.settle(&["d0", "t0"])?;
    let result = validate(&host, &["--mode", "generic,native", "--scenario", "vlan/three_tags"])?;
    let all = verdicts(&result);
    expect(all.len() == 2 && all.iter().all(|(_, verdict, _)| *verdict == "pass"), &format!("{all:?}"))?;
    let mut findings = result["findings"].as_array().into_iter().flatten();
    let told = findings
        .any(|its| its["message"].as_str().is_some_and(|its| its.contains("outer VLAN tags are stripped")));
    expect(told, "the tags are not reported")
}

/// A host behind the switch asks for another by ARP twenty times a second.
pub(crate) fn foreign() -> Result {
    const EVERY: Duration = Duration::from_millis(50);
    let host = switched()?;
    host.sh("ip link add s0 type veth peer name p3")?;
    host.sh("ip link set p3 master br0 up")?;
    let worker = Worker::spawn(host.worker.namespace(), "speaker")?;
    let socket = worker.call(|host| {
        let name: LinkName = "s0".parse()?;
        let index = host.link(&name)?.index;
        host.set_up(index, true)?;
        host.packet_socket(index, PacketOptions::default())
    })?;
    let mut frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 9], &[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
    frame.resize(60, 0);
    let out = tempfile::tempdir()?;
    let directory = out.path().to_str().ok_or("not UTF-8")?;
    let scenarios = ["--mode", "generic", "--scenario", "ipv4/*"];
    let (mut child, printed) =
        host.validate_with(&[&scenarios[..], &["--out", directory]].concat(), "::generic::")?;
    let (stop, stopped) = channel::<()>();
    let speaks = std::thread::spawn(move || {
        while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
            // The link goes with the test.
            if socket.send(&frame).is_err() {
                break;
            }
        }
    });
    let status = child.wait()?;
    let printed = printed.join().map_err(|_| "the reader panicked")?;
    drop(stop);
    speaks.join().map_err(|_| "the speaker panicked")?;
    expect(status.code() != Some(2), &format!("it ended with {status}\n{printed}"))?;
    let result = cli::read_result(out.path())?;
    let all = verdicts(&result);
    let wrong: Vec<_> = all.iter().filter(|(_, verdict, _)| ["fail", "skip"].contains(verdict)).collect();
    expect(wrong.is_empty() && all.len() > 20, &format!("{wrong:?}"))?;
    let errors = all.iter().filter(|(_, verdict, _)| *verdict == "error");
    let shown = |reason: &str| reason.contains("foreign frames") && reason.contains("ARP");
    expect(errors.clone().all(|(_, _, reason)| shown(reason)), &format!("{:?}", errors.collect::<Vec<_>>()))?;
    let mut findings = result["findings"].as_array().into_iter().flatten();
    let told =
        findings.any(|its| its["message"].as_str().is_some_and(|its| its.contains("02:00:00:00:00:09")));
    expect(told, "the frames are not reported")
}

/// A port of a switch forwards nothing for twice its forward delay.
pub(crate) fn learning() -> Result {
    let host = TestHost::with(&SWITCHED.replace(
        "ip link set br0 up\n",
        "ip link set br0 type bridge forward_delay 200 stp_state 1\nip link set br0 up\n",
    ))?;
    host.settle(&["d0", "t0"])?;
    // The ports begin to listen when their links come up, as they do when the devices are claimed.
    let pair = host.claim().map_err(|error| xdproof::error::chain(&error))?;
    pair.restore()?;
    expect(host.has("d0")?, "it is not restored")
}
