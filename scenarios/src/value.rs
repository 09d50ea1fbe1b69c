//! Values of headers and scenarios, each of a type that is not confused with another.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use xdproof_ebpf::abi;

/// Address of the tester, the default source of a frame.
pub const TESTER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];

/// Address of the device under test, the default destination of a frame.
pub const DUT_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];

/// Ethernet address, in the order of transmission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    pub(crate) const EXPECTED: &str = "an Ethernet address like 02:00:00:00:00:01";
}

impl From<MacAddr> for u128 {
    fn from(MacAddr([a, b, c, d, e, f]): MacAddr) -> u128 {
        u64::from_be_bytes([0, 0, a, b, c, d, e, f]).into()
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddr {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let octets: Option<Vec<u8>> = text
            .split(':')
            .map(|octet| {
                let digits = octet.len() == 2 && octet.bytes().all(|digit| digit.is_ascii_hexdigit());
                digits.then(|| u8::from_str_radix(octet, 16).ok()).flatten()
            })
            .collect();
        let octets = octets.and_then(|octets| <[u8; 6]>::try_from(octets).ok());
        octets.map(Self).ok_or_else(|| ParseError::new(Self::EXPECTED, text))
    }
}

/// Text that cannot be parsed as the type expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found `{found}`")]
pub struct ParseError {
    /// Type expected, with an example.
    pub expected: &'static str,
    /// The text.
    pub found: String,
}

impl ParseError {
    pub(crate) fn new(expected: &'static str, found: &str) -> Self {
        Self { expected, found: found.to_owned() }
    }
}

/// Unsigned field of `N` bits, held in a `T`: its value is below `2^N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bits<T, const N: u32>(pub(crate) T);

impl<T: Copy + TryFrom<u64> + Into<u64>, const N: u32> Bits<T, N> {
    /// Largest value that `N` bits hold.
    pub const MAX: u64 = (1 << N) - 1;

    /// Returns a field with this value, if it fits in `N` bits.
    #[must_use]
    pub fn new(value: u64) -> Option<Self> {
        (value <= Self::MAX).then(|| T::try_from(value).ok()).flatten().map(Self)
    }

    /// Returns the value, at most [`Bits::MAX`].
    #[must_use]
    pub fn get(self) -> T {
        self.0
    }
}

impl<T: Into<u128>, const N: u32> From<Bits<T, N>> for u128 {
    fn from(Bits(value): Bits<T, N>) -> u128 {
        value.into()
    }
}

/// VLAN ID: 0 is a priority tag, 4095 is reserved (IEEE 802.1Q, table 9-2); both occur on links.
pub type VlanId = Bits<u16, 12>;

/// Numbers with names: the type, its width, its name in errors, and the maps between names and numbers.
macro_rules! named_number {
    ($(#[$doc:meta])* $name:ident($int:ty), $what:literal, $number:expr, $names:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $int);

        impl $name {
            /// Name of the type in an error.
            pub(crate) const WHAT: &str = $what;

            /// Returns the number of a name, if there is one of that name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                $number(name).map(Self)
            }

            /// Lists the names that a scenario may use.
            pub fn names() -> impl Iterator<Item = &'static str> {
                $names
            }
        }

        impl From<$name> for $int {
            fn from(value: $name) -> $int {
                value.0
            }
        }
    };
}

