//! Offloads: what `ethtool -k` shows and `-K` sets, over the ethtool netlink family (Linux 5.8,
//! `Documentation/networking/ethtool-netlink.rst`, `FEATURES_GET` and `FEATURES_SET`).

use std::{borrow::Cow, collections::BTreeMap, fmt};

use crate::{
    Error, Host, IfIndex, Subject,
    netlink::{Ask, Attributes, attribute, attributes, string},
};

pub(crate) const ETHTOOL: &str = "ethtool";
const ETHTOOL_MSG_FEATURES_GET: u8 = 11;
const ETHTOOL_MSG_FEATURES_SET: u8 = 12;
const ETHTOOL_A_HEADER_DEV_INDEX: u16 = 1;
/// The number of the header's attribute in every message of the family.
const ETHTOOL_A_HEADER: u16 = 1;
const ETHTOOL_A_FEATURES_HW: u16 = 2;
const ETHTOOL_A_FEATURES_WANTED: u16 = 3;
const ETHTOOL_A_FEATURES_ACTIVE: u16 = 4;
const ETHTOOL_A_FEATURES_NOCHANGE: u16 = 5;
const ETHTOOL_A_BITSET_NOMASK: u16 = 1;
const ETHTOOL_A_BITSET_BITS: u16 = 3;
const ETHTOOL_A_BITSET_BITS_BIT: u16 = 1;
const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;
const ETHTOOL_A_BITSET_BIT_VALUE: u16 = 3;

/// The name of an offload as the kernel has it (`netdev_features_strings` of `net/ethtool/common.c`), which
/// is what `ethtool -k` shows for most; its old group names (`gro`, `rxvlan`) are the program's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offload(Cow<'static, str>);

impl Offload {
    /// Generic receive offload. On the peer of a veth it also lets the veth take redirected frames.
    pub const GRO: Self = Self::known("rx-gro");
    /// Receive offload in the device, reversible.
    pub const GRO_HW: Self = Self::known("rx-gro-hw");
    /// GRO of forwarded UDP.
    pub const GRO_UDP_FORWARDING: Self = Self::known("rx-udp-gro-forwarding");
    /// GRO by lists of frames.
    pub const GRO_LIST: Self = Self::known("rx-gro-list");
    /// Receive offload in the device, not reversible.
    pub const LRO: Self = Self::known("rx-lro");
    /// The device takes the VLAN tag out of received frames.
    pub const RX_VLAN: Self = Self::known("rx-vlan-hw-parse");
    /// The device takes the 802.1ad tag out of received frames.
    pub const RX_VLAN_STAG: Self = Self::known("rx-vlan-stag-hw-parse");
    /// The device throws away frames of VLANs that are not configured.
    pub const RX_VLAN_FILTER: Self = Self::known("rx-vlan-filter");
    /// The device puts the VLAN tag into sent frames.
    pub const TX_VLAN: Self = Self::known("tx-vlan-hw-insert");
    /// The device puts the 802.1ad tag into sent frames.
    pub const TX_VLAN_STAG: Self = Self::known("tx-vlan-stag-hw-insert");
    /// The device leaves the frame check sequence on received frames.
    pub const RX_FCS: Self = Self::known("rx-fcs");
    /// The device passes damaged frames on.
    pub const RX_ALL: Self = Self::known("rx-all");
    /// The device checks checksums.
    pub const RX_CHECKSUM: Self = Self::known("rx-checksum");
    /// The device computes checksums of any protocol.
    pub const TX_CHECKSUM: Self = Self::known("tx-checksum-ip-generic");
    /// Generic segmentation offload.
    pub const GSO: Self = Self::known("tx-generic-segmentation");
    /// TCP segmentation in the device.
    pub const TSO: Self = Self::known("tx-tcp-segmentation");
    /// Frames in several pieces are sent as they are.
    pub const SCATTER_GATHER: Self = Self::known("tx-scatter-gather");

    const fn known(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }
}

impl From<String> for Offload {
    fn from(name: String) -> Self {
        Self(Cow::Owned(name))
    }
}

impl From<&str> for Offload {
    fn from(name: &str) -> Self {
        name.to_owned().into()
    }
}

impl AsRef<str> for Offload {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// How an offload stands on a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OffloadState {
    /// It is on.
    pub active: bool,
    /// Someone asked for it. It may be off nevertheless, until something that excludes it (an XDP program, an
    /// MTU) goes.
    pub wanted: bool,
    /// It can be switched on this link.
    pub changeable: bool,
}

/// Every offload that the kernel knows, as it stands on a link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offloads(BTreeMap<Offload, OffloadState>);

