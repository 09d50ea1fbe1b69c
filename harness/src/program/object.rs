//! The names by which a user says what is tested, and the file behind them, which is read once.

use std::{
    fmt, fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, mpsc},
    thread,
    time::Duration,
};

/// The most bytes of an object file that are read.
const MOST_BYTES: u64 = 64 << 20;

/// Time that a pipe may take to give its contents.
const PIPE_TIMEOUT: Duration = Duration::from_secs(5);

/// Selects an object file, a program in it and its counter map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// A BPF object file; none: the programs of this project.
    pub path: Option<PathBuf>,
    /// The program's name; none: the only XDP program of a file, or [`xdproof_ebpf::abi::COUNT_PROGRAM`].
    pub program: Option<String>,
    /// The map's name; none: the only map that can be the counter, or [`xdproof_ebpf::abi::MAP_NAME`] of the built-in object.
    pub map: Option<String>,
    /// Bytes of the file, as they were when it was first read.
    pub contents: Contents,
}

/// The bytes of a file, read once for all clones: whoever writes to the file meanwhile changes nothing.
#[derive(Clone, Default)]
pub struct Contents(Arc<OnceLock<Vec<u8>>>);

impl Object {
    /// Selects a program of this project.
    #[must_use]
    pub fn builtin(program: &str) -> Self {
        Self { program: Some(program.to_owned()), ..Self::default() }
    }

    /// Selects an object file.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { path: Some(path.into()), ..Self::default() }
    }
}

impl Contents {
    /// Returns the bytes of a file, which is read only if it was not before.
    pub(super) fn of(&self, path: &Path) -> io::Result<&[u8]> {
        if let Some(bytes) = self.0.get() {
            return Ok(bytes);
        }
        let bytes = read(path)?;
        Ok(self.0.get_or_init(|| bytes))
    }
}

impl PartialEq for Contents {
    /// Objects are the same if they are called the same.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Contents {}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Contents({:?})", self.0.get().map(Vec::len))
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => path.display().fmt(f),
            None => f.write_str("the built-in object"),
        }
    }
}

/// Reads a file that ends. A pipe is read by another thread: to open one that nobody writes to blocks.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_file() {
        return read_bounded(path);
    }
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let (to_here, contents) = mpsc::channel();
    let path = path.to_owned();
    let reading = move || to_here.send(read_bounded(&path));
    thread::Builder::new().name("read object".to_owned()).spawn(reading)?;
    contents.recv_timeout(PIPE_TIMEOUT).unwrap_or_else(|_| {
        let within = PIPE_TIMEOUT.as_secs();
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("it is no file, and did not end within {within} s"),
        ))
    })
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        let most = MOST_BYTES >> 20;
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {most} MiB")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_file_is_read_once_for_all_clones() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.o");
        fs::write(&path, "first").unwrap();
        let object = Object::file(&path);
        let clone = object.clone();
        assert_eq!(clone.contents.of(&path).unwrap(), b"first");
        fs::write(&path, "second").unwrap();
        assert_eq!(object.contents.of(&path).unwrap(), b"first");
        fs::remove_file(&path).unwrap();
        assert_eq!(object.contents.of(&path).unwrap(), b"first");
        assert_eq!(Object::file(&path).contents.of(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_without_end_and_a_pipe_without_a_writer_are_given_up() {
        let endless = read(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(endless.kind(), io::ErrorKind::FileTooLarge);
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(read(&pipe).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(read(directory.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
    }
}
