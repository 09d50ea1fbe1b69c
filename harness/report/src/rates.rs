//! Measurements on a terminal: a table, and remarks on doubtful figures.

use std::io;

use anstyle::{AnsiColor, Style};

use xdproof_core::model::{
    Estimate, Figure, Interval, Judgement, Measured, Measurement, Quantity, RunResult, SideStats, Unmeasured,
};

use crate::{
    Event, Reporter,
    terminal_style::{Verbosity, several, shown, wrapped},
};

/// Writes to a terminal, or to whatever strips colours for one that has none.
#[derive(Debug)]
pub struct Rates<W> {
    to: W,
    verbosity: Verbosity,
}

impl<W: io::Write> Rates<W> {
    /// Writes to `to`.
    pub fn new(to: W, verbosity: Verbosity) -> Self {
        Self { to, verbosity }
    }

    fn ended(&mut self, result: &RunResult) -> io::Result<()> {
        table(&mut self.to, &result.measurements)?;
        if self.verbosity >= Verbosity::Verbose {
            result.measurements.iter().try_for_each(|measurement| side_stats(&mut self.to, measurement))?;
        }
        remarks(&mut self.to, &result.measurements)?;
        self.to.flush()
    }
}

impl<W: io::Write> Reporter for Rates<W> {
    fn report(&mut self, event: Event<'_>) -> io::Result<()> {
        match event {
            Event::Measuring { environment, cases, budget } if self.verbosity >= Verbosity::Normal => {
                writeln!(
                    self.to,
                    "xdproof {} on kernel {}: {} in {}\n  program {} ({}, tag {})",
                    environment.xdproof,
                    environment.kernel_release,
                    several(cases, "measurement"),
                    humantime::format_duration(budget),
                    shown(&environment.program.name),
                    shown(environment.program.object.as_deref().unwrap_or("built in")),
                    environment.program.tag
                )
            }
            Event::Ended { result } => self.ended(result),
            Event::Started { .. }
            | Event::Surveying { .. }
            | Event::Frames { .. }
            | Event::Trial(_)
            | Event::Measuring { .. }
            | Event::Progress { .. } => Ok(()),
        }
    }
}

/// Column headings of a [row].
pub(super) const HEADER: [&str; 9] = ["", "figure", "95 %", "speed", "95 %", "of", "A/A 95 %", "blocks", ""];

/// A row a measurement.
fn table(to: &mut impl io::Write, measurements: &[Measurement]) -> io::Result<()> {
    let mut rows: Vec<[String; 9]> = vec![HEADER.map(str::to_owned)];
    rows.extend(measurements.iter().map(row));
    let mut widths = [0; 9];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for (number, row) in rows.iter().enumerate() {
        let style = match (number, row[8].as_str()) {
            (0, _) => Style::new().bold(),
            (_, "REGRESSION" | "NOT MEASURED") => AnsiColor::Red.on_default().bold(),
            (_, "INCONCLUSIVE" | "not measured") => AnsiColor::Yellow.on_default(),
            (_, "PASS" | "IMPROVED") => AnsiColor::Green.on_default(),
            _ => Style::new(),
        };
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let room = width - cell.chars().count();
            match column {
                0 | 5 | 8 => line.push_str(&format!("{cell}{:room$}", "")),
                _ => line.push_str(&format!("{:room$}{cell}", "")),
            }
            line.push_str("  ");
        }
        writeln!(to, "{style}{}{style:#}", line.trim_end())?;
    }
    Ok(())
}

/// A measurement in nine cells, the first its id and the last its verdict.
pub(super) fn row(measurement: &Measurement) -> [String; 9] {
    let Measurement { id, quantity, value, ratio, control, verdict, unmeasured, .. } = measurement;
    let none = || "-".to_owned();
    let (figure, interval) = value.map_or_else(|| (none(), none()), |value| figure(*quantity, value));
    let speed = |ratio: Estimate| (format!("{:.3}", ratio.ratio), span(ratio.interval, 3));
    let (speed, speed_interval) = ratio.map_or_else(|| (none(), none()), speed);
    let verdict = match (unmeasured, verdict) {
        (Some(Unmeasured { declared: true, .. }), _) => "not measured".to_owned(),
        (Some(_), _) => "NOT MEASURED".to_owned(),
        (None, Some(verdict)) => verdict.name().to_uppercase(),
        (None, None) => String::new(),
    };
    [
        id.clone(),
        figure,
        interval,
        speed,
        speed_interval,
        reference(measurement),
        control.map_or_else(none, |control| span(control.interval, 3)),
        ratio.map_or(0, |ratio| ratio.blocks).to_string(),
        verdict,
    ]
}

