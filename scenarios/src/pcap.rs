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

#[cfg(test)]
mod tests {
    use super::*;

    const FILE_HEADER: usize = 24;

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
    fn a_file_that_ends_early_is_rejected_at_every_length() {
        let whole = file(&[&[7; 20], &[8; 20]]);
        let second = FILE_HEADER + 16 + 20;
        for length in 0..whole.len() {
            // The file header alone is a file of no frames.
            let is_whole = [FILE_HEADER, second].contains(&length);
            assert_eq!(read(&whole[..length]).is_ok(), is_whole, "{length}");
        }
        let cut = read(&whole[..second + 16]).unwrap_err();
        assert_eq!(cut, CaptureError::Short { offset: second, length: second + 16, whole: 1 });
    }

    #[test]
    fn another_link_type_an_fcs_and_a_cut_frame_are_rejected() {
        let mut raw_ip = file(&[]);
        raw_ip[20] = 101;
        assert_eq!(read(&raw_ip), Err(CaptureError::LinkType { link_type: 101 }));
        let mut with_fcs = file(&[]);
        with_fcs[23] = 0x14;
        assert_eq!(read(&with_fcs), Err(CaptureError::Fcs));
        let mut cut = file(&[&[0; 14]]);
        cut[FILE_HEADER + 12] = 60;
        assert_eq!(read(&cut), Err(CaptureError::Cut { packet: 1, captured: 14, length: 60 }));
    }
}
