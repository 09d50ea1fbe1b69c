//! The kernel's reply to each way of attaching. A fact is written once and yields a case for each mode and method that it is
//! about.
//!
//! Replies and sentences are those of Linux 6.18 (`dev_xdp_attach()`, `bpf_xdp_link_attach()` and `bpf_xdp_link_update()` of
//! `net/core/dev.c`; `veth_xdp_set()` of `drivers/net/veth.c`).

use rustix::io::Errno as E;
use xdproof_netns::{VirtualKind, XdpMode};

use crate::suites::attach_semantics::{
    case::{AttachCase, CaseTarget},
    catalog::{
        ADVERTISED, AGAIN, DETACH_NO_MODE, DETACH_WRONG, IF_NO_EXIST, LINK_IF_NO_EXIST, LINK_OVER_NETLINK,
        LIVES, NATIVE_NOWHERE, NETLINK_OVER_LINK, NO_MODE_GENERIC, NO_MODE_LO, OFFLOAD, OTHER_MODE,
        PEER_MAXIMUM, PEER_TOO_LARGE, REPLACE, REPLACED, SECOND_LINK, STALE, TOO_FEW_QUEUES, TWO_MODES,
    },
    lifetime,
    mode_cases::tap_features,
    step::{
        AttachCondition, AttachMethod, AttachState, AttachStep, StepAction, TestProgram, done, only, reads,
    },
};
use AttachCondition::{Always, IfNoExist, Replace};
use AttachMethod::{BpfLink, Netlink};
use AttachState::Attached;
use CaseTarget::{Device, Expendable, Loopback, NativeDevice, Virtual};
use StepAction::{
    Attach, CloseLink, DeleteDevice, Detach, MoveDevice, ReadFeatures, ReadLinkDevice, ReadPeerFeatures,
    ReadPeerMaxMtu, SetPeerMtu, SetUp, UpdateLink,
};
use TestProgram::{First, Frags, Second};
use XdpMode::{Generic, Native, Offload};

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
/// The same for multi-buffer programs (`MAX_SKB_FRAGS` pages more).
const FRAGS_LIMIT: u32 = 73_138;
/// `ETH_MAX_MTU`: without a program.
const NO_LIMIT: u32 = 65_535;

const NO_MODE: &[XdpMode] = &[];
const TWO: &[XdpMode] = &[Generic, Native];

const VETH: CaseTarget = CaseTarget::VETH;
const TOO_FEW: CaseTarget = CaseTarget::Veth { dut_queues: 1, tester_queues: 2 };
const ENOUGH: CaseTarget = CaseTarget::Veth { dut_queues: 2, tester_queues: 2 };
const BRIDGE: CaseTarget = Virtual(VirtualKind::Bridge);
const IFB: CaseTarget = Virtual(VirtualKind::Ifb);
const DUMMY: CaseTarget = Virtual(VirtualKind::Dummy);

/// Returns every case about attaching.
#[must_use]
pub fn attach_cases() -> Vec<AttachCase> {
    let mut cases = replacing_and_detaching();
    cases.extend(links());
    cases.extend(features());
    for method in [Netlink, BpfLink] {
        cases.extend(of_method(method));
        cases.extend(on_veth(method));
        cases.extend([Generic, Native].into_iter().flat_map(|mode| lifetimes(method, mode)));
    }
    cases.extend(in_mode(Generic, Native));
    cases.extend(in_mode(Native, Generic));
    cases
}

/// Begins a case of steps; its name may capture variables.
macro_rules! case {
    ($row:expr, $target:expr, $name:literal) => {
        AttachCase::of_steps($row, $target, &format!($name))
    };
}

const CLOSE: AttachStep = done(CloseLink);

fn attach_in(method: AttachMethod, program: TestProgram, modes: &'static [XdpMode]) -> AttachStep {
    done(Attach(method, program, modes, Always))
}

fn attach(method: AttachMethod, program: TestProgram, mode: XdpMode) -> AttachStep {
    attach_in(method, program, only(mode))
}

fn netlink(program: TestProgram, mode: XdpMode) -> AttachStep {
    attach(Netlink, program, mode)
}

fn link(program: TestProgram, mode: XdpMode) -> AttachStep {
    attach(BpfLink, program, mode)
}

fn detach(mode: XdpMode) -> AttachStep {
    done(Detach(Some(mode)))
}

