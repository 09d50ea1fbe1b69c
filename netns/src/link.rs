//! The state of links: reading it, waiting for it, and moving or deleting a link.

use std::{
    net::Ipv4Addr,
    os::fd::{AsFd, AsRawFd},
    time::{Duration, Instant},
};

use nix::poll::PollFlags;
use rtnetlink::{
    LinkUnspec,
    packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        address::{AddressAttribute, AddressMessage},
        link::{
            LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, Prop, Stats64,
        },
    },
};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Host, IfIndex, LinkName, LinkSettings, NetNs, Subject, XdpState,
    netlink::{LinkBuilder, Request, by_index, subscribe},
    poll::wait_ready,
};

/// Interval of looking without a notification: not every driver announces every change.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A snapshot of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: IfIndex,
    pub name: LinkName,
    /// Settings that [`Host::set_link`] changes.
    pub settings: LinkSettings,
    /// Maximum MTU, if there is one. It depends on the attached programs.
    pub max_mtu: Option<u32>,
    /// Alternative names, of up to 127 bytes each (`ALTIFNAMSIZ`, Linux 5.5).
    pub alt_names: Vec<String>,
    /// Administratively up, with a carrier and operational (`IFF_RUNNING` and `IFF_LOWER_UP`): frames pass.
    pub running: bool,
    /// Administratively up and with a carrier (`IFF_LOWER_UP`). The kernel finds out in the background
    /// whether the link is operational (`linkwatch_do_dev()` of `net/core/link_watch.c`).
    pub carrier: bool,
    /// Frames begin with an Ethernet header (`ARPHRD_ETHER`).
    pub ethernet: bool,
    /// The header with which frames begin, as the kernel names it: `ARPHRD_ETHER`, `ARPHRD_NONE`.
    pub header: String,
    /// A loopback link (`IFF_LOOPBACK`).
    pub loopback: bool,
    /// Root qdisc: `noqueue`, `mq`; `noop` if the link was never up in its namespace.
    pub qdisc: Option<String>,
    /// Receive queues at creation.
    pub rx_queues: u32,
    /// Transmit queues at creation.
    pub tx_queues: u32,
    /// Kind of a virtual link: `veth`, `bridge`, `bond`. None for hardware.
    pub kind: Option<String>,
    /// Bus address of the underlying device: `0000:00:03.0`, `virtio0` (Linux 5.14).
    pub parent: Option<String>,
    /// The bridge or bond that the link is a port of.
    pub master: Option<IfIndex>,
    /// The lower link (`IFLA_LINK`). For a veth, the index of the other end in the *other end's* namespace.
    pub iflink: Option<IfIndex>,
    pub xdp: XdpState,
    pub statistics: Statistics,
}

/// The part of a link's state that changes during use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkState {
    pub running: bool,
    pub xdp: XdpState,
}

/// Counters of a link since its creation (`struct rtnl_link_stats64`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statistics {
    pub rx_packets: u64,
    pub tx_packets: u64,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    /// Frames dropped after reception.
    pub rx_dropped: u64,
    /// Frames dropped before transmission.
    pub tx_dropped: u64,
    /// Frames received damaged.
    pub rx_errors: u64,
    /// Frames that could not be transmitted.
    pub tx_errors: u64,
    /// Frames for which the device had no buffer.
    pub rx_missed: u64,
}

impl From<Stats64> for Statistics {
    fn from(stats: Stats64) -> Self {
        Self {
            rx_packets: stats.rx_packets,
            tx_packets: stats.tx_packets,
            rx_bytes: stats.rx_bytes,
            tx_bytes: stats.tx_bytes,
            rx_dropped: stats.rx_dropped,
            tx_dropped: stats.tx_dropped,
            rx_errors: stats.rx_errors,
            tx_errors: stats.tx_errors,
            rx_missed: stats.rx_missed_errors,
        }
    }
}

