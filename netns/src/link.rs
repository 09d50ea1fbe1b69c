//! Links: veth pairs made straight into two namespaces, and the state of any link.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, AsRawFd},
    time::{Duration, Instant},
};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    link::{
        AfSpecInet6, AfSpecUnspec, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkExtentMask, LinkFlags,
        LinkInfo, LinkLayerType, LinkMessage,
    },
};
use tokio::time::timeout;

use crate::{Error, Host, IfIndex, LinkName, MacAddr, NetNs, Subject, XdpState, netlink::Ask, sys};

/// `RTMGRP_LINK` (`include/uapi/linux/rtnetlink.h`).
const LINK_CHANGES: u32 = 1;
/// How long to trust that a change is announced. Not every driver announces every change.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A veth pair to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethSpec {
    /// The end in the namespace of the worker that makes the pair.
    pub near: VethEnd,
    /// The end in the other namespace.
    pub far: VethEnd,
}

/// One end of a veth pair to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethEnd {
    /// Its name in its namespace.
    pub name: LinkName,
    /// Its address.
    pub mac: MacAddr,
    /// Bytes that an Ethernet frame may carry behind its 14-byte header.
    pub mtu: u32,
    /// Receive queues, 1 to 4096. A native XDP program wants at least as many as the other end has transmit
    /// queues.
    pub rx_queues: u32,
    /// Transmit queues, 1 to 4096.
    pub tx_queues: u32,
}

impl VethEnd {
    /// An end with an MTU of 1500 and one queue in each direction.
    #[must_use]
    pub fn new(name: LinkName, mac: MacAddr) -> Self {
        Self { name, mac, mtu: 1500, rx_queues: 1, tx_queues: 1 }
    }

    fn attributes(&self) -> Vec<LinkAttribute> {
        let Self { name, mac, mtu, rx_queues, tx_queues } = self;
        vec![
            LinkAttribute::IfName(name.to_string()),
            LinkAttribute::Address(mac.0.to_vec()),
            LinkAttribute::Mtu(*mtu),
            LinkAttribute::NumRxQueues(*rx_queues),
            LinkAttribute::NumTxQueues(*tx_queues),
        ]
    }
}

/// A virtual link that stands on no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VirtualKind {
    /// A bridge without ports.
    Bridge,
    /// An intermediate functional block (`drivers/net/ifb.c`).
    Ifb,
    /// A link that throws away what it is given (`drivers/net/dummy.c`).
    Dummy,
}

/// The user's end of a tap: what is written is received by the link.
#[derive(Debug)]
pub struct Tap(File);

impl Tap {
    /// Hands the link one frame, link-layer header included, as if it had come by a wire.
    ///
    /// # Errors
    /// What the kernel answered: `EIO` while the link is down, `EINVAL` for fewer than 14 bytes (`tun_get_user()` of
    /// `drivers/net/tun.c`).
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        (&self.0).write_all(frame)
    }

    /// Takes the next frame that the link sends, if one comes in time, and tells how long it is; what the buffer has no room
    /// for is cut.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn receive(&self, buffer: &mut [u8], deadline: Duration) -> io::Result<Option<usize>> {
        let timeout = PollTimeout::try_from(deadline).unwrap_or(PollTimeout::MAX);
        let ready = poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], timeout)?;
        if ready == 0 { Ok(None) } else { (&self.0).read(buffer).map(Some) }
    }
}

/// A link as it was when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its index in the namespace.
    pub index: IfIndex,
    /// Its name in the namespace.
    pub name: LinkName,
    /// Its address, if it is one of Ethernet's length.
    pub mac: Option<MacAddr>,
    /// Bytes behind the link-layer header.
    pub mtu: u32,
    /// The least MTU that it takes.
    pub min_mtu: Option<u32>,
    /// The greatest MTU that it takes, where it has a limit. It changes with what is attached.
    pub max_mtu: Option<u32>,
    /// Switched on (`IFF_UP`).
    pub up: bool,
    /// Switched on and with a carrier (`IFF_RUNNING` and `IFF_LOWER_UP`): frames go through.
    pub running: bool,
    /// Takes frames for any address because a flag says so (`IFF_PROMISC`).
    pub promiscuous: bool,
    /// Takes frames for any group address because a flag says so (`IFF_ALLMULTI`).
    pub all_multicast: bool,
    /// Answers and asks by ARP (no `IFF_NOARP`).
    pub arp: bool,
    /// Its frames begin with an Ethernet header (`ARPHRD_ETHER`).
    pub ethernet: bool,
    /// It is the namespace's way to itself (`IFF_LOOPBACK`).
    pub loopback: bool,
    /// Packets that may wait to be sent, for the queueing disciplines that ask for it.
    pub tx_queue_length: u32,
    /// The queueing discipline at its root: `noqueue`, `mq`; `noop` while it was never up in its namespace.
    pub discipline: Option<String>,
    /// The lower half of the IPv6 addresses that it makes for itself, where someone has chosen it (`ip token`).
    pub token: Option<Ipv6Addr>,
    /// What someone has written on it (`ip link set alias`).
    pub alias: Option<String>,
    /// The group that it is counted to; 0 is the default.
    pub group: u32,
    /// Receive queues that it was made with.
    pub rx_queues: u32,
    /// Transmit queues that it was made with.
    pub tx_queues: u32,
    /// What a virtual link is: `veth`, `bridge`, `bond`. None for hardware.
    pub kind: Option<String>,
    /// The device that it stands on, as its bus calls it: `0000:00:03.0`, `virtio0` (Linux 5.14).
    pub parent: Option<String>,
    /// The bridge or bond that it is a port of.
    pub controller: Option<IfIndex>,
    /// The link that it is tied to: of a veth, the other end, by its index in *that* end's namespace
    /// (`IFLA_LINK`).
    pub tied_to: Option<IfIndex>,
    /// The XDP programs attached to it.
    pub xdp: XdpState,
    /// What it has counted.
    pub statistics: Statistics,
}

