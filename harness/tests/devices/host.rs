//! A host of the test's own: a namespace with two devices to claim, and everything that `ip`, `ethtool` and `sysctl` print of it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::fd::AsFd as _,
    process::{Child, Command, Output, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use xdproof::{
    error::chain,
    program::{Object, Program},
    testbed::{
        ClaimOptions, DeviceError, DevicePair,
        devices::{journal, preflight::Objection, step::ClaimStep},
    },
};
use xdproof_netns::{LinkName, Mounts, NetNs, Record, RecordKind, Worker, XdpFlags, XdpMode};

use crate::{
    child::ORDER,
    cli::{self, Result, expect_code, stdout},
};

/// Deadline for work of a child that takes milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A host of the test's own, with a journal of its own.
pub(crate) struct TestHost {
    pub(crate) worker: Worker,
    pub(crate) journals: TempDir,
    /// There are more links than the two: of the routes that every link has, those of the two follow the others after a
    /// restore, for IPv6 can only append.
    has_others: bool,
}

/// A pair of NICs with all settings that people make at NICs.
const CONFIGURED: &str = "
ip link set lo up
ip link add t0 numrxqueues 4 numtxqueues 4 type veth peer name d0 numrxqueues 4 numtxqueues 4
sysctl -qw net.ipv4.conf.t0.rp_filter=2 net.ipv4.conf.t0.arp_ignore=1
sysctl -qw net.ipv6.conf.t0.accept_ra=0 net.ipv6.conf.d0.hop_limit=33 net.ipv4.neigh.t0.gc_stale_time=71 net.ipv4.conf.d0.forwarding=1
ip link set t0 mtu 1437 promisc on txqueuelen 77 alias 'the link to the lab' group 5 address 02:aa:00:00:00:01
ip link set d0 mtu 1437 allmulticast on arp off address 02:aa:00:00:00:02
ethtool -K t0 gro on gso off tx off
ethtool -K d0 tx-udp-segmentation off rxvlan off
ethtool -L t0 rx 4 tx 2
ethtool -L d0 rx 4 tx 3
ip link set t0 up
ip link set d0 up
ip address add 192.0.2.1/24 brd + dev t0 label t0:lab
ip address add 192.0.2.5/24 dev t0
ip address add 192.0.2.7/24 dev t0 metric 300 valid_lft 3600 preferred_lft 1800
ip address add 198.51.100.1 peer 198.51.100.2 dev t0 scope link
ip address add 10.9.0.1/16 dev t0 noprefixroute
ip address add 192.0.2.129/25 dev d0
ip address add 2001:db8::1/64 dev t0
ip address add 2001:db8::2/64 dev t0 preferred_lft 0
ip address add fd00::1/64 dev t0 noprefixroute
ip address add 2001:db8:0:1::1 peer 2001:db8:0:2::1 dev t0
ip address add 2001:db8:5::1/64 dev d0 nodad
ip route del 198.51.100.2 dev t0
ip route add 203.0.113.0/24 via 192.0.2.9 metric 77 mtu lock 1300 proto static src 192.0.2.5
ip route append 203.0.113.0/24 via 192.0.2.10 metric 77
ip route add 10.0.0.0/8 via 10.250.0.1 dev t0 onlink table 100
ip route add 172.16.0.0/12 table 4000 nexthop via 192.0.2.9 weight 3 nexthop via 192.0.2.11 dev t0 onlink
ip route add 172.32.0.0/16 dev d0 scope link tos 0x10
ip route add 172.33.0.0/16 via 203.0.113.5 dev t0 onlink
ip route add throw 172.34.0.0/16
ip -6 route add 2001:db8:1::/48 via 2001:db8::9 metric 55 mtu 1400 pref high
ip -6 route add 2001:db8:2::/48 nexthop via 2001:db8::9 weight 2 nexthop via 2001:db8::a
ip -6 route add 2001:db8:3::/48 via fe80::9 dev d0 table 200 expires 7200
ip neighbour add 192.0.2.9 lladdr 02:bb:00:00:00:09 dev t0 nud permanent
ip neighbour add 2001:db8::9 lladdr 02:bb:00:00:00:09 dev t0 nud permanent
ip neighbour add proxy 192.0.2.99 dev t0
ip maddress add 01:00:5e:00:00:77 dev t0
ip maddress add 33:33:00:00:77:77 dev d0
sysctl -qw net.ipv6.conf.t0.accept_dad=1
";

/// A bridge as the DUT, with a port and with the settings that people make at bridges; the tester is the other end of the port.
pub(crate) const BRIDGED: &str = "
ip link set lo up
ip link add t0 type veth peer name t1
ip link add d0 type bridge
ip link set t0 mtu 1437
ip link set t1 mtu 1437
ip link set t1 master d0
ethtool -K t1 gro on tx off
ethtool -K d0 gso off
sysctl -qw net.ipv4.conf.d0.rp_filter=2 net.ipv4.conf.d0.arp_ignore=1 net.ipv4.conf.d0.forwarding=1
sysctl -qw net.ipv6.conf.d0.accept_ra=0 net.ipv6.conf.d0.hop_limit=33 net.ipv4.neigh.d0.gc_stale_time=71
ip link set d0 mtu 1400 txqueuelen 77 alias 'the lab' group 5
ip link set t0 up
ip link set t1 up
ip link set d0 up
ip address add 192.0.2.1/24 brd + dev d0 label d0:lab
ip address add 192.0.2.5/24 dev d0
ip address add 192.0.2.7/24 dev d0 metric 300 valid_lft 3600 preferred_lft 1800
ip address add 10.9.0.1/16 dev d0 noprefixroute
ip address add 198.51.100.1/24 dev t0
ip address add 2001:db8::1/64 dev d0
ip address add fd00::1/64 dev d0 noprefixroute
ip route add 203.0.113.0/24 via 192.0.2.9 metric 77 mtu lock 1300 proto static src 192.0.2.5
ip route add 10.0.0.0/8 via 10.250.0.1 dev d0 onlink table 100
ip -6 route add 2001:db8:1::/48 via 2001:db8::9 metric 55 mtu 1300 pref high
ip neighbour add 192.0.2.9 lladdr 02:bb:00:00:00:09 dev d0 nud permanent
ip neighbour add 2001:db8::9 lladdr 02:bb:00:00:00:09 dev d0 nud permanent
ip neighbour add proxy 192.0.2.99 dev d0
";

/// Commands whose output must not change.
const COMMANDS: &[&str] = &[
    "ip -d address",
    "ip -d link",
    "ip -d route show table all",
    "ip -d -6 route show table all",
    "ip -d neighbour show nud permanent",
    "ip -d neighbour show proxy",
    // Those of the protocols come in any order.
    "ip -o maddress show dev t0 | grep -i static || true",
    "ip -o maddress show dev d0 | grep -i static || true",
    "tc qdisc show dev t0",
    "tc qdisc show dev d0",
    "ethtool -k t0",
    "ethtool -k d0",
    // A bridge has none.
    "ethtool -l t0 2>&1 || true",
    "ethtool -l d0 2>&1 || true",
    "sysctl -a --pattern ^net\\.(ipv4|ipv6)\\.(conf|neigh)\\.[td]0\\.",
];

/// Commands for another link, which is a port or the other end of one.
const OTHER_COMMANDS: &[&str] = &["ethtool -k t1", "sysctl -a --pattern ^net\\.(ipv4|ipv6)\\.conf\\.t1\\."];

impl TestHost {
    /// A host on which these commands were run, one a line.
    pub(crate) fn with(commands: &str) -> Result<Self> {
        let host = Self {
            worker: Worker::spawn(&NetNs::create()?, "host")?,
            journals: tempfile::tempdir()?,
            has_others: commands.contains("t1"),
        };
        // The flags of a tentative address change a second later.
        host.sh("sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0")?;
        for line in commands.lines().filter(|line| !line.is_empty()) {
            host.sh(line)?;
        }
        Ok(host)
    }

    pub(crate) fn configured() -> Result<Self> {
        let host = Self::with(CONFIGURED)?;
        host.settle(&["t0", "d0"])?;
        host.attach("t0", XdpMode::Generic)?;
        host.attach("d0", XdpMode::Native)?;
        Ok(host)
    }

    pub(crate) fn bridged() -> Result<Self> {
        let host = Self::with(BRIDGED)?;
        host.settle(&["t0", "d0"])?;
        host.attach("d0", XdpMode::Generic)?;
        Ok(host)
    }

    /// A pair of NICs without settings.
    pub(crate) fn plain() -> Result<Self> {
        let host = Self::with(
            "ip link set lo up\nip link add t0 type veth peer name d0\nip link set t0 up\nip link set d0 up",
        )?;
        host.settle(&["t0", "d0"])?;
        Ok(host)
    }

    /// Waits until the kernel has entered the addresses and routes that it makes in the background.
    pub(crate) fn settle(&self, links: &[&str]) -> Result {
        for link in links {
            let name: LinkName = link.parse()?;
            self.worker.call(move |host| {
                let index = host.link(&name)?.index;
                host.wait_running(index, PATIENCE)?;
                let link_local = |record: &Record| record.to_string().starts_with("address fe80:");
                let are_there = |addresses: &[Record]| addresses.iter().any(link_local);
                let addresses =
                    host.wait_records(RecordKind::Address, index, "see its address", PATIENCE, are_there)?;
                let local: Vec<String> = addresses
                    .iter()
                    .filter(|record| record.is_ipv6())
                    .filter_map(|record| Some(format!("route {}/128 in table 255", record.address()?)))
                    .collect();
                let are_there = |routes: &[Record]| {
                    local.iter().all(|local| routes.iter().any(|route| route.to_string() == *local))
                };
                host.wait_records(RecordKind::Route, index, "see its routes", PATIENCE, are_there)
            })?;
        }
        Ok(())
    }

    /// A command in the host's namespace.
    pub(crate) fn run(&self, mut command: Command) -> Result<Output> {
        command.env(journal::DIRECTORY_VARIABLE, self.journals.path()).stdin(Stdio::null());
        Ok(self.worker.run(move |_| command.output())??)
    }

    pub(crate) fn sh(&self, line: &str) -> Result<String> {
        let mut command = Command::new("sh");
        command.args(["-ec", line]);
        let output = self.run(command)?;
        if output.status.success() { Ok(stdout(&output)) } else { Err(format!("{line}: {output:?}").into()) }
    }

    /// Attaches a program by netlink; nothing else holds it.
    pub(crate) fn attach(&self, link: &str, mode: XdpMode) -> Result {
        let program = Program::load(&Object::default())?.descriptor()?;
        let name: LinkName = link.parse()?;
        self.worker.call(move |host| {
            let index = host.link(&name)?.index;
            host.attach_xdp(index, program.as_fd(), &[mode], XdpFlags::default())
        })?;
        Ok(())
    }

    /// Returns the output of all commands. Lifetimes are in seconds and run: those that end are left out, as are counters, which
    /// none of these commands prints.
    pub(crate) fn state(&self) -> Result<Vec<(&'static str, String)>> {
        let print = |&command: &&'static str| -> Result<_> {
            // The pattern of sysctl is one word.
            let line = command
                .replace("--pattern ^net", "--pattern '^net")
                .replace("[td]0\\.", "[td]0\\.'")
                .replace("t1\\.", "t1\\.'");
            let text = self.sh(&line)?;
            let text = if self.has_others { without_order(&text) } else { text };
            Ok((command, without_times(&text)))
        };
        let others = OTHER_COMMANDS.iter().filter(|_| self.has_others);
        COMMANDS.iter().chain(others).map(print).collect()
    }

    pub(crate) fn expect_state(&self, before: &[(&'static str, String)]) -> Result {
        for ((command, was), (_, is)) in before.iter().zip(self.state()?) {
            if *was != is {
                let lost = was.lines().filter(|line| !is.lines().any(|other| other == *line));
                let new = is.lines().filter(|line| !was.lines().any(|other| other == *line));
                let changes: Vec<String> =
                    lost.map(|line| format!("- {line}")).chain(new.map(|line| format!("+ {line}"))).collect();
                let order = || {
                    let moved = was.lines().zip(is.lines()).filter(|(was, is)| was != is);
                    moved.map(|(was, is)| format!("was: {was}\nis:  {is}")).collect::<Vec<_>>().join("\n")
                };
                let changes = if changes.is_empty() { order() } else { changes.join("\n") };
                return Err(format!("{command} prints otherwise:\n{changes}").into());
            }
        }
        Ok(())
    }

    pub(crate) fn options(&self) -> ClaimOptions {
        ClaimOptions { journals: self.journals.path().to_owned(), ..ClaimOptions::default() }
    }

    pub(crate) fn claim_with(
        &self,
        dut: &str,
        tester: &str,
        options: ClaimOptions,
    ) -> Result<DevicePair, DeviceError> {
        let (dut, tester): (LinkName, LinkName) = (dut.parse()?, tester.parse()?);
        self.worker.run(move |_| DevicePair::claim(&dut, &tester, options))?
    }

    pub(crate) fn claim(&self) -> Result<DevicePair, DeviceError> {
        self.claim_with("d0", "t0", self.options())
    }

    /// Starts a process that claims the devices, and waits until it has.
    pub(crate) fn start(&self) -> Result<Child> {
        Self::claimed(self.start_by(Command::new(std::env::current_exe()?), None)?)
    }

    /// Starts such a process in a mount namespace of its own, which ends with it.
    pub(crate) fn start_in_private_mounts(&self) -> Result<Child> {
        Self::claimed(self.start_by(Self::in_private_mounts()?, None)?)
    }

    /// Starts a process that claims the devices and dies after a step; returns true if it had claimed them before.
    pub(crate) fn start_until(&self, step: ClaimStep) -> Result<(Child, bool)> {
        self.start_by(Command::new(std::env::current_exe()?), Some(step))
    }

    /// Starts such a process in a mount namespace of its own, which ends with it.
    pub(crate) fn start_in_private_mounts_until(&self, step: ClaimStep) -> Result<(Child, bool)> {
        self.start_by(Self::in_private_mounts()?, Some(step))
    }

    fn in_private_mounts() -> Result<Command> {
        let mut command = Command::new("unshare");
        command.arg("--mount").arg(std::env::current_exe()?);
        Ok(command)
    }

    fn start_by(&self, mut command: Command, step: Option<ClaimStep>) -> Result<(Child, bool)> {
        let order = format!("d0 t0 {}", step.map(|step| format!("{step:?}")).unwrap_or_default());
        command.env(ORDER, order).env(journal::DIRECTORY_VARIABLE, self.journals.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.worker.run(move |_| command.spawn())??;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        Ok((child, line == "claimed\n"))
    }

    /// Fails with the message of a process that has not claimed the devices.
    fn claimed((child, claimed): (Child, bool)) -> Result<Child> {
        if claimed {
            return Ok(child);
        }
        let output = child.wait_with_output()?;
        Err(format!("the devices were not claimed: {}\n{}", output.status, cli::stderr(&output)).into())
    }

    pub(crate) fn xdproof(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = cli::xdproof();
        command.args(arguments);
        self.run(command)
    }

    /// Starts `xdproof validate` on the devices, and waits until it is at its trials in native mode.
    pub(crate) fn validate(&self) -> Result<(Child, JoinHandle<String>)> {
        let begun = self.validate_until("::native::")?;
        expect(!self.has("d0")?, "the devices are not claimed")?;
        Ok(begun)
    }

    /// Starts `xdproof validate` on the devices, and waits until a line has such a part.
    pub(crate) fn validate_until(&self, part: &str) -> Result<(Child, JoinHandle<String>)> {
        self.validate_with(&["--mode", "generic,native"], part)
    }

    /// Starts `xdproof validate` on the devices with further arguments, and waits until a line has such a part.
    pub(crate) fn validate_with(&self, words: &[&str], part: &str) -> Result<(Child, JoinHandle<String>)> {
        let mut command = cli::xdproof();
        command.args(["validate", "-v", "--dut", "d0", "--tester", "t0"]).args(words);
        command.env(journal::DIRECTORY_VARIABLE, self.journals.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.worker.run(move |_| command.spawn())??;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let at_trials = lines.by_ref().map_while(std::result::Result::ok).any(|line| line.contains(part));
        expect(at_trials && !self.has("t0")?, "the devices are not claimed")?;
        let rest = move || lines.map_while(std::result::Result::ok).collect::<Vec<_>>().join("\n");
        Ok((child, std::thread::spawn(rest)))
    }

    pub(crate) fn restore(&self, code: i32) -> Result<String> {
        let output = self.xdproof(&["restore"])?;
        expect_code(&output, code)?;
        Ok(stdout(&output))
    }

    /// Directories of runs that are there, with their mounts.
    pub(crate) fn runs(&self) -> Result<Vec<std::path::PathBuf>> {
        let mut runs = Vec::new();
        for entry in fs::read_dir(Mounts::lasting()?.reach(self.journals.path())?)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                runs.push(entry.path());
            }
        }
        Ok(runs)
    }

    pub(crate) fn has(&self, link: &str) -> Result<bool> {
        let name: LinkName = link.parse()?;
        Ok(self.worker.run(move |host| host.link(&name).is_ok())?)
    }

    /// Expects that a device is rejected with such an objection, and that nothing is changed.
    pub(crate) fn expect_rejection(
        &self,
        device: &str,
        is_it: impl Fn(&Objection) -> bool,
        words: &str,
    ) -> Result {
        let before = self.sh("ip -d address; ip route show table all; ip -6 route show table all")?;
        let Err(error) = self.claim() else { return Err("it was claimed".into()) };
        let text = chain(&error);
        let DeviceError::Rejected { device: refused, objections } = error else { return Err(text.into()) };
        expect(refused.as_ref() == device && objections.iter().any(is_it) && text.contains(words), &text)?;
        let after = self.sh("ip -d address; ip route show table all; ip -6 route show table all")?;
        expect(before == after && self.runs()?.is_empty(), "something was changed")
    }
}

/// Mounts of a test that failed go with it.
impl Drop for TestHost {
    fn drop(&mut self) {
        for run in self.runs().unwrap_or_default() {
            let release = move || {
                for mount in ["tester", "dut"] {
                    NetNs::release(&run.join(mount)).ok();
                }
                rustix::mount::unmount(run.join("bpf"), rustix::mount::UnmountFlags::DETACH).ok();
            };
            Mounts::lasting().and_then(|mounts| mounts.run(release)).ok();
        }
    }
}

/// The same lines, those in another order that every link has.
fn without_order(text: &str) -> String {
    let of_every_link = |line: &&str| line.contains("fe80::/64") || line.contains("ff00::/8");
    let (mut theirs, others): (Vec<&str>, Vec<&str>) = text.lines().partition(of_every_link);
    theirs.sort_unstable();
    [others, theirs].concat().join("\n")
}

/// The same words, those left out that tell a time which runs, as a bridge's timers do.
pub(crate) fn without_times(text: &str) -> String {
    let mut of_timer = false;
    let words = text.split(' ').filter_map(|word| {
        // The number of a timer has spaces before it, so many that its end is in one column.
        let is_time = is_running_time(word) || of_timer && !word.is_empty();
        of_timer = word.ends_with("_timer") || of_timer && word.is_empty();
        (!of_timer || !word.is_empty()).then_some(if is_time { "TIME" } else { word })
    });
    words.collect::<Vec<_>>().join(" ")
}

fn is_running_time(word: &str) -> bool {
    let word = word.trim_end();
    word.strip_suffix("sec").is_some_and(|number| number.parse::<u32>().is_ok_and(|seconds| seconds > 1000))
}

pub(crate) fn expect(condition: bool, what: &str) -> Result {
    if condition { Ok(()) } else { Err(what.to_owned().into()) }
}

pub(crate) fn expect_end(mut child: Child) -> Result {
    drop(child.stdin.take());
    let status = child.wait()?;
    expect(status.success(), &format!("the child ended with {status}"))
}

pub(crate) fn kill(mut child: Child) -> Result {
    child.kill()?;
    child.wait()?;
    Ok(())
}

pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result {
    let begun = Instant::now();
    while !holds()? {
        expect(begun.elapsed() < PATIENCE, what)?;
        std::thread::yield_now();
    }
    Ok(())
}
