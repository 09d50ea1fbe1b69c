//! Objects that are compiled from `counter.c` for the test binaries that need some.

use std::{path::PathBuf, process::Command};

use libtest_mimic::Failed;
use tempfile::TempDir;
use xdproof::program::Object;

type Result<T, E = Failed> = std::result::Result<T, E>;

/// Compilers to look for, the one that `ci/bootstrap` installs first.
const COMPILERS: [&str; 2] = ["clang-19", "clang"];

/// The first compiler that there is, or the reason why none is.
pub(crate) fn compiler() -> Result<&'static str, String> {
    let there = |name: &&str| Command::new(name).arg("--version").output().is_ok();
    let found = COMPILERS.into_iter().find(there);
    found.ok_or_else(|| "no clang to compile C objects with; run `ci/bootstrap --tests`".to_owned())
}

/// A compiled object; its file goes with it.
pub(crate) struct Compiled {
    directory: TempDir,
}

impl Compiled {
    pub(crate) fn new(defines: &[&str]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let compiled = Self { directory };
        let output = Command::new(compiler()?)
            .args(["-O2", "-g", "-Wall", "-Werror", "-target", "bpf", "-c"])
            // Where Debian and Ubuntu keep asm/types.h, which clang does not look for when it compiles for BPF.
            .arg(format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH))
            .args(defines.iter().map(|define| format!("-D{define}")))
            .args(defines.contains(&"WITHOUT_BTF").then_some("-g0"))
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/objects/counter.c"))
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
        Object { path: Some(self.path()), ..Object::default() }
    }
}
