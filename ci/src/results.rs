//! What came out: a `result.json` for each cell, each kernel and all of them.
//!
//! The forms are xdproof's (`xdproof.result/1`, `xdproof.results/1`); they are handled as JSON here, and xdproof itself reads
//! and checks them.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The form of a result.
pub(crate) const SCHEMA: &str = "xdproof.result/1";

/// The form of several.
const COLLECTION_SCHEMA: &str = "xdproof.results/1";

/// The name of each file.
pub(crate) const FILE: &str = "result.json";

/// What results of one machine and program are joined by: lists that are put behind each other.
const LISTS: &[&str] = &["devices", "findings", "kernel_messages", "rules", "trials", "measurements"];

/// The verdicts, the most important first.
pub(crate) const VERDICTS: &[&str] = &["pass", "fail", "error", "skip", "xfail", "unreachable", "not_run"];

/// A part of the matrix that came to nothing, or did at first (`Breakdown` of xdproof).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Breakdown {
    /// As in `6.1/igb`.
    pub(crate) cell: String,
    /// What happened, a sentence without its full stop.
    pub(crate) what: String,
    /// How often it was tried.
    pub(crate) attempts: u32,
    /// Whether it gave a result after all.
    pub(crate) recovered: bool,
    /// The end of the console.
    pub(crate) console: String,
}

/// The result of a cell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CellResult {
    pub(crate) value: Map<String, Value>,
}

impl CellResult {
    /// Reads what xdproof wrote.
    ///
    /// # Errors
    ///
    /// When it is not a result, or holds no trial.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let value: Map<String, Value> = serde_json::from_slice(bytes).context("the result is not JSON")?;
        let schema = value.get("schema").and_then(Value::as_str).unwrap_or("none");
        ensure!(schema == SCHEMA, "the result's schema is {schema}, and not {SCHEMA}");
        for name in ["environment", "summary"] {
            ensure!(value.get(name).is_some_and(Value::is_object), "the result has no {name}");
        }
        let trials = value.get("trials").and_then(Value::as_array).context("the result has no trials")?;
        ensure!(!trials.is_empty(), "the result has no trials");
        Ok(Self { value })
    }

    /// Adds that the kernel reported a fault of its own.
    pub(crate) fn add_fault(&mut self, nic: Option<&str>, what: &str) {
        let mut finding = json!({ "kind": "kernel_fault", "weight": "fault", "what": what });
        if let (Some(nic), Some(finding)) = (nic, finding.as_object_mut()) {
            finding.insert("nic".to_owned(), json!(nic));
        }
        // The weightiest come first.
        match self.value.entry("findings").or_insert_with(|| json!([])).as_array_mut() {
            Some(findings) => findings.insert(0, finding),
            None => drop(self.value.insert("findings".to_owned(), json!([finding]))),
        }
    }

    /// A list of it, empty if it is not there.
    pub(crate) fn list(&self, name: &str) -> &[Value] {
        self.value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// A number of its summary.
    pub(crate) fn number(&self, verdict: &str) -> u64 {
        self.value.get("summary").and_then(|summary| summary.get(verdict)?.as_u64()).unwrap_or(0)
    }

    /// Whether something in it is not as it should be: as `RunResult::is_bad` of xdproof.
    pub(crate) fn is_bad(&self) -> bool {
        let bad_rule = |rule: &Value| matches!(text(rule, "verdict"), "fail" | "error");
        self.number("fail") + self.number("error") > 0
            || self.list("rules").iter().any(bad_rule)
            || self.list("findings").iter().any(|finding| text(finding, "weight") == "fault")
    }

    /// Whether something was proved, and nothing left out.
    pub(crate) fn is_conclusive(&self) -> bool {
        self.number("pass") + self.number("xfail") > 0 && self.number("not_run") == 0
    }
}

/// A field that is a string, or nothing.
pub(crate) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Joins results of the same machine and program, in their order.
pub(crate) fn join<'a>(results: impl IntoIterator<Item = &'a CellResult>) -> Vec<Value> {
    let mut joined: Vec<Map<String, Value>> = Vec::new();
    for CellResult { value } in results {
        let same = |other: &&mut Map<String, Value>| other.get("environment") == value.get("environment");
        let Some(into) = joined.iter_mut().find(same) else {
            joined.push(value.clone());
            continue;
        };
        for name in LISTS {
            let Some(more) = value.get(*name).and_then(Value::as_array) else { continue };
            match into.entry(*name).or_insert_with(|| json!([])).as_array_mut() {
                Some(list) => list.extend(more.iter().cloned()),
                None => continue,
            }
        }
        let summary = sum(&[into.get("summary"), value.get("summary")]);
        into.insert("summary".to_owned(), summary);
    }
    joined.into_iter().map(Value::Object).collect()
}

