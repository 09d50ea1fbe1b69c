//! Files below a directory that a user named: written under another name and renamed, so that a file is whole or is not there.
//!
//! Promises: a full disk leaves the file of an earlier run as it was; no symbolic link below the directory is followed, for root writes
//! where others may have placed one; each error names the file.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::fd::{AsFd as _, OwnedFd},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, renameat, unlinkat},
    io::Errno,
};

/// A file that replaces an earlier one when it is [finished](Self::finish). Dropped before, it leaves nothing.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    directory: OwnedFd,
    name: OsString,
    temporary: OsString,
    to: BufWriter<File>,
    is_in_place: bool,
}

/// A file that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("failed to {action} {}", path.display())]
struct OutputError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn at<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> io::Error {
    move |source| {
        let source = source.into();
        io::Error::new(source.kind(), OutputError { action, path: path.to_owned(), source })
    }
}

impl OutputFile {
    /// Begins a file of this name, which may have directories in front of it; they are created.
    ///
    /// # Errors
    ///
    /// When it cannot be created.
    pub fn create(directory: &Path, name: &Path) -> io::Result<Self> {
        let path = directory.join(name);
        let (directory, name) = open_parent(directory, name)?;
        let mut temporary = OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}", std::process::id()));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || openat(&directory, &temporary, flags, Mode::from_raw_mode(0o666));
        let file = create().or_else(|error| match error {
            // A process that was killed and had this number left it.
            Errno::EXIST => {
                unlinkat(&directory, &temporary, AtFlags::empty())?;
                create()
            }
            error => Err(error),
        });
        let file = File::from(file.map_err(at("write", &path))?);
        let name = name.to_owned();
        Ok(Self { path, directory, name, temporary, to: BufWriter::new(file), is_in_place: false })
    }

    /// Puts the file in its place, and returns its path.
    ///
    /// # Errors
    ///
    /// When something of it cannot be written, such as on a full disk; an earlier file is as it was.
    pub fn finish(mut self) -> io::Result<PathBuf> {
        let written = self.to.flush().and_then(|()| self.to.get_ref().sync_data());
        written.map_err(at("write", &self.path))?;
        renameat(&self.directory, &self.temporary, &self.directory, &self.name)
            .map_err(at("write", &self.path))?;
        self.is_in_place = true;
        Ok(self.path.clone())
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes).map_err(at("write", &self.path))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush().map_err(at("write", &self.path))
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if !self.is_in_place {
            // If it is gone, nothing is left.
            let _gone = unlinkat(&self.directory, &self.temporary, AtFlags::empty());
        }
    }
}

/// Opens the directory of a file and returns it with the last part of the name.
fn open_parent<'a>(directory: &Path, name: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
    let invalid = || at("write", &directory.join(name))(io::Error::from(io::ErrorKind::InvalidInput));
    fs::create_dir_all(directory).map_err(at("write", &directory.join(name)))?;
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut opened =
        openat(CWD, directory, flags, Mode::empty()).map_err(at("write", &directory.join(name)))?;
    let mut path = directory.to_owned();
    for part in name.parent().into_iter().flat_map(Path::components) {
        let Component::Normal(part) = part else { return Err(invalid()) };
        path.push(part);
        match mkdirat(opened.as_fd(), part, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(at("create the directory", &path)(error)),
        }
        let next = openat(opened.as_fd(), part, flags | OFlags::NOFOLLOW, Mode::empty());
        opened = next.map_err(at("open, without following a symbolic link, the directory", &path))?;
    }
    Ok((opened, name.file_name().ok_or_else(invalid)?))
}

/// Writes a file below a directory, and returns its path.
///
/// # Errors
///
/// Those of `write`, and when the file cannot be created or put in its place.
pub fn write_file(
    directory: &Path,
    name: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<PathBuf> {
    let mut file = OutputFile::create(directory, name)?;
    write(&mut file)?;
    file.finish()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn written(directory: &Path, name: &str, text: &str) -> io::Result<PathBuf> {
        write_file(directory, Path::new(name), |to| to.write_all(text.as_bytes()))
    }

    fn names(directory: &Path) -> Vec<OsString> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<OsString> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_written_with_its_directories_and_replaces_an_earlier_one() {
        let out = tempfile::tempdir().unwrap();
        let directory = out.path().join("new");
        for text in ["first", "second"] {
            let path = written(&directory, "failed/a/b.pcap", text).unwrap();
            assert_eq!(fs::read_to_string(path).unwrap(), text);
        }
        assert_eq!(names(&directory.join("failed/a")), ["b.pcap"]);
    }

    #[test]
    fn a_file_that_cannot_be_finished_leaves_the_earlier_one() {
        let out = tempfile::tempdir().unwrap();
        written(out.path(), "result.json", "whole").unwrap();
        let error = write_file(out.path(), Path::new("result.json"), |to| {
            to.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read_to_string(out.path().join("result.json")).unwrap(), "whole");
        assert_eq!(names(out.path()), ["result.json"]);
    }

    #[test]
    fn a_symbolic_link_is_replaced_and_not_followed() {
        let out = tempfile::tempdir().unwrap();
        let other = out.path().join("other");
        fs::write(&other, "precious").unwrap();
        symlink(&other, out.path().join("result.json")).unwrap();
        written(out.path(), "result.json", "new").unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
        assert!(!out.path().join("result.json").is_symlink());
    }

    #[test]
    fn a_directory_that_is_a_symbolic_link_is_refused_by_its_name() {
        let out = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        symlink(elsewhere.path(), out.path().join("failed")).unwrap();
        let error = written(out.path(), "failed/a.pcap", "frames").unwrap_err().to_string();
        assert!(error.ends_with("/failed") && error.contains("symbolic link"), "{error}");
        assert_eq!(names(elsewhere.path()).len(), 0);
        assert!(written(out.path(), "../a.pcap", "frames").is_err());
    }
}
