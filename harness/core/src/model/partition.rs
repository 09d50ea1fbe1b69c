//! Parts of a run that is split over machines.

use std::str::FromStr;

/// The `I/N` of `--partition`: the I-th (from 1) of N parts of the trials, by a hash of their ids that never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    index: u64,
    count: u64,
}

impl Partition {
    /// Returns the number of the part, from 1.
    #[must_use]
    pub fn index(self) -> u64 {
        self.index
    }

    /// Returns the number of parts.
    #[must_use]
    pub fn count(self) -> u64 {
        self.count
    }

    /// Returns whether the trial of this id belongs to the part.
    #[must_use]
    pub fn holds(self, id: &str) -> bool {
        stable_hash(id) % self.count == self.index - 1
    }
}

/// Returns a number that is the same for an id on every machine and in every version: FNV-1a, 64 bits
/// (<https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>).
#[must_use]
pub fn stable_hash(id: &str) -> u64 {
    id.bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// An invalid `--partition`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not I/N with 1 <= I <= N")]
pub struct PartitionError {
    pub given: String,
}

impl FromStr for Partition {
    type Err = PartitionError;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let parsed = given.split_once('/').and_then(|(index, count)| {
            let partition = Self { index: index.parse().ok()?, count: count.parse().ok()? };
            (1..=partition.count).contains(&partition.index).then_some(partition)
        });
        parsed.ok_or_else(|| PartitionError { given: given.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trial_lies_in_exactly_one_partition() {
        for number in 0..200 {
            let id = format!("scenario_{number}::native::pnet");
            let holders = (1..=7).filter(|index| Partition { index: *index, count: 7 }.holds(&id)).count();
            assert_eq!(holders, 1, "{id}");
        }
    }

    #[test]
    fn a_partition_is_a_part_of_a_whole() {
        assert_eq!("2/3".parse(), Ok(Partition { index: 2, count: 3 }));
        for wrong in ["0/3", "4/3", "1", "1/0", "a/b", "-1/2", ""] {
            assert!(wrong.parse::<Partition>().is_err(), "{wrong}");
        }
    }
}
