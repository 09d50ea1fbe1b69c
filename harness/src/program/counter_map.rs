//! The map that a program counts in, read the same way whatever its type: a number of packets for every protocol number,
//! in one place or in one place a CPU.

use std::{
    fmt,
    os::fd::{AsFd as _, BorrowedFd},
};

use aya::{
    Pod,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuHashMap, PerCpuValues},
    sys::SyscallError,
    util::nr_cpus,
};
use xdproof_ebpf::abi;
use xdproof_netns::CounterArray;

use crate::{
    model::observation::Counts,
    program::{ProgramError, error::kernel},
};

const READ: &str = "read the counter map";

/// The width of a counter's values, and so where they wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    Bits32,
    Bits64,
}

impl Width {
    /// Returns what was added to a value between two readings, if that was less than the value can hold.
    #[must_use]
    pub fn added(self, before: u64, after: u64) -> u64 {
        match self {
            Self::Bits32 => after.wrapping_sub(before) & u64::from(u32::MAX),
            Self::Bits64 => after.wrapping_sub(before),
        }
    }
}

/// A map of counters by protocol number.
pub struct CounterMap {
    slots: Box<dyn Slots + Send + Sync>,
    width: Width,
    per_cpu: bool,
    /// The same map, where it can be read at once.
    array: Option<CounterArray>,
    /// Counts at keys that are no protocol numbers are left out instead of refused.
    ignores_stray: bool,
}

impl fmt::Debug for CounterMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CounterMap").field("width", &self.width).finish_non_exhaustive()
    }
}

impl CounterMap {
    /// Takes a map that was [chosen](super::select::choose_map) for a counter.
    pub(super) fn of(map: BorrowedFd<'_>) -> Result<Self, ProgramError> {
        const OPEN: &str = "open the counter map";
        // Each value of a per-CPU map has a place for every possible CPU.
        nr_cpus()
            .map_err(|(path, source)| ProgramError::System { action: format!("read {path}"), source })?;
        let copy = map.try_clone_to_owned().map_err(|answer| ProgramError::system(OPEN, answer))?;
        let data = MapData::from_fd(copy).map_err(kernel(OPEN))?;
        let value_size = data.info().map_err(kernel(OPEN))?.value_size();
        let map = Map::from_map_data(data).map_err(kernel(OPEN))?;
        Self::new(map, value_size).map_err(kernel(OPEN))
    }

    fn new(map: Map, value_size: u32) -> Result<Self, MapError> {
        let (data, per_cpu) = match &map {
            Map::Array(data) | Map::HashMap(data) => (data, false),
            Map::PerCpuArray(data) | Map::PerCpuHashMap(data) => (data, true),
            _ => return Err(MapError::ElementNotFound),
        };
        let failed = |io_error| SyscallError { call: "bpf_map_get_info_by_fd", io_error };
        let array = CounterArray::open(data.fd().as_fd()).map_err(failed)?;
        let (slots, width): (Box<dyn Slots + Send + Sync>, _) = match value_size {
            4 => (Box::new(Table::<u32>::new(map)?), Width::Bits32),
            _ => (Box::new(Table::<u64>::new(map)?), Width::Bits64),
        };
        Ok(Self { slots, width, per_cpu, array, ignores_stray: false })
    }

    /// Returns how wide the counters are: what was added between two [readings](Self::counts) is taken modulo that.
    #[must_use]
    pub fn width(&self) -> Width {
        self.width
    }

    /// Returns whether each CPU has counters of its own.
    #[must_use]
    pub fn is_per_cpu(&self) -> bool {
        self.per_cpu
    }

    /// Writes a value into a slot on every possible CPU, and reads it back.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, or another value is there afterwards.
    pub fn preset(&mut self, protocol: u8, value: u64) -> Result<(), ProgramError> {
        // As much of it as a counter holds: it then wraps where the whole value would have.
        let value = self.width.added(0, value);
        self.slots.preset(protocol, value).map_err(kernel("preset a counter"))?;
        match self.slots.values(protocol).map_err(kernel(READ))?.into_iter().find(|&found| found != value) {
            None => Ok(()),
            Some(found) => Err(ProgramError::NotPreset { protocol, value, found }),
        }
    }

    /// Returns the value of every slot that is not 0, for each possible CPU; in one place for a map that is not per CPU.
    ///
    /// # Errors
    ///
    /// When the kernel does not answer, or a key counts that is no protocol number.
    pub fn counts(&self) -> Result<Vec<Counts>, ProgramError> {
        let mut per_cpu: Vec<Counts> = Vec::new();
        let stray = self.read(|protocol, values| {
            per_cpu.resize_with(values.len().max(per_cpu.len()), Counts::new);
            for (counts, &value) in per_cpu.iter_mut().zip(values) {
                if value != 0 {
                    counts.insert(protocol, value);
                }
            }
        });
        match stray.map_err(kernel(READ))? {
            Some(key) if !self.ignores_stray => Err(ProgramError::KeyOutOfRange { key }),
            _ => Ok(per_cpu),
        }
    }

    /// Leaves counts at keys that are no protocol numbers out from now on.
    pub fn ignore_stray(&mut self) {
        self.ignores_stray = true;
    }

    /// Returns the sum of some slots over the CPUs: quicker than [`CounterMap::counts`].
    pub fn counted(&self, slots: &[u8]) -> Result<u64, ProgramError> {
        Ok(self.counted_by_cpu(slots)?.into_iter().fold(0, u64::wrapping_add))
    }

