//! The corpus under `cargo test`: one trial a scenario, path and counting program, in parallel, each named like
//! `vlan/qinq_ipv4_udp::native::pnet`.
//!
//! Without privilege they are ignored and the reason is said; `XDPROOF_REQUIRE_PRIVILEGED=1` makes that a failure, as is a
//! run without any trial.

use std::{
    process::ExitCode,
    sync::{Arc, OnceLock},
};

use libtest_mimic::{Arguments, Failed, Trial as Test};
use xdproof::{
    attach::Object,
    plan::{Path, Selection, Trial},
    report::{console::explain, json::Observed},
    run::{CountedAction, Lab},
};
use xdproof_ebpf::abi;
use xdproof_scenarios::{Scenario, load};

/// Set by whoever must not mistake "nothing could be tried" for "nothing is wrong".
const REQUIRE: &str = "XDPROOF_REQUIRE_PRIVILEGED";

/// A counter's lab and, for each scenario, the counts that it and all modes must come to.
struct Bench {
    lab: Lab,
    scenarios: &'static [Scenario],
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let required = std::env::var_os(REQUIRE).is_some_and(|value| value == "1");
    let scenarios: &'static [Scenario] = match load::builtin() {
        Ok(scenarios) => scenarios.leak(),
        Err(errors) => {
            for error in errors {
                eprintln!("error: {error}");
            }
            return ExitCode::FAILURE;
        }
    };
    let mut tests = Vec::new();
    let mut obstacle = None;
    for program in [abi::COUNT_PROGRAM, abi::FRAGS_PROGRAM] {
        let object = Object { program: Some(program.to_owned()), ..Object::default() };
        match Lab::open(object, CountedAction::Pass) {
            Ok(lab) => {
                let bench = Arc::new(Bench { lab, scenarios });
                tests.extend(trials(program, scenarios, |index, path| {
                    let bench = Arc::clone(&bench);
                    Box::new(move || bench.run(index, path))
                }));
            }
            Err(error) => {
                obstacle = Some(error.to_string());
                let ignored = trials(program, scenarios, |_, _| Box::new(|| Err("not privileged".into())));
                tests.extend(ignored.into_iter().map(|test| test.with_ignored_flag(true)));
            }
        }
    }
    if let Some(reason) = &obstacle {
        eprintln!("the privileged trials are ignored: {reason}");
    }
    let any = tests.len();
    let conclusion = libtest_mimic::run(&arguments, tests);
    let nothing_ran = conclusion.num_passed + conclusion.num_failed == 0 && conclusion.num_filtered_out == 0;
    if required && !arguments.list && (obstacle.is_some() || nothing_ran || any == 0) {
        eprintln!("error: {REQUIRE}=1, and the privileged trials did not run");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

/// A test for each scenario and path; `what` makes its body. The linear counter's are named as everywhere else, another
/// program's carry its name as their kind.
fn trials(
    program: &str,
    scenarios: &[Scenario],
    what: impl Fn(usize, Path) -> Box<dyn FnOnce() -> Result<(), Failed> + Send>,
) -> Vec<Test> {
    let paths = Selection::default().paths();
    let each = scenarios.iter().enumerate().flat_map(|(index, scenario)| {
        let what = &what;
        paths.iter().map(move |&path| {
            let kind = if program == abi::COUNT_PROGRAM { "" } else { program };
            Test::test(format!("{}::{path}", scenario.id), what(index, path)).with_kind(kind)
        })
    });
    each.collect()
}

impl Bench {
    fn run(&self, index: usize, path: Path) -> Result<(), Failed> {
        let scenario = &self.scenarios[index];
        let record = self.lab.run(&Trial { scenario, path });
        if record.verdict.is_bad() {
            return Err(explain(&record).into());
        }
        if let Some(observed) = &record.observed
            && record.failure.is_none()
        {
            snapshot(scenario, observed);
        }
        Ok(())
    }
}

/// Holds what was observed against the one snapshot that the scenario has, whatever the path and the program.
fn snapshot(scenario: &Scenario, observed: &Observed) {
    static SETTINGS: OnceLock<insta::Settings> = OnceLock::new();
    let settings = SETTINGS.get_or_init(|| {
        let mut settings = insta::Settings::new();
        settings.set_snapshot_path("snapshots");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings
    });
    let Observed { counts, passed, dropped, unseen: _, per_cpu: _ } = observed;
    let numbers =
        xdproof_scenarios::Expectation { counts: counts.clone(), passed: *passed, dropped: *dropped };
    let name = scenario.id.to_string().replace('/', "__");
    settings.bind(|| insta::assert_json_snapshot!(name, numbers));
}
