//! Memory shared with the kernel: the umem and the rings of an `AF_XDP` socket. Their options are in `rustix`.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, Ordering},
};

use libc::c_int;

use super::narrow;

/// Memory shared with the kernel. Every access is checked against its length. It is unmapped when this is dropped; the kernel
/// holds its own references to the pages.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory belongs to the process, not to a thread, and is unmapped once.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps zeroed private memory: `mmap(MAP_ANONYMOUS)`, any Linux, no capability.
    pub(crate) fn anonymous(length: usize) -> io::Result<Self> {
        Self::map(length, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    }

    /// Maps a ring of an `AF_XDP` socket: `mmap(2)`, Linux 4.18, no capability (`xsk_mmap()` in `net/xdp/xsk.c`).
    pub(crate) fn ring(fd: BorrowedFd<'_>, length: usize, offset: u64) -> io::Result<Self> {
        Self::map(length, libc::MAP_SHARED, fd.as_raw_fd(), narrow(offset)?)
    }

    fn map(length: usize, flags: c_int, fd: c_int, offset: libc::off_t) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the kernel chooses an unused address.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), length, access, flags | libc::MAP_POPULATE, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, length })
    }

    pub(crate) fn address(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    pub(crate) fn len(&self) -> u64 {
        self.length as u64
    }

    fn place<T>(&self, offset: usize) -> NonNull<T> {
        let end = offset.checked_add(size_of::<T>());
        assert!(end.is_some_and(|end| end <= self.length), "offset {offset} is beyond the mapping");
        // SAFETY: the place lies within the mapping.
        let place = unsafe { self.start.add(offset) }.cast::<T>();
        assert!(place.is_aligned(), "offset {offset} is not aligned");
        place
    }

    fn counter(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: the place is aligned and within the mapping, which outlives the reference; kernel and process change it by
        // atomic accesses only.
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

    /// Copies bytes into the memory.
    pub(crate) fn copy_in(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset.checked_add(bytes.len());
        assert!(end.is_some_and(|end| end <= self.length), "offset {offset} is beyond the mapping");
        // SAFETY: the place lies within the mapping.
        let place = unsafe { self.start.add(offset) };
        // SAFETY: all bytes fit, as checked above; they lie elsewhere, because the mapping is borrowed mutably.
        unsafe { place.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and of that length, and nothing refers to it any more.
        let _unmapped = unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}
