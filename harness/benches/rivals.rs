//! Compares the injectors with `trafgen` (netsniff-ng), and with live frames without any bookkeeping.
//!
//! There is one interleaved run for each attach mode: in every block each sender has its turn, and again in the opposite order. The
//! output is a ratio of rates, the median over blocks with its 95 % interval. Each frame must be counted, whoever sends it.
//! Everything runs on one CPU, which on a veth also receives. Without privilege, or without `trafgen`, nothing is measured.

use std::{
    error::Error,
    path::Path,
    process::{Command, ExitCode},
    time::Instant,
};

use xdproof::{
    error::chain,
    inject::{cpu::Pinned, live_frames::LiveFrames, ring::RingSender},
    measure::{
        bootstrap_median, median,
        traffic::{Mix, Traffic},
    },
    program::{Object, Program},
    testbed::{PortPair, Spec},
};
use xdproof_netns::{NetNs, Worker, XdpMode};

/// Blocks of a run.
const BLOCKS: usize = 24;

/// Frames that a sender sends in its turn.
const FRAMES: u32 = 100_000;

/// The senders, in the order of their first turns.
const SENDERS: [&str; 4] = ["live_frames", "bare live frames", "trafgen", "ring"];

/// Pairs to compare: the first over the second, with the least ratio.
const CLAIMS: [(usize, usize, f64); 3] = [(0, 2, 3.0), (0, 1, 0.95), (3, 2, 1.2)];

fn main() -> ExitCode {
    // Only `cargo bench` passes `--bench`; `cargo test --benches` checks that the bench starts, and `--list` lists it.
    let said = |name: &str| std::env::args().any(|argument| argument == name);
    if !said("--bench") || said("--test") || said("--list") {
        return ExitCode::SUCCESS;
    }
    if let Err(error) = Command::new("trafgen").arg("--version").output() {
        eprintln!("rivals: nothing is measured: trafgen, of netsniff-ng: {error}");
        return ExitCode::SUCCESS;
    }
    for mode in [XdpMode::Native, XdpMode::Generic] {
        if let Err(error) = race(mode) {
            eprintln!("rivals: {mode}: nothing is measured: {}", chain(&*error));
        }
    }
    ExitCode::SUCCESS
}

fn race(mode: XdpMode) -> Result<(), Box<dyn Error>> {
    let testbed = PortPair::veth(Spec::default())?;
    let index = testbed.topology.dut.index;
    let (program, counters) = Program::load_counter(&Object::default())?;
    let _attachment = program.attach(&testbed.dut, index, Some(mode))?;
    let traffic = Traffic::of(Mix::Udp, Mix::Udp.least())?;
    let frame = traffic.frames.first().ok_or("no frame")?.0.clone();
    let (worker, port) = (&testbed.tester, &testbed.topology.tester);
    let shelves = [Worker::spawn(&NetNs::create()?, "shelf")?, Worker::spawn(&NetNs::create()?, "shelf")?];
    let mut live = LiveFrames::open_on(worker, port, &shelves[0])?;
    let mut bare = LiveFrames::bare_on(worker, port, &shelves[1])?;
    let mut ring = RingSender::open(worker, port)?;
    for live in [&mut live, &mut bare] {
        live.load(&[(&frame, 1)])?;
    }
    ring.load(&[&frame])?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), configuration(&frame))?;

    // The CPU to which trafgen pins its only process.
    let _pinned = Pinned::on(0)?;
    let mut turn = |sender: usize| -> Result<f64, Box<dyn Error>> {
        // Live frames need GRO in generic mode; the others are measured without it.
        testbed.keep_frames_apart()?;
        if sender < 2 {
            testbed.take_redirected(mode)?;
        }
        let before = counters.counted(&[17])?;
        let start = Instant::now();
        let seconds = match sender {
            0 => live.run(FRAMES).map(|()| start.elapsed().as_secs_f64())?,
            1 => bare.run(FRAMES).map(|()| start.elapsed().as_secs_f64())?,
            2 => trafgen(worker, file.path())?,
            _ => ring.repeat(&[&frame], FRAMES).map(|_| start.elapsed().as_secs_f64())?,
        };
        let counted = counters.counted(&[17])? - before;
        if counted != u64::from(FRAMES) {
            return Err(format!("{} sent {FRAMES} frames, {counted} were counted", SENDERS[sender]).into());
        }
        Ok(seconds / f64::from(FRAMES))
    };
    for sender in 0..SENDERS.len() {
        turn(sender)?; // To be warm.
    }
    let mut logs: Vec<[f64; 4]> = Vec::new();
    for _ in 0..BLOCKS {
        let mut costs = [0.0; 4];
        for sender in (0..4).chain((0..4).rev()) {
            costs[sender] += turn(sender)?.ln() / 2.0;
        }
        logs.push(costs);
    }
    for (sender, name) in SENDERS.iter().enumerate() {
        let rates: Vec<f64> = logs.iter().map(|costs| (-costs[sender]).exp() / 1e6).collect();
        println!("{mode:8} {name:18} {:.3} Mpps", median(&rates).unwrap_or(f64::NAN));
    }
    for (one, other, least) in CLAIMS {
        let ratios: Vec<f64> = logs.iter().map(|costs| costs[other] - costs[one]).collect();
        let interval = bootstrap_median(&ratios, 1).ok_or("no interval")?.map(f64::exp);
        let ratio = median(&ratios).unwrap_or(f64::NAN).exp();
        let verdict = if interval.low >= least {
            "yes"
        } else if interval.high < least {
            "NO"
        } else {
            "cannot be told"
        };
        println!(
            "{mode:8} {} / {}: {ratio:.3} ({interval}), {BLOCKS} blocks; at least {least}: {verdict}",
            SENDERS[one], SENDERS[other]
        );
    }
    Ok(())
}

/// Sends by trafgen's TX ring from one CPU. Returns the time by trafgen's own clock: starting it takes longer.
fn trafgen(worker: &Worker, frame: &Path) -> Result<f64, Box<dyn Error>> {
    let mut command = Command::new("trafgen");
    command.args(["--cpus", "1", "--num", &FRAMES.to_string()]);
    command.args(["--dev", "tester", "--in"]).arg(frame);
    // A child inherits the namespace of the thread that starts it.
    let output = worker.run(move |_| command.output())??;
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let said = || format!("trafgen said: {text}");
    let line = text.lines().find(|line| line.contains("usec on CPU")).ok_or_else(said)?;
    let mut numbers = line.split_ascii_whitespace().filter_map(|word| word.parse::<f64>().ok());
    let (seconds, microseconds) = (numbers.next(), numbers.next());
    Ok(seconds.ok_or_else(said)? + microseconds.ok_or_else(said)? * 1e-6)
}

/// Renders a frame in trafgen's language.
fn configuration(frame: &[u8]) -> String {
    let bytes: Vec<String> = frame.iter().map(|byte| format!("0x{byte:02x}")).collect();
    format!("{{ {} }}\n", bytes.join(", "))
}
