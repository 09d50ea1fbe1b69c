//! Capture files of Ethernet frames: pcap and pcapng are read, gzipped or not, and pcap is written.
//!
//! A file is read packet by packet, so that a large one takes no more memory than its frames.

use std::io::{BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use pcap_parser::SHB_MAGIC;

pub use crate::capture_error::CaptureError;
pub use crate::capture_frames::{Capture, CaptureCut};
use crate::capture_frames::{CaptureSource, Filled};
pub use crate::pcap::write;
use crate::pcap::{MICROSECONDS, NANOSECONDS};
use crate::{pcap, pcapng};

/// First two bytes of a file made by gzip (RFC 1952 section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Returns the frames of a pcap or pcapng file in its order; timestamps are ignored. If the file ends within a packet, the packets
/// before it are returned.
///
/// # Errors
///
/// [`CaptureError`] if it is another kind of file, is not of Ethernet, holds a frame in part, or exceeds a [limit](crate::input).
pub fn read(from: impl Read) -> Result<Capture, CaptureError> {
    let mut from = BufReader::new(from);
    let mut begin = Vec::with_capacity(GZIP.len());
    let read = from.by_ref().take(GZIP.len() as u64).read_to_end(&mut begin);
    read.map_err(|error| CaptureError::Read { reason: error.to_string() })?;
    let is_gzip = begin == GZIP;
    let whole = begin.as_slice().chain(from);
    if !is_gzip {
        return read_uncompressed(whole);
    }
    read_uncompressed(MultiGzDecoder::new(BufReader::new(whole))).map_err(|error| match error {
        CaptureError::Read { reason } => CaptureError::Gzip { reason },
        error => error,
    })
}

fn read_uncompressed(from: impl Read) -> Result<Capture, CaptureError> {
    let mut source = CaptureSource::new(from);
    let mut begin = Vec::new();
    let filled = source.fill(&mut begin, 4)?;
    let magic = begin.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    match (filled, magic) {
        // The type of a section header block reads the same in both byte orders.
        (Filled::All, SHB_MAGIC) => pcapng::read(source, begin),
        (Filled::All, _)
            if [magic, magic.swap_bytes()].iter().any(|it| matches!(*it, MICROSECONDS | NANOSECONDS)) =>
        {
            pcap::read(source, begin)
        }
        _ => Err(CaptureError::Magic { magic }),
    }
}
