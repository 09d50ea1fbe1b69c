//! `xdproof bench`

use std::{path::PathBuf, time::Duration};

use anyhow::{anyhow, ensure};
use clap::{ArgAction, Args};

use crate::{
    bench::{self, BenchOrder, BenchOutcome, Objects, machine, outcome},
    cli::{
        Exit, Failure, Output,
        args::{CorpusArgs, ObjectArgs},
        devices::DeviceArgs,
        fan_out::FanOut,
        report::ResultArgs,
        signals::flag_on_end,
    },
    host::kernel,
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
    report::{Event, Reporter as _, rates::Rates, store},
    trial::preconditions,
};

/// The longest budget.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The lowest rate that can be offered, in frames a second. A trial has five bursts of at least one frame.
const LEAST_RATE: f64 = 100.0;

#[derive(Debug, Args)]
#[command(next_help_heading = "Measurements")]
pub(super) struct Bench {
    /// Measure for this long: 30s, 2m.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = budget)]
    budget: Duration,
    /// Attach in these modes: generic, native, offload.
    ///
    /// Separated by commas; the default is generic,native.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "MODE")]
    mode: Vec<Mode>,
    /// Send by `pnet`, `ring`, `live_frames`, `test_run`.
    ///
    /// Separated by commas. `test_run` measures the program alone, without a device. Devices of this host are sent to by ring.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME")]
    injector: Vec<InjectorKind>,
    /// Send frames of these sizes, FCS included.
    ///
    /// Separated by commas, in bytes.
    #[arg(long, value_delimiter = ',', value_name = "BYTES")]
    size: Vec<usize>,
    /// Send the mixes `udp`, `qinq_ipv6`, `imix`.
    ///
    /// Separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "MIX")]
    mix: Vec<Mix>,
    /// Send from N CPUs at once.
    ///
    /// Several numbers, separated by commas, make several measurements.
    #[arg(long, value_delimiter = ',', value_name = "N", action = ArgAction::Append)]
    cpus: Vec<usize>,
    /// Offer PPS frames a second, not as many as possible.
    #[arg(long, value_name = "PPS", value_parser = rate, allow_hyphen_values = true)]
    rate: Option<Pps>,
    #[command(flatten)]
    devices: DeviceArgs,
    #[command(flatten)]
    corpus: CorpusArgs,
    #[command(flatten)]
    object: ObjectArgs,
    #[command(flatten)]
    against: AgainstArgs,
    #[command(flatten)]
    result: ResultArgs,
    /// Judge by a stored result.json, or its directory.
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    baseline: Option<PathBuf>,
    /// Treat rates that differ by less as equal: 2%.
    ///
    /// The default is 5 % in a virtual machine and 2 % elsewhere.
    #[arg(long, value_name = "SHARE", help_heading = "Results")]
    tolerance: Option<Tolerance>,
}

/// The program to compare with.
#[derive(Debug, Args)]
#[command(next_help_heading = "Program under test")]
struct AgainstArgs {
    /// Compare with the program of this object.
    ///
    /// Both are measured in the same run, in turns.
    #[arg(long, value_name = "OBJECT")]
    against: Option<PathBuf>,
    /// Use this XDP program of that object.
    ///
    /// The default is the one that --program names, if the object has it, or its only one.
    #[arg(long, value_name = "NAME", requires = "against")]
    against_program: Option<String>,
    /// Read its counters from this map.
    #[arg(long, value_name = "NAME", requires = "against")]
    against_map: Option<String>,
}

impl AgainstArgs {
    /// Returns the object to compare with. Names that are not given are those of the subject, as far as the object has them.
    fn reference(&self, subject: &Object) -> Result<Option<Object>, Failure> {
        let Some(path) = self.against.clone() else { return Ok(None) };
        let object = Object::file(path);
        let programs = object.programs()?;
        let same = subject.program.clone().filter(|program| programs.contains(program));
        let program = self.against_program.clone().or(same);
        let map = self.against_map.clone().or_else(|| subject.map.clone());
        Ok(Some(Object { program, map, ..object }))
    }
}

