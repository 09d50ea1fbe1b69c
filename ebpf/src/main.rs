//! Object `xdproof-programs`: the counters, the null program, the queue probe, and the counter's map.

#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "packet and map memory is reached through pointers that the verifier checks")]

mod counter;
mod object;

use aya_ebpf::{
    EbpfContext as _,
    bindings::xdp_action::XDP_PASS,
    helpers::{bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
    macros::xdp,
    programs::XdpContext,
};
use counter::{COUNTS, Linear, count};
use xdproof_ebpf::{
    abi::SLOTS,
    classify::{EtherType, Packet, Sample},
};

/// Counts linear frames: all frames that a driver passes to a program without multi-buffer support.
#[xdp]
fn xdproof_count(ctx: XdpContext) -> u32 {
    count::<Sample>(&ctx, Linear::new(&ctx))
}

/// Counts frames of one or more buffers, even if headers lie outside the linear part. Needs kernel 5.18
/// (`bpf_xdp_load_bytes`).
#[xdp(frags)]
fn xdproof_frags(ctx: XdpContext) -> u32 {
    count::<Sample>(&ctx, Fragmented { linear: Linear::new(&ctx), offset: 0, ctx: &ctx })
}

/// Passes every frame unread: its cost is that of the path alone.
#[xdp]
fn xdproof_null(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

/// Counts every frame by its receive queue.
#[xdp]
fn xdproof_queues(ctx: XdpContext) -> u32 {
    if let Some(counter) = COUNTS.get_ptr_mut(ctx.rx_queue_index().min(SLOTS - 1)) {
        // SAFETY: as in `count`: this CPU's slot, with softirqs off.
        unsafe { *counter = (*counter).wrapping_add(1) };
    }
    XDP_PASS
}

/// The rest of a multi-buffer frame, whose first buffer is the linear part.
struct Fragmented<'a> {
    linear: Linear,
    /// Bytes of the frame that were read already.
    offset: usize,
    ctx: &'a XdpContext,
}

impl Fragmented<'_> {
    /// Loads `N` bytes from any of the buffers, if their header lies in the frame.
    #[inline(always)]
    fn load<const N: usize>(&self, header: usize, at: usize) -> Option<[u8; N]> {
        let ctx = self.ctx.as_ptr().cast();
        // SAFETY: the context is the one that this program was called with.
        let length = unsafe { bpf_xdp_get_buff_len(ctx) };
        if (self.offset + header) as u64 > length {
            return None;
        }
        let mut bytes = [0; N];
        // SAFETY: `bytes` has room for N bytes.
        let error = unsafe {
            bpf_xdp_load_bytes(ctx, (self.offset + at) as u32, bytes.as_mut_ptr().cast(), N as u32)
        };
        (error == 0).then_some(bytes)
    }
}

impl Packet for Fragmented<'_> {
    #[inline(always)]
    fn u8(&self, header: usize, at: usize) -> Option<u8> {
        match self.linear.u8(header, at) {
            Some(byte) => Some(byte),
            None => self.load::<1>(header, at).map(u8::from_be_bytes),
        }
    }

    #[inline(always)]
    fn ether_type(&self, header: usize, at: usize) -> Option<EtherType> {
        match self.linear.ether_type(header, at) {
            Some(ether_type) => Some(ether_type),
            None => self.load(header, at).map(|bytes| EtherType::from_memory(u16::from_ne_bytes(bytes))),
        }
    }

    #[inline(always)]
    fn behind(self, header: usize) -> Self {
        Self { linear: self.linear.behind(header), offset: self.offset + header, ..self }
    }
}
