//! Spanning tree frames (BPDUs), by which a switch says for how long a port forwards nothing after its link is up.

use std::{fmt, time::Duration};

/// Destination of BPDUs (IEEE 802.1D, table 7-10).
const DESTINATION: [u8; 6] = [0x01, 0x80, 0xc2, 0, 0, 0];

/// LLC header of a BPDU, behind the length.
const LLC: [u8; 3] = [0x42, 0x42, 0x03];

/// Place of the forward delay in a frame, in units of 1/256 s (IEEE 802.1D, figure 9-1).
const FORWARD_DELAY: std::ops::Range<usize> = 50..52;

/// The longest forward delay that the standard allows (IEEE 802.1D, table 8-3).
const LONGEST: Duration = Duration::from_secs(30);

/// Spanning-tree state that a switch announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanningTree {
    /// Nothing.
    Silent,
    /// Its ports listen, and then learn, for so long each before they forward.
    Delays(Duration),
}

impl fmt::Display for SpanningTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => Ok(()),
            Self::Delays(delay) => write!(
                f,
                "; the switch speaks STP, and its ports forward nothing for {:?} after their link is up: turn STP off, or make them edge ports",
                *delay * 2
            ),
        }
    }
}

/// Returns the forward delay of the switch that has sent a frame, if it is a BPDU with one.
pub(super) fn forward_delay(frame: &[u8]) -> Option<Duration> {
    let is_bpdu = frame.starts_with(&DESTINATION) && frame.get(14..17) == Some(&LLC[..]);
    let units: [u8; 2] = frame.get(FORWARD_DELAY)?.try_into().ok()?;
    let delay = Duration::from_millis(u64::from(u16::from_be_bytes(units)) * 1000 / 256);
    (is_bpdu && !delay.is_zero()).then(|| delay.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration BPDU of a bridge with a delay of 15 s.
    fn bpdu() -> Vec<u8> {
        let mut frame = [&DESTINATION[..], &[2, 0, 0, 0, 0, 9], &[0, 38], &LLC].concat();
        frame.resize(60, 0);
        frame[FORWARD_DELAY].copy_from_slice(&[15, 0]);
        frame
    }

    #[test]
    fn the_forward_delay_of_a_bpdu_is_read() {
        assert_eq!(forward_delay(&bpdu()), Some(Duration::from_secs(15)));
    }

    #[test]
    fn other_frames_have_no_delay_and_no_delay_is_endless() {
        let mut other = bpdu();
        other[5] = 0x0e;
        assert_eq!(forward_delay(&other), None);
        assert_eq!(forward_delay(&bpdu()[..51]), None);
        let mut endless = bpdu();
        endless[FORWARD_DELAY].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(forward_delay(&endless), Some(LONGEST));
    }
}
