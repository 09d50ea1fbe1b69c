//! Files that are kept between runs, outside of the work tree: package lists, kernels, busybox.

use std::{
    env, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use fs_err::{self as fs, File};

/// The cache directory, which other runs may use at the same time.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens `$XDPROOF_CACHE`, or `xdproof` in the user's cache directory.
    pub(crate) fn open() -> Result<Self> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let of_user =
            || Some(set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?.join("xdproof"));
        let root = set("XDPROOF_CACHE").or_else(of_user);
        let root = root.context("none of XDPROOF_CACHE, XDG_CACHE_HOME and HOME is set")?;
        fs::create_dir_all(&root)?;
        Ok(Self { root: fs::canonicalize(root)? })
    }

    /// Returns a directory in the cache, created if missing.
    pub(crate) fn directory(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.root.join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Takes the lock of this name, which other runs wait for until the file is dropped.
    pub(crate) fn lock(&self, name: &str) -> io::Result<File> {
        let file = File::create(self.root.join(format!("{name}.lock")))?;
        file.lock()?;
        Ok(file)
    }
}

/// Replaces a directory once the new one is complete.
pub(crate) fn replace_directory(directory: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let parent = directory.parent().context("the directory has no parent")?;
    let scratch = tempfile::Builder::new().prefix(".new-").tempdir_in(parent)?;
    let new = scratch.path().join("new");
    fs::create_dir(&new)?;
    fill(&new)?;
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    Ok(fs::rename(new, directory)?)
}
