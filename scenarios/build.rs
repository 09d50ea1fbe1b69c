//! Generates the list of the corpus's files for `include_bytes!`, so that the binary contains the corpus.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=corpus");
    let variable = |name| env::var_os(name).map(PathBuf::from).ok_or_else(|| io::Error::other(name));
    let corpus = variable("CARGO_MANIFEST_DIR")?.join("corpus");
    let mut files = Vec::new();
    walk(&corpus, &mut files)?;
    files.sort();
    let mut list = String::from("&[\n");
    for file in files {
        let below = file.strip_prefix(&corpus).map_err(io::Error::other)?;
        // `Debug` of a string is a Rust literal; a path that is not UTF-8 fails to compile.
        writeln!(list, "    ({:?}, include_bytes!({:?})),", below.to_string_lossy(), file.to_string_lossy())
            .map_err(io::Error::other)?;
    }
    list.push_str("]\n");
    fs::write(variable("OUT_DIR")?.join("corpus.rs"), list)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}
