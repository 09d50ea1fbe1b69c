//! `xdproof report`, and the options of the verbs that make results.

use std::{
    borrow::Cow,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::{
    cli::{Exit, Failure, Output, args::write_file},
    model::{finding::InfrastructureFailure, result::Collection},
    report::{
        html,
        json::{JsonFile, write_collection},
        junit, ktap, markdown,
        store::{self, missing},
    },
};

/// Formats of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Format {
    /// report.html: everything, on one page that needs no network.
    Html,
    /// report.md: short enough for a CI summary or a cover letter.
    Markdown,
    /// junit.xml: for continuous integration.
    Junit,
    /// report.ktap: the kernel's test protocol.
    Ktap,
    /// result.json: the results in one file, as `merge` writes it.
    Json,
}

impl Format {
    /// The formats that are written by default.
    const USUAL: [&'static str; 4] = ["html", "markdown", "junit", "ktap"];

    fn file(self) -> &'static str {
        match self {
            Self::Html => "report.html",
            Self::Markdown => "report.md",
            Self::Junit => "junit.xml",
            Self::Ktap => "report.ktap",
            Self::Json => JsonFile::NAME,
        }
    }

    fn write(self, collection: &Collection, mut to: impl io::Write) -> io::Result<()> {
        match self {
            Self::Html => html::write(collection, &mut to).map_err(io::Error::other),
            Self::Markdown => markdown::write(collection, to),
            Self::Junit => junit::write(collection, to).map_err(io::Error::other),
            Self::Ktap => ktap::write(collection, to),
            Self::Json => write_collection(collection, to),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Report {
    /// A result.json, or a directory with such files in it or below.
    #[arg(required = true, value_name = "RESULT")]
    results: Vec<PathBuf>,
    /// Write html, markdown, junit, ktap or json.
    ///
    /// Formats are separated by commas; the default is html,markdown,junit,ktap.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FORMAT", default_values = Format::USUAL, hide_default_value = true)]
    format: Vec<Format>,
    /// Write the reports into DIR.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// The files that were written, for programs.
#[derive(Serialize)]
struct Written {
    files: Vec<PathBuf>,
}

impl Report {
    pub(super) fn run(self, output: Output) -> Result<Exit, Failure> {
        let Self { results, format, out } = self;
        let collection = store::load(&results)?;
        let files = write(&collection, &format, &out)?;
        let mut to = output.people();
        files.iter().try_for_each(|file| writeln!(to, "{}", file.display())).map_err(Failure::output)?;
        if output.json {
            Output::print_json(&Written { files })?;
        }
        Ok(Exit::AsExpected)
    }
}

/// Options of a verb that makes a result.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Results")]
pub(super) struct ResultArgs {
    /// Write result.json into DIR.
    ///
    /// The frames of failed trials are written into DIR/failed as pcap files.
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Also write html, markdown, junit, ktap or json.
    ///
    /// Formats are separated by commas: `--report=html,junit`. The default is html,markdown,junit,ktap.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "FORMATS",
        num_args = 0..,
        require_equals = true,
        default_missing_values = Format::USUAL,
        requires = "out"
    )]
    report: Vec<Format>,
}

impl ResultArgs {
    /// Creates result.json, if one is asked for.
    pub(super) fn create(&self) -> Result<Option<JsonFile>, Failure> {
        let Some(directory) = &self.out else { return Ok(None) };
        let file = JsonFile::create_in(directory)
            .with_context(|| format!("failed to create {} in {}", JsonFile::NAME, directory.display()));
        file.map(Some).map_err(Failure::Input)
    }

    /// Writes the reports that are asked for, from the result.json that the run has written.
    pub(super) fn write_reports(&self) -> Result<(), Failure> {
        let Some(out) = self.out.as_ref().filter(|_| !self.report.is_empty()) else { return Ok(()) };
        let collection = Collection::new(vec![store::read_one(out)?], Vec::new());
        write(&collection, &self.report, out).map(drop)
    }
}

/// Writes a collection into a directory, in each format once.
fn write(collection: &Collection, formats: &[Format], out: &Path) -> Result<Vec<PathBuf>, Failure> {
    let with_missing = with_missing(collection);
    let mut formats = formats.to_vec();
    formats.sort_unstable();
    formats.dedup();
    let write = |format: Format| {
        // Missing parts belong into reports; a reader of result.json finds them itself.
        let collection = if format == Format::Json { collection } else { with_missing.as_ref() };
        write_file(out, format.file(), |to| format.write(collection, to))
    };
    formats.into_iter().map(write).collect()
}

/// Adds the missing parts of runs to the infrastructure failures.
fn with_missing(collection: &Collection) -> Cow<'_, Collection> {
    let missing = missing(collection).into_iter().map(|missing| InfrastructureFailure {
        cell: missing.run.clone(),
        message: missing.to_string(),
        attempts: 0,
        recovered: false,
        console: String::new(),
    });
    let missing: Vec<InfrastructureFailure> = missing.collect();
    if missing.is_empty() {
        return Cow::Borrowed(collection);
    }
    let mut told = collection.clone();
    told.infrastructure_failures.extend(missing);
    Cow::Owned(told)
}
