//! The verbs that work on results, as a user meets them.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use xdproof::{
    model::{
        mode::Mode::Native,
        result::{COLLECTION_SCHEMA, PartitionRecord, RunResult},
        verdict::VerdictKind::Pass,
    },
    report::store,
};

use super::{
    directory,
    everything::everything,
    results::{result, trial},
    schema::faults,
};

pub(crate) fn run(arguments: &[&str]) -> Output {
    run_by(Command::new(env!("CARGO_BIN_EXE_xdproof")), arguments)
}

fn run_by(mut command: Command, arguments: &[&str]) -> Output {
    command.env("NO_COLOR", "1").env_remove("RUST_BACKTRACE").args(arguments).output().unwrap()
}

/// A text without the line breaks that make it fit a terminal.
pub(crate) fn unwrapped(text: &str) -> String {
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        match lines.last_mut().filter(|_| line.starts_with(' ')) {
            Some(last) => *last = format!("{last} {}", line.trim_start()),
            None => lines.push(line.to_owned()),
        }
    }
    lines.join("\n")
}

/// What is printed for people where the exit code is this one; else the test fails with all that was printed.
pub(crate) fn said(output: &Output, code: i32) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    format!("{out}{err}")
}

/// What is written where nobody says what.
const USUAL: [&str; 4] = ["junit.xml", "report.html", "report.ktap", "report.md"];

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn part(index: u64, kernel: &str, scenario: &str) -> RunResult {
    let partition = Some(PartitionRecord { parts: vec![index], count: 2 });
    RunResult { partition, ..result(kernel, vec![trial(scenario, Native, Pass)], Vec::new()) }
}

#[test]
fn merge_writes_one_result_where_parts_make_a_whole() {
    let parts =
        directory(&[("1/result.json", &part(1, "6.1", "a")), ("2/result.json", &part(2, "6.1", "b"))]);
    let output = run(&["merge", path(parts.path()), "--out", path(parts.path())]);
    assert!(said(&output, 0).contains("2 files joined into 1 result, 2 trials: 2 pass"));
    let joined = store::read_one(parts.path()).unwrap();
    assert_eq!((joined.trials.len(), joined.partition), (2, None));
    // What it has written itself it does not read.
    let again = run(&["merge", path(parts.path()), "--out", path(parts.path()), "--json"]);
    said(&again, 0);
    assert_eq!(again.stdout, fs::read(parts.path().join("result.json")).unwrap());
    assert_eq!(faults(&serde_json::from_slice(&again.stdout).unwrap()), Vec::<String>::new());
}

#[test]
fn merge_writes_a_collection_of_several_runs_and_exits_4_for_a_missing_part() {
    let of = |kernel| directory(&[("result.json", &part(1, kernel, "a"))]);
    let (old, new, out) = (of("5.10"), of("6.1"), tempfile::tempdir().unwrap());
    let whole = directory(&[("result.json", &result("6.12", vec![trial("a", Native, Pass)], Vec::new()))]);
    let paths = [old.path(), new.path(), whole.path()].map(path);
    let output = run(&[&["merge"], &paths[..], &["--out", path(&out.path().join("deep/er"))]].concat());
    let told = said(&output, 4);
    assert!(
        told.contains("missing: 5.10/veth: part 2 of 2 is missing\nmissing: 6.1/veth: part 2 of 2"),
        "{told}"
    );
    assert!(told.contains("3 files joined into 3 results, 3 trials: 3 pass"), "{told}");
    let written = fs::read_to_string(out.path().join("deep/er/result.json")).unwrap();
    assert!(written.contains(COLLECTION_SCHEMA));
    assert_eq!(faults(&serde_json::from_str(&written).unwrap()), Vec::<String>::new());
    assert_eq!(store::load(&[out.path().to_owned()]).unwrap().results.len(), 3);
}

#[test]
fn merge_writes_nothing_where_something_is_wrong() {
    let broken = tempfile::tempdir().unwrap();
    fs::write(broken.path().join("result.json"), "{").unwrap();
    let out = tempfile::tempdir().unwrap();
    let output = run(&["merge", path(broken.path()), "--out", path(out.path())]);
    assert!(said(&output, 2).starts_with(&format!(
        "error: {}/result.json:1:1: EOF while parsing an object",
        broken.path().display()
    )));
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
    said(&run(&["merge", path(broken.path())]), 2);
}

