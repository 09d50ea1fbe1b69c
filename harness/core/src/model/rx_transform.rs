//! The changes that a path makes to every frame between the tester's socket and the program. Pure.

use std::borrow::Cow;

/// The changes that a path makes to every frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxTransform {
    /// Shorter frames are padded with zeros to this many bytes, without FCS (IEEE 802.3, clause 4A.2.3.2.2: 60). 0 where frames are
    /// not padded.
    pub padded_to: usize,
    /// Outer tags that the device takes out of a frame before the program gets it, although that is switched off where it can be. It
    /// hands the tag to the stack beside the frame.
    pub strips: Strips,
}

/// Outer tags that a device takes out of frames, by their TPID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strips {
    /// 0x8100 (`rx-vlan-hw-parse`).
    pub customer: bool,
    /// 0x88a8 (`rx-vlan-stag-hw-parse`).
    pub service: bool,
}

/// The bytes of a frame's outer tag.
const TAG: std::ops::Range<usize> = 12..16;

impl RxTransform {
    /// Returns true if the program gets frames as they are sent.
    #[must_use]
    pub fn is_faithful(&self) -> bool {
        *self == Self::default()
    }

    /// A frame as it is on the link, and as the stack gets it if the program passes it.
    #[must_use]
    pub fn arriving<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        if bytes.len() >= self.padded_to {
            return Cow::Borrowed(bytes);
        }
        let mut padded = bytes.to_vec();
        padded.resize(self.padded_to, 0);
        Cow::Owned(padded)
    }

    /// A frame that [arrives](Self::arriving), as the program gets it.
    #[must_use]
    pub fn given<'a>(&self, arriving: &'a [u8]) -> Cow<'a, [u8]> {
        let strips = match arriving.get(TAG) {
            Some([0x81, 0x00, ..]) => self.strips.customer,
            Some([0x88, 0xa8, ..]) => self.strips.service,
            _ => false,
        };
        if strips {
            Cow::Owned([&arriving[..TAG.start], &arriving[TAG.end..]].concat())
        } else {
            Cow::Borrowed(arriving)
        }
    }
}

/// Returns true if the kernel's stack discards a frame before any socket sees it, although XDP has passed it.
///
/// Source: `skb_vlan_untag` of `net/core/skbuff.c`, which `__netif_receive_skb_core` calls before it delivers
/// anything, needs the outer tag and the two bytes after it (`VLAN_HLEN + sizeof(unsigned short)` beyond the
/// Ethernet header), and frees shorter frames.
#[must_use]
pub fn stack_discards(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [_, _, _, _, _, _, _, _, _, _, _, _, 0x81, 0x00, ..]
            | [_, _, _, _, _, _, _, _, _, _, _, _, 0x88, 0xa8, ..]
    ) && bytes.len() < 14 + 4 + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_behind_the_frame_and_only_where_it_is_short() {
        let path = RxTransform { padded_to: 60, ..RxTransform::default() };
        let padded = path.arriving(&[7; 14]);
        assert_eq!((&padded[..14], &padded[14..]), (&[7; 14][..], &[0; 46][..]));
        assert!(matches!(path.arriving(&[7; 60]), Cow::Borrowed(bytes) if bytes == [7; 60]));
    }

    #[test]
    fn a_tag_is_stripped_by_its_type() {
        let tagged = |tpid: [u8; 2]| [&[7; 12][..], &tpid, &[0, 5], &[8, 0, 9, 9]].concat();
        let (customer, service) = (tagged([0x81, 0x00]), tagged([0x88, 0xa8]));
        let given =
            |strips, bytes: &[u8]| RxTransform { strips, ..RxTransform::default() }.given(bytes).into_owned();
        let stripped = [&[7; 12][..], &[8, 0, 9, 9]].concat();
        let one = Strips { customer: true, service: false };
        let both = Strips { customer: true, service: true };
        assert_eq!(given(one, &customer), stripped);
        assert_eq!(given(one, &service), service);
        assert_eq!(given(both, &service), stripped);
        assert_eq!(given(both, &[0x81, 0x00]), [0x81, 0x00]);
    }

    #[test]
    fn the_stack_discards_a_tag_without_two_bytes_behind_it() {
        let tagged = |tpid: [u8; 2], length: usize| {
            let mut bytes = vec![0; 12];
            bytes.extend_from_slice(&tpid);
            bytes.resize(length, 0);
            stack_discards(&bytes)
        };
        for tpid in [[0x81, 0x00], [0x88, 0xa8]] {
            assert!(tagged(tpid, 18) && tagged(tpid, 19));
            assert!(!tagged(tpid, 20));
        }
        assert!(!tagged([0x91, 0x00], 18) && !tagged([0x08, 0x00], 18));
    }
}
