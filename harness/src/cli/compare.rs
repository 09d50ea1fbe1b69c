//! `xdproof compare`

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use crate::{
    cli::{Exit, Failure, Output, args::write_file},
    model::judgement::Tolerance,
    report::{
        comparison::{Comparison, ComparisonOutcome, write_html, write_markdown, write_text},
        json::write_pretty,
        store,
    },
};

#[derive(Debug, Args)]
pub(super) struct Compare {
    /// The old results: a result.json, or a directory with such files.
    old: PathBuf,
    /// The new results.
    new: PathBuf,
    /// Treat rates that differ by less as equal: 2%, 0.02.
    ///
    /// The default is the tolerance of the new result.
    #[arg(long, value_name = "SHARE")]
    tolerance: Option<Tolerance>,
    /// Write text, json, markdown or html into --out.
    ///
    /// Formats are separated by commas; the default is json,markdown,html.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "FORMAT",
        default_values = ["json", "markdown", "html"],
        hide_default_value = true,
        requires = "out"
    )]
    format: Vec<Format>,
    /// Write the comparison into DIR.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Formats of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// comparison.txt: the text of the terminal.
    Text,
    /// comparison.json
    Json,
    /// comparison.md
    Markdown,
    /// comparison.html: one page that needs no network.
    Html,
}

impl Compare {
    pub(super) fn run(self, output: Output) -> Result<Exit, Failure> {
        let Self { old, new, tolerance, format, out } = self;
        let [old, new] = [old, new].map(|path| store::load(&[path]));
        let comparison = Comparison::of(&old?, &new?, tolerance);
        if let Some(out) = out {
            write(&comparison, &format, &out, output)?;
        }
        let mut to = output.people();
        write_text(&comparison, output.verbosity(), &mut to)
            .and_then(|()| to.flush())
            .map_err(Failure::output)?;
        if output.json {
            Output::print_json(&comparison)?;
        }
        Ok(match comparison.outcome() {
            ComparisonOutcome::AsExpected => Exit::AsExpected,
            ComparisonOutcome::Worse => Exit::Failed,
            ComparisonOutcome::Inconclusive => Exit::Inconclusive,
        })
    }
}

fn write(comparison: &Comparison, formats: &[Format], out: &Path, output: Output) -> Result<(), Failure> {
    for format in formats {
        let name = match format {
            Format::Text => "comparison.txt",
            Format::Json => "comparison.json",
            Format::Markdown => "comparison.md",
            Format::Html => "comparison.html",
        };
        write_file(out, name, |to| match format {
            Format::Text => {
                let mut text = anstream::StripStream::new(Vec::new());
                write_text(comparison, output.verbosity(), &mut text)?;
                to.write_all(&text.into_inner())
            }
            Format::Json => write_pretty(to, comparison),
            Format::Markdown => write_markdown(comparison, to),
            Format::Html => write_html(comparison, to),
        })?;
    }
    Ok(())
}
