//! The summary at the end of a run: a table of cells by attach mode, the failures, and the infrastructure failures.

use std::{collections::BTreeMap, fmt::Display, io, time::Duration};

use anstyle::{AnsiColor, Style};

use crate::{
    matrix::KernelRun,
    results::{CellResult, InfrastructureFailure, VERDICTS},
    terminal::wrap,
};

/// Limit of the failures in the summary.
const MAX_FAILURES: usize = 20;

/// Limit of the console lines of an infrastructure failure in the summary.
const CONSOLE_LINES: usize = 8;

/// The outcome of a run, which determines its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    AsExpected,
    Failed,
    Inconclusive,
}

impl Outcome {
    /// Returns the outcome of all kernels; a failure outweighs a missing result.
    pub(crate) fn of(runs: &[KernelRun]) -> Self {
        let mut cells = runs.iter().flat_map(|run| run.cells.values()).peekable();
        let is_lost = |run: &KernelRun| run.unfinished > 0 || run.failures.iter().any(|it| !it.recovered);
        if cells.clone().any(CellResult::is_bad) {
            Self::Failed
        } else if runs.iter().any(is_lost) || cells.peek().is_none() || !cells.all(CellResult::is_conclusive)
        {
            Self::Inconclusive
        } else {
            Self::AsExpected
        }
    }
}

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const UNCERTAIN: Style = AnsiColor::Yellow.on_default();

/// Writes the summary with colors.
pub(crate) fn write(to: &mut impl io::Write, runs: &[KernelRun], duration: Duration) -> io::Result<()> {
    let cells: Vec<&CellResult> = runs.iter().flat_map(|run| run.cells.values()).collect();
    let fixtures: Vec<&CellResult> = cells.iter().filter_map(|cell| cell.fixtures.as_deref()).collect();
    let (totals, of_fixtures) = (totals(&cells), totals(&fixtures));
    let occurs = |verdict: &&str| totals.contains_key(verdict) || of_fixtures.contains_key(verdict);
    table(to, runs, &VERDICTS.iter().copied().filter(occurs).collect::<Vec<_>>())?;
    problems(to, runs)?;
    let failures: Vec<&InfrastructureFailure> = runs.iter().flat_map(|run| &run.failures).collect();
    for failure in &failures {
        let InfrastructureFailure { cell, reason, attempts, recovered, console } = failure;
        let attempts = count(*attempts, "attempt");
        let recovered = if *recovered { ", the last one gave a result" } else { "" };
        let line = format!(
            "{UNCERTAIN}infrastructure failure{UNCERTAIN:#} {cell}: {reason} ({attempts}{recovered})"
        );
        writeln!(to, "{}", wrap(&line))?;
        let lines: Vec<&str> = console.lines().collect();
        for line in &lines[lines.len().saturating_sub(CONSOLE_LINES)..] {
            writeln!(to, "{}", wrap(&format!("    {line}")))?;
        }
    }
    let bad = cells.iter().filter(|cell| cell.is_bad()).count();
    let recovered = failures.iter().filter(|failure| failure.recovered).count();
    let lost = failures.len() - recovered;
    let unfinished: usize = runs.iter().map(|run| run.unfinished).sum();
    let mut parts = vec![format!("{} as expected", cells.len() - bad), format!("{bad} not")];
    if lost > 0 {
        parts.push(count(lost, "infrastructure failure"));
    }
    if recovered > 0 {
        parts.push(format!("{} resolved by a retry", count(recovered, "infrastructure failure")));
    }
    if unfinished > 0 {
        parts.push(format!("{unfinished} not run"));
    }
    let fixtures =
        if fixtures.is_empty() { String::new() } else { format!("; fixtures: {}", listed(&of_fixtures)) };
    let style = match Outcome::of(runs) {
        Outcome::AsExpected => GOOD,
        Outcome::Failed => BAD,
        Outcome::Inconclusive => UNCERTAIN,
    };
    let line = format!(
        "{style}{}: {}{style:#}; trials: {}{fixtures}; {} s",
        count(cells.len() + lost + unfinished, "cell"),
        parts.join(", "),
        listed(&totals),
        duration.as_secs()
    );
    writeln!(to, "{}", wrap(&line))
}

