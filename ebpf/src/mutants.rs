//! Counters with one small fault each, to show what a pass of the corpus is worth (`harness/tests/detection.rs`).
//!
//! Every program is the counter of `main.rs`, from the same source, with one rule overridden. Its name says what is wrong
//! with it, in the 15 bytes that the kernel keeps of a name. A suite that passes one of them is itself at fault.

#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "packet and map memory is reached through pointers that the verifier checks")]

mod counter;
mod object;

use aya_ebpf::{
    EbpfContext as _,
    bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_REDIRECT, XDP_TX},
    btf_maps::Array,
    helpers::{bpf_get_smp_processor_id, bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use counter::{Counter, Linear, count};
use xdproof_ebpf::abi::SLOTS;
use xdproof_ebpf::classify::{EtherType, Packet as _, Rules};

/// Programs by name and fault. The identifiers in front are those by which a fault refers to the context, the slot that the
/// frame is classified as, the slot's value before the frame, an `EtherType` and the number of tags parsed before it.
macro_rules! mutants {
    ($given:tt $($(#[doc = $doc:literal])+ $name:ident { $($fault:tt)+ })+) => {$(
        mod $name {
            use super::*;

            pub(super) struct Fault;
            fault! { $given $($fault)+ }
        }

        $(#[doc = $doc])+
        #[xdp]
        fn $name(ctx: XdpContext) -> u32 {
            count::<$name::Fault>(&ctx, Linear::new(&ctx))
        }
    )+};
}

/// The override that makes a fault: constants of [`Rules`] or [`Counter`], or one of their functions by its result.
macro_rules! fault {
    ($given:tt const $($constant:tt)+) => {
        impl Rules for Fault { const $($constant)+ }
        impl Counter for Fault {}
    };
    ($given:tt counter const $($constant:tt)+) => {
        impl Rules for Fault {}
        impl Counter for Fault { const $($constant)+ }
    };
    ([$ctx:ident $slot:ident $before:ident $ether_type:ident $depth:ident] parses tag if $is_tag:expr) => {
        impl Rules for Fault {
            #[inline(always)]
            fn is_tag($ether_type: EtherType, $depth: usize) -> bool {
                let _any = $depth;
                $is_tag
            }
        }
        impl Counter for Fault {}
    };
    ([$ctx:ident $slot:ident $before:ident $($given:ident)+] counted = $counted:expr) => {
        impl Rules for Fault {}
        impl Counter for Fault {
            #[inline(always)]
            fn counted($ctx: &XdpContext, $slot: u8, $before: u64) -> u64 {
                let _any = ($ctx, $slot);
                $counted
            }
        }
    };
    ([$ctx:ident $slot:ident $($given:ident)+] adds $statement:expr) => {
        impl Rules for Fault {}
        impl Counter for Fault {
            #[inline(always)]
            fn add($ctx: &XdpContext, $slot: u8) {
                let _any = $ctx;
                $statement;
            }
        }
    };
    ([$ctx:ident $slot:ident $before:ident $($given:ident)+] misses if $missed:expr) => {
        fault! { [$ctx $slot $before $($given)+] counted = add_if(!$missed, $before) }
    };
    ([$ctx:ident $slot:ident $($given:ident)+] slot = $result:expr) => {
        impl Rules for Fault {}
        impl Counter for Fault {
            #[inline(always)]
            fn slot($ctx: &XdpContext, $slot: u8) -> u8 {
                let _any = $ctx;
                $result
            }
        }
    };
    ([$ctx:ident $slot:ident $($given:ident)+] slot if $condition:expr => $result:expr) => {
        fault! { [$ctx $slot $($given)+] slot = if $condition { $result } else { $slot } }
    };
    ([$ctx:ident $slot:ident $($given:ident)+] action = $action:expr) => {
        impl Rules for Fault {}
        impl Counter for Fault {
            #[inline(always)]
            fn action($ctx: &XdpContext, $slot: u8) -> u32 {
                let _any = ($ctx, $slot);
                $action
            }
        }
    };
    ($given:tt action if $condition:expr => $action:expr) => {
        fault! { $given action = if $condition { $action } else { XDP_PASS } }
    };
    ($given:tt modifies $statement:expr) => {
        fault! { $given action = { $statement; XDP_PASS } }
    };
}

/// Length of the frame in bytes.
#[inline(always)]
fn length(ctx: &XdpContext) -> usize {
    ctx.data_end() - ctx.data()
}

/// Returns a byte of the frame; 0 beyond its end.
#[inline(always)]
fn byte(ctx: &XdpContext, at: usize) -> u8 {
    // At least an Ethernet header is there: if less is checked, the verifier does not see that the check is enough.
    let header = if at < 14 { 14 } else { at + 1 };
    Linear::new(ctx).u8(header, at).unwrap_or(0)
}

/// Compares the EtherType at an offset; false beyond the frame's end.
#[inline(always)]
fn is_type(ctx: &XdpContext, at: usize, ether_type: u16) -> bool {
    let [high, low] = ether_type.to_be_bytes();
    byte(ctx, at) == high && byte(ctx, at + 1) == low
}

/// Tells an untagged IPv4 frame.
#[inline(always)]
fn is_ipv4(ctx: &XdpContext) -> bool {
    is_type(ctx, 12, 0x0800)
}

/// Tells an untagged IPv6 frame.
#[inline(always)]
fn is_ipv6(ctx: &XdpContext) -> bool {
    is_type(ctx, 12, 0x86dd)
}

/// Tells whether the EtherType of an 802.1Q or 802.1ad tag is at an offset.
#[inline(always)]
fn is_tag(ctx: &XdpContext, at: usize) -> bool {
    is_type(ctx, at, 0x8100) || is_type(ctx, at, 0x88a8)
}

/// Tells a frame of at least two tags.
#[inline(always)]
fn has_two_tags(ctx: &XdpContext) -> bool {
    is_tag(ctx, 12) && is_tag(ctx, 16)
}

/// Adds one to a slot if it may.
#[inline(always)]
fn add_if(may: bool, before: u64) -> u64 {
    if may { before.wrapping_add(1) } else { before }
}

/// Inverts a byte of the frame, if it is there.
#[inline(always)]
fn invert(ctx: &XdpContext, at: usize) {
    let place = ctx.data() + at;
    if place + 1 <= ctx.data_end() {
        // SAFETY: the byte lies within the frame (checked above, and again by the verifier).
        unsafe { *(place as *mut u8) = !byte(ctx, at) };
    }
}

/// Moves the frame's first byte by `head` and its last one by `tail` bytes, unless the kernel refuses.
#[inline(always)]
fn adjust(ctx: &XdpContext, head: i32, tail: i32) {
    if head != 0 {
        // SAFETY: the context is the one that this program was called with.
        let _refused = unsafe { bpf_xdp_adjust_head(ctx.as_ptr().cast(), head) };
    }
    if tail != 0 {
        // SAFETY: as above.
        let _refused = unsafe { bpf_xdp_adjust_tail(ctx.as_ptr().cast(), tail) };
    }
}

/// Returns the CPU that the program runs on.
#[inline(always)]
fn cpu() -> u32 {
    // SAFETY: takes nothing and has no effect.
    unsafe { bpf_get_smp_processor_id() }
}

/// The counter of mutants that CPUs share (`abi::SHARED_MAP`).
#[btf_map(name = "shared")]
static SHARED: Array<u64, { SLOTS as usize }> = Array::new();

/// Adds one to a counter that CPUs share, without an atomic instruction.
#[inline(always)]
fn add_plainly(counter: Option<*mut u64>) {
    if let Some(counter) = counter {
        // SAFETY: the pointer is to a slot. That another CPU may write to it at the same time is the fault.
        unsafe { counter.write_volatile(counter.read_volatile().wrapping_add(1)) };
    }
}

/// Adds one by two helpers.
#[inline(always)]
fn add_by_update(slot: u32) {
    if let Some(counter) = SHARED.get_ptr(slot) {
        // SAFETY: as above.
        let before = unsafe { counter.read_volatile() };
        let _refused = SHARED.set(slot, before.wrapping_add(1), 0);
    }
}

mutants! {
    [ctx slot before ether_type depth]

    // Tags.
    /// Parses no tag.
    no_tag { const MAX_TAGS: usize = 0; }
    /// Parses one tag.
    one_tag { const MAX_TAGS: usize = 1; }
    /// Parses a third tag.
    three_tags { const MAX_TAGS: usize = 3; }
    /// Does not treat 802.1ad as a tag.
    no_8021ad { parses tag if ether_type == 0x8100 }
    /// Does not treat 802.1Q as a tag.
    no_8021q { parses tag if ether_type == 0x88a8 }
    /// Parses 0x9100, too.
    tag_9100 { parses tag if ether_type == 0x8100 || ether_type == 0x88a8 || ether_type == 0x9100 }
    /// Parses 0x9200, too.
    tag_9200 { parses tag if ether_type == 0x8100 || ether_type == 0x88a8 || ether_type == 0x9200 }
    /// Parses 0x88a8 only as the outer tag.
    inner_8021ad { parses tag if ether_type == 0x8100 || (depth == 0 && ether_type == 0x88a8) }
    /// Parses 0x8100 only as the outer tag.
    inner_8021q { parses tag if ether_type == 0x88a8 || (depth == 0 && ether_type == 0x8100) }
    /// Parses the outer tag only, by its depth and not by a count.
    outer_8021q { parses tag if depth == 0 && (ether_type == 0x88a8 || ether_type == 0x8100) }

    // Lengths and offsets of headers.
    /// Requires one byte behind the Ethernet header.
    ethernet_15 { const ETHERNET: usize = 15; }
    /// Requires one byte behind a tag.
    tag_5 { const TAG_NEEDED: usize = 5; }
    /// Accepts an IPv4 header of 19 bytes.
    ipv4_19 { const IPV4: usize = 19; }
    /// Requires 21 bytes of IPv4.
    ipv4_21 { const IPV4: usize = 21; }
    /// Accepts an IPv6 header of 39 bytes.
    ipv6_39 { const IPV6: usize = 39; }
    /// Requires 41 bytes of IPv6.
    ipv6_41 { const IPV6: usize = 41; }
    /// Reads the time to live as the protocol.
    ipv4_byte_8 { const IPV4_PROTOCOL: usize = 8; }
    /// Reads the first byte of the checksum as the protocol.
    ipv4_byte_10 { const IPV4_PROTOCOL: usize = 10; }
    /// Reads the low byte of the payload length as the next header.
    ipv6_byte_5 { const IPV6_NEXT_HEADER: usize = 5; }
    /// Reads the hop limit as the next header.
    ipv6_byte_7 { const IPV6_NEXT_HEADER: usize = 7; }
    /// Does not know IPv4.
    no_ipv4 { const IPV4_TYPE: u16 = 0x0801; }
    /// Does not know IPv6.
    no_ipv6 { const IPV6_TYPE: u16 = 0x86de; }
    /// Takes each IP version for the other.
    ip_swapped { const IPV4_TYPE: u16 = 0x86dd; const IPV6_TYPE: u16 = 0x0800; }

    // Slots and numbers.
    /// Counts non-IP frames in slot 255.
    other_255 { const OTHER: u8 = 255; }
    /// Does not count slot 0.
    no_slot_0 { misses if slot == 0 }
    /// Does not count slot 255.
    no_slot_255 { misses if slot == 255 }
    /// Does not count slot 200, which no common protocol uses.
    no_slot_200 { misses if slot == 200 }
    /// Counts every frame twice.
    twice { counted = before.wrapping_add(2) }
    /// Misses every 1,024th frame of a slot.
    loses_1024th { misses if before & 1023 == 1023 }
    /// Counts with 16 bits.
    bits_16 { counted = (before + 1) & 0xffff }
    /// Counts with 32 bits.
    bits_32 { counted = before.wrapping_add(1) & 0xffff_ffff }
    /// Stops at the largest number instead of wrapping.
    saturates { counted = before.saturating_add(1) }
    /// Counts on CPU 0 only.
    cpu_0_only { misses if cpu() != 0 }
    /// Counts on receive queue 0 only.
    queue_0_only { misses if ctx.rx_queue_index() != 0 }

    // Actions and modifications.
    /// Counts, and drops the frame.
    drops { action = XDP_DROP }
    /// Counts, and transmits the frame back.
    sends_back { action = XDP_TX }
    /// Counts, and aborts.
    aborts { action = XDP_ABORTED }
    /// Drops the frames of slot 0.
    drops_other { action if slot == 0 => XDP_DROP }
    /// Passes frames whose Ethernet header or tag is cut.
    passes_cut { counter const TRUNCATED: u32 = XDP_PASS; }
    /// Modifies the destination address.
    damages_first { modifies invert(ctx, 5) }
    /// Modifies a byte of the payload.
    damages_59th { modifies invert(ctx, 58) }
    /// Cuts the last byte off.
    cuts_last { modifies adjust(ctx, 0, -1) }

    // Frames that are missed or dropped by a property that must not matter.
    /// Does not count frames of fewer than 60 bytes.
    short_lost { misses if length(ctx) < 60 }
    /// Does not count frames of more than 1,514 bytes.
    long_lost { misses if length(ctx) > 1514 }
    /// Does not count frames of an odd length.
    odd_lost { misses if length(ctx) % 2 != 0 }
    /// Does not count multicast and broadcast frames.
    group_lost { misses if byte(ctx, 0) & 1 != 0 }
    /// Drops unicast frames to another station.
    foreign_dropped { action if byte(ctx, 0) & 1 != 1 && byte(ctx, 5) != 2 => XDP_DROP }
    /// Does not count IPv4 whose version field is 6.
    version_lost { misses if is_ipv4(ctx) && byte(ctx, 14) >> 4 == 6 }
    /// Does not count later fragments.
    fragments_lost { misses if is_ipv4(ctx) && (byte(ctx, 20) & 0x1f != 0 || byte(ctx, 21) != 0) }
    /// Does not count IPv4 with 40 bytes of options.
    options_lost { misses if is_ipv4(ctx) && byte(ctx, 14) == 0x4f }
    /// Does not count VLAN ID 0 in an 802.1Q tag.
    vid_0_lost { misses if is_type(ctx, 12, 0x8100) && byte(ctx, 14) & 0x0f == 0 && byte(ctx, 15) == 0 }
    /// Counts a frame whose tag is cut in slot 0, and still drops it.
    counts_cut { counter const TRUNCATED_SLOT: Option<u8> = Some(0); }

    // Tags again, in one shape only.
    /// Reads the protocol at the offset that it has without a tag.
    fixed_offset { slot if slot != 0 && is_tag(ctx, 12) => byte(ctx, 23) }
    /// Does not parse 802.1Q behind 802.1Q.
    no_double_8021q { slot if is_type(ctx, 12, 0x8100) && is_type(ctx, 16, 0x8100) => 0 }
    /// Does not parse 802.1ad behind 802.1ad.
    no_double_ad { slot if is_type(ctx, 12, 0x88a8) && is_type(ctx, 16, 0x88a8) => 0 }
    /// Knows IPv6 behind one tag at most.
    ipv6_two_tags { slot if has_two_tags(ctx) && is_type(ctx, 20, 0x86dd) => 0 }
    /// Does not count VLAN IDs from 2,048 on.
    vid_high_lost { misses if is_tag(ctx, 12) && byte(ctx, 14) & 0x08 != 0 }
    /// Does not count VLAN ID 1,234.
    vid_1234_lost { misses if is_tag(ctx, 12) && byte(ctx, 14) & 0x0f == 0x04 && byte(ctx, 15) == 0xd2 }
    /// Does not count inner VLAN IDs above 255.
    inner_vid_lost { misses if has_two_tags(ctx) && byte(ctx, 18) & 0x0f != 0 }
    /// Does not count the highest priority.
    pcp_7_lost { misses if is_tag(ctx, 12) && byte(ctx, 14) >> 5 == 7 }
    /// Does not count drop eligible frames.
    dei_lost { misses if is_tag(ctx, 12) && byte(ctx, 14) & 0x10 != 0 }
    /// Does not count an inner tag with a priority.
    inner_pcp_lost { misses if has_two_tags(ctx) && byte(ctx, 18) >> 5 != 0 }

    // Fields of IP headers that must not be read.
    /// Does not count packets with don't-fragment set.
    df_lost { misses if is_ipv4(ctx) && byte(ctx, 20) & 0x40 != 0 }
    /// Does not count fragments that others follow.
    more_frags_lost { misses if is_ipv4(ctx) && byte(ctx, 20) & 0x20 != 0 }
    /// Does not count packets with a DSCP.
    dscp_lost { misses if is_ipv4(ctx) && byte(ctx, 15) >> 2 != 0 }
    /// Does not count congestion marks.
    ecn_3_lost { misses if is_ipv4(ctx) && byte(ctx, 15) & 3 == 3 }
    /// Does not count packets with a time to live of 0 or 1.
    ttl_1_lost { misses if is_ipv4(ctx) && byte(ctx, 22) <= 1 }
    /// Does not count a total length of 0, which large segments have.
    length_0_lost { misses if is_ipv4(ctx) && byte(ctx, 16) == 0 && byte(ctx, 17) == 0 }
    /// Does not count packets from 127.0.0.0/8.
    loopback_lost { misses if is_ipv4(ctx) && byte(ctx, 26) == 127 }
    /// Does not count packets from 224.0.0.0 and above.
    address_lost { misses if is_ipv4(ctx) && byte(ctx, 26) >= 0xe0 }
    /// Does not count VXLAN.
    port_4789_lost { misses if is_ipv4(ctx) && byte(ctx, 23) == 17 && byte(ctx, 36) == 0x12 && byte(ctx, 37) == 0xb5 }
    /// Does not count TCP resets.
    rst_lost { misses if is_ipv4(ctx) && byte(ctx, 23) == 6 && byte(ctx, 47) & 0x04 != 0 }
    /// Does not count IPv4 with one word of options.
    ihl_6_lost { misses if is_ipv4(ctx) && byte(ctx, 14) == 0x46 }
    /// Does not count IPv6 with a flow label.
    flow_lost { misses if is_ipv6(ctx) && (byte(ctx, 15) & 0x0f != 0 || byte(ctx, 16) != 0 || byte(ctx, 17) != 0) }
    /// Does not count IPv6 with a traffic class.
    class_lost { misses if is_ipv6(ctx) && (byte(ctx, 14) & 0x0f != 0 || byte(ctx, 15) >> 4 != 0) }
    /// Does not count packets from link-local addresses.
    link_local_lost { misses if is_ipv6(ctx) && byte(ctx, 22) == 0xfe }
    /// Does not count a payload length of 0, which jumbograms have.
    payload_0_lost { misses if is_ipv6(ctx) && byte(ctx, 18) == 0 && byte(ctx, 19) == 0 }

    // Headers behind the one that counts.
    /// Walks past an IPv6 hop-by-hop options header.
    walks_hopopts { slot if is_ipv6(ctx) && byte(ctx, 20) == 0 => byte(ctx, 54) }
    /// Walks past an IPv6 routing header.
    walks_routing { slot if is_ipv6(ctx) && byte(ctx, 20) == 43 => byte(ctx, 54) }
    /// Walks past an IPv6 fragment header.
    walks_fragment { slot if is_ipv6(ctx) && byte(ctx, 20) == 44 => byte(ctx, 54) }
    /// Walks past an authentication header behind IPv6.
    walks_ah { slot if is_ipv6(ctx) && byte(ctx, 20) == 51 => byte(ctx, 54) }
    /// Walks past an IPv6 destination options header.
    walks_dstopts { slot if is_ipv6(ctx) && byte(ctx, 20) == 60 => byte(ctx, 54) }
    /// Walks past hop-by-hop options behind a tag.
    walks_tagged { slot if is_tag(ctx, 12) && is_type(ctx, 16, 0x86dd) && byte(ctx, 24) == 0 => byte(ctx, 58) }
    /// Follows IPv4 in IPv4.
    follows_ipip { slot if is_ipv4(ctx) && slot == 4 => byte(ctx, 43) }
    /// Follows GRE to IPv4.
    follows_gre { slot if is_ipv4(ctx) && slot == 47 && is_type(ctx, 36, 0x0800) => byte(ctx, 47) }
    /// Follows one MPLS label.
    follows_mpls { slot if is_type(ctx, 12, 0x8847) => byte(ctx, 27) }
    /// Follows a PPPoE session to IPv4.
    follows_pppoe { slot if is_type(ctx, 12, 0x8864) && is_type(ctx, 20, 0x0021) => byte(ctx, 31) }
    /// Follows LLC and SNAP to IPv4.
    follows_snap { slot if byte(ctx, 12) < 6 && is_type(ctx, 14, 0xaaaa) && is_type(ctx, 20, 0x0800) => byte(ctx, 31) }
    /// Takes an 802.3 length for IPv4.
    llc_is_ipv4 { slot if byte(ctx, 12) < 6 => byte(ctx, 23) }
    /// Drops frames with an 802.3 length.
    drops_llc { action if byte(ctx, 12) < 6 => XDP_DROP }

    // Slots that are shared, and protocols that are treated apart.
    /// Has 128 slots.
    slots_128 { slot = slot & 127 }
    /// Counts IPv6 in IPv4 as IPv4 in IPv4.
    shares_41 { slot if slot == 41 => 4 }
    /// Takes ICMPv6 for ICMP.
    shares_58 { slot if slot == 58 => 1 }
    /// Takes UDP-Lite for UDP.
    shares_136 { slot if slot == 136 => 17 }
    /// Transmits SCTP back.
    sends_back_sctp { action if slot == 132 => XDP_TX }
    /// Drops ICMPv6.
    drops_icmpv6 { action if slot == 58 => XDP_DROP }
    /// Counts frames of fewer than 60 bytes, and drops them.
    drops_short { action if length(ctx) < 60 => XDP_DROP }
    /// Modifies the last byte of a frame of 1,514 bytes.
    damages_1514th { modifies invert(ctx, 1513) }
    /// Modifies the inner tag.
    damages_tag { modifies if has_two_tags(ctx) { invert(ctx, 18) } }
    /// Modifies the time to live, as a router does.
    lowers_ttl { modifies if is_ipv4(ctx) { invert(ctx, 22) } }
    /// Inserts two bytes in front of SCTP frames.
    grows { modifies if slot == 132 { adjust(ctx, -2, 0) } }

    // Faults that need volume, length or several CPUs and queues to show.
    /// Does not count frames of more than 4,096 bytes.
    jumbo_lost { misses if length(ctx) > 4096 }
    /// Does not count frames of 777 bytes.
    length_777_lost { misses if length(ctx) == 777 }
    /// Counts nothing beyond 10,000.
    stops_10000 { misses if before == 10_000 }
    /// Misses every 4,096th TCP frame.
    tcp_4096th_lost { misses if slot == 6 && before & 4095 == 4095 }
    /// Counts with 31 bits.
    bits_31 { counted = before.wrapping_add(1) & 0x7fff_ffff }
    /// Stops at the largest signed number.
    saturates_i64 { misses if before == i64::MAX as u64 }
    /// Wraps to 1 instead of 0.
    skips_0 { counted = before.wrapping_add(1).max(1) }
    /// Misses every second frame of receive queue 1.
    queue_1_halved { misses if ctx.rx_queue_index() == 1 && before & 1 != 0 }
    /// Misses every 1,000th IPv6 frame.
    ipv6_1000th { misses if is_ipv6(ctx) && before % 1000 == 999 }
    /// Counts only in a test run, whose device is `lo`.
    not_on_a_wire { misses if ctx.ingress_ifindex() != 1 }

    // Counters that CPUs share. Their names begin with racy.
    /// Adds to a shared counter without an atomic instruction.
    racy { adds add_plainly(SHARED.get_ptr_mut(u32::from(slot))) }
    /// Reads a shared counter and writes it back by a helper.
    racy_update { adds add_by_update(u32::from(slot)) }

    // Actions that the kernel cannot carry out.
    /// Redirects frames without naming a device.
    redirects { action = XDP_REDIRECT }
    /// Returns an action that does not exist.
    answers_5 { action = XDP_REDIRECT + 1 }
}
