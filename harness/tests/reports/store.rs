//! `report::store`: what is read, what is refused and with which words, and what joining makes of parts.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use xdproof::{
    model::{
        finding::InfrastructureFailure,
        mode::Mode::{Generic, Native},
        result::{Collection, PartitionRecord, RunResult, TrialRecord},
        verdict::VerdictKind::{Fail, Pass, Skip},
    },
    report::store::{self, StoreError, gather, load, missing},
};

use super::{
    directory,
    results::{result, trial},
};

fn load_all(directory: &Path) -> Result<Collection, StoreError> {
    load(&[directory.to_owned()])
}

fn ids(result: &RunResult) -> Vec<&str> {
    result.trials.iter().map(|trial| trial.id.as_str()).collect()
}

/// A part of a run.
fn part(index: u64, count: u64, trials: Vec<TrialRecord>) -> RunResult {
    let partition = Some(PartitionRecord { parts: vec![index], count });
    RunResult { partition, ..result("6.1", trials, Vec::new()) }
}

#[test]
fn a_result_is_read_as_it_was_written() {
    let written = result("6.1", vec![trial("a", Native, Fail), trial("b", Native, Pass)], Vec::new());
    let directory = directory(&[("result.json", &written)]);
    assert_eq!(store::read_one(directory.path()).unwrap(), written);
    assert_eq!(load(&[directory.path().join("result.json")]).unwrap().results, [written]);
}

#[test]
fn every_result_in_a_directory_or_below_counts_in_the_order_of_the_paths() {
    let of = |kernel| result(kernel, vec![trial("a", Native, Pass)], Vec::new());
    let (newer, older, oldest, stray) = (of("6.12"), of("6.1"), of("5.10"), of("7.0"));
    let directory = directory(&[
        ("z/result.json", &newer),
        ("a/b/c/result.json", &older),
        ("m/result.json", &oldest),
        ("m/other.json", &stray),
    ]);
    let kernels = |collection: Collection| -> Vec<String> {
        collection.results.into_iter().map(|result| result.environment.kernel_release).collect()
    };
    assert_eq!(kernels(load_all(directory.path()).unwrap()), ["6.1", "5.10", "6.12"]);
    // A file that is named by itself may be called anything, and none is read twice.
    let named =
        [directory.path().join("m/other.json"), directory.path().join("m"), directory.path().join("m")];
    assert_eq!(kernels(load(&named).unwrap()), ["7.0", "5.10"]);
}

#[test]
fn a_collection_is_read_with_what_came_to_nothing_and_counted_anew() {
    let first = result("6.1", vec![trial("a", Native, Pass)], Vec::new());
    let second = result("6.12", vec![trial("a", Native, Fail), trial("b", Native, Skip)], Vec::new());
    let breakdown = InfrastructureFailure {
        cell: "5.10".to_owned(),
        message: "the machine hung".to_owned(),
        attempts: 2,
        recovered: false,
        console: "end".to_owned(),
    };
    let collection = Collection::new(vec![first.clone(), second.clone()], vec![breakdown]);
    let summary = (collection.summary.pass, collection.summary.fail, collection.summary.skip);
    assert_eq!(summary, (1, 1, 1));
    let one = directory(&[("result.json", &collection)]);
    // The same results beside it add nothing.
    let others = directory(&[("1/result.json", &first), ("2/result.json", &second)]);
    let read = load(&[others.path().to_owned(), one.path().to_owned()]).unwrap();
    assert_eq!(read, collection);
    assert!(matches!(store::read_one(one.path()), Err(StoreError::Several { number: 2, .. })));
}

