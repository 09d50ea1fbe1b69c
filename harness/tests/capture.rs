//! Captures in and out: any traffic through `validate --pcap`, the corpus through `export`, and the frames of failed trials.
//!
//! `captures/mixed.pcap` was made by scapy (`captures/mixed.py`), `captures/mixed.tshark` by tshark: two programs that are
//! independent of this one. The tests that need privilege are ignored without it, as in `conformance.rs`.

#[path = "support/cli.rs"]
#[expect(dead_code, reason = "captures need no signals and no refused privilege")]
mod cli;
#[path = "support/corpus.rs"]
mod corpus;
#[path = "support/privilege.rs"]
mod privilege;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use cli::{Result, expect, expect_code, printed, run};
use libtest_mimic::{Arguments, Failed, Trial as Test};
use serde_json::Value;
use xdproof::model::{
    observation::Counts,
    result::{RunResult, TrialRecord},
    verdict::VerdictKind,
};
use xdproof_scenarios::{
    capture::{LONGEST_CARRIED, LONGEST_SINGLE_BUFFER},
    capture_file,
};

type Case = (&'static str, fn() -> Result);

/// The DUT's address and the tester's, as a frame begins with them.
const ADDRESSES: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];

/// Frames of mixed traffic that a test must have.
const MANY: u64 = 1_000;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let obstacle = privilege::obstacle();
    let ignored = obstacle.is_some();
    let has_tshark = Command::new("tshark").arg("--version").output().is_ok();
    let mut tests: Vec<Test> = UNPRIVILEGED.iter().map(|&(name, test)| Test::test(name, test)).collect();
    tests.extend(PRIVILEGED.iter().map(|&(name, test)| Test::test(name, test).with_ignored_flag(ignored)));
    tests.push(
        Test::test("mixed_traffic_counts_as_the_installed_tshark_dissects_it", live_tshark)
            .with_ignored_flag(ignored || !has_tshark),
    );
    if !has_tshark {
        eprintln!("tshark is not installed: only its stored dissection is compared");
    }
    let conclusion = libtest_mimic::run(&arguments, tests);
    privilege::conclude(&arguments, obstacle.as_deref(), &conclusion)
}

const UNPRIVILEGED: &[Case] = &[
    ("export_writes_each_scenarios_frames_as_often_as_they_are_sent", export),
    ("a_file_that_is_no_capture_exits_2", no_capture),
    ("a_capture_of_no_frame_exits_2", empty_capture),
    ("a_capture_of_cut_frames_exits_2", cut_capture),
    ("of_a_capture_that_ends_early_the_whole_packets_are_used_and_a_note_says_so", killed_capture),
];

const PRIVILEGED: &[Case] = &[
    ("mixed_traffic_counts_as_tshark_dissected_it", kept_tshark),
    ("a_counter_with_a_fault_fails_on_mixed_traffic", mutant_on_mixed_traffic),
    ("what_a_path_cannot_carry_is_reported_with_what_it_needs", every_length),
    ("a_multi_buffer_program_gets_jumbo_frames_in_native_mode", jumbo_for_frags),
    ("the_frames_of_a_failed_trial_are_kept_and_fail_again", failed_frames),
    ("a_damaged_byte_is_marked", damaged_byte),
    ("a_fault_in_every_frame_is_told_by_the_first_ones_and_their_number", systematic_fault),
    ("a_frame_that_a_test_run_does_not_take_is_unreachable", longest_test_run),
];

fn captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures")
}

/// Runs `validate --json` with arguments.
fn validate(arguments: &[&str], code: i32) -> Result<RunResult> {
    let output = run(&[&["validate", "--json"], arguments].concat())?;
    expect_code(&output, code)?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Writes frames into a capture in a temporary directory.
fn capture_of(frames: &[Vec<u8>]) -> Result<(tempfile::TempDir, String)> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("some.pcap");
    capture_file::write(fs::File::create(&file)?, frames.iter().map(Vec::as_slice))?;
    Ok((directory, file.display().to_string()))
}

