//! A collection in Markdown: short enough for the summary of a CI run or a patch's cover letter, and readable as it is. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
    io,
};

use anstream::adapter::strip_str;

use xdproof_core::model::{Collection, Measurement, PortRole, RunResult, Summary, TrialPath, TrialRecord};

use crate::{
    assessment::{Assessment, Issue, IssueKind, IssuePlace},
    console::explain,
    markdown_text::{code, cut, html, issue_line, longest_run, prose, visible},
    matrix_summary, rates,
    terminal_style::{numbers, several},
    test_cases::{labels, nic},
};

/// Limits of what is shown.
mod limit {
    /// Open issues of a kind; the others are folded.
    pub(super) const OPEN: usize = 5;
    /// Listed issues of a kind.
    pub(super) const LISTED: usize = 50;
    /// Failed trials that are explained.
    pub(super) const EXPLAINED: usize = 3;
    /// Lines that an explanation begins with, and that it ends with: what was expected, and the command that repeats it.
    pub(super) const LINES: (usize, usize) = (16, 12);
    /// Characters of a line of an explanation.
    pub(super) const COLUMNS: usize = 160;
    /// Open rows of a table.
    pub(super) const ROWS: usize = 60;
    /// All rows of a table.
    pub(super) const ALL_ROWS: usize = 500;
}

/// Writes a collection.
pub fn write(collection: &Collection, mut to: impl io::Write) -> io::Result<()> {
    let mut text = String::new();
    render(&mut text, collection).map_err(io::Error::other)?;
    to.write_all(text.as_bytes())?;
    to.flush()
}

fn render(to: &mut String, collection: &Collection) -> fmt::Result {
    let results = &collection.results;
    let assessment = Assessment::of(collection);
    writeln!(to, "## xdproof: {}\n", assessment.standing.name())?;
    writeln!(to, "{}.\n", prose(&capitalized(&assessment.sentence)))?;
    if matrix_summary::is_matrix(results) {
        return matrix_summary::render(to, &assessment, results);
    }
    tested(to, results)?;
    matrix(to, results)?;
    for (kind, issues) in assessment.by_kind() {
        list(to, kind, issues, results)?;
    }
    explanations(to, &assessment, results)?;
    measured(to, results)
}

/// Capitalizes the first letter.
fn capitalized(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}

/// Writes a line for each program and each device.
fn tested(to: &mut String, results: &[RunResult]) -> fmt::Result {
    let mut lines: Vec<String> = Vec::new();
    for result in results {
        let environment = &result.environment;
        let program = &environment.program;
        let object = program.object.as_deref().unwrap_or("built in");
        let counters = program.counter_map.as_ref().map(|map| format!(", counts in map {}", code(map)));
        lines.push(format!(
            "program {} ({}, tag {}{}) by xdproof {}",
            code(&program.name),
            prose(object),
            code(&program.tag),
            counters.unwrap_or_default(),
            prose(&environment.xdproof)
        ));
        lines.extend(program.notes.iter().map(|note| prose(note)));
    }
    for device in
        results.iter().flat_map(|result| &result.devices).filter(|device| device.role == PortRole::Dut)
    {
        let mut line = format!("device {}: driver {}", code(&device.nic), code(&device.driver));
        let details =
            [("version", &device.driver_version), ("firmware", &device.firmware), ("PCI", &device.pci_id)];
        for (name, value) in details {
            if let Some(value) = value {
                write!(line, ", {name} {}", code(value))?;
            }
        }
        lines.push(line);
    }
    let mut known = BTreeSet::new();
    lines.retain(|line| known.insert(line.clone()));
    let more = lines.len().saturating_sub(limit::ROWS);
    for line in lines.iter().take(limit::ROWS) {
        writeln!(to, "- {line}")?;
    }
    if more > 0 {
        writeln!(to, "- and {more} more")?;
    }
    writeln!(to)
}

/// A row for each kernel and device, a column for each mode and injector.
fn matrix(to: &mut String, results: &[RunResult]) -> fmt::Result {
    let labels = labels(results);
    let mut cells: BTreeMap<(usize, &str), BTreeMap<TrialPath, Vec<&TrialRecord>>> = BTreeMap::new();
    for (label, result) in labels.iter().zip(results) {
        let index = labels.iter().position(|other| other == label).unwrap_or(0);
        for trial in &result.trials {
            let row = cells.entry((index, nic(trial))).or_default();
            row.entry(trial.path()).or_default().push(trial);
        }
    }
    let paths: BTreeSet<TrialPath> = cells.values().flat_map(BTreeMap::keys).copied().collect();
    if paths.is_empty() {
        return Ok(());
    }
    let mut header = vec!["kernel".to_owned(), "NIC".to_owned()];
    header.extend(paths.iter().map(|path| prose(&path.to_string())));
    let rows = cells.iter().map(|((index, nic), by_path)| {
        let mut row = vec![prose(&labels[*index]), prose(nic)];
        let cell = |path| by_path.get(path).map_or_else(|| "-".to_owned(), |trials| verdicts(trials));
        row.extend(paths.iter().map(cell));
        row
    });
    table(to, &header, &rows.collect::<Vec<_>>())
}

