//! Runs `xdproof` as a user does, and checks its output.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use libtest_mimic::Failed;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use xdproof::report::schema::Document;

use super::privilege;

pub(crate) type Result<T = (), E = Failed> = std::result::Result<T, E>;

/// Returns the command without colors and backtraces.
pub(crate) fn xdproof() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xdproof"));
    command.env("NO_COLOR", "1").env_remove("RUST_BACKTRACE").stdin(Stdio::null());
    command
}

/// Runs the command without any capability.
pub(crate) fn unprivileged(arguments: &[&str]) -> Result<Output> {
    let mut command = xdproof();
    if privilege::obstacle().is_none() {
        let inner = command;
        command = Command::new("setpriv");
        command.args(["--bounding-set=-all", "--inh-caps=-all"]).arg(inner.get_program());
        command.env("NO_COLOR", "1").env_remove("RUST_BACKTRACE").stdin(Stdio::null());
    }
    Ok(command.args(arguments).output()?)
}

pub(crate) fn run(arguments: &[&str]) -> Result<Output> {
    Ok(xdproof().args(arguments).output()?)
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns everything that was printed.
pub(crate) fn printed(output: &Output) -> String {
    stdout(output) + &stderr(output)
}

/// Fails with the whole output unless the exit code is this one.
pub(crate) fn expect_code(output: &Output, code: i32) -> Result {
    if output.status.code() == Some(code) {
        return Ok(());
    }
    Err(format!("{}, expected exit code {code}\n{}", output.status, printed(output)).into())
}

pub(crate) fn expect(condition: bool, what: &str, output: &Output) -> Result {
    if condition { Ok(()) } else { Err(format!("{what}\n{}", printed(output)).into()) }
}

/// Expects this exit code and one error message, without a backtrace.
pub(crate) fn expect_one_error(output: &Output, code: i32, parts: &[&str]) -> Result {
    expect_code(output, code)?;
    let errors = stderr(output);
    expect(errors.matches("error:").count() == 1, "expected one error message", output)?;
    expect(!errors.contains("backtrace") && !errors.contains("panicked"), "expected no backtrace", output)?;
    for part in parts {
        expect(errors.contains(part), &format!("the message does not say `{part}`"), output)?;
    }
    Ok(())
}

/// Reads the result in a directory, and checks it against the schema.
pub(crate) fn read_result(directory: &Path) -> Result<Value> {
    let result: Value = serde_json::from_slice(&fs::read(directory.join("result.json"))?)?;
    let schema = serde_json::to_value(Document::Result.schema())?;
    let faults: Vec<String> =
        jsonschema::validator_for(&schema)?.iter_errors(&result).map(|error| error.to_string()).collect();
    if faults.is_empty() { Ok(result) } else { Err(faults.join("\n").into()) }
}

pub(crate) fn signal(child: &Child, signal: Signal) -> Result {
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("not a process id")?;
    Ok(kill_process(id, signal)?)
}
