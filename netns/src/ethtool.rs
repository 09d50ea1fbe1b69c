//! What a device and its driver are: `ethtool -i`, `-g`, `-l`, `-S` and the speed of the link. By the ethtool netlink family
//! (Linux 5.8) where it has it, by `ioctl` where not.
//!
//! A driver that has no answer gives `None` (or nothing, of statistics); any other refusal is an error.

use std::os::fd::AsFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::{
    Error, Host, IfIndex, Subject,
    netlink::{Ask, Attributes, attribute, attributes, string},
    offload::{ETHTOOL, header},
    sys,
};

const ETHTOOL_MSG_STRSET_GET: u8 = 1;
const ETHTOOL_MSG_LINKMODES_GET: u8 = 4;
const ETHTOOL_MSG_RINGS_GET: u8 = 15;
const ETHTOOL_MSG_RINGS_SET: u8 = 16;
const ETHTOOL_MSG_CHANNELS_GET: u8 = 17;
const ETHTOOL_MSG_CHANNELS_SET: u8 = 18;
const ETHTOOL_A_STRSET_STRINGSETS: u16 = 2;
/// Inside of each other: sets, a set, its number or its strings, a string, its place or its text.
const ETHTOOL_A_STRINGSETS_STRINGSET: u16 = 1;
const ETHTOOL_A_STRINGSET_ID: u16 = 1;
const ETHTOOL_A_STRINGSET_STRINGS: u16 = 3;
const ETHTOOL_A_STRINGS_STRING: u16 = 1;
const ETHTOOL_A_STRING_VALUE: u16 = 2;
/// Names of the driver's statistics.
const ETH_SS_STATS: u32 = 1;
const ETHTOOL_A_LINKMODES_SPEED: u16 = 5;
const SPEED_UNKNOWN: u32 = u32::MAX;
/// Attributes of rings: the most of each kind, then how many there are.
const RX_MAX: u16 = 2;
const TX_MAX: u16 = 5;
const RX: u16 = 6;
const TX: u16 = 9;
/// Attributes of channels.
const CHANNELS_RX_MAX: u16 = 2;
const CHANNELS_TX_MAX: u16 = 3;
const CHANNELS_COMBINED_MAX: u16 = 5;
const CHANNELS_RX: u16 = 6;
const CHANNELS_TX: u16 = 7;
const CHANNELS_COMBINED: u16 = 9;

/// What a driver says of itself (`struct ethtool_drvinfo`). What it does not say is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Driver {
    /// Its name.
    pub name: String,
    /// Its version; the kernel's, where it has none of its own.
    pub version: String,
    /// The firmware's version.
    pub firmware: String,
    /// The device's place on its bus.
    pub bus: String,
}

/// Descriptors in a device's rings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rings {
    /// For receiving.
    pub rx: u32,
    /// The most of them.
    pub rx_max: u32,
    /// For sending.
    pub tx: u32,
    /// The most of them.
    pub tx_max: u32,
}

/// Channels of a device: queues with an interrupt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Channels {
    /// That only receive.
    pub rx: u32,
    /// The most of them.
    pub rx_max: u32,
    /// That only send.
    pub tx: u32,
    /// The most of them.
    pub tx_max: u32,
    /// That do both.
    pub combined: u32,
    /// The most of them.
    pub combined_max: u32,
}

impl Host {
    /// What a link's driver says of itself (`ETHTOOL_GDRVINFO`), if there is a driver to say it.
    ///
    /// # Errors
    /// [`Error::NoSuchIndex`], [`Error::Refused`].
    pub fn driver(&mut self, index: IfIndex) -> Result<Option<Driver>, Error> {
        let name = self.link_by_index(index)?.name;
        let ask = || {
            let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
            sys::driver_info(socket.as_fd(), name.as_ref().as_bytes())
        };
        let [name, version, firmware, bus] = match ask() {
            Ok(told) => told.map(|text| string(&text).unwrap_or_default()),
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(None),
            Err(error) => return Err(Error::refused("ask for the driver", Subject::from(index))(error)),
        };
        Ok(Some(Driver { name, version, firmware, bus }))
    }

