//! `xdproof validate`

use std::{io, path::PathBuf, sync::Mutex};

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::cli::{
    args::{CorpusArgs, Exit, Failure, ObjectArgs, Output, create_result, flag_on_end},
    devices::{DeviceArgs, ENDED_AT_ONCE, Taken},
    report::ReportArgs,
};
use crate::{
    model::{
        action::CountedAction,
        mode::{InjectorKind, Mode},
        partition::Partition,
        result::RunResult,
    },
    plan::selection::Selection,
    report::{
        Event, Reporter,
        console::Console,
        json::{JsonFile, write_pretty},
        progress::Progress,
    },
    suites::attach_semantics,
    trial::{Lab, LabOptions, Order, Suite, run},
};

#[derive(Debug, Args)]
pub(super) struct Validate {
    /// What the program is attached to.
    #[arg(long, value_enum, default_value_t = Nic::Veth, conflicts_with = "dut")]
    nic: Nic,
    #[command(flatten)]
    devices: DeviceArgs,
    /// Attach modes, separated by commas; the default is generic,native.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "MODE")]
    mode: Vec<Mode>,
    /// Injectors, separated by commas; the default is all, or pnet where modes are named.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "INJECTOR")]
    injector: Vec<InjectorKind>,
    /// Run only the I-th of N parts of the trials; which trial is in which part never changes.
    #[arg(long, value_name = "I/N")]
    partition: Option<Partition>,
    /// Leave out scenarios that send more frames, as skips.
    #[arg(long, value_name = "N")]
    most_frames: Option<u64>,
    /// Trials that run at once; the default is the number of processors, but at most 16.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Write result.json into this directory, and the frames of failed trials as pcap files into DIR/failed.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Try the kernel's rules of attaching, too: on the devices, or on links of our own.
    #[arg(long)]
    rules: bool,
    #[command(flatten)]
    report: ReportArgs,
    /// Leave the namespaces there when done, with names that `ip netns` shows; the programs come off.
    #[arg(long, conflicts_with = "dut")]
    keep: bool,
    #[command(flatten)]
    corpus: CorpusArgs,
    #[command(flatten)]
    object: ObjectArgs,
    /// What the program does with a frame that it counts.
    #[arg(long, value_enum, default_value_t = CountedAction::Pass, value_name = "ACTION")]
    expect_action: CountedAction,
}

/// What a program can be attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Nic {
    /// A veth pair in namespaces that are made for it.
    Veth,
}

/// More trials at once gain nothing: they share the kernel's locks, and each has descriptors and namespaces of its own.
const MOST_JOBS: usize = 16;

impl Validate {
    pub(super) fn run(self, output: Output) -> Result<Exit, Failure> {
        let Self {
            nic: Nic::Veth,
            devices,
            mode,
            injector,
            corpus,
            object,
            expect_action,
            partition,
            most_frames,
            jobs,
            out,
            rules,
            report,
            keep,
        } = self;
        devices.allow(&injector)?;
        let (scenarios, origin) = (corpus.load()?, corpus.origin());
        let selection = Selection { modes: mode, injectors: injector, scenarios: corpus.scenario, partition };
        let plan = selection.plan(&scenarios)?;
        let frames_in = out.clone();
        let out = out.map(|directory| create_result(&directory)).transpose().map_err(Failure::Input)?;
        let options = LabOptions { counted: expect_action, origin, part: partition, most_frames };
        let lab = Lab::open(object.object(), options)?;
        let cancelled = flag_on_end(devices.dut.is_some().then_some(ENDED_AT_ONCE));
        let cancelled = cancelled.context("failed to listen for signals").map_err(Failure::Machine)?;
        let pair = devices.take(output)?;
        let testbed = devices.testbed(pair.as_ref())?;
        let taken = Taken(Mutex::new(pair));
        let lab = lab.on(testbed);
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = jobs.unwrap_or_else(|| cpus.min(MOST_JOBS));
        let mut reporters = Reporters {
            progress: output.progress(true),
            console: Console::new(output.people(), output.verbosity()).with_frames_in(frames_in.clone()),
            out,
        };
        let (plan, paths) = (&plan, &selection.paths());
        let give_back = || taken.give_back();
        let suites: &[Suite<'_>] = if rules { &[&attach_semantics::run] } else { &[] };
        let order = Order { plan, paths, jobs, suites, cancelled: &cancelled, give_back: &give_back };
        let result = run(&lab, order, &mut reporters)?;
        report.write(frames_in.as_deref())?;
        if output.json {
            write_pretty(io::stdout().lock(), &result).map_err(Failure::output)?;
        }
        if keep {
            let names = lab
                .keep(&format!("xdproof-{}", std::process::id()))
                .map_err(|error| Failure::Machine(anyhow::anyhow!("failed to {error}")))?;
            anstream::eprintln!("kept:\n  {}\nremove each with `ip netns delete NAME`", names.join("\n  "));
        }
        Ok(exit(&result))
    }
}

fn exit(result: &RunResult) -> Exit {
    let summary = &result.summary;
    let proved = summary.pass + summary.xfail > 0;
    match (result.is_bad(), proved && summary.not_run == 0) {
        (true, _) => Exit::Failed,
        (false, true) => Exit::AsExpected,
        (false, false) => Exit::Inconclusive,
    }
}

/// Everyone who is told what happens in a run.
struct Reporters<W> {
    progress: Progress<io::Stderr>,
    console: Console<W>,
    out: Option<JsonFile>,
}

impl<W: io::Write> Reporter for Reporters<W> {
    fn report(&mut self, event: Event<'_>) -> io::Result<()> {
        // Each is told even if the other cannot pass it on.
        // A bar is gone before something stands in its place, and comes after what stands above it.
        let ends = matches!(event, Event::Ended { .. });
        let mut waited = if ends { self.progress.report(event) } else { Ok(()) };
        let written = self.out.as_mut().map_or(Ok(()), |out| out.report(event));
        let printed = self.console.report(event);
        if !ends {
            waited = self.progress.report(event);
        }
        waited.and(written).and(printed)
    }
}
