//! Captures in pcapng (draft-ietf-opsawg-pcapng), the default format of tshark, Wireshark and dumpcap: read only.

use pcap_parser::pcapng::{
    parse_block_be, parse_block_le, parse_enhancedpacketblock_be, parse_enhancedpacketblock_le,
    parse_unknownblock_be, parse_unknownblock_le,
};
use pcap_parser::traits::PcapNGPacketBlock as _;
use pcap_parser::{Block, EPB_MAGIC, EnhancedPacketBlock, Linktype, OptionCode, PcapNGOption, SHB_MAGIC};

use crate::capture_error::{CaptureError, check_link_type, push_whole};

/// Type of the obsolete packet block, in both byte orders.
const OBSOLETE_PACKET: [[u8; 4]; 2] = [[2, 0, 0, 0], [0, 0, 0, 2]];
/// Option of an interface: bytes of FCS at the end of its frames.
const IF_FCSLEN: OptionCode = OptionCode(13);
/// Option of a packet: flags, of which [`FLAG_FCS`] give its bytes of FCS.
const PACKET_FLAGS: OptionCode = OptionCode(2);
const FLAG_FCS: u32 = 0xf << 5;

struct Interface {
    link_type: Linktype,
    with_fcs: bool,
    /// Most bytes of a frame that are captured; 0 is no limit.
    snap_length: u32,
}

/// Reads the frames of a file that begins with a section header block.
pub(crate) fn read(file: &[u8]) -> Result<Vec<Vec<u8>>, CaptureError> {
    let (mut frames, mut interfaces): (Vec<Vec<u8>>, Vec<Interface>) = (Vec::new(), Vec::new());
    let (mut rest, mut big) = (file, false);
    while !rest.is_empty() {
        let offset = file.len() - rest.len();
        let malformed = || CaptureError::Block { offset };
        let short = || CaptureError::Short { offset, length: file.len(), whole: frames.len() };
        if rest.starts_with(&SHB_MAGIC.to_le_bytes()) {
            big = match rest.get(8..12).ok_or_else(short)? {
                [0x1a, 0x2b, 0x3c, 0x4d] => true,
                [0x4d, 0x3c, 0x2b, 0x1a] => false,
                _ => return Err(malformed()),
            };
            interfaces.clear();
        }
        // Framed apart from the parsing, which says of a file that is cut the same as of a block that is malformed.
        let frame = if big { parse_unknownblock_be } else { parse_unknownblock_le };
        let framed = frame(rest).map_err(|error| if error.is_incomplete() { short() } else { malformed() });
        let (behind, framing) = framed?;
        let (block, _) = rest.split_at(rest.len() - behind.len());
        if framing.block_len1 != framing.block_len2 || block.len() % 4 != 0 {
            return Err(malformed());
        }
        rest = behind;
        let parse = if big { parse_block_be } else { parse_block_le };
        match parse(block).map_err(|_| malformed())?.1 {
            Block::InterfaceDescription(block) => interfaces.push(Interface {
                link_type: block.linktype,
                with_fcs: option(&block.options, IF_FCSLEN).is_some_and(|value| value != [0]),
                snap_length: block.snaplen,
            }),
            Block::EnhancedPacket(packet) => {
                push_packet(&mut frames, &packet, &interfaces).ok_or_else(malformed)??;
            }
            Block::SimplePacket(packet) => {
                let interface = interfaces.first().ok_or_else(malformed)?;
                check_link_type(interface.link_type, interface.with_fcs)?;
                let limit = if interface.snap_length == 0 { u32::MAX } else { interface.snap_length };
                let captured = usize::try_from(packet.origlen.min(limit)).ok();
                let frame =
                    captured.and_then(|captured| packet.data.get(..captured)).ok_or_else(malformed)?;
                push_whole(&mut frames, frame, packet.origlen)?;
            }
            Block::Unknown(_) if OBSOLETE_PACKET.iter().any(|kind| block.starts_with(kind)) => {
                let block = into_enhanced(block, big).ok_or_else(malformed)?;
                let parse = if big { parse_enhancedpacketblock_be } else { parse_enhancedpacketblock_le };
                let (_, packet) = parse(&block).map_err(|_| malformed())?;
                push_packet(&mut frames, &packet, &interfaces).ok_or_else(malformed)??;
            }
            // Names, statistics and whatever else holds no frame.
            _ => {}
        }
    }
    Ok(frames)
}

/// Appends the frame of a packet; none if the packet is malformed.
fn push_packet(
    frames: &mut Vec<Vec<u8>>,
    packet: &EnhancedPacketBlock<'_>,
    interfaces: &[Interface],
) -> Option<Result<(), CaptureError>> {
    let interface = interfaces.get(usize::try_from(packet.if_id).ok()?)?;
    let frame = packet.data.get(..usize::try_from(packet.caplen).ok()?)?;
    let flags = match option(&packet.options, PACKET_FLAGS) {
        Some(value) if packet.big_endian() => u32::from_be_bytes(value.try_into().ok()?),
        Some(value) => u32::from_le_bytes(value.try_into().ok()?),
        None => 0,
    };
    let checked = check_link_type(interface.link_type, interface.with_fcs || flags & FLAG_FCS != 0);
    Some(checked.and_then(|()| push_whole(frames, frame, packet.origlen)))
}

/// Returns the value of the first option with a code.
fn option<'a>(options: &'a [PcapNGOption<'_>], code: OptionCode) -> Option<&'a [u8]> {
    let until_end = options.iter().take_while(|option| option.code != OptionCode::EndOfOpt);
    until_end.into_iter().find(|option| option.code == code)?.as_bytes().ok()
}

/// Turns an obsolete packet block into the enhanced one with the same content: an interface of 32 bits takes the place
/// of one of 16 bits and a count of drops.
fn into_enhanced(block: &[u8], big: bool) -> Option<Vec<u8>> {
    let mut enhanced = block.to_vec();
    let interface = *block.get(8..)?.first_chunk()?;
    let (kind, interface) = if big {
        (EPB_MAGIC.to_be_bytes(), u32::from(u16::from_be_bytes(interface)).to_be_bytes())
    } else {
        (EPB_MAGIC.to_le_bytes(), u32::from(u16::from_le_bytes(interface)).to_le_bytes())
    };
    enhanced[..4].copy_from_slice(&kind);
    enhanced[8..12].copy_from_slice(&interface);
    Some(enhanced)
}