#[test]
fn parts_are_joined_into_the_whole() {
    let [a, b, c] = ["a", "b", "c"].map(|scenario| trial(scenario, Native, Pass));
    let mut second = part(2, 3, vec![c.clone()]);
    second.environment.cpus_available = 1;
    second.environment.cpu_model = Some("another".to_owned());
    let directory = directory(&[
        ("1/result.json", &part(1, 3, vec![b.clone()])),
        ("2/result.json", &second),
        ("3/result.json", &part(3, 3, vec![a.clone()])),
    ]);
    let collection = load_all(directory.path()).unwrap();
    assert_eq!(missing(&collection), []);
    let [joined] = collection.results.as_slice() else { panic!("{collection:?}") };
    assert_eq!(joined.trials, [a, b, c]);
    assert_eq!((joined.partition.as_ref(), joined.summary.pass), (None, 3));
    assert_eq!(joined.environment.cpus_available, 1);
}

#[test]
fn a_part_that_is_missing_is_named_and_can_come_later() {
    let [a, b, c] = ["a", "b", "c"].map(|scenario| trial(scenario, Native, Pass));
    let first =
        directory(&[("1/result.json", &part(1, 3, vec![a])), ("3/result.json", &part(3, 3, vec![b]))]);
    let incomplete = load_all(first.path()).unwrap();
    let told: Vec<String> = missing(&incomplete).iter().map(ToString::to_string).collect();
    assert_eq!(told, ["6.1/veth: part 2 of 3 is missing"]);
    let stored = directory(&[("result.json", &incomplete)]);
    let late = directory(&[("result.json", &part(2, 3, vec![c]))]);
    let whole = load(&[stored.path().to_owned(), late.path().to_owned(), first.path().to_owned()]).unwrap();
    assert_eq!(missing(&whole), []);
    let [joined] = whole.results.as_slice() else { panic!("{whole:?}") };
    assert_eq!(ids(joined), ["a::native::pnet", "b::native::pnet", "c::native::pnet"]);
    let endless = directory(&[("result.json", &part(1, u64::MAX, Vec::new()))]);
    let told = missing(&load_all(endless.path()).unwrap())[0].to_string();
    assert!(
        told.starts_with("6.1: parts 2, 3, 4")
            && told.ends_with("20, 21, ... of 18446744073709551615 are missing"),
        "{told}"
    );
}

#[test]
fn what_a_part_did_not_run_is_not_run_in_the_whole() {
    let mut first = part(1, 2, vec![trial("a", Native, Pass)]);
    first.summary.not_run = 2;
    let second = part(2, 2, vec![trial("b", Native, Pass)]);
    let files =
        directory(&[("1/result.json", &first), ("2/result.json", &second), ("again/result.json", &first)]);
    assert_eq!(load_all(files.path()).unwrap().summary.not_run, 2);
}

#[test]
fn parts_of_other_runs_are_not_mixed() {
    let other_kernel = RunResult {
        partition: part(2, 2, Vec::new()).partition,
        ..result("6.12", vec![trial("b", Native, Pass)], Vec::new())
    };
    let mut other_program = part(2, 2, vec![trial("b", Native, Pass)]);
    other_program.environment.program.tag = "another".to_owned();
    let mut other_nic = part(2, 2, vec![trial("b", Native, Pass)]);
    other_nic.trials[0].nic = Some("igb".to_owned());
    let other_count = part(2, 3, vec![trial("b", Native, Pass)]);
    for other in [other_kernel, other_program, other_nic, other_count] {
        let files = directory(&[
            ("1/result.json", &part(1, 2, vec![trial("a", Native, Pass)])),
            ("2/result.json", &other),
        ]);
        let collection = load_all(files.path()).unwrap();
        assert_eq!((collection.results.len(), missing(&collection).len()), (2, 2), "{other:?}");
    }
}

