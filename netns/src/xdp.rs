//! XDP at a link: attached programs, attaching and detaching by netlink and by `bpf_link`, advertised
//! features.

use std::{
    ffi::CString,
    fmt, io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use bitflags::bitflags;
use rtnetlink::packet_route::link::{LinkAttribute, LinkXdp, XdpAttached};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Host, IfIndex, Subject,
    netlink::{Attributes, Request, attribute, by_index},
    sys,
};

/// `XDP_FLAGS_*` besides the modes (`include/uapi/linux/if_link.h`).
const UPDATE_IF_NOEXIST: u32 = 1;
const REPLACE: u32 = 1 << 4;
/// The descriptor that detaches.
const NO_PROGRAM: i32 = -1;

/// `BPF_LINK_TYPE_XDP` (`enum bpf_link_type` of `include/uapi/linux/bpf.h`).
const LINK_TYPE_XDP: u32 = 6;

/// `BPF_TCX_INGRESS` and `BPF_TCX_EGRESS` (`enum bpf_attach_type`).
const TCX_INGRESS: u32 = 46;
const TCX_EGRESS: u32 = 47;

/// The netdev family (Linux 6.3, `Documentation/netlink/specs/netdev.yaml`).
const NETDEV: &str = "netdev";
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;

/// The attach mode of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// In the stack, on an `skb` (SKB mode). It needs no support in the driver.
    Generic,
    /// In the driver, before an `skb` is allocated (DRV mode).
    Native,
    /// In the device (HW mode).
    Offload,
}

impl XdpMode {
    pub const ALL: [Self; 3] = [Self::Generic, Self::Native, Self::Offload];

    /// `XDP_FLAGS_SKB_MODE`, `XDP_FLAGS_DRV_MODE`, `XDP_FLAGS_HW_MODE`.
    const fn flag(self) -> u32 {
        match self {
            Self::Generic => 1 << 1,
            Self::Native => 1 << 2,
            Self::Offload => 1 << 3,
        }
    }
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Generic => "generic",
            Self::Native => "native",
            Self::Offload => "offload",
        })
    }
}

/// Ids of the programs attached to a link, by mode. A device that offloads may have a program there and one
/// on the host (`XDP_ATTACHED_MULTI`); generic and native exclude each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct XdpState([Option<u32>; 3]);

impl XdpState {
    #[must_use]
    pub const fn attached(&self, mode: XdpMode) -> Option<u32> {
        self.0[mode as usize]
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Iterates over the modes that have a program, with its id.
    pub fn iter(&self) -> impl Iterator<Item = (XdpMode, u32)> {
        XdpMode::ALL.into_iter().filter_map(|mode| Some((mode, self.attached(mode)?)))
    }

    /// Reads `IFLA_XDP`, the inverse of `rtnl_xdp_fill()` in `net/core/rtnetlink.c`.
    pub(crate) fn read(attributes: &[LinkXdp]) -> Self {
        let (mut state, mut single, mut single_mode) = (Self::default(), None, None);
        let mut note = |mode, id| state.0[mode as usize] = Some(id);
        for attribute in attributes {
            match *attribute {
                LinkXdp::SkbProgId(id) => note(XdpMode::Generic, id),
                LinkXdp::DrvProgId(id) => note(XdpMode::Native, id),
                LinkXdp::HwProgId(id) => note(XdpMode::Offload, id),
                LinkXdp::ProgId(id) => single = Some(id),
                LinkXdp::Attached(XdpAttached::SocketBuffer) => single_mode = Some(XdpMode::Generic),
                LinkXdp::Attached(XdpAttached::Driver) => single_mode = Some(XdpMode::Native),
                LinkXdp::Attached(XdpAttached::Hardware) => single_mode = Some(XdpMode::Offload),
                _ => {}
            }
        }
        // Before Linux 4.19 there is one id, and its mode is in IFLA_XDP_ATTACHED.
        if let Some(mode) = single_mode {
            state.0[mode as usize] = state.attached(mode).or(single);
        }
        state
    }
}

impl fmt::Display for XdpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let programs: Vec<_> = self.iter().map(|(mode, id)| format!("{mode} (program {id})")).collect();
        f.write_str(if programs.is_empty() { "none".to_owned() } else { programs.join(", ") }.as_str())
    }
}

