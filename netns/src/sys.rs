//! The system calls that no safe wrapper has: addresses, options and control messages of packet sockets, the rings of
//! `AF_XDP` sockets, the kind of a namespace, `bpf_link`s of XDP, programs by id and by pin, and what only `ethtool`'s `ioctl`
//! tells. Nothing else in the crate is unsafe.
#![expect(unsafe_code, reason = "system calls with pointers to structures of the kernel's ABI")]

use std::{
    ffi::CStr,
    io, mem,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, Ordering},
};

use libc::{c_int, c_void};

use crate::IfIndex;

/// A frame as `recvmsg` gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawPacket {
    /// Bytes that it has, be the buffer as short as it may.
    pub(crate) len: usize,
    /// `PACKET_HOST`, `PACKET_OUTGOING`, ...
    pub(crate) kind: u8,
    /// The VLAN tag that is no longer in its bytes: TPID and TCI as on the wire.
    pub(crate) tag: Option<[u8; 4]>,
}

/// The `CLONE_NEW*` flag of the namespace behind a descriptor: `ioctl(NS_GET_NSTYPE)`, Linux 4.11, no
/// capability (`ns_ioctl()` of `fs/nsfs.c`). `ENOTTY` if it is no namespace.
pub(crate) fn namespace_kind(fd: BorrowedFd<'_>) -> io::Result<c_int> {
    // SAFETY: the descriptor is open for as long as it is borrowed, and the request takes no argument.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::NS_GET_NSTYPE) })
}

/// Binds a packet socket to one link and to every protocol: `bind(2)`, any Linux, no capability beyond those
/// of `socket(2)` (`packet_bind()` of `net/packet/af_packet.c`; `packet(7)`). `ENODEV` if there is no such
/// link.
pub(crate) fn bind_packet(fd: BorrowedFd<'_>, index: IfIndex) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: narrow(libc::AF_PACKET)?,
        sll_protocol: narrow::<u16, _>(libc::ETH_P_ALL)?.to_be(),
        sll_ifindex: narrow(index.get())?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = narrow(size_of_val(&address))?;
    // SAFETY: the address is a live sockaddr_ll, and the length is its own.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) })?;
    Ok(())
}

/// Sets a packet socket's option that is an `int`: `setsockopt(2)` at `SOL_PACKET`, no capability
/// (`packet_setsockopt()` of `net/packet/af_packet.c`). `ENOPROTOOPT` if the kernel has no such option.
/// `PACKET_AUXDATA` is of Linux 2.6.21, `PACKET_IGNORE_OUTGOING` of 4.20.
pub(crate) fn set_packet_option(fd: BorrowedFd<'_>, option: c_int, value: c_int) -> io::Result<()> {
    let length = narrow(size_of::<c_int>())?;
    // SAFETY: the value is a live int, and the length is an int's.
    check(unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_PACKET, option, (&raw const value).cast(), length)
    })?;
    Ok(())
}

/// Makes an open `/dev/net/tun` the user's end of a new tap in the calling thread's namespace, frames without any
/// header of their own: `ioctl(TUNSETIFF)`, `CAP_NET_ADMIN` (`tun_set_iff()` of `drivers/net/tun.c`). `EBUSY` if the
/// name is taken.
pub(crate) fn make_tap(fd: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    // SAFETY: ifreq is made of integers and a union of such, for which all zeros is a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    if name.len() > room {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name) {
        *place = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags = narrow(libc::IFF_TAP | libc::IFF_NO_PI)?;
    // SAFETY: the descriptor is open for as long as it is borrowed, and the structure is the request's, zero-terminated
    // name included.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw const request) })?;
    Ok(())
}

/// An `ifreq` that names a link and points to a structure of ethtool's, for `SIOCETHTOOL`.
fn ethtool(socket: BorrowedFd<'_>, name: &[u8], structure: *mut c_void) -> io::Result<()> {
    const SIOCETHTOOL: u64 = 0x8946;
    // SAFETY: ifreq is made of integers and a union of such and of pointers, for which all zeros is a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    if name.len() > room {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name) {
        *place = byte.cast_signed();
    }
    request.ifr_ifru.ifru_data = structure.cast();
    // SAFETY: the descriptor is open for as long as it is borrowed; the structure behind the pointer is alive and, as the
    // callers see to, as long as the kernel takes it to be.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), narrow(SIOCETHTOOL)?, &raw const request) })?;
    Ok(())
}

