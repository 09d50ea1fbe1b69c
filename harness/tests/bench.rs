//! `xdproof bench` and `xdproof compare` as a user meets them: what they say of programs of which it is known how they
//! differ, of what nothing can be said, and of what is wrong with what they are given.
//!
//! Ignored without privilege and without clang, but for what needs neither.

#[path = "support/cli.rs"]
mod cli;
#[path = "support/corpus.rs"]
mod corpus;
#[path = "measurement/mod.rs"]
mod measurement;
#[path = "support/objects.rs"]
mod objects;
#[path = "support/privilege.rs"]
mod privilege;
#[path = "results/mod.rs"]
mod results;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{ExitCode, Output, Stdio},
    time::{Duration, Instant},
};

use cli::{
    Result, expect, expect_code, expect_one_error, printed, read_result, run, signal, stderr, stdout,
    unprivileged, xdproof,
};
use libtest_mimic::{Arguments, Trial as Test};
use objects::{Compiled, clang::compiler};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use xdproof::{
    bench::{
        Objects,
        machine::IdleTimes,
        path::{Load, MeasuredPath, PathKind},
        programs::Programs,
    },
    inject::cpu,
    measure::traffic::{Mix, Traffic},
    model::{
        environment::Environment,
        facts::Facts,
        judgement::{Change, Tolerance, Void},
        measurement::{Measurement, ProgramRole, Quantity, Sample, Unmeasured},
        mode::{InjectorKind, Mode},
        result::{RunResult, SCHEMA, TrialRecord},
        verdict::VerdictKind,
    },
    plan::needs::Needs,
    report::json::write_pretty,
    testbed::VethTestbed,
};
use xdproof_netns::{Host, NetNs, Worker, XdpMode};

/// In which an interrupted run has ended: a trial, and a wait for what does not come, are shorter by far.
const SOON: Duration = Duration::from_secs(5);

type Case = (&'static str, fn() -> Result);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One at a time: two that measure at once take each other's CPU away, and say that they cannot tell.
    arguments.test_threads = Some(1);
    let obstacle = privilege::obstacle().or_else(|| compiler().err());
    let tests = UNPRIVILEGED.iter().map(|&(name, test)| Test::test(name, test)).chain(
        PRIVILEGED.iter().map(|&(name, test)| Test::test(name, test).with_ignored_flag(obstacle.is_some())),
    );
    let outcome = libtest_mimic::run(&arguments, tests.collect());
    privilege::conclude(&arguments, obstacle.as_deref(), &outcome)
}

const UNPRIVILEGED: &[Case] = &[
    ("what_cannot_be_measured_exits_2_and_is_named", refused),
    ("without_privilege_bench_exits_3_and_says_what_to_do", without_privilege),
    ("two_results_that_are_the_same_compare_as_expected", compare_same),
    ("trials_that_came_out_otherwise_are_reported_and_no_others", compare_trials),
    ("trials_that_came_out_better_or_are_new_are_as_expected", compare_better),
    ("rates_that_changed_are_reported_with_what_became_of_them", compare_rates),
    ("rates_that_cannot_be_told_or_are_gone_are_inconclusive", compare_doubtful),
    ("results_with_nothing_in_common_are_inconclusive", compare_nothing),
    ("a_file_that_is_no_result_exits_2_with_the_place", compare_broken),
];

const PRIVILEGED: &[Case] = &[
    ("a_program_that_got_slower_is_a_regression", slower),
    ("a_program_that_got_faster_is_improved", faster),
    ("a_program_that_got_slower_is_a_regression_on_the_path_too", slower_on_path),
    ("a_program_against_itself_got_neither_slower_nor_faster", itself),
    ("too_small_a_budget_is_kept_and_inconclusive_with_the_reason", tiny_budget),
    ("a_program_that_counts_in_another_slot_is_named_and_has_no_figure", another_slot),
    ("a_program_that_counts_each_frame_twice_is_named", counted_twice),
    ("a_program_that_loses_updates_of_two_cpus_is_named", counted_at_once),
    ("a_result_is_written_that_adds_up_and_is_a_baseline", result_and_baseline),
    ("a_baseline_that_has_nothing_of_it_judges_nothing", foreign_baseline),
    ("interrupted_it_ends_with_what_there_is", interrupted),
    ("an_object_that_changes_meanwhile_changes_nothing", changed_meanwhile),
    ("what_is_offered_is_what_arrives", offered),
    ("a_scenarios_frames_are_what_is_measured", scenario),
    ("live_frames_that_a_veth_does_not_take_make_a_trial_void", lost_live_frames),
    ("frames_that_are_known_to_be_lost_are_no_part_of_the_rate", known_losses),
];

