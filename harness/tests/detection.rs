//! How much a "pass" is worth: every mutant of the counter (`ebpf/src/mutants.rs`) must be found by the corpus.
//!
//! A trial a mutant: it passes if some scenario fails for the mutant, and the closing lines name for each the scenarios that
//! find it. A mutant that no test run finds is tried on the wire, and one that no scenario of few frames finds, on those of
//! many. Ignored without privilege, as in `conformance.rs`.

#[path = "gate/mod.rs"]
mod gate;

use std::{
    path::Path as FilePath,
    process::ExitCode,
    sync::{Arc, Mutex},
};

use libtest_mimic::{Arguments, Failed, Trial as Test};
use xdproof::{
    attach::{Object, programs_of},
    plan::{InjectorKind, Mode, Path, Trial},
    run::{CountedAction, Lab},
    verdict::VerdictKind,
};
use xdproof_scenarios::Scenario;

/// From the path that costs least to the one that shows most.
const PATHS: [Path; 3] = [
    Path { mode: Mode::Unattached, injector: InjectorKind::TestRun },
    Path { mode: Mode::Native, injector: InjectorKind::Pnet },
    Path { mode: Mode::Generic, injector: InjectorKind::Pnet },
];

/// Scenarios of more frames than this are tried on a mutant only if those of fewer do not find it: they cost most of the
/// time, and few mutants need them.
const MANY: u64 = 2_000;

/// A mutant and the trials that find it.
type Found = Arc<Mutex<Vec<(String, Vec<String>)>>>;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let object = FilePath::new(concat!(env!("OUT_DIR"), "/xdproof-mutants"));
    let (scenarios, mutants) = match (gate::corpus(), programs_of(object)) {
        (Ok(scenarios), Ok(mutants)) => (scenarios, mutants),
        (Err(error), _) => return gate::broken(&error),
        (_, Err(error)) => return gate::broken(&error.to_string()),
    };
    let obstacle = gate::obstacle();
    let found = Found::default();
    let tests = mutants.iter().map(|mutant| {
        let (name, found) = (mutant.clone(), Arc::clone(&found));
        Test::test(format!("mutant/{mutant}"), move || detect(object, &name, scenarios, &found))
            .with_ignored_flag(obstacle.is_some())
    });
    let conclusion = libtest_mimic::run(&arguments, tests.collect());
    let mut found = found.lock().map(|found| found.clone()).unwrap_or_default();
    found.sort();
    for (mutant, by) in &found {
        let named: Vec<&str> = by.iter().take(3).map(String::as_str).collect();
        let more = by.len().saturating_sub(named.len());
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        println!("{mutant:16} found by {}{rest}", named.join(", "));
    }
    if obstacle.is_none() && !arguments.list {
        println!("mutants found: {} of {}", found.len(), found.len() as u64 + conclusion.num_failed);
    }
    gate::conclude(&arguments, obstacle.as_deref(), &conclusion)
}

/// Runs the mutant on one path after the other, until one finds it.
fn detect(object: &FilePath, mutant: &str, scenarios: &[Scenario], found: &Found) -> Result<(), Failed> {
    let object =
        Object { path: Some(object.to_owned()), program: Some(mutant.to_owned()), ..Object::default() };
    let lab = Lab::open(object, CountedAction::Pass).map_err(|error| error.to_string())?;
    let (many, few): (Vec<_>, Vec<_>) = scenarios.iter().partition(|scenario| scenario.sent() > MANY);
    for path in PATHS {
        for scenarios in [&few, &many] {
            let by: Vec<String> = scenarios
                .iter()
                .map(|scenario| lab.run(&Trial { scenario, path }))
                .filter(|record| record.verdict == VerdictKind::Fail)
                .map(|record| record.id)
                .collect();
            if !by.is_empty() {
                found.lock().map_err(|error| error.to_string())?.push((mutant.to_owned(), by));
                return Ok(());
            }
        }
    }
    Err(format!("no scenario finds the mutant `{mutant}`").into())
}
