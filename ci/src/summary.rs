//! The end of a run for people: a table of kernels and NICs by mode, what failed, and what came to nothing.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    time::Duration,
};

use anstyle::{AnsiColor, Style};

use crate::{
    matrix::KernelRun,
    results::{Breakdown, CellResult, VERDICTS, text},
};

/// Failures that are told one by one; the rest is in the files.
const SHOWN: usize = 20;

/// How the whole came out; the exit code follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    AsExpected,
    Failed,
    Inconclusive,
}

impl Outcome {
    /// A failure outweighs what is not known.
    pub(crate) fn of(runs: &[KernelRun]) -> Self {
        let cells = || runs.iter().flat_map(|run| run.cells.values());
        let lost = runs
            .iter()
            .any(|run| run.unfinished > 0 || run.breakdowns.iter().any(|breakdown| !breakdown.recovered));
        if cells().any(CellResult::is_bad) {
            Self::Failed
        } else if lost || cells().next().is_none() || !cells().all(CellResult::is_conclusive) {
            Self::Inconclusive
        } else {
            Self::AsExpected
        }
    }
}

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const UNSURE: Style = AnsiColor::Yellow.on_default();

/// The text of it, with colours.
pub(crate) fn describe(runs: &[KernelRun], took: Duration) -> String {
    let mut to = String::new();
    // Writing to a String cannot fail.
    let _infallible = write(&mut to, runs, took);
    to
}

fn write(to: &mut String, runs: &[KernelRun], took: Duration) -> fmt::Result {
    table(to, runs)?;
    failures(to, runs)?;
    for breakdown in runs.iter().flat_map(|run| &run.breakdowns) {
        let Breakdown { cell, what, attempts, recovered, console } = breakdown;
        let times = if *attempts == 1 { "tried once".to_owned() } else { format!("tried {attempts} times") };
        let after_all = if *recovered { ", and came out the last time" } else { "" };
        writeln!(to, "{UNSURE}infrastructure error{UNSURE:#} {cell}: {what} ({times}{after_all})")?;
        for line in console.lines().rev().take(8).collect::<Vec<_>>().into_iter().rev() {
            writeln!(to, "    {line}")?;
        }
    }
    let cells: Vec<&CellResult> = runs.iter().flat_map(|run| run.cells.values()).collect();
    let bad = cells.iter().filter(|cell| cell.is_bad()).count();
    let all_breakdowns = || runs.iter().flat_map(|run| &run.breakdowns);
    let recovered = all_breakdowns().filter(|breakdown| breakdown.recovered).count();
    let lost = all_breakdowns().count() - recovered;
    let unfinished: usize = runs.iter().map(|run| run.unfinished).sum();
    let mut parts = vec![format!("{} as expected", cells.len() - bad), format!("{bad} not")];
    if lost > 0 {
        parts.push(format!("{lost} infrastructure errors"));
    }
    if recovered > 0 {
        parts.push(format!("{recovered} infrastructure errors that a second try mended"));
    }
    if unfinished > 0 {
        parts.push(format!("{unfinished} not run"));
    }
    let style = match Outcome::of(runs) {
        Outcome::AsExpected => GOOD,
        Outcome::Failed => BAD,
        Outcome::Inconclusive => UNSURE,
    };
    let total = |verdict: &&&str| cells.iter().map(|cell| cell.number(verdict)).sum::<u64>();
    let trials: Vec<String> = VERDICTS
        .iter()
        .filter(|verdict| total(verdict) > 0)
        .map(|verdict| format!("{} {}", total(&verdict), verdict.replace('_', " ")))
        .collect();
    writeln!(
        to,
        "{style}{} cells: {}{style:#}; trials: {}; {} s",
        cells.len() + lost + unfinished,
        parts.join(", "),
        if trials.is_empty() { "none".to_owned() } else { trials.join(", ") },
        took.as_secs()
    )
}

