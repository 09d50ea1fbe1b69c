//! `report::comparison` and `xdproof compare`: what was planted is reported, and nothing else.

use std::fs;

use serde_json::Value;
use xdproof::{
    model::{
        finding::{Finding, FindingKind, InfrastructureFailure, Severity},
        measurement::Measurement,
        mode::Mode::Native,
        result::{Collection, RunResult, TrialRecord},
        verdict::VerdictKind::{self, Fail, Pass, Skip, Xfail},
    },
    report::comparison::{ChangeKind, Comparison, ComparisonOutcome},
};

use super::{
    commands::{files, path, run, said, unwrapped},
    directory,
    everything::{everything, hostile},
    measurement::measurement,
    results::{result, trial},
};

fn of(results: Vec<RunResult>) -> Collection {
    Collection::new(results, Vec::new())
}

fn compare(old: &Collection, new: &Collection) -> Comparison {
    Comparison::of(old, new, None)
}

fn trials(of: &[(&str, VerdictKind)]) -> Vec<TrialRecord> {
    of.iter().map(|(scenario, verdict)| trial(scenario, Native, *verdict)).collect()
}

fn rates(of: &[(&str, f64)]) -> Vec<Measurement> {
    of.iter().map(|(id, cost)| measurement(id, 30, |_| *cost)).collect()
}

fn finding(severity: Severity, message: &str) -> Finding {
    Finding {
        kind: FindingKind::Statistics,
        severity,
        nic: Some("veth".to_owned()),
        mode: None,
        message: message.to_owned(),
    }
}

/// Two kernels: a trial that broke, one that was fixed, one that is new, one that is gone, and one that is as it was; a rate
/// that is slower, one that is faster, one that is noise, and one that is as it was; findings, likewise.
fn planted() -> [RunResult; 2] {
    let old = [("same", Pass), ("known", Xfail), ("breaks", Pass), ("mixes", Fail), ("vanishes", Pass)];
    let new = [("same", Pass), ("known", Xfail), ("breaks", Fail), ("mixes", Pass), ("comes", Pass)];
    let flat = [("path/same", 100.0), ("path/slower", 100.0), ("path/faster", 100.0), ("path/noisy", 100.0)];
    let changed = [("path/same", 100.0), ("path/slower", 110.0), ("path/faster", 90.0)];
    let mut old = result("6.1", trials(&old), rates(&flat));
    let mut new = result("6.12", trials(&new), rates(&changed));
    let noise = |block: u32| if block.is_multiple_of(2) { 80.0 } else { 125.0 };
    new.measurements.push(measurement("path/noisy", 30, noise));
    old.findings = vec![finding(Severity::Warning, "100 of 200 frames"), finding(Severity::Fault, "gone")];
    new.findings = vec![finding(Severity::Warning, "101 of 202 frames"), finding(Severity::Note, "came")];
    [old, new]
}

#[test]
fn exactly_what_was_planted_is_reported() {
    let [old, new] = planted();
    let found = compare(&of(vec![old]), &of(vec![new]));
    let fates: Vec<(&str, ChangeKind)> =
        found.trials.iter().map(|its| (its.id.strip_suffix("::native::pnet").unwrap(), its.kind)).collect();
    let planted = [
        ("breaks", ChangeKind::Regressed),
        ("comes", ChangeKind::New),
        ("mixes", ChangeKind::Fixed),
        ("vanishes", ChangeKind::Lost),
    ];
    assert_eq!(fates, planted);
    assert_eq!(found.trials_compared, 4);
    let rates: Vec<(&str, String)> =
        found.measurements.iter().map(|its| (its.id.as_str(), its.name())).collect();
    let planted = [
        ("path/same", "PASS"),
        ("path/slower", "REGRESSION"),
        ("path/faster", "IMPROVED"),
        ("path/noisy", "INCONCLUSIVE"),
    ];
    assert_eq!(rates, planted.map(|(id, name)| (id, name.to_owned())));
    let findings: Vec<(&str, ChangeKind)> =
        found.findings.iter().map(|its| (its.finding.message.as_str(), its.kind)).collect();
    assert_eq!(findings, [("gone", ChangeKind::Fixed), ("came", ChangeKind::New)]);
    assert_eq!((found.outcome(), found.worse()), (ComparisonOutcome::Worse, 3));
}

