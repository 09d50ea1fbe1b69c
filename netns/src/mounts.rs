//! A mount namespace in which a mount outlives the process that makes it.
//!
//! A mount belongs to a mount namespace, and the kernel removes it with the last process in there (`put_mnt_ns()` in
//! `fs/namespace.c`). `ip netns exec`, `unshare -m`, a container and a systemd unit with private mounts run a
//! process in a mount namespace that may end with it. That of process 1 does not.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::sched::{CloneFlags, setns, unshare};

use crate::{Error, Subject, new_thread::on_new_thread};

/// Processes whose mount namespace outlives this process. A kernel thread is in that of the first process of the
/// machine, and can be asked where process 1 cannot: process 1 may have capabilities that this process lacks
/// (`cap_ptrace_access_check()` in `security/commoncap.c`).
const LASTING: [Process; 2] = [Process::First, Process::Kernel];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Process {
    /// Process 1 of the PID namespace.
    First,
    /// `kthreadd`, which is process 2 outside of containers.
    Kernel,
}

/// A mount namespace, and the paths by which this process reaches the files in it.
#[derive(Debug, Clone, Default)]
pub struct Mounts {
    /// Another mount namespace than this process's own.
    other: Option<Other>,
}

#[derive(Debug, Clone)]
struct Other {
    namespace: Arc<OwnedFd>,
    /// The root directory of a process in it, with its mounts (`proc_root_link()` in `fs/proc/base.c`).
    root: &'static str,
}

impl Process {
    fn namespace(self) -> &'static str {
        match self {
            Self::First => "/proc/1/ns/mnt",
            Self::Kernel => "/proc/2/ns/mnt",
        }
    }

    fn root(self) -> &'static str {
        match self {
            Self::First => "/proc/1/root",
            Self::Kernel => "/proc/2/root",
        }
    }

    /// Returns an error if it does not outlive this process, or is another one.
    fn check(self) -> io::Result<()> {
        match self {
            Self::First if fs::read_link("/proc/self")? == Path::new("1") => {
                Err(io::Error::other("this process is process 1 of its PID namespace"))
            }
            Self::First => Ok(()),
            // A kernel thread has no executable.
            Self::Kernel if fs::read_link("/proc/2/exe").is_err() => {
                match fs::read_to_string("/proc/2/comm")?.trim_end() {
                    "kthreadd" => Ok(()),
                    _ => Err(io::ErrorKind::NotFound.into()),
                }
            }
            Self::Kernel => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn mounts(self) -> Result<Mounts, Error> {
        let refused = || {
            Error::refused("find mounts that outlive this process", Subject::Path(self.namespace().into()))
        };
        let open = || -> io::Result<Mounts> {
            self.check()?;
            let theirs = File::open(self.namespace())?;
            let identity = |of: fs::Metadata| (of.dev(), of.ino());
            let is_own = identity(theirs.metadata()?) == identity(fs::metadata("/proc/thread-self/ns/mnt")?);
            let other = || Other { namespace: Arc::new(theirs.into()), root: self.root() };
            Ok(Mounts { other: (!is_own).then(other) })
        };
        let mounts = open().map_err(refused())?;
        if mounts.other.is_some() {
            mounts.run(|| ())?;
            fs::metadata(self.root()).map_err(refused())?;
        }
        Ok(mounts)
    }
}

impl Mounts {
    /// Finds a mount namespace that outlives this process: its own, if process 1 is in it, or that of process 1.
    /// Needs `CAP_SYS_ADMIN` and `CAP_SYS_CHROOT` in the latter case.
    ///
    /// # Errors
    /// [`Error::Refused`]: `EACCES` if process 1 may not be asked, `EPERM` if its mounts belong to another user
    /// namespace, and no errno if this process is process 1, with which the kernel ends its PID namespace.
    pub fn lasting() -> Result<Self, Error> {
        let [first, kernel] = LASTING;
        first.mounts().or_else(|error| kernel.mounts().map_err(|_| error))
    }

    /// Returns the path by which this process reaches a file in the mount namespace, through the mounts in there.
    ///
    /// # Errors
    /// [`Error::Refused`] for a relative path if the current directory is gone.
    pub fn reach(&self, path: &Path) -> Result<PathBuf, Error> {
        let absolute = std::path::absolute(path)
            .map_err(Error::refused("resolve a path", Subject::Path(path.into())))?;
        Ok(match (&self.other, absolute.strip_prefix("/")) {
            (Some(Other { root, .. }), Ok(below)) => Path::new(root).join(below),
            _ => absolute,
        })
    }

    /// Runs a closure that mounts or unmounts, on a thread that is in the mount namespace.
    /// [Reached](Self::reach) paths mean the same there.
    ///
    /// # Errors
    /// [`Error::Refused`] if the namespace cannot be entered.
    pub fn run<T, F>(&self, job: F) -> Result<T, Error>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let Some(Other { namespace, .. }) = self.other.clone() else { return Ok(job()) };
        on_new_thread("lasting-mounts", move || {
            let refused = || Error::refused("enter the mount namespace of process 1", None);
            // mntns_install() in fs/namespace.c refuses a thread that shares its root directory with others.
            unshare(CloneFlags::CLONE_FS).map_err(refused())?;
            setns(namespace.as_fd(), CloneFlags::CLONE_NEWNS).map_err(refused())?;
            Ok(job())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::process;

    use super::*;
    use crate::{
        NetNs,
        testing::{namespace, with_private_run},
    };

    #[test]
    fn a_bind_in_lasting_mounts_outlives_a_private_mount_namespace() {
        let Some(namespace) = namespace() else { return };
        let inode = namespace.inode().unwrap();
        let directory = std::env::temp_dir().join(format!("xdproof-mounts-{}", process::id()));
        let lasting = Mounts::lasting().unwrap();
        let reached = lasting.reach(&directory).unwrap();
        fs::create_dir(&reached).unwrap();
        let target = directory.join("held");
        with_private_run("tmpfs", move || {
            let mounts = Mounts::lasting().unwrap();
            let path = mounts.reach(&target).unwrap();
            let held = path.clone();
            mounts.run(move || namespace.hold_at(&held)).unwrap().unwrap();
            assert_eq!(NetNs::at(&path).unwrap().inode().unwrap(), inode);
            assert!(NetNs::at(&target).is_err(), "the bind is in this mount namespace");
        });
        let held = reached.join("held");
        assert_eq!(NetNs::at(&held).unwrap().inode().unwrap(), inode);
        let path = held.clone();
        lasting.run(move || NetNs::release(&path)).unwrap().unwrap();
        assert!(!held.exists());
        fs::remove_dir(reached).unwrap();
    }

    #[test]
    fn own_mounts_are_reached_by_their_own_paths() {
        assert_eq!(Mounts::default().reach(Path::new("/run/a")).unwrap(), Path::new("/run/a"));
        assert_eq!(Mounts::default().run(|| 7).unwrap(), 7);
    }
}
