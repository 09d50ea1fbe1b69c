//! The verbs that work on results, as a user meets them.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use xdproof::{
    plan::Mode::Native,
    report::{
        json::{COLLECTION_SCHEMA, PartitionRecord, RunResult},
        store,
    },
    verdict::VerdictKind::Pass,
};

use super::{
    directory,
    results::{result, trial},
};

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xdproof"));
    command.env("NO_COLOR", "1").env_remove("RUST_BACKTRACE").args(arguments).output().unwrap()
}

/// What is printed for people where the exit code is this one; else the test fails with all that was printed.
fn said(output: &Output, code: i32) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    format!("{out}{err}")
}

fn path(path: &Path) -> &str {
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
