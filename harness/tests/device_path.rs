//! Trials on two connected devices, for which a veth pair stands in: the path is explored, the expected counts follow from it, and
//! frames that are lost or held back are detected and reported.
//!
//! Ignored without privileges, as in `conformance.rs`.

#[path = "support/corpus.rs"]
mod corpus;
#[path = "support/objects.rs"]
mod objects;
#[path = "support/privilege.rs"]
mod privilege;
#[path = "support/threads.rs"]
mod threads;

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, ExitCode},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use libtest_mimic::{Failed, Trial as Test};
use xdproof::{
    inject::tc_tools::{EgressAction, EgressTool},
    model::{
        finding::{FindingKind, Severity},
        mismatch::FaultClass,
        mode::Mode,
        result::{RunResult, TrialRecord},
        sink::Sink,
        verdict::VerdictKind,
    },
    plan::selection::Selection,
    program::Object,
    report::{Event, Reporter},
    suites::attach_semantics,
    testbed::{DeviceTestbed, PathError, PortPair, Spec, Testbed as _},
    trial::{Lab, LabOptions, Order, Suite, nothing_to_give_back, run},
};
use xdproof_netns::PacketOptions;
use xdproof_scenarios::{DUT_MAC, Expectation, Scenario, TESTER_MAC, capture, capture_file};

use objects::Compiled;

type Result<T = (), E = Failed> = std::result::Result<T, E>;

fn main() -> ExitCode {
    if let Some(code) = attach_semantics::hold_if_asked() {
        return code;
    }
    let arguments = threads::arguments();
    let obstacle = privilege::obstacle();
    let test = |name, check: fn() -> Result| Test::test(name, check).with_ignored_flag(obstacle.is_some());
    let tests = vec![
        test("devices_are_tested_with_the_whole_corpus_as_a_veth_pair_is", whole_corpus),
        test("short_frames_that_arrive_padded_count_as_their_padded_bytes", padded),
        test("padding_with_other_bytes_than_zeros_is_reported_and_fails_no_trial", leaking),
        test("frames_that_are_too_long_for_the_path_are_unreachable", too_long),
        test("frames_that_do_not_arrive_without_a_program_are_unreachable", not_carried),
        test("frames_that_the_path_loses_during_the_run_fail", lossy),
        test(REORDERS, reordering).with_ignored_flag(obstacle.is_some() || !delays()),
        test(HELD, || alone(HELD, held_by_child)),
        test("a_driver_that_drops_passed_frames_is_detected", lying),
        test("devices_that_are_not_connected_are_reported", not_wired),
        test("a_link_with_foreign_frames_is_reported", not_quiet),
        test("link_local_control_frames_are_no_frames_of_a_trial", switched),
        test("frames_that_a_program_damages_are_not_foreign", damaging),
        test(RULES, || alone(RULES, rules)),
    ];
    let conclusion = libtest_mimic::run(&arguments, tests);
    privilege::conclude(&arguments, obstacle.as_deref(), &conclusion)
}

/// Calls a function with each event.
struct Tell<'a>(&'a dyn Fn(&Event<'_>));

impl Reporter for Tell<'_> {
    fn report(&mut self, event: Event<'_>) -> std::io::Result<()> {
        (self.0)(&event);
        Ok(())
    }
}

fn pair() -> Result<Arc<PortPair>> {
    Ok(Arc::new(PortPair::veth(Spec { mtu: 1500, ..Spec::default() })?))
}

fn explore(testbed: &Arc<PortPair>) -> Result<DeviceTestbed, PathError> {
    DeviceTestbed::explore(Arc::clone(testbed), Some("nic".to_owned()))
}

/// Runs all selected trials on a pair.
fn validate(testbed: &Arc<PortPair>, object: Object, scenarios: &[&str], rules: bool) -> Result<RunResult> {
    validate_telling(testbed, object, scenarios, rules, &mut Tell(&|_| ()))
}

fn validate_telling(
    testbed: &Arc<PortPair>,
    object: Object,
    scenarios: &[&str],
    rules: bool,
    reporter: &mut dyn Reporter,
) -> Result<RunResult> {
    let path = explore(testbed)?;
    let lab = Lab::open(object, LabOptions::default())?.on(Arc::new(path));
    let scenarios = scenarios.iter().map(|&pattern| pattern.to_owned()).collect();
    run_those(&lab, corpus::builtin()?, scenarios, rules, reporter)
}

