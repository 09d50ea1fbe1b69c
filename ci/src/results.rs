//! Result files (`result.json`) of cells, of kernels and of the whole matrix.
//!
//! The formats are those of xdproof (`xdproof.result/2`, `xdproof.results/2`), which writes, joins and checks the files. Every
//! JSON key that this crate reads or writes is in this file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::command;

/// Format of the result of one run.
pub(crate) const SCHEMA: &str = "xdproof.result/2";

/// Format of a collection of results.
const COLLECTION_SCHEMA: &str = "xdproof.results/2";

/// Name of every result file.
pub(crate) const FILE: &str = "result.json";

/// Name of a cell's measurements.
const BENCH_FILE: &str = "bench.json";

/// Name of the result of a cell's fixtures.
pub(crate) const FIXTURES_FILE: &str = "fixtures.json";

/// Names of all result files of a cell.
pub(crate) const OF_CELL: [&str; 3] = [FILE, BENCH_FILE, FIXTURES_FILE];

/// All verdicts in the order of their importance.
pub(crate) const VERDICTS: &[&str] = &["pass", "fail", "error", "skip", "xfail", "unreachable", "not_run"];

/// A cell or a kernel without a result, or with one after a retry (`infrastructure_failures` of a collection).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct InfrastructureFailure {
    /// As in `6.1/igb`, or `6.1` for the whole kernel.
    pub(crate) cell: String,
    #[serde(rename = "message")]
    pub(crate) reason: String,
    pub(crate) attempts: u32,
    /// Set if the last attempt gave a result.
    pub(crate) recovered: bool,
    /// Last lines of the console.
    pub(crate) console: String,
}

impl InfrastructureFailure {
    /// Returns the failure of a further attempt.
    pub(crate) fn after(previous: Option<&Self>, cell: String, reason: String, console: String) -> Self {
        let attempts = previous.map_or(0, |previous| previous.attempts) + 1;
        Self { cell, reason, attempts, recovered: false, console }
    }
}

/// The result of a cell, as JSON.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CellResult {
    pub(crate) value: Map<String, Value>,
    /// The result of its fixtures, a run of its own.
    pub(crate) fixtures: Option<Box<CellResult>>,
}

impl CellResult {
    /// Parses what xdproof wrote; a result without a trial is an error.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let value: Map<String, Value> = serde_json::from_slice(bytes).context("the result is not JSON")?;
        let schema = value.get("schema").and_then(Value::as_str).unwrap_or("none");
        ensure!(schema == SCHEMA, "expected a result of schema {SCHEMA}, got {schema}");
        for name in ["environment", "summary"] {
            ensure!(value.get(name).is_some_and(Value::is_object), "the result has no {name}");
        }
        let result = Self { value, fixtures: None };
        ensure!(!result.list("trials").is_empty(), "the result has no trials");
        Ok(result)
    }

    /// Adds a fault that the kernel reported, unless xdproof has found it in the kernel log.
    pub(crate) fn add_kernel_fault(&mut self, nic: Option<&str>, message: &str) {
        let is_it = |finding: &Value| {
            text(finding, "kind") == "kernel_fault" && text(finding, "message").contains(message)
        };
        if self.list("findings").iter().any(is_it) {
            return;
        }
        let mut finding = json!({ "kind": "kernel_fault", "severity": "fault", "message": message });
        if let Some(nic) = nic {
            finding["nic"] = json!(nic);
        }
        // The gravest come first.
        let findings = [&[finding], self.list("findings")].concat();
        self.value.insert("findings".to_owned(), Value::Array(findings));
    }

    fn list(&self, name: &str) -> &[Value] {
        self.value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn faults(&self) -> impl Iterator<Item = &Value> {
        self.list("findings").iter().filter(|finding| text(finding, "severity") == "fault")
    }

    /// Number of trials with a verdict, without fixtures.
    pub(crate) fn count(&self, verdict: &str) -> u64 {
        self.value.get("summary").and_then(|summary| summary.get(verdict)?.as_u64()).unwrap_or(0)
    }

    /// Number of trials by mode and verdict, without fixtures.
    pub(crate) fn counts_by_mode(&self) -> BTreeMap<&str, BTreeMap<&str, u64>> {
        let mut counts: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
        for trial in self.list("trials") {
            *counts.entry(text(trial, "mode")).or_default().entry(text(trial, "verdict")).or_default() += 1;
        }
        counts
    }

    /// Returns one line for each fault, failed trial, failed attach-semantics test and failed fixture.
    pub(crate) fn problems(&self) -> Vec<String> {
        let of_finding = |finding: &Value| {
            format!("{}: {}", text(finding, "kind").replace('_', " "), text(finding, "message"))
        };
        let of_trial = |trial: &Value| format!("{}: {}", text(trial, "id"), text(trial, "reason"));
        let trials =
            self.list("trials").iter().chain(self.list("attach_semantics")).filter(|trial| is_failed(trial));
        let fixtures = self.fixtures.iter().flat_map(|fixtures| fixtures.problems());
        let fixtures = fixtures.map(|problem| format!("fixture {problem}"));
        self.faults().map(of_finding).chain(trials.map(of_trial)).chain(fixtures).collect()
    }

    /// Tells whether something failed: as `RunResult::is_bad` of xdproof.
    pub(crate) fn is_bad(&self) -> bool {
        self.count("fail") + self.count("error") > 0
            || self.list("attach_semantics").iter().any(is_failed)
            || self.faults().next().is_some()
            || self.fixtures.as_ref().is_some_and(|fixtures| fixtures.is_bad())
    }

    /// Tells whether a trial passed and all were run, and the same of fixtures.
    pub(crate) fn is_conclusive(&self) -> bool {
        self.count("pass") + self.count("xfail") > 0
            && self.count("not_run") == 0
            && self.fixtures.as_ref().is_none_or(|fixtures| fixtures.is_conclusive())
    }
}

