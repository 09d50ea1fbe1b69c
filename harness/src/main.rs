//! `xdproof`: see `xdproof --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = xdproof::suites::attach_semantics::hold_if_asked() {
        return code;
    }
    xdproof::cli::main(xdproof::cli::Cli::from_command_line())
}
