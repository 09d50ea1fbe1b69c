//! The detection power of a pass: the corpus must find every mutant of the counter (`ebpf/src/mutants.rs`).
//!
//! A trial a mutant: it passes if some scenario fails for the mutant, and if those that do are those of the table that reports
//! go by (`report/src/detection_power.json`): of all scenarios of few frames in test runs, and of a few of them on the wire. A mutant
//! that none of these finds is tried with those of many frames. `XDPROOF_UPDATE_DETECTION=1` tries every scenario in every way,
//! which takes minutes, and writes the table. Ignored without privilege, as in `conformance.rs`.

#[path = "support/corpus.rs"]
mod corpus;
#[path = "support/privilege.rs"]
mod privilege;
#[path = "support/threads.rs"]
mod threads;

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::ExitCode,
    sync::{Arc, Mutex},
};

use libtest_mimic::{Failed, Trial as Test};
use xdproof::{
    inject::cpu,
    model::{
        mode::{InjectorKind, Mode, TrialPath},
        verdict::VerdictKind,
    },
    plan::selection::Trial,
    program::Object,
    report::detection_power::{DetectionTable, Finders, table},
    trial::{Lab, LabOptions},
};
use xdproof_ebpf::abi;
use xdproof_scenarios::Scenario;

const TEST_RUN: TrialPath = TrialPath { mode: Mode::Unattached, injector: InjectorKind::TestRun };
const NATIVE: TrialPath = TrialPath { mode: Mode::Native, injector: InjectorKind::Pnet };
const GENERIC: TrialPath = TrialPath { mode: Mode::Generic, injector: InjectorKind::Pnet };

/// Scenarios of more frames than this are tried on a mutant only if those of fewer do not find it: they cost most of the
/// time, and few mutants need them.
const MANY: u64 = 2_000;

/// Scenarios of a list of the table that are tried on the wire.
const TRIED: usize = 2;

/// The first letters of mutants that two CPUs have to run at the same time.
const RACY: &str = "racy";

/// Asks for the table to be written anew.
const UPDATE: &str = "XDPROOF_UPDATE_DETECTION";

/// Mutants and the scenarios that were seen to find them.
type Found = Arc<Mutex<DetectionTable>>;

fn main() -> ExitCode {
    let arguments = threads::arguments();
    let object = Path::new(concat!(env!("OUT_DIR"), "/xdproof-mutants"));
    let (scenarios, mutants) = match (corpus::builtin(), Object::file(object).programs()) {
        (Ok(scenarios), Ok(mutants)) => (scenarios, mutants),
        (Err(error), _) => return privilege::broken(&error),
        (_, Err(error)) => return privilege::broken(&error.to_string()),
    };
    let stale: Vec<&String> =
        table().keys().filter(|known| !is_update() && !mutants.contains(known)).collect();
    if !stale.is_empty() {
        return privilege::broken(&format!(
            "the table has {stale:?}, which are no mutants; {UPDATE}=1 updates it"
        ));
    }
    let obstacle = privilege::obstacle();
    let one_cpu = cpu::allowed().is_ok_and(|cpus| cpus.len() < 2);
    let found = Found::default();
    let tests = mutants.iter().map(|mutant| {
        let (name, found) = (mutant.clone(), Arc::clone(&found));
        Test::test(format!("mutant/{mutant}"), move || detect(object, &name, scenarios, &found))
            .with_ignored_flag(obstacle.is_some() || one_cpu && mutant.starts_with(RACY))
    });
    let conclusion = libtest_mimic::run(&arguments, tests.collect());
    let found = found.lock().map(|found| found.clone()).unwrap_or_default();
    for (mutant, finders) in &found {
        let by: BTreeSet<&str> =
            [TEST_RUN, NATIVE, GENERIC].iter().flat_map(|its| finders.in_mode(its.mode)).collect();
        let named: Vec<&str> = by.iter().take(3).copied().collect();
        let more = by.len().saturating_sub(named.len());
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        println!("{mutant:16} found by {}{rest}", named.join(", "));
    }
    if obstacle.is_none() && !arguments.list {
        println!("mutants found: {} of {}", found.len(), found.len() as u64 + conclusion.num_failed);
    }
    let whole = found.len() == mutants.len() && conclusion.num_failed == 0;
    if is_update() && whole {
        let stored = concat!(env!("CARGO_MANIFEST_DIR"), "/report/src/detection_power.json");
        if let Err(error) = fs::write(stored, stored_form(&found)) {
            return privilege::broken(&format!("{stored}: {error}"));
        }
    }
    privilege::conclude(&arguments, obstacle.as_deref(), &conclusion)
}

fn is_update() -> bool {
    std::env::var(UPDATE).as_deref() == Ok("1")
}

/// A table with a line a list.
fn stored_form(found: &DetectionTable) -> String {
    let list = |name: &str, ids: &BTreeSet<String>| {
        (!ids.is_empty()).then(|| format!("    {name:?}: {:?}", ids.iter().collect::<Vec<_>>()))
    };
    let mutant = |(mutant, finders): (&String, &Finders)| {
        let Finders { everywhere, unattached, native, generic } = finders;
        let lists = [
            ("everywhere", everywhere),
            ("unattached", unattached),
            ("native", native),
            ("generic", generic),
        ];
        let lists: Vec<String> = lists.into_iter().filter_map(|(name, ids)| list(name, ids)).collect();
        format!("  {mutant:?}: {{\n{}\n  }}", lists.join(",\n"))
    };
    format!("{{\n{}\n}}\n", found.iter().map(mutant).collect::<Vec<_>>().join(",\n"))
}

