//! What the test binaries share that run `xdproof` as a user does: starting it, and what it says.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use libtest_mimic::Failed;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use xdproof::report::schema::Document;

use super::gate;

pub(crate) type Result<T = (), E = Failed> = std::result::Result<T, E>;

/// The program, told to be plain.
pub(crate) fn xdproof() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xdproof"));
    command.env("NO_COLOR", "1").env_remove("RUST_BACKTRACE").stdin(Stdio::null());
    command
}

/// The program without any capability, whoever we are.
pub(crate) fn unprivileged(arguments: &[&str]) -> Result<Output> {
    let mut command = xdproof();
    if gate::obstacle().is_none() {
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

/// Fails with everything that was printed unless the exit code is right.
pub(crate) fn expect_code(output: &Output, code: i32) -> Result {
    if output.status.code() == Some(code) {
        return Ok(());
    }
    Err(format!("{}, expected exit code {code}\n{}{}", output.status, stdout(output), stderr(output)).into())
}

pub(crate) fn expect(condition: bool, what: &str, output: &Output) -> Result {
    if condition { Ok(()) } else { Err(format!("{what}\n{}{}", stdout(output), stderr(output)).into()) }
}

/// One message, of one line, and no backtrace.
pub(crate) fn expect_one_error(output: &Output, code: i32, parts: &[&str]) -> Result {
    expect_code(output, code)?;
    let errors = stderr(output);
    expect(errors.matches("error:").count() == 1, "not one error message", output)?;
    expect(!errors.contains("backtrace") && !errors.contains("panicked"), "a backtrace", output)?;
    for part in parts {
        expect(errors.contains(part), &format!("the message does not say `{part}`"), output)?;
    }
    Ok(())
}

/// The result that is in a directory, which has to keep to the schema.
pub(crate) fn read_result(directory: &Path) -> Result<Value> {
    let result: Value = serde_json::from_slice(&fs::read(directory.join("result.json"))?)?;
    let schema = serde_json::to_value(Document::Result.schema())?;
    let faults: Vec<String> =
        jsonschema::validator_for(&schema)?.iter_errors(&result).map(|error| error.to_string()).collect();
    if faults.is_empty() { Ok(result) } else { Err(faults.join("\n").into()) }
}

/// Sends a signal to a child of ours.
pub(crate) fn signal(child: &Child, signal: Signal) -> Result {
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("not a process id")?;
    Ok(kill_process(id, signal)?)
}
