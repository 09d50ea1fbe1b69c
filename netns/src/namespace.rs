//! Network namespaces as descriptors. A namespace without a name needs no cleanup.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

use crate::{Error, Subject, new_thread::on_new_thread, sys};

/// Directory of named namespaces (`NETNS_RUN_DIR` of iproute2, reached there through `/var/run`).
const NAMES: &str = "/run/netns";
const THIS_THREAD: &str = "/proc/thread-self/ns/net";
/// For all present links, and for future ones.
const IPV6_SYSCTLS: [&str; 2] =
    ["/proc/sys/net/ipv6/conf/all/disable_ipv6", "/proc/sys/net/ipv6/conf/default/disable_ipv6"];

/// A network namespace, held by a descriptor. Clones refer to the same namespace. The kernel deletes the
/// namespace and its virtual links when its last descriptor, socket and thread are gone (in the background:
/// dropping does not wait).
#[derive(Debug, Clone)]
pub struct NetNs(Arc<OwnedFd>);

impl NetNs {
    /// Creates a namespace without a name. IPv6 is disabled in it, and `lo` is down.
    ///
    /// # Errors
    /// [`Error::Refused`] with `EPERM` without `CAP_SYS_ADMIN`, `ENOSPC` at the limit of
    /// `/proc/sys/user/max_net_namespaces`, or if `/proc/sys` cannot be written.
    pub fn create() -> Result<Self, Error> {
        // On a new thread, because a thread that has changed its namespace is not reused.
        on_new_thread("netns-create", || {
            unshare(CloneFlags::CLONE_NEWNET).map_err(Error::refused("create a network namespace", None))?;
            disable_ipv6()?;
            Self::current()
        })
    }

    /// Opens the namespace of the calling thread.
    ///
    /// # Errors
    /// [`Error::Refused`] if `/proc` is not mounted.
    pub fn current() -> Result<Self, Error> {
        Self::at(Path::new(THIS_THREAD))
    }

    /// Opens a namespace by its name in `ip netns`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an invalid name, [`Error::Refused`] if there is none (`ENOENT`) or if it is not
    /// a network namespace (`ENOTTY`, `EINVAL`), like a name whose namespace was unmounted.
    pub fn named(name: &str) -> Result<Self, Error> {
        Self::at(&path_of(name)?)
    }

    /// Gives the namespace a name that `ip netns` lists and other processes can enter, as iproute2 does
    /// (`netns_add()` in `ip/ipnetns.c`): a bind mount on `/run/netns/NAME`, in a directory with shared mount
    /// propagation.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an invalid name, [`Error::Refused`] if it is taken (`EEXIST`) or without
    /// `CAP_SYS_ADMIN`.
    pub fn publish(&self, name: &str) -> Result<Published, Error> {
        let path = path_of(name)?;
        // As iproute2 does: two processes that mount the directory at once would hide each other's names.
        let _lock = shared_directory()
            .map_err(Error::refused("share the directory of namespace names", Subject::Path(NAMES.into())))?;
        self.bind_to(&path)
            .map_err(Error::refused("name a network namespace", Subject::Path(path.clone())))?;
        Ok(Published { path, persistent: false })
    }

    /// Binds the namespace to a new file, so that it outlives every process until [`release`](Self::release);
    /// [`at`](Self::at) opens it again. This protects the links in it: the kernel deletes virtual links with
    /// their namespace (`default_device_exit_batch()` in `net/core/dev.c`).
    ///
    /// # Errors
    /// [`Error::Refused`] if the path exists (`EEXIST`) or without `CAP_SYS_ADMIN`.
    pub fn hold_at(&self, path: &Path) -> Result<(), Error> {
        self.bind_to(path).map_err(Error::refused("hold a network namespace", Subject::Path(path.into())))
    }

    /// Binds the namespace to a file that must not exist yet.
    fn bind_to(&self, path: &Path) -> io::Result<()> {
        OpenOptions::new().write(true).create_new(true).mode(0o000).open(path)?;
        let descriptor = format!("/proc/thread-self/fd/{}", self.0.as_raw_fd());
        bind(Path::new(&descriptor), path, MsFlags::empty()).map_err(|errno| {
            drop(fs::remove_file(path));
            errno.into()
        })
    }

    /// Opens the namespace that a file is bound to.
    ///
    /// # Errors
    /// [`Error::Refused`]: `ENOENT` if there is no such file, `ENOTTY` or `EINVAL` if it is not a network
    /// namespace.
    pub fn at(path: &Path) -> Result<Self, Error> {
        let open = || {
            let file = File::open(path)?;
            match sys::namespace_kind(file.as_fd())? {
                libc::CLONE_NEWNET => Ok(Self(Arc::new(file.into()))),
                _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
            }
        };
        open().map_err(Error::refused::<io::Error>("open a network namespace", Subject::Path(path.into())))
    }

