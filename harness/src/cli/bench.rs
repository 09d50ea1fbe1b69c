//! `xdproof bench`

use std::{io, path::PathBuf, sync::Mutex, time::Duration};

use anyhow::{Context as _, bail, ensure};
use clap::{ArgAction, Args};

use crate::cli::{
    args::{CorpusArgs, Exit, Failure, ObjectArgs, Output, create_result, flag_on_end},
    devices::{DeviceArgs, ENDED_AT_ONCE, Taken},
    report::ReportArgs,
};
use crate::{
    bench::{
        BenchError, Objects, Order, machine,
        run::{self, Outcome, outcome},
    },
    inject::pace::Pps,
    measure::{
        case::Wanted,
        compare,
        traffic::{Mix, Traffic},
    },
    model::{
        judgement::{Change, Judgement, Tolerance},
        measurement::Measurement,
        mode::{InjectorKind, Mode},
        result::RunResult,
    },
    plan::selection::Selection,
    program::Object,
    report::{
        Event, Reporter,
        json::{JsonFile, write_pretty},
        progress::Progress,
        rates::Rates,
        store,
    },
};

/// The longest budget.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The lowest rate that can be offered, in frames a second. A trial has five bursts, and each a frame.
const LEAST_RATE: f64 = 100.0;

#[derive(Debug, Args)]
pub(super) struct Bench {
    /// How long it may take: `30s`, `2m`.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = budget)]
    budget: Duration,
    /// A version of the program to be compared with, in the same run.
    #[arg(long, value_name = "OBJECT")]
    against: Option<PathBuf>,
    /// The XDP program in that object; the default is the one that --program names, if it is there, or the only one.
    #[arg(long, value_name = "NAME", requires = "against")]
    against_program: Option<String>,
    /// The counter's map in that object.
    #[arg(long, value_name = "NAME", requires = "against")]
    against_map: Option<String>,
    /// A stored result to judge by: a `result.json`, or the directory that it is in.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// What two speeds may differ by and still be the same; the default is 5 % in a virtual machine and 2 % elsewhere.
    #[arg(long, value_name = "SHARE")]
    tolerance: Option<Tolerance>,
    /// Write result.json into this directory, with every trial.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    report: ReportArgs,
    /// Attach modes, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "MODE", help_heading = "What is measured")]
    mode: Vec<Mode>,
    /// Injectors, separated by commas; `test_run` is the program's cost without a device.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "INJECTOR",
        help_heading = "What is measured"
    )]
    injector: Vec<InjectorKind>,
    /// Frame sizes in bytes with FCS, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "BYTES", help_heading = "What is measured")]
    size: Vec<usize>,
    /// Protocol mixes, separated by commas: `udp`, `qinq_ipv6`, `imix`.
    #[arg(long, value_delimiter = ',', value_name = "MIX", help_heading = "What is measured")]
    mix: Vec<Mix>,
    /// From how many CPUs at once frames are sent, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "N", action = ArgAction::Append, help_heading = "What is measured")]
    cpus: Vec<usize>,
    /// Frames a second to offer instead of as many as go.
    #[arg(long, value_name = "PPS", value_parser = rate, allow_hyphen_values = true, help_heading = "What is measured")]
    rate: Option<Pps>,
    #[command(flatten)]
    devices: DeviceArgs,
    #[command(flatten)]
    corpus: CorpusArgs,
    #[command(flatten)]
    object: ObjectArgs,
}

impl Bench {
    pub(super) fn run(self, output: Output) -> Result<Exit, Failure> {
        let Self {
            budget,
            against,
            against_program,
            against_map,
            baseline,
            tolerance,
            out,
            report,
            mode,
            mut injector,
            size,
            mix,
            cpus,
            rate,
            devices,
            corpus,
            object,
        } = self;
        devices.allow(&injector)?;
        if devices.dut.is_some() && injector.is_empty() {
            injector.push(InjectorKind::Ring);
        }
        let tolerance = tolerance.unwrap_or_else(machine::tolerance);
        let subject = object.object();
        let reference =
            against.map(|path| reference(&subject, path, against_program, against_map)).transpose()?;
        let baseline = baseline.map(|file| store::read_one(&file)).transpose()?;
        if let Some(zero) = cpus.iter().find(|cpus| **cpus == 0) {
            return Err(Failure::Input(anyhow::anyhow!("--cpus: {zero} CPUs send nothing")));
        }
        let wanted = Wanted {
            modes: mode,
            injectors: injector,
            sizes: size,
            mixes: mix,
            cpus,
            scenarios: scenarios(&corpus)?,
            cpus_available: std::thread::available_parallelism().map_or(1, usize::from),
            against: reference.is_some(),
        };
        let cases = wanted.cases().map_err(|error| Failure::Input(error.into()))?;
        if cases.is_empty() {
            return Err(Failure::Input(anyhow::anyhow!("the selection leaves nothing to measure")));
        }
        let directory = out.clone();
        let out = out.map(|directory| create_result(&directory)).transpose().map_err(Failure::Input)?;
        let cancelled = flag_on_end(devices.dut.is_some().then_some(ENDED_AT_ONCE));
        let cancelled = cancelled.context("failed to listen for signals").map_err(Failure::Machine)?;
        let pair = devices.take(output)?;
        let testbed = devices.testbed(pair.as_ref())?;
        let taken = Taken(Mutex::new(pair));
        let order =
            Order { objects: Objects { subject, reference }, cases, budget, tolerance, rate, testbed };
        let mut reporters = Reporters {
            progress: output.progress(false),
            rates: Rates::new(output.people(), output.verbosity()),
            out,
        };
        let mut result = run::run(&order, &cancelled, &mut reporters)?;
        result.findings.extend(taken.give_back());
        let told = baseline.is_none_or(|baseline| judge_by(&mut result, &baseline, tolerance));
        reporters.report(Event::Ended { result: &result }).map_err(Failure::output)?;
        report.write(directory.as_deref())?;
        if output.json {
            write_pretty(io::stdout().lock(), &result).map_err(Failure::output)?;
        }
        Ok(exit(&result, told))
    }
}

