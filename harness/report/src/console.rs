//! A run for people: the table of verdicts, each failure with what is needed to understand it, and the summary.

use std::{collections::BTreeMap, fmt::Write as _, io, path::PathBuf, time::Instant};

use anstyle::{AnsiColor, Style};
use xdproof_ebpf::abi::protocol_name;

use xdproof_core::model::{
    environment::Environment, expectation::ExpectedTotals, mode::TrialPath, observation::side_by_side,
    verdict::VerdictKind,
};
use xdproof_core::model::{
    finding::{Finding, Severity},
    result::{AttachTestRecord, Observed, RunResult, Summary, TrialRecord},
};

use crate::{Event, Reporter, frame_diff, json::JsonFile, table};

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Failures and the summary.
    Quiet,
    /// The table too.
    #[default]
    Normal,
    /// Each trial when it ends, too.
    Verbose,
}

/// Writes to a terminal, or to whatever strips colours for one that has none.
#[derive(Debug)]
pub struct Console<W> {
    to: W,
    verbosity: Verbosity,
    frames_in: Option<PathBuf>,
    started: Instant,
}

/// Bytes of a frame that are printed; a longer one is in the result file in full.
const SHOWN_BYTES: usize = 256;

/// Failed trials that are explained where a screen is to hold the summary.
const EXPLAINED: usize = 3;

/// Failed trials that are explained where nothing else is said.
const EXPLAINED_ALONE: usize = 16;

/// Lines of a kind beyond those.
const LISTED: usize = 5;

/// Frames of a scenario that are printed for a failure.
const SHOWN_FRAMES: usize = 16;

impl<W: io::Write> Console<W> {
    /// Writes to `to`.
    pub fn new(to: W, verbosity: Verbosity) -> Self {
        Self { to, verbosity, frames_in: None, started: Instant::now() }
    }

    /// Says with each failure where in this directory a [`JsonFile`] keeps its frames.
    #[must_use]
    pub fn with_frames_in(mut self, directory: Option<PathBuf>) -> Self {
        self.frames_in = directory;
        self
    }

    fn started(&mut self, environment: &Environment, paths: &[TrialPath], trials: usize) -> io::Result<()> {
        let Environment { xdproof, kernel_release, program, .. } = environment;
        let object = program.object.as_deref().unwrap_or("built in");
        writeln!(
            self.to,
            "xdproof {xdproof} on kernel {kernel_release}: program {} ({object}, tag {}), {trials} to run: {}",
            program.name,
            program.tag,
            paths.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        )
    }

