//! Times the classifier, the oracle and crafting on the host, by kind of frame and over the whole corpus, and loading the
//! corpus. Needs no privilege.
//!
//! Only correct results are timed: classifier and oracle agree on each frame, and crafting gives the frame's bytes.

#![expect(clippy::expect_used, reason = "a bench that cannot go on ends with what is wrong")]

mod cases;
mod sampling;

use std::{hint::black_box, time::Duration};

use criterion::{BatchSize, Criterion, SamplingMode, Throughput};
use xdproof_ebpf::classify::{Class, Sample, classify};
use xdproof_scenarios::{
    Frame, Scenario, load,
    oracle::{CounterOutcome, outcome},
};

fn main() {
    let corpus = cases::corpus();
    let mut criterion = sampling::criterion(10, Duration::from_millis(500));
    over(&mut criterion, "classify", &corpus, &|frame| {
        black_box(classify::<Sample>(black_box(frame.bytes.as_slice())));
    });
    over(&mut criterion, "oracle", &corpus, &|frame| {
        black_box(outcome(black_box(&frame.bytes)));
    });
    craft(&mut criterion, &corpus);
    criterion.final_summary();
    load(&corpus);
}

/// Times an operation on one frame of each kind, and on all frames of the corpus.
fn over(criterion: &mut Criterion, name: &str, corpus: &[Scenario], work: &dyn Fn(&Frame)) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(1));
    for (kind, frame) in cases::kinds(corpus) {
        assert_agreed(kind, frame);
        group.bench_function(kind, |bencher| bencher.iter(|| work(frame)));
    }
    let frames: Vec<&Frame> = corpus.iter().flat_map(|scenario| &scenario.frames).collect();
    group.throughput(Throughput::Elements(frames.len() as u64));
    group.bench_function("corpus", |bencher| bencher.iter(|| frames.iter().for_each(|frame| work(frame))));
    group.finish();
}

fn assert_agreed(kind: &str, frame: &Frame) {
    let class = match outcome(&frame.bytes) {
        CounterOutcome::Counted(slot) => Class::Count(slot),
        CounterOutcome::Dropped => Class::Truncated,
    };
    assert_eq!(classify::<Sample>(frame.bytes.as_slice()), class, "{kind}");
}

/// Times crafting frames from layers. Frames that are given as bytes are left out; truncated ones are crafted whole.
fn craft(criterion: &mut Criterion, corpus: &[Scenario]) {
    let mut group = criterion.benchmark_group("craft");
    group.throughput(Throughput::Elements(1));
    let make = |layers| Frame::craft(layers, 1).expect("a frame of the corpus can be made");
    for (kind, Frame { bytes, layers, .. }) in cases::kinds(corpus) {
        assert!(make(layers.clone()).bytes.starts_with(bytes), "{kind}");
        group.bench_function(kind, |bencher| {
            bencher.iter_batched(|| layers.clone(), make, BatchSize::SmallInput);
        });
    }
    let frames = corpus.iter().flat_map(|scenario| &scenario.frames);
    let all: Vec<_> =
        frames.map(|frame| &frame.layers).filter(|layers| !layers.is_empty()).cloned().collect();
    group.throughput(Throughput::Elements(all.len() as u64));
    group.bench_function("corpus", |bencher| {
        let make_all = |all: Vec<_>| all.into_iter().map(make).collect::<Vec<Frame>>();
        bencher.iter_batched(|| all.clone(), make_all, BatchSize::PerIteration);
    });
    group.finish();
}

/// Times loading the corpus from its files: TOML, crafting, the oracle.
fn load(corpus: &[Scenario]) {
    let mut criterion = sampling::criterion(10, Duration::from_secs(1));
    let mut group = criterion.benchmark_group("load");
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(corpus.len() as u64));
    group.bench_function("corpus", |bencher| bencher.iter(load::builtin));
    group.finish();
    criterion.final_summary();
}