#[test]
fn one_trial_with_two_results_is_refused_with_both_files() {
    let first = result("6.1", vec![trial("a", Native, Pass)], Vec::new());
    let second = result("6.1", vec![trial("a", Native, Fail)], Vec::new());
    let conflict = |first: &RunResult, second: &RunResult| {
        let files = directory(&[("1/result.json", first), ("2/result.json", second)]);
        load_all(files.path()).unwrap_err().to_string()
    };
    let told = conflict(&first, &second);
    for word in
        ["a::native::pnet on veth", "kernel 6.1", "ac51964683292ff9", "1/result.json", "2/result.json"]
    {
        assert!(told.contains(word), "{told}");
    }
    let of_part =
        |result: &RunResult| RunResult { partition: part(1, 2, Vec::new()).partition, ..result.clone() };
    assert!(conflict(&of_part(&first), &of_part(&second)).contains("a::native::pnet on veth"));
    // On another host it is another trial.
    let mut elsewhere = second;
    elsewhere.environment.cpu_model = Some("another".to_owned());
    let files = directory(&[("1/result.json", &first), ("2/result.json", &elsewhere)]);
    assert_eq!(load_all(files.path()).unwrap().summary.fail, 1);
}

#[test]
fn repetitions_of_a_run_are_kept_in_the_order_of_time() {
    let run = |started: u64, scenarios: &[&str]| {
        let mut trials: Vec<TrialRecord> =
            scenarios.iter().map(|scenario| trial(scenario, Native, Pass)).collect();
        trials.push(trial("skipped", Native, Skip));
        for trial in &mut trials {
            trial.duration_us = started;
        }
        RunResult { started: Some(started), ..result("6.1", trials, Vec::new()) }
    };
    let [first, second, third] = [run(10, &["a", "b"]), run(20, &["a", "b"]), run(30, &["a"])];
    let other = result("5.10", vec![trial("a", Native, Pass)], Vec::new());
    // A copy of a run is no repetition.
    let files = directory(&[
        ("1/result.json", &third),
        ("2/result.json", &other),
        ("3/result.json", &first),
        ("4/result.json", &second),
        ("5/result.json", &third),
    ]);
    let collection = load_all(files.path()).unwrap();
    assert_eq!(collection.results, [first.clone(), other, second, third]);
    assert_eq!(collection.summary.pass, 6);
    let (merged, copy) = (directory(&[("result.json", &collection)]), directory(&[("result.json", &first)]));
    assert_eq!(load(&[merged.path().to_owned(), copy.path().to_owned()]).unwrap(), collection);
    let mut junit = Vec::new();
    xdproof::report::junit::write(&collection, &mut junit).unwrap();
    let junit = String::from_utf8(junit).unwrap();
    for suite in ["6.1/veth/native::pnet", "6.1 run 2/veth/native::pnet", "6.1 run 3/veth/native::pnet"] {
        assert!(junit.contains(&format!("<testsuite name=\"{suite}\"")), "no {suite} in\n{junit}");
    }
}

#[test]
fn repeated_parts_make_a_whole_run_each() {
    let part_at = |started: u64, index: u64, scenario: &str| {
        let mut its = part(index, 2, vec![trial(scenario, Native, Pass)]);
        (its.started, its.trials[0].duration_us) = (Some(started), started);
        its
    };
    let files = directory(&[
        ("1/result.json", &part_at(50, 1, "a")),
        ("2/result.json", &part_at(10, 1, "a")),
        ("3/result.json", &part_at(11, 2, "b")),
        ("4/result.json", &part_at(51, 2, "b")),
    ]);
    let collection = load_all(files.path()).unwrap();
    assert_eq!((collection.results.len(), missing(&collection).len()), (2, 0));
    for result in &collection.results {
        assert_eq!(ids(result), ["a::native::pnet", "b::native::pnet"]);
    }
    assert_eq!(collection.results[0].started, Some(10));
}

#[test]
fn the_file_that_is_to_be_written_is_not_read() {
    let old = result("6.1", vec![trial("a", Native, Fail)], Vec::new());
    let new = result("6.1", vec![trial("a", Native, Pass)], Vec::new());
    let files = directory(&[("result.json", &old), ("1/result.json", &new)]);
    let paths = [files.path().to_owned()];
    let out = files.path().join("result.json");
    assert_eq!(gather(&paths, Some(&out)).unwrap().join().unwrap().results, [new]);
}

