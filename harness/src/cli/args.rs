//! What all verbs have in common: options, exit codes, how errors are told.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anstream::{AutoStream, ColorChoice, stream::RawStream};
use anyhow::Context as _;
use clap::{Args, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use xdproof_scenarios::{Scenario, capture, capture_file, load};

use crate::cli::{
    bench, compare, doctor, export, list, manual, merge, report, restore, schema, validate, watch,
};
use crate::{
    error::chain,
    plan::selection::PlanError,
    program::{Object, ProgramError},
    report::{
        console::Verbosity,
        json::{JsonFile, write_pretty},
        progress::Progress,
        store::StoreError,
    },
    testbed::DeviceError,
    trial::{LabError, Origin, RunError},
};

const AFTER_HELP: &str = "\
Exit codes: 0 as expected; 1 a trial failed, errored or was slower than it may be; 2 the command line or an input file is wrong; 3 this machine \
cannot run it; 4 inconclusive (interrupted, or nothing was proved).

Examples:
  xdproof doctor                           what this machine can do
  xdproof validate                         every scenario on a veth pair
  xdproof validate --scenario 'vlan/*'     some of them
  xdproof validate --object mine.o         your own counter in the place of ours
  xdproof validate --pcap traffic.pcap     real traffic, judged by its bytes
  xdproof validate --out out --report      and a report on one page
  xdproof bench --against old.o            is your counter slower than it was?
  xdproof report out/ --out report         one report of all results in a directory
  xdproof compare old/ new/                what broke, what was mended, what became slower
  xdproof watch eth0 -S                    what arrives at eth0, by protocol";

/// The verbs as help shows them, by what they are for.
const GROUPS: [(&str, &[&str]); 4] = [
    ("Prove and measure", &["doctor", "validate", "bench", "watch"]),
    ("Read results", &["report", "compare", "merge"]),
    ("Scenarios", &["list", "export"]),
    ("Housekeeping", &["restore", "schema", "completions", "man", "help"]),
];

/// Proves what an XDP program, a NIC driver and an attach mode really do to frames.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    pub(super) output: Output,
    #[command(subcommand)]
    verb: Verb,
}

impl Cli {
    /// The command line's definition: what parses it, and what help, completions and man pages are made from.
    #[must_use]
    pub fn definition() -> Command {
        let command = Self::command();
        let mut verbs = String::new();
        for (heading, names) in GROUPS {
            verbs.push_str(&format!("{heading}:\n"));
            for name in names {
                let verb = command.get_subcommands().find(|verb| verb.get_name() == *name);
                let about = verb.and_then(Command::get_about).map(ToString::to_string);
                let about = about.unwrap_or_else(|| "Print this, or the help of a command".to_owned());
                verbs.push_str(&format!("  {name:12} {about}\n"));
            }
            verbs.push('\n');
        }
        command.help_template(format!(
            "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{verbs}Options:\n{{options}}{{after-help}}"
        ))
    }

    /// What the command line says; where it says nothing that can be understood, the process ends and says so.
    #[must_use]
    pub fn from_command_line() -> Self {
        let matches = Self::definition().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// What this machine can do, what it cannot, and how to mend it.
    Doctor(doctor::Doctor),
    /// Count what arrives at an interface by IP protocol, live.
    Watch(watch::Watch),
    /// The scenarios: their frames and what they would catch.
    List(list::List),
    /// Send every scenario's frames in every mode, and hold the counters against the bytes.
    Validate(validate::Validate),
    /// Measure what a program costs and how fast a path is, against another version or none.
    Bench(bench::Bench),
    /// Compare two sets of results: what broke, what was mended, what became slower.
    Compare(compare::Compare),
    /// Put back what a killed run on real devices left changed.
    ///
    /// A run on devices of this host (`validate --dut DEV --tester DEV`) writes down what is set at them before it changes
    /// any of it, below /run/xdproof, and puts it back when it ends. What a killed run has left is put back by this, and by the
    /// next run on devices; runs that are alive are left alone. Everything that was put back is told, and what could not be
    /// with the reason. Call it in the network namespace that the devices belong to.
    ///
    /// `XDPROOF_RUN_DIR` in the environment names another directory than /run/xdproof, for tests.
    ///
    /// Exit codes: 0 there was nothing, or all is as it was; 1 something is not; 3 without privilege.
    Restore(restore::Restore),
    /// Join results: parts of a run that was split; several kernels, devices and hosts.
    Merge(merge::Merge),
    /// Write a report of results, from their files alone.
    Report(report::Report),
    /// Print the JSON Schema of result.json.
    Schema(schema::Schema),
    /// Print completions for a shell.
    Completions(manual::Completions),
    /// Write man pages.
    Man(manual::Man),
    /// Write the scenarios' frames as pcap files, for other tools.
    Export(export::Export),
}

/// How much is said, and to whom.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct Output {
    /// For programs: JSON on standard output; words for people go to standard error.
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Only what is wrong, and the summary.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Each step when it ends.
    #[arg(short, long, global = true)]
    verbose: bool,
    /// When to use colours; `auto` is for terminals, and respects `NO_COLOR`.
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

