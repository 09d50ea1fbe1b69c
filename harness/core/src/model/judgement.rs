//! Verdicts on speeds, and the limits on which they depend. Pure.
//!
//! The judged quantity is a *speed ratio*, the subject's speed over the reference's: below 1 the subject is slower.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Minimum number of complete blocks for a verdict. With as many, the interval of the median reaches from about the 6th to
/// the 15th in order, so that five blocks that were disturbed all in one direction lie outside of it.
pub const LEAST_BLOCKS: usize = 20;

/// Maximum share of void blocks. Beyond it, the rest is no sample of the machine, but of its quiet moments.
pub const MOST_VOID: f64 = 0.25;

/// Maximum share of a trial's time that the hypervisor may have taken: half of the narrowest recommended
/// [tolerance](Tolerance).
pub const MOST_STEAL: f64 = 0.01;

/// Maximum share of a trial's time in which something else had the sender's CPU. The kernel's own threads take a tenth now and
/// then, and up to a third, which does not move the median of a trial's bursts; a process that shares the CPU takes half, in
/// slices that are as long as a trial.
pub const MAX_PREEMPTED: f64 = 0.4;

/// Maximum distance from 1 of a control whose interval excludes 1, as a share of the tolerance. See
/// [`judge`](crate::measure::judge).
pub const MAX_CONTROL_BIAS: f64 = 0.2;

/// The reason why a trial, and with it its block, is discarded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Void {
    /// The frames do not add up: more or fewer were sent than were counted or are explained by other counters.
    Conservation { sent: u64, counted: u64, explained: u64 },
    /// The program is to blame: it counted another number of frames than it ran on.
    Miscounted { ran: u64, counted: u64 },
    /// The hypervisor took a larger share of the trial's time than [`MOST_STEAL`].
    Steal { share: f64 },
    /// The stack dropped frames from its backlog.
    Softnet { dropped: u64 },
    /// Something else had the sender's CPU for a larger share of the trial's time than [`MAX_PREEMPTED`].
    Preempted { share: f64 },
    /// The trial did not end on the CPU on which it began.
    Migration { from: u32, to: u32 },
    /// A cost is not positive: there was less to measure than the clock's resolution or the null program's noise.
    BelowClock,
    /// The injector failed.
    Injector { reason: String },
}

impl Void {
    /// Returns true if something else on the machine is to blame, so that the same trial may be complete another time.
    #[must_use]
    pub fn is_disturbance(&self) -> bool {
        matches!(
            self,
            Self::Steal { .. } | Self::Softnet { .. } | Self::Preempted { .. } | Self::Migration { .. }
        )
    }

    /// Returns the name of its kind, as results have it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Conservation { .. } => "conservation",
            Self::Miscounted { .. } => "miscounted",
            Self::Steal { .. } => "steal",
            Self::Softnet { .. } => "softnet",
            Self::Preempted { .. } => "preempted",
            Self::Migration { .. } => "migration",
            Self::BelowClock => "below_clock",
            Self::Injector { .. } => "injector",
        }
    }
}

impl fmt::Display for Void {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conservation { sent, counted, explained } => {
                write!(f, "{sent} frames were sent, {counted} counted, and {explained} are known to be lost")
            }
            Self::Miscounted { ran, counted } => {
                write!(f, "the program ran on {ran} frames and counted {counted}")
            }
            Self::Steal { share } => write!(
                f,
                "the hypervisor took {} of the time, more than {}",
                Percent(*share),
                Percent(MOST_STEAL)
            ),
            Self::Softnet { dropped } => write!(f, "the stack dropped {dropped} frames from its backlog"),
            Self::Preempted { share } => write!(
                f,
                "something else had the sender's CPU for {} of the time, more than {}",
                Percent(*share),
                Percent(MAX_PREEMPTED)
            ),
            Self::Migration { from, to } => write!(f, "began on CPU {from} and ended on CPU {to}"),
            Self::BelowClock => f.write_str("a cost is not above zero"),
            Self::Injector { reason } => f.write_str(reason),
        }
    }
}

/// A speed ratio with its precision.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// The median speed ratio.
    pub ratio: f64,
    /// Its 95 % interval, by the [bootstrap](crate::measure::bootstrap_median).
    pub interval: Interval,
    /// The [`mad`](crate::measure::mad) of the blocks' log ratios: about the share by which a single block is off.
    pub median_abs_deviation: f64,
    pub blocks: usize,
}