/// Detaches what was attached by a method.
fn release(method: AttachMethod, mode: XdpMode) -> AttachStep {
    if method == Netlink { detach(mode) } else { CLOSE }
}

fn update(program: TestProgram, old: Option<TestProgram>) -> AttachStep {
    done(UpdateLink(program, old))
}

fn peer_mtu(mtu: u32) -> AttachStep {
    done(SetPeerMtu(mtu))
}

fn up(up: bool) -> AttachStep {
    done(SetUp(up))
}

fn replacing_and_detaching() -> Vec<AttachCase> {
    let replace = |program, old| done(Attach(Netlink, program, only(Generic), Replace(old)));
    vec![
        case!(REPLACE, Device, "only_the_expected_program_is_replaced::netlink")
            .then(netlink(First, Generic))
            .then(replace(Second, Second).fails_with(E::EXIST, OTHER))
            .then(replace(Second, First))
            .then(replace(First, First).fails_with(E::EXIST, OTHER)),
        case!(DETACH_NO_MODE, NativeDevice, "detach_with_no_mode_leaves_generic::netlink")
            .then(netlink(First, Generic))
            .then(done(Detach(None)).leaves(Attached(Generic, First)))
            .then(detach(Generic)),
        case!(DETACH_WRONG, NativeDevice, "detach_in_the_wrong_mode_does_nothing::netlink")
            .then(netlink(First, Generic))
            .then(detach(Native).leaves(Attached(Generic, First)))
            .then(detach(Generic))
            .then(netlink(Second, Native))
            .then(detach(Generic).leaves(Attached(Native, Second)))
            .then(detach(Native)),
        case!(DETACH_WRONG, Device, "detach_twice_does_nothing::netlink")
            .then(netlink(First, Generic))
            .then(detach(Generic))
            .then(detach(Generic)),
    ]
}

fn links() -> Vec<AttachCase> {
    let if_no_exist = |program| done(Attach(BpfLink, program, only(Generic), IfNoExist));
    vec![
        case!(SECOND_LINK, NativeDevice, "a_second_link_in_the_other_mode_is_refused::bpf_link")
            .then(link(First, Generic))
            .then(link(Second, Native).fails(E::EXIST))
            .then(CLOSE)
            .then(link(First, Native))
            .then(link(Second, Generic).fails(E::EXIST))
            .then(CLOSE),
        case!(NETLINK_OVER_LINK, NativeDevice, "attaching_over_a_link_is_refused::netlink")
            .then(link(First, Generic))
            .then(netlink(Second, Generic).fails_with(E::BUSY, LINKED))
            .then(CLOSE)
            .then(link(First, Native))
            .then(netlink(Second, Native).fails_with(E::BUSY, LINKED)),
        case!(NETLINK_OVER_LINK, NativeDevice, "detaching_a_link_is_refused::netlink")
            .then(link(First, Generic))
            .then(detach(Generic).fails_with(E::BUSY, LINKED))
            .then(CLOSE)
            .then(link(First, Native))
            .then(detach(Native).fails_with(E::BUSY, LINKED)),
        case!(LINK_IF_NO_EXIST, Device, "if_no_exist_is_refused_always::bpf_link")
            .then(if_no_exist(First).fails(E::INVAL))
            // The same without the flag succeeds: the flag alone is refused.
            .then(link(First, Generic))
            .then(if_no_exist(Second).fails(E::INVAL)),
        case!(LIVES, NativeDevice, "goes_with_its_last_descriptor::bpf_link")
            .then(link(First, Generic))
            .then(CLOSE)
            .then(link(First, Native))
            .then(CLOSE),
    ]
}

fn features() -> Vec<AttachCase> {
    let mut cases = vec![
        case!(
            ADVERTISED,
            VETH,
            "an_idle_veth_advertises_0x23_and_native_adds_transmission_to_its_peer::netlink"
        )
        .then(reads(ReadFeatures, "0x23"))
        .then(reads(ReadPeerFeatures, "0x23"))
        .then(netlink(First, Native))
        .then(reads(ReadPeerFeatures, "0x67"))
        .then(reads(ReadFeatures, "0x23"))
        .then(detach(Native))
        .then(reads(ReadPeerFeatures, "0x23")),
        case!(ADVERTISED, VETH, "generic_adds_no_feature::netlink")
            .then(netlink(First, Generic))
            .then(reads(ReadFeatures, "0x23"))
            .then(reads(ReadPeerFeatures, "0x23")),
        AttachCase::of_function(ADVERTISED, VETH, "attach/tap_advertises_0x7::netlink", |fixture| {
            tap_features(fixture, "0x7")
        }),
    ];
    for (driver, target) in [("lo", Loopback), ("bridge", BRIDGE), ("ifb", IFB)] {
        cases.push(
            case!(ADVERTISED, target, "{driver}_advertises_nothing::netlink")
                .then(reads(ReadFeatures, "0x0")),
        );
    }
    cases
}

