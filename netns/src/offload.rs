//! Offloads: `ethtool -k` and `-K`, over the ethtool netlink family (Linux 5.8,
//! `Documentation/networking/ethtool-netlink.rst`, `FEATURES_GET` and `FEATURES_SET`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Error, Host, IfIndex, Subject,
    ethtool::{ETHTOOL, header},
    netlink::{Attributes, Request, attribute, attributes, string},
};

const ETHTOOL_MSG_FEATURES_GET: u8 = 11;
const ETHTOOL_MSG_FEATURES_SET: u8 = 12;
const ETHTOOL_A_FEATURES_HW: u16 = 2;
const ETHTOOL_A_FEATURES_WANTED: u16 = 3;
const ETHTOOL_A_FEATURES_ACTIVE: u16 = 4;
const ETHTOOL_A_FEATURES_NOCHANGE: u16 = 5;
const ETHTOOL_A_BITSET_NOMASK: u16 = 1;
const ETHTOOL_A_BITSET_BITS: u16 = 3;
const ETHTOOL_A_BITSET_BITS_BIT: u16 = 1;
const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;
const ETHTOOL_A_BITSET_BIT_VALUE: u16 = 3;

/// The state of an offload on a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OffloadState {
    /// The offload is on.
    pub active: bool,
    /// The offload is requested. It may still be off, until whatever excludes it (an XDP program, an MTU)
    /// goes away.
    pub wanted: bool,
    /// The offload can be turned on and off on this link.
    pub changeable: bool,
}

/// The state of every offload on a link by its name, and the names of those that this project sets.
///
/// The names are the kernel's (`netdev_features_strings` in `net/ethtool/common.c`). `ethtool -k` shows the
/// same names for most offloads; its short names for groups (`gro`, `rxvlan`) are its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offloads(BTreeMap<String, OffloadState>);

impl Offloads {
    /// Generic receive offload. Enabled on one end of a veth, it also lets the other end transmit redirected
    /// frames.
    pub const GRO: &str = "rx-gro";
    /// Reversible receive offload in the device.
    pub const GRO_HW: &str = "rx-gro-hw";
    /// Irreversible receive offload in the device.
    pub const LRO: &str = "rx-lro";
    /// The device strips the VLAN tag of received frames.
    pub const RX_VLAN: &str = "rx-vlan-hw-parse";
    /// The device strips the 802.1ad tag of received frames.
    pub const RX_VLAN_STAG: &str = "rx-vlan-stag-hw-parse";
    /// The device inserts the VLAN tag of transmitted frames.
    pub const TX_VLAN: &str = "tx-vlan-hw-insert";
    /// The device inserts the 802.1ad tag of transmitted frames.
    pub const TX_VLAN_STAG: &str = "tx-vlan-stag-hw-insert";
    /// Generic segmentation offload.
    pub const GSO: &str = "tx-generic-segmentation";
    /// TCP segmentation in the device.
    pub const TSO: &str = "tx-tcp-segmentation";

    /// Returns the state of one offload, or `None` if the kernel does not know it.
    #[must_use]
    pub fn get(&self, offload: &str) -> Option<OffloadState> {
        self.0.get(offload).copied()
    }

    /// Iterates over all offloads in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, OffloadState)> {
        self.0.iter().map(|(offload, &state)| (offload.as_str(), state))
    }

    fn read(body: &[u8]) -> Self {
        let mut offloads = BTreeMap::<_, OffloadState>::new();
        let mut note = |kind, note: fn(&mut OffloadState, bool)| {
            for (name, on) in bits(attribute(body, kind).unwrap_or_default()) {
                note(offloads.entry(name).or_default(), on);
            }
        };
        // HW names every offload; the other bitsets name only the offloads that are set.
        note(ETHTOOL_A_FEATURES_HW, |state, on| state.changeable = on);
        note(ETHTOOL_A_FEATURES_WANTED, |state, on| state.wanted = on);
        note(ETHTOOL_A_FEATURES_ACTIVE, |state, on| state.active = on);
        note(ETHTOOL_A_FEATURES_NOCHANGE, |state, on| state.changeable &= !on);
        Self(offloads)
    }
}

