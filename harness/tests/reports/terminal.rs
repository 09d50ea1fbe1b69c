//! What people are told at a terminal: a summary that fits a screen, progress, help, completions and man pages.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use xdproof::{
    model::{
        mode::{
            InjectorKind::{self, LiveFrames, Pnet, Ring, TestRun},
            Mode::{self, Generic, Native, Unattached},
            TrialPath,
        },
        result::{RunResult, TrialRecord},
        verdict::VerdictKind::{self, Fail, Pass, Skip},
    },
    report::{Event, Reporter as _, console::Console, progress::Progress, terminal_style::Verbosity},
};

use super::{
    commands::{files, path, run, said},
    everything::{everything, hostile},
    results::{result, trial},
};

/// What a run of such a result prints, its start too.
fn told(result: &RunResult, verbosity: Verbosity) -> String {
    let mut text = Vec::new();
    let mut console = Console::new(&mut text, verbosity);
    let mut paths: Vec<TrialPath> = result.trials.iter().map(TrialRecord::path).collect();
    paths.sort_unstable();
    paths.dedup();
    let environment = &result.environment;
    console.report(Event::Started { environment, paths: &paths, trials: result.trials.len() }).unwrap();
    console.report(Event::Ended { result }).unwrap();
    anstream::adapter::strip_bytes(&text).into_vec().try_into().unwrap()
}

/// Lines on a screen of 80 columns, where a longer one takes several.
fn lines(text: &str) -> usize {
    text.lines().map(|line| line.chars().count().div_ceil(80).max(1)).sum()
}

/// 3,000 trials: scenarios in groups, on every path of three modes and three injectors.
fn many(verdict: impl Fn(usize) -> VerdictKind) -> RunResult {
    let of = |mode: Mode, injector: InjectorKind, scenario: usize, verdict: VerdictKind| {
        let name = format!("group_{}/scenario_{scenario}", scenario % 11);
        TrialRecord { injector, id: format!("{name}::{mode}::{injector}"), ..trial(&name, mode, verdict) }
    };
    let paths =
        [(Generic, Pnet), (Native, Pnet), (Generic, Ring), (Native, LiveFrames), (Unattached, TestRun)];
    let trials = (0..600).flat_map(|scenario| {
        let verdict = verdict(scenario);
        paths.map(|(mode, injector)| of(mode, injector, scenario, verdict))
    });
    result("6.1", trials.collect(), Vec::new())
}

#[test]
fn three_thousand_trials_fit_a_screen() {
    let good = told(&many(|index| if index % 50 == 0 { Skip } else { Pass }), Verbosity::Normal);
    assert!(lines(&good) <= 24, "{} lines:\n{good}", lines(&good));
    assert!(good.contains("generic::pnet") && good.contains("588 pass, 12 skip"), "{good}");
    assert!(good.lines().last().unwrap().starts_with("3000 trials: 2940 pass, 60 skip in "), "{good}");

    let bad = told(&many(|index| if index < 100 { Fail } else { Pass }), Verbosity::Normal);
    let (before, rest) = bad.split_once("\nFAIL ").unwrap();
    let (explained, after) = rest.rsplit_once("\n\n").unwrap();
    assert_eq!(explained.matches("  reproduce: ").count(), 3, "{bad}");
    assert!(lines(before) + lines(after) <= 24, "{bad}");
    assert!(after.contains("and 492 failures more: -v shows more, --out DIR keeps them\n"), "{after}");
    assert!(after.lines().last().unwrap().starts_with("3000 trials: 2500 pass, 500 fail in "), "{after}");
    assert!(before.contains("failures in group_0, group_1, group_10"), "{before}");
}

#[test]
fn everything_is_told_where_it_is_asked_for() {
    let result = many(|index| if index < 10 { Fail } else { Pass });
    let verbose = told(&result, Verbosity::Verbose);
    assert_eq!(verbose.matches("  reproduce: ").count(), 50);
    assert!(verbose.contains("\ngroup_5/scenario_599 "), "no row a scenario");
    let quiet = told(&result, Verbosity::Quiet);
    assert_eq!(quiet.matches("  reproduce: ").count(), 16);
    assert!(!quiet.contains("failures in") && quiet.contains("and 29 failures more"), "{quiet}");
}

#[test]
fn few_scenarios_have_a_row_each() {
    let trials =
        vec![trial("a/one", Generic, Pass), trial("a/one", Native, Fail), trial("b/two", Native, Skip)];
    let text = told(&result("6.1", trials, Vec::new()), Verbosity::Normal);
    let table = "scenario  generic::pnet  native::pnet\na/one     pass           fail\nb/two                    skip\n";
    assert!(text.contains(table), "{text}");
}

