//! Scenarios from a capture. No expectation is declared: the oracle alone computes it.
//!
//! No frame is left out. Frames that not every path can carry are put in scenarios of their own, so that a skip or a failure
//! concerns them only: those that are too short to inject, and those that need a larger MTU.

use std::path::Path;

use crate::frame::Frame;
use crate::model::{Requires, SHORTEST_FRAME, Scenario, ScenarioId};
use crate::oracle;

/// Length in bytes of an Ethernet header, which an MTU does not include.
const ETHERNET: usize = 14;

/// Longest frame in bytes on a link with the usual MTU: 1,500 bytes behind two tags.
const LONGEST_USUAL: usize = ETHERNET + 8 + 1_500;

/// Longest frame in bytes for a program without multi-buffer support in native mode: a page of 4 KiB less headroom
/// (`XDP_PACKET_HEADROOM`) and tailroom (`struct skb_shared_info`).
pub const LONGEST_SINGLE_BUFFER: usize = 4_096 - 256 - 320;

/// Longest frame in bytes on any link: an MTU is at most 65,535 bytes (`ETH_MAX_MTU`).
pub const LONGEST_CARRIED: usize = ETHERNET + 65_535;

/// Scenarios of a capture: suffix of the name, and lengths of the frames in it.
const PARTS: [(&str, std::ops::RangeInclusive<usize>); 5] = [
    ("", SHORTEST_FRAME..=LONGEST_USUAL),
    ("/too_short", 0..=SHORTEST_FRAME - 1),
    ("/long", LONGEST_USUAL + 1..=LONGEST_SINGLE_BUFFER),
    ("/jumbo", LONGEST_SINGLE_BUFFER + 1..=LONGEST_CARRIED),
    ("/too_long", LONGEST_CARRIED + 1..=usize::MAX),
];

/// Returns scenarios that hold every frame of a capture once, in its order: one for all frames that every path carries, and
/// others for the rest. Their ids are `pcap/` and the name of the file; without frames there is no scenario.
#[must_use]
pub fn scenarios(file: &Path, frames: Vec<Vec<u8>>) -> Vec<Scenario> {
    let name = name(file);
    let mut parts: [Vec<Frame>; PARTS.len()] = Default::default();
    for bytes in frames {
        let part = PARTS.iter().position(|(_, lengths)| lengths.contains(&bytes.len()));
        let Some(taken) = part.map(|part| &mut parts[part]) else { continue };
        match taken.last_mut() {
            Some(last) if last.bytes == bytes && last.repeat < u32::MAX => last.repeat += 1,
            _ => taken.push(Frame { bytes, repeat: 1, layers: Vec::new() }),
        }
    }
    PARTS
        .iter()
        .zip(parts)
        .filter_map(|((part, _), frames)| scenario(&format!("pcap/{name}{part}"), file, frames))
        .collect()
}

fn scenario(id: &str, file: &Path, taken: Vec<Frame>) -> Option<Scenario> {
    let id: ScenarioId = id.parse().ok()?;
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

/// The path that stands for standard input.
pub const STANDARD_INPUT: &str = "-";

/// Returns the name of the file without its extension, in characters that an id may have.
fn name(file: &Path) -> String {
    if file.as_os_str() == STANDARD_INPUT {
        return "stdin".to_owned();
    }
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    let legal = |letter: char| matches!(letter, 'a'..='z' | '0'..='9' | '_' | '-');
    let name: String = stem.chars().map(|letter| if legal(letter) { letter } else { '_' }).collect();
    if name.is_empty() { "capture".to_owned() } else { name }
}
