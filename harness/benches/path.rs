//! Times a frame from the injector into the counter's map, by mode, injector and frame size. On a veth the sender's CPU also
//! receives: these are path rates, not the capacity of a driver.
//!
//! A figure is made of frames that were counted, in trials that account for every frame. A trial that another process disturbs
//! is repeated; any other void one ends the bench with its reason.

#![expect(clippy::expect_used, clippy::panic, reason = "a bench that cannot go on ends with what is wrong")]

mod privilege;
mod sampling;

use std::{
    collections::{HashMap, hash_map::Entry},
    process::ExitCode,
    time::Duration,
};

use criterion::Throughput;
use xdproof::{
    bench::{
        Objects, kind_of,
        machine::IdleTimes,
        path::{Load, MeasuredPath, PathKind},
        programs::Programs,
    },
    error::chain,
    host::kernel,
    inject::cpu::Pinned,
    measure::case::{Case, Place, Wanted},
    model::{
        facts::Facts,
        measurement::{BURSTS, ProgramRole},
        mode::{InjectorKind, Mode},
    },
    plan::support,
    testbed::VethTestbed,
};

/// The most frames of a burst: a trial takes milliseconds, and is rarely disturbed.
const BURST: u32 = 2048;

/// The most disturbed trials in a row; a machine with more of them is too busy to measure on.
const PATIENCE: u32 = 200;

fn main() -> ExitCode {
    if let Some(code) = privilege::obstacle("path") {
        return code;
    }
    let idle = IdleTimes::read().expect("the kernel says how idle the CPUs are");
    let programs = Programs::load(Objects::default()).expect("the programs load");
    let cpus = idle.quietest_since().expect("the kernel says how idle the CPUs are");
    let mut stand = Stand { programs, wires: HashMap::new(), cpus };
    let _pinned = Pinned::on(stand.cpus[0]).expect("a CPU that may be used can be chosen");
    let kernel = kernel::kernel_version().expect("the kernel says its version");

    let mut criterion = sampling::criterion(10, Duration::from_millis(1200));
    let mut group = criterion.benchmark_group("path");
    group.throughput(Throughput::Elements(1));
    for case in cases() {
        let Place::Wire { mode, injector, .. } = case.setup.place else { continue };
        if let Some(reason) = support::injector(injector, kernel) {
            eprintln!("{} is not measured: {reason}", case.id());
            continue;
        }
        group.bench_function(format!("{mode}/{injector}/{}", case.setup.traffic.name), |bencher| {
            bencher.iter_custom(|frames| {
                let time = stand.time(&case, injector, frames);
                time.unwrap_or_else(|reason| panic!("{}: {reason}", case.id()))
            });
        });
    }
    group.finish();
    criterion.final_summary();
    ExitCode::SUCCESS
}

fn cases() -> Vec<Case> {
    let wanted = Wanted {
        modes: vec![Mode::Generic, Mode::Native],
        injectors: vec![InjectorKind::Pnet, InjectorKind::Ring, InjectorKind::LiveFrames],
        sizes: vec![64, 512, 1518],
        ..Wanted::default()
    };
    wanted.cases().expect("UDP has frames of these sizes")
}

/// The programs, and the paths that were needed so far.
struct Stand {
    // Dropped before the programs.
    wires: HashMap<PathKind, MeasuredPath>,
    programs: Programs,
    cpus: Vec<usize>,
}

impl Stand {
    /// Measures the time until `frames` frames are counted, in as many trials as that needs. Injectors send whole bursts: the share
    /// of frames beyond `frames` is subtracted.
    fn time(&mut self, case: &Case, injector: InjectorKind, frames: u64) -> Result<Duration, String> {
        let kind = kind_of(&case.setup, &Facts::veth()).ok_or("it is not on a wire")?;
        let program = self.programs.get(ProgramRole::Subject, false).ok_or("no program is loaded")?;
        let wire = match self.wires.entry(kind.clone()) {
            Entry::Occupied(wire) => wire.into_mut(),
            Entry::Vacant(place) => place.insert(
                MeasuredPath::up(&VethTestbed::default(), kind, program).map_err(|error| chain(&error))?,
            ),
        };
        wire.prepare(injector, &case.setup.traffic).map_err(|error| chain(&error))?;

        let (mut counted, mut took, mut disturbed) = (0, Duration::ZERO, 0);
        while counted < frames {
            let wanted = (frames - counted).div_ceil(u64::from(BURSTS));
            let burst = u32::try_from(wanted).unwrap_or(BURST).min(BURST);
            let frames = wire.whole_bursts(injector, burst);
            let load =
                Load { injector, traffic: &case.setup.traffic, frames, cpus: &self.cpus[..1], rate: None };
            let sample = wire.trial(program, load, ProgramRole::Subject).map_err(|error| chain(&error))?;
            match sample.void {
                None if sample.counted == 0 => return Err(format!("all {} frames were lost", sample.sent)),
                None => {
                    counted += sample.counted;
                    took += Duration::from_nanos(sample.time_ns);
                    disturbed = 0;
                }
                Some(void) if void.is_disturbance() && disturbed < PATIENCE => disturbed += 1,
                Some(void) => return Err(void.to_string()),
            }
        }
        Ok(took.mul_f64(frames as f64 / counted as f64))
    }
}
