//! Errors of capture files, shared by the readers of both formats.

use pcap_parser::Linktype;

use crate::input::{CAPTURE_BYTES, CAPTURE_FRAME_BYTES, CAPTURE_FRAMES};

/// A file that is not a capture of whole Ethernet frames.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    /// The first four bytes are those of another kind of file.
    #[error("not a pcap or pcapng file, gzipped or not: begins with {magic:#010x}{}", other_kind(*.magic))]
    Magic {
        /// The first four bytes as a big-endian number; 0 if there are fewer.
        magic: u32,
    },
    /// The file begins like one made by gzip and cannot be decompressed.
    #[error("failed to decompress by gzip: {reason}")]
    Gzip {
        /// Reason given by the decompressor.
        reason: String,
    },
    /// The file cannot be read.
    #[error("failed to read: {reason}")]
    Read {
        /// Reason given by the kernel.
        reason: String,
    },
    /// A record or a block is malformed.
    #[error("what starts at byte {offset} is malformed")]
    Malformed {
        /// Offset in the file, decompressed.
        offset: u64,
    },
    /// The frames have another link type than Ethernet.
    #[error("link type is {} ({link_type}), not Ethernet (1); {}", Linktype(*.link_type), advice(*.link_type))]
    LinkType {
        /// Number from the registry of tcpdump.org.
        link_type: i32,
    },
    /// The frames end in a frame check sequence of another length than Ethernet's.
    #[error(
        "frames end in a frame check sequence that is not of 4 bytes; remove it with `editcap -C -N IN OUT`"
    )]
    Fcs,
    /// A frame is shorter than the frame check sequence that it is said to end in.
    #[error(
        "packet {packet} has {length} bytes, which is less than its FCS; leave it out with `editcap IN OUT {packet}`"
    )]
    ShorterThanFcs {
        /// Number of the packet as tcpdump and Wireshark count, from 1.
        packet: usize,
        /// Bytes of the frame.
        length: u32,
    },
    /// The file ends before the first record.
    #[error("file ends at byte {length}, in its header")]
    Short {
        /// Length of the file.
        length: u64,
    },
    /// A frame was captured in part, so its other bytes are unknown.
    #[error(
        "packet {packet} holds {captured} of {length} bytes, as `tcpdump -s {captured}` captures; \
         capture whole frames (`tcpdump -s 0`)"
    )]
    Cut {
        /// Number of the packet as tcpdump and Wireshark count, from 1.
        packet: usize,
        /// Bytes in the file.
        captured: usize,
        /// Bytes of the frame.
        length: u32,
    },
    /// There is more of it than is read.
    #[error("the capture has more than {CAPTURE_BYTES} bytes; cut it with `editcap -c PACKETS IN OUT`")]
    TooLong,
    /// It has more packets than are taken.
    #[error(
        "the capture has more than {CAPTURE_FRAMES} packets, or frames of more than {CAPTURE_FRAME_BYTES} bytes together; \
         cut it with `editcap -c PACKETS IN OUT`"
    )]
    TooMany,
}

/// Names another kind of file that people have, and the fix.
fn other_kind(magic: u32) -> &'static str {
    match magic {
        0x28b5_2ffd => "; it is compressed by zstd (`zstd -d`)",
        0xfd37_7a58 => "; it is compressed by xz (`xz -d`)",
        0x0422_4d18 => "; it is compressed by lz4 (`lz4 -d`)",
        0x504b_0304 => "; it is a ZIP archive (`unzip`)",
        0x736e_6f6f => "; it is a snoop file (`editcap -F pcap IN OUT`)",
        _ if magic >> 8 == 0x0042_5a68 => "; it is compressed by bzip2 (`bzip2 -d`)",
        _ => "",
    }
}

/// Says how frames of another link type are captured with their Ethernet header.
fn advice(link_type: i32) -> &'static str {
    match Linktype(link_type) {
        Linktype::LINUX_SLL | Linktype::LINUX_SLL2 => {
            "capture on one Ethernet interface (`tcpdump -i eth0`), not on `any`"
        }
        Linktype::RAW | Linktype::NULL | Linktype::LOOP | Linktype(12 | 14 | 228 | 229) => {
            "a tunnel (tun, WireGuard) has no Ethernet header; capture on the Ethernet interface that carries it"
        }
        Linktype(105 | 119 | 127 | 163) => "capture on an Ethernet interface, or without monitor mode",
        _ => "capture on one Ethernet interface, not on `any` or a tunnel",
    }
}
