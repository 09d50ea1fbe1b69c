//! Measures the error rates of `xdproof bench --against` on this machine: the share of runs that find a program slowed by 5 % of
//! its path, and the share that judge a program slower or faster than itself, with the other CPUs idle and busy.
//!
//! ```text
//! cargo bench -p xdproof --bench soundness -- --runs 100 --slowed 20 --budget 15s
//! ```
//!
//! takes about half an hour, and an hour at most. Without these options nothing runs, so that `cargo bench` stays short. Needs
//! root and clang.

#[path = "../tests/support/objects.rs"]
#[expect(
    dead_code,
    reason = "objects are measured by their files, and whether there is clang shows by itself"
)]
mod objects;
mod privilege;

use std::{
    collections::BTreeMap,
    error::Error,
    process::{Command, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use objects::Compiled;
use serde_json::Value;
use xdproof::error::chain;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Share of its path by which a program is slowed.
const SHARE: f64 = 0.05;

/// The least share of runs in which a slowed program must be found.
const LEAST_FOUND: f64 = 19.0 / 20.0;

/// The greatest share of runs in which a program may differ from itself.
const MOST_FALSE: f64 = 1.0 / 100.0;

/// Runs to do.
#[derive(Debug)]
struct Wanted {
    runs: u32,
    slowed: u32,
    budget: String,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Only `cargo bench` passes `--bench`; `cargo test --benches` checks that the bench starts, and `--list` lists it.
    let said = |name: &str| arguments.iter().any(|argument| argument == name);
    if !said("--bench") || said("--test") || said("--list") {
        return ExitCode::SUCCESS;
    }
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let number = |name, default| value(name).map_or(Ok(default), |text| text.parse::<u32>());
    let (Ok(runs), Ok(slowed)) = (number("--runs", 0), number("--slowed", 0)) else {
        eprintln!("error: --runs and --slowed take a number");
        return ExitCode::from(2);
    };
    if runs + slowed == 0 {
        eprintln!("soundness: nothing is measured: it takes --runs N and --slowed N");
        return ExitCode::SUCCESS;
    }
    let wanted = Wanted { runs, slowed, budget: value("--budget").unwrap_or_else(|| "15s".to_owned()) };
    if let Some(code) = privilege::obstacle("soundness") {
        return code;
    }
    match sound(&wanted) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn sound(wanted: &Wanted) -> Result<bool> {
    let base = compile(None)?;
    let path = bench(&["--budget", "8s", "--mode", "native", "--injector", "live_frames"], &base, None)?.1;
    let path_ns = 1e9 / figure(&path, "value")?;
    let slow = slowed_by(SHARE * path_ns, &base)?;
    println!("a path of {path_ns:.0} ns, slowed by {:.1} %", 100.0 * extra_cost(&slow, &base)? / path_ns);

    let mut sound = true;
    for busy in [false, true] {
        let _load = busy.then(Load::start).transpose()?;
        let others = if busy { "busy" } else { "idle" };
        let (mut found, mut untold) = (0, 0);
        for _ in 0..wanted.slowed {
            match bench(&["--budget", &wanted.budget], &slow, Some(&base))?.0 {
                1 => found += 1,
                4 => untold += 1,
                _ => {}
            }
        }
        println!(
            "others {others}: slowed by {:.0} %: found in {found} of {} runs, {untold} INCONCLUSIVE",
            100.0 * SHARE,
            wanted.slowed
        );
        let (mut alarms, mut untold) = (0, 0);
        let mut reasons = BTreeMap::<String, u32>::new();
        for _ in 0..wanted.runs {
            let (code, result) = bench(&["--budget", &wanted.budget], &base, Some(&base))?;
            let measurements = result["measurements"].as_array().ok_or("no measurements")?;
            let verdicts = || measurements.iter().filter_map(|its| its["verdict"]["kind"].as_str());
            alarms += u32::from(verdicts().any(|verdict| ["regression", "improved"].contains(&verdict)));
            untold += u32::from(code == 4);
            for reason in measurements.iter().filter_map(|its| its["verdict"]["reason"]["kind"].as_str()) {
                *reasons.entry(reason.to_owned()).or_default() += 1;
            }
        }
        println!(
            "others {others}: against itself: {alarms} false alarms in {} runs, {untold} INCONCLUSIVE {reasons:?}",
            wanted.runs
        );
        sound &= f64::from(found) >= LEAST_FOUND * f64::from(wanted.slowed)
            && f64::from(alarms) <= MOST_FALSE * f64::from(wanted.runs);
    }
    println!("{}", if sound { "sound" } else { "NOT SOUND" });
    Ok(sound)
}

/// The C counter, slowed by so many nanoseconds for a frame. The first multiplications overlap with the rest of the program and
/// cost next to nothing, and each further one costs the same: two measurements tell how many it takes.
fn slowed_by(wanted_ns: f64, base: &Compiled) -> Result<Compiled> {
    let few = 2.0 * wanted_ns;
    let many = 2.0 * few;
    let [at_few, at_many] = [few, many].map(|times| extra_cost(&compile(Some(times))?, base));
    let (at_few, at_many) = (at_few?, at_many?);
    let times = few + (wanted_ns - at_few) * (many - few) / (at_many - at_few);
    compile(Some(times))
}

/// Measures the cost of a program above that of another one, in nanoseconds a frame.
fn extra_cost(slow: &Compiled, base: &Compiled) -> Result<f64> {
    let costs = bench(&["--budget", "6s", "--injector", "test_run"], slow, Some(base))?.1;
    Ok(figure(&costs, "value")? - figure(&costs, "reference_value")?)
}

/// Runs `xdproof bench`. Returns its exit code and its result.
fn bench(arguments: &[&str], object: &Compiled, against: Option<&Compiled>) -> Result<(i32, Value)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xdproof"));
    command.args(["bench", "--json", "-q"]).args(arguments).arg("--object").arg(object.path());
    if let Some(against) = against {
        command.arg("--against").arg(against.path());
    }
    let output = command.output()?;
    let code = output.status.code().ok_or("xdproof was killed")?;
    if ![0, 1, 4].contains(&code) {
        return Err(format!("xdproof: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok((code, serde_json::from_slice(&output.stdout)?))
}

/// A figure of a result's first measurement.
fn figure(result: &Value, name: &str) -> Result<f64> {
    Ok(result["measurements"][0][name]["median"].as_f64().ok_or("a figure is missing")?)
}

/// Compiles the C counter, slowed by so many multiplications.
fn compile(slow: Option<f64>) -> Result<Compiled> {
    let slow = slow.map(|times| format!("SLOW={:.0}", times.max(1.0)));
    let defines: Vec<&str> = ["NARROW"].into_iter().chain(slow.as_deref()).collect();
    Compiled::new(&defines).map_err(|failed| failed.message().unwrap_or("it does not compile").into())
}

/// Threads that keep every CPU but one busy.
struct Load {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start() -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let busy = || {
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        };
        let others = std::thread::available_parallelism()?.get().saturating_sub(1);
        let threads = (0..others).map(|_| busy()).collect();
        Ok(Self { over, threads })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It only spins, and cannot panic.
            let _ended = thread.join();
        }
    }
}
