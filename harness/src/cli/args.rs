//! Options that several verbs share.

use std::{
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
};

use anstream::{AutoStream, ColorChoice, stream::RawStream};
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Serialize;
use xdproof_scenarios::{Scenario, capture, capture_file, input, load};

use crate::{
    cli::{
        Failure,
        stderr::{Forgiving, say_on_stderr},
    },
    program::Object,
    report::{json::write_pretty, output, progress::Progress, terminal_style::Verbosity},
    trial::Origin,
};

/// Form and amount of the output.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Output {
    /// Print JSON on stdout, and text for people on stderr.
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Print failures and the summary only.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Print each step when it ends.
    #[arg(short, long, global = true)]
    verbose: bool,
    /// Use colors: auto, always, never.
    ///
    /// `auto` means colors on a terminal, unless `NO_COLOR` is set.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: Color,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

impl Output {
    pub(super) fn verbosity(self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, true) => Verbosity::Verbose,
            (false, false) => Verbosity::Normal,
        }
    }

    /// Returns the progress bar; it stays silent where the verb already `prints_steps`.
    pub(super) fn progress(self, prints_steps: bool) -> Progress<io::Stderr> {
        let wanted = match self.verbosity() {
            Verbosity::Quiet => false,
            Verbosity::Normal => true,
            Verbosity::Verbose => !prints_steps,
        };
        Progress::on_stderr(wanted && !self.json)
    }

    /// Returns the stream for people.
    pub(super) fn people(self) -> Box<dyn io::Write> {
        if self.json {
            Box::new(Forgiving(self.stream(io::stderr())))
        } else {
            Box::new(self.stream(io::stdout()))
        }
    }

    /// Prints a document for programs.
    pub(super) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
        write_pretty(io::stdout().lock(), value).map_err(Failure::output)
    }

    /// Returns a stream that keeps or strips colors, as wanted.
    fn stream<S: RawStream>(self, raw: S) -> AutoStream<S> {
        match self.color {
            Color::Auto => AutoStream::auto(raw),
            Color::Always => AutoStream::new(raw, ColorChoice::Always),
            Color::Never => AutoStream::new(raw, ColorChoice::Never),
        }
    }
}

/// The program under test.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Program under test")]
pub(super) struct ObjectArgs {
    /// Load a BPF object file [default: built-in].
    ///
    /// The default is xdproof's own counter of IP protocols.
    #[arg(long, value_name = "FILE")]
    object: Option<PathBuf>,
    /// Test this XDP program of the object.
    ///
    /// Needed only if the object has several, or if its section does not say that it is one: any function can be named.
    #[arg(long, value_name = "NAME")]
    program: Option<String>,
    /// Read the counters from this map.
    ///
    /// The default is the only map of the program that can be the counter: an array or a hash, per CPU or not, with u32 keys up
    /// to 255 and u64 or u32 values.
    #[arg(long, value_name = "NAME")]
    map: Option<String>,
}

impl ObjectArgs {
    pub(super) fn object(self) -> Object {
        let Self { object, program, map } = self;
        Object { path: object, program, map, ..Object::default() }
    }

    /// Returns the object, whose file was read: a wrong file is reported before what this machine lacks.
    pub(super) fn read(self) -> Result<Object, Failure> {
        let object = self.object();
        if object.path.is_some() {
            object.programs()?;
        }
        Ok(object)
    }
}

/// Sources of scenarios.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Scenarios")]
pub(super) struct CorpusArgs {
    /// Select scenarios whose id matches (repeatable).
    ///
    /// `*` matches any characters, `/` included: `vlan/*`.
    #[arg(long, value_name = "GLOB")]
    pub(super) scenario: Vec<String>,
    /// Read scenario files from DIR, not the built-in ones.
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// Send the frames of a pcap or pcapng capture, or of `-`.
    ///
    /// `-` is standard input. The file may be gzipped. The expected counts are computed from the frames' bytes.
    #[arg(long, value_name = "FILE", conflicts_with = "corpus")]
    pcap: Option<PathBuf>,
}

impl CorpusArgs {
    pub(super) fn load(&self) -> Result<Vec<Scenario>, Failure> {
        let loaded = match (&self.corpus, &self.pcap) {
            (_, Some(file)) => return read_capture(file).map_err(Failure::Input),
            (None, None) => load::builtin(),
            (Some(directory), None) => load::corpus(directory),
        };
        loaded.map_err(|errors| Failure::files(&errors))
    }

    /// Returns whether any scenario was asked for.
    pub(super) fn is_given(&self) -> bool {
        !self.scenario.is_empty() || self.corpus.is_some() || self.pcap.is_some()
    }

    /// Returns the option that names the source of the scenarios, for a command that repeats a trial.
    pub(super) fn origin(&self) -> Option<Origin> {
        let corpus = self.corpus.clone().map(|path| ("corpus", path));
        corpus.or_else(|| self.pcap.clone().map(|path| ("pcap", path)))
    }
}

fn read_capture(file: &Path) -> anyhow::Result<Vec<Scenario>> {
    let name = file.display();
    let capture = if file.as_os_str() == capture::STANDARD_INPUT {
        let stdin = io::stdin().lock();
        anyhow::ensure!(!stdin.is_terminal(), "standard input is a terminal; pipe a capture into it");
        capture_file::read(stdin).context("standard input")?
    } else {
        let opened = input::open(file).with_context(|| format!("failed to read {name}"));
        capture_file::read(opened?).with_context(|| name.to_string())?
    };
    for note in capture.notes() {
        say_on_stderr(format_args!("note: {name}: {note}"));
    }
    let scenarios = capture::scenarios(file, capture.frames);
    anyhow::ensure!(!scenarios.is_empty(), "{name} has no frames");
    Ok(scenarios)
}

/// Writes a file, whose directories are created, and returns its path.
pub(super) fn write_file(
    directory: &Path,
    name: impl AsRef<Path>,
    write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
) -> Result<PathBuf, Failure> {
    output::write_file(directory, name.as_ref(), write).map_err(Failure::input)
}
