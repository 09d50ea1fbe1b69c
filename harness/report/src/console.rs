//! A run on a terminal: the table of verdicts, each failure with its details, and the summary.

use std::{collections::BTreeMap, fmt::Write as _, io, path::PathBuf, time::Instant};

use anstyle::Style;

use xdproof_core::model::{
    AttachTestRecord, Environment, ExpectedTotals, Finding, Observed, RunResult, Severity, TrialPath,
    TrialRecord, VerdictKind, side_by_side,
};

use crate::{
    Event, Reporter, frame_diff,
    json::JsonFile,
    table,
    terminal_style::{Verbosity, numbers, protocol_label, several, shown, style_of, wrapped},
};

/// Writes to a terminal, or through a filter that strips colours.
#[derive(Debug)]
pub struct Console<W> {
    to: W,
    verbosity: Verbosity,
    frames_in: Option<PathBuf>,
    lines: bool,
    started: Instant,
}

/// Printed bytes of a frame; the result file has all of them.
const SHOWN_BYTES: usize = 256;

/// Explained failures, so that the summary fits a screen.
const EXPLAINED: usize = 3;

/// Explained failures if nothing else is printed.
const EXPLAINED_ALONE: usize = 16;

/// Explained failures if everything is asked for.
const EXPLAINED_VERBOSE: usize = 100;

/// Lines of a kind beyond those.
const LISTED: usize = 5;

/// Lines of a kind if everything is asked for.
const LISTED_VERBOSE: usize = 1000;

/// Printed frames of a failed scenario.
const SHOWN_FRAMES: usize = 16;

impl<W: io::Write> Console<W> {
    pub fn new(to: W, verbosity: Verbosity) -> Self {
        Self { to, verbosity, frames_in: None, lines: false, started: Instant::now() }
    }

    /// Adds to each failure the file in this directory to which a [`JsonFile`] writes its frames.
    #[must_use]
    pub fn with_frames_in(mut self, directory: Option<PathBuf>) -> Self {
        self.frames_in = directory;
        self
    }

    /// Writes a line for each trial when it ends, instead of a table behind them.
    #[must_use]
    pub fn with_a_line_a_trial(mut self) -> Self {
        self.lines = true;
        self
    }

    fn started(&mut self, environment: &Environment, paths: &[TrialPath], trials: usize) -> io::Result<()> {
        let Environment { xdproof, kernel_release, program, .. } = environment;
        let object = program.object.as_deref().unwrap_or("built in");
        let paths = paths.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        writeln!(self.to, "xdproof {xdproof} on kernel {kernel_release}: {}", several(trials, "trial"))?;
        let counters = program.counter_map.as_ref().map(|map| format!(", counts in map {map}"));
        let counters = counters.unwrap_or_default();
        let line = format!("program {} ({object}, tag {}){counters}", program.name, program.tag);
        writeln!(self.to, "  {}", wrapped(&shown(&line), 2, 4))?;
        for note in &program.notes {
            writeln!(self.to, "  {}", wrapped(&shown(&format!("note: {note}")), 2, 4))?;
        }
        writeln!(self.to, "  {}", wrapped(&format!("mode::injector {paths}"), 2, 4))
    }

    fn ended(&mut self, result: &RunResult) -> io::Result<()> {
        if self.verbosity >= Verbosity::Normal && !self.lines {
            table::write(&mut self.to, &result.trials, self.verbosity)?;
        }
        self.reasons(&result.trials)?;
        self.unobservable(&result.trials)?;
        self.findings(&result.findings)?;
        self.attach_semantics(&result.attach_semantics)?;
        self.failures(&result.trials)?;
        // A counter that counts nothing may wait for user space.
        for note in result.environment.program.notes.iter().filter(|_| result.is_bad()) {
            writeln!(self.to, "{}", wrapped(&format!("note: {note}"), 0, 2))?;
        }
        let style = match (result.is_bad(), result.summary.not_run > 0) {
            (true, _) => style_of(VerdictKind::Fail),
            (false, true) => style_of(VerdictKind::Skip),
            (false, false) => style_of(VerdictKind::Pass),
        };
        let total = result.trials.len().saturating_add(result.summary.not_run);
        writeln!(
            self.to,
            "{style}{}: {}{style:#} in {:.2} s",
            several(total, "trial"),
            numbers(&result.summary),
            self.started.elapsed().as_secs_f64()
        )
    }

