//! The facts about attaching and about differences between the modes, a row each. A case names the row that it covers, and a row
//! that no case can cover here has a reason.

pub(super) const AGAIN: &str = "same mode again, no flags (netlink)";
pub(super) const IF_NO_EXIST: &str = "same mode + `XDP_FLAGS_UPDATE_IF_NOEXIST`";
pub(super) const OTHER_MODE: &str = "the other software mode while one is attached";
pub(super) const REPLACE: &str = "`XDP_FLAGS_REPLACE` with the wrong expected program";
pub(super) const TWO_MODES: &str = "two mode bits";
pub(super) const OFFLOAD: &str = "offload on veth / on lo";
pub(super) const NATIVE_NOWHERE: &str = "native on lo, bridge, ifb, dummy";
pub(super) const NO_MODE_LO: &str = "no mode on lo";
pub(super) const NO_MODE_GENERIC: &str = "no mode while generic is attached on a native-capable device";
pub(super) const DETACH_NO_MODE: &str = "detach with no mode while generic is attached";
pub(super) const DETACH_WRONG: &str = "detach in the wrong mode, or twice";
pub(super) const SECOND_LINK: &str = "a second `bpf_link`, same mode / other mode";
pub(super) const NETLINK_OVER_LINK: &str = "netlink attach or detach over a `bpf_link`";
pub(super) const LINK_OVER_NETLINK: &str = "`bpf_link` over a netlink program";
pub(super) const LINK_IF_NO_EXIST: &str = "`bpf_link_create` with `UPDATE_IF_NOEXIST`";
pub(super) const STALE: &str = "`bpf_link_update` with a stale old program";
pub(super) const PEER_TOO_LARGE: &str = "native on veth with a peer MTU above 3,506 (4 KiB pages), non-frags";
pub(super) const PEER_MAXIMUM: &str =
    "while a native program is attached, the peer's maximum MTU is 3,506 (frags: 73,138)";
pub(super) const TOO_FEW_QUEUES: &str = "veth with fewer rx queues than its peer has tx queues";
const VIRTIO_GUEST_OFFLOADS: &str = "virtio-net with guest TSO/CSUM and no control queue for guest offloads";
const VIRTIO_LIMITS: &str = "virtio-net, MTU too large / too few queues";
pub(super) const LIVES: &str = "a netlink attachment outlives its process and a move to another namespace; a `bpf_link` \
                                dies with its last descriptor";
pub(super) const ADVERTISED: &str = "advertised features";
pub(super) const REPLACED: &str = "program replaced under traffic without losing a count";

pub(super) const GSO: &str = "one 14,534-byte GSO skb of 10 segments (PACKET_VNET_HDR)";
pub(super) const TCP: &str = "8 MiB of TCP through a veth pair";
pub(super) const TAG_ON: &str = "a tag pushed by tc with txvlan on";
pub(super) const TAG_OFF: &str = "a tag pushed by tc with txvlan off";
pub(super) const INGRESS: &str = "`bpf_redirect(…, BPF_F_INGRESS)` to the device";
pub(super) const JUMBO: &str = "9,014-byte frame, non-frags program";
pub(super) const JUMBO_FRAGS: &str = "9,014-byte frame, frags program";
const VIRTIO_CHECKSUM: &str = "virtio-net with NEEDS_CSUM";
pub(super) const TAP: &str = "tap, frame larger than a page";
pub(super) const GRO: &str = "GRO/LRO";
pub(super) const SKBS: &str = "cloned and non-linear skbs";

/// Replies of the kernel to each way of attaching, and the lifetime of an attachment.
pub const ATTACHING: &[&str] = &[
    AGAIN,
    IF_NO_EXIST,
    OTHER_MODE,
    REPLACE,
    TWO_MODES,
    OFFLOAD,
    NATIVE_NOWHERE,
    NO_MODE_LO,
    NO_MODE_GENERIC,
    DETACH_NO_MODE,
    DETACH_WRONG,
    SECOND_LINK,
    NETLINK_OVER_LINK,
    LINK_OVER_NETLINK,
    LINK_IF_NO_EXIST,
    STALE,
    PEER_TOO_LARGE,
    PEER_MAXIMUM,
    TOO_FEW_QUEUES,
    VIRTIO_GUEST_OFFLOADS,
    VIRTIO_LIMITS,
    LIVES,
    ADVERTISED,
    REPLACED,
];

/// Differences between generic and native mode with the same packets.
pub const DIFFERENCES: &[&str] =
    &[GSO, TCP, TAG_ON, TAG_OFF, INGRESS, JUMBO, JUMBO_FRAGS, VIRTIO_CHECKSUM, TAP, GRO, SKBS];

/// Rows without a case here, and the reason.
pub const ELSEWHERE: &[(&str, &str)] = &[
    (
        VIRTIO_GUEST_OFFLOADS,
        "needs a virtio-net behind a tap without `ctrl_guest_offloads`, which only a VM has",
    ),
    (VIRTIO_LIMITS, "needs a virtio-net, which only a VM has"),
    (VIRTIO_CHECKSUM, "needs a virtio-net behind a tap that leaves checksums out, which only a VM has"),
];
