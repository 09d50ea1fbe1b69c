//! What the network layer knows of a link, as the kernel tells it: addresses, routes and permanent neighbours. They go when
//! the link leaves the namespace, and [`Record`] is what brings them back: the kernel's own message, kept as bytes, so that
//! nothing is lost that this crate has no word for (a metric, an encapsulation, a label).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE};

use crate::{
    Error, Host, IfIndex, Subject,
    netlink::{Ask, Attributes, RawMessage, attribute, attributes, string},
};

/// `RTM_NEW*`, to which 1 is added for `DEL` and 2 for `GET` (`include/uapi/linux/rtnetlink.h`).
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_NEWNEIGH: u16 = 28;
const RTM_NEWQDISC: u16 = 36;
const RTM_NEWNEXTHOP: u16 = 104;
const DEL: u16 = 1;
const GET: u16 = 2;

/// `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE`, `RTMGRP_IPV6_IFADDR`, `RTMGRP_IPV6_ROUTE`, `RTMGRP_NEIGH`.
const RECORD_CHANGES: u32 = 0x10 | 0x40 | 0x100 | 0x400 | 0x4;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
/// Who made an address (Linux 5.18): the kernel, as the link-local one of a link.
const IFA_PROTO: u16 = 11;
const IFAPROT_KERNEL_LL: u8 = 3;
/// Flags of an address that come and go by themselves (`include/uapi/linux/if_addr.h`): optimistic, failed detection,
/// deprecated, tentative.
const PASSING_FLAGS: u32 = 0x04 | 0x08 | 0x20 | 0x40;
/// Temporary (RFC 8981): the kernel makes such an address, nobody else can (`inet6_rtm_newaddr()` of `net/ipv6/addrconf.c`).
const IFA_F_TEMPORARY: u32 = 0x01;
/// Lifetimes that never end (`INFINITY_LIFE_TIME`).
const FOREVER: u32 = u32::MAX;

const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_MULTIPATH: u16 = 9;
const RTA_CACHEINFO: u16 = 12;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const RTA_EXPIRES: u16 = 23;
const RTA_NH_ID: u16 = 30;
/// Where in `struct rta_cacheinfo` the time is that is left, and in what part of a second it is told.
const CACHEINFO_EXPIRES: usize = 8;
const USER_HZ: u32 = 100;
/// The flag of a route that someone sets; the others tell a state (`RTNH_F_ONLINK`).
const RTNH_F_ONLINK: u32 = 4;
const RTPROT_KERNEL: u8 = 2;
const RTN_UNICAST: u8 = 1;
/// `struct rtnexthop`: length, flags, hops, index.
const NEXT_HOP: usize = 8;

const NDA_DST: u16 = 1;
const NDA_CACHEINFO: u16 = 3;
const NDA_PROBES: u16 = 4;
const NUD_PERMANENT: u16 = 0x80;
const NTF_PROXY: u8 = 1 << 3;

const TCA_KIND: u16 = 1;
const NHA_OIF: u16 = 5;

/// What a [`Record`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// An IPv4 or IPv6 address.
    Address,
    /// A route of any table of either family; of several next hops, at least one goes through the link.
    Route,
    /// A neighbour that was entered by hand, or one that is answered for (a proxy entry).
    Neighbour,
}

impl RecordKind {
    const fn message(self) -> u16 {
        match self {
            Self::Address => RTM_NEWADDR,
            Self::Route => RTM_NEWROUTE,
            Self::Neighbour => RTM_NEWNEIGH,
        }
    }

    /// `struct ifaddrmsg`, `struct rtmsg`, `struct ndmsg`.
    const fn header(self) -> usize {
        match self {
            Self::Address => 8,
            Self::Route | Self::Neighbour => 12,
        }
    }
}

/// An address, a route or a neighbour, as the kernel told it.
///
/// Two records are [alike](Self::is_like) if they say the same but for what passes by itself: counters, ages, and what a
/// carrier or duplicate address detection does to flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    kind: RecordKind,
    body: Vec<u8>,
}

