//! The counter's map as user space sees it: one definition for the programs, the harness and the scenarios.
//!
//! The map is the one of the kernel's classic `xdp1` sample (`samples/bpf/xdp1_kern.c`): a
//! `BPF_MAP_TYPE_PERCPU_ARRAY` named `rxcnt`, key `u32` = IP protocol number, value 64-bit packet count.

/// Name of the map in the object and in the kernel.
pub const MAP_NAME: &str = "rxcnt";

/// Number of slots: one for each IP protocol number.
pub const SLOTS: u32 = 256;

/// The slot of every frame that is not IP or whose IP header does not fit: [`OTHER`] cannot be told from IPv6
/// hop-by-hop options and IPv4 protocol 0, which count here too.
pub const OTHER: u8 = 0;

/// Name of the program that counts linear frames (`SEC("xdp")`).
pub const COUNT_PROGRAM: &str = "xdproof_count";

/// Name of the program that counts multi-buffer frames too (`SEC("xdp.frags")`).
pub const FRAGS_PROGRAM: &str = "xdproof_frags";

/// Name of the program that only answers `XDP_PASS`: the zero of every cost measurement.
pub const NULL_PROGRAM: &str = "xdproof_null";

/// Name of the program that counts every frame in the slot of its receive queue (`rx_queue_index`), the queues beyond the
/// last slot in that one: it shows over which queues a path spreads frames.
pub const QUEUES_PROGRAM: &str = "xdproof_queues";

/// Name of the tc program of `tools.rs` that pushes [`PUSHED_TAG`] onto every frame, as tc's `vlan push` does.
pub const PUSH_TAG_PROGRAM: &str = "push_tag";

/// The tag that [`PUSH_TAG_PROGRAM`] pushes: TPID and TCI (VID 5), as on the wire.
pub const PUSHED_TAG: [u8; 4] = [0x81, 0x00, 0x00, 0x05];

/// Name of the tc program of `tools.rs` that redirects every frame to the ingress of the device in [`TARGET_GLOBAL`].
pub const TO_INGRESS_PROGRAM: &str = "to_ingress";

/// The tc program that makes frames of at least [`LEAST_FRAME`] bytes of those that leave, as most NICs do; the bytes behind a short
/// one are [`TARGET_GLOBAL`]'s lowest.
pub const PAD_SHORT_PROGRAM: &str = "pad_short";

/// The shortest frame of Ethernet in bytes, without FCS (IEEE 802.3, clause 4A.2.3.2.2).
pub const LEAST_FRAME: usize = 60;

/// The tc program that loses frames with the `EtherType` [`TARGET_GLOBAL`].
pub const LOSE_TYPE_PROGRAM: &str = "lose_type";

/// The tc program that loses frames of more bytes than [`TARGET_GLOBAL`].
pub const LOSE_LONG_PROGRAM: &str = "lose_long";

/// Name of the global in `tools.rs` that has a device's index.
pub const TARGET_GLOBAL: &str = "TARGET";

/// Name of the XDP program of `tools.rs` that inverts the last byte of the source address and passes the frame.
pub const SCRIBBLE_PROGRAM: &str = "scribble";

/// Name of the XDP program of `tools.rs` that notes in [`LENGTHS_MAP`] what it is given of a frame, and passes it.
pub const LENGTHS_PROGRAM: &str = "lengths";

/// The same program for linear frames only.
pub const LINEAR_LENGTHS_PROGRAM: &str = "linear_lengths";

/// Name of the array in `tools.rs` with two 64-bit values, of the last frame: bytes in its linear part, bytes in all.
pub const LENGTHS_MAP: &str = "LENGTHS";

/// Name of the XDP program of `live.rs` that makes each live frame the next of [`TEMPLATES_MAP`] and sends it.
pub const LIVE_PROGRAM: &str = "live_frames";

/// Name of the XDP program of `live.rs` that sends each live frame as it is: the yardstick for the other one.
pub const LIVE_BARE_PROGRAM: &str = "live_bare";

/// Name of the `BPF_MAP_TYPE_DEVMAP` in `live.rs` whose one entry is the port that frames leave by.
pub const PORTS_MAP: &str = "PORTS";

/// Name of the array in `live.rs` with the frames to be sent, [`LIVE_SLOTS`] of [`Template`].
pub const TEMPLATES_MAP: &str = "TEMPLATES";

/// Name of the array in `live.rs` with one [`Cursor`].
pub const CURSOR_MAP: &str = "CURSOR";

/// Frames of different bytes that live frames cycle through, at most.
pub const LIVE_SLOTS: u32 = 64;

/// The shortest live frame in bytes: an Ethernet header (`bpf_test_init()` of `net/bpf/test_run.c`).
pub const LIVE_SHORTEST: u32 = 14;

/// The longest live frame in bytes. A page holds it with `XDP_PACKET_HEADROOM` (256), `struct skb_shared_info` (320) and the
/// kernel's `struct xdp_page_head` (`bpf_prog_test_run_xdp()` of `net/bpf/test_run.c`; 6.18 takes up to 3,408 bytes where a page
/// has 4 KiB).
pub const LIVE_LONGEST: u32 = 3328;

/// A frame to be sent.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Template {
    /// Its length in bytes, [`LIVE_SHORTEST`] to [`LIVE_LONGEST`].
    pub length: u32,
    /// How many times in a row it is sent, at least once.
    pub times: u32,
    /// Its bytes, without FCS, and whatever else behind them.
    pub bytes: [u8; TEMPLATE_ROOM as usize],
}

/// Bytes that a template has room for: a power of two.
pub const TEMPLATE_ROOM: u32 = 4096;

/// Which frame is the next one to be sent.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Cursor {
    /// The slot of its template.
    pub slot: u32,
    /// How many times in a row it was sent.
    pub done: u32,
    /// Slots that are in use, from the first, one at least.
    pub slots: u32,
}

/// IP protocol numbers and their names: IANA's "Assigned Internet Protocol Numbers" keywords in lower case, as far as
/// they are assigned. Sorted by number; slot 0 is called `other` (see [`OTHER`]).
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

/// The name of an IP protocol number, if it has one.
#[must_use]
pub fn protocol_name(number: u8) -> Option<&'static str> {
    NAMES.binary_search_by_key(&number, |entry| entry.0).ok().map(|index| NAMES[index].1)
}

/// The IP protocol number of a name (ASCII case is ignored); `hopopt` is another name of 0.
#[must_use]
pub fn protocol_number(name: &str) -> Option<u8> {
    if name.eq_ignore_ascii_case("hopopt") {
        return Some(0);
    }
    NAMES.iter().find(|entry| entry.1.eq_ignore_ascii_case(name)).map(|entry| entry.0)
}

/// Every named protocol, by number.
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
