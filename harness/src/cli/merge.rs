//! `xdproof merge`

use std::{io::Write as _, path::PathBuf};

use anyhow::Context as _;
use clap::Args;

use crate::{
    cli::{Exit, Failure, Output, args::write_file},
    model::result::Collection,
    report::{
        json::{JsonFile, write_collection},
        store::{gather, missing},
        terminal_style::{numbers, several},
    },
};

#[derive(Debug, Args)]
pub(super) struct Merge {
    /// A result.json, or a directory with such files in it or below.
    #[arg(required = true, value_name = "RESULT")]
    results: Vec<PathBuf>,
    /// Write result.json into DIR.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl Merge {
    pub(super) fn run(self, output: Output) -> Result<Exit, Failure> {
        let Self { results, out } = self;
        let file = out.join(JsonFile::NAME);
        let gathered = gather(&results, Some(&file))?;
        let files = gathered.files();
        let collection = gathered.join()?;
        let missing = missing(&collection);
        let mut document = Vec::new();
        write_collection(&collection, &mut document)
            .context("failed to render the joined result")
            .map_err(Failure::Input)?;
        write_file(&out, JsonFile::NAME, |to| to.write_all(&document))?;
        if output.json {
            std::io::stdout().lock().write_all(&document).map_err(Failure::output)?;
        }
        let mut to = output.people();
        let mut say = || {
            for missing in &missing {
                writeln!(to, "missing: {missing}")?;
            }
            let Collection { results, summary, .. } = &collection;
            writeln!(
                to,
                "{} joined into {}, {}: {}",
                several(files, "file"),
                several(results.len(), "result"),
                several(results.iter().map(|result| result.trials.len()).sum(), "trial"),
                numbers(summary),
            )?;
            to.flush()
        };
        say().map_err(Failure::output)?;
        Ok(if missing.is_empty() { Exit::AsExpected } else { Exit::Inconclusive })
    }
}