bitflags! {
    /// XDP features that a driver advertises (`enum netdev_xdp_act` in `include/uapi/linux/netdev.h`). They
    /// depend on the attached programs: a veth can transmit redirected frames only while its peer has a
    /// native program.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
    pub struct XdpFeatures: u64 {
        /// `XDP_PASS`, `XDP_DROP`, `XDP_ABORTED` and `XDP_TX`.
        const BASIC = 1;
        const REDIRECT = 1 << 1;
        /// Transmits redirected frames (`ndo_xdp_xmit`).
        const NDO_XMIT = 1 << 2;
        /// `AF_XDP` in zero-copy mode.
        const XSK_ZEROCOPY = 1 << 3;
        const HW_OFFLOAD = 1 << 4;
        /// Multi-buffer frames on receive.
        const RX_SG = 1 << 5;
        /// Transmits redirected multi-buffer frames.
        const NDO_XMIT_SG = 1 << 6;
    }
}

impl XdpFeatures {
    /// Iterates over the names of the known features, as in `Documentation/netlink/specs/netdev.yaml`.
    pub fn names(self) -> impl Iterator<Item = String> {
        self.iter_names().map(|(name, _)| name.to_lowercase().replace('_', "-"))
    }
}

impl fmt::Display for XdpFeatures {
    /// Names separated by spaces, then unknown bits in hexadecimal; `none` for no bits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = self.bits() & !Self::all().bits();
        let unknown = (unknown != 0).then(|| format!("{unknown:#x}"));
        let words: Vec<String> = self.names().chain(unknown).collect();
        f.write_str(if words.is_empty() { "none".to_owned() } else { words.join(" ") }.as_str())
    }
}

/// Conditions for attaching a program.
#[derive(Debug, Clone, Copy, Default)]
pub struct XdpFlags<'fd> {
    /// Fail if a program is attached in that mode (`XDP_FLAGS_UPDATE_IF_NOEXIST`), instead of replacing it
    /// silently.
    pub if_no_exist: bool,
    /// Fail unless this program is attached (`XDP_FLAGS_REPLACE`, Linux 5.7).
    pub replace: Option<BorrowedFd<'fd>>,
}

impl Host {
    /// Reads the programs attached to a link.
    pub fn xdp(&mut self, index: IfIndex) -> Result<XdpState, Error> {
        self.link_state(index).map(|state| state.xdp)
    }

    /// Attaches a program by netlink. It stays until it is detached or the link disappears, beyond the end of
    /// the process. Without a mode the kernel prefers native and falls back to generic: read the mode
    /// afterwards. It rejects several modes, which tests of that request.
    ///
    /// # Errors
    /// [`Error::Refused`], usually with an extack message: `EBUSY` if a program is attached and `if_no_exist`
    /// is set, or if it is attached by a `bpf_link`; `EEXIST` if the other software mode is in use or another
    /// program than the expected one is attached; `EINVAL` for several modes (`do_setlink()` in
    /// `net/core/rtnetlink.c`); `EOPNOTSUPP`, `EINVAL`, `ERANGE`, `ENOSPC` at the driver's discretion.
    pub fn attach_xdp(
        &mut self,
        index: IfIndex,
        program: BorrowedFd<'_>,
        modes: &[XdpMode],
        extra: XdpFlags<'_>,
    ) -> Result<(), Error> {
        let XdpFlags { if_no_exist, replace } = extra;
        let flags = flags(modes, if_no_exist) | replace.map_or(0, |_| REPLACE);
        let mut xdp = vec![LinkXdp::Fd(program.as_raw_fd()), LinkXdp::Flags(flags)];
        xdp.extend(replace.map(|expected| LinkXdp::ExpectedFd(expected.as_raw_fd().cast_unsigned())));
        self.set_xdp("attach an XDP program", index, xdp)
    }

    /// Detaches the program of a mode. The kernel accepts this for a mode without a program, and a program in
    /// another mode stays: read the state afterwards. Without a mode the kernel chooses native wherever the
    /// driver has it, whatever is attached (`dev_xdp_mode()` in `net/core/dev.c`).
    ///
    /// # Errors
    /// [`Error::Refused`]: `EBUSY` if it is attached by a `bpf_link`; `EINVAL` or `EOPNOTSUPP` for a mode
    /// that the driver does not support.
    pub fn detach_xdp(&mut self, index: IfIndex, mode: impl Into<Option<XdpMode>>) -> Result<(), Error> {
        let xdp = vec![LinkXdp::Fd(NO_PROGRAM), LinkXdp::Flags(flags(mode.into().as_slice(), false))];
        self.set_xdp("detach an XDP program", index, xdp)
    }

