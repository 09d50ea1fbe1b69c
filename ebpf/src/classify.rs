//! Classifier: the slot of the counter's map that a frame counts in, by the semantics of the kernel's classic `xdp1` sample.
//!
//! It is generic over the access to bytes ([`Packet`]), so that the eBPF programs and the host's tests share this one
//! parser. It reads the Ethernet header, at most two VLAN tags and one byte of the IP header.

use crate::abi::OTHER;

/// The rest of a frame, read header by header.
///
/// A field lies `at` bytes into the next header, which has `header` bytes; it is `None` unless the *whole* header fits in the
/// frame.
pub trait Packet: Sized {
    /// Reads a field of one byte.
    fn u8(&self, header: usize, at: usize) -> Option<u8>;
    /// Reads a field of two bytes that is an `EtherType`, at an even offset in the frame.
    fn ether_type(&self, header: usize, at: usize) -> Option<EtherType>;
    /// Returns the rest behind a header that fits.
    fn behind(self, header: usize) -> Self;
}

/// An `EtherType` in memory order. A comparison swaps the number instead: the numbers are constants, so the compiler swaps
/// once, not the program for every frame.
#[derive(Clone, Copy, Debug)]
pub struct EtherType(u16);

impl EtherType {
    /// Takes two bytes in network order that were loaded without swapping.
    #[inline(always)]
    #[must_use]
    pub const fn from_memory(word: u16) -> Self {
        Self(word)
    }
}

impl PartialEq<u16> for EtherType {
    #[inline(always)]
    fn eq(&self, number: &u16) -> bool {
        self.0 == number.to_be()
    }
}

/// Class of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Counted in this slot, `XDP_PASS`.
    Count(u8),
    /// The Ethernet header or one of the first two tags is truncated: not counted, `XDP_DROP`.
    Truncated,
}

/// Rules of the classifier. The defaults are the sample's; a mutant overrides one of them.
pub trait Rules {
    /// Length of an Ethernet header in bytes (IEEE 802.3, without preamble and FCS).
    const ETHERNET: usize = 14;
    /// Offset of its `EtherType`.
    const ETHERNET_TYPE: usize = 12;
    /// Length of a VLAN tag in bytes (IEEE 802.1Q): the tag's TCI and the `EtherType` that follows.
    const TAG: usize = 4;
    /// Bytes of a tag that must be present for it to be parsed.
    const TAG_NEEDED: usize = Self::TAG;
    /// Most tags that are parsed.
    const MAX_TAGS: usize = 2;
    /// Length in bytes of an IPv4 header without options (RFC 791 section 3.1).
    const IPV4: usize = 20;
    /// Offset of its protocol.
    const IPV4_PROTOCOL: usize = 9;
    /// `EtherType` of IPv4.
    const IPV4_TYPE: u16 = 0x0800;
    /// Length in bytes of the fixed IPv6 header (RFC 8200 section 3).
    const IPV6: usize = 40;
    /// Offset of its next-header field.
    const IPV6_NEXT_HEADER: usize = 6;
    /// `EtherType` of IPv6.
    const IPV6_TYPE: u16 = 0x86dd;
    /// Slot of a frame with no IP header, or a truncated one.
    const OTHER: u8 = OTHER;

    /// Returns true if an `EtherType` announces a tag to parse, behind `depth` other tags: 802.1Q and 802.1ad. The kernel does
    /// not treat 0x9100 and other vendors' values as tags.
    #[inline(always)]
    fn is_tag(ether_type: EtherType, depth: usize) -> bool {
        let _any_depth = depth;
        ether_type == 0x8100 || ether_type == 0x88a8
    }
}

/// Rules of the kernel's sample.
#[derive(Clone, Copy, Debug)]
pub struct Sample;

impl Rules for Sample {}

/// Classifies one frame that begins with its destination MAC address.
#[inline(always)]
pub fn classify<R: Rules>(packet: impl Packet) -> Class {
    let Some(mut ether_type) = packet.ether_type(R::ETHERNET, R::ETHERNET_TYPE) else {
        return Class::Truncated;
    };
    let mut rest = packet.behind(R::ETHERNET);
    let mut depth = 0;
    // With `for` or `while` the compiler places the code for tags behind that for IP headers, and jumps back and forth.
    loop {
        if depth == R::MAX_TAGS || !R::is_tag(ether_type, depth) {
            break;
        }
        let Some(inner) = rest.ether_type(R::TAG_NEEDED, R::TAG - 2) else { return Class::Truncated };
        ether_type = inner;
        rest = rest.behind(R::TAG);
        depth += 1;
    }
    let protocol = if ether_type == R::IPV4_TYPE {
        rest.u8(R::IPV4, R::IPV4_PROTOCOL)
    } else if ether_type == R::IPV6_TYPE {
        rest.u8(R::IPV6, R::IPV6_NEXT_HEADER)
    } else {
        None
    };
    Class::Count(protocol.unwrap_or(R::OTHER))
}