/// Error for a document that is not a result.
fn refusal(text: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file: PathBuf = directory.path().join("result.json");
    fs::write(&file, text).unwrap();
    let told = load(std::slice::from_ref(&file)).unwrap_err().to_string();
    let prefix = format!("{}", file.display());
    told.strip_prefix(&prefix).unwrap_or_else(|| panic!("the file is not named: {told}")).to_owned()
}

/// A result as a document, changed.
fn changed(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let trials = vec![trial("a", Generic, Pass), trial("a", Native, Fail)];
    let mut value = serde_json::to_value(result("6.1", trials, Vec::new())).unwrap();
    change(&mut value);
    serde_json::to_vec_pretty(&value).unwrap()
}

#[test]
fn what_is_missing_or_of_another_type_is_refused_with_the_place() {
    let without = changed(|value| drop(value["trials"][1].as_object_mut().unwrap().remove("verdict")));
    let told = refusal(&without);
    assert!(told.ends_with(": at trials[1]: missing field `verdict`"), "{told}");
    let line = told.split(':').nth(1).unwrap().parse::<usize>().unwrap();
    assert!(String::from_utf8(without).unwrap().lines().nth(line - 1).unwrap().contains('}'), "{told}");

    let null = changed(|value| value["trials"][1]["duration_us"] = Value::Null);
    let told = refusal(&null);
    assert!(told.ends_with(": at trials[1].duration_us: invalid type: null, expected u64"), "{told}");
    let mut place = told.split(':').skip(1).map(|number| number.parse::<usize>().unwrap_or(0));
    let (line, column) = (place.next().unwrap(), place.next().unwrap());
    let text = String::from_utf8(null).unwrap();
    assert!(text.lines().nth(line - 1).unwrap()[..column].ends_with("\"duration_us\": null"), "{told}");

    let told = refusal(&changed(|value| value["trials"][0]["sent"] = json!(-1)));
    assert!(told.contains(": at trials[0].sent: invalid value: integer `-1`, expected u64"), "{told}");
    let told = refusal(&changed(|value| value["environment"]["kernel_release"] = json!(["6.1"])));
    assert!(
        told.contains(": at environment.kernel_release: invalid type: sequence, expected a string"),
        "{told}"
    );
    let told = refusal(&changed(|value| value["trials"][0]["verdict"] = json!("passed")));
    assert!(
        told.contains(": at trials[0].verdict: unknown variant `passed`, expected one of `pass`"),
        "{told}"
    );
    let told = refusal(&changed(|value| value["trials"][0]["expected"]["counts"] = json!({ "256": 1 })));
    assert!(told.contains(": at trials[0].expected.counts"), "{told}");
    let told = refusal(&changed(|value| value["extra"] = json!(1)));
    assert!(told.contains(": at extra: unknown field `extra`"), "{told}");
}

#[test]
fn what_is_no_json_is_refused_with_the_place() {
    let whole = changed(|_| {});
    let half = &whole[..whole.len() / 2];
    let told = refusal(half);
    let lines = half.iter().filter(|byte| **byte == b'\n').count() + 1;
    assert!(
        told.starts_with(&format!(":{lines}:"))
            && told.contains(": at trials[1]")
            && told.contains("EOF while parsing"),
        "{told}"
    );
    for (text, words) in [
        (&b""[..], ": it"),
        (b"\0\xff\xfe", ":1:"),
        (b"[]", ":1:"),
        (b"{\"schema\": \"xdproof.result/1\", \"trials\": NaN}", ":1:42: at trials: expected value"),
        (&[&whole[..], b"{}"].concat(), "trailing characters"),
        (&b"[".repeat(100_000), ":1:1: "),
    ] {
        let told = refusal(text);
        let words = if text.is_empty() { " is empty: the run that writes it has not ended" } else { words };
        assert!(told.contains(words), "{told}");
    }
}

