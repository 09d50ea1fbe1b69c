//! Addresses, routes and permanent neighbours of a link, as the kernel's own messages.
//!
//! Promises: a [`Record`] keeps the message as bytes, so that attributes that this crate does not know (a
//! metric, an encapsulation, a label) are restored too.

mod requests;

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use libc::{
    IFA_ADDRESS, IFA_CACHEINFO, IFA_F_DADFAILED, IFA_F_DEPRECATED, IFA_F_OPTIMISTIC, IFA_F_TEMPORARY,
    IFA_F_TENTATIVE, IFA_FLAGS, IFA_LOCAL, NDA_CACHEINFO, NDA_DST, NDA_PROBES, NTF_PROXY, NUD_PERMANENT,
    RTA_CACHEINFO, RTA_DST, RTA_EXPIRES, RTA_GATEWAY, RTA_MULTIPATH, RTA_OIF, RTA_PRIORITY, RTA_SRC,
    RTA_TABLE, RTA_VIA, RTM_NEWADDR, RTM_NEWNEIGH, RTM_NEWROUTE, RTN_UNICAST, RTPROT_KERNEL,
};
use rtnetlink::packet_core::parse_ip;

use crate::{
    Error, IfIndex,
    netlink::{Attributes, attribute, attribute_u32, attributes, u32_at},
};

/// Origin of an address (Linux 5.18): the kernel, for the link-local address of a link.
const IFA_PROTO: u16 = 11;
const IFAPROT_KERNEL_LL: u8 = 3;
/// Flags of an address that the kernel sets and clears by itself (`include/uapi/linux/if_addr.h`).
const TRANSIENT_FLAGS: u32 = IFA_F_OPTIMISTIC | IFA_F_DADFAILED | IFA_F_DEPRECATED | IFA_F_TENTATIVE;
/// An infinite lifetime (`INFINITY_LIFE_TIME`).
const FOREVER: u32 = u32::MAX;

const RTA_NH_ID: u16 = 30;
/// Offset of the remaining lifetime in `struct rta_cacheinfo`, and its unit in parts of a second.
const CACHEINFO_EXPIRES: usize = 8;
const USER_HZ: u32 = 100;
/// The one flag of a route that users set; the others describe its state.
const RTNH_F_ONLINK: u32 = 4;
/// `struct rtnexthop`: length, flags, hops, index.
const NEXT_HOP: usize = 8;

/// The kind of a [`Record`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    Address,
    /// A route of any table of either family. At least one of its next hops uses the link.
    Route,
    /// A permanent neighbour, or a proxy entry.
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

    /// Size of `struct ifaddrmsg`, `struct rtmsg` or `struct ndmsg`.
    const fn header(self) -> usize {
        match self {
            Self::Address => 8,
            Self::Route | Self::Neighbour => 12,
        }
    }
}

/// An address, a route or a neighbour, as the kernel reported it.
///
/// Two records are [alike](Self::is_like) if they differ only in transient state: counters, ages, and flags
/// that depend on the carrier or on duplicate address detection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    kind: RecordKind,
    body: Vec<u8>,
}

impl Record {
    /// Makes a record from the bytes that [`body`](Self::body) returned.
    ///
    /// # Errors
    /// [`Error::Invalid`] if they are shorter than the message's header.
    pub fn new(kind: RecordKind, body: Vec<u8>) -> Result<Self, Error> {
        if body.len() < kind.header() {
            let text = format!("{body:02x?}");
            return Err(Error::Invalid { what: "an rtnetlink message", text, problem: "it is too short" });
        }
        Ok(Self { kind, body })
    }

    #[must_use]
    pub const fn kind(&self) -> RecordKind {
        self.kind
    }

