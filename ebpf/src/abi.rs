//! ABI between the programs and user space: names of programs, maps and globals, and the layout of their values. Programs,
//! harness and scenarios share this one definition.
//!
//! The counter's map is the one of the kernel's classic `xdp1` sample (`samples/bpf/xdp1_kern.c`): a
//! `BPF_MAP_TYPE_PERCPU_ARRAY` named `rxcnt`, key `u32` = IP protocol number, value 64-bit packet count.

/// Name of the counter's map.
pub const MAP_NAME: &str = "rxcnt";

/// Name of the array in which the mutants `racy*` count, on all CPUs together.
pub const SHARED_MAP: &str = "shared";

/// Slots of the counter's map, one for each IP protocol number.
pub const SLOTS: u32 = 256;

/// Slot of frames that are not IP or whose IP header is truncated. IPv6 hop-by-hop options and IPv4 protocol 0 count here,
/// too.
pub const OTHER: u8 = 0;

/// Counter of linear frames (`SEC("xdp")`).
pub const COUNT_PROGRAM: &str = "xdproof_count";

/// Counter of linear and multi-buffer frames (`SEC("xdp.frags")`).
pub const FRAGS_PROGRAM: &str = "xdproof_frags";

/// Program that only returns `XDP_PASS`: the zero point of cost measurements.
pub const NULL_PROGRAM: &str = "xdproof_null";

/// Program that counts every frame in the slot of its receive queue (`rx_queue_index`), queues beyond the last slot in that
/// one: it shows the queues that a path spreads frames over.
pub const QUEUES_PROGRAM: &str = "xdproof_queues";

/// The tc program that pushes [`PUSHED_TAG`] onto every frame, as tc's `vlan push` does.
pub const PUSH_TAG_PROGRAM: &str = "push_tag";

/// Tag that [`PUSH_TAG_PROGRAM`] pushes: TPID and TCI (VID 5) in network order.
pub const PUSHED_TAG: [u8; 4] = [0x81, 0x00, 0x00, 0x05];

/// The tc program that redirects every frame to the ingress of the device in [`TARGET_GLOBAL`].
pub const TO_INGRESS_PROGRAM: &str = "to_ingress";

/// The tc program that pads frames to [`MIN_FRAME`] bytes, as most NICs do on transmit, with the low byte of
/// [`TARGET_GLOBAL`].
pub const PAD_SHORT_PROGRAM: &str = "pad_short";

/// Shortest Ethernet frame in bytes, without FCS (IEEE 802.3, clause 4A.2.3.2.2).
pub const MIN_FRAME: usize = 60;

/// The tc program that loses frames with the `EtherType` in [`TARGET_GLOBAL`].
pub const LOSE_TYPE_PROGRAM: &str = "lose_type";

/// The tc program that loses frames longer than [`TARGET_GLOBAL`] bytes.
pub const LOSE_LONG_PROGRAM: &str = "lose_long";

/// Global of the tools that holds a parameter: an interface index, a byte, an `EtherType` or a length.
pub const TARGET_GLOBAL: &str = "TARGET";

/// XDP program that inverts the last byte of the source address and passes the frame.
pub const SCRIBBLE_PROGRAM: &str = "scribble";

/// XDP program that stores the lengths of a frame in [`LENGTHS_MAP`] and passes it, of linear and multi-buffer frames.
pub const LENGTHS_PROGRAM: &str = "lengths";

/// Like [`LENGTHS_PROGRAM`], for linear frames only.
pub const LINEAR_LENGTHS_PROGRAM: &str = "linear_lengths";

/// Array of two 64-bit values of the last frame: bytes in its linear part, bytes in total.
pub const LENGTHS_MAP: &str = "LENGTHS";

/// XDP program that turns each live frame into the next of [`TEMPLATES_MAP`] and transmits it.
pub const LIVE_PROGRAM: &str = "live_frames";

/// XDP program that transmits each live frame unmodified: the baseline for [`LIVE_PROGRAM`].
pub const LIVE_BARE_PROGRAM: &str = "live_bare";

/// Devmap (`BPF_MAP_TYPE_DEVMAP`) whose one entry is the port that live frames are transmitted from.
pub const PORTS_MAP: &str = "PORTS";

/// Array of the frames to transmit, [`LIVE_SLOTS`] of [`Template`].
pub const TEMPLATES_MAP: &str = "TEMPLATES";

/// Array of one [`Cursor`].
pub const CURSOR_MAP: &str = "CURSOR";

/// Most templates that live frames cycle through.
pub const LIVE_SLOTS: u32 = 64;

/// Shortest live frame in bytes: an Ethernet header (`bpf_test_init()` of `net/bpf/test_run.c`).
pub const LIVE_SHORTEST: u32 = 14;

