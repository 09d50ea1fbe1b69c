//! The short report of a matrix of kernels and NICs, in at most 60 lines, which the summary of a CI run shows on one page: a row for the
//! NICs and kernels with the same verdicts, and the first issues of each kind. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
};

use xdproof_core::model::RunResult;

use crate::{
    assessment::{Assessment, Issue},
    driver_table::DriverTable,
    markdown_text::{code, issue_line, prose},
    terminal_style::several,
    test_cases::{labels, nic},
};

/// Cells of kernels and NICs from which on results are a matrix; fewer have a row each.
const CELLS: usize = 9;

/// Rows of the table.
const ROWS: usize = 24;

/// Lines of issues, headings included.
const ISSUE_LINES: usize = 20;

/// Issues of a kind.
const ISSUES: usize = 3;

/// Returns whether results are of so many kernels and NICs that they are grouped.
pub(super) fn is_matrix(results: &[RunResult]) -> bool {
    let cells = labels(results).into_iter().zip(results).flat_map(|(label, result)| {
        let nics: BTreeSet<&str> = result.trials.iter().map(nic).collect();
        nics.into_iter().map(move |nic| (label.clone(), nic))
    });
    cells.collect::<BTreeSet<_>>().len() >= CELLS
}

/// Writes what follows the verdict in a sentence.
pub(super) fn render(to: &mut String, assessment: &Assessment, results: &[RunResult]) -> fmt::Result {
    tested(to, results)?;
    let table = DriverTable::of(results, ROWS);
    let heads = table.paths.iter().map(|path| prose(&path.to_string()));
    let heads: Vec<String> = ["NIC".to_owned(), "kernels".to_owned()].into_iter().chain(heads).collect();
    writeln!(to, "| {} |\n|{}", heads.join(" | "), "---|".repeat(heads.len()))?;
    for row in table.rows.iter().take(ROWS) {
        let cells = table.paths.iter().map(|path| match row.verdicts(*path) {
            [bad, good] if bad.is_empty() => good,
            [bad, good] if good.is_empty() => format!("**{bad}**"),
            [bad, good] => format!("**{bad}**, {good}"),
        });
        let cells: Vec<String> = cells.collect();
        writeln!(to, "| {} | {} | {} |", prose(&row.nics), prose(&row.kernels), cells.join(" | "))?;
    }
    if let Some(more @ 1..) = table.rows.len().checked_sub(ROWS) {
        writeln!(to, "\n{} more in report.html", several(more, "row"))?;
    }
    writeln!(to)?;
    issues(to, assessment, results)?;
    measured(to, results)
}

/// Writes the programs and the number of devices and kernels.
fn tested(to: &mut String, results: &[RunResult]) -> fmt::Result {
    let programs: BTreeSet<String> = results
        .iter()
        .map(|result| {
            let program = &result.environment.program;
            let object = program.object.as_deref().unwrap_or("built in");
            let by = prose(&result.environment.xdproof);
            format!(
                "program {} ({}, tag {}) by xdproof {by}",
                code(&program.name),
                prose(object),
                code(&program.tag)
            )
        })
        .collect();
    for program in programs.iter().take(2) {
        writeln!(to, "- {program}")?;
    }
    if let Some(more @ 1..) = programs.len().checked_sub(2) {
        writeln!(to, "- {}", several(more, "other program"))?;
    }
    let kernels: BTreeSet<&str> =
        results.iter().map(|result| result.environment.kernel_release.as_str()).collect();
    let nics: BTreeSet<&str> = results.iter().flat_map(|result| result.trials.iter().map(nic)).collect();
    writeln!(to, "- {} and {}\n", several(kernels.len(), "kernel"), several(nics.len(), "NIC"))
}

/// Writes the first issues of the kinds that weigh most, and the number of the others.
fn issues(to: &mut String, assessment: &Assessment, results: &[RunResult]) -> fmt::Result {
    let labels = labels(results);
    let mut left = ISSUE_LINES;
    let mut rest: Vec<String> = Vec::new();
    for (kind, issues) in assessment.by_kind() {
        let number: usize = issues.iter().map(|issue: &Issue| issue.places.len()).sum();
        let shown = issues.len().min(ISSUES);
        // A heading, two blank lines, and perhaps the number of the others.
        let needed = shown + 4;
        if needed > left {
            rest.push(format!("{} ({number})", kind.heading()));
            continue;
        }
        left -= needed;
        writeln!(to, "### {} ({number})\n", kind.heading())?;
        for issue in &issues[..shown] {
            writeln!(to, "{}", issue_line(issue, &labels, results))?;
        }
        if issues.len() > shown {
            writeln!(to, "- and {} more in report.html", issues.len() - shown)?;
        }
        writeln!(to)?;
    }
    if rest.is_empty() { Ok(()) } else { writeln!(to, "In report.html: {}.\n", prose(&rest.join(", "))) }
}

/// Writes the number of measurements by verdict.
fn measured(to: &mut String, results: &[RunResult]) -> fmt::Result {
    let mut verdicts: BTreeMap<&str, usize> = BTreeMap::new();
    for measurement in results.iter().flat_map(|result| &result.measurements) {
        *verdicts.entry(measurement.verdict.map_or("not judged", |verdict| verdict.name())).or_default() += 1;
    }
    if verdicts.is_empty() {
        return Ok(());
    }
    let parts: Vec<String> = verdicts.iter().map(|(name, number)| format!("{number} {name}")).collect();
    writeln!(to, "Measurements: {}; report.html has them.", parts.join(", "))
}
