//! `AF_PACKET` sockets: their address and options. Messages are in `nix`.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use libc::c_int;

use super::{check, narrow};
use crate::IfIndex;

/// Binds a packet socket to one link and to every protocol: `bind(2)`, any Linux, no capability beyond those
/// of `socket(2)` (`packet_bind()` in `net/packet/af_packet.c`; `packet(7)`). `ENODEV` if there is no such
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
    // SAFETY: the address is a live sockaddr_ll, and the length is its size.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) })?;
    Ok(())
}

/// Sets an integer option of a socket: `setsockopt(2)`. `ENOPROTOOPT` if the kernel has no such option. At
/// `SOL_PACKET` (`packet_setsockopt()` in `net/packet/af_packet.c`) no option used here needs a capability;
/// `PACKET_AUXDATA` exists since Linux 2.6.21, `PACKET_IGNORE_OUTGOING` since 4.20.
pub(crate) fn set_option(fd: BorrowedFd<'_>, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    let length = narrow(size_of::<c_int>())?;
    // SAFETY: the value is a live int, and the length is its size.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const value).cast(), length) })?;
    Ok(())
}

/// Reads and resets the number of frames that a packet socket dropped: `getsockopt(PACKET_STATISTICS)`, any
/// Linux, no capability (`packet_getsockopt()` in `net/packet/af_packet.c`).
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