    /// Attaches a program by a `bpf_link` (Linux 5.9). It stays until the [`XdpLink`] is dropped, at the
    /// latest by the end of the process. It never falls back to netlink.
    ///
    /// # Errors
    /// [`Error::Refused`], without an extack message, which the kernel does not return here: `EBUSY` if a
    /// program is attached in that mode by any means; `EEXIST` if the other software mode is in use; `EINVAL`
    /// for `if_no_exist` and for several modes (`bpf_xdp_link_attach()` in `net/core/dev.c`); otherwise at
    /// the driver's discretion.
    pub fn link_xdp(
        &mut self,
        index: IfIndex,
        program: BorrowedFd<'_>,
        modes: &[XdpMode],
        if_no_exist: bool,
    ) -> Result<XdpLink, Error> {
        let request = Request::new("attach an XDP program by a bpf_link", Subject::from(index));
        let link = sys::create_xdp_link(program, index, flags(modes, if_no_exist))
            .map_err(Error::refused(request.action, Subject::from(index)))?;
        let link = XdpLink(link);
        // A kernel before 5.9 may create a link of another type.
        if link.info()?.kind == LINK_TYPE_XDP { Ok(link) } else { Err(request.incomplete("XDP bpf_link")) }
    }

    /// Reads the XDP features that a link's driver advertises, or `None` if the kernel has no netdev family
    /// (before 6.3).
    ///
    /// # Errors
    /// [`Error::Refused`]: `ENODEV` if there is no such link.
    pub fn xdp_features(&mut self, index: IfIndex) -> Result<Option<XdpFeatures>, Error> {
        match self.family(NETDEV) {
            Err(error) if error.errno() == Some(libc::ENOENT) => return Ok(None),
            family => family?,
        };
        let request = Request::new("read the XDP features", Subject::from(index));
        let query = Attributes::default().put_u32(NETDEV_A_DEV_IFINDEX, index.get());
        self.generic(NETDEV, NETDEV_CMD_DEV_GET, &request, query)?
            .iter()
            .find_map(|body| attribute(body, NETDEV_A_DEV_XDP_FEATURES)?.first_chunk().copied())
            .map(|bits| Some(XdpFeatures::from_bits_retain(u64::from_ne_bytes(bits))))
            .ok_or_else(|| request.incomplete("XDP features"))
    }

    /// Returns the modes in which a link has a program by a `bpf_link`, which only its owner can detach and
    /// which stays attached during a move to another namespace. A `bpf_link` is identified by program and
    /// index: that of a link with the same index and the same program in another namespace is mistaken for
    /// one of this link.
    ///
    /// # Errors
    /// [`Error::NoSuchIndex`]; [`Error::Refused`] without `CAP_SYS_ADMIN`, or before Linux 5.8.
    pub fn bpf_link_modes(&mut self, index: IfIndex) -> Result<Vec<XdpMode>, Error> {
        let state = self.xdp(index)?;
        let refused = |error| Error::refused("list the bpf_links", Subject::from(index))(error);
        let (mut modes, mut last) = (Vec::new(), 0);
        if state.is_empty() {
            return Ok(modes);
        }
        while let Some(id) = sys::next_link(last).map_err(refused)? {
            last = id;
            let info = match sys::link_by_id(id).and_then(|link| sys::link_info(link.as_fd())) {
                // It was closed meanwhile.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => continue,
                info => info.map_err(refused)?,
            };
            if info.kind == LINK_TYPE_XDP && info.index == index.get() {
                modes.extend(
                    state.iter().filter(|(_, program)| *program == info.program).map(|(mode, _)| mode),
                );
            }
        }
        Ok(modes)
    }

    /// Returns whether a link has tcx programs, which stay attached during a move to another namespace. The
    /// programs of a `clsact` belong to a [qdisc](Self::qdiscs).
    ///
    /// # Errors
    /// [`Error::Refused`] without `CAP_NET_ADMIN`.
    pub fn has_tcx_programs(&mut self, index: IfIndex) -> Result<bool, Error> {
        for direction in [TCX_INGRESS, TCX_EGRESS] {
            match sys::tcx_programs(index, direction) {
                Ok(0) => {}
                Ok(_) => return Ok(true),
                // Before Linux 6.6, or a link that never had a program.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => {}
                Err(error) => {
                    return Err(Error::refused("query tcx programs", Subject::from(index))(error));
                }
            }
        }
        Ok(false)
    }

