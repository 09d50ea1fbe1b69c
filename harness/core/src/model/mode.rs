//! Attach modes, injectors, and the path of a trial: one of each.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The place of the program under test during a trial.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Attached in the kernel's stack, after the driver has made a socket buffer (`XDP_FLAGS_SKB_MODE`).
    Generic,
    /// Attached in the driver (`XDP_FLAGS_DRV_MODE`).
    Native,
    /// Attached in the device (`XDP_FLAGS_HW_MODE`).
    Offload,
    /// Not attached to any device: run by `BPF_PROG_TEST_RUN`.
    #[value(skip)]
    Unattached,
}

impl Mode {
    /// Every mode in which a program is attached to a device.
    pub const ATTACHED: [Self; 3] = [Self::Generic, Self::Native, Self::Offload];

    /// Returns whether a program in this mode is attached to a device.
    #[must_use]
    pub fn is_attached(self) -> bool {
        self != Self::Unattached
    }
}

named!(Mode { Generic = "generic", Native = "native", Offload = "offload", Unattached = "unattached" });

/// The way in which frames reach the program under test.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum InjectorKind {
    /// One `AF_PACKET` send a frame, by pnet, from the tester to the DUT.
    Pnet,
    /// Many frames a system call, by an `AF_XDP` ring in copy mode.
    Ring,
    /// Frames that the kernel creates and redirects to the tester's port (`BPF_F_TEST_XDP_LIVE_FRAMES`).
    LiveFrames,
    /// `BPF_PROG_TEST_RUN`: the kernel runs the program on the bytes, with no device in between.
    TestRun,
}

impl InjectorKind {
    pub const ALL: [Self; 4] = [Self::Pnet, Self::Ring, Self::LiveFrames, Self::TestRun];
}

named!(InjectorKind { Pnet = "pnet", Ring = "ring", LiveFrames = "live_frames", TestRun = "test_run" });

/// An attach mode and an injector that fit each other: a column of the table of verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrialPath {
    pub mode: Mode,
    pub injector: InjectorKind,
}

impl fmt::Display for TrialPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}::{}", self.mode, self.injector))
    }
}
