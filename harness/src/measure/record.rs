//! A measurement as `result.json` has it: raw trials, what they come to, and on what machine. Pure.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Block, Estimate, Inconclusive, Interval, Judgement, Losses, Series, Tolerance, Void, bootstrap_median,
    case::What, compare::Change, judge, median,
};
use crate::plan::{InjectorKind, Mode};

/// One comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// Its name: `path/native/ring/udp/64`.
    pub id: String,
    /// What its ratio is about.
    pub what: What,
    /// How the subject is attached; unattached for a program's cost.
    pub mode: Mode,
    /// How frames reach it.
    pub injector: InjectorKind,
    /// The frames: a mix and a size in bytes with FCS, or a scenario.
    pub traffic: String,
    /// From how many CPUs at once frames are sent.
    pub cpus: usize,
    /// Frames a second that were offered; none: as many as went.
    pub offered_pps: Option<f64>,
    /// The subject's program.
    pub subject: Measured,
    /// The reference's program.
    pub reference: Measured,
    /// What the subject came to: nanoseconds a frame for a program's cost, else frames a second.
    pub value: Option<Figure>,
    /// What the reference came to, in the same unit; for a program's cost against the null program, the latter's gross cost.
    pub reference_value: Option<Figure>,
    /// The subject's speed over the reference's. Of a program's cost: with everything that the kernel does for a run.
    pub ratio: Option<Estimate>,
    /// The same net of the null program, where a program's cost is compared with another's. It is not judged: a program may
    /// cost so little that where in memory it lies makes more than the tolerance.
    pub net_ratio: Option<Estimate>,
    /// The reference's speed over its own, from blocks in between.
    pub gate: Option<Estimate>,
    /// What two speeds may differ by and still be the same.
    pub tolerance: Tolerance,
    /// What the bootstraps drew by.
    pub seed: u64,
    /// The verdict; none where there is nothing to judge (against the null program, or one place against another) and the
    /// figures can be believed.
    pub verdict: Option<Judgement>,
    /// Why nothing was measured, if so.
    pub unmeasured: Option<Unmeasured>,
    /// What became of it since a stored result, if one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Change>,
    /// What had to be done for it that changes the path.
    pub notes: Vec<String>,
    /// What the machine did meanwhile.
    pub beside: Beside,
    /// On what it was measured.
    pub fingerprint: Fingerprint,
    /// Every trial, in the order in which they were run, without the warm-up.
    pub trials: Vec<Sample>,
}

/// Why nothing was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unmeasured {
    /// The reason.
    pub reason: String,
    /// Whether it is known beforehand that this cannot be (see [`support`](crate::support)); else something broke.
    pub declared: bool,
}

/// A program that is measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The object's file; none: the built-in object.
    pub object: Option<String>,
    /// The program's name in the kernel.
    pub name: String,
    /// The hash of its instructions in hexadecimal.
    pub tag: String,
    /// Instructions after the verifier has rewritten them.
    pub instructions: Option<u32>,
    /// Instructions that the verifier looked at, along all ways.
    pub verified_instructions: Option<u32>,
    /// Bytes of machine code.
    pub machine_code_bytes: u32,
}

/// A figure, and how well it is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// The median over blocks.
    pub median: f64,
    /// Its 95 % interval.
    pub interval: Interval,
}

impl Figure {
    fn of(values: &[f64], seed: u64) -> Option<Self> {
        Some(Self { median: median(values)?, interval: bootstrap_median(values, seed)? })
    }
}

/// What the machine did while the whole trials of the subject were run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Beside {
    /// CPU time of the senders for a frame in nanoseconds. The receiving is in it where the kernel accounts softirqs to the
    /// thread that they interrupt.
    pub cpu_ns_per_frame: Option<f64>,
    /// The share of the time that the hypervisor took.
    pub steal: Option<f64>,
    /// What was lost, and accounted for.
    pub losses: Losses,
    /// Frames counted by CPU, the first being CPU 0.
    pub per_cpu: Vec<u64>,
    /// Blocks of both series that are void, by why the first of their trials was.
    pub void: BTreeMap<String, usize>,
}

