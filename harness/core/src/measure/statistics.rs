//! Medians, their spread, and bootstrap intervals. Pure; the caller provides the seed.

use fastrand::Rng;

use crate::model::{Estimate, Figure, Interval};

/// Resamples of a bootstrap.
pub const RESAMPLES: usize = 10_000;

/// Confidence level of a bootstrap interval, in percent.
pub const LEVEL: usize = 95;

/// Resampled medians below the interval, and above it.
const TAIL: usize = RESAMPLES * (100 - LEVEL) / 200;

/// Returns the median of `values`, for an even number the mean of the two in the middle; `None` if there are
/// none or one is not finite.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values)?;
    let (lower, upper) = middle(sorted.len());
    Some(f64::midpoint(sorted[lower], sorted[upper]))
}

/// Returns the median absolute deviation of `values` from their median, unscaled; `None` if there is no
/// [`median`] or a deviation is not finite.
#[must_use]
pub fn mad(values: &[f64]) -> Option<f64> {
    let centre = median(values)?;
    let deviations: Vec<f64> = values.iter().map(|value| (value - centre).abs()).collect();
    median(&deviations)
}

/// Returns the percentile-bootstrap interval of the median: [`LEVEL`] percent of [`RESAMPLES`].
///
/// The same values in any order and the same `seed` give the same interval. `None` if there is no [`median`].
#[must_use]
pub fn bootstrap_median(values: &[f64], seed: u64) -> Option<Interval> {
    let mut sample = Resampling::new(values)?;
    Some(percentile(seed, |rng| sample.draw_median(rng)))
}

/// Returns the percentile-bootstrap interval of the difference of two medians of independent samples, that of
/// `new` less that of `old`.
///
/// `None` if either has no [`median`].
#[must_use]
pub fn bootstrap_difference(new: &[f64], old: &[f64], seed: u64) -> Option<Interval> {
    let (mut new, mut old) = (Resampling::new(new)?, Resampling::new(old)?);
    Some(percentile(seed, |rng| new.draw_median(rng) - old.draw_median(rng)))
}

/// Returns the ratio of which `logs` is a sample of logarithms.
pub(super) fn estimate(logs: &[f64], seed: u64) -> Option<Estimate> {
    from_logs(median(logs)?, bootstrap_median(logs, seed)?, logs)
}

/// Returns the change of a ratio, from samples of logarithms that were measured independently.
pub(super) fn estimate_change(new: &[f64], old: &[f64], seed: u64) -> Option<Estimate> {
    from_logs(median(new)? - median(old)?, bootstrap_difference(new, old, seed)?, new)
}

/// Converts logarithms to ratios, if floating point can represent them.
fn from_logs(median: f64, interval: Interval, logs: &[f64]) -> Option<Estimate> {
    let (ratio, interval) = (median.exp(), interval.map(f64::exp));
    let hold = [ratio, interval.low, interval.high].iter().all(|ratio| ratio.is_normal());
    hold.then_some(Estimate { ratio, interval, median_abs_deviation: mad(logs)?, blocks: logs.len() })
}

/// Returns the median of `values` and its interval.
pub(super) fn figure(values: &[f64], seed: u64) -> Option<Figure> {
    Some(Figure { median: median(values)?, interval: bootstrap_median(values, seed)? })
}

fn percentile(seed: u64, mut draw: impl FnMut(&mut Rng) -> f64) -> Interval {
    let mut rng = Rng::with_seed(seed);
    let mut drawn: Vec<f64> = (0..RESAMPLES).map(|_| draw(&mut rng)).collect();
    let mut rank = |rank| *drawn.select_nth_unstable_by(rank, f64::total_cmp).1;
    Interval { low: rank(TAIL), high: rank(RESAMPLES - 1 - TAIL) }
}

/// A sample to draw from with replacement.
///
/// It counts how often each value is drawn: in a sorted sample that is enough to find the median without
/// sorting again.
struct Resampling {
    sorted: Vec<f64>,
    times: Vec<usize>,
}