    fn ended(&mut self, result: &RunResult) -> io::Result<()> {
        if self.verbosity >= Verbosity::Normal {
            table::write(&mut self.to, &result.trials, self.verbosity)?;
        }
        self.reasons(&result.trials)?;
        self.undecided(&result.trials)?;
        self.findings(&result.findings)?;
        self.rules(&result.attach_semantics)?;
        self.failures(&result.trials)?;
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

    /// What did not come out as it had to: the first in full, some more on a line each, and how many more there are.
    fn failures(&mut self, trials: &[TrialRecord]) -> io::Result<()> {
        let bad: Vec<&TrialRecord> = trials.iter().filter(|trial| trial.verdict.is_bad()).collect();
        let (explained, listed) = match self.verbosity {
            Verbosity::Quiet => (EXPLAINED_ALONE, LISTED),
            Verbosity::Normal => (EXPLAINED, LISTED),
            Verbosity::Verbose => (usize::MAX, 0),
        };
        for trial in bad.iter().take(explained) {
            writeln!(self.to)?;
            self.to.write_all(explain(trial).as_bytes())?;
            if let (Some(directory), Some(_)) = (&self.frames_in, &trial.failure) {
                let pcap = directory.join(JsonFile::frames_of(trial));
                writeln!(self.to, "  frames: {}", pcap.display())?;
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
            writeln!(self.to, "and {} more: -v shows them all, {kept}", several(more, "failure"))?;
        }
        Ok(())
    }

    /// What was found out beside the trials, the weightiest first.
    fn findings(&mut self, findings: &[Finding]) -> io::Result<()> {
        let least = if self.verbosity == Verbosity::Verbose { Severity::Note } else { Severity::Warning };
        let told: Vec<&Finding> = findings.iter().filter(|finding| finding.severity >= least).collect();
        let limit = if self.verbosity == Verbosity::Verbose { usize::MAX } else { LISTED };
        for Finding { kind: _, severity, nic, mode, message } in told.iter().take(limit) {
            let style = match severity {
                Severity::Fault => style_of(VerdictKind::Fail),
                Severity::Warning => style_of(VerdictKind::Skip),
                Severity::Note => Style::new(),
            };
            let of = [nic.clone(), mode.map(|mode| mode.to_string())];
            let of = of.into_iter().flatten().collect::<Vec<_>>().join(", ");
            let of = if of.is_empty() { of } else { format!(" ({of})") };
            writeln!(self.to, "{style}{}{style:#}{}: {}", severity.name(), shown(&of), shown(message))?;
        }
        if let Some(more @ 1..) = told.len().checked_sub(limit) {
            writeln!(self.to, "and {} more", several(more, "finding"))?;
        }
        Ok(())
    }

    /// How the rules of attaching came out, where they were tried.
    fn rules(&mut self, rules: &[AttachTestRecord]) -> io::Result<()> {
        if rules.is_empty() {
            return Ok(());
        }
        let bad: Vec<&AttachTestRecord> = rules.iter().filter(|rule| rule.verdict.is_bad()).collect();
        let limit = if self.verbosity == Verbosity::Verbose { usize::MAX } else { LISTED };
        for rule in bad.iter().take(limit) {
            let style = style_of(rule.verdict);
            let reason = rule.reason.as_deref().unwrap_or(&rule.fact);
            let name = rule.verdict.name().to_uppercase();
            writeln!(
                self.to,
                "{style}{name}{style:#} {} on {}: {}",
                shown(&rule.id),
                shown(&rule.nic),
                shown(reason)
            )?;
        }
        if let Some(more @ 1..) = bad.len().checked_sub(limit) {
            writeln!(self.to, "and {} more", several(more, "rule"))?;
        }
        if self.verbosity >= Verbosity::Normal {
            let held = rules.iter().filter(|rule| rule.verdict == VerdictKind::Pass).count();
            writeln!(self.to, "{held} of {} of attaching hold", several(rules.len(), "rule"))?;
        }
        Ok(())
    }

    /// Why trials were not run or not held to the expectation: each reason once, with how often it was given.
    fn reasons(&mut self, trials: &[TrialRecord]) -> io::Result<()> {
        let mut reasons: BTreeMap<(VerdictKind, &str), usize> = BTreeMap::new();
        for trial in trials {
            if let (false, Some(reason)) = (trial.verdict.is_bad(), &trial.reason) {
                *reasons.entry((trial.verdict, reason)).or_default() += 1;
            }
        }
        let limit = if self.verbosity == Verbosity::Verbose { usize::MAX } else { LISTED };
        let more = reasons.len().saturating_sub(limit);
        for ((verdict, reason), times) in reasons.into_iter().take(limit) {
            let style = style_of(verdict);
            writeln!(self.to, "{style}{verdict}{style:#} {times} x: {}", shown(reason))?;
        }
        if more > 0 {
            writeln!(self.to, "and {} more", several(more, "reason"))?;
        }
        Ok(())
    }

    /// What the verdicts do not rest on.
    fn undecided(&mut self, trials: &[TrialRecord]) -> io::Result<()> {
        let unseen =
            trials.iter().filter_map(|trial| trial.observed.as_ref()).map(|observed| observed.unobservable);
        let (trials, frames) = unseen
            .filter(|frames| *frames > 0)
            .fold((0, 0), |(trials, sum), frames| (trials + 1, sum + frames));
        if trials > 0 {
            writeln!(
                self.to,
                "note: {frames} frames of {trials} trials may have passed or not: the stack discards a tagged frame of fewer \
                 than 20 bytes before any socket gets it; only test_run shows what the program answers"
            )?;
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
            Event::Started { .. } | Event::Trial(_) | Event::Measuring { .. } | Event::Progress { .. } => {
                Ok(())
            }
            Event::Ended { result } => {
                self.ended(result)?;
                self.to.flush()
            }
        }
    }
}

/// How many trials came out how, as in `3 pass, 1 fail`.
#[must_use]
pub fn numbers(summary: &Summary) -> String {
    let numbers = summary.numbers().into_iter().filter(|(_, number)| *number > 0);
    numbers.map(|(name, number)| format!("{number} {name}")).collect::<Vec<_>>().join(", ")
}

/// A text on one line, as it can be shown on any terminal: what would steer it is left out.
#[must_use]
pub fn shown(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// A number of things, as in `1 trial` and `2 trials`.
#[must_use]
pub fn several(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The colour of a verdict.
pub(super) fn style_of(verdict: VerdictKind) -> Style {
    let color = match verdict {
        VerdictKind::Pass => AnsiColor::Green,
        VerdictKind::Fail | VerdictKind::Error => return AnsiColor::Red.on_default().bold(),
        VerdictKind::Skip | VerdictKind::Unreachable => AnsiColor::Yellow,
        VerdictKind::Xfail => AnsiColor::Magenta,
    };
    color.on_default()
}

/// A trial that did not come out as expected: its frames by layer and in hexadecimal, expected and observed side by side,
/// and the command that repeats it.
#[must_use]
pub fn explain(trial: &TrialRecord) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _infallible = write_explanation(&mut text, trial);
    text
}

fn write_explanation(to: &mut String, trial: &TrialRecord) -> std::fmt::Result {
    let style = style_of(trial.verdict);
    let reason = shown(trial.reason.as_deref().unwrap_or("no reason was given"));
    writeln!(to, "{style}{}{style:#} {}", trial.verdict.name().to_uppercase(), shown(&trial.id))?;
    let Some(failure) = &trial.failure else {
        return writeln!(to, "  {reason}");
    };
    for frame in failure.frames.iter().take(SHOWN_FRAMES) {
        writeln!(to, "  {} x {}", frame.times, shown(&frame.layers))?;
        let begin = frame.hex.get(..2 * SHOWN_BYTES).unwrap_or(&frame.hex);
        let rest = if begin.len() < frame.hex.len() { " ..." } else { "" };
        writeln!(to, "      {}{rest}", shown(begin))?;
    }
    if let Some(more @ 1..) = failure.frames.len().checked_sub(SHOWN_FRAMES) {
        writeln!(to, "  and {more} frames more, in the result file")?;
    }
    if let Some(observed) = &trial.observed {
        write_side_by_side(to, &trial.expected, observed)?;
    }
    frame_diff::write(to, &failure.mismatches)?;
    writeln!(to, "  repeat: {}", shown(&failure.reproducer))
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

/// A protocol's number and name, as in `17 udp`.
#[must_use]
pub fn protocol_label(protocol: u8) -> String {
    match protocol_name(protocol) {
        Some(name) => format!("{protocol} {name}"),
        None => protocol.to_string(),
    }
}