impl Record {
    /// Takes back what [`body`](Self::body) gave.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is too short to be one.
    pub fn new(kind: RecordKind, body: Vec<u8>) -> Result<Self, Error> {
        if body.len() < kind.header() {
            let text = format!("{body:02x?}");
            return Err(Error::Invalid { what: "a message of rtnetlink", text, problem: "it is too short" });
        }
        Ok(Self { kind, body })
    }

    /// What it is about.
    #[must_use]
    pub const fn kind(&self) -> RecordKind {
        self.kind
    }

    /// The message behind its netlink header, in the machine's order of bytes.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Whether both say the same, but for what passes by itself. Each is of the link of the index beside it.
    #[must_use]
    pub fn is_like(&self, own: IfIndex, other: &Self, others: IfIndex) -> bool {
        self.kind == other.kind && self.lasting(own) == other.lasting(others)
    }

    /// It is of IPv6.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        i32::from(self.head(0)) == libc::AF_INET6
    }

    /// It may be what the kernel makes by itself where nobody keeps it from it: a route with an address or a link, the
    /// link-local address of a link. What a router has announced is not of it. (Before Linux 5.18 the kernel does not say who
    /// has made an address.)
    #[must_use]
    pub fn is_of_kernel(&self) -> bool {
        match self.kind {
            RecordKind::Address => {
                let local =
                    matches!(self.address(), Some(IpAddr::V6(address)) if address.is_unicast_link_local());
                local && self.attribute(IFA_PROTO).is_none_or(|maker| maker == [IFAPROT_KERNEL_LL])
            }
            RecordKind::Route => self.head(5) == RTPROT_KERNEL && self.seconds_left().is_none(),
            RecordKind::Neighbour => false,
        }
    }

    /// Whether it has expired, some time after it was told.
    #[must_use]
    pub fn has_expired(&self, age: Duration) -> bool {
        self.seconds_left().is_some_and(|left| u64::from(left) <= age.as_secs())
    }

    /// For how long it is valid; none: for ever.
    fn seconds_left(&self) -> Option<u32> {
        match self.kind {
            RecordKind::Address => self
                .attribute(IFA_CACHEINFO)
                .and_then(|times| number(times, 4))
                .filter(|&valid| valid != FOREVER),
            // Ticks that may be negative once it has expired; 0: for ever.
            RecordKind::Route => {
                let ticks =
                    self.attribute(RTA_CACHEINFO).and_then(|times| number(times, CACHEINFO_EXPIRES))?;
                (ticks != 0).then(|| ticks.cast_signed().max(0).cast_unsigned() / USER_HZ)
            }
            RecordKind::Neighbour => None,
        }
    }

    /// It is a route to everywhere.
    #[must_use]
    pub fn is_default_route(&self) -> bool {
        self.kind == RecordKind::Route && self.head(1) == 0 && self.head(7) == RTN_UNICAST
    }

    /// The kernel makes it and takes it from nobody: a temporary address, an IPv6 route of metric 0 to an address of its own
    /// (a 0 that is sent means the default, 1024: `ip6_route_info_create()` of `net/ipv6/route.c`). Or it is a route by a next
    /// hop that is an object of its own, which is gone.
    #[must_use]
    pub fn is_beyond_restoring(&self) -> bool {
        match self.kind {
            RecordKind::Address => self.is_ipv6() && self.address_flags() & IFA_F_TEMPORARY != 0,
            RecordKind::Route => {
                let metric = self.attribute(RTA_PRIORITY).and_then(|value| number(value, 0));
                self.attribute(RTA_NH_ID).is_some() || (self.is_ipv6() && metric.unwrap_or(0) == 0)
            }
            RecordKind::Neighbour => false,
        }
    }

    /// It is an IPv6 route to link-local or multicast destinations that the kernel makes at every link: who sends there says by
    /// which.
    #[must_use]
    pub fn is_of_every_link(&self) -> bool {
        let to = self.attribute(RTA_DST).and_then(ip);
        let of_a_link = |to: Ipv6Addr| to.is_unicast_link_local() || to.is_multicast();
        self.is_of_kernel() && matches!(to, Some(IpAddr::V6(to)) if of_a_link(to))
    }

    /// Of a route, what it has in common with those that lead to the same place with the same right: of them the kernel takes
    /// the one that comes first. Family, table, destination, source, type of service and metric.
    #[must_use]
    pub fn rivalry(&self) -> Option<Vec<u8>> {
        (self.kind == RecordKind::Route).then(|| {
            let mut key = self.body.get(..4).unwrap_or_default().to_vec();
            let table = self.attribute(RTA_TABLE).and_then(|value| number(value, 0));
            let metric = self.attribute(RTA_PRIORITY).and_then(|value| number(value, 0));
            key.extend(table.unwrap_or_else(|| self.head(4).into()).to_ne_bytes());
            key.extend(metric.unwrap_or(0).to_ne_bytes());
            key.extend([RTA_DST, RTA_SRC].into_iter().filter_map(|kind| self.attribute(kind)).flatten());
            key
        })
    }

    /// The address, of an address.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        let own = self.attribute(IFA_LOCAL).or_else(|| self.attribute(IFA_ADDRESS))?;
        (self.kind == RecordKind::Address).then(|| ip(own))?
    }

    /// The record as it has to be sent so that it comes about: for a link of another index perhaps, and some time after it
    /// was told. None if it has expired since.
    fn to_send(&self, own: IfIndex, new: IfIndex, age: Duration) -> Option<Vec<u8>> {
        if self.has_expired(age) {
            return None;
        }
        let (mut header, attributes) = self.parts(own, new);
        let age = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
        let left = |time| if time == FOREVER { FOREVER } else { u32::saturating_sub(time, age) };
        let mut sent = Attributes::default();
        for (kind, value) in attributes {
            sent = match (self.kind, kind) {
                (RecordKind::Address, IFA_CACHEINFO) => {
                    // Preferred and valid; what follows is when it was made and changed.
                    let times = [left(number(&value, 0)?), left(number(&value, 4)?), 0, 0];
                    sent.put(IFA_CACHEINFO, &times.map(u32::to_ne_bytes).concat())
                }
                (RecordKind::Address, IFA_FLAGS) => {
                    sent.put(IFA_FLAGS, &(self.address_flags() & !PASSING_FLAGS).to_ne_bytes())
                }
                (RecordKind::Route, RTA_CACHEINFO) => match self.seconds_left() {
                    Some(seconds) => sent.put(RTA_EXPIRES, &left(seconds).to_ne_bytes()),
                    None => sent,
                },
                (RecordKind::Neighbour, NDA_CACHEINFO | NDA_PROBES) => sent,
                _ => sent.put(kind, &value),
            };
        }
        if self.kind == RecordKind::Address {
            // The old place of the flags has room for 8 of them; IFA_FLAGS has them all.
            header[2] = 0;
        }
        header.extend(sent.into_bytes());
        Some(header)
    }

    /// What of it lasts, the link's index aside.
    fn lasting(&self, own: IfIndex) -> (Vec<u8>, Vec<(u16, Vec<u8>)>) {
        let none = IfIndex::new(u32::MAX >> 1).unwrap_or(own);
        let (mut header, mut attributes) = self.parts(own, none);
        attributes.retain(|(kind, _)| match self.kind {
            RecordKind::Address => !matches!(*kind, IFA_CACHEINFO | IFA_FLAGS),
            RecordKind::Route => *kind != RTA_CACHEINFO,
            RecordKind::Neighbour => !matches!(*kind, NDA_CACHEINFO | NDA_PROBES),
        });
        if self.kind == RecordKind::Address {
            header[2] = 0;
            attributes.push((IFA_FLAGS, (self.address_flags() & !PASSING_FLAGS).to_ne_bytes().to_vec()));
        }
        (header, attributes)
    }

    /// The header and the attributes, with another index in the place of the link's own, and without what tells a state.
    fn parts(&self, own: IfIndex, new: IfIndex) -> (Vec<u8>, Vec<(u16, Vec<u8>)>) {
        let (header, rest) = self.body.split_at(self.kind.header());
        let mut header = header.to_vec();
        let swap = |bytes: &mut [u8]| {
            if *bytes == own.get().to_ne_bytes() {
                bytes.copy_from_slice(&new.get().to_ne_bytes());
            }
        };
        match self.kind {
            RecordKind::Address | RecordKind::Neighbour => swap(&mut header[4..8]),
            RecordKind::Route => {
                let flags = number(&header, 8).unwrap_or_default() & RTNH_F_ONLINK;
                header[8..12].copy_from_slice(&flags.to_ne_bytes());
            }
        }
        let attributes = attributes(rest).map(|(kind, value)| {
            let mut value = value.to_vec();
            match (self.kind, kind) {
                (RecordKind::Route, RTA_OIF) => swap(&mut value),
                (RecordKind::Route, RTA_MULTIPATH) => {
                    for at in hops(&value) {
                        value[at + 2] &= RTNH_F_ONLINK.to_le_bytes()[0];
                        swap(&mut value[at + 4..at + 8]);
                    }
                }
                _ => {}
            }
            (kind, value)
        });
        (header, attributes.collect())
    }

    /// It is of this link; of a route with several next hops, one of them is.
    #[must_use]
    pub fn goes_through(&self, index: IfIndex) -> bool {
        let index = index.get();
        match self.kind {
            RecordKind::Address | RecordKind::Neighbour => number(&self.body, 4) == Some(index),
            RecordKind::Route => {
                self.attribute(RTA_OIF).and_then(|value| number(value, 0)) == Some(index)
                    || self.attribute(RTA_MULTIPATH).is_some_and(|value| {
                        hops(value).iter().any(|at| number(value, at + 4) == Some(index))
                    })
            }
        }
    }

    /// Whether it is worth keeping: of neighbours, those that were entered.
    fn is_settled(&self) -> bool {
        self.kind != RecordKind::Neighbour
            || self.head(10) & NTF_PROXY != 0
            || self.body.get(8..10).is_some_and(|state| {
                state.first_chunk().is_some_and(|&state| u16::from_ne_bytes(state) & NUD_PERMANENT != 0)
            })
    }

    /// It needs another route to its gateway.
    fn has_gateway(&self) -> bool {
        [RTA_GATEWAY, RTA_VIA, RTA_MULTIPATH].into_iter().any(|kind| self.attribute(kind).is_some())
    }

    fn address_flags(&self) -> u32 {
        self.attribute(IFA_FLAGS).and_then(|value| number(value, 0)).unwrap_or_else(|| self.head(2).into())
    }

    fn attribute(&self, kind: u16) -> Option<&[u8]> {
        attribute(self.body.get(self.kind.header()..)?, kind)
    }

    fn head(&self, at: usize) -> u8 {
        self.body.get(at).copied().unwrap_or_default()
    }
}