    /// Returns the sum of some slots for each possible CPU; in one place for a map that is not per CPU.
    pub fn counted_by_cpu(&self, slots: &[u8]) -> Result<Vec<u64>, ProgramError> {
        let mut per_cpu: Vec<u64> = Vec::new();
        for &slot in slots {
            let values = self.slots.values(slot).map_err(kernel(READ))?;
            per_cpu.resize(values.len().max(per_cpu.len()), 0);
            for (sum, value) in per_cpu.iter_mut().zip(values) {
                *sum = sum.wrapping_add(value);
            }
        }
        Ok(per_cpu)
    }

    /// Gives `each` the values of every slot, and returns a key that counts and is no protocol number, if there is one.
    fn read(&self, mut each: impl FnMut(u8, &[u64])) -> Result<Option<u32>, MapError> {
        let failed = |io_error| SyscallError { call: "bpf_map_lookup_batch", io_error };
        let reading = self.array.as_ref().map(CounterArray::read).transpose().map_err(failed)?.flatten();
        let Some(reading) = reading else {
            for slot in 0..=u8::MAX {
                each(slot, &self.slots.values(slot)?);
            }
            return Ok(self.slots.stray());
        };
        for (key, values) in (0..).zip(reading.by_key()) {
            match u8::try_from(key) {
                Ok(slot) => each(slot, values),
                Err(_) if values.iter().any(|&value| value != 0) => return Ok(Some(key)),
                Err(_) => {}
            }
        }
        Ok(None)
    }
}

/// A counter map of any type and width, slot by slot.
trait Slots {
    /// Writes a value into a slot, on every possible CPU.
    fn preset(&mut self, slot: u8, value: u64) -> Result<(), MapError>;

    /// Returns the values of a slot: one for each possible CPU, or one for all of them; none where a hash has no such key.
    fn values(&self, slot: u8) -> Result<Vec<u64>, MapError>;

    /// Returns a key beyond the slots that counts.
    fn stray(&self) -> Option<u32>;
}

enum Table<V: Pod> {
    Array(Array<MapData, V>),
    Hash(HashMap<MapData, u32, V>),
    PerCpuArray(PerCpuArray<MapData, V>),
    PerCpuHash(PerCpuHashMap<MapData, u32, V>),
}

impl<V: Pod> Table<V> {
    fn new(map: Map) -> Result<Self, MapError> {
        match map {
            Map::Array(_) => Array::try_from(map).map(Self::Array),
            Map::HashMap(_) => HashMap::try_from(map).map(Self::Hash),
            Map::PerCpuHashMap(_) => PerCpuHashMap::try_from(map).map(Self::PerCpuHash),
            _ => PerCpuArray::try_from(map).map(Self::PerCpuArray),
        }
    }
}

impl<V: Pod + Into<u64> + TryFrom<u64>> Slots for Table<V> {
    fn preset(&mut self, slot: u8, value: u64) -> Result<(), MapError> {
        let key = u32::from(slot);
        let value = V::try_from(value)
            .map_err(|_| MapError::InvalidValueSize { size: 8, expected: size_of::<V>() })?;
        let everywhere = || {
            let cpus = nr_cpus().map_err(|(_, io_error)| SyscallError { call: "possible CPUs", io_error })?;
            Ok::<_, MapError>(PerCpuValues::try_from(vec![value; cpus])?)
        };
        match self {
            Self::Array(map) => map.set(key, value, 0),
            Self::Hash(map) => map.insert(key, value, 0),
            Self::PerCpuArray(map) => map.set(key, everywhere()?, 0),
            Self::PerCpuHash(map) => map.insert(key, everywhere()?, 0),
        }
    }

    fn values(&self, slot: u8) -> Result<Vec<u64>, MapError> {
        let key = u32::from(slot);
        let per_cpu = |values: PerCpuValues<V>| values.iter().map(|&value| value.into()).collect();
        let values = match self {
            Self::Array(map) => map.get(&key, 0).map(|value| vec![value.into()]),
            Self::Hash(map) => map.get(&key, 0).map(|value| vec![value.into()]),
            Self::PerCpuArray(map) => map.get(&key, 0).map(per_cpu),
            Self::PerCpuHash(map) => map.get(&key, 0).map(per_cpu),
        };
        match values {
            Err(MapError::KeyNotFound) => Ok(Vec::new()),
            values => values,
        }
    }

    fn stray(&self) -> Option<u32> {
        let beyond = |key: &u32| *key >= abi::SLOTS;
        let counts = |value: &V| (*value).into() != 0;
        match self {
            Self::Array(map) => {
                (abi::SLOTS..map.len()).find(|key| map.get(key, 0).is_ok_and(|value| counts(&value)))
            }
            Self::PerCpuArray(map) => (abi::SLOTS..map.len())
                .find(|key| map.get(key, 0).is_ok_and(|values| values.iter().any(counts))),
            Self::Hash(map) => map.keys().flatten().find(beyond),
            Self::PerCpuHash(map) => map.keys().flatten().find(beyond),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Width;

    #[test]
    fn the_difference_of_two_readings_is_taken_modulo_the_width() {
        let last = u64::from(u32::MAX);
        assert_eq!(Width::Bits32.added(last, 2), 3);
        assert_eq!(Width::Bits64.added(last, last + 3), 3);
        assert_eq!(Width::Bits64.added(u64::MAX, 2), 3);
        // A 64-bit value that falls has not wrapped at 2^32.
        assert_ne!(Width::Bits64.added(last, 2), 3);
    }
}