/// A row a cell, a column a mode.
fn table(to: &mut String, runs: &[KernelRun]) -> fmt::Result {
    let mut modes: Vec<String> = Vec::new();
    let mut rows: Vec<(String, String, BTreeMap<String, String>, Style)> = Vec::new();
    for run in runs {
        for name in &run.order {
            let (cells, style) = if let Some(result) = run.cells.get(name) {
                (by_mode(result), if result.is_bad() { BAD } else { GOOD })
            } else {
                let what = if run.is_lost(name) { "infrastructure error" } else { "not run" };
                (BTreeMap::from([(String::new(), what.to_owned())]), UNSURE)
            };
            for mode in cells.keys().filter(|mode| !mode.is_empty()) {
                if !modes.contains(mode) {
                    modes.push(mode.clone());
                }
            }
            rows.push((run.name.clone(), name.clone(), cells, style));
        }
    }
    let widest =
        |head: &str, of: &dyn Fn(usize) -> usize| (0..rows.len()).map(of).max().unwrap_or(0).max(head.len());
    let kernel = widest("kernel", &|row| rows[row].0.len());
    let nic = widest("NIC", &|row| rows[row].1.len());
    let widths: Vec<usize> =
        modes.iter().map(|mode| widest(mode, &|row| rows[row].2.get(mode).map_or(0, String::len))).collect();
    let mut head = format!("{:kernel$}  {:nic$}", "kernel", "NIC");
    for (mode, width) in modes.iter().zip(&widths) {
        write!(head, "  {mode:width$}")?;
    }
    writeln!(to, "{}", head.trim_end())?;
    for (kernel_name, nic_name, cells, style) in &rows {
        let mut line = String::new();
        match cells.get("") {
            Some(what) => line.push_str(what),
            None => {
                for (mode, width) in modes.iter().zip(&widths) {
                    let cell = cells.get(mode).map_or("", String::as_str);
                    write!(line, "{cell:width$}  ")?;
                }
            }
        }
        writeln!(to, "{kernel_name:kernel$}  {nic_name:nic$}  {style}{}{style:#}", line.trim_end())?;
    }
    Ok(())
}

/// How the trials of a cell came out, by mode.
fn by_mode(result: &CellResult) -> BTreeMap<String, String> {
    let mut numbers: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for trial in result.list("trials") {
        *numbers.entry(text(trial, "mode")).or_default().entry(text(trial, "verdict")).or_default() += 1;
    }
    let describe = |by_verdict: &BTreeMap<&str, usize>| {
        let known =
            VERDICTS.iter().filter_map(|verdict| Some(format!("{} {verdict}", by_verdict.get(verdict)?)));
        known.collect::<Vec<_>>().join(" ")
    };
    numbers.iter().map(|(mode, by_verdict)| ((*mode).to_owned(), describe(by_verdict))).collect()
}

/// Trials, rules and findings that keep a cell from being as expected.
fn failures(to: &mut String, runs: &[KernelRun]) -> fmt::Result {
    let mut lines = Vec::new();
    for run in runs {
        for (name, result) in &run.cells {
            let at = format!("{}/{name}", run.name);
            for finding in result.list("findings").iter().filter(|finding| text(finding, "weight") == "fault")
            {
                lines.push(format!(
                    "{at}: {}: {}",
                    text(finding, "kind").replace('_', " "),
                    text(finding, "what")
                ));
            }
            for item in result.list("trials").iter().chain(result.list("rules")) {
                if matches!(text(item, "verdict"), "fail" | "error") {
                    lines.push(format!("{at}: {}: {}", text(item, "id"), text(item, "reason")));
                }
            }
        }
    }
    for line in lines.iter().take(SHOWN) {
        writeln!(to, "{BAD}FAIL{BAD:#} {line}")?;
    }
    match lines.len().checked_sub(SHOWN) {
        Some(more @ 1..) => writeln!(to, "and {more} more, in the result files"),
        _ => Ok(()),
    }
}
