//! `ioctl(2)`: the type of a namespace, and the parts of ethtool that netlink lacks.

use std::{
    io, mem,
    os::fd::{AsRawFd, BorrowedFd},
};

use libc::{c_int, c_void};

use super::{check, narrow};
use crate::{LinkName, MacAddr};

/// Returns the `CLONE_NEW*` flag of the namespace behind a descriptor: `ioctl(NS_GET_NSTYPE)`, Linux 4.11, no
/// capability (`ns_ioctl()` in `fs/nsfs.c`). `ENOTTY` if it is not a namespace.
pub(crate) fn namespace_kind(fd: BorrowedFd<'_>) -> io::Result<c_int> {
    // SAFETY: the descriptor is open while it is borrowed, and the request takes no argument.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::NS_GET_NSTYPE) })
}

/// Returns a request about a link, all of it zeros but for the name.
fn request_for(link: &LinkName) -> libc::ifreq {
    // SAFETY: ifreq consists of integers and of a union of integers and pointers, for which all zeros is a
    // value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    // A link name is at most IFNAMSIZ - 1 bytes long: the terminating NUL stays.
    for (place, byte) in request.ifr_name.iter_mut().zip(link.as_ref().bytes()) {
        *place = byte.cast_signed();
    }
    request
}

/// Adds a link-layer group address that stays until it is removed: `ioctl(SIOCADDMULTI)`, any Linux,
/// `CAP_NET_ADMIN` (`dev_mc_add_global()` in `net/core/dev_addr_lists.c`). `EEXIST` if it is there.
pub(crate) fn add_multicast(socket: BorrowedFd<'_>, link: &LinkName, address: MacAddr) -> io::Result<()> {
    let mut request = request_for(link);
    let mut data = [0; 14];
    for (place, byte) in data.iter_mut().zip(address.0) {
        *place = byte.cast_signed();
    }
    // The kernel wants no family (`dev_ifsioc()` in `net/core/dev_ioctl.c`): AF_UNSPEC is 0.
    request.ifr_ifru.ifru_hwaddr = libc::sockaddr { sa_family: 0, sa_data: data };
    // SAFETY: the descriptor is open while it is borrowed, and the request is a live ifreq.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCADDMULTI, &raw const request) })?;
    Ok(())
}

/// Sends a command of ethtool, which is in the first field of a structure: `ioctl(SIOCETHTOOL)`.
fn ethtool(socket: BorrowedFd<'_>, link: &LinkName, structure: *mut c_void) -> io::Result<()> {
    let mut request = request_for(link);
    request.ifr_ifru.ifru_data = structure.cast();
    // SAFETY: the descriptor is open while it is borrowed; the callers pass a live structure of the size that
    // the kernel derives from its command.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw const request) })?;
    Ok(())
}

/// Reads a driver's name, its version, the firmware's version and the device's bus address, each
/// NUL-terminated: `ioctl(SIOCETHTOOL)` with `ETHTOOL_GDRVINFO`, any Linux, no capability
/// (`ethtool_get_drvinfo()` in `net/ethtool/ioctl.c`). `EOPNOTSUPP` if the link has no driver.
pub(crate) fn driver_info(socket: BorrowedFd<'_>, link: &LinkName) -> io::Result<[[u8; 32]; 4]> {
    /// `struct ethtool_drvinfo` (`include/uapi/linux/ethtool.h`).
    #[repr(C)]
    #[derive(Default)]
    struct DriverInfo {
        command: u32,
        /// Driver, version, firmware, bus.
        texts: [[u8; 32]; 4],
        extended_rom: [u8; 32],
        reserved: [u8; 12],
        counts: [u32; 5],
    }
    const ETHTOOL_GDRVINFO: u32 = 3;
    let mut info = DriverInfo { command: ETHTOOL_GDRVINFO, ..DriverInfo::default() };
    ethtool(socket, link, (&raw mut info).cast())?;
    Ok(info.texts)
}

/// Reads `count` statistics of a driver: `ioctl(SIOCETHTOOL)` with `ETHTOOL_GSTATS`, any Linux, no capability
/// (`ethtool_get_stats()` in `net/ethtool/ioctl.c`).
pub(crate) fn driver_statistics(
    socket: BorrowedFd<'_>,
    link: &LinkName,
    count: usize,
) -> io::Result<Vec<u64>> {
    const ETHTOOL_GSTATS: u32 = 29;
    /// The kernel writes as many values as the driver has *now*, whatever count the structure says. Values of
    /// queues that were added since the count was read go here: no driver has that many.
    const SLACK: usize = 1 << 16;
    // `struct ethtool_stats` begins with command and count, 8 bytes in all.
    let mut room = vec![0_u64; 1 + count + SLACK];
    let (command, number) = (ETHTOOL_GSTATS.to_ne_bytes(), narrow::<u32, _>(count)?.to_ne_bytes());
    let mut head = [0; 8];
    head[..4].copy_from_slice(&command);
    head[4..].copy_from_slice(&number);
    room[0] = u64::from_ne_bytes(head);
    ethtool(socket, link, room.as_mut_ptr().cast())?;
    Ok(room[1..=count].to_vec())
}
