//! Captures in pcapng (draft-ietf-opsawg-pcapng), the default format of tshark, Wireshark and dumpcap: read only.

use std::io::Read;

use pcap_parser::pcapng::{
    parse_block_be, parse_block_le, parse_enhancedpacketblock_be, parse_enhancedpacketblock_le,
    parse_unknownblock_be, parse_unknownblock_le,
};
use pcap_parser::traits::PcapNGPacketBlock as _;
use pcap_parser::{Block, EPB_MAGIC, EnhancedPacketBlock, Linktype, OptionCode, PcapNGOption, SHB_MAGIC};

use crate::capture_error::CaptureError;
use crate::capture_frames::{Capture, CaptureCut, CaptureSource, Filled, check_link_type};

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

/// Longest block in bytes: some hold the names or the secrets of a whole capture.
const MAX_BLOCK: usize = 16 << 20;

/// Bytes of the type and the length at the beginning of a block, and of the byte order of a section behind them.
const BLOCK_HEADER: usize = 8;
const SECTION_HEADER: usize = 12;

/// Reads the frames of a file that begins with a section header block. `begin` is its type.
pub(crate) fn read(mut source: CaptureSource<impl Read>, begin: Vec<u8>) -> Result<Capture, CaptureError> {
    let (mut capture, mut section) = (Capture::default(), Section::default());
    let mut block = begin;
    loop {
        let offset = source.offset - block.len() as u64;
        match read_block(&mut source, &mut block, &mut section)? {
            Filled::All => section.take(&block, &mut capture, offset)?,
            Filled::None => return Ok(capture),
            Filled::Cut if capture.frames.is_empty() && section.interfaces.is_empty() => {
                return Err(CaptureError::Short { length: source.offset });
            }
            Filled::Cut => {
                capture.cut = Some(CaptureCut { offset, length: source.offset });
                return Ok(capture);
            }
        }
        block.clear();
    }
}

/// Reads the rest of a block, of which the type may be there.
fn read_block(
    source: &mut CaptureSource<impl Read>,
    block: &mut Vec<u8>,
    section: &mut Section,
) -> Result<Filled, CaptureError> {
    let offset = source.offset - block.len() as u64;
    let malformed = || CaptureError::Malformed { offset };
    let (begun, header) = (!block.is_empty(), BLOCK_HEADER - block.len());
    match source.fill(block, header)? {
        Filled::All => {}
        Filled::None if !begun => return Ok(Filled::None),
        _ => return Ok(Filled::Cut),
    }
    if block.starts_with(&SHB_MAGIC.to_le_bytes()) {
        let Filled::All = source.fill(block, SECTION_HEADER - BLOCK_HEADER)? else { return Ok(Filled::Cut) };
        section.big = match block[BLOCK_HEADER..] {
            [0x1a, 0x2b, 0x3c, 0x4d] => true,
            [0x4d, 0x3c, 0x2b, 0x1a] => false,
            _ => return Err(malformed()),
        };
        section.interfaces.clear();
    }
    let length = *block[4..].first_chunk().ok_or_else(malformed)?;
    let length = if section.big { u32::from_be_bytes(length) } else { u32::from_le_bytes(length) };
    let rest = usize::try_from(length).ok().filter(|&length| length <= MAX_BLOCK && length % 4 == 0);
    let rest = rest.and_then(|length| length.checked_sub(block.len())).ok_or_else(malformed)?;
    let filled = source.fill(block, rest)?;
    Ok(if let Filled::None = filled { Filled::Cut } else { filled })
}

/// The part of a file that has one byte order and its own interfaces.
#[derive(Default)]
struct Section {
    big: bool,
    interfaces: Vec<Interface>,
}

impl Section {
    /// Takes a whole block.
    fn take(&mut self, block: &[u8], capture: &mut Capture, offset: u64) -> Result<(), CaptureError> {
        let malformed = || CaptureError::Malformed { offset };
        let frame = if self.big { parse_unknownblock_be } else { parse_unknownblock_le };
        let (_, framing) = frame(block).map_err(|_| malformed())?;
        if framing.block_len1 != framing.block_len2 {
            return Err(malformed());
        }
        let parse = if self.big { parse_block_be } else { parse_block_le };
        match parse(block).map_err(|_| malformed())?.1 {
            Block::InterfaceDescription(block) => self.interfaces.push(Interface {
                link_type: block.linktype,
                with_fcs: option(&block.options, IF_FCSLEN).is_some_and(|value| value != [0]),
                snap_length: block.snaplen,
            }),
            Block::EnhancedPacket(packet) => {
                push_packet(capture, &packet, &self.interfaces).ok_or_else(malformed)??;
            }
            Block::SimplePacket(packet) => {
                let interface = self.interfaces.first().ok_or_else(malformed)?;
                check_link_type(interface.link_type)?;
                let limit = if interface.snap_length == 0 { u32::MAX } else { interface.snap_length };
                let captured = usize::try_from(packet.origlen.min(limit)).ok();
                let frame =
                    captured.and_then(|captured| packet.data.get(..captured)).ok_or_else(malformed)?;
                capture.push(frame, packet.origlen, interface.with_fcs)?;
            }
            Block::Unknown(_) if OBSOLETE_PACKET.iter().any(|kind| block.starts_with(kind)) => {
                let block = into_enhanced(block, self.big).ok_or_else(malformed)?;
                let parse =
                    if self.big { parse_enhancedpacketblock_be } else { parse_enhancedpacketblock_le };
                let (_, packet) = parse(&block).map_err(|_| malformed())?;
                push_packet(capture, &packet, &self.interfaces).ok_or_else(malformed)??;
            }
            // Names, statistics and whatever else holds no frame.
            _ => {}
        }
        Ok(())
    }
}

/// Appends the frame of a packet; none if the packet is malformed.
fn push_packet(
    capture: &mut Capture,
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
    let with_fcs = interface.with_fcs || flags & FLAG_FCS != 0;
    let checked = check_link_type(interface.link_type);
    Some(checked.and_then(|()| capture.push(frame, packet.origlen, with_fcs)))
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
