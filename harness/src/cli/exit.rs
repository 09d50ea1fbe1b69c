//! Exit codes, and the errors that they follow from.

use std::{
    fs,
    io::{self, Write as _},
    process::ExitCode,
};

use xdproof_scenarios::load::LoadError;

use crate::{
    bench::BenchError,
    cli::stderr::say_on_stderr,
    error::chain,
    host::interrupt,
    plan::selection::PlanError,
    program::ProgramError,
    report::store::StoreError,
    suites::fixtures::{FixtureError, FixtureRunError},
    testbed::DeviceError,
    trial::{LabError, RunError, preconditions::PreconditionError},
};

/// Errors of scenario files that are printed.
const TOLD_ERRORS: usize = 40;

/// Exit codes of every verb. Scripts rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    AsExpected = 0,
    /// A trial failed or errored, or something is slower than allowed.
    Failed = 1,
    /// The command line or an input file is wrong.
    Input = 2,
    /// This machine cannot run it.
    Machine = 3,
    /// Interrupted, or nothing was proved.
    Inconclusive = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A failure of a verb, from which the exit code follows.
#[derive(Debug)]
pub(crate) enum Failure {
    Input(anyhow::Error),
    Machine(anyhow::Error),
    /// The reader of our output closed it.
    ClosedPipe,
}

impl Failure {
    pub(super) fn input(error: impl Into<anyhow::Error>) -> Self {
        Self::Input(error.into())
    }

    /// Wraps the first errors in scenario files or fixtures.
    pub(super) fn files(errors: &[LoadError]) -> Self {
        let mut lines: Vec<String> = errors.iter().take(TOLD_ERRORS).map(ToString::to_string).collect();
        if let Some(more @ 1..) = errors.len().checked_sub(TOLD_ERRORS) {
            lines.push(format!("and {more} more"));
        }
        Self::Input(anyhow::anyhow!("{}", lines.join("\nerror: ")))
    }

    pub(super) fn machine(error: impl Into<anyhow::Error>) -> Self {
        Self::Machine(error.into())
    }

    /// Wraps a failure to write output.
    pub(super) fn output(error: io::Error) -> Self {
        if is_closed(&error) {
            Self::ClosedPipe
        } else {
            Self::Machine(anyhow::Error::new(error).context("failed to write the output"))
        }
    }

    /// Prints the error, if there is somebody to read it.
    pub(super) fn print(&self) -> Exit {
        let (exit, error) = match self {
            Self::ClosedPipe => return Exit::Inconclusive,
            Self::Input(error) => (Exit::Input, error),
            // A wait that a signal has cut short.
            Self::Machine(error) if interrupt::is_requested() => (Exit::Inconclusive, error),
            Self::Machine(error) => (Exit::Machine, error),
        };
        say_on_stderr(format_args!("error: {}", chain(error.as_ref())));
        exit
    }
}

/// Returns true if the reader of our output has closed it, or the terminal is gone: the kernel answers a write to a terminal that was
/// hung up with EIO (`hung_up_tty_write()` of `drivers/tty/tty_io.c`).
fn is_closed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
        || (interrupt::is_requested() && error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()))
}

/// Keeps the verifier's log in a file if it is too long to be shown.
fn with_whole_log(error: ProgramError) -> anyhow::Error {
    let Some(log) = error.verifier_log().filter(|log| log.hidden_lines() > 0) else { return error.into() };
    let lines = log.text.lines().count();
    let path = std::env::temp_dir().join(format!("xdproof-verifier-{}.log", std::process::id()));
    let create = || fs::OpenOptions::new().write(true).create_new(true).open(&path);
    match create().and_then(|mut file| file.write_all(log.text.as_bytes())) {
        Ok(()) => {
            anyhow::anyhow!("{}\nall {lines} lines of the verifier are in {}", chain(&error), path.display())
        }
        Err(failed) => {
            anyhow::anyhow!(
                "{}\nfailed to write all {lines} lines to {}: {failed}",
                chain(&error),
                path.display()
            )
        }
    }
}

/// Decides for each error of the library whether the input or the machine is at fault.
macro_rules! failures {
    ($($type:ty: |$error:ident| $failure:expr),+ $(,)?) => {
        $(impl From<$type> for Failure {
            fn from($error: $type) -> Self {
                $failure
            }
        })+
    };
}

failures! {
    ProgramError: |error| if error.is_input() {
        Self::Input(with_whole_log(error))
    } else {
        Self::Machine(with_whole_log(error))
    },
    DeviceError: |error| {
        if matches!(error, DeviceError::Same { .. }) { Self::input(error) } else { Self::machine(error) }
    },
    PreconditionError: |error| Self::Machine(anyhow::anyhow!("{}; {}", chain(&error), error.fix())),
    LabError: |error| match error {
        LabError::Attach(error) => error.into(),
        LabError::Environment(_) => Self::machine(error),
    },
    RunError: |error| match error {
        RunError::Output(error) => Self::output(error),
        RunError::Testbed(_) => Self::machine(error),
    },
    BenchError: |error| match error {
        BenchError::Attach(error) => error.into(),
        BenchError::Io(error) if is_closed(&error) => Self::ClosedPipe,
        BenchError::Io(error) => Self::machine(error),
    },
    StoreError: |error| Self::input(error),
    PlanError: |error| Self::input(error),
    FixtureError: |error| match error {
        FixtureError::Input(errors) => Self::files(&errors),
        FixtureError::Program(error) => error.into(),
        error => Self::machine(error),
    },
    FixtureRunError: |error| match error {
        FixtureRunError::Fixture(error) => error.into(),
        FixtureRunError::Run(error) => error.into(),
    },
}

#[cfg(test)]
mod tests {
    use crate::program::VerifierLog;

    use super::*;

    #[test]
    fn a_long_log_of_the_verifier_is_in_a_file_and_its_end_is_shown() {
        let lines: Vec<String> = (0..100).map(|line| format!("line {line}")).collect();
        let text = lines.join("\n");
        let rejected = |text: &str| ProgramError::Rejected {
            program: "count".to_owned(),
            answer: io::Error::from_raw_os_error(7),
            log: VerifierLog { text: text.to_owned() },
        };
        let Failure::Input(error) = Failure::from(rejected(&text)) else { panic!("not an input") };
        let shown = error.to_string();
        assert!(shown.contains("Argument list too long") && shown.contains("\nline 99\n"), "{shown}");
        assert!(!shown.contains("line 70\n"), "{shown}");
        let path = shown.rsplit(" are in ").next().unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), text);
        fs::remove_file(path).unwrap();
        let Failure::Input(error) = Failure::from(rejected("line 1\nline 2")) else { panic!("not an input") };
        assert!(error.to_string().ends_with("line 2"), "{error}");
    }
}