/// Adds summaries up.
fn sum(summaries: &[Option<&Value>]) -> Value {
    let number = |verdict: &str| -> u64 {
        let each = summaries.iter().flatten();
        each.filter_map(|summary| summary.get(verdict)?.as_u64()).sum()
    };
    VERDICTS
        .iter()
        .map(|verdict| ((*verdict).to_owned(), json!(number(verdict))))
        .collect::<Map<_, _>>()
        .into()
}

/// All results in one, and what came to nothing.
pub(crate) fn collection(results: &[Value], breakdowns: &[Breakdown]) -> Value {
    let summaries: Vec<_> = results.iter().map(|result| result.get("summary")).collect();
    let summary = sum(&summaries);
    let mut collection = json!({ "schema": COLLECTION_SCHEMA, "results": results, "summary": summary });
    if let (false, Some(collection)) = (breakdowns.is_empty(), collection.as_object_mut()) {
        collection.insert("breakdowns".to_owned(), json!(breakdowns));
    }
    collection
}

/// Writes a file at once: whoever reads it finds the old one or the new one, whole.
pub(crate) fn write(file: &Path, value: &impl Serialize) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    write_bytes(file, &bytes)
}

/// As [`write`], for what is bytes already.
pub(crate) fn write_bytes(file: &Path, bytes: &[u8]) -> Result<()> {
    let directory = file.parent().context("a file needs a directory")?;
    fs::create_dir_all(directory).with_context(|| format!("failed to make {}", directory.display()))?;
    let beside: PathBuf = file.with_extension("new");
    let mut to = fs::File::create(&beside).with_context(|| format!("failed to make {}", beside.display()))?;
    to.write_all(bytes).with_context(|| format!("failed to write {}", beside.display()))?;
    fs::rename(&beside, file).with_context(|| format!("failed to write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(kernel: &str, nic: &str, pass: u64, fail: u64) -> CellResult {
        let value = json!({
            "schema": SCHEMA,
            "environment": { "kernel_release": kernel },
            "trials": [{ "id": "ipv4/udp::native::pnet", "nic": nic, "verdict": "pass" }],
            "measurements": [],
            "summary": { "pass": pass, "fail": fail, "skip": 1 },
        });
        CellResult::parse(value.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn results_of_one_kernel_become_one_and_those_of_others_stay_apart() {
        let mut faulty = result("6.1", "tap", 3, 0);
        faulty.add_fault(Some("tap"), "BUG: a");
        let cells = [result("6.1", "igb", 10, 2), result("6.12", "igb", 5, 0), faulty];
        let joined = join(&cells);
        assert_eq!(joined.len(), 2);
        assert_eq!(joined[0]["trials"].as_array().unwrap().len(), 2);
        assert_eq!(joined[0]["summary"]["pass"], 13);
        assert_eq!(joined[0]["summary"]["skip"], 2);
        assert_eq!(joined[0]["findings"][0]["what"], "BUG: a");
        let breakdown = Breakdown {
            cell: "6.1/tulip".to_owned(),
            what: "the guest panicked".to_owned(),
            attempts: 2,
            recovered: false,
            console: "Kernel panic".to_owned(),
        };
        let all = collection(&joined, &[breakdown]);
        assert_eq!(all["schema"], COLLECTION_SCHEMA);
        assert_eq!(all["summary"]["pass"], 18);
        assert_eq!(all["summary"]["fail"], 2);
        assert_eq!(all["breakdowns"][0]["cell"], "6.1/tulip");
        assert_eq!(collection(&[], &[]).get("breakdowns"), None);
    }

    #[test]
    fn a_fault_of_the_kernel_makes_a_result_bad() {
        let mut result = result("6.1", "igb", 10, 0);
        assert!(!result.is_bad() && result.is_conclusive());
        result.add_fault(Some("igb"), "WARNING: CPU: 0 PID: 1 at net/core/dev.c:1");
        result.add_fault(Some("igb"), "BUG: the second");
        assert!(result.is_bad());
        assert_eq!(result.list("findings")[0]["what"], "BUG: the second");
        assert_eq!(result.list("findings")[1]["kind"], "kernel_fault");
    }

    #[test]
    fn what_is_not_a_result_is_refused() {
        for (text, what) in [
            ("{", "not JSON"),
            (r#"{"schema":"xdproof.result/2"}"#, "xdproof.result/2"),
            (r#"{"schema":"xdproof.result/1"}"#, "no environment"),
            (r#"{"schema":"xdproof.result/1","environment":{},"summary":{},"trials":[]}"#, "no trials"),
        ] {
            let error = CellResult::parse(text.as_bytes()).unwrap_err();
            assert!(format!("{error:#}").contains(what), "`{error:#}` does not say `{what}`");
        }
    }
}
