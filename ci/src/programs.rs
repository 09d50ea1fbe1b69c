//! Programs of the host: their places, their libraries, and how they are linked.

use std::{
    env, iter,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;

use crate::command;

/// Path of the dynamic linker, which `PT_INTERP` of a dynamically linked program names.
const DYNAMIC_LINKER: &[u8] = b"/lib64/ld-linux-x86-64.so.2\0";

/// Fails if a program is linked dynamically: a guest has no libraries.
pub(crate) fn check_static(program: &Path) -> Result<()> {
    let bytes = fs::read(program)?;
    ensure!(bytes.starts_with(b"\x7fELF"), "{} is not an ELF file", program.display());
    let head = bytes.get(..4096).unwrap_or(&bytes);
    let is_dynamic = head.windows(DYNAMIC_LINKER.len()).any(|window| window == DYNAMIC_LINKER);
    ensure!(!is_dynamic, "{} is not linked statically; `ci/matrix` builds it so", program.display());
    Ok(())
}

/// Finds a program of the host.
pub(crate) fn find(name: &str) -> Result<PathBuf> {
    let path = command::path();
    let found = env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file());
    found.with_context(|| format!("{name} is not installed; `ci/bootstrap --matrix` installs it"))
}

/// Returns a dynamically linked program and its libraries, at the paths where it looks for them.
pub(crate) fn with_libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let libraries = command::text(Command::new("ldd").arg(program))?;
    // `libmnl.so.0 => /lib/x86_64-linux-gnu/libmnl.so.0 (0x00007f)`, or only the path for the dynamic linker.
    let path = |line: &str| {
        let path = line.rsplit("=> ").next()?.trim().split(' ').next()?;
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    Ok(iter::once(program.to_owned()).chain(libraries.lines().filter_map(path)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_comes_with_its_libraries_and_its_dynamic_linker() {
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
