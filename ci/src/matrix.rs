//! The matrix: for each kernel a machine with all NICs, and what to do when one of them breaks down.
//!
//! Promises: every cell ends in exactly one of a result, a breakdown or "not run"; a breakdown is never a result, is tried
//! once more, and takes no result away that came out whole before it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::{Context as _, Result};

use crate::{
    catalog::{GUEST, Nic, Tester},
    console::Console,
    fault::{Fault, FaultKind},
    frames::{Frame, Received},
    initrd::{self, Plan, Programs},
    kernels::Kernel,
    results::{self, Breakdown, CellResult},
    vm::{Accelerator, Ending, Limits, Machine, plan_line},
};

/// How often a cell is tried before it counts as lost.
const ATTEMPTS: u32 = 2;

/// Exit codes of xdproof that come with a result: as expected, something failed, inconclusive.
const RESULT_EXITS: [i32; 3] = [0, 1, 4];

/// What is the same for all machines of a run.
#[derive(Debug)]
pub(crate) struct Lab<'a> {
    pub(crate) qemu: PathBuf,
    pub(crate) accelerator: Accelerator,
    pub(crate) programs: Programs,
    /// Modules that every guest loads.
    pub(crate) modules: Vec<String>,
    /// What sends to the NICs that QEMU emulates.
    pub(crate) tester: Tester,
    /// Each NIC with its number in `nics.toml`.
    pub(crate) nics: Vec<(usize, Nic)>,
    /// The attach modes of the cells of NICs, separated by commas.
    pub(crate) modes: String,
    /// Scenarios that send more frames are left out of the cells of NICs.
    pub(crate) most_frames: u64,
    /// Whether the rules of attaching are tried on NICs.
    pub(crate) rules: bool,
    /// What `xdproof validate` gets for every cell.
    pub(crate) arguments: Vec<String>,
    pub(crate) limits: Limits,
    pub(crate) out: PathBuf,
    pub(crate) keep: bool,
    pub(crate) fault: Option<Fault>,
    pub(crate) cancelled: &'a AtomicBool,
}

/// What came out for a kernel.
#[derive(Clone, Debug, Default)]
pub(crate) struct KernelRun {
    /// What the results call it.
    pub(crate) name: String,
    /// The cells, in the order in which they are shown.
    pub(crate) order: Vec<String>,
    /// The results by cell.
    pub(crate) cells: BTreeMap<String, CellResult>,
    pub(crate) breakdowns: Vec<Breakdown>,
    /// Cells that were not begun, or not ended, because we were asked to end.
    pub(crate) unfinished: usize,
}

impl KernelRun {
    /// A kernel of which nothing can be run.
    pub(crate) fn lost(name: &str, why: &str) -> Self {
        let breakdown = Breakdown {
            cell: name.to_owned(),
            what: why.to_owned(),
            attempts: 1,
            recovered: false,
            console: String::new(),
        };
        Self { name: name.to_owned(), breakdowns: vec![breakdown], ..Self::default() }
    }

    /// Whether a cell, or the kernel with all its cells, came to nothing.
    pub(crate) fn is_lost(&self, cell: &str) -> bool {
        let is_it =
            |breakdown: &Breakdown| breakdown.cell == self.cell_name(cell) || breakdown.cell == self.name;
        self.breakdowns.iter().any(|breakdown| !breakdown.recovered && is_it(breakdown))
    }

    /// The files of its cells, below the directory of all results.
    pub(crate) fn files(&self, out: &Path) -> Vec<PathBuf> {
        let there = self.order.iter().filter(|cell| self.cells.contains_key(*cell));
        there.map(|cell| out.join(&self.name).join(cell).join(results::FILE)).collect()
    }

    fn cell_name(&self, cell: &str) -> String {
        format!("{}/{cell}", self.name)
    }
}

/// Runs all kernels, some at once, and gives what came out in their order.
pub(crate) fn run(lab: &Lab<'_>, kernels: &[Kernel], jobs: usize) -> Vec<KernelRun> {
    let next = AtomicUsize::new(0);
    let runs: Mutex<BTreeMap<usize, KernelRun>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(kernels.len()) {
            scope.spawn(|| {
                while let Some((number, kernel)) = {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    kernels.get(number).map(|kernel| (number, kernel))
                } {
                    let run = KernelMatrix::new(lab, kernel).rotated(number, kernels.len()).run();
                    runs.lock().unwrap_or_else(PoisonError::into_inner).insert(number, run);
                }
            });
        }
    });
    runs.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

