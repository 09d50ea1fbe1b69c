//! Driver, rings, channels, statistics and speed of a device: `ethtool -i`, `-g`, `-l`, `-S`. Requests go to
//! the ethtool netlink family (Linux 5.8) where it has them, and to the `ioctl` otherwise.
//!
//! A driver that does not implement a query gives `None` (or no statistics); any other failure is an error.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Host, IfIndex, LinkName, Subject,
    netlink::{Attributes, Request, attribute, attribute_u32, attributes, string},
    sys,
};

pub(crate) const ETHTOOL: &str = "ethtool";
/// The number of the request header in every message of the family, and of the link's index in it.
const ETHTOOL_A_HEADER: u16 = 1;
const ETHTOOL_A_HEADER_DEV_INDEX: u16 = 1;

const ETHTOOL_MSG_STRSET_GET: u8 = 1;
const ETHTOOL_MSG_LINKMODES_GET: u8 = 4;
const ETHTOOL_MSG_RINGS_GET: u8 = 15;
const ETHTOOL_MSG_RINGS_SET: u8 = 16;
const ETHTOOL_MSG_CHANNELS_GET: u8 = 17;
const ETHTOOL_MSG_CHANNELS_SET: u8 = 18;
/// Nested in each other: string sets, a set, its id or its strings, a string, its text.
const ETHTOOL_A_STRSET_STRINGSETS: u16 = 2;
const ETHTOOL_A_STRINGSETS_STRINGSET: u16 = 1;
const ETHTOOL_A_STRINGSET_ID: u16 = 1;
const ETHTOOL_A_STRINGSET_STRINGS: u16 = 3;
const ETHTOOL_A_STRINGS_STRING: u16 = 1;
const ETHTOOL_A_STRING_VALUE: u16 = 2;
/// The set of the names of a driver's statistics.
const ETH_SS_STATS: u32 = 1;
const ETHTOOL_A_LINKMODES_SPEED: u16 = 5;
const SPEED_UNKNOWN: u32 = u32::MAX;
/// `ETHTOOL_A_RINGS_*`: `RX_MAX`, `TX_MAX`, `RX`, `TX`.
const RINGS: [u16; 4] = [2, 5, 6, 9];
/// `ETHTOOL_A_CHANNELS_*`: `RX_MAX`, `TX_MAX`, `COMBINED_MAX`, `RX_COUNT`, `TX_COUNT`, `COMBINED_COUNT`.
const CHANNELS: [u16; 6] = [2, 3, 5, 6, 7, 9];

/// Names and versions of a driver (`struct ethtool_drvinfo`). A field that the driver leaves out is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Driver {
    pub name: String,
    /// The driver's version, or the kernel's if the driver has none of its own.
    pub version: String,
    pub firmware: String,
    /// The device's address on its bus.
    pub bus: String,
}

/// Descriptors in a device's rings (`ETHTOOL_MSG_RINGS_GET`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rings {
    /// Receive descriptors.
    pub rx: u32,
    /// Maximum number of receive descriptors.
    pub rx_max: u32,
    /// Transmit descriptors.
    pub tx: u32,
    /// Maximum number of transmit descriptors.
    pub tx_max: u32,
}

/// A device's channels, queues with an interrupt (`ETHTOOL_MSG_CHANNELS_GET`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channels {
    /// Receive channels.
    pub rx: u32,
    /// Maximum number of receive channels.
    pub rx_max: u32,
    /// Transmit channels.
    pub tx: u32,
    /// Maximum number of transmit channels.
    pub tx_max: u32,
    /// Channels that receive and transmit.
    pub combined: u32,
    /// Maximum number of channels that receive and transmit.
    pub combined_max: u32,
}

impl Host {
    /// Reads the names and versions of a link's driver (`ETHTOOL_GDRVINFO`).
    pub fn driver(&mut self, index: IfIndex) -> Result<Option<Driver>, Error> {
        let read = self.link_ioctl("read the driver's name", index, sys::driver_info);
        Ok(unless_unsupported(read)?.map(|texts| {
            let [name, version, firmware, bus] = texts.map(|text| string(&text).unwrap_or_default());
            Driver { name, version, firmware, bus }
        }))
    }

    /// Reads the driver's statistics by name, in the driver's order (`ethtool -S`).
    pub fn driver_statistics(&mut self, index: IfIndex) -> Result<Vec<(String, u64)>, Error> {
        let names = self.statistics_names(index)?;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let values = self.link_ioctl("read the driver's statistics", index, |socket, link| {
            sys::driver_statistics(socket, link, names.len())
        })?;
        Ok(names.into_iter().zip(values).collect())
    }