#[test]
fn another_schema_is_refused_and_a_newer_one_called_so() {
    for (schema, words) in [
        (
            json!("xdproof.result/3"),
            "written by a newer xdproof: its schema is xdproof.result/3, and this version reads up to xdproof.result/2",
        ),
        (
            json!("xdproof.results/7"),
            "written by a newer xdproof: its schema is xdproof.results/7, and this version reads up to xdproof.results/2",
        ),
        (json!("xdproof.result/0"), "not a result: its schema is xdproof.result/0"),
        (json!("another/2"), "not a result: its schema is another/2"),
        (json!(1), "not a result: its schema is not named"),
        (Value::Null, "not a result: its schema is not named"),
    ] {
        // What else is in it is the newer version's business.
        let told = refusal(&changed(|value| *value = json!({ "schema": schema, "more": [1] })));
        assert!(told.contains(words), "{told}");
    }
    let nested = Collection::new(vec![result("6.1", Vec::new(), Vec::new())], Vec::new());
    let mut value = serde_json::to_value(nested).unwrap();
    value["results"][0]["schema"] = json!("xdproof.result/3");
    assert!(refusal(&serde_json::to_vec(&value).unwrap()).contains("written by a newer xdproof"));
}

#[test]
fn a_result_that_contradicts_itself_is_refused() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 8] = [
        (|value| value["summary"]["fail"] = json!(0), ": at summary: 0 fail, but the trials make 1"),
        (
            |value| value["trials"][1]["verdict"] = json!("pass"),
            ": at trials[1]: a::native::pnet passes, but has a failure",
        ),
        (
            |value| value["trials"][0]["observed"]["counts"] = json!({ "17": 3 }),
            ": at trials[0]: a::generic::pnet passes, but the counts differ",
        ),
        (
            |value| value["trials"][0]["mode"] = json!("offload"),
            ": at trials[0]: the id is a::generic::pnet, but scenario, mode and injector make a::offload::pnet",
        ),
        (
            |value| value["trials"][1] = value["trials"][0].clone(),
            ": at trials[1]: a::generic::pnet is there twice",
        ),
        (
            |value| value["partition"] = json!({ "parts": [3], "count": 2 }),
            ": at partition: [3] are not parts of 2",
        ),
        (
            |value| value["partition"] = json!({ "parts": [], "count": 2 }),
            ": at partition: [] are not parts of 2",
        ),
        (|value| value["summary"]["not_run"] = json!(u64::MAX), ""),
    ];
    for (change, words) in cases {
        if words.is_empty() {
            // Nothing contradicts it, and nothing overflows.
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join("result.json"), changed(change)).unwrap();
            assert_eq!(load_all(directory.path()).unwrap().summary.not_run, usize::MAX);
        } else {
            let told = refusal(&changed(change));
            assert!(told.contains(words), "{told}");
        }
    }
    let nested = Collection::new(vec![result("6.1", vec![trial("a", Native, Fail)], Vec::new())], Vec::new());
    let nested = |change: fn(&mut Value)| {
        let mut value = serde_json::to_value(&nested).unwrap();
        change(&mut value);
        refusal(&serde_json::to_vec(&value).unwrap())
    };
    let told = nested(|value| value["summary"]["fail"] = json!(0));
    assert!(told.contains(": at summary: 0 fail, but the trials make 1"), "{told}");
    let told = nested(|value| value["results"][0]["summary"]["fail"] = json!(0));
    assert!(told.contains(": at results[0].summary: 0 fail"), "{told}");
}

#[test]
fn a_directory_without_a_result_and_a_file_that_is_not_there_are_named() {
    let empty = tempfile::tempdir().unwrap();
    let told = load_all(empty.path()).unwrap_err().to_string();
    assert_eq!(told, format!("there is no result.json in {} or below", empty.path().display()));
    let absent = empty.path().join("absent.json");
    assert!(matches!(load(&[absent]), Err(StoreError::Read { .. })));
}