/// The cells of one kernel on their way.
struct KernelMatrix<'a> {
    lab: &'a Lab<'a>,
    kernel: &'a Kernel,
    directory: PathBuf,
    pending: Vec<Cell>,
    attempts: BTreeMap<String, u32>,
    /// Machines that broke down before a cell began, or after the last one, and the latest of them.
    boots: u32,
    boot_failure: Option<Failure>,
    /// Whether cells were given up because no machine came so far as to begin them.
    given_up: bool,
    failures: BTreeMap<String, Failure>,
    run: KernelRun,
}

#[derive(Clone, Debug)]
struct Cell {
    name: String,
    /// None: the guest's own veth.
    nic: Option<(usize, Nic)>,
}

#[derive(Clone, Debug)]
struct Failure {
    what: String,
    console: String,
}

/// What came out of one machine.
#[derive(Debug, Default)]
struct Haul {
    files: BTreeMap<(String, String), Vec<u8>>,
    done: BTreeMap<String, i32>,
    trouble: BTreeMap<String, String>,
    current: Option<String>,
    missing_ports: Option<(u32, u32)>,
}

impl<'a> KernelMatrix<'a> {
    fn new(lab: &'a Lab<'a>, kernel: &'a Kernel) -> Self {
        let own = Cell { name: GUEST.to_owned(), nic: None };
        let of_nics = lab
            .nics
            .iter()
            .map(|(number, nic)| Cell { name: nic.name().to_owned(), nic: Some((*number, nic.clone())) });
        let pending: Vec<Cell> = std::iter::once(own).chain(of_nics).collect();
        let run = KernelRun {
            name: kernel.name.clone(),
            order: pending.iter().map(|cell| cell.name.clone()).collect(),
            ..KernelRun::default()
        };
        Self {
            lab,
            kernel,
            directory: lab.out.join(&kernel.name),
            pending,
            attempts: BTreeMap::new(),
            boots: 0,
            boot_failure: None,
            given_up: false,
            failures: BTreeMap::new(),
            run,
        }
    }

    /// Begins with another cell than the machines beside it: where NICs make a machine wait (igb for a minute, for its link), others
    /// have work meanwhile.
    fn rotated(mut self, number: usize, machines: usize) -> Self {
        let first = number * self.pending.len() / machines.max(1);
        self.pending.rotate_left(first);
        self
    }

    fn run(mut self) -> KernelRun {
        self.forget();
        let mut machine = 0;
        while !self.pending.is_empty() && !self.lab.cancelled.load(Ordering::Relaxed) {
            machine += 1;
            if let Err(error) = self.boot(machine) {
                self.blame_machine(&format!("{error:#}"), "");
            }
        }
        self.run.unfinished = self.pending.len();
        for (name, failure) in std::mem::take(&mut self.failures) {
            let Failure { what, console } = failure;
            let recovered = self.run.cells.contains_key(&name);
            let attempts = self.attempts.get(&name).copied().unwrap_or(1);
            self.run.breakdowns.push(Breakdown {
                cell: self.run.cell_name(&name),
                what,
                attempts: attempts + u32::from(recovered),
                recovered,
                console,
            });
        }
        if let Some(Failure { what, console }) = self.boot_failure.take() {
            self.run.breakdowns.push(Breakdown {
                cell: self.run.name.clone(),
                what,
                attempts: self.boots + u32::from(!self.given_up),
                recovered: !self.given_up,
                console,
            });
        }
        if let Err(error) = self.write_joined() {
            self.run.breakdowns.push(Breakdown {
                cell: self.run.name.clone(),
                what: format!("{error:#}"),
                attempts: 1,
                recovered: false,
                console: String::new(),
            });
        }
        self.run
    }

    /// Takes away what an earlier run left for these cells, so that nothing of it can pass for a result of this one.
    fn forget(&self) {
        let of_cells = self.run.order.iter().map(|cell| self.directory.join(cell).join(results::FILE));
        for file in of_cells.chain([self.directory.join(results::FILE), self.lab.out.join(results::FILE)]) {
            // Mostly there is none.
            let _none = std::fs::remove_file(file);
        }
    }

