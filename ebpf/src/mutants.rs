//! Counters with one small fault each: what a suite that calls itself a judge has to find.
//!
//! Every program is the counter of `main.rs`, from the same source, with one rule overridden. Its name says what is wrong
//! with it, in the 15 bytes that the kernel keeps of a name. A suite that lets one through is itself at fault.

#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "packet and map memory is reached through pointers that the verifier checks")]

mod counter;
mod object;

use aya_ebpf::{
    EbpfContext as _,
    bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_REDIRECT, XDP_TX},
    helpers::{bpf_get_smp_processor_id, bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    macros::xdp,
    programs::XdpContext,
};
use counter::{Counter, Linear, count};
use xdproof_ebpf::classify::{EtherType, Packet as _, Rules};

/// A program by name, and what of the counter it overrides.
macro_rules! mutants {
    ($($(#[doc = $doc:literal])+ $name:ident { rules: { $($rule:tt)* } counter: { $($counter:tt)* } })+) => {$(
        mod $name {
            use super::*;

            pub(super) struct Fault;
            impl Rules for Fault { $($rule)* }
            impl Counter for Fault { $($counter)* }
        }

        $(#[doc = $doc])+
        #[xdp]
        fn $name(ctx: XdpContext) -> u32 {
            count::<$name::Fault>(&ctx, Linear::new(&ctx))
        }
    )+};
}

/// The frame's length in bytes.
#[inline(always)]
fn length(ctx: &XdpContext) -> usize {
    ctx.data_end() - ctx.data()
}

/// A byte of the frame; 0 beyond its end.
#[inline(always)]
fn byte(ctx: &XdpContext, at: usize) -> u8 {
    // At least an Ethernet header is there: checked for less, the verifier does not see that the check is enough.
    let header = if at < 14 { 14 } else { at + 1 };
    Linear::new(ctx).u8(header, at).unwrap_or(0)
}

/// Whether an EtherType is at a place; not beyond the frame's end.
#[inline(always)]
fn is_type(ctx: &XdpContext, at: usize, ether_type: u16) -> bool {
    let [high, low] = ether_type.to_be_bytes();
    byte(ctx, at) == high && byte(ctx, at + 1) == low
}

/// Whether the EtherType of a tag is at a place.
#[inline(always)]
fn is_tag(ctx: &XdpContext, at: usize) -> bool {
    is_type(ctx, at, 0x8100) || is_type(ctx, at, 0x88a8)
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

/// Adds one only if it may.
#[inline(always)]
fn add_if(may: bool, before: u64) -> u64 {
    if may { before.wrapping_add(1) } else { before }
}

mutants! {
    /// Opens no tag.
    no_tag { rules: { const MAX_TAGS: usize = 0; } counter: {} }
    /// Opens one tag.
    one_tag { rules: { const MAX_TAGS: usize = 1; } counter: {} }
    /// Opens a third tag.
    three_tags { rules: { const MAX_TAGS: usize = 3; } counter: {} }
    /// Takes 802.1ad for no tag.
    no_8021ad {
        rules: {
            #[inline(always)]
            fn is_tag(ether_type: EtherType, _depth: usize) -> bool { ether_type == 0x8100 }
        }
        counter: {}
    }
    /// Takes 802.1Q for no tag.
    no_8021q {
        rules: {
            #[inline(always)]
            fn is_tag(ether_type: EtherType, _depth: usize) -> bool { ether_type == 0x88a8 }
        }
        counter: {}
    }
    /// Opens 0x9100 too.
    tag_9100 {
        rules: {
            #[inline(always)]
            fn is_tag(ether_type: EtherType, _depth: usize) -> bool { ether_type == 0x8100 || ether_type == 0x88a8 || ether_type == 0x9100 }
        }
        counter: {}
    }
    /// Opens 0x9200 too.
    tag_9200 {
        rules: {
            #[inline(always)]
            fn is_tag(ether_type: EtherType, _depth: usize) -> bool { ether_type == 0x8100 || ether_type == 0x88a8 || ether_type == 0x9200 }
        }
        counter: {}
    }
    /// Opens 0x88a8 only as the outer tag.
    inner_8021ad {
        rules: {
            #[inline(always)]
            fn is_tag(ether_type: EtherType, depth: usize) -> bool { ether_type == 0x8100 || (depth == 0 && ether_type == 0x88a8) }
        }
        counter: {}
    }
    /// Opens 0x8100 only as the outer tag.
    inner_8021q {
        rules: {
            #[inline(always)]
            fn is_tag(ether_type: EtherType, depth: usize) -> bool { ether_type == 0x88a8 || (depth == 0 && ether_type == 0x8100) }
        }
        counter: {}
    }
    /// Opens two tags only if the outer one is 802.1ad.
    outer_8021q {
        rules: {
            const MAX_TAGS: usize = 2;
            #[inline(always)]
            fn is_tag(ether_type: EtherType, depth: usize) -> bool {
                if depth == 0 { ether_type == 0x88a8 || ether_type == 0x8100 } else { false }
            }
        }
        counter: {}
    }
    /// Wants one byte behind the Ethernet header.
    ethernet_15 { rules: { const ETHERNET: usize = 15; const ETHERNET_TYPE: usize = 12; } counter: {} }
    /// Wants one byte behind a tag.
    tag_5 { rules: { const TAG_NEEDED: usize = 5; } counter: {} }
    /// Is content with 19 bytes of IPv4.
    ipv4_19 { rules: { const IPV4: usize = 19; } counter: {} }
    /// Wants 21 bytes of IPv4.
    ipv4_21 { rules: { const IPV4: usize = 21; } counter: {} }
    /// Is content with 39 bytes of IPv6.
    ipv6_39 { rules: { const IPV6: usize = 39; } counter: {} }
    /// Wants 41 bytes of IPv6.
    ipv6_41 { rules: { const IPV6: usize = 41; } counter: {} }
    /// Reads the time to live for the protocol.
    ipv4_byte_8 { rules: { const IPV4_PROTOCOL: usize = 8; } counter: {} }
    /// Reads the checksum's first byte for the protocol.
    ipv4_byte_10 { rules: { const IPV4_PROTOCOL: usize = 10; } counter: {} }
    /// Reads the payload's length for the next header.
    ipv6_byte_5 { rules: { const IPV6_NEXT_HEADER: usize = 5; } counter: {} }
    /// Reads the hop limit for the next header.
    ipv6_byte_7 { rules: { const IPV6_NEXT_HEADER: usize = 7; } counter: {} }
    /// Knows no IPv4.
    no_ipv4 { rules: { const IPV4_TYPE: u16 = 0x0801; } counter: {} }
    /// Knows no IPv6.
    no_ipv6 { rules: { const IPV6_TYPE: u16 = 0x86de; } counter: {} }
    /// Takes each IP version for the other.
    ip_swapped { rules: { const IPV4_TYPE: u16 = 0x86dd; const IPV6_TYPE: u16 = 0x0800; } counter: {} }
    /// Counts what is not IP in slot 255.
    other_255 { rules: { const OTHER: u8 = 255; } counter: {} }
    /// Does not count what is in slot 0.
    no_slot_0 {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(_ctx: &XdpContext, slot: u8, before: u64) -> u64 { add_if(slot != 0, before) }
        }
    }
    /// Does not count slot 255.
    no_slot_255 {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(_ctx: &XdpContext, slot: u8, before: u64) -> u64 { add_if(slot != 255, before) }
        }
    }
    /// Does not count one slot that nobody thinks of.
    no_slot_200 {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(_ctx: &XdpContext, slot: u8, before: u64) -> u64 { add_if(slot != 200, before) }
        }
    }
    /// Counts every frame twice.
    twice {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(_ctx: &XdpContext, _slot: u8, before: u64) -> u64 { before.wrapping_add(2) }
        }
    }
    /// Loses every 1,024th frame of a slot.
    loses_1024th {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(_ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(before & 1023 != 1023, before) }
        }
    }
    /// Counts with 16 bits.
    bits_16 {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(_ctx: &XdpContext, _slot: u8, before: u64) -> u64 { (before + 1) & 0xffff }
        }
    }
    /// Counts with 32 bits.
    bits_32 {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(_ctx: &XdpContext, _slot: u8, before: u64) -> u64 { (before.wrapping_add(1)) & 0xffff_ffff }
        }
    }
    /// Stops at the largest number instead of wrapping.
    saturates {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(_ctx: &XdpContext, _slot: u8, before: u64) -> u64 { before.saturating_add(1) }
        }
    }
    /// Counts on CPU 0 only.
    cpu_0_only {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(_ctx: &XdpContext, _slot: u8, before: u64) -> u64 {
                // SAFETY: takes nothing and has no effect.
                let cpu = unsafe { bpf_get_smp_processor_id() };
                add_if(cpu == 0, before)
            }
        }
    }
    /// Counts on receive queue 0 only.
    queue_0_only {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(ctx.rx_queue_index() == 0, before) }
        }
    }
    /// Counts, and drops what it counts.
    drops {
        rules: {}
        counter: {
            #[inline(always)]
            fn answer(_ctx: &XdpContext, _slot: u8) -> u32 { XDP_DROP }
        }
    }
    /// Counts, and sends back what it counts.
    sends_back {
        rules: {}
        counter: {
            #[inline(always)]
            fn answer(_ctx: &XdpContext, _slot: u8) -> u32 { XDP_TX }
        }
    }
    /// Counts, and aborts.
    aborts {
        rules: {}
        counter: {
            #[inline(always)]
            fn answer(_ctx: &XdpContext, _slot: u8) -> u32 { XDP_ABORTED }
        }
    }
    /// Drops what is in slot 0.
    drops_other {
        rules: {}
        counter: {
            #[inline(always)]
            fn answer(_ctx: &XdpContext, slot: u8) -> u32 { if slot == 0 { XDP_DROP } else { XDP_PASS } }
        }
    }
    /// Passes frames whose headers are cut.
    passes_cut { rules: {} counter: { const TRUNCATED: u32 = XDP_PASS; } }
    /// Damages the destination address.
    damages_first {
        rules: {}
        counter: {
            #[inline(always)]
            fn answer(ctx: &XdpContext, _slot: u8) -> u32 { invert(ctx, 5); XDP_PASS }
        }
    }
    /// Damages a byte of the payload.
    damages_59th {
        rules: {}
        counter: {
            #[inline(always)]
            fn answer(ctx: &XdpContext, _slot: u8) -> u32 { invert(ctx, 58); XDP_PASS }
        }
    }
    /// Cuts the last byte off.
    cuts_last {
        rules: {}
        counter: {
            #[inline(always)]
            fn answer(ctx: &XdpContext, _slot: u8) -> u32 {
                // SAFETY: the context is the one that this program was called with.
                let _refused = unsafe { bpf_xdp_adjust_tail(ctx.as_ptr().cast(), -1) };
                XDP_PASS
            }
        }
    }
    /// Does not count frames of fewer than 60 bytes.
    short_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(length(ctx) >= 60, before) }
        }
    }
    /// Does not count frames of more than 1,514 bytes.
    long_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(length(ctx) <= 1514, before) }
        }
    }
    /// Does not count frames of an odd length.
    odd_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(length(ctx) % 2 == 0, before) }
        }
    }
    /// Does not count what is sent to a group.
    group_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(byte(ctx, 0) & 1 == 0, before) }
        }
    }
    /// Drops what is sent to somebody else.
    foreign_dropped {
        rules: {}
        counter: {
            #[inline(always)]
            fn answer(ctx: &XdpContext, _slot: u8) -> u32 {
                if byte(ctx, 0) & 1 == 1 || byte(ctx, 5) == 2 { XDP_PASS } else { XDP_DROP }
            }
        }
    }
    /// Does not count IPv4 whose version field says otherwise.
    version_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 {
                add_if(!(byte(ctx, 12) == 8 && byte(ctx, 13) == 0 && byte(ctx, 14) >> 4 == 6), before)
            }
        }
    }
    /// Does not count later fragments.
    fragments_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 {
                let later = byte(ctx, 12) == 8 && byte(ctx, 13) == 0 && (byte(ctx, 20) & 0x1f != 0 || byte(ctx, 21) != 0);
                add_if(!later, before)
            }
        }
    }
    /// Does not count IPv4 with options.
    options_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 {
                add_if(!(byte(ctx, 12) == 8 && byte(ctx, 13) == 0 && byte(ctx, 14) == 0x4f), before)
            }
        }
    }
    /// Does not count what has a VLAN id of 0.
    vid_0_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 {
                let tagged = byte(ctx, 12) == 0x81 && byte(ctx, 13) == 0;
                add_if(!(tagged && byte(ctx, 14) & 0x0f == 0 && byte(ctx, 15) == 0), before)
            }
        }
    }
    /// Counts a frame whose tag is cut in slot 0, and drops it all the same.
    counts_cut { rules: {} counter: { const TRUNCATED_SLOT: Option<u8> = Some(0); } }
    /// Reads the protocol where it is without a tag.
    fixed_offset {
        rules: {}
        counter: {
            #[inline(always)]
            fn slot(ctx: &XdpContext, slot: u8) -> u8 { if slot != 0 && is_tag(ctx, 12) { byte(ctx, 23) } else { slot } }
        }
    }
    /// Does not open 802.1Q behind 802.1Q.
    no_double_8021q {
        rules: {}
        counter: {
            #[inline(always)]
            fn slot(ctx: &XdpContext, slot: u8) -> u8 { if is_type(ctx, 12, 0x8100) && is_type(ctx, 16, 0x8100) { 0 } else { slot } }
        }
    }
    /// Does not open 802.1ad behind 802.1ad.
    no_double_ad {
        rules: {}
        counter: {
            #[inline(always)]
            fn slot(ctx: &XdpContext, slot: u8) -> u8 { if is_type(ctx, 12, 0x88a8) && is_type(ctx, 16, 0x88a8) { 0 } else { slot } }
        }
    }
    /// Knows IPv6 behind one tag at most.
    ipv6_two_tags {
        rules: {}
        counter: {
            #[inline(always)]
            fn slot(ctx: &XdpContext, slot: u8) -> u8 { if is_tag(ctx, 12) && is_tag(ctx, 16) && is_type(ctx, 20, 0x86dd) { 0 } else { slot } }
        }
    }
    /// Does not count VLAN identifiers of 2,048 and more.
    vid_high_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(!(is_tag(ctx, 12) && byte(ctx, 14) & 0x08 != 0), before) }
        }
    }
    /// Does not count one VLAN identifier that nobody thinks of.
    vid_1234_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(!(is_tag(ctx, 12) && byte(ctx, 14) & 0x0f == 0x04 && byte(ctx, 15) == 0xd2), before) }
        }
    }
    /// Does not count an inner VLAN identifier above 255.
    inner_vid_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(!(is_tag(ctx, 12) && is_tag(ctx, 16) && byte(ctx, 18) & 0x0f != 0), before) }
        }
    }
    /// Does not count the highest priority.
    pcp_7_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(!(is_tag(ctx, 12) && byte(ctx, 14) >> 5 == 7), before) }
        }
    }
    /// Does not count what may be dropped.
    dei_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(!(is_tag(ctx, 12) && byte(ctx, 14) & 0x10 != 0), before) }
        }
    }
    /// Does not count an inner tag with a priority.
    inner_pcp_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(!(is_tag(ctx, 12) && is_tag(ctx, 16) && byte(ctx, 18) >> 5 != 0), before) }
        }
    }
    /// Does not count what must not be fragmented.
    df_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(!(is_type(ctx, 12, 0x0800) && byte(ctx, 20) & 0x40 != 0), before) }
        }
    }
    /// Does not count first fragments.
    more_frags_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(!(is_type(ctx, 12, 0x0800) && byte(ctx, 20) & 0x20 != 0), before) }
        }
    }
    /// Does not count the service code points.
    dscp_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(!(is_type(ctx, 12, 0x0800) && byte(ctx, 15) >> 2 != 0), before) }
        }
    }
    /// Does not count congestion marks.
    ecn_3_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(!(is_type(ctx, 12, 0x0800) && byte(ctx, 15) & 3 == 3), before) }
        }
    }
    /// Does not count what has come to the end of its life.
    ttl_1_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(!(is_type(ctx, 12, 0x0800) && byte(ctx, 22) <= 1), before) }
        }
    }
    /// Does not count a total length of 0, as large segments have it.
    length_0_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(!(is_type(ctx, 12, 0x0800) && byte(ctx, 16) == 0 && byte(ctx, 17) == 0), before) }
        }
    }
    /// Does not count what it takes for a martian.
    loopback_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(!(is_type(ctx, 12, 0x0800) && byte(ctx, 26) == 127), before) }
        }
    }
    /// Does not count IPv4 of the upper half of the addresses.
    address_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(!(is_type(ctx, 12, 0x0800) && byte(ctx, 26) >= 0xe0), before) }
        }
    }
    /// Does not count VXLAN.
    port_4789_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(!(is_type(ctx, 12, 0x0800) && byte(ctx, 23) == 17 && byte(ctx, 36) == 0x12 && byte(ctx, 37) == 0xb5), before) }
        }
    }
    /// Does not count a reset.
    rst_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(!(is_type(ctx, 12, 0x0800) && byte(ctx, 23) == 6 && byte(ctx, 47) & 0x04 != 0), before) }
        }
    }
    /// Does not count an options field of one word.
    ihl_6_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(!(is_type(ctx, 12, 0x0800) && byte(ctx, 14) == 0x46), before) }
        }
    }
    /// Does not count flows with a label.
    flow_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(!(is_type(ctx, 12, 0x86dd) && (byte(ctx, 15) & 0x0f != 0 || byte(ctx, 16) != 0 || byte(ctx, 17) != 0)), before) }
        }
    }
    /// Does not count traffic classes.
    class_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(!(is_type(ctx, 12, 0x86dd) && (byte(ctx, 14) & 0x0f != 0 || byte(ctx, 15) >> 4 != 0)), before) }
        }
    }
    /// Does not count link-local addresses.
    link_local_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(!(is_type(ctx, 12, 0x86dd) && byte(ctx, 22) == 0xfe), before) }
        }
    }
    /// Does not count a payload length of 0, as jumbograms have it.
    payload_0_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(!(is_type(ctx, 12, 0x86dd) && byte(ctx, 18) == 0 && byte(ctx, 19) == 0), before) }
        }
    }
    /// Goes on behind a hop-by-hop header of IPv6.
    walks_hopopts {
        rules: {}
        counter: {
            #[inline(always)]
            fn slot(ctx: &XdpContext, slot: u8) -> u8 { if is_type(ctx, 12, 0x86dd) && byte(ctx, 20) == 0 { byte(ctx, 54) } else { slot } }
        }
    }
    /// Goes on behind a routing header of IPv6.
    walks_routing {
        rules: {}
        counter: {
            #[inline(always)]
            fn slot(ctx: &XdpContext, slot: u8) -> u8 { if is_type(ctx, 12, 0x86dd) && byte(ctx, 20) == 43 { byte(ctx, 54) } else { slot } }
        }
    }
    /// Goes on behind a fragment header of IPv6.
    walks_fragment {
        rules: {}
        counter: {
            #[inline(always)]
            fn slot(ctx: &XdpContext, slot: u8) -> u8 { if is_type(ctx, 12, 0x86dd) && byte(ctx, 20) == 44 { byte(ctx, 54) } else { slot } }
        }
    }
    /// Goes on behind an authentication header of IPv6.
    walks_ah {
        rules: {}
        counter: {
            #[inline(always)]
            fn slot(ctx: &XdpContext, slot: u8) -> u8 { if is_type(ctx, 12, 0x86dd) && byte(ctx, 20) == 51 { byte(ctx, 54) } else { slot } }
        }
    }
    /// Goes on behind destination options of IPv6.
    walks_dstopts {
        rules: {}
        counter: {
            #[inline(always)]
            fn slot(ctx: &XdpContext, slot: u8) -> u8 { if is_type(ctx, 12, 0x86dd) && byte(ctx, 20) == 60 { byte(ctx, 54) } else { slot } }
        }
    }
    /// Goes on behind hop-by-hop options if a tag is in front.
    walks_tagged {
        rules: {}
        counter: {
            #[inline(always)]
            fn slot(ctx: &XdpContext, slot: u8) -> u8 { if is_tag(ctx, 12) && is_type(ctx, 16, 0x86dd) && byte(ctx, 24) == 0 { byte(ctx, 58) } else { slot } }
        }
    }
    /// Goes on into IPv4 in IPv4.
    follows_ipip {
        rules: {}
        counter: {
            #[inline(always)]
            fn slot(ctx: &XdpContext, slot: u8) -> u8 { if is_type(ctx, 12, 0x0800) && slot == 4 { byte(ctx, 43) } else { slot } }
        }
    }
    /// Goes on into IPv4 behind GRE.
    follows_gre {
        rules: {}
        counter: {
            #[inline(always)]
            fn slot(ctx: &XdpContext, slot: u8) -> u8 { if is_type(ctx, 12, 0x0800) && slot == 47 && is_type(ctx, 36, 0x0800) { byte(ctx, 47) } else { slot } }
        }
    }
    /// Goes on behind a label of MPLS.
    follows_mpls {
        rules: {}
        counter: {
            #[inline(always)]
            fn slot(ctx: &XdpContext, slot: u8) -> u8 { if is_type(ctx, 12, 0x8847) { byte(ctx, 27) } else { slot } }
        }
    }
    /// Goes on into a session of PPPoE.
    follows_pppoe {
        rules: {}
        counter: {
            #[inline(always)]
            fn slot(ctx: &XdpContext, slot: u8) -> u8 { if is_type(ctx, 12, 0x8864) && is_type(ctx, 20, 0x0021) { byte(ctx, 31) } else { slot } }
        }
    }
    /// Goes on behind LLC and SNAP.
    follows_snap {
        rules: {}
        counter: {
            #[inline(always)]
            fn slot(ctx: &XdpContext, slot: u8) -> u8 { if byte(ctx, 12) < 6 && is_type(ctx, 14, 0xaaaa) && is_type(ctx, 20, 0x0800) { byte(ctx, 31) } else { slot } }
        }
    }
    /// Takes a length of 802.3 for IPv4.
    llc_is_ipv4 {
        rules: {}
        counter: {
            #[inline(always)]
            fn slot(ctx: &XdpContext, slot: u8) -> u8 { if byte(ctx, 12) < 6 { byte(ctx, 23) } else { slot } }
        }
    }
    /// Drops what has a length for a type.
    drops_llc {
        rules: {}
        counter: {
            #[inline(always)]
            fn answer(ctx: &XdpContext, _slot: u8) -> u32 { if byte(ctx, 12) < 6 { XDP_DROP } else { XDP_PASS } }
        }
    }
    /// Has 128 slots.
    slots_128 {
        rules: {}
        counter: {
            #[inline(always)]
            fn slot(_ctx: &XdpContext, slot: u8) -> u8 { slot & 127 }
        }
    }
    /// Counts IPv6 in IPv4 as IPv4 in IPv4.
    shares_41 {
        rules: {}
        counter: {
            #[inline(always)]
            fn slot(_ctx: &XdpContext, slot: u8) -> u8 { if slot == 41 { 4 } else { slot } }
        }
    }
    /// Takes ICMPv6 for ICMP.
    shares_58 {
        rules: {}
        counter: {
            #[inline(always)]
            fn slot(_ctx: &XdpContext, slot: u8) -> u8 { if slot == 58 { 1 } else { slot } }
        }
    }
    /// Takes UDP-Lite for UDP.
    shares_136 {
        rules: {}
        counter: {
            #[inline(always)]
            fn slot(_ctx: &XdpContext, slot: u8) -> u8 { if slot == 136 { 17 } else { slot } }
        }
    }
    /// Sends SCTP back.
    sends_back_sctp {
        rules: {}
        counter: {
            #[inline(always)]
            fn answer(_ctx: &XdpContext, slot: u8) -> u32 { if slot == 132 { XDP_TX } else { XDP_PASS } }
        }
    }
    /// Drops ICMPv6.
    drops_icmpv6 {
        rules: {}
        counter: {
            #[inline(always)]
            fn answer(_ctx: &XdpContext, slot: u8) -> u32 { if slot == 58 { XDP_DROP } else { XDP_PASS } }
        }
    }
    /// Drops frames of fewer than 60 bytes after it has counted them.
    drops_short {
        rules: {}
        counter: {
            #[inline(always)]
            fn answer(ctx: &XdpContext, _slot: u8) -> u32 { if length(ctx) < 60 { XDP_DROP } else { XDP_PASS } }
        }
    }
    /// Damages the last byte of a full frame.
    damages_1514th {
        rules: {}
        counter: {
            #[inline(always)]
            fn answer(ctx: &XdpContext, _slot: u8) -> u32 { invert(ctx, 1513); XDP_PASS }
        }
    }
    /// Damages the inner tag.
    damages_tag {
        rules: {}
        counter: {
            #[inline(always)]
            fn answer(ctx: &XdpContext, _slot: u8) -> u32 { if is_tag(ctx, 12) && is_tag(ctx, 16) { invert(ctx, 18); } XDP_PASS }
        }
    }
    /// Lowers the time to live, as a router does.
    lowers_ttl {
        rules: {}
        counter: {
            #[inline(always)]
            fn answer(ctx: &XdpContext, _slot: u8) -> u32 { if is_type(ctx, 12, 0x0800) { invert(ctx, 22); } XDP_PASS }
        }
    }
    /// Puts two bytes in front.
    grows {
        rules: {}
        counter: {
            #[inline(always)]
            fn answer(ctx: &XdpContext, slot: u8) -> u32 {
                if slot == 132 {
                    // SAFETY: the context is the one that this program was called with.
                    let _refused = unsafe { bpf_xdp_adjust_head(ctx.as_ptr().cast(), -2) };
                }
                XDP_PASS
            }
        }
    }
    /// Does not count frames of more than 4,096 bytes.
    jumbo_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(length(ctx) <= 4096, before) }
        }
    }
    /// Does not count frames of one length.
    length_777_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(length(ctx) != 777, before) }
        }
    }
    /// Counts nothing beyond 10,000.
    stops_10000 {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(_ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(before != 10_000, before) }
        }
    }
    /// Loses every 4,096th frame of TCP.
    tcp_4096th_lost {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(_ctx: &XdpContext, slot: u8, before: u64) -> u64 { add_if(slot != 6 || before & 4095 != 4095, before) }
        }
    }
    /// Counts with 31 bits.
    bits_31 {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(_ctx: &XdpContext, _slot: u8, before: u64) -> u64 { before.wrapping_add(1) & 0x7fff_ffff }
        }
    }
    /// Stops at the largest signed number.
    saturates_i64 {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(_ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(before != i64::MAX as u64, before) }
        }
    }
    /// Starts again at 1 where it wraps.
    skips_0 {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(_ctx: &XdpContext, _slot: u8, before: u64) -> u64 { before.wrapping_add(1).max(1) }
        }
    }
    /// Loses half of what arrives on the second queue.
    queue_1_halved {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 {
                add_if(ctx.rx_queue_index() != 1 || before & 1 == 0, before)
            }
        }
    }
    /// Loses every 1,000th frame of IPv6.
    ipv6_1000th {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 {
                add_if(!is_type(ctx, 12, 0x86dd) || before % 1000 != 999, before)
            }
        }
    }
    /// Counts in a test run alone, whose device is `lo`.
    not_on_a_wire {
        rules: {}
        counter: {
            #[inline(always)]
            fn counted(ctx: &XdpContext, _slot: u8, before: u64) -> u64 { add_if(ctx.ingress_ifindex() == 1, before) }
        }
    }
    /// Sends frames to a device that there is not.
    redirects {
        rules: {}
        counter: {
            #[inline(always)]
            fn answer(_ctx: &XdpContext, _slot: u8) -> u32 { XDP_REDIRECT }
        }
    }
    /// Gives an answer that there is not.
    answers_5 {
        rules: {}
        counter: {
            #[inline(always)]
            fn answer(_ctx: &XdpContext, _slot: u8) -> u32 { XDP_REDIRECT + 1 }
        }
    }
}
