//! Builds the objects that the kernel loads (the binaries of `ebpf/`) and copies them into `OUT_DIR`.
//!
//! The compiler is, in this order: the toolchain or prefix in `XDPROOF_EBPF_TOOLCHAIN`; a rustup nightly with `rust-src`
//! (which builds `core` for BPF); a compiler under `/usr` with a prebuilt `core` for BPF, as Debian's. Without one, or
//! without a linker, the build fails with the command that installs it.
//!
//! It has no dependency, so that cargo can begin it at once, and prints what the compiler says only if that fails. The objects
//! are built once for all profiles of a target directory.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const CHOICE: &str = "XDPROOF_EBPF_TOOLCHAIN";
const NIGHTLY: &str = "nightly";
const SYSTEM: &str = "/usr";
const LINKER: &str = "bpf-linker";

/// The package that has the objects, and its directory.
const PACKAGE: (&str, &str) = ("xdproof-ebpf", "../ebpf");

/// Its binaries.
const OBJECTS: [&str; 4] = ["xdproof-programs", "xdproof-live", "xdproof-tools", "xdproof-mutants"];

/// The profile of the objects, whatever that of the programs in user space is: the verifier takes nothing that is not optimized.
const PROFILE: [(&str, &str); 5] = [
    ("OPT_LEVEL", "3"),
    ("LTO", "thin"),
    ("CODEGEN_UNITS", "16"),
    ("DEBUG", "line-tables-only"),
    ("STRIP", "none"),
];

type Result<T> = std::result::Result<T, String>;

fn main() {
    if let Err(error) = build() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn build() -> Result<()> {
    println!("cargo:rerun-if-env-changed={CHOICE}");
    println!("cargo:rerun-if-env-changed=PATH");
    println!("cargo:rerun-if-changed={}", PACKAGE.1);
    let path = env::var_os("PATH").unwrap_or_default();
    if !env::split_paths(&path).any(|place| place.join(LINKER).is_file()) {
        return Err(format!("{LINKER} is not in PATH; run `ci/bootstrap` to install it"));
    }
    let toolchain = match env::var(CHOICE) {
        Ok(chosen) if !chosen.is_empty() => chosen,
        _ => find_toolchain()?,
    };
    let out = PathBuf::from(variable("OUT_DIR")?);
    let target = target_directory(&out).join("bpf");
    let triple = match variable("CARGO_CFG_TARGET_ENDIAN")?.as_str() {
        "big" => "bpfeb-unknown-none",
        _ => "bpfel-unknown-none",
    };
    run(cargo(&toolchain, triple, &target)?)?;
    for object in OBJECTS {
        let built = target.join(triple).join("release").join(object);
        fs::copy(&built, out.join(object))
            .map_err(|error| format!("failed to copy {}: {error}", built.display()))?;
    }
    Ok(())
}

/// Returns the command that builds the objects. A toolchain without a `core` for BPF builds that, too.
fn cargo(toolchain: &str, triple: &str, target: &Path) -> Result<Command> {
    let arch = variable("CARGO_CFG_TARGET_ARCH")?;
    let arch = if arch.starts_with("riscv64") { "riscv64" } else { arch.as_str() };
    let version = run_text(in_toolchain(toolchain, "rustc").arg("-vV"))?;
    let mut cargo = in_toolchain(toolchain, "cargo");
    cargo.args(["build", "--quiet", "--release", "--package", PACKAGE.0, "--bins", "--features", "bpf"]);
    cargo.args(["--target", triple, "--target-dir"]).arg(target);
    if version.lines().any(|line| line.starts_with("release:") && line.contains("nightly")) {
        cargo.args(["-Z", "build-std=core"]);
    }
    let flags = [&format!("--cfg=bpf_target_arch=\"{arch}\""), "-Cdebuginfo=2", "-Clink-arg=--btf"];
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    for (key, value) in PROFILE {
        cargo.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
    }
    // Those of the compiler that builds this.
    for key in ["RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(key);
    }
    Ok(cargo)
}

/// Returns a program of a toolchain, or the one in `PATH` where there is no rustup.
fn in_toolchain(toolchain: &str, program: &str) -> Command {
    let path = env::var_os("PATH").unwrap_or_default();
    if env::split_paths(&path).any(|place| place.join("rustup").is_file()) {
        let mut command = Command::new("rustup");
        command.args(["run", toolchain, program]);
        command
    } else {
        Command::new(program)
    }
}

/// Returns the directory of all profiles and targets, which cargo marks as a cache; `out` lies in it.
fn target_directory(out: &Path) -> &Path {
    out.ancestors().skip(1).find(|directory| directory.join("CACHEDIR.TAG").is_file()).unwrap_or(out)
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
    Err(format!(
        "no compiler for BPF found: neither a rustup nightly with rust-src nor a compiler with {}; \
         run `ci/bootstrap` to install one",
        prebuilt.display()
    ))
}

/// Returns the directory of a rustup toolchain, if rustup is installed and has it.
fn sysroot(toolchain: &str) -> Option<PathBuf> {
    let mut rustc = Command::new("rustup");
    rustc.args(["run", toolchain, "rustc", "--print", "sysroot"]);
    run_text(&mut rustc).ok().map(|path| PathBuf::from(path.trim()))
}

fn variable(name: &str) -> Result<String> {
    env::var(name).map_err(|error| format!("{name}: {error}"))
}

fn run(mut command: Command) -> Result<()> {
    run_text(&mut command).map(drop)
}

/// Runs a command and returns what it prints; an error has its messages.
fn run_text(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(|error| format!("failed to start {command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let messages = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?} failed with {}:\n{}", output.status, messages.trim()))
}
