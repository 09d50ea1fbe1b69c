//! Settings of a link, one table for reading, comparing and changing them: `ip link set`.

use std::{fmt, net::Ipv6Addr};

use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    link::{AfSpecInet6, AfSpecUnspec, LinkAttribute, LinkFlags},
};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Host, IfIndex, MacAddr, Subject,
    netlink::{LinkBuilder, Request, by_index},
};

/// The settings of a link that a [`LinkSetting`] changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkSettings {
    /// Link-layer address, if it is an Ethernet address.
    pub mac: Option<MacAddr>,
    /// Maximum payload in bytes of a frame behind its link-layer header.
    pub mtu: u32,
    /// Maximum number of packets in the transmit queue, for qdiscs that use this limit.
    pub tx_queue_length: u32,
    /// Free text (`ip link set alias`).
    pub alias: Option<String>,
    /// Device group; 0 is the default.
    pub group: u32,
    /// Receives frames for any address (`IFF_PROMISC`). Packet sockets may hold a link promiscuous in
    /// addition.
    pub promiscuous: bool,
    /// Receives frames for any multicast address (`IFF_ALLMULTI`).
    pub all_multicast: bool,
    /// Uses ARP (no `IFF_NOARP`).
    pub arp: bool,
    /// Interface identifier of the link's autoconfigured IPv6 addresses, if one is set (`ip token`).
    pub token: Option<Ipv6Addr>,
    /// Administratively up (`IFF_UP`).
    pub up: bool,
}

/// One setting of a link and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkSetting {
    /// Link-layer address. `EBUSY` if the driver requires the link to be down, `EADDRNOTAVAIL` for a
    /// multicast address, `EOPNOTSUPP` if it cannot be changed.
    Mac(Option<MacAddr>),
    /// MTU. `EINVAL` outside the link's limits, which are narrower while a native XDP program is attached.
    Mtu(u32),
    TxQueueLength(u32),
    /// Alias. `EINVAL` for more than 255 bytes.
    Alias(Option<String>),
    Group(u32),
    Promiscuous(bool),
    AllMulticast(bool),
    Arp(bool),
    /// IPv6 token. `EINVAL` unless the link accepts router advertisements (`inet6_set_iftoken()` in
    /// `net/ipv6/addrconf.c`).
    Token(Option<Ipv6Addr>),
    Up(bool),
    /// The bridge or bond that the link is a port of. `EINVAL`, `EBUSY` or `EOPNOTSUPP` at the master's
    /// discretion.
    Master(Option<IfIndex>),
}

impl LinkSettings {
    /// Lists all settings, in an order in which they can be set.
    #[must_use]
    pub fn list(&self) -> [LinkSetting; 10] {
        let Self { mac, mtu, tx_queue_length, alias, group, promiscuous, all_multicast, arp, token, up } =
            self;
        [
            LinkSetting::Mac(*mac),
            LinkSetting::Mtu(*mtu),
            LinkSetting::TxQueueLength(*tx_queue_length),
            LinkSetting::Alias(alias.clone()),
            LinkSetting::Group(*group),
            LinkSetting::Promiscuous(*promiscuous),
            LinkSetting::AllMulticast(*all_multicast),
            LinkSetting::Arp(*arp),
            LinkSetting::Token(*token),
            LinkSetting::Up(*up),
        ]
    }

    /// Iterates over the settings that differ: each with its value here and its value in `other`.
    pub fn differences(&self, other: &Self) -> impl Iterator<Item = (LinkSetting, LinkSetting)> {
        self.list().into_iter().zip(other.list()).filter(|(one, other)| one != other)
    }

    /// Notes one attribute of the kernel's description of a link; returns whether it is one of a setting.
    pub(crate) fn note(&mut self, attribute: &LinkAttribute) -> bool {
        match attribute {
            LinkAttribute::Address(bytes) => self.mac = bytes.as_slice().try_into().ok().map(MacAddr),
            LinkAttribute::Mtu(bytes) => self.mtu = *bytes,
            LinkAttribute::TxQueueLen(length) => self.tx_queue_length = *length,
            LinkAttribute::IfAlias(text) => self.alias = Some(text.clone()),
            LinkAttribute::Group(number) => self.group = *number,
            LinkAttribute::AfSpecUnspec(families) => self.token = token(families),
            _ => return false,
        }
        true
    }