/// Runs the scenarios that match one of these patterns, or all if there are none.
fn run_those(
    lab: &Lab,
    of: &[Scenario],
    scenarios: Vec<String>,
    rules: bool,
    reporter: &mut dyn Reporter,
) -> Result<RunResult> {
    let selection = Selection { scenarios, modes: vec![Mode::Generic, Mode::Native], ..Selection::default() };
    let (plan, paths) = (&selection.plan(of)?, &selection.paths());
    let cancelled = &AtomicBool::new(false);
    let suites: &[Suite<'_>] = if rules { &[&attach_semantics::run] } else { &[] };
    let order = Order { plan, paths, jobs: 1, suites, cancelled, give_back: &nothing_to_give_back };
    Ok(run(lab, order, reporter)?)
}

/// Fails, with the verdicts, unless all trials have one of these.
fn all(result: &RunResult, verdicts: &[VerdictKind]) -> Result {
    let other: Vec<_> = result
        .trials
        .iter()
        .filter(|trial| !verdicts.contains(&trial.verdict))
        .map(|trial| format!("{} {}: {}", trial.id, trial.verdict, trial.reason.clone().unwrap_or_default()))
        .collect();
    if other.is_empty() && !result.trials.is_empty() { Ok(()) } else { Err(other.join("\n").into()) }
}

fn of(result: &RunResult, verdict: VerdictKind) -> usize {
    result.trials.iter().filter(|trial| trial.verdict == verdict).count()
}

fn expect(condition: bool, what: &str, result: &RunResult) -> Result {
    if condition {
        Ok(())
    } else {
        Err(format!("{what}: {:?}\n{:#?}", result.summary, result.findings).into())
    }
}

fn whole_corpus() -> Result {
    let result = validate(&pair()?, Object::default(), &[], false)?;
    all(&result, &[VerdictKind::Pass, VerdictKind::Skip, VerdictKind::Unreachable, VerdictKind::Xfail])?;
    // Jumbo frames for a linear native program, several receive queues, all CPUs at the same time.
    let left_out = result.trials.iter().filter(|trial| trial.verdict == VerdictKind::Skip).count();
    expect(left_out <= 12 && of(&result, VerdictKind::Pass) > 350, "not enough was tried", &result)?;
    expect(result.findings.is_empty(), "a veth has findings", &result)?;
    expect(result.trials.iter().all(|trial| trial.nic.as_deref() == Some("nic")), "not the label", &result)
}

fn padded() -> Result {
    let testbed = pair()?;
    let port = &testbed.topology.tester;
    let _pads = EgressTool::attach(&testbed.tester, &port.name, EgressAction::Pad(0))?;
    let path = explore(&testbed)?;
    let traits = path.devices()[0].path.unwrap_or_default();
    if (traits.padded_to, path.facts().rx_transform(Mode::Generic).padded_to) != (60, 60) {
        return Err(format!("{traits:?}").into());
    }
    let result = validate(&testbed, Object::default(), &[], false)?;
    all(&result, &[VerdictKind::Pass, VerdictKind::Skip, VerdictKind::Unreachable, VerdictKind::Xfail])?;
    let told = |finding: &xdproof::model::finding::Finding| {
        finding.kind == FindingKind::ModifiedFrames && finding.severity == Severity::Note
    };
    expect(result.findings.len() == 1 && result.findings.iter().all(told), "padding is not told", &result)?;
    // Scenarios declare the counts of frames as they were sent, so some must have been computed again.
    let corpus = corpus::builtin()?;
    let otherwise = result.trials.iter().filter(|trial| {
        let scenario = corpus.iter().find(|scenario| scenario.id.as_ref() as &str == trial.scenario);
        scenario.is_some_and(|scenario| {
            let Expectation { counts, passed, dropped } = &scenario.expect;
            let frames = BTreeMap::from([(Sink::Stack, *passed), (Sink::Nowhere, *dropped)]);
            (Some(counts), &frames) != (trial.expected.counts.as_ref(), &trial.expected.frames)
        })
    });
    let otherwise = otherwise.count();
    expect(otherwise > 10, "nothing was computed anew", &result)
}

fn leaking() -> Result {
    let testbed = pair()?;
    let _pads = EgressTool::attach(&testbed.tester, &testbed.topology.tester.name, EgressAction::Pad(0x5a))?;
    let result = validate(&testbed, Object::default(), &["boundary/*", "vlan/qinq_ipv4_udp"], false)?;
    all(&result, &[VerdictKind::Pass, VerdictKind::Unreachable])?;
    expect(of(&result, VerdictKind::Unreachable) > 0, "short frames were judged", &result)?;
    let told = result.findings.iter().any(|finding| finding.message.contains("leaks"));
    expect(told, "the leak is not told", &result)
}

fn too_long() -> Result {
    let testbed = pair()?;
    let _loses = EgressTool::attach(
        &testbed.tester,
        &testbed.topology.tester.name,
        EgressAction::DropLongerThan(1518),
    )?;
    let result = validate(&testbed, Object::default(), &["vlan/*"], false)?;
    all(&result, &[VerdictKind::Pass, VerdictKind::Unreachable])?;
    let full = result.trials.iter().find(|trial| trial.scenario == "vlan/qinq_full_mtu");
    let said = full.and_then(|trial| trial.reason.clone()).unwrap_or_default();
    expect(said.contains("1518") && said.contains("with or without a program"), &said, &result)
}

/// Frames that do not arrive without a program prove nothing about the driver's XDP.
fn not_carried() -> Result {
    let testbed = pair()?;
    let _loses = EgressTool::attach(
        &testbed.tester,
        &testbed.topology.tester.name,
        EgressAction::DropEtherType(0x86dd),
    )?;
    let result = validate(&testbed, Object::default(), &["ipv6/udp", "ipv4/udp*", "ipv6/tcp*"], false)?;
    all(&result, &[VerdictKind::Pass, VerdictKind::Unreachable])?;
    let wrong = result.trials.iter().filter(|trial| {
        let said = trial
            .reason
            .as_deref()
            .unwrap_or("")
            .contains("does not arrive, with or without a program: Ethernet");
        (trial.verdict == VerdictKind::Unreachable && said) != trial.scenario.starts_with("ipv6/")
    });
    expect(wrong.count() == 0 && of(&result, VerdictKind::Pass) > 0, "not exactly IPv6 is lost", &result)?;
    let told =
        |finding: &xdproof::model::finding::Finding| finding.message.contains("with or without a program");
    expect(result.findings.iter().any(told), "it is not told", &result)
}

/// The path begins to lose frames after it was explored.
fn lossy() -> Result {
    let testbed = pair()?;
    let loses = Mutex::new(None);
    let starts = |event: &Event<'_>| {
        if matches!(event, Event::Trial(_)) {
            let port = &testbed.topology.tester;
            let mut loses = loses.lock().unwrap_or_else(PoisonError::into_inner);
            loses.get_or_insert_with(|| {
                EgressTool::attach(&testbed.tester, &port.name, EgressAction::DropEtherType(0x86dd))
            });
        }
    };
    let scenarios = ["ipv6/udp", "ipv4/udp*", "ipv6/tcp*"];
    let result = validate_telling(&testbed, Object::default(), &scenarios, false, &mut Tell(&starts))?;
    let is_lost =
        |reason: &str| reason.contains("runs of the program: expected ") && reason.contains("got 0");
    let lost = |trial: &&TrialRecord| {
        trial.verdict == VerdictKind::Fail && trial.reason.as_deref().is_some_and(is_lost)
    };
    let failed = result.trials.iter().filter(lost).count();
    expect(failed > 0 && failed == of(&result, VerdictKind::Fail), "no loss is found", &result)?;
    let right = result.trials.iter().filter(lost).all(|trial| trial.scenario.starts_with("ipv6/"));
    expect(right && result.is_bad(), "what is lost is not IPv6", &result)
}