/// Returns a frame of this length: UDP over IPv4, as far as it fits.
fn udp(length: usize) -> Vec<u8> {
    let mut frame = [&ADDRESSES[..], &[0x08, 0x00, 0x45], &[0; 8], &[17]].concat();
    frame.resize(length, 0);
    frame
}

/// Returns the protocol that the counter must count by tshark's dissection of a frame: its layers, and the protocol fields of
/// its IPv4 and IPv6 headers, outermost first.
fn key(layers: &str, protocols: &str, next_headers: &str) -> Result<u8> {
    let mut layers: Vec<&str> = layers.split(':').filter(|layer| *layer != "ethertype").collect();
    let mut tags = 0;
    while tags < 2 && matches!(layers.get(1), Some(&("vlan" | "ieee8021ad"))) {
        layers.remove(1);
        tags += 1;
    }
    let outermost = match layers.as_slice() {
        ["eth", "ip", ..] => protocols,
        ["eth", "ipv6", ..] => next_headers,
        _ => return Ok(0),
    };
    let first = outermost.split(',').next().unwrap_or_default();
    Ok(first.parse().map_err(|error| format!("`{first}` of {layers:?}: {error}"))?)
}

/// Counts by tshark's lines of `layers|protocols|next headers`, each with its number of frames.
fn counts<'a>(lines: impl Iterator<Item = (u64, &'a str)>) -> Result<Counts> {
    let mut counts = Counts::new();
    for (times, line) in lines {
        let [layers, protocols, next_headers] = line.split('|').collect::<Vec<_>>()[..] else {
            return Err(format!("not a line of three fields: {line}").into());
        };
        *counts.entry(key(layers, protocols, next_headers)?).or_default() += times;
    }
    Ok(counts)
}

/// Compares the counts of every path for the mixed traffic with tshark's.
fn mixed_traffic_counts_as(by_tshark: &Counts) -> Result {
    let file = captures().join("mixed.pcap").display().to_string();
    let result = validate(&["--pcap", &file], 0)?;
    if by_tshark.values().sum::<u64>() < MANY || by_tshark.len() < 10 || result.trials.len() != 3 {
        return Err(
            format!("too little to prove anything: {by_tshark:?}, {} trials", result.trials.len()).into()
        );
    }
    for TrialRecord { id, verdict, observed, expected, .. } in &result.trials {
        let observed = observed.as_ref().ok_or("nothing was observed")?;
        let agree =
            [&observed.counts, &expected.counts].iter().all(|counts| counts.as_ref() == Some(by_tshark));
        if *verdict != VerdictKind::Pass || !agree {
            return Err(format!("{id}: {verdict}, {:?}, tshark: {by_tshark:?}", observed.counts).into());
        }
    }
    Ok(())
}

fn kept_tshark() -> Result {
    let text = fs::read_to_string(captures().join("mixed.tshark"))?;
    let lines = text.lines().map(|line| -> Result<(u64, &str)> {
        let (times, line) = line.split_once('|').ok_or("no number")?;
        Ok((times.parse()?, line))
    });
    mixed_traffic_counts_as(&counts(lines.collect::<Result<Vec<_>>>()?.into_iter())?)
}

fn live_tshark() -> Result {
    let output = Command::new("tshark")
        .args(["-n", "-T", "fields", "-E", "separator=|"])
        .args(["-e", "frame.protocols", "-e", "ip.proto", "-e", "ipv6.nxt", "-r"])
        .arg(captures().join("mixed.pcap"))
        .output()?;
    expect_code(&output, 0)?;
    // tshark writes pcapng unless told otherwise.
    let directory = tempfile::tempdir()?;
    let converted = directory.path().join("mixed.pcapng");
    let written = Command::new("tshark")
        .args(["-n", "-F", "pcapng", "-r"])
        .arg(captures().join("mixed.pcap"))
        .arg("-w")
        .arg(&converted)
        .output()?;
    expect_code(&written, 0)?;
    let [first, second] = [converted, captures().join("mixed.pcap")].map(fs::read);
    let (converted, classic) = (first?, second?);
    expect(converted.starts_with(b"\n\r\r\n"), "not pcapng", &written)?;
    expect(
        capture_file::read(converted.as_slice())? == capture_file::read(classic.as_slice())?,
        "pcapng holds other frames",
        &written,
    )?;
    let text = String::from_utf8(output.stdout)?;
    mixed_traffic_counts_as(&counts(text.lines().map(|line| (1, line)))?)
}

