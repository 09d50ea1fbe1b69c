//! The maps of a loaded program: their layouts, and their contents.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::io::Errno;
use xdproof_netns::bpf::{BpfMap, MapInfo};

use crate::program::{
    btf::Btf,
    layout::Layout,
    map_kind::{Access, MapKind},
};

/// The most keys that are listed.
const MOST_KEYS: u32 = 1 << 20;

/// A key with its value on every CPU, or its one value.
pub type Entry = (Vec<u8>, Vec<Vec<u8>>);

/// Map of a loaded program.
#[derive(Debug)]
pub struct ProgramMap {
    pub name: String,
    pub kind: MapKind,
    /// Empty for maps whose values have no keys.
    pub key: Layout,
    pub value: Layout,
    /// Set if a key has a value for each possible CPU.
    pub per_cpu: bool,
    pub entries: u32,
    map: BpfMap,
}

impl ProgramMap {
    /// Describes a map. `types` are those of its key and of its value, by their ids.
    pub(super) fn new(name: &str, map: BpfMap, types: Option<(&Btf, u32, u32)>) -> Self {
        let MapInfo { kind, key_size, entries, .. } = *map.info();
        let kind = MapKind(kind);
        let (key_size, value_size) = (key_size as usize, map.value_size());
        let typed = |id: fn((&Btf, u32, u32)) -> u32, what: &str, size: usize| {
            let types = types.filter(|&types| id(types) != 0)?;
            Some(Layout::of_type(types.0, id(types), what, size))
        };
        let key =
            typed(|(_, key, _)| key, "the key", key_size).unwrap_or_else(|| Layout::of_key(kind, key_size));
        let value = typed(|(_, _, value)| value, "the value", value_size)
            .unwrap_or_else(|| Layout::of_value(kind, value_size));
        Self { name: name.to_owned(), kind, key, value, per_cpu: map.is_per_cpu(), entries, map }
    }

