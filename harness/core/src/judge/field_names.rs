//! The header field that a byte of a frame belongs to, so that a difference has a name. Pure.

use std::ops::Range;

/// A header: its name, and its fields by their first byte in it.
struct Header {
    name: &'static str,
    fields: &'static [(usize, &'static str)],
}

/// IEEE 802.3, clause 3.
const ETHERNET: Header =
    Header { name: "Ethernet", fields: &[(0, "destination"), (6, "source"), (12, "EtherType")] };
/// IEEE 802.1Q, clause 9, from the tag control information on.
const TAG: Header = Header { name: "VLAN", fields: &[(0, "TCI"), (2, "EtherType")] };
/// RFC 791, section 3.1.
const IPV4: Header = Header {
    name: "IPv4",
    fields: &[
        (0, "version and header length"),
        (1, "DSCP and ECN"),
        (2, "total length"),
        (4, "identification"),
        (6, "fragment offset"),
        (8, "TTL"),
        (9, "protocol"),
        (10, "checksum"),
        (12, "source"),
        (16, "destination"),
        (20, "options"),
    ],
};
/// RFC 8200, section 3.
const IPV6: Header = Header {
    name: "IPv6",
    fields: &[
        (0, "version, traffic class and flow label"),
        (4, "payload length"),
        (6, "next header"),
        (7, "hop limit"),
        (8, "source"),
        (24, "destination"),
    ],
};
/// RFC 768.
const UDP: Header = Header {
    name: "UDP",
    fields: &[(0, "source port"), (2, "destination port"), (4, "length"), (6, "checksum")],
};
/// RFC 9293, section 3.1.
const TCP: Header = Header {
    name: "TCP",
    fields: &[
        (0, "source port"),
        (2, "destination port"),
        (4, "sequence number"),
        (8, "acknowledgment number"),
        (12, "data offset"),
        (13, "flags"),
        (14, "window"),
        (16, "checksum"),
        (18, "urgent pointer"),
        (20, "options"),
    ],
};
/// RFC 792 and RFC 4443.
const ICMP: Header = Header { name: "ICMP", fields: &[(0, "type"), (1, "code"), (2, "checksum")] };
/// RFC 826.
const ARP: Header = Header {
    name: "ARP",
    fields: &[(0, "types and lengths"), (6, "operation"), (8, "sender"), (18, "target")],
};

/// IP protocol numbers.
const IN_IPV4: u8 = 4;
const IN_IPV6: u8 = 41;

/// A field of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldName {
    /// `IPv4 checksum`.
    pub name: String,
    /// Its bytes in the frame.
    pub range: Range<usize>,
}

/// Returns the header field of a byte; none behind the headers that are known.
#[must_use]
pub fn field_at(frame: &[u8], offset: usize) -> Option<FieldName> {
    let mut at = 0;
    let mut next = Some(Next::Ethernet);
    while let Some(kind) = next {
        let (header, length, following) = kind.read(frame.get(at..)?)?;
        let end = at.checked_add(length)?;
        if (at..end).contains(&offset) {
            return Some(header.field(at..end, offset));
        }
        (at, next) = (end, following);
    }
    None
}

impl Header {
    fn field(&self, place: Range<usize>, offset: usize) -> FieldName {
        let within = offset - place.start;
        let index = self.fields.iter().rposition(|(first, _)| *first <= within).unwrap_or(0);
        let start = self.fields.get(index).map_or(0, |(first, _)| *first);
        let end = self.fields.get(index + 1).map_or(place.len(), |(first, _)| (*first).min(place.len()));
        let name = self.fields.get(index).map_or("", |(_, name)| name);
        FieldName { name: format!("{} {name}", self.name), range: place.start + start..place.start + end }
    }
}

/// The kind of header that follows.
#[derive(Clone, Copy)]
enum Next {
    Ethernet,
    EtherType(u16),
    Protocol(u8),
}

impl Next {
    /// Returns a header, its length in bytes, and the kind of the header behind it.
    fn read(self, bytes: &[u8]) -> Option<(&'static Header, usize, Option<Self>)> {
        let word = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        Some(match self {
            Self::Ethernet => (&ETHERNET, 14, word(12).map(Self::EtherType)),
            Self::EtherType(0x8100 | 0x88a8) => (&TAG, 4, word(2).map(Self::EtherType)),
            Self::EtherType(0x0800) | Self::Protocol(IN_IPV4) => {
                let length = 4 * usize::from(bytes.first()? & 0xf);
                // Behind a fragment that is not the first one stands no header.
                let is_first = word(6)? & 0x1fff == 0;
                (&IPV4, length.max(20), bytes.get(9).copied().filter(|_| is_first).map(Self::Protocol))
            }
            Self::EtherType(0x86dd) | Self::Protocol(IN_IPV6) => {
                (&IPV6, 40, bytes.get(6).copied().map(Self::Protocol))
            }
            Self::EtherType(0x0806) => (&ARP, 28, None),
            Self::Protocol(6) => (&TCP, (4 * usize::from(*bytes.get(12)? >> 4)).max(20), None),
            Self::Protocol(17) => (&UDP, 8, None),
            Self::Protocol(1 | 58) => (&ICMP, 8.min(bytes.len()), None),
            Self::EtherType(_) | Self::Protocol(_) => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An 802.1Q frame with IPv4 and TCP, cut behind its headers.
    fn frame() -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x81, 0, 0, 10, 8, 0, 0x45]);
        frame.resize(18 + 9, 0);
        frame.push(6);
        frame.resize(18 + 20 + 12, 0);
        frame.push(0x50);
        frame.resize(18 + 20 + 20, 0);
        frame
    }

    #[test]
    fn a_byte_has_the_name_of_its_field() {
        let frame = frame();
        for (offset, name, range) in [
            (0, "Ethernet destination", 0..6),
            (13, "Ethernet EtherType", 12..14),
            (14, "VLAN TCI", 14..16),
            (26, "IPv4 TTL", 26..27),
            (29, "IPv4 checksum", 28..30),
            (37, "IPv4 destination", 34..38),
            (40, "TCP destination port", 40..42),
            (51, "TCP flags", 51..52),
        ] {
            let found = field_at(&frame, offset).unwrap();
            assert_eq!((found.name.as_str(), found.range), (name, range), "{offset}");
        }
        assert_eq!(field_at(&frame, 58), None);
    }

    #[test]
    fn a_cut_frame_has_no_name_beyond_its_end() {
        let frame = frame();
        for length in 0..frame.len() {
            let cut = &frame[..length];
            for offset in 0..frame.len() {
                let _named = field_at(cut, offset);
            }
        }
        assert_eq!(field_at(&frame[..18], 20), None);
    }
}
