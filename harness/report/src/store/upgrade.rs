//! Upgrades documents of older schema versions to the current one. Pure.

use serde_json::{Map, Value};

use xdproof_core::model::{COLLECTION_SCHEMA, SCHEMA, v1::upgrade_trial};

/// Schema of a result in version 1.
pub(super) const RESULT_V1: &str = "xdproof.result/1";

/// Schema of a collection in version 1.
pub(super) const COLLECTION_V1: &str = "xdproof.results/1";

/// Old and new names.
type Renames = &'static [(&'static str, &'static str)];

/// Keys of version 1 that version 2 renames: the path of the object in version 2, and each old key with the new one.
const KEYS: &[(&str, Renames)] = &[
    ("", &[("rules", "attach_semantics"), ("breakdowns", "infrastructure_failures")]),
    ("infrastructure_failures/*", &[("what", "message")]),
    ("attach_semantics/*", &[("row", "fact")]),
    ("findings/*", &[("weight", "severity"), ("what", "message")]),
    ("trials/*/failure", &[("repeat", "reproducer")]),
    ("measurements/*", &[("what", "quantity"), ("gate", "control"), ("beside", "side_stats")]),
    ("measurements/*/ratio", ESTIMATE),
    ("measurements/*/net_ratio", ESTIMATE),
    ("measurements/*/control", ESTIMATE),
    ("measurements/*/baseline/ratio", ESTIMATE),
    ("measurements/*/verdict/reason", REASON),
    ("measurements/*/baseline/verdict/reason", REASON),
    ("measurements/*/baseline/absolute_verdict/reason", REASON),
    ("measurements/*/side_stats", &[("void", "void_blocks")]),
    ("measurements/*/side_stats/void_blocks", &[("away", "preempted")]),
    ("measurements/*/trials/*", &[("gate", "control"), ("part", "role"), ("frame_ns", "ns_per_frame")]),
];

const ESTIMATE: Renames = &[("mad", "median_abs_deviation"), ("n", "blocks")];
const REASON: Renames = &[("n", "blocks"), ("void", "void_blocks"), ("of", "blocks")];

/// Values of version 1 that version 2 renames, by the last key of their path: the old value and the new one.
const VALUES: &[(&str, &str, Renames)] = &[
    ("", "schema", &[(RESULT_V1, SCHEMA), (COLLECTION_V1, COLLECTION_SCHEMA)]),
    (
        "findings/*",
        "kind",
        &[
            ("advertised_not_so", "advertised_not_working"),
            ("no_deviation", "unexpected_pass"),
            ("altered_frames", "modified_frames"),
        ],
    ),
    ("measurements/*/verdict/reason", "kind", KIND),
    ("measurements/*/verdict/reason", "series", SERIES),
    ("measurements/*/baseline/verdict/reason", "kind", KIND),
    ("measurements/*/baseline/verdict/reason", "series", SERIES),
    ("measurements/*/baseline/absolute_verdict/reason", "kind", KIND),
    ("measurements/*/baseline/absolute_verdict/reason", "series", SERIES),
    ("measurements/*/trials/*/void", "kind", &[("away", "preempted")]),
];

const KIND: Renames = &[("gate_misses_one", "control_differs"), ("gate_too_wide", "control_too_wide")];
const SERIES: Renames = &[("gate", "control")];

/// A trial that cannot be upgraded.
pub(super) struct BrokenTrial {
    pub(super) path: Vec<String>,
    pub(super) error: serde_json::Error,
}

/// Upgrades a result or a collection of version 1; any other document stays as it is.
pub(super) fn upgrade(mut document: Value) -> Result<Value, BrokenTrial> {
    if document.get("schema").and_then(Value::as_str) == Some(COLLECTION_V1) {
        for (index, result) in
            document.get_mut("results").and_then(Value::as_array_mut).into_iter().flatten().enumerate()
        {
            upgrade_result(result, &["results".to_owned(), index.to_string()])?;
        }
    }
    upgrade_result(&mut document, &[])?;
    Ok(document)
}

fn upgrade_result(document: &mut Value, at: &[String]) -> Result<(), BrokenTrial> {
    // A value of another version stays, and is rejected.
    if !matches!(document.get("schema").and_then(Value::as_str), Some(RESULT_V1 | COLLECTION_V1)) {
        return Ok(());
    }
    let trials = document.get_mut("trials").and_then(Value::as_array_mut);
    for (index, trial) in trials.into_iter().flatten().enumerate() {
        upgrade_trial(trial).map_err(|error| {
            let path = [at, &["trials".to_owned(), index.to_string()]].concat();
            BrokenTrial { path, error }
        })?;
    }
    rename_all(document);
    Ok(())
}