    /// Writes failures: the first ones in full, some more on a line each, and the number of the others.
    fn failures(&mut self, trials: &[TrialRecord]) -> io::Result<()> {
        let bad: Vec<&TrialRecord> = trials.iter().filter(|trial| trial.verdict.is_bad()).collect();
        let (explained, listed) = match self.verbosity {
            Verbosity::Quiet => (EXPLAINED_ALONE, LISTED),
            Verbosity::Normal => (EXPLAINED, LISTED),
            Verbosity::Verbose => (EXPLAINED_VERBOSE, LISTED_VERBOSE),
        };
        for trial in bad.iter().take(explained) {
            writeln!(self.to)?;
            self.to.write_all(explain(trial).as_bytes())?;
            if let (Some(directory), Some(_)) = (&self.frames_in, &trial.failure) {
                let pcap = directory.join(JsonFile::frames_of(trial));
                writeln!(self.to, "  frames: {}", shown(&pcap.display().to_string()))?;
            }
        }
        let rest = bad.get(explained..).unwrap_or_default();
        if !rest.is_empty() {
            writeln!(self.to)?;
        }
        for trial in rest.iter().take(listed) {
            let style = style_of(trial.verdict);
            writeln!(
                self.to,
                "{style}{}{style:#} {}",
                trial.verdict.name().to_uppercase(),
                shown(&trial.id)
            )?;
        }
        if let Some(more @ 1..) = rest.len().checked_sub(listed) {
            let kept = if self.frames_in.is_some() { "result.json has them" } else { "--out DIR keeps them" };
            let shows = if self.verbosity == Verbosity::Verbose { "" } else { "-v shows more, " };
            writeln!(self.to, "and {} more: {shows}{kept}", several(more, "failure"))?;
        }
        Ok(())
    }

    /// The most lines of a kind.
    fn listed(&self) -> usize {
        if self.verbosity == Verbosity::Verbose { LISTED_VERBOSE } else { LISTED }
    }

    /// Writes findings, the most severe first.
    fn findings(&mut self, findings: &[Finding]) -> io::Result<()> {
        let least = if self.verbosity == Verbosity::Verbose { Severity::Note } else { Severity::Warning };
        let told: Vec<&Finding> = findings.iter().filter(|finding| finding.severity >= least).collect();
        let limit = self.listed();
        for Finding { kind: _, severity, nic, mode, message } in told.iter().take(limit) {
            let style = match severity {
                Severity::Fault => style_of(VerdictKind::Fail),
                Severity::Warning => style_of(VerdictKind::Skip),
                Severity::Note => Style::new(),
            };
            let of = [nic.clone(), mode.map(|mode| mode.to_string())];
            let of = of.into_iter().flatten().collect::<Vec<_>>().join(", ");
            let of = if of.is_empty() { of } else { format!(" ({of})") };
            let heading = format!("{}{}", severity.name(), shown(&of));
            let message = wrapped(&shown(message), heading.len() + 2, 2);
            writeln!(self.to, "{style}{}{style:#}{}: {message}", severity.name(), shown(&of))?;
        }
        if let Some(more @ 1..) = told.len().checked_sub(limit) {
            writeln!(self.to, "and {} more", several(more, "finding"))?;
        }
        Ok(())
    }

