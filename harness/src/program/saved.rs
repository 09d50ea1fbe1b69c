//! The contents of a program's maps, kept to be put back: of a program that others use, or before every run of a fixture.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use xdproof_netns::bpf::{self, BpfMap};

use crate::program::{
    Program, ProgramError,
    map_kind::{Access, MapKind},
    maps::{Entry, ProgramMap},
};

/// The most bytes that are kept of a map: values of larger ones stay as they are found.
const MOST_BYTES: u64 = 64 << 20;

/// Contents of the maps and global variables of a program at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// By the kernel's ids of the maps.
    maps: BTreeMap<u32, Vec<Entry>>,
    /// Names of the maps that were left out: too large, or not to be read by user space.
    pub left_out: Vec<String>,
}

impl Program {
    /// Keeps the contents of all maps that user space can read, and of the global variables.
    ///
    /// # Errors
    ///
    /// A map that the kernel does not let read.
    pub fn save(&self) -> Result<Saved, ProgramError> {
        let mut saved = Saved::default();
        for map in self.all_maps() {
            let failed =
                |answer| ProgramError::system(&format!("read the contents of map `{}`", map.name), answer);
            let contents = match map.access() {
                Access::Keys | Access::Values => map.bytes().and_then(|bytes| {
                    if bytes > MOST_BYTES { Err(io::ErrorKind::FileTooLarge.into()) } else { map.contents() }
                }),
                Access::Membership | Access::Refused(_) => continue,
            };
            match contents {
                Ok(contents) => drop(saved.maps.insert(map.id(), contents)),
                // EPERM: maps that user space cannot read (BPF_F_WRONLY).
                Err(answer)
                    if matches!(
                        answer.kind(),
                        io::ErrorKind::FileTooLarge | io::ErrorKind::PermissionDenied
                    ) =>
                {
                    saved.left_out.push(map.name.clone());
                }
                Err(answer) => return Err(failed(answer)),
            }
        }
        Ok(saved)
    }

    /// Puts contents back. What nobody has changed since is not written.
    ///
    /// # Errors
    ///
    /// A map that the kernel does not let write; those behind it are written all the same.
    pub fn restore(&self, saved: &Saved) -> Result<(), ProgramError> {
        let mut first = Ok(());
        for map in self.all_maps() {
            let Some(contents) = saved.maps.get(&map.id()) else { continue };
            if let Err(answer) = map.restore(contents)
                && first.is_ok()
            {
                let action = format!("restore the contents of map `{}`", map.name);
                first = Err(ProgramError::system(&action, answer));
            }
        }
        first
    }

    fn all_maps(&self) -> impl Iterator<Item = &ProgramMap> {
        self.state.maps.iter().chain(self.state.data.iter().map(|data| &data.map))
    }
}

impl ProgramMap {
    /// Replaces the contents by others.
    fn restore(&self, contents: &[Entry]) -> io::Result<()> {
        let found = self.contents()?;
        if found == contents {
            return Ok(());
        }
        if self.access() == Access::Values {
            while self.pop()?.is_some() {}
            let values: Vec<Vec<u8>> = contents.iter().flat_map(|(_, values)| values.clone()).collect();
            return self.push_all(&values);
        }
        let before: BTreeMap<&Vec<u8>, &Vec<Vec<u8>>> =
            contents.iter().map(|(key, values)| (key, values)).collect();
        for (key, values) in &found {
            match before.get(key) {
                Some(their) if *their == values => {}
                Some(their) => self.put(key, their)?,
                None => drop(self.delete(key)?),
            }
        }
        let found: BTreeMap<&Vec<u8>, &Vec<Vec<u8>>> =
            found.iter().map(|(key, values)| (key, values)).collect();
        let missing = contents.iter().filter(|(key, _)| !found.contains_key(key));
        missing.into_iter().try_for_each(|(key, values)| self.put(key, values))
    }

    /// Writes what was read: the kernel shows ids, and takes descriptors.
    fn put(&self, key: &[u8], values: &[Vec<u8>]) -> io::Result<()> {
        let id_at = match self.kind {
            kind if kind == MapKind::PROG_ARRAY || kind.is_of_maps() => 0,
            // The program behind an entry; entries without one have 0.
            MapKind::DEVMAP | MapKind::DEVMAP_HASH | MapKind::CPUMAP if self.value.size() == 8 => 4,
            _ => return self.update_each(key, values),
        };
        let [value] = values else { return Err(io::ErrorKind::InvalidData.into()) };
        let id = value.get(id_at..id_at + 4).and_then(|id| id.try_into().ok()).map(u32::from_ne_bytes);
        let id = id.ok_or(io::ErrorKind::InvalidData)?;
        let mut written = value.clone();
        let held: Option<OwnedFd> = match id {
            0 => None,
            _ if self.kind.is_of_maps() => Some(BpfMap::by_id(id)?.as_fd().try_clone_to_owned()?),
            _ => Some(bpf::open_program(id)?),
        };
        if let (Some(held), Some(place)) = (&held, written.get_mut(id_at..id_at + 4)) {
            place.copy_from_slice(&held.as_raw_fd().to_ne_bytes());
        }
        self.update_each(key, &[written])
    }
}
