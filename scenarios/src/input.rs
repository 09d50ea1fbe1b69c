//! Limits of what is read. An input that somebody else made is a regular file and is read up to a limit that its error names, before
//! memory is taken for what it asks for: a FIFO does not hang a run, and a line of text does not fill a machine.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::fs::OFlags;

/// Most bytes of a scenario file.
pub const SCENARIO_BYTES: u64 = 1 << 20;

/// Most bytes of a line of a scenario file: the longest frame in hexadecimal needs half of it.
pub const LINE_BYTES: usize = 1 << 18;

/// Most bytes of all scenario files of a corpus.
pub const CORPUS_BYTES: u64 = 32 << 20;

/// Most entries of a directory tree that is searched for scenarios or results.
pub const ENTRIES: usize = 200_000;

/// Most variables of a matrix.
pub const MATRIX_VARIABLES: usize = 64;

/// Most layers of a frame.
pub const LAYERS: usize = 256;

/// Most bytes of a frame: the limit of libpcap's own files (`MAXIMUM_SNAPLEN`).
pub const FRAME_BYTES: usize = 262_144;

/// Most distinct frames of a scenario file, after its matrix is expanded.
pub const SCENARIO_FRAMES: usize = 262_144;

/// Most bytes of memory for the frames of a scenario file.
pub const SCENARIO_FRAME_BYTES: usize = 64 << 20;

/// Most bytes of memory for the frames of a corpus.
pub const CORPUS_FRAME_BYTES: usize = 256 << 20;

/// Most frames that a scenario sends, repeats included.
pub const SENT_FRAMES: u64 = 1 << 24;

/// Most problems of a scenario file that are told one by one.
pub const PROBLEMS: usize = 20;

/// Most bytes of a capture, decompressed.
pub const CAPTURE_BYTES: u64 = 512 << 20;

/// Most packets of a capture.
pub const CAPTURE_FRAMES: usize = 1 << 21;

/// Most bytes of the frames of a capture.
pub const CAPTURE_FRAME_BYTES: usize = 256 << 20;

/// Most bytes of a capture that is written.
pub const WRITTEN_CAPTURE_BYTES: u64 = 1 << 30;

/// Most bytes of a result file.
pub const RESULT_BYTES: u64 = 256 << 20;

/// Most values (numbers, strings, lists) in a result file.
pub const RESULT_VALUES: usize = 8_000_000;

/// Most bytes of all result files that are read together.
pub const RESULTS_BYTES: u64 = 512 << 20;

/// Characters of a value that an error repeats.
const QUOTED: usize = 60;

/// An input that is not read.
#[derive(Debug, thiserror::Error)]
enum InputError {
    #[error("is a {kind}, not a regular file")]
    NotRegular { kind: &'static str },
    #[error("has {length} bytes; at most {most} are read")]
    TooLong { length: u64, most: u64 },
    /// It grew, or the kernel does not tell its length.
    #[error("has more than {most} bytes, which is the most that is read")]
    Endless { most: u64 },
}

impl From<InputError> for io::Error {
    fn from(error: InputError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

/// Opens a regular file. Anything else is refused without waiting for it: a FIFO has no writer, a device no end.
///
/// # Errors
///
/// When it cannot be opened or is not a regular file.
pub fn open(path: &Path) -> io::Result<File> {
    // Opening a device can have an effect, so that it is looked at before. It may be another file a moment later.
    check(&path.metadata()?)?;
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    check(&file.metadata()?)?;
    Ok(file)
}

/// Reads a regular file of at most so many bytes.
///
/// # Errors
///
/// When it cannot be read, is not a regular file, or has more bytes.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let length = file.metadata()?.len();
    if length > most {
        return Err(InputError::TooLong { length, most }.into());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(InputError::Endless { most }.into());
    }
    Ok(bytes)
}

fn check(metadata: &Metadata) -> Result<(), InputError> {
    let kind = metadata.file_type();
    let kind = match kind {
        _ if kind.is_file() => return Ok(()),
        _ if kind.is_dir() => "directory",
        _ if kind.is_fifo() => "FIFO or a pipe",
        _ if kind.is_socket() => "socket",
        _ if kind.is_block_device() => "block device",
        _ => "character device",
    };
    Err(InputError::NotRegular { kind })
}

/// Returns the beginning of a value for an error that repeats it.
pub(crate) fn quoted(text: &str) -> String {
    let mut letters = text.chars();
    let begin: String = letters.by_ref().take(QUOTED).flat_map(char::escape_debug).collect();
    if letters.next().is_some() { format!("`{begin}...`") } else { format!("`{begin}`") }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, path::PathBuf};

    use super::*;

    /// The error of reading a file that `make` creates.
    fn refused(most: u64, make: impl FnOnce(&Path)) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("input");
        make(&path);
        read(&path, most).unwrap_err().to_string()
    }

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("input");
        std::fs::write(&path, b"1234").unwrap();
        assert_eq!(read(&path, 4).unwrap(), b"1234");
        assert_eq!(read(&path, 3).unwrap_err().to_string(), "has 4 bytes; at most 3 are read");
    }

    #[test]
    fn a_file_that_takes_no_room_on_the_disk_is_not_read() {
        let sparse = |path: &Path| File::create(path).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(refused(9, sparse), "has 1099511627776 bytes; at most 9 are read");
    }

    #[test]
    fn a_file_without_a_length_is_read_up_to_the_limit() {
        let error = read(Path::new("/proc/self/maps"), 9).unwrap_err().to_string();
        assert_eq!(error, "has more than 9 bytes, which is the most that is read");
    }

    #[test]
    fn everything_else_is_refused_at_once() {
        let link = |to: &str| {
            let to = PathBuf::from(to);
            move |path: &Path| symlink(to, path).unwrap()
        };
        assert!(refused(9, link("/dev/zero")).starts_with("is a character device"));
        assert!(refused(9, |path| std::fs::create_dir(path).unwrap()).starts_with("is a directory"));
        let fifo = |path: &Path| {
            let mode = rustix::fs::Mode::RUSR;
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        };
        assert!(refused(9, fifo).starts_with("is a FIFO"));
        let socket = |path: &Path| drop(std::os::unix::net::UnixListener::bind(path).unwrap());
        assert!(refused(9, socket).starts_with("is a socket"));
    }

    #[test]
    fn an_error_repeats_the_beginning_of_a_value() {
        assert_eq!(quoted("a\nb"), "`a\\nb`");
        assert_eq!(quoted(&"x".repeat(1000)).len(), QUOTED + 5);
    }
}
