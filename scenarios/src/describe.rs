//! One-line description of a frame for people, decoded from its bytes by `etherparse` as far as they go.

use etherparse::err::packet::SliceError;
use etherparse::{
    EtherType as Type, Ethernet2Slice, LaxNetSlice, LaxSlicedPacket, SingleVlanSlice, TransportSlice,
};

use crate::frame::Frame;
use crate::value::{EtherType, MacAddr, Protocol, Tpid};

/// EtherTypes that are shown as tags, parsed by the counter or not.
const TAGS: [u16; 4] = [0x8100, 0x88a8, 0x9100, 0x9200];

/// Smallest EtherType; below it the field is a length (IEEE 802.3 clause 3.2.6).
const FIRST_ETHER_TYPE: u16 = 0x0600;

impl Frame {
    /// Describes the frame in one line, as [`describe`] does.
    #[must_use]
    pub fn describe(&self) -> String {
        describe(&self.bytes)
    }
}

/// Describes a frame in one line, its headers from the outside in and the bytes that are left: `Ethernet
/// 02:00:00:00:00:01>02:00:00:00:00:02 / 802.1Q vid 10 / IPv4 192.0.2.1>192.0.2.2 udp / UDP 40000>9 / 18
/// bytes`.
#[must_use]
pub fn describe(bytes: &[u8]) -> String {
    let Ok(ethernet) = Ethernet2Slice::from_slice_without_fcs(bytes) else {
        return format!("{} of the 14 bytes of an Ethernet header", bytes.len());
    };
    let mut parts =
        vec![format!("Ethernet {}>{}", MacAddr(ethernet.source()), MacAddr(ethernet.destination()))];
    let (mut ether_type, mut rest) = (ethernet.ether_type(), ethernet.payload_slice());
    while TAGS.contains(&ether_type.0) {
        let tpid = Tpid(ether_type.0);
        let Ok(tag) = SingleVlanSlice::from_slice(rest) else {
            parts.push(format!("{tpid} cut to {} of 4 bytes", rest.len()));
            return parts.join(" / ");
        };
        let priority = match tag.priority_code_point().value() {
            0 => String::new(),
            pcp => format!(" pcp {pcp}"),
        };
        let dei = if tag.drop_eligible_indicator() { " dei" } else { "" };
        parts.push(format!("{tpid} vid {}{priority}{dei}", tag.vlan_identifier().value()));
        (ether_type, rest) = (tag.ether_type(), tag.payload_slice());
    }
    let version = rest.first().map(|byte| byte >> 4);
    match (ether_type, version) {
        (Type::IPV4, Some(4)) | (Type::IPV6, Some(6)) | (Type::ARP, _) => {
            parts.extend(network(ether_type, rest));
        }
        (Type::IPV4 | Type::IPV6, Some(other)) => {
            parts.push(format!("{} with version {other}", EtherType(ether_type.0)));
            parts.push(left(rest));
        }
        (Type(length), _) if length < FIRST_ETHER_TYPE => {
            parts.extend([format!("length {length}"), left(rest)]);
        }
        (Type(other), _) => parts.extend([format!("type {}", EtherType(other)), left(rest)]),
    }
    parts.join(" / ")
}

fn left(rest: &[u8]) -> String {
    format!("{} bytes", rest.len())
}

/// Describes ARP or IP and the transport header; the last part is the rest, or the header that stopped the decoding.
fn network(ether_type: Type, mut rest: &[u8]) -> Vec<String> {
    let packet = LaxSlicedPacket::from_ether_type(ether_type, rest);
    let net = packet.net.as_ref().map(|net| match net {
        LaxNetSlice::Ipv4(ip) => {
            rest = ip.payload().payload;
            let header = ip.header();
            let (source, destination) = (header.source_addr(), header.destination_addr());
            let fragment = match (header.fragments_offset().value(), header.more_fragments()) {
                (0, false) => String::new(),
                (offset, _) => format!(" fragment at {}", u32::from(offset) * 8),
            };
            format!("IPv4 {source}>{destination} {}{fragment}", Protocol(header.protocol().0))
        }
        LaxNetSlice::Ipv6(ip) => {
            rest = ip.payload().payload;
            let header = ip.header();
            let (source, destination) = (header.source_addr(), header.destination_addr());
            format!("IPv6 {source}>{destination} {}", next_header(header.next_header().0))
        }
        LaxNetSlice::Arp(arp) => {
            rest = rest.get(arp.slice().len()..).unwrap_or_default();
            format!("ARP operation {}", arp.operation().0)
        }
    });
    let transport = packet.transport.as_ref().map(|transport| describe_transport(transport, &mut rest));
    let end = match &packet.stop_err {
        Some((SliceError::Len(error), _)) => {
            format!("{} cut to {} of {} bytes", error.layer, error.len, error.required_len)
        }
        Some((_, layer)) => format!("malformed {layer} in {}", left(rest)),
        None => left(rest),
    };
    net.into_iter().chain(transport).chain([end]).collect()
}