/// Returns the facts that hold for both methods, on any device and on those without native XDP.
fn of_method(method: AttachMethod) -> Vec<AttachCase> {
    let attach = |program, mode| attach(method, program, mode);
    let attach_in = |program, modes| attach_in(method, program, modes);
    let mut cases = vec![
        case!(TWO_MODES, NativeDevice, "two_modes_are_refused::{method}")
            .then(attach_in(First, TWO).fails(E::INVAL)),
        case!(OFFLOAD, VETH, "offload_on_veth_is_refused::{method}")
            .then(attach(First, Offload).fails(E::INVAL)),
        case!(OFFLOAD, Loopback, "offload_on_lo_is_refused::{method}")
            .then(attach(First, Offload).fails_with(E::OPNOTSUPP, NO_NATIVE)),
        case!(NO_MODE_LO, Loopback, "no_mode_on_lo_is_generic::{method}")
            .then(attach_in(First, NO_MODE).leaves(Attached(Generic, First)))
            .then(release(method, Generic)),
        case!(NO_MODE_GENERIC, NativeDevice, "no_mode_over_generic_is_refused::{method}")
            .then(netlink(First, Generic))
            .then(attach_in(Second, NO_MODE).fails_with(E::EXIST, BOTH)),
        case!(LIVES, NativeDevice, "attaches_while_the_link_is_down::{method}")
            .then(up(false))
            .then(attach(First, Native))
            .then(up(true)),
        AttachCase::of_function(
            LIVES,
            Device,
            match method {
                Netlink => "attach/outlives_its_process::netlink",
                BpfLink => "attach/dies_with_its_process::bpf_link",
            },
            move |fixture| lifetime::killed(fixture, method),
        ),
    ];
    for (driver, target) in [("lo", Loopback), ("bridge", BRIDGE), ("ifb", IFB), ("dummy", DUMMY)] {
        cases.push(
            case!(NATIVE_NOWHERE, target, "native_on_{driver}_is_refused::{method}")
                .then(attach(First, Native).fails_with(E::OPNOTSUPP, NO_NATIVE))
                .then(attach(First, Generic)),
        );
    }
    cases
}

/// Returns the facts about a veth that hold for both methods.
fn on_veth(method: AttachMethod) -> [AttachCase; 5] {
    let attach = |program, mode| attach(method, program, mode);
    let release = |mode| release(method, mode);
    [
        case!(PEER_TOO_LARGE, VETH, "a_peer_mtu_above_3506_refuses_native::{method}")
            .then(peer_mtu(PEER_LIMIT + 1))
            .then(attach(First, Native).fails_with(E::RANGE, PEER_MTU))
            // The limit is neither generic's nor that of a multi-buffer program.
            .then(attach(First, Generic))
            .then(release(Generic))
            .then(attach(Frags, Native))
            .then(release(Native))
            .then(peer_mtu(PEER_LIMIT))
            .then(attach(First, Native)),
        case!(PEER_MAXIMUM, VETH, "native_limits_the_peers_mtu_to_3506::{method}")
            .then(reads(ReadPeerMaxMtu, NO_LIMIT))
            .then(attach(First, Native))
            .then(reads(ReadPeerMaxMtu, PEER_LIMIT))
            .then(peer_mtu(PEER_LIMIT))
            .then(peer_mtu(PEER_LIMIT + 1).fails_with(E::INVAL, MAXIMUM))
            .then(release(Native))
            .then(reads(ReadPeerMaxMtu, NO_LIMIT))
            .then(peer_mtu(PEER_LIMIT + 1)),
        case!(PEER_MAXIMUM, VETH, "native_frags_limits_the_peers_mtu_to_73138::{method}")
            .then(attach(Frags, Native))
            .then(reads(ReadPeerMaxMtu, FRAGS_LIMIT))
            .then(peer_mtu(9000))
            .then(release(Native))
            .then(reads(ReadPeerMaxMtu, NO_LIMIT)),
        case!(TOO_FEW_QUEUES, TOO_FEW, "fewer_rx_queues_than_the_peer_has_tx_queues_refuse_native::{method}")
            .then(attach(First, Native).fails_with(E::NOSPC, QUEUES))
            .then(attach(First, Generic)),
        case!(TOO_FEW_QUEUES, ENOUGH, "as_many_rx_queues_as_the_peer_has_tx_queues_do::{method}")
            .then(attach(First, Native)),
    ]
}

