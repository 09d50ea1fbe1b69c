//! What becomes of a frame between the tester's socket and the program, where that is known and not nothing: the oracle
//! works on the bytes that arrive. Pure.

use std::borrow::Cow;

use xdproof_scenarios::{Frame, Scenario, oracle};

/// What a path does to every frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxTransform {
    /// Shorter frames arrive with zeros behind them, this many bytes long without FCS (IEEE 802.3, clause 4A.2.3.2.2: 60).
    /// 0 where frames arrive as they are.
    pub padded_to: usize,
    /// The device takes the outer tag out of a frame before the program gets it and cannot be kept from doing so; it hands
    /// the tag to the stack beside the frame.
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

/// Where a frame's outer tag begins, and how long it is.
const TAG: std::ops::Range<usize> = 12..16;

impl RxTransform {
    /// Whether frames arrive as they were sent.
    #[must_use]
    pub fn is_faithful(&self) -> bool {
        *self == Self::default()
    }

    /// A frame as it is on the wire, and as the stack has it if the program passes it.
    #[must_use]
    pub fn arriving<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        if bytes.len() >= self.padded_to {
            return Cow::Borrowed(bytes);
        }
        let mut padded = bytes.to_vec();
        padded.resize(self.padded_to, 0);
        Cow::Owned(padded)
    }

    /// What the program gets of a frame that [arrives](Self::arriving).
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

    /// What becomes of a frame that [arrives](Self::arriving) when a counter gets it.
    #[must_use]
    pub fn fate(&self, arriving: &[u8]) -> oracle::CounterOutcome {
        oracle::outcome(&self.given(arriving))
    }

    /// A scenario as it arrives: its frames, and what they must count.
    #[must_use]
    pub fn scenario<'a>(&self, scenario: &'a Scenario) -> Cow<'a, Scenario> {
        if self.is_faithful() || scenario.is_unreachable() {
            return Cow::Borrowed(scenario);
        }
        let mut arriving = scenario.clone();
        for frame in &mut arriving.frames {
            frame.bytes = self.arriving(&frame.bytes).into_owned();
        }
        let given: Vec<(Vec<u8>, u64)> = arriving
            .frames
            .iter()
            .map(|Frame { bytes, repeat, .. }| (self.given(bytes).into_owned(), u64::from(*repeat)))
            .collect();
        arriving.expect = oracle::expectation(given.iter().map(|(bytes, times)| (bytes.as_slice(), *times)));
        Cow::Owned(arriving)
    }
}

/// Whether the kernel's stack discards a frame before any socket sees it, although XDP has passed it.
///
/// Source: `skb_vlan_untag` in `net/core/skbuff.c`, which `__netif_receive_skb_core` calls before it delivers anything, wants
/// the outer tag and the two bytes behind it (`VLAN_HLEN + sizeof(unsigned short)` beyond the Ethernet header), and frees
/// what is shorter.
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

    fn scenario(id: &str) -> Scenario {
        let corpus = xdproof_scenarios::load::builtin().unwrap();
        corpus.into_iter().find(|scenario| scenario.id.to_string() == id).unwrap()
    }

    #[test]
    fn a_faithful_path_changes_nothing() {
        for scenario in &xdproof_scenarios::load::builtin().unwrap() {
            assert!(
                matches!(RxTransform::default().scenario(scenario), Cow::Borrowed(same) if same == scenario)
            );
        }
    }

    #[test]
    fn padding_is_behind_the_frame_and_only_where_it_is_short() {
        let path = RxTransform { padded_to: 60, ..RxTransform::default() };
        let padded = path.arriving(&[7; 14]);
        assert_eq!((&padded[..14], &padded[14..]), (&[7; 14][..], &[0; 46][..]));
        assert!(matches!(path.arriving(&[7; 60]), Cow::Borrowed(bytes) if bytes == [7; 60]));
    }

    /// An IPv4 frame whose header is cut counts as "other"; with zeros behind it there is a whole header again.
    #[test]
    fn what_is_expected_follows_from_the_padded_bytes() {
        let path = RxTransform { padded_to: 60, ..RxTransform::default() };
        let changed = xdproof_scenarios::load::builtin()
            .unwrap()
            .iter()
            .filter(|sent| path.scenario(sent).expect != sent.expect)
            .count();
        assert!(changed > 5, "{changed}");
        let unpadded = scenario("vlan/qinq_full_mtu");
        assert_eq!(path.scenario(&unpadded).expect, unpadded.expect);
    }

    #[test]
    fn a_stripped_tag_is_in_what_the_stack_has_and_not_in_what_the_program_gets() {
        let sent = scenario("vlan/qinq_ipv4_udp");
        let customer =
            RxTransform { strips: Strips { customer: true, service: false }, ..RxTransform::default() };
        let both = RxTransform { strips: Strips { customer: true, service: true }, ..RxTransform::default() };
        let bytes = &sent.frames[0].bytes;
        assert_eq!(&*customer.given(bytes), bytes.as_slice());
        assert_eq!(&*both.given(bytes), [&bytes[..12], &bytes[16..]].concat());
        let arriving = both.scenario(&sent);
        assert_eq!(arriving.frames, sent.frames);
        assert_eq!(arriving.expect, sent.expect);
    }

    /// With three tags the third is not opened, unless the device has taken the first one out.
    #[test]
    fn a_stripped_tag_lets_the_program_see_one_more() {
        let mut sent = scenario("vlan/qinq_ipv4_udp");
        for frame in &mut sent.frames {
            frame.bytes.splice(12..12, [0x81, 0x00, 0x00, 0x05]);
        }
        let strips =
            RxTransform { strips: Strips { customer: true, service: false }, ..RxTransform::default() };
        let times = sent.sent();
        assert_eq!(strips.scenario(&sent).expect.counts, [(17, times)].into());
        let counted: Vec<_> = sent.frames.iter().map(|frame| oracle::outcome(&frame.bytes)).collect();
        assert!(counted.iter().all(|fate| *fate == oracle::CounterOutcome::Counted(0)));
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