#[test]
fn only_what_got_worse_fails() {
    let with = |changes: &[(&str, VerdictKind)]| of(vec![result("6.1", trials(changes), Vec::new())]);
    let cases = [
        (Some(Pass), Some(Fail), ComparisonOutcome::Worse),
        (Some(Pass), Some(Skip), ComparisonOutcome::Worse),
        (Some(Pass), None, ComparisonOutcome::Worse),
        (None, Some(Fail), ComparisonOutcome::Worse),
        (Some(Xfail), Some(Fail), ComparisonOutcome::Worse),
        (Some(Fail), Some(Pass), ComparisonOutcome::AsExpected),
        (Some(Fail), Some(Fail), ComparisonOutcome::AsExpected),
        (Some(Fail), Some(VerdictKind::Error), ComparisonOutcome::AsExpected),
        (Some(Fail), None, ComparisonOutcome::AsExpected),
        (Some(Skip), Some(Pass), ComparisonOutcome::AsExpected),
        (None, Some(Pass), ComparisonOutcome::AsExpected),
    ];
    for (old, new, outcome) in cases {
        let [old, new] = [old, new].map(|verdict| {
            let changing = verdict.map(|verdict| ("a", verdict));
            with(&changing.into_iter().chain([("same", Pass)]).collect::<Vec<_>>())
        });
        assert_eq!(compare(&old, &new).outcome(), outcome, "{old:?} -> {new:?}");
    }
    let with = |findings| RunResult { findings, ..result("6.1", trials(&[("same", Pass)]), Vec::new()) };
    let compare = |old, new| compare(&of(vec![with(old)]), &of(vec![with(new)])).outcome();
    let fault = || finding(Severity::Fault, "a fault");
    assert_eq!(compare(vec![], vec![fault()]), ComparisonOutcome::Worse);
    assert_eq!(compare(vec![fault()], vec![fault()]), ComparisonOutcome::AsExpected);
    assert_eq!(compare(vec![fault()], vec![]), ComparisonOutcome::AsExpected);
    let graver = [finding(Severity::Warning, "it"), finding(Severity::Fault, "it")].map(|its| vec![its]);
    let [warning, graver] = graver;
    assert_eq!(compare(warning, graver), ComparisonOutcome::Worse);
}

#[test]
fn what_differs_does_not_keep_trials_from_being_matched() {
    let one = |kernel: &str, verdict| result(kernel, trials(&[("a", verdict)]), Vec::new());
    let places = |old: Vec<RunResult>, new: Vec<RunResult>| -> Vec<(Option<String>, ChangeKind)> {
        let found = compare(&of(old), &of(new));
        found.trials.iter().map(|its| (its.place.clone(), its.kind)).collect()
    };
    // Another kernel, or another program.
    assert_eq!(places(vec![one("6.1", Pass)], vec![one("6.12", Fail)]), [(None, ChangeKind::Regressed)]);
    let mut program = one("6.1", Fail);
    program.environment.program.tag = "another".to_owned();
    assert_eq!(places(vec![one("6.1", Pass)], vec![program]), [(None, ChangeKind::Regressed)]);
    // Several kernels on either side.
    let old = || vec![one("6.1", Pass), one("6.12", Fail)];
    let new = || vec![one("6.12", Fail), one("6.1", Fail)];
    assert_eq!(places(old(), new()), [(Some("6.1".to_owned()), ChangeKind::Regressed)]);
    // One against several: each of them is held against it.
    assert_eq!(
        places(vec![one("6.1", Pass)], new()),
        [(None, ChangeKind::Regressed), (None, ChangeKind::Regressed)]
    );
    // Another device is another trial.
    let mut igb = one("6.1", Pass);
    igb.trials[0].nic = Some("igb".to_owned());
    let fates: Vec<ChangeKind> =
        places(vec![one("6.1", Pass)], vec![igb]).into_iter().map(|its| its.1).collect();
    assert_eq!(fates, [ChangeKind::New, ChangeKind::Lost]);
}

#[test]
fn where_the_new_results_are_not_whole_what_is_not_there_has_not_vanished() {
    let old = of(vec![result("6.1", trials(&[("a", Pass), ("b", Pass)]), Vec::new())]);
    let mut interrupted = result("6.1", trials(&[("a", Pass)]), Vec::new());
    interrupted.summary.not_run = 1;
    let breakdown = InfrastructureFailure {
        cell: "6.1".to_owned(),
        message: "the machine hung".to_owned(),
        attempts: 2,
        recovered: false,
        console: String::new(),
    };
    let whole = || result("6.1", trials(&[("a", Pass)]), Vec::new());
    let broken = Collection::new(vec![whole()], vec![breakdown]);
    for new in [of(vec![interrupted]), broken] {
        let found = compare(&old, &new);
        assert_eq!(
            (found.trials[0].kind, found.outcome()),
            (ChangeKind::Missing, ComparisonOutcome::Inconclusive)
        );
        assert_eq!(found.incomplete.len(), 1);
    }
    assert_eq!(compare(&old, &of(vec![whole()])).outcome(), ComparisonOutcome::Worse);
}