    /// The driver's own statistics by name, in its order (`ethtool -S`); none if it keeps none.
    ///
    /// # Errors
    /// [`Error::NoSuchIndex`], [`Error::Refused`].
    pub fn driver_statistics(&mut self, index: IfIndex) -> Result<Vec<(String, u64)>, Error> {
        let name = self.link_by_index(index)?.name;
        let names = self.statistics_names(index)?;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let read = || {
            let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
            sys::driver_statistics(socket.as_fd(), name.as_ref().as_bytes(), names.len())
        };
        let values = read().map_err(Error::refused("read the driver's statistics", Subject::from(index)))?;
        Ok(names.into_iter().zip(values).collect())
    }

    fn statistics_names(&mut self, index: IfIndex) -> Result<Vec<String>, Error> {
        let ask = Ask::new("read the names of the driver's statistics", Subject::from(index));
        let set = Attributes::default().put(ETHTOOL_A_STRINGSET_ID, &ETH_SS_STATS.to_ne_bytes());
        let sets = Attributes::default().nest(ETHTOOL_A_STRINGSETS_STRINGSET, &set);
        let request = header(index).nest(ETHTOOL_A_STRSET_STRINGSETS, &sets);
        let Some(body) = self.ask_driver(ETHTOOL_MSG_STRSET_GET, &ask, request)? else {
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

    /// The speed of a link in Mbit/s, where it has a carrier and tells.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn speed(&mut self, index: IfIndex) -> Result<Option<u32>, Error> {
        let ask = Ask::new("read the speed", Subject::from(index));
        let answer = self.ask_driver(ETHTOOL_MSG_LINKMODES_GET, &ask, header(index))?;
        Ok(answer
            .and_then(|body| number(&body, ETHTOOL_A_LINKMODES_SPEED))
            .filter(|&speed| speed != SPEED_UNKNOWN))
    }

    /// The descriptors in a link's rings, if it tells.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn rings(&mut self, index: IfIndex) -> Result<Option<Rings>, Error> {
        let ask = Ask::new("read the rings", Subject::from(index));
        let answer = self.ask_driver(ETHTOOL_MSG_RINGS_GET, &ask, header(index))?;
        Ok(answer.map(|body| {
            let of = |kind| number(&body, kind).unwrap_or_default();
            Rings { rx: of(RX), rx_max: of(RX_MAX), tx: of(TX), tx_max: of(TX_MAX) }
        }))
    }

    /// Sets the descriptors in a link's rings; the most of them is not set. Many drivers restart the device.
    ///
    /// # Errors
    /// [`Error::Refused`]: `EINVAL` beyond the most, `EOPNOTSUPP` if they cannot be set.
    pub fn set_rings(&mut self, index: IfIndex, rings: Rings) -> Result<(), Error> {
        let ask = Ask::new("set the rings", Subject::from(index));
        let request = header(index).put(RX, &rings.rx.to_ne_bytes()).put(TX, &rings.tx.to_ne_bytes());
        self.generic(ETHTOOL, ETHTOOL_MSG_RINGS_SET, &ask, request).map(drop)
    }