    fn statistics_names(&mut self, index: IfIndex) -> Result<Vec<String>, Error> {
        let set = Attributes::default().put_u32(ETHTOOL_A_STRINGSET_ID, ETH_SS_STATS);
        let sets = Attributes::default().nest(ETHTOOL_A_STRINGSETS_STRINGSET, &set);
        let query = header(index).nest(ETHTOOL_A_STRSET_STRINGSETS, &sets);
        let action = "read the names of the driver's statistics";
        let Some(body) = self.ethtool_get(ETHTOOL_MSG_STRSET_GET, action, index, query)? else {
            return Ok(Vec::new());
        };
        let strings =
            [ETHTOOL_A_STRSET_STRINGSETS, ETHTOOL_A_STRINGSETS_STRINGSET, ETHTOOL_A_STRINGSET_STRINGS]
                .into_iter()
                .try_fold(body.as_slice(), attribute);
        Ok(attributes(strings.unwrap_or_default())
            .filter(|&(kind, _)| kind == ETHTOOL_A_STRINGS_STRING)
            .filter_map(|(_, one)| string(attribute(one, ETHTOOL_A_STRING_VALUE)?))
            .collect())
    }

    /// Reads the speed of a link in Mbit/s, if it has a carrier and reports one.
    pub fn speed(&mut self, index: IfIndex) -> Result<Option<u32>, Error> {
        let reply = self.ethtool_get(ETHTOOL_MSG_LINKMODES_GET, "read the speed", index, header(index))?;
        let speed = reply.and_then(|body| attribute_u32(&body, ETHTOOL_A_LINKMODES_SPEED));
        Ok(speed.filter(|&speed| speed != SPEED_UNKNOWN))
    }

    /// Reads the number of descriptors in a link's rings.
    pub fn rings(&mut self, index: IfIndex) -> Result<Option<Rings>, Error> {
        let reply = self.ethtool_get(ETHTOOL_MSG_RINGS_GET, "read the rings", index, header(index))?;
        Ok(reply.map(|body| {
            let [rx_max, tx_max, rx, tx] = numbers(&body, RINGS);
            Rings { rx, rx_max, tx, tx_max }
        }))
    }

    /// Sets the number of descriptors in a link's rings; the maxima are ignored. Many drivers restart the
    /// device.
    ///
    /// # Errors
    /// [`Error::Refused`]: `EINVAL` above the maximum, `EOPNOTSUPP` if the driver cannot set them.
    pub fn set_rings(&mut self, index: IfIndex, rings: Rings) -> Result<(), Error> {
        let request = Request::new("set the rings", Subject::from(index));
        let [_, _, rx, tx] = RINGS;
        let body = header(index).put_u32(rx, rings.rx).put_u32(tx, rings.tx);
        self.generic(ETHTOOL, ETHTOOL_MSG_RINGS_SET, &request, body).map(drop)
    }

    /// Reads the number of channels of a link.
    pub fn channels(&mut self, index: IfIndex) -> Result<Option<Channels>, Error> {
        let reply = self.ethtool_get(ETHTOOL_MSG_CHANNELS_GET, "read the channels", index, header(index))?;
        Ok(reply.map(|body| {
            let [rx_max, tx_max, combined_max, rx, tx, combined] = numbers(&body, CHANNELS);
            Channels { rx, rx_max, tx, tx_max, combined, combined_max }
        }))
    }

    /// Sets the number of channels of a link, of the kinds whose maximum is not 0.
    ///
    /// # Errors
    /// [`Error::Refused`]: `EINVAL` above the maximum, or below what an XDP program or a socket needs;
    /// `EOPNOTSUPP` if the driver cannot set them.
    pub fn set_channels(&mut self, index: IfIndex, channels: Channels) -> Result<(), Error> {
        let request = Request::new("set the channels", Subject::from(index));
        let Channels { rx, rx_max, tx, tx_max, combined, combined_max } = channels;
        let body = CHANNELS[3..]
            .iter()
            .zip([(rx, rx_max), (tx, tx_max), (combined, combined_max)])
            .filter(|(_, (_, max))| *max > 0)
            .fold(header(index), |body, (&kind, (count, _))| body.put_u32(kind, count));
        self.generic(ETHTOOL, ETHTOOL_MSG_CHANNELS_SET, &request, body).map(drop)
    }

    /// Returns whether a link is wireless (`NL80211_CMD_GET_INTERFACE`).
    pub fn is_wireless(&mut self, index: IfIndex) -> Result<bool, Error> {
        const NL80211: &str = "nl80211";
        const NL80211_CMD_GET_INTERFACE: u8 = 5;
        const NL80211_ATTR_IFINDEX: u16 = 3;
        let request = Request::new("look for a wireless interface", Subject::from(index));
        let body = Attributes::default().put_u32(NL80211_ATTR_IFINDEX, index.get());
        match self.generic(NL80211, NL80211_CMD_GET_INTERFACE, &request, body) {
            Ok(replies) => Ok(!replies.is_empty()),
            // The kernel has no wireless device (no such family), or the link is none.
            Err(error) => match error.errno() {
                Some(libc::ENOENT | libc::ENODEV | libc::EINVAL | libc::EOPNOTSUPP) => Ok(false),
                _ => Err(error),
            },
        }
    }

