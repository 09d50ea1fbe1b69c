//! Which slot of the counter's map a frame counts in: the rules of the kernel's classic `xdp1` sample.
//!
//! Generic over how bytes are read ([`Packet`]), so that the kernel's programs and the host's tests share this one parser.
//! Only the Ethernet header, at most two VLAN tags and one byte of the IP header are looked at.

use crate::abi::OTHER;

/// What is left of a frame, to be read header by header.
///
/// A field lies `at` bytes into a header of `header` bytes that comes next; it is `None` unless the *whole* header fits in
/// the frame.
pub trait Packet: Sized {
    /// A field of one byte.
    fn u8(&self, header: usize, at: usize) -> Option<u8>;
    /// A field of two bytes that is an `EtherType`; its distance from the frame's first byte is even.
    fn ether_type(&self, header: usize, at: usize) -> Option<EtherType>;
    /// What is left behind a header that fits.
    fn behind(self, header: usize) -> Self;
}

/// An `EtherType` as it lies in memory. A number that it is compared with is swapped instead of it: the numbers are
/// constants, so the compiler does that once, where the program would do it for every frame.
#[derive(Clone, Copy, Debug)]
pub struct EtherType(u16);

impl EtherType {
    /// From two bytes in network order that were loaded as they are.
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

/// What the counter does with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Count it in this slot, `XDP_PASS`.
    Count(u8),
    /// Its Ethernet header or one of its first two tags is cut: `XDP_DROP`, not counted.
    Truncated,
}

/// The rules by which frames are counted. The defaults are the sample's; whatever overrides one is a counter with a fault.
pub trait Rules {
    /// Length of an Ethernet header in bytes (IEEE 802.3, without preamble and FCS).
    const ETHERNET: usize = 14;
    /// Where its `EtherType` lies.
    const ETHERNET_TYPE: usize = 12;
    /// Length of a VLAN tag in bytes (IEEE 802.1Q): the tag's TCI and the `EtherType` that follows.
    const TAG: usize = 4;
    /// Bytes of a tag that must be there for it to be opened.
    const TAG_NEEDED: usize = Self::TAG;
    /// How many tags are opened, at most.
    const MAX_TAGS: usize = 2;
    /// Length in bytes of an IPv4 header without options (RFC 791 section 3.1).
    const IPV4: usize = 20;
    /// Where its protocol lies.
    const IPV4_PROTOCOL: usize = 9;
    /// `EtherType` of IPv4.
    const IPV4_TYPE: u16 = 0x0800;
    /// Length in bytes of the fixed IPv6 header (RFC 8200 section 3).
    const IPV6: usize = 40;
    /// Where its next-header field lies.
    const IPV6_NEXT_HEADER: usize = 6;
    /// `EtherType` of IPv6.
    const IPV6_TYPE: u16 = 0x86dd;
    /// The slot of a frame that has no IP header, or a cut one.
    const OTHER: u8 = OTHER;

    /// Whether an `EtherType` announces a tag that is opened, `depth` tags having been opened before: 802.1Q and 802.1ad;
    /// 0x9100 and other vendors' values are not tags to the kernel.
    #[inline(always)]
    fn is_tag(ether_type: EtherType, depth: usize) -> bool {
        let _any_depth = depth;
        ether_type == 0x8100 || ether_type == 0x88a8
    }
}

/// The rules of the kernel's sample.
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
    // Not `for`, not `while`: of these the compiler puts the tags behind the IP headers, and jumps to and fro.
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

/// A frame in one piece.
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

    /// An Ethernet header with `tags`, then `ether_type`, then `length` bytes that name `protocol` where both an IPv4
    /// and an IPv6 header have it; every other byte is 0xa5.
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
    fn one_and_two_tags_are_opened_and_a_third_is_not() {
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
    fn an_ip_header_that_misses_one_byte_counts_as_other() {
        for tags in [&[][..], &[0x8100], &[0x88a8, 0x8100]] {
            assert_eq!(classify::<Sample>(frame(tags, 0x0800, 19, 17).as_slice()), Class::Count(0));
            assert_eq!(classify::<Sample>(frame(tags, 0x0800, 20, 17).as_slice()), Class::Count(17));
            assert_eq!(classify::<Sample>(frame(tags, 0x86dd, 39, 17).as_slice()), Class::Count(0));
            assert_eq!(classify::<Sample>(frame(tags, 0x86dd, 40, 17).as_slice()), Class::Count(17));
        }
    }

    #[test]
    fn a_tag_that_misses_one_byte_is_truncated() {
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
