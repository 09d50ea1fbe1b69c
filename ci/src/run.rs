//! Other programs, started and waited for.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// What a program prints, if it succeeds.
///
/// # Errors
///
/// With what it said, when it cannot be started or fails.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("failed to start {name}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{name} failed with {}: {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program that has nothing to say unless it fails.
///
/// # Errors
///
/// As [`output`].
pub(crate) fn quietly(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}
