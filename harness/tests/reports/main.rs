//! What becomes of results that are written: read back, checked, joined and reported, from files alone.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test makes ready is there, or the test fails")]

#[path = "../measurement/mod.rs"]
mod measurement;
#[path = "../results/mod.rs"]
mod results;

mod commands;
mod comparing;
mod everything;
mod formats;
mod scale;
mod schema;
mod store;
mod terminal;
mod version_1;

use std::{fs, path::Path};

use tempfile::TempDir;
use xdproof::report::json::write_pretty;

/// A directory with documents in files of these names.
fn directory<T: serde::Serialize>(files: &[(&str, &T)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, document) in files {
        put(directory.path(), name, document);
    }
    directory
}

fn put<T: serde::Serialize>(directory: &Path, name: &str, document: &T) {
    let file = directory.join(name);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    write_pretty(fs::File::create(file).unwrap(), document).unwrap();
}
