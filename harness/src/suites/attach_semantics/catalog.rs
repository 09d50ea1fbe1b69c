//! The facts about attaching and about differences between the modes, a row each. A case names the row that it covers, and a row
//! that no case can cover here has a reason.

/// Defines the rows of a list, and the list.
macro_rules! rows {
    ($(#[$doc:meta])* $list:ident { $($row:ident = $text:literal,)+ }) => {
        $(pub(super) const $row: &str = $text;)+

        $(#[$doc])*
        pub const $list: &[&str] = &[$($row),+];
    };
}

rows! {
    /// Replies of the kernel to each way of attaching, and the lifetime of an attachment.
    ATTACHING {
        AGAIN = "same mode again, no flags (netlink)",
        IF_NO_EXIST = "same mode + `XDP_FLAGS_UPDATE_IF_NOEXIST`",
        OTHER_MODE = "the other software mode while one is attached",
        REPLACE = "`XDP_FLAGS_REPLACE` with the wrong expected program",
        TWO_MODES = "two mode bits",
        OFFLOAD = "offload on veth / on lo",
        NATIVE_NOWHERE = "native on lo, bridge, ifb, dummy",
        NO_MODE_LO = "no mode on lo",
        NO_MODE_GENERIC = "no mode while generic is attached on a native-capable device",
        DETACH_NO_MODE = "detach with no mode while generic is attached",
        DETACH_WRONG = "detach in the wrong mode, or twice",
        SECOND_LINK = "a second `bpf_link`, same mode / other mode",
        NETLINK_OVER_LINK = "netlink attach or detach over a `bpf_link`",
        LINK_OVER_NETLINK = "`bpf_link` over a netlink program",
        LINK_IF_NO_EXIST = "`bpf_link_create` with `UPDATE_IF_NOEXIST`",
        STALE = "`bpf_link_update` with a stale old program",
        PEER_TOO_LARGE = "native on veth with a peer MTU above 3,506 (4 KiB pages), non-frags",
        PEER_MAXIMUM = "while a native program is attached, the peer's maximum MTU is 3,506 (frags: 73,138)",
        TOO_FEW_QUEUES = "veth with fewer rx queues than its peer has tx queues",
        VIRTIO_GUEST_OFFLOADS = "virtio-net with guest TSO/CSUM and no control queue for guest offloads",
        VIRTIO_LIMITS = "virtio-net, MTU too large / too few queues",
        LIVES = "a netlink attachment outlives its process and a move to another namespace; a `bpf_link` \
            dies with its last descriptor",
        ADVERTISED = "advertised features",
        REPLACED = "program replaced under traffic without losing a count",
    }
}

rows! {
    /// Differences between generic and native mode with the same packets.
    DIFFERENCES {
        GSO = "one 14,534-byte GSO skb of 10 segments (PACKET_VNET_HDR)",
        TCP = "8 MiB of TCP through a veth pair",
        TAG_ON = "a tag pushed by tc with txvlan on",
        TAG_OFF = "a tag pushed by tc with txvlan off",
        INGRESS = "`bpf_redirect(…, BPF_F_INGRESS)` to the device",
        JUMBO = "9,014-byte frame, non-frags program",
        JUMBO_FRAGS = "9,014-byte frame, frags program",
        VIRTIO_CHECKSUM = "virtio-net with NEEDS_CSUM",
        TAP = "tap, frame larger than a page",
        GRO = "GRO/LRO",
        SKBS = "cloned and non-linear skbs",
    }
}

/// Rows without a case here, and the reason.
pub const ELSEWHERE: &[(&str, &str)] = &[
    (
        VIRTIO_GUEST_OFFLOADS,
        "needs a virtio-net behind a tap without `ctrl_guest_offloads`, which only a VM has",
    ),
    (VIRTIO_LIMITS, "needs a virtio-net, which only a VM has"),
    (VIRTIO_CHECKSUM, "needs a virtio-net behind a tap that leaves checksums out, which only a VM has"),
];
