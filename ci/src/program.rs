//! The programs that go into a guest: xdproof, linked statically, and busybox.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::cache::Cache;

/// What guests run. The cross form keeps RUSTFLAGS away from build scripts.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What is built for guests.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    pub(crate) xdproof: PathBuf,
    pub(crate) wire: PathBuf,
}

/// Builds xdproof and its wire for guests, in a target directory of its own, so that the flags do not throw away what other
/// builds made.
///
/// # Errors
///
/// When they do not build; cargo has said why by then.
pub(crate) fn build(cache: &Cache, workspace: &Path) -> Result<Built> {
    let target = cache.directory("target")?;
    let _lock = cache.lock("target")?;
    let status = Command::new("cargo")
        .args([
            "build",
            "--quiet",
            "--locked",
            "--release",
            "--package",
            "xdproof",
            "--package",
            "xdproof-ci",
        ])
        .args(["--bin", "xdproof", "--bin", "wire", "--target", TARGET, "--target-dir"])
        .arg(&target)
        .env("RUSTFLAGS", "-C target-feature=+crt-static -C strip=debuginfo")
        // It takes longer to link than a guest gains by it.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .current_dir(workspace)
        .status()
        .context("failed to start cargo")?;
    ensure!(status.success(), "xdproof does not build for guests");
    built_in(&target.join(TARGET).join("release"))
}

/// What is in a directory already.
pub(crate) fn built_in(directory: &Path) -> Result<Built> {
    let built = Built { xdproof: directory.join("xdproof"), wire: directory.join("wire") };
    for program in [&built.xdproof, &built.wire] {
        check_static(program)?;
    }
    Ok(built)
}

/// What a program that is linked dynamically names (`PT_INTERP`).
const LINKER: &[u8] = b"/lib64/ld-linux-x86-64.so.2\0";

/// A guest has no libraries.
pub(crate) fn check_static(program: &Path) -> Result<()> {
    let bytes = fs::read(program).with_context(|| format!("failed to read {}", program.display()))?;
    ensure!(bytes.starts_with(b"\x7fELF"), "{} is not a program", program.display());
    let head = bytes.get(..4096).unwrap_or(&bytes);
    ensure!(
        !head.windows(LINKER.len()).any(|window| window == LINKER),
        "{} is not linked statically",
        program.display()
    );
    Ok(())
}

/// A program on the path, or where administrators have theirs.
pub(crate) fn find(name: &str) -> Result<PathBuf> {
    let found =
        env::split_paths(&crate::path()).map(|place| place.join(name)).find(|program| program.is_file());
    match found {
        Some(program) => Ok(program),
        None => bail!("there is no {name}: `ci/bootstrap --matrix` installs it"),
    }
}
