//! Capture files of Ethernet frames: pcap and pcapng are read, gzipped or not, and pcap is written.

use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use pcap_parser::SHB_MAGIC;

pub use crate::capture_error::CaptureError;
pub use crate::pcap::write;
use crate::pcap::{MICROSECONDS, NANOSECONDS};
use crate::{pcap, pcapng};

/// First two bytes of a file made by gzip (RFC 1952 section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Largest capture in bytes that is decompressed.
const MAX_DECOMPRESSED: u64 = 1 << 30;

/// Returns the frames of a pcap or pcapng file in its order; timestamps are ignored.
///
/// # Errors
///
/// [`CaptureError`] if it is another kind of file, is not of Ethernet, or holds anything but whole frames.
pub fn read(file: &[u8]) -> Result<Vec<Vec<u8>>, CaptureError> {
    if file.starts_with(&GZIP) {
        return read_uncompressed(&decompress(file)?);
    }
    read_uncompressed(file)
}

fn read_uncompressed(file: &[u8]) -> Result<Vec<Vec<u8>>, CaptureError> {
    let magic = file.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    match magic {
        // The type of a section header block reads the same in both byte orders.
        SHB_MAGIC => pcapng::read(file),
        _ if [magic, magic.swap_bytes()].iter().any(|it| matches!(*it, MICROSECONDS | NANOSECONDS)) => {
            pcap::read(file)
        }
        _ => Err(CaptureError::Magic { magic }),
    }
}

fn decompress(file: &[u8]) -> Result<Vec<u8>, CaptureError> {
    let mut bytes = Vec::new();
    let failed = |reason: String| CaptureError::Gzip { reason };
    let mut limited = MultiGzDecoder::new(file).take(MAX_DECOMPRESSED + 1);
    limited.read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    if limited.limit() == 0 {
        return Err(failed(format!("longer than {MAX_DECOMPRESSED} bytes")));
    }
    Ok(bytes)
}
