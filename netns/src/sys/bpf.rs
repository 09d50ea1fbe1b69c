//! `bpf(2)`: `bpf_link`s of XDP, and programs by id and by pin. Each structure is the head of the command's
//! `union bpf_attr` (`include/uapi/linux/bpf.h`); the kernel assumes zeros for the rest.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use libc::c_int;

use super::{check, narrow};
use crate::IfIndex;

/// Calls `bpf(2)`.
///
/// # Safety
/// The structure has the command's layout, and the memory behind its pointers is alive.
pub(super) unsafe fn bpf<T>(command: c_int, attribute: &mut T) -> io::Result<c_int> {
    let length = size_of::<T>();
    let place: *mut T = attribute;
    // SAFETY: the structure is alive and of that length; the caller promises the rest.
    narrow(check(unsafe { libc::syscall(libc::SYS_bpf, command, place, length) })?)
}

/// Calls `bpf(2)` with a command that returns a descriptor, which is closed on `exec`.
///
/// # Safety
/// The structure has the command's layout, the memory behind its pointers is alive, and the command returns a
/// new descriptor.
pub(super) unsafe fn bpf_descriptor<T>(command: c_int, attribute: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller promises the same.
    let fd = unsafe { bpf(command, attribute) }?;
    // SAFETY: the call returned a new descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Reads the kernel's description of the object behind a descriptor: `bpf(BPF_OBJ_GET_INFO_BY_FD)`.
///
/// # Safety
/// `info` is the head of the kernel's structure for this kind of descriptor, and any bytes are a value of it.
pub(super) unsafe fn object_info<T>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    #[repr(C)]
    struct Query {
        object: c_int,
        length: u32,
        info: u64,
    }
    const BPF_OBJ_GET_INFO_BY_FD: c_int = 15;
    let length = narrow(size_of_val(info))?;
    let mut query = Query { object: object.as_raw_fd(), length, info: (&raw mut *info) as u64 };
    // SAFETY: the layout is the command's; `info` is alive and of that length, and the caller promises the
    // rest.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut query) }.map(drop)
}

/// Attaches a program to a link of the calling thread's namespace: `bpf(BPF_LINK_CREATE)`, Linux 5.9,
/// `CAP_NET_ADMIN` over the namespace (`link_create()` in `kernel/bpf/syscall.c`, `bpf_xdp_link_attach()` in
/// `net/core/dev.c`).
pub(crate) fn create_xdp_link(program: BorrowedFd<'_>, index: IfIndex, flags: u32) -> io::Result<OwnedFd> {
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
    // SAFETY: the layout is the command's, there is no pointer, and the command returns a new descriptor.
    unsafe { bpf_descriptor(BPF_LINK_CREATE, &mut create) }
}

/// Replaces the program of a `bpf_link`, only if it is `expected` where that is given (`BPF_F_REPLACE`):
/// `bpf(BPF_LINK_UPDATE)`, Linux 5.9 (`link_update()` in `kernel/bpf/syscall.c`, `bpf_xdp_link_update()` in
/// `net/core/dev.c`).
pub(crate) fn update_link(
    link: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    expected: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
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
    // SAFETY: the layout is the command's, and there is no pointer.
    unsafe { bpf(BPF_LINK_UPDATE, &mut update) }.map(drop)
}

/// The head of `struct bpf_link_info` (`include/uapi/linux/bpf.h`), whose union is aligned to 8 bytes.
#[repr(C, align(8))]
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct LinkInfo {
    /// `BPF_LINK_TYPE_*`.
    pub(crate) kind: u32,
    id: u32,
    /// Id of the program.
    pub(crate) program: u32,
    hole: u32,
    /// Index of the link in its namespace; 0 once the device is gone.
    pub(crate) index: u32,
}

/// Describes a `bpf_link`: `bpf(BPF_OBJ_GET_INFO_BY_FD)`, Linux 5.9 for links of XDP, no capability
/// (`bpf_link_get_info_by_fd()` in `kernel/bpf/syscall.c`, `bpf_xdp_link_fill_link_info()` in
/// `net/core/dev.c`).
pub(crate) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = LinkInfo::default();
    // SAFETY: the kernel's structure for a link begins so, and it consists of integers.
    unsafe { object_info(link, &mut info) }?;
    Ok(info)
}

#[repr(C)]
pub(super) struct ById {
    pub(super) id: u32,
    pub(super) next: u32,
    pub(super) flags: u32,
}