const HELD: &str = "a_program_that_a_child_still_holds_delays_the_next_trial";
const RULES: &str = "attach_semantics_are_tested_on_the_device";
const REORDERS: &str = "a_path_that_reorders_frames_of_one_flow_fails_and_of_several_does_not";

/// Delays frames whose UDP payload begins with 0xee, from the second of them on, and no others.
const DELAYS: &str = "
tc qdisc add dev tester root handle 1: htb default 1
tc class add dev tester parent 1: classid 1:1 htb rate 10gbit
tc class add dev tester parent 1: classid 1:2 htb rate 8kbit burst 1 cburst 1
tc filter add dev tester parent 1: protocol ip u32 match u8 0xee 0xff at 28 flowid 1:2
";

/// Returns true if this kernel has a qdisc that delays some frames, and a program that sets it up.
fn delays() -> bool {
    let made = format!("ip link add tester type veth peer name dut\n{DELAYS}");
    let made = Command::new("unshare").args(["--net", "sh", "-ec", &made]).output();
    made.is_ok_and(|made| made.status.success())
}

/// The path begins to reorder frames once it was explored: of four in a row the second arrives last.
fn reordering() -> Result {
    let frame = |port: u8, payload: u8, number: u8| {
        let mut frame = [&DUT_MAC[..], &TESTER_MAC, &[0x08, 0x00]].concat();
        frame.extend([0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0xf6, 0xbb, 192, 0, 2, 1, 192, 0, 2, 2]);
        frame.extend([0x9c, 0x40, 0, port, 0, 26, 0, 0, payload, number]);
        frame.resize(60, 0);
        frame
    };
    let one_flow = [frame(9, 0xee, 1), frame(9, 0xee, 2), frame(9, 0, 3), frame(9, 0, 4)];
    let two_flows = [frame(9, 0xee, 1), frame(9, 0xee, 2), frame(10, 0, 3), frame(10, 0, 4)];
    for (frames, class) in [(&one_flow, Some(FaultClass::Reordered)), (&two_flows, None)] {
        let testbed = pair()?;
        let path = Arc::new(explore(&testbed)?);
        let lab = Lab::open(Object::default(), LabOptions::default())?.on(path);
        let delay = |_: &mut _| Command::new("sh").args(["-ec", DELAYS]).status();
        if !testbed.tester.run(delay)??.success() {
            return Err("no frame is delayed".into());
        }
        let scenarios = capture::scenarios(Path::new("order.pcap"), frames.to_vec());
        let selection = Selection { modes: vec![Mode::Generic, Mode::Native], ..Selection::default() };
        for trial in selection.plan(&scenarios)? {
            let record = lab.run(&trial);
            let mismatches = record.failure.iter().flat_map(|failure| &failure.mismatches);
            let is_so = mismatches.map(|mismatch| mismatch.class).eq(class)
                && record.verdict == if class.is_some() { VerdictKind::Fail } else { VerdictKind::Pass };
            // The second frame waits for 60 bytes to pass at 8 kbit/s.
            if !is_so || record.duration_us < 30_000 {
                return Err(format!("{class:?}: {record:#?}").into());
            }
        }
    }
    Ok(())
}