    /// How far a run is, for whoever waits at a terminal or reads a log; not where each step is told already.
    pub(super) fn progress(self, tells_steps: bool) -> Progress<io::Stderr> {
        let wanted = match self.verbosity() {
            Verbosity::Quiet => false,
            Verbosity::Normal => true,
            Verbosity::Verbose => !tells_steps,
        };
        Progress::on_stderr(wanted && !self.json)
    }

    /// Where words for people go.
    pub(super) fn people(self) -> Box<dyn io::Write> {
        if self.json { Box::new(self.stream(io::stderr())) } else { Box::new(self.stream(io::stdout())) }
    }

    /// Prints a document for programs.
    pub(super) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
        write_pretty(io::stdout().lock(), value).map_err(Failure::output)
    }

    /// A stream that keeps or strips colours, as wanted.
    fn stream<S: RawStream>(self, raw: S) -> AutoStream<S> {
        match self.color {
            Color::Auto => AutoStream::auto(raw),
            Color::Always => AutoStream::new(raw, ColorChoice::Always),
            Color::Never => AutoStream::new(raw, ColorChoice::Never),
        }
    }
}

/// Which program is tested.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Program under test")]
pub(super) struct ObjectArgs {
    /// A BPF object file; the default is xdproof's own counter.
    #[arg(long, value_name = "FILE")]
    object: Option<PathBuf>,
    /// The XDP program in it, if it has several.
    #[arg(long, value_name = "NAME")]
    program: Option<String>,
    /// The counter's map in it, if it is not plain which one that is.
    #[arg(long, value_name = "NAME")]
    map: Option<String>,
}

impl ObjectArgs {
    pub(super) fn object(self) -> Object {
        let Self { object, program, map } = self;
        Object { path: object, program, map }
    }
}

/// Where scenarios come from.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Scenarios")]
pub(super) struct CorpusArgs {
    /// Only scenarios whose id matches; may be given more than once. `*` also matches `/`.
    #[arg(long, value_name = "GLOB")]
    pub(super) scenario: Vec<String>,
    /// A directory of scenario files instead of the corpus that is built in.
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// The frames of a capture instead of a corpus: what they must count is computed from their bytes.
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
        loaded.map_err(|errors| {
            let each: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Failure::Input(anyhow::anyhow!("{}", each.join("\nerror: ")))
        })
    }

    /// Whether scenarios were asked for at all.
    pub(super) fn is_given(&self) -> bool {
        !self.scenario.is_empty() || self.corpus.is_some() || self.pcap.is_some()
    }

    /// The option that says where the scenarios come from, for a command that repeats a trial.
    pub(super) fn origin(&self) -> Option<Origin> {
        let corpus = self.corpus.clone().map(|path| ("corpus", path));
        corpus.or_else(|| self.pcap.clone().map(|path| ("pcap", path)))
    }
}

/// Creates the result file in a directory that the user named.
pub(super) fn create_result(directory: &Path) -> anyhow::Result<JsonFile> {
    JsonFile::create_in(directory)
        .with_context(|| format!("failed to create {} in {}", JsonFile::NAME, directory.display()))
}