/// The share by which a speed may change and still count as the same; above 0 % and below 50 %.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64", into = "f64")]
pub struct Tolerance(f64);

/// An invalid tolerance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a share above 0 % and below 50 %, as `5%` or `0.05` is")]
pub struct ToleranceError {
    pub given: String,
}

impl Tolerance {
    /// For a virtual machine, which its neighbours disturb.
    pub const VM: Self = Self(0.05);
    /// For a machine without neighbours.
    pub const BARE_METAL: Self = Self(0.02);

    /// Returns the share, 0.05 for 5 %.
    #[must_use]
    pub fn share(self) -> f64 {
        self.0
    }

    /// The ratios that count as the same.
    fn band(self) -> Interval {
        Interval { low: 1.0 - self.0, high: 1.0 + self.0 }
    }

    /// The ratios at which a control's departure from 1 is too small to matter.
    pub fn control_band(self) -> Interval {
        Self(self.0 * MAX_CONTROL_BIAS).band()
    }
}

impl TryFrom<f64> for Tolerance {
    type Error = ToleranceError;

    fn try_from(share: f64) -> Result<Self, Self::Error> {
        if share > 0.0 && share < 0.5 {
            Ok(Self(share))
        } else {
            Err(ToleranceError { given: share.to_string() })
        }
    }
}

impl From<Tolerance> for f64 {
    fn from(tolerance: Tolerance) -> Self {
        tolerance.0
    }
}

impl FromStr for Tolerance {
    type Err = ToleranceError;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let share = match given.strip_suffix('%') {
            Some(percent) => percent.trim_end().parse::<f64>().map(|percent| percent / 100.0),
            None => given.parse(),
        };
        let tolerance = share.ok().and_then(|share| Self::try_from(share).ok());
        tolerance.ok_or_else(|| ToleranceError { given: given.to_owned() })
    }
}

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Percent(self.0).fmt(f)
    }
}

/// A share, shown in percent, without the digits that binary fractions add.
struct Percent(f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", (self.0 * 1e6).round() / 1e4)
    }
}

/// One of the sets of blocks on which a verdict is based.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Contender {
    /// The subject against the reference.
    Subject,
    /// The same program against itself.
    Control,
    /// The blocks stored earlier.
    Baseline,
}

named!(Contender {
    Subject = "subject against reference",
    Control = "null against null",
    Baseline = "the baseline",
});

/// The reason why there is no verdict. Intervals are those of a speed ratio.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Inconclusive {
    /// Fewer than [`LEAST_BLOCKS`].
    TooFewBlocks { series: Contender, blocks: usize },
    /// A larger share of the blocks that were run is void than [`MOST_VOID`].
    TooManyVoid { series: Contender, void_blocks: usize, blocks: usize },
    /// The same program against itself is faster or slower.
    ControlDiffers { interval: Interval, tolerance: Tolerance },
    /// The interval of the same program against itself is as wide as the tolerance or wider.
    ControlTooWide { interval: Interval, tolerance: Tolerance },
    /// The interval exceeds the tolerance on both sides.
    TooWide { interval: Interval, tolerance: Tolerance },
    /// A part of the interval exceeds the tolerance on one side.
    Straddles { interval: Interval, tolerance: Tolerance },
    /// The subject is slower, or faster, by all blocks, but not by the earlier and the later half of them each.
    Unconfirmed { interval: Interval, tolerance: Tolerance },
    /// A log ratio, or the ratio that follows from them, is not finite.
    NotFinite,
}

