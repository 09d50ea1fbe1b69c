//! Kernel versions and ranges of them, as a scenario file writes them.

#![expect(missing_docs, reason = "the parts of a version need no words")]

use std::fmt;
use std::str::FromStr;

use crate::value::ParseError;

/// Kernel version such as 6.12 or 6.12.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelVersion {
    pub major: u16,
    pub minor: u16,
    /// 0 if it is not given.
    pub patch: u16,
}

impl KernelVersion {
    pub(crate) const EXPECTED: &str = "a kernel version like 6.1 or 6.1.12";

    /// Returns the version at the start of a release such as `6.12.4-amd64` (what `uname -r` prints).
    #[must_use]
    pub fn from_release(release: &str) -> Option<Self> {
        let end = release.find(|character: char| !character.is_ascii_digit() && character != '.');
        release[..end.unwrap_or(release.len())].trim_end_matches('.').parse().ok()
    }
}

impl FromStr for KernelVersion {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let numbers: Option<Vec<u16>> = text.split('.').map(|part| part.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[major, minor]) => Ok(Self { major, minor, patch: 0 }),
            Some(&[major, minor, patch]) => Ok(Self { major, minor, patch }),
            _ => Err(ParseError::new(Self::EXPECTED, text)),
        }
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { major, minor, patch } = self;
        match patch {
            0 => write!(f, "{major}.{minor}"),
            _ => write!(f, "{major}.{minor}.{patch}"),
        }
    }
}

/// Range of kernels, written `>=6.1`, `<6.12` or `>=6.1, <6.12`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelRange {
    /// First kernel in the range.
    pub since: Option<KernelVersion>,
    /// First kernel behind the range.
    pub before: Option<KernelVersion>,
}

impl KernelRange {
    pub(crate) const EXPECTED: &str = "a kernel range like >=6.1, <6.12";

    /// Returns true for a kernel in the range.
    #[must_use]
    pub fn contains(&self, kernel: KernelVersion) -> bool {
        self.since.is_none_or(|since| since <= kernel) && self.before.is_none_or(|before| kernel < before)
    }
}

impl FromStr for KernelRange {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::new(Self::EXPECTED, text);
        let mut range = Self { since: None, before: None };
        for bound in text.split(',').map(str::trim) {
            let (place, version) = match (bound.strip_prefix(">="), bound.strip_prefix('<')) {
                (Some(version), _) => (&mut range.since, version),
                (_, Some(version)) => (&mut range.before, version),
                _ => return Err(wrong()),
            };
            let version = version.trim().parse().map_err(|_| wrong())?;
            if place.replace(version).is_some() {
                return Err(wrong());
            }
        }
        let empty = matches!(range, Self { since: Some(since), before: Some(before) } if since >= before);
        if empty { Err(wrong()) } else { Ok(range) }
    }
}

impl fmt::Display for KernelRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bounds =
            [self.since.map(|since| format!(">={since}")), self.before.map(|before| format!("<{before}"))];
        f.write_str(&bounds.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}
