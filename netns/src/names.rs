//! Names, indices and addresses of links: three types, so that the compiler tells them apart.

use std::{fmt, num::NonZeroU32, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Error;

/// The name of a link: 1 to 15 bytes.
///
/// The rules are those of `dev_valid_name()` in `net/core/dev.c` (no slash, colon or whitespace, not `.` or
/// `..`). `%` is rejected too: the kernel expands it as a template (`veth%d`), so no link has one in its
/// name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LinkName(String);

impl LinkName {
    /// Maximum length in bytes: `IFNAMSIZ` without the terminating NUL.
    pub const MAX_LEN: usize = libc::IFNAMSIZ - 1;
}

impl TryFrom<String> for LinkName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        // The kernel's isspace() looks at bytes and counts 0xa0 as a space.
        let space = |byte| matches!(byte, b'\t'..=b'\r' | b' ' | 0xa0);
        let problem = match text.as_str() {
            "" => Some("it is empty"),
            "." | ".." => Some("it is a directory entry"),
            name if name.len() > Self::MAX_LEN => Some("it is longer than 15 bytes"),
            name if name.bytes().any(space) => Some("it contains whitespace"),
            name if name.contains(['/', ':', '%', '\0']) => {
                Some("it contains a slash, a colon, a percent sign or a NUL byte")
            }
            _ => None,
        };
        match problem {
            Some(problem) => Err(Error::Invalid { what: "a link name", text, problem }),
            None => Ok(Self(text)),
        }
    }
}

impl FromStr for LinkName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.to_owned().try_into()
    }
}

impl From<LinkName> for String {
    fn from(name: LinkName) -> Self {
        name.0
    }
}

impl AsRef<str> for LinkName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The index of a link. It is unique within one namespace: the two ends of a veth pair may have the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IfIndex(NonZeroU32);

impl IfIndex {
    /// Returns `None` for 0, the kernel's value for "no link".
    #[must_use]
    pub fn new(index: u32) -> Option<Self> {
        NonZeroU32::new(index).map(Self)
    }

    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for IfIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An Ethernet address in transmission order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr(pub [u8; 6]);

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddr {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut bytes = [0; 6];
        let pairs = text.split(':').all(|digits| digits.len() == 2);
        match hex::decode_to_slice(text.replace(':', ""), &mut bytes) {
            Ok(()) if pairs => Ok(Self(bytes)),
            _ => Err(Error::Invalid {
                what: "a MAC address",
                text: text.to_owned(),
                problem: "expected six pairs of hexadecimal digits separated by colons",
            }),
        }
    }
}

impl TryFrom<String> for MacAddr {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_names_follow_the_kernels_rules() {
        for name in ["a", "veth0", "enp0s31f6.100", "exactly-15-byte", "é", "..."] {
            assert_eq!(name.parse::<LinkName>().unwrap().as_ref(), name);
        }
        for name in
            ["", ".", "..", "a/b", "a:1", "a b", "a\t", "a\u{b}", "à", "veth%d", "a\0", "sixteen-bytes-xx"]
        {
            assert!(name.parse::<LinkName>().is_err(), "{name:?} was accepted");
        }
    }

    #[test]
    fn a_mac_address_round_trips_through_text() {
        let mac = MacAddr([0x02, 0, 0xab, 0xcd, 0xef, 0xff]);
        assert_eq!(mac.to_string(), "02:00:ab:cd:ef:ff");
        assert_eq!("02:00:AB:cd:ef:ff".parse::<MacAddr>().unwrap(), mac);
    }

    #[test]
    fn a_malformed_mac_address_is_rejected() {
        for text in [
            "",
            "02:00:ab:cd:ef",
            "02:00:ab:cd:ef:ff:00",
            "2:0:ab:cd:ef:ff",
            "02:00:ab:cd:ef:+f",
            "02-00-ab-cd-ef-ff",
        ] {
            assert!(text.parse::<MacAddr>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn index_zero_is_no_index() {
        assert_eq!(IfIndex::new(0), None);
        assert_eq!(IfIndex::new(7).unwrap().get(), 7);
    }
}
