//! The names by which a user says what is tested.

use std::{fmt, path::PathBuf};

/// Selects an object file, a program in it and its counter map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// A BPF object file; none: the programs of this project.
    pub path: Option<PathBuf>,
    /// The program's name; none: the only XDP program of a file, or [`xdproof_ebpf::abi::COUNT_PROGRAM`].
    pub program: Option<String>,
    /// The map's name; none: `rxcnt`, or the only map that can be the counter.
    pub map: Option<String>,
}

impl Object {
    /// Selects a program of this project.
    #[must_use]
    pub fn builtin(program: &str) -> Self {
        Self { program: Some(program.to_owned()), ..Self::default() }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => path.display().fmt(f),
            None => f.write_str("the built-in object"),
        }
    }
}
