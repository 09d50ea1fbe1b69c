//! Devices of a host that are taken and given back: after a run, after `kill -9` at any moment and `xdproof restore`, `ip` and
//! `ethtool` print what they printed before.
//!
//! The host is a namespace of each test's own. Ignored without privilege, as in `conformance.rs`.

#[path = "gate/mod.rs"]
#[expect(dead_code, reason = "devices have nothing to do with the corpus")]
mod gate;
#[path = "user/mod.rs"]
#[expect(dead_code, reason = "only a part of it is needed")]
mod user;
#[path = "waiting/mod.rs"]
mod waiting;

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _},
    net::{TcpListener, UdpSocket},
    os::fd::AsFd as _,
    process::{Child, Command, ExitCode, Output, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use libtest_mimic::{Failed, Trial as Test};
use rustix::process::{Signal, getpid, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use user::{Result, expect_code, stdout};
use xdproof::{
    error::chain,
    inject::tc_tools::Shaper,
    model::device::{PortRole, StatisticSource},
    program::{Object, Program},
    testbed::{
        DeviceError, DevicePair, StatisticsReading, TakeOptions,
        devices::{
            inventory,
            journal::{self, RunState},
            pair::Step,
            preflight::Objection,
        },
    },
};
use xdproof_netns::{
    LinkName, LinkSetting, NetNs, PacketOptions, Record, RecordKind, Worker, XdpFlags, XdpMode,
};

/// Says to a copy of this program what to take and behind which step to die: `DUT TESTER [STEP]`.
const ORDER: &str = "XDPROOF_TAKE";
/// How long a child may take for what it does in milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    if let Ok(order) = std::env::var(ORDER) {
        return take_as_told(&order);
    }
    let arguments = waiting::arguments();
    let obstacle = gate::obstacle();
    let bonds = obstacle.is_some() || makes_bonds();
    let tests = CASES.iter().map(|&(name, test)| {
        Test::test(name, test).with_ignored_flag(obstacle.is_some() || (name == BOND && !bonds))
    });
    let conclusion = libtest_mimic::run(&arguments, tests.collect());
    if !bonds && !arguments.list {
        eprintln!("{BOND} is ignored: this kernel makes no bonds; those of ci/matrix do");
    }
    gate::conclude(&arguments, obstacle.as_deref(), &conclusion)
}

type Case = (&'static str, fn() -> Result);

const CASES: &[Case] = &[
    ("what_was_taken_is_given_back_as_it_was", taken_and_given_back),
    ("a_pair_that_is_dropped_is_given_back", dropped),
    ("a_pair_is_given_back_when_a_thread_panics", panicked),
    ("restore_puts_back_what_a_killed_run_left", killed),
    ("restore_puts_back_what_a_run_left_that_was_killed_behind_any_step", killed_anywhere),
    ("the_next_run_puts_back_what_a_killed_run_left", next_run),
    ("restore_leaves_a_living_run_alone", living),
    ("restore_in_json_tells_each_thing", restore_json),
    ("restore_with_nothing_to_do_says_so", nothing),
    ("restore_without_privilege_exits_3", unprivileged_restore),
    ("a_damaged_journal_is_told_and_kept", damaged),
    ("a_journal_of_another_namespace_is_told_and_kept", elsewhere),
    ("a_device_that_has_vanished_is_told_once", vanished),
    ("an_index_that_is_taken_meanwhile_is_told_once", index_taken),
    ("what_a_trial_leaves_at_a_device_goes", leftovers),
    ("a_name_that_is_taken_meanwhile_is_told_and_mended_later", name_taken),
    ("devices_that_are_not_wired_together_are_found_out_and_put_back", unwired),
    ("devices_without_a_carrier_are_found_out_and_put_back", no_carrier),
    ("a_device_is_not_its_own_peer", same),
    ("a_device_that_is_not_there_is_told", absent),
    ("the_loopback_is_refused_by_force_too", loopback),
    ("a_default_route_is_refused", default_route),
    ("a_default_route_in_another_table_is_refused", default_route_elsewhere),
    ("an_ipv6_default_route_of_several_next_hops_is_refused", default_route_multipath),
    ("an_address_that_a_socket_uses_is_refused", used_address),
    ("an_address_that_a_socket_for_all_uses_is_not_refused", wildcard),
    ("a_packet_socket_is_refused", packet_socket),
    ("a_port_of_a_bridge_is_refused", bridge_port),
    ("a_bridge_of_several_ports_is_refused", bridge),
    ("a_device_that_others_stand_on_is_refused", stood_on),
    ("a_queueing_discipline_that_someone_chose_is_refused", discipline),
    ("a_traffic_control_program_is_refused", traffic_program),
    ("next_hops_that_are_objects_are_refused", next_hops),
    ("a_program_that_a_link_holds_is_refused_by_force_too", linked_program),
    ("the_device_of_this_login_is_refused", login),
    ("the_uplink_of_this_machine_is_refused", uplink),
    ("force_takes_what_is_refused_and_puts_back_what_can_be", force),
    ("taken_devices_say_nothing", silent),
    ("validate_proves_devices_and_puts_them_back", validated),
    ("validate_puts_devices_back_when_it_is_interrupted", validate_interrupted),
    ("restore_puts_back_what_a_killed_validate_left", validate_killed),
    ("validate_says_why_it_takes_no_devices", validate_refused),
    ("taps_are_taken_and_given_back", taps),
    ("a_bridge_stays_where_it_is_and_is_given_back_as_it_was", bridge_stays),
    ("restore_puts_back_a_bridge_that_a_run_left_that_was_killed_behind_any_step", bridge_killed_anywhere),
    ("validate_proves_a_bridge_and_puts_it_back", bridge_validated),
    ("validate_puts_a_bridge_back_when_it_is_interrupted", bridge_interrupted),
    ("a_bridge_sends_as_the_tester_and_is_given_back", bridge_as_tester),
    ("a_bridge_that_was_never_up_is_down_again", bridge_down),
    ("two_bridges_are_taken_in_one_namespace_and_given_back", bridges),
    (BOND, bond_validated),
    ("a_device_tells_what_it_is_and_what_it_counted", inventory_of_a_veth),
];

// ---- The child ----------------------------------------------------------------------------------------------------------

/// What is set up by [`take_as_told`] for a function that can carry nothing with it.
static DIE_BEHIND: std::sync::OnceLock<Step> = std::sync::OnceLock::new();

fn die_behind(step: Step) {
    if DIE_BEHIND.get() == Some(&step) {
        kill_process(getpid(), Signal::KILL).ok();
    }
}

/// In a copy of this program: takes devices, says so, and gives them back at the end of its input.
fn take_as_told(order: &str) -> ExitCode {
    let words: Vec<&str> = order.split_whitespace().collect();
    if let Some(step) =
        words.get(2).and_then(|word| Step::ALL.into_iter().find(|step| format!("{step:?}") == *word))
    {
        DIE_BEHIND.get_or_init(|| step);
    }
    let take = || -> Result {
        let options = TakeOptions { behind: Some(die_behind), ..TakeOptions::default() };
        let pair = DevicePair::take(&words[0].parse()?, &words[1].parse()?, options)
            .map_err(|error| chain(&error))?;
        println!("taken");
        io::stdin().read_to_end(&mut Vec::new())?;
        pair.give_back()?;
        Ok(())
    };
    match take() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", error.message().unwrap_or("unknown"));
            ExitCode::FAILURE
        }
    }
}

