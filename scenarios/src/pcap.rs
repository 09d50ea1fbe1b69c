//! Captures in classic pcap (draft-ietf-opsawg-pcap).

use std::io::{self, Read, Write};

use pcap_parser::{Linktype, parse_pcap_header};

use crate::capture_error::CaptureError;
use crate::capture_frames::{Capture, CaptureCut, CaptureSource, Filled, check_link_type};
use crate::input::FRAME_BYTES;

pub(crate) const MICROSECONDS: u32 = 0xa1b2_c3d4;
pub(crate) const NANOSECONDS: u32 = 0xa1b2_3c4d;

/// Bits of the file header's last word that hold the link type.
const LINK_TYPE: i32 = 0xffff;
/// Bit of that word that is set if frames end in an FCS.
const WITH_FCS: i32 = 1 << 26;
/// Bit of that word from which on it has the length of the FCS.
const FCS_LENGTH: u32 = 28;
/// Longest frame that is read or written.
const MAX_FRAME: u32 = 262_144;
const _: () = assert!(MAX_FRAME as usize == FRAME_BYTES);
/// Bytes of the magic number, of the header of a file, and of that of a record.
const MAGIC: usize = 4;
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;

/// Reads the frames of a file that begins with one of the two magic numbers, in either byte order. `begin` is that number.
pub(crate) fn read(
    mut source: CaptureSource<impl Read>,
    mut begin: Vec<u8>,
) -> Result<Capture, CaptureError> {
    let Filled::All = source.fill(&mut begin, FILE_HEADER - MAGIC)? else {
        return Err(CaptureError::Short { length: source.offset });
    };
    let (_, header) = parse_pcap_header(&begin).map_err(|_| CaptureError::Malformed { offset: 0 })?;
    let Linktype(word) = header.network;
    check_link_type(Linktype(word & LINK_TYPE))?;
    let with_fcs = match (word & WITH_FCS != 0, word.cast_unsigned() >> FCS_LENGTH) {
        (false, _) | (true, 0) => false,
        // Units of 2 bytes (`LT_FCS_LENGTH` of libpcap's pcap/bpf.h), or bytes, as some write them.
        (true, 2 | 4) => true,
        _ => return Err(CaptureError::Fcs),
    };
    let word = if header.is_bigendian() { u32::from_be_bytes } else { u32::from_le_bytes };
    let (mut capture, mut record) = (Capture::default(), Vec::new());
    loop {
        let offset = source.offset;
        record.clear();
        let filled = source.fill(&mut record, RECORD_HEADER)?;
        let [captured, length] =
            [8, 12].map(|at| record.get(at..).and_then(|rest| rest.first_chunk().copied()));
        let filled = match (filled, captured.map(word)) {
            (Filled::None, _) => return Ok(capture),
            (Filled::All, Some(captured)) if captured > MAX_FRAME => {
                return Err(CaptureError::Malformed { offset });
            }
            (Filled::All, Some(captured)) => {
                record.clear();
                // An empty frame has no bytes to wait for.
                if captured == 0 { Filled::All } else { source.fill(&mut record, captured as usize)? }
            }
            _ => Filled::Cut,
        };
        let Filled::All = filled else {
            capture.cut = Some(CaptureCut { offset, length: source.offset });
            return Ok(capture);
        };
        capture.push(&record, length.map_or(0, word), with_fcs)?;
    }
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