named_number! {
    /// IP protocol or IPv6 next-header number, named as in [`xdproof_ebpf::abi`].
    Protocol(u8), "protocol", abi::protocol_number, abi::protocols().map(|(_, name)| name)
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match abi::protocol_name(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Names of EtherTypes from the IEEE registry, as in `linux/if_ether.h`.
const ETHER_TYPES: &[(u16, &str)] = &[
    (0x0800, "ipv4"),
    (0x0806, "arp"),
    (0x0842, "wake_on_lan"),
    (0x6558, "teb"),
    (0x8035, "rarp"),
    (0x8100, "8021q"),
    (0x86dd, "ipv6"),
    (0x8808, "pause"),
    (0x8809, "slow"),
    (0x8847, "mpls_unicast"),
    (0x8848, "mpls_multicast"),
    (0x8863, "pppoe_discovery"),
    (0x8864, "pppoe_session"),
    (0x888e, "eapol"),
    (0x8892, "profinet"),
    (0x88a4, "ethercat"),
    (0x88a8, "8021ad"),
    (0x88cc, "lldp"),
    (0x88e5, "macsec"),
    (0x88f5, "mvrp"),
    (0x88f7, "ptp"),
    (0x8902, "cfm"),
    (0x8906, "fcoe"),
    (0x8914, "fip"),
    (0x9000, "loopback"),
];

named_number! {
    /// EtherType, or an IEEE 802.3 length if it is below 0x0600.
    EtherType(u16), "EtherType",
    |name| number(ETHER_TYPES, name),
    ETHER_TYPES.iter().map(|entry| entry.1)
}

impl EtherType {
    /// IPv4 (RFC 894).
    pub const IPV4: Self = Self(0x0800);
    /// ARP (RFC 826).
    pub const ARP: Self = Self(0x0806);
    /// Transparent Ethernet bridging: a frame without its FCS behind GRE (RFC 1701).
    pub const TEB: Self = Self(0x6558);
    /// IPv6 (RFC 2464).
    pub const IPV6: Self = Self(0x86dd);
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ETHER_TYPES.iter().find(|entry| entry.0 == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "{:#06x}", self.0),
        }
    }
}

/// Returns the number of a name in a table.
fn number(names: &[(u16, &str)], name: &str) -> Option<u16> {
    names.iter().find(|entry| entry.1 == name).map(|entry| entry.0)
}

/// Names of TPIDs; 0x9100 and 0x9200 precede IEEE 802.1ad and have none.
const TPIDS: &[(u16, &str)] = &[(0x8100, "8021q"), (0x88a8, "8021ad")];

named_number! {
    /// Tag protocol identifier: the EtherType that announces a VLAN tag.
    ///
    /// IEEE 802.1ad's is 0x88a8; the 0x9100 that some libraries call Q-in-Q precedes that standard.
    Tpid(u16), "TPID",
    |name| number(TPIDS, name),
    TPIDS.iter().map(|entry| entry.1)
}

impl Tpid {
    /// Customer tag, IEEE 802.1Q.
    pub const CUSTOMER: Self = Self(0x8100);
    /// Service tag, IEEE 802.1ad.
    pub const SERVICE: Self = Self(0x88a8);
}

impl fmt::Display for Tpid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::CUSTOMER => f.write_str("802.1Q"),
            Self::SERVICE => f.write_str("802.1ad"),
            Self(other) => write!(f, "tag {other:#06x}"),
        }
    }
}

/// Bytes, written as hexadecimal digits with any white space between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hex(pub Vec<u8>);

impl Hex {
    pub(crate) const EXPECTED: &str = "an even number of hexadecimal digits";
}

impl FromStr for Hex {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let digits: String = text.chars().filter(|character| !character.is_whitespace()).collect();
        hex::decode(digits).map(Self).map_err(|_| ParseError::new(Self::EXPECTED, text))
    }
}

/// Options of an IPv4 or TCP header: whole 32-bit words, 40 bytes at most (RFC 791 section 3.1, RFC 9293
/// section 3.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(Vec<u8>);

impl Options {
    pub(crate) const EXPECTED: &str = "whole 4-byte words of hexadecimal digits, 40 bytes at most";

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the length in 32-bit words, 0 to 10.
    #[must_use]
    pub fn words(&self) -> u8 {
        u8::try_from(self.0.len() / 4).unwrap_or(u8::MAX)
    }
}

impl FromStr for Options {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let Hex(bytes) = text.parse()?;
        let fits = bytes.len() <= 40 && bytes.len().is_multiple_of(4);
        fits.then_some(Self(bytes)).ok_or_else(|| ParseError::new(Self::EXPECTED, text))
    }
}

/// Source and destination of the IP header around a segment, for the pseudo-header of its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addresses {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}
