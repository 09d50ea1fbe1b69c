//! The method: from the costs of single trials to a verdict about a subject and a reference. Pure.
//!
//! Everything is kept as cost, in nanoseconds per frame: lower is better. The judged quantity is the *speed
//! ratio*, the subject's speed over the reference's: below 1 the subject is slower.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    measure::statistics::{estimate, estimate_change},
    model::{
        Contender, Estimate, Inconclusive, Interval, Judgement, LEAST_BLOCKS, MOST_VOID, Tolerance, Void,
    },
};

/// Four trials close together in time, A B B A or B A A B, so that drift of the machine affects both sides
/// alike. The order is drawn at random: anything that the machine does in step with the trials, such as a
/// scheduler's time slices, then affects either side equally often and is scatter instead of bias.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// Cost of a frame in the two trials of the reference, in nanoseconds.
    pub reference: [f64; 2],
    /// Cost of a frame in the two trials of the subject, in nanoseconds.
    pub subject: [f64; 2],
    /// Cost of a frame with the null program, in nanoseconds, just before and just after the four trials: N A
    /// B B A N. If present, the mean of the two is subtracted from the costs above.
    pub null: Option<[f64; 2]>,
}

impl Block {
    /// Returns the natural logarithm of the speed ratio: the mean log cost of the reference less that of the
    /// subject.
    ///
    /// `None` if a cost, net or gross, is not positive, or the ratio is not a normal number.
    #[must_use]
    pub fn log_speed(&self) -> Option<f64> {
        let Self { reference, subject, null } = *self;
        let base = match null {
            None => 0.0,
            Some(costs) => {
                log_mean(costs, 0.0)?;
                f64::midpoint(costs[0], costs[1])
            }
        };
        let log = log_mean(reference, base)? - log_mean(subject, base)?;
        log.exp().is_normal().then_some(log)
    }
}

/// Returns the mean logarithm of two costs less `base`, if both are positive and finite.
fn log_mean(costs: [f64; 2], base: f64) -> Option<f64> {
    let [first, last] = costs.map(|cost| (cost - base).ln());
    Some(f64::midpoint(first, last)).filter(|log| log.is_finite())
}

/// The blocks of one comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// Complete blocks, in the order in which they were run.
    pub blocks: Vec<Block>,
    /// For each block with a void trial, the reason of the first one.
    pub void: Vec<Void>,
}

impl Series {
    /// Adds a block; one without a [`Block::log_speed`] is void.
    pub fn push(&mut self, tried: Result<Block, Void>) {
        match tried {
            Ok(block) if block.log_speed().is_some() => self.blocks.push(block),
            Ok(_) => self.void.push(Void::BelowClock),
            Err(void) => self.void.push(void),
        }
    }

    /// Returns the [`Block::log_speed`] of every block that has one.
    #[must_use]
    pub fn logs(&self) -> Vec<f64> {
        self.blocks.iter().filter_map(Block::log_speed).collect()
    }

    /// Returns the number of blocks that were run.
    #[must_use]
    pub fn tried(&self) -> usize {
        self.blocks.len() + self.void.len()
    }

    /// Returns the ratio of the blocks; `None` if none is complete. `seed` seeds the bootstrap.
    #[must_use]
    pub fn estimate(&self, seed: u64) -> Option<Estimate> {
        estimate(&self.logs(), seed)
    }

    /// Returns the reason why the series cannot be judged, if there is one.
    fn shortcoming(&self, series: Contender) -> Option<Inconclusive> {
        let (whole, blocks) = (self.logs().len(), self.tried());
        let void_blocks = blocks - whole;
        if void_blocks as f64 > MOST_VOID * blocks as f64 {
            return Some(Inconclusive::TooManyVoid { series, void_blocks, blocks });
        }
        (whole < LEAST_BLOCKS).then_some(Inconclusive::TooFewBlocks { series, blocks: whole })
    }
}

/// A verdict and the ratios on which it is based.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Judged {
    pub verdict: Judgement,
    /// The subject against the reference; `None` if no block is complete.
    pub estimate: Option<Estimate>,
    /// The same program against itself (the A/A control); `None` if no block is complete, or the verdict
    /// needs no control.
    pub control: Option<Estimate>,
}