/// What of a link changes while it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkState {
    /// It is up and its driver says that it has a carrier.
    pub running: bool,
    /// What is attached to it.
    pub xdp: XdpState,
}

/// What a link has counted since it was made (`struct rtnl_link_stats64`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames received.
    pub rx_packets: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames received and thrown away.
    pub rx_dropped: u64,
    /// Frames thrown away instead of sent.
    pub tx_dropped: u64,
    /// Frames received damaged.
    pub rx_errors: u64,
    /// Frames that could not be sent.
    pub tx_errors: u64,
    /// Frames that the device had no buffer for.
    pub rx_missed: u64,
}

impl Link {
    fn read(message: LinkMessage, ask: &Ask) -> Result<Self, Error> {
        let (mut name, mut mac, mut mtu, mut min_mtu, mut max_mtu) = (None, None, None, None, None);
        let (mut rx_queues, mut tx_queues, mut kind, mut parent) = (1, 1, None, None);
        let (mut controller, mut tied_to, mut alias) = (None, None, None);
        let (mut tx_queue_length, mut group, mut discipline, mut token) = (0, 0, None, None);
        let (mut xdp, mut statistics) = (XdpState::default(), Statistics::default());
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(text) => name = Some(LinkName::try_from(text)?),
                LinkAttribute::Address(bytes) => mac = bytes.try_into().ok().map(MacAddr),
                LinkAttribute::Mtu(bytes) => mtu = Some(bytes),
                LinkAttribute::MinMtu(bytes) => min_mtu = Some(bytes),
                // 0 is "no limit" (dev_validate_mtu() of net/core/dev.c).
                LinkAttribute::MaxMtu(bytes) => max_mtu = Some(bytes).filter(|&bytes| bytes != 0),
                LinkAttribute::NumRxQueues(queues) => rx_queues = queues,
                LinkAttribute::NumTxQueues(queues) => tx_queues = queues,
                LinkAttribute::Controller(index) => controller = IfIndex::new(index),
                LinkAttribute::Link(index) => tied_to = IfIndex::new(index),
                LinkAttribute::ParentDevName(device) => parent = Some(device),
                LinkAttribute::TxQueueLen(length) => tx_queue_length = length,
                LinkAttribute::IfAlias(text) => alias = Some(text),
                LinkAttribute::Group(number) => group = number,
                LinkAttribute::Qdisc(kind) => discipline = Some(kind),
                LinkAttribute::AfSpecUnspec(families) => {
                    token = families.iter().find_map(|family| match family {
                        AfSpecUnspec::Inet6(told) => told.iter().find_map(|told| match told {
                            AfSpecInet6::Token(token) => Some(*token).filter(|token| !token.is_unspecified()),
                            _ => None,
                        }),
                        _ => None,
                    });
                }
                LinkAttribute::Xdp(attributes) => xdp = XdpState::read(&attributes),
                LinkAttribute::LinkInfo(infos) => {
                    kind = infos.iter().find_map(|info| match info {
                        LinkInfo::Kind(kind) => Some(kind.to_string()),
                        _ => None,
                    });
                }
                LinkAttribute::Stats64(counted) => {
                    statistics = Statistics {
                        rx_packets: counted.rx_packets,
                        tx_packets: counted.tx_packets,
                        rx_bytes: counted.rx_bytes,
                        tx_bytes: counted.tx_bytes,
                        rx_dropped: counted.rx_dropped,
                        tx_dropped: counted.tx_dropped,
                        rx_errors: counted.rx_errors,
                        tx_errors: counted.tx_errors,
                        rx_missed: counted.rx_missed_errors,
                    };
                }
                _ => {}
            }
        }
        let flags = message.header.flags;
        Ok(Self {
            index: IfIndex::new(message.header.index).ok_or_else(|| ask.incomplete("link index"))?,
            name: name.ok_or_else(|| ask.incomplete("link name"))?,
            mac,
            mtu: mtu.ok_or_else(|| ask.incomplete("MTU"))?,
            min_mtu,
            max_mtu,
            up: flags.contains(LinkFlags::Up),
            running: flags.contains(LinkFlags::Running | LinkFlags::LowerUp),
            promiscuous: flags.contains(LinkFlags::Promisc),
            all_multicast: flags.contains(LinkFlags::Allmulti),
            arp: !flags.contains(LinkFlags::Noarp),
            ethernet: message.header.link_layer_type == LinkLayerType::Ether,
            loopback: flags.contains(LinkFlags::Loopback),
            tx_queue_length,
            discipline,
            token,
            alias,
            group,
            rx_queues,
            tx_queues,
            kind,
            parent,
            controller,
            tied_to,
            xdp,
            statistics,
        })
    }
}

