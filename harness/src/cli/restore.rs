//! `xdproof restore`: restores the devices of this host that killed runs have left changed.

use std::io::{self, Write as _};

use anstyle::AnsiColor;
use anyhow::Context as _;
use clap::Args;
use xdproof_netns::NetNs;

use crate::{
    cli::{Exit, Failure, Output},
    report::terminal_style::Verbosity,
    testbed::devices::{
        journal::{self, Recovery, RunState},
        step::{RestoreOutcome, RestoredItem},
    },
};

#[derive(Debug, Args)]
pub(super) struct Restore {
    /// Remove the journals of killed runs that cannot be restored.
    ///
    /// The kernel deletes virtual devices that such a run has left in its namespaces, and moves the others to the machine's first
    /// network namespace.
    #[arg(long)]
    discard: bool,
}

impl Restore {
    pub(super) fn run(self, output: Output) -> Result<Exit, Failure> {
        // Without the privilege, every device would be printed as "not restored".
        NetNs::create().context("failed to restore devices; run as root").map_err(Failure::Machine)?;
        let recover = if self.discard { journal::discard_dead } else { journal::recover_dead };
        let found = recover(&journal::directory()).map_err(Failure::machine)?;
        if output.json {
            Output::print_json(&found)?;
        }
        print(&found, output).map_err(Failure::output)?;
        Ok(if found.iter().any(Recovery::is_incomplete) { Exit::Failed } else { Exit::AsExpected })
    }
}

/// Prints what was restored, and what was not.
pub(super) fn print(found: &[Recovery], output: Output) -> io::Result<()> {
    let mut to = output.people();
    let quiet = output.verbosity() == Verbosity::Quiet;
    let bad = AnsiColor::Red.on_default();
    for Recovery { run, process, state, restored } in found {
        let process = process.map(|process| format!(" (process {process})")).unwrap_or_default();
        let state = match state {
            RunState::Alive => "is alive and keeps its devices".to_owned(),
            RunState::Ended if restored.iter().all(|item| item.outcome == RestoreOutcome::Done) => {
                "was killed; its devices are restored".to_owned()
            }
            RunState::Ended => "was killed; its devices are restored but for what is lost".to_owned(),
            RunState::Kept => {
                "was killed; not everything could be restored: run `xdproof restore` again,\n  \
                               or restore the rest by hand and run `xdproof restore --discard`"
                    .to_owned()
            }
            RunState::Unreadable(problem) => format!("cannot be restored: {problem}"),
            RunState::Elsewhere(inode) => {
                format!("has devices of the network namespace net:[{inode}]: run this in that namespace")
            }
            RunState::EarlierBoot => "is from an earlier boot, which ended its changes".to_owned(),
            RunState::Discarded => "was killed; its journal is discarded".to_owned(),
        };
        writeln!(to, "run {run}{process} {state}")?;
        for RestoredItem { device, what, outcome } in restored {
            let failed = match outcome {
                RestoreOutcome::Done if quiet => continue,
                RestoreOutcome::Done => {
                    writeln!(to, "  {device}: {what}: restored")?;
                    continue;
                }
                RestoreOutcome::Failed(_) => "not restored",
                RestoreOutcome::Lost(_) => "lost",
            };
            writeln!(to, "  {device}: {what}: {bad}{failed}{bad:#}: {}", outcome.reason())?;
        }
    }
    if found.is_empty() {
        writeln!(to, "There is nothing to restore.")?;
    }
    to.flush()
}
