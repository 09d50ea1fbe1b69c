//! The report's page in a browser: what it shows, how it is gone through, that it asks nobody for anything and that nothing
//! in a result breaks out of it.
//!
//! Each trial makes a page from results and has `report_page/check.mjs` look at it, in Debian's chromium, by playwright-core
//! and axe-core, which npm installs below `target/`. Without node, npm or a browser the trials are ignored;
//! `XDPROOF_REQUIRE_BROWSER=1` makes that a failure.

#[path = "report_page/browser.rs"]
mod browser;
#[path = "support/corpus.rs"]
mod corpus;
#[path = "report_page/extremes.rs"]
mod extremes;
#[path = "measurement/mod.rs"]
mod measurement;
#[path = "support/privilege.rs"]
mod privilege;
#[path = "report_page/results.rs"]
mod results;

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Command, ExitCode, Output, Stdio},
    sync::{Arc, Mutex},
    time::Instant,
};

use browser::Browser;
use libtest_mimic::{Arguments, Failed, Trial as Test};
use xdproof::{
    model::result::{Collection, RunResult},
    report::html,
};
use xdproof_scenarios::Scenario;

type Result<T = (), E = Failed> = std::result::Result<T, E>;

/// What a page is made of, by the page's name.
type Made = (&'static str, fn(&[Scenario]) -> Collection);

const MATRIX: Made = ("matrix", results::matrix);
const HOSTILE: Made = ("hostile", extremes::hostile);
const MEASURED: Made = ("measured", |_| {
    let measured = RunResult::new(results::environment("6.12.0"), Vec::new(), results::measurements(), 0);
    Collection::new(vec![measured], Vec::new())
});
const EMPTY: Made = ("empty", |_| Collection::new(Vec::new(), Vec::new()));
const CLEAN: Made = ("clean", |_| {
    let trials = results::clean();
    let planned = trials.len();
    Collection::new(
        vec![RunResult::new(results::environment("6.12.0"), trials, Vec::new(), planned)],
        Vec::new(),
    )
});

/// A check of the script, and what it is done to.
const CHECKS: [(&str, &str, Made); 12] = [
    ("the_first_screen_says_what_was_found", "first", MATRIX),
    ("a_failing_trial_is_two_clicks_away", "two_clicks", MATRIX),
    ("filters_and_search_show_what_they_say", "filters", MATRIX),
    ("links_lead_to_trials_and_back_leads_away_again", "links", MATRIX),
    ("keys_go_through_trials", "keys", MATRIX),
    ("no_serious_fault_of_accessibility_in_either_theme", "accessible", MATRIX),
    ("no_width_from_a_phone_to_4k_overflows", "widths", MATRIX),
    ("without_script_the_essential_is_there", "no_script", MATRIX),
    ("hostile_text_is_shown_and_not_obeyed", "hostile", HOSTILE),
    ("measurements_alone_make_a_page", "plain", MEASURED),
    ("nothing_makes_a_page_that_says_so", "plain", EMPTY),
    ("a_clean_pass_makes_a_page", "plain", CLEAN),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let scenarios = match corpus::builtin() {
        Ok(scenarios) => scenarios,
        Err(error) => return privilege::broken(&error),
    };
    let browser = if arguments.list { Err("only listed".to_owned()) } else { Browser::find() };
    let issue = browser.as_ref().err().cloned();
    let unprivileged = privilege::obstacle();
    let browser = Arc::new(browser);
    let mut tests = Vec::new();
    let mut test = |name: &str, run: Box<dyn FnOnce(&Browser) -> Result + Send>| {
        let browser = Arc::clone(&browser);
        let run = move || run(browser.as_ref().as_ref().map_err(Failed::from)?);
        tests.push(Test::test(name, run).with_ignored_flag(issue.is_some()));
    };
    for (name, check, (page, made_of)) in CHECKS {
        let collection = move || made_of(scenarios);
        test(name, Box::new(move |browser| browser.check(check, &made(page, collection)?)));
    }
    test(
        "ten_thousand_trials_open_at_once_and_filter_without_a_pause",
        Box::new(|browser| fast(browser, scenarios, 10_000)),
    );
    test("a_hundred_thousand_trials_still_work", Box::new(|browser| fast(browser, scenarios, 100_000)));
    let real = {
        let browser = Arc::clone(&browser);
        move || of_real_results(browser.as_ref().as_ref().map_err(Failed::from)?)
    };
    tests.push(
        Test::test("real_results_make_one_page", real)
            .with_ignored_flag(issue.is_some() || unprivileged.is_some()),
    );
    let conclusion = libtest_mimic::run(&arguments, tests);
    if let Some(reason) = issue.filter(|_| !arguments.list) {
        eprintln!("the page is not looked at: {reason}");
        if std::env::var("XDPROOF_REQUIRE_BROWSER").as_deref() == Ok("1") {
            return ExitCode::FAILURE;
        }
        return conclusion.exit_code();
    }
    privilege::conclude(&arguments, unprivileged.as_deref(), &conclusion)
}

/// Our counter and one that opens only one tag on a veth, and a bench, as a user gets them, and a report of all three.
fn of_real_results(browser: &Browser) -> Result {
    let directory = tempfile::tempdir()?;
    let out = |name: &str| directory.path().join(name).display().to_string();
    let mutants = concat!(env!("OUT_DIR"), "/xdproof-mutants");
    let (ours, theirs, rates, page) = (out("ours"), out("theirs"), out("rates"), out("report"));
    let foreign = ["--object", mutants, "--program", "one_tag", "--out", theirs.as_str()];
    let vlan = ["validate", "-q", "--scenario", "vlan/*"];
    run(&[&vlan[..], &foreign].concat(), &[1])?;
    run(&[&vlan[..], &["--scenario", "jumbo/*", "--out", &ours]].concat(), &[0])?;
    // What it comes to is this machine's affair.
    run(&["bench", "-q", "--budget", "2s", "--injector", "live_frames", "--out", &rates], &[0, 1, 4])?;
    run(&["report", &ours, &theirs, &rates, "--format", "html", "--out", &page], &[0])?;
    browser.check("real", &directory.path().join("report/report.html"))
}

fn run(arguments: &[&str], codes: &[i32]) -> Result {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xdproof"));
    let Output { status, stdout, stderr } = command.args(arguments).stdin(Stdio::null()).output()?;
    if status.code().is_some_and(|code| codes.contains(&code)) {
        return Ok(());
    }
    let said = [stdout, stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    Err(format!("xdproof {}: {status}\n{}{}", arguments.join(" "), said[0], said[1]).into())
}

/// Pages that are written, by their names.
static PAGES: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());

/// The page of that name, below `target/`, where it can be looked at afterwards; written by the first that asks.
fn made(name: &str, collection: impl FnOnce() -> Collection) -> Result<PathBuf> {
    let mut pages = PAGES.lock().map_err(|error| error.to_string())?;
    if let Some(path) = pages.get(name) {
        return Ok(path.clone());
    }
    let path = browser::scratch().join(format!("{name}.html"));
    let (collection, since) = (collection(), Instant::now());
    html::write(&collection, &mut fs::File::create(&path)?)?;
    println!("{name}: {} bytes in {:.2?}", fs::metadata(&path)?.len(), since.elapsed());
    pages.insert(name.to_owned(), path.clone());
    Ok(path)
}

fn fast(browser: &Browser, scenarios: &[Scenario], trials: usize) -> Result {
    browser.check("fast", &made(&format!("trials_{trials}"), || extremes::many(scenarios, trials))?)
}
