//! What is kept from one run to the next, outside of the work tree: package lists, kernels, the static build.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

/// A directory of ours, locked against other runs as long as this lives where it is asked to be.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `$XDPROOF_CACHE`, or `xdproof` in the user's cache.
    pub(crate) fn open() -> Result<Self> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = match (set("XDPROOF_CACHE"), set("XDG_CACHE_HOME"), set("HOME")) {
            (Some(root), _, _) => root,
            (None, Some(cache), _) => cache.join("xdproof"),
            (None, None, Some(home)) => home.join(".cache/xdproof"),
            (None, None, None) => bail!("none of XDPROOF_CACHE, XDG_CACHE_HOME and HOME is set"),
        };
        fs::create_dir_all(&root).with_context(|| format!("failed to make {}", root.display()))?;
        let root = root.canonicalize().with_context(|| format!("failed to find {}", root.display()))?;
        Ok(Self { root })
    }

    /// A directory in it, made if it is not there.
    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join(name);
        fs::create_dir_all(&path).with_context(|| format!("failed to make {}", path.display()))?;
        Ok(path)
    }

    /// Keeps other runs from changing what bears this name, until the file is dropped.
    pub(crate) fn lock(&self, name: &str) -> Result<File> {
        let path = self.root.join(format!("{name}.lock"));
        let file = File::create(&path).with_context(|| format!("failed to make {}", path.display()))?;
        file.lock().with_context(|| format!("failed to lock {}", path.display()))?;
        Ok(file)
    }
}

/// Puts a directory that was made beside it in its place at once.
pub(crate) fn put_in_place(made: &Path, place: &Path) -> Result<()> {
    if place.exists() {
        fs::remove_dir_all(place).with_context(|| format!("failed to remove {}", place.display()))?;
    }
    fs::rename(made, place)
        .with_context(|| format!("failed to move {} to {}", made.display(), place.display()))
}