    /// Writes the attach-semantics tests that failed and how many passed.
    fn attach_semantics(&mut self, tests: &[AttachTestRecord]) -> io::Result<()> {
        if tests.is_empty() {
            return Ok(());
        }
        let bad: Vec<&AttachTestRecord> = tests.iter().filter(|test| test.verdict.is_bad()).collect();
        let limit = self.listed();
        for test in bad.iter().take(limit) {
            let style = style_of(test.verdict);
            let reason = test.reason.as_deref().unwrap_or(&test.fact);
            let name = test.verdict.name().to_uppercase();
            let text = shown(&format!("{} on {}: {reason}", test.id, test.nic));
            writeln!(self.to, "{style}{name}{style:#} {}", wrapped(&text, name.len() + 1, 2))?;
        }
        if let Some(more @ 1..) = bad.len().checked_sub(limit) {
            writeln!(self.to, "and {} more", several(more, "attach-semantics test"))?;
        }
        if self.verbosity >= Verbosity::Normal {
            let of = |verdict| tests.iter().filter(|test| test.verdict == verdict).count();
            let parts = [VerdictKind::Pass, VerdictKind::Fail, VerdictKind::Error, VerdictKind::Skip];
            let parts = parts.map(|verdict| (of(verdict), verdict.name()));
            let parts = parts.iter().filter(|(number, _)| *number > 0);
            let parts: Vec<String> = parts.map(|(number, name)| format!("{number} {name}")).collect();
            writeln!(self.to, "{}: {}", several(tests.len(), "attach-semantics test"), parts.join(", "))?;
        }
        Ok(())
    }

    /// Writes why trials were skipped, deviated or could not be sent: each reason once, with its number of trials.
    fn reasons(&mut self, trials: &[TrialRecord]) -> io::Result<()> {
        let mut reasons: BTreeMap<(VerdictKind, &str), usize> = BTreeMap::new();
        for trial in trials {
            if let (false, Some(reason)) = (trial.verdict.is_bad(), &trial.reason) {
                *reasons.entry((trial.verdict, reason)).or_default() += 1;
            }
        }
        let limit = self.listed();
        let more = reasons.len().saturating_sub(limit);
        for ((verdict, reason), times) in reasons.into_iter().take(limit) {
            let style = style_of(verdict);
            let heading = format!("{times} {}", explained(verdict));
            let reason = wrapped(&shown(reason), heading.len() + 2, 2);
            writeln!(self.to, "{style}{heading}{style:#}: {reason}")?;
        }
        if more > 0 {
            writeln!(self.to, "and {} more", several(more, "reason"))?;
        }
        Ok(())
    }

    /// Writes how many frames the verdicts leave out.
    fn unobservable(&mut self, trials: &[TrialRecord]) -> io::Result<()> {
        let unseen =
            trials.iter().filter_map(|trial| trial.observed.as_ref()).map(|observed| observed.unobservable);
        let (trials, frames) = unseen
            .filter(|frames| *frames > 0)
            .fold((0, 0), |(trials, sum), frames| (trials + 1, sum + frames));
        if trials > 0 {
            let note = format!(
                "note: {frames} frames in {} are not observable: the stack discards a tagged frame of less than 20 bytes \
                 before any socket receives it; only test_run shows the program's verdict",
                several(trials, "trial")
            );
            writeln!(self.to, "{}", wrapped(&note, 0, 2))?;
        }
        Ok(())
    }
}

