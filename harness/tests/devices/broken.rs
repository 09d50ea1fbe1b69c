//! Devices that break during a run: it ends, names the device, and takes nothing of it for a failure of the program or a skip.

use std::process::Child;

use serde_json::Value;
use tempfile::TempDir;
use xdproof_netns::{LinkName, NetNs, Worker};

use crate::{
    cli::{self, Result, expect_code},
    host::{TestHost, expect},
};

/// Two devices whose links go over the ports of another namespace, so that a link can die without them: `d0 -- p1`, `t0 -- p2`.
pub(crate) const SWITCHED: &str = "
ip link set lo up
ip link add d0 type veth peer name p1
ip link add t0 type veth peer name p2
ip link add br0 type bridge
sysctl -qw net.ipv6.conf.p1.disable_ipv6=1 net.ipv6.conf.p2.disable_ipv6=1 net.ipv6.conf.br0.disable_ipv6=1
ethtool -K p1 tx-vlan-hw-insert off tx-vlan-stag-hw-insert off
ethtool -K p2 tx-vlan-hw-insert off tx-vlan-stag-hw-insert off
ip link set p1 master br0 up
ip link set p2 master br0 up
ip link set br0 up
ip link set d0 up
ip link set t0 up
";

/// A run that writes its result to a directory.
struct Broken {
    host: TestHost,
    out: TempDir,
    child: Child,
    reader: std::thread::JoinHandle<String>,
}

impl Broken {
    /// Starts a run and waits for its first trial.
    fn begin() -> Result<Self> {
        let host = TestHost::with(SWITCHED)?;
        host.settle(&["d0", "t0"])?;
        let out = tempfile::tempdir()?;
        let directory = out.path().to_str().ok_or("not UTF-8")?;
        let words = ["--mode", "generic", "--scenario", "ipv4/*", "--out", directory];
        let (child, reader) = host.validate_with(&words, "::generic::")?;
        Ok(Self { host, out, child, reader })
    }

    /// A worker in the namespace of the claimed DUT.
    fn dut(&self) -> Result<Worker> {
        let run = self.host.runs()?.pop().ok_or("no journal")?;
        Ok(Worker::spawn(&NetNs::at(&run.join("dut"))?, "dut")?)
    }

    /// Expects that the run ends by itself, and says why.
    fn expect_end(mut self, cause: &str) -> Result<TestHost> {
        let status = self.child.wait()?;
        let printed = self.reader.join().map_err(|_| "the reader panicked")?;
        expect(status.code() == Some(3), &format!("it ended with {status}\n{printed}"))?;
        let result = cli::read_result(self.out.path())?;
        let verdicts = |verdict: &str| {
            let trials = result["trials"].as_array().into_iter().flatten();
            trials.filter(|trial| trial["verdict"] == verdict).count()
        };
        let found = result["findings"].as_array().into_iter().flatten();
        let told: Vec<&Value> = found.filter(|finding| finding["kind"] == "testbed_failure").collect();
        let message = told.first().and_then(|finding| finding["message"].as_str()).unwrap_or_default();
        expect(message.contains(cause) && message.contains(" since trial ipv4/"), &format!("{told:?}"))?;
        let (failed, errors, skipped) = (verdicts("fail"), verdicts("error"), verdicts("skip"));
        expect(failed + skipped == 0 && (1..=3).contains(&errors), &format!("{failed} {errors} {skipped}"))?;
        expect(result["summary"]["not_run"].as_u64().unwrap_or(0) > 0, "everything was run")?;
        Ok(self.host)
    }
}

pub(crate) fn no_carrier() -> Result {
    let run = Broken::begin()?;
    run.host.sh("ip link set p1 down")?;
    let host = run.expect_end("d0 has no carrier")?;
    expect(host.runs()?.is_empty() && host.has("d0")?, "the devices are not restored")
}

pub(crate) fn down() -> Result {
    let run = Broken::begin()?;
    run.dut()?.call(|host| {
        let index = host.link(&"d0".parse()?)?.index;
        host.set_up(index, false)
    })?;
    let host = run.expect_end("d0 was set down")?;
    expect(host.runs()?.is_empty() && host.has("d0")?, "the devices are not restored")
}

pub(crate) fn deleted() -> Result {
    let run = Broken::begin()?;
    run.dut()?.call(|host| {
        let index = host.link(&"d0".parse()?)?.index;
        host.delete_link(index)
    })?;
    let host = run.expect_end("d0 was deleted or moved to another network namespace")?;
    // A journal that cannot be undone is kept until it is discarded.
    expect(host.has("t0")?, "the tester is not restored")?;
    expect(host.restore(1)?.contains("the device has vanished"), "it is not reported")?;
    expect_code(&host.xdproof(&["restore", "--discard"])?, 0)
}

pub(crate) fn moved() -> Result {
    let run = Broken::begin()?;
    let elsewhere = NetNs::create()?;
    let (there, name): (_, LinkName) = (elsewhere.clone(), "d0".parse()?);
    run.dut()?.call(move |host| {
        let index = host.link(&name)?.index;
        host.move_link(index, &there, None)
    })?;
    let host = run.expect_end("d0 was deleted or moved to another network namespace")?;
    let home = host.worker.namespace().clone();
    Worker::spawn(&elsewhere, "elsewhere")?.call(move |host| {
        let index = host.link(&"d0".parse()?)?.index;
        host.move_link(index, &home, None)
    })?;
    host.restore(0)?;
    expect(host.sh("ip link show dev d0")?.contains("state UP"), "it is not restored")
}
