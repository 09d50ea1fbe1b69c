//! Captures in pcapng (draft-ietf-opsawg-pcapng), which tshark, Wireshark and dumpcap write unless told otherwise: read only.

use crate::pcap::PcapError;

/// Type of a section header block, with which every file and section begins.
pub(crate) const SECTION: u32 = 0x0a0d_0d0a;
/// A section's word by which its byte order is known.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
/// Option of an interface: how many bytes of FCS its frames have.
const IF_FCSLEN: u16 = 13;
/// Option of an enhanced packet: flags, of which [`FLAG_FCS`] tell how many bytes of FCS it has.
const EPB_FLAGS: u16 = 2;
const FLAG_FCS: u32 = 0xf << 5;
/// Type, length, and the length once more behind the body.
const FRAMING: usize = 12;

/// What is known of an interface.
struct Interface {
    link_type: u32,
    with_fcs: bool,
    /// Bytes of a frame that are captured at most; 0 is no limit.
    limit: u32,
}

/// A block's body, with the byte order of its section.
struct Body<'a> {
    bytes: &'a [u8],
    big: bool,
    /// Where the block starts in the file.
    offset: usize,
}

impl<'a> Body<'a> {
    fn broken(&self) -> PcapError {
        PcapError::Block { offset: self.offset }
    }