/// The files in a directory.
pub(crate) fn files(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn report_writes_each_format_once_and_exits_0_whatever_the_results_are() {
    let results = directory(&[("a/result.json", &everything()), ("b/result.json", &everything())]);
    let out = tempfile::tempdir().unwrap();
    let output = run(&["report", path(results.path()), "--out", path(&out.path().join("deep/er"))]);
    let told = said(&output, 0);
    let written = files(&out.path().join("deep/er"));
    assert_eq!(written, USUAL);
    assert!(written.iter().all(|file| told.contains(&format!("deep/er/{file}\n"))), "{told}");
    let all =
        ["report", path(results.path()), "--format", "json,ktap,ktap", "--out", path(out.path()), "--json"];
    let output = run(&all);
    said(&output, 0);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["files"].as_array().unwrap().len(), 2);
    assert_eq!(files(out.path()), ["deep", "report.ktap", "result.json"]);
    assert_eq!(store::load(&[out.path().join("result.json")]).unwrap(), everything());
}

#[test]
fn report_needs_no_privilege_no_network_and_no_proc() {
    let results = directory(&[("result.json", &everything())]);
    // The file belongs to someone else, and the place of the report to nobody in particular.
    let out = tempfile::tempdir().unwrap();
    for directory in [results.path(), out.path()] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let binary = tempfile::tempdir().unwrap();
    fs::set_permissions(binary.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = binary.path().join("xdproof");
    fs::copy(env!("CARGO_BIN_EXE_xdproof"), &program).unwrap();
    // Namespaces of a user's own: without any capability outside of it, no link but a loopback that is down, an empty
    // directory where /proc and /sys are. Root without capabilities may not make them; then it is just without.
    let without = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    let namespaces = ["--user", "--map-root-user", "--net", "--ipc", "--pid", "--fork", "--mount"];
    let can = Command::new("unshare").args(namespaces).arg("true").output().unwrap().status.success();
    let mut command = Command::new(if can { "unshare" } else { without[0] });
    if can {
        command.args(namespaces).args(["sh", "-ec"]);
        command
            .arg("mount -t tmpfs none /sys; mount -t tmpfs none /proc; exec \"$@\"")
            .arg("sh")
            .args(without);
    } else {
        command.args(&without[1..]);
    }
    command.arg(&program);
    let output = run_by(command, &["report", path(results.path()), "--out", path(out.path())]);
    said(&output, 0);
    assert_eq!(files(out.path()), USUAL);
}

#[test]
fn report_names_the_parts_that_are_missing_in_each_format() {
    let results = directory(&[("result.json", &part(1, "6.1", "a"))]);
    let out = tempfile::tempdir().unwrap();
    said(&run(&["report", path(results.path()), "--out", path(out.path())]), 0);
    for file in USUAL {
        let text = fs::read_to_string(out.path().join(file)).unwrap();
        assert!(text.contains("part 2 of 2 is missing"), "{file}: {text}");
    }
}

#[test]
fn report_refuses_what_is_wrong_and_writes_nothing() {
    let broken = tempfile::tempdir().unwrap();
    fs::write(broken.path().join("result.json"), "{").unwrap();
    let out = broken.path().join("out");
    let told = said(&run(&["report", path(broken.path()), "--out", path(&out)]), 2);
    assert!(told.contains("EOF while parsing"), "{told}");
    assert!(!out.exists());
    said(&run(&["report", path(broken.path())]), 2);
    said(&run(&["report", path(broken.path()), "--format", "pdf", "--out", path(&out)]), 2);
    let results = directory(&[("result.json", &everything())]);
    let told = said(&run(&["report", path(results.path()), "--out", "/proc/self/none"]), 2);
    assert!(told.contains("failed to write /proc/self/none"), "{told}");
}

#[test]
fn a_report_of_a_run_needs_a_place_to_go() {
    for verb in ["validate", "bench"] {
        assert!(said(&run(&[verb, "--report"]), 2).contains("--out <DIR>"));
        assert!(said(&run(&[verb, "--report=pdf", "--out", "/tmp"]), 2).contains("'pdf'"));
    }
}

#[test]
fn schema_prints_the_schema_that_the_repository_holds() {
    for (arguments, file) in [(&["schema"][..], "result"), (&["schema", "results"], "results")] {
        let output = run(arguments);
        said(&output, 0);
        let held = format!("{}/report/schema/{file}.schema.json", env!("CARGO_MANIFEST_DIR"));
        assert_eq!(output.stdout, fs::read(held).unwrap());
    }
}
