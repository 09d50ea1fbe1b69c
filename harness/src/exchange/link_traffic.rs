//! The traffic of a link beside the frames of a trial: probes, and the link-local control frames that devices and switches send by
//! themselves.

use xdproof_scenarios::{DUT_MAC, TESTER_MAC};

/// `EtherType` of all frames that probe a path: the one for local experiments (IEEE 802, clause 9.2.4).
pub const PROBE_TYPE: [u8; 2] = [0x88, 0xb5];

/// `EtherType`s of control frames: LACP and markers of a bond (`PKT_TYPE_LACPDU`, the slow protocols' type), the learning packets of balance-alb
/// (`ETH_P_LOOPBACK`; `alb_send_lp_vid()` of `drivers/net/bonding/bond_alb.c`), and LLDP, which the firmware of some NICs sends, too
/// (IEEE 802.1AB, clause 8).
const CONTROL_TYPES: [[u8; 2]; 3] = [[0x88, 0x09], [0x90, 0x00], [0x88, 0xcc]];

/// The first bytes of the 16 addresses that no bridge forwards (STP's among them; IEEE 802.1Q, table 8-1).
const RESERVED: [u8; 5] = [0x01, 0x80, 0xc2, 0, 0];

/// The destination of CDP.
const CDP: [u8; 6] = [0x01, 0, 0x0c, 0xcc, 0xcc, 0xcc];

/// The protocol number of IGMP: a bridge announces that it snoops (`br_ip4_multicast_join_snoopers()` of `net/bridge/br_multicast.c`),
/// some seconds after it came up.
const IGMP: u8 = 2;

/// IPv6's counterpart of IGMP: a hop-by-hop header with a router alert, and `ICMPv6` behind it (RFC 3810, section 5). A bridge sends
/// queries and reports (`br_ip6_multicast_alloc_query()`, `br_ip6_multicast_join_snoopers()` of `net/bridge/br_multicast.c`).
const HOP_BY_HOP: u8 = 0;
const ICMPV6: u8 = 58;

/// Queries, reports of version 1, listeners that leave, and reports of version 2.
const MLD: [u8; 4] = [130, 131, 132, 143];

/// Returns true if a frame is a link-local control frame: of one of their kinds, and from neither of the two ends of a scenario.
pub fn is_link_control(frame: &[u8]) -> bool {
    let Some((header, rest)) = frame.split_first_chunk::<14>() else { return false };
    let (addresses, kind) = header.split_at(12);
    let (destination, source) = addresses.split_at(6);
    let is_of_an_end = [TESTER_MAC, DUT_MAC].iter().any(|end| source == end);
    let is_igmp = kind == [0x08, 0x00] && rest.get(9) == Some(&IGMP);
    let is_mld = kind == [0x86, 0xdd]
        && rest.get(6) == Some(&HOP_BY_HOP)
        && rest.get(40..42) == Some(&[ICMPV6, 0])
        && rest.get(48).is_some_and(|kind| MLD.contains(kind));
    let is_reserved = destination.starts_with(&RESERVED) && destination[5] <= 0x0f;
    !is_of_an_end
        && (is_igmp
            || is_mld
            || is_reserved
            || destination == CDP
            || CONTROL_TYPES.iter().any(|own| kind == own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_frames_are_told_from_frames_that_an_end_sent() {
        const HOST: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];
        const SOME: [u8; 6] = [0x01, 0, 0x5e, 0, 0, 0x16];
        let frame = |to: [u8; 6], from: [u8; 6], kind: [u8; 2], protocol: u8| {
            let mut bytes = [&to[..], &from, &kind, &[0; 46]].concat();
            bytes[14 + 9] = protocol;
            bytes
        };
        let stp = [0x01, 0x80, 0xc2, 0, 0, 0];
        let control = [
            (SOME, [0x88, 0x09], 0),
            (SOME, [0x90, 0x00], 0),
            (SOME, [0x88, 0xcc], 0),
            (SOME, [0x08, 0x00], IGMP),
            (stp, [0x00, 0x26], 0),
            ([0x01, 0, 0x0c, 0xcc, 0xcc, 0xcc], [0x00, 0x40], 0),
        ];
        for (to, kind, protocol) in control {
            assert!(is_link_control(&frame(to, HOST, kind, protocol)), "{to:x?} {kind:x?}");
            for end in [TESTER_MAC, DUT_MAC] {
                assert!(!is_link_control(&frame(to, end, kind, protocol)), "{to:x?} {kind:x?}");
            }
        }
        assert!(!is_link_control(&frame(SOME, HOST, [0x08, 0x00], 17)) && !is_link_control(&[0; 13]));
        assert!(!is_link_control(&frame(DUT_MAC, HOST, [0x86, 0xdd], IGMP)));
        let group = [0x33, 0x33, 0, 0, 0, 0x16];
        let listener = |kind: u8, from: [u8; 6]| {
            let mut bytes = frame(group, from, [0x86, 0xdd], 0);
            bytes.resize(14 + 60, 0);
            (bytes[14 + 40], bytes[14 + 48]) = (ICMPV6, kind);
            is_link_control(&bytes)
        };
        for kind in MLD {
            assert!(listener(kind, HOST) && !listener(kind, TESTER_MAC), "{kind}");
        }
        // Neighbour discovery is no control of a link's.
        assert!(!listener(135, HOST));
        assert!(!is_link_control(&frame([0x01, 0x80, 0xc2, 0, 0, 0x10], HOST, [0x00, 0x26], 0)));
    }
}