/// Environment variable that tells a process to run one test.
const ALONE: &str = "XDPROOF_TEST_ALONE";

/// Runs a check in a process of its own: a child holds the descriptors of its parent until it calls `execve`, and with them the programs
/// of other tests, some of which measure how soon these are gone.
fn alone(name: &str, check: fn() -> Result) -> Result {
    if std::env::var_os(ALONE).is_some() {
        return check();
    }
    let again = Command::new(std::env::current_exe()?).args(["--exact", name]).env(ALONE, "1").output()?;
    let said = String::from_utf8_lossy(&again.stdout);
    let passed = again.status.success() && said.contains("1 passed");
    if passed { Ok(()) } else { Err(said.into_owned().into()) }
}

/// A child holds the descriptors of its parent until it calls `execve`, and with them the program under test, which has to make room
/// for the next one.
fn held_by_child() -> Result {
    let testbed = pair()?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let starts = scope.spawn(|| {
            let mut times = 0_u32;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                Command::new("true").status()?;
                times += 1;
            }
            Ok::<_, std::io::Error>(times)
        });
        let validate = || validate(&testbed, Object::default(), &["ipv4/udp", "jumbo/qinq"], false);
        let results: Result<Vec<RunResult>> = (0..3).map(|_| validate()).collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let times = starts.join().map_err(|_| "whoever starts programs panicked")??;
        for result in results? {
            expect(times > 0 && !result.is_bad(), "a program was in the way", &result)?;
        }
        Ok(())
    })
}

/// Generic mode shows both receive queues as 0, so that frames use queue 1 in native mode only.
fn lying() -> Result {
    let lies = Compiled::new(&["LIES=1"])?;
    let testbed = PortPair::veth(Spec { mtu: 1500, queues: 2 })?;
    let result = validate(&Arc::new(testbed), lies.object(), &["ipv6/*", "ipv4/*"], false)?;
    let found = result.findings.iter().find(|finding| finding.kind == FindingKind::AdvertisedNotWorking);
    let Some(finding) = found else { return Err(format!("not found: {:?}", result.summary).into()) };
    let named = finding.message.contains("frames that the program passes are dropped")
        && finding.message.contains("/");
    let placed = (finding.severity, finding.mode) == (Severity::Fault, Some(Mode::Native));
    expect(named && placed && result.is_bad(), "not named", &result)
}

