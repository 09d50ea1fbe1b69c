//! A comparison in Markdown.

use std::{fmt::Write as _, io};

use crate::comparison::{ChangeKind, Comparison, Side, named, suffix};
use crate::{
    markdown::table,
    markdown_text::{code, prose},
};

/// Writes it.
pub fn write(comparison: &Comparison, mut to: impl io::Write) -> io::Result<()> {
    let mut text = String::new();
    render(&mut text, comparison).map_err(io::Error::other)?;
    to.write_all(text.as_bytes())?;
    to.flush()
}

fn render(to: &mut String, comparison: &Comparison) -> std::fmt::Result {
    writeln!(to, "## xdproof compare: {}\n", comparison.headline())?;
    writeln!(to, "{}.\n", prose(&comparison.summary()))?;
    let row = |name: &str, of: fn(&Side) -> Vec<String>| -> Vec<String> {
        let both = [&comparison.old, &comparison.new].map(|side| prose(&of(side).join(", ")));
        [vec![name.to_owned()], both.to_vec()].concat()
    };
    let rows = [
        row("kernel", |side| side.kernels.iter().cloned().collect()),
        row("program", |side| side.programs.iter().cloned().collect()),
        row("device", |side| side.devices.iter().cloned().collect()),
    ];
    table(to, &["", "old", "new"].map(str::to_owned), &rows)?;
    for incomplete in &comparison.incomplete {
        writeln!(to, "- incomplete: {}", prose(incomplete))?;
    }
    if !comparison.incomplete.is_empty() {
        writeln!(to)?;
    }
    let several = comparison.has_several_nics();
    // The worst come first.
    let mut verdicts: Vec<_> = comparison.verdicts().collect();
    verdicts.sort_by_key(|change| std::cmp::Reverse(change.kind));
    let verdicts: Vec<Vec<String>> = verdicts
        .into_iter()
        .map(|change| {
            let place = suffix(change.nic.as_deref(), change.place.as_deref(), several);
            vec![
                mark(change.kind.name(), change.worse),
                format!("{}{}", code(&change.id).replace('|', "\\|"), prose(&place)),
                named(change.old).to_owned(),
                named(change.new).to_owned(),
                prose(change.reason.as_deref().unwrap_or("")),
            ]
        })
        .collect();
    section(to, "Trials and attach-semantics tests", &["", "id", "old", "new", "reason"], &verdicts)?;
    let findings: Vec<Vec<String>> = comparison
        .findings
        .iter()
        .map(|change| {
            let name = if change.kind == ChangeKind::Fixed { "gone" } else { change.kind.name() };
            let place = suffix(None, change.place.as_deref(), false);
            vec![mark(name, change.worse), prose(&format!("{change}{place}"))]
        })
        .collect();
    section(to, "Findings", &["", "finding"], &findings)?;
    let mut rates: Vec<_> = comparison.measurements.iter().collect();
    rates.sort_by_key(|change| (!change.is_slower(), change.is_same()));
    let rates: Vec<Vec<String>> = rates
        .into_iter()
        .map(|change| {
            let place = suffix(None, change.place.as_deref(), false);
            let what = change.to_string();
            vec![
                mark(&change.name(), change.is_slower()),
                format!("{}{}", code(&change.id).replace('|', "\\|"), prose(&place)),
                prose(what.trim_start_matches([':', ' '])),
            ]
        })
        .collect();
    section(to, "Measurements", &["", "measurement", "change"], &rates)
}

fn mark(name: &str, worse: bool) -> String {
    if worse { format!("**{name}**") } else { name.to_owned() }
}

fn section(to: &mut String, heading: &str, header: &[&str], rows: &[Vec<String>]) -> std::fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(to, "### {heading}\n")?;
    let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    table(to, &header, rows)
}