    /// Pins a program, given by its id, at a path of a bpf file system, so that it survives being detached.
    ///
    /// # Errors
    /// [`Error::Refused`]: `ENOENT` if there is no such program, `EEXIST` if the path exists.
    pub fn pin_program(&mut self, id: u32, path: &Path) -> Result<(), Error> {
        let pin = || {
            let program = sys::program_by_id(id)?;
            sys::pin(program.as_fd(), &CString::new(path.as_os_str().as_bytes())?)
        };
        pin().map_err(Error::refused::<io::Error>("pin an XDP program", Subject::Path(path.into())))
    }

    /// Opens the program that is pinned at a path.
    ///
    /// # Errors
    /// [`Error::Refused`]: `ENOENT` if there is none.
    pub fn pinned_program(&mut self, path: &Path) -> Result<OwnedFd, Error> {
        let open = || sys::pinned(&CString::new(path.as_os_str().as_bytes())?);
        open().map_err(Error::refused::<io::Error>("open a pinned XDP program", Subject::Path(path.into())))
    }

    fn set_xdp(&mut self, action: &'static str, index: IfIndex, xdp: Vec<LinkXdp>) -> Result<(), Error> {
        self.change_link(action, index, by_index(index).append_extra_attribute(LinkAttribute::Xdp(xdp)))
    }
}

/// `XDP_FLAGS_*` of modes and a condition.
fn flags(modes: &[XdpMode], if_no_exist: bool) -> u32 {
    let modes = modes.iter().fold(0, |flags, mode| flags | mode.flag());
    modes | if if_no_exist { UPDATE_IF_NOEXIST } else { 0 }
}

/// A program attached by a `bpf_link`. It is detached when this is dropped (`bpf_xdp_link_release()` in
/// `net/core/dev.c`). The descriptor is closed on `exec`, so that no child process keeps the program
/// attached.
#[derive(Debug)]
pub struct XdpLink(OwnedFd);

impl XdpLink {
    /// Replaces the attached program atomically; with `expected`, only if that is the attached one.
    ///
    /// # Errors
    /// [`Error::Refused`]: `EPERM` if another program than the expected one is attached, `ENOLINK` once the
    /// device is gone (`bpf_xdp_link_update()` in `net/core/dev.c`).
    pub fn update(&self, program: BorrowedFd<'_>, expected: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        sys::update_link(self.0.as_fd(), program, expected)
            .map_err(Error::refused("replace the XDP program of a bpf_link", None))
    }

    pub fn program(&self) -> Result<u32, Error> {
        self.info().map(|info| info.program)
    }

    /// Returns the index of the device in its present namespace, or `None` once the device is gone.
    pub fn device(&self) -> Result<Option<IfIndex>, Error> {
        self.info().map(|info| IfIndex::new(info.index))
    }

    fn info(&self) -> Result<sys::LinkInfo, Error> {
        sys::link_info(self.0.as_fd()).map_err(Error::refused("describe a bpf_link", None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Worker,
        testing::{Pair, with_private_run},
    };

    /// Attaches at the near end. The program is cloned because a job borrows nothing.
    fn attach(pair: &Pair, program: &OwnedFd, mode: Option<XdpMode>, if_no_exist: bool) -> Result<(), Error> {
        let program = program.try_clone().unwrap();
        pair.at_near(move |host, index| {
            host.attach_xdp(index, program.as_fd(), mode.as_slice(), XdpFlags { if_no_exist, replace: None })
        })
    }

    fn replace(pair: &Pair, program: &OwnedFd, expected: &OwnedFd) -> Result<(), Error> {
        let (program, expected) = (program.try_clone().unwrap(), expected.try_clone().unwrap());
        pair.at_near(move |host, index| {
            let extra = XdpFlags { if_no_exist: false, replace: Some(expected.as_fd()) };
            host.attach_xdp(index, program.as_fd(), &[XdpMode::Native], extra)
        })
    }

    fn state(pair: &Pair) -> XdpState {
        pair.at_near(Host::xdp).unwrap()
    }

    fn modes(pair: &Pair) -> Vec<XdpMode> {
        state(pair).iter().map(|(mode, _)| mode).collect()
    }

    #[test]
    fn detaching_from_a_link_without_a_program_succeeds() {
        let Some(pair) = Pair::create() else { return };
        assert!(state(&pair).is_empty());
        for mode in [XdpMode::Generic, XdpMode::Native] {
            pair.at_near(move |host, index| host.detach_xdp(index, mode)).unwrap();
        }
        assert_eq!(state(&pair).to_string(), "none");
    }

    #[test]
    fn a_program_is_attached_in_the_requested_mode_and_detached_from_it_only() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let program = sys::load_passing_program().unwrap();
        for (mode, other) in [(XdpMode::Generic, XdpMode::Native), (XdpMode::Native, XdpMode::Generic)] {
            attach(&pair, &program, Some(mode), false).unwrap();
            assert_eq!(modes(&pair), [mode]);
            assert!(state(&pair).attached(mode).is_some() && state(&pair).attached(other).is_none());
            pair.at_near(move |host, index| host.detach_xdp(index, other)).unwrap();
            assert_eq!(modes(&pair), [mode], "detached from the other mode");
            pair.at_near(move |host, index| host.detach_xdp(index, mode)).unwrap();
            assert!(state(&pair).is_empty());
        }
    }

    #[test]
    fn without_a_mode_a_veth_uses_native_and_a_loopback_generic() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let program = sys::load_passing_program().unwrap();
        attach(&pair, &program, None, false).unwrap();
        assert_eq!(modes(&pair), [XdpMode::Native]);
        let loopback = pair
            .near
            .call(move |host| {
                let index = host.link(&crate::testing::name("lo"))?.index;
                host.attach_xdp(index, program.as_fd(), &[], XdpFlags::default())?;
                host.xdp(index)
            })
            .unwrap();
        assert!(loopback.attached(XdpMode::Generic).is_some(), "{loopback}");
    }