// ---- The host -----------------------------------------------------------------------------------------------------------

/// A host of the test's own, with a journal of its own.
struct Stand {
    worker: Worker,
    journals: TempDir,
    /// There are other links beside the two: where every link has a route of its own, those of the two come last when they
    /// have been away, for IPv6 has no way to put one first.
    has_others: bool,
}

/// A pair of NICs with everything on it that people set at NICs.
const FURNISHED: &str = "
ip link set lo up
ip link add t0 numrxqueues 4 numtxqueues 4 type veth peer name d0 numrxqueues 4 numtxqueues 4
sysctl -qw net.ipv4.conf.t0.rp_filter=2 net.ipv4.conf.t0.arp_ignore=1
sysctl -qw net.ipv6.conf.t0.accept_ra=0 net.ipv6.conf.d0.hop_limit=33 net.ipv4.neigh.t0.gc_stale_time=71 net.ipv4.conf.d0.forwarding=1
ip link set t0 mtu 1437 promisc on txqueuelen 77 alias 'the wire to the lab' group 5 address 02:aa:00:00:00:01
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
sysctl -qw net.ipv6.conf.t0.accept_dad=1
";

/// A bridge as the DUT, with a port and with what people set at bridges; the tester is at the other end of the port.
const BRIDGED: &str = "
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

/// The one test that not every kernel can run.
const BOND: &str = "validate_proves_a_bond_and_puts_it_back";