/// Longest live frame in bytes. A page holds it with `XDP_PACKET_HEADROOM` (256), `struct skb_shared_info` (320) and the
/// kernel's `struct xdp_page_head` (`bpf_prog_test_run_xdp()` of `net/bpf/test_run.c`; 6.18 takes up to 3,408 bytes with pages
/// of 4 KiB).
pub const LIVE_LONGEST: u32 = 3328;

/// A live frame to transmit.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Template {
    /// Length in bytes, [`LIVE_SHORTEST`] to [`LIVE_LONGEST`].
    pub length: u32,
    /// Times in a row that it is transmitted, at least 1.
    pub times: u32,
    /// Bytes of the frame without FCS; those behind its length are ignored.
    pub bytes: [u8; TEMPLATE_ROOM as usize],
}

/// Capacity of a template in bytes: a power of two.
pub const TEMPLATE_ROOM: u32 = 4096;

/// Position of the next live frame in the templates.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Cursor {
    /// Index of its template.
    pub slot: u32,
    /// Times in a row that it was transmitted.
    pub done: u32,
    /// Templates in use, from the first; at least 1.
    pub slots: u32,
}

/// Names of IP protocol numbers: the keywords of IANA's "Assigned Internet Protocol Numbers" in lower case, sorted by
/// number; 0 is called `other` (see [`OTHER`]).
const NAMES: &[(u8, &str)] = &[
    (0, "other"),
    (1, "icmp"),
    (2, "igmp"),
    (3, "ggp"),
    (4, "ipv4"),
    (5, "st"),
    (6, "tcp"),
    (7, "cbt"),
    (8, "egp"),
    (9, "igp"),
    (12, "pup"),
    (17, "udp"),
    (20, "hmp"),
    (22, "xns-idp"),
    (27, "rdp"),
    (29, "iso-tp4"),
    (33, "dccp"),
    (36, "xtp"),
    (41, "ipv6"),
    (43, "ipv6-route"),
    (44, "ipv6-frag"),
    (45, "idrp"),
    (46, "rsvp"),
    (47, "gre"),
    (48, "dsr"),
    (50, "esp"),
    (51, "ah"),
    (55, "min-ipv4"),
    (57, "skip"),
    (58, "icmpv6"),
    (59, "ipv6-nonxt"),
    (60, "ipv6-opts"),
    (73, "cphb"),
    (80, "iso-ip"),
    (81, "vmtp"),
    (88, "eigrp"),
    (89, "ospf"),
    (93, "ax.25"),
    (94, "ipip"),
    (97, "etherip"),
    (98, "encap"),
    (103, "pim"),
    (108, "ipcomp"),
    (112, "vrrp"),
    (115, "l2tp"),
    (124, "isis"),
    (132, "sctp"),
    (133, "fc"),
    (135, "mobility"),
    (136, "udplite"),
    (137, "mpls-in-ip"),
    (138, "manet"),
    (139, "hip"),
    (140, "shim6"),
    (141, "wesp"),
    (142, "rohc"),
    (143, "ethernet"),
    (144, "aggfrag"),
    (145, "nsh"),
    (253, "experiment1"),
    (254, "experiment2"),
    (255, "reserved"),
];

/// Returns the name of an IP protocol number, if it has one.
#[must_use]
pub fn protocol_name(number: u8) -> Option<&'static str> {
    NAMES.binary_search_by_key(&number, |entry| entry.0).ok().map(|index| NAMES[index].1)
}

/// Returns the IP protocol number of a name (ASCII case is ignored); `hopopt` is another name of 0.
#[must_use]
pub fn protocol_number(name: &str) -> Option<u8> {
    if name.eq_ignore_ascii_case("hopopt") {
        return Some(0);
    }
    NAMES.iter().find(|entry| entry.1.eq_ignore_ascii_case(name)).map(|entry| entry.0)
}

/// Lists the named protocols by number.
pub fn protocols() -> impl Iterator<Item = (u8, &'static str)> {
    NAMES.iter().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_by_number_and_unique() {
        for pair in NAMES.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{pair:?}");
        }
        for (number, name) in protocols() {
            assert_eq!(protocol_number(name), Some(number), "{name}");
            assert_eq!(protocol_name(number), Some(name));
        }
    }

    #[test]
    fn a_name_is_found_in_any_case_and_an_unknown_one_is_not() {
        assert_eq!(protocol_number("UDP"), Some(17));
        assert_eq!(protocol_number("HopOpt"), Some(0));
        assert_eq!(protocol_number("udp4"), None);
        assert_eq!(protocol_name(200), None);
    }
}