impl Host {
    /// Makes a veth pair with one request: the near end here, the far end at once in another namespace (which
    /// may be this one), so that neither is ever where it does not belong. Both are down.
    ///
    /// # Errors
    /// [`Error::Refused`]: `EEXIST` if a name is taken, `EINVAL` for an MTU or a number of queues out of
    /// range, `EPERM` without `CAP_NET_ADMIN` over both namespaces.
    pub fn create_veth(&mut self, spec: &VethSpec, far: &NetNs) -> Result<(), Error> {
        let VethSpec { near: near_end, far: far_end } = spec;
        // rtnl_newlink() reads the peer's namespace from the peer's own attributes (net/core/rtnetlink.c).
        let mut peer = LinkMessage::default();
        peer.attributes = far_end.attributes();
        peer.attributes.push(LinkAttribute::NetNsFd(far.as_fd().as_raw_fd()));
        let mut message = LinkMessage::default();
        message.attributes = near_end.attributes();
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        let ask = Ask::new("create a veth pair", Subject::from(&near_end.name))
            .with_flags(NLM_F_CREATE | NLM_F_EXCL);
        self.route.ask(&self.runtime, &ask, RouteNetlinkMessage::NewLink(message)).map(drop)
    }

    /// Makes a virtual link that stands on no other. It is down.
    ///
    /// # Errors
    /// [`Error::Refused`]: `EEXIST` if the name is taken, `EOPNOTSUPP` if the kernel has no such links.
    pub fn create_virtual(&mut self, name: &LinkName, kind: VirtualKind) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.to_string()),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(match kind {
                VirtualKind::Bridge => InfoKind::Bridge,
                VirtualKind::Ifb => InfoKind::Ifb,
                VirtualKind::Dummy => InfoKind::Dummy,
            })]),
        ];
        let ask =
            Ask::new("create a virtual link", Subject::from(name)).with_flags(NLM_F_CREATE | NLM_F_EXCL);
        self.route.ask(&self.runtime, &ask, RouteNetlinkMessage::NewLink(message)).map(drop)
    }

    /// Gives a link an IPv4 address, and with it a route to the addresses that share its first bits.
    ///
    /// # Errors
    /// [`Error::Refused`]: `EEXIST` if it has the address, `EINVAL` for more than 32 bits.
    pub fn add_address(&mut self, index: IfIndex, address: Ipv4Addr, prefix: u8) -> Result<(), Error> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = prefix;
        message.header.index = index.get();
        message.attributes =
            vec![AddressAttribute::Local(address.into()), AddressAttribute::Address(address.into())];
        let ask = Ask::new("add an address", Subject::from(index)).with_flags(NLM_F_CREATE | NLM_F_EXCL);
        self.route.ask(&self.runtime, &ask, RouteNetlinkMessage::NewAddress(message)).map(drop)
    }

    /// Makes a tap and brings nothing up. The link goes when the tap is dropped.
    ///
    /// # Errors
    /// [`Error::Refused`]: `ENOENT` where there is no `/dev/net/tun`, `EBUSY` if the name is taken.
    pub fn create_tap(&mut self, name: &LinkName) -> Result<Tap, Error> {
        let make = || {
            let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
            sys::make_tap(file.as_fd(), name.to_string().as_bytes()).map(|()| Tap(file))
        };
        make().map_err(Error::refused::<io::Error>("create a tap", Subject::from(name)))
    }

    /// Moves a link to another namespace, where it is down and keeps its name, and its index too unless that
    /// is taken there (`__dev_change_net_namespace()` of `net/core/dev.c`).
    ///
    /// # Errors
    /// [`Error::Refused`]: `EEXIST` if the name is taken there, `EINVAL` if the link cannot leave.
    pub fn move_link(&mut self, index: IfIndex, to: &NetNs) -> Result<(), Error> {
        let mut message = about(index);
        message.attributes.push(LinkAttribute::NetNsFd(to.as_fd().as_raw_fd()));
        self.set_link("move to another namespace", index, message)
    }

    /// [`move_link`](Self::move_link) to a name and an index that are named: the index that it has now is tried for by the
    /// kernel unless another is asked for (Linux 5.13; before that it cannot be asked for).
    ///
    /// # Errors
    /// [`Error::Refused`]: `EEXIST` if the name is taken there, `EBUSY` if the index is, `EINVAL` if the link cannot leave.
    pub fn move_link_as(
        &mut self,
        index: IfIndex,
        to: &NetNs,
        name: &LinkName,
        new: IfIndex,
    ) -> Result<(), Error> {
        let mut message = about(index);
        message.attributes.push(LinkAttribute::NetNsFd(to.as_fd().as_raw_fd()));
        message.attributes.push(LinkAttribute::IfName(name.to_string()));
        if new != index {
            message.attributes.push(LinkAttribute::NewIfIndex(new.get().cast_signed()));
        }
        self.set_link("move to another namespace", index, message)
    }

    /// A link, by its name.
    ///
    /// # Errors
    /// [`Error::NoSuchLink`] if none has it.
    pub fn link(&mut self, name: &LinkName) -> Result<Link, Error> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_string()));
        self.one_link(message, name.into(), || Error::NoSuchLink { name: name.clone() })
    }

    /// A link, by its index.
    ///
    /// # Errors
    /// [`Error::NoSuchIndex`] if none has it.
    pub fn link_by_index(&mut self, index: IfIndex) -> Result<Link, Error> {
        self.one_link(about(index), index.into(), || Error::NoSuchIndex { index })
    }

    /// What changes at a link while it is used. It costs less than [`link_by_index`](Self::link_by_index): the kernel leaves the link's
    /// statistics out, those by protocol with them (`RTEXT_FILTER_SKIP_STATS`, Linux 4.4; `rtnl_fill_ifinfo()` of
    /// `net/core/rtnetlink.c`).
    ///
    /// # Errors
    /// [`Error::NoSuchIndex`] if none has it.
    pub fn link_state(&mut self, index: IfIndex) -> Result<LinkState, Error> {
        let mut message = about(index);
        message.attributes = vec![LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])];
        let link = self.one_link(message, index.into(), || Error::NoSuchIndex { index })?;
        Ok(LinkState { running: link.running, xdp: link.xdp })
    }

    /// Every link of the namespace, `lo` with them, by index.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn links(&mut self) -> Result<Vec<Link>, Error> {
        let ask = Ask::new("list the links", None).with_flags(NLM_F_DUMP);
        let mut links = self.get_links(&ask, LinkMessage::default())?;
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// Switches a link on or off.
    ///
    /// # Errors
    /// [`Error::Refused`]: `ENODEV` if there is no such link, or what its driver answers.
    pub fn set_up(&mut self, index: IfIndex, up: bool) -> Result<(), Error> {
        self.set_flag(if up { "bring up" } else { "bring down" }, index, LinkFlags::Up, up)
    }

    /// Sets how many bytes a frame may carry behind its link-layer header.
    ///
    /// # Errors
    /// [`Error::Refused`]: `EINVAL` beyond the link's limits, which are narrower while a native XDP program
    /// is attached.
    pub fn set_mtu(&mut self, index: IfIndex, mtu: u32) -> Result<(), Error> {
        let mut message = about(index);
        message.attributes.push(LinkAttribute::Mtu(mtu));
        self.set_link("set the MTU", index, message)
    }

    /// Makes a link take frames for any address, or its own only. Packet sockets may hold it promiscuous
    /// besides.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn set_promiscuous(&mut self, index: IfIndex, on: bool) -> Result<(), Error> {
        self.set_flag("set promiscuous mode", index, LinkFlags::Promisc, on)
    }

    /// Makes a link take frames for any group address, or for those alone that someone has joined.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn set_all_multicast(&mut self, index: IfIndex, on: bool) -> Result<(), Error> {
        self.set_flag("set the taking of all group addresses", index, LinkFlags::Allmulti, on)
    }

    /// Gives a link another address.
    ///
    /// # Errors
    /// [`Error::Refused`]: `EBUSY` if the driver wants the link to be down, `EADDRNOTAVAIL` for a group address,
    /// `EOPNOTSUPP` if it cannot be changed.
    pub fn set_mac(&mut self, index: IfIndex, mac: MacAddr) -> Result<(), Error> {
        let mut message = about(index);
        message.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
        self.set_link("set the address of the link layer", index, message)
    }

    /// Sets how many packets may wait to be sent.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn set_tx_queue_length(&mut self, index: IfIndex, length: u32) -> Result<(), Error> {
        let mut message = about(index);
        message.attributes.push(LinkAttribute::TxQueueLen(length));
        self.set_link("set the length of the transmit queue", index, message)
    }

    /// Writes something on a link, or wipes it off.
    ///
    /// # Errors
    /// [`Error::Refused`]: `EINVAL` for more than 255 bytes.
    pub fn set_alias(&mut self, index: IfIndex, alias: Option<&str>) -> Result<(), Error> {
        let mut message = about(index);
        message.attributes.push(LinkAttribute::IfAlias(alias.unwrap_or_default().to_owned()));
        self.set_link("set the alias", index, message)
    }

    /// Chooses the lower half of the IPv6 addresses that a link makes for itself.
    ///
    /// # Errors
    /// [`Error::Refused`]: `EINVAL` unless it takes router advertisements (`inet6_set_iftoken()` of `net/ipv6/addrconf.c`).
    pub fn set_token(&mut self, index: IfIndex, token: Ipv6Addr) -> Result<(), Error> {
        let mut message = about(index);
        let inet6 = AfSpecUnspec::Inet6(vec![AfSpecInet6::Token(token)]);
        message.attributes.push(LinkAttribute::AfSpecUnspec(vec![inet6]));
        self.set_link("set the token of IPv6", index, message)
    }

    /// Makes a link a port of a bridge or bond, or of none.
    ///
    /// # Errors
    /// [`Error::Refused`]: `EINVAL`, `EBUSY` or `EOPNOTSUPP` as the controller sees it.
    pub fn set_controller(&mut self, index: IfIndex, controller: Option<IfIndex>) -> Result<(), Error> {
        let mut message = about(index);
        message.attributes.push(LinkAttribute::Controller(controller.map_or(0, IfIndex::get)));
        self.set_link("make a port of", index, message)
    }

    /// Counts a link to a group.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn set_group(&mut self, index: IfIndex, group: u32) -> Result<(), Error> {
        let mut message = about(index);
        message.attributes.push(LinkAttribute::Group(group));
        self.set_link("set the group", index, message)
    }

    /// Lets a link use ARP, or not.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn set_arp(&mut self, index: IfIndex, on: bool) -> Result<(), Error> {
        self.set_flag("set the use of ARP", index, LinkFlags::Noarp, !on)
    }

    /// Deletes a virtual link; of a veth, both ends.
    ///
    /// # Errors
    /// [`Error::Refused`]: `ENODEV` if there is no such link, `EOPNOTSUPP` if it is hardware.
    pub fn delete_link(&mut self, index: IfIndex) -> Result<(), Error> {
        let ask = Ask::new("delete", Subject::from(index));
        self.route.ask(&self.runtime, &ask, RouteNetlinkMessage::DelLink(about(index))).map(drop)
    }

    /// Waits until a link is [running](Link::running), which takes both ends of a veth to be up.
    ///
    /// # Errors
    /// [`Error::Timeout`] if it does not come true in time, [`Error::NoSuchIndex`] if the link is or goes
    /// away.
    pub fn wait_running(&mut self, index: IfIndex, deadline: Duration) -> Result<Link, Error> {
        self.wait_link(index, "see the link run", deadline, |link| link.running)
    }

    /// Waits until a link is as wanted. `awaited` says what that is, in words that fit behind "failed to".
    ///
    /// # Errors
    /// [`Error::Timeout`] if it does not come true in time, [`Error::NoSuchIndex`] if the link is or goes
    /// away.
    pub fn wait_link(
        &mut self,
        index: IfIndex,
        awaited: &'static str,
        deadline: Duration,
        wanted: impl Fn(&Link) -> bool,
    ) -> Result<Link, Error> {
        self.wait_changes(LINK_CHANGES, index, awaited, deadline, |host| {
            host.link_by_index(index).map(|link| Some(link).filter(&wanted))
        })
    }

    /// Looks until there is something to see, again whenever these groups of rtnetlink announce a change.
    pub(crate) fn wait_changes<T>(
        &mut self,
        groups: u32,
        index: IfIndex,
        awaited: &'static str,
        deadline: Duration,
        mut look: impl FnMut(&mut Self) -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        let begun = Instant::now();
        // Before the first look, so that no change falls between the two.
        let changes =
            self.changes(groups).map_err(Error::refused("listen for changes", Subject::from(index)))?;
        loop {
            if let Some(seen) = look(self)? {
                return Ok(seen);
            }
            let left = deadline.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Err(Error::Timeout { action: awaited, subject: Some(index.into()), deadline });
            }
            match self
                .runtime
                .block_on(async { timeout(left.min(LOOK_AGAIN), changes.recv_from_full()).await })
            {
                // Too many changes at once are changes too.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Ok(Err(error)) => {
                    return Err(Error::refused("listen for changes", Subject::from(index))(error));
                }
                Ok(Ok(_)) | Err(_) => {}
            }
        }
    }

    fn changes(&self, groups: u32) -> io::Result<TokioSocket> {
        let _entered = self.runtime.enter();
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket.socket_mut().bind(&SocketAddr::new(0, groups))?;
        Ok(socket)
    }

    fn one_link(
        &mut self,
        message: LinkMessage,
        subject: Subject,
        none: impl Fn() -> Error,
    ) -> Result<Link, Error> {
        let ask = Ask::new("look up", subject);
        match self.get_links(&ask, message) {
            Ok(links) => links.into_iter().next().ok_or_else(none),
            Err(error) if error.errno() == Some(libc::ENODEV) => Err(none()),
            Err(error) => Err(error),
        }
    }

    fn get_links(&mut self, ask: &Ask, message: LinkMessage) -> Result<Vec<Link>, Error> {
        let answers = self.route.ask(&self.runtime, ask, RouteNetlinkMessage::GetLink(message))?;
        answers
            .into_iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewLink(message) => Some(Link::read(message, ask)),
                _ => None,
            })
            .collect()
    }

    fn set_flag(
        &mut self,
        action: &'static str,
        index: IfIndex,
        flag: LinkFlags,
        on: bool,
    ) -> Result<(), Error> {
        let mut message = about(index);
        message.header.change_mask = flag;
        message.header.flags = if on { flag } else { LinkFlags::empty() };
        self.set_link(action, index, message)
    }

    pub(crate) fn set_link(
        &mut self,
        action: &'static str,
        index: IfIndex,
        message: LinkMessage,
    ) -> Result<(), Error> {
        let ask = Ask::new(action, Subject::from(index));
        self.route.ask(&self.runtime, &ask, RouteNetlinkMessage::SetLink(message)).map(drop)
    }
}

