//! From layers to bytes: the frame that a scenario declares, byte for byte.
//!
//! One table lays out every header by the width of its fields; checksums are `pnet_packet`'s. A frame is crafted from its
//! last layer to its first, so that every header finds the bytes behind it finished when it needs their length or checksum.

use pnet_packet::ip::IpNextHeaderProtocol;
use pnet_packet::ipv4::{self, Ipv4Packet};
use pnet_packet::util;

use crate::input::FRAME_BYTES;
use crate::layer::Layer;
use crate::value::{Addresses, Bits, EtherType, Protocol};

/// Length in bytes that few frames exceed, allocated at once.
const USUAL_LENGTH: usize = 128;

/// Largest length field of an IEEE 802.3 frame (clause 3.2.6); from 0x0600 on it is an EtherType.
const MAX_LLC_LENGTH: usize = 1_500;

/// A frame and the number of times it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Bytes from the destination address on, without FCS, as an `AF_PACKET` socket takes them.
    pub bytes: Vec<u8>,
    /// Times that the frame is sent; at least 1.
    pub repeat: u32,
    /// Layers that the frame was crafted from; empty for bytes from hex or a capture. A truncated frame is shorter than its
    /// layers.
    pub layers: Vec<Layer>,
}

/// A frame that cannot be crafted from its layers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CraftError {
    /// A field is neither given nor derivable from the next layer.
    #[error("`{field}` of `{layer}` must be given, because the next layer does not determine it")]
    Underivable {
        /// Index of the layer.
        index: usize,
        /// Key of the layer.
        layer: &'static str,
        /// Key of the field.
        field: &'static str,
    },
    /// A length does not fit its field.
    #[error("`{field}` of `{layer}` must be given, because {length} does not fit it (at most {max})")]
    TooLong {
        /// Index of the layer.
        index: usize,
        /// Key of the layer.
        layer: &'static str,
        /// Key of the field.
        field: &'static str,
        /// Length in the field's unit.
        length: usize,
        /// Largest length that the field holds.
        max: usize,
    },
    /// The frame is longer than any that is read or written.
    #[error("the frame has {length} bytes from this layer on; at most {FRAME_BYTES} are made")]
    FrameTooLong {
        /// Index of the layer.
        index: usize,
        /// Length in bytes of this layer and all behind it.
        length: usize,
    },
}

impl CraftError {
    /// Returns the index of the layer that cannot be crafted.
    #[must_use]
    pub fn index(&self) -> usize {
        match *self {
            Self::Underivable { index, .. }
            | Self::TooLong { index, .. }
            | Self::FrameTooLong { index, .. } => index,
        }
    }
}

impl Frame {
    /// Crafts a frame from its layers, outermost first.
    ///
    /// # Errors
    ///
    /// [`CraftError`] if a field is neither given nor derivable from the other layers.
    pub fn craft(layers: Vec<Layer>, repeat: u32) -> Result<Self, CraftError> {
        let (mut bytes, mut header) = (Vec::with_capacity(USUAL_LENGTH), Vec::with_capacity(USUAL_LENGTH));
        for (index, layer) in layers.iter().enumerate().rev() {
            let behind = bytes.len();
            let place = Place { layers: &layers, index, behind };
            header.clear();
            place.lay_out(layer, &mut header)?;
            let length = header.len() + behind;
            if length > FRAME_BYTES {
                return Err(CraftError::FrameTooLong { index, length });
            }
            bytes.resize(length, 0);
            bytes.copy_within(..behind, header.len());
            bytes[..header.len()].copy_from_slice(&header);
            place.seal(layer, &mut bytes);
        }
        Ok(Self { bytes, repeat, layers })
    }
}

/// Appends a header: fields, each `width in bits: value`, and the bytes behind them.
macro_rules! lay {
    ($header:ident; $($width:literal: $value:expr),+) => { pack($header, &[$(($width, u128::from($value))),+]) };
    ($header:ident; $($width:literal: $value:expr),+; $bytes:expr) => {{
        lay!($header; $($width: $value),+);
        $header.extend_from_slice($bytes);
    }};
}

