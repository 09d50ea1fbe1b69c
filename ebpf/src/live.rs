//! Programs that generate traffic from live frames: the kernel runs them on pages of its own
//! (`BPF_F_TEST_XDP_LIVE_FRAMES`, Linux 5.18), and they transmit these from the tester's port.

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

/// Turns the frame into the next template and transmits it. All of it is written each time, because the kernel reuses its
/// pages and a receiver may have modified them: the stack removes tags in place (`skb_vlan_untag()` of `net/core/skbuff.c`).
#[xdp]
fn live_frames(ctx: XdpContext) -> u32 {
    let Some(cursor) = CURSOR.get_ptr_mut(0) else { return XDP_ABORTED };
    // SAFETY: the pointer is to a live value, which only one run at a time modifies: each sender has its own object.
    let cursor = unsafe { &mut *cursor };
    let Some(template) = TEMPLATES.get_ptr(cursor.slot) else { return XDP_ABORTED };
    // SAFETY: the pointer is to a live value, which is not modified while frames are transmitted.
    let template = unsafe { &*template };
    // From 1 to TEMPLATE_ROOM, in a way that the verifier tracks: it loses the bounds of a number that is compared by its
    // difference to another, as range checks compile to.
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

/// Transmits the frame as it is in its page: the rate of live frames without a program's work (harness/benches/rivals.rs).
#[xdp]
fn live_bare(_ctx: XdpContext) -> u32 {
    send()
}

/// Redirects the frame to the tester's port; aborts it if that fails.
#[inline(always)]
fn send() -> u32 {
    match PORTS.redirect(0, u64::from(XDP_ABORTED)) {
        Ok(action) | Err(action) => action,
    }
}
