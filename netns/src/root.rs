//! Threads with a root directory of their own.

use std::path::Path;

use nix::{
    sched::{CloneFlags, unshare},
    unistd,
};

use crate::{Error, new_thread::on_new_thread};

/// Runs a closure on a new thread below another root directory and waits for it. The rest of the process
/// keeps its root.
///
/// # Errors
/// [`Error::Refused`]: `EPERM` without `CAP_SYS_CHROOT`, `ENOENT` if there is no such directory.
pub fn run_in_root<T, F>(root: &Path, job: F) -> Result<T, Error>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let root = root.to_owned();
    on_new_thread("other-root", move || {
        // The threads of a process share one root until one of them unshares it.
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
        assert_eq!(run_in_root(Path::new("/sys"), seen).unwrap(), (true, false));
        assert_eq!(seen(), (false, true));
    }
}