/// On what something was measured. Absolute figures compare only where all of it is the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    /// The kernel's release.
    pub kernel: String,
    /// The processor's model.
    pub cpu_model: Option<String>,
    /// Processors that could be used.
    pub cpus: usize,
    /// Whether a hypervisor is underneath (`hypervisor` of `/proc/cpuinfo`).
    pub virtual_machine: bool,
    /// `net.core.bpf_jit_enable`.
    pub bpf_jit: Option<u8>,
    /// What the kernel does about each vulnerability of the processor (`/sys/devices/system/cpu/vulnerabilities`).
    pub mitigations: BTreeMap<String, String>,
    /// The tag of the subject's program.
    pub program: String,
    /// The DUT's; none where there is no device.
    pub device: Option<Device>,
}

/// The device in a fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// The kernel's name of the driver.
    pub driver: String,
    /// The firmware's version; none for software.
    pub firmware: Option<String>,
    /// Bytes behind the Ethernet header that it takes.
    pub mtu: u32,
    /// Receive queues.
    pub rx_queues: u32,
    /// Transmit queues.
    pub tx_queues: u32,
    /// Offloads that are on.
    pub offloads: Vec<String>,
}

/// Which of a block's programs a trial ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The null program, where costs are taken net.
    Null,
    /// The first of what is compared.
    Reference,
    /// The second: the subject, or in a block of the gate the reference again.
    Subject,
}

/// One trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// The block that it belongs to, counted over both series.
    pub block: u32,
    /// Whether that block is of the gate.
    pub gate: bool,
    /// What it ran.
    pub part: Part,
    /// Frames that were offered to the path, or runs that were asked for.
    pub sent: u64,
    /// Frames that were counted.
    pub counted: u64,
    /// Frames that were lost and are accounted for.
    pub lost: u64,
    /// What it took in nanoseconds: of CPU time for a program's cost, else from the first frame sent to the last one counted.
    pub time_ns: u64,
    /// What a frame took in the median of the trial's bursts, in nanoseconds: what it is compared by. See [`BURSTS`].
    pub frame_ns: f64,
    /// CPU time of the senders in nanoseconds.
    pub cpu_ns: u64,
    /// The share of its time that the hypervisor took.
    pub steal: f64,
    /// Where frames were lost.
    pub losses: Losses,
    /// Frames counted by CPU, the first being CPU 0; empty for test runs.
    pub per_cpu: Vec<u64>,
    /// Why it says nothing, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub void: Option<Void>,
}

/// Bursts that a trial is sent in, each timed by itself. Every few milliseconds the kernel takes the CPU away for some
/// hundred microseconds (`ksoftirqd`, work queues, RCU), which falls into one burst of a trial and does not move the median.
/// In the trial's time as a whole it would be the loudest noise, and one that comes in step with the trials.
pub const BURSTS: u32 = 5;

/// How costs are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Costs {
    /// As they are: what is judged. Net of a program that does nothing, a program may cost so little that a twentieth of it
    /// is less than where in memory it lies makes.
    Gross,
    /// Less those of the null program, where blocks have its trials.
    Net,
}

/// The blocks of one of the two series that trials make up.
#[must_use]
pub fn series(trials: &[Sample], gate: bool, costs: Costs) -> Series {
    let mut series = Series::default();
    for block in trials.chunk_by(|a, b| a.block == b.block) {
        if block.first().is_some_and(|first| first.gate == gate) {
            series.push(whole(block, costs));
        }
    }
    series
}

/// A block of its trials, or why the first void one is.
fn whole(trials: &[Sample], costs: Costs) -> Result<Block, Void> {
    if let Some(void) = trials.iter().find_map(|trial| trial.void.clone()) {
        return Err(void);
    }
    let two = |part| {
        let costs: Vec<f64> =
            trials.iter().filter(|trial| trial.part == part).map(|trial| trial.frame_ns).collect();
        <[f64; 2]>::try_from(costs).ok()
    };
    let null = two(Part::Null).filter(|_| costs == Costs::Net);
    match (two(Part::Reference), two(Part::Subject)) {
        (Some(reference), Some(subject)) => Ok(Block { reference, subject, null }),
        _ => Err(Void::Injector { reason: "the block was cut short".to_owned() }),
    }
}

