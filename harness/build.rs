//! Builds the object that the kernel loads (`ebpf/src/main.rs`) into `OUT_DIR/xdproof-programs`.
//!
//! The compiler, in this order: the toolchain or prefix that `XDPROOF_EBPF_TOOLCHAIN` names; a rustup nightly with
//! `rust-src` (builds `core` for BPF itself); a compiler under `/usr` that comes with a prebuilt `core` for BPF, as
//! Debian's does. Where there is none, or no linker, the build ends with the line that installs it.

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
        "{linker} is not on the PATH; run `ci/bootstrap`, which installs it"
    );
    let chosen = match env::var(CHOICE) {
        Ok(chosen) if !chosen.is_empty() => chosen,
        _ => find_toolchain().context("nothing here compiles for BPF")?,
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
        "neither a rustup nightly with rust-src nor a compiler with {}; run `ci/bootstrap`, which installs one",
        prebuilt.display()
    )
}

/// Where rustup keeps a toolchain, if there is a rustup and it has that toolchain.
fn sysroot(toolchain: &str) -> Option<PathBuf> {
    let answer =
        Command::new("rustup").args(["run", toolchain, "rustc", "--print", "sysroot"]).output().ok()?;
    let path = String::from_utf8(answer.stdout).ok()?;
    answer.status.success().then(|| PathBuf::from(path.trim()))
}
