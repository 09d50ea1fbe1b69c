//! Threads with another root directory.

use std::path::Path;

use nix::{
    sched::{CloneFlags, unshare},
    unistd,
};

use crate::{Error, worker};

/// Runs a closure on a thread made for it, whose root directory is another, and waits. The rest of the process keeps its own.
///
/// # Errors
/// [`Error::Refused`] with `EPERM` without `CAP_SYS_CHROOT`, or if there is no such directory.
pub fn below_root<T, F>(root: &Path, job: F) -> Result<T, Error>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let root = root.to_owned();
    worker::on_new_thread("other-root", move || {
        // The threads of a process share one root until one of them asks for its own.
        unshare(CloneFlags::CLONE_FS).map_err(Error::refused("give a thread a root of its own", None))?;
        unistd::chroot(&root).map_err(Error::refused("change a thread's root", None))?;
        Ok(job())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::namespace;

    #[test]
    fn another_root_is_that_of_one_thread() {
        let Some(_privileged) = namespace() else { return };
        let seen = || (Path::new("/kernel").exists(), Path::new("/sys/kernel").exists());
        assert_eq!(below_root(Path::new("/sys"), seen).unwrap(), (true, false));
        assert_eq!(seen(), (false, true));
    }
}