    /// Notes the flags in the kernel's description of a link.
    pub(crate) fn note_flags(&mut self, flags: LinkFlags) {
        self.promiscuous = flags.contains(LinkFlags::Promisc);
        self.all_multicast = flags.contains(LinkFlags::Allmulti);
        self.arp = !flags.contains(LinkFlags::Noarp);
        self.up = flags.contains(LinkFlags::Up);
    }
}

fn token(families: &[AfSpecUnspec]) -> Option<Ipv6Addr> {
    let inet6 = families.iter().find_map(|family| match family {
        AfSpecUnspec::Inet6(attributes) => Some(attributes),
        _ => None,
    });
    inet6?.iter().find_map(|attribute| match attribute {
        AfSpecInet6::Token(token) => Some(*token).filter(|token| !token.is_unspecified()),
        _ => None,
    })
}

impl LinkSetting {
    /// Makes the change in a request. Returns the action in words that follow "failed to", and the request.
    fn change(&self, link: LinkBuilder) -> (&'static str, LinkBuilder) {
        match self {
            Self::Mac(mac) => {
                ("set the link-layer address", link.address(mac.map_or_else(Vec::new, |mac| mac.0.to_vec())))
            }
            Self::Mtu(bytes) => ("set the MTU", link.mtu(*bytes)),
            Self::TxQueueLength(length) => ("set the transmit queue length", link.txqueuelen(*length)),
            Self::Alias(text) => ("set the alias", link.alias(text.as_deref().unwrap_or_default())),
            Self::Group(number) => ("set the group", link.link_group(*number)),
            Self::Promiscuous(on) => ("set promiscuous mode", link.promiscuous(*on)),
            Self::AllMulticast(on) => ("set reception of all multicast", link.allmulticast(*on)),
            Self::Arp(on) => ("set the use of ARP", link.arp(*on)),
            Self::Token(token) => {
                let token = AfSpecInet6::Token(token.unwrap_or(Ipv6Addr::UNSPECIFIED));
                let families = vec![AfSpecUnspec::Inet6(vec![token])];
                let attribute = LinkAttribute::AfSpecUnspec(families);
                ("set the IPv6 token", link.append_extra_attribute(attribute))
            }
            Self::Up(true) => ("bring up", link.up()),
            Self::Up(false) => ("bring down", link.down()),
            Self::Master(Some(master)) => ("set the master", link.controller(master.get())),
            Self::Master(None) => ("set the master", link.nocontroller()),
        }
    }

    /// Name and value in words.
    fn words(&self) -> (&'static str, String) {
        let switch = |on: &bool| if *on { "on" } else { "off" }.to_owned();
        let optional = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
        match self {
            Self::Mac(mac) => ("address ", optional(mac.map(|mac| mac.to_string()))),
            Self::Mtu(bytes) => ("MTU ", bytes.to_string()),
            Self::TxQueueLength(packets) => ("transmit queue length ", packets.to_string()),
            Self::Alias(text) => ("alias ", optional(text.clone())),
            Self::Group(number) => ("group ", number.to_string()),
            Self::Promiscuous(on) => ("promiscuous ", switch(on)),
            Self::AllMulticast(on) => ("all multicast ", switch(on)),
            Self::Arp(on) => ("ARP ", switch(on)),
            Self::Token(token) => ("token ", optional(token.map(|token| token.to_string()))),
            Self::Up(up) => ("", if *up { "up" } else { "down" }.to_owned()),
            Self::Master(master) => ("master ", optional(master.map(|master| format!("link {master}")))),
        }
    }

    /// Returns the value in words: `1500`, `on`, `none`.
    #[must_use]
    pub fn value(&self) -> String {
        self.words().1
    }
}

