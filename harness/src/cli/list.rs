//! `xdproof list`

use std::io::{self, Write as _};

use clap::Args;
use serde::Serialize;

use crate::{
    cli::{Exit, Failure, Output, args::CorpusArgs},
    plan::selection::Selection,
    report::terminal_style::Verbosity,
};

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    corpus: CorpusArgs,
}

/// A scenario, for programs.
#[derive(Serialize)]
struct Entry<'a> {
    id: String,
    summary: &'a str,
    tags: &'a [String],
    frames: u64,
    expect: &'a xdproof_scenarios::Expectation,
}

impl List {
    pub(super) fn run(self, output: Output) -> Result<Exit, Failure> {
        let scenarios = self.corpus.load()?;
        let selection = Selection { scenarios: self.corpus.scenario, ..Selection::default() };
        let chosen = selection.choose(&scenarios)?;
        let entries: Vec<Entry<'_>> = chosen
            .into_iter()
            .map(|scenario| Entry {
                id: scenario.id.to_string(),
                summary: &scenario.summary,
                tags: &scenario.tags,
                frames: scenario.sent(),
                expect: &scenario.expect,
            })
            .collect();
        if output.json {
            Output::print_json(&entries)?;
        } else {
            print(&entries, output).map_err(Failure::output)?;
        }
        Ok(Exit::AsExpected)
    }
}

fn print(entries: &[Entry<'_>], output: Output) -> io::Result<()> {
    let mut to = output.people();
    if output.verbosity() == Verbosity::Quiet {
        for entry in entries {
            writeln!(to, "{}", entry.id)?;
        }
        return to.flush();
    }
    let width = entries.iter().map(|entry| entry.id.len()).max().unwrap_or(0);
    for Entry { id, summary, tags: _, frames, expect: _ } in entries {
        writeln!(to, "{id:width$}  {frames:>6}  {summary}")?;
    }
    writeln!(to, "{} scenarios", entries.len())?;
    to.flush()
}
