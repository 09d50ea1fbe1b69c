//! The matrix: boots each kernel in a machine with all NICs, and retries the cells that an infrastructure failure hit.
//!
//! Promises: every cell ends as exactly one of a result, an infrastructure failure or "not run"; an infrastructure failure is
//! never a result, is retried once, and does not affect the results that were complete before it.

use std::{
    collections::{BTreeMap, BTreeSet},
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
    catalog::{GUEST, Nic, SelectedNics},
    fault_injection::{Fault, NO_MODULE, NO_NIC},
    guest_log::GuestLog,
    host::Host,
    initrd::{self, Plan, ValidateOptions},
    kernels::Kernel,
    protocol::{File, Message},
    qemu::{Ending, Machine, Timeouts, plan_line},
    results::{self, CellResult, InfrastructureFailure},
    terminal::wrap,
};

/// Limit of the attempts to run a cell, and of the machines that fail while no cell runs.
const ATTEMPTS: u32 = 2;

/// Exit codes of xdproof with a result: as expected, failed, inconclusive.
const EXITS_WITH_RESULT: [i32; 3] = [0, 1, 4];

/// What all machines of a run have in common.
#[derive(Debug)]
pub(crate) struct MatrixConfig<'a> {
    pub(crate) host: Host,
    pub(crate) nics: SelectedNics,
    pub(crate) options: ValidateOptions,
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
    pub(crate) fn unprepared(name: &str, reason: String) -> Self {
        let failure = InfrastructureFailure::after(None, name.to_owned(), reason, String::new());
        Self { name: name.to_owned(), failures: vec![failure], ..Self::default() }
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
        self.results().map(|(cell, _)| out.join(cell).join(results::FILE)).collect()
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
                    let run = KernelMatrix::new(config, kernel).rotated(number, kernels.len()).run();
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
    /// The NIC and its number; none for the guest's own veth pair.
    nic: Option<(usize, &'a Nic)>,
}

/// The output of one machine.
#[derive(Debug, Default)]
struct MachineOutput {
    /// Content of each result file by cell.
    files: BTreeMap<String, Vec<u8>>,
    /// Exit code of xdproof in each cell that ended.
    exits: BTreeMap<String, i32>,
    /// Reason of each cell that could not be run.
    failures: BTreeMap<String, String>,
    /// The cell that runs.
    current: Option<String>,
    /// Expected and found number of ports, if they differ.
    missing_ports: Option<(u32, u32)>,
}

impl<'a> KernelMatrix<'a> {
    fn new(config: &'a MatrixConfig<'a>, kernel: &'a Kernel) -> Self {
        let nics = config.nics.selected.iter();
        let of_nics = nics.map(|(number, nic)| Cell { name: nic.name(), nic: Some((*number, nic)) });
        let mut pending = vec![Cell { name: GUEST, nic: None }];
        pending.extend(of_nics);
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

    /// Rotates the cells so that machines which run at the same time begin with different ones: while a NIC keeps one machine
    /// waiting (igb for a minute, for its link), the others use the CPU.
    fn rotated(mut self, number: usize, machines: usize) -> Self {
        let first = number * self.pending.len() / machines.max(1);
        self.pending.rotate_left(first);
        self
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
            // Usually there is none.
            let _none = fs::remove_file(directory.join(results::FILE));
        }
    }

    /// Boots a machine for the pending cells and takes their results.
    fn boot(&mut self, number: u32) -> Result<()> {
        let MatrixConfig { host, nics, options, timeouts, keep, fault, cancelled, .. } = self.config;
        fs::create_dir_all(&self.directory)?;
        let fault = fault.as_ref().filter(|fault| fault.applies_to(number));
        let modules = self.modules(fault)?;
        if self.pending.is_empty() {
            return Ok(());
        }
        let scratch = tempfile::Builder::new().prefix("xdproof-ci-").tempdir()?;
        let line = |cell: &Cell<'_>| match cell.nic {
            None => format!("{GUEST} own"),
            Some((number, nic)) => plan_line(&nics.tester, nic, number),
        };
        let plan = Plan { cells: self.pending.iter().map(line).collect(), options: options.clone() };
        let initrd = scratch.path().join("initrd");
        initrd::write(&initrd, &host.programs, self.kernel, &modules, &plan)?;
        let left_out = |name: &str| fault.is_some_and(|fault| fault.is(NO_NIC, name));
        let emulated = self.pending.iter().filter_map(|cell| match cell.nic {
            Some((number, Nic::Emulated(nic))) if !left_out(&nic.name) => Some((number, nic)),
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
        anstream::eprintln!("{}: machine {number} ended after {seconds:.1} s", self.run.name);
        self.evaluate(output, ending, &GuestLog::read(&machine.console));
        Ok(())
    }

    /// Keeps what a machine was started with and what it sent.
    fn keep_inputs(&self, machine: &Machine<'_>, number: u32) -> Result<()> {
        for (name, file) in [("initrd", &machine.initrd), ("results", &machine.results)] {
            fs::copy(file, self.directory.join(format!("{name}-{number}")))?;
        }
        let line = machine.arguments().join(" ");
        results::write_bytes(&self.directory.join(format!("qemu-{number}.txt")), line.as_bytes())
    }

    /// Returns the modules of all pending cells. A cell whose module this kernel lacks fails without a retry.
    fn modules(&mut self, fault: Option<&Fault>) -> Result<Vec<initrd::Module>> {
        let mut names = self.config.nics.modules.clone();
        for cell in self.pending.clone() {
            let Some((_, nic)) = cell.nic else { continue };
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
            Message::Ports { expected, found } if expected != found => {
                output.missing_ports = Some((expected, found));
            }
            Message::CellEnd { cell, exit, centiseconds } => {
                output.current = None;
                let seconds = f64::from(u32::try_from(centiseconds).unwrap_or(u32::MAX)) / 100.0;
                anstream::eprintln!("{}: exit code {exit} after {seconds:.1} s", self.run.cell_name(&cell));
                output.exits.insert(cell, exit);
            }
            Message::File(File { cell, name, content, .. }) => {
                // The file survives a failure of the machine and of this process. If it cannot be written, `keep` fails later.
                let _reported_later = results::write_bytes(&self.directory.join(&cell).join(&name), &content);
                if name == results::FILE {
                    output.files.insert(cell, content);
                }
            }
            Message::Begin { .. } | Message::Ports { .. } | Message::End { .. } => {}
        }
    }

    /// Turns the output of a machine into results and infrastructure failures.
    fn evaluate(&mut self, mut output: MachineOutput, ending: Ending, log: &GuestLog) {
        let mut evaluated = BTreeSet::new();
        for cell in self.pending.clone() {
            let outcome = if let Some(exit) = output.exits.get(cell.name) {
                self.keep(cell.name, *exit, output.files.remove(cell.name), log)
            } else if let Some(reason) = output.failures.remove(cell.name) {
                Err(match output.missing_ports {
                    Some((expected, found)) if reason.contains("no port") => {
                        format!("{reason}: the guest has {found} of {expected} ports")
                    }
                    _ => reason,
                })
            } else {
                continue;
            };
            evaluated.insert(cell.name);
            match outcome {
                Ok(()) => self.pending.retain(|pending| pending.name != cell.name),
                Err(reason) => self.fail(Some(cell.name), reason, log.tail_of(cell.name)),
            }
        }
        match ending {
            Ending::Cancelled => {}
            Ending::Complete => {
                for cell in self.pending.clone().into_iter().filter(|cell| !evaluated.contains(cell.name)) {
                    self.fail(Some(cell.name), "the guest did not run it".to_owned(), log.tail.clone());
                }
            }
            Ending::Failed(reason) => {
                let reason =
                    log.panic.as_ref().map_or(reason, |panic| format!("the guest panicked: {panic}"));
                let current = output.current.unwrap_or_default();
                let running = self.pending.iter().find(|cell| cell.name == current).map(|cell| cell.name);
                self.fail(running, reason, log.tail.clone());
            }
        }
    }

    /// Keeps the result of a cell, with the faults that the kernel reported while it ran.
    fn keep(&mut self, cell: &str, exit: i32, result: Option<Vec<u8>>, log: &GuestLog) -> Result<(), String> {
        if let Some(stall) = log.stalls.iter().find(|stall| stall.cell.as_deref() == Some(cell)) {
            return Err(format!("the guest stalled: {}", stall.text));
        }
        let result = result.ok_or("the guest sent no result")?;
        if !EXITS_WITH_RESULT.contains(&exit) {
            return Err(format!("xdproof exited with {exit}"));
        }
        let mut result = CellResult::parse(&result).map_err(|error| format!("{error:#}"))?;
        // Faults before the first cell are about the kernel only.
        let early = log.faults_of(None).filter(|_| cell == GUEST);
        for fault in log.faults_of(Some(cell)).chain(early) {
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
        anstream::eprintln!("{}", wrap(&format!("{name}: infrastructure failure: {reason}")));
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
            let _none = fs::remove_file(self.directory.join(cell).join(results::FILE));
        }
    }
}
