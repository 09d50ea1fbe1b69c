//! Debian's archives: packages of which only the files are taken, into the cache.
//!
//! Promises: the package system of the host stays untouched (apt gets sources, lists and a status file of its own, packages are only
//! unpacked); every package has the checksum in a signed list.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;

use crate::{
    cache::{Cache, replace_directory},
    catalog::Kernels,
    command,
    programs::{check_static, find},
    terminal::log,
};

/// Maximum age of package lists.
const LISTS_MAX_AGE: Duration = Duration::from_secs(12 * 3600);

/// Keys that sign the archives' package lists.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The package of a busybox for guests. It conflicts with `busybox`, which initramfs-tools uses, and is therefore never installed.
const BUSYBOX: &str = "busybox-static";

/// The archives of `kernels.toml`.
#[derive(Debug)]
pub(crate) struct Archives<'a> {
    cache: &'a Cache,
    kernels: &'a Kernels,
}

impl<'a> Archives<'a> {
    pub(crate) fn new(cache: &'a Cache, kernels: &'a Kernels) -> Self {
        Self { cache, kernels }
    }

    /// Downloads packages and unpacks them below a directory.
    pub(crate) fn unpack(&self, packages: impl IntoIterator<Item = String>, root: &Path) -> Result<()> {
        let debs = tempfile::tempdir_in(self.cache.directory("apt")?)?;
        command::stdout(self.apt("apt-get")?.arg("download").args(packages).current_dir(&debs))?;
        for deb in fs::read_dir(debs.path())? {
            command::stdout(Command::new("dpkg").arg("--extract").arg(deb?.path()).arg(root))?;
        }
        Ok(())
    }

    /// Returns a busybox that is linked statically: the host's, or one that is unpacked into the cache.
    pub(crate) fn busybox(&self) -> Result<PathBuf> {
        if let Ok(busybox) = find("busybox")
            && check_static(&busybox).is_ok()
        {
            return Ok(busybox);
        }
        let _lock = self.cache.lock(BUSYBOX)?;
        let directory = self.cache.directory("guest")?.join(BUSYBOX);
        let unpacked = || {
            let places = ["bin/busybox", "usr/bin/busybox"].map(|place| directory.join(place));
            places.into_iter().find(|file| file.is_file())
        };
        if let Some(busybox) = unpacked() {
            return Ok(busybox);
        }
        log(&format!("fetching {BUSYBOX}"));
        self.update()?;
        replace_directory(&directory, |new| self.unpack([BUSYBOX.to_owned()], new))?;
        let busybox = unpacked().with_context(|| format!("the package {BUSYBOX} has no busybox"))?;
        check_static(&busybox).map(|()| busybox)
    }

    /// Fetches the package lists of all archives unless they are recent.
    pub(crate) fn update(&self) -> Result<()> {
        ensure!(
            Path::new(KEYRING).is_file(),
            "{KEYRING} is missing; install the package debian-archive-keyring"
        );
        let apt = self.cache.directory("apt")?;
        let _lock = self.cache.lock("apt")?;
        let sources = self.sources();
        let stamp = apt.join("updated");
        let unchanged = fs::read_to_string(&stamp).is_ok_and(|before| before == sources);
        let age = fs::metadata(&stamp)
            .and_then(|stamp| stamp.modified())
            .map(|updated| SystemTime::now().duration_since(updated).unwrap_or_default());
        if unchanged && age.is_ok_and(|age| age < LISTS_MAX_AGE) {
            return Ok(());
        }
        for directory in ["apt/lists/partial", "apt/archives/partial"] {
            self.cache.directory(directory)?;
        }
        fs::write(apt.join("kernels.list"), &sources)?;
        fs::write(apt.join("status"), "")?;
        fs::write(apt.join("apt.conf"), APT_CONFIG.replace("{apt}", &apt.display().to_string()))?;
        command::stdout(self.apt("apt-get")?.arg("update"))?;
        fs::write(&stamp, sources)?;
        Ok(())
    }

    /// Returns the lines of `sources.list`.
    fn sources(&self) -> String {
        let suites: BTreeSet<&String> =
            self.kernels.kernels.iter().flat_map(|kernel| &kernel.suites).collect();
        let line = |suite: &String| {
            let (archive, suite) = suite.split_once('/')?;
            let uri = self.kernels.archives.get(archive)?;
            Some(format!("deb [signed-by={KEYRING}] {uri} {suite} main\n"))
        };
        suites.into_iter().filter_map(line).collect()
    }

    /// Returns a program of apt that works on these archives alone.
    pub(crate) fn apt(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.cache.directory("apt")?.join("apt.conf"));
        command.env("LC_ALL", "C").arg("--quiet=2");
        Ok(command)
    }
}

/// The configuration that keeps apt away from the host's package system; `{apt}` is the directory for its files.
const APT_CONFIG: &str = r#"
Dir::Etc::SourceList "{apt}/kernels.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State::Lists "{apt}/lists";
Dir::State::Status "{apt}/status";
Dir::Cache "{apt}";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "20";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
"#;