fn not_wired() -> Result {
    let apart = || -> Result<PortPair> { Arc::into_inner(pair()?).ok_or_else(|| "shared".into()) };
    let (one, other) = (apart()?, apart()?);
    let topology = xdproof::testbed::Topology { tester: one.topology.tester, dut: other.topology.dut };
    let crossed = Arc::new(PortPair { topology, tester: one.tester, dut: other.dut });
    // The other ends have to stay, or these lose their carrier.
    let _ends = (one.dut, other.tester);
    match explore(&crossed) {
        Err(PathError::Nothing { sent, .. }) if sent > 3 => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

fn not_quiet() -> Result {
    let testbed = pair()?;
    let index = testbed.topology.tester.index;
    let socket = testbed.tester.call(move |host| host.packet_socket(index, PacketOptions::default()))?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let (begins, begun) = std::sync::mpsc::channel();
    let speaks = std::thread::spawn(move || {
        // An ARP request of another host.
        let mut frame =
            [&[0xff; 6][..], &[2, 0, 0, 0, 0, 9], &[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]].concat();
        frame.resize(60, 0);
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            if socket.send(&frame).is_err() {
                break;
            }
            // The receiver has gone after the first one.
            begins.send(()).ok();
            std::thread::yield_now();
        }
    });
    begun.recv()?;
    let explored = explore(&testbed);
    drop(begun);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    speaks.join().map_err(|_| "the speaker panicked")?;
    match explored {
        Err(error @ PathError::NotQuiet { .. }) if error.to_string().contains("02:00:00:00:00:09") => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

/// Spanning tree frames arrive at the DUT and the tester all the time: before, during and between trials.
fn switched() -> Result {
    const EVERY: Duration = Duration::from_millis(50);
    let testbed = pair()?;
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let open = |worker: &xdproof_netns::Worker, index| {
        worker.call(move |host| host.packet_socket(index, PacketOptions::default()))
    };
    let topology = &testbed.topology;
    let sockets = [open(&testbed.tester, topology.tester.index)?, open(&testbed.dut, topology.dut.index)?];
    let mut frame = vec![0x01, 0x80, 0xc2, 0, 0, 0, 2, 0, 0, 0, 0, 9, 0, 38, 0x42, 0x42, 3];
    frame.resize(60, 0);
    let speaks = std::thread::spawn(move || {
        let mut spoken = 0;
        while stopped.recv_timeout(EVERY) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            for socket in &sockets {
                socket.send(&frame)?;
            }
            spoken += 1;
        }
        Ok::<u32, xdproof_netns::Error>(spoken)
    });
    let result = validate(&testbed, Object::default(), &["boundary/*", "non_ip/*", "vlan/q*"], false);
    drop(stop);
    let spoken = speaks.join().map_err(|_| "the speaker panicked")??;
    let result = result?;
    all(&result, &[VerdictKind::Pass, VerdictKind::Unreachable])?;
    expect(spoken > 3, "it hardly spoke", &result)
}

/// A capture of many hosts' frames, among them link-local control frames: a damaged one is no frame that was sent.
fn damaging() -> Result {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures/mixed.pcap");
    let scenarios = capture::scenarios(&file, capture_file::read(std::fs::File::open(&file)?)?.frames);
    let run_by = |object| -> Result<RunResult> {
        let lab = Lab::open(object, LabOptions::default())?.on(Arc::new(explore(&pair()?)?));
        run_those(&lab, &scenarios, Vec::new(), false, &mut Tell(&|_| ()))
    };
    all(&run_by(Object::default())?, &[VerdictKind::Pass])?;
    let mutants = Some(concat!(env!("OUT_DIR"), "/xdproof-mutants").into());
    let damages = Object { path: mutants, program: Some("damages_59th".to_owned()), ..Object::default() };
    all(&run_by(damages)?, &[VerdictKind::Fail])
}

fn rules() -> Result {
    let result = validate(&pair()?, Object::default(), &["ipv4/udp*"], true)?;
    let bad: Vec<_> = result.attach_semantics.iter().filter(|rule| rule.verdict.is_bad()).collect();
    let passed = result.attach_semantics.iter().filter(|rule| rule.verdict == VerdictKind::Pass).count();
    let named = result.attach_semantics.iter().all(|rule| rule.nic == "nic");
    if bad.is_empty() && passed > 15 && named {
        Ok(())
    } else {
        Err(format!("{passed} passed; {bad:#?}").into())
    }
}
