//! Measuring: costs are compared on machines that cannot be trusted, in blocks of trials close together in
//! time, by the median of their log ratios, with an interval, and with a verdict only where the machine,
//! compared with itself, supports one.

pub mod case;
pub mod compare;
pub mod series;
pub mod traffic;

mod method;
mod statistics;

pub use method::{Block, Judged, Series, judge, judge_against_baseline, wants_more};
pub use statistics::{LEVEL, RESAMPLES, bootstrap_difference, bootstrap_median, mad, median};
