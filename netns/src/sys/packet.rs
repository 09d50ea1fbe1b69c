//! `AF_PACKET` sockets: addresses, options and control messages.

use std::{
    io, mem,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

use libc::{c_int, c_void};

use super::{check, narrow};
use crate::IfIndex;

/// A frame from `recvmsg(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawPacket {
    /// Length of the frame, which may exceed the buffer's.
    pub(crate) len: usize,
    /// `PACKET_HOST`, `PACKET_OUTGOING`, ...
    pub(crate) kind: u8,
    /// VLAN tag that the stack removed from the bytes: TPID and TCI in network byte order.
    pub(crate) tag: Option<[u8; 4]>,
}

/// Binds a packet socket to one link and to every protocol: `bind(2)`, any Linux, no capability beyond those of `socket(2)`
/// (`packet_bind()` in `net/packet/af_packet.c`; `packet(7)`). `ENODEV` if there is no such link.
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
    // SAFETY: the address is a live sockaddr_ll, and the length is its size.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) })?;
    Ok(())
}

/// Sets an integer option of a socket: `setsockopt(2)`. `ENOPROTOOPT` if the kernel has no such option. At `SOL_PACKET`
/// (`packet_setsockopt()` in `net/packet/af_packet.c`) no option used here needs a capability; `PACKET_AUXDATA` exists since
/// Linux 2.6.21, `PACKET_IGNORE_OUTGOING` since 4.20.
pub(crate) fn set_option(fd: BorrowedFd<'_>, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    let length = narrow(size_of::<c_int>())?;
    // SAFETY: the value is a live int, and the length is its size.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const value).cast(), length) })?;
    Ok(())
}

/// Reads and resets the number of frames that a packet socket dropped: `getsockopt(PACKET_STATISTICS)`, any Linux, no
/// capability (`packet_getsockopt()` in `net/packet/af_packet.c`).
pub(crate) fn packet_drops(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut length = narrow(size_of_val(&statistics))?;
    let place = (&raw mut statistics).cast();
    // SAFETY: the kernel writes at most `length` bytes, the size of the live structure behind the pointer.
    check(unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, place, &raw mut length)
    })?;
    Ok(statistics.tp_drops)
}

/// An aligned buffer for the one requested control message (its `CMSG_SPACE` is 40 bytes).
#[repr(C, align(8))]
struct Control([u8; 128]);

/// Receives one frame from a packet socket, with its direction and the VLAN tag that the stack removed: `recvmsg(2)`, no
/// capability (`packet_recvmsg()` in `net/packet/af_packet.c`). The tag needs `PACKET_AUXDATA` and Linux 3.0, its TPID 3.14;
/// every tag was 0x8100 before that.
pub(crate) fn receive_packet(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<RawPacket> {
    let mut control = Control([0; _]);
    let mut piece = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: sockaddr_ll consists of integers, for which all zeros is a value.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    // SAFETY: msghdr consists of integers and pointers, for which all zeros is a value.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = (&raw mut address).cast();
    message.msg_namelen = narrow(size_of_val(&address))?;
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast::<c_void>();
    message.msg_controllen = narrow(size_of_val(&control))?;
    // SAFETY: name, vector, buffer and control buffer are alive and writable for the lengths in the message. With MSG_TRUNC
    // the result is the frame's length; no more than the buffer's length is written.
    let len = check(unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, libc::MSG_TRUNC) })?;
    // SAFETY: recvmsg has filled in the message, and `control` is alive.
    let auxdata = unsafe { auxdata(&message) };
    Ok(RawPacket { len: narrow(len)?, kind: address.sll_pkttype, tag: auxdata.and_then(tag) })
}

/// Finds the auxiliary data among the control messages of a message.
///
/// # Safety
/// The message's control pointer and length are those that `recvmsg` left, and the memory behind them is alive.
unsafe fn auxdata(message: &libc::msghdr) -> Option<libc::tpacket_auxdata> {
    const WHOLE: usize = size_of::<libc::cmsghdr>() + size_of::<libc::tpacket_auxdata>();
    // SAFETY: the caller promises the same.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: a header that these functions return is null or lies within the control memory, aligned.
    while let Some(header) = unsafe { next.as_ref() } {
        if (header.cmsg_level, header.cmsg_type) == (libc::SOL_PACKET, libc::PACKET_AUXDATA)
            // The kernel truncates a message that does not fit (put_cmsg() in net/core/scm.c).
            && header.cmsg_len >= WHOLE
        {
            // SAFETY: the header lies within the control memory.
            let data = unsafe { libc::CMSG_DATA(header) };
            // SAFETY: the header's length covers the whole structure. The read needs no alignment.
            return Some(unsafe { ptr::read_unaligned(data.cast()) });
        }
        // SAFETY: the header is the last that was returned for this message.
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