    /// Removes the file of a namespace, and with it the namespace if nothing else holds it. A missing file is
    /// no error.
    pub fn release(path: &Path) -> Result<(), Error> {
        let release = || -> io::Result<_> {
            match umount2(path, MntFlags::MNT_DETACH) {
                // It was not bound yet, or not created.
                Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
            match fs::remove_file(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            }
        };
        release().map_err(Error::refused("release a network namespace", Subject::Path(path.into())))
    }

    /// Returns the namespace's identity: its inode number in the kernel's namespace file system, as in
    /// `net:[4026531840]`.
    ///
    /// # Errors
    /// [`Error::Refused`] if `fstat(2)` fails.
    pub fn inode(&self) -> Result<u64, Error> {
        let inode = || Ok(File::from(self.0.try_clone()?).metadata()?.ino());
        inode().map_err(Error::refused::<io::Error>("identify a network namespace", None))
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The name of a namespace, removed when this is dropped.
#[derive(Debug)]
#[must_use = "the name is removed when this is dropped"]
pub struct Published {
    path: PathBuf,
    persistent: bool,
}

impl Published {
    /// Returns the file that makes the name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the name, and with it the namespace, after the process ends. `ip netns delete` removes both.
    pub fn persist(mut self) {
        self.persistent = true;
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        if !self.persistent {
            // Someone may have removed the name by hand, and a destructor cannot report errors.
            let _ = umount2(&self.path, MntFlags::MNT_DETACH);
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Disables IPv6 in the calling thread's namespace (`addrconf_disable_ipv6()` in `net/ipv6/addrconf.c`).
pub(crate) fn disable_ipv6() -> Result<(), Error> {
    for path in IPV6_SYSCTLS {
        match fs::write(path, "1") {
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            written => written.map_err(Error::refused("disable IPv6", Subject::Path(path.into())))?,
        }
    }
    Ok(())
}

fn path_of(name: &str) -> Result<PathBuf, Error> {
    match name {
        "" | "." | ".." => Some("it is empty or a directory entry"),
        _ if name.contains(['/', '\0']) => Some("it contains a slash or a NUL byte"),
        _ => None,
    }
    .map_or_else(
        || Ok(Path::new(NAMES).join(name)),
        |problem| Err(Error::Invalid { what: "a namespace name", text: name.to_owned(), problem }),
    )
}

/// Creates the directory of names with shared mount propagation, so that a name appears and disappears in
/// every mount namespace. Returns a lock on the directory.
fn shared_directory() -> io::Result<Flock<File>> {
    DirBuilder::new().recursive(true).mode(0o755).create(NAMES)?;
    let lock = Flock::lock(File::open(NAMES)?, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    let names = Path::new(NAMES);
    let share =
        || mount(None::<&Path>, names, None::<&Path>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&Path>);
    match share() {
        // Not a mount point yet: only a mount can be shared.
        Err(Errno::EINVAL) => bind(names, names, MsFlags::MS_REC).and_then(|()| share())?,
        shared => shared?,
    }
    Ok(lock)
}

fn bind(source: &Path, target: &Path, flags: MsFlags) -> nix::Result<()> {
    mount(Some(source), target, None::<&Path>, MsFlags::MS_BIND | flags, None::<&Path>)
}

#[cfg(test)]
mod tests {
    use std::process;

    use super::*;
    use crate::{
        Worker,
        testing::{ARRIVAL, Pair, SILENCE, namespace, with_private_run},
    };

    /// Enables IPv6 in a worker's namespace.
    fn enable_ipv6(worker: &Worker) {
        worker.run(|_| IPV6_SYSCTLS.map(|path| fs::write(path, "0").unwrap())).unwrap();
    }

    #[test]
    fn a_new_namespace_has_no_name() {
        let Some(namespace) = namespace() else { return };
        let here = NetNs::current().unwrap();
        assert_ne!(namespace.inode().unwrap(), here.inode().unwrap());
        assert_eq!(namespace.clone().inode().unwrap(), namespace.inode().unwrap());
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        assert!(!mounts.contains(&format!("net:[{}]", namespace.inode().unwrap())));
    }

    #[test]
    fn a_new_namespace_contains_only_a_loopback_that_is_down() {
        let Some(namespace) = namespace() else { return };
        let links = Worker::spawn(&namespace, "fresh").unwrap().call(crate::Host::links).unwrap();
        assert_eq!(
            links.iter().map(|link| (link.name.as_ref(), link.settings.up)).collect::<Vec<_>>(),
            [("lo", false)]
        );
    }

    #[test]
    fn the_calling_thread_stays_in_its_namespace() {
        let before = NetNs::current().unwrap().inode().unwrap();
        let Some(_namespace) = namespace() else { return };
        assert_eq!(NetNs::current().unwrap().inode().unwrap(), before);
    }

    #[test]
    fn a_link_that_comes_up_sends_nothing() {
        let Some(pair) = Pair::create() else { return };
        let socket = pair.far_socket(crate::PacketOptions::default());
        let _pair = pair.up();
        assert!(!socket.wait_readable(SILENCE).unwrap(), "an unexpected frame arrived");
    }

    #[test]
    fn a_link_that_comes_up_with_ipv6_sends_frames() {
        let Some(pair) = Pair::create() else { return };
        enable_ipv6(&pair.near);
        let socket = pair.far_socket(crate::PacketOptions::default());
        let pair = pair.up();
        assert!(socket.wait_readable(ARRIVAL).unwrap(), "the test above proves nothing");
        pair.near.call(crate::Host::disable_ipv6).unwrap();
        let sysctls = pair.near.run(|_| IPV6_SYSCTLS.map(|path| fs::read_to_string(path).unwrap())).unwrap();
        assert_eq!(sysctls, ["1\n", "1\n"]);
    }

    #[test]
    fn a_namespace_disappears_with_its_last_holder() {
        let Some(pair) = Pair::create() else { return };
        let Pair { near, far, near_index: _, far_index } = pair;
        drop(near);
        let gone = far.call(move |host| host.wait_link(far_index, "outlive its peer", ARRIVAL, |_| false));
        assert!(matches!(gone, Err(Error::NoSuchIndex { .. })), "{gone:?}");
    }

    #[test]
    fn a_namespace_held_at_a_path_keeps_its_links() {
        let Some(pair) = Pair::create() else { return };
        let inode = pair.near.namespace().inode().unwrap();
        with_private_run("tmpfs", move || {
            let path = Path::new("/run/held");
            pair.near.namespace().hold_at(path).unwrap();
            assert_eq!(pair.near.namespace().hold_at(path).unwrap_err().errno(), Some(libc::EEXIST));
            let Pair { near, far, near_index, far_index } = pair;
            drop(near);
            let near = Worker::spawn(&NetNs::at(path).unwrap(), "again").unwrap();
            assert_eq!(near.namespace().inode().unwrap(), inode);
            assert!(near.call(move |host| host.link_by_index(near_index)).is_ok());
            drop(near);
            NetNs::release(path).unwrap();
            NetNs::release(path).unwrap();
            assert_eq!(NetNs::at(path).unwrap_err().errno(), Some(libc::ENOENT));
            let gone =
                far.call(move |host| host.wait_link(far_index, "outlive its peer", ARRIVAL, |_| false));
            assert!(matches!(gone, Err(Error::NoSuchIndex { .. })), "{gone:?}");
        });
    }

    #[test]
    fn a_published_namespace_is_found_by_its_name_until_the_name_is_dropped() {
        let Some(namespace) = namespace() else { return };
        with_private_run("tmpfs", move || {
            let name = format!("xdproof-{}", process::id());
            let published = namespace.publish(&name).unwrap();
            assert_eq!(published.path(), Path::new(NAMES).join(&name));
            assert_eq!(NetNs::named(&name).unwrap().inode().unwrap(), namespace.inode().unwrap());
            assert_eq!(namespace.publish(&name).unwrap_err().errno(), Some(libc::EEXIST));
            let second = namespace.publish("second").unwrap();
            drop(published);
            assert_eq!(NetNs::named(&name).unwrap_err().errno(), Some(libc::ENOENT));
            assert!(NetNs::named("second").is_ok(), "one name was removed with another");
            drop(second);
            assert_eq!(fs::read_dir(NAMES).unwrap().count(), 0);
        });
    }

    #[test]
    fn a_persistent_name_outlives_its_handle_and_holds_the_namespace() {
        let Some(namespace) = namespace() else { return };
        with_private_run("tmpfs", move || {
            let inode = namespace.inode().unwrap();
            namespace.publish("kept").unwrap().persist();
            drop(namespace);
            assert_eq!(NetNs::named("kept").unwrap().inode().unwrap(), inode);
        });
    }

    #[test]
    fn a_file_other_than_a_network_namespace_is_refused() {
        if namespace().is_none() {
            return;
        }
        with_private_run("tmpfs", || {
            fs::create_dir(NAMES).unwrap();
            fs::write(Path::new(NAMES).join("stale"), "").unwrap();
            assert_eq!(NetNs::named("stale").unwrap_err().errno(), Some(libc::ENOTTY));
            fs::write(Path::new(NAMES).join("mnt"), "").unwrap();
            bind(Path::new("/proc/thread-self/ns/uts"), &Path::new(NAMES).join("mnt"), MsFlags::empty())
                .unwrap();
            assert_eq!(NetNs::named("mnt").unwrap_err().errno(), Some(libc::EINVAL));
        });
    }

    #[test]
    fn a_namespace_name_is_one_path_component() {
        for name in ["", ".", "..", "a/b", "/etc/passwd", "a\0b"] {
            assert!(matches!(NetNs::named(name), Err(Error::Invalid { .. })), "{name:?} was accepted");
        }
    }
}
