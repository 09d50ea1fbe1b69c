//! Scenario: frames, the counts that they must lead to, requirements, and known deviations.

#![expect(
    missing_docs,
    reason = "the fields without a doc are named like the keys of the format, in scenarios/README.md"
)]

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::frame::Frame;
use crate::kernel::{KernelRange, KernelVersion};
use crate::value::{ParseError, Protocol};

/// Shortest frame in bytes that can reach an XDP program: an Ethernet header. The kernel rejects less from a packet socket
/// (`dev_validate_header`), from a tap (`tun_get_user`) and for a test run (`bpf_test_init`).
pub const SHORTEST_FRAME: usize = 14;

/// Injectors that a scenario can require.
pub const INJECTORS: &[&str] = &["pnet", "ring", "test_run", "live_frames"];

/// XDP attach modes that a deviation can name.
pub const MODES: &[&str] = &["generic", "native", "offload"];

/// Offloads that a scenario can require to be on or off, by the kernel's names (`netdev_features_strings` in
/// `net/ethtool/common.c`): those that affect what an XDP program sees.
pub const OFFLOADS: &[&str] = &[
    "rx-all",
    "rx-checksum",
    "rx-fcs",
    "rx-gro",
    "rx-gro-hw",
    "rx-gro-list",
    "rx-lro",
    "rx-udp-gro-forwarding",
    "rx-vlan-filter",
    "rx-vlan-hw-parse",
    "rx-vlan-stag-filter",
    "rx-vlan-stag-hw-parse",
    "tx-checksum-ip-generic",
    "tx-generic-segmentation",
    "tx-scatter-gather",
    "tx-tcp-segmentation",
    "tx-vlan-hw-insert",
    "tx-vlan-stag-hw-insert",
];

/// Path of a scenario below its corpus without `.toml`, such as `vlan/qinq_ipv4_udp`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScenarioId(String);

impl FromStr for ScenarioId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let legal = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.');
        let sound = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(legal);
        text.split('/').all(sound).then(|| Self(text.to_owned())).ok_or_else(|| {
            ParseError::new("parts of a-z, 0-9, `_`, `-` and `.` between single slashes", text)
        })
    }
}

impl fmt::Display for ScenarioId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for ScenarioId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Frames that are sent in one trial and the counts that they must lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    pub id: ScenarioId,
    /// File that it was read from.
    pub source: PathBuf,
    /// One sentence: the frames, and a fault that they catch.
    pub summary: String,
    pub tags: Vec<String>,
    /// At least one frame, in the order of sending.
    pub frames: Vec<Frame>,
    /// Declared in the file and computed from the bytes, and both agreed.
    pub expect: Expectation,
    /// Conditions without which the scenario is skipped.
    pub requires: Requires,
    /// Values of slots on every CPU before the first frame, by protocol number; others may hold anything. The expectation
    /// is of differences, so it also holds for a counter that wraps.
    pub preset: BTreeMap<u8, u64>,
    pub spread: Spread,
    pub deviations: Vec<Deviation>,
}

impl Scenario {
    /// Returns true if no injector can produce the frames, because each is shorter than [`SHORTEST_FRAME`]. Either all
    /// frames of a scenario are, or none.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        self.frames.iter().all(|frame| frame.bytes.len() < SHORTEST_FRAME)
    }

    /// Returns the frames as they are sent, each as often as its `repeat`.
    pub fn sent_frames(&self) -> impl Iterator<Item = &[u8]> {
        let times = |frame: &Frame| usize::try_from(frame.repeat).unwrap_or(usize::MAX);
        self.frames.iter().flat_map(move |frame| std::iter::repeat_n(frame.bytes.as_slice(), times(frame)))
    }

    /// Returns the number of frames that are sent, repeats included.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.frames.iter().map(|frame| u64::from(frame.repeat)).sum()
    }
}

/// Frames by slot of the counter and by action, expected or observed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// Counted frames by protocol number; no entry is 0.
    pub counts: BTreeMap<u8, u64>,
    /// Frames that the program passed to the stack.
    pub passed: u64,
    /// Frames that the program dropped.
    pub dropped: u64,
}

impl Expectation {
    /// Returns the number of frames that are accounted for.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.passed + self.dropped
    }
}

impl fmt::Display for Expectation {
    /// `udp=4 200=1, passed 5, dropped 0`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<_> =
            self.counts.iter().map(|(&key, count)| format!("{}={count}", Protocol(key))).collect();
        let counts = if counts.is_empty() { "nothing counted".to_owned() } else { counts.join(" ") };
        write!(f, "{counts}, passed {}, dropped {}", self.passed, self.dropped)
    }
}

/// Requirements of a scenario.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requires {
    /// MTU of both ends in bytes: the frame without its Ethernet header.
    pub mtu: Option<u32>,
    /// Only injectors that can produce the frames; some of [`INJECTORS`].
    pub injectors: Option<Vec<String>>,
    /// Oldest kernel that can run it.
    pub min_kernel: Option<KernelVersion>,
    /// State of offloads of the device under test; keys are some of [`OFFLOADS`].
    pub offloads: BTreeMap<String, bool>,
}

/// CPUs and receive queues that the frames of a scenario are spread over. A trial in which they are not fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// Frames are sent from every CPU that is online (in the sender's control group), in turn, and each of these must
    /// count some. With one CPU nothing is spread, and no fault of another CPU can show.
    pub cpus: bool,
    /// The CPUs send at the same time, each by a transmit queue of its own, instead of in turn. With one CPU that proves nothing.
    pub at_once: bool,
    /// Receive queues of the device under test, [`Spread::MIN_QUEUES`] to [`Spread::MAX_QUEUES`], all of which but one must
    /// receive frames. All but one: generic XDP on veth shows queue N as N - 1, and both 0 and 1 as 0 (measured on Linux
    /// 6.18; `netif_get_rxqueue` in `net/core/dev.c` takes what `skb_record_rx_queue` has put there, the number plus one,
    /// and veth's number comes from the sender without it).
    pub queues: Option<u32>,
}

impl Spread {
    /// Fewest queues of which all but one are several.
    pub const MIN_QUEUES: u32 = 3;
    /// Most queues that can be told apart: the slots of a counter.
    pub const MAX_QUEUES: u32 = 256;
}

/// A known departure from the expectation: the trial is expected to fail, and a pass is reported.
///
/// It applies if every condition that is given holds; at least one is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// Driver of the device under test, as `ethtool -i` names it.
    pub driver: Option<String>,
    /// Attach mode, one of [`MODES`].
    pub mode: Option<String>,
    pub kernel: Option<KernelRange>,
    /// Injector, one of [`INJECTORS`].
    pub injector: Option<String>,
    /// Reason, for the report.
    pub reason: String,
}

impl Deviation {
    /// Returns true if it applies to a trial.
    #[must_use]
    pub fn holds(&self, driver: &str, mode: &str, kernel: KernelVersion, injector: &str) -> bool {
        let matches = |condition: &Option<String>, value| condition.as_deref().is_none_or(|it| it == value);
        let Self { driver: its_driver, mode: its_mode, kernel: kernels, injector: its_injector, reason: _ } =
            self;
        matches(its_driver, driver)
            && matches(its_mode, mode)
            && matches(its_injector, injector)
            && kernels.is_none_or(|range| range.contains(kernel))
    }
}
