//! A comparison on a terminal: a line for each difference, the worse ones last, then the summary.

use std::io;

use anstyle::{AnsiColor, Style};

use crate::comparison::{
    ChangeKind, Comparison, FindingChange, MeasurementChange, VerdictChange, named, suffix,
};
use crate::terminal_style::{Verbosity, shown, wrapped};

/// Columns in front of the text of a line.
const INDENT: usize = 13;

/// Writes a comparison: quiet without unchanged measurements, verbose with the reasons of all changes.
pub fn write(comparison: &Comparison, verbosity: Verbosity, to: &mut impl io::Write) -> io::Result<()> {
    let several = comparison.has_several_nics();
    for incomplete in &comparison.incomplete {
        writeln!(to, "{:12} {}", "incomplete", shown(incomplete))?;
    }
    for worse in [false, true] {
        for change in comparison.findings.iter().filter(|change| change.worse == worse) {
            finding(to, change)?;
        }
        for change in comparison.measurements.iter().filter(|change| change.is_slower() == worse) {
            if verbosity >= Verbosity::Normal || !change.is_same() {
                measurement(to, change)?;
            }
        }
        for change in comparison.verdicts().filter(|change| change.worse == worse) {
            verdict(to, change, several, verbosity)?;
        }
    }
    writeln!(to, "{}", comparison.summary())
}

fn style(kind: ChangeKind) -> Style {
    match kind {
        ChangeKind::Fixed => AnsiColor::Green.on_default(),
        ChangeKind::New | ChangeKind::Changed => Style::new(),
        ChangeKind::Missing => AnsiColor::Yellow.on_default(),
        ChangeKind::Lost | ChangeKind::Regressed => AnsiColor::Red.on_default().bold(),
    }
}

fn verdict(
    to: &mut impl io::Write,
    change: &VerdictChange,
    several: bool,
    verbosity: Verbosity,
) -> io::Result<()> {
    let VerdictChange { id, nic, place, old, new, kind, worse, reason } = change;
    let style = style(*kind);
    let place = suffix(nic.as_deref(), place.as_deref(), several);
    let mut text = format!("{id}: {} -> {}{place}", named(*old), named(*new));
    if let Some(reason) = reason.as_ref().filter(|_| *worse || verbosity >= Verbosity::Verbose) {
        text.push_str(&format!(": {reason}"));
    }
    writeln!(to, "{style}{:12}{style:#} {}", kind.name(), wrapped(&shown(&text), INDENT, INDENT))
}

fn finding(to: &mut impl io::Write, change: &FindingChange) -> io::Result<()> {
    let style = style(change.kind);
    let name = if change.kind == ChangeKind::Fixed { "gone" } else { change.kind.name() };
    let place = suffix(None, change.place.as_deref(), false);
    let text = wrapped(&shown(&format!("finding: {change}{place}")), INDENT, INDENT);
    writeln!(to, "{style}{name:12}{style:#} {text}")
}

fn measurement(to: &mut impl io::Write, change: &MeasurementChange) -> io::Result<()> {
    let style = if change.is_slower() { AnsiColor::Red.on_default().bold() } else { Style::new() };
    let place = suffix(None, change.place.as_deref(), false);
    writeln!(to, "{style}{:12}{style:#} {}{}{change}", change.name(), shown(&change.id), shown(&place))
}
