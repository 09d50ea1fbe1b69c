//! Kernels to boot: the newest of a series from Debian's archives, or files that the user names.
//!
//! Promises: without a network, the cached kernel is used.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use fs_err::{self as fs, os::unix::fs::symlink};

use crate::{
    archives::Archives,
    cache::{Cache, replace_directory},
    catalog::{Kernels, RELEASE, Series},
    command, decompress,
    terminal::log,
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// The series, or the release of a kernel that the user names.
    pub(crate) name: String,
    /// As `uname -r` prints it.
    pub(crate) release: String,
    /// File that QEMU boots: if possible the uncompressed ELF file, because decompression is slow without KVM.
    pub(crate) image: PathBuf,
    /// Directory of `lib/modules/RELEASE`; none if everything is built in.
    pub(crate) module_root: Option<PathBuf>,
    /// Build configuration.
    pub(crate) config: Option<PathBuf>,
}

/// A kernel as the user names it: a series of `kernels.toml`; or `IMAGE[:MODULES]`, a bzImage or vmlinux and a directory like
/// `/lib/modules/RELEASE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KernelSpec {
    Series(String),
    Files { image: PathBuf, modules: Option<PathBuf> },
}

impl KernelSpec {
    /// Parses a name; one that contains `/` is a path.
    pub(crate) fn parse(text: &str, kernels: &Kernels) -> Result<Self> {
        if !text.contains('/') {
            if kernels.series(text).is_some() {
                return Ok(Self::Series(text.to_owned()));
            }
            let known: Vec<&str> = kernels.kernels.iter().map(|kernel| kernel.series.as_str()).collect();
            bail!("unknown series `{text}`; known are {} (a path contains a /)", known.join(", "));
        }
        let mut paths = text.splitn(2, ':').map(PathBuf::from);
        let (image, modules) = (paths.next().unwrap_or_default(), paths.next());
        ensure!(image.is_file(), "{} is not a file", image.display());
        if let Some(modules) = &modules {
            ensure!(
                modules.join("modules.dep").is_file(),
                "{} has no modules.dep; expected a directory like /lib/modules/RELEASE",
                modules.display()
            );
        }
        Ok(Self::Files { image, modules })
    }

    /// Returns a name for a kernel that could not be prepared.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Series(series) => series.clone(),
            Self::Files { image, .. } => image.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }
}

/// Fetches kernels into the cache.
#[derive(Debug)]
pub(crate) struct KernelStore<'a> {
    cache: &'a Cache,
    kernels: &'a Kernels,
    archives: &'a Archives<'a>,
    offline: bool,
}

impl<'a> KernelStore<'a> {
    /// Fetches the package lists if they are old and a series is requested. If that fails, the cached kernels are used.
    pub(crate) fn open(
        cache: &'a Cache,
        kernels: &'a Kernels,
        archives: &'a Archives<'a>,
        requested: &[KernelSpec],
    ) -> Self {
        let mut store = Self { cache, kernels, archives, offline: false };
        if requested.iter().any(|kernel| matches!(kernel, KernelSpec::Series(_)))
            && let Err(error) = archives.update()
        {
            store.offline = true;
            log(&format!("no package lists, using cached kernels: {error:#}"));
        }
        store
    }

    /// Returns a kernel, from the cache if that is the newest one.
    pub(crate) fn get(&self, requested: &KernelSpec) -> Result<Kernel> {
        match requested {
            KernelSpec::Files { image, modules } => self.file_kernel(image, modules.as_deref()),
            KernelSpec::Series(name) => {
                let series = self.kernels.series(name).context("unknown series")?;
                let _lock = self.cache.lock(&format!("kernel-{name}"))?;
                self.series_kernel(series).with_context(|| format!("kernel {name}"))
            }
        }
    }

    /// Returns the newest kernel of a series. The cache has a directory `kernels/SERIES/RELEASE` with `root` and `vmlinux`.
    fn series_kernel(&self, series: &Series) -> Result<Kernel> {
        let directory = self.cache.directory(&format!("kernels/{}", series.series))?;
        let cached = || cached_release(&directory);
        let release = if self.offline {
            cached()?.context("the cache has no kernel of this series, and the archives are unreachable")?
        } else {
            let (release, version) = self.newest(series)?;
            match self.fetch_if_missing(series, &release, &version, &directory) {
                Ok(()) => release,
                Err(error) => {
                    let Some(older) = cached()? else { return Err(error) };
                    log(&format!("failed to fetch {release}, using {older} of the cache: {error:#}"));
                    older
                }
            }
        };
        let root = directory.join(&release).join("root");
        let config = [format!("boot/config-{release}"), format!("usr/lib/modules/{release}/config")];
        Ok(Kernel {
            name: series.series.clone(),
            image: directory.join(&release).join("vmlinux"),
            config: config.iter().map(|name| root.join(name)).find(|config| config.is_file()),
            module_root: Some(root),
            release,
        })
    }

