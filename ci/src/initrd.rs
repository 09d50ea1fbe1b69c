//! The initrd of a guest: busybox, the modules of its NICs, xdproof and `guest/init`, as a cpio archive ("newc").

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use cpio::newc;
use fs_err as fs;

use crate::{catalog::INIT, command, decompress, fixtures::FixtureFiles, kernels::Kernel};

/// Mount points.
const DIRECTORIES: &[&str] = &["dev", "proc", "sys"];

/// Directory of the fixtures.
pub(crate) const FIXTURES: &str = "fixtures";

/// A cpio archive that is written file by file.
struct Archive<W> {
    to: W,
    inode: u32,
    directories: BTreeSet<PathBuf>,
}

impl<W: Write> Archive<W> {
    fn new(to: W) -> Self {
        Self { to, inode: 0, directories: BTreeSet::from([PathBuf::new()]) }
    }

    /// Adds a directory and its parents, unless they are there already.
    fn directory(&mut self, path: &Path) -> io::Result<()> {
        if self.directories.contains(path) {
            return Ok(());
        }
        self.directory(path.parent().unwrap_or(Path::new("")))?;
        self.directories.insert(path.to_owned());
        self.entry(path, 0o040_755, &[])
    }

    /// Adds a file and its parent directories.
    fn file(&mut self, path: impl AsRef<Path>, mode: u32, content: &[u8]) -> io::Result<()> {
        let path = path.as_ref();
        self.directory(path.parent().unwrap_or(Path::new("")))?;
        self.entry(path, 0o100_000 | mode, content)
    }

    fn entry(&mut self, path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
        self.inode += 1;
        let length = u32::try_from(content.len()).map_err(io::Error::other)?;
        let builder = newc::Builder::new(&path.to_string_lossy()).ino(self.inode).mode(mode).nlink(1);
        let mut file = builder.write(&mut self.to, length);
        file.write_all(content)?;
        file.finish()?;
        Ok(())
    }

    fn finish(self) -> io::Result<W> {
        newc::trailer(self.to)
    }
}

/// The programs of a guest, linked statically if not said otherwise.
#[derive(Clone, Debug)]
pub(crate) struct GuestPrograms {
    pub(crate) busybox: PathBuf,
    pub(crate) xdproof: PathBuf,
    pub(crate) link_relay: PathBuf,
    /// `ip` of iproute2, which creates links with options that busybox lacks, linked dynamically, and its libraries.
    pub(crate) iproute2: Vec<PathBuf>,
}

/// Options of xdproof in a guest.
#[derive(Clone, Debug, Default)]
pub(crate) struct GuestOptions {
    /// Options of `xdproof validate` in every cell.
    pub(crate) validate: Vec<String>,
    /// Further options of `xdproof validate` in the cells of NICs.
    pub(crate) nic: Vec<String>,
    /// Options of `xdproof validate` and `xdproof test` in the cells of NICs: the attach modes.
    pub(crate) modes: Vec<String>,
    /// Options of `xdproof bench` in the cells of NICs; without any, there is no measurement.
    pub(crate) bench: Vec<String>,
    /// Options of `xdproof test` in every cell; without any, no fixtures are run.
    pub(crate) test: Vec<String>,
}

/// A module and its parameters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Module {
    file: PathBuf,
    parameters: String,
}

/// Returns the files of the named modules, each after its dependencies, without those built into the kernel.
pub(crate) fn modules_of(kernel: &Kernel, names: &[String]) -> Result<Vec<Module>> {
    let mut seen = BTreeSet::new();
    let mut modules = Vec::new();
    let Some(root) = &kernel.module_root else { return Ok(modules) };
    for named in names {
        let mut modprobe = Command::new("modprobe");
        modprobe.env("PATH", command::path()).arg("--dirname").arg(root);
        // The configuration in /etc/modprobe.d is about the modules of the host.
        modprobe.args(["--config", "/dev/null", "--set-version", &kernel.release, "--show-depends"]);
        let output = modprobe.args(named.split(' ')).output().context("failed to start modprobe")?;
        ensure!(output.status.success(), "kernel {} has no module {named}", kernel.release);
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            // `insmod FILE [PARAMETER]..`, or `builtin NAME`
            let Some(file) = line.strip_prefix("insmod ") else { continue };
            let name = file.rfind('/').context("modprobe prints no path")?;
            let end = file[name..].find(' ').map_or(file.len(), |length| name + length);
            let (file, parameters) = (PathBuf::from(&file[..end]), file[end..].trim().to_owned());
            if seen.insert(file.clone()) {
                modules.push(Module { file, parameters });
            }
        }
    }
    Ok(modules)
}

/// Returns the name of a module's file up to `.ko`.
fn module_name(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.split_once(".ko").map_or(name.as_ref(), |(name, _)| name).to_owned()
}

