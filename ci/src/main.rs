//! `ci/matrix`: boots kernels in virtual machines, with pairs of NICs that QEMU emulates or the guest makes, and runs xdproof
//! in them.

mod cache;
mod catalog;
mod compressed;
mod console;
mod fault;
mod frames;
mod initrd;
mod kernels;
mod matrix;
mod program;
mod results;
mod run;
mod summary;
mod vm;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::Parser;

use catalog::{GUEST, Kernels, Nic, Nics};
use fault::Fault;
use initrd::{Plan, Programs};
use kernels::{Kernel, Store, Wanted};
use matrix::{KernelRun, Lab};
use program::Built;
use results::Breakdown;
use summary::Outcome;
use vm::{Accelerator, Ending, Limits, Machine};

const AFTER_HELP: &str = "\
What is fetched and built is kept in $XDPROOF_CACHE, or in xdproof below $XDG_CACHE_HOME or ~/.cache; with what is there, no network is \
needed. KVM is used where a machine boots with it; else QEMU executes every instruction itself.

Exit codes: 0 as expected; 1 a trial failed, or a kernel reported a fault; 2 wrong arguments; 3 this machine cannot run it; 4 something \
was not proved: an infrastructure error that a second try did not mend, or an interruption.";

/// Runs xdproof in virtual machines: kernels by NICs by attach modes.
#[derive(Debug, Parser)]
#[command(name = "ci/matrix", version, after_help = AFTER_HELP, max_term_width = 110)]
struct Cli {
    /// Kernels, separated by commas: series of ci/kernels.toml, or IMAGE or IMAGE:MODULES, a bzImage or vmlinux and a directory like
    /// /lib/modules/RELEASE; the default is all series.
    #[arg(long, value_delimiter = ',', value_name = "KERNEL")]
    kernel: Vec<String>,
    /// NICs of ci/nics.toml, separated by commas; the default is all that --list shows without a reason against it.
    #[arg(long, value_delimiter = ',', value_name = "NIC")]
    nic: Vec<String>,
    /// Attach modes for the NICs, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "MODE", default_value = "generic,native,offload")]
    mode: Vec<String>,
    /// On NICs, leave out scenarios that send more frames: an emulated machine takes some ten microseconds for each. They are run on the
    /// guest's own veth, and are skips elsewhere.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    most_frames: u64,
    /// Do not try the rules of attaching on NICs: some devices take a second for each program that is attached.
    #[arg(long)]
    without_rules: bool,
    /// Only scenarios whose id matches; may be given more than once.
    #[arg(long, value_name = "GLOB")]
    scenario: Vec<String>,
    /// Only the I-th of N parts of the trials.
    #[arg(long, value_name = "I/N", value_parser = part)]
    partition: Option<String>,
    /// Machines that run at once; the default is one a processor, or two a processor and one more where QEMU executes every instruction: devices
    /// leave a machine idle for a third of the time, while their links come up.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Where results and consoles go.
    #[arg(long, value_name = "DIR", default_value = "target/matrix")]
    out: PathBuf,
    /// Write the report beside the results.
    #[arg(long)]
    report: bool,
    /// Keep what the machines were started with.
    #[arg(long)]
    keep: bool,
    /// How long a machine may take, in seconds.
    #[arg(long, value_name = "S", default_value_t = 3600)]
    timeout: u64,
    /// How long a machine may say nothing, in seconds; one that gets on says so every ten.
    #[arg(long, value_name = "S", default_value_t = 90)]
    silence: u64,
    /// A directory with xdproof and wire, linked statically, instead of what is built.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Show what there is, and run nothing.
    #[arg(long)]
    list: bool,
    /// Fetch the kernels, and run nothing.
    #[arg(long)]
    fetch: bool,
    /// Break something on purpose: see ci/src/fault.rs.
    #[arg(long, hide = true, value_name = "KIND@CELL[/first]")]
    inject_fault: Option<Fault>,
}

/// Why there is no outcome; the exit code follows from it.
#[derive(Debug)]
enum Failure {
    /// Exit 2.
    Input(anyhow::Error),
    /// Exit 3.
    Machine(anyhow::Error),
}

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == vm::BECOME) {
        let Err(error) = vm::become_child(arguments) else { return ExitCode::SUCCESS };
        anstream::eprintln!("error: {error:#}");
        return ExitCode::from(3);
    }
    match run_matrix(Cli::parse()) {
        Ok(Outcome::AsExpected) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::from(1),
        Ok(Outcome::Inconclusive) => ExitCode::from(4),
        Err(Failure::Input(error)) => {
            anstream::eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
        Err(Failure::Machine(error)) => {
            anstream::eprintln!("error: {error:#}");
            ExitCode::from(3)
        }
    }
}

