//! A comparison on a terminal: an entry for each difference, the worse ones last, then the summary.

use std::io;

use anstyle::{AnsiColor, Style};

use crate::{
    comparison::{Comparison, FindingChange, MeasurementChange, VerdictChange, change::aside, tables::Tone},
    terminal_style::{Verbosity, shown, wrapped},
};

/// Columns in front of the text of a line.
const INDENT: usize = 13;

/// Writes a comparison: quiet without unchanged measurements, verbose with the reasons of all changes.
pub fn write(comparison: &Comparison, verbosity: Verbosity, to: &mut impl io::Write) -> io::Result<()> {
    let several = comparison.has_several_nics();
    for incomplete in &comparison.incomplete {
        line(to, Tone::Neutral, "incomplete", incomplete)?;
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
    writeln!(to, "{}", wrapped(&comparison.summary(), 0, 2))
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Good => AnsiColor::Green.on_default(),
            Self::Neutral => Style::new(),
            Self::Doubtful => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
        }
    }
}

/// Writes a change and a text behind it, on several lines if one does not fit.
fn line(to: &mut impl io::Write, tone: Tone, word: &str, text: &str) -> io::Result<()> {
    let style = tone.style();
    writeln!(to, "{style}{word:12}{style:#} {}", wrapped(&shown(text), INDENT, INDENT))
}

fn verdict(
    to: &mut impl io::Write,
    change: &VerdictChange,
    several: bool,
    verbosity: Verbosity,
) -> io::Result<()> {
    let [old, new] = change.verdicts();
    let mut text = format!("{}: {old} -> {new}{}", change.id, change.aside(several));
    if let Some(reason) = change.reason.as_ref().filter(|_| change.worse || verbosity >= Verbosity::Verbose) {
        text.push_str(&format!(": {reason}"));
    }
    line(to, Tone::of(change.kind), change.kind.name(), &text)
}

fn finding(to: &mut impl io::Write, change: &FindingChange) -> io::Result<()> {
    let text = format!("finding: {change}{}", aside(change.place.as_deref()));
    line(to, Tone::of(change.kind), change.name(), &text)
}

fn measurement(to: &mut impl io::Write, change: &MeasurementChange) -> io::Result<()> {
    let tone = if change.is_slower() { Tone::Bad } else { Tone::Neutral };
    let text = format!("{}{}{change}", change.id, aside(change.place.as_deref()));
    line(to, tone, &change.name(), &text)
}