/// Appends fields of a width in bits, the most significant bit first.
#[inline(always)]
fn pack(header: &mut Vec<u8>, fields: &[(u32, u128)]) {
    let (mut pending, mut held) = (0, 0_u128);
    for &(width, value) in fields {
        if pending == 0 && width % 8 == 0 {
            header.extend_from_slice(&value.to_be_bytes()[16 - width as usize / 8..]);
            continue;
        }
        held = held << width | value;
        pending += width;
        while pending >= 8 {
            pending -= 8;
            let [.., byte] = (held >> pending).to_be_bytes();
            header.push(byte);
        }
    }
}

/// Place of a layer in its frame: the layers in front of it, and the number of finished bytes behind it.
struct Place<'a> {
    layers: &'a [Layer],
    index: usize,
    behind: usize,
}

impl Place<'_> {
    /// Appends the header of `layer`, which is the one at this place, with a checksum of 0.
    fn lay_out(&self, layer: &Layer, header: &mut Vec<u8>) -> Result<(), CraftError> {
        match layer {
            Layer::Ethernet(it) => {
                lay!(header; 48: it.destination, 48: it.source, 16: self.ether_type(it.ethertype)?);
            }
            Layer::Vlan(it) => {
                lay!(header; 3: it.pcp, 1: it.dei, 12: it.vid, 16: self.ether_type(it.ethertype)?);
            }
            Layer::Llc(it) => lay!(header; 8: it.dsap, 8: it.ssap, 8: it.control),
            Layer::Snap(it) => lay!(header; 24: it.oui, 16: self.ether_type(it.ethertype)?),
            Layer::Arp(it) => lay!(header;
                16: 1_u8, 16: EtherType::IPV4.0, 8: 6_u8, 8: 4_u8, 16: it.operation,
                48: it.sender_mac, 32: it.sender_ip.to_bits(), 48: it.target_mac, 32: it.target_ip.to_bits()),
            Layer::Ipv4(it) => {
                let (options, words) = (it.options.as_bytes(), it.options.words());
                let length =
                    self.length("total_length", it.total_length, 20 + options.len() + self.behind)?;
                let protocol = self.protocol("protocol", it.protocol)?;
                lay!(header;
                    4: it.version, 4: it.ihl.map_or(5 + words, Bits::get), 6: it.dscp, 2: it.ecn, 16: length,
                    16: it.identification,
                    1: false, 1: it.dont_fragment, 1: it.more_fragments, 13: it.fragment_offset,
                    8: it.ttl, 8: protocol, 16: 0_u8,
                    32: it.source.to_bits(), 32: it.destination.to_bits(); options);
            }
            Layer::Ipv6(it) => lay!(header;
                4: it.version, 8: it.traffic_class, 20: it.flow_label,
                16: self.length("payload_length", it.payload_length, self.behind)?,
                8: self.protocol("next_header", it.next_header)?, 8: it.hop_limit,
                128: it.source, 128: it.destination),
            Layer::HopByHop(it) | Layer::DestinationOptions(it) => {
                self.extension(header, it.next_header, it.length, &padded_options(&it.options.0))?;
            }
            Layer::Routing(it) => {
                let mut body = vec![it.r#type, it.segments_left];
                body.extend(&it.data.0);
                body.resize((2 + body.len()).next_multiple_of(8) - 2, 0);
                self.extension(header, it.next_header, it.length, &body)?;
            }
            Layer::Fragment(it) => lay!(header;
                8: self.protocol("next_header", it.next_header)?, 8: 0_u8,
                13: it.offset, 2: 0_u8, 1: it.more_fragments, 32: it.identification),
            // The length is in 32-bit words, minus 2: the header's first three make it 1 (RFC 4302 section 2.2).
            Layer::Ah(it) => lay!(header;
                8: self.protocol("next_header", it.next_header)?, 8: it.length.unwrap_or(1 + it.icv.words()),
                16: 0_u8, 32: it.spi, 32: it.sequence; it.icv.as_bytes()),
            Layer::Esp(it) => lay!(header; 32: it.spi, 32: it.sequence),
            // RFC 2784 section 2.1 with the key and the sequence number of RFC 2890 section 2.
            Layer::Gre(it) => {
                let given = [it.key, it.sequence].into_iter().flatten();
                let given: Vec<u8> = given.flat_map(u32::to_be_bytes).collect();
                lay!(header; 2: 0_u8, 1: it.key.is_some(), 1: it.sequence.is_some(), 12: 0_u8,
                    16: self.ether_type(it.ethertype)?; &given);
            }
            Layer::Udp(it) => lay!(header;
                16: it.source, 16: it.destination, 16: self.length("length", it.length, 8 + self.behind)?, 16: 0_u8),
            Layer::Tcp(it) => lay!(header;
                16: it.source, 16: it.destination, 32: it.sequence, 32: it.acknowledgement,
                4: it.data_offset.map_or(5 + it.options.words(), Bits::get), 4: 0_u8, 8: it.flags.0, 16: it.window,
                16: 0_u8, 16: it.urgent; it.options.as_bytes()),
            Layer::Icmp(it) | Layer::Icmpv6(it) => {
                lay!(header; 8: it.r#type, 8: it.code, 16: 0_u8, 16: it.identifier, 16: it.sequence);
            }
            Layer::Igmp(it) => {
                lay!(header; 8: it.r#type, 8: it.max_response, 16: 0_u8, 32: it.group.to_bits());
            }
            Layer::Sctp(it) => {
                lay!(header; 16: it.source, 16: it.destination, 32: it.verification_tag, 32: 0_u8);
            }
            Layer::Raw(it) => header.extend_from_slice(&it.hex.0),
            Layer::Payload(it) => match it.fill {
                Some(byte) => header.resize(it.length.into(), byte),
                None => header.extend((0..it.length).map(|index| index.to_le_bytes()[0])),
            },
        }
        Ok(())
    }

    /// Writes the checksum of `layer` into its header: the one given, or the one computed over the frame so far.
    fn seal(&self, layer: &Layer, frame: &mut [u8]) {
        // The Internet checksum at a 16-bit word of the header, which is 0 so far.
        let mut internet = |word: usize, given: Option<u16>, compute: &dyn Fn(&[u8]) -> u16| {
            let checksum = given.unwrap_or_else(|| compute(frame));
            frame[2 * word..][..2].copy_from_slice(&checksum.to_be_bytes());
        };
        match layer {
            Layer::Ipv4(it) => internet(5, it.checksum, &|frame| {
                Ipv4Packet::new(frame).as_ref().map(ipv4::checksum).unwrap_or_default()
            }),
            // A computed 0 is sent as its other form, because 0 says "no checksum" (RFC 768).
            Layer::Udp(it) => internet(3, it.checksum, &|frame| match self.checksum(frame, 3, 17) {
                0 => u16::MAX,
                sum => sum,
            }),
            Layer::Tcp(it) => internet(8, it.checksum, &|frame| self.checksum(frame, 8, 6)),
            // ICMPv6's checksum covers a pseudo-header (RFC 4443 section 2.3), ICMP's does not.
            Layer::Icmp(it) => internet(1, it.checksum, &|frame| util::checksum(frame, 1)),
            Layer::Icmpv6(it) => internet(1, it.checksum, &|frame| self.checksum(frame, 1, 58)),
            Layer::Igmp(it) => internet(1, it.checksum, &|frame| util::checksum(frame, 1)),
            // The CRC is transmitted as the little-endian number that it is (RFC 9260 appendix A).
            Layer::Sctp(it) => {
                let checksum = it.checksum.map_or_else(|| crc32c(frame).to_le_bytes(), u32::to_be_bytes);
                frame[8..12].copy_from_slice(&checksum);
            }
            _ => {}
        }
    }

    fn name(&self) -> &'static str {
        self.layers[self.index].name()
    }

    fn next(&self) -> Option<&Layer> {
        self.layers.get(self.index + 1)
    }

    /// Returns the EtherType to write: the one given, or the one that announces the next layer.
    fn ether_type(&self, given: Option<EtherType>) -> Result<u16, CraftError> {
        if given.is_none() && matches!(self.next(), Some(Layer::Llc(_))) {
            return self.fit("ethertype", self.behind, MAX_LLC_LENGTH);
        }
        let derived = || self.next()?.ether_type();
        given.or_else(derived).map(u16::from).ok_or_else(|| self.underivable("ethertype"))
    }

    /// Returns the protocol number to write: the one given, or the next layer's.
    fn protocol(&self, field: &'static str, given: Option<Protocol>) -> Result<u8, CraftError> {
        let derived = || self.next()?.protocol();
        given.or_else(derived).map(u8::from).ok_or_else(|| self.underivable(field))
    }

    /// Returns the length to write: the one given, or the true one.
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

    /// Lays out an IPv6 extension header in units of 8 bytes: next header, length, `body`.
    fn extension(
        &self,
        header: &mut Vec<u8>,
        next: Option<Protocol>,
        length: Option<u8>,
        body: &[u8],
    ) -> Result<(), CraftError> {
        let next = self.protocol("next_header", next)?;
        let units = (2 + body.len()) / 8 - 1;
        let length = length.map_or_else(|| self.fit("length", units, u8::MAX.into()), Ok)?;
        lay!(header; 8: next, 8: length; body);
        Ok(())
    }

    /// Returns the Internet checksum of a segment and the pseudo-header of the nearest IP header in front of it; the 16-bit
    /// word at index `skip` is the checksum's own. The final destination of a routing header is not considered.
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

/// Pads options so that they and the two bytes in front of them fill whole units of 8: with `Pad1` (one zero) or `PadN` (1,
/// the number of zeros, zeros), RFC 8200 section 4.2.
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

/// Returns the CRC of Castagnoli's polynomial, reflected, as RFC 9260 appendix A uses it.
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
    use crate::position::Positions;
    use crate::value::Hex;

    /// Crafts layers written as `ipv4 ttl = 1, dscp = 2 / udp`.
    fn craft(layers: &str) -> Result<Frame, CraftError> {
        let layers = layers.split(" / ").map(|layer| {
            let (name, fields) = layer.split_once(' ').unwrap_or((layer, ""));
            format!("{{ {name} = {{ {fields} }} }},")
        });
        let root = Node::parse(&format!("layers = [{}]", layers.collect::<String>())).unwrap();
        let Value::Table(entries) = &root.value else { unreachable!("the root is a table") };
        let problems = RefCell::default();
        let positions = Positions::new("");
        let context = Context { bindings: &Bindings::default(), problems: &problems, positions: &positions };
        let layers = context.array(&entries[0].1).iter().map(|node| Layer::read(context, node));
        let layers = layers.collect::<Option<Vec<_>>>().unwrap_or_else(|| panic!("{:?}", problems.borrow()));
        Frame::craft(layers, 1)
    }

    pub(crate) fn bytes(layers: &str) -> Vec<u8> {
        craft(layers).unwrap().bytes
    }

    #[track_caller]
    fn assert_bytes(layers: &str, expected: &str) {
        let Hex(expected) = expected.parse().unwrap();
        let crafted = bytes(layers);
        assert!(crafted == expected, "\n crafted {crafted:02x?}\nexpected {expected:02x?}");
    }

    // The expected bytes of these tests are scapy's (2.8), laid out by header.

    #[test]
    fn qinq_with_udp_is_byte_exact() {
        assert_bytes(
            "ethernet / vlan tpid = 0x88a8, vid = 100 / vlan vid = 10, pcp = 5, dei = true / ipv4 / udp / \
             payload length = 5",
            "020000000002 020000000001 88a8  0064 8100  b00a 0800
             45 00 0021 0000 0000 40 11 f6c8 c0000201 c0000202  9c40 0009 000d d982  0001020304",
        );
    }

    #[test]
    fn tcp_behind_ipv6_hop_by_hop_options_is_byte_exact() {
        assert_bytes(
            "ethernet / ipv6 traffic_class = 0xab, flow_label = 0x12345 / \
             hop_by_hop options = '05020000' / tcp flags = ['syn', 'ack'], options = '020405b4' / \
             payload length = 3",
            "020000000002 020000000001 86dd  6ab12345 0023 00 40
             20010db8000000000000000000000001 20010db8000000000000000000000002  06 00 05020000 0100
             9c40 0009 00000001 00000000 60 12 faf0 a362 0000 020405b4  000102",
        );
    }

    #[test]
    fn arp_is_byte_exact() {
        assert_bytes(
            "ethernet destination = 'ff:ff:ff:ff:ff:ff' / arp",
            "ffffffffffff 020000000001 0806
             0001 0800 06 04 0001 020000000001 c0000201 000000000000 c0000202",
        );
    }

    #[test]
    fn icmp_behind_ipv4_options_is_byte_exact() {
        assert_bytes(
            "ethernet / ipv4 dscp = 46, ecn = 1, dont_fragment = true, options = '94040000' / icmp / \
             payload length = 7",
            "020000000002 020000000001 0800  46 b9 0027 0000 4000 40 01 2115 c0000201 c0000202 94040000
             08 00 ebf4 0001 0001  00010203040506",
        );
    }

    #[test]
    fn icmp_for_ipv6_is_byte_exact() {
        assert_bytes(
            "ethernet / ipv6 / icmpv6 / payload length = 7",
            "020000000002 020000000001 86dd  60000000 000f 3a 40
             20010db8000000000000000000000001 20010db8000000000000000000000002
             80 00 1836 0001 0001  00010203040506",
        );
    }

    #[test]
    fn a_bridged_frame_in_gre_is_byte_exact() {
        assert_bytes(
            "ethernet / ipv4 / gre key = 0xdecade, sequence = 7 / ethernet / ipv6 / udp",
            "020000000002 020000000001 0800  45 00 005e 0000 0000 40 2f f66d c0000201 c0000202
             3000 6558 00decade 00000007  020000000002 020000000001 86dd
             60000000 0008 11 40 20010db8000000000000000000000001 20010db8000000000000000000000002
             9c40 0009 0008 0820",
        );
    }

    #[test]
    fn sctp_is_byte_exact() {
        assert_bytes(
            "ethernet / ipv4 / sctp verification_tag = 1 / raw hex = '0b000004'",
            "020000000002 020000000001 0800  45 00 0024 0000 0000 40 84 f652 c0000201 c0000202
             9c40 0009 00000001 7cbc1c29 0b000004",
        );
    }

    #[test]
    fn ipsec_headers_are_byte_exact() {
        assert_bytes(
            "ethernet / ipv6 / ah icv = '00112233445566778899aabb' / tcp checksum = 0",
            "020000000002 020000000001 86dd  60000000 002c 33 40
             20010db8000000000000000000000001 20010db8000000000000000000000002
             06 04 0000 00000100 00000001 00112233445566778899aabb
             9c40 0009 00000001 00000000 50 02 faf0 0000 0000",
        );
        assert_bytes(
            "ethernet / ipv4 / esp / payload length = 4",
            "020000000002 020000000001 0800  45 00 0020 0000 0000 40 32 f6a8 c0000201 c0000202
             00000100 00000001 00010203",
        );
    }

    #[test]
    fn ipv6_extension_headers_are_byte_exact() {
        let ipv6 = "020000000002 020000000001 86dd  60000000";
        let addresses = "20010db8000000000000000000000001 20010db8000000000000000000000002";
        assert_bytes(
            "ethernet / ipv6 / \
             fragment next_header = 'udp', offset = 3, more_fragments = true, identification = 0xcafe / \
             payload length = 8",
            &format!("{ipv6} 0010 2c 40 {addresses}  11 00 0019 0000cafe  0001020304050607"),
        );
        assert_bytes(
            "ethernet / ipv6 / routing data = '00000000 20010db8000000000000000000000002' / udp",
            &format!(
                "{ipv6} 0020 2b 40 {addresses}  11 02 04 00 00000000 20010db8000000000000000000000002
                 9c40 0009 0008 0820"
            ),
        );
        assert_bytes(
            "ethernet / ipv6 / destination_options / udp",
            &format!("{ipv6} 0010 3c 40 {addresses}  11 00 010400000000  9c40 0009 0008 0820"),
        );
    }

    #[test]
    fn snap_is_byte_exact_and_its_length_is_the_frames() {
        assert_bytes(
            "ethernet / llc / snap / ipv4 / udp",
            "020000000002 020000000001 0024  aa aa 03  000000 0800
             45 00 001c 0000 0000 40 11 f6cd c0000201 c0000202  9c40 0009 0008 df90",
        );
    }

    #[test]
    fn igmp_is_byte_exact() {
        assert_bytes(
            "ethernet / ipv4 dscp = 48, ttl = 1, destination = '233.252.0.1', options = '94040000' / igmp",
            "020000000002 020000000001 0800  46 c0 0020 0000 0000 01 02 7819 c0000201 e9fc0001 94040000
             16 00 0002 e9fc0001",
        );
    }

    #[test]
    fn every_header_has_its_length() {
        // Every layer with its defaults, around layers that make each field derivable.
        let layers = "ethernet / vlan / ipv4 / gre key = 0, sequence = 0 / ethernet / llc / snap / ipv6 / \
         hop_by_hop / destination_options / routing / fragment / ah / udp / tcp / icmp / icmpv6 / igmp / \
         sctp / esp / arp";
        let lengths: [usize; 21] = [14, 4, 20, 12, 14, 3, 5, 40, 8, 8, 8, 8, 12, 8, 20, 8, 8, 8, 12, 8, 28];
        assert_eq!(bytes(layers).len(), lengths.iter().sum::<usize>());
        for name in Layer::NAMES.iter().filter(|name| !["raw", "payload"].contains(name)) {
            assert!(layers.split([' ', '/']).any(|word| word == *name), "{name} is not in this test");
        }
    }

    #[test]
    fn a_given_value_is_written_instead_of_the_derived_one() {
        let udp = "udp length = 1, checksum = 2";
        let frame = bytes(&format!(
            "ethernet ethertype = 'arp' / vlan ethertype = 'ipv6' / \
             ipv4 version = 6, ihl = 0, total_length = 3, protocol = 'tcp', checksum = 4 / {udp}"
        ));
        assert_eq!(frame[12..14], [0x08, 0x06]);
        assert_eq!(frame[16..18], [0x86, 0xdd]);
        assert_eq!(frame[18..22], [0x60, 0x00, 0x00, 0x03]);
        assert_eq!(frame[27..30], [0x06, 0x00, 0x04]);
        assert_eq!(frame[42..46], [0x00, 0x01, 0x00, 0x02]);
    }

    #[test]
    fn a_computed_udp_checksum_of_0_is_written_as_ffff() {
        let with = |word: &str| bytes(&format!("ipv4 / udp / raw hex = '{word}'"));
        let checksum = |frame: &[u8]| u16::from_be_bytes([frame[26], frame[27]]);
        // A payload of the checksum that a payload of 0 has makes the sum of all words 0xffff.
        let word = checksum(&with("0000"));
        assert_eq!(checksum(&with(&format!("{word:04x}"))), 0xffff);
    }

    #[test]
    fn a_field_that_cannot_be_derived_is_rejected() {
        let underivable = |layers: &str, index, layer, field| {
            assert_eq!(craft(layers), Err(CraftError::Underivable { index, layer, field }));
        };
        underivable("ethernet / payload length = 4", 0, "ethernet", "ethertype");
        underivable("ethernet / vlan", 1, "vlan", "ethertype");
        underivable("ethernet / ipv4 / raw hex = '00'", 1, "ipv4", "protocol");
        underivable("ipv6 / arp", 0, "ipv6", "next_header");
    }

    #[test]
    fn a_length_that_does_not_fit_its_field_is_rejected_unless_given() {
        let too_long = |layers: &str, layer, field, length, max| {
            assert_eq!(craft(layers), Err(CraftError::TooLong { index: 0, layer, field, length, max }));
        };
        let payload = "udp length = 0 / payload length = 65535";
        too_long(&format!("ipv4 / {payload}"), "ipv4", "total_length", 65_563, 65_535);
        too_long(&format!("ipv6 / {payload}"), "ipv6", "payload_length", 65_543, 65_535);
        too_long("ethernet / llc / payload length = 1498", "ethernet", "ethertype", 1_501, 1_500);
        assert_eq!(bytes(&format!("ipv4 total_length = 20 / {payload}")).len(), 65_563);
    }

    #[test]
    fn the_crc_is_castagnolis() {
        // The check value of CRC-32/ISCSI.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