/// Iterates over the names in a bitset and their values (`ethnl_put_bitset32()` in `net/ethtool/bitset.c`).
/// With a mask, a named bit is in the mask, and a flag says that it is set; without a mask, a named bit is
/// set.
fn bits(bitset: &[u8]) -> impl Iterator<Item = (String, bool)> {
    let masked = attribute(bitset, ETHTOOL_A_BITSET_NOMASK).is_none();
    attributes(attribute(bitset, ETHTOOL_A_BITSET_BITS).unwrap_or_default())
        .filter(|&(kind, _)| kind == ETHTOOL_A_BITSET_BITS_BIT)
        .filter_map(move |(_, bit)| {
            let name = string(attribute(bit, ETHTOOL_A_BITSET_BIT_NAME)?)?;
            Some((name, !masked || attribute(bit, ETHTOOL_A_BITSET_BIT_VALUE).is_some()))
        })
}

impl Host {
    /// Reads the state of every offload of a link.
    ///
    /// # Errors
    /// [`Error::Refused`]: `ENODEV` if there is no such link, `ENOENT` or `EOPNOTSUPP` before Linux 5.8.
    pub fn offloads(&mut self, index: IfIndex) -> Result<Offloads, Error> {
        let request = Request::new("read the offloads", Subject::from(index));
        let replies = self.generic(ETHTOOL, ETHTOOL_MSG_FEATURES_GET, &request, header(index))?;
        replies.first().map(|body| Offloads::read(body)).ok_or_else(|| request.incomplete("offloads"))
    }

    /// Requests states for several offloads at once and does not verify the result: the kernel remembers a
    /// request that it cannot fulfil yet ([`OffloadState::wanted`]).
    ///
    /// # Errors
    /// [`Error::Refused`] with `EOPNOTSUPP` for an unknown name.
    pub fn want_offloads<'a>(
        &mut self,
        index: IfIndex,
        wanted: impl IntoIterator<Item = (&'a str, bool)>,
    ) -> Result<(), Error> {
        let request = Request::new("set offloads", Subject::from(index));
        let bits = wanted.into_iter().fold(Attributes::default(), |bits, (offload, on)| {
            let named = Attributes::default().put_string(ETHTOOL_A_BITSET_BIT_NAME, offload);
            let bit = if on { named.put(ETHTOOL_A_BITSET_BIT_VALUE, &[]) } else { named };
            bits.nest(ETHTOOL_A_BITSET_BITS_BIT, &bit)
        });
        let bitset = Attributes::default().nest(ETHTOOL_A_BITSET_BITS, &bits);
        let body = header(index).nest(ETHTOOL_A_FEATURES_WANTED, &bitset);
        self.generic(ETHTOOL, ETHTOOL_MSG_FEATURES_SET, &request, body).map(drop)
    }

