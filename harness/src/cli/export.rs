//! `xdproof export`

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use xdproof_scenarios::{Scenario, capture_file};

use crate::{
    cli::{
        args::{CorpusArgs, Output},
        exit::{Exit, Failure},
    },
    plan::selection::Selection,
};

#[derive(Debug, Args)]
pub(super) struct Export {
    /// Write each scenario's frames into DIR/SCENARIO.pcap.
    ///
    /// A frame is written as often as it is sent.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    corpus: CorpusArgs,
}

/// A file that was written, for programs.
#[derive(Serialize)]
struct Entry<'a> {
    id: String,
    file: PathBuf,
    frames: u64,
    expect: &'a xdproof_scenarios::Expectation,
}

impl Export {
    pub(super) fn run(self, output: Output) -> Result<Exit, Failure> {
        let Self { out, corpus } = self;
        let scenarios = corpus.load()?;
        let selection = Selection { scenarios: corpus.scenario, ..Selection::default() };
        let mut entries = Vec::new();
        for scenario in selection.choose(&scenarios)? {
            let file = out.join(format!("{}.pcap", scenario.id));
            write(scenario, &file)
                .with_context(|| format!("failed to write {}", file.display()))
                .map_err(Failure::Input)?;
            let id = scenario.id.to_string();
            entries.push(Entry { id, file, frames: scenario.sent(), expect: &scenario.expect });
        }
        if output.json {
            Output::print_json(&entries)?;
        } else {
            print(&entries, &out, output).map_err(Failure::output)?;
        }
        Ok(Exit::AsExpected)
    }
}

fn write(scenario: &Scenario, file: &Path) -> io::Result<()> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut to = io::BufWriter::new(fs::File::create(file)?);
    capture_file::write(&mut to, scenario.sent_frames())?;
    to.flush()
}

fn print(entries: &[Entry<'_>], out: &Path, output: Output) -> io::Result<()> {
    let mut to = output.people();
    let frames: u64 = entries.iter().map(|entry| entry.frames).sum();
    writeln!(to, "{frames} frames of {} scenarios in {}", entries.len(), out.display())?;
    to.flush()
}
