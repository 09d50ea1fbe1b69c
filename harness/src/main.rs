//! `xdproof`: see `xdproof --help`.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    if let Some(code) = xdproof::rules::hold_if_asked() {
        return code;
    }
    xdproof::cli::main(xdproof::cli::Cli::parse())
}
