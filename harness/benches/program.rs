//! Times a run of the counter by `BPF_PROG_TEST_RUN`: CPU time of the thread, including the kernel's work around a run. It runs on
//! the traffic of `xdproof bench`, next to a program that does nothing, and on each kind of frame.
//!
//! Only correct results are timed: all runs are counted in the frame's slot, or none if the frame is dropped.

#![expect(clippy::expect_used, reason = "a bench that cannot go on ends with what is wrong")]

mod cases;
mod privilege;
mod sampling;

use std::{process::ExitCode, time::Duration};

use criterion::Throughput;
use xdproof::{
    bench::{
        Objects,
        machine::{IdleTimes, thread_cpu_time},
        programs::{Loaded, Programs},
    },
    inject::cpu::Pinned,
    measure::{
        case::Wanted,
        traffic::{Mix, Traffic},
    },
    model::{measurement::ProgramRole, mode::InjectorKind},
};
use xdproof_scenarios::oracle::{CounterOutcome, outcome};

fn main() -> ExitCode {
    if let Some(code) = privilege::obstacle("program") {
        return code;
    }
    let idle = IdleTimes::read().expect("the kernel says how idle the CPUs are");
    let programs = Programs::load(Objects::default()).expect("the programs load");
    let cpus = idle.quietest_since().expect("the kernel says how idle the CPUs are");
    let _pinned = Pinned::on(cpus[0]).expect("a CPU that may be used can be chosen");

    let get = |role| programs.get(role, false).expect("a program of each role is loaded");
    let (null, counter) = (get(ProgramRole::Null), get(ProgramRole::Subject));

    let mut criterion = sampling::criterion(10, Duration::from_millis(500));
    let mut group = criterion.benchmark_group("cost");
    group.throughput(Throughput::Elements(1));
    let mut bench = |name: &str, program: &Loaded, frame: &[u8]| {
        let which = if program.is_null { "null" } else { "counter" };
        group.bench_function(format!("{name}/{which}"), |bencher| {
            bencher.iter_custom(|runs| cpu_time(program, frame, runs));
        });
    };
    for (name, frame) in traffic() {
        bench(&name, null, &frame);
        bench(&name, counter, &frame);
    }
    for (kind, frame) in cases::kinds(&cases::corpus()) {
        bench(kind, counter, &frame.bytes);
    }
    group.finish();
    criterion.final_summary();
    ExitCode::SUCCESS
}

/// Returns the frames on which `xdproof bench` measures the cost of a program, with their names.
fn traffic() -> Vec<(String, Vec<u8>)> {
    let (injectors, mixes) = (vec![InjectorKind::TestRun], vec![Mix::Udp, Mix::QinqIpv6]);
    let cases = Wanted { injectors, mixes, ..Wanted::default() }.cases().expect("each mix has a least size");
    let named = |traffic: Traffic| Some((traffic.name, traffic.frames.into_iter().next()?.0));
    cases.into_iter().filter_map(|case| named(case.setup.traffic)).collect()
}

/// Measures the CPU time of `runs` runs of the program.
fn cpu_time(program: &Loaded, frame: &[u8], runs: u64) -> Duration {
    let slots: Vec<u8> = match outcome(frame) {
        CounterOutcome::Counted(slot) => vec![slot],
        CounterOutcome::Dropped => (0..=u8::MAX).collect(),
    };
    let is_counted = !program.is_null && slots.len() == 1;
    let counted = || program.counters.counted(&slots).expect("the counter can be read");
    let before = counted();
    let times = u32::try_from(runs).expect("a sample is some milliseconds");
    let start = thread_cpu_time();
    program.program.repeat(frame, times).expect("the kernel runs the program");
    let took = thread_cpu_time() - start;
    let added = program.counters.width().added(before, counted());
    assert_eq!(added, if is_counted { runs } else { 0 }, "runs that were counted");
    Duration::from_nanos(took)
}