    /// Boots a machine for what is pending, and takes from it what comes out.
    fn boot(&mut self, machine: u32) -> Result<()> {
        std::fs::create_dir_all(&self.directory)
            .with_context(|| format!("failed to make {}", self.directory.display()))?;
        let fault = self.lab.fault.as_ref().filter(|fault| fault.holds(machine));
        let modules = self.modules(fault)?;
        if self.pending.is_empty() {
            return Ok(());
        }
        let scratch = tempfile::Builder::new().prefix("xdproof-ci-").tempdir()?;
        let initrd = scratch.path().join("initrd");
        let line = |cell: &Cell| match &cell.nic {
            None => format!("{GUEST} own"),
            Some((number, nic)) => plan_line(&self.lab.tester, nic, *number),
        };
        let plan = Plan {
            cells: self.pending.iter().map(line).collect(),
            modes: self.lab.modes.clone(),
            most_frames: self.lab.most_frames,
            rules: self.lab.rules,
            arguments: self.lab.arguments.clone(),
        };
        initrd::write(&initrd, &self.lab.programs, self.kernel, &modules, &plan)?;
        let left_out = |name: &str| fault.is_some_and(|fault| fault.is(FaultKind::NoNic, name));
        let pending = self.pending.clone();
        let emulated = pending.iter().filter_map(|cell| match &cell.nic {
            Some((number, Nic::Emulated(nic))) if !left_out(&nic.name) => Some((*number, nic)),
            _ => None,
        });
        let vm = Machine {
            accelerator: self.lab.accelerator,
            kernel: self.kernel,
            initrd: initrd.clone(),
            tester: &self.lab.tester,
            nics: emulated.collect(),
            parameters: fault.map(Fault::parameter).unwrap_or_default(),
            console: self.directory.join(format!("console-{machine}.log")),
            results: scratch.path().join("results"),
        };
        let mut haul = Haul::default();
        let begun = Instant::now();
        let ending = vm.run(&self.lab.qemu, self.lab.limits, self.lab.cancelled, |received| {
            self.receive(&mut haul, received);
        })?;
        let console = Console::read(&vm.console);
        if self.lab.keep {
            for (name, file) in [("initrd", &initrd), ("results", &vm.results)] {
                let to = self.directory.join(format!("{name}-{machine}"));
                std::fs::copy(file, &to).with_context(|| format!("failed to write {}", to.display()))?;
            }
            let line = vm.arguments().join(" ");
            results::write_bytes(&self.directory.join(format!("qemu-{machine}.txt")), line.as_bytes())?;
        }
        anstream::eprintln!(
            "{}: machine {machine} ended after {:.1} s",
            self.run.name,
            begun.elapsed().as_secs_f64()
        );
        self.settle(haul, &ending, &console);
        Ok(())
    }

    /// The modules of all pending cells. A cell whose module this kernel does not have is lost at once.
    fn modules(&mut self, fault: Option<&Fault>) -> Result<Vec<initrd::Module>> {
        let mut names = self.lab.modules.clone();
        let mut lost = Vec::new();
        for cell in &self.pending {
            let Some((_, nic)) = &cell.nic else { continue };
            if fault.is_some_and(|fault| fault.is(FaultKind::NoModule, nic.name())) {
                continue;
            }
            let of_nic = nic.modules();
            match initrd::modules_of(self.kernel, &of_nic) {
                Ok(_) => names.extend(of_nic),
                Err(error) => lost.push((cell.name.clone(), format!("{error:#}"))),
            }
        }
        for (name, what) in lost {
            // A second try would find the same.
            self.attempts.insert(name.clone(), ATTEMPTS - 1);
            self.blame(&name, &what, "");
            self.attempts.insert(name, 1);
        }
        initrd::modules_of(self.kernel, &names)
    }

    /// Takes in what has come while the machine runs, and keeps each result as soon as it is whole.
    fn receive(&self, haul: &mut Haul, received: Received) {
        match received {
            Received::Frame(Frame::Cell { cell }) => haul.current = Some(cell),
            Received::Frame(Frame::Trouble { cell, what }) => {
                haul.current = None;
                haul.trouble.insert(cell, what);
            }
            Received::Frame(Frame::Ports { expected, found }) if expected != found => {
                haul.missing_ports = Some((expected, found));
            }
            Received::Frame(Frame::Done { cell, exit, took }) => {
                haul.current = None;
                let seconds = f64::from(u32::try_from(took).unwrap_or(u32::MAX)) / 100.0;
                anstream::eprintln!("{}/{cell}: exit code {exit} after {seconds:.1} s", self.run.name);
                haul.done.insert(cell, exit);
            }
            Received::Frame(
                Frame::Begin { .. }
                | Frame::Ports { .. }
                | Frame::End { .. }
                | Frame::File { .. }
                | Frame::FileEnd,
            ) => {}
            Received::File { cell, name, bytes } => {
                // What is here stays, whatever happens to the machine or to us. That it cannot be written shows at the end.
                let _told_later = results::write_bytes(&self.directory.join(&cell).join(&name), &bytes);
                haul.files.insert((cell, name), bytes);
            }
        }
    }

