//! Kernels to boot: the newest of a series from Debian's archives, or what the user names.
//!
//! Promises: nothing of this machine's package system is changed (apt gets sources, lists and a status of its own, packages
//! are only unpacked), what apt brings has the checksums that signed lists give, and what is in the cache is used where the
//! archives cannot be reached.

use std::{
    cmp::Ordering,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    cache::{Cache, put_in_place},
    catalog::{Kernels, RELEASE, Series},
    compressed, run,
};

/// Lists that are younger are not fetched again.
const LISTS_LIFE: Duration = Duration::from_secs(12 * 3600);

/// The keys that the archives' lists are signed by.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A kernel that can be booted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// What the results call it: its series, or its release.
    pub(crate) name: String,
    /// As `uname -r` prints it.
    pub(crate) release: String,
    /// What QEMU boots: an ELF file where there is one, which a slow machine need not decompress.
    pub(crate) image: PathBuf,
    /// Where `lib/modules/RELEASE` is; none if all is built in.
    pub(crate) module_root: Option<PathBuf>,
    /// How it was configured, if that is known.
    pub(crate) config: Option<PathBuf>,
}

/// What the user asks for: a series of `kernels.toml`, or `IMAGE[:MODULES]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A series.
    Series(String),
    /// A bzImage or vmlinux, and a directory like `/lib/modules/RELEASE`.
    Files { image: PathBuf, modules: Option<PathBuf> },
}

impl Wanted {
    /// Reads what the user says; whatever has a `/` in it is a path.
    pub(crate) fn parse(text: &str, kernels: &Kernels) -> Result<Self> {
        if !text.contains('/') {
            if kernels.series(text).is_some() {
                return Ok(Self::Series(text.to_owned()));
            }
            let known: Vec<&str> = kernels.kernels.iter().map(|kernel| kernel.series.as_str()).collect();
            bail!("there is no series `{text}`; known are {} (a path has a / in it)", known.join(", "));
        }
        let (image, modules) = match text.split_once(':') {
            Some((image, modules)) => (image, Some(PathBuf::from(modules))),
            None => (text, None),
        };
        let image = PathBuf::from(image);
        ensure!(image.is_file(), "{} is not a file", image.display());
        if let Some(modules) = &modules {
            ensure!(
                modules.join("modules.dep").is_file(),
                "{} has no modules.dep: it is not a directory like /lib/modules/RELEASE",
                modules.display()
            );
        }
        Ok(Self::Files { image, modules })
    }

    /// What results call it before it is there.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Series(series) => series.clone(),
            Self::Files { image, .. } => image.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }
}

/// Brings kernels into the cache.
#[derive(Debug)]
pub(crate) struct Store<'a> {
    cache: &'a Cache,
    kernels: &'a Kernels,
    offline: bool,
}

impl<'a> Store<'a> {
    /// Fetches the packages' lists if they are old. Where that fails, what is in the cache has to do.
    pub(crate) fn open(cache: &'a Cache, kernels: &'a Kernels, wanted: &[Wanted]) -> Result<Self> {
        let mut store = Self { cache, kernels, offline: false };
        let series: Vec<&Series> = wanted
            .iter()
            .filter_map(|wanted| match wanted {
                Wanted::Series(name) => kernels.series(name),
                Wanted::Files { .. } => None,
            })
            .collect();
        if series.is_empty() {
            return Ok(store);
        }
        let _lock = cache.lock("apt")?;
        if let Err(error) = store.update() {
            store.offline = true;
            anstream::eprintln!("the archives are not to be had, so the cache has to do: {error:#}");
        }
        Ok(store)
    }

    /// A kernel, from the cache if it is the newest that there is.
    ///
    /// # Errors
    ///
    /// When it is neither in the cache nor to be had, or the files are none of a kernel.
    pub(crate) fn get(&self, wanted: &Wanted) -> Result<Kernel> {
        match wanted {
            Wanted::Files { image, modules } => self.named(image, modules.as_deref()),
            Wanted::Series(name) => {
                let series = self.kernels.series(name).context("the series is gone")?;
                let _lock = self.cache.lock(&format!("kernel-{name}"))?;
                self.newest_of(series).with_context(|| format!("kernel {name}"))
            }
        }
    }

