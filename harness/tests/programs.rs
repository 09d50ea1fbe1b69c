//! Programs like those that people test, and the two examples: their fixtures on every path, each a test with a name like
//! `gue/tcp::native::pnet`, and faults that are planted in the examples, which the fixtures must find.
//!
//! Ignored without privilege and without clang, as in `foreign.rs`.

#[path = "support/clang.rs"]
mod clang;
#[path = "support/privilege.rs"]
mod privilege;
#[path = "support/threads.rs"]
mod threads;
#[path = "programs/workshop.rs"]
mod workshop;

use std::{
    process::ExitCode,
    sync::{Arc, OnceLock},
};

use libtest_mimic::{Failed, Trial as Test};
use workshop::{Fault, Workshop, obstacle_of};
use xdproof::{
    fixtures::{FixtureLab, Override},
    model::{
        mode::{InjectorKind, Mode, TrialPath},
        result::TrialRecord,
        verdict::VerdictKind,
    },
    report::console::explain,
};
use xdproof_scenarios::fixture::{self, Fixture};

type Result<T = (), E = Failed> = std::result::Result<T, E>;

/// Number of faults that are planted at least.
const FAULTS: usize = 20;

fn main() -> ExitCode {
    let arguments = threads::arguments();
    let obstacle = privilege::obstacle().or_else(|| clang::compiler().err());
    let tests = match tests(obstacle.is_some()) {
        Ok(tests) => tests,
        Err(error) => return privilege::broken(error.message().unwrap_or("no tests")),
    };
    let conclusion = libtest_mimic::run(&arguments, tests);
    privilege::conclude(&arguments, obstacle.as_deref(), &conclusion)
}

fn tests(ignored: bool) -> Result<Vec<Test>> {
    let workshop = Arc::new(Workshop::new()?);
    let lab: Arc<OnceLock<Result<FixtureLab, String>>> = Arc::default();
    let mut tests = vec![Test::test("faults_are_many_and_their_names_differ", faults_differ)];
    for (index, group) in workshop.groups.iter().enumerate() {
        let unavailable = obstacle_of(group);
        if let Some(reason) = unavailable {
            eprintln!("the fixtures of {} are ignored: {reason}", group.name);
        }
        for fixture in load(&group.fixtures)?.into_iter().map(Arc::new) {
            for path in FixtureLab::usual_paths() {
                let name = format!("{}/{}::{path}", group.name, fixture.id);
                let (workshop, lab, fixture) =
                    (Arc::clone(&workshop), Arc::clone(&lab), Arc::clone(&fixture));
                let run = move || {
                    workshop.groups[index].build()?;
                    let lab = lab.get_or_init(|| open(Override::default())).as_ref()?;
                    let record = lab.run(&fixture, path);
                    let expected = match runs(&fixture, path) {
                        true => VerdictKind::Pass,
                        false => VerdictKind::Skip,
                    };
                    if record.verdict == expected { Ok(()) } else { Err(explain(&record).into()) }
                };
                tests.push(Test::test(name, run).with_ignored_flag(ignored || unavailable.is_some()));
            }
        }
    }
    for fault in Fault::all()? {
        let workshop = Arc::clone(&workshop);
        let name = format!("fault/{}", fault.name);
        tests.push(Test::test(name, move || find(&fault, &workshop)).with_ignored_flag(ignored));
    }
    Ok(tests)
}

/// Returns whether a fixture runs on a path, by what it says itself: no other reason to skip one is expected here.
fn runs(fixture: &Fixture, path: TrialPath) -> bool {
    let name = if path.mode.is_attached() { path.mode.name() } else { path.injector.name() };
    let is_listed = |paths: &Vec<String>| paths.iter().any(|listed| listed == name);
    let has_metadata = fixture
        .frames
        .iter()
        .filter_map(|frame| frame.context.as_ref())
        .any(|context| !context.metadata.is_empty());
    fixture.requires.paths.as_ref().is_none_or(is_listed) && !(has_metadata && path.mode.is_attached())
}

fn load(directory: &std::path::Path) -> Result<Vec<Fixture>> {
    let errors = |errors: Vec<_>| errors.iter().map(|error| format!("{error}\n")).collect::<String>();
    Ok(fixture::find(&[directory.to_owned()]).map_err(errors)?)
}

fn open(over: Override) -> Result<FixtureLab, String> {
    FixtureLab::open(over).map_err(|error| error.to_string())
}

fn faults_differ() -> Result {
    let faults = Fault::all()?;
    let names: std::collections::BTreeSet<_> = faults.iter().map(|fault| &fault.name).collect();
    if faults.len() < FAULTS || names.len() < faults.len() {
        return Err(format!("{} faults, {} names, expected {FAULTS}", faults.len(), names.len()).into());
    }
    Ok(())
}

/// Runs the fixtures of an example on the object with a fault. The one that is named for the fault must fail, with a line that tells
/// the difference; none may end in an error.
fn find(fault: &Fault, workshop: &Workshop) -> Result {
    let object = fault.build(workshop)?;
    let lab = open(Override { object: Some(object), ..Override::default() })?;
    let path = TrialPath { mode: Mode::Unattached, injector: InjectorKind::TestRun };
    let fixtures = load(&workshop.group(&fault.example())?.fixtures)?;
    let records: Vec<TrialRecord> = fixtures.iter().map(|fixture| lab.run(fixture, path)).collect();
    if let Some(error) = records.iter().find(|record| record.verdict == VerdictKind::Error) {
        return Err(explain(error).into());
    }
    let failed: Vec<_> = records.iter().filter(|record| record.verdict == VerdictKind::Fail).collect();
    let named = failed.iter().find(|record| record.id.starts_with(&format!("{}::", fault.fixture)));
    let named = named.ok_or_else(|| format!("`{}` passes; {} fail", fault.fixture, failed.len()))?;
    // Lines are wrapped.
    let text = explain(named);
    if text.split_whitespace().collect::<Vec<_>>().join(" ").contains(&fault.says) {
        println!("{}: {} of {} fixtures fail: {}", fault.name, failed.len(), records.len(), fault.says);
        return Ok(());
    }
    Err(format!("no line says `{}`\n{text}", fault.says).into())
}
