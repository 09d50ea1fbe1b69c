//! What the kernel answers to each way of attaching: a rule a row of `ATTACHING` and way of attaching.
//!
//! Answers and sentences are those of Linux 6.18 (`dev_xdp_attach()`, `bpf_xdp_link_attach()` and
//! `bpf_xdp_link_update()` of `net/core/dev.c`; `veth_xdp_set()` of `drivers/net/veth.c`). The kernel tells a caller of
//! `bpf(2)` an errno and no sentence.

use rustix::io::Errno as E;
use xdproof_netns::{VirtualKind, XdpMode};

use crate::suites::attach_semantics::{
    case::{Act, Answer, Errno, Ground, How, If, Rule, Step, Then, Which},
    catalog::{
        ADVERTISED, AGAIN, DETACH_NO_MODE, DETACH_WRONG, IF_NO_EXIST, LINK_IF_NO_EXIST, LINK_OVER_NETLINK,
        LIVES, NATIVE_NOWHERE, NETLINK_OVER_LINK, NO_MODE_GENERIC, NO_MODE_LO, OFFLOAD, OTHER_MODE,
        PEER_MAXIMUM, PEER_TOO_LARGE, REPLACE, REPLACED, SECOND_LINK, STALE, TOO_FEW_QUEUES, TWO_MODES,
    },
    lifetime::{self, Holding},
    mode_cases,
};
use Act::{
    Clear, Close, Delete, Link, LinkIfNone, Move, Netlink, PeerMtu, ReadFeatures, ReadLinkDevice,
    ReadPeerFeatures, ReadPeerMaxMtu, Up, Update,
};
use If::{Always, NoneIsThere, ThisIsThere};
use Then::{Has, NoDevice, Nothing};
use Which::{First, Frags, Second};
use XdpMode::{Generic, Native, Offload};

const NO_MODE: &[XdpMode] = &[];
const G: &[XdpMode] = &[Generic];
const N: &[XdpMode] = &[Native];
const HW: &[XdpMode] = &[Offload];
const TWO: &[XdpMode] = &[Generic, Native];

const ALREADY: &str = "XDP program already attached";
const BOTH: &str = "Native and generic XDP can't be active at the same time";
const OTHER: &str = "Active program does not match expected";
const NO_NATIVE: &str = "Underlying driver does not support XDP in native mode";
const LINKED: &str = "Can't replace active BPF XDP link";
// `KBUILD_MODNAME` stands before a sentence of a driver (`NL_SET_ERR_MSG_MOD`).
const PEER_MTU: &str = "veth: Peer MTU is too large to set XDP";
const QUEUES: &str = "veth: XDP expects number of rx queues not less than peer tx queues";

const MAXIMUM: &str = "mtu greater than device maximum";

/// The veth limit of a peer's MTU for linear programs: 4 KiB pages less headroom, tail room and headers
/// (`veth_xdp_set()`).
const PEER_LIMIT: u32 = 3506;
/// The same with fragments (`MAX_SKB_FRAGS` pages more).
const FRAGS_LIMIT: u32 = 73_138;
/// `ETH_MAX_MTU`: without a program.
const NO_LIMIT: u32 = 65_535;

const ONE_QUEUE: Ground = Ground::Veth { rx: 1, peer_tx: 1 };

const fn done(act: Act, then: Then) -> Step {
    Step { act, answer: Answer::Done, then }
}

const fn refused(act: Act, errno: E, sentence: Option<&'static str>, then: Then) -> Step {
    Step { act, answer: Answer::Refused(Errno(errno), sentence), then }
}

const fn rule(id: &'static str, row: &'static str, ground: Ground, steps: &'static [Step]) -> Rule {
    Rule { id, row, ground, how: How::Steps(steps) }
}