    /// The form that the cached directory of a series has: `RELEASE` in `series/`, `root` and `vmlinux` below.
    fn newest_of(&self, series: &Series) -> Result<Kernel> {
        let place = self.cache.directory(&format!("kernels/{}", series.series))?;
        let newest = if self.offline { None } else { Some(self.newest(series)?) };
        let (release, version) = match newest {
            Some(newest) => newest,
            None => (cached(&place)?.context("it is not in the cache")?, String::new()),
        };
        let (release, directory) = match self.fetch_if_missing(series, &release, &version, &place) {
            Ok(()) => (release.clone(), place.join(&release)),
            Err(error) => {
                let Some(older) = cached(&place)? else { return Err(error) };
                anstream::eprintln!("{release} is not to be had, so {older} has to do: {error:#}");
                (older.clone(), place.join(&older))
            }
        };
        let root = directory.join("root");
        let config = [format!("boot/config-{release}"), format!("usr/lib/modules/{release}/config")];
        Ok(Kernel {
            name: series.series.clone(),
            image: directory.join("vmlinux"),
            config: config.iter().map(|name| root.join(name)).find(|config| config.is_file()),
            module_root: Some(root),
            release,
        })
    }

    fn fetch_if_missing(&self, series: &Series, release: &str, version: &str, place: &Path) -> Result<()> {
        let directory = place.join(release);
        if directory.join("vmlinux").is_file() {
            return Ok(());
        }
        anstream::eprintln!("fetching kernel {release}");
        self.fetch(series, release, version, &directory)?;
        // The archives drop old releases, and so does the cache.
        for entry in fs::read_dir(place)? {
            let entry = entry?;
            if entry.file_name() != OsStr::new(release) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    /// The newest release of a series that the lists have, and the version of its first package.
    fn newest(&self, series: &Series) -> Result<(String, String)> {
        let template = series.packages.first().context("it has no package")?;
        let (before, after) = template.split_once(RELEASE).context("its package has no release")?;
        let pattern = format!("^{before}{}{after}$", series.release);
        let none = || format!("no package of {} is like {pattern}", series.suites.join(", "));
        let found = run::output(self.apt("apt-cache")?.args(["search", "--names-only", &pattern]))?;
        let names: Vec<&str> = found.lines().filter_map(|line| line.split(' ').next()).collect();
        ensure!(!names.is_empty(), none());
        let text = run::output(self.apt("apt-cache")?.arg("show").args(&names)).with_context(none)?;
        let mut newest: Option<(String, String)> = None;
        for (package, version) in stanzas(&text) {
            let Some(release) = package.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)) else {
                continue;
            };
            let newer = match &newest {
                None => true,
                Some((_, version_before)) => compare_versions(&version, version_before)? == Ordering::Greater,
            };
            if newer {
                newest = Some((release.to_owned(), version));
            }
        }
        newest.with_context(none)
    }

    fn fetch(&self, series: &Series, release: &str, version: &str, directory: &Path) -> Result<()> {
        let parent = directory.parent().context("no directory for it")?;
        let scratch = tempfile::Builder::new().prefix(".new-").tempdir_in(parent)?;
        let debs = scratch.path().join("debs");
        let made = scratch.path().join("made");
        let root = made.join("root");
        fs::create_dir_all(&debs)?;
        fs::create_dir_all(&root)?;
        let packages =
            series.packages.iter().map(|package| format!("{}={version}", package.replace(RELEASE, release)));
        run::quietly(self.apt("apt-get")?.arg("download").args(packages).current_dir(&debs))?;
        for deb in fs::read_dir(&debs)? {
            run::quietly(Command::new("dpkg").arg("--extract").arg(deb?.path()).arg(&root))?;
        }
        merge_usr(&root)?;
        // What is built in counts as there.
        let builtin = root.join("lib/modules").join(release).join("modules.builtin");
        ensure!(builtin.is_file(), "the packages of {release} have no modules.builtin");
        run::quietly(
            Command::new("depmod").env("PATH", crate::path()).arg("--basedir").arg(&root).arg(release),
        )?;
        let image = [format!("boot/vmlinuz-{release}"), format!("usr/lib/modules/{release}/vmlinuz")]
            .into_iter()
            .map(|name| root.join(name))
            .find(|image| image.is_file())
            .with_context(|| format!("the packages of {release} have no image"))?;
        let bytes = fs::read(&image).with_context(|| format!("failed to read {}", image.display()))?;
        let (kernel, _) = compressed::vmlinux(&bytes)
            .with_context(|| image.display().to_string())?
            .with_context(|| format!("{} is not a bzImage", image.display()))?;
        fs::write(made.join("vmlinux"), kernel)?;
        put_in_place(&made, directory)
    }