/// Returns trials of a cell by verdict, as in `**1 fail**, 203 pass`.
fn verdicts(trials: &[&TrialRecord]) -> String {
    let summary = Summary::of(trials.iter().copied(), 0);
    let bad = Summary { fail: summary.fail, error: summary.error, ..Summary::default() };
    let good = Summary { fail: 0, error: 0, ..summary };
    let bad = if bad.is_bad() { format!("**{}**", numbers(&bad)) } else { String::new() };
    let parts = [bad, numbers(&good)];
    parts.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(", ")
}

/// Writes the issues of one kind.
fn list(to: &mut String, kind: IssueKind, issues: &[Issue], results: &[RunResult]) -> fmt::Result {
    let number: usize = issues.iter().map(|issue| issue.places.len()).sum();
    writeln!(to, "### {} ({number})\n", kind.heading())?;
    let labels = labels(results);
    let line = |issue: &Issue| issue_line(issue, &labels, results);
    for issue in issues.iter().take(limit::OPEN) {
        writeln!(to, "{}", line(issue))?;
    }
    let rest = issues.get(limit::OPEN..).unwrap_or_default();
    if !rest.is_empty() {
        writeln!(to, "\n<details><summary>and {} more</summary>\n", rest.len())?;
        for issue in rest.iter().take(limit::LISTED) {
            writeln!(to, "{}", line(issue))?;
        }
        if rest.len() > limit::LISTED {
            writeln!(to, "- {} more not shown", rest.len() - limit::LISTED)?;
        }
        writeln!(to, "\n</details>")?;
    }
    writeln!(to)
}

/// Writes the first failed trials in full.
fn explanations(to: &mut String, assessment: &Assessment, results: &[RunResult]) -> fmt::Result {
    // One for each issue.
    let places = assessment.issues.iter().filter_map(|issue| issue.places.first());
    let trials = places.filter_map(|place| match place {
        IssuePlace::Trial(run, trial) => results.get(*run)?.trials.get(*trial),
        _ => None,
    });
    let failed = trials.filter(|trial| trial.verdict.is_bad() && trial.failure.is_some());
    for trial in failed.take(limit::EXPLAINED) {
        writeln!(to, "<details><summary>{}</summary>\n", html(&trial.id))?;
        let text = strip_str(&explain(trial)).to_string();
        let lines: Vec<String> = text.lines().map(|line| cut(&visible(line), limit::COLUMNS)).collect();
        let (head, tail) = limit::LINES;
        let block = match lines.len().checked_sub(head + tail) {
            Some(more @ 1..) => {
                let rest = format!("... {} more", several(more, "line"));
                [&lines[..head], &[rest], &lines[head + more..]].concat()
            }
            _ => lines,
        };
        let block = block.join("\n");
        let fence = "`".repeat(longest_run(&block).max(2) + 1);
        writeln!(to, "{fence}text\n{block}\n{fence}\n\n</details>\n")?;
    }
    Ok(())
}

/// The table of rates.
fn measured(to: &mut String, results: &[RunResult]) -> fmt::Result {
    let measurements: Vec<&Measurement> = results.iter().flat_map(|result| &result.measurements).collect();
    if measurements.is_empty() {
        return Ok(());
    }
    writeln!(to, "### Measurements\n")?;
    let header: Vec<String> = rates::HEADER.iter().map(|name| prose(name)).collect();
    let rows = measurements.iter().map(|measurement| {
        let [id, rest @ .., verdict] = rates::row(measurement);
        let mut row = vec![code(&id).replace('|', "\\|")];
        row.extend(rest.iter().map(|cell| prose(cell)));
        row.push(prose(&verdict));
        row
    });
    table(to, &header, &rows.collect::<Vec<_>>())?;
    writeln!(
        to,
        "speed: of the program over the reference, above 1 is faster. A/A: control, the reference against itself.\n"
    )
}

/// A table whose cells are Markdown already; what is beyond the limit is folded.
pub(super) fn table(to: &mut String, header: &[String], rows: &[Vec<String>]) -> fmt::Result {
    let open = rows.get(..limit::ROWS).unwrap_or(rows);
    let folded = rows.get(limit::ROWS..).unwrap_or_default();
    write_rows(to, header, open)?;
    if !folded.is_empty() {
        let shown = folded.get(..limit::ALL_ROWS).unwrap_or(folded);
        writeln!(to, "\n<details><summary>and {} more</summary>\n", several(folded.len(), "row"))?;
        write_rows(to, header, shown)?;
        if shown.len() < folded.len() {
            writeln!(to, "\n{} not shown", several(folded.len() - shown.len(), "row"))?;
        }
        writeln!(to, "\n</details>")?;
    }
    writeln!(to)
}

fn write_rows(to: &mut String, header: &[String], rows: &[Vec<String>]) -> fmt::Result {
    writeln!(to, "| {} |", header.join(" | "))?;
    writeln!(to, "|{}", "---|".repeat(header.len()))?;
    rows.iter().try_for_each(|row| writeln!(to, "| {} |", row.join(" | ")))
}