impl Link {
    fn read(message: LinkMessage, request: &Request) -> Result<Self, Error> {
        let LinkMessage { header, attributes, .. } = message;
        let name = attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(text) => Some(text.parse()),
            _ => None,
        });
        let mut link = Self {
            index: IfIndex::new(header.index).ok_or_else(|| request.incomplete("link index"))?,
            name: name.ok_or_else(|| request.incomplete("link name"))??,
            settings: LinkSettings::default(),
            max_mtu: None,
            alt_names: Vec::new(),
            running: header.flags.contains(LinkFlags::Running | LinkFlags::LowerUp),
            carrier: header.flags.contains(LinkFlags::LowerUp),
            ethernet: header.link_layer_type == LinkLayerType::Ether,
            header: format!("ARPHRD_{}", header.link_layer_type),
            loopback: header.flags.contains(LinkFlags::Loopback),
            qdisc: None,
            rx_queues: 1,
            tx_queues: 1,
            kind: None,
            parent: None,
            master: None,
            iflink: None,
            xdp: XdpState::default(),
            statistics: Statistics::default(),
        };
        link.settings.note_flags(header.flags);
        for attribute in attributes.into_iter().filter(|attribute| !link.settings.note(attribute)) {
            match attribute {
                // 0 is "no limit" (dev_validate_mtu() in net/core/dev.c).
                LinkAttribute::MaxMtu(bytes) => link.max_mtu = Some(bytes).filter(|&bytes| bytes != 0),
                LinkAttribute::NumRxQueues(queues) => link.rx_queues = queues,
                LinkAttribute::NumTxQueues(queues) => link.tx_queues = queues,
                LinkAttribute::Controller(index) => link.master = IfIndex::new(index),
                LinkAttribute::Link(index) => link.iflink = IfIndex::new(index),
                LinkAttribute::ParentDevName(device) => link.parent = Some(device),
                LinkAttribute::PropList(properties) => {
                    link.alt_names = properties
                        .into_iter()
                        .filter_map(|property| match property {
                            Prop::AltIfName(name) => Some(name),
                            _ => None,
                        })
                        .collect();
                }
                LinkAttribute::Qdisc(kind) => link.qdisc = Some(kind),
                LinkAttribute::Xdp(attributes) => link.xdp = XdpState::read(&attributes),
                LinkAttribute::LinkInfo(infos) => {
                    link.kind = infos.iter().find_map(|info| match info {
                        LinkInfo::Kind(kind) => Some(kind.to_string()),
                        _ => None,
                    });
                }
                LinkAttribute::Stats64(stats) => link.statistics = stats.into(),
                _ => {}
            }
        }
        if link.settings.mtu == 0 { Err(request.incomplete("MTU")) } else { Ok(link) }
    }
}

