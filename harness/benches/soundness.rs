//! How far `xdproof bench --against` can be trusted on this machine: how often it finds a program that was slowed by 5 % of
//! its path, and how often it takes a program for slower or faster than itself, with the other CPUs idle and busy.
//!
//! ```text
//! cargo bench -p xdproof --bench soundness -- --runs 100 --slowed 20 --budget 15s
//! ```
//!
//! takes about half an hour, and an hour at most. Unless runs are asked for there are none: `cargo bench` has better things to
//! do. Needs root and clang.

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode},
};

use serde_json::Value;
use xdproof::{
    attach::Object,
    run::{CountedAction, Lab, chain},
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// By how much of its path a program is slowed.
const SHARE: f64 = 0.05;

/// The least share of runs in which a slowed program must be found.
const LEAST_FOUND: f64 = 19.0 / 20.0;

/// The greatest share of runs in which a program may differ from itself.
const MOST_FALSE: f64 = 1.0 / 100.0;

/// What is wanted.
#[derive(Debug)]
struct Wanted {
    runs: u32,
    slowed: u32,
    budget: String,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Only `cargo bench` says `--bench`; `cargo test --benches` wants to know that it starts, and `--list` what there is.
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
    let obstacle = Lab::open(Object::default(), CountedAction::Pass).err();
    if let Some(obstacle) = obstacle {
        eprintln!("soundness: nothing is measured: {}", chain(&obstacle));
        return ExitCode::SUCCESS;
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
    let directory = tempfile::tempdir()?;
    let base = compile(directory.path(), None)?;
    let path_ns = 1e9
        / median(
            &bench(&["--budget", "8s", "--mode", "native", "--injector", "live_frames"], &base, None)?.1,
        )?;
    let many = 200;
    let probe = compile(directory.path(), Some(many))?;
    let costs = bench(&["--budget", "6s", "--injector", "test_run"], &probe, Some(&base))?.1;
    let reference = number(&costs["measurements"][0]["reference_value"]["median"])?;
    let each = (median(&costs)? - reference) / f64::from(many);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
    let times = (SHARE * path_ns / each).round().max(1.0) as u32;
    let slow = compile(directory.path(), Some(times))?;
    println!(
        "a path of {path_ns:.0} ns, slowed by {times} multiplications of {each:.3} ns: {:.1} %",
        100.0 * f64::from(times) * each / path_ns
    );

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
        let mut reasons = std::collections::BTreeMap::<String, u32>::new();
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
            && f64::from(alarms) <= MOST_FALSE * f64::from(wanted.runs.max(100));
    }
    println!("{}", if sound { "sound" } else { "NOT SOUND" });
    Ok(sound)
}

/// Runs `xdproof bench`; gives its exit code and its result.
fn bench(arguments: &[&str], object: &Path, against: Option<&Path>) -> Result<(i32, Value)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xdproof"));
    command.args(["bench", "--json", "-q"]).args(arguments).arg("--object").arg(object);
    if let Some(against) = against {
        command.arg("--against").arg(against);
    }
    let output = command.output()?;
    let code = output.status.code().ok_or("xdproof was killed")?;
    if ![0, 1, 4].contains(&code) {
        return Err(format!("xdproof: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok((code, serde_json::from_slice(&output.stdout)?))
}

/// The figure of a result's first measurement.
fn median(result: &Value) -> Result<f64> {
    number(&result["measurements"][0]["value"]["median"])
}

fn number(value: &Value) -> Result<f64> {
    Ok(value.as_f64().ok_or("a figure is missing")?)
}

/// Compiles the C counter, slowed by so many multiplications.
fn compile(directory: &Path, slow: Option<u32>) -> Result<PathBuf> {
    let object = directory.join(format!("slow{}.o", slow.unwrap_or(0)));
    let output = Command::new("clang-19")
        .args(["-O2", "-g", "-target", "bpf", "-DNARROW", "-c"])
        .arg(format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH))
        .args(slow.map(|times| format!("-DSLOW={times}")))
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/objects/counter.c"))
        .arg("-o")
        .arg(&object)
        .output()?;
    if output.status.success() { Ok(object) } else { Err(String::from_utf8_lossy(&output.stderr).into()) }
}

/// Processes that keep every CPU but one busy.
struct Load(Vec<Child>);

impl Load {
    fn start() -> Result<Self> {
        let others = std::thread::available_parallelism()?.get().saturating_sub(1);
        let busy = || Command::new("sh").args(["-c", "while :; do :; done"]).spawn();
        Ok(Self((0..others).map(|_| busy()).collect::<std::io::Result<_>>()?))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // Whoever is gone needs no end.
            let _ended = child.kill().and_then(|()| child.wait());
        }
    }
}