    /// A kernel of the user's: an image and, where it has any, its modules.
    fn named(&self, image: &Path, modules: Option<&Path>) -> Result<Kernel> {
        let bytes = fs::read(image).with_context(|| format!("failed to read {}", image.display()))?;
        let unpacked = compressed::vmlinux(&bytes).with_context(|| image.display().to_string())?;
        let (elf, release) = match unpacked {
            Some((elf, release)) => (Some(elf), Some(release)),
            None => (None, compressed::release_of(&bytes)),
        };
        let release =
            release.with_context(|| format!("{} is neither a bzImage nor a vmlinux", image.display()))?;
        let place = self.cache.directory("kernels/files")?.join(&release);
        let _lock = self.cache.lock("kernel-files")?;
        let scratch =
            tempfile::Builder::new().prefix(".new-").tempdir_in(self.cache.directory("kernels/files")?)?;
        let made = scratch.path().join("made");
        fs::create_dir_all(made.join("root/lib/modules"))?;
        let module_root = match modules {
            None => None,
            Some(modules) => {
                let modules = modules.canonicalize()?;
                std::os::unix::fs::symlink(modules, made.join("root/lib/modules").join(&release))?;
                Some(place.join("root"))
            }
        };
        let to_boot = match elf {
            None => image.canonicalize()?,
            Some(elf) => {
                fs::write(made.join("vmlinux"), elf)?;
                place.join("vmlinux")
            }
        };
        put_in_place(&made, &place)?;
        let config = image.parent().map(|directory| directory.join(format!("config-{release}")));
        Ok(Kernel {
            name: release.clone(),
            image: to_boot,
            module_root,
            config: config.filter(|config| config.is_file()),
            release,
        })
    }

    /// Fetches the lists of all archives, or does nothing if they are young.
    fn update(&self) -> Result<()> {
        ensure!(Path::new(KEYRING).is_file(), "{KEYRING} is not there: it comes with debian-archive-keyring");
        let apt = self.cache.directory("apt")?;
        let sources = self.sources();
        let (file, stamp) = (apt.join("kernels.sources"), apt.join("updated"));
        let same = fs::read_to_string(&file).is_ok_and(|before| before == sources);
        let age = fs::metadata(&stamp)
            .and_then(|stamp| stamp.modified())
            .map(|since| SystemTime::now().duration_since(since).unwrap_or_default());
        if same && age.is_ok_and(|age| age < LISTS_LIFE) {
            return Ok(());
        }
        for directory in ["apt/lists/partial", "apt/archives/partial"] {
            self.cache.directory(directory)?;
        }
        fs::write(&file, sources)?;
        fs::write(apt.join("status"), "")?;
        let shown = |name: &str| apt.join(name).display().to_string();
        fs::write(
            apt.join("apt.conf"),
            format!(
                "Dir::Etc::SourceList \"{}\";\nDir::Etc::SourceParts \"/dev/null\";\nDir::Etc::Preferences \"/dev/null\";\n\
                 Dir::Etc::PreferencesParts \"/dev/null\";\nDir::State::Lists \"{}\";\nDir::State::Status \"{}\";\n\
                 Dir::Cache \"{}\";\nAPT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\n\
                 APT::Sandbox::User \"\";\nAPT::Update::Error-Mode \"any\";\nAcquire::Languages \"none\";\n\
                 Acquire::Retries \"2\";\nAcquire::http::Timeout \"20\";\n\
                 Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n",
                shown("kernels.sources"),
                shown("lists"),
                shown("status"),
                apt.display(),
            ),
        )?;
        run::quietly(self.apt("apt-get")?.arg("update"))?;
        fs::write(&stamp, "")?;
        Ok(())
    }