/// Returns whether a scenario that finds a mutant finds it every time. What slots hold is left from earlier scenarios, so that one of a
/// few frames may find by chance what shows once in a thousand, and so may one that runs on another CPU than the last time.
fn is_sure(mutant: &str, scenario: &Scenario) -> bool {
    let Scenario { expect, preset, spread, .. } = scenario;
    let is_racy = mutant.starts_with(RACY);
    if is_racy || spread.at_once {
        // With other numbers of CPUs, other slots and queues are reached.
        return is_racy && spread.at_once;
    }
    // A sender may be moved once, and then two CPUs share the frames, wherever in its turn the slot of each of them stands.
    let reaches = |frames: u64| !spread.cpus && expect.counts.values().any(|count| *count > 2 * frames);
    let is_preset = preset.keys().any(|protocol| expect.counts.contains_key(protocol));
    match mutant {
        "cpu_0_only" => spread.cpus,
        "loses_1024th" => is_preset || reaches(1_024),
        "ipv6_1000th" => reaches(1_000),
        "tcp_4096th_lost" => is_preset || reaches(4_096),
        "stops_10000" => reaches(10_000),
        _ => true,
    }
}

/// A mutant in place of the counter.
struct Subject<'a> {
    mutant: &'a str,
    lab: Lab,
    scenarios: &'a [Scenario],
}

impl Subject<'_> {
    /// Those of the scenarios that find it on a path, whatever the slots hold and on whatever CPU the sender is.
    fn finders<'a>(
        &self,
        scenarios: impl IntoIterator<Item = &'a Scenario>,
        path: TrialPath,
    ) -> BTreeSet<String> {
        let sure = scenarios.into_iter().filter(|scenario| is_sure(self.mutant, scenario));
        let records = sure.map(|scenario| self.lab.run(&Trial { scenario, path }));
        records.filter(|record| record.verdict == VerdictKind::Fail).map(|record| record.scenario).collect()
    }

    /// Fails unless what the table says of a path is so for the first scenarios that find the mutant there, and for the first
    /// that find it somewhere else alone.
    fn hold(&self, stored: &Finders, path: TrialPath) -> Result<(), Failed> {
        let here: BTreeSet<&str> = stored.in_mode(path.mode).collect();
        let elsewhere = [TEST_RUN, NATIVE, GENERIC].iter().flat_map(|its| stored.in_mode(its.mode));
        let elsewhere: BTreeSet<&str> = elsewhere.filter(|id| !here.contains(id)).collect();
        for (listed, does) in [(&here, true), (&elsewhere, false)] {
            let scenario = |id: &&str| self.scenarios.iter().find(|its| its.id.as_ref() == *id);
            let few = listed.iter().filter_map(scenario).filter(|its| its.sent() <= MANY).take(TRIED);
            for scenario in few {
                let finds = !self.finders([scenario], path).is_empty();
                if finds != does {
                    let what = if finds { "finds it" } else { "does not find it" };
                    return Err(format!(
                        "{} {what} by {path}, against the table; {UPDATE}=1 updates it",
                        scenario.id
                    )
                    .into());
                }
            }
        }
        Ok(())
    }
}

/// Runs the mutant, and holds the table against what finds it.
fn detect(object: &Path, mutant: &str, scenarios: &[Scenario], found: &Found) -> Result<(), Failed> {
    let map = mutant.starts_with(RACY).then_some(abi::SHARED_MAP);
    let object = Object {
        path: Some(object.to_owned()),
        program: Some(mutant.to_owned()),
        map: map.map(str::to_owned),
        ..Object::default()
    };
    let lab = Lab::open(object, LabOptions::default()).map_err(|error| error.to_string())?;
    let subject = Subject { mutant, lab, scenarios };
    let found_by = |finders: Finders| -> Result<(), Failed> {
        if finders == Finders::default() {
            return Err(format!("no scenario finds the mutant `{mutant}`").into());
        }
        found.lock().map_err(|error| error.to_string())?.insert(mutant.to_owned(), finders);
        Ok(())
    };
    if is_update() {
        let [test_run, native, generic] =
            [TEST_RUN, NATIVE, GENERIC].map(|path| subject.finders(scenarios, path));
        return found_by(Finders::new(&test_run, &native, &generic));
    }
    let stored =
        table().get(mutant).ok_or_else(|| format!("the table does not know it; {UPDATE}=1 updates it"))?;
    let (many, few): (Vec<_>, Vec<_>) = scenarios.iter().partition(|scenario| scenario.sent() > MANY);
    let by = subject.finders(few.iter().copied(), TEST_RUN);
    let is_few = |id: &&str| few.iter().any(|scenario| scenario.id.as_ref() == *id);
    let of_table: BTreeSet<String> =
        stored.in_mode(TEST_RUN.mode).filter(is_few).map(str::to_owned).collect();
    if by != of_table {
        let [new, gone] = [&by - &of_table, &of_table - &by];
        return Err(format!(
            "found by {new:?} too, and not by {gone:?}, against the table; {UPDATE}=1 updates it"
        )
        .into());
    }
    subject.hold(stored, NATIVE)?;
    subject.hold(stored, GENERIC)?;
    let none = BTreeSet::new();
    if !by.is_empty() {
        return found_by(Finders::new(&by, &none, &none));
    }
    for scenarios in [&few, &many] {
        let [test_run, native, generic] =
            [TEST_RUN, NATIVE, GENERIC].map(|path| subject.finders(scenarios.iter().copied(), path));
        let finders = Finders::new(&test_run, &native, &generic);
        if finders != Finders::default() {
            return found_by(finders);
        }
    }
    found_by(Finders::default())
}
