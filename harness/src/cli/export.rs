//! `xdproof export`

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;
use xdproof_scenarios::{Frame, Scenario, capture_file, input::WRITTEN_CAPTURE_BYTES};

use crate::{
    cli::{
        Exit, Failure, Output,
        args::{CorpusArgs, write_file},
    },
    plan::selection::Selection,
};

/// Bytes of a record of a pcap file in front of its frame.
const RECORD_HEADER: u64 = 16;

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
            let id = scenario.id.to_string();
            check_size(scenario)?;
            let file =
                write_file(&out, format!("{id}.pcap"), |to| capture_file::write(to, scenario.sent_frames()))?;
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

/// Refuses to write a capture that repeats make too long, before it is begun.
fn check_size(scenario: &Scenario) -> Result<(), Failure> {
    let length =
        |frame: &Frame| u64::from(frame.repeat).saturating_mul(RECORD_HEADER + frame.bytes.len() as u64);
    let bytes = scenario.frames.iter().map(length).fold(0, u64::saturating_add);
    if bytes <= WRITTEN_CAPTURE_BYTES {
        return Ok(());
    }
    let (id, sent) = (&scenario.id, scenario.sent());
    Err(Failure::input(anyhow::anyhow!(
        "{id} sends {sent} frames, a capture of {bytes} bytes; at most {WRITTEN_CAPTURE_BYTES} are written"
    )))
}

fn print(entries: &[Entry<'_>], out: &Path, output: Output) -> io::Result<()> {
    let mut to = output.people();
    let frames: u64 = entries.iter().map(|entry| entry.frames).sum();
    writeln!(to, "{frames} frames of {} scenarios in {}", entries.len(), out.display())?;
    to.flush()
}
