//! Progress of a run: a bar on a terminal, otherwise a plain line now and then.

use std::{
    fmt, io,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::Event;

/// Interval between plain lines.
const EVERY: Duration = Duration::from_secs(10);

/// Steps of a bar that has no trials to count.
const STEPS: u64 = 1000;

/// Tells how far a run is.
#[derive(Debug)]
pub struct Progress<W> {
    shape: Shape<W>,
    done: usize,
    all: usize,
    bad: usize,
}

#[derive(Debug)]
enum Shape<W> {
    Nothing,
    Bar(ProgressBar),
    Lines { to: W, every: Duration, last: Instant },
}

impl Progress<io::Stderr> {
    /// On standard error, unless nobody wants to know.
    #[must_use]
    pub fn on_stderr(wanted: bool) -> Self {
        match (wanted, io::IsTerminal::is_terminal(&io::stderr())) {
            (false, _) => Self::new(Shape::Nothing),
            (true, true) => {
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
                Self::new(Shape::Bar(bar))
            }
            (true, false) => Self::lines(io::stderr(), EVERY),
        }
    }
}

impl<W: io::Write> Progress<W> {
    fn new(shape: Shape<W>) -> Self {
        Self { shape, done: 0, all: 0, bad: 0 }
    }

    /// Plain lines, at least so long apart.
    pub fn lines(to: W, every: Duration) -> Self {
        Self::new(Shape::Lines { to, every, last: Instant::now() })
    }

    /// Takes in one event.
    pub fn report(&mut self, event: Event<'_>) -> io::Result<()> {
        match event {
            Event::Started { trials, .. } => {
                self.all = trials;
                self.begin(
                    trials.try_into().unwrap_or(u64::MAX),
                    "[{elapsed}] {bar:30} {pos}/{len} trials{msg}",
                );
                Ok(())
            }
            Event::Surveying { frames, sent, lost } => {
                let lost = if lost > 0 { format!(", {lost} lost") } else { String::new() };
                if let Shape::Bar(bar) = &self.shape {
                    bar.set_message(format!(", surveying {sent} of {frames} frames{lost}"));
                    return Ok(());
                }
                self.line(format_args!("surveying {sent} of {frames} frames{lost}"))
            }
            Event::Frames { .. } => Ok(()),
            Event::Trial(trial) => {
                self.done += 1;
                self.bad += usize::from(trial.verdict.is_bad());
                let bad = if self.bad > 0 { format!(", {} bad", self.bad) } else { String::new() };
                if let Shape::Bar(bar) = &self.shape {
                    bar.set_position(self.done.try_into().unwrap_or(u64::MAX));
                    bar.set_message(bad);
                    return Ok(());
                }
                let (done, all) = (self.done, self.all);
                self.line(format_args!("{done} of {all} trials{bad}"))
            }
            Event::Measuring { .. } => {
                self.begin(STEPS, "[{elapsed}] {bar:30} {percent} % of the budget: {wide_msg}");
                Ok(())
            }
            Event::Progress { round, spent, case } => {
                if let Shape::Bar(bar) = &self.shape {
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        clippy::cast_precision_loss,
                        reason = "a share of a bar"
                    )]
                    bar.set_position((spent.clamp(0.0, 1.0) * STEPS as f64) as u64);
                    bar.set_message(format!("round {round}, {case}"));
                    return Ok(());
                }
                self.line(format_args!("round {round}, {:.0} % of the budget: {case}", spent * 100.0))
            }
            Event::Ended { .. } => {
                if let Shape::Bar(bar) = &self.shape {
                    bar.finish_and_clear();
                }
                Ok(())
            }
        }
    }

    fn begin(&self, length: u64, template: &str) {
        let Shape::Bar(bar) = &self.shape else { return };
        // A template that cannot be read leaves the usual one.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_length(length);
    }

    fn line(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
        if let Shape::Lines { to, every, last } = &mut self.shape
            && last.elapsed() >= *every
        {
            *last = Instant::now();
            writeln!(to, "{text}")?;
            to.flush()?;
        }
        Ok(())
    }
}