/// The counters with a fault.
const MUTANTS: &str = concat!(env!("OUT_DIR"), "/xdproof-mutants");

/// By the program's cost alone, to a verdict that noise leaves alone.
const BY_COST: [&str; 6] = ["--injector", "test_run", "--tolerance", "30%", "--budget", "180s"];

fn bench(arguments: &[&str]) -> Result<Output> {
    run(&[&["bench"], arguments].concat())
}

/// Measures one object against another.
fn against(subject: &Compiled, reference: &Compiled, how: &[&str]) -> Result<Output> {
    let [subject, reference] = [subject, reference].map(|compiled| compiled.path().display().to_string());
    bench(&[&["--object", &subject, "--against", &reference], how].concat())
}

fn slower() -> Result {
    let output = against(&Compiled::new(&["SLOW=200"])?, &Compiled::new(&[])?, &BY_COST)?;
    expect_code(&output, 1)?;
    expect(stdout(&output).contains("REGRESSION"), "not a regression", &output)
}

fn faster() -> Result {
    let output = against(&Compiled::new(&[])?, &Compiled::new(&["SLOW=200"])?, &BY_COST)?;
    expect_code(&output, 0)?;
    expect(stdout(&output).contains("IMPROVED"), "not improved", &output)
}

fn slower_on_path() -> Result {
    let how =
        ["--mode", "native", "--injector", "ring,live_frames", "--tolerance", "30%", "--budget", "180s"];
    let output = against(&Compiled::new(&["SLOW=3000"])?, &Compiled::new(&[])?, &how)?;
    expect_code(&output, 1)?;
    let times = stdout(&output).matches("REGRESSION").count();
    expect(times == 2, &format!("{times} regressions of 2"), &output)
}

fn itself() -> Result {
    let compiled = Compiled::new(&[])?;
    // With a wide tolerance it can be told, and with the usual one it may not be.
    let output = against(&compiled, &compiled, &BY_COST)?;
    expect_code(&output, 0)?;
    expect(stdout(&output).contains("PASS"), "not the same", &output)?;
    let output = against(&compiled, &compiled, &["--injector", "test_run", "--budget", "3s"])?;
    let text = stdout(&output);
    expect([Some(0), Some(4)].contains(&output.status.code()), "neither 0 nor 4", &output)?;
    expect(!text.contains("REGRESSION") && !text.contains("IMPROVED"), "a false alarm", &output)?;
    expect(text.contains("PASS") == output.status.success(), "the exit code is of another verdict", &output)
}

fn tiny_budget() -> Result {
    let output = bench(&["--budget", "1ms", "--json"])?;
    expect_code(&output, 4)?;
    expect(stderr(&output).contains("INCONCLUSIVE cost/udp/64: "), "not inconclusive", &output)?;
    expect(stderr(&output).contains("0 whole blocks, and a verdict takes 20"), "not the reason", &output)?;
    let result: RunResult = serde_json::from_slice(&output.stdout)?;
    // Not even a wire was brought up.
    let untouched =
        |its: &Measurement| its.trials.is_empty() && its.value.is_none() && its.fingerprint.device.is_none();
    let untouched = result.measurements.iter().all(untouched);
    expect(untouched && result.measurements.len() > 20, "something was measured", &output)
}