/// The object to be compared with: what was named for it, else what was named for the subject and is there too.
fn reference(
    subject: &Object,
    path: PathBuf,
    program: Option<String>,
    map: Option<String>,
) -> Result<Object, Failure> {
    let programs = Object::programs_in(&path)?;
    let same = subject.program.clone().filter(|program| programs.contains(program));
    Ok(Object { path: Some(path), program: program.or(same), map: map.or_else(|| subject.map.clone()) })
}

/// The scenarios that were asked for; none unless some were.
fn scenarios(corpus: &CorpusArgs) -> Result<Vec<Traffic>, Failure> {
    if !corpus.is_given() {
        return Ok(Vec::new());
    }
    let scenarios = corpus.load()?;
    let selection = Selection { scenarios: corpus.scenario.clone(), ..Selection::default() };
    let chosen = selection.choose(&scenarios)?;
    let traffic = chosen.into_iter().map(Traffic::scenario).collect::<Result<_, _>>();
    traffic.map_err(|error| Failure::Input(error.into()))
}

/// Holds every measurement that the baseline has too against it. Whether there was one, and each could be told.
fn judge_by(result: &mut RunResult, baseline: &RunResult, tolerance: Tolerance) -> bool {
    let (mut judged, mut doubtful) = (false, false);
    for new in &mut result.measurements {
        match baseline.measurements.iter().find(|old| old.id == new.id) {
            None => new.notes.push("the baseline does not have it".to_owned()),
            Some(old) if new.unmeasured.is_some() && old.unmeasured.is_some() => {}
            Some(old) if compare::is_comparable(new, old) => {
                let change = compare::against(new, old, tolerance);
                judged = true;
                doubtful |= matches!(change.verdict, Judgement::Inconclusive { .. });
                new.baseline = Some(change);
            }
            Some(_) => {
                doubtful = true;
                new.notes
                    .push("the baseline has it held against something else, or at another load".to_owned());
            }
        }
    }
    judged && !doubtful
}

/// How it ends, `told` being whether what was to be judged by a baseline could be.
fn exit(result: &RunResult, told: bool) -> Exit {
    let slower = |measurement: &Measurement| measurement.baseline.as_ref().is_some_and(Change::is_slower);
    match outcome(&result.measurements) {
        _ if result.measurements.iter().any(slower) || result.is_bad() => Exit::Failed,
        Outcome::Slower => Exit::Failed,
        Outcome::Inconclusive => Exit::Inconclusive,
        Outcome::AsExpected if !told => Exit::Inconclusive,
        Outcome::AsExpected => Exit::AsExpected,
    }
}

fn budget(text: &str) -> anyhow::Result<Duration> {
    let budget = humantime::parse_duration(text)?;
    ensure!(!budget.is_zero(), "nothing can be measured in no time");
    ensure!(budget <= LONGEST, "a budget is at most {}", humantime::format_duration(LONGEST));
    Ok(budget)
}

fn rate(text: &str) -> anyhow::Result<Pps> {
    let rate: f64 = text.parse()?;
    if !(rate >= LEAST_RATE && rate.is_finite()) {
        bail!("a rate is at least {LEAST_RATE}: a trial takes milliseconds");
    }
    Ok(Pps(rate))
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        match error {
            BenchError::Attach(error) => error.into(),
            BenchError::Io(error) if error.kind() == io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            BenchError::Io(error) => Self::Machine(error.into()),
        }
    }
}

/// Everyone who is told what happens.
struct Reporters<W> {
    progress: Progress<io::Stderr>,
    rates: Rates<W>,
    out: Option<JsonFile>,
}

impl<W: io::Write> Reporter for Reporters<W> {
    fn report(&mut self, event: Event<'_>) -> io::Result<()> {
        // Each is told even if the other cannot pass it on.
        // A bar is gone before something stands in its place, and comes after what stands above it.
        let ends = matches!(event, Event::Ended { .. });
        let mut waited = if ends { self.progress.report(event) } else { Ok(()) };
        let written = self.out.as_mut().map_or(Ok(()), |out| out.report(event));
        let printed = self.rates.report(event);
        if !ends {
            waited = self.progress.report(event);
        }
        waited.and(written).and(printed)
    }
}
