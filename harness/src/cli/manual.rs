//! `xdproof completions` and `xdproof man`: from the same definition as the command line itself.

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
};

use anyhow::Context as _;
use clap::Args;
use clap_complete::Shell;

use crate::cli::args::{Cli, Exit, Failure, Output};

/// The program's name.
const NAME: &str = "xdproof";

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// For which shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::definition(), NAME, &mut script);
        io::stdout().lock().write_all(&script).map_err(Failure::output)?;
        Ok(Exit::AsExpected)
    }
}

#[derive(Debug, Args)]
pub(super) struct Man {
    /// Write into this directory: xdproof.1, and a page for each command.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl Man {
    pub(super) fn run(self, output: Output) -> Result<Exit, Failure> {
        let Self { out } = self;
        fs::create_dir_all(&out)
            .and_then(|()| clap_mangen::generate_to(Cli::definition(), &out))
            .with_context(|| format!("failed to write man pages into {}", out.display()))
            .map_err(Failure::Input)?;
        writeln!(output.people(), "{}", out.join(format!("{NAME}.1")).display()).map_err(Failure::output)?;
        Ok(Exit::AsExpected)
    }
}
