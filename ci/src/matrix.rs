//! The matrix: boots each kernel in a machine with all NICs, and retries the cells that an infrastructure failure hit.
//!
//! Promises: every cell ends as exactly one of a result, an infrastructure failure or "not run"; an infrastructure failure is
//! never a result, is retried once, and does not affect the results that were complete before it.

use std::{
    collections::BTreeMap,
    mem,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use anyhow::Result;
use fs_err as fs;

use crate::{
    catalog::{GUEST, Nic, Nics},
    fault_injection::{Fault, NO_MODULE, NO_NIC},
    fixtures::FixtureFiles,
    guest_log::GuestLog,
    host::Host,
    initrd::{self, GuestOptions},
    kernels::Kernel,
    protocol::{File, Message},
    qemu::{Ending, Machine, Timeouts, plan_line},
    results::{self, CellResult, InfrastructureFailure},
    terminal::log,
};

/// Limit of the attempts to run a cell, and of the machines that fail while no cell runs.
const ATTEMPTS: u32 = 2;

/// Exit codes of xdproof with a result: as expected, failed, inconclusive.
const EXITS_WITH_RESULT: [i32; 3] = [0, 1, 4];

/// Configuration of all machines of a run.
#[derive(Debug)]
pub(crate) struct MatrixConfig<'a> {
    pub(crate) host: Host,
    pub(crate) nics: Nics,
    pub(crate) options: GuestOptions,
    pub(crate) fixtures: FixtureFiles,
    pub(crate) timeouts: Timeouts,
    /// Directory of the results.
    pub(crate) out: PathBuf,
    /// Keeps the inputs of the machines.
    pub(crate) keep: bool,
    pub(crate) fault: Option<Fault>,
    pub(crate) cancelled: &'a AtomicBool,
}

/// The results of a kernel.
#[derive(Clone, Debug, Default)]
pub(crate) struct KernelRun {
    pub(crate) name: String,
    /// All cells in the order of the summary.
    pub(crate) order: Vec<String>,
    pub(crate) cells: BTreeMap<String, CellResult>,
    pub(crate) failures: Vec<InfrastructureFailure>,
    /// Number of cells that did not end before a cancellation.
    pub(crate) unfinished: usize,
}

impl KernelRun {
    /// Returns the run of a kernel that could not be prepared.
    pub(crate) fn unprepared(name: String, reason: String) -> Self {
        let failure = InfrastructureFailure::after(None, name.clone(), reason, String::new());
        Self { name, failures: vec![failure], ..Self::default() }
    }

    /// Tells whether an infrastructure failure hit a cell, or the kernel as a whole.
    pub(crate) fn is_lost(&self, cell: &str) -> bool {
        let is_it = |failed: &str| failed == self.name || failed == self.cell_name(cell);
        self.failures.iter().any(|failure| !failure.recovered && is_it(&failure.cell))
    }

    /// Returns the cells that have a result, by their full names.
    pub(crate) fn results(&self) -> impl Iterator<Item = (String, &CellResult)> {
        self.order.iter().filter_map(|cell| Some((self.cell_name(cell), self.cells.get(cell)?)))
    }

    /// Returns the result files below the directory of all results.
    pub(crate) fn files(&self, out: &Path) -> Vec<PathBuf> {
        let files = |(cell, _)| results::OF_CELL.map(|file| out.join(&cell).join(file));
        self.results().flat_map(files).filter(|file| file.is_file()).collect()
    }

    fn cell_name(&self, cell: &str) -> String {
        format!("{}/{cell}", self.name)
    }
}

/// Runs all kernels, up to `jobs` at a time, and returns their results in the given order.
pub(crate) fn run(config: &MatrixConfig<'_>, kernels: &[Kernel], jobs: usize) -> Vec<KernelRun> {
    let next = AtomicUsize::new(0);
    let runs: Mutex<BTreeMap<usize, KernelRun>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..jobs.min(kernels.len()) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(kernel) = kernels.get(number) else { break };
                    let mut matrix = KernelMatrix::new(config, kernel);
                    // Machines that run at the same time begin with different cells: while a NIC keeps one waiting (igb for a
                    // minute, for its link), the others use the CPU.
                    let cells = matrix.pending.len();
                    matrix.pending.rotate_left(number * cells / kernels.len());
                    let run = matrix.run();
                    runs.lock().unwrap_or_else(PoisonError::into_inner).insert(number, run);
                }
            });
        }
    });
    runs.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