#[test]
fn rules_are_compared_as_trials_are() {
    let [old, mut new] = [everything(), everything()];
    for rule in &mut new.results[0].attach_semantics {
        (rule.verdict, rule.reason) = match rule.verdict {
            Pass => (Fail, Some("it is refused now".to_owned())),
            _ => (Pass, None),
        };
    }
    let found = compare(&old, &new);
    let fates: Vec<(&str, ChangeKind)> =
        found.attach_semantics.iter().map(|its| (its.id.as_str(), its.kind)).collect();
    assert_eq!(
        fates,
        [("attach/one::netlink", ChangeKind::Regressed), ("attach/two::netlink", ChangeKind::Fixed)]
    );
    assert_eq!((found.attach_semantics_compared, found.trials.len()), (2, 0));
}

#[test]
fn the_command_writes_each_form_and_exits_by_what_got_worse() {
    let [old, new] = planted();
    let results = directory(&[("old/x/result.json", &old), ("new/result.json", &new)]);
    let [old, new, out] = ["old", "new", "out"].map(|name| results.path().join(name));
    let paths = ["compare", path(&old), path(&new)];
    let output = run(&[&paths[..], &["--out", path(&out), "--format", "text,json,markdown,html"]].concat());
    let told = said(&output, 1);
    let whole = unwrapped(&told);
    let lines: Vec<&str> = whole.lines().collect();
    // Regressions are printed last, above the summary.
    let starts = [
        "gone         finding: wrong statistics on veth: gone",
        "new          finding: wrong statistics on veth: came",
        "PASS         path/same",
        "IMPROVED     path/faster",
        "INCONCLUSIVE path/noisy",
        "new          comes::native::pnet: absent -> pass",
        "fixed        mixes::native::pnet: fail -> pass",
        "REGRESSION   path/slower",
        "REGRESSED    breaks::native::pnet: pass -> fail: protocol 17 (udp): expected 4, got 3",
        "LOST         vanishes::native::pnet: pass -> absent",
        "4 trials compared: 4 changed, 2 worse; findings: 1 new, 1 gone; 4 measurements compared: 1 slower, \
         1 faster, 1 inconclusive",
    ];
    assert_eq!(lines.len(), starts.len(), "{told}");
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(start), "`{line}` is not `{start}`");
    }
    assert_eq!(files(&out), ["comparison.html", "comparison.json", "comparison.md", "comparison.txt"]);
    let written = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    assert_eq!(written("comparison.txt"), told);
    let json: Value = serde_json::from_str(&written("comparison.json")).unwrap();
    assert_eq!(json["trials"].as_array().unwrap().iter().filter(|its| its["worse"] == true).count(), 2);
    for name in ["comparison.md", "comparison.html"] {
        let text = written(name);
        for word in
            ["3 regressions", "REGRESSED", "breaks::native::pnet", "6.12", "REGRESSION", "path/slower"]
        {
            assert!(text.contains(word), "{name} has no `{word}`:\n{text}");
        }
    }
    // The other way round it is another trial that breaks; the same against itself is as expected.
    said(&run(&["compare", path(&new), path(&old), "-q"]), 1);
    said(&run(&["compare", path(&old), path(&old)]), 0);
    said(&run(&["compare", path(&old), path(&new), "--format", "html"]), 2);
}

#[test]
fn hostile_names_stay_names_on_the_page_and_on_the_terminal() {
    let results = directory(&[("old/result.json", &everything()), ("new/result.json", &hostile())]);
    let [old, new, out] = ["old", "new", "out"].map(|name| results.path().join(name));
    let output = run(&["compare", path(&old), path(&new), "--out", path(&out), "--color", "always"]);
    let told = said(&output, 1);
    let html = fs::read_to_string(out.join("comparison.html")).unwrap();
    assert!(
        !html.contains("<script") && !html.contains("</details>") && html.contains("&#60;script&#62;"),
        "{html}"
    );
    // What steers a terminal is what the program itself colours with.
    let plain = without_our_colours(&told);
    assert!(plain.chars().all(|character| !character.is_control() || character == '\n'), "{plain:?}");
    assert!(!plain.lines().any(|line| line.starts_with("ok 1 forged")), "{plain}");
}

/// The text without the colours that are ours: bold, and the eight of the palette.
fn without_our_colours(text: &str) -> String {
    let mut plain = text.to_owned();
    for code in ["0", "1", "31", "32", "33", "35"] {
        plain = plain.replace(&format!("\u{1b}[{code}m"), "");
    }
    plain
}
