//! The program that makes traffic of live frames: the kernel runs it on pages of its own
//! (`BPF_F_TEST_XDP_LIVE_FRAMES`, Linux 5.18), and it sends these out of the tester's port.

#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "packet and map memory is reached through pointers that the verifier checks")]

mod object;

use aya_ebpf::{
    EbpfContext as _,
    bindings::xdp_action::XDP_ABORTED,
    btf_maps::{Array, DevMap},
    helpers::{bpf_xdp_adjust_tail, bpf_xdp_store_bytes},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use xdproof_ebpf::abi::{Cursor, LIVE_SLOTS, TEMPLATE_ROOM, Template};

// The names are those in abi.rs; an attribute takes no constant.
#[btf_map]
static PORTS: DevMap<1> = DevMap::new();
#[btf_map]
static TEMPLATES: Array<Template, { LIVE_SLOTS as usize }> = Array::new();
#[btf_map]
static CURSOR: Array<Cursor, 1> = Array::new();

/// Makes the frame the one whose turn it is, and sends it. The kernel uses its pages again and again, and whoever received
/// a frame may have changed it: the stack takes tags out of its place (`skb_vlan_untag()` of `net/core/skbuff.c`).
#[xdp]
fn live_frames(ctx: XdpContext) -> u32 {
    let Some(cursor) = CURSOR.get_ptr_mut(0) else { return XDP_ABORTED };
    // SAFETY: the pointer is to a live value, which one run at a time changes: each sender has an object of its own.
    let cursor = unsafe { &mut *cursor };
    let Some(template) = TEMPLATES.get_ptr(cursor.slot) else { return XDP_ABORTED };
    // SAFETY: the pointer is to a live value, which nobody changes while frames are made.
    let template = unsafe { &*template };
    // At least one and at most as many as there are, in a way that the verifier follows: it forgets the bounds of a number
    // that was compared by its difference to another, as a range is.
    let length = (template.length.wrapping_sub(1) & (TEMPLATE_ROOM - 1)) + 1;
    let delta = length as i32 - (ctx.data_end() - ctx.data()) as i32;
    // SAFETY: the context is the one that this program was called with.
    if delta != 0 && unsafe { bpf_xdp_adjust_tail(ctx.as_ptr().cast(), delta) } != 0 {
        return XDP_ABORTED;
    }
    let bytes = template.bytes.as_ptr().cast_mut();
    // SAFETY: as above; `length` is at most TEMPLATE_ROOM.
    if unsafe { bpf_xdp_store_bytes(ctx.as_ptr().cast(), 0, bytes.cast(), length) } != 0 {
        return XDP_ABORTED;
    }
    cursor.done += 1;
    if cursor.done >= template.times && cursor.slots > 1 {
        cursor.done = 0;
        cursor.slot += 1;
        if cursor.slot >= cursor.slots {
            cursor.slot = 0;
        }
    }
    send()
}

/// Sends the frame as the kernel made it, or as whoever had its page before has left it: how fast live frames are when nothing
/// is done to them (harness/benches/rivals.rs).
#[xdp]
fn live_bare(_ctx: XdpContext) -> u32 {
    send()
}

/// Out of the tester's port; a frame that cannot go there is aborted.
#[inline(always)]
fn send() -> u32 {
    match PORTS.redirect(0, u64::from(XDP_ABORTED)) {
        Ok(action) | Err(action) => action,
    }
}
