//! `--fixtures`: a directory that no guest could run is refused before a kernel is fetched or a machine is started.

#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::{fs, process::Command};

/// Runs `ci/matrix` with an empty cache and returns its exit code and stderr.
fn refused(directory: &str) -> (Option<i32>, String) {
    let cache = tempfile::tempdir().unwrap();
    let mut matrix = Command::new(env!("CARGO_BIN_EXE_xdproof-ci"));
    matrix.args(["--fixtures", directory]).env("XDPROOF_CACHE", cache.path());
    let output = matrix.output().unwrap();
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0, "the cache was used");
    (output.status.code(), String::from_utf8(output.stderr).unwrap().replace("\n    ", " "))
}

#[test]
fn a_directory_that_guests_could_not_run_is_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let (code, error) = refused(&format!("{path}/none"));
    assert!(code == Some(2) && error.contains("none"), "{code:?}: {error}");
    let (code, error) = refused(path);
    assert!(code == Some(2) && error.contains("there is no fixture (*.toml) below"), "{code:?}: {error}");
    fs::write(directory.path().join("a.toml"), "[program]\nobject = \"a.o\"\n").unwrap();
    let (code, error) = refused(path);
    assert!(
        code == Some(2) && error.contains("a.toml needs a.o, which is no regular file"),
        "{code:?}: {error}"
    );
    fs::write(directory.path().join("a.o"), vec![0; 33 << 20]).unwrap();
    let (code, error) = refused(path);
    assert!(code == Some(2) && error.contains("have more than 32 MiB"), "{code:?}: {error}");
}