/// A driver's name, its version, the firmware's version and the device's place on its bus, each up to a zero byte:
/// `ioctl(SIOCETHTOOL)` with `ETHTOOL_GDRVINFO`, any Linux, no capability (`ethtool_get_drvinfo()` of
/// `net/ethtool/ioctl.c`). `EOPNOTSUPP` if there is no driver to ask.
pub(crate) fn driver_info(socket: BorrowedFd<'_>, name: &[u8]) -> io::Result<[[u8; 32]; 4]> {
    /// `struct ethtool_drvinfo` (`include/uapi/linux/ethtool.h`).
    #[repr(C)]
    struct DriverInfo {
        command: u32,
        /// Driver, version, firmware, bus.
        told: [[u8; 32]; 4],
        extended_rom: [u8; 32],
        reserved: [u8; 12],
        counts: [u32; 5],
    }
    const ETHTOOL_GDRVINFO: u32 = 3;
    let mut info = DriverInfo {
        command: ETHTOOL_GDRVINFO,
        told: [[0; 32]; 4],
        extended_rom: [0; 32],
        reserved: [0; 12],
        counts: [0; 5],
    };
    ethtool(socket, name, (&raw mut info).cast())?;
    Ok(info.told)
}

/// A driver's own statistics, of which there are so many: `ioctl(SIOCETHTOOL)` with `ETHTOOL_GSTATS`, any Linux, no
/// capability (`ethtool_get_stats()` of `net/ethtool/ioctl.c`).
pub(crate) fn driver_statistics(socket: BorrowedFd<'_>, name: &[u8], count: usize) -> io::Result<Vec<u64>> {
    const ETHTOOL_GSTATS: u32 = 29;
    /// The kernel writes as many as the driver has *now*, whatever room it was told of. Should the driver have got more since
    /// it was asked how many (more queues), they go here: no driver's queues are so many.
    const SLACK: usize = 1 << 16;
    // The head of `struct ethtool_stats` is a command and a number, 8 bytes in all.
    let mut room = vec![0_u64; 1 + count + SLACK];
    let (command, number) = (ETHTOOL_GSTATS.to_ne_bytes(), narrow::<u32, _>(count)?.to_ne_bytes());
    let mut head = [0; 8];
    head[..4].copy_from_slice(&command);
    head[4..].copy_from_slice(&number);
    room[0] = u64::from_ne_bytes(head);
    ethtool(socket, name, room.as_mut_ptr().cast())?;
    Ok(room[1..=count].to_vec())
}

/// Reads and resets a packet socket's number of dropped frames: `getsockopt(PACKET_STATISTICS)`, any Linux,
/// no capability (`packet_getsockopt()` of `net/packet/af_packet.c`).
pub(crate) fn packet_drops(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut length = narrow(size_of_val(&statistics))?;
    let place = (&raw mut statistics).cast();
    // SAFETY: the kernel writes at most `length` bytes, which is the size of the live structure behind the
    // pointer.
    check(unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, place, &raw mut length)
    })?;
    Ok(statistics.tp_drops)
}

/// Room for the one control message that is asked for (`CMSG_SPACE` of it is 40 bytes), aligned as they must
/// be.
#[repr(C, align(8))]
struct Control([u8; 128]);

