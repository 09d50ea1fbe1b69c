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

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_gzipped_capture_is_read_and_a_cut_one_is_rejected() {
        let mut file = Vec::new();
        write(&mut file, [&[7; 60][..]]).unwrap();
        let gzipped = gzip(&file);
        assert_eq!(read(&gzipped).unwrap(), [[7; 60]]);
        for length in 2..gzipped.len() {
            assert!(matches!(read(&gzipped[..length]), Err(CaptureError::Gzip { .. })), "{length}");
        }
    }

    #[test]
    fn other_files_are_rejected_gzipped_or_not() {
        let other = b"\x0a\x0d\x0a\x0d....";
        assert_eq!(read(other), Err(CaptureError::Magic { magic: 0x0a0d_0a0d }));
        assert_eq!(read(&gzip(other)), Err(CaptureError::Magic { magic: 0x0a0d_0a0d }));
        assert_eq!(read(&gzip(&gzip(other))), Err(CaptureError::Magic { magic: 0x1f8b_0800 }));
        for short in [&b""[..], b"abc"] {
            assert_eq!(read(short), Err(CaptureError::Magic { magic: 0 }));
        }
    }

    #[test]
    fn errors_name_the_link_type_and_the_fix() {
        let text = |link_type| CaptureError::LinkType { link_type }.to_string();
        assert!(text(113).starts_with("link type is LINUX_SLL (113), not Ethernet (1); capture on one"));
        assert!(text(276).contains("LINUX_SLL2 (276)") && text(101).contains("RAW (101)"));
        assert!(CaptureError::Fcs.to_string().contains("editcap -C -4"));
    }
}
