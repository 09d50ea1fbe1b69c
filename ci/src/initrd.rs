//! What a guest boots with: busybox, the modules of its NICs, xdproof and `guest/init`, as a cpio archive ("newc").

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use cpio::newc;

use crate::{compressed, kernels::Kernel};

/// The first process of a guest.
const INIT: &[u8] = include_bytes!("../guest/init");

/// Directories that must be there before anything is mounted.
const DIRECTORIES: &[&str] = &["bin", "boot", "dev", "modules", "plan", "proc", "sys"];

/// Writes an archive, file by file.
pub(crate) struct Archive<W> {
    to: W,
    inode: u32,
}

impl<W: Write> Archive<W> {
    pub(crate) fn new(to: W) -> Self {
        Self { to, inode: 0 }
    }

    fn directory(&mut self, name: &str) -> io::Result<()> {
        self.entry(name, 0o040_755, &[])
    }

    fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entry(name, 0o100_000 | mode, content)
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.inode += 1;
        let length = u32::try_from(content.len()).map_err(io::Error::other)?;
        let mut file =
            newc::Builder::new(name).ino(self.inode).mode(mode).nlink(1).write(&mut self.to, length);
        file.write_all(content)?;
        file.finish()?;
        Ok(())
    }

    fn finish(self) -> io::Result<W> {
        newc::trailer(self.to)
    }
}

/// What goes into a guest beside the kernel's modules.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// busybox, linked statically.
    pub(crate) busybox: PathBuf,
    /// xdproof, linked statically.
    pub(crate) xdproof: PathBuf,
    /// `src/bin/wire.rs`, linked statically.
    pub(crate) wire: PathBuf,
    /// `ip` of iproute2, which makes links with options that busybox does not know, and the libraries that it needs.
    pub(crate) iproute2: Vec<PathBuf>,
}

/// What the guest is to do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// A line a cell, as `guest/init` reads them.
    pub(crate) cells: Vec<String>,
    /// The attach modes of the cells of NICs, separated by commas.
    pub(crate) modes: String,
    /// Scenarios that send more frames are left out of the cells of NICs.
    pub(crate) most_frames: u64,
    /// Whether the rules of attaching are tried on NICs.
    pub(crate) rules: bool,
    /// What xdproof is called with, beside modes and devices.
    pub(crate) arguments: Vec<String>,
}

/// A module, as `modprobe` knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Module {
    file: PathBuf,
    parameters: String,
}

/// The modules that the named ones take, each behind those that it needs, without what is built into the kernel.
///
/// # Errors
///
/// A module that this kernel does not have, with its name.
pub(crate) fn modules_of(kernel: &Kernel, names: &[String]) -> Result<Vec<Module>> {
    let mut seen = BTreeSet::new();
    let mut modules = Vec::new();
    let Some(root) = &kernel.module_root else { return Ok(modules) };
    for wanted in names {
        let (name, parameters) = wanted.split_once(' ').unwrap_or((wanted, ""));
        let output = Command::new("modprobe")
            .arg("--dirname")
            .arg(root)
            // Not what this machine's administrator wants of this machine's modules.
            .args(["--config", "/dev/null", "--set-version", &kernel.release, "--show-depends", name])
            .env("PATH", crate::path())
            .output()
            .context("failed to start modprobe")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!("kernel {} has no module {name}", kernel.release);
        }
        for file in said.lines().filter_map(|line| line.strip_prefix("insmod ")) {
            let file = PathBuf::from(file.trim());
            let is_it = stem(&file).replace('-', "_") == name.replace('-', "_");
            if seen.insert(file.clone()) {
                modules.push(Module {
                    file,
                    parameters: if is_it { parameters.to_owned() } else { String::new() },
                });
            }
        }
    }
    Ok(modules)
}

/// A module's name: the file's name up to `.ko`.
fn stem(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.split_once(".ko").map_or(name.as_ref(), |(stem, _)| stem).to_owned()
}