/// Opens a `bpf_link` by its id: `bpf(BPF_LINK_GET_FD_BY_ID)`, Linux 5.8, `CAP_SYS_ADMIN`
/// (`bpf_link_get_fd_by_id()` in `kernel/bpf/syscall.c`). `ENOENT` if it is gone.
pub(crate) fn link_by_id(id: u32) -> io::Result<OwnedFd> {
    const BPF_LINK_GET_FD_BY_ID: c_int = 30;
    // SAFETY: the layout is the command's, there is no pointer, and the command returns a new descriptor.
    unsafe { bpf_descriptor(BPF_LINK_GET_FD_BY_ID, &mut ById { id, next: 0, flags: 0 }) }
}

/// Opens a program by its id: `bpf(BPF_PROG_GET_FD_BY_ID)`, Linux 4.13, `CAP_SYS_ADMIN`
/// (`bpf_prog_get_fd_by_id()` in `kernel/bpf/syscall.c`). `ENOENT` if it is gone.
pub(crate) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    const BPF_PROG_GET_FD_BY_ID: c_int = 13;
    // SAFETY: the layout is the command's, there is no pointer, and the command returns a new descriptor.
    unsafe { bpf_descriptor(BPF_PROG_GET_FD_BY_ID, &mut ById { id, next: 0, flags: 0 }) }
}

/// Returns the next greater id of a `bpf_link`: `bpf(BPF_LINK_GET_NEXT_ID)`, Linux 5.8, `CAP_SYS_ADMIN`
/// (`bpf_obj_get_next_id()` in `kernel/bpf/syscall.c`).
pub(crate) fn next_link(id: u32) -> io::Result<Option<u32>> {
    const BPF_LINK_GET_NEXT_ID: c_int = 31;
    let mut by_id = ById { id, next: 0, flags: 0 };
    // SAFETY: the layout is the command's, and there is no pointer.
    match unsafe { bpf(BPF_LINK_GET_NEXT_ID, &mut by_id) } {
        Ok(_) => Ok(Some(by_id.next)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Counts the programs that tcx has at a link, ingress (46, `BPF_TCX_INGRESS`) or egress (47):
/// `bpf(BPF_PROG_QUERY)`, Linux 6.6, `CAP_NET_ADMIN` (`tcx_prog_query()` in `kernel/bpf/tcx.c`). `EINVAL`
/// before that.
pub(crate) fn tcx_programs(index: IfIndex, direction: u32) -> io::Result<u32> {
    /// Up to the last field that the kernel writes.
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
        /// Pointers to lists that are not requested.
        lists: [u64; 3],
        revision: u64,
    }
    const BPF_PROG_QUERY: c_int = 16;
    let mut query = Query { index: index.get(), attach_type: direction, ..Query::default() };
    // SAFETY: the layout is the command's, its pointers are null, and everything that the kernel writes fits.
    unsafe { bpf(BPF_PROG_QUERY, &mut query) }?;
    Ok(query.count)
}

#[repr(C)]
struct ByPath {
    path: u64,
    fd: u32,
    flags: u32,
}

/// Pins an object at a path of a bpf file system: `bpf(BPF_OBJ_PIN)`, Linux 4.4 (`bpf_obj_pin()` in
/// `kernel/bpf/syscall.c`). `EEXIST` if the path exists, `EPERM` on another file system.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    const BPF_OBJ_PIN: c_int = 6;
    let mut by_path = ByPath { path: path.as_ptr() as u64, fd: narrow(object.as_raw_fd())?, flags: 0 };
    // SAFETY: the layout is the command's, and the path is alive.
    unsafe { bpf(BPF_OBJ_PIN, &mut by_path) }.map(drop)
}

/// Opens the object that is pinned at a path: `bpf(BPF_OBJ_GET)`, Linux 4.4 (`bpf_obj_get()` in
/// `kernel/bpf/syscall.c`).
pub(crate) fn pinned(path: &CStr) -> io::Result<OwnedFd> {
    const BPF_OBJ_GET: c_int = 7;
    let mut by_path = ByPath { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: the layout is the command's, the path is alive, and the command returns a new descriptor.
    unsafe { bpf_descriptor(BPF_OBJ_GET, &mut by_path) }
}

/// Loads the shortest XDP program, which passes every frame: `bpf(BPF_PROG_LOAD)`, `CAP_BPF` and
/// `CAP_NET_ADMIN` (`bpf_prog_load()` in `kernel/bpf/syscall.c`).
#[cfg(test)]
pub(crate) fn load_passing_program() -> io::Result<OwnedFd> {
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
    // SAFETY: the layout is the command's, code and license are alive, and the command returns a new
    // descriptor.
    unsafe { bpf_descriptor(BPF_PROG_LOAD, &mut load) }
}
