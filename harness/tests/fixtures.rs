//! `xdproof test`: fixtures pass and fail on every path as they should, and mistakes in them are found before a frame is sent.
//!
//! Ignored without privilege, as in `conformance.rs`, and without clang.

#[path = "support/cli.rs"]
#[expect(dead_code, reason = "only a part of it is needed")]
mod cli;
#[path = "support/objects.rs"]
#[expect(dead_code, reason = "only a part of it is needed")]
mod objects;
#[path = "support/privilege.rs"]
mod privilege;
#[path = "support/threads.rs"]
mod threads;

use std::{
    fs,
    path::PathBuf,
    process::{ExitCode, Output},
};

use cli::{Result, expect, expect_code, printed, stderr, stdout};
use libtest_mimic::Trial as Test;
use objects::{Compiled, clang::compiler};
use tempfile::TempDir;
use xdproof::program::{LoadSetUp, Program};

type Case = (&'static str, fn() -> Result);

const CASES: &[Case] = &[
    ("a_fixture_passes_on_every_path", passes),
    ("a_frame_that_comes_out_elsewhere_fails_on_every_path", elsewhere),
    ("a_frame_that_is_redirected_to_another_port_fails_in_both_modes", other_port),
    ("other_bytes_fail_with_the_name_of_the_field", other_bytes),
    ("a_field_of_a_map_that_differs_is_named", wrong_field),
    ("a_sequence_is_checked_between_its_frames", sequence),
    ("variables_are_set_and_compared", variables),
    ("a_test_run_has_the_context_that_a_frame_declares", context),
    ("a_declared_deviation_excuses_a_mode_and_must_deviate", deviation),
    ("a_multi_buffer_program_that_reads_linear_data_only_differs", linear_only),
    ("a_program_of_which_nothing_is_known_agrees_with_itself", agrees),
    ("what_does_not_fit_the_program_is_told_with_its_place", misfits),
    ("a_command_line_that_names_no_program_is_told", no_program),
    ("a_recorded_fixture_passes_and_is_updated", recorded),
    ("a_loaded_program_is_tested_and_left_as_it_was_found", loaded),
    ("a_result_and_reports_are_written", reports),
    ("no_fixture_runs_without_privilege", unprivileged),
];

fn main() -> ExitCode {
    let arguments = threads::arguments();
    let obstacle = privilege::obstacle().or_else(|| compiler().err());
    let tests =
        CASES.iter().map(|&(name, test)| Test::test(name, test).with_ignored_flag(obstacle.is_some()));
    let conclusion = libtest_mimic::run(&arguments, tests.collect());
    privilege::conclude(&arguments, obstacle.as_deref(), &conclusion)
}

/// A directory with the object `actions.c` and fixtures.
struct Place {
    directory: TempDir,
    object: Compiled,
}

impl Place {
    fn new(defines: &[&str]) -> Result<Self> {
        Ok(Self { directory: tempfile::tempdir()?, object: Compiled::from_source("actions.c", defines)? })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn object(&self) -> String {
        self.object.path().display().to_string()
    }

    /// Writes a fixture and runs it.
    fn run(&self, fixture: &str, arguments: &[&str]) -> Result<Output> {
        fs::write(self.path("case.toml"), format!("summary = \"a case\"\n{fixture}"))?;
        let mut command = cli::xdproof();
        command.arg("test").arg(self.path("case.toml")).args(["--object", &self.object()]).args(arguments);
        Ok(command.output()?)
    }
}

/// A frame whose destination address has these first three bytes: action, target, byte to write.
fn frame(address: &str, expect: &str) -> String {
    format!(
        "[[frame]]\nlayers = [{{ ethernet = {{ destination = \"{address}:00:00:00\" }} }}, {{ ipv4 = {{}} }}, {{ udp = {{}} }}]\n\
         expect = {{ {expect} }}\n"
    )
}

const DEVICES: &str = "[[map]]\nname = \"devices\"\nentries = [\n  { key = 0, value = \"port:0\" }, { key = 1, value = \"port:1\" },\n]\n";

/// Frames with every action.
fn every_action() -> String {
    [
        frame("12:00:00", "action = \"aborted\""),
        frame("22:00:00", "action = \"drop\""),
        frame("32:00:00", "action = \"pass\""),
        frame("42:00:00", "action = \"tx\""),
        frame("52:01:00", "action = \"redirect\", to = \"port 1\""),
        frame("52:00:77", "action = \"redirect\", to = \"port 0\", at = [{ offset = 15, hex = \"77\" }]"),
    ]
    .concat()
}

fn lines(output: &Output, part: &str) -> usize {
    stdout(output).lines().filter(|line| line.contains(part)).count()
}

fn passes() -> Result {
    let place = Place::new(&[])?;
    let expectation = "[expect]\nmaps = [\n  { name = \"states\", key = 4, value = { packets = 2, bytes = 84 } },\n  \
                       { name = \"seen\", entries = 2 }, { name = \"seen\", key = 1, value = 1 }, { name = \"seen\", key = 9, absent = true },\n  \
                       { name = \"devices\", unchanged = true },\n]\n";
    let output = place.run(&(DEVICES.to_owned() + &every_action() + expectation), &[])?;
    expect_code(&output, 0)?;
    for path in ["generic::pnet", "native::pnet", "unattached::test_run"] {
        expect(lines(&output, &format!("case::{path} ... ok")) == 1, path, &output)?;
    }
    for injector in ["ring", "live_frames"] {
        expect_code(&place.run(&(DEVICES.to_owned() + &every_action()), &["--injector", injector])?, 0)?;
    }
    Ok(())
}

fn elsewhere() -> Result {
    let place = Place::new(&[])?;
    for (address, expected, observed) in [
        ("32:00:00", "action = \"drop\"", "expected drop, got pass"),
        ("42:00:00", "action = \"drop\"", "expected drop, got tx"),
        ("22:00:00", "action = \"tx\"", "expected tx, got "),
        ("32:00:00", "action = \"tx\"", "expected tx, got pass"),
        ("42:00:00", "action = \"pass\"", "expected pass, got tx"),
    ] {
        let output = place.run(&frame(address, expected), &[])?;
        expect_code(&output, 1)?;
        let told = format!("action on frame 1: {observed}");
        expect(lines(&output, "... FAILED") == 3, "it passes on a path", &output)?;
        expect(lines(&output, &told) == 3, &told, &output)?;
        expect(lines(&output, "reproduce: xdproof test ") == 3, "no command repeats it", &output)?;
    }
    Ok(())
}

fn other_port() -> Result {
    let place = Place::new(&[])?;
    let fixture = DEVICES.to_owned() + &frame("52:01:00", "action = \"redirect\", to = \"port 0\"");
    let output = place.run(&fixture, &[])?;
    expect_code(&output, 1)?;
    let told = "action on frame 1: expected redirect to port 0, got redirect to port 1";
    expect(lines(&output, told) == 2, told, &output)?;
    // A test run does not say to which device.
    expect(lines(&output, "unattached::test_run ... ok") == 1, "the test run does not pass", &output)
}

fn other_bytes() -> Result {
    let place = Place::new(&[])?;
    let output = place.run(&frame("42:00:99", "action = \"tx\""), &[])?;
    expect_code(&output, 1)?;
    let told = "IPv4 DSCP and ECN (byte 15): expected 00, got 99";
    expect(lines(&output, told) == 3, told, &output)?;
    let output = place.run(&frame("42:00:99", "action = \"tx\", length = 41"), &[])?;
    expect_code(&output, 1)?;
    expect(lines(&output, "length of frame 1") == 3, "the length", &output)?;
    expect_code(&place.run(&frame("42:00:99", "action = \"tx\", bytes = \"any\""), &[])?, 0)
}

fn wrong_field() -> Result {
    let place = Place::new(&[])?;
    let fixture = frame("22:05:00", "action = \"drop\"")
        + "[expect]\nmaps = [{ name = \"states\", key = 1, value = { packets = 1, bytes = 43 } }]\n";
    let output = place.run(&fixture, &[])?;
    expect_code(&output, 1)?;
    let told = "map states, key 1, field bytes: expected 43, got 42";
    expect(lines(&output, told) == 3, told, &output)?;
    let fixture = frame("22:05:00", "action = \"drop\"")
        + "[expect]\nmaps = [{ name = \"seen\", key = 6, value = 1 }]\n";
    let output = place.run(&fixture, &[])?;
    expect_code(&output, 1)?;
    expect(lines(&output, "map seen, key 6: expected 1, got no such key") == 3, "no such key", &output)
}

fn sequence() -> Result {
    let place = Place::new(&[])?;
    let between =
        |count: u32| format!("action = \"drop\", maps = [{{ name = \"seen\", key = 5, value = {count} }}]");
    let fixture = frame("22:05:00", &between(1)) + &frame("22:05:00", &between(2));
    expect_code(&place.run(&fixture, &[])?, 0)?;
    let fixture = frame("22:05:00", &between(1))
        + &frame("22:05:00", &between(1))
        + &frame("32:00:00", "action = \"tx\"");
    let output = place.run(&fixture, &[])?;
    expect_code(&output, 1)?;
    expect(lines(&output, "map seen, key 5: expected 1, got 2") == 3, "the second step", &output)?;
    expect(lines(&output, "action on frame 3") == 0, "a step behind the failed one was run", &output)
}

fn variables() -> Result {
    let place = Place::new(&[])?;
    let set = "[globals]\ndefault_action = 3\n";
    let fixture = set.to_owned()
        + &frame("02:00:00", "action = \"tx\"")
        + "[expect]\nmaps = [{ global = \"runs\", value = 1 }]\n";
    expect_code(&place.run(&fixture, &[])?, 0)?;
    let fixture = fixture.replace("value = 1", "added = 2");
    let output = place.run(&fixture, &[])?;
    expect_code(&output, 1)?;
    expect(lines(&output, "variable runs (added): expected 2, got 1") == 3, "the variable", &output)
}

fn context() -> Result {
    let place = Place::new(&["CONTEXT"])?;
    let given = |context: &str, key: u32| {
        frame("32:00:00", "action = \"pass\"").trim_end().to_owned()
            + &format!(
                "\ncontext = {{ {context} }}\n[expect]\nmaps = [{{ name = \"seen\", key = {key}, value = 1 }}]\n"
            )
    };
    // The program counts by the receive queue, by 100 with metadata, and by 200 on the first redirect target.
    for (context, key) in [("rx_queue = 3", 3), ("metadata = \"01020304\"", 100), ("ingress = \"dut\"", 0)] {
        expect_code(&place.run(&given(context, key), &["--injector", "test_run"])?, 0)?;
    }
    let port = given("ingress = \"port 0\"", 200);
    let fixture = DEVICES.to_owned() + &port;
    expect_code(&place.run(&fixture, &["--injector", "test_run"])?, 0)?;
    let output = place.run(&given("rx_queue = 3", 3), &["--mode", "native"])?;
    expect_code(&output, 4)?;
    expect(lines(&output, "only a test run can") > 0, "the skip has no reason", &output)
}

fn deviation() -> Result {
    let place = Place::new(&[])?;
    let fixture = frame("32:00:00", "action = \"drop\"")
        + "[[deviation]]\nmode = \"generic\"\nreason = \"it passes here\"\n";
    let output = place.run(&fixture, &["--mode", "generic"])?;
    expect_code(&output, 0)?;
    expect(lines(&output, "case::generic::pnet ... xfail") == 1, "no xfail", &output)?;
    let stale = fixture.replace("\"drop\"", "\"pass\"");
    let output = place.run(&stale, &["--mode", "generic"])?;
    expect_code(&output, 1)?;
    expect(lines(&output, "it passes here") > 0, "the deviation is not named", &output)
}

/// A multi-buffer program that looks at the linear part only sees another length where the frame is split elsewhere.
fn linear_only() -> Result {
    let scenario = ["--fixture", "jumbo/*"];
    let run = |defines: &[&str]| -> Result<Output> {
        let object = Compiled::from_source("actions.c", defines)?;
        Ok(cli::xdproof().arg("test").arg("--object").arg(object.path()).args(scenario).output()?)
    };
    let output = run(&["SECTION=\"xdp.frags\"", "LINEAR_ONLY"])?;
    expect_code(&output, 1)?;
    expect(lines(&output, "field bytes: expected") > 0, "the map does not differ", &output)?;
    let output = run(&["SECTION=\"xdp.frags\""])?;
    expect_code(&output, 0)?;
    expect(lines(&output, "unattached::test_run") > 0, "no frame is split", &output)
}

fn agrees() -> Result {
    let place = Place::new(&[])?;
    let output = cli::run(&["test", "--object", &place.object(), "--fixture", "ipv?/*"])?;
    expect_code(&output, 0)?;
    expect(lines(&output, " pass") > 0 && !printed(&output).contains("fail"), "nothing passed", &output)
}

fn misfits() -> Result {
    let place = Place::new(&[])?;
    let drop = frame("22:00:00", "action = \"drop\"");
    let after = |claim: &str| format!("{drop}[expect]\nmaps = [\n  {claim},\n]\n");
    let before =
        |map: &str, entry: &str| format!("[[map]]\nname = \"{map}\"\nentries = [\n  {entry},\n]\n{drop}");
    for (fixture, parts) in [
        (
            after("{ name = \"states\", key = 1, value = { packet = 1 } }"),
            ["case.toml:7:", "packet", "did you mean `packets`?"],
        ),
        (
            after("{ name = \"state\", key = 1, value = { packets = 1 } }"),
            ["case.toml:7:", "no map `state`", "did you mean `states`?"],
        ),
        (
            after("{ name = \"seen\", key = \"hex:0102\", value = 1 }"),
            ["case.toml:7:", "key of map `seen`", "2"],
        ),
        (after("{ global = \"run\", value = 1 }"), ["case.toml:7:", "no variable `run`", "runs"]),
        (
            before("seen", "{ key = 1, value = { packets = 1 } }"),
            ["case.toml:5:", "value of map `seen`", "an integer"],
        ),
        (before("seen", "{ value = 1 }"), ["case.toml:5:", "needs a key", "u32"]),
        (before("devices", "{ key = 0, value = \"port:12\" }"), ["case.toml:5:", "port:12", "0 to 7"]),
        (before("devices", "{ key = 9, value = \"port:0\" }"), ["case.toml:5:", "devices", "0 to 3"]),
        (format!("[globals]\ndefault = 1\n{drop}"), ["case.toml:3:", "`default`", "default_action"]),
        (
            format!("{drop}\n[[frame]]\nhex = \"{}\"\n", "00".repeat(60)),
            ["case.toml:6:", "without expectation", "action"],
        ),
    ] {
        let output = place.run(&fixture, &[])?;
        expect_code(&output, 2)?;
        for part in parts {
            expect(stderr(&output).contains(part), &format!("`{part}` is not said of\n{fixture}"), &output)?;
        }
        expect(lines(&output, " ... ") == 0, "a case has run", &output)?;
    }
    Ok(())
}

fn no_program() -> Result {
    let place = Place::new(&[])?;
    fs::write(
        place.path("case.toml"),
        format!("summary = \"x\"\n{}", frame("22:00:00", "action = \"drop\"")),
    )?;
    let test = |arguments: &[&str]| {
        Ok::<_, libtest_mimic::Failed>(cli::xdproof().arg("test").args(arguments).output()?)
    };
    let case = place.path("case.toml").display().to_string();
    cli::expect_one_error(&test(&[&case])?, 2, &["names no program", "--object FILE"])?;
    let empty = place.path("empty");
    fs::create_dir(&empty)?;
    cli::expect_one_error(&test(&[&empty.display().to_string()])?, 2, &["empty", "no fixture"])?;
    cli::expect_one_error(&test(&["/no/such"])?, 2, &["/no/such"])?;
    cli::expect_one_error(&test(&[&case, "--object", "/no/such.o"])?, 2, &["/no/such.o"])?;
    let other = test(&[&case, "--object", &place.object(), "--fixture", "other"])?;
    cli::expect_one_error(&other, 2, &["no fixture matches `other`", "case"])
}

fn recorded() -> Result {
    let place = Place::new(&[])?;
    let frames = place.path("frames");
    expect_code(
        &cli::run(&["export", "--scenario", "ipv4/udp", "--out", &frames.display().to_string()])?,
        0,
    )?;
    let capture = frames.join("ipv4/udp.pcap").display().to_string();
    let file = place.path("recorded.toml").display().to_string();
    let new = ["test", "--new", &capture, "--object", &place.object(), &file];
    expect_code(&cli::run(&new)?, 0)?;
    let text = fs::read_to_string(&file)?;
    if !text.contains("action = \"pass\"") || !text.contains("packets = 4") {
        return Err(text.into());
    }
    cli::expect_one_error(&cli::run(&new)?, 2, &["exists", "--accept"])?;
    expect_code(&cli::run(&["test", &file])?, 0)?;
    fs::write(&file, text.replace("packets = 4", "packets = 5"))?;
    expect_code(&cli::run(&["test", &file])?, 1)?;
    expect_code(&cli::run(&["test", "--accept", &file])?, 0)?;
    if fs::read_to_string(&file)? == text { Ok(()) } else { Err("--accept wrote something else".into()) }
}

fn loaded() -> Result {
    let place = Place::new(&[])?;
    let program = Program::load_with(&place.object.object(), &LoadSetUp::default())?;
    let (key, value) = (5_u32.to_ne_bytes(), 7_u64.to_ne_bytes());
    program.map("seen")?.update(&key, &value)?;
    let before = program.save()?;
    let fixture = DEVICES.to_owned()
        + &frame("52:05:00", "action = \"aborted\"")
        + &frame("22:05:00", "action = \"drop\"")
        + "[expect]\nmaps = [{ name = \"seen\", key = 5, value = 9 }, { name = \"seen\", key = 5, added = 2 }]\n";
    fs::write(place.path("case.toml"), format!("summary = \"a case\"\n{fixture}"))?;
    let case = place.path("case.toml").display().to_string();
    let id = program.identity().id.to_string();
    let output = cli::run(&["test", &case, "--program-id", &id])?;
    expect_code(&output, 0)?;
    expect(lines(&output, "... ok") == 3, "it was not run on each path", &output)?;
    expect(program.save()? == before, "the maps are not as they were", &output)?;
    cli::expect_one_error(&cli::run(&["test", &case, "--program-id", "4294967295"])?, 2, &["4294967295"])
}

fn reports() -> Result {
    let place = Place::new(&[])?;
    let out = place.path("out");
    let output = place.run(
        &frame("32:00:00", "action = \"drop\""),
        &["--out", &out.display().to_string(), "--report", "--json"],
    )?;
    expect_code(&output, 1)?;
    let result = cli::read_result(&out)?;
    let first = &result["trials"][0];
    let told = (first["id"].as_str(), first["failure"]["mismatches"][0]["check"].as_str());
    expect(told == (Some("case::generic::pnet"), Some("action")), &first.to_string(), &output)?;
    for file in ["report.html", "report.md", "junit.xml", "report.ktap"] {
        let text = fs::read_to_string(out.join(file))?;
        expect(
            text.contains("expected drop, got pass"),
            &format!("{file} does not tell the failure"),
            &output,
        )?;
    }
    Ok(())
}

fn unprivileged() -> Result {
    let place = Place::new(&[])?;
    fs::write(
        place.path("case.toml"),
        format!("summary = \"x\"\n{}", frame("22:00:00", "action = \"drop\"")),
    )?;
    let case = place.path("case.toml").display().to_string();
    let output = cli::unprivileged(&["test", &case, "--object", &place.object()])?;
    cli::expect_one_error(&output, 3, &["root"])
}
