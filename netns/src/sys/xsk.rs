//! Access to the rings of an `AF_XDP` socket, memory shared with the kernel. The socket's options are in
//! `rustix`.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, Ordering},
};

use memmap2::{MmapOptions, MmapRaw};

/// The mapping of a ring. Every access is checked against its length.
#[derive(Debug)]
pub(crate) struct RingMemory(MmapRaw);

impl RingMemory {
    /// Maps a ring: `mmap(2)`, Linux 4.18, no capability (`xsk_mmap()` in `net/xdp/xsk.c`).
    pub(crate) fn map(fd: BorrowedFd<'_>, length: usize, page_offset: u64) -> io::Result<Self> {
        MmapOptions::new().len(length).offset(page_offset).populate().map_raw(fd.as_raw_fd()).map(Self)
    }

    fn place<T>(&self, offset: usize) -> NonNull<T> {
        let end = offset.checked_add(size_of::<T>());
        assert!(end.is_some_and(|end| end <= self.0.len()), "offset {offset} is beyond the mapping");
        // SAFETY: a mapping is not null.
        let start = unsafe { NonNull::new_unchecked(self.0.as_mut_ptr()) };
        // SAFETY: the place lies within the mapping.
        let place = unsafe { start.add(offset) }.cast::<T>();
        assert!(place.is_aligned(), "offset {offset} is not aligned");
        place
    }

    fn counter(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: the place is aligned and within the mapping, which outlives the reference; kernel and
        // process change it by atomic accesses only.
        unsafe { AtomicU32::from_ptr(self.place(offset).as_ptr()) }
    }

    /// Reads a counter of the other side, and makes everything visible that was written before it.
    pub(crate) fn acquire(&self, offset: usize) -> u32 {
        self.counter(offset).load(Ordering::Acquire)
    }

    /// Publishes a counter, and with it everything that was written before.
    pub(crate) fn release(&self, offset: usize, value: u32) {
        self.counter(offset).store(value, Ordering::Release);
    }

    /// Writes a descriptor into a ring; the other side does not read it before it is published.
    pub(crate) fn write_descriptor(&mut self, offset: usize, descriptor: libc::xdp_desc) {
        // SAFETY: the place is aligned and within the mapping, and nothing else writes to it meanwhile.
        unsafe { self.place(offset).write(descriptor) };
    }
}
