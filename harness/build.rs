//! Builds the objects that the kernel loads (the binaries of `ebpf/`) into `OUT_DIR`.
//!
//! The compiler is, in this order: the toolchain or prefix in `XDPROOF_EBPF_TOOLCHAIN`; a rustup nightly with `rust-src`
//! (which builds `core` for BPF); a compiler under `/usr` with a prebuilt `core` for BPF, as Debian's. Without one, or
//! without a linker, the build fails with the command that installs it.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use aya_build::{Package, Toolchain};

const CHOICE: &str = "XDPROOF_EBPF_TOOLCHAIN";
const NIGHTLY: &str = "nightly";
const SYSTEM: &str = "/usr";

fn main() {
    if let Err(error) = build() {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
}

fn build() -> Result<()> {
    println!("cargo:rerun-if-env-changed={CHOICE}");
    println!("cargo:rerun-if-env-changed=PATH");
    let linker = "bpf-linker";
    ensure!(
        env::split_paths(&env::var_os("PATH").unwrap_or_default()).any(|place| place.join(linker).is_file()),
        "{linker} is not in PATH; run `ci/bootstrap` to install it"
    );
    let chosen = match env::var(CHOICE) {
        Ok(chosen) if !chosen.is_empty() => chosen,
        _ => find_toolchain().context("no compiler for BPF found")?,
    };
    aya_build::build_ebpf(
        [Package { name: "xdproof-ebpf", root_dir: "../ebpf", features: &["bpf"], ..Package::default() }],
        if chosen == NIGHTLY { Toolchain::Nightly } else { Toolchain::Custom(&chosen) },
    )
}

fn find_toolchain() -> Result<String> {
    let nightly_has_source =
        sysroot(NIGHTLY).is_some_and(|root| root.join("lib/rustlib/src/rust/library/core").is_dir());
    if nightly_has_source {
        return Ok(NIGHTLY.to_owned());
    }
    let prebuilt = Path::new(SYSTEM).join("lib/rustlib/bpfel-unknown-none");
    if prebuilt.is_dir() {
        return Ok(SYSTEM.to_owned());
    }
    bail!(
        "neither a rustup nightly with rust-src nor a compiler with {}; run `ci/bootstrap` to install one",
        prebuilt.display()
    )
}

/// Returns the directory of a rustup toolchain, if rustup is installed and has it.
fn sysroot(toolchain: &str) -> Option<PathBuf> {
    let output =
        Command::new("rustup").args(["run", toolchain, "rustc", "--print", "sysroot"]).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(path.trim()))
}
