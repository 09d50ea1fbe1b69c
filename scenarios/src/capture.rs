//! Scenarios from a capture: no expectation is declared, the oracle alone says what its frames must count.
//!
//! No frame is left out. Frames that not every path can carry are put in scenarios of their own, so that whatever becomes of
//! them is said of them and of no other: those that are too short for anything, and those that need a larger MTU.

use std::path::Path;

use crate::frame::Frame;
use crate::model::{Requires, SHORTEST_FRAME, Scenario, ScenarioId};
use crate::oracle;

/// Length in bytes of an Ethernet header, which an MTU does not include.
const ETHERNET: usize = 14;

/// The longest frame in bytes that a link with the usual MTU carries: 1,500 bytes behind two tags.
const LONGEST_USUAL: usize = ETHERNET + 8 + 1_500;

/// The longest frame in bytes that a program without multi-buffer support can be given natively: a page of 4 KiB, less what
/// XDP keeps in front of a frame (`XDP_PACKET_HEADROOM`) and behind it (`struct skb_shared_info`).
pub const LONGEST_SINGLE_BUFFER: usize = 4_096 - 256 - 320;

/// The longest frame in bytes that any link carries: an MTU has at most 65,535 bytes (`ETH_MAX_MTU`).
pub const LONGEST_CARRIED: usize = ETHERNET + 65_535;

/// Frames by length: what their scenario is called behind the capture's name, and which lengths it holds.
const PARTS: [(&str, std::ops::RangeInclusive<usize>); 5] = [
    ("", SHORTEST_FRAME..=LONGEST_USUAL),
    ("/too_short", 0..=SHORTEST_FRAME - 1),
    ("/long", LONGEST_USUAL + 1..=LONGEST_SINGLE_BUFFER),
    ("/jumbo", LONGEST_SINGLE_BUFFER + 1..=LONGEST_CARRIED),
    ("/too_long", LONGEST_CARRIED + 1..=usize::MAX),
];

/// Scenarios that hold every frame of a capture once, in its order: one for all frames that every path carries, and others
/// for the rest. They are called `pcap/` and the file's name; no frames are no scenario.
#[must_use]
pub fn scenarios(file: &Path, frames: &[Vec<u8>]) -> Vec<Scenario> {
    let name = name(file);
    PARTS
        .iter()
        .filter_map(|(part, lengths)| scenario(&format!("pcap/{name}{part}"), file, frames, lengths))
        .collect()
}

fn scenario(
    id: &str,
    file: &Path,
    frames: &[Vec<u8>],
    lengths: &std::ops::RangeInclusive<usize>,
) -> Option<Scenario> {
    let id: ScenarioId = id.parse().ok()?;
    let mut taken: Vec<Frame> = Vec::new();
    for bytes in frames.iter().filter(|bytes| lengths.contains(&bytes.len())) {
        match taken.last_mut() {
            Some(last) if last.bytes == *bytes && last.repeat < u32::MAX => last.repeat += 1,
            _ => taken.push(Frame { bytes: bytes.clone(), repeat: 1, layers: Vec::new() }),
        }
    }
    let longest = taken.iter().map(|frame| frame.bytes.len()).max()?;
    let mtu = (longest > LONGEST_USUAL).then(|| u32::try_from(longest - ETHERNET).unwrap_or(u32::MAX));
    let sent: u64 = taken.iter().map(|frame| u64::from(frame.repeat)).sum();
    Some(Scenario {
        id,
        source: file.to_owned(),
        summary: format!("{sent} frames of up to {longest} bytes from {}", file.display()),
        tags: vec!["pcap".to_owned()],
        expect: oracle::expectation(taken.iter().map(|frame| (frame.bytes.as_slice(), frame.repeat.into()))),
        frames: taken,
        requires: Requires { mtu, ..Requires::default() },
        deviations: Vec::new(),
        preset: std::collections::BTreeMap::new(),
        spread: crate::Spread::default(),
    })
}

/// The file's name without its ending, in the letters that an id may have.
fn name(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    let legal = |letter: char| matches!(letter, 'a'..='z' | '0'..='9' | '_' | '-');
    let name: String = stem.chars().map(|letter| if legal(letter) { letter } else { '_' }).collect();
    if name.is_empty() { "capture".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_lengths(lengths: &[usize]) -> Vec<(String, u64, Option<u32>)> {
        let frames: Vec<_> = lengths.iter().map(|length| vec![0; *length]).collect();
        let parts = scenarios("/tmp/My Capture.v2.pcap".as_ref(), &frames);
        parts.iter().map(|part| (part.id.to_string(), part.sent(), part.requires.mtu)).collect()
    }

    #[test]
    fn every_frame_is_in_one_scenario_by_what_it_needs() {
        let name = |part: &str| format!("pcap/my_capture_v2{part}");
        assert_eq!(
            of_lengths(&[60, 13, 1_522, 60, 0, 1_523, 3_520, 3_521, 65_549, 65_550, 60]),
            [
                (name(""), 4, None),
                (name("/too_short"), 2, None),
                (name("/long"), 2, Some(3_506)),
                (name("/jumbo"), 2, Some(65_535)),
                (name("/too_long"), 1, Some(65_536)),
            ]
        );
        assert_eq!(of_lengths(&[]), []);
    }

    #[test]
    fn the_expectation_is_the_oracles_and_equal_neighbours_are_one_frame_sent_often() {
        let udp = [&[0; 12][..], &[0x08, 0], &[0; 9], &[17], &[0; 20]].concat();
        let part = &scenarios("x.pcap".as_ref(), &[udp.clone(), udp.clone(), vec![0; 14], udp])[0];
        assert_eq!(part.frames.iter().map(|frame| frame.repeat).collect::<Vec<_>>(), [2, 1, 1]);
        assert_eq!(part.expect.counts, [(0, 1), (17, 3)].into());
        assert_eq!((part.expect.passed, part.expect.dropped), (4, 0));
    }
}