impl Offloads {
    /// How one stands, or `None` if the kernel does not know it.
    #[must_use]
    pub fn get(&self, offload: &Offload) -> Option<OffloadState> {
        self.0.get(offload).copied()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Offload, OffloadState)> {
        self.0.iter().map(|(offload, &state)| (offload, state))
    }

    fn read(body: &[u8]) -> Self {
        let mut offloads = BTreeMap::<_, OffloadState>::new();
        let mut note = |kind, note: fn(&mut OffloadState, bool)| {
            for (name, on) in bits(attribute(body, kind).unwrap_or_default()) {
                note(offloads.entry(name.into()).or_default(), on);
            }
        };
        // HW names every offload; the others name those alone that are set.
        note(ETHTOOL_A_FEATURES_HW, |state, on| state.changeable = on);
        note(ETHTOOL_A_FEATURES_WANTED, |state, on| state.wanted = on);
        note(ETHTOOL_A_FEATURES_ACTIVE, |state, on| state.active = on);
        note(ETHTOOL_A_FEATURES_NOCHANGE, |state, on| state.changeable &= !on);
        Self(offloads)
    }
}

/// The names of a bitset and their values (`ethnl_put_bitset32()` of `net/ethtool/bitset.c`): with a mask, a
/// name stands for a bit that matters and has a flag if it is set; without, a name stands for a bit that is
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
    /// Every offload of a link.
    ///
    /// # Errors
    /// [`Error::Refused`]: `ENODEV` if there is no such link, `ENOENT` or `EOPNOTSUPP` if the kernel is older
    /// than 5.8.
    pub fn offloads(&mut self, index: IfIndex) -> Result<Offloads, Error> {
        let ask = Ask::new("read the offloads", Subject::from(index));
        let answers = self.generic(ETHTOOL, ETHTOOL_MSG_FEATURES_GET, &ask, header(index))?;
        answers.first().map(|body| Offloads::read(body)).ok_or_else(|| ask.incomplete("offloads"))
    }

    /// Says of several offloads at once which are wanted, and looks at nothing: what is wanted and cannot be, the kernel
    /// keeps in mind ([`OffloadState::wanted`]).
    ///
    /// # Errors
    /// [`Error::Refused`] with `EOPNOTSUPP` for a name that it does not know.
    pub fn want_offloads<'a>(
        &mut self,
        index: IfIndex,
        wanted: impl IntoIterator<Item = (&'a Offload, bool)>,
    ) -> Result<(), Error> {
        let ask = Ask::new("switch offloads", Subject::from(index));
        let bits = wanted.into_iter().fold(Attributes::default(), |bits, (offload, on)| {
            bits.nest(ETHTOOL_A_BITSET_BITS_BIT, &bit(offload, on))
        });
        let bitset = Attributes::default().nest(ETHTOOL_A_BITSET_BITS, &bits);
        let request = header(index).nest(ETHTOOL_A_FEATURES_WANTED, &bitset);
        self.generic(ETHTOOL, ETHTOOL_MSG_FEATURES_SET, &ask, request).map(drop)
    }

    /// Switches an offload and looks whether it took.
    ///
    /// # Errors
    /// [`Error::OffloadUnchanged`] if the kernel took the request and left the offload as it was, which it
    /// does for one that is fixed or excluded; [`Error::Refused`] with `EOPNOTSUPP` for a name that it does
    /// not know.
    pub fn set_offload(&mut self, index: IfIndex, offload: &Offload, on: bool) -> Result<(), Error> {
        self.want_offloads(index, [(offload, on)])?;
        let state = self.offloads(index)?.get(offload);
        if state.is_some_and(|state| state.active == on) {
            Ok(())
        } else {
            Err(Error::OffloadUnchanged { index, offload: offload.clone(), on })
        }
    }
}

fn bit(offload: &Offload, on: bool) -> Attributes {
    let named = Attributes::default().put_string(ETHTOOL_A_BITSET_BIT_NAME, offload.as_ref());
    if on { named.put(ETHTOOL_A_BITSET_BIT_VALUE, &[]) } else { named }
}