/// A linear frame in user space.
impl Packet for &[u8] {
    fn u8(&self, header: usize, at: usize) -> Option<u8> {
        self.get(..header)?.get(at).copied()
    }

    fn ether_type(&self, header: usize, at: usize) -> Option<EtherType> {
        let field = self.get(..header)?.get(at..)?.first_chunk()?;
        Some(EtherType::from_memory(u16::from_ne_bytes(*field)))
    }

    fn behind(self, header: usize) -> Self {
        self.get(header..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    extern crate std;
    use std::vec::Vec;

    /// Makes an Ethernet header with `tags`, then `ether_type`, then `length` bytes with `protocol` at the offsets of both an
    /// IPv4 and an IPv6 header; every other byte is 0xa5.
    fn frame(tags: &[u16], ether_type: u16, length: usize, protocol: u8) -> Vec<u8> {
        let mut bytes = std::vec![0xa5; 12];
        for tag in tags {
            bytes.extend_from_slice(&tag.to_be_bytes());
            bytes.extend_from_slice(&[0xa5, 0xa5]);
        }
        bytes.extend_from_slice(&ether_type.to_be_bytes());
        let mut rest = std::vec![0xa5; length];
        for at in [6, 9] {
            if let Some(byte) = rest.get_mut(at) {
                *byte = protocol;
            }
        }
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn every_cut_of_the_ethernet_header_is_truncated() {
        for length in 0..14 {
            assert_eq!(classify::<Sample>(&[0_u8; 14][..length]), Class::Truncated, "{length}");
        }
        assert_eq!(classify::<Sample>(&[0_u8; 14][..]), Class::Count(0));
    }

    #[test]
    fn one_and_two_tags_are_parsed_and_a_third_is_not() {
        for tpids in
            [&[0x8100][..], &[0x88a8], &[0x88a8, 0x8100], &[0x8100, 0x88a8], &[0x8100; 2], &[0x88a8; 2]]
        {
            assert_eq!(
                classify::<Sample>(frame(tpids, 0x0800, 20, 17).as_slice()),
                Class::Count(17),
                "{tpids:x?}"
            );
            assert_eq!(
                classify::<Sample>(frame(tpids, 0x86dd, 40, 58).as_slice()),
                Class::Count(58),
                "{tpids:x?}"
            );
        }
        assert_eq!(classify::<Sample>(frame(&[0x8100; 3], 0x0800, 20, 17).as_slice()), Class::Count(0));
        assert_eq!(classify::<Sample>(frame(&[0x9100], 0x0800, 20, 17).as_slice()), Class::Count(0));
        assert_eq!(classify::<Sample>(frame(&[0x8100, 0x9100], 0x0800, 20, 17).as_slice()), Class::Count(0));
    }

    #[test]
    fn an_ip_header_that_lacks_one_byte_counts_as_other() {
        for tags in [&[][..], &[0x8100], &[0x88a8, 0x8100]] {
            assert_eq!(classify::<Sample>(frame(tags, 0x0800, 19, 17).as_slice()), Class::Count(0));
            assert_eq!(classify::<Sample>(frame(tags, 0x0800, 20, 17).as_slice()), Class::Count(17));
            assert_eq!(classify::<Sample>(frame(tags, 0x86dd, 39, 17).as_slice()), Class::Count(0));
            assert_eq!(classify::<Sample>(frame(tags, 0x86dd, 40, 17).as_slice()), Class::Count(17));
        }
    }

    #[test]
    fn a_tag_that_lacks_one_byte_is_truncated() {
        for length in 14..18 {
            let mut tagged = frame(&[0x8100], 0x0800, 0, 0);
            tagged.truncate(length);
            assert_eq!(classify::<Sample>(tagged.as_slice()), Class::Truncated, "{length}");
        }
        for length in 18..22 {
            let mut tagged = frame(&[0x88a8, 0x8100], 0x0800, 0, 0);
            tagged.truncate(length);
            assert_eq!(classify::<Sample>(tagged.as_slice()), Class::Truncated, "{length}");
        }
        assert_eq!(classify::<Sample>(frame(&[0x88a8, 0x8100], 0x0800, 0, 0).as_slice()), Class::Count(0));
    }
}