    #[test]
    fn a_refused_attachment_says_why_and_leaves_the_program() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let (first, second) = (sys::load_passing_program().unwrap(), sys::load_passing_program().unwrap());
        let [generic, native, offload] = XdpMode::ALL.map(Some);
        attach(&pair, &first, native, false).unwrap();
        let before = state(&pair);
        let exclusive = "Native and generic XDP can't be active at the same time";
        for (refused, errno, extack) in [
            (attach(&pair, &second, native, true), libc::EBUSY, Some("XDP program already attached")),
            (replace(&pair, &second, &second), libc::EEXIST, Some("Active program does not match expected")),
            (attach(&pair, &second, generic, false), libc::EEXIST, Some(exclusive)),
            (attach(&pair, &second, offload, false), libc::EINVAL, None),
        ] {
            let error = refused.unwrap_err();
            assert_eq!((error.errno(), error.extack()), (Some(errno), extack));
            assert_eq!(state(&pair), before);
        }
        replace(&pair, &second, &first).unwrap();
        let replaced = state(&pair);
        assert_ne!(replaced, before);
        // Without a condition it is replaced silently.
        attach(&pair, &first, native, false).unwrap();
        assert_ne!(state(&pair), replaced);
    }

    #[test]
    fn a_bpf_link_keeps_its_program_attached_until_it_is_dropped() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let (first, second) = (sys::load_passing_program().unwrap(), sys::load_passing_program().unwrap());
        let held = first.try_clone().unwrap();
        let link = pair
            .at_near(move |host, index| host.link_xdp(index, held.as_fd(), &[XdpMode::Native], false))
            .unwrap();
        assert_eq!(link.device().unwrap(), Some(pair.near_index));
        assert_eq!(state(&pair).attached(XdpMode::Native), Some(link.program().unwrap()));
        let stale = link.update(second.as_fd(), Some(second.as_fd())).unwrap_err();
        assert_eq!(stale.errno(), Some(libc::EPERM));
        let before = link.program().unwrap();
        link.update(second.as_fd(), Some(first.as_fd())).unwrap();
        assert_ne!(link.program().unwrap(), before);
        assert_eq!(state(&pair).attached(XdpMode::Native), Some(link.program().unwrap()));
        drop(link);
        assert!(state(&pair).is_empty());
    }

    #[test]
    fn a_bpf_link_of_a_deleted_device_reports_no_device() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let program = sys::load_passing_program().unwrap();
        let held = program.try_clone().unwrap();
        let link = pair
            .at_near(move |host, index| {
                let link = host.link_xdp(index, held.as_fd(), &[XdpMode::Generic], false)?;
                host.delete_link(index).map(|()| link)
            })
            .unwrap();
        assert_eq!(link.device().unwrap(), None);
        assert_eq!(link.update(program.as_fd(), None).unwrap_err().errno(), Some(libc::ENOLINK));
    }

    #[test]
    fn an_idle_veth_advertises_basic_redirect_and_rx_sg() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let Some(features) = pair.at_near(Host::xdp_features).unwrap() else {
            eprintln!("skipped: this kernel has no netdev family (before 6.3)");
            return;
        };
        assert_eq!((features.bits(), features.to_string().as_str()), (0x23, "basic redirect rx-sg"));
        let program = sys::load_passing_program().unwrap();
        pair.at_far(move |host, index| {
            host.attach_xdp(index, program.as_fd(), &[XdpMode::Native], XdpFlags::default())
        })
        .unwrap();
        let beside_native = pair.at_near(Host::xdp_features).unwrap().unwrap();
        assert!(beside_native.contains(XdpFeatures::NDO_XMIT), "{beside_native}");
    }

    #[test]
    fn the_features_of_a_missing_link_are_refused() {
        let Some(pair) = Pair::create() else { return };
        let error = pair.near.call(|host| host.xdp_features(IfIndex::new(4_000_000).unwrap())).unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENODEV));
    }

    #[test]
    fn the_single_id_of_an_old_kernel_is_assigned_to_its_mode() {
        let read = |attached| XdpState::read(&[LinkXdp::Attached(attached), LinkXdp::ProgId(9)]);
        assert_eq!(read(XdpAttached::SocketBuffer).attached(XdpMode::Generic), Some(9));
        assert_eq!(read(XdpAttached::Driver).attached(XdpMode::Native), Some(9));
        assert_eq!(read(XdpAttached::Hardware).attached(XdpMode::Offload), Some(9));
        assert!(read(XdpAttached::None).is_empty());
    }

    #[test]
    fn programs_on_the_host_and_in_the_device_are_both_reported() {
        let attributes =
            [LinkXdp::Attached(XdpAttached::Multiple), LinkXdp::DrvProgId(3), LinkXdp::HwProgId(4)];
        let state = XdpState::read(&attributes);
        assert_eq!(state.iter().collect::<Vec<_>>(), [(XdpMode::Native, 3), (XdpMode::Offload, 4)]);
        assert_eq!(state.to_string(), "native (program 3), offload (program 4)");
    }

    #[test]
    fn unknown_features_are_shown_as_bits() {
        assert_eq!(XdpFeatures::from_bits_retain(0x101).to_string(), "basic 0x100");
        assert_eq!(XdpFeatures::default().to_string(), "none");
    }

    #[test]
    fn a_program_of_a_bpf_link_is_distinguished_from_one_of_netlink() {
        let Some(pair) = Pair::create() else { return };
        let program = sys::load_passing_program().unwrap();
        assert_eq!(pair.at_near(Host::bpf_link_modes).unwrap(), []);
        attach(&pair, &program, Some(XdpMode::Generic), false).unwrap();
        assert_eq!(pair.at_near(Host::bpf_link_modes).unwrap(), []);
        pair.at_near(|host, index| host.detach_xdp(index, XdpMode::Generic)).unwrap();
        let _link = pair
            .at_near(move |host, index| host.link_xdp(index, program.as_fd(), &[XdpMode::Native], false))
            .unwrap();
        assert_eq!(pair.at_near(Host::bpf_link_modes).unwrap(), [XdpMode::Native]);
    }

    #[test]
    fn a_pinned_program_survives_being_detached() {
        let Some(pair) = Pair::create() else { return };
        with_private_run("bpf", move || {
            let here = Worker::spawn(pair.near.namespace(), "here").unwrap();
            let program = sys::load_passing_program().unwrap();
            attach(&pair, &program, Some(XdpMode::Generic), false).unwrap();
            drop(program);
            let index = pair.near_index;
            let (before, after) = here
                .call(move |host| {
                    let id = host.xdp(index)?.attached(XdpMode::Generic).unwrap();
                    let pin = Path::new("/run/kept");
                    host.pin_program(id, pin)?;
                    assert_eq!(host.pin_program(id, pin).unwrap_err().errno(), Some(libc::EEXIST));
                    host.detach_xdp(index, XdpMode::Generic)?;
                    let kept = host.pinned_program(pin)?;
                    host.attach_xdp(index, kept.as_fd(), &[XdpMode::Generic], XdpFlags::default())?;
                    Ok((id, host.xdp(index)?.attached(XdpMode::Generic)))
                })
                .unwrap();
            assert_eq!(after, Some(before));
        });
    }
}
