//! `xdproof completions` and `xdproof man`: made from the definition of the command line.

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
};

use anyhow::Context as _;
use clap::{Args, Command};
use clap_complete::Shell;

use crate::cli::{Exit, Failure, Output};

/// The program's name.
const NAME: &str = "xdproof";

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// Print them for this shell: bash, elvish, fish, powershell, zsh.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, mut command: Command) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, NAME, &mut script);
        io::stdout().lock().write_all(&script).map_err(Failure::output)?;
        Ok(Exit::AsExpected)
    }
}

#[derive(Debug, Args)]
pub(super) struct Man {
    /// Write xdproof.1, and a page for each command, into DIR.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl Man {
    pub(super) fn run(self, command: Command, output: Output) -> Result<Exit, Failure> {
        let Self { out } = self;
        fs::create_dir_all(&out)
            .and_then(|()| clap_mangen::generate_to(command, &out))
            .with_context(|| format!("failed to write man pages into {}", out.display()))
            .map_err(Failure::Input)?;
        writeln!(output.people(), "{}", out.join(format!("{NAME}.1")).display()).map_err(Failure::output)?;
        Ok(Exit::AsExpected)
    }
}