fn refused() -> Result {
    let missing = "/no/such/result.json";
    for (arguments, parts) in [
        (&["--budget", "0s"][..], &["--budget", "0s", "must be more than 0s"][..]),
        (&["--budget", "nonsense"], &["--budget", "nonsense"]),
        (&["--budget", "18446744073709551615s"], &["--budget", "7days"]),
        (&["--size", "10"], &["got 10", "64"]),
        (&["--size", "63"], &["got 63", "64"]),
        (&["--size", "65550"], &["got 65550", "65549"]),
        (&["--size", "64", "--mix", "qinq_ipv6"], &["got 64", "qinq_ipv6", "74"]),
        (&["--cpus", "0"], &["--cpus must be at least 1, got 0"]),
        (&["--tolerance", "90%"], &["--tolerance", "90%", "below 50 %"]),
        (&["--rate", "-1"], &["--rate", "-1", "at least 100"]),
        (&["--rate", "nan"], &["--rate", "nan"]),
        (&["--rate", "1"], &["--rate", "at least 100"]),
        (&["--mix", "nosuch"], &["--mix", "nosuch", "udp, qinq_ipv6, imix"]),
        (&["--mix", "imix", "--injector", "test_run"], &["imix", "several"]),
        (
            &["--mode", "native", "--injector", "test_run"],
            &["--injector test_run cannot be combined with --mode"],
        ),
        (&["--mix", "imix", "--size", "64"], &["--size", "imix", "fixed"]),
        (&["--against", "missing.o"], &["missing.o", "No such file"]),
        (&["--against-program", "x"], &["--against"]),
        (&["--baseline", missing], &[missing, "No such file"]),
        (&["--scenario", "no/such"], &["no/such"]),
        (&["--scenario", "mixed/counted_and_dropped"], &["mixed/counted_and_dropped", "does not count"]),
        (&["--out", "/proc/self"], &["result.json in /proc/self"]),
    ] {
        expect_one_error(&bench(arguments)?, 2, parts)?;
    }
    Ok(())
}

fn without_privilege() -> Result {
    expect_one_error(&unprivileged(&["bench", "--budget", "1s"])?, 3, &["root"])
}

/// Runs a counter that opens one tag on frames that have two: each counts in slot 0.
fn misplaced(frames: &[&str]) -> Result<RunResult> {
    let object = ["--object", MUTANTS, "--program", "one_tag", "--json", "--mode", "native"];
    let output = bench(&[&object[..], frames].concat())?;
    expect_code(&output, 4)?;
    let result: RunResult = serde_json::from_slice(&output.stdout)?;
    for Measurement { id, value, unmeasured, .. } in &result.measurements {
        expect(value.is_none(), &format!("{id} has a figure"), &output)?;
        let reason = unmeasured.as_ref().filter(|its| !its.declared).map_or("", |its| its.reason.as_str());
        let named = reason.starts_with("`one_tag` ran on ") && reason.contains("counted 0 in slot");
        expect(named, &format!("{id} does not name the program: {reason}"), &output)?;
    }
    Ok(result)
}

/// Every frame is counted twice: that is no loss of the machine, neither in a test run nor on a path.
fn counted_twice() -> Result {
    let paths =
        ["--mode", "native", "--injector", "test_run,ring", "--size", "64", "--budget", "4s", "--json"];
    let output = bench(&[&["--object", MUTANTS, "--program", "twice"][..], &paths].concat())?;
    expect_code(&output, 4)?;
    let result: RunResult = serde_json::from_slice(&output.stdout)?;
    for Measurement { id, unmeasured, .. } in &result.measurements {
        let reason = unmeasured.as_ref().map_or("", |its| its.reason.as_str());
        let numbers: Vec<u64> = reason.split(' ').filter_map(|word| word.parse().ok()).collect();
        let double = matches!(numbers[..], [ran, counted] if ran > 0 && counted == 2 * ran);
        expect(double && reason.starts_with("`twice`"), &format!("{id}: {reason}"), &output)?;
    }
    expect(result.measurements.len() == 2, "not one of each", &output)
}

/// Two CPUs that add to one slot lose updates now and then.
fn counted_at_once() -> Result {
    if cpu::allowed()?.len() < 2 {
        return Ok(());
    }
    let compiled = Compiled::new(&["MAP_TYPE=BPF_MAP_TYPE_ARRAY", "RACY"])?;
    let object = compiled.path().display().to_string();
    let path = ["--mode", "generic", "--injector", "ring", "--cpus", "2", "--size", "64", "--budget", "20s"];
    let output = bench(&[&["--object", object.as_str()][..], &path].concat())?;
    expect_code(&output, 4)?;
    let told = printed(&output);
    expect(told.contains("`count_by_protoc") && told.contains(" and counted "), "not the program", &output)
}