impl Bench {
    pub(super) fn run(self, output: Output) -> Result<Exit, Failure> {
        let Self {
            budget,
            mode,
            mut injector,
            size,
            mix,
            cpus,
            rate,
            devices,
            corpus,
            object,
            against,
            result: result_args,
            baseline,
            tolerance,
        } = self;
        devices.check_injectors(&injector)?;
        if devices.dut.is_some() && injector.is_empty() {
            injector.push(InjectorKind::Ring);
        }
        let tolerance = tolerance.unwrap_or_else(machine::tolerance);
        let subject = object.read()?;
        let reference = against.reference(&subject)?;
        let baseline = baseline.as_deref().map(store::read_one).transpose()?;
        if cpus.contains(&0) {
            return Err(Failure::input(anyhow!("--cpus must be at least 1, got 0")));
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
        let cases = wanted.cases().map_err(Failure::input)?;
        if cases.is_empty() {
            return Err(Failure::input(anyhow!("no measurement fits the options")));
        }
        let file = result_args.create()?;
        preconditions::check(1)?;
        let cancelled = flag_on_end(devices.hint_at_end())?;
        let claimed = devices.claim(output)?;
        let testbed = devices.testbed(&claimed, &[])?;
        let order =
            BenchOrder { objects: Objects { subject, reference }, cases, budget, tolerance, rate, testbed };
        let text = Rates::new(output.people(), output.verbosity());
        let mut reporters = FanOut { progress: output.progress(false), text, file };
        let started = kernel::seconds_since_1970();
        let mut result = bench::run(&order, cancelled, &mut reporters)?;
        result.started = started;
        result.findings.extend(claimed.restore());
        let judged = baseline.is_none_or(|baseline| judge_by(&mut result, &baseline, tolerance));
        reporters.report(Event::Ended { result: &result }).map_err(Failure::output)?;
        result_args.write_reports()?;
        if output.json {
            Output::print_json(&result)?;
        }
        Ok(exit(&result, judged))
    }
}

/// Returns the traffic of the scenarios that are asked for; none unless some are.
fn scenarios(corpus: &CorpusArgs) -> Result<Vec<Traffic>, Failure> {
    if !corpus.is_given() {
        return Ok(Vec::new());
    }
    let scenarios = corpus.load()?;
    let selection = Selection { scenarios: corpus.scenario.clone(), ..Selection::default() };
    let chosen = selection.choose(&scenarios)?;
    chosen.into_iter().map(Traffic::scenario).collect::<Result<_, _>>().map_err(Failure::input)
}

/// Judges the measurements by those of the same id in the baseline. Returns whether there was one, and none is inconclusive.
fn judge_by(result: &mut RunResult, baseline: &RunResult, tolerance: Tolerance) -> bool {
    let (mut judged, mut doubtful) = (false, false);
    for new in &mut result.measurements {
        match baseline.measurements.iter().find(|old| old.id == new.id) {
            None => new.notes.push("not in the baseline".to_owned()),
            Some(old) if new.unmeasured.is_some() && old.unmeasured.is_some() => {}
            Some(old) if compare::is_comparable(new, old) => {
                let change = compare::against(new, old, tolerance);
                judged = true;
                doubtful |= matches!(change.verdict, Judgement::Inconclusive { .. });
                new.baseline = Some(change);
            }
            Some(_) => {
                doubtful = true;
                new.notes.push("not comparable: the baseline has another reference or load".to_owned());
            }
        }
    }
    judged && !doubtful
}

/// Returns the exit code; `judged` says whether everything that a baseline was to judge is judged.
fn exit(result: &RunResult, judged: bool) -> Exit {
    let slower = |measurement: &Measurement| measurement.baseline.as_ref().is_some_and(Change::is_slower);
    match outcome(&result.measurements) {
        _ if result.measurements.iter().any(slower) || result.is_bad() => Exit::Failed,
        BenchOutcome::Slower => Exit::Failed,
        BenchOutcome::Inconclusive => Exit::Inconclusive,
        BenchOutcome::AsExpected if !judged => Exit::Inconclusive,
        BenchOutcome::AsExpected => Exit::AsExpected,
    }
}

fn budget(text: &str) -> anyhow::Result<Duration> {
    let budget = humantime::parse_duration(text)?;
    let longest = humantime::format_duration(LONGEST);
    ensure!(!budget.is_zero() && budget <= LONGEST, "a budget must be more than 0s and at most {longest}");
    Ok(budget)
}

fn rate(text: &str) -> anyhow::Result<Pps> {
    let rate: f64 = text.parse()?;
    let fits = rate >= LEAST_RATE && rate.is_finite();
    ensure!(
        fits,
        "a rate must be at least {LEAST_RATE} frames a second, got {rate}: a trial takes milliseconds"
    );
    Ok(Pps(rate))
}
