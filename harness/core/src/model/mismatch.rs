//! The judge: holds what was observed against what had to be observed. Pure.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One way in which an observation departs from what was expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Mismatch {
    /// The map counted another number of packets for a protocol.
    Count {
        /// IP protocol number.
        protocol: u8,
        /// Packets that had to be counted.
        expected: u64,
        /// Packets that were counted.
        observed: u64,
    },
    /// Another number of frames passed.
    Passed {
        /// Frames that had to pass.
        expected: u64,
        /// Frames that passed.
        observed: u64,
    },
    /// Another number of frames was dropped by the program.
    Dropped {
        /// Frames that had to be dropped.
        expected: u64,
        /// Frames that were dropped.
        observed: u64,
    },
    /// The program gave an answer that no counter gives, neither `XDP_PASS` nor `XDP_DROP`.
    Answer {
        /// The answer, an `XDP_*` action or a number beyond them.
        action: u32,
        /// How often.
        times: u64,
    },
    /// A frame came back to the tester.
    Returned {
        /// The bytes in hexadecimal.
        hex: String,
        /// How many of them came.
        times: u64,
    },
    /// The program did not run once for each frame sent: the path lost frames or added its own.
    Conservation {
        /// Frames sent.
        sent: u64,
        /// Runs of the program.
        ran: u64,
    },
    /// A frame that had to pass did not come through with these bytes.
    Missing {
        /// The bytes in hexadecimal.
        hex: String,
        /// How many of them are missing.
        times: u64,
    },
    /// A frame came through that nobody sent, or that had to be dropped.
    Unexpected {
        /// The bytes in hexadecimal.
        hex: String,
        /// How many of them came.
        times: u64,
    },
    /// Frames were sent from a CPU, and nothing was counted there.
    IdleCpu {
        /// The CPU's number.
        cpu: usize,
    },
    /// Frames that had to be spread over receive queues arrived on too few.
    NotSpread {
        /// How many queues had to get some.
        least: u32,
        /// Those that did.
        queues: Vec<u8>,
    },
    /// The closing frame, sent after all others, did not come through.
    NotClosed,
    /// A deviation is declared for this trial, and it does not deviate any more.
    NoDeviation {
        /// The declared reason.
        reason: String,
    },
    /// The trial left its testbed in another state than it found it in.
    Dirty {
        /// What was left.
        what: String,
    },
    /// A refusal or an attachment that the support table does not know.
    Support {
        /// What happened.
        what: String,
    },
    /// The kernel answered otherwise than a rule says.
    Rule {
        /// What was done.
        action: String,
        /// What had to come out.
        expected: String,
        /// What came out.
        observed: String,
    },
}

impl Mismatch {
    /// Whether a declared deviation can account for it: other numbers or other bytes come out. That frames are lost, or that
    /// the path does not come to rest, is never a way in which a driver counts.
    pub fn is_excusable(&self) -> bool {
        match self {
            Self::Count { .. }
            | Self::Passed { .. }
            | Self::Dropped { .. }
            | Self::Missing { .. }
            | Self::Unexpected { .. } => true,
            Self::Answer { .. }
            | Self::Returned { .. }
            | Self::Conservation { .. }
            | Self::IdleCpu { .. }
            | Self::NotSpread { .. }
            | Self::NotClosed
            | Self::NoDeviation { .. }
            | Self::Dirty { .. }
            | Self::Support { .. }
            | Self::Rule { .. } => false,
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { protocol, expected, observed } => {
                write!(f, "protocol {protocol}: expected {expected}, counted {observed}")
            }
            Self::Passed { expected, observed } => {
                write!(f, "expected {expected} to pass, {observed} passed")
            }
            Self::Dropped { expected, observed } => {
                write!(f, "expected {expected} to be dropped, {observed} were")
            }
            Self::Conservation { sent, ran } => {
                write!(f, "{sent} frames were sent and the program ran {ran} times")
            }
            Self::Answer { action, times } => {
                write!(f, "{times} times the answer was {action}, neither XDP_PASS nor XDP_DROP")
            }
            Self::Returned { hex, times } => write!(f, "came back to the tester {times} x {hex}"),
            Self::Missing { hex, times } => write!(f, "missing {times} x {hex}"),
            Self::Unexpected { hex, times } => write!(f, "unexpected {times} x {hex}"),
            Self::IdleCpu { cpu } => {
                write!(f, "nothing was counted on CPU {cpu}, from which frames were sent")
            }
            Self::NotSpread { least, queues } => {
                write!(f, "frames had to arrive on {least} receive queues at least, and did on {queues:?}")
            }
            Self::NotClosed => f.write_str("the closing frame was not passed"),
            Self::NoDeviation { reason } => write!(f, "passes, although a deviation is declared: {reason}"),
            Self::Dirty { what } | Self::Support { what } => f.write_str(what),
            Self::Rule { action, expected, observed } => {
                write!(f, "{action}: expected {expected}, observed {observed}")
            }
        }
    }
}
