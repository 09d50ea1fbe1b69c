//! `xdproof compare`

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::cli::args::{Exit, Failure, Output};
use crate::{
    model::judgement::Tolerance,
    report::{
        comparison::{Comparison, Conclusion, write_html, write_markdown, write_text},
        json::write_pretty,
        store,
    },
};

#[derive(Debug, Args)]
pub(super) struct Compare {
    /// The results to compare with: a result.json, or a directory; of a directory, every result.json in it or below.
    old: PathBuf,
    /// The results that are compared.
    new: PathBuf,
    /// What two speeds may differ by and still be the same; the default is the new result's.
    #[arg(long, value_name = "SHARE")]
    tolerance: Option<Tolerance>,
    /// What to write into --out, separated by commas.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "FORMAT",
        default_values = ["json", "markdown", "html"],
        requires = "out"
    )]
    format: Vec<Format>,
    /// Write the comparison into this directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What a comparison is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// comparison.txt: what is on the terminal.
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
        Ok(match comparison.conclusion() {
            Conclusion::AsExpected => Exit::AsExpected,
            Conclusion::Worse => Exit::Failed,
            Conclusion::Inconclusive => Exit::Inconclusive,
        })
    }
}

fn write(comparison: &Comparison, formats: &[Format], out: &Path, output: Output) -> Result<(), Failure> {
    let write = |format: &Format, to: File| -> io::Result<()> {
        match format {
            Format::Text => write_text(comparison, output.verbosity(), &mut anstream::StripStream::new(to)),
            Format::Json => write_pretty(to, comparison),
            Format::Markdown => write_markdown(comparison, BufWriter::new(to)),
            Format::Html => write_html(comparison, BufWriter::new(to)),
        }
    };
    fs::create_dir_all(out)
        .with_context(|| format!("failed to make {}", out.display()))
        .map_err(Failure::Input)?;
    for format in formats {
        let file = out.join(match format {
            Format::Text => "comparison.txt",
            Format::Json => "comparison.json",
            Format::Markdown => "comparison.md",
            Format::Html => "comparison.html",
        });
        File::create(&file)
            .and_then(|to| write(format, to))
            .with_context(|| format!("failed to write {}", file.display()))
            .map_err(Failure::Input)?;
    }
    Ok(())
}