impl Host {
    /// Adds an IPv4 address to a link, and with it the route to its prefix.
    ///
    /// # Errors
    /// [`Error::Refused`]: `EEXIST` if the link has the address, `EINVAL` for more than 32 bits.
    pub fn add_address(&mut self, index: IfIndex, address: Ipv4Addr, prefix: u8) -> Result<(), Error> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = prefix;
        message.header.index = index.get();
        message.attributes =
            vec![AddressAttribute::Local(address.into()), AddressAttribute::Address(address.into())];
        let request =
            Request::new("add an address", Subject::from(index)).with_flags(NLM_F_CREATE | NLM_F_EXCL);
        self.route.send(&request, RouteNetlinkMessage::NewAddress(message)).map(drop)
    }

    /// Moves a link to another namespace. It arrives down, with its name, and with its index unless that is
    /// taken there (`__dev_change_net_namespace()` in `net/core/dev.c`); or under another name and index
    /// (Linux 5.13; before that only the present index can be given).
    ///
    /// # Errors
    /// [`Error::Refused`]: `EEXIST` if the name is taken there, `EBUSY` if the requested index is, `EINVAL`
    /// if the link cannot leave.
    pub fn move_link(
        &mut self,
        index: IfIndex,
        to: &NetNs,
        identity: Option<(&LinkName, IfIndex)>,
    ) -> Result<(), Error> {
        let mut link = by_index(index).setns_by_fd(to.as_fd().as_raw_fd());
        if let Some((name, new)) = identity {
            link = link.name(name.as_ref());
            if new != index {
                link = link.append_extra_attribute(LinkAttribute::NewIfIndex(new.get().cast_signed()));
            }
        }
        self.change_link("move to another namespace", index, link)
    }

    /// Deletes a virtual link; for a veth, both ends.
    ///
    /// # Errors
    /// [`Error::Refused`]: `ENODEV` if there is no such link, `EOPNOTSUPP` if it is hardware.
    pub fn delete_link(&mut self, index: IfIndex) -> Result<(), Error> {
        let request = Request::new("delete", Subject::from(index));
        self.route.send(&request, RouteNetlinkMessage::DelLink(by_index(index).build())).map(drop)
    }

    /// Reads a link, by its name.
    pub fn link(&mut self, name: &LinkName) -> Result<Link, Error> {
        let link = LinkUnspec::new_with_name(name.as_ref());
        self.one_link(link, name.into(), || Error::NoSuchLink { name: name.clone() })
    }

    /// Reads a link, by its index.
    pub fn link_by_index(&mut self, index: IfIndex) -> Result<Link, Error> {
        self.one_link(by_index(index), index.into(), || Error::NoSuchIndex { index })
    }

    /// Reads the part of a link's state that changes during use. This is cheaper than
    /// [`link_by_index`](Self::link_by_index): the kernel leaves out the statistics, those of the protocols
    /// included (`RTEXT_FILTER_SKIP_STATS`, Linux 4.4; `rtnl_fill_ifinfo()` in `net/core/rtnetlink.c`).
    pub fn link_state(&mut self, index: IfIndex) -> Result<LinkState, Error> {
        let mask = LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]);
        let link = by_index(index).append_extra_attribute(mask);
        let link = self.one_link(link, index.into(), || Error::NoSuchIndex { index })?;
        Ok(LinkState { running: link.running, xdp: link.xdp })
    }

    /// Reads every link of the namespace, `lo` included, in the order of the indices.
    pub fn links(&mut self) -> Result<Vec<Link>, Error> {
        let request = Request::new("list the links", None).with_flags(NLM_F_DUMP);
        let mut links = self.get_links(&request, LinkBuilder::default())?;
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// Returns the link that has a name or an alternative name, which may be longer than a [`LinkName`].
    pub fn link_called(&mut self, name: &str) -> Result<Option<Link>, Error> {
        if let Ok(name) = name.parse() {
            return match self.link(&name) {
                Err(Error::NoSuchLink { .. }) => Ok(None),
                found => found.map(Some),
            };
        }
        Ok(self
            .links()?
            .into_iter()
            .find(|link| link.alt_names.iter().any(|alternative| alternative == name)))
    }

    fn one_link(
        &mut self,
        link: LinkBuilder,
        subject: Subject,
        none: impl Fn() -> Error,
    ) -> Result<Link, Error> {
        match self.get_links(&Request::new("look up", subject), link) {
            Ok(links) => links.into_iter().next().ok_or_else(none),
            Err(error) if error.errno() == Some(libc::ENODEV) => Err(none()),
            Err(error) => Err(error),
        }
    }

    fn get_links(&mut self, request: &Request, link: LinkBuilder) -> Result<Vec<Link>, Error> {
        let replies = self.route.send(request, RouteNetlinkMessage::GetLink(link.build()))?;
        replies
            .into_iter()
            .filter_map(|reply| match reply {
                RouteNetlinkMessage::NewLink(message) => Some(Link::read(message, request)),
                _ => None,
            })
            .collect()
    }

    /// Waits until a link is [running](Link::running), for which both ends of a veth have to be up.
    ///
    /// # Errors
    /// [`Error::Timeout`], or [`Error::NoSuchIndex`] if there is no such link or it disappears.
    pub fn wait_running(&mut self, index: IfIndex, deadline: Duration) -> Result<Link, Error> {
        self.wait_link(index, "see the link run", deadline, |link| link.running)
    }

    /// Waits until a link meets a condition. `awaited` describes it in words that follow "failed to".
    ///
    /// # Errors
    /// [`Error::Timeout`], or [`Error::NoSuchIndex`] if there is no such link or it disappears.
    pub fn wait_link(
        &mut self,
        index: IfIndex,
        awaited: &'static str,
        deadline: Duration,
        wanted: impl Fn(&Link) -> bool,
    ) -> Result<Link, Error> {
        self.wait_changes(libc::RTMGRP_LINK, index, awaited, deadline, |host| {
            host.link_by_index(index).map(|link| Some(link).filter(&wanted))
        })
    }

    /// Calls `look` until it returns a value, again whenever some multicast groups of rtnetlink announce a
    /// change.
    pub(crate) fn wait_changes<T>(
        &mut self,
        groups: i32,
        index: IfIndex,
        awaited: &'static str,
        deadline: Duration,
        mut look: impl FnMut(&mut Self) -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        let begun = Instant::now();
        let refused = |error| Error::refused("listen for changes", Subject::from(index))(error);
        // Before the first look, so that no change is missed in between.
        let changes = subscribe(groups).map_err(refused)?;
        loop {
            // Before the look, so that the last look begins when the time is over: this thread may not have
            // run meanwhile.
            let left = deadline.saturating_sub(begun.elapsed());
            if let Some(seen) = look(self)? {
                return Ok(seen);
            }
            if left.is_zero() {
                return Err(Error::Timeout { action: awaited, subject: Some(index.into()), deadline });
            }
            if wait_ready(changes.as_fd(), PollFlags::POLLIN, left.min(LOOK_INTERVAL)).map_err(refused)? {
                match changes.recv_from_full() {
                    // More changes than the socket holds are changes too.
                    Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                    received => drop(received.map_err(refused)?),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        PacketOptions, VirtualKind, Worker,
        testing::{ARRIVAL, Pair, SILENCE, name, namespace},
    };

    #[test]
    fn a_link_uses_its_added_address_as_source() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let (near, far) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
        pair.at_near(move |host, index| host.add_address(index, near, 24)).unwrap();
        pair.at_far(move |host, index| host.add_address(index, far, 24)).unwrap();
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
                host.move_link(index, &there, None)
            })
            .unwrap();
        assert!(matches!(
            worker.call(|host| host.link(&name("moved"))).unwrap_err(),
            Error::NoSuchLink { .. }
        ));
        let found = Worker::spawn(&to, "to").unwrap().call(|host| host.link(&name("moved"))).unwrap();
        assert_eq!((found.kind.as_deref(), found.settings.up), (Some("ifb"), false));
    }

    #[test]
    fn a_missing_link_is_reported_by_name_and_by_index() {
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
        assert!(link.settings.up && link.running);
        pair.at_near(|host, index| host.set_up(index, false)).unwrap();
        let link = pair.at_near(Host::link_by_index).unwrap();
        assert!(!link.settings.up && !link.running);
    }

    #[test]
    fn a_change_by_another_thread_wakes_the_waiter() {
        let Some(pair) = Pair::create() else { return };
        pair.at_near(|host, index| host.set_up(index, true)).unwrap();
        let Pair { near, far, near_index, far_index } = pair;
        let waiting =
            std::thread::spawn(move || near.call(move |host| host.wait_running(near_index, ARRIVAL)));
        far.call(move |host| host.set_up(far_index, true)).unwrap();
        assert!(waiting.join().unwrap().unwrap().running);
    }

    #[test]
    fn the_last_look_begins_when_the_time_is_over() {
        let Some(pair) = Pair::create() else { return };
        let mut looks = 0;
        let seen = pair.at_near(move |host, index| {
            let deadline = Duration::from_millis(1);
            host.wait_changes(libc::RTMGRP_LINK, index, "see the second look", deadline, |_| {
                looks += 1;
                // As if the thread did not run for so long.
                let begun = Instant::now();
                while begun.elapsed() < deadline {
                    std::hint::spin_loop();
                }
                Ok((looks == 2).then_some(looks))
            })
        });
        assert_eq!(seen.unwrap(), 2);
    }

    #[test]
    fn a_link_has_a_carrier_before_it_is_operational() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let link = pair.at_near(Host::link_by_index).unwrap();
        assert!(link.carrier && link.running);
        pair.at_far(|host, index| host.set_up(index, false)).unwrap();
        assert!(!pair.at_near(Host::link_by_index).unwrap().carrier);
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
    fn a_link_moves_to_the_requested_index_unless_it_is_taken() {
        let (Some(pair), Some(other)) = (Pair::create(), namespace()) else { return };
        let (wanted, to) = (IfIndex::new(4_000).unwrap(), other.clone());
        pair.at_near(move |host, index| host.move_link(index, &to, Some((&name("moved"), wanted)))).unwrap();
        let there = Worker::spawn(&other, "there").unwrap();
        assert_eq!(there.call(|host| host.link(&name("moved"))).unwrap().index, wanted);
        let (loopback, back) = (IfIndex::new(1).unwrap(), pair.near.namespace().clone());
        let taken = there
            .call(move |host| host.move_link(wanted, &back, Some((&name("near"), loopback))))
            .unwrap_err();
        assert_eq!(taken.errno(), Some(libc::EBUSY));
        assert!(there.call(|host| host.link(&name("moved"))).is_ok(), "it moved nevertheless");
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
        let received = pair.at_far(Host::link_by_index).unwrap().statistics;
        assert_eq!((sent.tx_packets, sent.tx_bytes, sent.rx_packets), (3, 180, 0));
        assert_eq!((received.rx_packets, received.rx_bytes, received.tx_packets), (3, 180, 0));
    }
}
