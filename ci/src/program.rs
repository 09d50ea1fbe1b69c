//! The programs that go into a guest: xdproof, linked statically, and busybox.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{cache::Cache, run};

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

/// A program that is linked dynamically, and behind it the libraries that it needs, by the paths at which it looks for them.
pub(crate) fn with_libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let told = run::output(Command::new("ldd").arg(program))?;
    // `libmnl.so.0 => /lib/x86_64-linux-gnu/libmnl.so.0 (0x00007f)`, or the path alone for the dynamic linker.
    let path = |line: &str| {
        let path = line.rsplit("=> ").next()?.trim().split(' ').next()?;
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    Ok(std::iter::once(program.to_owned()).chain(told.lines().filter_map(path)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_comes_with_its_libraries_and_its_linker() {
        let sort = find("ldd").and_then(|_| find("sort")).unwrap();
        let files = with_libraries(&sort).unwrap();
        assert_eq!(files[0], sort);
        for part in ["libc.so", "ld-linux"] {
            let is_it = |file: &PathBuf| file.is_file() && file.to_string_lossy().contains(part);
            assert!(files.iter().any(is_it), "{files:?} without {part}");
        }
        assert!(check_static(&sort).is_err_and(|error| error.to_string().contains("not linked statically")));
    }
}