impl<W: io::Write> Reporter for Console<W> {
    fn report(&mut self, event: Event<'_>) -> io::Result<()> {
        match event {
            Event::Started { environment, paths, trials } if self.verbosity >= Verbosity::Normal => {
                self.started(environment, paths, trials)
            }
            Event::Trial(trial) if self.verbosity >= Verbosity::Verbose => {
                let style = style_of(trial.verdict);
                let TrialRecord { id, verdict, duration_us, .. } = trial;
                writeln!(self.to, "{style}{verdict:11}{style:#} {id} ({duration_us} us)")
            }
            Event::Trial(trial) if self.lines && self.verbosity == Verbosity::Normal => {
                let style = style_of(trial.verdict);
                let verdict = match trial.verdict {
                    VerdictKind::Pass => "ok".to_owned(),
                    VerdictKind::Fail => "FAILED".to_owned(),
                    other => other.name().to_owned(),
                };
                writeln!(self.to, "{} ... {style}{verdict}{style:#}", shown(&trial.id))
            }
            Event::Started { .. }
            | Event::Surveying { .. }
            | Event::Frames { .. }
            | Event::Trial(_)
            | Event::Measuring { .. }
            | Event::Progress { .. } => Ok(()),
            Event::Ended { result } => {
                self.ended(result)?;
                self.to.flush()
            }
        }
    }
}

/// Returns a trial's verdict in words.
fn explained(verdict: VerdictKind) -> &'static str {
    match verdict {
        VerdictKind::Pass => "passed",
        VerdictKind::Fail => "failed",
        VerdictKind::Skip => "skipped",
        VerdictKind::Xfail => "deviated as declared (xfail)",
        VerdictKind::Error => "errored",
        VerdictKind::Unreachable => "unreachable: no injector can send the frames",
    }
}

/// Explains a failed trial: its frames by layer and in hexadecimal, expected and observed side by side, and the command that
/// reproduces it.
#[must_use]
pub fn explain(trial: &TrialRecord) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _infallible = write_explanation(&mut text, trial);
    text
}

fn write_explanation(to: &mut String, trial: &TrialRecord) -> std::fmt::Result {
    let style = style_of(trial.verdict);
    let reason = shown(trial.reason.as_deref().unwrap_or("no reason given"));
    writeln!(to, "{style}{}{style:#} {}", trial.verdict.name().to_uppercase(), shown(&trial.id))?;
    let Some(failure) = &trial.failure else {
        return writeln!(to, "  {}", wrapped(&reason, 2, 4));
    };
    for frame in failure.frames.iter().take(SHOWN_FRAMES) {
        let layers = format!("{} x {}", frame.times, shown(&frame.layers));
        writeln!(to, "  {}", wrapped(&layers, 2, 6))?;
        let begin = frame.hex.get(..2 * SHOWN_BYTES).unwrap_or(&frame.hex);
        let rest = if begin.len() < frame.hex.len() { " ..." } else { "" };
        writeln!(to, "      {}{rest}", shown(begin))?;
    }
    let more = failure.frames.len().saturating_sub(SHOWN_FRAMES) as u64;
    let more = more.saturating_add(failure.omitted);
    if more > 0 {
        writeln!(to, "  and {more} more distinct frames")?;
    }
    if let Some(observed) = &trial.observed {
        write_side_by_side(to, &trial.expected, observed)?;
    }
    frame_diff::write(to, &failure.mismatches)?;
    writeln!(to, "  reproduce: {}", shown(&failure.reproducer))
}

fn write_side_by_side(to: &mut String, expected: &ExpectedTotals, observed: &Observed) -> std::fmt::Result {
    writeln!(to, "  {:24} {:>12} {:>12}", "", "expected", "observed")?;
    let mut row = |name: &str, expected: u64, observed: u64| {
        let mark = if expected == observed { "" } else { "  <--" };
        writeln!(to, "  {name:24} {expected:12} {observed:12}{mark}")
    };
    if let (Some(expected), Some(observed)) = (&expected.counts, &observed.counts) {
        for (protocol, expected, observed) in side_by_side(expected, observed) {
            row(&protocol_label(*protocol), expected, observed)?;
        }
    }
    for (sink, expected, observed) in side_by_side(&expected.frames, &observed.frames) {
        row(&sink.frames(), expected, observed)?;
    }
    if observed.unobservable > 0 {
        writeln!(to, "  {:24} {:>12} {:12}", "not observable", "", observed.unobservable)?;
    }
    Ok(())
}
