//! Errors of reading and merging results.

use std::{fmt, io, path::PathBuf};

use xdproof_core::model::{COLLECTION_SCHEMA, SCHEMA};

use xdproof_scenarios::input::{ENTRIES, RESULT_VALUES, RESULTS_BYTES};

use crate::json::JsonFile;

/// An error in reading or merging results.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("failed to read {}", file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("failed to look through {}", directory.display())]
    Walk { directory: PathBuf, source: walkdir::Error },
    #[error("there is no {} in {} or below", JsonFile::NAME, directory.display())]
    NoResult { directory: PathBuf },
    #[error("{}: the results have more than {RESULTS_BYTES} bytes together; read them in parts", file.display())]
    TooMany {
        /// The file that was not read any more.
        file: PathBuf,
    },
    #[error("{} has {values} values; at most {RESULT_VALUES} are read", file.display())]
    TooManyValues { file: PathBuf, values: usize },
    #[error("{} has more than {ENTRIES} entries; name the directories with results", directory.display())]
    TooManyEntries { directory: PathBuf },
    /// A run of version 0.1 creates its file when it begins.
    #[error("{} is empty: the run that writes it has not ended", file.display())]
    Empty { file: PathBuf },
    /// The text is not JSON, or does not match the schema.
    #[error("{}:{line}:{column}: {}{reason}", file.display(), At(path))]
    Malformed {
        file: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// JSON path, `trials[3].verdict`; empty for the whole document.
        path: String,
        reason: String,
    },
    #[error(
        "{}: written by a newer xdproof: its schema is {schema}, and this version reads up to {newest}",
        file.display()
    )]
    NewerSchema {
        file: PathBuf,
        schema: String,
        /// The newest schema that this version reads.
        newest: &'static str,
    },
    #[error(
        "{}: not a result: its schema is {}, and this version reads {SCHEMA} and {COLLECTION_SCHEMA}",
        file.display(), schema.as_deref().unwrap_or("not named")
    )]
    OtherSchema { file: PathBuf, schema: Option<String> },
    #[error("{}: {}{what}", file.display(), At(path))]
    Contradiction {
        file: PathBuf,
        /// JSON path.
        path: String,
        /// A sentence without its full stop.
        what: String,
    },
    #[error("{} holds {number} results, expected one", file.display())]
    Several { file: PathBuf, number: usize },
    #[error(transparent)]
    Conflict(#[from] Box<Conflict>),
}

/// Two different results of one trial or test.
#[derive(Debug, thiserror::Error)]
#[error(
    "{id} on {nic} (kernel {kernel}, program {program}) is in {} and in {}, and they differ: name one of them",
    first.display(), second.display()
)]
pub struct Conflict {
    /// Id of the trial or the attach-semantics test.
    pub id: String,
    pub nic: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Tag of the program.
    pub program: String,
    pub first: PathBuf,
    pub second: PathBuf,
}

/// Displays a JSON path in front of a message; nothing for the whole document.
struct At<'a>(&'a str);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `?` stands where the text breaks off before it says what it is.
        let path = self.0.strip_suffix(".?").unwrap_or(self.0);
        if ["", ".", "?"].contains(&path) { Ok(()) } else { write!(f, "at {path}: ") }
    }
}
