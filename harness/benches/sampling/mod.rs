//! How the benches sample, so that all of them together take less than two minutes.
//!
//! What criterion calls a change is more than this machine's tolerance; a verdict it is not. Whether one version of a program
//! is slower than another is told by `xdproof bench --against`, which measures both in turn.

use std::time::Duration;

use criterion::Criterion;
use xdproof::bench::machine::tolerance;

/// Takes `samples` of what is measured, in about `time`; the command line may say otherwise.
pub(crate) fn criterion(samples: usize, time: Duration) -> Criterion {
    Criterion::default()
        .without_plots()
        .sample_size(samples)
        .warm_up_time(time / 4)
        .measurement_time(time)
        .noise_threshold(tolerance().share())
        .configure_from_args()
}
