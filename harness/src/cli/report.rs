//! `xdproof report`, and `--report` of the verbs that make results.

use std::{
    borrow::Cow,
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::cli::args::{Exit, Failure, Output};
use crate::{
    model::{finding::InfrastructureFailure, result::Collection},
    report::{
        html,
        json::JsonFile,
        junit, ktap, markdown,
        store::{self, Rendered, missing},
    },
};

/// What a report is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Format {
    /// report.html: everything, on one page that needs no network.
    Html,
    /// report.md: short enough for the summary of a CI run or a patch's cover letter.
    Markdown,
    /// junit.xml: for continuous integration.
    Junit,
    /// report.ktap: the kernel's test protocol.
    Ktap,
    /// result.json: the results in one file, as `merge` writes it.
    Json,
}

impl Format {
    /// What is written where nobody says what.
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
            Self::Json => Rendered(collection).write(to),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Report {
    /// A result.json, or a directory; of a directory, every result.json in it or below.
    #[arg(required = true, value_name = "RESULT")]
    results: Vec<PathBuf>,
    /// What to write, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FORMAT", default_values = Format::USUAL)]
    format: Vec<Format>,
    /// Write into this directory.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// What was written, for programs.
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

/// The option of a verb that makes a result.
#[derive(Clone, Debug, Args)]
pub(super) struct ReportArgs {
    /// Write reports beside result.json: `--report`, or `--report=html,junit`.
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

impl ReportArgs {
    /// Writes them, if they were asked for, from the result that is in the directory by now.
    pub(super) fn write(&self, out: Option<&Path>) -> Result<(), Failure> {
        let Some(out) = out.filter(|_| !self.report.is_empty()) else { return Ok(()) };
        let collection = Collection::new(vec![store::read_one(out)?], Vec::new());
        write(&collection, &self.report, out).map(drop)
    }
}

/// Writes a collection into a directory, in each format once.
fn write(collection: &Collection, formats: &[Format], out: &Path) -> Result<Vec<PathBuf>, Failure> {
    fs::create_dir_all(out)
        .with_context(|| format!("failed to make {}", out.display()))
        .map_err(Failure::Input)?;
    let told = with_missing(collection);
    let mut formats = formats.to_vec();
    formats.sort_unstable();
    formats.dedup();
    let write = |format: Format| {
        let file = out.join(format.file());
        // What is missing is for those who read a report; whoever reads the results finds it out anew.
        let collection = if format == Format::Json { collection } else { told.as_ref() };
        File::create(&file)
            .and_then(|to| format.write(collection, BufWriter::new(to)))
            .with_context(|| format!("failed to write {}", file.display()))
            .map_err(Failure::Input)?;
        Ok(file)
    };
    formats.into_iter().map(write).collect()
}

/// The parts of runs that are missing, among what came to nothing.
fn with_missing(collection: &Collection) -> Cow<'_, Collection> {
    let missing = missing(collection).into_iter().map(|missing| InfrastructureFailure {
        cell: missing.run.clone(),
        what: missing.to_string(),
        attempts: 0,
        recovered: false,
        console: String::new(),
    });
    let missing: Vec<InfrastructureFailure> = missing.collect();
    if missing.is_empty() {
        return Cow::Borrowed(collection);
    }
    let mut told = collection.clone();
    told.breakdowns.extend(missing);
    Cow::Owned(told)
}
