//! From the stored samples of a measurement to blocks and figures. Pure.

use crate::{
    measure::{Block, Series, judge, statistics::figure},
    model::{
        judgement::{Estimate, Inconclusive, Judgement, Tolerance, Void},
        measurement::{Figure, ProgramRole, Quantity, Sample},
    },
};

/// The way in which costs are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Costs {
    /// As measured; this is what is judged. Net of the null program, a program may cost so little that a
    /// twentieth of it is less than the effect of its place in memory.
    Gross,
    /// Less the cost of the null program, in blocks that have its trials.
    Net,
}

/// Returns the blocks of the subject or, with `control`, of the A/A control.
#[must_use]
pub fn series(trials: &[Sample], control: bool, costs: Costs) -> Series {
    let mut series = Series::default();
    for block in trials.chunk_by(|a, b| a.block == b.block) {
        if block.first().is_some_and(|first| first.control == control) {
            series.push(whole(block, costs));
        }
    }
    series
}

/// Returns a block of its trials, or the reason of the first void one.
fn whole(trials: &[Sample], costs: Costs) -> Result<Block, Void> {
    if let Some(void) = trials.iter().find_map(|trial| trial.void.clone()) {
        return Err(void);
    }
    let two = |role| {
        let costs: Vec<f64> =
            trials.iter().filter(|trial| trial.role == role).map(|trial| trial.ns_per_frame).collect();
        <[f64; 2]>::try_from(costs).ok()
    };
    let null = two(ProgramRole::Null).filter(|_| costs == Costs::Net);
    match (two(ProgramRole::Reference), two(ProgramRole::Subject)) {
        (Some(reference), Some(subject)) => Ok(Block { reference, subject, null }),
        _ => Err(Void::Injector { reason: "the block was cut short".to_owned() }),
    }
}

/// Returns the figures of the subject and of the reference, from net costs.
#[must_use]
pub fn figures(quantity: Quantity, against_null: bool, series: &Series, seed: u64) -> [Option<Figure>; 2] {
    let mean = |costs: [f64; 2]| f64::midpoint(costs[0], costs[1]);
    let per_block = |value: &dyn Fn(&Block) -> f64| {
        let values: Vec<f64> = series.blocks.iter().map(value).collect();
        figure(&values, seed)
    };
    match (quantity, against_null) {
        (Quantity::ProgramCost, true) => [
            per_block(&|block| mean(block.subject) - mean(block.reference)),
            per_block(&|block| mean(block.reference)),
        ],
        (Quantity::ProgramCost, false) => {
            let net = |block: &Block, costs| mean(costs) - block.null.map_or(0.0, mean);
            [per_block(&|block| net(block, block.subject)), per_block(&|block| net(block, block.reference))]
        }
        _ => [per_block(&|block| 1e9 / mean(block.subject)), per_block(&|block| 1e9 / mean(block.reference))],
    }
}