/// The cells of one kernel while they are run.
struct KernelMatrix<'a> {
    config: &'a MatrixConfig<'a>,
    kernel: &'a Kernel,
    directory: PathBuf,
    pending: Vec<Cell<'a>>,
    /// Set if cells were dropped because machines failed while no cell ran.
    given_up: bool,
    /// Latest failure of each cell; with no cell, that of a machine while no cell ran.
    failures: BTreeMap<Option<&'a str>, InfrastructureFailure>,
    run: KernelRun,
}

#[derive(Clone, Copy, Debug)]
struct Cell<'a> {
    name: &'a str,
    /// None for the guest's own veth pair.
    nic: Option<&'a Nic>,
}

/// The output of one machine.
#[derive(Debug, Default)]
struct MachineOutput {
    /// Content of the result by cell.
    results: BTreeMap<String, Vec<u8>>,
    /// Content of the result of the fixtures by cell.
    fixtures: BTreeMap<String, Vec<u8>>,
    /// Exit code of xdproof in each cell that ended.
    exits: BTreeMap<String, i32>,
    /// Reason of each cell that could not be run.
    failures: BTreeMap<String, String>,
    /// The cell that runs.
    current: Option<String>,
}

impl<'a> KernelMatrix<'a> {
    fn new(config: &'a MatrixConfig<'a>, kernel: &'a Kernel) -> Self {
        let mut pending = vec![Cell { name: GUEST, nic: None }];
        pending.extend(config.nics.nics.iter().map(|nic| Cell { name: nic.name(), nic: Some(nic) }));
        let run = KernelRun {
            name: kernel.name.clone(),
            order: pending.iter().map(|cell| cell.name.to_owned()).collect(),
            ..KernelRun::default()
        };
        Self {
            config,
            kernel,
            directory: config.out.join(&kernel.name),
            pending,
            given_up: false,
            failures: BTreeMap::new(),
            run,
        }
    }

    fn run(mut self) -> KernelRun {
        self.remove_old_results();
        let mut machine = 0;
        while !self.pending.is_empty() && !self.config.cancelled.load(Ordering::Relaxed) {
            machine += 1;
            if let Err(error) = self.boot(machine) {
                self.fail(None, format!("{error:#}"), String::new());
            }
        }
        self.run.unfinished = self.pending.len();
        for (cell, mut failure) in mem::take(&mut self.failures) {
            failure.recovered = cell.map_or(!self.given_up, |cell| self.run.cells.contains_key(cell));
            failure.attempts += u32::from(failure.recovered);
            self.run.failures.push(failure);
        }
        let files = self.run.files(&self.config.out);
        if !files.is_empty()
            && let Err(error) = results::merge(&self.config.host.programs.xdproof, &files, &self.directory)
        {
            let (name, reason) = (self.run.name.clone(), format!("{error:#}"));
            self.run.failures.push(InfrastructureFailure::after(None, name, reason, String::new()));
        }
        self.run
    }

    /// Removes the result files of an earlier run, which could be taken for those of this one.
    fn remove_old_results(&self) {
        let of_cells = self.run.order.iter().map(|cell| self.directory.join(cell));
        for directory in of_cells.chain([self.directory.clone(), self.config.out.clone()]) {
            remove_results(&directory);
        }
    }

