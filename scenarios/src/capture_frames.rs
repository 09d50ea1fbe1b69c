//! The frames of a capture while its packets are read, shared by the readers of both formats.

use std::io::{self, BufRead as _, BufReader, Read};

use pcap_parser::Linktype;

use crate::capture_error::CaptureError;
use crate::input::{CAPTURE_BYTES, CAPTURE_FRAME_BYTES, CAPTURE_FRAMES};

/// Bytes of an Ethernet frame check sequence.
const FCS: u32 = 4;

/// The frames of a capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capture {
    /// In the order of the file.
    pub frames: Vec<Vec<u8>>,
    /// Frames whose FCS was removed.
    pub without_fcs: usize,
    /// The file ends within a packet, which is left out.
    pub cut: Option<CaptureCut>,
    bytes: usize,
}

/// The end of a file whose writer was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the file ends at byte {length}, within what starts at byte {offset}")]
pub struct CaptureCut {
    /// Offset of the record or block that is cut.
    pub offset: u64,
    /// Length of the file.
    pub length: u64,
}

impl Capture {
    /// Returns what a user has to know of the frames.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let whole = self.frames.len();
        let cut = self.cut.map(|cut| format!("{cut}; the first {whole} packets are whole and are used"));
        let fcs = (self.without_fcs > 0)
            .then(|| format!("{} of {whole} frames end in an FCS, which is left out", self.without_fcs));
        cut.into_iter().chain(fcs).collect()
    }

    /// Appends a frame of `length` bytes, if all of it was captured. `with_fcs`: the last 4 of them are its FCS.
    pub(crate) fn push(&mut self, frame: &[u8], length: u32, with_fcs: bool) -> Result<(), CaptureError> {
        let packet = self.frames.len() + 1;
        let mut needed = length;
        if with_fcs {
            needed = length.checked_sub(FCS).ok_or(CaptureError::ShorterThanFcs { packet, length })?;
        }
        let whole = usize::try_from(needed).ok().and_then(|needed| frame.get(..needed));
        let captured = frame.len();
        let frame = whole
            .filter(|_| captured <= usize::try_from(length).unwrap_or(usize::MAX))
            .ok_or(CaptureError::Cut { packet, captured, length })?;
        self.bytes += frame.len();
        if packet > CAPTURE_FRAMES || self.bytes > CAPTURE_FRAME_BYTES {
            return Err(CaptureError::TooMany);
        }
        self.without_fcs += usize::from(with_fcs);
        self.frames.push(frame.to_vec());
        Ok(())
    }
}

/// Rejects frames that are not Ethernet.
pub(crate) fn check_link_type(link_type: Linktype) -> Result<(), CaptureError> {
    match link_type {
        Linktype::ETHERNET => Ok(()),
        Linktype(link_type) => Err(CaptureError::LinkType { link_type }),
    }
}

/// A file that is read once from its beginning, up to a limit.
pub(crate) struct CaptureSource<R> {
    from: BufReader<R>,
    most: u64,
    /// Bytes that were read.
    pub(crate) offset: u64,
}

/// Bytes that were asked for.
pub(crate) enum Filled {
    All,
    /// The file ended before the first of them.
    None,
    /// The file ended within them.
    Cut,
}

impl<R: Read> CaptureSource<R> {
    pub(crate) fn new(from: R) -> Self {
        Self::of_at_most(CAPTURE_BYTES, from)
    }

    fn of_at_most(most: u64, from: R) -> Self {
        Self { from: BufReader::with_capacity(1 << 16, from), most, offset: 0 }
    }

    /// Appends this number of bytes to a buffer. What is there of them is appended even if the file ends.
    pub(crate) fn fill(&mut self, buffer: &mut Vec<u8>, bytes: usize) -> Result<Filled, CaptureError> {
        let mut missing = bytes;
        while missing > 0 {
            let read = match self.from.fill_buf() {
                // A gzipped file that ends early.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => &[],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(|error| CaptureError::Read { reason: error.to_string() })?,
            };
            let part = missing.min(read.len());
            if part == 0 {
                break;
            }
            buffer.extend_from_slice(&read[..part]);
            self.from.consume(part);
            self.offset += part as u64;
            missing -= part;
            if self.offset > self.most {
                return Err(CaptureError::TooLong);
            }
        }
        Ok(match missing {
            0 => Filled::All,
            _ if missing == bytes => Filled::None,
            _ => Filled::Cut,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_end_is_read_up_to_the_limit() {
        let mut source = CaptureSource::of_at_most(100, io::repeat(7));
        let mut buffer = Vec::new();
        for _ in 0..10 {
            assert!(matches!(source.fill(&mut buffer, 10), Ok(Filled::All)));
        }
        assert!(matches!(source.fill(&mut buffer, 10), Err(CaptureError::TooLong)));
        assert_eq!(buffer.len(), 110);
    }
}