fn read_capture(file: &Path) -> anyhow::Result<Vec<Scenario>> {
    let bytes = std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))?;
    let frames = capture_file::read(&bytes).with_context(|| file.display().to_string())?;
    let scenarios = capture::scenarios(file, &frames);
    anyhow::ensure!(!scenarios.is_empty(), "{} holds no frame", file.display());
    Ok(scenarios)
}

/// Why a verb did not do its work; the exit code follows from it.
#[derive(Debug)]
pub(super) enum Failure {
    /// Exit 2.
    Input(anyhow::Error),
    /// Exit 3.
    Machine(anyhow::Error),
    /// The reader of our output went away.
    ClosedPipe,
}

impl Failure {
    /// Wraps a failure to write output.
    pub(super) fn output(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::ClosedPipe
        } else {
            Self::Machine(anyhow::Error::new(error).context("failed to write the output"))
        }
    }
}

impl From<ProgramError> for Failure {
    fn from(error: ProgramError) -> Self {
        if error.is_input() { Self::Input(error.into()) } else { Self::Machine(error.into()) }
    }
}

impl From<LabError> for Failure {
    fn from(error: LabError) -> Self {
        match error {
            LabError::Attach(error) => error.into(),
            LabError::Environment(_) => Self::Machine(error.into()),
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Output(error) => Self::output(error),
            RunError::Testbed(_) => Self::Machine(error.into()),
        }
    }
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        match error {
            DeviceError::Same { .. } => Self::Input(error.into()),
            error => Self::Machine(error.into()),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Input(error.into())
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        Self::Input(error.into())
    }
}

/// How a verb that did its work ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// 0
    AsExpected,
    /// 1
    Failed,
    /// 3
    Machine,
    /// 4
    Inconclusive,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::AsExpected => 0,
            Exit::Failed => 1,
            Exit::Machine => 3,
            Exit::Inconclusive => 4,
        })
    }
}

/// Does what the command line says.
#[must_use]
pub fn main(cli: Cli) -> ExitCode {
    let Cli { output, verb } = cli;
    raise_descriptor_limit();
    let done = match verb {
        Verb::Doctor(doctor) => doctor.run(output),
        Verb::Watch(watch) => watch.run(output),
        Verb::List(list) => list.run(output),
        Verb::Validate(validate) => validate.run(output),
        Verb::Bench(bench) => bench.run(output),
        Verb::Compare(compare) => compare.run(output),
        Verb::Restore(restore) => restore.run(output),
        Verb::Merge(merge) => merge.run(output),
        Verb::Report(report) => report.run(output),
        Verb::Schema(schema) => schema.run(),
        Verb::Completions(completions) => completions.run(),
        Verb::Man(man) => man.run(output),
        Verb::Export(export) => export.run(output),
    };
    let (code, error) = match done {
        Ok(exit) => return exit.into(),
        Err(Failure::ClosedPipe) => return Exit::Inconclusive.into(),
        Err(Failure::Input(error)) => (2, error),
        Err(Failure::Machine(error)) => (3, error),
    };
    anstream::eprintln!("error: {}", chain(error.as_ref()));
    ExitCode::from(code)
}

/// Takes as many file descriptors as the system allows: every trial that runs at once holds some dozen.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current: _, maximum } = getrlimit(Resource::Nofile);
    // Raising the soft limit to the hard one is always allowed; if not, few trials at once still work.
    let _refused = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// The signals that ask us to end: SIGINT and SIGTERM.
pub(super) struct EndSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl EndSignals {
    /// Takes them over from now on. Needs a tokio runtime around it.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Returns when one has come.
    pub(super) async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// A flag that is set when we are asked to end. The second time, the process ends at once: the kernel takes back whatever
/// is up, and what it does not take back is in the `hint`.
pub(super) fn flag_on_end(hint: Option<&'static str>) -> io::Result<Arc<AtomicBool>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut signals = {
        let _entered = runtime.enter();
        EndSignals::listen()?
    };
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            signals.wait().await;
            set.store(true, Ordering::Relaxed);
            signals.wait().await;
        });
        if let Some(hint) = hint {
            anstream::eprintln!("{hint}");
        }
        #[expect(clippy::exit, reason = "asked twice to end")]
        std::process::exit(4);
    })?;
    Ok(flag)
}
