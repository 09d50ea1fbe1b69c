//! Results of version 0.1, as its `validate`, `bench` and `merge` wrote them: read with nothing lost, beside new ones.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use xdproof::{
    model::result::{COLLECTION_SCHEMA, Collection, RunResult, SCHEMA},
    report::store::{StoreError, load, read_one},
};

use super::{
    commands::{files, path, run, said},
    directory,
    results::{result, trial},
    schema::faults,
};
use xdproof::model::{mode::Mode::Native, verdict::VerdictKind::Pass};

fn stored(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/results_v1").join(name)
}

const RESULTS: [&str; 9] = [
    "mutants/cuts_last",
    "mutants/cpu_0_only",
    "mutants/sends_back",
    "mutants/answers_5",
    "devices",
    "macvlan",
    "parts/1",
    "parts/2",
    "bench",
];

fn raw(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// Every leaf of a document but for those that a version changes: how often each value is there.
fn leaves(value: &Value, of: &mut BTreeMap<String, usize>) {
    match value {
        Value::Array(elements) => elements.iter().for_each(|element| leaves(element, of)),
        Value::Object(map) => map
            .iter()
            .filter(|(key, _)| !["schema", "mismatches", "expected", "observed"].contains(&key.as_str()))
            .for_each(|(_, value)| leaves(value, of)),
        leaf => {
            let renamed = match leaf.as_str() {
                Some("altered_frames") => "modified_frames".into(),
                Some("gate_too_wide") => "control_too_wide".into(),
                Some("gate") => "control".into(),
                Some("away") => "preempted".into(),
                _ => leaf.to_string(),
            };
            *of.entry(renamed.trim_matches('"').to_owned()).or_default() += 1;
        }
    }
}

#[test]
fn a_result_of_version_1_is_read_with_nothing_lost() {
    for name in RESULTS {
        let old = raw(&stored(name).join("result.json"));
        assert_eq!(old["schema"], "xdproof.result/1");
        let read = read_one(&stored(name)).unwrap();
        assert_eq!(read.schema, SCHEMA);
        let new = serde_json::to_value(&read).unwrap();
        assert_eq!(faults(&new), Vec::<String>::new(), "{name}");
        let [mut had, mut has] = [BTreeMap::new(), BTreeMap::new()];
        leaves(&old, &mut had);
        leaves(&new, &mut has);
        assert_eq!(has, had, "{name}");
        assert_eq!(new["summary"], old["summary"]);
        for (read, old) in read.trials.iter().zip(old["trials"].as_array().unwrap()) {
            assert_eq!((read.id.as_str(), read.verdict.name()), (text(&old["id"]), text(&old["verdict"])));
            assert_eq!(json!(read.expected.counts), old["expected"]["counts"], "{}", read.id);
            let observed = read.observed.as_ref();
            assert_eq!(json!(observed.map(|its| &its.counts)), old["observed"]["counts"], "{}", read.id);
            let mismatches = |of: &Value| of["failure"]["mismatches"].as_array().cloned().unwrap_or_default();
            let times = |of: &[Value]| of.iter().filter_map(|its| its["times"].as_u64()).sum::<u64>();
            let with_bytes = mismatches(old).into_iter().filter(|its| its["hex"].is_string());
            let now = mismatches(&serde_json::to_value(read).unwrap());
            assert_eq!(now.is_empty(), mismatches(old).is_empty(), "{}", read.id);
            let frames = now.iter().filter_map(|its| its["frames"].as_array()).flatten().cloned();
            assert_eq!(
                times(&frames.collect::<Vec<_>>()),
                times(&with_bytes.collect::<Vec<_>>()),
                "{}",
                read.id
            );
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn renamed_values_mean_the_same() {
    let bench = read_one(&stored("bench")).unwrap();
    let old = raw(&stored("bench/result.json"));
    for (read, old) in bench.measurements.iter().zip(old["measurements"].as_array().unwrap()) {
        assert_eq!(json!(read.control.unwrap().blocks), old["gate"]["n"]);
        assert_eq!(json!(read.ratio.unwrap().median_abs_deviation), old["ratio"]["mad"]);
        assert_eq!(json!(read.quantity), old["what"]);
        assert_eq!(read.trials.iter().filter(|its| its.control).count(), {
            old["trials"].as_array().unwrap().iter().filter(|its| its["gate"] == true).count()
        });
        let preempted = read.side_stats.void_blocks.get("preempted").copied().unwrap_or(0);
        assert_eq!(preempted, usize::try_from(old["beside"]["void"]["away"].as_u64().unwrap_or(0)).unwrap());
    }
    let [finding] = &*read_one(&stored("macvlan")).unwrap().findings else { panic!("one finding") };
    assert!(finding.message.starts_with("outer VLAN tags"), "{finding:?}");
    let devices = read_one(&stored("devices")).unwrap();
    assert_eq!(devices.attach_semantics.len(), 3);
    assert!(devices.attach_semantics.iter().all(|test| !test.fact.is_empty() && !test.steps.is_empty()));
}

#[test]
fn a_collection_of_version_1_is_read_and_written_as_the_newest() {
    let read = load(&[stored("collection.json")]).unwrap();
    let mut old = raw(&stored("collection.json"));
    assert_eq!((read.results.len(), read.schema.as_str()), (3, COLLECTION_SCHEMA));
    assert_eq!(json!(read.summary), old["summary"]);
    // Only machines that hang make such parts.
    let failure = json!({
        "cell": "6.1/igb", "what": "the machine hung", "attempts": 2, "recovered": false, "console": "end",
    });
    old["breakdowns"] = json!([failure]);
    let directory = directory(&[("result.json", &old)]);
    let read = load(&[directory.path().to_owned()]).unwrap();
    assert_eq!(read.infrastructure_failures[0].message, "the machine hung");
    assert_eq!(faults(&serde_json::to_value(&read).unwrap()), Vec::<String>::new());
}

#[test]
fn the_verbs_take_old_results_beside_new_ones() {
    let new = directory(&[("result.json", &result("6.18.44", vec![trial("a", Native, Pass)], Vec::new()))]);
    let (old, out) = (stored("mutants"), tempfile::tempdir().unwrap());
    let merged = out.path().join("merged");
    let told = said(&run(&["merge", path(&old), path(new.path()), "--out", path(&merged)]), 0);
    assert!(told.contains("5 files"), "{told}");
    let collection: Collection = serde_json::from_value(raw(&merged.join("result.json"))).unwrap();
    assert_eq!((collection.results.len(), collection.summary.fail), (5, 11));
    said(&run(&["report", path(&stored("")), path(new.path()), "--out", path(out.path())]), 0);
    let markdown = fs::read_to_string(out.path().join("report.md")).unwrap();
    assert!(markdown.contains("vlan/qinq_ipv4_udp") && markdown.contains("cost/udp/64"), "{markdown}");
    assert_eq!(files(out.path()), ["junit.xml", "merged", "report.html", "report.ktap", "report.md"]);
    // Against itself in the newest version, nothing differs.
    said(&run(&["merge", path(&old), "--out", path(&merged)]), 0);
    said(&run(&["compare", path(&old), path(&merged)]), 0);
    said(&run(&["compare", path(&merged), path(&old)]), 0);
}

#[test]
fn an_error_in_an_old_result_names_the_place_in_its_own_words() {
    let refusal = |name: &str, change: fn(&mut Value)| {
        let mut value = raw(&stored(name).join("result.json"));
        change(&mut value);
        let text = serde_json::to_string_pretty(&value).unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("result.json"), &text).unwrap();
        let error = load(&[directory.path().to_owned()]).unwrap_err();
        let StoreError::Malformed { line, column, path, reason, .. } = error else { panic!("{error}") };
        let line = text.lines().nth(line - 1).unwrap();
        (line.get(..column).unwrap_or(line).trim().to_owned(), path, reason)
    };
    let (place, path, reason) = refusal("macvlan", |value| value["findings"][0]["weight"] = json!(7));
    assert_eq!((place.as_str(), path.as_str()), ("\"weight\": 7", "findings[0].weight"), "{reason}");
    let (place, path, reason) = refusal("devices", |value| value["rules"][1]["row"] = Value::Null);
    assert_eq!((place.as_str(), path.as_str()), ("\"row\": null", "rules[1].row"), "{reason}");
    assert_eq!(reason, "invalid type: null, expected a string");
    let (place, path, _) =
        refusal("bench", |value| value["measurements"][1]["trials"][2]["frame_ns"] = json!("1"));
    assert_eq!(
        (place.as_str(), path.as_str()),
        ("\"frame_ns\": \"1\"", "measurements[1].trials[2].frame_ns")
    );
    let (_, path, reason) =
        refusal("macvlan", |value| drop(value["trials"][2].as_object_mut().unwrap().remove("sent")));
    assert_eq!((path.as_str(), reason.as_str()), ("trials[2]", "missing field `sent`"));
    let (_, path, reason) = refusal("macvlan", |value| value["extra"] = json!(1));
    assert!(path == "extra" && reason.starts_with("unknown field `extra`"), "{path}: {reason}");
}

#[test]
fn a_baseline_of_version_1_is_a_baseline() {
    let baseline: RunResult = read_one(&stored("bench")).unwrap();
    let again = xdproof::report::comparison::Comparison::of(
        &Collection::new(vec![baseline.clone()], Vec::new()),
        &load(&[stored("bench")]).unwrap(),
        None,
    );
    assert_eq!(again.measurements.len(), baseline.measurements.len());
    assert!(again.measurements.iter().all(|its| its.change.is_some()));
}
