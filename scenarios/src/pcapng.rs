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

#[cfg(test)]
mod tests {
    use super::*;
    const BYTE_ORDER: u32 = 0x1a2b_3c4d;
    const INTERFACE: u32 = 1;
    const SIMPLE_PACKET: u32 = 3;
    const STATISTICS: u32 = 5;

    /// A block of a type, in a byte order.
    fn block(big: bool, kind: u32, body: &[&[u8]]) -> Vec<u8> {
        let mut body = body.concat();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = word(big, u32::try_from(body.len() + 12).unwrap());
        [&word(big, kind)[..], &length, &body, &length].concat()
    }

    fn word(big: bool, number: u32) -> [u8; 4] {
        if big { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn half(big: bool, number: u16) -> [u8; 2] {
        if big { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn section(big: bool) -> Vec<u8> {
        block(big, SHB_MAGIC, &[&word(big, BYTE_ORDER), &half(big, 1), &half(big, 0), &[0xff; 8]])
    }

    fn interface(big: bool, link_type: u16, options: &[u8]) -> Vec<u8> {
        block(big, INTERFACE, &[&half(big, link_type), &[0; 2], &word(big, 0), options])
    }

    fn packet(big: bool, captured: u32, length: u32, frame: &[u8]) -> Vec<u8> {
        block(big, EPB_MAGIC, &[&[0; 12], &word(big, captured), &word(big, length), frame])
    }

    #[test]
    fn frames_are_read_from_every_kind_of_block_in_both_byte_orders() {
        let mut file = Vec::new();
        for big in [false, true] {
            let simple = block(big, SIMPLE_PACKET, &[&word(big, 5), &[3; 5]]);
            let old = block(big, 2, &[&[0; 12], &word(big, 6), &word(big, 6), &[4; 6]]);
            let statistics = block(big, STATISTICS, &[&[0; 12]]);
            let parts = [
                section(big),
                interface(big, 1, &[]),
                packet(big, 14, 14, &[1; 14]),
                statistics,
                simple,
                old,
            ];
            file.extend(parts.concat());
        }
        let once = [vec![1; 14], vec![3; 5], vec![4; 6]];
        assert_eq!(read(&file).unwrap(), [once.clone(), once].concat());
    }

    #[test]
    fn cut_frames_frames_with_fcs_and_other_links_are_rejected() {
        let rejected = |parts: &[Vec<u8>]| read(&parts.concat()).unwrap_err();
        let cut = [section(false), interface(false, 1, &[]), packet(false, 14, 60, &[1; 14])];
        assert_eq!(rejected(&cut), CaptureError::Cut { packet: 1, captured: 14, length: 60 });
        let raw_ip = [section(false), interface(false, 101, &[]), packet(false, 1, 1, &[1])];
        assert_eq!(rejected(&raw_ip), CaptureError::LinkType { link_type: 101 });
        let fcs =
            [section(false), interface(false, 1, &[13, 0, 1, 0, 4, 0, 0, 0]), packet(false, 1, 1, &[1])];
        assert_eq!(rejected(&fcs), CaptureError::Fcs);
        let mut flags = [1; 4].to_vec();
        flags.extend([2, 0, 4, 0, 4 << 5, 0, 0, 0]);
        let flagged = [section(false), interface(false, 1, &[]), packet(false, 4, 4, &flags)];
        assert_eq!(rejected(&flagged), CaptureError::Fcs);
        let no_interface = [section(false), packet(false, 1, 1, &[1])];
        assert_eq!(rejected(&no_interface), CaptureError::Block { offset: 28 });
    }

    #[test]
    fn a_file_that_ends_early_is_rejected_at_every_length_but_between_blocks() {
        let parts = [section(false), interface(false, 1, &[]), packet(false, 14, 14, &[1; 14])];
        let ends: Vec<usize> = (1..=3).map(|blocks| parts[..blocks].concat().len()).collect();
        let whole = parts.concat();
        for length in 1..=whole.len() {
            assert_eq!(read(&whole[..length]).is_ok(), ends.contains(&length), "{length}");
        }
    }

    #[test]
    fn an_unknown_byte_order_is_rejected() {
        let mut file = section(false);
        file[8] = 0;
        assert_eq!(read(&file), Err(CaptureError::Block { offset: 0 }));
    }

    #[test]
    fn a_block_whose_two_lengths_differ_is_rejected() {
        let mut file = [section(false), interface(false, 1, &[])].concat();
        let last = file.len() - 4;
        file[last] += 4;
        assert_eq!(read(&file), Err(CaptureError::Block { offset: 28 }));
    }
}