/// Every rule.
#[must_use]
pub fn table() -> Vec<Rule> {
    let mut rules = RULES.to_vec();
    rules.extend([
        Rule {
            id: "attach/outlives_its_process::netlink",
            row: LIVES,
            ground: Ground::Device,
            how: How::Killed(Holding::Netlink),
        },
        Rule {
            id: "attach/dies_with_its_process::bpf_link",
            row: LIVES,
            ground: Ground::Device,
            how: How::Killed(Holding::BpfLink),
        },
        Rule {
            id: "attach/deleting_the_device_lets_the_program_go::netlink",
            row: LIVES,
            ground: Ground::Expendable,
            how: How::Code(lifetime::deleted_with_the_last_hold),
        },
        Rule {
            id: "attach/tap_advertises_0x7::netlink",
            row: ADVERTISED,
            ground: ONE_QUEUE,
            how: How::Code(|stand| mode_cases::tap_features(stand, 0x7)),
        },
        Rule {
            id: "attach/replacing_generic_under_traffic_loses_no_count::netlink",
            row: REPLACED,
            ground: ONE_QUEUE,
            how: How::Code(|stand| lifetime::replaced(stand, Holding::Netlink, Generic)),
        },
        Rule {
            id: "attach/replacing_native_under_traffic_loses_no_count::netlink",
            row: REPLACED,
            ground: ONE_QUEUE,
            how: How::Code(|stand| lifetime::replaced(stand, Holding::Netlink, Native)),
        },
        Rule {
            id: "attach/replacing_generic_under_traffic_loses_no_count::bpf_link",
            row: REPLACED,
            ground: ONE_QUEUE,
            how: How::Code(|stand| lifetime::replaced(stand, Holding::BpfLink, Generic)),
        },
        Rule {
            id: "attach/replacing_native_under_traffic_loses_no_count::bpf_link",
            row: REPLACED,
            ground: ONE_QUEUE,
            how: How::Code(|stand| lifetime::replaced(stand, Holding::BpfLink, Native)),
        },
    ]);
    rules
}

