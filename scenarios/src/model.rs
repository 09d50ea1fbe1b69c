//! A scenario: frames, what must be counted for them, what it needs and where it is known to come out
//! otherwise.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::frame::Frame;
use crate::kernel::{KernelRange, KernelVersion};
use crate::value::{ParseError, Protocol};

/// The shortest frame that anything can hand to an XDP program: an Ethernet header. The kernel refuses less
/// from a packet socket (`dev_validate_header`), from a tap (`tun_get_user`) and for a test run
/// (`bpf_test_init`).
pub const SHORTEST_FRAME: usize = 14;

/// Ways of handing a frame to the device under test that a scenario can ask for.
pub const INJECTORS: &[&str] = &["pnet", "ring", "test_run", "live_frames"];

/// XDP attach modes that a deviation can be about.
pub const MODES: &[&str] = &["generic", "native", "offload"];

/// Offloads that a scenario can ask to be on or off, by the kernel's names (`netdev_features_strings` in
/// `net/ethtool/common.c`): what is not here has no bearing on what an XDP program sees.
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

/// The name of a scenario: its path below the corpus without `.toml`, such as `vlan/qinq_ipv4_udp`.
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

/// Frames that belong together and what must be observed when all of them were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Its name.
    pub id: ScenarioId,
    /// The file that it was read from.
    pub source: PathBuf,
    /// One sentence: what the frames are and what they would catch.
    pub summary: String,
    /// Words to choose scenarios by.
    pub tags: Vec<String>,
    /// What is sent, in this order; at least one frame.
    pub frames: Vec<Frame>,
    /// What must be observed: declared in the file and computed from the bytes, and both agreed.
    pub expect: Expectation,
    /// What the machine must offer, or the scenario is skipped.
    pub requires: Requires,
    /// What slots hold on every CPU when the first frame is sent, by protocol number; any other may hold anything. What
    /// is expected is what is added, so a counter that wraps as it should comes out as any other.
    pub preset: BTreeMap<u8, u64>,
    /// Over what the frames are spread.
    pub spread: Spread,
    /// Where the scenario is known to come out otherwise.
    pub deviations: Vec<Deviation>,
}

impl Scenario {
    /// Whether nothing can hand these frames to a program: each is shorter than [`SHORTEST_FRAME`]. Either
    /// all frames of a scenario are, or none.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        self.frames.iter().all(|frame| frame.bytes.len() < SHORTEST_FRAME)
    }

    /// The frames as they are sent, each as often as it says.
    pub fn sent_frames(&self) -> impl Iterator<Item = &[u8]> {
        let times = |frame: &Frame| usize::try_from(frame.repeat).unwrap_or(usize::MAX);
        self.frames.iter().flat_map(move |frame| std::iter::repeat_n(frame.bytes.as_slice(), times(frame)))
    }

    /// Number of frames that are sent in a run, repeats included.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.frames.iter().map(|frame| u64::from(frame.repeat)).sum()
    }
}

/// What must be observed, or what was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// Number of frames by protocol number; no entry is 0.
    pub counts: BTreeMap<u8, u64>,
    /// Frames that the program passed on to the stack.
    pub passed: u64,
    /// Frames that the program dropped.
    pub dropped: u64,
}

impl Expectation {
    /// Every frame that is accounted for.
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

/// What a scenario needs; whatever is not given is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requires {
    /// The MTU that both ends need, in bytes: the frame without its Ethernet header.
    pub mtu: Option<u32>,
    /// The only injectors that can produce the frames as they are meant; some of [`INJECTORS`].
    pub injectors: Option<Vec<String>>,
    /// The oldest kernel that can run it.
    pub min_kernel: Option<KernelVersion>,
    /// Offloads of the device under test and the state that each must be in; keys are some of [`OFFLOADS`].
    pub offloads: BTreeMap<String, bool>,
}

/// Over what the frames of a scenario are spread. A trial in which they were not is a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// They are sent from every CPU that is online (in the sender's control group), in turn, and each of these must count
    /// some. Where there is one CPU, that is no spread, and no fault of another CPU can show.
    pub cpus: bool,
    /// The device under test has this many receive queues, [`Spread::MIN_QUEUES`] to [`Spread::MAX_QUEUES`], and all of
    /// them but one must get frames. All but one: generic XDP on veth shows queue N as N - 1, and both 0 and 1 as 0
    /// (measured on Linux 6.18; `netif_get_rxqueue` in `net/core/dev.c` takes what `skb_record_rx_queue` has put there,
    /// the number plus one, and veth's number comes from the sender without it).
    pub queues: Option<u32>,
}

impl Spread {
    /// The fewest queues of which all but one are several.
    pub const MIN_QUEUES: u32 = 3;
    /// Queues that can be told apart: the slots of a counter.
    pub const MAX_QUEUES: u32 = 256;
}

/// A known departure from the expectation: the trial is then expected to fail, and a pass is reported.
///
/// It holds where every condition that is given holds; at least one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// Driver of the device under test, as `ethtool -i` calls it.
    pub driver: Option<String>,
    /// Attach mode, one of [`MODES`].
    pub mode: Option<String>,
    /// Kernels that show it.
    pub kernel: Option<KernelRange>,
    /// Injector, one of [`INJECTORS`].
    pub injector: Option<String>,
    /// Why it comes out otherwise, for the report.
    pub reason: String,
}

impl Deviation {
    /// Whether it holds for a trial.
    #[must_use]
    pub fn holds(&self, driver: &str, mode: &str, kernel: KernelVersion, injector: &str) -> bool {
        let Self {
            driver: its_driver,
            mode: its_mode,
            kernel: its_kernel,
            injector: its_injector,
            reason: _,
        } = self;
        let matches =
            |condition: &Option<String>, value: &str| condition.as_deref().is_none_or(|it| it == value);
        matches(its_driver, driver)
            && matches(its_mode, mode)
            && matches(its_injector, injector)
            && its_kernel.is_none_or(|range| range.contains(kernel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_path_without_escapes() {
        for sound in ["udp", "vlan/qinq_ipv4_udp", "a/b/c-1.2"] {
            assert_eq!(sound.parse::<ScenarioId>().unwrap().to_string(), sound);
        }
        for wrong in ["", "/udp", "udp/", "a//b", "../a", "a/.b", "A", "a b", "a\\b"] {
            assert!(wrong.parse::<ScenarioId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_expectation_in_json_is_keyed_by_protocol_number_as_a_string() {
        let expected = Expectation { counts: [(0, 1), (17, 4)].into(), passed: 5, dropped: 2 };
        let json = r#"{"counts":{"0":1,"17":4},"passed":5,"dropped":2}"#;
        assert_eq!(serde_json::to_string(&expected).unwrap(), json);
        assert_eq!(serde_json::from_str::<Expectation>(json).unwrap(), expected);
        assert!(serde_json::from_str::<Expectation>(&json.replace("17", "256")).is_err());
    }
}