    /// Turns an offload on or off and verifies the result.
    ///
    /// # Errors
    /// [`Error::OffloadUnchanged`] if the kernel accepted the request but left the offload unchanged, as it
    /// does for one that is fixed or excluded; [`Error::Refused`] with `EOPNOTSUPP` for an unknown name.
    pub fn set_offload(&mut self, index: IfIndex, offload: &str, on: bool) -> Result<(), Error> {
        self.want_offloads(index, [(offload, on)])?;
        match self.offloads(index)?.get(offload) {
            Some(state) if state.active == on => Ok(()),
            _ => Err(Error::OffloadUnchanged { index, offload: offload.to_owned(), on }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Pair;

    fn state(pair: &Pair, offload: &str) -> Option<OffloadState> {
        pair.at_near(Host::offloads).unwrap().get(offload)
    }

    #[test]
    fn gro_of_a_veth_is_turned_on_and_off() {
        let Some(pair) = Pair::create() else { return };
        for on in [true, false, true] {
            pair.at_near(move |host, index| host.set_offload(index, Offloads::GRO, on)).unwrap();
            assert_eq!(
                state(&pair, Offloads::GRO),
                Some(OffloadState { active: on, wanted: on, changeable: true })
            );
        }
    }

    #[test]
    fn the_vlan_offloads_of_a_veth_are_turned_off() {
        let Some(pair) = Pair::create() else { return };
        for offload in [Offloads::RX_VLAN, Offloads::TX_VLAN, Offloads::RX_VLAN_STAG, Offloads::TX_VLAN_STAG]
        {
            pair.at_near(move |host, index| host.set_offload(index, offload, false)).unwrap();
            assert!(!state(&pair, offload).unwrap().active, "{offload}");
        }
    }

    #[test]
    fn the_kernel_knows_every_offload_constant() {
        let Some(pair) = Pair::create() else { return };
        let offloads = pair.at_near(Host::offloads).unwrap();
        for offload in [
            Offloads::GRO,
            Offloads::GRO_HW,
            Offloads::LRO,
            Offloads::RX_VLAN,
            Offloads::RX_VLAN_STAG,
            Offloads::TX_VLAN,
            Offloads::TX_VLAN_STAG,
            Offloads::GSO,
            Offloads::TSO,
        ] {
            assert!(offloads.get(offload).is_some(), "{offload}");
        }
        assert!(offloads.iter().count() > 50);
    }

    #[test]
    fn a_fixed_offload_is_reported_as_unchanged() {
        let Some(pair) = Pair::create() else { return };
        assert!(!state(&pair, Offloads::LRO).unwrap().changeable);
        let error = pair.at_near(|host, index| host.set_offload(index, Offloads::LRO, true)).unwrap_err();
        assert!(matches!(error, Error::OffloadUnchanged { on: true, .. }), "{error:?}");
    }

    #[test]
    fn an_unknown_offload_is_refused_with_an_extack_message() {
        let Some(pair) = Pair::create() else { return };
        assert_eq!(state(&pair, "rx-flux"), None);
        let error = pair.at_near(|host, index| host.set_offload(index, "rx-flux", true)).unwrap_err();
        assert_eq!((error.errno(), error.extack()), (Some(libc::EOPNOTSUPP), Some("bit name not found")));
    }

    #[test]
    fn an_offload_of_nochange_is_not_changeable() {
        let set = |name| Attributes::default().put_string(ETHTOOL_A_BITSET_BIT_NAME, name);
        let bitset = |bit: &Attributes| {
            let bits = Attributes::default().nest(ETHTOOL_A_BITSET_BITS_BIT, bit);
            Attributes::default().nest(ETHTOOL_A_BITSET_BITS, &bits).put(ETHTOOL_A_BITSET_NOMASK, &[])
        };
        let hardware = Attributes::default().nest(ETHTOOL_A_FEATURES_HW, &bitset(&set("x")));
        let changeable = |body: Attributes| Offloads::read(&body.into_bytes()).get("x").unwrap().changeable;
        assert!(changeable(hardware.clone()));
        assert!(changeable(hardware.clone().nest(ETHTOOL_A_FEATURES_NOCHANGE, &bitset(&set("y")))));
        assert!(!changeable(hardware.nest(ETHTOOL_A_FEATURES_NOCHANGE, &bitset(&set("x")))));
    }

    #[test]
    fn a_bitset_without_a_mask_names_the_set_bits() {
        let bit = Attributes::default().put_string(ETHTOOL_A_BITSET_BIT_NAME, "x");
        let named = Attributes::default().nest(ETHTOOL_A_BITSET_BITS_BIT, &bit);
        for (bitset, set) in
            [(Attributes::default(), false), (Attributes::default().put(ETHTOOL_A_BITSET_NOMASK, &[]), true)]
        {
            let bytes = bitset.nest(ETHTOOL_A_BITSET_BITS, &named).into_bytes();
            assert_eq!(bits(&bytes).collect::<Vec<_>>(), [("x".to_owned(), set)]);
        }
    }
}