impl fmt::Display for Record {
    /// In words, as `ip` has them: `address 192.0.2.1/24`, `route 198.51.100.0/24 via 192.0.2.9 in table 254`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |kind| self.attribute(kind).and_then(ip).map(|address| address.to_string());
        match self.kind {
            RecordKind::Address => {
                let address = self.address().map(|address| address.to_string()).unwrap_or_default();
                write!(f, "address {address}/{}", self.head(1))
            }
            RecordKind::Route => {
                match text(RTA_DST) {
                    Some(destination) => write!(f, "route {destination}/{}", self.head(1))?,
                    None => {
                        f.write_str(if self.is_ipv6() { "IPv6 route default" } else { "route default" })?;
                    }
                }
                if let Some(gateway) = text(RTA_GATEWAY) {
                    write!(f, " via {gateway}")?;
                }
                let table = self.attribute(RTA_TABLE).and_then(|value| number(value, 0));
                write!(f, " in table {}", table.unwrap_or_else(|| self.head(4).into()))
            }
            RecordKind::Neighbour => write!(f, "neighbour {}", text(NDA_DST).unwrap_or_default()),
        }
    }
}

/// A queueing discipline of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discipline {
    /// Its kind: `fq_codel`, `mq`, `noqueue`, `clsact`.
    pub kind: String,
    /// It is at the root, not below another one, and not where frames come in.
    pub root: bool,
    /// Someone has put it there; the kernel's own choice has no handle (`attach_default_qdiscs()` of
    /// `net/sched/sch_generic.c`).
    pub chosen: bool,
}