fn run_matrix(cli: Cli) -> Result<Outcome, Failure> {
    let begun = Instant::now();
    let Cli {
        kernel,
        nic,
        mode,
        most_frames,
        without_rules,
        scenario,
        partition,
        jobs,
        out,
        report,
        keep,
        timeout,
        silence,
        programs,
        list,
        fetch,
        inject_fault,
    } = cli;
    let kernels = Kernels::read(&ours("kernels.toml")).map_err(Failure::Input)?;
    let nics = Nics::read(&ours("nics.toml")).map_err(Failure::Input)?;
    if list {
        show(&kernels, &nics);
        return Ok(Outcome::AsExpected);
    }
    let names: Vec<String> = if kernel.is_empty() {
        kernels.kernels.iter().map(|kernel| kernel.series.clone()).collect()
    } else {
        kernel
    };
    let wanted: Vec<Wanted> = names
        .iter()
        .map(|name| Wanted::parse(name, &kernels))
        .collect::<Result<_>>()
        .map_err(Failure::Input)?;
    let selected = nics.select(&nic).map_err(Failure::Input)?;
    let numbered = nics
        .all()
        .into_iter()
        .enumerate()
        .filter(|(_, nic)| selected.iter().any(|selected| selected.name() == nic.name()))
        .collect();

    let qemu = program::find("qemu-system-x86_64").map_err(Failure::Machine)?;
    for tool in ["modprobe", "depmod", "dpkg", "apt-get", "xz", "zstd"] {
        program::find(tool).map_err(Failure::Machine)?;
    }
    let busybox = program::find("busybox").map_err(Failure::Machine)?;
    program::check_static(&busybox).map_err(Failure::Machine)?;
    let iproute2 =
        program::find("ip").and_then(|ip| program::with_libraries(&ip)).map_err(Failure::Machine)?;
    let cache = cache::Cache::open().map_err(Failure::Machine)?;
    let cancelled = flag_on_end().map_err(Failure::Machine)?;
    let store = Store::open(&cache, &kernels, &wanted).map_err(Failure::Machine)?;
    let mut ready = Vec::new();
    let mut lost = Vec::new();
    for wanted in &wanted {
        match store.get(wanted) {
            Ok(kernel) => ready.push(kernel),
            Err(error) => lost.push(KernelRun::lost(&wanted.name(), &format!("{error:#}"))),
        }
    }
    if ready.is_empty() {
        let why: Vec<&str> =
            lost.iter().flat_map(|run| &run.breakdowns).map(|breakdown| breakdown.what.as_str()).collect();
        return Err(Failure::Machine(anyhow::anyhow!("no kernel is to be had: {}", why.join("; "))));
    }
    if fetch {
        return Ok(if lost.is_empty() { Outcome::AsExpected } else { Outcome::Inconclusive });
    }
    let Built { xdproof, wire } = match programs {
        Some(directory) => program::built_in(&directory).map_err(Failure::Input)?,
        None => program::build(&cache, &ours("..")).map_err(Failure::Machine)?,
    };
    results::check_scenarios(&xdproof, &scenario).map_err(Failure::Input)?;
    let out = std::path::absolute(&out).map_err(|error| Failure::Input(error.into()))?;
    fs::create_dir_all(&out)
        .with_context(|| format!("failed to make {}", out.display()))
        .map_err(Failure::Input)?;

    let mut lab = Lab {
        qemu,
        accelerator: Accelerator::Tcg,
        programs: Programs { busybox, xdproof, wire, iproute2 },
        modules: nics.modules.clone(),
        tester: nics.tester.clone(),
        nics: numbered,
        arguments: arguments(&scenario, partition.as_deref()),
        modes: mode.join(","),
        most_frames,
        rules: !without_rules,
        limits: Limits { whole: Duration::from_secs(timeout), silence: Duration::from_secs(silence) },
        out,
        keep,
        fault: inject_fault,
        cancelled: &cancelled,
    };
    lab.accelerator = accelerator(&lab, &ready[0]);
    let jobs = jobs.unwrap_or_else(|| usual_jobs(lab.accelerator)).max(1);
    let mut runs = matrix::run(&lab, &ready, jobs);
    runs.extend(lost);
    let collected = collect(&lab, &runs, report);
    anstream::print!("{}", summary::describe(&runs, begun.elapsed()));
    collected.map_err(Failure::Machine)?;
    Ok(Outcome::of(&runs))
}

/// A part, as xdproof takes it.
fn part(text: &str) -> Result<String, String> {
    let numbers = text.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    match numbers {
        Some((part, of)) if (1..=of).contains::<u32>(&part) => Ok(text.to_owned()),
        _ => Err("expected the number of a part and how many there are, as in 1/3".to_owned()),
    }
}

/// How many machines run at once where nobody says it.
fn usual_jobs(accelerator: Accelerator) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    match accelerator {
        Accelerator::Kvm => processors,
        Accelerator::Tcg => 2 * processors + 1,
    }
}