fn mutants() -> [&'static str; 2] {
    ["--object", concat!(env!("OUT_DIR"), "/xdproof-mutants")]
}

fn mutant_on_mixed_traffic() -> Result {
    let file = captures().join("mixed.pcap").display().to_string();
    for program in ["one_tag", "ipv6_byte_7", "damages_59th"] {
        let arguments = [&["--pcap", &file, "--program", program][..], &mutants()].concat();
        let result = validate(&arguments, 1)?;
        if result.trials.iter().any(|trial| trial.verdict != VerdictKind::Fail) {
            return Err(format!("{program} passes").into());
        }
    }
    Ok(())
}

/// Returns the verdicts by trial.
fn verdicts(result: &RunResult) -> BTreeMap<&str, VerdictKind> {
    result.trials.iter().map(|trial| (trial.id.as_str(), trial.verdict)).collect()
}

fn every_length() -> Result {
    use VerdictKind::{Pass, Skip, Unreachable};
    let lengths =
        [13, 14, 60, 1_522, 1_523, LONGEST_SINGLE_BUFFER, 9_014, LONGEST_CARRIED, LONGEST_CARRIED + 1];
    let (_directory, file) = capture_of(&lengths.map(udp))?;
    let result = validate(&["--pcap", &file, "--mode", "generic,native"], 0)?;
    let expected = BTreeMap::from([
        ("pcap/some::generic::pnet", Pass),
        ("pcap/some::native::pnet", Pass),
        ("pcap/some/too_short::generic::pnet", Unreachable),
        ("pcap/some/too_short::native::pnet", Unreachable),
        ("pcap/some/long::generic::pnet", Pass),
        ("pcap/some/long::native::pnet", Pass),
        ("pcap/some/jumbo::generic::pnet", Pass),
        ("pcap/some/jumbo::native::pnet", Skip),
        ("pcap/some/too_long::generic::pnet", Unreachable),
        ("pcap/some/too_long::native::pnet", Skip),
    ]);
    if verdicts(&result) != expected {
        return Err(format!("{:?}", verdicts(&result)).into());
    }
    let sent: u64 = result
        .trials
        .iter()
        .filter(|trial| trial.id.contains("generic"))
        .map(|trial| trial.expected.frames.values().sum::<u64>())
        .sum();
    if sent != lengths.len() as u64 {
        return Err(format!("{sent} of {} frames are accounted for", lengths.len()).into());
    }
    let says = |id: &str, what: &str| {
        let trial = result.trials.iter().find(|trial| trial.id == id);
        match trial.and_then(|trial| trial.reason.as_deref()) {
            Some(reason) if reason.contains(what) => Ok(()),
            other => Err(Failed::from(format!("{id} does not say `{what}`: {other:?}"))),
        }
    };
    says("pcap/some/too_long::generic::pnet", "needs an MTU of")?;
    says("pcap/some/jumbo::native::pnet", "one buffer")
}

fn jumbo_for_frags() -> Result {
    let (_directory, file) = capture_of(&[udp(9_014), udp(LONGEST_CARRIED)])?;
    let result = validate(&["--pcap", &file, "--mode", "native", "--program", "xdproof_frags"], 0)?;
    let expected = BTreeMap::from([("pcap/some/jumbo::native::pnet", VerdictKind::Pass)]);
    if verdicts(&result) == expected { Ok(()) } else { Err(format!("{:?}", verdicts(&result)).into()) }
}