    fn u16(&self, at: usize) -> Result<u16, PcapError> {
        let bytes = *self.bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or_else(|| self.broken())?;
        Ok(if self.big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn u32(&self, at: usize) -> Result<u32, PcapError> {
        let bytes = *self.bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or_else(|| self.broken())?;
        Ok(if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn part(&self, at: usize, length: u32) -> Result<&'a [u8], PcapError> {
        let end = usize::try_from(length).ok().and_then(|length| at.checked_add(length));
        end.and_then(|end| self.bytes.get(at..end)).ok_or_else(|| self.broken())
    }

    /// Where the value of an option is, if it is among those that begin at `at`.
    fn option(&self, wanted: u16, mut at: usize) -> Result<Option<usize>, PcapError> {
        while at < self.bytes.len() {
            let (code, length) = (self.u16(at)?, self.u16(at + 2)?);
            match code {
                0 => break,
                _ if code == wanted => return Ok(Some(at + 4)),
                _ => at += 4 + usize::from(length).next_multiple_of(4),
            }
        }
        Ok(None)
    }
}

/// The frames of a pcapng file, in its order.
pub(crate) fn read(file: &[u8]) -> Result<Vec<Vec<u8>>, PcapError> {
    let (mut frames, mut interfaces): (Vec<Vec<u8>>, Vec<Interface>) = (Vec::new(), Vec::new());
    let (mut offset, mut big) = (0, false);
    while offset < file.len() {
        let short = || PcapError::Short { offset, length: file.len() };
        let framed = file.get(offset..).filter(|rest| rest.len() >= FRAMING).ok_or_else(short)?;
        let mut head = Body { bytes: framed, big, offset };
        // The type of a section reads the same in both byte orders.
        if head.u32(0)? == SECTION {
            if head.u32(8)? != BYTE_ORDER {
                big = !big;
                head.big = big;
            }
            if head.u32(8)? != BYTE_ORDER {
                return Err(head.broken());
            }
            interfaces.clear();
        }
        let (kind, length) = (head.u32(0)?, head.u32(4)?);
        let length = usize::try_from(length).ok().filter(|length| *length >= FRAMING && length % 4 == 0);
        let length = length.ok_or_else(|| head.broken())?;
        let body = framed.get(8..length - 4).filter(|_| framed.len() >= length).ok_or_else(short)?;
        if head.u32(4)? != head.u32(length - 4)? {
            return Err(head.broken());
        }
        let body = Body { bytes: body, big, offset };
        match kind {
            INTERFACE => {
                let fcs = body.option(IF_FCSLEN, 8)?.and_then(|at| body.bytes.get(at));
                interfaces.push(Interface {
                    link_type: body.u16(0)?.into(),
                    with_fcs: fcs.is_some_and(|length| *length != 0),
                    limit: body.u32(4)?,
                });
            }
            ENHANCED_PACKET => {
                let (captured, length) = (body.u32(12)?, body.u32(16)?);
                let frame = body.part(20, captured)?;
                let flags = body.option(EPB_FLAGS, 20 + frame.len().next_multiple_of(4))?;
                let with_fcs =
                    flags.map(|at| body.u32(at)).transpose()?.is_some_and(|flags| flags & FLAG_FCS != 0);
                let interface = usize::try_from(body.u32(0)?).ok().and_then(|index| interfaces.get(index));
                take(&mut frames, frame, length, interface, with_fcs, &body)?;
            }
            OBSOLETE_PACKET => {
                let (captured, length) = (body.u32(12)?, body.u32(16)?);
                let interface = interfaces.get(usize::from(body.u16(0)?));
                take(&mut frames, body.part(20, captured)?, length, interface, false, &body)?;
            }
            SIMPLE_PACKET => {
                let length = body.u32(0)?;
                let interface = interfaces.first();
                let limit = interface.map_or(0, |interface| interface.limit);
                let captured = if limit == 0 { length } else { length.min(limit) };
                take(&mut frames, body.part(4, captured)?, length, interface, false, &body)?;
            }
            // Names, statistics and whatever else holds no frame.
            _ => {}
        }
        offset += length;
    }
    Ok(frames)
}

fn take(
    frames: &mut Vec<Vec<u8>>,
    frame: &[u8],
    length: u32,
    interface: Option<&Interface>,
    with_fcs: bool,
    body: &Body<'_>,
) -> Result<(), PcapError> {
    let interface = interface.ok_or_else(|| body.broken())?;
    crate::pcap::check_link_type(interface.link_type, interface.with_fcs || with_fcs)?;
    let captured = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    if captured != length {
        return Err(PcapError::Cut { record: frames.len(), captured, length });
    }
    frames.push(frame.to_vec());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pcap;

    /// A block of a type, in a byte order.
    fn block(big: bool, kind: u32, body: &[&[u8]]) -> Vec<u8> {
        let mut body = body.concat();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = word(big, u32::try_from(body.len() + FRAMING).unwrap());
        [&word(big, kind)[..], &length, &body, &length].concat()
    }

    fn word(big: bool, number: u32) -> [u8; 4] {
        if big { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn half(big: bool, number: u16) -> [u8; 2] {
        if big { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn section(big: bool) -> Vec<u8> {
        block(big, SECTION, &[&word(big, BYTE_ORDER), &half(big, 1), &half(big, 0), &[0xff; 8]])
    }

    fn interface(big: bool, link_type: u16, options: &[u8]) -> Vec<u8> {
        block(big, INTERFACE, &[&half(big, link_type), &[0; 2], &word(big, 0), options])
    }

    fn packet(big: bool, captured: u32, length: u32, frame: &[u8]) -> Vec<u8> {
        block(big, ENHANCED_PACKET, &[&[0; 12], &word(big, captured), &word(big, length), frame])
    }

    #[test]
    fn frames_are_read_from_every_kind_of_block_in_both_byte_orders() {
        let mut file = Vec::new();
        for big in [false, true] {
            let simple = block(big, SIMPLE_PACKET, &[&word(big, 5), &[3; 5]]);
            let old = block(big, OBSOLETE_PACKET, &[&[0; 12], &word(big, 6), &word(big, 6), &[4; 6]]);
            let statistics = block(big, 5, &[&[0; 12]]);
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
        assert_eq!(pcap::read(&file).unwrap(), [once.clone(), once].concat());
    }

    #[test]
    fn cut_frames_frames_with_fcs_and_other_links_are_refused() {
        let refused = |parts: &[Vec<u8>]| pcap::read(&parts.concat()).unwrap_err();
        let cut = [section(false), interface(false, 1, &[]), packet(false, 14, 60, &[1; 14])];
        assert_eq!(refused(&cut), PcapError::Cut { record: 0, captured: 14, length: 60 });
        let raw_ip = [section(false), interface(false, 101, &[]), packet(false, 1, 1, &[1])];
        assert_eq!(refused(&raw_ip), PcapError::LinkType { link_type: 101 });
        let fcs =
            [section(false), interface(false, 1, &[13, 0, 1, 0, 4, 0, 0, 0]), packet(false, 1, 1, &[1])];
        assert!(matches!(refused(&fcs), PcapError::LinkType { .. }));
        let mut flags = [1; 4].to_vec();
        flags.extend([2, 0, 4, 0, 4 << 5, 0, 0, 0]);
        let flagged = [section(false), interface(false, 1, &[]), packet(false, 4, 4, &flags)];
        assert!(matches!(refused(&flagged), PcapError::LinkType { .. }));
        let no_interface = [section(false), packet(false, 1, 1, &[1])];
        assert_eq!(refused(&no_interface), PcapError::Block { offset: 28 });
    }

    #[test]
    fn a_file_that_ends_early_is_refused_at_every_length_but_between_blocks() {
        let parts = [section(false), interface(false, 1, &[]), packet(false, 14, 14, &[1; 14])];
        let ends: Vec<usize> = (1..=3).map(|blocks| parts[..blocks].concat().len()).collect();
        let whole = parts.concat();
        for length in 0..=whole.len() {
            assert_eq!(pcap::read(&whole[..length]).is_ok(), ends.contains(&length), "{length}");
        }
    }

    #[test]
    fn an_unknown_byte_order_is_refused() {
        let mut file = section(false);
        file[8] = 0;
        assert_eq!(pcap::read(&file), Err(PcapError::Block { offset: 0 }));
    }

    #[test]
    fn a_block_whose_two_lengths_differ_is_refused() {
        let mut file = [section(false), interface(false, 1, &[])].concat();
        let last = file.len() - 4;
        file[last] += 4;
        assert_eq!(pcap::read(&file), Err(PcapError::Block { offset: 28 }));
    }
}
