//! A measurement as `result.json` has it: raw trials, what they come to, and on what machine. Pure.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{
    judgement::{Change, Estimate, Interval, Judgement, Tolerance, Void},
    losses::Losses,
    mode::{InjectorKind, Mode},
};

/// One comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// Its name: `path/native/ring/udp/64`.
    pub id: String,
    /// What its ratio is about.
    pub what: Quantity,
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
    pub beside: SideStats,
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
    /// Whether it is known beforehand that this cannot be (see [`support`](crate::plan::support)); else something broke.
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

/// What the machine did while the whole trials of the subject were run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SideStats {
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
    pub device: Option<MeasuredDevice>,
}

/// The device in a fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeasuredDevice {
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

/// Which program a trial runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProgramRole {
    /// The program that passes every frame and looks at none.
    Null,
    /// The program under test.
    Subject,
    /// The program that it is compared with.
    Reference,
}

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Nanoseconds of CPU time that the program takes for a frame, less what the null program takes.
    ProgramCost,
    /// Frames a second from the injector to the map. On a veth the sender's CPU does the receiving too.
    PathRate,
    /// The path rate in native mode over that in generic mode.
    NativeToGeneric,
    /// The path rate of frames of a size over that of the smallest.
    SizeToSmallest,
}

impl Quantity {
    /// The first part of an id.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ProgramCost => "cost",
            Self::PathRate => "path",
            Self::NativeToGeneric => "modes",
            Self::SizeToSmallest => "sizes",
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