impl fmt::Display for LinkSetting {
    /// Name and value: `MTU 1500`, `ARP off`, `up`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, value) = self.words();
        write!(f, "{name}{value}")
    }
}

impl Host {
    /// Changes one setting of a link.
    ///
    /// # Errors
    /// [`Error::Refused`]: `ENODEV` if there is no such link, otherwise as the variants of [`LinkSetting`]
    /// say.
    pub fn set_link(&mut self, index: IfIndex, setting: &LinkSetting) -> Result<(), Error> {
        let (action, link) = setting.change(by_index(index));
        self.change_link(action, index, link)
    }

    /// Brings a link up or down.
    ///
    /// # Errors
    /// [`Error::Refused`]: `ENODEV` if there is no such link, otherwise at the driver's discretion.
    pub fn set_up(&mut self, index: IfIndex, up: bool) -> Result<(), Error> {
        self.set_link(index, &LinkSetting::Up(up))
    }

    /// Sets the MTU of a link.
    ///
    /// # Errors
    /// Those of [`LinkSetting::Mtu`].
    pub fn set_mtu(&mut self, index: IfIndex, mtu: u32) -> Result<(), Error> {
        self.set_link(index, &LinkSetting::Mtu(mtu))
    }

    pub(crate) fn change_link(
        &mut self,
        action: &'static str,
        index: IfIndex,
        link: LinkBuilder,
    ) -> Result<(), Error> {
        let request = Request::new(action, Subject::from(index));
        self.route.send(&request, RouteNetlinkMessage::SetLink(link.build())).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        VirtualKind,
        testing::{Pair, name},
    };

    #[test]
    fn every_setting_is_read_as_it_was_set() {
        let Some(pair) = Pair::create() else { return };
        let before = pair.at_near(Host::link_by_index).unwrap().settings;
        let changed = LinkSettings {
            mac: Some(MacAddr([2, 0xaa, 0, 0, 0, 9])),
            mtu: 9000,
            tx_queue_length: 77,
            alias: Some("to the lab".to_owned()),
            group: 5,
            promiscuous: true,
            all_multicast: true,
            arp: false,
            token: None,
            up: true,
        };
        assert_eq!(before.differences(&changed).count(), 9);
        for (from, to) in [(before.clone(), changed.clone()), (changed, before)] {
            let wanted: Vec<_> = from.differences(&to).map(|(_, to)| to).collect();
            pair.at_near(move |host, index| {
                wanted.iter().try_for_each(|setting| host.set_link(index, setting))
            })
            .unwrap();
            assert_eq!(pair.at_near(Host::link_by_index).unwrap().settings, to);
        }
    }

    #[test]
    fn a_setting_is_shown_by_name_and_value() {
        let settings = LinkSettings { mtu: 1500, ..LinkSettings::default() };
        let words: Vec<_> = settings.list().iter().map(ToString::to_string).collect();
        assert_eq!(
            words.join(", "),
            "address none, MTU 1500, transmit queue length 0, alias none, group 0, promiscuous off, \
             all multicast off, ARP off, token none, down"
        );
    }

    #[test]
    fn a_refusal_carries_the_extack_message() {
        let Some(pair) = Pair::create() else { return };
        let error = pair.at_near(|host, index| host.set_mtu(index, 67)).unwrap_err();
        assert_eq!(
            (error.errno(), error.extack()),
            (Some(libc::EINVAL), Some("mtu less than device minimum"))
        );
    }

    #[test]
    fn a_link_becomes_a_port_and_leaves_its_master() {
        let Some(pair) = Pair::create() else { return };
        let (joined, left) = pair
            .at_near(|host, index| {
                host.create_virtual(&name("bridge"), VirtualKind::Bridge)?;
                let bridge = host.link(&name("bridge"))?.index;
                host.set_link(index, &LinkSetting::Master(Some(bridge)))?;
                let master = host.link_by_index(index)?.master;
                host.set_link(index, &LinkSetting::Master(None))?;
                Ok((master == Some(bridge), host.link_by_index(index)?.master))
            })
            .unwrap();
        assert_eq!((joined, left), (true, None));
    }
}