    fn fetch_if_missing(&self, series: &Series, release: &str, version: &str, parent: &Path) -> Result<()> {
        let directory = parent.join(release);
        if directory.join("vmlinux").is_file() {
            return Ok(());
        }
        log(&format!("fetching kernel {release}"));
        replace_directory(&directory, |new| self.fetch(series, release, version, new))?;
        // The archives drop old releases, and so does the cache.
        for entry in fs::read_dir(parent)? {
            let entry = entry?;
            if entry.file_name() != OsStr::new(release) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    /// Returns the newest release of a series in the package lists, and the version of its first package.
    fn newest(&self, series: &Series) -> Result<(String, String)> {
        let template = series.packages.first().context("no packages are defined")?;
        let (prefix, suffix) = template.split_once(RELEASE).context("the package has no release")?;
        let pattern = format!("^{prefix}{}{suffix}$", series.release);
        let none = || format!("no package in {} matches {pattern}", series.suites.join(", "));
        let found =
            command::text(self.archives.apt("apt-cache")?.args(["search", "--names-only", &pattern]))?;
        let names: Vec<&str> = found.lines().filter_map(|line| line.split(' ').next()).collect();
        ensure!(!names.is_empty(), none());
        let text =
            command::text(self.archives.apt("apt-cache")?.arg("madison").args(&names)).with_context(none)?;
        let mut newest: Option<(&str, &str)> = None;
        for (package, version) in versions(&text) {
            let release = package.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix));
            let Some(release) = release else { continue };
            if newest.map_or(Ok(true), |(_, newest)| is_newer(version, newest))? {
                newest = Some((release, version));
            }
        }
        newest.map(|(release, version)| (release.to_owned(), version.to_owned())).with_context(none)
    }

    /// Downloads and unpacks the packages of a release into a new directory.
    fn fetch(&self, series: &Series, release: &str, version: &str, new: &Path) -> Result<()> {
        let root = new.join("root");
        fs::create_dir(&root)?;
        let packages =
            series.packages.iter().map(|package| format!("{}={version}", package.replace(RELEASE, release)));
        self.archives.unpack(packages, &root)?;
        merge_usr(&root)?;
        // modprobe takes modules that are built in for present.
        let builtin = root.join("lib/modules").join(release).join("modules.builtin");
        ensure!(builtin.is_file(), "the packages of {release} have no modules.builtin");
        let mut depmod = Command::new("depmod");
        command::stdout(depmod.env("PATH", command::path()).arg("--basedir").arg(&root).arg(release))?;
        let images = [format!("boot/vmlinuz-{release}"), format!("usr/lib/modules/{release}/vmlinuz")];
        let image = images.iter().map(|name| root.join(name)).find(|image| image.is_file());
        let image = image.with_context(|| format!("the packages of {release} have no vmlinuz"))?;
        let (_, vmlinux) = read_kernel(&image)?;
        let vmlinux = vmlinux.with_context(|| format!("{} is not a bzImage", image.display()))?;
        Ok(fs::write(new.join("vmlinux"), vmlinux)?)
    }

    /// Prepares a kernel that the user names.
    fn file_kernel(&self, image: &Path, modules: Option<&Path>) -> Result<Kernel> {
        let (bytes, vmlinux) = read_kernel(image)?;
        let release = decompress::release_of(vmlinux.as_ref().unwrap_or(&bytes))
            .with_context(|| format!("{} is neither a bzImage nor a vmlinux", image.display()))?;
        let directory = self.cache.directory("kernels/files")?.join(&release);
        let _lock = self.cache.lock("kernel-files")?;
        replace_directory(&directory, |new| {
            fs::create_dir_all(new.join("root/lib/modules"))?;
            if let Some(modules) = modules {
                symlink(fs::canonicalize(modules)?, new.join("root/lib/modules").join(&release))?;
            }
            match &vmlinux {
                Some(vmlinux) => Ok(fs::write(new.join("vmlinux"), vmlinux)?),
                None => Ok(symlink(fs::canonicalize(image)?, new.join("vmlinux"))?),
            }
        })?;
        let config = image.parent().map(|parent| parent.join(format!("config-{release}")));
        Ok(Kernel {
            name: release.clone(),
            image: directory.join("vmlinux"),
            module_root: modules.map(|_| directory.join("root")),
            config: config.filter(|config| config.is_file()),
            release,
        })
    }
}