/// Takes one frame from a packet socket, with its direction and with the VLAN tag that the stack has taken
/// out of it: `recvmsg(2)`, no capability (`packet_recvmsg()` of `net/packet/af_packet.c`). The tag needs
/// `PACKET_AUXDATA` and Linux 3.0, its TPID 3.14; before that every tag was 0x8100.
pub(crate) fn receive_packet(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<RawPacket> {
    let mut control = Control([0; _]);
    let mut piece = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: sockaddr_ll is made of integers, for which all zeros is a value.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    // SAFETY: msghdr is made of integers and pointers, for which all zeros is a value.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = (&raw mut address).cast();
    message.msg_namelen = narrow(size_of_val(&address))?;
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast::<c_void>();
    message.msg_controllen = narrow(size_of_val(&control))?;
    // SAFETY: name, vector, buffer and control room are alive and writable for the lengths that the message
    // gives. MSG_TRUNC makes the result the frame's own length; no more than the buffer's is written.
    let len = check(unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, libc::MSG_TRUNC) })?;
    // SAFETY: recvmsg has filled the message in, and `control` is alive.
    let auxdata = unsafe { auxdata(&message) };
    Ok(RawPacket { len: narrow(len)?, kind: address.sll_pkttype, tag: auxdata.and_then(tag) })
}

