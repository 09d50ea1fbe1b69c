//! From layers to bytes: what a scenario declares becomes the frame that is sent, byte for byte.
//!
//! Headers are written by `pnet_packet` into a buffer of 0xa5, so that a byte nobody wrote shows; the few
//! headers that it cannot write are laid out here. A frame is crafted from its last layer to its first, so
//! that every header finds the bytes behind it finished when it needs their length or checksum.

use pnet_packet::arp::{ArpHardwareType, ArpOperation, MutableArpPacket};
use pnet_packet::ethernet::{EtherType as PnetEtherType, MutableEthernetPacket};
use pnet_packet::icmp::{IcmpCode, IcmpType, echo_request::MutableEchoRequestPacket};
use pnet_packet::ip::IpNextHeaderProtocol;
use pnet_packet::ipv4::{self, Ipv4Packet, MutableIpv4Packet};
use pnet_packet::ipv6::{MutableFragmentPacket, MutableIpv6Packet};
use pnet_packet::tcp::MutableTcpPacket;
use pnet_packet::udp::MutableUdpPacket;
use pnet_packet::util;
use pnet_packet::vlan::{ClassOfService, MutableVlanPacket};

use crate::layer::{Gre, Icmp, Icmpv6, Layer};
use crate::value::{Addresses, Bits, EtherType, Protocol};

/// What a header's bytes are before it is written.
const UNWRITTEN: u8 = 0xa5;

/// The least room in front of a frame that needs more; most frames take up less.
const MIN_ROOM: usize = 256;

/// The largest length field of an IEEE 802.3 frame (clause 3.2.6); above 0x0600 it is an EtherType.
const MAX_LLC_LENGTH: usize = 1_500;

/// A frame to be sent, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The frame from its destination address on, without FCS: what an `AF_PACKET` socket takes.
    pub bytes: Vec<u8>,
    /// How often the frame is sent in a run; at least 1.
    pub repeat: u32,
    /// What it was made of; empty for bytes that were given as they are. A truncated frame ends before its
    /// layers do.
    pub layers: Vec<Layer>,
}

/// A frame that cannot be made from its layers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CraftError {
    /// A field that follows from the layer behind it, with a layer behind it that says nothing.
    #[error("`{field}` of `{layer}` does not follow from what is behind it and is not given")]
    Underivable {
        /// Index of the layer.
        index: usize,
        /// Its name.
        layer: &'static str,
        /// The field that must be given.
        field: &'static str,
    },
    /// More bytes behind a header than its length field can say.
    #[error("`{field}` of `{layer}` would be {length}, which is more than {max}")]
    TooLong {
        /// Index of the layer.
        index: usize,
        /// Its name.
        layer: &'static str,
        /// The length field that must be given, if this is meant.
        field: &'static str,
        /// The length, in the field's unit.
        length: usize,
        /// The largest that the field holds.
        max: usize,
    },
}

impl CraftError {
    /// Index of the layer that cannot be made.
    #[must_use]
    pub fn index(&self) -> usize {
        match *self {
            Self::Underivable { index, .. } | Self::TooLong { index, .. } => index,
        }
    }
}

impl Frame {
    /// Makes a frame from its layers, outermost first.
    ///
    /// # Errors
    ///
    /// [`CraftError`] where a field is neither given nor derivable from the other layers.
    pub fn craft(layers: Vec<Layer>, repeat: u32) -> Result<Self, CraftError> {
        Draft::default().craft(layers, repeat)
    }
}

/// A frame while it is crafted, from its last byte to its first. It serves for one frame after another.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    bytes: Vec<u8>,
    /// Where the frame begins; in front of it is room.
    start: usize,
}

impl Draft {
    /// As [`Frame::craft`].
    pub(crate) fn craft(&mut self, layers: Vec<Layer>, repeat: u32) -> Result<Frame, CraftError> {
        self.start = self.bytes.len();
        for (index, layer) in layers.iter().enumerate().rev() {
            let behind = self.bytes.len() - self.start;
            Place { layers: &layers, index, behind }.write(layer, self)?;
        }
        Ok(Frame { bytes: self.bytes[self.start..].to_vec(), repeat, layers })
    }