fn failed_frames() -> Result {
    let out = tempfile::tempdir()?;
    let directory = out.path().display().to_string();
    let faulty = [&mutants()[..], &["--program", "one_tag"]].concat();
    let output =
        run(&[&["validate", "--scenario", "vlan/qinq_ipv6", "--out", &directory][..], &faulty].concat())?;
    expect_code(&output, 1)?;
    let file = out.path().join("failed/vlan/qinq_ipv6.pcap");
    expect(
        printed(&output).contains(&format!("frames: {}", file.display())),
        "the file is not named",
        &output,
    )?;
    let sent = capture_file::read(fs::File::open(&file)?)?.frames;
    let scenario =
        corpus::builtin()?.iter().find(|scenario| scenario.id.as_ref() as &str == "vlan/qinq_ipv6");
    let frames = scenario.map(|scenario| scenario.sent_frames().map(<[u8]>::to_vec).collect::<Vec<_>>());
    expect(frames.as_ref() == Some(&sent), "not the frames that were sent", &output)?;
    let result: Value = serde_json::from_slice(&fs::read(out.path().join("result.json"))?)?;
    let named = &result["trials"][0]["failure"]["pcap"];
    expect(named == "failed/vlan/qinq_ipv6.pcap", "the result does not name the file", &output)?;
    let file = file.display().to_string();
    let again = validate(&[&["--pcap", file.as_str()][..], &faulty].concat(), 1)?;
    let passed = validate(&["--pcap", &file], 0)?;
    let all = |result: &RunResult, verdict| result.trials.iter().all(|trial| trial.verdict == verdict);
    expect(
        all(&again, VerdictKind::Fail) && all(&passed, VerdictKind::Pass),
        "the file proves nothing",
        &output,
    )
}

fn damaged_byte() -> Result {
    let out = tempfile::tempdir()?;
    let directory = out.path().display().to_string();
    let faulty = [&mutants()[..], &["--program", "damages_59th"]].concat();
    let arguments = [
        &["validate", "-q", "--scenario", "ipv4/udp", "--injector", "test_run", "--out", &directory][..],
        &faulty,
    ];
    let output = run(&arguments.concat())?;
    expect_code(&output, 1)?;
    let text = printed(&output);
    expect(
        text.matches("^^").count() == 2,
        "not one byte is marked in what was sent and in what came",
        &output,
    )?;
    let came = fs::read(out.path().join("failed/ipv4/udp.unattached.test_run.unexpected.pcap"))?;
    let damaged = capture_file::read(came.as_slice())?.frames;
    expect(!damaged.is_empty(), "the frames that came are not kept", &output)
}

/// Frames of the capture of a systematic fault.
const FAULTY: u32 = 3_000;

fn systematic_fault() -> Result {
    let distinct = |number: u32| {
        let mut frame = udp(200);
        frame[100..104].copy_from_slice(&number.to_be_bytes());
        frame
    };
    let frames: Vec<Vec<u8>> = (0..FAULTY).map(distinct).collect();
    let (_directory, file) = capture_of(&frames)?;
    let out = tempfile::tempdir()?;
    let directory = out.path().display().to_string();
    let faulty = [&mutants()[..], &["--program", "damages_59th", "--out", &directory, "--report"]].concat();
    let output = run(&[&["validate", "--pcap", &file][..], &faulty].concat())?;
    expect_code(&output, 1)?;
    let lines = printed(&output).lines().count();
    expect(lines < 400, &format!("{lines} lines are printed"), &output)?;
    let told = format!("frames at the stack: {FAULTY} missing, {FAULTY} unexpected");
    expect(printed(&output).contains(&told), "the frames are not counted", &output)?;
    expect(
        printed(&output).contains("and 2984 more distinct frames"),
        "the others are not counted",
        &output,
    )?;
    for name in ["result.json", "junit.xml", "report.ktap", "report.md", "report.html"] {
        let length = fs::metadata(out.path().join(name))?.len();
        expect(length < 600_000, &format!("{name} has {length} bytes"), &output)?;
    }
    for name in ["some", "some.generic.pnet.unexpected", "some.unattached.test_run.unexpected"] {
        let kept = capture_file::read(fs::File::open(out.path().join(format!("failed/pcap/{name}.pcap")))?)?;
        let number = kept.frames.len();
        // The closing frame of an attached program is damaged, too.
        let expected = frames.len()..=frames.len() + 1;
        expect(expected.contains(&number), &format!("{name} has {number} frames"), &output)?;
    }
    Ok(())
}