    /// Turns what a machine gave into results and breakdowns.
    fn settle(&mut self, mut haul: Haul, ending: &Ending, console: &Console) {
        let mut settled = BTreeSet::new();
        for (cell, exit) in std::mem::take(&mut haul.done) {
            if !self.pending.iter().any(|pending| pending.name == cell) {
                continue;
            }
            let stalled = console.stalls.iter().find(|stall| stall.cell.as_deref() == Some(&cell));
            let result = match (stalled, haul.files.remove(&(cell.clone(), results::FILE.to_owned()))) {
                (Some(stall), _) => Err(format!("the guest stalled: {}", stall.text)),
                (None, None) => Err("no result came".to_owned()),
                (None, Some(_)) if !RESULT_EXITS.contains(&exit) => {
                    Err(format!("xdproof exited with {exit}"))
                }
                (None, Some(bytes)) => CellResult::parse(&bytes).map_err(|error| format!("{error:#}")),
            };
            match result.and_then(|result| self.keep(&cell, result, console)) {
                Ok(()) => self.pending.retain(|pending| pending.name != cell),
                Err(what) => self.blame(&cell, &what, &console.tail_of(&cell)),
            }
            settled.insert(cell);
        }
        for (cell, what) in std::mem::take(&mut haul.trouble) {
            let what = match haul.missing_ports {
                Some((expected, found)) if what.contains("no port") => {
                    format!("{what}: the guest has {found} of {expected} ports")
                }
                _ => what,
            };
            self.blame(&cell, &what, &console.tail_of(&cell));
            settled.insert(cell);
        }
        match ending {
            Ending::Cancelled => {}
            Ending::Whole => {
                let left_out = self.pending.iter().map(|cell| cell.name.clone());
                for cell in left_out.filter(|cell| !settled.contains(cell)).collect::<Vec<_>>() {
                    self.blame(&cell, "the guest did not run it", &console.tail);
                }
            }
            Ending::Broken(what) => {
                let what = match &console.panic {
                    Some(panic) => format!("the guest panicked: {panic}"),
                    None => what.clone(),
                };
                match haul.current {
                    Some(current) => self.blame(&current, &what, &console.tail),
                    None => self.blame_machine(&what, &console.tail),
                }
            }
        }
    }

    /// Keeps the result of a cell, with what the kernel said of itself meanwhile.
    fn keep(&mut self, cell: &str, mut result: CellResult, console: &Console) -> Result<(), String> {
        let nic = (cell != GUEST).then_some(cell);
        for fault in console.faults_of(Some(cell)) {
            result.add_fault(nic, fault);
        }
        // What was said before any cell began is about the kernel alone.
        if cell == GUEST {
            for fault in console.faults_of(None) {
                result.add_fault(None, fault);
            }
        }
        let file = self.directory.join(cell).join(results::FILE);
        results::write(&file, &result.value).map_err(|error| format!("{error:#}"))?;
        self.run.cells.insert(cell.to_owned(), result);
        Ok(())
    }

    /// Counts a failed try of a cell, and gives the cell up if it was the last one.
    fn blame(&mut self, cell: &str, what: &str, console: &str) {
        anstream::eprintln!("{}/{cell}: infrastructure error: {what}", self.run.name);
        let attempts = self.attempts.entry(cell.to_owned()).or_default();
        *attempts += 1;
        if *attempts >= ATTEMPTS {
            self.pending.retain(|pending| pending.name != cell);
        }
        self.failures.insert(cell.to_owned(), Failure { what: what.to_owned(), console: console.to_owned() });
        // Of a try that failed, nothing must be left that looks like a result.
        let _none = std::fs::remove_file(self.directory.join(cell).join(results::FILE));
    }

    /// Counts a machine that broke down while no cell ran. After the last try, all that is pending is given up.
    fn blame_machine(&mut self, what: &str, console: &str) {
        anstream::eprintln!("{}: infrastructure error: {what}", self.run.name);
        self.boots += 1;
        self.boot_failure = Some(Failure { what: what.to_owned(), console: console.to_owned() });
        if self.boots >= ATTEMPTS {
            self.given_up = !self.pending.is_empty();
            self.pending.clear();
        }
    }

    /// The result of the kernel: those of its cells in one.
    fn write_joined(&self) -> Result<()> {
        let files = self.run.files(&self.lab.out);
        if files.is_empty() {
            Ok(())
        } else {
            results::merge(&self.lab.programs.xdproof, &files, &self.directory)
        }
    }
}