    /// An unwritten header of `length` bytes in front of the rest; the whole frame so far.
    fn room(&mut self, length: usize) -> &mut [u8] {
        if let Some(missing @ 1..) = length.checked_sub(self.start) {
            let more = missing.max(self.bytes.len()).max(MIN_ROOM);
            self.bytes.splice(..0, std::iter::repeat_n(UNWRITTEN, more));
            self.start += more;
        }
        self.start -= length;
        let frame = &mut self.bytes[self.start..];
        frame[..length].fill(UNWRITTEN);
        frame
    }

    /// The parts of a header in front of the rest; the whole frame so far.
    fn lay(&mut self, header: &[&[u8]]) -> &mut [u8] {
        let frame = self.room(header.iter().map(|part| part.len()).sum());
        let mut from = 0;
        for part in header {
            frame[from..][..part.len()].copy_from_slice(part);
            from += part.len();
        }
        frame
    }
}

/// Sets the fields of a header through `pnet_packet`'s view of its bytes. A view of too few bytes does not
/// exist: they stay [`UNWRITTEN`].
macro_rules! set {
    ($view:ident of $bytes:expr; $($setter:ident($value:expr)),* $(,)?) => {
        if let Some(mut view) = $view::new(&mut *$bytes) {
            $( view.$setter($value); )*
        }
    };
}

/// A layer's place in its frame: what is in front of it, and how many finished bytes are behind it.
struct Place<'a> {
    layers: &'a [Layer],
    index: usize,
    behind: usize,
}