impl Host {
    /// What the network layer knows of a link, or of all, in the order of the kernel: `ip address`,
    /// `ip route show table all`, `ip neighbour` (permanent and proxy entries), of IPv4 and IPv6.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn records(
        &mut self,
        kind: RecordKind,
        index: impl Into<Option<IfIndex>>,
    ) -> Result<Vec<Record>, Error> {
        let index = index.into();
        let action = match kind {
            RecordKind::Address => "list the addresses",
            RecordKind::Route => "list the routes",
            RecordKind::Neighbour => "list the neighbours",
        };
        let mut records = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            for proxies in [false, true] {
                let mut header = vec![0; kind.header()];
                header[0] = u8::try_from(family).unwrap_or_default();
                match (kind, proxies) {
                    (RecordKind::Neighbour, true) => header[10] = NTF_PROXY,
                    (_, true) => continue,
                    (_, false) => {}
                }
                let ask = Ask::new(action, index.map(Subject::from)).with_flags(NLM_F_DUMP);
                let answers = self.raw(&ask, RawMessage { kind: kind.message() + GET, body: header })?;
                for answer in answers.into_iter().filter(|answer| answer.kind == kind.message()) {
                    let record = Record::new(kind, answer.body)?;
                    // A kernel without a family answers for every family.
                    let own = i32::from(record.head(0)) == family;
                    let asked_for = index.is_none_or(|index| record.goes_through(index));
                    if own && asked_for && record.is_settled() {
                        records.push(record);
                    }
                }
            }
        }
        Ok(records)
    }

    /// Waits until there are records as wanted. The kernel makes some of its own in the background: IPv6 enters an address's
    /// route when nobody else has claimed the address (`addrconf_dad_work()` of `net/ipv6/addrconf.c`). `awaited` says what it
    /// is, in words that fit behind "failed to".
    ///
    /// # Errors
    /// [`Error::Timeout`] if it does not come true in time, [`Error::Refused`].
    pub fn wait_records(
        &mut self,
        kind: RecordKind,
        index: IfIndex,
        awaited: &'static str,
        deadline: Duration,
        wanted: impl Fn(&[Record]) -> bool,
    ) -> Result<Vec<Record>, Error> {
        self.wait_changes(RECORD_CHANGES, index, awaited, deadline, |host| {
            host.records(kind, index).map(|records| Some(records).filter(|records| wanted(records)))
        })
    }

    /// Brings records about that are missing, some time after they were told (lifetimes are counted down), for a link that
    /// may have another index by now; gives those that could not be. What is there already is left alone, and what has
    /// expired is no fault.
    ///
    /// # Errors
    /// [`Error::Refused`] if what is there cannot be listed.
    pub fn add_records(
        &mut self,
        kind: RecordKind,
        index: IfIndex,
        records: &[Record],
        told_of: IfIndex,
        age: Duration,
    ) -> Result<Vec<(Record, Error)>, Error> {
        let there = self.records(kind, index)?;
        let mut missing: Vec<&Record> = records
            .iter()
            .filter(|record| record.kind == kind)
            .filter(|record| !there.iter().any(|other| record.is_like(told_of, other, index)))
            .collect();
        match kind {
            // Of IPv6, the newest of a scope is told first (ipv6_link_dev_addr() of net/ipv6/addrconf.c).
            RecordKind::Address => {
                let (mut six, four): (Vec<_>, Vec<_>) =
                    missing.into_iter().partition(|record| record.is_ipv6());
                six.reverse();
                missing = [four, six].concat();
            }
            RecordKind::Route => missing.sort_by_key(|record| record.has_gateway()),
            RecordKind::Neighbour => {}
        }
        // A gateway may be behind another route: as long as one comes about, the rest has another chance.
        loop {
            let (before, mut failed) = (missing.len(), Vec::new());
            for record in missing {
                if let Err(error) = self.add_record(record, told_of, index, age) {
                    failed.push((record, error));
                }
            }
            if failed.is_empty() || failed.len() == before {
                return Ok(failed.into_iter().map(|(record, error)| (record.clone(), error)).collect());
            }
            missing = failed.into_iter().map(|(record, _)| record).collect();
        }
    }

    /// Enters a route of this link before or behind its [rivals](Record::rivalry), some time after it was told. IPv6 has no
    /// way of entering one before others.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn enter_route(
        &mut self,
        index: IfIndex,
        record: &Record,
        first: bool,
        age: Duration,
    ) -> Result<(), Error> {
        // Without a flag, IPv4 enters it before the others (fib_table_insert() of net/ipv4/fib_trie.c).
        let order = if first { 0 } else { NLM_F_APPEND };
        self.send_record(record, index, index, age, order)
    }

    fn add_record(
        &mut self,
        record: &Record,
        told_of: IfIndex,
        index: IfIndex,
        age: Duration,
    ) -> Result<(), Error> {
        self.send_record(record, told_of, index, age, NLM_F_APPEND)
    }

    fn send_record(
        &mut self,
        record: &Record,
        told_of: IfIndex,
        index: IfIndex,
        age: Duration,
        order: u16,
    ) -> Result<(), Error> {
        let Some(body) = record.to_send(told_of, index, age) else { return Ok(()) };
        let (action, flags) = match record.kind {
            RecordKind::Address => ("add an address", NLM_F_CREATE | NLM_F_EXCL),
            // What is left of a route of several next hops, of which one was here, makes room for the whole.
            RecordKind::Route if record.is_ipv6() && record.attribute(RTA_MULTIPATH).is_some() => {
                ("add a route", NLM_F_CREATE | NLM_F_REPLACE)
            }
            RecordKind::Route if record.is_ipv6() => ("add a route", NLM_F_CREATE),
            RecordKind::Route => ("add a route", NLM_F_CREATE | order),
            RecordKind::Neighbour => ("add a neighbour", NLM_F_CREATE | NLM_F_REPLACE),
        };
        let ask = Ask::new(action, Subject::from(index)).with_flags(flags);
        self.raw(&ask, RawMessage { kind: record.kind.message(), body }).map(drop)
    }

    /// Takes away what a record of this link tells of.
    ///
    /// # Errors
    /// [`Error::Refused`]: `EADDRNOTAVAIL`, `ESRCH` or `ENOENT` if it is not there.
    pub fn remove_record(&mut self, index: IfIndex, record: &Record) -> Result<(), Error> {
        let ask = Ask::new("remove an address, route or neighbour", Subject::from(index));
        let body = record.to_send(index, index, Duration::ZERO).unwrap_or_else(|| record.body.clone());
        self.raw(&ask, RawMessage { kind: record.kind.message() + DEL, body }).map(drop)
    }

    /// The queueing disciplines of a link. Moving it to another namespace takes away those that someone has put there,
    /// with their filters (`dev_shutdown()` of `net/sched/sch_generic.c`).
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn disciplines(&mut self, index: IfIndex) -> Result<Vec<Discipline>, Error> {
        /// `struct tcmsg`: family, index, handle, parent, information.
        const HEADER: usize = 20;
        const TC_H_ROOT: u32 = u32::MAX;
        let ask = Ask::new("list the queueing disciplines", Subject::from(index)).with_flags(NLM_F_DUMP);
        let answers = self.raw(&ask, RawMessage { kind: RTM_NEWQDISC + GET, body: vec![0; HEADER] })?;
        Ok(answers
            .iter()
            .filter(|answer| answer.kind == RTM_NEWQDISC && number(&answer.body, 4) == Some(index.get()))
            .filter_map(|RawMessage { kind: _, body }| {
                let kind = string(attribute(body.get(HEADER..)?, TCA_KIND)?)?;
                let (handle, parent) = (number(body, 8)?, number(body, 12)?);
                Some(Discipline { kind, root: parent == TC_H_ROOT, chosen: handle != 0 })
            })
            .collect())
    }

    /// The numbers of the next hops that are objects of their own (`ip nexthop`, Linux 5.3) and go through a link: they go
    /// with it.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn next_hops(&mut self, index: IfIndex) -> Result<Vec<u32>, Error> {
        /// `struct nhmsg`.
        const HEADER: usize = 8;
        const NHA_ID: u16 = 1;
        let ask = Ask::new("list the next hops", Subject::from(index)).with_flags(NLM_F_DUMP);
        let answers = match self.raw(&ask, RawMessage { kind: RTM_NEWNEXTHOP + GET, body: vec![0; HEADER] }) {
            Err(error) if error.errno() == Some(libc::EOPNOTSUPP) => return Ok(Vec::new()),
            answers => answers?,
        };
        let of = |body: &[u8], kind| number(attribute(body.get(HEADER..)?, kind)?, 0);
        Ok(answers
            .iter()
            .filter(|answer| of(&answer.body, NHA_OIF) == Some(index.get()))
            .filter_map(|answer| of(&answer.body, NHA_ID))
            .collect())
    }
}

