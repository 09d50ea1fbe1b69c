//! Captures in classic pcap (draft-ietf-opsawg-pcap).

use std::io::{self, Write};

use pcap_parser::{Linktype, parse_pcap_frame, parse_pcap_frame_be, parse_pcap_header};

use crate::capture_error::{CaptureError, check_link_type, push_whole};

pub(crate) const MICROSECONDS: u32 = 0xa1b2_c3d4;
pub(crate) const NANOSECONDS: u32 = 0xa1b2_3c4d;

/// Bits of the file header's last word that hold the link type.
const LINK_TYPE: i32 = 0xffff;
/// Bit of that word that is set if frames end in an FCS.
const WITH_FCS: i32 = 1 << 26;
/// Longest frame that is written: the limit of libpcap's own files (`MAXIMUM_SNAPLEN`).
const MAX_FRAME: u32 = 262_144;

/// Reads the frames of a file that begins with one of the two magic numbers, in either byte order.
pub(crate) fn read(file: &[u8]) -> Result<Vec<Vec<u8>>, CaptureError> {
    let mut frames = Vec::new();
    let short = |offset, whole| CaptureError::Short { offset, length: file.len(), whole };
    let (mut rest, header) = parse_pcap_header(file).map_err(|_| short(0, 0))?;
    let Linktype(word) = header.network;
    check_link_type(Linktype(word & LINK_TYPE), word & WITH_FCS != 0)?;
    let parse = if header.is_bigendian() { parse_pcap_frame_be } else { parse_pcap_frame };
    while !rest.is_empty() {
        let (behind, record) = parse(rest).map_err(|_| short(file.len() - rest.len(), frames.len()))?;
        push_whole(&mut frames, record.data, record.origlen)?;
        rest = behind;
    }
    Ok(frames)
}

/// Writes frames as a little-endian pcap file. The timestamp of a frame is its index in microseconds, so that equal
/// frames give equal files.
///
/// # Errors
///
/// Errors of `out`, and [`io::ErrorKind::InvalidInput`] for a frame longer than 262,144 bytes.
pub fn write<'a>(mut out: impl Write, frames: impl IntoIterator<Item = &'a [u8]>) -> io::Result<()> {
    let mut words = |words: &[u32], rest: &[u8]| {
        words.iter().try_for_each(|word| out.write_all(&word.to_le_bytes()))?;
        out.write_all(rest)
    };
    // Version 2.4 as one word: two 16-bit numbers, the major one first.
    words(&[MICROSECONDS, 4 << 16 | 2, 0, 0, MAX_FRAME, 1], &[])?;
    for (index, frame) in (0_u32..).zip(frames) {
        let length = u32::try_from(frame.len()).ok().filter(|&length| length <= MAX_FRAME);
        let length = length.ok_or(io::ErrorKind::InvalidInput)?;
        words(&[index / 1_000_000, index % 1_000_000, length, length], frame)?;
    }
    Ok(())
}