/// Judges the subject against the reference. Blocks of the control `control`, the same program against itself
/// (A/A), were run in between. `seed` seeds the bootstraps.
///
/// With a tolerance of d, the first rule that applies decides:
///
/// 1. More than [`MOST_VOID`] of the blocks of either series are void: inconclusive.
/// 2. Either has fewer than [`LEAST_BLOCKS`] complete ones: inconclusive.
/// 3. The control's interval excludes 1, and its median differs from 1 by more than
///    [`MAX_CONTROL_BIAS`](crate::model::judgement::MAX_CONTROL_BIAS) of d: inconclusive.
/// 4. The control's interval is not narrower than d, from end to end: inconclusive.
/// 5. The subject's interval lies below 1 - d: regression; above 1 + d: improved; within both, ends included:
///    pass; otherwise inconclusive. A value that is not a number is inconclusive.
/// 6. A regression or an improvement must be found in the earlier and in the later half of the blocks, each
///    by itself and with [`LEAST_BLOCKS`]; otherwise inconclusive. A machine that behaves differently for a
///    second or two, which happens on shared ones in a few runs of a hundred, changes one half; a program
///    changes both.
///
/// If the third rule only asked whether the control's interval excludes 1, it would reject a sound machine in
/// one run of twenty, because that is the meaning of a 95 % interval; and the longer the measurement, the
/// smaller the bias that it would reject, down to a bias that affects no verdict at this tolerance. A bias
/// therefore has to be both significant and large, and large means a fifth of d. With an interval of a
/// quarter of d, normal noise causes both in fewer than 1 run of 500, and a bias of half of d goes unnoticed
/// in fewer than 1 of 1,000. With a wider interval both rates grow, up to the 1 of 20 that excludes 1 by
/// chance, and half of d can hide in an interval of nearly d; more blocks make each rarer. A bias that goes
/// unnoticed moves the limits of the fifth rule by no more than itself.
#[must_use]
pub fn judge(series: &Series, control: &Series, tolerance: Tolerance, seed: u64) -> Judged {
    let (estimate, control_estimate) = (series.estimate(seed), control.estimate(seed));
    let verdict = match (
        series.shortcoming(Contender::Subject).or(control.shortcoming(Contender::Control)),
        estimate,
    ) {
        (Some(reason), _) => Judgement::Inconclusive { reason },
        (None, None) => Judgement::Inconclusive { reason: Inconclusive::NotFinite },
        (None, Some(estimate)) => match control_fault(control_estimate, tolerance) {
            Some(reason) => Judgement::Inconclusive { reason },
            None => match Judgement::of(estimate.interval, tolerance) {
                alarm @ (Judgement::Regression | Judgement::Improved) => {
                    confirmed(alarm, &series.logs(), estimate.interval, tolerance, seed)
                }
                verdict => verdict,
            },
        },
    };
    Judged { verdict, estimate, control: control_estimate }
}

/// Confirms a regression or an improvement by the earlier and the later half of the blocks, each by itself.
fn confirmed(
    alarm: Judgement,
    logs: &[f64],
    interval: Interval,
    tolerance: Tolerance,
    seed: u64,
) -> Judgement {
    let (earlier, later) = logs.split_at(logs.len() / 2);
    let agrees = |half: &[f64]| {
        half.len() >= LEAST_BLOCKS
            && estimate(half, seed).is_some_and(|its| Judgement::of(its.interval, tolerance) == alarm)
    };
    if agrees(earlier) && agrees(later) {
        alarm
    } else {
        Judgement::Inconclusive { reason: Inconclusive::Unconfirmed { interval, tolerance } }
    }
}

/// Returns the reason why a machine with such a control supports no verdict, if there is one.
fn control_fault(control: Option<Estimate>, tolerance: Tolerance) -> Option<Inconclusive> {
    let Some(Estimate { ratio, interval, .. }) = control else { return Some(Inconclusive::NotFinite) };
    let agrees = interval.contains(1.0) || tolerance.control_band().contains(ratio);
    let narrow = interval.width() < tolerance.share();
    match (agrees, narrow) {
        (true, true) => None,
        (true, false) => Some(Inconclusive::ControlTooWide { interval, tolerance }),
        (false, _) => Some(Inconclusive::ControlDiffers { interval, tolerance }),
    }
}

/// Judges the log ratios of today, `new`, against stored ones, `old`, each being [`Series::logs`]: the ratio
/// is today's speed ratio over the stored one, so that machines of different speed can be compared.
///
/// The rules are those of [`judge`] without void blocks and control, which concern each run by itself. `mad`
/// and `n` of the estimate are those of `new`.
#[must_use]
pub fn judge_against_baseline(new: &[f64], old: &[f64], tolerance: Tolerance, seed: u64) -> Judged {
    let estimate = estimate_change(new, old, seed);
    let sets = [(Contender::Subject, new.len()), (Contender::Baseline, old.len())];
    let verdict = match (sets.into_iter().find(|(_, blocks)| *blocks < LEAST_BLOCKS), estimate) {
        (Some((series, blocks)), _) => {
            Judgement::Inconclusive { reason: Inconclusive::TooFewBlocks { series, blocks } }
        }
        (None, None) => Judgement::Inconclusive { reason: Inconclusive::NotFinite },
        (None, Some(estimate)) => Judgement::of(estimate.interval, tolerance),
    };
    Judged { verdict, estimate, control: None }
}