impl fmt::Display for Inconclusive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewBlocks { series, blocks } => {
                write!(f, "{series}: {blocks} whole blocks, and a verdict takes {LEAST_BLOCKS}")
            }
            Self::TooManyVoid { series, void_blocks, blocks } => {
                let most = Percent(MOST_VOID);
                write!(f, "{series}: {void_blocks} of {blocks} blocks are void, more than {most}")
            }
            Self::ControlDiffers { interval, tolerance } => write!(
                f,
                "the machine cannot support a verdict: null against null differs, {interval} times as fast, \
                 which a tolerance of {tolerance} does not bear"
            ),
            Self::ControlTooWide { interval, tolerance } => write!(
                f,
                "the machine cannot support a verdict: null against null scatters, {interval} times as fast, \
                 which is no narrower than the tolerance of {tolerance}"
            ),
            Self::TooWide { interval, tolerance } => write!(
                f,
                "{interval} times as fast, which is wider than the tolerance of {tolerance} on either side"
            ),
            Self::Straddles { interval, tolerance } => {
                write!(
                    f,
                    "{interval} times as fast, which is both within the tolerance of {tolerance} and beyond"
                )
            }
            Self::Unconfirmed { interval, tolerance } => write!(
                f,
                "{interval} times as fast, which is beyond the tolerance of {tolerance}, and not in {LEAST_BLOCKS} earlier and \
                 {LEAST_BLOCKS} later blocks each"
            ),
            Self::NotFinite => f.write_str("a ratio is not a number"),
        }
    }
}

/// The verdict on two speeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Judgement {
    /// The same within the tolerance.
    Pass,
    /// The subject is slower.
    Regression,
    /// The subject is faster.
    Improved,
    Inconclusive {
        reason: Inconclusive,
    },
}

impl Judgement {
    /// Returns the reason why there is no verdict, if there is none.
    #[must_use]
    pub fn reason(&self) -> Option<Inconclusive> {
        match self {
            Self::Inconclusive { reason } => Some(*reason),
            Self::Pass | Self::Regression | Self::Improved => None,
        }
    }

    /// Returns the verdict by an interval alone, the fifth rule of [`judge`](crate::measure::judge).
    pub fn of(interval: Interval, tolerance: Tolerance) -> Self {
        let Interval { low, high } = interval;
        let band = tolerance.band();
        if !(low.is_finite() && high.is_finite() && low <= high) {
            Self::Inconclusive { reason: Inconclusive::NotFinite }
        } else if high < band.low {
            Self::Regression
        } else if low > band.high {
            Self::Improved
        } else if band.contains(low) && band.contains(high) {
            Self::Pass
        } else if low < band.low && high > band.high {
            Self::Inconclusive { reason: Inconclusive::TooWide { interval, tolerance } }
        } else {
            Self::Inconclusive { reason: Inconclusive::Straddles { interval, tolerance } }
        }
    }
}

named!(Judgement {
    Pass = "pass",
    Regression = "regression",
    Improved = "improved",
    Inconclusive = "inconclusive",
});

/// An interval, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

impl Interval {
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    #[must_use]
    pub fn width(&self) -> f64 {
        self.high - self.low
    }

    /// Returns the interval of a function of the figure, which must not fall.
    #[must_use]
    pub fn map(self, f: impl Fn(f64) -> f64) -> Self {
        Self { low: f(self.low), high: f(self.high) }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} to {:.3}", self.low, self.high)
    }
}

/// The change of a measurement since a stored one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Today's ratio over the stored one, each measured in its own run.
    pub ratio: Option<Estimate>,
    /// The verdict on the ratio.
    pub verdict: Judgement,
    /// Today's speed over the stored one, if both were measured on the same machine, which may have been slower or faster.
    pub absolute: Option<f64>,
    /// The verdict on the speed; none in a virtual machine, whose speed varies from run to run.
    pub absolute_verdict: Option<Judgement>,
}

impl Change {
    /// Returns whether the ratio or the speed is slower than the tolerance allows.
    #[must_use]
    pub fn is_slower(&self) -> bool {
        self.verdict == Judgement::Regression || self.absolute_verdict == Some(Judgement::Regression)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ratio {
            Some(Estimate { ratio, interval, .. }) => {
                write!(f, "the ratio is {ratio:.3} times the baseline's ({interval})")?;
            }
            None => f.write_str("the ratio cannot be compared")?,
        }
        if let Judgement::Inconclusive { reason } = &self.verdict {
            write!(f, ": {reason}")?;
        }
        match (self.absolute, &self.absolute_verdict) {
            (Some(speed), Some(verdict)) => {
                write!(f, "; {speed:.3} times as fast as then: {}", verdict.name().to_uppercase())
            }
            (Some(speed), None) => {
                write!(
                    f,
                    "; {speed:.3} times as fast as then (not judged in a virtual machine, nor by a figure in doubt)"
                )
            }
            (None, _) => f.write_str("; absolute figures compare for one machine, program and load only"),
        }
    }
}