fn is_failed(trial: &Value) -> bool {
    matches!(text(trial, "verdict"), "fail" | "error")
}

/// Returns a field that is a string, or an empty one.
fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Returns a collection that has infrastructure failures and no results.
pub(crate) fn collection_of_failures(failures: &[InfrastructureFailure]) -> Value {
    let summary: Map<String, Value> =
        VERDICTS.iter().map(|verdict| ((*verdict).to_owned(), json!(0))).collect();
    json!({ "schema": COLLECTION_SCHEMA, "results": [], "infrastructure_failures": failures, "summary": summary })
}

/// Has xdproof check that every pattern matches a scenario, before machines are started.
pub(crate) fn check_scenarios(xdproof: &Path, patterns: &[String]) -> Result<()> {
    let options = patterns.iter().flat_map(|pattern| ["--scenario", pattern]);
    let output = Command::new(xdproof).args(["list", "--quiet"]).args(options).output();
    let output = output.with_context(|| format!("failed to start {}", xdproof.display()))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", stderr.trim().trim_start_matches("error: "));
    Ok(())
}

/// Has xdproof join result files into one in a directory.
pub(crate) fn merge(xdproof: &Path, files: &[PathBuf], out: &Path) -> Result<()> {
    let mut command = Command::new(xdproof);
    // Exit code 4 says that the joined result is inconclusive, which the summary tells.
    command::stdout_unless_failed(command.arg("merge").args(files).arg("--out").arg(out), &[0, 4])
        .context("failed to merge the results")?;
    Ok(())
}

/// Replaces a file atomically by JSON.
pub(crate) fn write(file: &Path, value: &impl Serialize) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    write_bytes(file, &bytes)
}

/// Replaces a file atomically.
pub(crate) fn write_bytes(file: &Path, bytes: &[u8]) -> Result<()> {
    fs::create_dir_all(file.parent().context("the file has no directory")?)?;
    let new = file.with_extension("new");
    fs::write(&new, bytes)?;
    Ok(fs::rename(new, file)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_infrastructure_failure_has_the_keys_that_xdproof_reads() {
        let failure = InfrastructureFailure {
            cell: "6.1/tulip".to_owned(),
            reason: "the guest panicked".to_owned(),
            attempts: 2,
            recovered: false,
            console: "Kernel panic".to_owned(),
        };
        let collection = collection_of_failures(&[failure]);
        assert_eq!(collection["schema"], "xdproof.results/2");
        assert_eq!(collection["summary"]["not_run"], 0);
        assert_eq!(
            collection["infrastructure_failures"],
            json!([{
                "cell": "6.1/tulip",
                "message": "the guest panicked",
                "attempts": 2,
                "recovered": false,
                "console": "Kernel panic",
            }])
        );
    }

    #[test]
    fn a_kernel_fault_makes_a_result_bad() {
        let value = json!({
            "schema": SCHEMA,
            "environment": { "kernel_release": "6.1" },
            "trials": [{ "id": "ipv4/udp::native::pnet", "nic": "igb", "verdict": "pass" }],
            "summary": { "pass": 10, "fail": 0, "skip": 1 },
        });
        let mut result = CellResult::parse(value.to_string().as_bytes()).unwrap();
        assert!(!result.is_bad() && result.is_conclusive());
        result.add_kernel_fault(Some("igb"), "WARNING: CPU: 0 PID: 1 at net/core/dev.c:1");
        result.add_kernel_fault(Some("igb"), "BUG: the second");
        result.add_kernel_fault(Some("igb"), "BUG: the second");
        assert!(result.is_bad());
        assert_eq!(result.list("findings")[0]["message"], "BUG: the second");
        assert_eq!(result.list("findings")[1]["kind"], "kernel_fault");
        assert_eq!(result.list("findings").len(), 2);
    }

    #[test]
    fn fixtures_are_part_of_the_outcome_of_their_cell() {
        let parse = |verdict: &str| {
            let trial = json!({ "id": "ttl::native::pnet", "verdict": verdict, "reason": "expected tx" });
            let value =
                json!({ "schema": SCHEMA, "environment": {}, "summary": { verdict: 1 }, "trials": [trial] });
            CellResult::parse(value.to_string().as_bytes()).unwrap()
        };
        let cell = |verdict| CellResult { fixtures: Some(Box::new(parse(verdict))), ..parse("pass") };
        assert!(!cell("pass").is_bad() && cell("pass").is_conclusive());
        assert!(!cell("skip").is_bad() && !cell("skip").is_conclusive());
        assert!(cell("fail").is_bad() && cell("error").is_bad());
        assert_eq!(cell("fail").problems(), ["fixture ttl::native::pnet: expected tx"]);
    }

    #[test]
    fn invalid_results_are_rejected() {
        for (text, expected) in [
            ("{", "not JSON"),
            (r#"{"schema":"xdproof.result/3"}"#, "xdproof.result/3"),
            (r#"{"schema":"xdproof.result/2"}"#, "no environment"),
            (r#"{"schema":"xdproof.result/2","environment":{},"summary":{},"trials":[]}"#, "no trials"),
        ] {
            let error = CellResult::parse(text.as_bytes()).unwrap_err();
            assert!(format!("{error:#}").contains(expected), "`{error:#}` does not contain `{expected}`");
        }
    }
}
