//! Auxiliary programs for tests of modes and paths: they modify or lose frames on the way to the counter, or record how a
//! frame is laid out in memory. None of them counts.

#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "packet and map memory is reached through pointers that the verifier checks")]

mod object;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_F_INGRESS, TC_ACT_OK, TC_ACT_SHOT, xdp_action::XDP_PASS},
    btf_maps::Array,
    helpers::{bpf_redirect, bpf_skb_change_tail, bpf_skb_vlan_push, bpf_xdp_get_buff_len},
    macros::{btf_map, classifier, xdp},
    programs::{TcContext, XdpContext},
};
use xdproof_ebpf::abi::{MIN_FRAME, PUSHED_TAG};

/// Parameter of a program (`abi::TARGET_GLOBAL`), set before the object is loaded.
#[unsafe(no_mangle)]
static TARGET: u32 = 0;

#[inline(always)]
fn target() -> u32 {
    // SAFETY: the global is a live integer; the read is volatile because the compiler only knows its initial value.
    unsafe { core::ptr::read_volatile(&raw const TARGET) }
}

// The name is abi::LENGTHS_MAP; an attribute takes no constant.
#[btf_map]
static LENGTHS: Array<u64, 2> = Array::new();

/// Pushes a tag, which stays in the skb's metadata unless the device cannot insert it (`skb_vlan_push()` of
/// `net/core/skbuff.c`, `validate_xmit_vlan()` of `net/core/dev.c`). A frame is dropped if that fails, so that no untagged
/// frame passes for a tagged one.
#[classifier]
fn push_tag(ctx: TcContext) -> i32 {
    let [a, b, c, d] = PUSHED_TAG;
    let (tpid, tci) = (u16::from_ne_bytes([a, b]), u16::from_be_bytes([c, d]));
    // SAFETY: the context is the one that this program was called with.
    match unsafe { bpf_skb_vlan_push(ctx.as_ptr().cast(), tpid, tci) } {
        0 => TC_ACT_OK as i32,
        _ => TC_ACT_SHOT as i32,
    }
}

/// Redirects a frame to the ingress of another device, behind its driver.
#[classifier]
fn to_ingress(_ctx: TcContext) -> i32 {
    // SAFETY: the helper takes two numbers.
    unsafe { bpf_redirect(target(), BPF_F_INGRESS as u64) as i32 }
}

/// Pads a short frame, as most NICs do. It is dropped if that fails, so that no short frame passes for a padded one.
#[classifier]
fn pad_short(ctx: TcContext) -> i32 {
    let short = ctx.len() as usize;
    if short >= MIN_FRAME {
        return TC_ACT_OK as i32;
    }
    // SAFETY: the context is the one that this program was called with.
    if unsafe { bpf_skb_change_tail(ctx.as_ptr().cast(), MIN_FRAME as u32, 0) } != 0 {
        return TC_ACT_SHOT as i32;
    }
    let fill = target() as u8;
    for place in 0..MIN_FRAME {
        if place >= short && fill != 0 && ctx.store(place, &fill, 0).is_err() {
            return TC_ACT_SHOT as i32;
        }
    }
    TC_ACT_OK as i32
}

/// Loses a frame without an error to its sender, as a link does: redirects it to the loopback device, which is down. A drop
/// (`TC_ACT_SHOT`) is reported to the sender, and tcx has no other way (`tcx_action_code()` of `include/net/tcx.h`).
#[inline(always)]
fn lose() -> i32 {
    // SAFETY: the helper takes two numbers.
    unsafe { bpf_redirect(LOOPBACK, BPF_F_INGRESS as u64) as i32 }
}

/// Index of the loopback device in every namespace (`LOOPBACK_IFINDEX` of `include/net/net_namespace.h`).
const LOOPBACK: u32 = 1;

/// Loses frames of one EtherType.
#[classifier]
fn lose_type(ctx: TcContext) -> i32 {
    match ctx.load::<[u8; 2]>(12) {
        Ok(kind) if u32::from(u16::from_be_bytes(kind)) == target() => lose(),
        _ => TC_ACT_OK as i32,
    }
}

/// Loses long frames.
#[classifier]
fn lose_long(ctx: TcContext) -> i32 {
    if ctx.len() > target() { lose() } else { TC_ACT_OK as i32 }
}

/// Inverts the last byte of the source address.
#[xdp]
fn scribble(ctx: XdpContext) -> u32 {
    let place = ctx.data() + 11;
    if place + 1 <= ctx.data_end() {
        let byte = place as *mut u8;
        // SAFETY: the byte lies within the frame (checked above, and again by the verifier).
        unsafe { *byte = !*byte };
    }
    XDP_PASS
}

/// Stores the length of a frame's linear part and its total length.
#[xdp(frags)]
fn lengths(ctx: XdpContext) -> u32 {
    store_lengths(&ctx)
}

/// Like [`lengths`], without multi-buffer support.
#[xdp]
fn linear_lengths(ctx: XdpContext) -> u32 {
    store_lengths(&ctx)
}

#[inline(always)]
fn store_lengths(ctx: &XdpContext) -> u32 {
    let linear = (ctx.data_end() - ctx.data()) as u64;
    // SAFETY: the context is the one that this program was called with.
    let whole = unsafe { bpf_xdp_get_buff_len(ctx.as_ptr().cast()) };
    for (slot, bytes) in [(0, linear), (1, whole)] {
        if let Some(place) = LENGTHS.get_ptr_mut(slot) {
            // SAFETY: the pointer is to a live value; only one frame at a time is measured.
            unsafe { *place = bytes };
        }
    }
    XDP_PASS
}
