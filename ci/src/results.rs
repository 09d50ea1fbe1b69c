//! What came out: a `result.json` for each cell, each kernel and all of them.
//!
//! The forms are xdproof's (`xdproof.result/1`, `xdproof.results/1`); they are handled as JSON here, and xdproof itself reads
//! and checks them.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
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

    /// Adds that the kernel reported a fault of its own, unless xdproof has seen it in the kernel's log itself.
    pub(crate) fn add_fault(&mut self, nic: Option<&str>, what: &str) {
        let tells =
            |finding: &Value| text(finding, "kind") == "kernel_fault" && text(finding, "what").contains(what);
        if self.list("findings").iter().any(tells) {
            return;
        }
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

/// A collection of no results, and of what came to nothing.
pub(crate) fn of_breakdowns(breakdowns: &[Breakdown]) -> Value {
    let summary: Map<String, Value> =
        VERDICTS.iter().map(|verdict| ((*verdict).to_owned(), json!(0))).collect();
    json!({ "schema": COLLECTION_SCHEMA, "results": [], "breakdowns": breakdowns, "summary": summary })
}

/// Has xdproof look for the scenarios that are wanted, before machines are started in vain.
///
/// # Errors
///
/// What xdproof said, if one of the patterns matches none.
pub(crate) fn check_scenarios(xdproof: &Path, patterns: &[String]) -> Result<()> {
    let options = patterns.iter().flat_map(|pattern| ["--scenario", pattern]);
    let output = Command::new(xdproof).args(["list", "--quiet"]).args(options).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("failed to start {}", xdproof.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", said.trim().trim_start_matches("error: "));
    Ok(())
}

/// Has xdproof join result files into one in a directory.
///
/// # Errors
///
/// What xdproof said, if it refuses them.
pub(crate) fn merge(xdproof: &Path, files: &[PathBuf], out: &Path) -> Result<()> {
    let mut command = Command::new(xdproof);
    let output = command.arg("merge").args(files).arg("--out").arg(out).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("failed to start {}", xdproof.display()))?;
    // That something is missing is told by what is joined.
    ensure!(
        matches!(output.status.code(), Some(0 | 4)),
        "the results cannot be joined: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Writes a file at once: whoever reads it finds the old one or the new one, whole.
pub(crate) fn write(file: &Path, value: &impl Serialize) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    write_bytes(file, &bytes)
}

/// As [`write()`], for what is bytes already.
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
    fn a_breakdown_is_written_down_as_xdproof_reads_it() {
        let breakdown = Breakdown {
            cell: "6.1/tulip".to_owned(),
            what: "the guest panicked".to_owned(),
            attempts: 2,
            recovered: false,
            console: "Kernel panic".to_owned(),
        };
        let collection = of_breakdowns(&[breakdown]);
        assert_eq!(collection["schema"], "xdproof.results/1");
        assert_eq!(collection["summary"]["not_run"], 0);
        assert_eq!(
            collection["breakdowns"],
            json!([{
                "cell": "6.1/tulip",
                "what": "the guest panicked",
                "attempts": 2,
                "recovered": false,
                "console": "Kernel panic",
            }])
        );
    }

    #[test]
    fn a_fault_of_the_kernel_makes_a_result_bad() {
        let mut result = result("6.1", "igb", 10, 0);
        assert!(!result.is_bad() && result.is_conclusive());
        result.add_fault(Some("igb"), "WARNING: CPU: 0 PID: 1 at net/core/dev.c:1");
        result.add_fault(Some("igb"), "BUG: the second");
        result.add_fault(Some("igb"), "BUG: the second");
        assert!(result.is_bad());
        assert_eq!(result.list("findings")[0]["what"], "BUG: the second");
        assert_eq!(result.list("findings")[1]["kind"], "kernel_fault");
        assert_eq!(result.list("findings").len(), 2);
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