/// Whether this kernel has bonds, or a module that brings them. Whatever else is in the way is for the test to fail by.
fn makes_bonds() -> bool {
    let made = Command::new("unshare").args(["--net", "ip", "link", "add", "type", "bond"]).output();
    // What rtnl_newlink() of net/core/rtnetlink.c answers when no module knows the kind.
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

/// What is looked at.
const LOOKS: &[&str] = &[
    "ip -d address",
    "ip -d link",
    "ip -d route show table all",
    "ip -d -6 route show table all",
    "ip -d neighbour show nud permanent",
    "ip -d neighbour show proxy",
    "tc qdisc show dev t0",
    "tc qdisc show dev d0",
    "ethtool -k t0",
    "ethtool -k d0",
    // A bridge has none.
    "ethtool -l t0 2>&1 || true",
    "ethtool -l d0 2>&1 || true",
    "sysctl -a --pattern ^net\\.(ipv4|ipv6)\\.(conf|neigh)\\.[td]0\\.",
];

/// What is looked at where there is another link, which then is a port or the other end of one.
const LOOKS_AT_OTHER: &[&str] = &["ethtool -k t1", "sysctl -a --pattern ^net\\.(ipv4|ipv6)\\.conf\\.t1\\."];

impl Stand {
    /// A host on which these commands were run, one a line.
    fn with(commands: &str) -> Result<Self> {
        let stand = Self {
            worker: Worker::spawn(&NetNs::create()?, "host")?,
            journals: tempfile::tempdir()?,
            has_others: commands.contains("t1"),
        };
        // An address that is still being tried is told otherwise a second later.
        stand.sh("sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0")?;
        for line in commands.lines().filter(|line| !line.is_empty()) {
            stand.sh(line)?;
        }
        Ok(stand)
    }

    fn furnished() -> Result<Self> {
        let stand = Self::with(FURNISHED)?;
        stand.settle(&["t0", "d0"])?;
        stand.attach("t0", XdpMode::Generic)?;
        stand.attach("d0", XdpMode::Native)?;
        Ok(stand)
    }

    fn bridged() -> Result<Self> {
        let stand = Self::with(BRIDGED)?;
        stand.settle(&["t0", "d0"])?;
        stand.attach("d0", XdpMode::Generic)?;
        Ok(stand)
    }

    /// A pair of NICs with nothing at them.
    fn plain() -> Result<Self> {
        let stand = Self::with(
            "ip link set lo up\nip link add t0 type veth peer name d0\nip link set t0 up\nip link set d0 up",
        )?;
        stand.settle(&["t0", "d0"])?;
        Ok(stand)
    }

    /// Waits until the kernel has entered the addresses and routes that it makes in the background.
    fn settle(&self, links: &[&str]) -> Result {
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
    fn run(&self, mut command: Command) -> Result<Output> {
        command.env(journal::DIRECTORY_VARIABLE, self.journals.path()).stdin(Stdio::null());
        Ok(self.worker.run(move |_| command.output())??)
    }

    fn sh(&self, line: &str) -> Result<String> {
        let mut command = Command::new("sh");
        command.args(["-ec", line]);
        let output = self.run(command)?;
        if output.status.success() { Ok(stdout(&output)) } else { Err(format!("{line}: {output:?}").into()) }
    }

    /// Attaches a program by netlink, of which nothing else is left.
    fn attach(&self, link: &str, mode: XdpMode) -> Result {
        let program = Program::load(&Object::default())?.descriptor()?;
        let name: LinkName = link.parse()?;
        self.worker.call(move |host| {
            let index = host.link(&name)?.index;
            host.attach_xdp(index, program.as_fd(), &[mode], XdpFlags::default())
        })?;
        Ok(())
    }

    /// Everything that is looked at. Lifetimes are told in seconds and run: those that end are left out, as are counters,
    /// which none of these prints.
    fn look(&self) -> Result<Vec<(&'static str, String)>> {
        let look = |&command: &&'static str| -> Result<_> {
            // The pattern of sysctl is one word.
            let line = command
                .replace("--pattern ^net", "--pattern '^net")
                .replace("[td]0\\.", "[td]0\\.'")
                .replace("t1\\.", "t1\\.'");
            let text = self.sh(&line)?;
            let text = if self.has_others { without_order(&text) } else { text };
            Ok((command, without_times(&text)))
        };
        let others = LOOKS_AT_OTHER.iter().filter(|_| self.has_others);
        LOOKS.iter().chain(others).map(look).collect()
    }

    fn expect_look(&self, before: &[(&'static str, String)]) -> Result {
        for ((command, was), (_, is)) in before.iter().zip(self.look()?) {
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

    fn options(&self) -> TakeOptions {
        TakeOptions { journals: self.journals.path().to_owned(), ..TakeOptions::default() }
    }

    fn take_with(&self, dut: &str, tester: &str, options: TakeOptions) -> Result<DevicePair, DeviceError> {
        let (dut, tester): (LinkName, LinkName) = (dut.parse()?, tester.parse()?);
        self.worker.run(move |_| DevicePair::take(&dut, &tester, options))?
    }

    fn take(&self) -> Result<DevicePair, DeviceError> {
        self.take_with("d0", "t0", self.options())
    }

    /// Starts a process that takes the devices, and waits until it has, or until it has ended.
    fn start(&self, step: Option<Step>) -> Result<(Child, bool)> {
        let order = format!("d0 t0 {}", step.map(|step| format!("{step:?}")).unwrap_or_default());
        let mut command = Command::new("/proc/self/exe");
        command.env(ORDER, order).env(journal::DIRECTORY_VARIABLE, self.journals.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = self.worker.run(move |_| command.spawn())??;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        Ok((child, line == "taken\n"))
    }

    fn xdproof(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = user::xdproof();
        command.args(arguments);
        self.run(command)
    }

    /// Starts `xdproof validate` on the devices, and waits until it is at its trials in native mode.
    fn validate(&self) -> Result<(Child, JoinHandle<String>)> {
        let begun = self.validate_until("::native::")?;
        expect(!self.has("d0")?, "the devices are not taken")?;
        Ok(begun)
    }

    /// Starts `xdproof validate` on the devices, and waits until a line has such a part.
    fn validate_until(&self, part: &str) -> Result<(Child, JoinHandle<String>)> {
        let mut command = user::xdproof();
        command.args(["validate", "-v", "--dut", "d0", "--tester", "t0", "--mode", "generic,native"]);
        command.env(journal::DIRECTORY_VARIABLE, self.journals.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.worker.run(move |_| command.spawn())??;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let at_trials = lines.by_ref().map_while(std::result::Result::ok).any(|line| line.contains(part));
        expect(at_trials && !self.has("t0")?, "the devices are not taken")?;
        let rest = move || lines.map_while(std::result::Result::ok).collect::<Vec<_>>().join("\n");
        Ok((child, std::thread::spawn(rest)))
    }

    fn restore(&self, code: i32) -> Result<String> {
        let output = self.xdproof(&["restore"])?;
        expect_code(&output, code)?;
        Ok(stdout(&output))
    }

    /// Directories of runs that are there.
    fn runs(&self) -> Result<Vec<std::path::PathBuf>> {
        let mut runs = Vec::new();
        for entry in fs::read_dir(self.journals.path())? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                runs.push(entry.path());
            }
        }
        Ok(runs)
    }

    fn has(&self, link: &str) -> Result<bool> {
        let name: LinkName = link.parse()?;
        Ok(self.worker.run(move |host| host.link(&name).is_ok())?)
    }

    /// Both devices are refused with such an objection and nothing is touched; with force they are taken.
    fn expect_refusal(&self, device: &str, is_it: impl Fn(&Objection) -> bool, words: &str) -> Result {
        let before = self.sh("ip -d address; ip route show table all; ip -6 route show table all")?;
        let Err(error) = self.take() else { return Err("it was taken".into()) };
        let text = chain(&error);
        let DeviceError::Refused { device: refused, objections } = error else { return Err(text.into()) };
        expect(refused.as_ref() == device && objections.iter().any(is_it) && text.contains(words), &text)?;
        let after = self.sh("ip -d address; ip route show table all; ip -6 route show table all")?;
        expect(before == after && self.runs()?.is_empty(), "something was changed")
    }
}

/// Mounts of a test that failed go with it.
impl Drop for Stand {
    fn drop(&mut self) {
        for run in self.runs().unwrap_or_default() {
            for mount in ["tester", "dut"] {
                NetNs::release(&run.join(mount)).ok();
            }
            rustix::mount::unmount(run.join("bpf"), rustix::mount::UnmountFlags::DETACH).ok();
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
fn without_times(text: &str) -> String {
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

fn expect(condition: bool, what: &str) -> Result {
    if condition { Ok(()) } else { Err(what.to_owned().into()) }
}

fn expect_end(mut child: Child) -> Result {
    drop(child.stdin.take());
    let status = child.wait()?;
    expect(status.success(), &format!("the child ended with {status}"))
}

fn kill(mut child: Child) -> Result {
    child.kill()?;
    child.wait()?;
    Ok(())
}

fn wait_until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result {
    let begun = Instant::now();
    while !holds()? {
        expect(begun.elapsed() < PATIENCE, what)?;
        std::thread::yield_now();
    }
    Ok(())
}

// ---- xdproof validate --dut --tester --------------------------------------------------------------------------------------

fn validated() -> Result {
    let stand = Stand::furnished()?;
    let before = stand.look()?;
    let out = tempfile::tempdir()?;
    let directory = out.path().to_str().ok_or("not UTF-8")?;
    let words =
        ["validate", "--dut", "d0", "--tester", "t0", "--label", "mine", "--rules", "--out", directory];
    let selection = ["--scenario", "vlan/qinq_*", "--mode", "generic,native,offload"];
    let output = stand.xdproof(&[&words[..], &selection].concat())?;
    expect_code(&output, 0)?;
    stand.expect_look(&before)?;
    expect(stand.runs()?.is_empty(), "the journal is left")?;
    let result = user::read_result(out.path())?;
    let devices = result["devices"].as_array().ok_or("no devices")?;
    let told: Vec<_> =
        devices.iter().map(|device| (&device["role"], &device["name"], &device["driver"])).collect();
    let expected = [("dut", "d0", "veth"), ("tester", "t0", "veth")];
    let same = told
        .iter()
        .zip(expected)
        .all(|(&told, (role, name, driver))| told == (&role.into(), &name.into(), &driver.into()));
    expect(told.len() == 2 && same, &format!("{told:?}"))?;
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
    let rules = result["rules"].as_array().ok_or("no rules")?;
    expect(rules.len() > 15 && rules.iter().all(|rule| rule["verdict"] == "pass"), "not all rules hold")
}

fn validate_interrupted() -> Result {
    expect_interruptible(&Stand::furnished()?, Stand::validate)
}

/// A run that is interrupted at its trials puts everything back.
fn expect_interruptible(
    stand: &Stand,
    begin: impl FnOnce(&Stand) -> Result<(Child, JoinHandle<String>)>,
) -> Result {
    let before = stand.look()?;
    let (mut child, printed) = begin(stand)?;
    user::signal(&child, Signal::INT)?;
    let status = child.wait()?;
    let printed = printed.join().map_err(|_| "the reader panicked")?;
    expect(status.code() == Some(4), &format!("it ended with {status}\n{printed}"))?;
    expect(stand.runs()?.is_empty(), "the journal is left")?;
    stand.expect_look(&before)
}

fn validate_killed() -> Result {
    let stand = Stand::furnished()?;
    let before = stand.look()?;
    kill(stand.validate()?.0)?;
    expect(!stand.has("d0")?, "a killed run has put its devices back")?;
    stand.restore(0)?;
    stand.expect_look(&before)
}

fn validate_refused() -> Result {
    let stand = Stand::plain()?;
    for (words, code, part) in [
        (&["--dut", "d0", "--tester", "d0"][..], 2, "one and the same device"),
        (&["--dut", "d0", "--tester", "lo"], 3, "loopback"),
        (&["--dut", "d0", "--tester", "nosuch"], 3, "nosuch"),
        (
            &["--dut", "d0", "--tester", "t0", "--injector", "live_frames"],
            2,
            "live frames are for veth pairs",
        ),
        (&["--dut", "d0"], 2, "--tester"),
        (&["--label", "mine"], 2, "--dut"),
    ] {
        let output = stand.xdproof(&[&["validate"], words].concat())?;
        user::expect_one_error(&output, code, &[part])?;
        expect(stand.runs()?.is_empty() && stand.has("d0")?, "something is left")?;
    }
    Ok(())
}

// ---- Taking and giving back ---------------------------------------------------------------------------------------------

fn taken_and_given_back() -> Result {
    let stand = Stand::furnished()?;
    let before = stand.look()?;
    let pair = stand.take().map_err(|error| chain(&error))?;
    expect(!stand.has("t0")? && !stand.has("d0")?, "they are still where they were")?;
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
    pair.give_back()?;
    stand.expect_look(&before)?;
    expect(stand.runs()?.is_empty(), "the journal is still there")
}

fn dropped() -> Result {
    let stand = Stand::furnished()?;
    let before = stand.look()?;
    drop(stand.take().map_err(|error| chain(&error))?);
    stand.expect_look(&before)
}

fn panicked() -> Result {
    let stand = Stand::furnished()?;
    let before = stand.look()?;
    let pair = stand.take().map_err(|error| chain(&error))?;
    let ended = std::thread::spawn(move || {
        let _pair = pair;
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    expect(ended.join().is_err(), "it did not panic")?;
    stand.expect_look(&before)
}

fn killed() -> Result {
    let stand = Stand::furnished()?;
    let before = stand.look()?;
    let (child, taken) = stand.start(None)?;
    expect(taken && !stand.has("t0")?, "the devices were not taken")?;
    kill(child)?;
    let told = stand.restore(0)?;
    for part in ["was killed, and is undone", "t0: address 192.0.2.1/24: as it was", "d0: XDP program"] {
        expect(told.contains(part), &format!("it does not say {part}: {told}"))?;
    }
    stand.expect_look(&before)?;
    expect(stand.restore(0)? == "There is nothing to put back.\n", "something is left")
}

fn killed_anywhere() -> Result {
    for step in Step::ALL {
        let stand = Stand::furnished()?;
        let before = stand.look()?;
        let (mut child, taken) = stand.start(Some(step))?;
        // It gives them back when its input ends.
        drop(child.stdin.take());
        expect(
            taken == step.is_of_giving_back() && !child.wait()?.success(),
            &format!("it lived on behind {step:?}"),
        )?;
        expect(stand.runs()?.len() == 1, "there is no journal")?;
        stand.restore(0)?;
        stand
            .expect_look(&before)
            .map_err(|error| format!("killed behind {step:?}: {}", error.message().unwrap_or_default()))?;
    }
    Ok(())
}

fn next_run() -> Result {
    let stand = Stand::furnished()?;
    let before = stand.look()?;
    let (child, taken) = stand.start(None)?;
    expect(taken, "the devices were not taken")?;
    kill(child)?;
    let pair = stand.take().map_err(|error| chain(&error))?;
    let states: Vec<_> = pair.recovered.iter().map(|run| &run.state).collect();
    expect(states == [&RunState::Ended], &format!("{states:?}"))?;
    pair.give_back()?;
    stand.expect_look(&before)
}

fn living() -> Result {
    let stand = Stand::furnished()?;
    let before = stand.look()?;
    let (child, taken) = stand.start(None)?;
    expect(taken, "the devices were not taken")?;
    let told = stand.restore(0)?;
    expect(told.contains("is alive, and keeps its devices"), &told)?;
    expect(!stand.has("t0")?, "they were taken from a living run")?;
    let error = stand.take().err().ok_or("a living run's devices were taken")?;
    expect(matches!(&error, DeviceError::InUse { device, .. } if device.as_ref() == "t0"), &chain(&error))?;
    let by_force = TakeOptions { force: true, ..stand.options() };
    let error = stand.take_with("d0", "t0", by_force).err().ok_or("force took a living run's devices")?;
    expect(matches!(error, DeviceError::InUse { .. }), &chain(&error))?;
    expect_end(child)?;
    stand.expect_look(&before)
}

fn restore_json() -> Result {
    let stand = Stand::furnished()?;
    let (child, _) = stand.start(None)?;
    kill(child)?;
    let output = stand.xdproof(&["restore", "--json"])?;
    expect_code(&output, 0)?;
    let told: Value = serde_json::from_slice(&output.stdout)?;
    expect(told[0]["state"] == "ended", &told.to_string())?;
    let items = told[0]["put_back"].as_array().ok_or("nothing was put back")?;
    let mtu = items
        .iter()
        .any(|item| item["device"] == "t0" && item["what"] == "ARP on" && item["outcome"] == "done");
    expect(mtu && items.iter().all(|item| item["outcome"] == "done"), &told.to_string())
}

fn nothing() -> Result {
    let stand = Stand::plain()?;
    expect(stand.restore(0)? == "There is nothing to put back.\n", "there is something")?;
    let output = stand.xdproof(&["restore", "--json"])?;
    expect(stdout(&output).trim() == "[]", &stdout(&output))
}

fn unprivileged_restore() -> Result {
    let output = user::unprivileged(&["restore"])?;
    user::expect_one_error(&output, 3, &["root", "create a network namespace", "Operation not permitted"])
}

fn damaged() -> Result {
    let stand = Stand::furnished()?;
    let (child, _) = stand.start(None)?;
    kill(child)?;
    let path = stand.runs()?.pop().ok_or("no journal")?.join("journal.json");
    let whole = fs::read(&path)?;
    fs::write(&path, &whole[..whole.len() / 2])?;
    let told = stand.restore(1)?;
    expect(told.contains("cannot be undone") && told.contains("is damaged"), &told)?;
    expect(path.exists(), "it was thrown away")?;
    fs::write(&path, &whole)?;
    stand.restore(0)?;
    expect(stand.has("t0")? && stand.has("d0")?, "they are not back")
}

fn elsewhere() -> Result {
    let stand = Stand::furnished()?;
    let before = stand.look()?;
    let (child, _) = stand.start(None)?;
    kill(child)?;
    let mut command = user::xdproof();
    command.arg("restore").env(journal::DIRECTORY_VARIABLE, stand.journals.path());
    let output = command.output()?;
    expect_code(&output, 1)?;
    expect(stdout(&output).contains("call this there"), &stdout(&output))?;
    stand.restore(0)?;
    stand.expect_look(&before)
}

fn vanished() -> Result {
    let stand = Stand::furnished()?;
    let (child, _) = stand.start(None)?;
    kill(child)?;
    // Deleting one end of a veth deletes both.
    let inside = NetNs::at(&stand.runs()?.pop().ok_or("no journal")?.join("dut"))?;
    Worker::spawn(&inside, "inside")?.call(|host| {
        let index = host.link(&"d0".parse()?)?.index;
        host.delete_link(index)
    })?;
    let told = stand.restore(1)?;
    expect(told.contains("t0") && told.contains("the device has vanished"), &told)?;
    expect(stand.restore(0)? == "There is nothing to put back.\n", "it is told again")
}

fn index_taken() -> Result {
    let stand = Stand::furnished()?;
    let index = stand.sh("ip -o link show t0 | cut -d : -f 1")?;
    let look = || {
        let text = stand.sh("ip address show dev t0 | tail -n +2; ip route show table all dev t0")?;
        Ok::<_, Failed>(without_times(&text))
    };
    let before = look()?;
    let (child, _) = stand.start(None)?;
    kill(child)?;
    stand.sh(&format!("ip link add squatter index {} type bridge", index.trim()))?;
    let told = stand.restore(1)?;
    let line = format!("t0: index {}: lost: it is taken: the index is ", index.trim());
    expect(told.contains(&line) && told.contains("is undone"), &told)?;
    expect(stand.restore(0)? == "There is nothing to put back.\n", "it is told again")?;
    let after = look()?;
    expect(before == after, &format!("{before}\n{after}"))
}

/// Filters and addresses that a trial has left at a device stay behind in the namespace, a program by netlink comes off.
fn leftovers() -> Result {
    let stand = Stand::furnished()?;
    let before = stand.look()?;
    let pair = stand.take().map_err(|error| chain(&error))?;
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
    pair.give_back()?;
    stand.expect_look(&before)
}

fn name_taken() -> Result {
    let stand = Stand::furnished()?;
    let before = stand.look()?;
    let (child, _) = stand.start(None)?;
    kill(child)?;
    stand.sh("ip link add t0 type bridge")?;
    let told = stand.restore(1)?;
    expect(told.contains("t0: its place among the interfaces: not put back"), &told)?;
    expect(stand.has("d0")?, "one that cannot be put back kept the other from it")?;
    stand.sh("ip link delete t0")?;
    stand.restore(0)?;
    stand.expect_look(&before)
}

// ---- Wires --------------------------------------------------------------------------------------------------------------

const TWO_PAIRS: &str = "
ip link add t0 type veth peer name t1
ip link add d0 type veth peer name d1
ip address add 192.0.2.1/24 dev t0
ip link set t0 up
ip link set d0 up
";

fn unwired() -> Result {
    let stand = Stand::with(&format!("{TWO_PAIRS}ip link set t1 up\nip link set d1 up"))?;
    stand.settle(&["t0", "t1", "d0", "d1"])?;
    let before = stand.look()?;
    let begun = Instant::now();
    let error = stand.take().err().ok_or("they were taken")?;
    let took = begun.elapsed();
    expect(matches!(error, DeviceError::NoPeer { .. }), &chain(&error))?;
    expect(chain(&error).contains("are they wired together?"), &chain(&error))?;
    // Taking and putting back is some tenths of a second on an idle machine; what is tried takes no longer than 2.5 s.
    expect(took < Duration::from_secs(6), &format!("it took {took:?}"))?;
    stand.expect_look(&before)?;
    expect(stand.runs()?.is_empty(), "the journal is still there")
}

fn no_carrier() -> Result {
    let stand = Stand::with(TWO_PAIRS)?;
    let before = stand.look()?;
    let error = stand.take().err().ok_or("they were taken")?;
    expect(matches!(error, DeviceError::NoCarrier { .. }), &chain(&error))?;
    stand.expect_look(&before)
}

fn silent() -> Result {
    let stand = Stand::furnished()?;
    let pair = stand.take().map_err(|error| chain(&error))?;
    let index = pair.testbed.topology.dut.index;
    let socket = pair.testbed.dut.call(move |host| host.packet_socket(index, PacketOptions::default()))?;
    expect(!socket.wait_readable(Duration::from_millis(300))?, "a frame came that nobody sent")?;
    let left = pair.testbed.dut.call(move |host| host.records(RecordKind::Address, index))?;
    expect(
        left.is_empty() && !pair.testbed.dut.call(move |host| host.link_by_index(index))?.settings.arp,
        "it may speak",
    )?;
    Ok(pair.give_back()?)
}

/// Two taps whose users' ends are wired to one another by a thread.
fn taps() -> Result {
    let stand = Stand::with("ip link set lo up")?;
    let ends =
        stand.worker.call(|host| Ok([host.create_tap(&"t0".parse()?)?, host.create_tap(&"d0".parse()?)?]))?;
    for line in [
        "ip link set t0 up",
        "ip link set d0 up",
        "ip address add 192.0.2.1/24 dev t0",
        "ip link set d0 mtu 1400",
    ] {
        stand.sh(line)?;
    }
    stand.settle(&["t0", "d0"])?;
    let before = stand.look()?;
    let [near, far] = ends;
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let wire = std::thread::spawn(move || -> io::Result<_> {
        let mut frame = [0; 2048];
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            for (from, to) in [(&near, &far), (&far, &near)] {
                if let Some(length) = from.receive(&mut frame, Duration::from_millis(5))? {
                    // The other one may be down.
                    drop(to.send(&frame[..length]));
                }
            }
        }
        // They go with their users' ends.
        Ok((near, far))
    });
    let taken = stand.take().map_err(|error| chain(&error));
    let told = taken.as_ref().map(|pair| {
        inventory::describe(&pair.testbed.dut, pair.testbed.topology.dut.index, PortRole::Dut, "tap")
    });
    let told = told.map_err(Clone::clone)??;
    let given = taken.map(DevicePair::give_back);
    drop(stop);
    let _ends = wire.join().map_err(|_| "the wire broke")??;
    given??;
    expect(told.driver == "tun" && told.bus.is_none(), &format!("{told:?}"))?;
    stand.expect_look(&before)
}

// ---- Devices that stay --------------------------------------------------------------------------------------------------

fn bridge_stays() -> Result {
    let stand = Stand::bridged()?;
    let before = stand.look()?;
    let pair = stand.take().map_err(|error| chain(&error))?;
    expect(stand.has("d0")? && stand.has("t1")? && !stand.has("t0")?, "only the tester is to go")?;
    let (dut, index) = (&pair.testbed.dut, pair.testbed.topology.dut.index);
    let port: LinkName = "t1".parse()?;
    let own = dut.call(move |host| {
        let mut own = host.records(RecordKind::Address, index)?;
        own.extend(host.records(RecordKind::Route, index)?);
        own.extend(host.records(RecordKind::Neighbour, index)?);
        Ok(own.iter().map(ToString::to_string).collect::<Vec<_>>())
    })?;
    expect(own.is_empty(), &format!("it has {own:?}"))?;
    expect(!dut.call(move |host| host.link_by_index(index))?.settings.arp, "it may speak")?;
    expect(stand.sh("cat /proc/sys/net/ipv6/conf/d0/disable_ipv6")? == "1\n", "it may speak IPv6")?;
    let socket = dut.call(move |host| host.packet_socket(index, PacketOptions::default()))?;
    expect(!socket.wait_readable(Duration::from_millis(300))?, "a frame came that nobody sent")?;
    drop(socket);
    // As a trial may leave it, a program by netlink too.
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
    pair.give_back()?;
    stand.expect_look(&before)?;
    expect(stand.runs()?.is_empty(), "the journal is still there")
}

fn bridge_killed_anywhere() -> Result {
    for step in Step::ALL {
        let stand = Stand::bridged()?;
        let before = stand.look()?;
        let (mut child, _) = stand.start(Some(step))?;
        drop(child.stdin.take());
        expect(!child.wait()?.success(), &format!("it lived on behind {step:?}"))?;
        expect(stand.has("d0")?, "the bridge is gone")?;
        stand.restore(0)?;
        stand
            .expect_look(&before)
            .map_err(|error| format!("killed behind {step:?}: {}", error.message().unwrap_or_default()))?;
        expect(stand.restore(0)? == "There is nothing to put back.\n", "something is left")?;
    }
    Ok(())
}

/// The bridge gets its frames from the stack of its port, which has taken the outer tag out of them.
fn bridge_validated() -> Result {
    let stand = Stand::bridged()?;
    expect_validated(&stand, &[("generic", "pass"), ("native", "skip")])
}

/// Some scenarios come to these verdicts, and everything is put back.
fn expect_validated(stand: &Stand, verdicts: &[(&str, &str)]) -> Result {
    let before = stand.look()?;
    let out = tempfile::tempdir()?;
    let directory = out.path().to_str().ok_or("not UTF-8")?;
    let words = ["validate", "--dut", "d0", "--tester", "t0", "--out", directory];
    let selection =
        ["--scenario", "vlan/*qinq_ipv*", "--scenario", "vlan/three_tags", "--scenario", "ipv?/udp"];
    let output = stand.xdproof(&[&words[..], &selection, &["--mode", "generic,native"]].concat())?;
    expect_code(&output, 0)?;
    stand.expect_look(&before)?;
    expect(stand.runs()?.is_empty(), "the journal is left")?;
    let result = user::read_result(out.path())?;
    for (mode, verdict) in verdicts {
        let all: Vec<_> = result["trials"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|trial| trial["mode"] == *mode)
            .map(|trial| (&trial["id"], &trial["verdict"]))
            .collect();
        let same = all.iter().all(|(_, one)| *one == verdict);
        expect(all.len() >= 4 && same, &format!("{mode}: {all:?}"))?;
    }
    Ok(())
}

fn bridge_interrupted() -> Result {
    expect_interruptible(&Stand::bridged()?, |stand| stand.validate_until("::generic::"))
}

fn bridge_as_tester() -> Result {
    let stand = Stand::bridged()?;
    let before = stand.look()?;
    let pair = stand.take_with("t0", "d0", stand.options()).map_err(|error| chain(&error))?;
    expect(stand.has("d0")? && !stand.has("t0")?, "only the DUT is to go")?;
    pair.give_back()?;
    stand.expect_look(&before)
}

fn bridge_down() -> Result {
    let stand = Stand::with(
        "ip link add t0 type veth peer name t1\nip link add d0 type bridge\nip link set t1 master d0\nip address add 192.0.2.1/24 dev d0\nip link set t1 up",
    )?;
    // A queueing discipline it gets by being up, and has one since. A program that a trial leaves by netlink goes.
    let look = || Ok::<_, Failed>(stand.sh("ip address show dev d0")?.replace("qdisc noqueue", "qdisc noop"));
    let before = look()?;
    let pair = stand.take().map_err(|error| chain(&error))?;
    let index = pair.testbed.topology.dut.index;
    let program = Program::load(&Object::default())?.descriptor()?;
    pair.testbed.dut.call(move |host| {
        host.attach_xdp(index, program.as_fd(), &[XdpMode::Generic], XdpFlags::default())
    })?;
    pair.give_back()?;
    let after = look()?;
    expect(before == after && before.contains("state DOWN"), &format!("{before}\n{after}"))
}

fn bridges() -> Result {
    let other = BRIDGED
        .replace(
            "type veth peer name t1",
            "type bridge\nip link add t2 type veth peer name t1\nip link set t2 mtu 1437 up",
        )
        .replace("ip link set t0 mtu 1437\n", "ip link set t2 master t0\n");
    let stand = Stand::with(&other)?;
    stand.settle(&["t0", "d0"])?;
    let before = stand.look()?;
    let pair = stand.take().map_err(|error| chain(&error))?;
    expect(stand.has("d0")? && stand.has("t0")?, "both are to stay")?;
    pair.give_back()?;
    stand.expect_look(&before)
}

fn bond_validated() -> Result {
    let stand = Stand::with(BONDED)?;
    stand.settle(&["t0", "d0"])?;
    expect_validated(&stand, &[("generic", "pass")])
}

// ---- Guards -------------------------------------------------------------------------------------------------------------

fn same() -> Result {
    let stand = Stand::plain()?;
    for force in [false, true] {
        let error = stand.take_with("d0", "d0", TakeOptions { force, ..stand.options() }).err();
        expect(matches!(error, Some(DeviceError::Same { .. })), "one device is both ends")?;
    }
    Ok(())
}

fn absent() -> Result {
    let stand = Stand::plain()?;
    let error = stand.take_with("d0", "nobody", stand.options()).err().ok_or("it was taken")?;
    expect(chain(&error) == "there is no network interface named nobody here", &chain(&error))
}

fn loopback() -> Result {
    let stand = Stand::plain()?;
    for force in [false, true] {
        let error = stand
            .take_with("lo", "t0", TakeOptions { force, ..stand.options() })
            .err()
            .ok_or("it was taken")?;
        expect(chain(&error) == "lo is not taken: it is the loopback", &chain(&error))?;
    }
    Ok(())
}

fn default_route() -> Result {
    let stand = Stand::plain()?;
    stand.sh("ip address add 192.0.2.1/24 dev t0; ip route add default via 192.0.2.9")?;
    stand.expect_refusal(
        "t0",
        |objection| *objection == Objection::DefaultRoute,
        "it carries a default route (--force",
    )
}

fn default_route_elsewhere() -> Result {
    let stand = Stand::plain()?;
    stand.sh("ip route add default dev d0 table 77")?;
    stand.expect_refusal(
        "d0",
        |objection| *objection == Objection::DefaultRoute,
        "it carries a default route",
    )
}

fn default_route_multipath() -> Result {
    let stand = Stand::plain()?;
    stand.sh("ip -6 route add default nexthop via fe80::1 dev t0 nexthop via fe80::2 dev d0")?;
    stand.expect_refusal(
        "t0",
        |objection| *objection == Objection::DefaultRoute,
        "it carries a default route",
    )
}

fn used_address() -> Result {
    let stand = Stand::plain()?;
    stand.sh("ip address add 192.0.2.1/24 dev t0; ip address add 2001:db8::1/64 dev d0 nodad")?;
    stand.settle(&["t0", "d0"])?;
    let is_it = |objection: &Objection| matches!(objection, Objection::AddressInUse { .. });
    let listener = stand.worker.run(|_| TcpListener::bind("192.0.2.1:0"))??;
    let port = listener.local_addr()?.port();
    stand.expect_refusal(
        "t0",
        is_it,
        &format!("its address 192.0.2.1 is used by a listening TCP socket (port {port})"),
    )?;
    let mut client = stand.worker.run(move |_| std::net::TcpStream::connect(("192.0.2.1", port)))??;
    let (_server, _) = listener.accept()?;
    drop(listener);
    stand.expect_refusal("t0", is_it, "its address 192.0.2.1 is used by a TCP connection with 192.0.2.1")?;
    // What it was does not matter any more.
    client.shutdown(std::net::Shutdown::Both)?;
    drop(client.read(&mut [0]));
    drop((client, _server));
    let _socket = stand.worker.run(|_| UdpSocket::bind("[2001:db8::1]:0"))??;
    stand.sh("ip address del 192.0.2.1/24 dev t0")?;
    stand.expect_refusal("d0", is_it, "its address 2001:db8::1 is used by a UDP socket")
}

fn wildcard() -> Result {
    let stand = Stand::plain()?;
    stand.sh("ip address add 192.0.2.1/24 dev t0")?;
    let _sockets = stand.worker.run(|_| (TcpListener::bind("0.0.0.0:0"), UdpSocket::bind("[::]:0")))?;
    Ok(stand.take().map_err(|error| chain(&error))?.give_back()?)
}

fn packet_socket() -> Result {
    let stand = Stand::plain()?;
    let name: LinkName = "t0".parse()?;
    let _socket = stand.worker.call(move |host| {
        let index = host.link(&name)?.index;
        host.packet_socket(index, PacketOptions::default())
    })?;
    stand.expect_refusal(
        "t0",
        |objection| *objection == Objection::PacketSocket,
        "a packet socket is bound to it",
    )
}

fn bridge_port() -> Result {
    let stand = Stand::plain()?;
    stand.sh("ip link add br0 type bridge; ip link set d0 master br0")?;
    stand.expect_refusal(
        "d0",
        |objection| matches!(objection, Objection::PortOf { .. }),
        "it is a port of br0",
    )
}

fn bridge() -> Result {
    let stand = Stand::with(
        "ip link add d0 type bridge\nip link add t0 type veth peer name t1\nip link add t2 type veth peer name t3\nip link set t1 master d0\nip link set t2 master d0",
    )?;
    let is_it = |objection: &Objection| matches!(objection, Objection::Floods { ports: 2 });
    stand.expect_refusal(
        "d0",
        is_it,
        "it is a bridge of 2 ports, which would send the frames of the trial on",
    )
}

fn stood_on() -> Result {
    let stand = Stand::plain()?;
    stand.sh("ip link add link d0 name mv0 type macvlan; ip link add link d0 name mv1 type macvlan")?;
    stand.expect_refusal(
        "d0",
        |objection| matches!(objection, Objection::StoodOn { by } if by.len() == 2),
        "others stand on it and would go with it: mv0, mv1",
    )
}

fn discipline() -> Result {
    let stand = Stand::plain()?;
    stand.sh("tc qdisc add dev d0 clsact")?;
    let is_it = |objection: &Objection| matches!(objection, Objection::Discipline { .. });
    stand.expect_refusal("d0", is_it, "a queueing discipline that someone has chosen (clsact)")?;
    stand.sh("tc qdisc del dev d0 clsact; tc qdisc add dev t0 root pfifo limit 9")?;
    stand.expect_refusal("t0", is_it, "a queueing discipline that someone has chosen (pfifo)")
}

fn traffic_program() -> Result {
    let stand = Stand::plain()?;
    let _shaper = Shaper::push_tag(&stand.worker, &"d0".parse()?)?;
    // Before Linux 6.6 it hangs on a queueing discipline.
    let is_it = |objection: &Objection| {
        matches!(objection, Objection::TrafficPrograms | Objection::Discipline { .. })
    };
    stand.expect_refusal("d0", is_it, "it")
}

fn next_hops() -> Result {
    let stand = Stand::plain()?;
    stand.sh("ip address add 192.0.2.1/24 dev t0; ip nexthop add id 7 via 192.0.2.9 dev t0")?;
    stand.expect_refusal(
        "t0",
        |objection| matches!(objection, Objection::NextHops { ids } if *ids == [7]),
        "next hops that are objects go through it and would be lost: 7",
    )
}

fn linked_program() -> Result {
    let stand = Stand::plain()?;
    let counter = Program::load(&Object::default())?.descriptor()?;
    let name: LinkName = "d0".parse()?;
    let _link = stand.worker.call(move |host| {
        let index = host.link(&name)?.index;
        host.link_xdp(index, counter.as_fd(), &[XdpMode::Generic], false)
    })?;
    stand.expect_refusal("d0", |objection| *objection == Objection::LinkedProgram, "by a bpf_link")?;
    let forced = stand
        .take_with("d0", "t0", TakeOptions { force: true, ..stand.options() })
        .err()
        .ok_or("force took it")?;
    expect(!chain(&forced).contains("--force"), &chain(&forced))
}

fn login() -> Result {
    let stand = Stand::plain()?;
    stand.sh("ip address add 192.0.2.1/24 dev t0")?;
    // Of an ancestor, as under sudo, which drops it.
    let this = std::env::current_exe()?;
    let line = format!("env -u SSH_CONNECTION {ORDER}='d0 t0' {} </dev/null; true", this.display());
    let mut command = Command::new("sh");
    command.args(["-c", &line]).env("SSH_CONNECTION", "198.51.100.7 50000 192.0.2.1 22");
    let output = stand.run(command)?;
    expect(
        user::stderr(&output).contains("this login came to its address 192.0.2.1"),
        &user::stderr(&output),
    )?;
    expect(stand.sh("ip address show dev t0")?.contains("192.0.2.1"), "it was changed")
}

/// The only test on the machine's own interfaces: it must be refused before anything is changed.
fn uplink() -> Result {
    let print =
        |arguments: &[&str]| -> Result<String> { Ok(stdout(&Command::new("ip").args(arguments).output()?)) };
    let routes = print(&["route", "show", "default"])?;
    let mut words = routes.split_whitespace().skip_while(|word| *word != "dev");
    let Some(uplink) = words.nth(1) else { return Ok(()) };
    let before = (print(&["-d", "address"])?, print(&["route"])?);
    let journals = tempfile::tempdir()?;
    // The other end is one that cannot be taken either, whatever becomes of the first check.
    let options = TakeOptions { journals: journals.path().to_owned(), ..TakeOptions::default() };
    let error =
        DevicePair::take(&"lo".parse()?, &uplink.parse()?, options).err().ok_or("the uplink was taken")?;
    let text = chain(&error);
    let DeviceError::Refused { device, objections } = error else { return Err(text.into()) };
    expect(device.as_ref() == uplink && objections.contains(&Objection::DefaultRoute), &text)?;
    let times =
        |text: &str| text.lines().filter(|line| !line.contains("valid_lft")).collect::<Vec<_>>().join("\n");
    let after = (print(&["-d", "address"])?, print(&["route"])?);
    expect(times(&before.0) == times(&after.0) && before.1 == after.1, "something was changed")?;
    expect(fs::read_dir(journals.path())?.count() == 1, "there is more than the lock")
}

fn force() -> Result {
    let stand = Stand::plain()?;
    stand.sh("ip address add 192.0.2.1/24 dev t0; ip route add default via 192.0.2.9")?;
    stand.sh(
        "ip link add br0 type bridge; ip link set d0 master br0; ip link add link t0 name mv0 type macvlan",
    )?;
    let before = stand.sh("ip route show table all; ip -d link show d0")?;
    let pair = stand
        .take_with("d0", "t0", TakeOptions { force: true, ..stand.options() })
        .map_err(|error| chain(&error))?;
    let left = pair.give_back().err().ok_or("everything was put back, what stood on it, too")?;
    let told: Vec<String> = left.left.iter().map(|one| format!("{}: {}", one.device, one.what)).collect();
    expect(
        told == ["t0: mv0, which stood on it", "d0: what was set at it as a port of br0"] && !left.kept,
        &left.to_string(),
    )?;
    let after = stand.sh("ip route show table all; ip -d link show d0")?;
    expect(before == after, &format!("{before}\n{after}"))
}

// ---- What devices are ---------------------------------------------------------------------------------------------------

fn inventory_of_a_veth() -> Result {
    let stand = Stand::furnished()?;
    let pair = stand.take().map_err(|error| chain(&error))?;
    let (tester, dut) = (pair.testbed.topology.tester.index, pair.testbed.topology.dut.index);
    let record = inventory::describe(&pair.testbed.dut, dut, PortRole::Dut, "veth")?;
    expect(record.driver == "veth" && record.mtu == 1437 && record.name == "d0", &format!("{record:?}"))?;
    expect(
        record.rings.is_none() && record.pci_id.is_none() && record.bus.is_none(),
        &format!("{record:?}"),
    )?;
    expect(
        record.channels.is_some_and(|channels| channels.tx == 3 && channels.tx_max == 4),
        &format!("{record:?}"),
    )?;
    expect(
        record.features.get("rx-gro").is_some_and(|gro| gro.changeable),
        &format!("{:?}", record.features),
    )?;
    expect(
        record.advertised.as_ref().is_none_or(|told| told.iter().any(|name| name == "basic")),
        &format!("{:?}", record.advertised),
    )?;
    let before = StatisticsReading::read(&pair.testbed.dut, dut)?;
    let (to, from) = (
        pair.testbed.tester.call(move |host| host.packet_socket(tester, PacketOptions::default()))?,
        pair.testbed.dut.call(move |host| host.packet_socket(dut, PacketOptions::default()))?,
    );
    to.send(&[0xff; 60])?;
    expect(from.wait_readable(PATIENCE)?, "the frame did not come")?;
    let mut told = Vec::new();
    wait_until("the frame was not counted", || {
        told = StatisticsReading::read(&pair.testbed.dut, dut)?.since(&before);
        Ok(told.iter().any(|counter| counter.name == "rx_packets"))
    })?;
    let frames =
        told.iter().find(|counter| counter.name == "rx_packets" && counter.source == StatisticSource::Kernel);
    expect(frames.is_some_and(|counter| counter.after == counter.before + 1), &format!("{told:?}"))?;
    Ok(pair.give_back()?)
}
