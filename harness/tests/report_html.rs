//! The report's page in a browser: what it shows, how it is gone through, that it asks nobody for anything and that nothing
//! in a result breaks out of it.
//!
//! Each trial makes a page from results and has `report_page/check.mjs` look at it, in Debian's chromium, by playwright-core
//! and axe-core, which npm installs below `target/`. Without node, npm or a browser the trials are ignored;
//! `XDPROOF_REQUIRE_BROWSER=1` makes that a failure.

#[path = "report_page/browser.rs"]
mod browser;
#[path = "measurement/mod.rs"]
mod measurement;
#[path = "report_page/results.rs"]
mod results;

use std::{fs, io, path::PathBuf, process::ExitCode, sync::Arc, time::Instant};

use browser::Browser;
use libtest_mimic::{Arguments, Failed, Trial as Test};
use xdproof::report::{html, json::Collection};
use xdproof_scenarios::{Scenario, load};

type Result<T = (), E = Failed> = std::result::Result<T, E>;

/// A check of the script, and what it is done to.
type Check = (&'static str, &'static str, fn(&[Scenario]) -> Collection);

const CHECKS: [Check; 9] = [
    ("first_screen_says_what_was_found", "first", results::matrix),
    ("a_failing_trial_is_two_clicks_away", "two_clicks", results::matrix),
    ("filters_and_search_show_what_they_say", "filters", results::matrix),
    ("links_lead_to_trials_and_back_leads_away_again", "links", results::matrix),
    ("keys_go_through_trials", "keys", results::matrix),
    ("no_serious_fault_of_accessibility_in_either_theme", "accessible", results::matrix),
    ("no_width_from_a_phone_to_4k_overflows", "widths", results::matrix),
    ("without_script_the_essential_is_there", "no_script", results::matrix),
    ("hostile_text_is_shown_and_not_obeyed", "hostile", results::hostile),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let scenarios: &'static [Scenario] = match load::builtin() {
        Ok(scenarios) => scenarios.leak(),
        Err(errors) => {
            eprintln!("error: {errors:?}");
            return ExitCode::FAILURE;
        }
    };
    let browser = if arguments.list { Err("only listed".to_owned()) } else { Browser::find() };
    let obstacle = browser.as_ref().err().cloned();
    let browser = Arc::new(browser);
    let mut tests = Vec::new();
    let mut test = |name: &str, run: Box<dyn FnOnce(&Browser) -> Result + Send>| {
        let browser = Arc::clone(&browser);
        let run = move || run(browser.as_ref().as_ref().map_err(Failed::from)?);
        tests.push(Test::test(name, run).with_ignored_flag(obstacle.is_some()));
    };
    for (name, check, made_of) in CHECKS {
        test(name, Box::new(move |browser| browser.check(check, &page(name, &made_of(scenarios))?)));
    }
    test(
        "ten_thousand_trials_open_at_once_and_filter_without_a_pause",
        Box::new(|browser| fast(browser, scenarios, 10_000)),
    );
    test("a_hundred_thousand_trials_still_work", Box::new(|browser| fast(browser, scenarios, 100_000)));
    let conclusion = libtest_mimic::run(&arguments, tests);
    if let Some(reason) = obstacle.filter(|_| !arguments.list) {
        eprintln!("the page is not looked at: {reason}");
        if std::env::var("XDPROOF_REQUIRE_BROWSER").as_deref() == Ok("1") {
            return ExitCode::FAILURE;
        }
    }
    conclusion.exit_code()
}

/// Writes a page below `target/`, where it can be looked at afterwards.
fn page(name: &str, collection: &Collection) -> Result<PathBuf> {
    let path = browser::scratch().join(format!("{name}.html"));
    let since = Instant::now();
    let mut to = io::BufWriter::new(fs::File::create(&path)?);
    html::write(collection, &mut to)?;
    io::Write::flush(&mut to)?;
    println!("{name}: {} bytes in {:.2?}", fs::metadata(&path)?.len(), since.elapsed());
    Ok(path)
}

fn fast(browser: &Browser, scenarios: &[Scenario], trials: usize) -> Result {
    browser.check("fast", &page(&format!("trials_{trials}"), &results::many(scenarios, trials))?)
}