/// The attributes with which every request of the family begins: the link.
pub(crate) fn header(index: IfIndex) -> Attributes {
    let device = Attributes::default().put(ETHTOOL_A_HEADER_DEV_INDEX, &index.get().to_ne_bytes());
    Attributes::default().nest(ETHTOOL_A_HEADER, &device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Pair;

    fn state(pair: &Pair, offload: &Offload) -> Option<OffloadState> {
        pair.at_near(Host::offloads).unwrap().get(offload)
    }

    #[test]
    fn gro_of_a_veth_is_switched_on_and_off() {
        let Some(pair) = Pair::create() else { return };
        for on in [true, false, true] {
            pair.at_near(move |host, index| host.set_offload(index, &Offload::GRO, on)).unwrap();
            assert_eq!(
                state(&pair, &Offload::GRO),
                Some(OffloadState { active: on, wanted: on, changeable: true })
            );
        }
    }

    #[test]
    fn the_vlan_offloads_of_a_veth_are_known_by_their_names() {
        let Some(pair) = Pair::create() else { return };
        for offload in [Offload::RX_VLAN, Offload::TX_VLAN, Offload::RX_VLAN_STAG, Offload::TX_VLAN_STAG] {
            pair.at_near({
                let offload = offload.clone();
                move |host, index| host.set_offload(index, &offload, false)
            })
            .unwrap();
            assert!(!state(&pair, &offload).unwrap().active, "{offload}");
        }
    }

    #[test]
    fn every_offload_that_has_a_constant_is_one_of_the_kernels() {
        let Some(pair) = Pair::create() else { return };
        let offloads = pair.at_near(Host::offloads).unwrap();
        for offload in [
            Offload::GRO,
            Offload::GRO_HW,
            Offload::GRO_UDP_FORWARDING,
            Offload::GRO_LIST,
            Offload::LRO,
            Offload::RX_VLAN,
            Offload::RX_VLAN_STAG,
            Offload::RX_VLAN_FILTER,
            Offload::TX_VLAN,
            Offload::TX_VLAN_STAG,
            Offload::RX_FCS,
            Offload::RX_ALL,
            Offload::RX_CHECKSUM,
            Offload::TX_CHECKSUM,
            Offload::GSO,
            Offload::TSO,
            Offload::SCATTER_GATHER,
        ] {
            assert!(offloads.get(&offload).is_some(), "{offload}");
        }
        assert!(offloads.iter().count() > 50);
    }

    #[test]
    fn an_offload_that_is_fixed_is_told_to_be_unchanged() {
        let Some(pair) = Pair::create() else { return };
        assert!(!state(&pair, &Offload::LRO).unwrap().changeable);
        let error = pair.at_near(|host, index| host.set_offload(index, &Offload::LRO, true)).unwrap_err();
        assert!(matches!(error, Error::OffloadUnchanged { on: true, .. }), "{error:?}");
    }

    #[test]
    fn an_offload_that_the_kernel_does_not_know_is_refused_with_its_sentence() {
        let Some(pair) = Pair::create() else { return };
        let unknown = Offload::from("rx-flux");
        assert_eq!(state(&pair, &unknown), None);
        let error = pair.at_near(move |host, index| host.set_offload(index, &unknown, true)).unwrap_err();
        assert_eq!((error.errno(), error.extack()), (Some(libc::EOPNOTSUPP), Some("bit name not found")));
    }

    #[test]
    fn what_the_kernel_never_changes_is_not_changeable() {
        let set = |name| Attributes::default().put_string(ETHTOOL_A_BITSET_BIT_NAME, name);
        let bitset = |bit: &Attributes| {
            let bits = Attributes::default().nest(ETHTOOL_A_BITSET_BITS_BIT, bit);
            Attributes::default().nest(ETHTOOL_A_BITSET_BITS, &bits).put(ETHTOOL_A_BITSET_NOMASK, &[])
        };
        let hardware = Attributes::default().nest(ETHTOOL_A_FEATURES_HW, &bitset(&set("x")));
        let changeable =
            |body: Attributes| Offloads::read(&body.into_bytes()).get(&"x".into()).unwrap().changeable;
        assert!(changeable(hardware.clone()));
        assert!(changeable(hardware.clone().nest(ETHTOOL_A_FEATURES_NOCHANGE, &bitset(&set("y")))));
        assert!(!changeable(hardware.nest(ETHTOOL_A_FEATURES_NOCHANGE, &bitset(&set("x")))));
    }

    #[test]
    fn a_bitset_without_a_mask_names_what_is_set() {
        let bit = Attributes::default().put_string(ETHTOOL_A_BITSET_BIT_NAME, "x");
        let bits_of = |bit: &Attributes| Attributes::default().nest(ETHTOOL_A_BITSET_BITS_BIT, bit);
        let masked = Attributes::default().nest(ETHTOOL_A_BITSET_BITS, &bits_of(&bit)).into_bytes();
        let plain = Attributes::default()
            .put(ETHTOOL_A_BITSET_NOMASK, &[])
            .nest(ETHTOOL_A_BITSET_BITS, &bits_of(&bit))
            .into_bytes();
        assert_eq!(bits(&masked).collect::<Vec<_>>(), [("x".to_owned(), false)]);
        assert_eq!(bits(&plain).collect::<Vec<_>>(), [("x".to_owned(), true)]);
    }
}
