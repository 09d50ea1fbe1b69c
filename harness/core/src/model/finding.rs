//! Findings about devices, drivers and kernels, kernel messages, and infrastructure failures.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::mode::Mode;

/// A property of a device, a driver or a kernel that a reader of the result has to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    pub kind: FindingKind,
    pub severity: Severity,
    /// The device, as trials call it; none where the finding is about the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nic: Option<String>,
    /// The attach mode, if the finding is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// A sentence without its full stop.
    pub message: String,
}

/// The subject of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// The kernel reported a fault of its own: WARN, BUG, KASAN.
    KernelFault,
    /// The driver advertises a mode, but refuses to attach or does not handle frames as the mode requires.
    AdvertisedNotWorking,
    /// Attaching works although the driver does not advertise it.
    NotAdvertised,
    /// The device refused what the support table lists as accepted, or the reverse.
    SupportTable,
    /// The support table has no entry for the driver and mode, and the driver refused.
    UnknownSupport,
    /// A declared deviation no longer occurs.
    UnexpectedPass,
    /// The driver accepted an MTU, with a program attached, that it cannot serve.
    UnsafeMtu,
    /// Statistics disagree with the number of frames that the program received.
    Statistics,
    /// Frames are modified in transit.
    ModifiedFrames,
    /// A setting could not be restored.
    NotRestored,
    /// The testbed broke, so that trials were not run, or others sent frames on the link, so that trials were retried.
    TestbedFailure,
}

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Note,
    /// Adds a warning to a result that passes.
    Warning,
    /// Fails the run.
    Fault,
}

named!(Severity { Note = "note", Warning = "warning", Fault = "fault" });

/// A line that the kernel printed during a run (`/dev/kmsg`), with level warning or worse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KernelMessage {
    /// 0 (emergency) to 7 (debug).
    pub level: u8,
    /// Microseconds since the kernel started.
    pub since_boot_us: u64,
    pub text: String,
}

/// A part of a larger run without a result: a machine that hung, a device that was lost. It is never the result of a test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InfrastructureFailure {
    /// Cell of the matrix: `6.1`, `6.1/igb`.
    pub cell: String,
    /// A sentence without its full stop.
    pub message: String,
    pub attempts: u32,
    /// Set if a later attempt gave a result.
    pub recovered: bool,
    /// The end of the machine's console output.
    pub console: String,
}