fn rename_all(document: &mut Value) {
    for (path, renamed) in KEYS {
        each(document, &segments(path), &mut |holder| {
            for (old, new) in *renamed {
                if let (false, Some(value)) = (holder.contains_key(*new), holder.remove(*old)) {
                    holder.insert((*new).to_owned(), value);
                }
            }
        });
    }
    for (path, key, renamed) in VALUES {
        each(document, &segments(path), &mut |holder| {
            let value = holder.get(*key).and_then(Value::as_str);
            if let Some((_, new)) = renamed.iter().find(|(old, _)| value == Some(old)) {
                holder.insert((*key).to_owned(), Value::from(*new));
            }
        });
    }
}

/// Calls `change` with each object at the path; `*` stands for every element of an array.
fn each(value: &mut Value, path: &[&str], change: &mut dyn FnMut(&mut Map<String, Value>)) {
    match (path, value) {
        ([], Value::Object(map)) => change(map),
        (["*", rest @ ..], Value::Array(elements)) => {
            elements.iter_mut().for_each(|element| each(element, rest, change));
        }
        ([key, rest @ ..], Value::Object(map)) => {
            if let Some(inner) = map.get_mut(*key) {
                each(inner, rest, change);
            }
        }
        _ => {}
    }
}

fn segments(path: &str) -> Vec<&str> {
    path.split('/').filter(|segment| !segment.is_empty()).collect()
}

/// Returns the segments of a path in version 2 as the document of version 1 has them. Indices are `*`-matched numbers.
pub(super) fn old_path(path: &[String]) -> Vec<String> {
    let is_index = |segment: &String| segment.bytes().all(|byte| byte.is_ascii_digit());
    let mut old = path.to_vec();
    for (at, segment) in path.iter().enumerate() {
        let mut holder: Vec<&str> =
            path[..at].iter().map(|its| if is_index(its) { "*" } else { its.as_str() }).collect();
        if holder.starts_with(&["results", "*"]) {
            holder.drain(..2);
        }
        let renamed =
            KEYS.iter().filter(|(path, _)| segments(path) == holder).flat_map(|(_, renamed)| *renamed);
        if let Some((was, _)) = renamed.into_iter().find(|(_, new)| new == segment) {
            old[at] = (*was).to_owned();
        }
    }
    old
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn upgraded(document: Value) -> Value {
        upgrade(document).map_err(|broken| broken.error).unwrap()
    }

    #[test]
    fn keys_and_values_are_renamed_where_the_tables_say_and_nowhere_else() {
        let old = json!({
            "schema": COLLECTION_V1,
            "breakdowns": [{ "cell": "6.1", "what": "the machine hung" }],
            "results": [
                {
                    "schema": RESULT_V1,
                    "rules": [{ "row": "two mode bits" }],
                    "findings": [{ "kind": "no_deviation", "weight": "fault", "what": "what" }],
                    "measurements": [{
                        "what": "path_rate",
                        "ratio": { "mad": 0.1, "n": 20 },
                        "baseline": { "ratio": null, "verdict": { "reason": { "kind": "gate_too_wide" } } },
                        "beside": { "void": { "away": 3, "steal": 1 } },
                        "trials": [{ "gate": true, "part": "subject", "void": { "kind": "away", "share": 0.5 } }],
                    }],
                },
                { "schema": "xdproof.result/2", "rules": [] },
            ],
        });
        let new = json!({
            "schema": COLLECTION_SCHEMA,
            "infrastructure_failures": [{ "cell": "6.1", "message": "the machine hung" }],
            "results": [
                {
                    "schema": SCHEMA,
                    "attach_semantics": [{ "fact": "two mode bits" }],
                    "findings": [{ "kind": "unexpected_pass", "severity": "fault", "message": "what" }],
                    "measurements": [{
                        "quantity": "path_rate",
                        "ratio": { "median_abs_deviation": 0.1, "blocks": 20 },
                        "baseline": { "ratio": null, "verdict": { "reason": { "kind": "control_too_wide" } } },
                        "side_stats": { "void_blocks": { "preempted": 3, "steal": 1 } },
                        "trials": [{ "control": true, "role": "subject", "void": { "kind": "preempted", "share": 0.5 } }],
                    }],
                },
                { "schema": "xdproof.result/2", "rules": [] },
            ],
        });
        assert_eq!(upgraded(old), new);
        assert_eq!(upgraded(new.clone()), new);
        for other in [json!([1]), json!(null), json!({ "schema": "another/1", "rules": 1 })] {
            assert_eq!(upgraded(other.clone()), other);
        }
    }

    #[test]
    fn a_path_is_named_as_the_old_document_has_it() {
        let old = |path: &str| {
            old_path(&segments(path).into_iter().map(str::to_owned).collect::<Vec<_>>()).join("/")
        };
        assert_eq!(old("attach_semantics/3/fact"), "rules/3/row");
        assert_eq!(
            old("results/1/measurements/0/trials/7/ns_per_frame"),
            "results/1/measurements/0/trials/7/frame_ns"
        );
        assert_eq!(old("trials/1/verdict"), "trials/1/verdict");
    }
}
