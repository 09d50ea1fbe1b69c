//! The corpus under `cargo test`: one trial a scenario, path and counting program, in parallel, each named like
//! `vlan/qinq_ipv4_udp::native::pnet`.
//!
//! Without privilege they are ignored and the reason is printed; `XDPROOF_REQUIRE_PRIVILEGED=1` makes that a failure, as is a
//! run without any trial.

#[path = "support/corpus.rs"]
mod corpus;
#[path = "support/privilege.rs"]
mod privilege;

use std::{
    collections::BTreeSet,
    process::ExitCode,
    sync::{Arc, OnceLock},
};

use libtest_mimic::{Arguments, Failed, Trial as Test};
use xdproof::{
    host::kernel::kernel_version,
    model::{
        mode::InjectorKind,
        observation::{Counts, sum},
        result::Observed,
        sink::Sink,
    },
    plan::selection::{Selection, Trial},
    program::{Object, ProgramError, Subject, TestRunOutput},
    report::console::explain,
    trial::{Lab, LabOptions},
};
use xdproof_ebpf::abi;
use xdproof_scenarios::{
    Expectation, KernelVersion, Scenario,
    oracle::{self, CounterOutcome},
};

/// Directory of the snapshots, below this package.
const SNAPSHOTS: &str = "tests/snapshots";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let scenarios = match corpus::builtin() {
        Ok(scenarios) => scenarios,
        Err(error) => return privilege::broken(&error),
    };
    let obstacle = privilege::obstacle();
    let mut tests =
        vec![Test::test("snapshots_are_of_scenarios_that_there_are", || no_stray_snapshot(scenarios))];
    for program in [abi::COUNT_PROGRAM, abi::FRAGS_PROGRAM] {
        let object = Object { program: Some(program.to_owned()), ..Object::default() };
        let lab = match Lab::open(object, LabOptions::default()) {
            Ok(lab) => Some(Arc::new(lab)),
            Err(_) if obstacle.is_some() => None,
            Err(error) => return privilege::broken(&error.to_string()),
        };
        // The linear counter's trials are named as everywhere else; another program's carry its name as their kind.
        let kind = if program == abi::COUNT_PROGRAM { "" } else { program };
        let every = Selection { injectors: InjectorKind::ALL.to_vec(), ..Selection::default() };
        let plan = match every.plan(scenarios) {
            Ok(plan) => plan,
            Err(error) => return privilege::broken(&error.to_string()),
        };
        tests.extend(plan.into_iter().map(|trial| {
            let lab = lab.clone();
            Test::test(trial.id(), move || run(lab.as_deref(), &trial))
                .with_kind(kind)
                .with_ignored_flag(obstacle.is_some())
        }));
    }
    let splits = can_split();
    for scenario in scenarios.iter().filter(|scenario| !scenario.is_unreachable()) {
        tests.push(
            Test::test(format!("{}::unattached::test_run_split", scenario.id), || run_split(scenario))
                .with_kind(abi::FRAGS_PROGRAM)
                .with_ignored_flag(obstacle.is_some() || !splits),
        );
    }
    if obstacle.is_none() && !splits {
        eprintln!(
            "the split trials are ignored: this kernel does not split frames for a test run (6.18 does)"
        );
    }
    let conclusion = libtest_mimic::run(&arguments, tests);
    privilege::conclude(&arguments, obstacle.as_deref(), &conclusion)
}

fn run(lab: Option<&Lab>, trial: &Trial<'_>) -> Result<(), Failed> {
    let lab = lab.ok_or("this machine cannot run trials")?;
    let record = lab.run(trial);
    if record.verdict.is_bad() {
        return Err(explain(&record).into());
    }
    if let (Some(observed), None) = (&record.observed, &record.failure) {
        snapshot(trial.scenario, observed);
    }
    Ok(())
}

/// The longest linear part that splits a header: Ethernet, two tags and an IPv6 header, with a byte to spare.
const LONGEST_SPLIT: u32 = 14 + 4 + 4 + 40 + 1;

fn frags_counter() -> Result<Subject, ProgramError> {
    Subject::load(&Object::builtin(abi::FRAGS_PROGRAM))
}

/// Returns whether this kernel splits frames for a test run: 6.18 is the first.
fn can_split() -> bool {
    kernel_version().is_ok_and(|version| version >= KernelVersion { major: 6, minor: 18, patch: 0 })
}

/// Some drivers put nothing, or little, into the linear part: each frame must come out the same wherever it is split.
fn run_split(scenario: &Scenario) -> Result<(), Failed> {
    let counter = frags_counter()?;
    let mut out = vec![0; 1 << 16];
    let mut expected = Counts::new();
    for frame in &scenario.frames {
        let outcome = oracle::outcome(&frame.bytes);
        for linear in 0..=LONGEST_SPLIT.min(u32::try_from(frame.bytes.len())?) {
            let TestRunOutput { action, length } =
                counter.program.test_run_split(&frame.bytes, linear, &mut out)?;
            let passed = match outcome {
                CounterOutcome::Counted(slot) => {
                    *expected.entry(slot).or_default() += 1;
                    true
                }
                CounterOutcome::Dropped => false,
            };
            let intact = out.get(..length) == Some(frame.bytes.as_slice());
            if (action == TestRunOutput::PASS) != passed || !intact {
                let what = format!("split at {linear}: action {action}, {length} bytes, intact: {intact}");
                return Err(format!("{what}\n{}", frame.describe()).into());
            }
        }
    }
    let observed = sum(&counter.counts()?);
    if observed == expected {
        Ok(())
    } else {
        Err(format!("expected {expected:?}, observed {observed:?}").into())
    }
}

/// Compares the observation with the scenario's snapshot, which is one for all paths and programs.
fn snapshot(scenario: &Scenario, observed: &Observed) {
    static SETTINGS: OnceLock<insta::Settings> = OnceLock::new();
    let settings = SETTINGS.get_or_init(|| {
        let mut settings = insta::Settings::new();
        settings.set_snapshot_path("snapshots");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings
    });
    let Observed { counts, frames, unobservable, per_cpu: _ } = observed;
    if *unobservable > 0 {
        return; // The trial is judged, and the snapshot is compared with what a test run observes.
    }
    let [passed, dropped] = [Sink::Stack, Sink::Nowhere].map(|sink| frames.get(&sink).copied().unwrap_or(0));
    assert_eq!(passed + dropped, frames.values().sum::<u64>(), "{}: frames at another sink", scenario.id);
    let numbers = Expectation { counts: counts.clone().unwrap_or_default(), passed, dropped };
    settings.bind(|| insta::assert_json_snapshot!(snapshot_name(scenario), numbers));
}

fn snapshot_name(scenario: &Scenario) -> String {
    scenario.id.to_string().replace('/', "__")
}

fn no_stray_snapshot(scenarios: &[Scenario]) -> Result<(), Failed> {
    let known: BTreeSet<String> =
        scenarios.iter().map(|scenario| format!("{}.snap", snapshot_name(scenario))).collect();
    for entry in std::fs::read_dir(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(SNAPSHOTS))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".snap") && !known.contains(&name) {
            return Err(format!("{name} is the snapshot of no scenario; remove it").into());
        }
    }
    Ok(())
}