/// A number of 32 bits, in the machine's order.
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(*bytes.first_chunk::<4>()?).into()),
        16 => Some(Ipv6Addr::from(*bytes.first_chunk::<16>()?).into()),
        _ => None,
    }
}

/// Where the next hops of a multipath attribute begin.
fn hops(value: &[u8]) -> Vec<usize> {
    let (mut at, mut found) = (0, Vec::new());
    while let Some(&[a, b]) = value.get(at..).and_then(|rest| rest.first_chunk()) {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        if length < NEXT_HOP || at + length > value.len() {
            break;
        }
        found.push(at);
        at += length.next_multiple_of(4);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Worker,
        testing::{ARRIVAL, Pair},
    };

    fn records(pair: &Pair, kind: RecordKind) -> Vec<Record> {
        pair.at_near(move |host, index| host.records(kind, index)).unwrap()
    }

    /// The message of an address of this link, with a lifetime in seconds.
    fn lease(index: IfIndex, seconds: u32) -> Record {
        let times = [seconds, seconds, 7, 7].map(u32::to_ne_bytes).concat();
        let attributes = Attributes::default()
            .put(IFA_LOCAL, &[192, 0, 2, 7])
            .put(IFA_ADDRESS, &[192, 0, 2, 7])
            .put(IFA_CACHEINFO, &times)
            .into_bytes();
        let header = [vec![2, 24, 0, 0], index.get().to_ne_bytes().to_vec()].concat();
        Record::new(RecordKind::Address, [header, attributes].concat()).unwrap()
    }

    #[test]
    fn what_is_too_short_is_no_record() {
        assert!(matches!(Record::new(RecordKind::Route, vec![0; 11]), Err(Error::Invalid { .. })));
    }

    #[test]
    fn addresses_and_routes_come_back_as_they_were() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let address = Ipv4Addr::new(192, 0, 2, 1);
        pair.at_near(move |host, index| host.add_address(index, address, 24)).unwrap();
        let (addresses, routes) = (records(&pair, RecordKind::Address), records(&pair, RecordKind::Route));
        assert_eq!(addresses[0].to_string(), "address 192.0.2.1/24");
        assert_eq!(addresses[0].address(), Some(address.into()));
        let words: Vec<_> = routes.iter().map(ToString::to_string).collect();
        assert!(words.contains(&"route 192.0.2.0/24 in table 254".to_owned()), "{words:?}");
        assert!(routes.iter().all(|route| route.is_of_kernel() && !route.is_default_route()));
        let kept = addresses.clone();
        let failed = pair
            .at_near(move |host, index| {
                host.remove_record(index, &kept[0])?;
                assert_eq!(host.records(RecordKind::Address, index)?, []);
                host.add_records(RecordKind::Address, index, &kept, index, Duration::ZERO)
            })
            .unwrap();
        assert!(failed.is_empty());
        let index = pair.near_index;
        for (before, now) in
            [(addresses, records(&pair, RecordKind::Address)), (routes, records(&pair, RecordKind::Route))]
        {
            assert_eq!(before.len(), now.len());
            assert!(before.iter().zip(&now).all(|(before, now)| before.is_like(index, now, index)));
        }
    }

    #[test]
    fn a_lifetime_runs_on_while_the_record_is_kept() {
        let Some(pair) = Pair::create() else { return };
        let index = pair.near_index;
        let (long, over) = (lease(index, 1000), lease(index, 30));
        assert!(over.has_expired(Duration::from_secs(30)) && !over.has_expired(Duration::from_secs(29)));
        let left = pair
            .at_near(move |host, index| {
                let age = Duration::from_secs(400);
                let failed = host.add_records(RecordKind::Address, index, &[over, long], index, age)?;
                assert!(failed.is_empty());
                host.records(RecordKind::Address, index)
            })
            .unwrap();
        assert_eq!(left.len(), 1, "the address that has expired is back");
        let seconds = left[0].seconds_left().unwrap();
        assert!((590..=600).contains(&seconds), "{seconds} s are left of 600");
    }

    #[test]
    fn a_record_finds_its_link_under_another_index() {
        let Some(pair) = Pair::create() else { return };
        let (index, other) = (pair.near_index, IfIndex::new(4_000).unwrap());
        let told_of = lease(other, FOREVER);
        assert!(told_of.goes_through(other) && !told_of.goes_through(index));
        let failed = pair
            .at_near(move |host, index| {
                host.add_records(RecordKind::Address, index, &[told_of], other, Duration::ZERO)
            })
            .unwrap();
        assert!(failed.is_empty());
        let there = records(&pair, RecordKind::Address);
        assert_eq!(there[0].to_string(), "address 192.0.2.7/24");
        assert!(there[0].goes_through(index));
    }

    #[test]
    fn what_is_refused_is_given_back_with_the_reason() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        // By a gateway that nothing leads to.
        let header = [vec![2, 24, 0, 0, 254, 4, 0, 1], vec![0; 4]].concat();
        let attributes = Attributes::default()
            .put(RTA_DST, &[203, 0, 113, 0])
            .put(RTA_GATEWAY, &[198, 51, 100, 9])
            .put(RTA_OIF, &pair.near_index.get().to_ne_bytes())
            .into_bytes();
        let route = Record::new(RecordKind::Route, [header, attributes].concat()).unwrap();
        assert_eq!(route.to_string(), "route 203.0.113.0/24 via 198.51.100.9 in table 254");
        let failed = pair
            .at_near(move |host, index| {
                host.add_records(RecordKind::Route, index, &[route], index, Duration::ZERO)
            })
            .unwrap();
        assert_eq!(failed[0].1.errno(), Some(libc::ENETUNREACH));
    }

    #[test]
    fn what_comes_later_is_waited_for() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let index = pair.near_index;
        let late = pair.near.call(move |host| {
            host.wait_records(RecordKind::Address, index, "see one", Duration::from_millis(50), |there| {
                !there.is_empty()
            })
        });
        assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
        let second = Worker::spawn(pair.near.namespace(), "second").unwrap();
        let waiting = std::thread::spawn(move || {
            second.call(move |host| {
                host.wait_records(RecordKind::Address, index, "see one", ARRIVAL, |there| !there.is_empty())
            })
        });
        pair.at_near(|host, index| host.add_address(index, Ipv4Addr::new(192, 0, 2, 1), 24)).unwrap();
        assert_eq!(waiting.join().unwrap().unwrap().len(), 1);
    }

    #[test]
    fn a_discipline_of_the_kernels_choice_is_not_chosen() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let disciplines = pair.at_near(Host::disciplines).unwrap();
        assert_eq!(disciplines.len(), 1, "{disciplines:?}");
        assert_eq!(
            (disciplines[0].kind.as_str(), disciplines[0].root, disciplines[0].chosen),
            ("noqueue", true, false)
        );
        assert_eq!(pair.at_near(Host::next_hops).unwrap(), Vec::<u32>::new());
    }
}