fn another_slot() -> Result {
    let result =
        misplaced(&["--mix", "qinq_ipv6", "--injector", "ring,live_frames,test_run", "--budget", "8s"])?;
    let ids: Vec<&str> = result.measurements.iter().map(|its| its.id.as_str()).collect();
    let expected =
        ["cost/qinq_ipv6/74", "path/native/ring/qinq_ipv6/74", "path/native/live_frames/qinq_ipv6/74"];
    if ids == expected { Ok(()) } else { Err(format!("{ids:?}").into()) }
}

/// One case of each kind that a device and no device make.
const EACH: [&str; 6] =
    ["--mode", "native,generic", "--injector", "test_run,pnet,ring,live_frames", "--size", "64"];

fn result_and_baseline() -> Result {
    let out = tempfile::tempdir()?;
    let directory = out.path().display().to_string();
    let output = bench(&[&EACH[..], &["--budget", "8s", "--out", &directory]].concat())?;
    expect([Some(0), Some(4)].contains(&output.status.code()), "neither 0 nor 4", &output)?;
    let raw: Value = read_result(out.path())?;
    let result: RunResult = serde_json::from_value(raw)?;
    expect(result.schema == SCHEMA && result.measurements.len() == 7, "not the measurements", &output)?;
    for measurement in &result.measurements {
        adds_up(measurement, &result.environment)?;
    }
    let again = bench(&[&EACH[..], &["--budget", "8s", "--baseline", &directory, "--json"]].concat())?;
    let judged: RunResult = serde_json::from_slice(&again.stdout)?;
    let all = judged.measurements.iter().all(|its| its.baseline.is_some());
    expect(all && judged.measurements.len() == 7, "not every measurement is judged by the baseline", &again)?;
    let slower = judged.measurements.iter().any(|its| its.baseline.as_ref().is_some_and(Change::is_slower));
    expect(slower == (again.status.code() == Some(1)), "the exit code is of another verdict", &again)?;
    expect(stderr(&again).contains("times the baseline's"), "people are told nothing", &again)
}

/// Checks that a measurement has all of its parts, and that each trial accounts for its frames.
fn adds_up(measurement: &Measurement, environment: &Environment) -> Result {
    let Measurement { id, trials, fingerprint, seed, unmeasured, .. } = measurement;
    let wrong = |what: &str| -> Result { Err(format!("{id}: {what}").into()) };
    if unmeasured.is_some() || trials.is_empty() {
        return wrong("no trials");
    }
    if fingerprint.kernel != environment.kernel_release || fingerprint.cpus != environment.cpus_available {
        return wrong("the fingerprint is of another machine");
    }
    if fingerprint.device.is_some() == (measurement.quantity == Quantity::ProgramCost) {
        return wrong("the fingerprint is of another device");
    }
    if *seed == 0 || trials.len() % 8 != 0 {
        return wrong("no seed, or half a block");
    }
    for trial in trials.iter().filter(|trial| trial.void.is_none()) {
        if trial.sent != trial.counted + trial.lost || trial.counted == 0 {
            return wrong(&format!("does not add up: {trial:?}"));
        }
        let by_cpu: u64 = trial.per_cpu.iter().sum();
        if trial.role == ProgramRole::Subject
            && !trial.control
            && fingerprint.device.is_some()
            && by_cpu != trial.counted
        {
            return wrong(&format!("the CPUs do not add up: {trial:?}"));
        }
    }
    Ok(())
}

fn foreign_baseline() -> Result {
    let baseline = stored(&result(Vec::new(), Vec::new()))?;
    let directory = baseline.path().display().to_string();
    // By itself it is as expected.
    let output = bench(&[&BY_COST[..], &["--baseline", &directory]].concat())?;
    expect(!stdout(&output).contains("INCONCLUSIVE"), "inconclusive by itself", &output)?;
    expect_code(&output, 4)?;
    expect(stdout(&output).contains("not in the baseline"), "not the reason", &output)
}