/// Returns the name of a next header; 0 is hop-by-hop options here.
fn next_header(number: u8) -> String {
    match number {
        0 => "hopopt".to_owned(),
        _ => Protocol(number).to_string(),
    }
}

fn describe_transport<'a>(transport: &TransportSlice<'a>, rest: &mut &'a [u8]) -> String {
    let (text, payload) = match transport {
        TransportSlice::Udp(udp) => {
            (format!("UDP {}>{}", udp.source_port(), udp.destination_port()), udp.payload())
        }
        TransportSlice::Tcp(tcp) => {
            (format!("TCP {}>{}", tcp.source_port(), tcp.destination_port()), tcp.payload())
        }
        TransportSlice::Icmpv4(icmp) => {
            (format!("ICMP type {} code {}", icmp.type_u8(), icmp.code_u8()), icmp.payload())
        }
        TransportSlice::Icmpv6(icmp) => {
            (format!("ICMPv6 type {} code {}", icmp.type_u8(), icmp.code_u8()), icmp.payload())
        }
        TransportSlice::Igmp(igmp) => (format!("IGMP type {:#04x}", igmp.type_u8()), igmp.payload()),
    };
    *rest = payload;
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::tests::bytes;

    /// Describes a frame without its Ethernet header, which is the same in all of them.
    fn inner(layers: &str, length: usize) -> String {
        let frame = bytes(&format!("ethernet / {layers}"));
        let text = describe(&frame[..length.min(frame.len())]);
        text.strip_prefix("Ethernet 02:00:00:00:00:01>02:00:00:00:00:02 / ").unwrap().to_owned()
    }

    const WHOLE: usize = usize::MAX;

    #[test]
    fn headers_are_described_from_the_outside_in() {
        let qinq = "vlan tpid = 0x88a8, vid = 100, pcp = 3, dei = true / vlan vid = 10 / ipv4 / udp / \
         payload length = 18";
        assert_eq!(
            inner(qinq, WHOLE),
            "802.1ad vid 100 pcp 3 dei / 802.1Q vid 10 / \
             IPv4 192.0.2.1>192.0.2.2 udp / UDP 40000>9 / 18 bytes"
        );
        assert_eq!(
            inner("ipv6 / hop_by_hop / tcp", WHOLE),
            "IPv6 2001:db8::1>2001:db8::2 hopopt / TCP 40000>9 / 0 bytes"
        );
        assert_eq!(inner("arp / payload length = 18", WHOLE), "ARP operation 1 / 18 bytes");
        assert_eq!(
            inner("ipv4 protocol = 'udp', fragment_offset = 4 / payload length = 8", WHOLE),
            "IPv4 192.0.2.1>192.0.2.2 udp fragment at 32 / 8 bytes"
        );
        assert_eq!(inner("llc / snap / ipv4 / udp", WHOLE), "length 36 / 36 bytes");
    }

    #[test]
    fn a_cut_header_is_described_with_its_length() {
        assert_eq!(inner("vlan / arp", 17), "802.1Q cut to 3 of 4 bytes");
        assert_eq!(inner("ipv4 / udp", 33), "IPv4 header cut to 19 of 20 bytes");
        assert_eq!(inner("ipv4 / udp", 14), "type ipv4 / 0 bytes");
        assert_eq!(describe(&[0; 13]), "13 of the 14 bytes of an Ethernet header");
    }

    #[test]
    fn a_malformed_header_is_described_as_malformed() {
        assert_eq!(inner("ipv4 version = 6 / udp", WHOLE), "ipv4 with version 6 / 28 bytes");
        assert_eq!(inner("ipv4 ihl = 0 / udp", WHOLE), "malformed IP header in 28 bytes");
    }
}