impl Place<'_> {
    /// Writes `layer`, which is the one at this place, in front of everything behind it.
    fn write(&self, layer: &Layer, draft: &mut Draft) -> Result<(), CraftError> {
        match layer {
            Layer::Ethernet(ethernet) => {
                let bytes = draft.room(14);
                set! { MutableEthernetPacket of bytes;
                    set_destination(ethernet.destination.0.into()),
                    set_source(ethernet.source.0.into()),
                    set_ethertype(PnetEtherType(self.ether_type(ethernet.ethertype)?)),
                }
            }
            Layer::Vlan(vlan) => {
                let bytes = draft.room(4);
                set! { MutableVlanPacket of bytes;
                    set_priority_code_point(ClassOfService(vlan.pcp.get())),
                    set_drop_eligible_indicator(vlan.dei.into()),
                    set_vlan_identifier(vlan.vid.get()),
                    set_ethertype(PnetEtherType(self.ether_type(vlan.ethertype)?)),
                }
            }
            Layer::Llc(llc) => {
                draft.lay(&[&[llc.dsap, llc.ssap, llc.control]]);
            }
            Layer::Snap(snap) => {
                let [_, oui @ ..] = snap.oui.get().to_be_bytes();
                draft.lay(&[&oui, &self.ether_type(snap.ethertype)?.to_be_bytes()]);
            }
            Layer::Arp(arp) => {
                let bytes = draft.room(28);
                set! { MutableArpPacket of bytes;
                    set_hardware_type(ArpHardwareType(1)),
                    set_protocol_type(PnetEtherType(EtherType::IPV4.0)),
                    set_hw_addr_len(6),
                    set_proto_addr_len(4),
                    set_operation(ArpOperation(arp.operation)),
                    set_sender_hw_addr(arp.sender_mac.0.into()),
                    set_sender_proto_addr(arp.sender_ip),
                    set_target_hw_addr(arp.target_mac.0.into()),
                    set_target_proto_addr(arp.target_ip),
                }
            }
            Layer::Ipv4(ip) => {
                let options = ip.options.as_bytes();
                let bytes = draft.room(20 + options.len());
                let length = bytes.len();
                bytes[20..][..options.len()].copy_from_slice(options);
                set! { MutableIpv4Packet of bytes;
                    set_version(ip.version.get()),
                    set_header_length(ip.ihl.map_or(5 + ip.options.words(), Bits::get)),
                    set_dscp(ip.dscp.get()),
                    set_ecn(ip.ecn.get()),
                    set_total_length(self.length("total_length", ip.total_length, length)?),
                    set_identification(ip.identification),
                    set_flags(u8::from(ip.dont_fragment) << 1 | u8::from(ip.more_fragments)),
                    set_fragment_offset(ip.fragment_offset.get()),
                    set_ttl(ip.ttl),
                    set_next_level_protocol(IpNextHeaderProtocol(self.protocol("protocol", ip.protocol)?)),
                    set_source(ip.source),
                    set_destination(ip.destination),
                }
                let checksum =
                    ip.checksum.or_else(|| Ipv4Packet::new(bytes).map(|packet| ipv4::checksum(&packet)));
                set! { MutableIpv4Packet of bytes; set_checksum(checksum.unwrap_or_default()) }
            }
            Layer::Ipv6(ip) => {
                let bytes = draft.room(40);
                set! { MutableIpv6Packet of bytes;
                    set_version(ip.version.get()),
                    set_traffic_class(ip.traffic_class),
                    set_flow_label(ip.flow_label.get()),
                    set_payload_length(self.length("payload_length", ip.payload_length, self.behind)?),
                    set_next_header(IpNextHeaderProtocol(self.protocol("next_header", ip.next_header)?)),
                    set_hop_limit(ip.hop_limit),
                    set_source(ip.source),
                    set_destination(ip.destination),
                }
            }
            Layer::HopByHop(header) => {
                self.extension(draft, header.next_header, header.length, &padded_options(&header.options.0))?;
            }
            Layer::DestinationOptions(header) => {
                self.extension(draft, header.next_header, header.length, &padded_options(&header.options.0))?;
            }
            Layer::Routing(routing) => {
                let mut body = vec![routing.r#type, routing.segments_left];
                body.extend(&routing.data.0);
                body.resize((2 + body.len()).next_multiple_of(8) - 2, 0);
                self.extension(draft, routing.next_header, routing.length, &body)?;
            }
            Layer::Fragment(fragment) => {
                let bytes = draft.room(8);
                let next = self.protocol("next_header", fragment.next_header)?;
                let offset_and_flags = fragment.offset.get() << 3 | u16::from(fragment.more_fragments);
                set! { MutableFragmentPacket of bytes;
                    set_next_header(IpNextHeaderProtocol(next)),
                    set_reserved(0),
                    set_fragment_offset_with_flags(offset_and_flags),
                    set_id(fragment.identification),
                }
            }
            Layer::Ah(ah) => {
                let next = self.protocol("next_header", ah.next_header)?;
                // In 32-bit words, minus 2: the header's first three make it 1 (RFC 4302 section 2.2).
                let length = ah.length.unwrap_or(1 + ah.icv.words());
                draft.lay(&[
                    &[next, length, 0, 0],
                    &ah.spi.to_be_bytes(),
                    &ah.sequence.to_be_bytes(),
                    ah.icv.as_bytes(),
                ]);
            }
            Layer::Esp(esp) => {
                draft.lay(&[&esp.spi.to_be_bytes(), &esp.sequence.to_be_bytes()]);
            }
            Layer::Gre(gre) => self.gre(draft, gre)?,
            Layer::Udp(udp) => {
                let bytes = draft.room(8);
                let length = bytes.len();
                set! { MutableUdpPacket of bytes;
                    set_source(udp.source),
                    set_destination(udp.destination),
                    set_length(self.length("length", udp.length, length)?),
                }
                // A computed 0 is sent as its other form, because 0 says "no checksum" (RFC 768).
                let computed =
                    || Some(self.checksum(bytes, 3, 17)).filter(|&sum| sum != 0).unwrap_or(u16::MAX);
                let checksum = udp.checksum.unwrap_or_else(computed);
                set! { MutableUdpPacket of bytes; set_checksum(checksum) }
            }
            Layer::Tcp(tcp) => {
                let options = tcp.options.as_bytes();
                let bytes = draft.room(20 + options.len());
                bytes[20..][..options.len()].copy_from_slice(options);
                set! { MutableTcpPacket of bytes;
                    set_source(tcp.source),
                    set_destination(tcp.destination),
                    set_sequence(tcp.sequence),
                    set_acknowledgement(tcp.acknowledgement),
                    set_data_offset(tcp.data_offset.map_or(5 + tcp.options.words(), Bits::get)),
                    set_reserved(0),
                    set_flags(tcp.flags.0),
                    set_window(tcp.window),
                    set_urgent_ptr(tcp.urgent),
                }
                let checksum = tcp.checksum.unwrap_or_else(|| self.checksum(bytes, 8, 6));
                set! { MutableTcpPacket of bytes; set_checksum(checksum) }
            }
            // ICMPv6's checksum covers a pseudo-header (RFC 4443 section 2.3), ICMP's does not; their echo is
            // the same.
            &Layer::Icmp(Icmp { r#type, code, checksum, identifier, sequence }) => {
                let bytes = draft.room(8);
                echo(bytes, [r#type, code], checksum, [identifier, sequence], |bytes| {
                    util::checksum(bytes, 1)
                });
            }
            &Layer::Icmpv6(Icmpv6 { r#type, code, checksum, identifier, sequence }) => {
                let bytes = draft.room(8);
                echo(bytes, [r#type, code], checksum, [identifier, sequence], |bytes| {
                    self.checksum(bytes, 1, 58)
                });
            }
            Layer::Igmp(igmp) => {
                let bytes = draft.lay(&[&[igmp.r#type, igmp.max_response, 0, 0], &igmp.group.octets()]);
                let checksum = igmp.checksum.unwrap_or_else(|| util::checksum(bytes, 1));
                bytes[2..4].copy_from_slice(&checksum.to_be_bytes());
            }
            Layer::Sctp(sctp) => {
                let bytes = draft.lay(&[
                    &sctp.source.to_be_bytes(),
                    &sctp.destination.to_be_bytes(),
                    &sctp.verification_tag.to_be_bytes(),
                    &[0; 4],
                ]);
                // The CRC is transmitted as the little-endian number that it is (RFC 9260 appendix A).
                let checksum = sctp.checksum.map_or_else(|| crc32c(bytes).to_le_bytes(), u32::to_be_bytes);
                bytes[8..12].copy_from_slice(&checksum);
            }
            Layer::Raw(raw) => {
                draft.lay(&[&raw.hex.0]);
            }
            Layer::Payload(payload) => {
                let length = usize::from(payload.length);
                let bytes = &mut draft.room(length)[..length];
                match payload.fill {
                    Some(byte) => bytes.fill(byte),
                    None => write_counting(bytes),
                }
            }
        }
        Ok(())
    }

    fn name(&self) -> &'static str {
        self.layers[self.index].name()
    }

    fn next(&self) -> Option<&Layer> {
        self.layers.get(self.index + 1)
    }

    /// The EtherType to write: the one given, or what announces the next layer.
    fn ether_type(&self, given: Option<EtherType>) -> Result<u16, CraftError> {
        if given.is_none() && matches!(self.next(), Some(Layer::Llc(_))) {
            return self.fit("ethertype", self.behind, MAX_LLC_LENGTH);
        }
        let derived = || self.next()?.ether_type();
        given.or_else(derived).map(u16::from).ok_or_else(|| self.underivable("ethertype"))
    }

    /// The protocol number to write: the one given, or the next layer's.
    fn protocol(&self, field: &'static str, given: Option<Protocol>) -> Result<u8, CraftError> {
        let derived = || self.next()?.protocol();
        given.or_else(derived).map(u8::from).ok_or_else(|| self.underivable(field))
    }

    /// The length to write: the one given, or the true one.
    fn length(&self, field: &'static str, given: Option<u16>, length: usize) -> Result<u16, CraftError> {
        given.map_or_else(|| self.fit(field, length, u16::MAX.into()), Ok)
    }

    fn underivable(&self, field: &'static str) -> CraftError {
        CraftError::Underivable { index: self.index, layer: self.name(), field }
    }

    fn fit<T: TryFrom<usize>>(
        &self,
        field: &'static str,
        length: usize,
        max: usize,
    ) -> Result<T, CraftError> {
        T::try_from(length).ok().filter(|_| length <= max).ok_or(CraftError::TooLong {
            index: self.index,
            layer: self.name(),
            field,
            length,
            max,
        })
    }

    /// An IPv6 extension header in units of 8 bytes: next header, length, `body`.
    fn extension(
        &self,
        draft: &mut Draft,
        next: Option<Protocol>,
        length: Option<u8>,
        body: &[u8],
    ) -> Result<(), CraftError> {
        let next = self.protocol("next_header", next)?;
        let units = (2 + body.len()) / 8 - 1;
        let length = length.map_or_else(|| self.fit("length", units, u8::MAX.into()), Ok)?;
        draft.lay(&[&[next, length], body]);
        Ok(())
    }

    /// RFC 2784 section 2.1 with the key and sequence number of RFC 2890 section 2.
    fn gre(&self, draft: &mut Draft, gre: &Gre) -> Result<(), CraftError> {
        let flags = u16::from(gre.key.is_some()) << 13 | u16::from(gre.sequence.is_some()) << 12;
        let options: Vec<u8> =
            [gre.key, gre.sequence].into_iter().flatten().flat_map(u32::to_be_bytes).collect();
        draft.lay(&[&flags.to_be_bytes(), &self.ether_type(gre.ethertype)?.to_be_bytes(), &options]);
        Ok(())
    }

    /// The Internet checksum of a segment and the pseudo-header of the nearest IP header in front of it; the
    /// 16-bit word at index `skip` is the checksum's own. A routing header's final destination is not looked
    /// for.
    fn checksum(&self, segment: &[u8], skip: usize, protocol: u8) -> u16 {
        let protocol = IpNextHeaderProtocol(protocol);
        match self.layers[..self.index].iter().rev().find_map(Layer::addresses) {
            Some(Addresses::V4(source, destination)) => {
                util::ipv4_checksum(segment, skip, &[], &source, &destination, protocol)
            }
            Some(Addresses::V6(source, destination)) => {
                util::ipv6_checksum(segment, skip, &[], &source, &destination, protocol)
            }
            None => util::checksum(segment, skip),
        }
    }
}

/// Writes the 8 bytes that begin a message of ICMP, for IPv4 or IPv6.
fn echo(
    bytes: &mut [u8],
    [r#type, code]: [u8; 2],
    checksum: Option<u16>,
    [identifier, sequence]: [u16; 2],
    compute: impl Fn(&[u8]) -> u16,
) {
    set! { MutableEchoRequestPacket of bytes;
        set_icmp_type(IcmpType(r#type)),
        set_icmp_code(IcmpCode(code)),
        set_identifier(identifier),
        set_sequence_number(sequence),
    }
    let checksum = checksum.unwrap_or_else(|| compute(bytes));
    set! { MutableEchoRequestPacket of bytes; set_checksum(checksum) }
}

/// Writes 0, 1, 2, .. 255, 0, ..
fn write_counting(bytes: &mut [u8]) {
    let mut next = 0_u8;
    for byte in bytes {
        *byte = next;
        next = next.wrapping_add(1);
    }
}

/// Options padded so that they and the two bytes in front fill whole units of 8: with `Pad1` (one zero) or
/// `PadN` (1, the number of zeros, zeros), RFC 8200 section 4.2.
fn padded_options(options: &[u8]) -> Vec<u8> {
    let mut padded = options.to_vec();
    match (2 + options.len()).next_multiple_of(8) - 2 - options.len() {
        0 => {}
        1 => padded.push(0),
        missing => {
            padded.extend([1, u8::try_from(missing - 2).unwrap_or_default()]);
            padded.resize(options.len() + missing, 0);
        }
    }
    padded
}

/// The CRC of Castagnoli's polynomial, reflected, as RFC 9260 appendix A uses it.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ ((crc & 1) * 0x82f6_3b78))
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::document::{Bindings, Context, Node, Value};
    use crate::value::Hex;

    /// The frame of these layers, written as in a scenario.
    fn craft(layers: &str) -> Result<Frame, CraftError> {
        let root = Node::parse(&format!("layers = [{layers}]")).unwrap();
        let Value::Table(entries) = &root.value else { unreachable!("the root is a table") };
        let problems = RefCell::default();
        let context = Context { bindings: &Bindings::default(), problems: &problems };
        let layers = context.array(&entries[0].1).iter().map(|node| Layer::read(context, node));
        let layers = layers.collect::<Option<Vec<_>>>().unwrap_or_else(|| panic!("{:?}", problems.borrow()));
        Frame::craft(layers, 1)
    }

    /// Its bytes.
    pub(crate) fn bytes(layers: &str) -> Vec<u8> {
        craft(layers).unwrap().bytes
    }

    #[track_caller]
    fn assert_bytes(layers: &str, expected: &str) {
        let Hex(expected) = expected.parse().unwrap();
        let crafted = bytes(layers);
        assert!(crafted == expected, "\n crafted {crafted:02x?}\nexpected {expected:02x?}");
    }

    // The expected bytes of these tests are another implementation's (scapy 2.8), laid out by header.

    #[test]
    fn qinq_with_udp_is_byte_exact() {
        assert_bytes(
            "{ ethernet = {} }, { vlan = { tpid = 0x88a8, vid = 100 } },
             { vlan = { vid = 10, pcp = 5, dei = true } },
             { ipv4 = {} }, { udp = {} }, { payload = { length = 5 } }",
            "020000000002 020000000001 88a8  0064 8100  b00a 0800
             45 00 0021 0000 0000 40 11 f6c8 c0000201 c0000202  9c40 0009 000d d982  0001020304",
        );
    }

    #[test]
    fn tcp_behind_ipv6_hop_by_hop_options_is_byte_exact() {
        assert_bytes(
            "{ ethernet = {} }, { ipv6 = { traffic_class = 0xab, flow_label = 0x12345 } },
             { hop_by_hop = { options = '05020000' } },
             { tcp = { flags = ['syn', 'ack'], options = '020405b4' } },
             { payload = { length = 3 } }",
            "020000000002 020000000001 86dd  6ab12345 0023 00 40
             20010db8000000000000000000000001 20010db8000000000000000000000002  06 00 05020000 0100
             9c40 0009 00000001 00000000 60 12 faf0 a362 0000 020405b4  000102",
        );
    }

    #[test]
    fn arp_is_byte_exact() {
        assert_bytes(
            "{ ethernet = { destination = 'ff:ff:ff:ff:ff:ff' } }, { arp = {} }",
            "ffffffffffff 020000000001 0806
             0001 0800 06 04 0001 020000000001 c0000201 000000000000 c0000202",
        );
    }

    #[test]
    fn icmp_behind_ipv4_options_is_byte_exact() {
        assert_bytes(
            "{ ethernet = {} }, { ipv4 = { dscp = 46, ecn = 1, dont_fragment = true, options = '94040000' } },
             { icmp = {} }, { payload = { length = 7 } }",
            "020000000002 020000000001 0800  46 b9 0027 0000 4000 40 01 2115 c0000201 c0000202 94040000
             08 00 ebf4 0001 0001  00010203040506",
        );
    }

    #[test]
    fn icmp_for_ipv6_is_byte_exact() {
        assert_bytes(
            "{ ethernet = {} }, { ipv6 = {} }, { icmpv6 = {} }, { payload = { length = 7 } }",
            "020000000002 020000000001 86dd  60000000 000f 3a 40
             20010db8000000000000000000000001 20010db8000000000000000000000002
             80 00 1836 0001 0001  00010203040506",
        );
    }

    #[test]
    fn a_bridged_frame_in_gre_is_byte_exact() {
        assert_bytes(
            "{ ethernet = {} }, { ipv4 = {} }, { gre = { key = 0xdecade, sequence = 7 } }, { ethernet = {} },
             { ipv6 = {} }, { udp = {} }",
            "020000000002 020000000001 0800  45 00 005e 0000 0000 40 2f f66d c0000201 c0000202
             3000 6558 00decade 00000007  020000000002 020000000001 86dd
             60000000 0008 11 40 20010db8000000000000000000000001 20010db8000000000000000000000002
             9c40 0009 0008 0820",
        );
    }

    #[test]
    fn sctp_is_byte_exact() {
        assert_bytes(
            "{ ethernet = {} }, { ipv4 = {} }, { sctp = { verification_tag = 1 } },
             { raw = { hex = '0b000004' } }",
            "020000000002 020000000001 0800  45 00 0024 0000 0000 40 84 f652 c0000201 c0000202
             9c40 0009 00000001 7cbc1c29 0b000004",
        );
    }

    #[test]
    fn ipsec_headers_are_byte_exact() {
        assert_bytes(
            "{ ethernet = {} }, { ipv6 = {} }, { ah = { icv = '00112233445566778899aabb' } },
             { tcp = { checksum = 0 } }",
            "020000000002 020000000001 86dd  60000000 002c 33 40
             20010db8000000000000000000000001 20010db8000000000000000000000002
             06 04 0000 00000100 00000001 00112233445566778899aabb
             9c40 0009 00000001 00000000 50 02 faf0 0000 0000",
        );
        assert_bytes(
            "{ ethernet = {} }, { ipv4 = {} }, { esp = {} }, { payload = { length = 4 } }",
            "020000000002 020000000001 0800  45 00 0020 0000 0000 40 32 f6a8 c0000201 c0000202
             00000100 00000001 00010203",
        );
    }

    #[test]
    fn ipv6_extension_headers_are_byte_exact() {
        let ipv6 = "020000000002 020000000001 86dd  60000000";
        let addresses = "20010db8000000000000000000000001 20010db8000000000000000000000002";
        assert_bytes(
            "{ ethernet = {} }, { ipv6 = {} },
             { fragment = { next_header = 'udp', offset = 3, more_fragments = true,
                            identification = 0xcafe } },
             { payload = { length = 8 } }",
            &format!("{ipv6} 0010 2c 40 {addresses}  11 00 0019 0000cafe  0001020304050607"),
        );
        assert_bytes(
            "{ ethernet = {} }, { ipv6 = {} },
             { routing = { data = '00000000 20010db8000000000000000000000002' } }, { udp = {} }",
            &format!(
                "{ipv6} 0020 2b 40 {addresses}  11 02 04 00 00000000 20010db8000000000000000000000002
                 9c40 0009 0008 0820"
            ),
        );
        assert_bytes(
            "{ ethernet = {} }, { ipv6 = {} }, { destination_options = {} }, { udp = {} }",
            &format!("{ipv6} 0010 3c 40 {addresses}  11 00 010400000000  9c40 0009 0008 0820"),
        );
    }

    #[test]
    fn snap_is_byte_exact_and_its_length_is_the_frames() {
        assert_bytes(
            "{ ethernet = {} }, { llc = {} }, { snap = {} }, { ipv4 = {} }, { udp = {} }",
            "020000000002 020000000001 0024  aa aa 03  000000 0800
             45 00 001c 0000 0000 40 11 f6cd c0000201 c0000202  9c40 0009 0008 df90",
        );
    }

    #[test]
    fn igmp_is_byte_exact() {
        assert_bytes(
            "{ ethernet = {} },
             { ipv4 = { dscp = 48, ttl = 1, destination = '233.252.0.1', options = '94040000' } },
             { igmp = {} }",
            "020000000002 020000000001 0800  46 c0 0020 0000 0000 01 02 7819 c0000201 e9fc0001 94040000
             16 00 0002 e9fc0001",
        );
    }

    #[test]
    fn no_byte_of_any_header_is_left_unwritten() {
        // Every layer with its defaults, around layers that make each field derivable: none of these values
        // is 0xa5.
        let layers = "{ ethernet = {} }, { vlan = {} }, { ipv4 = { checksum = 0 } },
             { gre = { key = 0, sequence = 0 } }, { ethernet = {} }, { llc = {} }, { snap = {} }, { ipv6 = {} },
             { hop_by_hop = {} }, { destination_options = {} }, { routing = {} }, { fragment = {} }, { ah = {} },
             { udp = { checksum = 0 } }, { tcp = { checksum = 0 } }, { icmp = { checksum = 0 } },
             { icmpv6 = { checksum = 0 } }, { igmp = { checksum = 0 } }, { sctp = { checksum = 0 } },
             { esp = {} }, { arp = {} }";
        let crafted = bytes(layers);
        assert!(!crafted.contains(&UNWRITTEN), "{crafted:02x?}");
        for name in Layer::NAMES.iter().filter(|name| !["raw", "payload"].contains(name)) {
            assert!(layers.contains(&format!("{{ {name} = ")), "{name} is not in this test");
        }
    }

    #[test]
    fn a_given_value_stands_where_another_would_follow() {
        let udp = "{ udp = { length = 1, checksum = 2 } }";
        let frame = bytes(&format!(
            "{{ ethernet = {{ ethertype = 'arp' }} }}, {{ vlan = {{ ethertype = 'ipv6' }} }},
              {{ ipv4 = {{ version = 6, ihl = 0, total_length = 3, protocol = 'tcp', checksum = 4 }} }}, {udp}"
        ));
        assert_eq!(frame[12..14], [0x08, 0x06]);
        assert_eq!(frame[16..18], [0x86, 0xdd]);
        assert_eq!(frame[18..22], [0x60, 0x00, 0x00, 0x03]);
        assert_eq!(frame[27..30], [0x06, 0x00, 0x04]);
        assert_eq!(frame[42..46], [0x00, 0x01, 0x00, 0x02]);
    }

    #[test]
    fn a_computed_udp_checksum_of_0_is_written_as_ffff() {
        let with = |word: &str| {
            bytes(&format!("{{ ipv4 = {{}} }}, {{ udp = {{}} }}, {{ raw = {{ hex = '{word}' }} }}"))
        };
        let checksum = |frame: &[u8]| u16::from_be_bytes([frame[26], frame[27]]);
        // A payload of the checksum that a payload of 0 has makes the sum of all words 0xffff.
        let word = checksum(&with("0000"));
        assert_eq!(checksum(&with(&format!("{word:04x}"))), 0xffff);
    }

    #[test]
    fn a_header_that_cannot_know_what_follows_is_refused() {
        let underivable = |layers: &str, index, layer, field| {
            assert_eq!(craft(layers), Err(CraftError::Underivable { index, layer, field }));
        };
        underivable("{ ethernet = {} }, { payload = { length = 4 } }", 0, "ethernet", "ethertype");
        underivable("{ ethernet = {} }, { vlan = {} }", 1, "vlan", "ethertype");
        underivable("{ ethernet = {} }, { ipv4 = {} }, { raw = { hex = '00' } }", 1, "ipv4", "protocol");
        underivable("{ ipv6 = {} }, { arp = {} }", 0, "ipv6", "next_header");
    }

    #[test]
    fn a_length_that_its_field_cannot_hold_is_refused_unless_given() {
        let too_long = |layers: &str, layer, field, length, max| {
            assert_eq!(craft(layers), Err(CraftError::TooLong { index: 0, layer, field, length, max }));
        };
        let payload = "{ udp = { length = 0 } }, { payload = { length = 65535 } }";
        too_long(&format!("{{ ipv4 = {{}} }}, {payload}"), "ipv4", "total_length", 65_563, 65_535);
        too_long(&format!("{{ ipv6 = {{}} }}, {payload}"), "ipv6", "payload_length", 65_543, 65_535);
        too_long(
            "{ ethernet = {} }, { llc = {} }, { payload = { length = 1498 } }",
            "ethernet",
            "ethertype",
            1_501,
            1_500,
        );
        assert_eq!(bytes(&format!("{{ ipv4 = {{ total_length = 20 }} }}, {payload}")).len(), 65_563);
    }

    #[test]
    fn the_crc_is_castagnolis() {
        // The check value of CRC-32/ISCSI.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