/// Returns the name of the reference.
pub(super) fn reference(measurement: &Measurement) -> String {
    match measurement.quantity {
        Quantity::NativeToGeneric => "generic".to_owned(),
        Quantity::SizeToSmallest => "smallest size".to_owned(),
        Quantity::ProgramCost | Quantity::PathRate => match &measurement.reference.object {
            Some(object) => std::path::Path::new(object)
                .file_name()
                .map_or_else(|| object.clone(), |name| name.to_string_lossy().into_owned()),
            None => measurement.reference.name.clone(),
        },
    }
}

pub(super) fn figure(what: Quantity, figure: Figure) -> (String, String) {
    let Figure { median, interval } = figure;
    match what {
        Quantity::ProgramCost => (format!("{median:.2} ns"), span(interval, 2)),
        _ if median >= 1e6 => (format!("{:.2} Mpps", median / 1e6), span(interval.map(|rate| rate / 1e6), 2)),
        _ => (format!("{:.0} kpps", median / 1e3), span(interval.map(|rate| rate / 1e3), 0)),
    }
}

pub(super) fn span(interval: Interval, digits: usize) -> String {
    let Interval { low, high } = interval;
    format!("{low:.digits$}..{high:.digits$}")
}

/// Writes the side statistics.
fn side_stats(to: &mut impl io::Write, measurement: &Measurement) -> io::Result<()> {
    let Measurement { id, subject, side_stats, trials, .. } = measurement;
    let SideStats { cpu_ns_per_frame, steal, losses, per_cpu, .. } = side_stats;
    let Measured { instructions, verified_instructions, machine_code_bytes, .. } = subject;
    let number = |number: Option<u32>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
    let (Some(cpu_ns), Some(steal)) = (cpu_ns_per_frame, steal) else { return Ok(()) };
    let cpus = per_cpu.iter().enumerate().filter(|(_, frames)| **frames > 0);
    let cpus: Vec<String> = cpus.map(|(cpu, frames)| format!("{frames} on CPU {cpu}")).collect();
    let stats = format!(
        "{id}: {cpu_ns:.1} ns of CPU a frame, steal {:.2} %, lost {} ({} by softnet), counted {}; {} trials; {} instructions, {} \
         verified, {machine_code_bytes} bytes of machine code",
        steal * 100.0,
        trials.iter().map(|trial| trial.lost).sum::<u64>(),
        losses.softnet,
        if cpus.is_empty() { "by test runs".to_owned() } else { cpus.join(", ") },
        trials.len(),
        number(*instructions),
        number(*verified_instructions),
    );
    writeln!(to, "  {}", wrapped(&stats, 2, 4))
}

/// Writes remarks below the table.
fn remarks(to: &mut impl io::Write, measurements: &[Measurement]) -> io::Result<()> {
    let mut notes: Vec<(&str, Vec<&str>)> = Vec::new();
    for measurement in measurements {
        let Measurement { id, net_ratio, verdict, unmeasured, baseline, side_stats, .. } = measurement;
        if let Some(net) = net_ratio {
            let Estimate { ratio, interval, .. } = net;
            let cost = span(Interval { low: 1.0 / interval.high, high: 1.0 / interval.low }, 3);
            let net = format!(
                "{id}: net of the null program: {ratio:.3} times as fast ({}), which is {:.3} times the cost ({cost})",
                span(*interval, 3),
                1.0 / ratio
            );
            writeln!(to, "{}", wrapped(&net, 0, 2))?;
        }
        if let Some(Unmeasured { reason, declared }) = unmeasured {
            let what = if *declared { "not measured" } else { "NOT MEASURED" };
            writeln!(to, "{}", wrapped(&format!("{what} {id}: {reason}"), 0, 2))?;
        }
        if let Some(Judgement::Inconclusive { reason }) = verdict {
            writeln!(to, "{}", wrapped(&format!("INCONCLUSIVE {id}: {reason}"), 0, 2))?;
            if !side_stats.void_blocks.is_empty() {
                let each: Vec<String> =
                    side_stats.void_blocks.iter().map(|(name, times)| format!("{times} by {name}")).collect();
                writeln!(to, "  void blocks: {}", each.join(", "))?;
            }
        }
        if let Some(baseline) = baseline {
            let verdict = baseline.verdict.name().to_uppercase();
            writeln!(to, "{}", wrapped(&format!("{verdict} {id}: {baseline}"), 0, 2))?;
        }
        for note in &measurement.notes {
            match notes.iter_mut().find(|(text, _)| text == note) {
                Some((_, ids)) => ids.push(id),
                None => notes.push((note, vec![id])),
            }
        }
    }
    for (note, ids) in notes {
        let note = format!("note on {} of {} measurements: {note}", ids.len(), measurements.len());
        writeln!(to, "{}", wrapped(&note, 0, 2))?;
    }
    if let Some(Measurement { tolerance, .. }) = measurements.first() {
        writeln!(to, "speed: program over reference, above 1 is faster; tolerance {tolerance}")?;
        writeln!(to, "A/A: control, the reference against itself")?;
    }
    Ok(())
}