/// A message about a link.
pub(crate) fn about(index: IfIndex) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index.get();
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        PacketOptions, Worker,
        testing::{ARRIVAL, Pair, SILENCE, name, namespace, spec},
    };

    #[test]
    fn what_is_written_to_a_tap_is_received_by_its_link() {
        let Some(namespace) = namespace() else { return };
        let worker = Worker::spawn(&namespace, "tapped").unwrap();
        let (tap, socket) = worker
            .call(|host| {
                let tap = host.create_tap(&name("tap"))?;
                let index = host.link(&name("tap"))?.index;
                host.set_up(index, true)?;
                host.packet_socket(index, PacketOptions::default()).map(|socket| (tap, socket))
            })
            .unwrap();
        assert_eq!(tap.send(&[0; 13]).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        let frame = [[0xff; 12].as_slice(), &[0x88, 0xb5], &[7; 46]].concat();
        tap.send(&frame).unwrap();
        assert!(socket.wait_readable(ARRIVAL).unwrap());
        let mut buffer = [0; 128];
        let received = socket.receive(&mut buffer).unwrap().unwrap();
        assert_eq!(&buffer[..received.len], frame);
        drop(tap);
        assert!(matches!(worker.call(|host| host.link(&name("tap"))).unwrap_err(), Error::NoSuchLink { .. }));
    }

    #[test]
    fn a_link_speaks_from_the_address_that_it_is_given() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let (near, far) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
        let index = pair.far_index;
        pair.at_near(move |host, index| host.add_address(index, near, 24)).unwrap();
        pair.far.call(move |host| host.add_address(index, far, 24)).unwrap();
        let listener = pair.far.run(move |_| std::net::TcpListener::bind((far, 0)).unwrap()).unwrap();
        let there = listener.local_addr().unwrap();
        let stream =
            pair.near.run(move |_| std::net::TcpStream::connect_timeout(&there, ARRIVAL).unwrap()).unwrap();
        assert_eq!(stream.local_addr().unwrap().ip(), near);
        let again = pair.at_near(move |host, index| host.add_address(index, near, 24)).unwrap_err();
        assert_eq!(again.errno(), Some(libc::EEXIST));
    }

    #[test]
    fn a_link_moves_to_another_namespace_with_its_name() {
        let (Some(from), Some(to)) = (namespace(), namespace()) else { return };
        let worker = Worker::spawn(&from, "from").unwrap();
        let there = to.clone();
        worker
            .call(move |host| {
                host.create_virtual(&name("moved"), VirtualKind::Ifb)?;
                let index = host.link(&name("moved"))?.index;
                host.move_link(index, &there)
            })
            .unwrap();
        assert!(matches!(
            worker.call(|host| host.link(&name("moved"))).unwrap_err(),
            Error::NoSuchLink { .. }
        ));
        let found = Worker::spawn(&to, "to").unwrap().call(|host| host.link(&name("moved"))).unwrap();
        assert_eq!((found.kind.as_deref(), found.up), (Some("ifb"), false));
    }

    #[test]
    fn a_veth_pair_is_made_as_specified_in_two_namespaces() {
        let mut spec = spec();
        (spec.near.mtu, spec.near.rx_queues, spec.near.tx_queues) = (3000, 2, 3);
        (spec.far.mtu, spec.far.rx_queues, spec.far.tx_queues) = (2000, 4, 1);
        let Some(pair) = Pair::of(spec.clone()) else { return };
        let Pair { near, far, near_index, far_index } = pair;
        let near = near.call(move |host| host.link_by_index(near_index)).unwrap();
        let (far, all) = far.call(move |host| Ok((host.link_by_index(far_index)?, host.links()?))).unwrap();
        for (link, end, peer) in [(&near, &spec.near, far_index), (&far, &spec.far, near_index)] {
            assert_eq!((&link.name, link.mac, link.mtu), (&end.name, Some(end.mac), end.mtu));
            assert_eq!((link.rx_queues, link.tx_queues), (end.rx_queues, end.tx_queues));
            assert_eq!((link.kind.as_deref(), link.tied_to), (Some("veth"), Some(peer)));
            assert!(!link.up && !link.running && link.arp && !link.promiscuous);
            assert!(link.xdp.is_empty());
        }
        let names: Vec<_> = all.iter().map(|link| link.name.as_ref()).collect();
        assert_eq!(names, ["lo", "far"], "the near end is, or was, here");
    }

    #[test]
    fn a_name_that_is_taken_is_refused() {
        let Some(pair) = Pair::create() else { return };
        let other = pair.far.namespace().clone();
        let error = pair.near.call(move |host| host.create_veth(&spec(), &other)).unwrap_err();
        assert_eq!(error.errno(), Some(libc::EEXIST));
        assert_eq!(error.to_string().split(':').next(), Some("create a veth pair (link near)"));
    }

    #[test]
    fn a_refusal_carries_the_kernels_sentence() {
        let Some(pair) = Pair::create() else { return };
        let error = pair.at_near(|host, index| host.set_mtu(index, 67)).unwrap_err();
        assert_eq!(
            (error.errno(), error.extack()),
            (Some(libc::EINVAL), Some("mtu less than device minimum"))
        );
    }

    #[test]
    fn a_link_that_is_not_there_is_told_by_name_and_by_index() {
        let Some(pair) = Pair::create() else { return };
        let nobody = name("nobody");
        let error = pair.near.call(move |host| host.link(&nobody)).unwrap_err();
        assert!(matches!(&error, Error::NoSuchLink { name } if name.as_ref() == "nobody"), "{error:?}");
        let error = pair.near.call(|host| host.link_by_index(IfIndex::new(4_000_000).unwrap())).unwrap_err();
        assert!(matches!(error, Error::NoSuchIndex { .. }), "{error:?}");
    }

    #[test]
    fn a_veth_runs_when_both_ends_are_up() {
        let Some(pair) = Pair::create() else { return };
        let alone = pair
            .at_near(|host, index| {
                host.set_up(index, true)?;
                host.wait_running(index, SILENCE)
            })
            .unwrap_err();
        assert!(matches!(alone, Error::Timeout { .. }), "{alone:?}");
        assert_eq!(alone.to_string(), format!("see the link run (link {}) within 300ms", pair.near_index));
        let pair = pair.up();
        let link = pair.at_near(Host::link_by_index).unwrap();
        assert!(link.up && link.running);
        pair.at_near(|host, index| host.set_up(index, false)).unwrap();
        let link = pair.at_near(Host::link_by_index).unwrap();
        assert!(!link.up && !link.running);
    }

    #[test]
    fn a_change_from_elsewhere_wakes_the_one_who_waits() {
        let Some(pair) = Pair::create() else { return };
        pair.at_near(|host, index| host.set_up(index, true)).unwrap();
        let Pair { near, far, near_index, far_index } = pair;
        let waiting =
            std::thread::spawn(move || near.call(move |host| host.wait_running(near_index, ARRIVAL)));
        far.call(move |host| host.set_up(far_index, true)).unwrap();
        assert!(waiting.join().unwrap().unwrap().running);
    }

    #[test]
    fn mtu_arp_and_promiscuous_mode_change_and_change_back() {
        let Some(pair) = Pair::create() else { return };
        let look = |pair: &Pair| {
            let link = pair.at_near(Host::link_by_index).unwrap();
            (link.mtu, link.arp, link.promiscuous)
        };
        let set = |mtu, arp, promiscuous| {
            pair.at_near(move |host, index| {
                host.set_mtu(index, mtu)?;
                host.set_arp(index, arp)?;
                host.set_promiscuous(index, promiscuous)
            })
            .unwrap();
        };
        set(9000, false, true);
        assert_eq!(look(&pair), (9000, false, true));
        set(1400, true, false);
        assert_eq!(look(&pair), (1400, true, false));
    }

    #[test]
    fn deleting_one_end_deletes_both() {
        let Some(pair) = Pair::create() else { return };
        pair.at_near(Host::delete_link).unwrap();
        let names: Vec<_> = pair.far.call(Host::links).unwrap().into_iter().map(|link| link.name).collect();
        assert_eq!(names, [name("lo")]);
        let error = pair.at_near(Host::delete_link).unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENODEV));
    }

    #[test]
    fn both_ends_may_share_a_namespace() {
        let Some(namespace) = namespace() else { return };
        let worker = Worker::spawn(&namespace, "both").unwrap();
        let names = worker
            .call(move |host| {
                host.create_veth(&spec(), &namespace)?;
                Ok(host.links()?.into_iter().map(|link| link.name.to_string()).collect::<Vec<_>>())
            })
            .unwrap();
        assert_eq!(names.len(), 3);
        assert!(names.contains(&"near".to_owned()) && names.contains(&"far".to_owned()));
    }

    #[test]
    fn what_is_set_at_a_link_is_told() {
        let Some(pair) = Pair::create() else { return };
        let mac = MacAddr([2, 0xaa, 0, 0, 0, 9]);
        pair.at_near(move |host, index| {
            host.set_mac(index, mac)?;
            host.set_all_multicast(index, true)?;
            host.set_tx_queue_length(index, 77)?;
            host.set_alias(index, Some("to the lab"))?;
            host.set_group(index, 5)
        })
        .unwrap();
        let link = pair.at_near(Host::link_by_index).unwrap();
        assert_eq!((link.mac, link.all_multicast, link.tx_queue_length), (Some(mac), true, 77));
        assert_eq!((link.alias.as_deref(), link.group), (Some("to the lab"), 5));
        assert!(link.ethernet && !link.loopback);
        pair.at_near(|host, index| host.set_alias(index, None)).unwrap();
        assert_eq!(pair.at_near(Host::link_by_index).unwrap().alias, None);
    }

    #[test]
    fn a_link_moves_to_the_index_that_is_asked_for_unless_it_is_taken() {
        let (Some(pair), Some(other)) = (Pair::create(), namespace()) else { return };
        let (wanted, to) = (IfIndex::new(4_000).unwrap(), other.clone());
        pair.at_near(move |host, index| host.move_link_as(index, &to, &name("moved"), wanted)).unwrap();
        let there = Worker::spawn(&other, "there").unwrap();
        assert_eq!(there.call(|host| host.link(&name("moved"))).unwrap().index, wanted);
        let (loopback, back) = (IfIndex::new(1).unwrap(), pair.near.namespace().clone());
        let taken =
            there.call(move |host| host.move_link_as(wanted, &back, &name("near"), loopback)).unwrap_err();
        assert_eq!(taken.errno(), Some(libc::EBUSY));
        assert!(there.call(|host| host.link(&name("moved"))).is_ok(), "it went nevertheless");
    }

    #[test]
    fn a_link_becomes_a_port_and_none_again() {
        let Some(pair) = Pair::create() else { return };
        let (controller, none) = pair
            .at_near(|host, index| {
                host.create_virtual(&name("bridge"), VirtualKind::Bridge)?;
                let bridge = host.link(&name("bridge"))?.index;
                host.set_controller(index, Some(bridge))?;
                let controller = host.link_by_index(index)?.controller;
                host.set_controller(index, None)?;
                Ok((controller == Some(bridge), host.link_by_index(index)?.controller))
            })
            .unwrap();
        assert_eq!((controller, none), (true, None));
    }

    #[test]
    fn frames_are_counted_at_both_ends() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let (near, far) =
            (pair.near_socket(PacketOptions::default()), pair.far_socket(PacketOptions::default()));
        let frame = [0xff; 60];
        for _ in 0..3 {
            assert_eq!(near.send(&frame).unwrap(), frame.len());
            assert!(far.wait_readable(ARRIVAL).unwrap());
            assert!(far.receive(&mut [0; 64]).unwrap().is_some());
        }
        let sent = pair.at_near(Host::link_by_index).unwrap().statistics;
        let index = pair.far_index;
        let received = pair.far.call(move |host| host.link_by_index(index)).unwrap().statistics;
        assert_eq!((sent.tx_packets, sent.tx_bytes, sent.rx_packets), (3, 180, 0));
        assert_eq!((received.rx_packets, received.rx_bytes, received.tx_packets), (3, 180, 0));
    }
}
