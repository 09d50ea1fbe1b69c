//! How costs are compared on machines that cannot be trusted: in blocks whose trials stand close together, by the median
//! of their log ratios, with an interval, and with a verdict only where the machine, compared with itself, supports one.

pub mod case;
pub mod compare;
pub mod record;
pub mod traffic;

mod losses;
mod method;
mod statistics;

pub use losses::Losses;
pub use method::{
    Block, Estimate, Inconclusive, Judged, Judgement, LEAST_BLOCKS, MOST_AWAY, MOST_GATE_BIAS, MOST_STEAL,
    MOST_VOID, Series, Tolerance, ToleranceError, Void, Which, judge, judge_against_baseline, wants_more,
};
pub use statistics::{Interval, LEVEL, RESAMPLES, bootstrap_difference, bootstrap_median, mad, median};