#[test]
fn findings_and_rules_are_told_and_a_result_is_not_green_because_of_its_trials() {
    let mut result = everything().results.swap_remove(0);
    result.trials.retain(|trial| trial.verdict == Pass);
    result.summary = xdproof::model::result::Summary::new(&result.trials, result.trials.len());
    let text = told(&result, Verbosity::Quiet);
    for line in [
        "fault (veth, native): native is advertised, and refused",
        "warning (veth, native): nothing advertises it",
        "FAIL attach/two::netlink on veth: expected EINVAL, observed done",
    ] {
        assert!(text.lines().any(|its| its == line), "no `{line}` in\n{text}");
    }
    let mut colours = Vec::new();
    Console::new(&mut colours, Verbosity::Quiet).report(Event::Ended { result: &result }).unwrap();
    let colours = String::from_utf8(colours).unwrap();
    let summary = colours.lines().last().unwrap();
    assert!(summary.starts_with("\u{1b}[1m\u{1b}[31m1 trial: 1 pass"), "{summary:?}");
}

#[test]
fn names_do_not_steer_the_terminal() {
    let result = hostile().results.swap_remove(0);
    for verbosity in [Verbosity::Quiet, Verbosity::Normal, Verbosity::Verbose] {
        let mut text = Vec::new();
        Console::new(&mut text, verbosity).report(Event::Ended { result: &result }).unwrap();
        let text = String::from_utf8(text).unwrap();
        let mut plain = text.clone();
        // The colours that are ours.
        for code in ["0", "1", "31", "32", "33", "35"] {
            plain = plain.replace(&format!("\u{1b}[{code}m"), "");
        }
        assert!(plain.chars().all(|character| !character.is_control() || character == '\n'), "{plain:?}");
        assert!(!plain.lines().any(|line| line.starts_with("ok 1 forged")), "{plain}");
    }
}

#[test]
fn progress_is_a_plain_line_now_and_then_where_there_is_no_terminal() {
    let result = many(|index| if index == 0 { Fail } else { Pass });
    let report = |every: Duration| {
        let mut text = Vec::new();
        let mut progress = Progress::lines(&mut text, every);
        let environment = &result.environment;
        progress.report(Event::Started { environment, paths: &[], trials: 3000 }).unwrap();
        for trial in &result.trials {
            progress.report(Event::Trial(trial)).unwrap();
        }
        progress.report(Event::Progress { round: 3, spent: 0.42, case: "path/a" }).unwrap();
        progress.report(Event::Ended { result: &result }).unwrap();
        String::from_utf8(text).unwrap()
    };
    let all = report(Duration::ZERO);
    let lines: Vec<&str> = all.lines().collect();
    assert_eq!(lines.len(), 3001);
    assert_eq!(lines[2999], "3000 of 3000 trials, 5 bad");
    assert_eq!(lines[3000], "round 3, 42 % of the budget: path/a");
    assert_eq!(report(Duration::from_secs(3600)), "");
}

#[test]
fn help_names_every_verb_once_by_what_it_is_for() {
    let help = said(&run(&["--help"]), 0);
    let command = xdproof::cli::Cli::definition();
    let verbs: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    assert!(verbs.len() > 10, "{verbs:?}");
    for verb in verbs.into_iter().chain(["help"]) {
        let lines = help.lines().filter(|line| line.starts_with(&format!("  {verb} "))).count();
        assert_eq!(lines, 1, "{verb} in\n{help}");
    }
    for word in ["Test and measure:", "Read results:", "Exit codes: 0 as expected", "Examples:"] {
        assert!(help.contains(word), "{help}");
    }
}

#[test]
fn completions_and_man_pages_know_every_verb_and_option() {
    let bash = said(&run(&["completions", "bash"]), 0);
    assert!(bash.contains("xdproof__validate") || bash.contains("xdproof__subcmd__validate"), "{bash}");
    assert!(bash.contains("--partition") && bash.contains("completions"));
    // A shell can read it.
    let mut shell = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(bash.as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success());
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(said(&run(&["completions", shell]), 0).contains("validate"), "{shell}");
    }
    said(&run(&["completions", "cmd.exe"]), 2);
    let out = tempfile::tempdir().unwrap();
    said(&run(&["man", "--out", path(out.path())]), 0);
    let command = xdproof::cli::Cli::definition();
    let pages = files(out.path());
    for verb in command.get_subcommands().map(clap::Command::get_name).filter(|verb| *verb != "help") {
        assert!(pages.contains(&format!("xdproof-{verb}.1")), "no page for {verb}: {pages:?}");
    }
    let page = fs::read_to_string(out.path().join("xdproof-validate.1")).unwrap();
    assert!(page.contains(".TH xdproof-validate 1") && page.contains("\\-\\-partition"), "{page}");
}