fn interrupted() -> Result {
    let worker = Worker::spawn(&NetNs::create()?, "here")?;
    let mut command = xdproof();
    command.args(["bench", "--budget", "100s"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A child is in the namespace of the thread that starts it.
    let mut child = worker.run(move |_| command.spawn())??;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
    lines.next().ok_or("it ended at once")??;
    signal(&child, Signal::INT)?;
    let asked = Instant::now();
    let rest: Vec<String> = lines.collect::<std::io::Result<_>>()?;
    let output = child.wait_with_output()?;
    expect(asked.elapsed() < SOON, &format!("it took {:?}", asked.elapsed()), &output)?;
    expect_code(&output, 4)?;
    let table = rest.iter().filter(|line| line.ends_with("INCONCLUSIVE")).count();
    expect(table > 20, &format!("no table: {rest:?}"), &output)?;
    let links = worker.call(Host::links)?;
    let left = links.iter().filter(|link| !link.xdp.is_empty() || link.name.to_string() != "lo").count();
    expect(left == 0, "something was left behind", &output)
}

fn changed_meanwhile() -> Result {
    let (measured, other) = (Compiled::new(&[])?, Compiled::new(&["SLOW=1"])?);
    let out = tempfile::tempdir()?;
    let mut command = xdproof();
    command.args(["bench", "--injector", "test_run", "--mix", "udp", "--budget", "6s", "--tolerance", "1%"]);
    command.arg("--out").arg(out.path()).arg("--object").arg(measured.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
    lines.next().ok_or("it ended at once")??;
    // At once, as a linker does it: there is never half an object.
    fs::rename(other.path(), measured.path())?;
    lines.try_for_each(|line| line.map(drop))?;
    let output = child.wait_with_output()?;
    // A busy machine may leave it inconclusive.
    expect(matches!(output.status.code(), Some(0 | 4)), "the run failed", &output)?;
    let result: RunResult = serde_json::from_value(read_result(out.path())?)?;
    let subjects = result.measurements.iter().map(|measurement| &measurement.subject);
    // Programs are loaded anew in every round; the last of them is described.
    expect(subjects.clone().count() == 1, "nothing was measured", &output)?;
    for subject in subjects {
        expect(subject.tag == result.environment.program.tag, "another program was measured", &output)?;
    }
    Ok(())
}

fn offered() -> Result {
    let how = ["--rate", "20000", "--mode", "native", "--injector", "ring,live_frames,pnet", "--json"];
    let output = bench(&[&how[..], &["--budget", "3s"]].concat())?;
    expect([Some(0), Some(4)].contains(&output.status.code()), "neither 0 nor 4", &output)?;
    let result: RunResult = serde_json::from_slice(&output.stdout)?;
    expect(result.measurements.len() == 3, "not three injectors", &output)?;
    for Measurement { id, value, offered_pps, .. } in &result.measurements {
        let rate = value.ok_or(format!("{id} has no figure"))?.median;
        let close = (rate / 20_000.0 - 1.0).abs() < 0.1 && *offered_pps == Some(20_000.0);
        expect(close, &format!("{id}: {rate} arrive a second"), &output)?;
    }
    Ok(())
}

fn scenario() -> Result {
    const ID: &str = "vlan/qinq_ipv6";
    let found = corpus::builtin()?.iter().find(|scenario| scenario.id.as_ref() as &str == ID);
    let expected: u64 = found.ok_or("no such scenario")?.expect.counts.values().sum();
    let path = ["--mode", "native", "--injector", "live_frames", "--json", "--budget", "1s"];
    let output = bench(&[&["--scenario", ID][..], &path].concat())?;
    let result: RunResult = serde_json::from_slice(&output.stdout)?;
    let [measurement] = result.measurements.as_slice() else { return Err("not one measurement".into()) };
    let Measurement { id, traffic, trials, .. } = measurement;
    let named = traffic == ID && *id == format!("path/native/live_frames/{ID}");
    expect(named && expected > 0, "not the scenario", &output)?;
    let counted = trials
        .iter()
        .any(|trial| trial.void.is_none() && trial.role == ProgramRole::Subject && !trial.control);
    expect(counted, "no trial counted its frames", &output)?;
    // They have two tags, so a counter that opens one does not find them.
    misplaced(&["--scenario", ID, "--injector", "live_frames", "--budget", "2s"]).map(drop)
}

fn lost_live_frames() -> Result {
    let compiled = Compiled::new(&[])?;
    let idle = IdleTimes::read()?;
    let programs = Programs::load(Objects { subject: compiled.object(), reference: None })?;
    let program = programs.get(ProgramRole::Subject, false).ok_or("not loaded")?;
    let traffic = Traffic::of(Mix::Udp, 64)?;
    let cpus = idle.quietest_since()?;
    let load = Load {
        injector: InjectorKind::LiveFrames,
        traffic: &traffic,
        frames: 64,
        cpus: &cpus[..1],
        rate: None,
    };
    for redirected in [false, true] {
        let kind = PathKind { mode: XdpMode::Generic, needs: Needs::usual(&Facts::veth()), redirected };
        let mut wire = MeasuredPath::up(&VethTestbed::default(), kind, program)?;
        wire.prepare(InjectorKind::LiveFrames, &traffic)?;
        let sample = wire.trial(program, load, ProgramRole::Subject)?;
        let lost = Some(Void::Conservation { sent: 320, counted: 0, explained: 0 });
        let right = if redirected { sample.counted == 320 } else { sample.void == lost };
        if !right {
            return Err(format!("redirected: {redirected}: {sample:?}").into());
        }
    }
    Ok(())
}

/// Every other frame is longer than the link allows, which the driver drops and counts: half of them take time and are not
/// counted by the program.
fn known_losses() -> Result {
    let compiled = Compiled::new(&[])?;
    let idle = IdleTimes::read()?;
    let programs = Programs::load(Objects { subject: compiled.object(), reference: None })?;
    let program = programs.get(ProgramRole::Subject, false).ok_or("not loaded")?;
    let [short, long] = [Traffic::of(Mix::Udp, 64)?, Traffic::of(Mix::Udp, 3000)?];
    let frames = [short.frames, long.frames].concat();
    let traffic = Traffic { name: "half".to_owned(), frames, slots: short.slots };
    let kind = PathKind { mode: XdpMode::Native, needs: Needs::usual(&Facts::veth()), redirected: false };
    let mut wire = MeasuredPath::up(&VethTestbed::default(), kind, program)?;
    wire.prepare(InjectorKind::Ring, &traffic)?;
    let cpus = idle.quietest_since()?;
    let load =
        Load { injector: InjectorKind::Ring, traffic: &traffic, frames: 256, cpus: &cpus[..1], rate: None };
    let mut shares = Vec::new();
    for _ in 0..21 {
        let sample = wire.trial(program, load, ProgramRole::Subject)?;
        let Sample { sent, counted, lost, cpu_ns, ns_per_frame, .. } = sample;
        if (sent, counted, lost) != (1280, 640, 640) {
            return Err(format!("{sample:?}").into());
        }
        // Of the CPU time that a counted frame took: a busy machine takes none of that.
        shares.push(ns_per_frame * counted as f64 / cpu_ns as f64);
    }
    shares.sort_unstable_by(f64::total_cmp);
    if shares[10] > 0.75 { Ok(()) } else { Err(format!("by the frames that were sent: {shares:?}").into()) }
}

/// A trial that came out so.
fn trial(scenario: &str, verdict: VerdictKind) -> TrialRecord {
    results::trial(scenario, Mode::Native, verdict)
}

/// A measurement of 30 blocks on a virtual machine: see [`measurement::measurement`].
fn measurement(id: &str, cost: impl Fn(u32) -> f64) -> Measurement {
    let mut measurement = measurement::measurement(id, 30, cost);
    measurement.tolerance = Tolerance::VM;
    measurement.fingerprint.virtual_machine = true;
    measurement
}

fn result(trials: Vec<TrialRecord>, measurements: Vec<Measurement>) -> RunResult {
    results::result("6.1", trials, measurements)
}

/// A directory with the result in it.
fn stored(result: &RunResult) -> Result<TempDir> {
    let directory = tempfile::tempdir()?;
    write_pretty(fs::File::create(directory.path().join("result.json"))?, result)?;
    Ok(directory)
}

fn compare_paths(old: &Path, new: &Path, options: &[&str]) -> Result<Output> {
    let [old, new] = [old, new].map(|path| path.display().to_string());
    run(&[&["compare", &old, &new], options].concat())
}

fn compare(old: &RunResult, new: &RunResult) -> Result<Output> {
    let (old, new) = (stored(old)?, stored(new)?);
    compare_paths(old.path(), &new.path().join("result.json"), &[])
}

/// Compares, and expects these lines before the last one, each perhaps wrapped, no others, and this exit code.
fn expect_changes(old: &RunResult, new: &RunResult, code: i32, changes: &[&str]) -> Result {
    let output = compare(old, new)?;
    expect_code(&output, code)?;
    let text = stdout(&output);
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with(' ')).collect();
    lines.pop();
    expect(lines.len() == changes.len(), &format!("{} lines, not {}", lines.len(), changes.len()), &output)?;
    for change in changes {
        expect(lines.iter().any(|line| line.starts_with(change)), &format!("no `{change}`"), &output)?;
    }
    Ok(())
}

fn same_cost(_block: u32) -> f64 {
    100.0
}

fn compare_same() -> Result {
    let result = result(
        vec![trial("a", VerdictKind::Pass), trial("b", VerdictKind::Fail)],
        vec![measurement("path/native/ring/udp/64", same_cost)],
    );
    expect_changes(&result, &result, 0, &["PASS         path/native/ring/udp/64: the ratio is 1.000 times"])?;
    let (old, new) = (stored(&result)?, stored(&result)?);
    let quiet = compare_paths(old.path(), new.path(), &["-q"])?;
    expect_code(&quiet, 0)?;
    expect(stdout(&quiet).starts_with("2 trials compared: 0 changed"), "not quiet", &quiet)
}

fn compare_trials() -> Result {
    use VerdictKind::{Fail, Pass, Skip};
    let old = [("broken", Pass), ("mode_ok", Fail), ("left_out", Pass), ("gone", Pass), ("same", Pass)];
    let new = [("broken", Fail), ("mode_ok", Pass), ("left_out", Skip), ("new", Pass), ("same", Pass)];
    let [old, new] = [old, new].map(|trials| {
        result(trials.into_iter().map(|(scenario, verdict)| trial(scenario, verdict)).collect(), Vec::new())
    });
    expect_changes(
        &old,
        &new,
        1,
        &[
            "REGRESSED    broken::native::pnet: pass -> fail: protocol 17 (udp): expected 4",
            "fixed        mode_ok::native::pnet: fail -> pass",
            "LOST         left_out::native::pnet: pass -> skip",
            "LOST         gone::native::pnet: pass -> absent",
            "new          new::native::pnet: absent -> pass",
        ],
    )?;
    let (old, new) = (stored(&old)?, stored(&new)?);
    let output = compare_paths(old.path(), new.path(), &["--json"])?;
    expect_code(&output, 1)?;
    let differences: Value = serde_json::from_slice(&output.stdout)?;
    let trials = differences["trials"].as_array().ok_or("no trials")?;
    let worse = trials.iter().filter(|trial| trial["worse"] == true).count();
    expect((trials.len(), worse) == (5, 3), "not the same for programs", &output)
}

fn compare_better() -> Result {
    let old = result(vec![trial("a", VerdictKind::Fail), trial("b", VerdictKind::Pass)], Vec::new());
    let new = [("a", VerdictKind::Pass), ("b", VerdictKind::Pass), ("c", VerdictKind::Pass)];
    let new =
        result(new.into_iter().map(|(scenario, verdict)| trial(scenario, verdict)).collect(), Vec::new());
    let changes =
        ["fixed        a::native::pnet: fail -> pass", "new          c::native::pnet: absent -> pass"];
    expect_changes(&old, &new, 0, &changes)
}

fn compare_rates() -> Result {
    let with = |slower: f64, faster: f64| {
        let rates = [("path/a", slower), ("path/b", faster), ("path/c", 100.0)];
        result(Vec::new(), rates.map(|(id, cost)| measurement(id, move |_| cost)).into())
    };
    let changes = [
        "REGRESSION   path/a: the ratio is 0.909 times",
        "IMPROVED     path/b: the ratio is 1.111 times",
        "PASS         path/c",
    ];
    expect_changes(&with(100.0, 100.0), &with(110.0, 90.0), 1, &changes)?;
    let changes = ["PASS         path/a", "IMPROVED     path/b", "PASS         path/c"];
    expect_changes(&with(100.0, 100.0), &with(100.0, 90.0), 0, &changes)?;
    let mut new = with(100.0, 100.0);
    new.measurements.push(measurement("path/d", same_cost));
    let changes =
        ["PASS         path/a", "PASS         path/b", "PASS         path/c", "changed      path/d is new"];
    expect_changes(&with(100.0, 100.0), &new, 0, &changes)
}

fn compare_doubtful() -> Result {
    let of = |measurement| result(vec![trial("a", VerdictKind::Pass)], vec![measurement]);
    let old = of(measurement("path/a", same_cost));
    let noise = of(measurement("path/a", |block| if block % 2 == 0 { 80.0 } else { 125.0 }));
    expect_changes(&old, &noise, 4, &["INCONCLUSIVE path/a: the ratio is"])?;
    let mut other = measurement("path/a", same_cost);
    other.reference.tag = "another's".to_owned();
    expect_changes(&old, &of(other), 4, &["changed      path/a has another reference"])?;
    let mut paced = measurement("path/a", same_cost);
    paced.offered_pps = Some(20_000.0);
    expect_changes(&old, &of(paced), 4, &["changed      path/a has another reference"])?;
    let gone = result(vec![trial("a", VerdictKind::Pass)], Vec::new());
    expect_changes(&old, &gone, 4, &["changed      path/a is in the old set only"])?;
    let mut unmeasured = measurement("path/a", same_cost);
    let why = Unmeasured { reason: "no such mode".to_owned(), declared: true };
    (unmeasured.unmeasured, unmeasured.trials) = (Some(why), Vec::new());
    expect_changes(&old, &of(unmeasured.clone()), 4, &["INCONCLUSIVE path/a: the ratio cannot be compared"])?;
    expect_changes(&of(unmeasured.clone()), &of(unmeasured), 0, &[])
}

fn compare_nothing() -> Result {
    let empty = result(Vec::new(), Vec::new());
    expect_changes(&empty, &empty, 4, &[])?;
    let new = result(vec![trial("a", VerdictKind::Pass)], vec![measurement("path/a", same_cost)]);
    expect_changes(&empty, &new, 4, &["new          a::native::pnet: absent", "changed      path/a is new"])
}

fn compare_broken() -> Result {
    let whole = result(vec![trial("a", VerdictKind::Pass)], vec![measurement("path/a", same_cost)]);
    let (good, broken) = (stored(&whole)?, tempfile::tempdir()?);
    let text = fs::read_to_string(good.path().join("result.json"))?;
    let file = broken.path().join("result.json");
    let name = file.display().to_string();
    let half = text.get(..text.len() / 2).ok_or("not ASCII")?;
    for (text, parts) in [
        (half.to_owned(), &[name.as_str(), "EOF while parsing"][..]),
        (text.replace(SCHEMA, "xdproof.result/3"), &[&name, "xdproof.result/3", SCHEMA]),
        (text.replacen("\"seed\"", "\"sead\"", 1), &[&name, "at measurements[0]", "unknown field `sead`"]),
        ("not JSON\n".to_owned(), &[&format!("{name}:1:"), "expected ident"]),
        ("[]\n".to_owned(), &[&format!("{name}:1:"), "expected a result"]),
        (String::new(), &[&name, "is empty"]),
    ] {
        fs::write(&file, text)?;
        expect_one_error(&compare_paths(good.path(), broken.path(), &[])?, 2, parts)?;
        expect_one_error(&compare_paths(&file, good.path(), &[])?, 2, parts)?;
    }
    fs::remove_file(&file)?;
    let nothing = ["there is no result.json in", &broken.path().display().to_string()];
    expect_one_error(&compare_paths(broken.path(), good.path(), &[])?, 2, &nothing)?;
    expect_one_error(&compare_paths(&file, good.path(), &[])?, 2, &[&name, "No such file"])
}