/// Writes an initrd; `cells` has one line for each cell.
pub(crate) fn write(
    to: &Path,
    programs: &GuestPrograms,
    kernel: &Kernel,
    modules: &[Module],
    cells: &[String],
    options: &GuestOptions,
    fixtures: &FixtureFiles,
) -> Result<()> {
    let mut archive = Archive::new(io::BufWriter::new(fs::File::create(to)?));
    for name in DIRECTORIES {
        archive.directory(Path::new(name))?;
    }
    archive.file("init", 0o755, INIT.as_bytes())?;
    let GuestPrograms { busybox, xdproof, link_relay, iproute2 } = programs;
    for (name, file) in [("busybox", busybox), ("xdproof", xdproof), ("link-relay", link_relay)] {
        archive.file(Path::new("bin").join(name), 0o755, &fs::read(file)?)?;
    }
    if let Some((ip, libraries)) = iproute2.split_first() {
        archive.file("iproute2/ip", 0o755, &fs::read(ip)?)?;
        for library in libraries {
            archive.file(library.strip_prefix("/").unwrap_or(library), 0o755, &fs::read(library)?)?;
        }
    }
    if let Some(config) = &kernel.config {
        archive.file(format!("boot/config-{}", kernel.release), 0o644, &fs::read(config)?)?;
    }
    let mut load_order = Vec::new();
    for Module { file, parameters } in modules {
        let name = format!("modules/{}.ko", module_name(file));
        archive.file(&name, 0o644, &decompress::read(file)?)?;
        load_order.push(format!("/{name} {parameters}"));
    }
    for (name, content) in &fixtures.0 {
        archive.file(Path::new(FIXTURES).join(name), 0o644, content)?;
    }
    let GuestOptions { validate, nic, modes, bench, test } = options;
    let files = [
        ("modules", &load_order[..]),
        ("cells", cells),
        ("validate", validate),
        ("nic", nic),
        ("modes", modes),
        ("bench", bench),
        ("test", test),
    ];
    for (name, lines) in files {
        for line in lines {
            ensure!(!line.contains('\n'), "`{line}` contains a line break");
        }
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        archive.file(Path::new("plan").join(name), 0o644, text.as_bytes())?;
    }
    archive.finish()?.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read as _};

    use super::*;

    /// Returns name, mode and content of each entry of an archive.
    fn entries(mut rest: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        loop {
            let mut reader = newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                return entries;
            }
            let (name, mode) = (reader.entry().name().to_owned(), reader.entry().mode());
            let mut content = Vec::new();
            reader.read_to_end(&mut content).unwrap();
            entries.push((name, mode, content));
            rest = reader.finish().unwrap();
        }
    }

    #[test]
    fn an_archive_is_read_back_as_written() {
        let mut archive = Archive::new(Vec::new());
        let large = vec![0xa5; 70_001];
        archive.file("bin/one", 0o755, b"#!/bin/sh\n").unwrap();
        archive.file("empty", 0o644, b"").unwrap();
        archive.file("large", 0o600, &large).unwrap();
        archive.file("bin/two", 0o755, b"2").unwrap();
        let entries = entries(&archive.finish().unwrap());
        let expected = [
            ("bin".to_owned(), 0o040_755, Vec::new()),
            ("bin/one".to_owned(), 0o100_755, b"#!/bin/sh\n".to_vec()),
            ("empty".to_owned(), 0o100_644, Vec::new()),
            ("large".to_owned(), 0o100_600, large),
            ("bin/two".to_owned(), 0o100_755, b"2".to_vec()),
        ];
        assert_eq!(entries, expected);
    }

    #[test]
    fn a_guest_gets_the_plan_and_the_fixtures_with_their_objects_at_the_same_distance() {
        let scratch = tempfile::tempdir().unwrap();
        let program = scratch.path().join("program");
        fs::write(&program, b"").unwrap();
        let [busybox, xdproof, link_relay] = std::array::from_fn(|_| program.clone());
        let programs = GuestPrograms { busybox, xdproof, link_relay, iproute2: Vec::new() };
        let kernel = Kernel::default();
        let options = GuestOptions {
            modes: vec!["--mode".to_owned(), "native".to_owned()],
            test: vec!["/fixtures".to_owned()],
            ..GuestOptions::default()
        };
        let file = |name: &str, content: &str| (PathBuf::from(name), content.as_bytes().to_vec());
        let fixtures =
            FixtureFiles(BTreeMap::from([file("build/a.o", "object"), file("fixtures/a.toml", "")]));
        let initrd = scratch.path().join("initrd");
        write(&initrd, &programs, &kernel, &[], &["guest own".to_owned()], &options, &fixtures).unwrap();
        let entries = entries(&fs::read(&initrd).unwrap());
        for (name, content) in [
            ("plan/cells", "guest own\n"),
            ("plan/modes", "--mode\nnative\n"),
            ("plan/test", "/fixtures\n"),
            ("plan/bench", ""),
            ("fixtures/build/a.o", "object"),
            ("fixtures/fixtures/a.toml", ""),
        ] {
            let entry = (name.to_owned(), 0o100_644, content.as_bytes().to_vec());
            assert!(entries.contains(&entry), "no {name} with `{content}`");
        }
    }

    #[test]
    fn a_module_has_the_name_of_its_file_without_the_compression() {
        assert_eq!(module_name(Path::new("/lib/modules/6.12/kernel/net/8139cp.ko.xz")), "8139cp");
        assert_eq!(module_name(Path::new("i2c-algo-bit.ko")), "i2c-algo-bit");
    }
}
