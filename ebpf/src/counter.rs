//! Counter shared by the objects of this crate: the map, the linear part of a frame, and the counting.
//!
//! Promises: counts as [`classify`] decides, for frames of any length.

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    btf_maps::PerCpuArray,
    macros::btf_map,
    programs::XdpContext,
};
use xdproof_ebpf::{
    abi::SLOTS,
    classify::{Class, EtherType, Packet, Rules, Sample, classify},
};

// The name is abi::MAP_NAME; an attribute takes no constant.
#[btf_map(name = "rxcnt")]
pub(crate) static COUNTS: PerCpuArray<u64, { SLOTS as usize }> = PerCpuArray::new();

/// Treatment of a classified frame. The defaults are the sample's; a mutant overrides one of them.
pub(crate) trait Counter: Rules {
    /// Action for a frame whose Ethernet header or tags are truncated.
    const TRUNCATED: u32 = XDP_DROP;
    /// Slot in which such a frame counts, if it does.
    const TRUNCATED_SLOT: Option<u8> = None;

    /// Returns the slot in which a frame classified as `slot` counts.
    #[inline(always)]
    fn slot(ctx: &XdpContext, slot: u8) -> u8 {
        let _any = ctx;
        slot
    }

    /// Returns the value of a slot after a frame.
    #[inline(always)]
    fn counted(ctx: &XdpContext, slot: u8, before: u64) -> u64 {
        let _any = (ctx, slot);
        before.wrapping_add(1)
    }

    /// Counts a frame.
    #[inline(always)]
    fn add(ctx: &XdpContext, slot: u8) {
        // Every u8 is a slot, so the lookup cannot fail; the verifier requires the check.
        if let Some(counter) = COUNTS.get_ptr_mut(u32::from(slot)) {
            // SAFETY: the pointer is to this CPU's slot, and XDP runs with softirqs off: there is no concurrent writer.
            unsafe { *counter = Self::counted(ctx, slot, *counter) };
        }
    }

    /// Returns the action for a frame that was counted.
    #[inline(always)]
    fn action(ctx: &XdpContext, slot: u8) -> u32 {
        let _any = (ctx, slot);
        XDP_PASS
    }
}

impl Counter for Sample {}

/// Classifies a frame, counts it and returns the action.
#[inline(always)]
pub(crate) fn count<C: Counter>(ctx: &XdpContext, packet: impl Packet) -> u32 {
    let (slot, truncated) = match classify::<C>(packet) {
        Class::Count(slot) => (C::slot(ctx, slot), false),
        Class::Truncated => match C::TRUNCATED_SLOT {
            Some(slot) => (slot, true),
            None => return C::TRUNCATED,
        },
    };
    C::add(ctx, slot);
    if truncated { C::TRUNCATED } else { C::action(ctx, slot) }
}

/// The rest of a frame's linear part: addresses of its first byte and of the byte behind its last.
pub(crate) struct Linear {
    start: *const u8,
    end: *const u8,
}

impl Linear {
    #[inline(always)]
    pub(crate) fn new(ctx: &XdpContext) -> Self {
        Self { start: ctx.data() as *const u8, end: ctx.data_end() as *const u8 }
    }

    /// Returns the address of a field, if its header lies in this part.
    #[inline(always)]
    fn address(&self, header: usize, at: usize) -> Option<*const u8> {
        (self.start.wrapping_add(header) <= self.end).then_some(self.start.wrapping_add(at))
    }
}

impl Packet for Linear {
    #[inline(always)]
    fn u8(&self, header: usize, at: usize) -> Option<u8> {
        let address = self.address(header, at)?;
        // SAFETY: the byte lies before `end` (checked above, and again by the verifier).
        Some(unsafe { *address })
    }

    #[inline(always)]
    fn ether_type(&self, header: usize, at: usize) -> Option<EtherType> {
        let address = self.address(header, at)?.cast();
        // SAFETY: both bytes lie before `end`, as above. They are aligned: a frame begins at an even address (behind
        // XDP_PACKET_HEADROOM and metadata in units of four bytes), and every such field is at an even offset.
        Some(EtherType::from_memory(unsafe { *address }))
    }

    #[inline(always)]
    fn behind(self, header: usize) -> Self {
        Self { start: self.start.wrapping_add(header), ..self }
    }
}
