//! `ci/matrix`: boots kernels in virtual machines, with pairs of NICs that QEMU emulates or the guest creates, and runs
//! xdproof in them.

mod archives;
mod cache;
mod catalog;
mod cli;
mod command;
mod decompress;
mod fault_injection;
mod fixtures;
mod guest_log;
mod host;
mod initrd;
mod kernels;
mod matrix;
mod programs;
mod protocol;
mod qemu;
mod results;
mod summary;
mod terminal;

use std::{
    io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use fs_err as fs;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use Failure::{Input, Machine};
use archives::Archives;
use cache::Cache;
use catalog::{GUEST, Kernels, Nic, Nics};
use cli::{Cli, MachineArgs, OutputArgs};
use fixtures::FixtureFiles;
use host::Host;
use initrd::GuestPrograms;
use kernels::{Kernel, KernelSpec, KernelStore};
use matrix::{KernelRun, MatrixConfig};
use programs::{check_static, find, with_libraries};
use qemu::{Accelerator, Timeouts};
use results::InfrastructureFailure;
use summary::Outcome;
use terminal::{log, wrap};

/// An error that determines the exit code.
#[derive(Debug)]
enum Failure {
    /// Exit code 2.
    Input(anyhow::Error),
    /// Exit code 3.
    Machine(anyhow::Error),
}

fn main() -> ExitCode {
    let (error, code) = match run_matrix(&Cli::parse()) {
        Ok(Outcome::AsExpected) => return ExitCode::SUCCESS,
        Ok(Outcome::Failed) => return ExitCode::from(1),
        Ok(Outcome::Inconclusive) => return ExitCode::from(4),
        Err(Input(error)) => (error, 2),
        Err(Machine(error)) => (error, 3),
    };
    log(&format!("error: {error:#}"));
    ExitCode::from(code)
}

fn run_matrix(cli: &Cli) -> Result<Outcome, Failure> {
    let begun = Instant::now();
    let Cli { cells, trials, machines, output } = cli;
    let kernels = Kernels::read(&own_file("kernels.toml")).map_err(Input)?;
    let nics = Nics::read(&own_file("nics.toml")).map_err(Input)?;
    if cells.list {
        list(&mut anstream::stdout(), &kernels, &nics).map_err(|error| Machine(error.into()))?;
        return Ok(Outcome::AsExpected);
    }
    let requested = requested_kernels(&cells.kernel, &kernels).map_err(Input)?;
    let nics = nics.select(&cells.nic).map_err(Input)?;
    let fixtures = trials.fixtures.as_deref().map(FixtureFiles::read).transpose().map_err(Input)?;

    let qemu = find_tools().map_err(Machine)?;
    let cache = Cache::open().map_err(Machine)?;
    let cancelled = cancel_on_signals().map_err(Machine)?;
    let archives = Archives::new(&cache, &kernels);
    let store = KernelStore::open(&cache, &kernels, &archives, &requested);
    let (ready, unprepared) = prepare(&store, &requested).map_err(Machine)?;
    let busybox = archives.busybox().map_err(Machine)?;
    if cells.fetch {
        return Ok(if unprepared.is_empty() { Outcome::AsExpected } else { Outcome::Inconclusive });
    }
    let programs = guest_programs(busybox, machines.programs.as_deref())?;
    results::check_scenarios(&programs.xdproof, &trials.scenario).map_err(Input)?;
    let out = std::path::absolute(&output.out).map_err(|error| Input(error.into()))?;
    fs::create_dir_all(&out).map_err(|error| Input(error.into()))?;

    let mut host = Host { qemu, accelerator: Accelerator::Tcg, programs };
    host.accelerator = host.usable_accelerator(&nics.tester, &ready[0], &cancelled);
    let MachineArgs { jobs, timeout, silence, programs: _, inject_fault } = machines;
    let jobs = jobs.unwrap_or_else(|| default_jobs(host.accelerator)).max(1);
    let config = MatrixConfig {
        host,
        nics,
        options: trials.options(),
        fixtures: fixtures.unwrap_or_default(),
        timeouts: Timeouts { total: Duration::from_secs(*timeout), silence: Duration::from_secs(*silence) },
        out,
        keep: output.keep,
        fault: inject_fault.clone(),
        cancelled: &cancelled,
    };
    let mut runs = matrix::run(&config, &ready, jobs);
    runs.extend(unprepared);
    let written = write_results(&config, &runs, output);
    summary::write(&mut anstream::stdout(), &runs, begun.elapsed())
        .map_err(Into::into)
        .and(written)
        .map_err(Machine)?;
    Ok(Outcome::of(&runs))
}

fn requested_kernels(names: &[String], kernels: &Kernels) -> Result<Vec<KernelSpec>> {
    if names.is_empty() {
        return Ok(kernels.kernels.iter().map(|kernel| KernelSpec::Series(kernel.series.clone())).collect());
    }
    names.iter().map(|name| KernelSpec::parse(name, kernels)).collect()
}

/// Checks that the tools of the host are installed, and returns QEMU.
fn find_tools() -> Result<PathBuf> {
    for tool in ["modprobe", "depmod", "dpkg", "apt-get", "xz", "zstd", "setpriv"] {
        find(tool)?;
    }
    find("qemu-system-x86_64")
}

/// Fetches the kernels. One that fails is a run of its own; it is an error if all fail.
fn prepare(store: &KernelStore<'_>, requested: &[KernelSpec]) -> Result<(Vec<Kernel>, Vec<KernelRun>)> {
    let (mut ready, mut unprepared) = (Vec::new(), Vec::new());
    for kernel in requested {
        match store.get(kernel) {
            Ok(kernel) => ready.push(kernel),
            Err(error) => unprepared.push(KernelRun::unprepared(kernel.name(), format!("{error:#}"))),
        }
    }
    let reasons: Vec<&str> =
        unprepared.iter().flat_map(|run| &run.failures).map(|failure| failure.reason.as_str()).collect();
    ensure!(!ready.is_empty(), "no kernel could be prepared: {}", reasons.join("; "));
    Ok((ready, unprepared))
}

fn guest_programs(busybox: PathBuf, directory: Option<&Path>) -> Result<GuestPrograms, Failure> {
    let iproute2 = find("ip").and_then(|ip| with_libraries(&ip)).map_err(Machine)?;
    let directory = match directory {
        Some(directory) => directory.to_owned(),
        None => host::own_directory().map_err(Machine)?,
    };
    let built = [directory.join("xdproof"), directory.join("link-relay")];
    for program in &built {
        check_static(program).map_err(Input)?;
    }
    let [xdproof, link_relay] = built;
    Ok(GuestPrograms { busybox, xdproof, link_relay, iproute2 })
}

/// Returns the number of machines that run at once by default. NICs leave a machine idle for a third of the time, while their
/// links come up; this pays if QEMU executes every instruction.
fn default_jobs(accelerator: Accelerator) -> usize {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    match accelerator {
        Accelerator::Kvm => cpus,
        Accelerator::Tcg => 2 * cpus + 1,
    }
}

/// Joins all results into one file, and writes the report on request.
fn write_results(config: &MatrixConfig<'_>, runs: &[KernelRun], output: &OutputArgs) -> Result<()> {
    let MatrixConfig { host, out, .. } = config;
    let mut files: Vec<PathBuf> = runs.iter().flat_map(|run| run.files(out)).collect();
    let failures: Vec<InfrastructureFailure> = runs.iter().flat_map(|run| run.failures.clone()).collect();
    let file = out.join("infrastructure-failures.json");
    results::write(&file, &results::collection_of_failures(&failures))?;
    files.push(file);
    results::merge(&host.programs.xdproof, &files, out)?;
    if output.report {
        let mut xdproof = Command::new(&host.programs.xdproof);
        command::stdout(xdproof.arg("report").arg(out.join(results::FILE)).arg("--out").arg(out))?;
    }
    Ok(())
}

/// Returns a flag that SIGINT and SIGTERM set; the second signal ends the process, and QEMU with it.
fn cancel_on_signals() -> Result<Arc<AtomicBool>> {
    let cancelled = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 4, Arc::clone(&cancelled))
            .and_then(|_| flag::register(signal, Arc::clone(&cancelled)))
            .context("failed to install signal handlers")?;
    }
    Ok(cancelled)
}

/// Returns a file of this crate's directory.
fn own_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn list(to: &mut impl io::Write, kernels: &Kernels, nics: &Nics) -> io::Result<()> {
    for kernel in &kernels.kernels {
        let suites = kernel.suites.join(", ");
        writeln!(to, "{}", wrap(&format!("kernel {:6} newest release in {suites}", kernel.series)))?;
    }
    for nic in &nics.nics {
        let kind = match nic {
            Nic::Emulated(nic) => format!("emulated, driver {}", nic.driver),
            Nic::Software(nic) => format!("created by the guest, setup {}", nic.setup),
        };
        let reason =
            nic.only_if_named().map(|reason| format!("; only if named: {reason}")).unwrap_or_default();
        writeln!(to, "{}", wrap(&format!("NIC    {:20} {kind}{reason}", nic.name())))?;
    }
    writeln!(to, "every kernel also has the cell {GUEST}: doctor, and xdproof on its own veth pair")
}
