//! Sampling of the benches: all of them together take less than two minutes.
//!
//! A change that criterion reports is larger than this machine's tolerance, but no verdict: `xdproof bench --against` measures two
//! versions of a program in turn and judges them.

use std::time::Duration;

use criterion::Criterion;
use xdproof::bench::machine::tolerance;

/// Takes `samples` samples in about `time`, unless the command line has other values.
pub(crate) fn criterion(samples: usize, time: Duration) -> Criterion {
    Criterion::default()
        .without_plots()
        .sample_size(samples)
        .warm_up_time(time / 4)
        .measurement_time(time)
        .noise_threshold(tolerance().share())
        .configure_from_args()
}