const RULES: &[Rule] = &[
    rule(
        "attach/same_mode_again_replaces_generic::netlink",
        AGAIN,
        Ground::Device,
        &[
            done(Netlink(First, G, Always), Has(Generic, First)),
            done(Netlink(Second, G, Always), Has(Generic, Second)),
        ],
    ),
    rule(
        "attach/same_mode_again_replaces_native::netlink",
        AGAIN,
        Ground::NativeDevice,
        &[
            done(Netlink(First, N, Always), Has(Native, First)),
            done(Netlink(Second, N, Always), Has(Native, Second)),
        ],
    ),
    rule(
        "attach/if_no_exist_is_refused_over_generic::netlink",
        IF_NO_EXIST,
        Ground::Device,
        &[
            done(Netlink(First, G, NoneIsThere), Has(Generic, First)),
            refused(Netlink(Second, G, NoneIsThere), E::BUSY, Some(ALREADY), Has(Generic, First)),
        ],
    ),
    rule(
        "attach/if_no_exist_is_refused_over_native::netlink",
        IF_NO_EXIST,
        Ground::NativeDevice,
        &[
            done(Netlink(First, N, NoneIsThere), Has(Native, First)),
            refused(Netlink(Second, N, NoneIsThere), E::BUSY, Some(ALREADY), Has(Native, First)),
        ],
    ),
    rule(
        "attach/native_over_generic_is_refused::netlink",
        OTHER_MODE,
        Ground::NativeDevice,
        &[
            done(Netlink(First, G, Always), Has(Generic, First)),
            refused(Netlink(Second, N, Always), E::EXIST, Some(BOTH), Has(Generic, First)),
            done(Clear(Some(Generic)), Nothing),
            done(Netlink(Second, N, Always), Has(Native, Second)),
        ],
    ),
    rule(
        "attach/generic_over_native_is_refused::netlink",
        OTHER_MODE,
        Ground::NativeDevice,
        &[
            done(Netlink(First, N, Always), Has(Native, First)),
            refused(Netlink(Second, G, Always), E::EXIST, Some(BOTH), Has(Native, First)),
            done(Clear(Some(Native)), Nothing),
            done(Netlink(Second, G, Always), Has(Generic, Second)),
        ],
    ),
    rule(
        "attach/native_over_generic_is_refused::bpf_link",
        OTHER_MODE,
        Ground::NativeDevice,
        &[
            done(Netlink(First, G, Always), Has(Generic, First)),
            refused(Link(Second, N), E::EXIST, None, Has(Generic, First)),
        ],
    ),
    rule(
        "attach/generic_over_native_is_refused::bpf_link",
        OTHER_MODE,
        Ground::NativeDevice,
        &[
            done(Netlink(First, N, Always), Has(Native, First)),
            refused(Link(Second, G), E::EXIST, None, Has(Native, First)),
        ],
    ),
    rule(
        "attach/only_the_expected_program_is_replaced::netlink",
        REPLACE,
        Ground::Device,
        &[
            done(Netlink(First, G, Always), Has(Generic, First)),
            refused(Netlink(Second, G, ThisIsThere(Second)), E::EXIST, Some(OTHER), Has(Generic, First)),
            done(Netlink(Second, G, ThisIsThere(First)), Has(Generic, Second)),
            refused(Netlink(First, G, ThisIsThere(First)), E::EXIST, Some(OTHER), Has(Generic, Second)),
        ],
    ),
    rule(
        "attach/two_modes_are_refused::netlink",
        TWO_MODES,
        Ground::NativeDevice,
        &[refused(Netlink(First, TWO, Always), E::INVAL, None, Nothing)],
    ),
    rule(
        "attach/two_modes_are_refused::bpf_link",
        TWO_MODES,
        Ground::NativeDevice,
        &[refused(Link(First, TWO), E::INVAL, None, Nothing)],
    ),
    rule(
        "attach/offload_on_veth_is_refused::netlink",
        OFFLOAD,
        ONE_QUEUE,
        &[refused(Netlink(First, HW, Always), E::INVAL, None, Nothing)],
    ),
    rule(
        "attach/offload_on_veth_is_refused::bpf_link",
        OFFLOAD,
        ONE_QUEUE,
        &[refused(Link(First, HW), E::INVAL, None, Nothing)],
    ),
    rule(
        "attach/offload_on_lo_is_refused::netlink",
        OFFLOAD,
        Ground::Loopback,
        &[refused(Netlink(First, HW, Always), E::OPNOTSUPP, Some(NO_NATIVE), Nothing)],
    ),
    rule(
        "attach/offload_on_lo_is_refused::bpf_link",
        OFFLOAD,
        Ground::Loopback,
        &[refused(Link(First, HW), E::OPNOTSUPP, None, Nothing)],
    ),
    rule("attach/native_on_lo_is_refused::netlink", NATIVE_NOWHERE, Ground::Loopback, NATIVE_BY_NETLINK),
    rule("attach/native_on_lo_is_refused::bpf_link", NATIVE_NOWHERE, Ground::Loopback, NATIVE_BY_LINK),
    rule("attach/native_on_bridge_is_refused::netlink", NATIVE_NOWHERE, BRIDGE, NATIVE_BY_NETLINK),
    rule("attach/native_on_bridge_is_refused::bpf_link", NATIVE_NOWHERE, BRIDGE, NATIVE_BY_LINK),
    rule("attach/native_on_ifb_is_refused::netlink", NATIVE_NOWHERE, IFB, NATIVE_BY_NETLINK),
    rule("attach/native_on_ifb_is_refused::bpf_link", NATIVE_NOWHERE, IFB, NATIVE_BY_LINK),
    rule("attach/native_on_dummy_is_refused::netlink", NATIVE_NOWHERE, DUMMY, NATIVE_BY_NETLINK),
    rule("attach/native_on_dummy_is_refused::bpf_link", NATIVE_NOWHERE, DUMMY, NATIVE_BY_LINK),
    rule(
        "attach/no_mode_on_lo_is_generic::netlink",
        NO_MODE_LO,
        Ground::Loopback,
        &[done(Netlink(First, NO_MODE, Always), Has(Generic, First))],
    ),
    rule(
        "attach/no_mode_on_lo_is_generic::bpf_link",
        NO_MODE_LO,
        Ground::Loopback,
        &[done(Link(First, NO_MODE), Has(Generic, First)), done(Close, Nothing)],
    ),
    rule(
        "attach/no_mode_over_generic_is_refused::netlink",
        NO_MODE_GENERIC,
        Ground::NativeDevice,
        &[
            done(Netlink(First, G, Always), Has(Generic, First)),
            refused(Netlink(Second, NO_MODE, Always), E::EXIST, Some(BOTH), Has(Generic, First)),
        ],
    ),
    rule(
        "attach/no_mode_over_generic_is_refused::bpf_link",
        NO_MODE_GENERIC,
        Ground::NativeDevice,
        &[
            done(Netlink(First, G, Always), Has(Generic, First)),
            refused(Link(Second, NO_MODE), E::EXIST, None, Has(Generic, First)),
        ],
    ),
    rule(
        "attach/detach_with_no_mode_leaves_generic::netlink",
        DETACH_NO_MODE,
        Ground::NativeDevice,
        &[
            done(Netlink(First, G, Always), Has(Generic, First)),
            done(Clear(None), Has(Generic, First)),
            done(Clear(Some(Generic)), Nothing),
        ],
    ),
    rule(
        "attach/detach_in_the_wrong_mode_does_nothing::netlink",
        DETACH_WRONG,
        Ground::NativeDevice,
        &[
            done(Netlink(First, G, Always), Has(Generic, First)),
            done(Clear(Some(Native)), Has(Generic, First)),
            done(Clear(Some(Generic)), Nothing),
            done(Netlink(Second, N, Always), Has(Native, Second)),
            done(Clear(Some(Generic)), Has(Native, Second)),
            done(Clear(Some(Native)), Nothing),
        ],
    ),
    rule(
        "attach/detach_twice_does_nothing::netlink",
        DETACH_WRONG,
        Ground::Device,
        &[
            done(Netlink(First, G, Always), Has(Generic, First)),
            done(Clear(Some(Generic)), Nothing),
            done(Clear(Some(Generic)), Nothing),
        ],
    ),
    rule(
        "attach/a_second_link_in_generic_is_refused::bpf_link",
        SECOND_LINK,
        Ground::Device,
        &[
            done(Link(First, G), Has(Generic, First)),
            refused(Link(Second, G), E::BUSY, None, Has(Generic, First)),
            done(Close, Nothing),
        ],
    ),
    rule(
        "attach/a_second_link_in_native_is_refused::bpf_link",
        SECOND_LINK,
        Ground::NativeDevice,
        &[
            done(Link(First, N), Has(Native, First)),
            refused(Link(Second, N), E::BUSY, None, Has(Native, First)),
            done(Close, Nothing),
        ],
    ),
    rule(
        "attach/a_second_link_in_the_other_mode_is_refused::bpf_link",
        SECOND_LINK,
        Ground::NativeDevice,
        &[
            done(Link(First, G), Has(Generic, First)),
            refused(Link(Second, N), E::EXIST, None, Has(Generic, First)),
            done(Close, Nothing),
            done(Link(First, N), Has(Native, First)),
            refused(Link(Second, G), E::EXIST, None, Has(Native, First)),
            done(Close, Nothing),
        ],
    ),
    rule(
        "attach/attaching_over_a_link_is_refused::netlink",
        NETLINK_OVER_LINK,
        Ground::NativeDevice,
        &[
            done(Link(First, G), Has(Generic, First)),
            refused(Netlink(Second, G, Always), E::BUSY, Some(LINKED), Has(Generic, First)),
            done(Close, Nothing),
            done(Link(First, N), Has(Native, First)),
            refused(Netlink(Second, N, Always), E::BUSY, Some(LINKED), Has(Native, First)),
        ],
    ),
    rule(
        "attach/detaching_a_link_is_refused::netlink",
        NETLINK_OVER_LINK,
        Ground::NativeDevice,
        &[
            done(Link(First, G), Has(Generic, First)),
            refused(Clear(Some(Generic)), E::BUSY, Some(LINKED), Has(Generic, First)),
            done(Close, Nothing),
            done(Link(First, N), Has(Native, First)),
            refused(Clear(Some(Native)), E::BUSY, Some(LINKED), Has(Native, First)),
        ],
    ),
    rule(
        "attach/a_link_over_generic_is_refused::bpf_link",
        LINK_OVER_NETLINK,
        Ground::Device,
        &[
            done(Netlink(First, G, Always), Has(Generic, First)),
            refused(Link(Second, G), E::BUSY, None, Has(Generic, First)),
        ],
    ),
    rule(
        "attach/a_link_over_native_is_refused::bpf_link",
        LINK_OVER_NETLINK,
        Ground::NativeDevice,
        &[
            done(Netlink(First, N, Always), Has(Native, First)),
            refused(Link(Second, N), E::BUSY, None, Has(Native, First)),
        ],
    ),
    rule(
        "attach/if_no_exist_is_refused_always::bpf_link",
        LINK_IF_NO_EXIST,
        Ground::Device,
        &[
            refused(LinkIfNone(First, G), E::INVAL, None, Nothing),
            // With everything else the same it is taken: the flag alone is what was refused.
            done(Link(First, G), Has(Generic, First)),
            refused(LinkIfNone(Second, G), E::INVAL, None, Has(Generic, First)),
        ],
    ),
    rule(
        "attach/a_link_is_updated_from_the_expected_program_only::bpf_link",
        STALE,
        Ground::Device,
        &[
            done(Link(First, G), Has(Generic, First)),
            refused(Update(Second, Some(Second)), E::PERM, None, Has(Generic, First)),
            done(Update(Second, Some(First)), Has(Generic, Second)),
            refused(Update(First, Some(First)), E::PERM, None, Has(Generic, Second)),
            done(Update(First, None), Has(Generic, First)),
            done(Close, Nothing),
        ],
    ),
    rule(
        "attach/a_native_link_is_updated_from_the_expected_program_only::bpf_link",
        STALE,
        Ground::NativeDevice,
        &[
            done(Link(First, N), Has(Native, First)),
            refused(Update(Second, Some(Second)), E::PERM, None, Has(Native, First)),
            done(Update(Second, Some(First)), Has(Native, Second)),
            refused(Update(First, Some(First)), E::PERM, None, Has(Native, Second)),
            done(Update(First, None), Has(Native, First)),
            done(Close, Nothing),
        ],
    ),
    rule(
        "attach/a_peer_mtu_above_3506_refuses_native::netlink",
        PEER_TOO_LARGE,
        ONE_QUEUE,
        &[
            done(PeerMtu(PEER_LIMIT + 1), Nothing),
            refused(Netlink(First, N, Always), E::RANGE, Some(PEER_MTU), Nothing),
            // Generic does not mind, and neither does a program that takes fragments.
            done(Netlink(First, G, Always), Has(Generic, First)),
            done(Clear(Some(Generic)), Nothing),
            done(Netlink(Frags, N, Always), Has(Native, Frags)),
            done(Clear(Some(Native)), Nothing),
            done(PeerMtu(PEER_LIMIT), Nothing),
            done(Netlink(First, N, Always), Has(Native, First)),
        ],
    ),
    rule(
        "attach/a_peer_mtu_above_3506_refuses_native::bpf_link",
        PEER_TOO_LARGE,
        ONE_QUEUE,
        &[
            done(PeerMtu(PEER_LIMIT + 1), Nothing),
            refused(Link(First, N), E::RANGE, None, Nothing),
            done(Link(First, G), Has(Generic, First)),
            done(Close, Nothing),
            done(Link(Frags, N), Has(Native, Frags)),
            done(Close, Nothing),
            done(PeerMtu(PEER_LIMIT), Nothing),
            done(Link(First, N), Has(Native, First)),
        ],
    ),
    rule(
        "attach/native_limits_the_peers_mtu_to_3506::netlink",
        PEER_MAXIMUM,
        ONE_QUEUE,
        &[
            done(ReadPeerMaxMtu(Some(NO_LIMIT)), Nothing),
            done(Netlink(First, N, Always), Has(Native, First)),
            done(ReadPeerMaxMtu(Some(PEER_LIMIT)), Has(Native, First)),
            done(PeerMtu(PEER_LIMIT), Has(Native, First)),
            refused(PeerMtu(PEER_LIMIT + 1), E::INVAL, Some(MAXIMUM), Has(Native, First)),
            done(Clear(Some(Native)), Nothing),
            done(ReadPeerMaxMtu(Some(NO_LIMIT)), Nothing),
            done(PeerMtu(PEER_LIMIT + 1), Nothing),
        ],
    ),
    rule(
        "attach/native_limits_the_peers_mtu_to_3506::bpf_link",
        PEER_MAXIMUM,
        ONE_QUEUE,
        &[
            done(Link(First, N), Has(Native, First)),
            done(ReadPeerMaxMtu(Some(PEER_LIMIT)), Has(Native, First)),
            refused(PeerMtu(PEER_LIMIT + 1), E::INVAL, Some(MAXIMUM), Has(Native, First)),
            done(Close, Nothing),
            done(ReadPeerMaxMtu(Some(NO_LIMIT)), Nothing),
        ],
    ),
    rule(
        "attach/native_frags_limits_the_peers_mtu_to_73138::netlink",
        PEER_MAXIMUM,
        ONE_QUEUE,
        &[
            done(Netlink(Frags, N, Always), Has(Native, Frags)),
            done(ReadPeerMaxMtu(Some(FRAGS_LIMIT)), Has(Native, Frags)),
            done(PeerMtu(9000), Has(Native, Frags)),
        ],
    ),
    rule(
        "attach/native_frags_limits_the_peers_mtu_to_73138::bpf_link",
        PEER_MAXIMUM,
        ONE_QUEUE,
        &[
            done(Link(Frags, N), Has(Native, Frags)),
            done(ReadPeerMaxMtu(Some(FRAGS_LIMIT)), Has(Native, Frags)),
            done(Close, Nothing),
            done(ReadPeerMaxMtu(Some(NO_LIMIT)), Nothing),
        ],
    ),
    rule(
        "attach/fewer_rx_queues_than_the_peer_has_tx_queues_refuse_native::netlink",
        TOO_FEW_QUEUES,
        Ground::Veth { rx: 1, peer_tx: 2 },
        &[
            refused(Netlink(First, N, Always), E::NOSPC, Some(QUEUES), Nothing),
            done(Netlink(First, G, Always), Has(Generic, First)),
        ],
    ),
    rule(
        "attach/fewer_rx_queues_than_the_peer_has_tx_queues_refuse_native::bpf_link",
        TOO_FEW_QUEUES,
        Ground::Veth { rx: 1, peer_tx: 2 },
        &[refused(Link(First, N), E::NOSPC, None, Nothing), done(Link(First, G), Has(Generic, First))],
    ),
    rule(
        "attach/as_many_rx_queues_as_the_peer_has_tx_queues_do::netlink",
        TOO_FEW_QUEUES,
        TWO_QUEUES,
        &[done(Netlink(First, N, Always), Has(Native, First))],
    ),
    rule(
        "attach/as_many_rx_queues_as_the_peer_has_tx_queues_do::bpf_link",
        TOO_FEW_QUEUES,
        TWO_QUEUES,
        &[done(Link(First, N), Has(Native, First))],
    ),
    rule(
        "attach/goes_with_its_last_descriptor::bpf_link",
        LIVES,
        Ground::NativeDevice,
        &[
            done(Link(First, G), Has(Generic, First)),
            done(Close, Nothing),
            done(Link(First, N), Has(Native, First)),
            done(Close, Nothing),
        ],
    ),
    rule(
        "attach/generic_survives_link_down_and_up::netlink",
        LIVES,
        Ground::Device,
        &[
            done(Netlink(First, G, Always), Has(Generic, First)),
            done(Up(false), Has(Generic, First)),
            done(Up(true), Has(Generic, First)),
        ],
    ),
    rule(
        "attach/native_survives_link_down_and_up::netlink",
        LIVES,
        Ground::NativeDevice,
        &[
            done(Netlink(First, N, Always), Has(Native, First)),
            done(Up(false), Has(Native, First)),
            done(Up(true), Has(Native, First)),
        ],
    ),
    rule(
        "attach/generic_survives_link_down_and_up::bpf_link",
        LIVES,
        Ground::Device,
        &[
            done(Link(First, G), Has(Generic, First)),
            done(Up(false), Has(Generic, First)),
            done(Up(true), Has(Generic, First)),
            done(Close, Nothing),
        ],
    ),
    rule(
        "attach/native_survives_link_down_and_up::bpf_link",
        LIVES,
        Ground::NativeDevice,
        &[
            done(Link(First, N), Has(Native, First)),
            done(Up(false), Has(Native, First)),
            done(Up(true), Has(Native, First)),
            done(Close, Nothing),
        ],
    ),
    rule(
        "attach/attaches_while_the_link_is_down::netlink",
        LIVES,
        Ground::NativeDevice,
        &[
            done(Up(false), Nothing),
            done(Netlink(First, N, Always), Has(Native, First)),
            done(Up(true), Has(Native, First)),
        ],
    ),
    rule(
        "attach/attaches_while_the_link_is_down::bpf_link",
        LIVES,
        Ground::NativeDevice,
        &[
            done(Up(false), Nothing),
            done(Link(First, N), Has(Native, First)),
            done(Up(true), Has(Native, First)),
        ],
    ),
    rule(
        "attach/generic_survives_a_move_to_another_namespace::netlink",
        LIVES,
        Ground::Expendable,
        &[
            done(Netlink(First, G, Always), Has(Generic, First)),
            done(Move, Has(Generic, First)),
            done(Up(true), Has(Generic, First)),
        ],
    ),
    rule(
        "attach/native_survives_a_move_to_another_namespace::netlink",
        LIVES,
        Ground::Expendable,
        &[
            done(Netlink(First, N, Always), Has(Native, First)),
            done(Move, Has(Native, First)),
            done(Up(true), Has(Native, First)),
        ],
    ),
    rule(
        "attach/generic_survives_a_move_to_another_namespace::bpf_link",
        LIVES,
        Ground::Expendable,
        &[
            done(Link(First, G), Has(Generic, First)),
            done(Move, Has(Generic, First)),
            done(ReadLinkDevice(true), Has(Generic, First)),
            done(Update(Second, Some(First)), Has(Generic, Second)),
            done(Close, Nothing),
        ],
    ),
    rule(
        "attach/native_survives_a_move_to_another_namespace::bpf_link",
        LIVES,
        Ground::Expendable,
        &[
            done(Link(First, N), Has(Native, First)),
            done(Move, Has(Native, First)),
            done(ReadLinkDevice(true), Has(Native, First)),
            done(Update(Second, Some(First)), Has(Native, Second)),
            done(Close, Nothing),
        ],
    ),
    rule(
        "attach/a_link_of_a_deleted_device_has_none::bpf_link",
        LIVES,
        Ground::Expendable,
        &[
            done(Link(First, G), Has(Generic, First)),
            done(ReadLinkDevice(true), Has(Generic, First)),
            done(Delete, NoDevice),
            done(ReadLinkDevice(false), NoDevice),
            refused(Update(Second, None), E::NOLINK, None, NoDevice),
            done(Close, NoDevice),
        ],
    ),
    rule(
        "attach/a_native_link_of_a_deleted_device_has_none::bpf_link",
        LIVES,
        Ground::Expendable,
        &[
            done(Link(First, N), Has(Native, First)),
            done(ReadLinkDevice(true), Has(Native, First)),
            done(Delete, NoDevice),
            done(ReadLinkDevice(false), NoDevice),
            refused(Update(Second, None), E::NOLINK, None, NoDevice),
            done(Close, NoDevice),
        ],
    ),
    rule(
        "attach/an_idle_veth_advertises_0x23_and_native_adds_transmission_to_its_peer::netlink",
        ADVERTISED,
        ONE_QUEUE,
        &[
            done(ReadFeatures(0x23), Nothing),
            done(ReadPeerFeatures(0x23), Nothing),
            done(Netlink(First, N, Always), Has(Native, First)),
            done(ReadPeerFeatures(0x67), Has(Native, First)),
            done(ReadFeatures(0x23), Has(Native, First)),
            done(Clear(Some(Native)), Nothing),
            done(ReadPeerFeatures(0x23), Nothing),
        ],
    ),
    rule(
        "attach/generic_adds_no_feature::netlink",
        ADVERTISED,
        ONE_QUEUE,
        &[
            done(Netlink(First, G, Always), Has(Generic, First)),
            done(ReadFeatures(0x23), Has(Generic, First)),
            done(ReadPeerFeatures(0x23), Has(Generic, First)),
        ],
    ),
    rule("attach/lo_advertises_nothing::netlink", ADVERTISED, Ground::Loopback, NO_FEATURES),
    rule("attach/bridge_advertises_nothing::netlink", ADVERTISED, BRIDGE, NO_FEATURES),
    rule("attach/ifb_advertises_nothing::netlink", ADVERTISED, IFB, NO_FEATURES),
];

const BRIDGE: Ground = Ground::Virtual(VirtualKind::Bridge);
const IFB: Ground = Ground::Virtual(VirtualKind::Ifb);
const DUMMY: Ground = Ground::Virtual(VirtualKind::Dummy);
const TWO_QUEUES: Ground = Ground::Veth { rx: 2, peer_tx: 2 };
const NATIVE_BY_NETLINK: &[Step] = &[
    refused(Netlink(First, N, Always), E::OPNOTSUPP, Some(NO_NATIVE), Nothing),
    done(Netlink(First, G, Always), Has(Generic, First)),
];
const NATIVE_BY_LINK: &[Step] =
    &[refused(Link(First, N), E::OPNOTSUPP, None, Nothing), done(Link(First, G), Has(Generic, First))];
const NO_FEATURES: &[Step] = &[done(ReadFeatures(0), Nothing)];
