//! `xdproof validate --dut --tester`.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    thread::JoinHandle,
};

use rustix::process::Signal;
use xdproof::testbed::devices::journal;

use crate::{
    cli::{self, Result, expect_code},
    host::{TestHost, expect, kill, wait_until},
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
        // A mode that the driver refuses is one trial.
        let least = if verdict == "skip" { 1 } else { 5 };
        expect(all.len() >= least && all.iter().all(|one| *one == verdict), &format!("{mode}: {all:?}"))?;
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

/// The kernel and the shell both send SIGHUP, so that a second one is no second request.
pub(crate) fn hung_up() -> Result {
    for signals in [&[Signal::HUP, Signal::HUP][..], &[Signal::QUIT], &[Signal::TERM]] {
        let host = TestHost::configured()?;
        let before = host.state()?;
        let (mut child, printed) = host.validate_until("::generic::")?;
        for signal in signals {
            cli::signal(&child, *signal)?;
        }
        let status = child.wait()?;
        let printed = printed.join().map_err(|_| "the reader panicked")?;
        expect(status.code() == Some(4), &format!("{signals:?} ended it with {status}\n{printed}"))?;
        expect(host.runs()?.is_empty(), "the journal is left")?;
        host.expect_state(&before)?;
    }
    Ok(())
}

/// A terminal that is closed sends SIGHUP, and answers every write with EIO.
pub(crate) fn terminal_gone() -> Result {
    let host = TestHost::configured()?;
    let before = host.state()?;
    let program = cli::xdproof();
    let line = format!(
        "exec {} validate -v --dut d0 --tester t0 --mode generic,native",
        program.get_program().display()
    );
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    command.env("NO_COLOR", "1").env(journal::DIRECTORY_VARIABLE, host.journals.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut terminal = host.worker.run(move |_| command.spawn())??;
    let lines = BufReader::new(terminal.stdout.take().ok_or("no output")?).lines();
    let at_trials = lines.map_while(std::result::Result::ok).any(|line| line.contains("::generic::"));
    expect(at_trials && !host.has("d0")?, "the devices are not claimed")?;
    // The end of script(1) closes the terminal.
    kill(terminal)?;
    wait_until("the journal is left", || Ok(host.runs()?.is_empty()))?;
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