/// The auxiliary data among the control messages of a message.
///
/// # Safety
/// The message's control pointer and length are as `recvmsg` left them, and the memory behind them is alive.
unsafe fn auxdata(message: &libc::msghdr) -> Option<libc::tpacket_auxdata> {
    const WHOLE: usize = size_of::<libc::cmsghdr>() + size_of::<libc::tpacket_auxdata>();
    // SAFETY: as the caller promises.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: a header that these functions give is null or lies whole in the control memory, aligned.
    while let Some(header) = unsafe { next.as_ref() } {
        if (header.cmsg_level, header.cmsg_type) == (libc::SOL_PACKET, libc::PACKET_AUXDATA)
            // The kernel cuts a message that has no room left (put_cmsg() of net/core/scm.c).
            && header.cmsg_len >= WHOLE
        {
            // SAFETY: the header is one of the control memory.
            let data = unsafe { libc::CMSG_DATA(header) };
            // SAFETY: the header's length says that the whole structure is there. The read needs no
            // alignment.
            return Some(unsafe { ptr::read_unaligned(data.cast()) });
        }
        // SAFETY: the header is the last that was given for this message.
        next = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

fn tag(auxdata: libc::tpacket_auxdata) -> Option<[u8; 4]> {
    let has = |flag| auxdata.tp_status & flag != 0;
    let tpid = if has(libc::TP_STATUS_VLAN_TPID_VALID) { auxdata.tp_vlan_tpid } else { 0x8100 };
    let ([a, b], [c, d]) = (tpid.to_be_bytes(), auxdata.tp_vlan_tci.to_be_bytes());
    has(libc::TP_STATUS_VLAN_VALID).then_some([a, b, c, d])
}

/// Memory that we share with the kernel. Every access is checked against its length; it is unmapped when this is
/// dropped, which the kernel's own hold on its pages outlives.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory belongs to the process, not to a thread, and is unmapped once.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Zeros of our own: `mmap(MAP_ANONYMOUS)`, any Linux, no capability.
    pub(crate) fn anonymous(length: usize) -> io::Result<Self> {
        Self::map(length, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    }

    /// A ring of an `AF_XDP` socket: `mmap`, Linux 4.18, no capability (`xsk_mmap()` of `net/xdp/xsk.c`).
    pub(crate) fn of(fd: BorrowedFd<'_>, length: usize, offset: libc::off_t) -> io::Result<Self> {
        Self::map(length, libc::MAP_SHARED, fd.as_raw_fd(), offset)
    }

    fn map(length: usize, flags: c_int, fd: c_int, offset: libc::off_t) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the kernel chooses an address where nothing is.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), length, access, flags | libc::MAP_POPULATE, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, length })
    }

    /// Its address, for the kernel.
    pub(crate) fn address(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    fn place<T>(&self, offset: usize) -> NonNull<T> {
        let end = offset.checked_add(size_of::<T>());
        assert!(end.is_some_and(|end| end <= self.length), "{offset} lies beyond the mapping");
        // SAFETY: the place lies within the mapping.
        let place = unsafe { self.start.add(offset) }.cast::<T>();
        assert!(place.is_aligned(), "{offset} is no place for the value");
        place
    }

    fn counter(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: the place is aligned and in the mapping, which lives as long as the reference; kernel and process change
        // it by atomic accesses only.
        unsafe { AtomicU32::from_ptr(self.place(offset).as_ptr()) }
    }

    /// Reads what the other side has published, and with it everything that it wrote before.
    pub(crate) fn acquire(&self, offset: usize) -> u32 {
        self.counter(offset).load(Ordering::Acquire)
    }

    /// Publishes a value, and with it everything that was written before.
    pub(crate) fn release(&self, offset: usize, value: u32) {
        self.counter(offset).store(value, Ordering::Release);
    }

    /// Writes where a ring has a descriptor; the other side does not read it before it is published.
    pub(crate) fn write_descriptor(&mut self, offset: usize, descriptor: libc::xdp_desc) {
        // SAFETY: the place is aligned and in the mapping, which nobody else writes to meanwhile.
        unsafe { self.place(offset).write(descriptor) };
    }

    /// Copies bytes to a place.
    pub(crate) fn copy_in(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset.checked_add(bytes.len());
        assert!(end.is_some_and(|end| end <= self.length), "{offset} lies beyond the mapping");
        // SAFETY: the place lies within the mapping.
        let place = unsafe { self.start.add(offset) };
        // SAFETY: there is room for all bytes, as checked above; they lie elsewhere, for the mapping is borrowed.
        unsafe { place.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, of that length, and nothing refers to it any more.
        let _unmapped = unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// Opens an `AF_XDP` socket: `socket(2)`, Linux 4.18, `CAP_NET_RAW` (`xsk_create()` of `net/xdp/xsk.c`).
pub(crate) fn xdp_socket() -> io::Result<OwnedFd> {
    // SAFETY: the call takes numbers only.
    let fd = check(unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the call gave a new descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes memory the place of an `AF_XDP` socket's frames, in chunks of `chunk` bytes: `setsockopt(XDP_UMEM_REG)`, Linux
/// 4.18, `CAP_IPC_LOCK` or enough `RLIMIT_MEMLOCK` (`xdp_umem_create()` of `net/xdp/xdp_umem.c`).
pub(crate) fn register_frames(fd: BorrowedFd<'_>, memory: &Mapping, chunk: u32) -> io::Result<()> {
    let frames = libc::xdp_umem_reg {
        addr: memory.address(),
        len: narrow(memory.length)?,
        chunk_size: chunk,
        headroom: 0,
        flags: 0,
        tx_metadata_len: 0,
    };
    set_xdp_option(fd, libc::XDP_UMEM_REG, &frames)
}

/// Sets an `AF_XDP` socket's option: `setsockopt(2)` at `SOL_XDP`, Linux 4.18 (`xsk_setsockopt()` of `net/xdp/xsk.c`).
/// `ENOPROTOOPT` if the kernel has no such option.
pub(crate) fn set_xdp_option<T: Copy>(fd: BorrowedFd<'_>, option: c_int, value: &T) -> io::Result<()> {
    let length = narrow(size_of::<T>())?;
    // SAFETY: the value is alive, and the length is its own.
    check(unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_XDP, option, ptr::from_ref(value).cast(), length)
    })?;
    Ok(())
}

/// Where in the mappings of an `AF_XDP` socket's rings what lies: `getsockopt(XDP_MMAP_OFFSETS)`, Linux 4.18; before 5.4
/// the kernel's structure had no `flags` and this answers `EINVAL`.
pub(crate) fn ring_offsets(fd: BorrowedFd<'_>) -> io::Result<libc::xdp_mmap_offsets> {
    // SAFETY: the structure is made of integers, for which all zeros is a value.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { mem::zeroed() };
    let whole = narrow(size_of_val(&offsets))?;
    let mut length = whole;
    let place = (&raw mut offsets).cast();
    // SAFETY: the kernel writes at most `length` bytes, which is the size of the live structure behind the pointer.
    check(unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, place, &raw mut length)
    })?;
    if length == whole { Ok(offsets) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// Binds an `AF_XDP` socket to one queue of a link, frames to be copied: `bind(2)`, Linux 4.18, `CAP_NET_RAW` for the
/// socket (`xsk_bind()` of `net/xdp/xsk.c`). `EBUSY` if the queue has one, `ENODEV` or `EINVAL` if there is none.
pub(crate) fn bind_xdp(fd: BorrowedFd<'_>, index: IfIndex, queue: u32) -> io::Result<()> {
    let address = libc::sockaddr_xdp {
        sxdp_family: narrow(libc::AF_XDP)?,
        sxdp_flags: libc::XDP_COPY,
        sxdp_ifindex: index.get(),
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: 0,
    };
    let length = narrow(size_of_val(&address))?;
    // SAFETY: the address is a live sockaddr_xdp, and the length is its own.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) })?;
    Ok(())
}

/// Has the kernel send what lies in an `AF_XDP` socket's ring: `sendto(2)` of nothing (`xsk_sendmsg()` of
/// `net/xdp/xsk.c`). `EAGAIN` if some is left to send, `EBUSY` if the driver dropped a frame.
pub(crate) fn kick(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: there is neither a buffer nor an address.
    check(unsafe { libc::sendto(fd.as_raw_fd(), ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) })?;
    Ok(())
}

/// What the kernel says of a `bpf_link` of XDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawLinkInfo {
    /// `BPF_LINK_TYPE_*`.
    pub(crate) kind: u32,
    /// The program's id.
    pub(crate) program: u32,
    /// The link's index in its namespace; 0 once the device is gone.
    pub(crate) index: u32,
}

/// Attaches a program to a link by `bpf(BPF_LINK_CREATE)`, Linux 5.9, `CAP_NET_ADMIN` over the namespace
/// (`link_create()` of `kernel/bpf/syscall.c`, `bpf_xdp_link_attach()` of `net/core/dev.c`). The index is of
/// the calling thread's namespace. The descriptor is closed on `exec`.
pub(crate) fn create_xdp_link(program: BorrowedFd<'_>, index: IfIndex, flags: u32) -> io::Result<OwnedFd> {
    /// The head of `union bpf_attr` for this command (`include/uapi/linux/bpf.h`).
    #[repr(C)]
    struct Create {
        program: c_int,
        index: u32,
        attach_type: u32,
        flags: u32,
    }
    const BPF_LINK_CREATE: c_int = 28;
    const BPF_XDP: u32 = 37;
    let mut create = Create { program: program.as_raw_fd(), index: index.get(), attach_type: BPF_XDP, flags };
    // SAFETY: the structure is this command's, and it holds no pointer.
    let fd = unsafe { bpf(BPF_LINK_CREATE, &mut create) }?;
    // SAFETY: the call gave a new descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts another program in a link's place by `bpf(BPF_LINK_UPDATE)`, Linux 5.9, only if `expected` is what it
/// has (`BPF_F_REPLACE`), where one is (`link_update()` of `kernel/bpf/syscall.c`, `bpf_xdp_link_update()` of
/// `net/core/dev.c`).
pub(crate) fn update_link(
    link: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    expected: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    /// The head of `union bpf_attr` for this command (`include/uapi/linux/bpf.h`).
    #[repr(C)]
    struct Update {
        link: c_int,
        program: c_int,
        flags: u32,
        expected: c_int,
    }
    const BPF_LINK_UPDATE: c_int = 29;
    const BPF_F_REPLACE: u32 = 1 << 2;
    let mut update = Update {
        link: link.as_raw_fd(),
        program: program.as_raw_fd(),
        flags: expected.map_or(0, |_| BPF_F_REPLACE),
        expected: expected.map_or(0, |expected| expected.as_raw_fd()),
    };
    // SAFETY: the structure is this command's, and it holds no pointer.
    unsafe { bpf(BPF_LINK_UPDATE, &mut update) }.map(drop)
}

/// Asks about a link by `bpf(BPF_OBJ_GET_INFO_BY_FD)`, Linux 5.9 for links of XDP, no capability
/// (`bpf_link_get_info_by_fd()` of `kernel/bpf/syscall.c`, `bpf_xdp_link_fill_link_info()` of
/// `net/core/dev.c`).
pub(crate) fn link_info(link: BorrowedFd<'_>) -> io::Result<RawLinkInfo> {
    /// The head of `struct bpf_link_info` (`include/uapi/linux/bpf.h`), whose union is aligned to 8 bytes.
    #[repr(C, align(8))]
    struct Info {
        kind: u32,
        id: u32,
        program: u32,
        hole: u32,
        index: u32,
    }
    let mut info = Info { kind: 0, id: 0, program: 0, hole: 0, index: 0 };
    // SAFETY: that is what a link's descriptor gives, and it is made of integers.
    unsafe { object_info(link, &mut info) }?;
    Ok(RawLinkInfo { kind: info.kind, program: info.program, index: info.index })
}

/// A `bpf_link` by its id: `bpf(BPF_LINK_GET_FD_BY_ID)`, Linux 5.8, `CAP_SYS_ADMIN` (`bpf_link_get_fd_by_id()` of
/// `kernel/bpf/syscall.c`). `ENOENT` if it is gone.
pub(crate) fn link_by_id(id: u32) -> io::Result<OwnedFd> {
    const BPF_LINK_GET_FD_BY_ID: c_int = 30;
    descriptor_by_id(BPF_LINK_GET_FD_BY_ID, id)
}

/// A program by its id: `bpf(BPF_PROG_GET_FD_BY_ID)`, Linux 4.13, `CAP_SYS_ADMIN` (`bpf_prog_get_fd_by_id()` of
/// `kernel/bpf/syscall.c`). `ENOENT` if it is gone.
pub(crate) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    const BPF_PROG_GET_FD_BY_ID: c_int = 13;
    descriptor_by_id(BPF_PROG_GET_FD_BY_ID, id)
}

/// The head of `union bpf_attr` for the commands that go by an id.
#[repr(C)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

fn descriptor_by_id(command: c_int, id: u32) -> io::Result<OwnedFd> {
    let mut by_id = ById { id, next: 0, flags: 0 };
    // SAFETY: the structure is this command's, and it holds no pointer.
    let fd = unsafe { bpf(command, &mut by_id) }?;
    // SAFETY: the call gave a new descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The least id of a `bpf_link` that is greater than this one: `bpf(BPF_LINK_GET_NEXT_ID)`, Linux 5.8, `CAP_SYS_ADMIN`
/// (`bpf_obj_get_next_id()` of `kernel/bpf/syscall.c`).
pub(crate) fn next_link(id: u32) -> io::Result<Option<u32>> {
    const BPF_LINK_GET_NEXT_ID: c_int = 31;
    let mut by_id = ById { id, next: 0, flags: 0 };
    // SAFETY: the structure is this command's, and it holds no pointer.
    match unsafe { bpf(BPF_LINK_GET_NEXT_ID, &mut by_id) } {
        Ok(_) => Ok(Some(by_id.next)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Asks the kernel what is behind a descriptor: `bpf(BPF_OBJ_GET_INFO_BY_FD)`.
///
/// # Safety
/// `info` is the head of the structure that the kernel gives for this kind of descriptor, and any bytes are a value of it.
unsafe fn object_info<T>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    /// The head of `union bpf_attr` for this command.
    #[repr(C)]
    struct Query {
        object: c_int,
        length: u32,
        info: u64,
    }
    const BPF_OBJ_GET_INFO_BY_FD: c_int = 15;
    let length = narrow(size_of_val(info))?;
    let mut query = Query { object: object.as_raw_fd(), length, info: (&raw mut *info) as u64 };
    // SAFETY: the structure is this command's; `info` is alive, the length is its own, and the rest is the caller's promise.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut query) }.map(drop)
}

/// An array in which counters of 4 or 8 bytes are, under keys of 4 bytes, and how the kernel lays their values out.
#[derive(Debug)]
pub(crate) struct CounterArray {
    map: OwnedFd,
    keys: u32,
    layout: CounterLayout,
}

/// How the kernel lays out what it gives of an array of counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CounterLayout {
    /// Bytes of a counter: 4 or 8.
    pub(crate) width: usize,
    /// Bytes from one to the next: in a map that is per CPU, each begins at a multiple of 8 bytes (`bpf_map_value_size()` of
    /// `kernel/bpf/syscall.c`).
    pub(crate) stride: usize,
    /// Counters of a key: one for each possible CPU, or one.
    pub(crate) places: usize,
}

impl CounterArray {
    /// Looks at a map (`bpf_map_get_info_by_fd()` of `kernel/bpf/syscall.c`, Linux 4.13); nothing if it is no such array.
    pub(crate) fn of(map: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        /// The head of `struct bpf_map_info`.
        #[repr(C)]
        #[derive(Default)]
        struct Info {
            kind: u32,
            id: u32,
            key: u32,
            value: u32,
            keys: u32,
            flags: u32,
        }
        /// `enum bpf_map_type` of `include/uapi/linux/bpf.h`.
        const ARRAY: u32 = 2;
        const PERCPU_ARRAY: u32 = 6;
        let mut info = Info::default();
        // SAFETY: that is what a map's descriptor gives, and it is made of integers.
        unsafe { object_info(map, &mut info) }?;
        let width = match (info.key, info.value) {
            (4, 4) => 4,
            (4, 8) => 8,
            _ => return Ok(None),
        };
        let layout = match info.kind {
            ARRAY => CounterLayout { width, stride: width, places: 1 },
            PERCPU_ARRAY => CounterLayout { width, stride: 8, places: possible_cpus()? },
            _ => return Ok(None),
        };
        Ok(Some(Self { map: map.try_clone_to_owned()?, keys: info.keys, layout }))
    }

    pub(crate) fn layout(&self) -> CounterLayout {
        self.layout
    }

    /// The values of all keys, one behind the other: `bpf(BPF_MAP_LOOKUP_BATCH)`, Linux 5.6, `CAP_SYS_ADMIN` or `CAP_BPF`
    /// (`generic_map_lookup_batch()` of `kernel/bpf/syscall.c`). `EINVAL` before, `ENOTSUPP` (524) for a type of map that has no
    /// such call.
    pub(crate) fn values(&self) -> io::Result<Vec<u8>> {
        /// `union bpf_attr` for this command.
        #[repr(C)]
        struct Batch {
            from: u64,
            next: u64,
            keys: u64,
            values: u64,
            count: u32,
            map: c_int,
            element_flags: u64,
            flags: u64,
        }
        const BPF_MAP_LOOKUP_BATCH: c_int = 24;
        let CounterLayout { stride, places, .. } = self.layout;
        let keys: usize = narrow(self.keys)?;
        let (mut next, mut names, mut values) =
            (0_u32, vec![0_u32; keys], vec![0_u8; keys * stride * places]);
        let mut batch = Batch {
            from: 0,
            next: (&raw mut next) as u64,
            keys: names.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: self.keys,
            map: self.map.as_raw_fd(),
            element_flags: 0,
            flags: 0,
        };
        // SAFETY: the structure is this command's, and what it points to is alive and writable: a key and the values of all CPUs
        // for each of `count` entries, in the sizes that the kernel has named for this map.
        match unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut batch) } {
            // ENOENT: these were the last ones.
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
            _ if batch.count == self.keys => Ok(values),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// How many CPUs there may come to be: so many values has an entry that is per CPU (`num_possible_cpus()`).
fn possible_cpus() -> io::Result<usize> {
    const LIST: &str = "/sys/devices/system/cpu/possible";
    let list = std::fs::read_to_string(LIST)?;
    cpus_of(&list).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{LIST} says `{list}`")))
}

/// How many CPUs a list names, as in `0-3,8`.
fn cpus_of(list: &str) -> Option<usize> {
    list.trim().split(',').try_fold(0_usize, |cpus, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        cpus.checked_add(last.checked_sub(first)?)?.checked_add(1)
    })
}

/// How many programs tcx has at a link, going in (46, `BPF_TCX_INGRESS`) or out (47): `bpf(BPF_PROG_QUERY)`, Linux 6.6,
/// `CAP_NET_ADMIN` (`tcx_prog_query()` of `kernel/bpf/tcx.c`). `EINVAL` before.
pub(crate) fn count_tcx(index: IfIndex, direction: u32) -> io::Result<u32> {
    /// The head of `union bpf_attr` for this command, up to the last field that the kernel writes.
    #[repr(C)]
    #[derive(Default)]
    struct Query {
        index: u32,
        attach_type: u32,
        flags: u32,
        attach_flags: u32,
        program_ids: u64,
        count: u32,
        hole: u32,
        /// Pointers that are not asked for.
        lists: [u64; 3],
        revision: u64,
    }
    const BPF_PROG_QUERY: c_int = 16;
    let mut query = Query { index: index.get(), attach_type: direction, ..Query::default() };
    // SAFETY: the structure is this command's, its pointers are null, and there is room for all that the kernel writes.
    unsafe { bpf(BPF_PROG_QUERY, &mut query) }?;
    Ok(query.count)
}

/// The head of `union bpf_attr` for the commands that go by a path.
#[repr(C)]
struct ByPath {
    path: u64,
    fd: u32,
    flags: u32,
}

/// Keeps a program under a path of a bpf file system: `bpf(BPF_OBJ_PIN)`, Linux 4.4 (`bpf_obj_pin()` of
/// `kernel/bpf/syscall.c`). `EEXIST` if it is taken, `EPERM` if the file system is another one.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    const BPF_OBJ_PIN: c_int = 6;
    let mut by_path = ByPath { path: path.as_ptr() as u64, fd: narrow(object.as_raw_fd())?, flags: 0 };
    // SAFETY: the structure is this command's, and the path that it points to is alive.
    unsafe { bpf(BPF_OBJ_PIN, &mut by_path) }.map(drop)
}

/// What is kept under a path of a bpf file system: `bpf(BPF_OBJ_GET)`, Linux 4.4 (`bpf_obj_get()` of
/// `kernel/bpf/syscall.c`).
pub(crate) fn pinned(path: &CStr) -> io::Result<OwnedFd> {
    const BPF_OBJ_GET: c_int = 7;
    let mut by_path = ByPath { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: the structure is this command's, and the path that it points to is alive.
    let fd = unsafe { bpf(BPF_OBJ_GET, &mut by_path) }?;
    // SAFETY: the call gave a new descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `bpf(2)`. The kernel takes what is behind the end of a short structure for zeros.
///
/// # Safety
/// The structure is laid out as the command wants it, and what its pointers point to is alive.
unsafe fn bpf<T>(command: c_int, attribute: &mut T) -> io::Result<c_int> {
    let length = size_of::<T>();
    let place: *mut T = attribute;
    // SAFETY: the structure is alive and of that length; the rest is the caller's promise.
    narrow(check(unsafe { libc::syscall(libc::SYS_bpf, command, place, length) })?)
}

/// The errno of a call that gave -1.
fn check<T: PartialOrd + From<i8>>(result: T) -> io::Result<T> {
    if result < T::from(0) { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A number in the width of the kernel's structure.
fn narrow<T: TryFrom<S>, S>(number: S) -> io::Result<T> {
    number.try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Loads the least XDP program there is, which lets every frame pass: `bpf(BPF_PROG_LOAD)`, `CAP_BPF` and
/// `CAP_NET_ADMIN` (`bpf_prog_load()` of `kernel/bpf/syscall.c`).
#[cfg(test)]
pub(crate) fn load_passing_program() -> io::Result<OwnedFd> {
    /// The head of `union bpf_attr` for this command (`include/uapi/linux/bpf.h`); the kernel takes the rest
    /// for zeros.
    #[repr(C)]
    struct Load {
        kind: u32,
        instructions: u32,
        code: u64,
        license: u64,
    }
    const BPF_PROG_LOAD: c_int = 5;
    const BPF_PROG_TYPE_XDP: u32 = 6;
    // r0 = XDP_PASS; exit
    let code: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 2, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    let mut load = Load {
        kind: BPF_PROG_TYPE_XDP,
        instructions: 2,
        code: code.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
    };
    // SAFETY: the structure is this command's, and the code and the license that it points to are alive.
    let fd = unsafe { bpf(BPF_PROG_LOAD, &mut load) }?;
    // SAFETY: the call gave a new descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::cpus_of;

    #[test]
    fn cpus_are_counted_by_their_ranges() {
        assert_eq!(cpus_of("0\n"), Some(1));
        assert_eq!(cpus_of("0-3,8,10-11\n"), Some(7));
        for broken in ["", "a", "3-1", "0-", "0-18446744073709551615"] {
            assert_eq!(cpus_of(broken), None, "{broken}");
        }
    }
}
