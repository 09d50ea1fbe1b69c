//! Times the set-up and teardown of a trial: namespaces with a veth pair, loading the counter, attaching it in each mode, and all
//! of that in a row.
//!
//! Teardown is timed until the last descriptor is closed. The kernel frees namespaces later; a new one may have to wait for that,
//! as in a run of trials.

#![expect(clippy::expect_used, reason = "a bench that cannot go on ends with what is wrong")]

mod privilege;
mod sampling;

use std::{process::ExitCode, time::Duration};

use criterion::SamplingMode;
use xdproof::{
    program::{Object, Program, ProgramError},
    testbed::{PortPair, Spec},
};
use xdproof_netns::XdpMode;

const MODES: [(&str, XdpMode); 2] = [("generic", XdpMode::Generic), ("native", XdpMode::Native)];

fn main() -> ExitCode {
    if let Some(code) = privilege::obstacle("setup") {
        return code;
    }
    let object = Object::default();
    let up = || PortPair::veth(Spec::default()).expect("a veth pair comes up");
    let load = || Program::load_counter(&object).expect("the counter loads");

    let mut criterion = sampling::criterion(10, Duration::from_secs(1));
    let mut group = criterion.benchmark_group("setup");
    group.sampling_mode(SamplingMode::Flat);
    group.bench_function("veth", |bencher| bencher.iter(|| drop(up())));
    group.bench_function("load", |bencher| bencher.iter(|| drop(load())));
    for (name, mode) in MODES {
        group.bench_function(format!("attach/{name}"), |bencher| {
            let testbed = up();
            let (program, _counters) = load();
            bencher.iter(|| attach_and_detach(&program, &testbed, mode).expect("the counter is attached"));
        });
    }
    for (name, mode) in MODES {
        group.bench_function(format!("all/{name}"), |bencher| {
            bencher.iter(|| {
                let testbed = up();
                attach_and_detach(&load().0, &testbed, mode).expect("the counter is attached");
            });
        });
    }
    group.finish();
    criterion.final_summary();
    ExitCode::SUCCESS
}

/// Attaches the program to the DUT, which reads the mode back, and detaches it.
fn attach_and_detach(program: &Program, testbed: &PortPair, mode: XdpMode) -> Result<(), ProgramError> {
    program.attach(&testbed.dut, testbed.topology.dut.index, Some(mode)).map(drop)
}