/// Writes what a guest boots with.
///
/// # Errors
///
/// When something of it cannot be read, or the archive cannot be written.
pub(crate) fn write(
    to: &Path,
    programs: &Programs,
    kernel: &Kernel,
    modules: &[Module],
    plan: &Plan,
) -> Result<()> {
    let file = fs::File::create(to).with_context(|| format!("failed to make {}", to.display()))?;
    let mut archive = Archive::new(io::BufWriter::new(file));
    let Programs { busybox, xdproof, wire, iproute2 } = programs;
    for name in DIRECTORIES {
        archive.directory(name)?;
    }
    archive.file("init", 0o755, INIT)?;
    for (name, program) in [("bin/busybox", busybox), ("bin/xdproof", xdproof), ("bin/wire", wire)] {
        let content = fs::read(program).with_context(|| format!("failed to read {}", program.display()))?;
        archive.file(name, 0o755, &content)?;
    }
    let mut made: BTreeSet<PathBuf> = DIRECTORIES.iter().map(PathBuf::from).collect();
    for (number, file) in iproute2.iter().enumerate() {
        // The libraries go where the program looks for them.
        let place =
            if number == 0 { Path::new("iproute2/ip") } else { file.strip_prefix("/").unwrap_or(file) };
        let parents: Vec<&Path> =
            place.ancestors().skip(1).filter(|parent| *parent != Path::new("")).collect();
        for parent in parents.into_iter().rev() {
            if made.insert(parent.to_owned()) {
                archive.directory(&parent.to_string_lossy())?;
            }
        }
        let content = fs::read(file).with_context(|| format!("failed to read {}", file.display()))?;
        archive.file(&place.to_string_lossy(), 0o755, &content)?;
    }
    if let Some(config) = &kernel.config {
        archive.file(&format!("boot/config-{}", kernel.release), 0o644, &fs::read(config)?)?;
    }
    let mut order = String::new();
    for Module { file, parameters } in modules {
        let content = compressed::read(file)?;
        let name = format!("modules/{}.ko", stem(file));
        archive.file(&name, 0o644, &content)?;
        order.push_str(&format!("/{name} {parameters}\n"));
    }
    let Plan { cells, modes, most_frames, rules, arguments } = plan;
    for line in cells.iter().chain([modes]).chain(arguments) {
        ensure!(!line.contains('\n'), "`{line}` has more than one line");
    }
    let lines = |lines: &[String]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    archive.file("plan/modules", 0o644, order.as_bytes())?;
    archive.file("plan/cells", 0o644, lines(cells).as_bytes())?;
    archive.file("plan/modes", 0o644, format!("{modes}\n").as_bytes())?;
    archive.file("plan/rules", 0o644, if *rules { b"--rules\n" } else { b"\n" })?;
    archive.file("plan/most_frames", 0o644, format!("{most_frames}\n").as_bytes())?;
    archive.file("plan/arguments", 0o644, lines(arguments).as_bytes())?;
    archive.finish()?.flush().with_context(|| format!("failed to write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn what_is_written_into_an_archive_is_read_out_of_it() {
        let mut archive = Archive::new(Vec::new());
        let large = vec![0xa5; 70_001];
        archive.directory("bin").unwrap();
        archive.file("bin/one", 0o755, b"#!/bin/sh\n").unwrap();
        archive.file("empty", 0o644, b"").unwrap();
        archive.file("large", 0o600, &large).unwrap();
        let bytes = archive.finish().unwrap();

        let mut rest = bytes.as_slice();
        let mut entries = Vec::new();
        loop {
            let mut reader = newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let (name, mode) = (reader.entry().name().to_owned(), reader.entry().mode());
            let mut content = Vec::new();
            reader.read_to_end(&mut content).unwrap();
            entries.push((name, mode, content));
            rest = reader.finish().unwrap();
        }
        let expected = [
            ("bin".to_owned(), 0o040_755, Vec::new()),
            ("bin/one".to_owned(), 0o100_755, b"#!/bin/sh\n".to_vec()),
            ("empty".to_owned(), 0o100_644, Vec::new()),
            ("large".to_owned(), 0o100_600, large),
        ];
        assert_eq!(entries, expected);
    }

    #[test]
    fn a_module_is_called_as_its_file_whatever_it_is_compressed_with() {
        assert_eq!(stem(Path::new("/lib/modules/6.12/kernel/net/8139cp.ko.xz")), "8139cp");
        assert_eq!(stem(Path::new("i2c-algo-bit.ko")), "i2c-algo-bit");
    }
}