/// Returns the number of trials by verdict, of those that occur.
fn totals(results: &[&CellResult]) -> BTreeMap<&'static str, u64> {
    let total = |verdict: &'static str| results.iter().map(|result| result.count(verdict)).sum();
    VERDICTS.iter().map(|verdict| (*verdict, total(verdict))).filter(|(_, total)| *total > 0).collect()
}

/// Returns numbers by verdict in words.
fn listed(totals: &BTreeMap<&str, u64>) -> String {
    let number = |verdict: &&str| Some(format!("{} {}", totals.get(verdict)?, verdict.replace('_', " ")));
    let numbers: Vec<String> = VERDICTS.iter().filter_map(number).collect();
    if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") }
}

/// Returns a number and a noun.
fn count<N: Copy + PartialEq + From<u8> + Display>(number: N, noun: &str) -> String {
    let plural = if number == N::from(1) { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Writes a row for each cell with a column for each mode and one for fixtures, which have the numbers of the verdicts separated by slashes.
fn table(to: &mut impl io::Write, runs: &[KernelRun], verdicts: &[&str]) -> io::Result<()> {
    let mut modes: Vec<&str> = Vec::new();
    for (_, result) in runs.iter().flat_map(KernelRun::results) {
        let new = result.counts_by_mode().into_keys().filter(|mode| !modes.contains(mode));
        modes.extend(new.collect::<Vec<_>>());
    }
    let numbers = |counts: &BTreeMap<&str, u64>| {
        let numbers = verdicts.iter().map(|verdict| counts.get(verdict).unwrap_or(&0).to_string());
        numbers.collect::<Vec<_>>().join("/")
    };
    let has_fixtures = runs.iter().flat_map(KernelRun::results).any(|(_, cell)| cell.fixtures.is_some());
    let heads = ["kernel", "NIC"].into_iter().chain(modes.iter().copied());
    let heads = heads.chain(has_fixtures.then_some("fixtures"));
    let mut rows: Vec<(Vec<String>, Style)> = vec![(heads.map(str::to_owned).collect(), Style::new())];
    for (run, name) in runs.iter().flat_map(|run| run.order.iter().map(move |name| (run, name))) {
        let mut row = vec![run.name.clone(), name.clone()];
        let style = if let Some(result) = run.cells.get(name) {
            let counts = result.counts_by_mode();
            row.extend(modes.iter().map(|mode| counts.get(mode).map(numbers).unwrap_or_default()));
            row.extend(result.fixtures.as_ref().map(|fixtures| {
                numbers(&verdicts.iter().map(|verdict| (*verdict, fixtures.count(verdict))).collect())
            }));
            if result.is_bad() { BAD } else { GOOD }
        } else {
            row.push(if run.is_lost(name) { "no result" } else { "not run" }.to_owned());
            UNCERTAIN
        };
        rows.push((row, style));
    }
    let lengths = |column: usize| rows.iter().filter_map(move |(row, _)| Some(row.get(column)?.len()));
    let widths: Vec<usize> =
        (0..rows[0].0.len().max(3)).map(|column| lengths(column).max().unwrap_or(0)).collect();
    if !verdicts.is_empty() {
        let fixtures = if has_fixtures { ", and fixtures" } else { "" };
        writeln!(to, "trials by attach mode{fixtures}: {}", verdicts.join("/").replace('_', " "))?;
    }
    for (row, style) in &rows {
        let texts = row.iter().zip(&widths).map(|(text, width)| format!("{text:width$}  "));
        let line: String = texts.collect();
        writeln!(to, "{style}{}{style:#}", line.trim_end())?;
    }
    Ok(())
}

/// Writes faults, failed trials, failed attach-semantics tests and failed fixtures.
fn problems(to: &mut impl io::Write, runs: &[KernelRun]) -> io::Result<()> {
    let of_cell = |(name, result): (String, &CellResult)| {
        result.problems().into_iter().map(move |problem| format!("{name}: {problem}"))
    };
    let problems: Vec<String> = runs.iter().flat_map(KernelRun::results).flat_map(of_cell).collect();
    for problem in problems.iter().take(MAX_FAILURES) {
        writeln!(to, "{}", wrap(&format!("{BAD}FAIL{BAD:#} {problem}")))?;
    }
    match problems.len().checked_sub(MAX_FAILURES) {
        Some(more @ 1..) => writeln!(to, "and {more} more, in the result files"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::results::SCHEMA;

    #[test]
    fn a_summary_fits_100_columns_and_has_a_row_for_each_cell() {
        let trials = ["generic", "native", "offload"].map(|mode| json!({ "mode": mode, "verdict": "pass" }));
        let result =
            json!({ "schema": SCHEMA, "environment": {}, "summary": { "pass": 3 }, "trials": trials });
        let result = CellResult::parse(result.to_string().as_bytes()).unwrap();
        let [reason, console] = ["the guest hung: ".repeat(10), "console line ".repeat(10)];
        let run = KernelRun {
            name: "6.12".to_owned(),
            order: vec!["guest".to_owned(), "bond-802.3ad".to_owned()],
            cells: BTreeMap::from([("guest".to_owned(), result)]),
            failures: vec![InfrastructureFailure::after(
                None,
                "6.12/bond-802.3ad".to_owned(),
                reason,
                console,
            )],
            unfinished: 0,
        };
        let mut text = anstream::StripStream::new(Vec::new());
        write(&mut text, &[run], Duration::from_secs(7)).unwrap();
        let text = String::from_utf8(text.into_inner()).unwrap();
        assert!(text.lines().all(|line| line.len() <= 100), "{text}");
        for part in [
            "trials by attach mode: pass\nkernel  NIC           generic    native  offload\n",
            "6.12    guest         1          1       1\n6.12    bond-802.3ad  no result\n",
            "2 cells: 1 as expected, 0 not, 1 infrastructure failure; trials: 3 pass; 7 s\n",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn fixtures_have_a_column_and_numbers_of_their_own() {
        let result = |trials: &[(&str, &str)]| {
            let trial = |(mode, verdict): &(&str, &str)| json!({ "id": format!("ttl::{mode}::pnet"), "mode": mode, "verdict": verdict, "reason": "expected tx" });
            let count = |verdict| trials.iter().filter(|trial| trial.1 == verdict).count();
            let summary = json!({ "pass": count("pass"), "fail": count("fail"), "skip": count("skip") });
            let trials: Vec<_> = trials.iter().map(trial).collect();
            let result = json!({ "schema": SCHEMA, "environment": {}, "summary": summary, "trials": trials });
            CellResult::parse(result.to_string().as_bytes()).unwrap()
        };
        let fixtures = result(&[("generic", "fail"), ("generic", "pass"), ("native", "skip")]);
        let cell = CellResult { fixtures: Some(Box::new(fixtures)), ..result(&[("native", "pass")]) };
        let run = KernelRun {
            name: "6.12".to_owned(),
            order: vec!["igb".to_owned()],
            cells: BTreeMap::from([("igb".to_owned(), cell)]),
            ..KernelRun::default()
        };
        assert_eq!(Outcome::of(std::slice::from_ref(&run)), Outcome::Failed);
        let mut text = anstream::StripStream::new(Vec::new());
        write(&mut text, &[run], Duration::from_secs(7)).unwrap();
        let expected = "\
trials by attach mode, and fixtures: pass/fail/skip
kernel  NIC  native  fixtures
6.12    igb  1/0/0   1/1/1
FAIL 6.12/igb: fixture ttl::generic::pnet: expected tx
1 cell: 0 as expected, 1 not; trials: 1 pass; fixtures: 1 pass, 1 fail, 1 skip; 7 s
";
        assert_eq!(String::from_utf8(text.into_inner()).unwrap(), expected);
    }
}