impl Resampling {
    fn new(values: &[f64]) -> Option<Self> {
        let sorted = sorted(values)?;
        Some(Self { times: vec![0; sorted.len()], sorted })
    }

    /// Returns the median of as many values as there are, each drawn from all.
    fn draw_median(&mut self, rng: &mut Rng) -> f64 {
        let (sorted, times) = (self.sorted.as_slice(), self.times.as_mut_slice());
        times.fill(0);
        let (count, mut bits) = (times.len() as u64, 0);
        for draw in 0..times.len() {
            // A word makes two draws. 2^32 is no multiple of the count, which favours no value by more than
            // one in a million.
            bits = if draw % 2 == 0 { rng.u64(..) } else { bits >> 32 };
            times[(((bits & 0xffff_ffff) * count) >> 32) as usize] += 1;
        }
        let (lower, upper) = middle(times.len());
        let (mut seen, mut below) = (0, None);
        for (value, times) in sorted.iter().zip(times) {
            seen += *times;
            if seen > lower {
                let below = *below.get_or_insert(*value);
                if seen > upper {
                    return f64::midpoint(below, *value);
                }
            }
        }
        // Unreachable: more are drawn than any rank. A value that is not a number never passes.
        f64::NAN
    }
}

/// Returns the values in order, if there are any and all are finite.
fn sorted(values: &[f64]) -> Option<Vec<f64>> {
    if values.is_empty() || !values.iter().all(|value| value.is_finite()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    Some(sorted)
}

/// Returns the ranks, from 0, of the two values in the middle of `count`; for an odd count they are the same.
fn middle(count: usize) -> (usize, usize) {
    ((count - 1) / 2, count / 2)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::{
        collection::vec,
        prop_assert, prop_assert_eq, proptest,
        test_runner::{Config, RngSeed},
    };

    use super::*;

    /// The same cases in every run.
    pub(in crate::measure) fn config(cases: u32) -> Config {
        let rng_seed = RngSeed::Fixed(0x7864_7031);
        Config { cases, rng_seed, failure_persistence: None, ..Config::default() }
    }

    /// `count` values, normally distributed (Box and Muller).
    pub(in crate::measure) fn normal(rng: &mut Rng, mean: f64, deviation: f64, count: usize) -> Vec<f64> {
        let mut one = || {
            let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
            mean + deviation * radius * (std::f64::consts::TAU * rng.f64()).cos()
        };
        (0..count).map(|_| one()).collect()
    }

    #[test]
    fn the_median_of_an_odd_number_is_the_middle_one_and_of_an_even_number_between_two() {
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[9.0, -1.0, 4.0]), Some(4.0));
        assert_eq!(median(&[9.0, 1.0, 4.0, 2.0]), Some(3.0));
        assert_eq!(median(&[f64::MAX, f64::MAX]), Some(f64::MAX));
    }

    #[test]
    fn the_mad_is_the_median_of_the_distances_from_the_median() {
        // The median is 2; the distances are 1 1 0 0 2 4 7.
        assert_eq!(mad(&[1.0, 1.0, 2.0, 2.0, 4.0, 6.0, 9.0]), Some(1.0));
        assert_eq!(mad(&[5.0]), Some(0.0));
        // One of the distances is more than a number holds.
        assert_eq!(mad(&[f64::MAX, f64::MIN, f64::MAX]), None);
    }

    #[test]
    fn nothing_has_no_median_and_neither_has_what_is_not_finite() {
        for values in
            [&[][..], &[f64::NAN], &[1.0, f64::NAN, 2.0], &[1.0, f64::INFINITY], &[f64::NEG_INFINITY]]
        {
            assert_eq!(median(values), None, "{values:?}");
            assert_eq!(mad(values), None, "{values:?}");
            assert_eq!(bootstrap_median(values, 1), None, "{values:?}");
            assert_eq!(bootstrap_difference(values, &[1.0], 1), None, "{values:?}");
            assert_eq!(bootstrap_difference(&[1.0], values, 1), None, "{values:?}");
        }
    }

    #[test]
    fn an_interval_has_its_ends_and_no_more() {
        let interval = Interval { low: -1.0, high: 2.5 };
        assert!(interval.contains(-1.0) && interval.contains(0.0) && interval.contains(2.5));
        assert!(!interval.contains(-1.1) && !interval.contains(2.6) && !interval.contains(f64::NAN));
        assert_eq!(interval.width(), 3.5);
        assert_eq!(interval.map(|end| end * 2.0), Interval { low: -2.0, high: 5.0 });
    }

    #[test]
    fn the_tails_are_what_the_level_leaves() {
        assert_eq!(RESAMPLES - 2 * TAIL, RESAMPLES * LEVEL / 100);
    }

    #[test]
    fn the_interval_of_eleven_values_ends_where_binomial_probabilities_say() {
        // With 11 draws out of 11 values, the median is the 3rd lowest or less with probability P(X >= 6), X ~ B(11, 3/11),
        // = 5.1 %; the 2nd lowest or less with B(11, 2/11): 0.7 %. So the lower end of 95 % is the 3rd, and the upper one
        // the 9th.
        let values: Vec<f64> = (1..=11).map(f64::from).collect();
        for seed in 0..20 {
            assert_eq!(bootstrap_median(&values, seed), Some(Interval { low: 3.0, high: 9.0 }), "{seed}");
        }
    }

    #[test]
    fn samples_without_spread_differ_by_exactly_as_much_as_their_values() {
        let interval = bootstrap_difference(&[3.0; 30], &[5.0; 20], 1);
        assert_eq!(interval, Some(Interval { low: -2.0, high: -2.0 }));
    }

    #[test]
    fn two_samples_are_drawn_independently_of_each_other() {
        let values: Vec<f64> = (0..51).map(f64::from).collect();
        let alone = bootstrap_median(&values, 1).unwrap();
        let both = bootstrap_difference(&values, &values, 1).unwrap();
        // Variances add up.
        let growth = both.width() / alone.width();
        assert!((1.3..1.55).contains(&growth), "{growth}");
        assert!(both.contains(0.0));
    }

    #[test]
    fn nineteen_of_twenty_intervals_contain_what_was_to_be_found() {
        let runs = 250;
        let mut rng = Rng::with_seed(11);
        let mut hits = (0, 0);
        for seed in 0..runs {
            let new = normal(&mut rng, 0.3, 0.02, 40);
            let old = normal(&mut rng, 0.2, 0.02, 30);
            hits.0 += u32::from(bootstrap_median(&new, seed).unwrap().contains(0.3));
            hits.1 += u32::from(bootstrap_difference(&new, &old, seed).unwrap().contains(0.1));
        }
        for hits in [hits.0, hits.1] {
            let share = f64::from(hits) / 250.0;
            assert!((0.91..=0.98).contains(&share), "{share}");
        }
    }

    proptest! {
        #![proptest_config(config(25))]

        #[test]
        fn the_interval_contains_the_median_of_the_sample(values in vec(-1e3..1e3_f64, 1..80), seed: u64) {
            let interval = bootstrap_median(&values, seed).unwrap();
            prop_assert!(interval.contains(median(&values).unwrap()), "{interval:?}");
        }

        #[test]
        fn the_order_of_the_values_does_not_matter_and_the_seed_decides(
            mut values in vec(-1e3..1e3_f64, 1..80),
            seed: u64,
        ) {
            let interval = bootstrap_median(&values, seed);
            values.reverse();
            prop_assert_eq!(bootstrap_median(&values, seed), interval);
        }

        #[test]
        fn the_interval_follows_the_unit(values in vec(-1e3..1e3_f64, 1..80), shift in -4..4_i32, seed: u64) {
            // By powers of two, so that nothing is rounded.
            let factor = 2.0_f64.powi(shift);
            let scaled: Vec<f64> = values.iter().map(|value| value * factor).collect();
            let expected = bootstrap_median(&values, seed).unwrap().map(|end| end * factor);
            prop_assert_eq!(bootstrap_median(&scaled, seed), Some(expected));
        }
    }
}