/// Bytes of the longest frame that a test run takes on a machine with pages of 4 KiB (`bpf_prog_test_run_xdp()` of
/// `net/bpf/test_run.c`).
const LONGEST_TEST_RUN: usize = 73_152;

fn longest_test_run() -> Result {
    for (length, code, verdict) in
        [(LONGEST_TEST_RUN, 0, VerdictKind::Pass), (LONGEST_TEST_RUN + 1, 4, VerdictKind::Unreachable)]
    {
        let (_directory, file) = capture_of(&[udp(length)])?;
        let result = validate(&["--pcap", &file, "--injector", "test_run"], code)?;
        let [trial] = result.trials.as_slice() else { return Err("not one trial".into()) };
        let says = trial.reason.as_ref().is_none_or(|reason| reason.contains("at most 73152 bytes"));
        if trial.verdict != verdict || !says {
            return Err(format!("{length}: {}, {:?}", trial.verdict, trial.reason).into());
        }
    }
    Ok(())
}

fn export() -> Result {
    let out = tempfile::tempdir()?;
    let directory = out.path().display().to_string();
    let output = run(&["export", "--json", "--out", &directory])?;
    expect_code(&output, 0)?;
    let entries: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let corpus = corpus::builtin()?;
    expect(entries.len() == corpus.len(), "not every scenario", &output)?;
    for scenario in corpus {
        let file = out.path().join(format!("{}.pcap", scenario.id));
        let frames = capture_file::read(fs::File::open(&file)?)?.frames;
        let same = frames.iter().map(Vec::as_slice).eq(scenario.sent_frames());
        if !same || frames.len() as u64 != scenario.sent() {
            return Err(format!("{} holds other frames", file.display()).into());
        }
    }
    let output = run(&["export", "--scenario", "vlan/*", "--out", &directory])?;
    expect_code(&output, 0)?;
    expect(printed(&output).contains("scenarios in"), "nothing is said", &output)
}

fn expect_input_error(file: &Path, part: &str) -> Result {
    let output = run(&["list", "--pcap", &file.display().to_string()])?;
    expect_code(&output, 2)?;
    expect(printed(&output).contains(part), &format!("the message does not say `{part}`"), &output)
}

fn no_capture() -> Result {
    expect_input_error(&captures().join("mixed.py"), "not a")?;
    expect_input_error(Path::new("/no/such.pcap"), "No such file")
}

fn empty_capture() -> Result {
    let (_directory, file) = capture_of(&[])?;
    expect_input_error(file.as_ref(), "has no frames")
}

fn cut_capture() -> Result {
    let (_directory, file) = capture_of(&[udp(60)])?;
    let mut bytes = fs::read(&file)?;
    // The original length, in the header of the first record.
    bytes[24 + 12] = 61;
    fs::write(&file, bytes)?;
    expect_input_error(file.as_ref(), "holds 60 of 61 bytes")
}

fn killed_capture() -> Result {
    let (_directory, file) = capture_of(&[udp(60), udp(60), udp(60)])?;
    let length = fs::metadata(&file)?.len();
    fs::File::options().write(true).open(&file)?.set_len(length - 20)?;
    let output = run(&["list", "--pcap", &file])?;
    expect_code(&output, 0)?;
    let note = "the file ends at byte 232, within what starts at byte 176; the first 2 packets are whole and are used";
    expect(printed(&output).contains(&format!("note: {file}: {note}")), "there is no note", &output)?;
    expect(printed(&output).contains("2 frames of up to 60 bytes"), "not the whole frames", &output)
}