/// The figures of the subject and of the reference, from net costs.
#[must_use]
pub fn figures(what: What, against_null: bool, series: &Series, seed: u64) -> [Option<Figure>; 2] {
    let mean = |costs: [f64; 2]| f64::midpoint(costs[0], costs[1]);
    let per_block = |value: &dyn Fn(&Block) -> f64| {
        let values: Vec<f64> = series.blocks.iter().map(value).collect();
        Figure::of(&values, seed)
    };
    match (what, against_null) {
        (What::ProgramCost, true) => [
            per_block(&|block| mean(block.subject) - mean(block.reference)),
            per_block(&|block| mean(block.reference)),
        ],
        (What::ProgramCost, false) => {
            let net = |block: &Block, costs| mean(costs) - block.null.map_or(0.0, mean);
            [per_block(&|block| net(block, block.subject)), per_block(&|block| net(block, block.reference))]
        }
        _ => [per_block(&|block| 1e9 / mean(block.subject)), per_block(&|block| 1e9 / mean(block.reference))],
    }
}

/// Whether figures that nobody judges can be believed: by the rules of [`judge`], but for what the ratio has to be. The
/// interval of the ratio has to fit between the limits of the tolerance around it.
#[must_use]
pub fn believe(series: &Series, gate: &Series, tolerance: Tolerance, seed: u64) -> Option<Judgement> {
    let judged = judge(series, gate, tolerance, seed);
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

    fn sample(block: u32, gate: bool, part: Part, cost: u64) -> Sample {
        let (counted, time_ns) = (1000, cost * 1000);
        Sample {
            block,
            gate,
            part,
            sent: counted,
            counted,
            lost: 0,
            time_ns,
            frame_ns: time_ns as f64 / counted as f64,
            cpu_ns: time_ns,
            steal: 0.0,
            losses: Losses::default(),
            per_cpu: Vec::new(),
            void: None,
        }
    }

    fn block(number: u32, gate: bool, costs: [u64; 4]) -> Vec<Sample> {
        let parts = [Part::Reference, Part::Subject, Part::Subject, Part::Reference];
        parts.into_iter().zip(costs).map(|(part, cost)| sample(number, gate, part, cost)).collect()
    }

    #[test]
    fn trials_make_up_the_blocks_of_two_series() {
        let trials = [
            block(0, false, [100, 110, 112, 104]),
            block(1, true, [100, 101, 102, 103]),
            block(2, false, [90, 91, 92, 93]),
        ]
        .concat();
        let (subject, gate) = (series(&trials, false, Costs::Net), series(&trials, true, Costs::Net));
        assert_eq!((subject.blocks.len(), gate.blocks.len()), (2, 1));
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
        let mut trials = vec![sample(0, false, Part::Null, 10)];
        trials.extend(block(0, false, [20, 30, 30, 20]));
        trials.push(sample(0, false, Part::Null, 10));
        let series = series(&trials, false, Costs::Net);
        assert_eq!(series.blocks[0].null, Some([10.0, 10.0]));
        assert!((series.blocks[0].log_speed().unwrap() - 0.5_f64.ln()).abs() < 1e-12);
        let [subject, reference] = figures(What::ProgramCost, false, &series, 1);
        assert_eq!((subject.unwrap().median, reference.unwrap().median), (20.0, 10.0));
    }

    #[test]
    fn a_block_whose_net_cost_is_not_positive_is_whole_for_gross_costs() {
        let mut trials = vec![sample(0, false, Part::Null, 30)];
        trials.extend(block(0, false, [20, 30, 30, 20]));
        trials.push(sample(0, false, Part::Null, 30));
        assert_eq!(series(&trials, false, Costs::Net).void, [Void::BelowClock]);
        assert_eq!(series(&trials, false, Costs::Gross).blocks.len(), 1);
    }

    #[test]
    fn a_rate_is_frames_a_second() {
        let series = series(&block(0, false, [500, 250, 250, 500]), false, Costs::Net);
        let [subject, reference] = figures(What::PathRate, true, &series, 1);
        assert_eq!((subject.unwrap().median, reference.unwrap().median), (4e6, 2e6));
    }

    #[test]
    fn figures_of_a_quiet_machine_are_believed_whatever_the_ratio_is() {
        let of = |costs, gate| {
            let trials: Vec<Sample> = (0..30).flat_map(|number| block(number, gate, costs)).collect();
            series(&trials, gate, Costs::Gross)
        };
        let quiet = of([100; 4], true);
        assert_eq!(believe(&of([100, 300, 300, 100], false), &quiet, Tolerance::VM, 1), None);
        let few = series(&block(0, false, [100; 4]), false, Costs::Gross);
        assert!(believe(&few, &quiet, Tolerance::VM, 1).is_some());
        assert!(believe(&of([100; 4], false), &of([100, 110, 110, 100], true), Tolerance::VM, 1).is_some());
    }
}