    /// Returns the message without its netlink header, in host byte order.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Returns whether both describe the same thing, transient state aside. Each belongs to the link of the
    /// index beside it.
    #[must_use]
    pub fn is_like(&self, own: IfIndex, other: &Self, others: IfIndex) -> bool {
        let none = IfIndex::new(u32::MAX >> 1).unwrap_or(own);
        self.kind == other.kind && self.rewrite(own, none, None) == other.rewrite(others, none, None)
    }

    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        i32::from(self.head(0)) == libc::AF_INET6
    }

    /// Returns whether the kernel may have created it by itself: a route that comes with an address or a
    /// link, or the link-local address of a link, but nothing that a router announced. (Before Linux 5.18 the
    /// kernel does not report the origin of an address.)
    #[must_use]
    pub fn is_kernel_made(&self) -> bool {
        match self.kind {
            RecordKind::Address => {
                let local =
                    matches!(self.address(), Some(IpAddr::V6(address)) if address.is_unicast_link_local());
                local && self.attribute(IFA_PROTO).is_none_or(|origin| origin == [IFAPROT_KERNEL_LL])
            }
            RecordKind::Route => self.head(5) == RTPROT_KERNEL && self.seconds_left().is_none(),
            RecordKind::Neighbour => false,
        }
    }

    /// Returns whether it has expired, some time after it was read.
    #[must_use]
    pub fn has_expired(&self, age: Duration) -> bool {
        self.seconds_left().is_some_and(|left| u64::from(left) <= age.as_secs())
    }

    /// The remaining lifetime when it was read; `None` if it is infinite.
    fn seconds_left(&self) -> Option<u32> {
        match self.kind {
            RecordKind::Address => {
                u32_at(self.attribute(IFA_CACHEINFO)?, 4).filter(|&valid| valid != FOREVER)
            }
            // Ticks, negative once it has expired; 0 is infinite.
            RecordKind::Route => {
                let ticks = u32_at(self.attribute(RTA_CACHEINFO)?, CACHEINFO_EXPIRES)?;
                (ticks != 0).then(|| ticks.cast_signed().max(0).cast_unsigned() / USER_HZ)
            }
            RecordKind::Neighbour => None,
        }
    }

    #[must_use]
    pub fn is_default_route(&self) -> bool {
        self.kind == RecordKind::Route && self.head(1) == 0 && self.head(7) == RTN_UNICAST
    }

    /// Returns whether only the kernel can create it: a temporary address, or an IPv6 route of metric 0 to a
    /// local address (in a request, 0 means the default metric 1024: `ip6_route_info_create()` in
    /// `net/ipv6/route.c`). The same holds for a route over a next hop object, which is gone.
    #[must_use]
    pub fn is_unrestorable(&self) -> bool {
        match self.kind {
            // Temporary (RFC 8981): inet6_rtm_newaddr() in net/ipv6/addrconf.c.
            RecordKind::Address => self.is_ipv6() && self.address_flags() & IFA_F_TEMPORARY != 0,
            RecordKind::Route => {
                self.attribute(RTA_NH_ID).is_some() || (self.is_ipv6() && self.metric() == 0)
            }
            RecordKind::Neighbour => false,
        }
    }

    /// Returns whether it is an IPv6 route to link-local or multicast destinations, which the kernel creates
    /// for every link: senders choose among them by naming the link.
    #[must_use]
    pub fn is_on_every_link(&self) -> bool {
        let to = self.attribute(RTA_DST).and_then(ip);
        let link_scope = |to: Ipv6Addr| to.is_unicast_link_local() || to.is_multicast();
        self.is_kernel_made() && matches!(to, Some(IpAddr::V6(to)) if link_scope(to))
    }

    /// Returns, for a route, the key that it shares with competing routes: family, table, destination,
    /// source, type of service and metric. Of routes with the same key the kernel uses the first.
    #[must_use]
    pub fn competition_key(&self) -> Option<Vec<u8>> {
        (self.kind == RecordKind::Route).then(|| {
            let mut key = self.body.get(..4).unwrap_or_default().to_vec();
            key.extend(self.table().to_ne_bytes());
            key.extend(self.metric().to_ne_bytes());
            key.extend([RTA_DST, RTA_SRC].into_iter().filter_map(|kind| self.attribute(kind)).flatten());
            key
        })
    }

    /// Returns, for an address, the address.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        let own = self.attribute(IFA_LOCAL).or_else(|| self.attribute(IFA_ADDRESS))?;
        (self.kind == RecordKind::Address).then(|| ip(own))?
    }

    /// The body of a request that creates the record, for a link that may have another index, some time after
    /// it was read. `None` if it has expired since.
    fn to_request(&self, own: IfIndex, new: IfIndex, age: Duration) -> Option<Vec<u8>> {
        (!self.has_expired(age)).then(|| self.rewrite(own, new, Some(age)))
    }

    /// The message without transient state and with the link's index replaced; with an age, its lifetimes are
    /// those that remain, and otherwise they are left out.
    fn rewrite(&self, own: IfIndex, new: IfIndex, age: Option<Duration>) -> Vec<u8> {
        let (header, rest) = self.body.split_at(self.kind.header());
        let mut header = header.to_vec();
        let swap = |bytes: &mut [u8]| {
            if *bytes == own.get().to_ne_bytes() {
                bytes.copy_from_slice(&new.get().to_ne_bytes());
            }
        };
        let remaining = |time: u32| match age {
            Some(age) if time != FOREVER => {
                time.saturating_sub(u32::try_from(age.as_secs()).unwrap_or(u32::MAX))
            }
            _ => time,
        };
        let mut sent = Attributes::default();
        match self.kind {
            RecordKind::Address => {
                // The header has room for 8 flags; IFA_FLAGS has them all.
                header[2] = 0;
                sent = sent.put_u32(IFA_FLAGS, self.address_flags() & !TRANSIENT_FLAGS);
                swap(&mut header[4..8]);
            }
            RecordKind::Neighbour => swap(&mut header[4..8]),
            RecordKind::Route => {
                let flags = u32_at(&header, 8).unwrap_or_default() & RTNH_F_ONLINK;
                header[8..12].copy_from_slice(&flags.to_ne_bytes());
            }
        }
        for (kind, value) in attributes(rest) {
            let mut value = value.to_vec();
            sent = match (self.kind, kind) {
                (RecordKind::Address, IFA_CACHEINFO) => {
                    // Preferred and valid lifetime; the rest is when it was created and changed.
                    let left = |at| remaining(u32_at(&value, at).unwrap_or(FOREVER));
                    let times = [left(0), left(4), 0, 0].map(u32::to_ne_bytes).concat();
                    if age.is_some() { sent.put(IFA_CACHEINFO, &times) } else { sent }
                }
                (RecordKind::Route, RTA_CACHEINFO) => match self.seconds_left() {
                    Some(seconds) if age.is_some() => sent.put_u32(RTA_EXPIRES, remaining(seconds)),
                    _ => sent,
                },
                (RecordKind::Address, IFA_FLAGS) | (RecordKind::Neighbour, NDA_CACHEINFO | NDA_PROBES) => {
                    sent
                }
                (RecordKind::Route, RTA_OIF) => {
                    swap(&mut value);
                    sent.put(kind, &value)
                }
                (RecordKind::Route, RTA_MULTIPATH) => {
                    for at in hops(&value) {
                        value[at + 2] &= RTNH_F_ONLINK.to_le_bytes()[0];
                        swap(&mut value[at + 4..at + 8]);
                    }
                    sent.put(kind, &value)
                }
                _ => sent.put(kind, &value),
            };
        }
        header.extend(sent.into_bytes());
        header
    }

    /// Returns whether it belongs to a link; of a route with several next hops, whether one of them does.
    #[must_use]
    pub fn goes_through(&self, index: IfIndex) -> bool {
        let index = index.get();
        match self.kind {
            RecordKind::Address | RecordKind::Neighbour => u32_at(&self.body, 4) == Some(index),
            RecordKind::Route => {
                self.number(RTA_OIF) == Some(index)
                    || self.attribute(RTA_MULTIPATH).is_some_and(|value| {
                        hops(value).iter().any(|at| u32_at(value, at + 4) == Some(index))
                    })
            }
        }
    }

    /// Returns whether it was configured, as opposed to learned: a permanent neighbour or a proxy entry.
    fn is_configured(&self) -> bool {
        self.kind != RecordKind::Neighbour
            || self.head(10) & NTF_PROXY != 0
            || self.body.get(8..10).is_some_and(|state| {
                state.first_chunk().is_some_and(|&state| u16::from_ne_bytes(state) & NUD_PERMANENT != 0)
            })
    }

    /// Returns whether it depends on another route, to its gateway.
    fn has_gateway(&self) -> bool {
        [RTA_GATEWAY, RTA_VIA, RTA_MULTIPATH].into_iter().any(|kind| self.attribute(kind).is_some())
    }

    fn address_flags(&self) -> u32 {
        self.number(IFA_FLAGS).unwrap_or_else(|| self.head(2).into())
    }

    fn table(&self) -> u32 {
        self.number(RTA_TABLE).unwrap_or_else(|| self.head(4).into())
    }

    fn metric(&self) -> u32 {
        self.number(RTA_PRIORITY).unwrap_or(0)
    }

    /// Returns whether it is an IPv6 route of several next hops.
    fn is_ipv6_multipath(&self) -> bool {
        self.is_ipv6() && self.attribute(RTA_MULTIPATH).is_some()
    }

    fn number(&self, kind: u16) -> Option<u32> {
        attribute_u32(self.body.get(self.kind.header()..)?, kind)
    }

    fn attribute(&self, kind: u16) -> Option<&[u8]> {
        attribute(self.body.get(self.kind.header()..)?, kind)
    }

    fn head(&self, at: usize) -> u8 {
        self.body.get(at).copied().unwrap_or_default()
    }
}

impl fmt::Display for Record {
    /// In the words of `ip`: `address 192.0.2.1/24`, `route 198.51.100.0/24 via 192.0.2.9 in table 254`.
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
                write!(f, " in table {}", self.table())
            }
            RecordKind::Neighbour => write!(f, "neighbour {}", text(NDA_DST).unwrap_or_default()),
        }
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    parse_ip(bytes).ok()
}

/// Returns the offsets of the next hops in a multipath attribute.
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

    #[test]
    fn a_truncated_message_is_rejected() {
        assert!(matches!(Record::new(RecordKind::Route, vec![0; 11]), Err(Error::Invalid { .. })));
    }
}
