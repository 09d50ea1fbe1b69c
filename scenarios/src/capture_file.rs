//! Captures of Ethernet frames: classic pcap (draft-ietf-opsawg-pcap), which is also written, and pcapng.

use std::io::{self, Write};

/// Link type of Ethernet, in the low 16 bits of the file header's last word.
const ETHERNET: u32 = 1;
/// Set in that word where frames carry an FCS.
const WITH_FCS: u32 = 1 << 26;
/// Longest frame that is written: the limit of libpcap's own files (`MAXIMUM_SNAPLEN`).
const MAX_FRAME: u32 = 262_144;
const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;

/// A file that is not a capture of whole Ethernet frames.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PcapError {
    /// The first four bytes say that it is another kind of file.
    #[error("not a pcap or pcapng file: magic {magic:#010x}")]
    Magic {
        /// The first four bytes as a big-endian number; 0 where there are fewer.
        magic: u32,
    },
    /// A block of a pcapng file is not formed as it must be.
    #[error("the block at byte {offset} is malformed")]
    Block {
        /// Where the block starts.
        offset: usize,
    },
    /// The frames are not Ethernet without FCS.
    #[error("link type {link_type:#x} is not Ethernet without FCS")]
    LinkType {
        /// The file header's word.
        link_type: u32,
    },
    /// The file ends within a header or a frame.
    #[error("file ends at byte {length}, within what starts at byte {offset}")]
    Short {
        /// Where the header or the frame starts.
        offset: usize,
        /// Length of the file.
        length: usize,
    },
    /// A frame was not captured whole, so that its bytes are not known.
    #[error("record {record} holds {captured} of {length} bytes")]
    Cut {
        /// Index of the record, from 0.
        record: usize,
        /// Bytes in the file.
        captured: u32,
        /// Bytes on the wire.
        length: u32,
    },
}

/// The frames of a pcap or pcapng file, in its order; times are ignored.
///
/// # Errors
///
/// [`PcapError`] where the file is not one, is not of Ethernet, or holds anything but whole frames.
pub fn read(file: &[u8]) -> Result<Vec<Vec<u8>>, PcapError> {
    let part = |offset: usize, length: usize| {
        let end = offset.checked_add(length);
        end.and_then(|end| file.get(offset..end)).ok_or(PcapError::Short { offset, length: file.len() })
    };
    let magic = file.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    let number: fn([u8; 4]) -> u32 = match magic {
        MICROSECONDS | NANOSECONDS => u32::from_be_bytes,
        _ if [MICROSECONDS, NANOSECONDS].contains(&magic.swap_bytes()) => u32::from_le_bytes,
        crate::pcapng::SECTION => return crate::pcapng::read(file),
        _ => return Err(PcapError::Magic { magic }),
    };
    let word =
        |header: &[u8], index: usize| header[4 * index..].first_chunk().map_or(0, |bytes| number(*bytes));
    let link_type = word(part(0, FILE_HEADER)?, 5);
    check_link_type(link_type, false)?;
    let mut frames = Vec::new();
    let mut offset = FILE_HEADER;
    while offset < file.len() {
        let header = part(offset, RECORD_HEADER)?;
        let (captured, length) = (word(header, 2), word(header, 3));
        if captured != length {
            return Err(PcapError::Cut { record: frames.len(), captured, length });
        }
        offset += RECORD_HEADER;
        let frame = part(offset, usize::try_from(captured).unwrap_or(usize::MAX))?;
        offset += frame.len();
        frames.push(frame.to_vec());
    }
    Ok(frames)
}

/// Refuses frames that are not Ethernet, and those that end in an FCS by the file header's word or by what else is known.
pub(crate) fn check_link_type(link_type: u32, with_fcs: bool) -> Result<(), PcapError> {
    let link_type = if with_fcs { link_type | WITH_FCS } else { link_type };
    if link_type & 0xffff != ETHERNET || link_type & WITH_FCS != 0 {
        return Err(PcapError::LinkType { link_type });
    }
    Ok(())
}

/// Writes frames as a little-endian pcap file; the time of a frame is its index in microseconds, so that the
/// same frames are the same file.
///
/// # Errors
///
/// What `out` answers, and [`io::ErrorKind::InvalidInput`] for a frame longer than 262,144 bytes.
pub fn write<'a>(mut out: impl Write, frames: impl IntoIterator<Item = &'a [u8]>) -> io::Result<()> {
    let mut words = |words: &[u32], rest: &[u8]| {
        words.iter().try_for_each(|word| out.write_all(&word.to_le_bytes()))?;
        out.write_all(rest)
    };
    // Version 2.4 as one word: two 16-bit numbers, the major one first.
    words(&[MICROSECONDS, 4 << 16 | 2, 0, 0, MAX_FRAME, ETHERNET], &[])?;
    for (index, frame) in (0_u32..).zip(frames) {
        let length = u32::try_from(frame.len()).ok().filter(|&length| length <= MAX_FRAME);
        let length = length.ok_or(io::ErrorKind::InvalidInput)?;
        words(&[index / 1_000_000, index % 1_000_000, length, length], frame)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(frames: &[&[u8]]) -> Vec<u8> {
        let mut file = Vec::new();
        write(&mut file, frames.iter().copied()).unwrap();
        file
    }

    #[test]
    fn frames_are_read_as_they_were_written() {
        let frames: [&[u8]; 3] = [&[1; 60], &[], &[0xff; 1514]];
        assert_eq!(read(&file(&frames)).unwrap(), frames);
    }

    #[test]
    fn a_written_file_has_the_bytes_of_the_format() {
        let expected = "d4c3b2a1 0200 0400 00000000 00000000 00000400 01000000
             00000000 00000000 02000000 02000000 abcd";
        assert_eq!(file(&[&[0xab, 0xcd]]), expected.parse::<crate::Hex>().unwrap().0);
    }

    #[test]
    fn a_big_endian_file_with_nanoseconds_is_read() {
        let text =
            "a1b23c4d 0002 0004 00000000 00000000 00040000 00000001  00000000 00000000 00000001 00000001 ee";
        assert_eq!(read(&text.parse::<crate::Hex>().unwrap().0).unwrap(), [[0xee]]);
    }

    #[test]
    fn a_file_that_ends_early_is_refused_at_every_length() {
        let whole = file(&[&[7; 20]]);
        for length in 0..whole.len() {
            // The file header alone is a file of no frames.
            assert_eq!(read(&whole[..length]).is_err(), length != FILE_HEADER, "{length}");
        }
    }

    #[test]
    fn another_file_another_link_type_and_a_cut_frame_are_refused() {
        assert_eq!(read(b"\x0a\x0d\x0a\x0d...."), Err(PcapError::Magic { magic: 0x0a0d_0a0d }));
        let mut raw_ip = file(&[]);
        raw_ip[20] = 101;
        assert_eq!(read(&raw_ip), Err(PcapError::LinkType { link_type: 101 }));
        let mut with_fcs = file(&[]);
        with_fcs[23] = 0x14;
        assert_eq!(read(&with_fcs), Err(PcapError::LinkType { link_type: 0x1400_0001 }));
        let mut cut = file(&[&[0; 14]]);
        cut[FILE_HEADER + 12] = 60;
        assert_eq!(read(&cut), Err(PcapError::Cut { record: 0, captured: 14, length: 60 }));
    }
}
