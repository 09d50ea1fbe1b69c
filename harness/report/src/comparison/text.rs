//! A comparison on a terminal: a line for each difference, what got worse last, then the summary.

use std::io;

use anstyle::{AnsiColor, Style};

use crate::comparison::{Comparison, Fate, FindingChange, MeasurementChange, VerdictChange, named, suffix};
use crate::console::{Verbosity, shown};

/// Writes it. Where little is to be said, measurements that are as before are left out; where much is, reasons are added.
///
/// # Errors
///
/// When it cannot be written.
pub fn write(comparison: &Comparison, verbosity: Verbosity, to: &mut impl io::Write) -> io::Result<()> {
    let several = comparison.has_several_nics();
    for lacking in &comparison.lacking {
        writeln!(to, "{:12} {}", "incomplete", shown(lacking))?;
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

fn style(fate: Fate) -> Style {
    match fate {
        Fate::Mended => AnsiColor::Green.on_default(),
        Fate::New | Fate::Changed => Style::new(),
        Fate::Missing => AnsiColor::Yellow.on_default(),
        Fate::Vanished | Fate::Broke => AnsiColor::Red.on_default().bold(),
    }
}

fn verdict(
    to: &mut impl io::Write,
    change: &VerdictChange,
    several: bool,
    verbosity: Verbosity,
) -> io::Result<()> {
    let VerdictChange { id, nic, place, old, new, fate, worse, reason } = change;
    let style = style(*fate);
    let place = suffix(nic.as_deref(), place.as_deref(), several);
    write!(to, "{style}{:12}{style:#} {}: {} -> {}", fate.name(), shown(id), named(*old), named(*new))?;
    write!(to, "{}", shown(&place))?;
    match reason {
        Some(reason) if *worse || verbosity >= Verbosity::Verbose => writeln!(to, ": {}", shown(reason)),
        _ => writeln!(to),
    }
}

fn finding(to: &mut impl io::Write, change: &FindingChange) -> io::Result<()> {
    let style = style(change.fate);
    let name = if change.fate == Fate::Mended { "gone" } else { change.fate.name() };
    let place = suffix(None, change.place.as_deref(), false);
    writeln!(to, "{style}{name:12}{style:#} finding: {}{}", shown(&change.to_string()), shown(&place))
}

fn measurement(to: &mut impl io::Write, change: &MeasurementChange) -> io::Result<()> {
    let style = if change.is_slower() { AnsiColor::Red.on_default().bold() } else { Style::new() };
    let place = suffix(None, change.place.as_deref(), false);
    writeln!(to, "{style}{:12}{style:#} {}{}{change}", change.name(), shown(&change.id), shown(&place))
}
