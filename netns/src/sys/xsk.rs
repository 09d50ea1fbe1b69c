//! `AF_XDP` sockets and their rings.

use std::{
    io, mem,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, Ordering},
};

use libc::c_int;

use super::{check, narrow};
use crate::IfIndex;

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
    pub(crate) fn ring(fd: BorrowedFd<'_>, length: usize, offset: libc::off_t) -> io::Result<Self> {
        Self::map(length, libc::MAP_SHARED, fd.as_raw_fd(), offset)
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

/// Opens an `AF_XDP` socket: `socket(2)`, Linux 4.18, `CAP_NET_RAW` (`xsk_create()` in `net/xdp/xsk.c`).
pub(crate) fn xdp_socket() -> io::Result<OwnedFd> {
    // SAFETY: the call takes numbers only.
    let fd = check(unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the call returned a new descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Registers memory as the frames of an `AF_XDP` socket, in chunks of `chunk` bytes: `setsockopt(XDP_UMEM_REG)`, Linux 4.18,
/// `CAP_IPC_LOCK` or enough `RLIMIT_MEMLOCK` (`xdp_umem_create()` in `net/xdp/xdp_umem.c`).
pub(crate) fn register_umem(fd: BorrowedFd<'_>, memory: &Mapping, chunk: u32) -> io::Result<()> {
    let umem = libc::xdp_umem_reg {
        addr: memory.start.as_ptr() as u64,
        len: narrow(memory.length)?,
        chunk_size: chunk,
        headroom: 0,
        flags: 0,
        tx_metadata_len: 0,
    };
    set_xdp_option(fd, libc::XDP_UMEM_REG, &umem)
}

/// Sets an option of an `AF_XDP` socket: `setsockopt(2)` at `SOL_XDP`, Linux 4.18 (`xsk_setsockopt()` in `net/xdp/xsk.c`).
/// `ENOPROTOOPT` if the kernel has no such option.
pub(crate) fn set_xdp_option<T: Copy>(fd: BorrowedFd<'_>, option: c_int, value: &T) -> io::Result<()> {
    let length = narrow(size_of::<T>())?;
    // SAFETY: the value is alive, and the length is its size.
    check(unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_XDP, option, ptr::from_ref(value).cast(), length)
    })?;
    Ok(())
}

/// Reads the layout of the rings of an `AF_XDP` socket in their mappings: `getsockopt(XDP_MMAP_OFFSETS)`, Linux 4.18. Before
/// 5.4 the kernel's structure had no `flags`; this returns `EINVAL` then.
pub(crate) fn ring_offsets(fd: BorrowedFd<'_>) -> io::Result<libc::xdp_mmap_offsets> {
    // SAFETY: the structure consists of integers, for which all zeros is a value.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { mem::zeroed() };
    let whole = narrow(size_of_val(&offsets))?;
    let mut length = whole;
    let place = (&raw mut offsets).cast();
    // SAFETY: the kernel writes at most `length` bytes, the size of the live structure behind the pointer.
    check(unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, place, &raw mut length)
    })?;
    if length == whole { Ok(offsets) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// Binds an `AF_XDP` socket to one queue of a link in copy mode: `bind(2)`, Linux 4.18, `CAP_NET_RAW` for the socket
/// (`xsk_bind()` in `net/xdp/xsk.c`). `EBUSY` if the queue has a socket, `ENODEV` or `EINVAL` if there is no such queue.
pub(crate) fn bind_xdp(fd: BorrowedFd<'_>, index: IfIndex, queue: u32) -> io::Result<()> {
    let address = libc::sockaddr_xdp {
        sxdp_family: narrow(libc::AF_XDP)?,
        sxdp_flags: libc::XDP_COPY,
        sxdp_ifindex: index.get(),
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: 0,
    };
    let length = narrow(size_of_val(&address))?;
    // SAFETY: the address is a live sockaddr_xdp, and the length is its size.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) })?;
    Ok(())
}

/// Makes the kernel send the frames in an `AF_XDP` socket's transmit ring: an empty `sendto(2)` (`xsk_sendmsg()` in
/// `net/xdp/xsk.c`). `EAGAIN` if frames are left, `EBUSY` if the driver dropped a frame.
pub(crate) fn kick(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: there is neither a buffer nor an address.
    check(unsafe { libc::sendto(fd.as_raw_fd(), ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) })?;
    Ok(())
}
