//! `xdproof validate`

use clap::{Args, ValueEnum};

use crate::{
    cli::{
        Exit, Failure, Output,
        args::{CorpusArgs, ObjectArgs},
        devices::DeviceArgs,
        fan_out::FanOut,
        report::ResultArgs,
        signals::flag_on_end,
        stderr::say_on_stderr,
    },
    model::{
        action::CountedAction,
        finding::{FindingKind, Severity},
        mode::{InjectorKind, Mode},
        partition::Partition,
        result::RunResult,
    },
    plan::selection::Selection,
    report::console::Console,
    suites::attach_semantics,
    trial::{Lab, LabOptions, Order, Suite, preconditions, run},
};

#[derive(Debug, Args)]
#[command(next_help_heading = "Trials")]
pub(super) struct Validate {
    /// Attach in these modes: generic, native, offload.
    ///
    /// Separated by commas; the default is generic,native.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "MODE")]
    mode: Vec<Mode>,
    /// Send by `pnet`, `ring`, `live_frames`, `test_run`.
    ///
    /// Separated by commas; the default is `pnet,test_run`, or `pnet` where modes are named.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME")]
    injector: Vec<InjectorKind>,
    /// Run part I of N of the trials.
    ///
    /// A trial is always in the same part.
    #[arg(long, value_name = "I/N")]
    partition: Option<Partition>,
    /// Skip scenarios that send more than N frames.
    #[arg(long, value_name = "N")]
    most_frames: Option<u64>,
    /// Run N trials at once [default: CPUs, at most 16].
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Also run the attach-semantics tests.
    ///
    /// They run on the devices, or on links that are created for them.
    #[arg(long, alias = "rules")]
    attach_semantics: bool,
    /// Create a testbed of this kind.
    #[arg(long, value_enum, default_value_t = Nic::Veth, conflicts_with = "dut", help_heading = "Testbed")]
    nic: Nic,
    #[command(flatten)]
    devices: DeviceArgs,
    /// Keep the network namespaces after the run.
    ///
    /// They get names that `ip netns` shows; the programs are detached.
    #[arg(long, conflicts_with = "dut", help_heading = "Testbed")]
    keep: bool,
    #[command(flatten)]
    corpus: CorpusArgs,
    #[command(flatten)]
    object: ObjectArgs,
    /// Expect frames to pass or drop.
    ///
    /// This is the action of the program on the frames that it counts.
    #[arg(
        long,
        value_enum,
        default_value_t = CountedAction::Pass,
        value_name = "ACTION",
        help_heading = "Program under test"
    )]
    expect_action: CountedAction,
    #[command(flatten)]
    result: ResultArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Nic {
    /// A veth pair in namespaces that are made for it.
    Veth,
}

/// The most trials at once by default: they share the kernel's locks, so that more gain nothing.
const MOST_JOBS: usize = 16;

impl Validate {
    pub(super) fn run(self, output: Output) -> Result<Exit, Failure> {
        let Self {
            mode,
            injector,
            partition,
            most_frames,
            jobs,
            attach_semantics: with_attach_semantics,
            nic: Nic::Veth,
            devices,
            keep,
            corpus,
            object,
            expect_action,
            result: result_args,
        } = self;
        devices.check_injectors(&injector)?;
        let (scenarios, origin) = (corpus.load()?, corpus.origin());
        let selection = Selection { modes: mode, injectors: injector, scenarios: corpus.scenario, partition };
        let plan = selection.plan(&scenarios)?;
        let jobs = jobs.unwrap_or_else(default_jobs);
        let object = object.read()?;
        let file = result_args.create()?;
        preconditions::check(jobs)?;
        let options = LabOptions { counted: expect_action, origin, part: partition, most_frames, keep };
        let lab = Lab::open(object, options)?;
        let cancelled = flag_on_end(devices.hint_at_end())?;
        let claimed = devices.claim(output)?;
        let modes: Vec<Mode> = selection.paths().iter().map(|path| path.mode).collect();
        let lab = lab.on(devices.testbed(&claimed, &modes)?);
        let console = Console::new(output.people(), output.verbosity());
        let mut reporters = FanOut {
            progress: output.progress(true),
            text: console.with_frames_in(result_args.out.clone()),
            file,
        };
        let (plan, paths) = (&plan, &selection.paths());
        let give_back = || claimed.restore();
        let suites: &[Suite<'_>] = if with_attach_semantics { &[&attach_semantics::run] } else { &[] };
        let order = Order { plan, paths, jobs, suites, cancelled, give_back: &give_back };
        let result = run(&lab, order, &mut reporters)?;
        result_args.write_reports()?;
        if output.json {
            Output::print_json(&result)?;
        }
        if keep {
            let names = lab
                .keep(&format!("xdproof-{}", std::process::id()))
                .map_err(|error| Failure::machine(anyhow::anyhow!("failed to {error}")))?;
            say_on_stderr(format_args!("{}", kept(&names)));
        }
        Ok(exit(&result))
    }
}

/// Says which namespaces were kept, and how to enter one.
fn kept(names: &[String]) -> String {
    match names.first() {
        None => "no namespace is kept: no trial has left a clean link".to_owned(),
        Some(first) => format!(
            "kept namespaces:\n  {}\nenter one by `ip netns exec {first} bash`, remove each by `ip netns delete NAME`",
            names.join("\n  ")
        ),
    }
}

/// Returns the trials to run at once by default.
pub(super) fn default_jobs() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MOST_JOBS)
}

/// Returns the exit code of a run.
pub(super) fn exit(result: &RunResult) -> Exit {
    let summary = &result.summary;
    let proved = summary.pass + summary.xfail > 0;
    let is_broken = result
        .findings
        .iter()
        .any(|finding| finding.kind == FindingKind::TestbedFailure && finding.severity == Severity::Fault);
    if is_broken && summary.fail == 0 {
        return Exit::Machine;
    }
    match (result.is_bad(), proved && summary.not_run == 0) {
        (true, _) => Exit::Failed,
        (false, true) => Exit::AsExpected,
        (false, false) => Exit::Inconclusive,
    }
}
