//! Values as a person writes them in a text: integers of any width, addresses, bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use xdproof_scenarios::MacAddr;

/// The forms in which bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Ip(IpAddr),
    Mac(MacAddr),
    /// The key of an LPM trie: the length of the prefix in the machine's byte order, then the address.
    Prefix(IpAddr, u8),
}

impl Address {
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some((address, length)) = text.split_once('/') {
            let address: IpAddr = address.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let length = length.parse().ok().filter(|length| *length <= most)?;
            return Some(Self::Prefix(address, length));
        }
        text.parse().map(Self::Ip).ok().or_else(|| text.parse().map(Self::Mac).ok())
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        match self {
            Self::Ip(IpAddr::V4(address)) => address.octets().to_vec(),
            Self::Ip(IpAddr::V6(address)) => address.octets().to_vec(),
            Self::Mac(MacAddr(octets)) => octets.to_vec(),
            Self::Prefix(address, length) => {
                u32::from(length).to_le_bytes().into_iter().chain(Self::Ip(address).bytes()).collect()
            }
        }
    }

    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Ip(IpAddr::V4(_)) => "an IPv4 address",
            Self::Ip(IpAddr::V6(_)) => "an IPv6 address",
            Self::Mac(_) => "a MAC address",
            Self::Prefix(IpAddr::V4(_), _) => "an IPv4 prefix (its length in 4 bytes, and the address)",
            Self::Prefix(IpAddr::V6(_), _) => "an IPv6 prefix (its length in 4 bytes, and the address)",
        }
    }

    /// Returns bytes as an address of the same form.
    pub(super) fn like(self, bytes: &[u8]) -> Option<String> {
        Some(match self {
            Self::Ip(IpAddr::V4(_)) => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).to_string(),
            Self::Ip(IpAddr::V6(_)) => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string(),
            Self::Mac(_) => MacAddr(<[u8; 6]>::try_from(bytes).ok()?).to_string(),
            Self::Prefix(address, _) => {
                let (length, address_bytes) = bytes.split_at_checked(4)?;
                let length = u32::from_le_bytes(length.try_into().ok()?);
                format!("{}/{length}", Self::Ip(address).like(address_bytes)?)
            }
        })
    }
}

/// Reads an integer: decimal, or `0x` and hexadecimal digits, with `_` between digits.
pub(super) fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (radix, digits) = digits.strip_prefix("0x").map_or((10, digits), |digits| (16, digits));
    let plain: String = digits.chars().filter(|&digit| digit != '_').collect();
    if plain.is_empty() || !plain.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let number = i128::from_str_radix(&plain, radix).ok()?;
    Some(if negative { -number } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_decimal_or_hexadecimal() {
        for (text, number) in
            [("0", 0), ("-7", -7), ("1_000", 1000), ("0xffff_ffff_ffff_ffff", i128::from(u64::MAX))]
        {
            assert_eq!(integer(text), Some(number), "{text}");
        }
        for text in ["", "-", "0x", "0xg", "+1", "1.5", "ten", "_"] {
            assert_eq!(integer(text), None, "{text}");
        }
    }

    #[test]
    fn addresses_and_prefixes_have_their_bytes_in_network_order() {
        for (text, bytes) in [
            ("192.0.2.10", &[192, 0, 2, 10][..]),
            ("02:00:00:00:00:01", &[2, 0, 0, 0, 0, 1]),
            ("192.0.2.0/24", &[24, 0, 0, 0, 192, 0, 2, 0]),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.bytes(), bytes);
            assert_eq!(address.like(bytes).as_deref(), Some(text));
        }
        assert_eq!(Address::parse("2001:db8::1").unwrap().bytes()[..4], [0x20, 0x01, 0x0d, 0xb8]);
        for text in ["192.0.2.300", "192.0.2.0/33", "02:00:00:00:00", "port:0"] {
            assert_eq!(Address::parse(text), None, "{text}");
        }
    }
}
