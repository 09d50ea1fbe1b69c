//! C objects, compiled by clang from the sources in `tests/objects/`.

#[path = "clang.rs"]
pub(crate) mod clang;

use std::path::{Path, PathBuf};

use libtest_mimic::Failed;
use tempfile::TempDir;
use xdproof::program::Object;

type Result<T, E = Failed> = std::result::Result<T, E>;

/// A compiled object. Its file is deleted when this is dropped.
pub(crate) struct Compiled {
    directory: TempDir,
}

impl Compiled {
    /// Compiles `counter.c`.
    pub(crate) fn new(defines: &[&str]) -> Result<Self> {
        Self::from_source("counter.c", defines)
    }

    pub(crate) fn from_source(source: &str, defines: &[&str]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let compiled = Self { directory };
        let source = format!("{}/tests/objects/{source}", env!("CARGO_MANIFEST_DIR"));
        clang::compile(Path::new(&source), defines, &compiled.path())?;
        Ok(compiled)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("counter.o")
    }

    pub(crate) fn object(&self) -> Object {
        Object::file(self.path())
    }
}
