//! The object that the kernel loads: three XDP programs and the counter's map.
//!
//! Built for a BPF target only (`harness/build.rs`). It promises to count as [`classify`] says, whatever the frame's
//! length and wherever its bytes lie. The `unsafe` code of the BPF side is all here.

#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "packet and map memory is reached through pointers that the verifier checks")]

use aya_ebpf::{
    EbpfContext as _,
    bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS},
    btf_maps::PerCpuArray,
    helpers::{bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use xdproof_ebpf::{
    abi::SLOTS,
    classify::{Class, Packet, classify},
};

// The name is abi::MAP_NAME; an attribute takes no constant.
#[btf_map(name = "rxcnt")]
static COUNTS: PerCpuArray<u64, { SLOTS as usize }> = PerCpuArray::new();

/// Counts frames whose bytes all lie in the linear part: every frame that a driver hands to a program that has not
/// said that it can do with less.
#[xdp]
fn xdproof_count(ctx: XdpContext) -> u32 {
    count(&Linear::new(&ctx))
}

/// Counts frames of one or more buffers, also where the linear part is short or empty. Needs kernel 5.18
/// (`bpf_xdp_load_bytes`).
#[xdp(frags)]
fn xdproof_frags(ctx: XdpContext) -> u32 {
    count(&Fragmented { linear: Linear::new(&ctx), ctx: &ctx })
}

/// Passes every frame and looks at none: what remains when this is measured is the path, not the program.
#[xdp]
fn xdproof_null(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

#[inline(always)]
fn count(packet: &impl Packet) -> u32 {
    let slot = match classify(packet) {
        Class::Count(slot) => slot,
        Class::Truncated => return XDP_DROP,
    };
    // Every u8 is a slot, so the look-up cannot fail; the verifier wants to see it checked.
    let Some(counter) = COUNTS.get_ptr_mut(u32::from(slot)) else { return XDP_ABORTED };
    // SAFETY: the pointer is to this CPU's slot, and XDP runs with softirqs off: nobody else writes to it meanwhile.
    unsafe { *counter = (*counter).wrapping_add(1) };
    XDP_PASS
}

/// The linear part of a frame: addresses of its first byte and of the byte after its last.
struct Linear {
    start: usize,
    end: usize,
}

impl Linear {
    #[inline(always)]
    fn new(ctx: &XdpContext) -> Self {
        Self { start: ctx.data(), end: ctx.data_end() }
    }
}

impl Linear {
    /// The address of a field, if its header lies in this part.
    #[inline(always)]
    fn address<const HEADER: usize, const AT: usize>(&self, offset: usize) -> Option<usize> {
        let header = self.start + offset;
        (header + HEADER <= self.end).then_some(header + AT)
    }
}

impl Packet for Linear {
    #[inline(always)]
    fn u8<const HEADER: usize, const AT: usize>(&self, offset: usize) -> Option<u8> {
        let address = self.address::<HEADER, AT>(offset)?;
        // SAFETY: the byte lies before `end` (checked above, and again by the verifier).
        Some(unsafe { *(address as *const u8) })
    }

    #[inline(always)]
    fn be16<const HEADER: usize, const AT: usize>(&self, offset: usize) -> Option<u16> {
        let address = self.address::<HEADER, AT>(offset)?;
        // SAFETY: both bytes lie before `end`, as above. They are aligned: a frame begins at an even address (behind
        // XDP_PACKET_HEADROOM and metadata in units of four bytes), and every such field is at an even offset.
        Some(u16::from_be(unsafe { *(address as *const u16) }))
    }
}

/// A frame of several buffers, the first of which is the linear part.
struct Fragmented<'a> {
    linear: Linear,
    ctx: &'a XdpContext,
}

impl Fragmented<'_> {
    /// `N` bytes, from whichever buffers they lie in, if their header lies in the frame.
    #[inline(always)]
    fn load<const HEADER: usize, const AT: usize, const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let ctx = self.ctx.as_ptr().cast();
        // SAFETY: the context is the one that this program was called with.
        let length = unsafe { bpf_xdp_get_buff_len(ctx) };
        if (offset + HEADER) as u64 > length {
            return None;
        }
        let mut bytes = [0; N];
        // SAFETY: `bytes` has room for N bytes.
        let answer =
            unsafe { bpf_xdp_load_bytes(ctx, (offset + AT) as u32, bytes.as_mut_ptr().cast(), N as u32) };
        (answer == 0).then_some(bytes)
    }
}

impl Packet for Fragmented<'_> {
    #[inline(always)]
    fn u8<const HEADER: usize, const AT: usize>(&self, offset: usize) -> Option<u8> {
        match self.linear.u8::<HEADER, AT>(offset) {
            Some(byte) => Some(byte),
            None => self.load::<HEADER, AT, 1>(offset).map(u8::from_be_bytes),
        }
    }

    #[inline(always)]
    fn be16<const HEADER: usize, const AT: usize>(&self, offset: usize) -> Option<u16> {
        match self.linear.be16::<HEADER, AT>(offset) {
            Some(word) => Some(word),
            None => self.load::<HEADER, AT, 2>(offset).map(u16::from_be_bytes),
        }
    }
}

// Every part of the object is under this project's "MIT OR Apache-2.0"; the kernel knows the first of them as
// GPL-compatible under this name (include/linux/license.h, license_is_gpl_compatible).
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

// An endless loop: the verifier rejects any program in which a panic can be reached.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
