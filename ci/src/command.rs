//! Runs other programs.

use std::{env, ffi::OsString, process::Command};

use anyhow::{Context as _, Result, ensure};

/// Runs a program to its end and returns its stdout; its stderr goes into the error when it fails.
pub(crate) fn stdout(command: &mut Command) -> Result<Vec<u8>> {
    stdout_unless_failed(command, &[0])
}

/// As [`stdout`], for a program that has several exit codes of success.
pub(crate) fn stdout_unless_failed(command: &mut Command, successes: &[i32]) -> Result<Vec<u8>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("failed to start {program}"))?;
    let succeeded = output.status.code().is_some_and(|code| successes.contains(&code));
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(succeeded, "{program} failed with {}: {}", output.status, stderr.trim());
    Ok(output.stdout)
}

/// As [`stdout`], for a program that prints text.
pub(crate) fn text(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&stdout(command)?).into_owned())
}

/// Returns `PATH` with the directories of administrative programs, which the `PATH` of other users may lack.
pub(crate) fn path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}
