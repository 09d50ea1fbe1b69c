//! What links are called by: name, index, address. Three types, so that none is taken for another.

use std::{fmt, num::NonZeroU32, str::FromStr};

use crate::Error;

/// The name of a link: 1 to 15 bytes that the kernel takes as they stand.
///
/// The rules are `dev_valid_name()` of `net/core/dev.c` (no slash, colon or whitespace, not `.` or `..`). A
/// `%` is refused too: the kernel reads it as a template (`veth%d`) and no link ever has one in its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkName(String);

impl LinkName {
    /// The longest name in bytes: `IFNAMSIZ` without the terminating zero.
    pub const MAX_LEN: usize = libc::IFNAMSIZ - 1;
}

impl TryFrom<String> for LinkName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        // The kernel's isspace() looks at bytes, and 0xa0 is one of its spaces.
        let space = |byte| matches!(byte, b'\t'..=b'\r' | b' ' | 0xa0);
        let problem = match text.as_str() {
            "" => Some("it is empty"),
            "." | ".." => Some("it names a directory"),
            name if name.len() > Self::MAX_LEN => Some("it is longer than 15 bytes"),
            name if name.bytes().any(space) => Some("it has whitespace"),
            name if name.contains(['/', ':', '%', '\0']) => {
                Some("it has a slash, colon, percent sign or zero byte")
            }
            _ => None,
        };
        match problem {
            Some(problem) => Err(Error::Invalid { what: "a link name", text, problem }),
            None => Ok(Self(text)),
        }
    }
}

impl TryFrom<&str> for LinkName {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self, Error> {
        text.to_owned().try_into()
    }
}

impl FromStr for LinkName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.try_into()
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

/// The index of a link: unique in its namespace only, so the two ends of a veth pair may well have the same
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfIndex(NonZeroU32);

impl IfIndex {
    /// The index, unless it is 0, which the kernel uses for "none".
    #[must_use]
    pub const fn new(index: u32) -> Option<Self> {
        match NonZeroU32::new(index) {
            Some(index) => Some(Self(index)),
            None => None,
        }
    }

    /// The number, as system calls want it.
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

/// An Ethernet address, in the order of its bytes on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddr {
    type Err = Error;

    /// Six groups of two hexadecimal digits with colons between them.
    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || Error::Invalid {
            what: "a MAC address",
            text: text.to_owned(),
            problem: "it is not six groups of two hexadecimal digits with colons between them",
        };
        let mut bytes = [0; 6];
        let mut groups = text.split(':');
        for byte in &mut bytes {
            let digits = groups.next().ok_or_else(invalid)?;
            // from_str_radix would take "+1" as well.
            if digits.len() != 2 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(invalid());
            }
            *byte = u8::from_str_radix(digits, 16).map_err(|_| invalid())?;
        }
        if groups.next().is_some() { Err(invalid()) } else { Ok(Self(bytes)) }
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
            assert!(name.parse::<LinkName>().is_err(), "{name:?} was taken");
        }
    }

    #[test]
    fn a_mac_address_reads_back_as_it_is_written() {
        let mac = MacAddr([0x02, 0, 0xab, 0xcd, 0xef, 0xff]);
        assert_eq!(mac.to_string(), "02:00:ab:cd:ef:ff");
        assert_eq!("02:00:AB:cd:ef:ff".parse::<MacAddr>().unwrap(), mac);
    }

    #[test]
    fn a_malformed_mac_address_is_refused() {
        for text in [
            "",
            "02:00:ab:cd:ef",
            "02:00:ab:cd:ef:ff:00",
            "2:0:ab:cd:ef:ff",
            "02:00:ab:cd:ef:+f",
            "02-00-ab-cd-ef-ff",
        ] {
            assert!(text.parse::<MacAddr>().is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn index_zero_is_no_index() {
        assert_eq!(IfIndex::new(0), None);
        assert_eq!(IfIndex::new(7).unwrap().get(), 7);
    }
}
