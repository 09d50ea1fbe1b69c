//! The map that a program counts in, read the same way whatever its type.
//!
//! It promises to take only a map whose slots mean the same as the counter's: a number of packets for every protocol
//! number, in one place or in one place a CPU.

use std::os::fd::AsFd as _;

use aya::{
    Pod,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuHashMap, PerCpuValues},
    sys::SyscallError,
    util::nr_cpus,
};
use xdproof_ebpf::abi;
use xdproof_netns::CounterArray;

/// How wide a counter's values are, and so where they wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// They wrap at 2^32.
    Bits32,
    /// They wrap at 2^64.
    Bits64,
}

impl Width {
    /// What was added to a value between two readings, if that was less than the value can hold.
    #[must_use]
    pub fn added(self, before: u64, after: u64) -> u64 {
        match self {
            Self::Bits32 => after.wrapping_sub(before) & u64::from(u32::MAX),
            Self::Bits64 => after.wrapping_sub(before),
        }
    }
}

/// A map of counters by protocol number.
pub(super) struct CounterMap {
    tables: Tables,
    /// The same map, where it can be read at once.
    array: Option<CounterArray>,
}

enum Tables {
    Bits32(Table<u32>),
    Bits64(Table<u64>),
}

enum Table<V: Pod> {
    Array(Array<MapData, V>),
    Hash(HashMap<MapData, u32, V>),
    PerCpuArray(PerCpuArray<MapData, V>),
    PerCpuHash(PerCpuHashMap<MapData, u32, V>),
}

impl CounterMap {
    /// Takes a map that does not [misfit](misfit).
    pub(super) fn new(map: Map) -> Result<Self, String> {
        if let Some(what) = misfit(&map) {
            return Err(what);
        }
        let value = data(&map)?.info().map_err(|error| error.to_string())?.value_size();
        let array = CounterArray::open(data(&map)?.fd().as_fd()).map_err(|error| error.to_string())?;
        let tables = match value {
            4 => Table::new(map).map(Tables::Bits32),
            _ => Table::new(map).map(Tables::Bits64),
        };
        Ok(Self { tables: tables.map_err(|error| error.to_string())?, array })
    }

    pub(super) fn width(&self) -> Width {
        match &self.tables {
            Tables::Bits32(_) => Width::Bits32,
            Tables::Bits64(_) => Width::Bits64,
        }
    }

    /// Whether each CPU has values of its own.
    pub(super) fn is_per_cpu(&self) -> bool {
        matches!(
            self.tables,
            Tables::Bits32(Table::PerCpuArray(_) | Table::PerCpuHash(_))
                | Tables::Bits64(Table::PerCpuArray(_) | Table::PerCpuHash(_))
        )
    }

    /// Writes a value into a slot, on every possible CPU.
    pub(super) fn preset(&mut self, slot: u8, value: u64) -> Result<(), MapError> {
        match &mut self.tables {
            Tables::Bits32(table) => table.preset(slot, u32::try_from(value).unwrap_or(u32::MAX)),
            Tables::Bits64(table) => table.preset(slot, value),
        }
    }

    /// The values of a slot: one for each possible CPU, or one for all of them; none where nothing was ever counted.
    pub(super) fn values(&self, slot: u8) -> Result<Vec<u64>, MapError> {
        match &self.tables {
            Tables::Bits32(table) => table.values(slot),
            Tables::Bits64(table) => table.values(slot),
        }
    }

    /// Hands out the [values](Self::values) of every slot, and gives a key that counts something and is no protocol number, if there
    /// is one.
    pub(super) fn read(&self, mut each: impl FnMut(u8, &[u64])) -> Result<Option<u32>, MapError> {
        let failed = |io_error| SyscallError { call: "bpf_map_lookup_batch", io_error };
        let Some(reading) =
            self.array.as_ref().map(CounterArray::read).transpose().map_err(failed)?.flatten()
        else {
            for slot in 0..=u8::MAX {
                each(slot, &self.values(slot)?);
            }
            return Ok(match &self.tables {
                Tables::Bits32(table) => table.stray(),
                Tables::Bits64(table) => table.stray(),
            });
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

impl<V: Pod + Into<u64>> Table<V> {
    fn new(map: Map) -> Result<Self, MapError> {
        match map {
            Map::Array(_) => Array::try_from(map).map(Self::Array),
            Map::HashMap(_) => HashMap::try_from(map).map(Self::Hash),
            Map::PerCpuHashMap(_) => PerCpuHashMap::try_from(map).map(Self::PerCpuHash),
            _ => PerCpuArray::try_from(map).map(Self::PerCpuArray),
        }
    }

    fn preset(&mut self, slot: u8, value: V) -> Result<(), MapError> {
        let key = u32::from(slot);
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

    fn values(&self, slot: u8) -> Result<Vec<u64>, MapError> {
        let key = u32::from(slot);
        let per_cpu = |values: &[V]| values.iter().map(|&value| value.into()).collect();
        let values = match self {
            Self::Array(map) => map.get(&key, 0).map(|value| vec![value.into()]),
            Self::Hash(map) => map.get(&key, 0).map(|value| vec![value.into()]),
            Self::PerCpuArray(map) => map.get(&key, 0).map(|values| per_cpu(&values)),
            Self::PerCpuHash(map) => map.get(&key, 0).map(|values| per_cpu(&values)),
        };
        match values {
            Err(MapError::KeyNotFound) => Ok(Vec::new()),
            values => values,
        }
    }
}

/// In what a map differs from one that can be the counter, if it does.
pub(super) fn misfit(map: &Map) -> Option<String> {
    let info = match data(map).map(MapData::info) {
        Ok(Ok(info)) => info,
        Ok(Err(error)) => return Some(error.to_string()),
        Err(what) => return Some(what),
    };
    let mut wrong = Vec::new();
    if info.key_size() != 4 {
        wrong.push(format!("its key has {} bytes, expected 4 (the protocol number as u32)", info.key_size()));
    }
    if !matches!(info.value_size(), 4 | 8) {
        wrong.push(format!(
            "its value has {} bytes, expected 8 or 4 (a number of packets)",
            info.value_size()
        ));
    }
    if info.max_entries() < abi::SLOTS {
        wrong.push(format!(
            "it has {} entries, expected at least {}, one for each protocol number",
            info.max_entries(),
            abi::SLOTS
        ));
    }
    if wrong.is_empty() { None } else { Some(wrong.join("; ")) }
}

/// What is behind a map of a type that can be the counter.
fn data(map: &Map) -> Result<&MapData, String> {
    match map {
        Map::Array(data) | Map::HashMap(data) | Map::PerCpuArray(data) | Map::PerCpuHashMap(data) => Ok(data),
        Map::LruHashMap(_) | Map::PerCpuLruHashMap(_) => {
            Err("it is an LRU hash, which forgets counts when it is full".to_owned())
        }
        _ => Err("its type is none of an array and a hash, per CPU or not".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::Width;

    #[test]
    fn what_was_added_is_taken_modulo_the_width() {
        let last = u64::from(u32::MAX);
        assert_eq!(Width::Bits32.added(last, 2), 3);
        assert_eq!(Width::Bits64.added(last, last + 3), 3);
        assert_eq!(Width::Bits64.added(u64::MAX, 2), 3);
        // A 64-bit value that falls has not wrapped at 2^32.
        assert_ne!(Width::Bits64.added(last, 2), 3);
    }
}
