//! `xdproof restore`: puts back what killed runs on devices of this host left changed.

use std::io::{self, Write as _};

use anstyle::AnsiColor;
use anyhow::Context as _;
use clap::Args;
use xdproof_netns::NetNs;

use crate::cli::args::{Exit, Failure, Output};
use crate::{
    report::console::Verbosity,
    testbed::devices::{
        journal::{self, Recovery, RunState},
        restore::{Outcome, PutBack},
    },
};

#[derive(Debug, Args)]
pub(super) struct Restore {}

impl Restore {
    #[expect(clippy::unused_self, reason = "every verb is called alike")]
    pub(super) fn run(self, output: Output) -> Result<Exit, Failure> {
        // Without the privilege, everything would be told as "could not be put back".
        NetNs::create()
            .context("failed to put devices back without root's privileges")
            .map_err(Failure::Machine)?;
        let found = journal::recover_dead(&journal::directory())
            .map_err(|error| Failure::Machine(anyhow::Error::new(error)))?;
        if output.json {
            Output::print_json(&found)?;
        }
        print(&found, output).map_err(Failure::output)?;
        Ok(if found.iter().any(Recovery::is_incomplete) { Exit::Failed } else { Exit::AsExpected })
    }
}

/// Tells what was put back, and what was not.
pub(super) fn print(found: &[Recovery], output: Output) -> io::Result<()> {
    let mut to = output.people();
    let quiet = output.verbosity() == Verbosity::Quiet;
    let bad = AnsiColor::Red.on_default();
    for Recovery { run, process, state, put_back } in found {
        let process = process.map(|process| format!(", process {process}")).unwrap_or_default();
        let what = match state {
            RunState::Alive => "is alive, and keeps its devices".to_owned(),
            RunState::Ended => "was killed, and is undone".to_owned(),
            RunState::Kept => {
                "was killed, and could not be undone altogether: call this again, or see to it by hand"
                    .to_owned()
            }
            RunState::Unreadable(problem) => format!("cannot be undone: {problem}"),
            RunState::Elsewhere(inode) => {
                format!("has its devices from the network namespace net:[{inode}]: call this there")
            }
            RunState::EarlierBoot => "was of an earlier boot, which its changes did not outlive".to_owned(),
        };
        writeln!(to, "run {run}{process} {what}")?;
        for PutBack { device, what, outcome } in put_back {
            match outcome {
                Outcome::Done if quiet => {}
                Outcome::Done => writeln!(to, "  {device}: {what}: as it was")?,
                Outcome::Failed(why) => writeln!(to, "  {device}: {what}: {bad}not put back{bad:#}: {why}")?,
                Outcome::Lost(why) => writeln!(to, "  {device}: {what}: {bad}lost{bad:#}: {why}")?,
            }
        }
    }
    if found.is_empty() {
        writeln!(to, "There is nothing to put back.")?;
    }
    to.flush()
}
