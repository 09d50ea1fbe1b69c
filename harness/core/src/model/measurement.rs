//! A measurement as `result.json` stores it: raw trials, the estimates from them, and the machine. Pure.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{
    judgement::{Change, Estimate, Interval, Judgement, Tolerance, Void},
    losses::Losses,
    mode::{InjectorKind, Mode},
};

/// One comparison of two speeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// `path/native/ring/udp/64`, for instance.
    pub id: String,
    /// Quantity that is compared.
    pub quantity: Quantity,
    /// Attach mode of the subject; unattached for the cost of a program.
    pub mode: Mode,
    pub injector: InjectorKind,
    /// A mix and a frame size in bytes with FCS, or a scenario.
    pub traffic: String,
    /// CPUs that send at once.
    pub cpus: usize,
    /// Offered load in frames per second; none: as fast as possible.
    pub offered_pps: Option<f64>,
    pub subject: Measured,
    pub reference: Measured,
    /// Figure of the subject: nanoseconds per frame for the cost of a program, else frames per second.
    pub value: Option<Figure>,
    /// Figure of the reference in the same unit. For the cost against the null program: the gross cost of the null program.
    pub reference_value: Option<Figure>,
    /// Speed of the subject over that of the reference. For the cost of a program it includes what the kernel does for each run.
    pub ratio: Option<Estimate>,
    /// The ratio net of the null program, where the costs of two programs are compared. It is not judged: a program may cost
    /// so little that its position in memory makes more difference than the tolerance.
    pub net_ratio: Option<Estimate>,
    /// A/A control: speed of the reference over its own, from blocks in between.
    pub control: Option<Estimate>,
    /// Difference of two speeds that still counts as none.
    pub tolerance: Tolerance,
    /// Seed of the bootstraps.
    pub seed: u64,
    /// None where the figures can be believed and there is nothing to judge: against the null program, or between two places.
    pub verdict: Option<Judgement>,
    /// Set where nothing was measured.
    pub unmeasured: Option<Unmeasured>,
    /// Change since a stored result, if a baseline was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Change>,
    /// Adjustments that change the path.
    pub notes: Vec<String>,
    /// Statistics of the machine during the measurement.
    pub side_stats: SideStats,
    /// Machine and device.
    pub fingerprint: Fingerprint,
    /// Every trial in the order of execution, without the warm-up.
    pub trials: Vec<Sample>,
}

/// Reason why nothing was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unmeasured {
    pub reason: String,
    /// Set if the [support table](crate::plan::support) declares that this cannot be measured; otherwise something broke.
    pub declared: bool,
}

/// A measured program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// File of the object; none: the built-in object.
    pub object: Option<String>,
    /// Name in the kernel.
    pub name: String,
    /// Hash of the instructions in hexadecimal.
    pub tag: String,
    /// Instructions after the verifier has rewritten them.
    pub instructions: Option<u32>,
    /// Instructions that the verifier processed, along all paths.
    pub verified_instructions: Option<u32>,
    pub machine_code_bytes: u32,
}

/// A figure with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// Median over blocks.
    pub median: f64,
    /// 95 % interval of the median.
    pub interval: Interval,
}

/// Statistics of the machine during those trials of the subject that are not void.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SideStats {
    /// CPU time of the senders per frame in nanoseconds. It includes the receive side where the kernel accounts softirqs to the
    /// thread that they interrupt.
    pub cpu_ns_per_frame: Option<f64>,
    /// Share of the time that the hypervisor took.
    pub steal: Option<f64>,
    /// Frames that were lost and are accounted for.
    pub losses: Losses,
    /// Frames counted by CPU, the first being CPU 0.
    pub per_cpu: Vec<u64>,
    /// Void blocks of both series, by the cause of the first void trial in each.
    pub void_blocks: BTreeMap<String, usize>,
}

/// The machine and the device. Absolute figures compare only where all of it is the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    /// Release of the kernel.
    pub kernel: String,
    pub cpu_model: Option<String>,
    /// Usable CPUs.
    pub cpus: usize,
    /// Set for a virtual machine (`hypervisor` in `/proc/cpuinfo`).
    pub virtual_machine: bool,
    /// `net.core.bpf_jit_enable`.
    pub bpf_jit: Option<u8>,
    /// Mitigation of each CPU vulnerability (`/sys/devices/system/cpu/vulnerabilities`).
    pub mitigations: BTreeMap<String, String>,
    /// Tag of the subject's program.
    pub program: String,
    /// The DUT; none where there is no device.
    pub device: Option<MeasuredDevice>,
}

/// The device in a fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeasuredDevice {
    /// Name of the driver in the kernel.
    pub driver: String,
    /// Firmware version; none for software devices.
    pub firmware: Option<String>,
    pub mtu: u32,
    pub rx_queues: u32,
    pub tx_queues: u32,
    /// Enabled offloads.
    pub offloads: Vec<String>,
}

/// One trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Number of its block, counted over both series.
    pub block: u32,
    /// Set if the block belongs to the A/A control.
    pub control: bool,
    /// Role of the program in the block. In a block of the control the subject is the reference again.
    pub role: ProgramRole,
    /// Frames that were offered to the path, or requested runs.
    pub sent: u64,
    /// Frames that were counted.
    pub counted: u64,
    /// Frames that were lost and are accounted for.
    pub lost: u64,
    /// Duration in nanoseconds: CPU time for the cost of a program, else the time from the first frame sent to the last counted.
    pub time_ns: u64,
    /// Nanoseconds per frame in the median of the trial's bursts; speeds are compared by it. See [`BURSTS`].
    pub ns_per_frame: f64,
    /// CPU time of the senders in nanoseconds.
    pub cpu_ns: u64,
    /// Share of the time that the hypervisor took.
    pub steal: f64,
    /// Frames lost, by place.
    pub losses: Losses,
    /// Frames counted by CPU, the first being CPU 0; empty for test runs.
    pub per_cpu: Vec<u64>,
    /// Set where the trial says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub void: Option<Void>,
}

/// Bursts of a trial, each timed by itself. Every few milliseconds the kernel takes the CPU away for some
/// hundred microseconds (`ksoftirqd`, work queues, RCU), which falls into one burst of a trial and does not move the median.
/// In the time of the whole trial it would be the loudest noise, and one in step with the trials.
pub const BURSTS: u32 = 5;

/// The program that a trial runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProgramRole {
    /// The program that passes every frame without looking at it; net costs are taken over it.
    Null,
    /// The program under test.
    Subject,
    /// The program that it is compared with.
    Reference,
}

/// The compared quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Nanoseconds of CPU time that the program takes for a frame, less those of the null program.
    ProgramCost,
    /// Frames per second from the injector to the map. On a veth the sender's CPU also does the receive side.
    PathRate,
    /// Path rate in native mode over that in generic mode.
    NativeToGeneric,
    /// Path rate of frames of one size over that of the smallest.
    SizeToSmallest,
}

named!(Quantity { ProgramCost = "cost", PathRate = "path", NativeToGeneric = "modes", SizeToSmallest = "sizes" });
