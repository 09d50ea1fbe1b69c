//! Counters with one small fault each: what a suite that calls itself a judge has to find.
//!
//! Every program is the counter of `main.rs`, from the same source, with one rule overridden. Its name says what is wrong
//! with it, in the 15 bytes that the kernel keeps of a name. A suite that lets one through is itself at fault.

#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "packet and map memory is reached through pointers that the verifier checks")]

mod counter;

use aya_ebpf::{
    EbpfContext as _,
    bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX},
    helpers::bpf_xdp_adjust_tail,
    macros::xdp,
    programs::XdpContext,
};
use counter::{Counter, Linear, count};
use xdproof_ebpf::classify::{Packet as _, Rules};

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
            count::<$name::Fault>(&ctx, &Linear::new(&ctx))
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
    Linear::new(ctx).u8(0, header, at).unwrap_or(0)
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
            fn is_tag(ether_type: u16, _depth: usize) -> bool { ether_type == 0x8100 }
        }
        counter: {}
    }
    /// Takes 802.1Q for no tag.
    no_8021q {
        rules: {
            #[inline(always)]
            fn is_tag(ether_type: u16, _depth: usize) -> bool { ether_type == 0x88a8 }
        }
        counter: {}
    }
    /// Opens 0x9100 too.
    tag_9100 {
        rules: {
            #[inline(always)]
            fn is_tag(ether_type: u16, _depth: usize) -> bool { matches!(ether_type, 0x8100 | 0x88a8 | 0x9100) }
        }
        counter: {}
    }
    /// Opens 0x9200 too.
    tag_9200 {
        rules: {
            #[inline(always)]
            fn is_tag(ether_type: u16, _depth: usize) -> bool { matches!(ether_type, 0x8100 | 0x88a8 | 0x9200) }
        }
        counter: {}
    }
    /// Opens 0x88a8 only as the outer tag.
    inner_8021ad {
        rules: {
            #[inline(always)]
            fn is_tag(ether_type: u16, depth: usize) -> bool { ether_type == 0x8100 || (depth == 0 && ether_type == 0x88a8) }
        }
        counter: {}
    }
    /// Opens 0x8100 only as the outer tag.
    inner_8021q {
        rules: {
            #[inline(always)]
            fn is_tag(ether_type: u16, depth: usize) -> bool { ether_type == 0x88a8 || (depth == 0 && ether_type == 0x8100) }
        }
        counter: {}
    }
    /// Opens two tags only if the outer one is 802.1ad.
    outer_8021q {
        rules: {
            const MAX_TAGS: usize = 2;
            #[inline(always)]
            fn is_tag(ether_type: u16, depth: usize) -> bool {
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
}
