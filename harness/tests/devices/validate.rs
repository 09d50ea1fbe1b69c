//! `xdproof validate --dut --tester`.

use std::{process::Child, thread::JoinHandle};

use rustix::process::Signal;

use crate::{
    cli::{self, Result, expect_code},
    host::{TestHost, expect, kill},
};

pub(crate) fn validated() -> Result {
    let host = TestHost::configured()?;
    let before = host.state()?;
    let out = tempfile::tempdir()?;
    let directory = out.path().to_str().ok_or("not UTF-8")?;
    let words =
        ["validate", "--dut", "d0", "--tester", "t0", "--label", "mine", "--rules", "--out", directory];
    let selection = ["--scenario", "vlan/qinq_*", "--mode", "generic,native,offload"];
    let output = host.xdproof(&[&words[..], &selection].concat())?;
    expect_code(&output, 0)?;
    host.expect_state(&before)?;
    expect(host.runs()?.is_empty(), "the journal is left")?;
    let result = cli::read_result(out.path())?;
    let devices = result["devices"].as_array().ok_or("no devices")?;
    let found: Vec<_> =
        devices.iter().map(|device| (&device["role"], &device["name"], &device["driver"])).collect();
    let expected = [("dut", "d0", "veth"), ("tester", "t0", "veth")];
    let same = found
        .iter()
        .zip(expected)
        .all(|(&found, (role, name, driver))| found == (&role.into(), &name.into(), &driver.into()));
    expect(found.len() == 2 && same, &format!("{found:?}"))?;
    let verdicts = |mode: &str| -> Vec<&str> {
        let trials = result["trials"].as_array().into_iter().flatten();
        trials
            .filter(|trial| trial["mode"] == mode && trial["nic"] == "mine")
            .filter_map(|trial| trial["verdict"].as_str())
            .collect()
    };
    for (mode, verdict) in [("generic", "pass"), ("native", "pass"), ("offload", "skip")] {
        let all = verdicts(mode);
        expect(all.len() >= 5 && all.iter().all(|one| *one == verdict), &format!("{mode}: {all:?}"))?;
    }
    let rules = result["attach_semantics"].as_array().ok_or("no rules")?;
    expect(rules.len() > 15 && rules.iter().all(|rule| rule["verdict"] == "pass"), "not all rules hold")
}

pub(crate) fn interrupted() -> Result {
    expect_interruptible(&TestHost::configured()?, TestHost::validate)
}

/// A run that is interrupted at its trials restores everything.
pub(crate) fn expect_interruptible(
    host: &TestHost,
    begin: impl FnOnce(&TestHost) -> Result<(Child, JoinHandle<String>)>,
) -> Result {
    let before = host.state()?;
    let (mut child, printed) = begin(host)?;
    cli::signal(&child, Signal::INT)?;
    let status = child.wait()?;
    let printed = printed.join().map_err(|_| "the reader panicked")?;
    expect(status.code() == Some(4), &format!("it ended with {status}\n{printed}"))?;
    expect(host.runs()?.is_empty(), "the journal is left")?;
    host.expect_state(&before)
}

pub(crate) fn killed() -> Result {
    let host = TestHost::configured()?;
    let before = host.state()?;
    kill(host.validate()?.0)?;
    expect(!host.has("d0")?, "a killed run has restored its devices")?;
    host.restore(0)?;
    host.expect_state(&before)
}

pub(crate) fn rejected() -> Result {
    let host = TestHost::plain()?;
    for (words, code, part) in [
        (&["--dut", "d0", "--tester", "d0"][..], 2, "cannot be both the DUT and the tester"),
        (&["--dut", "d0", "--tester", "lo"], 3, "loopback"),
        (&["--dut", "d0", "--tester", "nosuch"], 3, "nosuch"),
        (&["--dut", "d0", "--tester", "t0", "--injector", "live_frames"], 2, "live_frames needs a veth pair"),
        (&["--dut", "d0"], 2, "--tester"),
        (&["--label", "mine"], 2, "--dut"),
    ] {
        let output = host.xdproof(&[&["validate"], words].concat())?;
        cli::expect_one_error(&output, code, &[part])?;
        expect(host.runs()?.is_empty() && host.has("d0")?, "something is left")?;
    }
    Ok(())
}
