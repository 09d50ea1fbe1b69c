//! The method: from the costs of single trials to a verdict about two things, one of which is the reference. Pure.
//!
//! All is kept as cost, in nanoseconds per frame: lower is better. What is judged is a *speed ratio*, the subject's speed
//! over the reference's: below 1 the subject is slower.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many whole blocks a verdict takes at least. With as many, the interval of the median reaches from about the 6th to
/// the 15th in order, so that five blocks that were disturbed all in one way lie outside of it.
pub const LEAST_BLOCKS: usize = 20;

/// Which share of the blocks may be void at most. Beyond it, what is left is no sample of what the machine does, but of its
/// quiet moments.
pub const MOST_VOID: f64 = 0.25;

/// Which share of a trial's time the hypervisor may have taken at most: half of the narrowest [tolerance](Tolerance) that
/// anybody is told to use.
pub const MOST_STEAL: f64 = 0.01;

/// For which share of a trial something else may have had the sender's CPU at most. The kernel's own threads take a tenth now and
/// then, and up to a third, which the median of a trial's bursts bears; a process that shares the CPU takes half, in slices
/// that are as long as a trial.
pub const MAX_PREEMPTED: f64 = 0.4;

/// By which share of the tolerance the same program, measured against itself, may come out off 1 although its interval
/// misses 1. See [`judge`](crate::measure::judge).
pub const MAX_CONTROL_BIAS: f64 = 0.2;

/// Why a trial, and with it its block, says nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Void {
    /// The frames do not add up: more or fewer were sent than were counted or are known to be lost.
    Conservation {
        /// Frames sent.
        sent: u64,
        /// Frames counted.
        counted: u64,
        /// Frames not counted, for which some other counter accounts.
        explained: u64,
    },
    /// The hypervisor took more than [`MOST_STEAL`].
    Steal {
        /// The share of the trial's time that it took.
        share: f64,
    },
    /// The stack dropped frames from its backlog.
    Softnet {
        /// How many.
        dropped: u64,
    },
    /// Something else had the sender's CPU for more than [`MAX_PREEMPTED`].
    Preempted {
        /// The share of the trial's time that it had it.
        share: f64,
    },
    /// The trial did not end on the CPU on which it began.
    Migration {
        /// The CPU at the beginning.
        from: u32,
        /// The CPU at the end.
        to: u32,
    },
    /// A cost is not positive: there was less to measure than the clock's grain or the null program's noise.
    BelowClock,
    /// The injector failed.
    Injector {
        /// In what.
        reason: String,
    },
}

impl Void {
    /// Whether something else on the machine is to blame, so that the same trial may come out whole another time.
    #[must_use]
    pub fn is_disturbance(&self) -> bool {
        match self {
            Self::Steal { .. } | Self::Softnet { .. } | Self::Preempted { .. } | Self::Migration { .. } => {
                true
            }
            Self::Conservation { .. } | Self::BelowClock | Self::Injector { .. } => false,
        }
    }

    /// The name of its kind, as results have it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Conservation { .. } => "conservation",
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

/// A speed ratio, and how well it is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// The median speed ratio.
    pub ratio: f64,
    /// Where it lies, by the [bootstrap](crate::measure::bootstrap_median).
    pub interval: Interval,
    /// The [`mad`](crate::measure::mad) of the blocks' log ratios: about the share by which a single block is off.
    pub median_abs_deviation: f64,
    /// How many blocks there are.
    pub blocks: usize,
}

/// By which share a speed may change and still count as the same; above 0 % and below 50 %.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64", into = "f64")]
pub struct Tolerance(f64);

/// What is wrong with a tolerance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a share above 0 % and below 50 %, as `5%` or `0.05` is")]
pub struct ToleranceError {
    /// What was given.
    pub given: String,
}

impl Tolerance {
    /// For a virtual machine, whose neighbours are felt.
    pub const VM: Self = Self(0.05);
    /// For a machine of one's own.
    pub const BARE_METAL: Self = Self(0.02);

    /// The share, 0.05 for 5 %.
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

/// A share, shown in percent, without the digits that come of counting in binary.
struct Percent(f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", (self.0 * 1e6).round() / 1e4)
    }
}

/// Which of the sets of blocks that a verdict rests on.
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

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Subject => "subject against reference",
            Self::Control => "null against null",
            Self::Baseline => "the baseline",
        })
    }
}

/// Why there is no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Inconclusive {
    /// Fewer than [`LEAST_BLOCKS`].
    TooFewBlocks {
        /// Of which set.
        series: Contender,
        /// How many are whole.
        blocks: usize,
    },
    /// More than [`MOST_VOID`].
    TooManyVoid {
        /// In which set.
        series: Contender,
        /// Blocks that are void.
        void_blocks: usize,
        /// Blocks that were tried.
        blocks: usize,
    },
    /// The same program against itself comes out as faster or slower.
    ControlDiffers {
        /// Where its speed ratio lies.
        interval: Interval,
        /// The tolerance.
        tolerance: Tolerance,
    },
    /// The same program against itself scatters as far as the tolerance or further.
    ControlTooWide {
        /// Where its speed ratio lies.
        interval: Interval,
        /// The tolerance.
        tolerance: Tolerance,
    },
    /// The interval goes beyond the tolerance on both sides.
    TooWide {
        /// Where the speed ratio lies.
        interval: Interval,
        /// The tolerance.
        tolerance: Tolerance,
    },
    /// The interval goes beyond the tolerance on one side, and not with all of its length.
    Straddles {
        /// Where the speed ratio lies.
        interval: Interval,
        /// The tolerance.
        tolerance: Tolerance,
    },
    /// The subject is slower, or faster, by all blocks, and not by the earlier and the later half of them each.
    Unconfirmed {
        /// Where the speed ratio lies by all blocks.
        interval: Interval,
        /// The tolerance.
        tolerance: Tolerance,
    },
    /// A log ratio is not finite, or what they come to is not.
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

/// How the speeds compare.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Judgement {
    /// The same, but for the tolerance.
    Pass,
    /// The subject is slower.
    Regression,
    /// The subject is faster.
    Improved,
    /// It cannot be told.
    Inconclusive {
        /// Why.
        reason: Inconclusive,
    },
}

impl Judgement {
    /// The name that results use.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Regression => "regression",
            Self::Improved => "improved",
            Self::Inconclusive { .. } => "inconclusive",
        }
    }

    /// Why there is no verdict, where there is none.
    #[must_use]
    pub fn reason(&self) -> Option<Inconclusive> {
        match self {
            Self::Inconclusive { reason } => Some(*reason),
            Self::Pass | Self::Regression | Self::Improved => None,
        }
    }

    /// What an interval says, by [`judge`](crate::measure::judge)'s last rule.
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

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Where a figure lies, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// Whether `value` lies within.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// How far the ends are apart.
    #[must_use]
    pub fn width(&self) -> f64 {
        self.high - self.low
    }

    /// The interval of what `f` makes of the figure. `f` must not fall.
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

/// What became of a measurement since a stored one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// How the ratio compares, each being taken in its own run: today's over the stored one.
    pub ratio: Option<Estimate>,
    /// The verdict on it.
    pub verdict: Judgement,
    /// Today's speed over the stored one. Only where both were measured on the same machine, which is not to say that the
    /// machine was as fast.
    pub absolute: Option<f64>,
    /// The verdict on that; none in a virtual machine, whose speed is not its own from one run to the next.
    pub absolute_verdict: Option<Judgement>,
}

impl Change {
    /// Whether anything is slower than it may be.
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