    /// The channels of a link, if it tells.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn channels(&mut self, index: IfIndex) -> Result<Option<Channels>, Error> {
        let ask = Ask::new("read the channels", Subject::from(index));
        let answer = self.ask_driver(ETHTOOL_MSG_CHANNELS_GET, &ask, header(index))?;
        Ok(answer.map(|body| {
            let of = |kind| number(&body, kind).unwrap_or_default();
            Channels {
                rx: of(CHANNELS_RX),
                rx_max: of(CHANNELS_RX_MAX),
                tx: of(CHANNELS_TX),
                tx_max: of(CHANNELS_TX_MAX),
                combined: of(CHANNELS_COMBINED),
                combined_max: of(CHANNELS_COMBINED_MAX),
            }
        }))
    }

    /// Sets the channels of a link: those of a kind of which it can have any.
    ///
    /// # Errors
    /// [`Error::Refused`]: `EINVAL` beyond the most, or for fewer than an XDP program or a socket needs; `EOPNOTSUPP` if
    /// they cannot be set.
    pub fn set_channels(&mut self, index: IfIndex, channels: Channels) -> Result<(), Error> {
        let ask = Ask::new("set the channels", Subject::from(index));
        let Channels { rx, rx_max, tx, tx_max, combined, combined_max } = channels;
        let kinds = [
            (CHANNELS_RX, rx, rx_max),
            (CHANNELS_TX, tx, tx_max),
            (CHANNELS_COMBINED, combined, combined_max),
        ];
        let request = kinds
            .into_iter()
            .filter(|&(_, _, most)| most > 0)
            .fold(header(index), |request, (kind, count, _)| request.put(kind, &count.to_ne_bytes()));
        self.generic(ETHTOOL, ETHTOOL_MSG_CHANNELS_SET, &ask, request).map(drop)
    }

    /// Whether a link is a wireless one (`NL80211_CMD_GET_INTERFACE`).
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn is_wireless(&mut self, index: IfIndex) -> Result<bool, Error> {
        const NL80211: &str = "nl80211";
        const NL80211_CMD_GET_INTERFACE: u8 = 5;
        const NL80211_ATTR_IFINDEX: u16 = 3;
        let ask = Ask::new("ask whether it is wireless", Subject::from(index));
        let request = Attributes::default().put(NL80211_ATTR_IFINDEX, &index.get().to_ne_bytes());
        match self.generic(NL80211, NL80211_CMD_GET_INTERFACE, &ask, request) {
            Ok(answers) => Ok(!answers.is_empty()),
            // No wireless device in the kernel (no such family), or this is none.
            Err(error)
                if matches!(
                    error.errno(),
                    Some(libc::ENOENT | libc::ENODEV | libc::EINVAL | libc::EOPNOTSUPP)
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// What a driver answers, unless it has no answer.
    fn ask_driver(&mut self, command: u8, ask: &Ask, request: Attributes) -> Result<Option<Vec<u8>>, Error> {
        match self.generic(ETHTOOL, command, ask, request) {
            Ok(answers) => Ok(answers.into_iter().next()),
            Err(error) if error.errno() == Some(libc::EOPNOTSUPP) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn number(body: &[u8], kind: u16) -> Option<u32> {
    attribute(body, kind)?.first_chunk().copied().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        VethSpec, Worker,
        testing::{Pair, name, namespace, spec},
    };

    #[test]
    fn a_veth_tells_its_driver_and_a_speed_and_no_rings() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let driver = pair.at_near(Host::driver).unwrap().unwrap();
        assert_eq!((driver.name.as_str(), driver.bus.as_str()), ("veth", ""));
        assert!(!driver.version.is_empty());
        assert_eq!(pair.at_near(Host::speed).unwrap(), Some(10_000));
        assert_eq!(pair.at_near(Host::rings).unwrap(), None);
        assert!(!pair.at_near(Host::is_wireless).unwrap());
    }

    #[test]
    fn a_veth_keeps_statistics_of_its_queues_by_name() {
        let Some(pair) = Pair::create() else { return };
        let statistics = pair.at_near(Host::driver_statistics).unwrap();
        let peer = statistics.iter().find(|(name, _)| name == "peer_ifindex").unwrap();
        assert_eq!(peer.1, u64::from(pair.far_index.get()));
        assert!(statistics.iter().any(|(name, value)| name == "rx_queue_0_xdp_packets" && *value == 0));
    }

    #[test]
    fn a_link_without_a_driver_tells_nothing() {
        let Some(namespace) = namespace() else { return };
        let worker = Worker::spawn(&namespace, "bare").unwrap();
        let told = worker
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
        assert_eq!(told, (None, Vec::new(), None, None));
    }

    #[test]
    fn channels_change_and_change_back() {
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
        let refused = pair.at_near(move |host, index| host.set_channels(index, beyond)).unwrap_err();
        assert_eq!(refused.errno(), Some(libc::EINVAL));
    }
}
