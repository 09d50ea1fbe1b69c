//! Traffic of measurements: frames of a protocol mix and a size, crafted as those of scenarios are.

use std::{collections::BTreeMap, fmt::Write as _, path::Path, str::FromStr};

use xdproof_scenarios::{Scenario, ScenarioId, load};

/// Bytes of the frame check sequence, which a frame's size includes and its bytes here do not (RFC 2544
/// section 9).
pub const FCS: usize = 4;

/// Frame sizes in bytes, FCS included (RFC 2544 section 9.1, for Ethernet).
pub const SIZES: [usize; 7] = [64, 128, 256, 512, 1024, 1280, 1518];

/// Size of a frame with an MTU of 9,000 bytes.
pub const JUMBO: usize = 9018;

/// A protocol mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mix {
    /// IPv4 with UDP, untagged.
    Udp,
    /// IPv6 with UDP behind an 802.1ad and an 802.1Q tag: the longest path through the classifier.
    QinqIpv6,
    /// Untagged IPv4 with UDP, in frames of 64, 594 and 1,518 bytes in the ratio 7:4:1.
    Imix,
}

impl Mix {
    pub const ALL: [Self; 3] = [Self::Udp, Self::QinqIpv6, Self::Imix];

    /// Returns the smallest frame size in bytes, FCS included.
    #[must_use]
    pub fn least(self) -> usize {
        match self {
            Self::Udp | Self::Imix => 64,
            Self::QinqIpv6 => 74,
        }
    }

    fn headers(self) -> (&'static str, usize) {
        match self {
            Self::Udp | Self::Imix => ("{ ethernet = {} }, { ipv4 = {} }, { udp = {} }", 42),
            Self::QinqIpv6 => (
                "{ ethernet = {} }, { vlan = { tpid = \"8021ad\", vid = 100 } }, { vlan = { vid = 10 } }, { ipv6 = {} }, { udp = {} }",
                70,
            ),
        }
    }
}

named!(Mix { Udp = "udp", QinqIpv6 = "qinq_ipv6", Imix = "imix" });

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|mix| mix.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|mix| mix.name()).collect();
            format!("`{text}` is no mix; there are {}", names.join(", "))
        })
    }
}

/// Frames that are sent in a loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// `udp/64`, or a scenario's id.
    pub name: String,
    /// The frames, without FCS, and how many times in a row each is sent.
    pub frames: Vec<(Vec<u8>, u32)>,
    /// The counter's slots and the number of frames that a round adds to each.
    pub slots: BTreeMap<u8, u64>,
}

/// An error in the traffic of a measurement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrafficError {
    #[error("{} frames must be {} to 65549 bytes long (FCS included), got {size}", mix.name(), mix.least())]
    Size {
        mix: Mix,
        /// Size in bytes, FCS included.
        size: usize,
    },
    #[error(
        "{id} has frames that the counter does not count, so that arrived frames cannot be told from lost ones"
    )]
    Uncounted { id: String },
    #[error("failed to craft {name}: {reason}")]
    Craft { name: String, reason: String },
}

impl Traffic {
    /// Returns the frames of a mix, of one size where the mix has one.
    ///
    /// # Errors
    ///
    /// A size that is too small for the mix's headers or too large for a frame.
    pub fn of(mix: Mix, size: usize) -> Result<Self, TrafficError> {
        let (sizes, name) = match mix {
            Mix::Imix => (vec![(64, 7), (594, 4), (1518, 1)], mix.name().to_owned()),
            Mix::Udp | Mix::QinqIpv6 => (vec![(size, 1)], format!("{}/{size}", mix.name())),
        };
        let (headers, length) = mix.headers();
        let mut text = "summary = \"traffic to measure with\"\n".to_owned();
        let mut sent = 0;
        for (size, times) in sizes {
            let fits = (mix.least()..=65_535 + 14).contains(&size);
            let payload = size.checked_sub(FCS + length).filter(|_| fits);
            let Some(payload) = payload else { return Err(TrafficError::Size { mix, size }) };
            let payload = if payload == 0 {
                String::new()
            } else {
                format!(", {{ payload = {{ length = {payload} }} }}")
            };
            // Writing to a String cannot fail.
            let _infallible = writeln!(text, "[[frame]]\nrepeat = {times}\nlayers = [{headers}{payload}]");
            sent += times;
        }
        let _infallible = writeln!(
            text,
            "[requires]\nmtu = 65535\n[expect]\ncounts = {{ udp = {sent} }}\npassed = {sent}\ndropped = 0"
        );
        let craft = |reason: String| TrafficError::Craft { name: name.clone(), reason };
        let id: ScenarioId = name.parse().map_err(|error| craft(format!("{error}")))?;
        let scenario = load::scenario(id, &text, Path::new("."))
            .map_err(|errors| craft(errors.iter().map(ToString::to_string).collect()))?;
        Self::scenario(&scenario)
    }

    /// Returns the frames of a scenario.
    ///
    /// # Errors
    ///
    /// A scenario with frames that are not counted.
    pub fn scenario(scenario: &Scenario) -> Result<Self, TrafficError> {
        let slots = scenario.expect.counts.clone();
        if slots.values().sum::<u64>() != scenario.sent() {
            return Err(TrafficError::Uncounted { id: scenario.id.to_string() });
        }
        let frames = scenario.frames.iter().map(|frame| (frame.bytes.clone(), frame.repeat)).collect();
        Ok(Self { name: scenario.id.to_string(), frames, slots })
    }

    /// Returns the length of the longest frame in bytes, without FCS.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.frames.iter().map(|(frame, _)| frame.len()).max().unwrap_or(0)
    }

    /// Returns the number of frames in a round.
    #[must_use]
    pub fn round(&self) -> u32 {
        self.frames.iter().map(|(_, times)| times).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_the_size_that_is_asked_for_less_the_fcs() {
        for mix in [Mix::Udp, Mix::QinqIpv6] {
            for size in [mix.least(), 128, 1518, JUMBO] {
                let traffic = Traffic::of(mix, size).unwrap();
                assert_eq!(traffic.longest(), size - FCS);
                assert_eq!(traffic.slots, BTreeMap::from([(17, 1)]));
                assert_eq!(traffic.name, format!("{}/{size}", mix.name()));
            }
            let least = mix.least();
            assert!(Traffic::of(mix, least - 1).is_err());
        }
    }

    #[test]
    fn imix_is_seven_to_four_to_one() {
        let traffic = Traffic::of(Mix::Imix, 64).unwrap();
        let shape: Vec<_> = traffic.frames.iter().map(|(frame, times)| (frame.len(), *times)).collect();
        assert_eq!(shape, [(60, 7), (590, 4), (1514, 1)]);
        assert_eq!((traffic.round(), traffic.slots[&17]), (12, 12));
    }

    #[test]
    fn frames_that_are_not_counted_are_no_traffic() {
        let scenarios = load::builtin().unwrap();
        let of = |id: &str| scenarios.iter().find(|scenario| scenario.id.as_ref() as &str == id).unwrap();
        assert!(Traffic::scenario(of("mixed/counted_and_dropped")).is_err());
        assert_eq!(Traffic::scenario(of("vlan/qinq_ipv6")).unwrap().slots.len(), 2);
    }

    #[test]
    fn a_mix_is_found_by_its_name() {
        assert_eq!("qinq_ipv6".parse(), Ok(Mix::QinqIpv6));
        assert!("qinq".parse::<Mix>().unwrap_err().contains("udp, qinq_ipv6, imix"));
    }
}
