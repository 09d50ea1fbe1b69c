//! Access to the maps, global variables and programs of a program that is loaded.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
};

use xdproof_netns::bpf;

use crate::program::{
    Program, ProgramError,
    layout::Layout,
    maps::ProgramMap,
    nearest,
    state::{KERNEL_NAME, State},
};

/// Global variable of a loaded program.
#[derive(Debug)]
pub struct Global<'p> {
    pub layout: Layout,
    /// The map of its section, which has one value.
    pub map: &'p ProgramMap,
    /// In bytes from the start of that value.
    pub offset: usize,
}

impl Global<'_> {
    /// Reads the value.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let whole = self.map.lookup(&[0; 4])?.and_then(|values| values.into_iter().next());
        let end = self.offset.saturating_add(self.layout.size());
        let bytes = whole.as_ref().and_then(|bytes| bytes.get(self.offset..end));
        bytes.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl Program {
    /// Returns the maps of a program that was loaded by [`Program::load_with`], or by others.
    #[must_use]
    pub fn maps(&self) -> &[ProgramMap] {
        &self.state.maps
    }

    /// Returns a map by its name.
    ///
    /// # Errors
    ///
    /// A name that no map has, with the nearest, and a map that the kernel refused.
    pub fn map(&self, name: &str) -> Result<&ProgramMap, ProgramError> {
        let State { maps, unavailable, has_short_names, .. } = &self.state;
        let short = name.get(..KERNEL_NAME).filter(|_| *has_short_names);
        let is = |its: &str| maps.iter().find(|map| map.name == its);
        if let Some(found) = is(name).or_else(|| short.and_then(is)) {
            return Ok(found);
        }
        if let Some((name, reason)) = unavailable.iter().find(|(its, _)| its == name) {
            return Err(ProgramError::UnavailableMap { name: name.clone(), reason: reason.clone() });
        }
        let hint = nearest::hint(name, maps.iter().map(|map| map.name.as_str()));
        Err(ProgramError::NoSuchMap { name: name.to_owned(), hint })
    }

    /// Returns a global variable by its name.
    ///
    /// # Errors
    ///
    /// A name that no variable of `.data`, `.rodata` and `.bss` has, with the nearest.
    pub fn global(&self, name: &str) -> Result<Global<'_>, ProgramError> {
        let found = self
            .state
            .data
            .iter()
            .find_map(|data| Some((data, data.variables.iter().find(|variable| variable.name == name)?)));
        let Some((data, variable)) = found else {
            let known = self.state.data.iter().flat_map(|data| &data.variables).map(|its| its.name.as_str());
            let hint = nearest::hint(name, known);
            return Err(ProgramError::NoSuchGlobal { name: name.to_owned(), hint });
        };
        let layout = variable.layout(data.types.as_deref());
        Ok(Global { layout, map: &data.map, offset: variable.offset })
    }

    /// Returns the names of the global variables.
    pub fn globals(&self) -> impl Iterator<Item = &str> {
        self.state.data.iter().flat_map(|data| &data.variables).map(|variable| variable.name.as_str())
    }

    /// Returns the descriptor of a program that was loaded with this one, or of this one, by its name in the object.
    ///
    /// # Errors
    ///
    /// A program that was not loaded.
    pub fn program_descriptor(&self, name: &str) -> Result<BorrowedFd<'_>, ProgramError> {
        if let Some(program) = self.state.programs.get(name) {
            return Ok(program.as_fd());
        }
        if self.is_named(name) {
            return Ok(self.as_fd());
        }
        let hint = nearest::hint(name, self.state.programs.keys().map(String::as_str));
        Err(ProgramError::NotLoaded { name: name.to_owned(), hint })
    }

    /// Returns the kernel's id of a program that was loaded with this one, or of this one.
    ///
    /// # Errors
    ///
    /// A program that was not loaded.
    pub fn program_id(&self, name: &str) -> Result<u32, ProgramError> {
        let described = bpf::describe_program(self.program_descriptor(name)?);
        Ok(described.map_err(|answer| ProgramError::system("read the program's description", answer))?.id)
    }
}
