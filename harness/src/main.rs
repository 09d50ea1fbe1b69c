//! `xdproof`: see `xdproof --help`.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    xdproof::cli::main(xdproof::cli::Cli::parse())
}