    fn sources(&self) -> String {
        let mut suites: Vec<&str> =
            self.kernels.kernels.iter().flat_map(|kernel| &kernel.suites).map(String::as_str).collect();
        suites.sort_unstable();
        suites.dedup();
        let stanza = |suite: &&str| {
            let (archive, suite) = suite.split_once('/')?;
            let uri = self.kernels.archives.get(archive)?;
            Some(format!(
                "Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\nSigned-By: {KEYRING}\n\n"
            ))
        };
        suites.iter().filter_map(stanza).collect()
    }

    fn apt(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(program);
        command
            .arg("--quiet=2")
            .env("APT_CONFIG", self.cache.directory("apt")?.join("apt.conf"))
            .env("LC_ALL", "C");
        Ok(command)
    }
}

/// The release of a series that the cache has, if any.
fn cached(place: &Path) -> Result<Option<String>> {
    for entry in fs::read_dir(place)? {
        let entry = entry?;
        if entry.path().join("vmlinux").is_file() {
            return Ok(Some(entry.file_name().to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

/// Makes `lib/modules` and `usr/lib/modules` the same, wherever the packages put it: `modprobe` looks in the one, whoever
/// reads the tree in the other.
fn merge_usr(root: &Path) -> Result<()> {
    let (old, new) = (root.join("lib"), root.join("usr/lib"));
    match (old.exists(), new.exists()) {
        (false, true) => std::os::unix::fs::symlink("usr/lib", &old)?,
        (true, false) => {
            fs::create_dir_all(root.join("usr"))?;
            std::os::unix::fs::symlink("../lib", &new)?;
        }
        _ => {}
    }
    ensure!(old.join("modules").is_dir(), "the packages have no modules");
    Ok(())
}

/// Package and version of each stanza that `apt-cache show` prints.
fn stanzas(text: &str) -> Vec<(String, String)> {
    let field = |stanza: &str, name: &str| {
        stanza.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
    };
    text.split("\n\n")
        .filter_map(|stanza| Some((field(stanza, "Package:")?, field(stanza, "Version:")?)))
        .collect()
}

/// Debian's order of versions, as `dpkg` has it.
fn compare_versions(one: &str, other: &str) -> Result<Ordering> {
    let holds = |relation: &str| -> Result<bool> {
        let status = Command::new("dpkg").args(["--compare-versions", one, relation, other]).status();
        Ok(status.context("failed to start dpkg")?.success())
    };
    Ok(if holds("gt")? {
        Ordering::Greater
    } else if holds("lt")? {
        Ordering::Less
    } else {
        Ordering::Equal
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_and_versions_are_read_from_stanzas() {
        let text = "Package: linux-image-6.12.9-amd64\nSource: linux\nVersion: 6.12.9-1\nDescription: a\n b\n\n\
                    Package: linux-image-6.12.10-amd64\nVersion: 6.12.10-1~bpo12+1\n";
        let of = |package: &str, version: &str| (package.to_owned(), version.to_owned());
        assert_eq!(
            stanzas(text),
            [
                of("linux-image-6.12.9-amd64", "6.12.9-1"),
                of("linux-image-6.12.10-amd64", "6.12.10-1~bpo12+1")
            ]
        );
    }

    #[test]
    fn what_has_a_slash_is_a_path_and_else_a_series() {
        let kernels: Kernels = toml::from_str(
            "[archives]\n[[kernel]]\nseries = '6.1'\nsuites = []\nrelease = ''\npackages = []\n",
        )
        .unwrap();
        assert_eq!(Wanted::parse("6.1", &kernels).unwrap(), Wanted::Series("6.1".to_owned()));
        let says = |text: &str, what: &str| {
            let error = Wanted::parse(text, &kernels).unwrap_err().to_string();
            assert!(error.contains(what), "`{error}` does not say `{what}`");
        };
        says("6.2", "known are 6.1");
        says("./no-such-image", "is not a file");
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("bzImage");
        fs::write(&image, "").unwrap();
        says(&format!("{}:{}", image.display(), directory.path().display()), "has no modules.dep");
        fs::write(directory.path().join("modules.dep"), "").unwrap();
        let wanted =
            Wanted::parse(&format!("{}:{}", image.display(), directory.path().display()), &kernels).unwrap();
        assert_eq!(wanted.name(), "bzImage");
        assert_eq!(wanted, Wanted::Files { image, modules: Some(directory.path().to_owned()) });
    }

    #[test]
    fn modules_are_found_by_both_names_wherever_they_are() {
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