/// What `xdproof validate` gets for every cell.
fn arguments(scenarios: &[String], partition: Option<&str>) -> Vec<String> {
    let scenarios = scenarios.iter().flat_map(|glob| ["--scenario".to_owned(), glob.clone()]);
    let partition = partition.into_iter().flat_map(|part| ["--partition".to_owned(), part.to_owned()]);
    scenarios.chain(partition).collect()
}

/// Puts all results into one file, and the report beside it.
fn collect(lab: &Lab<'_>, runs: &[KernelRun], report: bool) -> Result<()> {
    let mut files: Vec<PathBuf> = runs.iter().flat_map(|run| run.files(&lab.out)).collect();
    let breakdowns: Vec<Breakdown> = runs.iter().flat_map(|run| run.breakdowns.clone()).collect();
    let file = lab.out.join("breakdowns.json");
    results::write(&file, &results::of_breakdowns(&breakdowns))?;
    files.push(file);
    results::merge(&lab.programs.xdproof, &files, &lab.out)?;
    if report {
        let result = lab.out.join(results::FILE);
        run::quietly(
            Command::new(&lab.programs.xdproof).arg("report").arg(result).arg("--out").arg(&lab.out),
        )?;
    }
    Ok(())
}

/// KVM where the processor has it and a machine gets to its end with it.
fn accelerator(lab: &Lab<'_>, kernel: &Kernel) -> Accelerator {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has = |flag: &str| {
        let mut lines = flags.lines().filter(|line| line.starts_with("flags"));
        lines.any(|line| line.split_ascii_whitespace().any(|word| word == flag))
    };
    if !(has("vmx") || has("svm")) || fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return Accelerator::Tcg;
    }
    match boots_with_kvm(lab, kernel) {
        Ok(true) => Accelerator::Kvm,
        Ok(false) => {
            anstream::eprintln!("KVM is there, and no machine boots with it: QEMU does without");
            Accelerator::Tcg
        }
        Err(error) => {
            anstream::eprintln!("KVM is there, and could not be tried: {error:#}");
            Accelerator::Tcg
        }
    }
}

/// Boots a guest that has nothing to do.
fn boots_with_kvm(lab: &Lab<'_>, kernel: &Kernel) -> Result<bool> {
    let scratch = tempfile::tempdir()?;
    let initrd = scratch.path().join("initrd");
    let plan =
        Plan { cells: Vec::new(), modes: String::new(), most_frames: 0, rules: false, arguments: Vec::new() };
    initrd::write(&initrd, &lab.programs, kernel, &[], &plan)?;
    let machine = Machine {
        accelerator: Accelerator::Kvm,
        kernel,
        initrd,
        tester: &lab.tester,
        nics: Vec::new(),
        parameters: String::new(),
        console: scratch.path().join("console.log"),
        results: scratch.path().join("results"),
    };
    let limit = Duration::from_secs(30);
    let limits = Limits { whole: limit, silence: limit };
    Ok(machine.run(&lab.qemu, limits, lab.cancelled, drop)? == Ending::Whole)
}

/// A flag that is set when we are asked to end; the second time, the process ends at once, and QEMU with it.
fn flag_on_end() -> Result<Arc<AtomicBool>> {
    use signal_hook::{
        consts::{SIGINT, SIGTERM},
        flag,
    };
    let cancelled = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 4, Arc::clone(&cancelled))
            .context("failed to listen for signals")?;
        flag::register(signal, Arc::clone(&cancelled)).context("failed to listen for signals")?;
    }
    Ok(cancelled)
}

/// A file of the directory that this program was built from.
fn ours(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The path, with where administrators have their programs.
fn path() -> std::ffi::OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

fn show(kernels: &Kernels, nics: &Nics) {
    for kernel in &kernels.kernels {
        anstream::println!("kernel {:6} the newest of {}", kernel.series, kernel.suites.join(", "));
    }
    for nic in nics.all() {
        let how = match &nic {
            Nic::Emulated(nic) => format!("emulated, driver {}", nic.driver),
            Nic::Software(nic) => format!("made by the guest: {}", nic.setup.name()),
        };
        let apart = nic.apart().map(|why| format!("; only where it is named: {why}")).unwrap_or_default();
        anstream::println!("NIC    {:20} {how}{apart}", nic.name());
    }
    anstream::println!("and in every kernel: {GUEST}, which is doctor and a veth pair of xdproof's own");
}

#[cfg(test)]
mod tests {
    use super::part;

    #[test]
    fn a_part_is_one_of_those_there_are() {
        assert_eq!(part("1/3").as_deref(), Ok("1/3"));
        assert_eq!(part("3/3").as_deref(), Ok("3/3"));
        for wrong in ["0/3", "4/3", "0/0", "1", "a/b", "1/", "-1/2"] {
            assert!(part(wrong).is_err(), "{wrong}");
        }
    }
}
