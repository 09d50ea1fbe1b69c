//! The expectation of a trial.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xdproof_scenarios::Spread;

use crate::model::{frame_sequence::FrameSequence, observation::Counts, sink::Sink};

/// The origin of an expectation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExpectationSource {
    /// The counter's oracle, from the bytes that arrive at the program.
    #[default]
    Oracle,
    /// The scenario or fixture declares it.
    Declared,
    /// It is declared, and the oracle agreed before a frame was sent.
    Both,
}

/// The numbers of an expectation, as results hold them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectedTotals {
    /// The origin of the numbers.
    pub source: ExpectationSource,
    /// Packets by protocol number; none where the program has no counter map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// Frames by the sink at which they come out, those included that nothing can observe there.
    pub frames: BTreeMap<Sink, u64>,
}

/// The expectation of a trial, whatever the program and the path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrialExpectation {
    /// Its numbers.
    pub totals: ExpectedTotals,
    /// The frames that can be observed at each sink, in the order in which they are sent.
    pub frames: BTreeMap<Sink, FrameSequence>,
    /// Frames by sink that nothing can observe there: the stack discards them before any socket gets them.
    pub unobservable: BTreeMap<Sink, u64>,
    /// `XDP_*` actions that the program may return.
    pub verdicts: BTreeSet<u32>,
    /// CPUs and receive queues over which the frames are spread.
    pub spread: Spread,
}

impl TrialExpectation {
    /// The number of frames that are observed at a sink if all is well.
    #[must_use]
    pub fn observable(&self, sink: Sink) -> u64 {
        let of = |frames: &BTreeMap<Sink, u64>| frames.get(&sink).copied().unwrap_or(0);
        of(&self.totals.frames).saturating_sub(of(&self.unobservable))
    }
}
