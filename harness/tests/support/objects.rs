//! C objects, compiled from the sources in `tests/objects/`.

use std::{path::PathBuf, process::Command};

use libtest_mimic::Failed;
use tempfile::TempDir;
use xdproof::program::Object;

type Result<T, E = Failed> = std::result::Result<T, E>;

/// Compilers to look for; `ci/bootstrap` installs the first one.
const COMPILERS: [&str; 2] = ["clang-19", "clang"];

/// Returns the first compiler that exists.
pub(crate) fn compiler() -> Result<&'static str, String> {
    let exists = |name: &&str| Command::new(name).arg("--version").output().is_ok();
    let found = COMPILERS.into_iter().find(exists);
    found.ok_or_else(|| "no clang to compile C objects; run `ci/bootstrap --tests`".to_owned())
}

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
        let output = Command::new(compiler()?)
            .args(["-O2", "-g", "-Wall", "-Werror", "-target", "bpf", "-c"])
            // Debian and Ubuntu keep asm/types.h here, where clang does not look when it compiles for BPF.
            .arg(format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH))
            .args(defines.iter().map(|define| format!("-D{define}")))
            .args(defines.contains(&"WITHOUT_BTF").then_some("-g0"))
            .arg(format!("{}/tests/objects/{source}", env!("CARGO_MANIFEST_DIR")))
            .arg("-o")
            .arg(compiled.path())
            .output()?;
        if output.status.success() {
            Ok(compiled)
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("counter.o")
    }

    pub(crate) fn object(&self) -> Object {
        Object::file(self.path())
    }
}