/// Returns true if more blocks could lead to a verdict.
///
/// They cannot if a control's whole interval is too far from 1, if enough blocks were run and each was void,
/// if a stored set is too small, or if a value is not a number.
#[must_use]
pub fn wants_more(judged: &Judged) -> bool {
    match judged.verdict {
        Judgement::Pass | Judgement::Regression | Judgement::Improved => false,
        Judgement::Inconclusive { reason } => match reason {
            Inconclusive::TooFewBlocks { series, .. } => series != Contender::Baseline,
            Inconclusive::TooManyVoid { void_blocks, blocks, .. } => {
                void_blocks < blocks || blocks < LEAST_BLOCKS
            }
            Inconclusive::ControlDiffers { interval, tolerance } => {
                let bearable = tolerance.control_band();
                interval.low <= bearable.high && interval.high >= bearable.low
            }
            Inconclusive::ControlTooWide { .. }
            | Inconclusive::TooWide { .. }
            | Inconclusive::Straddles { .. }
            | Inconclusive::Unconfirmed { .. } => true,
            Inconclusive::NotFinite => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;
    use proptest::{collection::vec, prop_assert, prop_assert_eq, prop_oneof, proptest, strategy::Strategy};

    use super::*;
    use crate::{
        measure::statistics::{
            median,
            tests::{config, normal},
        },
        model::ToleranceError,
    };

    /// A block with this log ratio.
    fn block(log: f64) -> Block {
        Block { reference: [40.0 * log.exp(); 2], subject: [40.0; 2], null: None }
    }

    fn series(logs: &[f64]) -> Series {
        Series { blocks: logs.iter().copied().map(block).collect(), void: Vec::new() }
    }

    fn still(ratio: f64, count: usize) -> Series {
        series(&vec![ratio.ln(); count])
    }

    /// Judges one run of `count` blocks, whose log ratios scatter by `deviation` around that of `ratio`.
    fn run(rng: &mut Rng, ratio: f64, deviation: f64, count: usize) -> Series {
        series(&normal(rng, ratio.ln(), deviation, count))
    }

    fn reason(judged: &Judged) -> Inconclusive {
        judged.verdict.reason().unwrap()
    }

    /// The reason why a subject and a control have no verdict.
    fn why(subject: &Series, control: &Series) -> Inconclusive {
        reason(&judge(subject, control, Tolerance::VM, 1))
    }

    fn between(low: f64, high: f64) -> Interval {
        Interval { low, high }
    }

    fn inconclusive(reason: Inconclusive) -> Judged {
        Judged { verdict: Judgement::Inconclusive { reason }, estimate: None, control: None }
    }

    #[test]
    fn a_blocks_log_speed_is_the_mean_logarithm_of_the_reference_less_that_of_the_subject() {
        // Costs of 2 and 8 have a geometric mean of 4, and those of 4 and 16 one of 8: half as fast. The others are the same net
        // of a null program whose mean is 10.
        for (reference, subject, null) in
            [([2.0, 8.0], [4.0, 16.0], None), ([12.0, 18.0], [14.0, 26.0], Some([9.0, 11.0]))]
        {
            let block = Block { reference, subject, null };
            assert!((block.log_speed().unwrap() - 0.5_f64.ln()).abs() < 1e-12);
        }
    }

    #[test]
    fn a_cost_that_is_not_positive_is_no_block() {
        let good = Block { reference: [20.0; 2], subject: [30.0; 2], null: Some([10.0; 2]) };
        assert!(good.log_speed().is_some());
        for wrong in [10.0, 9.0, 0.0, -20.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Block { reference: [20.0, wrong], ..good }.log_speed(), None, "{wrong}");
            assert_eq!(Block { subject: [wrong, 30.0], ..good }.log_speed(), None, "{wrong}");
        }
        for wrong in [0.0, -20.0, 100.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Block { null: Some([wrong, 5.0]), ..good }.log_speed(), None, "{wrong}");
        }
        assert_eq!(Block { reference: [f64::MAX; 2], subject: [0.1; 2], null: None }.log_speed(), None);
    }

    #[test]
    fn a_drift_within_a_block_falls_on_both_sides_alike() {
        // Each trial costs 3 % more than the one before it.
        let at = |trial: i32| 40.0 * 1.03_f64.powi(trial);
        let block = Block { reference: [at(0), at(3)], subject: [at(1), at(2)], null: None };
        assert!(block.log_speed().unwrap().abs() < 1e-12);
    }

    #[test]
    fn a_block_without_a_ratio_is_void() {
        let mut tried = Series::default();
        tried.push(Ok(block(0.1)));
        tried.push(Ok(Block { reference: [0.0; 2], ..block(0.1) }));
        tried.push(Err(Void::Softnet { dropped: 3 }));
        assert_eq!(tried.blocks, [block(0.1)]);
        assert_eq!(tried.void, [Void::BelowClock, Void::Softnet { dropped: 3 }]);
        assert_eq!(tried.tried(), 3);
        // However it came there.
        let read =
            Series { blocks: [vec![block(0.0); 60], vec![block(f64::NAN); 21]].concat(), void: vec![] };
        let expected = Inconclusive::TooManyVoid { series: Contender::Subject, void_blocks: 21, blocks: 81 };
        assert_eq!(why(&read, &still(1.0, 60)), expected);
    }

    #[test]
    fn an_estimate_is_the_median_ratio_with_its_interval_and_spread() {
        assert_eq!(Series::default().estimate(1), None);
        let logs = [0.5_f64, 0.5, 1.0, 2.0, 2.0].map(f64::ln);
        let estimate = series(&logs).estimate(1).unwrap();
        assert!((estimate.ratio - 1.0).abs() < 1e-12);
        assert!((estimate.median_abs_deviation - 2.0_f64.ln()).abs() < 1e-12);
        assert!((estimate.interval.low - 0.5).abs() < 1e-12 && (estimate.interval.high - 2.0).abs() < 1e-12);
        assert_eq!(estimate.blocks, 5);
    }

    #[test]
    fn a_tolerance_is_a_share_or_percent() {
        for (given, share, shown) in [
            ("5%", 0.05, "5 %"),
            ("5 %", 0.05, "5 %"),
            ("0.05", 0.05, "5 %"),
            ("2%", 0.02, "2 %"),
            ("0.5%", 0.005, "0.5 %"),
            ("7%", 0.07, "7 %"),
            ("0.3", 0.3, "30 %"),
            ("49.99%", 0.4999, "49.99 %"),
        ] {
            let tolerance: Tolerance = given.parse().unwrap();
            assert!((tolerance.share() - share).abs() < 1e-12, "{given}");
            assert_eq!(tolerance.to_string(), shown);
            assert_eq!(shown.parse(), Ok(tolerance));
        }
        assert_eq!("5%".parse(), Ok(Tolerance::VM));
        assert_eq!("2%".parse(), Ok(Tolerance::BARE_METAL));
        for wrong in
            ["", "%", "5", "0", "0%", "-1%", "50%", "0.5", "nan", "NaN%", "inf", "5%%", "% 5", "five"]
        {
            let error = ToleranceError { given: wrong.to_owned() };
            assert_eq!(wrong.parse::<Tolerance>(), Err(error), "{wrong}");
        }
    }

    #[test]
    fn what_is_stored_is_read_back_and_nothing_else_is() {
        let mut tried = run(&mut Rng::with_seed(1), 0.9, 0.02, 25);
        tried.push(Ok(Block { null: Some([1.0, 2.0]), ..block(0.1) }));
        tried.push(Err(Void::Steal { share: 0.25 }));
        tried.push(Err(Void::BelowClock));
        let json = serde_json::to_string(&tried).unwrap();
        assert_eq!(serde_json::from_str::<Series>(&json).unwrap(), tried);
        assert!(serde_json::from_str::<Series>(&json.replace("\"share\"", "\"shares\"")).is_err());

        let judged = judge(&tried, &still(1.1, 30), Tolerance::VM, 1);
        let json = serde_json::to_string(&judged).unwrap();
        let verdict = r#""verdict":{"kind":"inconclusive","reason":{"kind":"control_differs","#;
        assert!(json.contains(verdict), "{json}");
        let read = |json: &str| serde_json::from_str::<Judged>(json);
        assert_eq!(read(&json).unwrap(), judged);
        assert!(read(&json.replace(r#""tolerance":0.05"#, r#""tolerance":0.5"#)).is_err());
        assert!(read(&json.replace(r#""median_abs_deviation""#, r#""sd""#)).is_err());
    }

    #[test]
    fn reasons_read_as_one_sentence() {
        let (interval, tolerance) = (between(0.92, 1.0804), Tolerance::VM);
        for (reason, text) in [
            (
                Inconclusive::TooFewBlocks { series: Contender::Baseline, blocks: 7 },
                "the baseline: 7 whole blocks, and a verdict takes 20",
            ),
            (
                Inconclusive::TooManyVoid { series: Contender::Subject, void_blocks: 9, blocks: 30 },
                "subject against reference: 9 of 30 blocks are void, more than 25 %",
            ),
            (
                Inconclusive::ControlDiffers { interval: between(1.02, 1.03), tolerance },
                "the machine cannot support a verdict: null against null differs, 1.020 to 1.030 times as fast, which a \
                 tolerance of 5 % does not bear",
            ),
            (
                Inconclusive::ControlTooWide { interval, tolerance },
                "the machine cannot support a verdict: null against null scatters, 0.920 to 1.080 times as fast, which \
                 is no narrower than the tolerance of 5 %",
            ),
            (
                Inconclusive::TooWide { interval, tolerance },
                "0.920 to 1.080 times as fast, which is wider than the tolerance of 5 % on either side",
            ),
            (
                Inconclusive::Straddles { interval: between(0.92, 1.0), tolerance },
                "0.920 to 1.000 times as fast, which is both within the tolerance of 5 % and beyond",
            ),
            (Inconclusive::NotFinite, "a ratio is not a number"),
        ] {
            assert_eq!(reason.to_string(), text);
        }
        assert_eq!(
            Void::Steal { share: 0.0312 }.to_string(),
            "the hypervisor took 3.12 % of the time, more than 1 %"
        );
    }

    #[test]
    fn what_differs_for_a_while_is_no_alarm_and_what_differs_throughout_is() {
        let control = still(1.0, 40);
        let verdict = |earlier, later| {
            let mut series = still(earlier, 20);
            series.blocks.extend(still(later, 20).blocks);
            judge(&series, &control, Tolerance::VM, 1)
        };
        assert_eq!(verdict(0.9, 0.92).verdict, Judgement::Regression);
        assert_eq!(verdict(1.1, 1.08).verdict, Judgement::Improved);
        for (earlier, later) in [(0.8, 0.949_999), (0.9, 1.0), (1.0, 0.9), (1.1, 1.0)] {
            let judged = verdict(earlier, later);
            assert_ne!(judged.verdict, Judgement::Improved, "{earlier} {later}");
            assert!(later < 0.95 || judged.verdict != Judgement::Regression, "{earlier} {later}");
        }
        let few = judge(&still(0.9, 39), &control, Tolerance::VM, 1);
        assert!(matches!(few.verdict.reason(), Some(Inconclusive::Unconfirmed { .. })), "{few:?}");
        assert!(wants_more(&few));
    }

    #[test]
    fn a_speed_is_judged_by_where_its_whole_interval_lies() {
        let control = still(1.0, 20);
        for (ratio, verdict) in [
            (0.94, Judgement::Regression),
            (0.96, Judgement::Pass),
            (1.0, Judgement::Pass),
            (1.04, Judgement::Pass),
            (1.06, Judgement::Improved),
        ] {
            assert_eq!(judge(&still(ratio, 40), &control, Tolerance::VM, 1).verdict, verdict, "{ratio}");
        }
        let tolerance = Tolerance::VM;
        let verdict = |low, high| Judgement::of(between(low, high), tolerance);
        assert_eq!(verdict(0.95, 1.05), Judgement::Pass);
        assert_eq!(verdict(0.9, 0.9499), Judgement::Regression);
        assert_eq!(verdict(1.0501, 1.2), Judgement::Improved);
        for interval in [between(0.9, 0.95), between(0.949, 1.0), between(1.0, 1.051), between(1.05, 1.2)] {
            let reason = Inconclusive::Straddles { interval, tolerance };
            assert_eq!(Judgement::of(interval, tolerance), Judgement::Inconclusive { reason });
        }
    }

    #[test]
    fn a_wide_interval_is_never_pass() {
        let (interval, tolerance) = (between(0.949, 1.051), Tolerance::VM);
        let too_wide = Judgement::Inconclusive { reason: Inconclusive::TooWide { interval, tolerance } };
        assert_eq!(Judgement::of(interval, tolerance), too_wide);
        // Its median is exactly 1.
        let scattered = series(&[[-0.1; 20], [0.1; 20]].concat());
        let judged = judge(&scattered, &still(1.0, 20), Tolerance::VM, 1);
        assert!(matches!(reason(&judged), Inconclusive::TooWide { .. }), "{judged:?}");
        assert!((judged.estimate.unwrap().ratio - 1.0).abs() < 1e-12);
    }

    #[test]
    fn what_is_not_a_number_is_never_pass() {
        for (low, high) in [(f64::NAN, 1.0), (1.0, f64::NAN), (f64::NAN, f64::NAN), (1.01, 0.99)] {
            let reason = Inconclusive::NotFinite;
            let judgement = Judgement::of(between(low, high), Tolerance::VM);
            assert_eq!(judgement, Judgement::Inconclusive { reason });
        }
        let logs = [0.0; 40];
        for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
            let mut other = vec![wrong; 21];
            other.extend([0.0; 19]);
            for (new, old) in [(&other[..], &logs[..]), (&logs, &other)] {
                let judged = judge_against_baseline(new, old, Tolerance::VM, 1);
                assert_eq!(reason(&judged), Inconclusive::NotFinite, "{wrong}");
                assert!(!wants_more(&judged));
            }
        }
        let nan = Series { blocks: vec![block(f64::NAN); 40], void: vec![] };
        for (subject, control) in [(&nan, &still(1.0, 40)), (&still(1.0, 40), &nan)] {
            let reason = why(subject, control);
            assert!(
                matches!(reason, Inconclusive::TooManyVoid { void_blocks: 40, blocks: 40, .. }),
                "{reason:?}"
            );
        }
        let estimate = Estimate {
            ratio: f64::NAN,
            interval: between(f64::NAN, f64::NAN),
            median_abs_deviation: 0.0,
            blocks: 40,
        };
        assert!(control_fault(Some(estimate), Tolerance::VM).is_some());
        assert!(control_fault(None, Tolerance::VM).is_some());
    }

    #[test]
    fn a_verdict_takes_twenty_whole_blocks_of_either_series() {
        let (none, short, enough) = (Series::default(), still(1.0, 19), still(1.0, 20));
        let too_few = |series, blocks| Inconclusive::TooFewBlocks { series, blocks };
        assert_eq!(why(&short, &enough), too_few(Contender::Subject, 19));
        assert_eq!(why(&enough, &short), too_few(Contender::Control, 19));
        assert_eq!(why(&none, &none), too_few(Contender::Subject, 0));
        assert_eq!(judge(&enough, &enough, Tolerance::VM, 1).verdict, Judgement::Pass);
    }

    #[test]
    fn a_quarter_of_the_blocks_may_be_void_and_no_more() {
        let void = |count| Series { void: vec![Void::BelowClock; count], ..still(1.0, 60) };
        let too_many = |series| Inconclusive::TooManyVoid { series, void_blocks: 21, blocks: 81 };
        assert_eq!(judge(&void(20), &void(20), Tolerance::VM, 1).verdict, Judgement::Pass);
        assert_eq!(why(&void(21), &void(0)), too_many(Contender::Subject));
        assert_eq!(why(&void(0), &void(21)), too_many(Contender::Control));
    }

    #[test]
    fn a_control_as_wide_as_the_tolerance_supports_no_verdict() {
        let control = |low: f64, high: f64| {
            let interval = between(low, high);
            control_fault(
                Some(Estimate { ratio: 1.0, interval, median_abs_deviation: 0.0, blocks: 40 }),
                Tolerance::VM,
            )
        };
        assert_eq!(control(0.976, 1.025), None);
        assert!(matches!(control(0.975, 1.0251), Some(Inconclusive::ControlTooWide { .. })));
        let scattered = series(&[[-0.1; 20], [0.1; 20]].concat());
        for ratio in [0.8, 1.0, 1.2] {
            let reason = why(&still(ratio, 40), &scattered);
            assert!(matches!(reason, Inconclusive::ControlTooWide { .. }), "{reason:?}");
        }
    }

    #[test]
    fn a_control_that_misses_one_by_less_than_a_fifth_of_the_tolerance_supports_a_verdict() {
        for ratio in [0.9901, 1.0099] {
            assert_eq!(judge(&still(1.0, 40), &still(ratio, 40), Tolerance::VM, 1).verdict, Judgement::Pass);
        }
        for ratio in [0.9899, 1.0101, 0.5, 2.0] {
            let reason = why(&still(1.0, 40), &still(ratio, 40));
            assert!(matches!(reason, Inconclusive::ControlDiffers { .. }), "{ratio}");
        }
    }

    #[test]
    fn more_blocks_are_wanted_where_they_could_settle_it() {
        let (interval, tolerance) = (between(0.9, 1.0), Tolerance::VM);
        for reason in [
            Inconclusive::TooFewBlocks { series: Contender::Subject, blocks: 3 },
            Inconclusive::TooFewBlocks { series: Contender::Control, blocks: 3 },
            Inconclusive::TooManyVoid { series: Contender::Subject, void_blocks: 9, blocks: 30 },
            Inconclusive::TooManyVoid { series: Contender::Control, void_blocks: 10, blocks: 10 },
            Inconclusive::ControlDiffers { interval: between(1.009, 1.03), tolerance },
            Inconclusive::ControlDiffers { interval: between(0.97, 0.991), tolerance },
            Inconclusive::ControlTooWide { interval, tolerance },
            Inconclusive::TooWide { interval, tolerance },
            Inconclusive::Straddles { interval, tolerance },
        ] {
            assert!(wants_more(&inconclusive(reason)), "{reason:?}");
        }
        for reason in [
            Inconclusive::TooFewBlocks { series: Contender::Baseline, blocks: 3 },
            Inconclusive::TooManyVoid { series: Contender::Control, void_blocks: 20, blocks: 20 },
            Inconclusive::ControlDiffers { interval: between(1.011, 1.03), tolerance },
            Inconclusive::ControlDiffers { interval: between(0.97, 0.989), tolerance },
            Inconclusive::NotFinite,
        ] {
            assert!(!wants_more(&inconclusive(reason)), "{reason:?}");
        }
        for verdict in [Judgement::Pass, Judgement::Regression, Judgement::Improved] {
            assert!(!wants_more(&Judged { verdict, estimate: None, control: None }));
        }
    }

    #[test]
    fn a_baseline_is_compared_by_the_ratio_of_ratios() {
        let (slow, fast) = (vec![0.5_f64.ln(); 20], vec![0.6_f64.ln(); 20]);
        let judged = judge_against_baseline(&slow, &fast, Tolerance::VM, 1);
        assert_eq!(judged.verdict, Judgement::Regression);
        assert!((judged.estimate.unwrap().ratio - 0.5 / 0.6).abs() < 1e-12);
        assert_eq!(judge_against_baseline(&fast, &slow, Tolerance::VM, 1).verdict, Judgement::Improved);
        assert_eq!(judge_against_baseline(&slow, &slow, Tolerance::VM, 1).verdict, Judgement::Pass);
        let few = |new: &[f64], old: &[f64]| reason(&judge_against_baseline(new, old, Tolerance::VM, 1));
        let short = &slow[..19];
        assert_eq!(few(short, &slow), Inconclusive::TooFewBlocks { series: Contender::Subject, blocks: 19 });
        assert_eq!(few(&slow, short), Inconclusive::TooFewBlocks { series: Contender::Baseline, blocks: 19 });
        let scattered = [[-0.1; 20], [0.1; 20]].concat();
        assert!(matches!(few(&scattered, &[0.0; 40]), Inconclusive::TooWide { .. }));
        assert!(matches!(few(&[0.0; 40], &scattered), Inconclusive::TooWide { .. }));
    }

    #[test]
    fn a_slowdown_of_five_percent_is_found_at_a_tolerance_of_two() {
        let mut rng = Rng::with_seed(21);
        let found = (0..200)
            .filter(|&seed| {
                let (subject, control) = (run(&mut rng, 0.95, 0.02, 60), run(&mut rng, 1.0, 0.005, 60));
                judge(&subject, &control, Tolerance::BARE_METAL, seed).verdict == Judgement::Regression
            })
            .count();
        assert!(found >= 190, "{found} of 200");
    }

    #[test]
    fn the_same_program_is_neither_slower_nor_faster_than_itself() {
        let mut rng = Rng::with_seed(22);
        for seed in 0..300 {
            let (mut subject, control) = (run(&mut rng, 1.0, 0.02, 60), run(&mut rng, 1.0, 0.02, 60));
            let mut verdicts = vec![judge(&subject, &control, Tolerance::VM, seed).verdict];
            if seed % 5 == 0 {
                // Nor to one who looked earlier.
                subject.blocks.truncate(20);
                verdicts.push(judge(&subject, &control, Tolerance::VM, seed).verdict);
            }
            for verdict in verdicts {
                assert!(
                    !matches!(verdict, Judgement::Regression | Judgement::Improved),
                    "{seed}: {verdict:?}"
                );
            }
        }
    }

    #[test]
    fn neighbours_that_slow_some_trials_down_by_half_change_no_verdict() {
        let mut rng = Rng::with_seed(23);
        let mut disturbed = || {
            let mut logs = normal(&mut rng, 0.0, 0.01, 60);
            logs.iter_mut().step_by(9).for_each(|log| *log -= 0.4);
            series(&logs)
        };
        for seed in 0..50 {
            let judged = judge(&disturbed(), &disturbed(), Tolerance::VM, seed);
            assert_eq!(judged.verdict, Judgement::Pass, "{judged:?}");
        }
    }

    /// Returns how many of 100 controls support no verdict.
    fn refusals(ratio: f64, deviation: f64, tolerance: Tolerance) -> usize {
        let mut rng = Rng::with_seed(24);
        let mut refused = |seed: &u64| {
            let control = run(&mut rng, ratio, deviation, 40).estimate(*seed);
            control_fault(control, tolerance).is_some()
        };
        (0..100).filter(|seed| refused(seed)).count()
    }

    #[test]
    fn an_honest_machine_is_seldom_refused() {
        for deviation in [0.01, 0.02] {
            let refused = refusals(1.0, deviation, Tolerance::VM);
            assert!(refused <= 3, "{refused} of 100 at {deviation}");
        }
        // Nor for a bias of a tenth of the tolerance, although hardly an interval contains 1.
        assert_eq!(refusals(1.005, 0.005, Tolerance::VM), 0);
    }

    #[test]
    fn a_bias_of_more_than_half_the_tolerance_is_always_refused() {
        for deviation in [0.01, 0.02] {
            for ratio in [0.9725, 1.0275] {
                let refused = refusals(ratio, deviation, Tolerance::VM);
                assert_eq!(refused, 100, "{ratio} at {deviation}");
            }
        }
        assert_eq!(refusals(1.011, 0.008, Tolerance::BARE_METAL), 100);
    }

    /// The costs of a block, some net of the null program's.
    fn any_block() -> impl Strategy<Value = Block> {
        let pair = || [20.0..60.0, 20.0..60.0];
        let null = prop_oneof![[1.0..10.0, 1.0..10.0].prop_map(Some), proptest::strategy::Just(None)];
        (pair(), pair(), null).prop_map(|(reference, subject, null)| Block { reference, subject, null })
    }

    fn any_tolerance() -> impl Strategy<Value = Tolerance> {
        (0.001..0.49).prop_map(|share| Tolerance::try_from(share).unwrap())
    }

    proptest! {
        #![proptest_config(config(25))]

        #[test]
        fn the_unit_of_the_costs_does_not_matter(blocks in vec(any_block(), 1..60), factor in 1e-3..1e3) {
            let mut scaled = blocks.clone();
            for Block { reference, subject, null } in &mut scaled {
                reference.iter_mut().chain(subject).chain(null.iter_mut().flatten()).for_each(|cost| *cost *= factor);
            }
            let [one, other] = [blocks, scaled].map(|blocks| Series { blocks, void: vec![] }.estimate(1).unwrap());
            prop_assert!((one.ratio / other.ratio - 1.0).abs() < 1e-9);
            prop_assert!((one.interval.low / other.interval.low - 1.0).abs() < 1e-9);
            prop_assert!((one.interval.high / other.interval.high - 1.0).abs() < 1e-9);
        }

        #[test]
        fn the_reference_against_the_subject_is_the_inverse(blocks in vec(any_block(), 1..60)) {
            let swap = |block: &Block| Block { reference: block.subject, subject: block.reference, ..*block };
            let swapped = blocks.iter().map(swap).collect();
            let [one, other] = [blocks, swapped].map(|blocks| Series { blocks, void: vec![] }.estimate(1).unwrap());
            prop_assert!((one.ratio * other.ratio - 1.0).abs() < 1e-9);
            prop_assert!((one.median_abs_deviation - other.median_abs_deviation).abs() < 1e-9);
        }

        #[test]
        fn a_seed_has_one_verdict(
            subject in vec(any_block(), 0..60),
            control in vec(any_block(), 0..60),
            tolerance in any_tolerance(),
            seed: u64,
        ) {
            let [subject, control] = [subject, control].map(|blocks| Series { blocks, void: vec![] });
            let judged = judge(&subject, &control, tolerance, seed);
            prop_assert_eq!(judged, judge(&subject, &control, tolerance, seed));
            prop_assert_eq!(judged.estimate, subject.estimate(seed));
        }

        #[test]
        fn more_scatter_never_makes_it_pass(
            logs in vec(-0.05..0.05_f64, 20..50),
            centre in -0.06..0.06_f64,
            growth in 1.01..5.0_f64,
            seed: u64,
        ) {
            let middle = median(&logs).unwrap();
            let [narrow, wide] = [1.0, growth].map(|growth| {
                let logs: Vec<f64> = logs.iter().map(|log| centre + growth * (log - middle)).collect();
                judge(&series(&logs), &still(1.0, 20), Tolerance::VM, seed).verdict
            });
            prop_assert!(narrow == Judgement::Pass || wide != Judgement::Pass, "{narrow:?} {wide:?}");
        }
    }

    proptest! {
        #![proptest_config(config(5_000))]

        #[test]
        fn an_interval_has_one_verdict(ends in [0.4..1.6_f64, 0.4..1.6_f64], tolerance in any_tolerance()) {
            let interval = between(ends[0].min(ends[1]), ends[0].max(ends[1]));
            let (low, high) = (1.0 - tolerance.share(), 1.0 + tolerance.share());
            let holds = [
                (interval.high < low, Judgement::Regression),
                (low <= interval.low && interval.high <= high, Judgement::Pass),
                (high < interval.low, Judgement::Improved),
            ];
            let holding: Vec<Judgement> = holds.into_iter().filter(|(holds, _)| *holds).map(|(_, is)| is).collect();
            let judgement = Judgement::of(interval, tolerance);
            match holding[..] {
                [only] => prop_assert_eq!(judgement, only),
                [] => prop_assert_eq!(judgement.name(), "inconclusive"),
                _ => prop_assert!(false, "{:?}", holding),
            }
        }

        #[test]
        fn what_does_not_pass_does_not_pass_when_it_is_wider(
            ends in [0.4..1.6_f64, 0.4..1.6_f64],
            more in [0.0..0.2_f64, 0.0..0.2_f64],
            tolerance in any_tolerance(),
        ) {
            let interval = between(ends[0].min(ends[1]), ends[0].max(ends[1]));
            let wider = between(interval.low - more[0], interval.high + more[1]);
            let [narrow, wide] = [interval, wider].map(|interval| Judgement::of(interval, tolerance));
            prop_assert!(narrow == Judgement::Pass || wide != Judgement::Pass, "{narrow:?} {wide:?}");
        }
    }
}