    /// Returns the kernel's id of the map.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.map.info().id
    }

    /// Returns what user space can do with its contents.
    #[must_use]
    pub fn access(&self) -> Access {
        self.kind.access()
    }

    /// Returns the value of a key, one for each possible CPU in a per-CPU map; none if there is no such key. A queue and a
    /// stack, whose key is empty, show their first value. Maps of maps and of programs have ids for values.
    ///
    /// # Errors
    ///
    /// The kernel's answer, and a sentence for a type of maps whose contents cannot be read.
    pub fn lookup(&self, key: &[u8]) -> io::Result<Option<Vec<Vec<u8>>>> {
        self.expect(&[Access::Keys, Access::Values])?;
        self.map.lookup(key)
    }

    /// Writes a value, on every possible CPU in a per-CPU map. The key of a queue, a stack and a bloom filter is empty; they
    /// get one more value. Maps of maps and of programs take descriptors for values.
    ///
    /// # Errors
    ///
    /// The kernel's answer in words where it is known, and a sentence for a type of maps whose contents cannot be written.
    pub fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.expect(&[Access::Keys, Access::Values, Access::Membership])?;
        self.map.update(key, value).map_err(|answer| self.explained(answer))
    }

    /// Writes the value of each possible CPU, or the one value.
    pub(super) fn update_each(&self, key: &[u8], values: &[Vec<u8>]) -> io::Result<()> {
        self.map.update_each(key, values).map_err(|answer| self.explained(answer))
    }

    /// Returns how many bytes the values of its entries have.
    pub(super) fn bytes(&self) -> io::Result<u64> {
        let entries = match self.access() {
            Access::Keys if !self.kind.is_indexed() => self.count()?,
            _ => self.entries.into(),
        };
        Ok(entries.saturating_mul(self.value.size().max(1) as u64))
    }

    /// Deletes a key. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// As [`ProgramMap::lookup`]; EINVAL from an array, the keys of which exist always.
    pub fn delete(&self, key: &[u8]) -> io::Result<bool> {
        self.expect(&[Access::Keys])?;
        self.map.delete(key)
    }

    /// Takes the first value out of a queue or a stack; none if it is empty.
    ///
    /// # Errors
    ///
    /// As [`ProgramMap::lookup`].
    pub fn pop(&self) -> io::Result<Option<Vec<u8>>> {
        self.expect(&[Access::Values])?;
        self.map.pop()
    }

    /// Returns whether a bloom filter may have a value.
    ///
    /// # Errors
    ///
    /// As [`ProgramMap::lookup`].
    pub fn may_contain(&self, value: &[u8]) -> io::Result<bool> {
        self.expect(&[Access::Membership])?;
        self.map.may_contain(value)
    }

    /// Returns the keys that exist, sorted by their bytes; of arrays all.
    ///
    /// # Errors
    ///
    /// As [`ProgramMap::lookup`], and a map with more than 1048576 keys.
    pub fn keys(&self) -> io::Result<Vec<Vec<u8>>> {
        self.expect(&[Access::Keys])?;
        let mut keys = Vec::new();
        self.each_key(|key| {
            // Slots may be empty.
            if self.kind.is_array() || !self.kind.is_indexed() || self.map.lookup(key)?.is_some() {
                keys.push(key.to_vec());
            }
            Ok(())
        })?;
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    /// Returns the keys that exist with their values. The values of a queue or a stack have their positions for keys, as 4 bytes in
    /// network order; they are taken out and put in again.
    ///
    /// # Errors
    ///
    /// As [`ProgramMap::keys`].
    pub fn contents(&self) -> io::Result<Vec<Entry>> {
        if self.access() == Access::Values {
            let positions = (0_u32..).map(|position| position.to_be_bytes().to_vec());
            return Ok(positions.zip(self.values()?.into_iter().map(|value| vec![value])).collect());
        }
        let mut contents = Vec::new();
        for key in self.keys()? {
            if let Some(values) = self.map.lookup(&key)? {
                contents.push((key, values));
            }
        }
        Ok(contents)
    }

    /// Returns how many keys exist; of arrays, how many have a value other than 0.
    ///
    /// # Errors
    ///
    /// As [`ProgramMap::keys`].
    pub fn count(&self) -> io::Result<u64> {
        if self.access() == Access::Values {
            return Ok(self.values()?.len() as u64);
        }
        self.expect(&[Access::Keys])?;
        let mut count = 0;
        self.each_key(|key| {
            let counts = !self.kind.is_indexed()
                || self.map.lookup(key)?.is_some_and(|values| {
                    !self.kind.is_array() || values.iter().flatten().any(|&byte| byte != 0)
                });
            count += u64::from(counts);
            Ok(())
        })?;
        Ok(count)
    }

    /// Gives every key to `each`, of maps of slots the empty ones, too.
    fn each_key(&self, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let too_many = || {
            let message =
                format!("it has more than {MOST_KEYS} keys, which are not read; compare single ones");
            io::Error::new(io::ErrorKind::FileTooLarge, message)
        };
        if self.kind.is_indexed() {
            if self.entries > MOST_KEYS {
                return Err(too_many());
            }
            return (0..self.entries).try_for_each(|index| each(&index.to_ne_bytes()));
        }
        let (mut count, mut last) = (0, None);
        while let Some(key) = self.map.next_key(last.as_deref())? {
            if count == MOST_KEYS {
                return Err(too_many());
            }
            count += 1;
            each(&key)?;
            last = Some(key);
        }
        Ok(())
    }

    fn values(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut values = Vec::new();
        while let Some(value) = self.map.pop()? {
            values.push(value);
        }
        self.push_all(&values)?;
        Ok(values)
    }

    /// Puts values into a queue or a stack, so that they come out in this order.
    pub(super) fn push_all(&self, values: &[Vec<u8>]) -> io::Result<()> {
        if self.kind == MapKind::STACK {
            values.iter().rev().try_for_each(|value| self.map.update(&[], value))
        } else {
            values.iter().try_for_each(|value| self.map.update(&[], value))
        }
    }

    fn expect(&self, accesses: &[Access]) -> io::Result<()> {
        let reason = match self.access() {
            access if accesses.contains(&access) => return Ok(()),
            Access::Refused(reason) => reason,
            Access::Keys => "it has keys, which have to be given",
            Access::Values => "its values have no keys",
            Access::Membership => "it cannot be listed; expect the action of a program that looks a value up",
        };
        let message = format!("map `{}` is a {}: {reason}", self.name, self.kind);
        Err(io::Error::new(io::ErrorKind::Unsupported, message))
    }

    /// Says in words what a refusal to write means.
    fn explained(&self, answer: io::Error) -> io::Error {
        let entries = self.entries;
        let errno = Errno::from_io_error(&answer);
        let meaning = match (errno, self.kind) {
            (Some(Errno::TOOBIG), kind) if kind.is_indexed() => {
                format!("its keys are 0 to {}", entries.saturating_sub(1))
            }
            (Some(Errno::TOOBIG | Errno::NOSPC), _) => format!("it is full ({entries} entries)"),
            (Some(Errno::PERM), _) => "user space cannot write to it (frozen, or BPF_F_RDONLY)".to_owned(),
            (Some(Errno::INVAL), MapKind::PROG_ARRAY) => {
                "the program does not fit its other users: a multi-buffer program and a linear one, or one for a devmap or a \
                 cpumap"
                    .to_owned()
            }
            (Some(Errno::INVAL), kind) if kind.is_of_maps() => {
                "the map in it has another type, size or number of entries than its definition says".to_owned()
            }
            (Some(Errno::INVAL), MapKind::DEVMAP | MapKind::DEVMAP_HASH) => {
                "there is no such device, or the program is not in SEC(\"xdp/devmap\")".to_owned()
            }
            (Some(Errno::INVAL), MapKind::CPUMAP) => "the program is not in SEC(\"xdp/cpumap\")".to_owned(),
            _ => return answer,
        };
        io::Error::new(answer.kind(), format!("{meaning}: {answer}"))
    }
}

impl AsFd for ProgramMap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}
