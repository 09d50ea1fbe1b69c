//! The compiler of C objects.

use std::{path::Path, process::Command};

use libtest_mimic::Failed;

type Result<T = (), E = Failed> = std::result::Result<T, E>;

/// Compilers to look for; `ci/bootstrap` installs the first one.
const COMPILERS: [&str; 2] = ["clang-19", "clang"];

/// Returns the first compiler that exists.
pub(crate) fn compiler() -> Result<&'static str, String> {
    let exists = |name: &&str| Command::new(name).arg("--version").output().is_ok();
    let found = COMPILERS.into_iter().find(exists);
    found.ok_or_else(|| "no clang to compile C objects; run `ci/bootstrap --tests`".to_owned())
}

/// Compiles a C source to an object.
pub(crate) fn compile(source: &Path, defines: &[&str], object: &Path) -> Result {
    let output = Command::new(compiler()?)
        .args(["-O2", "-g", "-Wall", "-Werror", "-target", "bpf", "-c"])
        // Debian and Ubuntu keep asm/types.h here, where clang does not look when it compiles for BPF.
        .arg(format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH))
        .args(defines.iter().map(|define| format!("-D{define}")))
        .args(defines.contains(&"WITHOUT_BTF").then_some("-g0"))
        .arg(source)
        .arg("-o")
        .arg(object)
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
}