    /// Boots a machine for the pending cells and takes their results.
    fn boot(&mut self, number: u32) -> Result<()> {
        let MatrixConfig { host, nics, options, fixtures, timeouts, keep, fault, cancelled, .. } =
            self.config;
        fs::create_dir_all(&self.directory)?;
        let fault = fault.as_ref().filter(|fault| fault.applies_to(number));
        let modules = self.modules(fault)?;
        if self.pending.is_empty() {
            return Ok(());
        }
        let scratch = tempfile::Builder::new().prefix("xdproof-ci-").tempdir()?;
        let line = |cell: &Cell<'_>| match cell.nic {
            None => format!("{GUEST} own"),
            Some(nic) => plan_line(&nics.tester, nic),
        };
        let cells: Vec<String> = self.pending.iter().map(line).collect();
        let initrd = scratch.path().join("initrd");
        initrd::write(&initrd, &host.programs, self.kernel, &modules, &cells, options, fixtures)?;
        let left_out = |name: &str| fault.is_some_and(|fault| fault.is(NO_NIC, name));
        let emulated = self.pending.iter().filter_map(|cell| match cell.nic {
            Some(Nic::Emulated(nic)) if !left_out(&nic.name) => Some(nic),
            _ => None,
        });
        let machine = Machine {
            accelerator: host.accelerator,
            kernel: self.kernel,
            initrd,
            tester: &nics.tester,
            nics: emulated.collect(),
            parameters: fault.map(Fault::kernel_parameter).unwrap_or_default(),
            console: self.directory.join(format!("console-{number}.log")),
            results: scratch.path().join("results"),
        };
        let mut output = MachineOutput::default();
        let begun = Instant::now();
        let ending =
            machine.run(&host.qemu, *timeouts, cancelled, |message| self.receive(&mut output, message))?;
        if *keep {
            self.keep_inputs(&machine, number)?;
        }
        let seconds = begun.elapsed().as_secs_f64();
        log(&format!("{}: machine {number} ended after {seconds:.1} s", self.run.name));
        self.evaluate(output, ending, &GuestLog::read(&machine.console));
        Ok(())
    }

    /// Keeps the inputs and the raw results of a machine, and a script that boots it again.
    fn keep_inputs(&self, machine: &Machine<'_>, number: u32) -> Result<()> {
        let kept = |name: &str| self.directory.join(format!("{name}-{number}"));
        let (initrd, results) = (kept("initrd"), kept("results"));
        fs::copy(&machine.initrd, &initrd)?;
        fs::copy(&machine.results, &results)?;
        let console = PathBuf::from("/dev/stdout");
        let arguments = Machine { initrd, results, console, ..machine.clone() }.arguments();
        let quoted = |word: &String| format!(" '{}'", word.replace('\'', r"'\''"));
        let words: String = arguments.iter().map(quoted).collect();
        Ok(fs::write(
            kept("qemu").with_extension("sh"),
            format!("{}{words}\n", self.config.host.qemu.display()),
        )?)
    }

    /// Returns the modules of all pending cells. A cell whose module this kernel lacks fails without a retry.
    fn modules(&mut self, fault: Option<&Fault>) -> Result<Vec<initrd::Module>> {
        let mut names = self.config.nics.modules.clone();
        for cell in self.pending.clone() {
            let Some(nic) = cell.nic else { continue };
            if fault.is_some_and(|fault| fault.is(NO_MODULE, cell.name)) {
                continue;
            }
            let of_nic = nic.modules();
            match initrd::modules_of(self.kernel, &of_nic) {
                Ok(_) => names.extend(of_nic),
                Err(error) => {
                    self.fail(Some(cell.name), format!("{error:#}"), String::new());
                    self.pending.retain(|pending| pending.name != cell.name);
                }
            }
        }
        initrd::modules_of(self.kernel, &names)
    }

    /// Takes a message of a running machine, and keeps each result file as soon as it is complete.
    fn receive(&self, output: &mut MachineOutput, message: Message) {
        match message {
            Message::CellBegin { cell } => output.current = Some(cell),
            Message::CellFailure { cell, reason } => {
                output.current = None;
                output.failures.insert(cell, reason);
            }
            Message::CellEnd { cell, exit, centiseconds } => {
                output.current = None;
                let seconds = f64::from(u32::try_from(centiseconds).unwrap_or(u32::MAX)) / 100.0;
                log(&format!("{}: exit code {exit} after {seconds:.1} s", self.run.cell_name(&cell)));
                output.exits.insert(cell, exit);
            }
            Message::File(File { cell, name, content, .. }) => {
                // The file survives a failure of the machine and of this process. If it cannot be written, `keep` fails later.
                let _reported_later = results::write_bytes(&self.directory.join(&cell).join(&name), &content);
                match name.as_str() {
                    results::FILE => output.results.insert(cell, content),
                    results::FIXTURES_FILE => output.fixtures.insert(cell, content),
                    _ => None,
                };
            }
            Message::End { .. } => {}
        }
    }

    /// Turns the output of a machine into results and infrastructure failures.
    fn evaluate(&mut self, mut output: MachineOutput, ending: Ending, log: &GuestLog) {
        for cell in self.pending.clone() {
            let outcome = if let Some(exit) = output.exits.get(cell.name) {
                let (result, fixtures) =
                    (output.results.remove(cell.name), output.fixtures.remove(cell.name));
                self.keep(cell.name, *exit, result, fixtures, log)
            } else if let Some(reason) = output.failures.remove(cell.name) {
                Err(reason)
            } else if ending == Ending::Complete {
                Err("the guest did not run it".to_owned())
            } else {
                continue;
            };
            match outcome {
                Ok(()) => self.pending.retain(|pending| pending.name != cell.name),
                Err(reason) => self.fail(Some(cell.name), reason, log.tail_of(cell.name)),
            }
        }
        if let Ending::Failed(reason) = ending {
            let reason = log.panic.as_ref().map_or(reason, |panic| format!("the guest panicked: {panic}"));
            let current = output.current.unwrap_or_default();
            let running = self.pending.iter().find(|cell| cell.name == current).map(|cell| cell.name);
            self.fail(running, reason, log.tail.clone());
        }
    }

    /// Keeps the result of a cell, with the faults that the kernel reported while it ran.
    fn keep(
        &mut self,
        cell: &str,
        exit: i32,
        result: Option<Vec<u8>>,
        fixtures: Option<Vec<u8>>,
        log: &GuestLog,
    ) -> Result<(), String> {
        if let Some(stall) = log.stall_of(cell) {
            return Err(format!("the guest stalled: {stall}"));
        }
        let result = result.ok_or("the guest sent no result")?;
        if !EXITS_WITH_RESULT.contains(&exit) {
            return Err(format!("xdproof exited with {exit}"));
        }
        let parse = |bytes: &[u8]| CellResult::parse(bytes).map_err(|error| format!("{error:#}"));
        let mut result = parse(&result)?;
        if !self.config.options.test.is_empty() {
            let fixtures = fixtures.ok_or("the guest sent no result of the fixtures")?;
            result.fixtures = Some(Box::new(parse(&fixtures)?));
        }
        // Faults before the first cell are about the kernel only.
        let early = if cell == GUEST { log.faults_of(None) } else { &[] };
        for fault in log.faults_of(Some(cell)).iter().chain(early) {
            result.add_kernel_fault((cell != GUEST).then_some(cell), fault);
        }
        let file = self.directory.join(cell).join(results::FILE);
        results::write(&file, &result.value).map_err(|error| format!("{error:#}"))?;
        self.run.cells.insert(cell.to_owned(), result);
        Ok(())
    }

    /// Records a failed attempt of a cell, or of a machine while no cell ran. After the last one, the cell or all of them are
    /// no longer pending.
    fn fail(&mut self, cell: Option<&'a str>, reason: String, console: String) {
        let name = cell.map_or_else(|| self.run.name.clone(), |cell| self.run.cell_name(cell));
        log(&format!("{name}: infrastructure failure: {reason}"));
        let failure = InfrastructureFailure::after(self.failures.get(&cell), name, reason, console);
        if failure.attempts >= ATTEMPTS {
            match cell {
                Some(cell) => self.pending.retain(|pending| pending.name != cell),
                None => self.given_up = !mem::take(&mut self.pending).is_empty(),
            }
        }
        self.failures.insert(cell, failure);
        if let Some(cell) = cell {
            // A failed attempt must leave nothing that could be taken for a result.
            remove_results(&self.directory.join(cell));
        }
    }
}

fn remove_results(directory: &Path) {
    for file in results::OF_CELL {
        // Usually there is none.
        let _none = fs::remove_file(directory.join(file));
    }
}
