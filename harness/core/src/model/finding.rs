//! What took part in a run: the devices, what is peculiar about them, and what the kernel said meanwhile.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::mode::Mode;

/// Something about a device, a driver or a kernel that a reader of the result has to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// What it is about.
    pub kind: FindingKind,
    /// How much it weighs.
    pub weight: Weight,
    /// The device, as trials call it; none where it is about the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nic: Option<String>,
    /// The attach mode, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// A sentence without its full stop.
    pub what: String,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// The kernel reported a fault of its own: WARN, BUG, KASAN.
    KernelFault,
    /// A mode is advertised, and attaching is refused, or frames are not handled as it promises.
    AdvertisedNotSo,
    /// Attaching works, and nothing advertises it.
    NotAdvertised,
    /// The device refused what the support table says that it takes, or took what it is said to refuse.
    SupportTable,
    /// Nothing is known of the driver in a mode, and it refused.
    UnknownSupport,
    /// A known deviation does not deviate any more.
    NoDeviation,
    /// An MTU was accepted with a program attached that the driver cannot serve.
    UnsafeMtu,
    /// Statistics disagree with what the program was given.
    Statistics,
    /// Frames arrive otherwise than they were sent.
    AlteredFrames,
    /// A setting could not be put back as it was.
    NotRestored,
}

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// Good to know.
    Note,
    /// It keeps a result from being clean, and does not fail it.
    Warning,
    /// It fails the run.
    Fault,
}

impl Weight {
    /// The name that results use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }
}

/// A line that the kernel printed during a run (`/dev/kmsg`), of the level of a warning or worse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KernelMessage {
    /// 0 (emergency) to 7 (debug).
    pub level: u8,
    /// When, in microseconds since the kernel started.
    pub since_boot_us: u64,
    /// The line.
    pub text: String,
}

/// A part of a larger run that came to nothing: a machine that hung, a device that was lost. It is never a result of a test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InfrastructureFailure {
    /// What was to be tested: `6.1`, `6.1/igb`.
    pub cell: String,
    /// What happened, a sentence without its full stop.
    pub what: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Whether a further attempt gave a result after all.
    pub recovered: bool,
    /// The end of what the machine printed.
    pub console: String,
}
