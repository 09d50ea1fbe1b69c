//! Names in values that stand for programs and maps: `program:NAME`, `map:NAME`.

use std::os::fd::{AsFd as _, AsRawFd as _};

use crate::program::{Names, Program};

/// The names of the programs and maps of a loaded program. The kernel takes descriptors of them, and shows their ids.
#[derive(Clone, Copy, Debug)]
pub struct ProgramNames<'p> {
    program: &'p Program,
    are_written: bool,
}

impl Program {
    /// Returns names for values that are written into maps.
    #[must_use]
    pub fn names_to_write(&self) -> ProgramNames<'_> {
        ProgramNames { program: self, are_written: true }
    }

    /// Returns names for values that are compared with what was read from maps.
    #[must_use]
    pub fn names_to_read(&self) -> ProgramNames<'_> {
        ProgramNames { program: self, are_written: false }
    }
}

impl Names for ProgramNames<'_> {
    fn resolve(&self, text: &str, size: usize) -> Option<Result<Vec<u8>, String>> {
        let (kind, name) = text.split_once(':')?;
        let program = self.program;
        let number = match (kind, self.are_written) {
            ("program", true) => program.program_descriptor(name).map(|its| its.as_raw_fd().to_ne_bytes()),
            ("program", false) => program.program_id(name).map(u32::to_ne_bytes),
            ("map", true) => program.map(name).map(|map| map.as_fd().as_raw_fd().to_ne_bytes()),
            ("map", false) => program.map(name).map(|map| map.id().to_ne_bytes()),
            _ => return None,
        };
        Some(match number {
            Ok(number) if size == number.len() => Ok(number.to_vec()),
            Ok(_) => Err(format!("a {kind} takes 4 bytes, and this has {size}")),
            Err(error) => Err(error.to_string()),
        })
    }
}
