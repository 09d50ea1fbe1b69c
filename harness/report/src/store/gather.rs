//! Finds and reads result files.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use walkdir::WalkDir;
use xdproof_scenarios::input::{self, ENTRIES, RESULT_BYTES, RESULT_VALUES, RESULTS_BYTES};

use xdproof_core::model::{Collection, InfrastructureFailure, RunResult, SCHEMA, Summary};

use crate::{
    json::JsonFile,
    store::{
        check::{check, miscounted},
        error::StoreError,
        parse::{StoredDocument, document, other_schema},
    },
};

/// Results as they were found, to be [joined](Gathered::join).
#[derive(Debug, Default)]
pub struct Gathered {
    /// Each with its file.
    pub(super) results: Vec<(PathBuf, RunResult)>,
    pub(super) infrastructure_failures: Vec<InfrastructureFailure>,
    pub(super) files: usize,
    /// Bytes of all files.
    pub(super) bytes: u64,
}

/// Reads results from files, and from directories every `result.json` at any depth, in the order of their paths. A file that is
/// found twice is read once. `except`, the file that is going to be written, is skipped.
///
/// # Errors
///
/// For a file that cannot be read, is not a result, has a newer schema or contradicts itself, and for a directory without a result.
pub fn gather(paths: &[PathBuf], except: Option<&Path>) -> Result<Gathered, StoreError> {
    let except = except.and_then(|file| fs::canonicalize(file).ok());
    let mut gathered = Gathered::default();
    let mut known = HashSet::new();
    for path in paths {
        let files = if path.is_dir() { below(path)? } else { vec![path.clone()] };
        let mut found = false;
        for file in files {
            let real =
                fs::canonicalize(&file).map_err(|source| StoreError::Read { file: file.clone(), source })?;
            if except.as_ref() == Some(&real) {
                continue;
            }
            found = true;
            if known.insert(real) {
                gathered.add(file)?;
            }
        }
        if !found {
            return Err(StoreError::NoResult { directory: path.clone() });
        }
    }
    Ok(gathered)
}

/// Returns every result file in a directory or below.
fn below(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = WalkDir::new(directory).sort_by_file_name().into_iter();
    let walk = |source| StoreError::Walk { directory: directory.to_owned(), source };
    let is_result =
        |entry: &walkdir::DirEntry| entry.file_name() == JsonFile::NAME && !entry.file_type().is_dir();
    let mut files = Vec::new();
    for (number, entry) in entries.enumerate() {
        let entry = entry.map_err(walk)?;
        if number > ENTRIES {
            return Err(StoreError::TooManyEntries { directory: directory.to_owned() });
        }
        if is_result(&entry) {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

/// Reads and joins: see [`gather`] and [`Gathered::join`].
pub fn load(paths: &[PathBuf]) -> Result<Collection, StoreError> {
    gather(paths, None)?.join()
}

/// Reads the only result of a file, or of the `result.json` in a directory.
///
/// # Errors
///
/// Those of [`gather`], and for a collection of none or several results.
pub fn read_one(path: &Path) -> Result<RunResult, StoreError> {
    let file = if path.is_dir() { path.join(JsonFile::NAME) } else { path.to_owned() };
    let mut gathered = Gathered::default();
    gathered.add(file.clone())?;
    let number = gathered.results.len();
    match (gathered.results.pop(), number) {
        (Some((_, result)), 1) => Ok(result),
        _ => Err(StoreError::Several { file, number }),
    }
}

impl Gathered {
    /// Returns the number of files that were read.
    #[must_use]
    pub fn files(&self) -> usize {
        self.files
    }

    fn add(&mut self, file: PathBuf) -> Result<(), StoreError> {
        let text = input::read(&file, RESULT_BYTES)
            .map_err(|source| StoreError::Read { file: file.clone(), source })?;
        self.bytes += text.len() as u64;
        if self.bytes > RESULTS_BYTES {
            return Err(StoreError::TooMany { file });
        }
        let values = text.iter().filter(|byte| **byte == b',').count();
        if values > RESULT_VALUES {
            return Err(StoreError::TooManyValues { file, values });
        }
        if text.is_empty() {
            return Err(StoreError::Empty { file });
        }
        match document(&file, &text)? {
            StoredDocument::Result(result) => {
                check(&file, "", &result)?;
                self.results.push((file, *result));
            }
            StoredDocument::Collection(collection) => self.add_all(&file, collection)?,
        }
        self.files += 1;
        Ok(())
    }

    fn add_all(&mut self, file: &Path, collection: Collection) -> Result<(), StoreError> {
        let Collection { schema: _, results, infrastructure_failures, summary } = collection;
        for (index, result) in results.iter().enumerate() {
            if result.schema != SCHEMA {
                return Err(other_schema(file, Some(&result.schema)));
            }
            check(file, &format!("results[{index}]."), result)?;
        }
        let total = Summary::total(&results);
        if total != summary {
            return Err(miscounted(file, "summary", &summary, &total));
        }
        self.results.extend(results.into_iter().map(|result| (file.to_owned(), result)));
        self.infrastructure_failures.extend(infrastructure_failures);
        Ok(())
    }
}