/// Returns the bytes of a kernel image, and the vmlinux inside if it is a bzImage.
fn read_kernel(image: &Path) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
    let bytes = fs::read(image)?;
    let vmlinux = decompress::vmlinux(&bytes).with_context(|| image.display().to_string())?;
    Ok((bytes, vmlinux))
}

/// Returns the release of a series that the cache has.
fn cached_release(series: &Path) -> Result<Option<String>> {
    let entries = fs::read_dir(series)?.collect::<Result<Vec<_>, _>>()?;
    let cached = entries.iter().find(|entry| entry.path().join("vmlinux").is_file());
    Ok(cached.map(|entry| entry.file_name().to_string_lossy().into_owned()))
}

/// Makes `lib/modules` and `usr/lib/modules` the same directory: modprobe reads the former, packages may use the latter.
fn merge_usr(root: &Path) -> Result<()> {
    let (lib, usr_lib) = (root.join("lib"), root.join("usr/lib"));
    match (lib.exists(), usr_lib.exists()) {
        (false, true) => symlink("usr/lib", &lib)?,
        (true, false) => {
            fs::create_dir_all(root.join("usr"))?;
            symlink("../lib", &usr_lib)?;
        }
        _ => {}
    }
    ensure!(lib.join("modules").is_dir(), "the packages have no modules");
    Ok(())
}

/// Returns package and version of each line that `apt-cache madison` prints.
fn versions(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let mut columns = line.split('|').map(str::trim);
        Some((columns.next()?, columns.next()?))
    })
}

/// Compares versions of Debian packages.
fn is_newer(version: &str, than: &str) -> Result<bool> {
    let status = Command::new("dpkg").args(["--compare-versions", version, "gt", than]).status();
    Ok(status.context("failed to start dpkg")?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_and_versions_are_read_from_madison() {
        let text = " linux-image-6.12.9-amd64 | 6.12.9-1 | http://deb.debian.org/debian bookworm/main amd64 Packages\n\
                    linux-image-6.12.10-amd64 | 6.12.10-1~bpo12+1 | http://deb.debian.org/debian x/main amd64 Packages\n";
        let found: Vec<(&str, &str)> = versions(text).collect();
        let expected =
            [("linux-image-6.12.9-amd64", "6.12.9-1"), ("linux-image-6.12.10-amd64", "6.12.10-1~bpo12+1")];
        assert_eq!(found, expected);
        assert!(is_newer(found[1].1, found[0].1).unwrap() && !is_newer(found[0].1, found[1].1).unwrap());
    }

    #[test]
    fn a_kernel_with_a_slash_is_a_path_and_any_other_a_series() {
        let kernels: Kernels = toml::from_str(
            "[archives]\n[[kernel]]\nseries = '6.1'\nsuites = []\nrelease = ''\npackages = []\n",
        )
        .unwrap();
        assert_eq!(KernelSpec::parse("6.1", &kernels).unwrap(), KernelSpec::Series("6.1".to_owned()));
        let rejected = |text: &str, expected: &str| {
            let error = KernelSpec::parse(text, &kernels).unwrap_err().to_string();
            assert!(error.contains(expected), "`{error}` does not contain `{expected}`");
        };
        rejected("6.2", "known are 6.1");
        rejected("./no-such-image", "is not a file");
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("bzImage");
        fs::write(&image, "").unwrap();
        rejected(&format!("{}:{}", image.display(), directory.path().display()), "has no modules.dep");
        fs::write(directory.path().join("modules.dep"), "").unwrap();
        let parsed =
            KernelSpec::parse(&format!("{}:{}", image.display(), directory.path().display()), &kernels)
                .unwrap();
        assert_eq!(parsed.name(), "bzImage");
        assert_eq!(parsed, KernelSpec::Files { image, modules: Some(directory.path().to_owned()) });
    }

    #[test]
    fn modules_are_found_in_lib_and_in_usr_lib() {
        for place in ["lib/modules/1", "usr/lib/modules/1"] {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir_all(root.path().join(place)).unwrap();
            merge_usr(root.path()).unwrap();
            for name in ["lib/modules/1", "usr/lib/modules/1"] {
                assert!(root.path().join(name).is_dir(), "{name} for {place}");
            }
        }
        assert!(merge_usr(tempfile::tempdir().unwrap().path()).is_err());
    }
}