    /// Returns the reply to a `GET` request, or `None` if the driver does not implement it.
    fn ethtool_get(
        &mut self,
        command: u8,
        action: &'static str,
        index: IfIndex,
        body: Attributes,
    ) -> Result<Option<Vec<u8>>, Error> {
        let request = Request::new(action, Subject::from(index));
        let replies = unless_unsupported(self.generic(ETHTOOL, command, &request, body))?;
        Ok(replies.and_then(|replies| replies.into_iter().next()))
    }

    pub(crate) fn link_ioctl<T>(
        &mut self,
        action: &'static str,
        index: IfIndex,
        call: impl FnOnce(BorrowedFd<'_>, &LinkName) -> io::Result<T>,
    ) -> Result<T, Error> {
        let link = self.link_by_index(index)?.name;
        let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None);
        socket
            .map_err(io::Error::from)
            .and_then(|socket| call(socket.as_fd(), &link))
            .map_err(Error::refused(action, Subject::from(index)))
    }
}

/// Reads several numbers, 0 for a missing attribute.
fn numbers<const N: usize>(body: &[u8], kinds: [u16; N]) -> [u32; N] {
    kinds.map(|kind| attribute_u32(body, kind).unwrap_or_default())
}

fn unless_unsupported<T>(read: Result<T, Error>) -> Result<Option<T>, Error> {
    match read {
        Err(error) if error.errno() == Some(libc::EOPNOTSUPP) => Ok(None),
        read => read.map(Some),
    }
}

/// The attributes with which every request of the family begins: the link.
pub(crate) fn header(index: IfIndex) -> Attributes {
    let device = Attributes::default().put_u32(ETHTOOL_A_HEADER_DEV_INDEX, index.get());
    Attributes::default().nest(ETHTOOL_A_HEADER, &device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        VethSpec, Worker,
        testing::{Pair, name, namespace, spec},
    };

    #[test]
    fn a_veth_reports_driver_and_speed_but_no_rings() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let driver = pair.at_near(Host::driver).unwrap().unwrap();
        assert_eq!((driver.name.as_str(), driver.bus.as_str()), ("veth", ""));
        assert!(!driver.version.is_empty());
        assert_eq!(pair.at_near(Host::speed).unwrap(), Some(10_000));
        assert_eq!(pair.at_near(Host::rings).unwrap(), None);
        assert!(!pair.at_near(Host::is_wireless).unwrap());
    }

    #[test]
    fn a_veth_reports_statistics_by_queue() {
        let Some(pair) = Pair::create() else { return };
        let statistics = pair.at_near(Host::driver_statistics).unwrap();
        let peer = statistics.iter().find(|(name, _)| name == "peer_ifindex").unwrap();
        assert_eq!(peer.1, u64::from(pair.far_index.get()));
        assert!(statistics.iter().any(|(name, value)| name == "rx_queue_0_xdp_packets" && *value == 0));
    }

    #[test]
    fn a_link_without_a_driver_reports_nothing() {
        let Some(namespace) = namespace() else { return };
        let worker = Worker::spawn(&namespace, "bare").unwrap();
        let reported = worker
            .call(|host| {
                let index = host.link(&name("lo"))?.index;
                Ok((
                    host.driver(index)?,
                    host.driver_statistics(index)?,
                    host.channels(index)?,
                    host.speed(index)?,
                ))
            })
            .unwrap();
        assert_eq!(reported, (None, Vec::new(), None, None));
    }

    #[test]
    fn channels_are_set_and_restored() {
        let mut wide = spec();
        (wide.near.rx_queues, wide.near.tx_queues) = (4, 4);
        (wide.far.rx_queues, wide.far.tx_queues) = (4, 4);
        let Some(pair) = Pair::of(VethSpec { ..wide }) else { return };
        let before = pair.at_near(Host::channels).unwrap().unwrap();
        assert_eq!((before.rx_max, before.tx_max), (4, 4));
        let fewer = Channels { rx: 2, tx: 3, ..before };
        pair.at_near(move |host, index| host.set_channels(index, fewer)).unwrap();
        assert_eq!(pair.at_near(Host::channels).unwrap(), Some(fewer));
        pair.at_near(move |host, index| host.set_channels(index, before)).unwrap();
        assert_eq!(pair.at_near(Host::channels).unwrap(), Some(before));
        let beyond = Channels { rx: 5, ..before };
        let error = pair.at_near(move |host, index| host.set_channels(index, beyond)).unwrap_err();
        assert_eq!(error.errno(), Some(libc::EINVAL));
    }
}
