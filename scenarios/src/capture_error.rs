//! Errors of capture files, shared by the readers of both formats.

use pcap_parser::Linktype;

/// A file that is not a capture of whole Ethernet frames.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    /// The first four bytes are those of another kind of file.
    #[error("not a pcap or pcapng file, gzipped or not: begins with {magic:#010x}")]
    Magic {
        /// The first four bytes as a big-endian number; 0 if there are fewer.
        magic: u32,
    },
    /// The file begins like one made by gzip and cannot be decompressed.
    #[error("failed to decompress by gzip: {reason}")]
    Gzip {
        /// Reason given by the decompressor, or the limit on its output.
        reason: String,
    },
    /// A pcapng block is malformed.
    #[error("pcapng block at byte {offset} is malformed")]
    Block {
        /// Offset of the block in the file.
        offset: usize,
    },
    /// The frames have another link type than Ethernet.
    #[error(
        "link type is {} ({link_type}), not Ethernet (1); capture on one Ethernet interface, not on `any` or a tunnel",
        Linktype(*.link_type)
    )]
    LinkType {
        /// Number from the registry of tcpdump.org.
        link_type: i32,
    },
    /// The frames end in a frame check sequence.
    #[error("frames end in an FCS; remove it with `editcap -C -4 IN OUT`")]
    Fcs,
    /// The file ends within a header or a frame.
    #[error(
        "file ends at byte {length}, in what starts at byte {offset}; {whole} frames before it are whole"
    )]
    Short {
        /// Offset of the record or block that is cut.
        offset: usize,
        /// Length of the file.
        length: usize,
        /// Frames in front of it.
        whole: usize,
    },
    /// A frame was captured in part, so its other bytes are unknown.
    #[error("packet {packet} holds {captured} of {length} bytes; capture whole frames (`tcpdump -s 0`)")]
    Cut {
        /// Number of the packet as tcpdump and Wireshark count, from 1.
        packet: usize,
        /// Bytes in the file.
        captured: usize,
        /// Bytes of the frame.
        length: u32,
    },
}

/// Rejects frames that are not Ethernet, or that end in an FCS.
pub(crate) fn check_link_type(link_type: Linktype, with_fcs: bool) -> Result<(), CaptureError> {
    match link_type {
        Linktype::ETHERNET if with_fcs => Err(CaptureError::Fcs),
        Linktype::ETHERNET => Ok(()),
        Linktype(link_type) => Err(CaptureError::LinkType { link_type }),
    }
}

/// Appends a frame, if it was captured at its full `length`.
pub(crate) fn push_whole(frames: &mut Vec<Vec<u8>>, frame: &[u8], length: u32) -> Result<(), CaptureError> {
    if usize::try_from(length) != Ok(frame.len()) {
        return Err(CaptureError::Cut { packet: frames.len() + 1, captured: frame.len(), length });
    }
    frames.push(frame.to_vec());
    Ok(())
}
