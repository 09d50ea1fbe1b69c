//! Oracle: the counter's outcome for a frame, computed from the frame's bytes alone.
//!
//! The semantics are those of the kernel's classic `xdp1` sample. Headers are parsed with `etherparse` and never with the
//! classifier that the eBPF programs run: two implementations that agree are evidence, one that agrees with itself is not.

use std::collections::BTreeMap;

use etherparse::{EtherType, Ethernet2Slice, Ipv4Header, Ipv6Header, SingleVlanSlice};
use xdproof_ebpf::abi::OTHER;

use crate::model::Expectation;

/// Most tags that are parsed.
const MAX_TAGS: usize = 2;

/// Offset of the protocol in an IPv4 header (RFC 791 section 3.1).
const IPV4_PROTOCOL: usize = 9;

/// Offset of the next header in an IPv6 header (RFC 8200 section 3).
const IPV6_NEXT_HEADER: usize = 6;

/// Outcome of the counter for one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CounterOutcome {
    /// Counted in this slot, and passed (`XDP_PASS`).
    Counted(u8),
    /// Dropped (`XDP_DROP`), not counted.
    Dropped,
}

/// Computes the outcome for a frame of these bytes.
///
/// Fewer than 14 bytes are [`CounterOutcome::Dropped`], too, although no injector can produce such a frame.
#[must_use]
pub fn outcome(bytes: &[u8]) -> CounterOutcome {
    let Ok(ethernet) = Ethernet2Slice::from_slice_without_fcs(bytes) else { return CounterOutcome::Dropped };
    let (mut ether_type, mut rest) = (ethernet.ether_type(), ethernet.payload_slice());
    for _ in 0..MAX_TAGS {
        if !matches!(ether_type, EtherType::VLAN_TAGGED_FRAME | EtherType::PROVIDER_BRIDGING) {
            break;
        }
        let Ok(tag) = SingleVlanSlice::from_slice(rest) else { return CounterOutcome::Dropped };
        (ether_type, rest) = (tag.ether_type(), tag.payload_slice());
    }
    // Only one byte of the header is read: etherparse's own views of an IP header reject what the counter accepts (version,
    // header length).
    let key = match ether_type {
        EtherType::IPV4 => rest.get(..Ipv4Header::MIN_LEN).map(|header| header[IPV4_PROTOCOL]),
        EtherType::IPV6 => rest.get(..Ipv6Header::LEN).map(|header| header[IPV6_NEXT_HEADER]),
        _ => None,
    };
    CounterOutcome::Counted(key.unwrap_or(OTHER))
}