/// Checks figures that are not judged: by the rules of [`judge`], except for the value of the ratio. Its
/// interval has to fit within the tolerance around it.
#[must_use]
pub fn believe(series: &Series, control: &Series, tolerance: Tolerance, seed: u64) -> Option<Judgement> {
    let judged = judge(series, control, tolerance, seed);
    let Some(Estimate { ratio, interval, .. }) = judged.estimate else { return Some(judged.verdict) };
    match judged.verdict {
        Judgement::Inconclusive {
            reason:
                Inconclusive::TooWide { .. } | Inconclusive::Straddles { .. } | Inconclusive::Unconfirmed { .. },
        }
        | Judgement::Pass
        | Judgement::Regression
        | Judgement::Improved => {
            let fits = interval.width() < 2.0 * tolerance.share() * ratio;
            let reason = Inconclusive::TooWide { interval, tolerance };
            (!fits).then_some(Judgement::Inconclusive { reason })
        }
        inconclusive @ Judgement::Inconclusive { .. } => Some(inconclusive),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Losses;

    fn sample(block: u32, control: bool, role: ProgramRole, cost: u64) -> Sample {
        let (counted, time_ns) = (1000, cost * 1000);
        Sample {
            block,
            control,
            role,
            sent: counted,
            counted,
            lost: 0,
            time_ns,
            ns_per_frame: time_ns as f64 / counted as f64,
            cpu_ns: time_ns,
            steal: 0.0,
            losses: Losses::default(),
            per_cpu: Vec::new(),
            void: None,
        }
    }

    fn block(number: u32, control: bool, costs: [u64; 4]) -> Vec<Sample> {
        let parts =
            [ProgramRole::Reference, ProgramRole::Subject, ProgramRole::Subject, ProgramRole::Reference];
        parts.into_iter().zip(costs).map(|(role, cost)| sample(number, control, role, cost)).collect()
    }

    #[test]
    fn trials_make_up_the_blocks_of_two_series() {
        let trials = [
            block(0, false, [100, 110, 112, 104]),
            block(1, true, [100, 101, 102, 103]),
            block(2, false, [90, 91, 92, 93]),
        ]
        .concat();
        let (subject, control) = (series(&trials, false, Costs::Net), series(&trials, true, Costs::Net));
        assert_eq!((subject.blocks.len(), control.blocks.len()), (2, 1));
        let first = Block { reference: [100.0, 104.0], subject: [110.0, 112.0], null: None };
        assert_eq!(subject.blocks[0], first);
    }

    #[test]
    fn one_void_trial_voids_its_block_and_a_cut_block_is_none() {
        let mut trials = [block(0, false, [100; 4]), block(1, false, [100; 4])].concat();
        trials[2].void = Some(Void::Softnet { dropped: 3 });
        trials.pop();
        let series = series(&trials, false, Costs::Net);
        assert_eq!((series.blocks.len(), series.void.len()), (0, 2));
        assert_eq!(series.void[0], Void::Softnet { dropped: 3 });
    }

    #[test]
    fn null_trials_around_a_block_make_its_costs_net() {
        let mut trials = vec![sample(0, false, ProgramRole::Null, 10)];
        trials.extend(block(0, false, [20, 30, 30, 20]));
        trials.push(sample(0, false, ProgramRole::Null, 10));
        let series = series(&trials, false, Costs::Net);
        assert_eq!(series.blocks[0].null, Some([10.0, 10.0]));
        assert!((series.blocks[0].log_speed().unwrap() - 0.5_f64.ln()).abs() < 1e-12);
        let [subject, reference] = figures(Quantity::ProgramCost, false, &series, 1);
        assert_eq!((subject.unwrap().median, reference.unwrap().median), (20.0, 10.0));
    }

    #[test]
    fn a_block_whose_net_cost_is_not_positive_is_whole_for_gross_costs() {
        let mut trials = vec![sample(0, false, ProgramRole::Null, 30)];
        trials.extend(block(0, false, [20, 30, 30, 20]));
        trials.push(sample(0, false, ProgramRole::Null, 30));
        assert_eq!(series(&trials, false, Costs::Net).void, [Void::BelowClock]);
        assert_eq!(series(&trials, false, Costs::Gross).blocks.len(), 1);
    }

    #[test]
    fn a_rate_is_frames_a_second() {
        let series = series(&block(0, false, [500, 250, 250, 500]), false, Costs::Net);
        let [subject, reference] = figures(Quantity::PathRate, true, &series, 1);
        assert_eq!((subject.unwrap().median, reference.unwrap().median), (4e6, 2e6));
    }

    #[test]
    fn figures_of_a_quiet_machine_are_believed_whatever_the_ratio_is() {
        let of = |costs, control| {
            let trials: Vec<Sample> = (0..30).flat_map(|number| block(number, control, costs)).collect();
            series(&trials, control, Costs::Gross)
        };
        let quiet = of([100; 4], true);
        assert_eq!(believe(&of([100, 300, 300, 100], false), &quiet, Tolerance::VM, 1), None);
        let few = series(&block(0, false, [100; 4]), false, Costs::Gross);
        assert!(believe(&few, &quiet, Tolerance::VM, 1).is_some());
        assert!(believe(&of([100; 4], false), &of([100, 110, 110, 100], true), Tolerance::VM, 1).is_some());
    }
}