/// Returns the facts that hold in either mode.
fn in_mode(mode: XdpMode, other: XdpMode) -> Vec<AttachCase> {
    let (netlink, link) = (|program| netlink(program, mode), |program| link(program, mode));
    let device = CaseTarget::with(mode);
    let if_no_exist = |program| done(Attach(Netlink, program, only(mode), IfNoExist));
    let native = if mode == Native { "native_" } else { "" };
    vec![
        case!(AGAIN, device, "same_mode_again_replaces_{mode}::netlink")
            .then(netlink(First))
            .then(netlink(Second)),
        case!(IF_NO_EXIST, device, "if_no_exist_is_refused_over_{mode}::netlink")
            .then(if_no_exist(First))
            .then(if_no_exist(Second).fails_with(E::BUSY, ALREADY)),
        case!(OTHER_MODE, NativeDevice, "{other}_over_{mode}_is_refused::netlink")
            .then(netlink(First))
            .then(attach(Netlink, Second, other).fails_with(E::EXIST, BOTH))
            .then(detach(mode))
            .then(attach(Netlink, Second, other)),
        case!(OTHER_MODE, NativeDevice, "{other}_over_{mode}_is_refused::bpf_link")
            .then(netlink(First))
            .then(attach(BpfLink, Second, other).fails(E::EXIST)),
        case!(SECOND_LINK, device, "a_second_link_in_{mode}_is_refused::bpf_link")
            .then(link(First))
            .then(link(Second).fails(E::BUSY))
            .then(CLOSE),
        case!(LINK_OVER_NETLINK, device, "a_link_over_{mode}_is_refused::bpf_link")
            .then(netlink(First))
            .then(link(Second).fails(E::BUSY)),
        case!(STALE, device, "a_{native}link_is_updated_from_the_expected_program_only::bpf_link")
            .then(link(First))
            .then(update(Second, Some(Second)).fails(E::PERM))
            .then(update(Second, Some(First)))
            .then(update(First, Some(First)).fails(E::PERM))
            .then(update(First, None))
            .then(CLOSE),
        case!(LIVES, Expendable, "a_{native}link_of_a_deleted_device_has_none::bpf_link")
            .then(link(First))
            .then(reads(ReadLinkDevice, "this one"))
            .then(done(DeleteDevice))
            .then(reads(ReadLinkDevice, "none"))
            .then(update(Second, None).fails(E::NOLINK))
            .then(CLOSE),
    ]
}

/// Returns the facts about how long an attachment lives, and the replacement under traffic.
fn lifetimes(method: AttachMethod, mode: XdpMode) -> Vec<AttachCase> {
    let attached = |name: &str, target| {
        let id = format!("{mode}_{name}::{method}");
        AttachCase::of_steps(LIVES, target, &id).then(attach(method, First, mode))
    };
    let down_and_up = attached("survives_link_down_and_up", CaseTarget::with(mode));
    let moved = attached("survives_a_move_to_another_namespace", Expendable).then(done(MoveDevice));
    let moved = match method {
        Netlink => moved.then(up(true)),
        BpfLink => moved.then(reads(ReadLinkDevice, "this one")).then(update(Second, Some(First))),
    };
    let mut cases = vec![
        down_and_up.then(up(false)).then(up(true)).then(release(method, mode)),
        moved.then(release(method, mode)),
        AttachCase::of_function(
            REPLACED,
            VETH,
            &format!("attach/replacing_{mode}_under_traffic_loses_no_count::{method}"),
            move |fixture| lifetime::replaced(fixture, method, mode),
        ),
    ];
    if (method, mode) == (Netlink, Native) {
        let id = "attach/deleting_the_device_lets_the_program_go::netlink";
        let function = lifetime::deleted_with_the_last_holder;
        cases.push(AttachCase::of_function(LIVES, Expendable, id, function));
    }
    cases
}