/// Computes the expectation for frames, each sent `repeat` times.
pub fn expectation<'a>(frames: impl IntoIterator<Item = (&'a [u8], u64)>) -> Expectation {
    let mut expected = Expectation { counts: BTreeMap::new(), passed: 0, dropped: 0 };
    for (bytes, repeat) in frames.into_iter().filter(|(_, repeat)| *repeat > 0) {
        match outcome(bytes) {
            CounterOutcome::Counted(key) => {
                *expected.counts.entry(key).or_default() += repeat;
                expected.passed += repeat;
            }
            CounterOutcome::Dropped => expected.dropped += repeat,
        }
    }
    expected
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::tests::bytes;

    #[track_caller]
    fn assert_key(layers: &str, key: u8) {
        assert_eq!(outcome(&bytes(layers)), CounterOutcome::Counted(key), "{layers}");
    }

    const TAGS: [&str; 6] = [
        "vlan vid = 10",
        "vlan tpid = 0x88a8, vid = 10",
        "vlan tpid = 0x88a8, vid = 100 / vlan vid = 10",
        "vlan vid = 100 / vlan tpid = 0x88a8, vid = 10",
        "vlan vid = 100 / vlan vid = 10",
        "vlan tpid = 0x88a8, vid = 100 / vlan tpid = 0x88a8, vid = 10",
    ];

    #[test]
    fn ipv4_counts_by_its_protocol_byte() {
        for protocol in 0..=u8::MAX {
            assert_key(&format!("ethernet / ipv4 protocol = {protocol}"), protocol);
        }
    }

    #[test]
    fn ipv6_counts_by_its_next_header_byte() {
        for next in 0..=u8::MAX {
            assert_key(&format!("ethernet / ipv6 next_header = {next}"), next);
        }
    }

    #[test]
    fn nothing_of_an_ipv4_header_but_its_protocol_is_read() {
        for fields in [
            "ihl = 15",
            "ihl = 0",
            "version = 6",
            "version = 0",
            "total_length = 0",
            "total_length = 65535",
            "checksum = 0xdead",
            "ttl = 0",
            "more_fragments = true",
            "fragment_offset = 100",
        ] {
            assert_key(&format!("ethernet / ipv4 {fields} / udp"), 17);
        }
    }

    #[test]
    fn nothing_of_an_ipv6_header_but_its_next_header_is_read() {
        for fields in
            ["version = 4", "version = 0", "payload_length = 0", "payload_length = 65535", "hop_limit = 0"]
        {
            assert_key(&format!("ethernet / ipv6 {fields} / udp"), 17);
        }
    }

    #[test]
    fn ipv6_extension_headers_are_not_walked() {
        for (layer, key) in
            [("hop_by_hop", 0), ("routing", 43), ("fragment", 44), ("ah", 51), ("destination_options", 60)]
        {
            assert_key(&format!("ethernet / ipv6 / {layer} / udp"), key);
        }
    }

    #[test]
    fn one_and_two_tags_are_parsed_in_every_order() {
        for tags in TAGS {
            assert_key(&format!("ethernet / {tags} / ipv4 / udp"), 17);
            assert_key(&format!("ethernet / {tags} / ipv6 / tcp"), 6);
            assert_key(&format!("ethernet / {tags} / arp"), 0);
        }
    }

    #[test]
    fn no_bit_of_a_tag_matters() {
        for tag in ["vid = 0, pcp = 7", "vid = 4095", "vid = 4095, pcp = 7, dei = true", "vid = 0"] {
            assert_key(&format!("ethernet / vlan {tag} / ipv4 / udp"), 17);
        }
    }

    #[test]
    fn a_third_tag_and_another_tpid_are_not_parsed() {
        for tags in
            ["vlan / vlan / vlan", "vlan tpid = 0x9100", "vlan tpid = 0x9200", "vlan / vlan tpid = 0x9100"]
        {
            assert_key(&format!("ethernet / {tags} / ipv4 / udp"), 0);
        }
    }

    #[test]
    fn every_other_ether_type_counts_in_slot_0() {
        let mut frame = bytes("ethernet / ipv4 / udp / payload length = 18");
        for ether_type in (0..=u16::MAX).filter(|known| ![0x0800, 0x86dd, 0x8100, 0x88a8].contains(known)) {
            frame[12..14].copy_from_slice(&ether_type.to_be_bytes());
            assert_eq!(outcome(&frame), CounterOutcome::Counted(OTHER), "{ether_type:#06x}");
        }
    }

    /// Checks the outcome at every length, given as ranges: the lengths from one entry to the next share its outcome.
    #[track_caller]
    fn assert_outcomes(layers: &str, outcomes: &[(usize, CounterOutcome)]) {
        let whole = bytes(layers);
        for length in 0..=whole.len() {
            let expected = outcomes.iter().rfind(|(from, _)| *from <= length).unwrap().1;
            assert_eq!(outcome(&whole[..length]), expected, "{length} bytes of {layers}");
        }
    }

    #[test]
    fn each_header_counts_from_the_length_at_which_it_fits() {
        use CounterOutcome::{Counted, Dropped};
        assert_outcomes("ethernet / arp", &[(0, Dropped), (14, Counted(0))]);
        for (net, length) in [("ipv4", 20), ("ipv6", 40)] {
            let outcomes = [(0, Dropped), (14, Counted(0)), (14 + length, Counted(17))];
            assert_outcomes(&format!("ethernet / {net} / udp"), &outcomes);
            for (tags, count) in TAGS.iter().zip([1, 1, 2, 2, 2, 2]) {
                let inner = 14 + 4 * count;
                let outcomes = [(0, Dropped), (inner, Counted(0)), (inner + length, Counted(17))];
                assert_outcomes(&format!("ethernet / {tags} / {net} / udp"), &outcomes);
            }
        }
        // The third tag is not parsed, so it may be truncated.
        assert_outcomes("ethernet / vlan / vlan / vlan / ipv4 / udp", &[(0, Dropped), (22, Counted(0))]);
    }

    #[test]
    fn an_expectation_adds_up_repeats_and_has_no_entry_of_0() {
        let udp = bytes("ethernet / ipv4 / udp");
        let frames = [(udp.as_slice(), 3), (&udp[..20], 2), (&udp[..13], 4), (&udp[..], 2), (&udp[..], 0)];
        let expected = Expectation { counts: [(17, 5), (0, 2)].into(), passed: 7, dropped: 4 };
        assert_eq!(expectation(frames), expected);
        assert_eq!(expectation([(udp.as_slice(), 0)]), Expectation::default());
    }
}
