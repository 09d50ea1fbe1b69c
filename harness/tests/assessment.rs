//! What several results come to: the verdict in a sentence, and what keeps it from being clean, by severity.

#[path = "measurement/mod.rs"]
mod measurement;
#[path = "report_page/results.rs"]
mod results;

use results::{
    ON_A_WIRE, TEST_RUN, clean, environment, finding, matrix, measurements, not_run, passed, scenarios,
    stripped,
};
use xdproof::{
    model::{
        finding::{InfrastructureFailure, Severity},
        judgement::Judgement,
        measurement::Measurement,
        result::{Collection, RunResult, Summary, TrialRecord},
        verdict::{Verdict, VerdictKind},
    },
    report::{
        assessment::{Assessment, IssueKind, IssuePlace, IssueSeverity, Standing},
        detection_power, html,
    },
};

/// A collection of one result, of these trials out of a plan of as many.
fn of(trials: Vec<TrialRecord>, measurements: Vec<Measurement>) -> Collection {
    let planned = trials.len();
    Collection::new(vec![RunResult::new(environment("6.12.0"), trials, measurements, planned)], Vec::new())
}

fn skipped() -> Vec<TrialRecord> {
    let reason = "veth is software: there is no device to offload to".to_owned();
    let skip = |its| not_run(its, ON_A_WIRE[1], Some("veth"), Verdict::Skip { reason: reason.clone() });
    scenarios().iter().take(3).map(skip).collect()
}

fn failed() -> Vec<TrialRecord> {
    let tagged = scenarios().iter().filter(|its| its.id.as_ref().starts_with("vlan/qinq"));
    tagged.map(|its| stripped(its, ON_A_WIRE[1], Some("igb"), None)).collect()
}

#[track_caller]
fn expect(collection: &Collection, standing: Standing, parts: &[&str]) -> Assessment {
    let assessment = Assessment::of(collection);
    assert_eq!(assessment.standing, standing, "{assessment:#?}");
    for part in parts {
        assert!(assessment.sentence.contains(part), "`{part}` is not in: {}", assessment.sentence);
    }
    // The page says it too, and says it first.
    let page = page(collection);
    let heading = page.find("<h1").map(|at| &page[at..]).unwrap_or_default();
    assert!(heading.starts_with("<h1") && heading[..400].contains(standing.name()), "{}", &heading[..400]);
    assert!(page.contains(&format!("<p class=\"sentence\">{}.</p>", assessment.sentence)));
    assessment
}

fn page(collection: &Collection) -> String {
    let mut page = Vec::new();
    let written = html::write(collection, &mut page);
    assert!(written.is_ok(), "{written:?}");
    String::from_utf8_lossy(&page).into_owned()
}

#[test]
fn nothing_is_no_pass() {
    expect(&of(Vec::new(), Vec::new()), Standing::Empty, &["neither trials nor measurements"]);
    expect(&Collection::new(Vec::new(), Vec::new()), Standing::Empty, &["neither"]);
}

#[test]
fn trials_that_were_all_skipped_prove_nothing() {
    let assessment = expect(&of(skipped(), Vec::new()), Standing::NothingProved, &["none of 3 trials"]);
    assert!(assessment.issues.is_empty(), "a declared skip is no issue");
}

#[test]
fn what_came_out_as_it_had_to_is_a_pass_that_says_what_was_not_run() {
    let trials = [clean(), skipped()].concat();
    let parts = ["8 trials passed", "3 skipped for declared reasons"];
    let assessment = expect(&of(trials, Vec::new()), Standing::Passed, &parts);
    assert!(assessment.issues.is_empty(), "{:#?}", assessment.issues);
}

#[test]
fn a_failed_trial_fails_the_whole() {
    let trials = [clean(), failed()].concat();
    let (all, bad) = (trials.len(), failed().len());
    let assessment =
        expect(&of(trials, Vec::new()), Standing::Failed, &[&format!("{bad} of {all} trials failed")]);
    assert_eq!(assessment.issues.len(), bad);
    assert!(assessment.issues.iter().all(|its| its.kind == IssueKind::Failure));
    assert!(!assessment.issues[0].message.contains("0200000000"), "an overview has no bytes");
}

#[test]
fn a_broken_testbed_is_no_failure_and_no_pass() {
    let error = Verdict::Error { reason: "the link is down".to_owned() };
    let trials = [clean(), vec![not_run(&scenarios()[0], ON_A_WIRE[0], Some("igb"), error)]].concat();
    expect(
        &of(trials, Vec::new()),
        Standing::Incomplete,
        &["the testbed broke in 1 of 9 trials", "8 trials"],
    );
}

#[test]
fn what_was_never_begun_leaves_a_gap() {
    let trials = clean();
    let planned = trials.len() + 1;
    let result = RunResult::new(environment("6.12.0"), trials, Vec::new(), planned);
    expect(&Collection::new(vec![result], Vec::new()), Standing::Incomplete, &["1 trial was not run"]);
}

#[test]
fn a_machine_that_hung_leaves_a_gap_and_one_that_recovered_a_reservation() {
    let breakdown = |recovered| InfrastructureFailure {
        cell: "6.1/igb".to_owned(),
        message: "the machine hung".to_owned(),
        attempts: 2,
        recovered,
        console: String::new(),
    };
    let mut its = of(clean(), Vec::new());
    its.infrastructure_failures = vec![breakdown(true)];
    expect(&its, Standing::PassedWithWarnings, &["8 trials passed", "1 warning"]);
    its.infrastructure_failures = vec![breakdown(false)];
    expect(&its, Standing::Incomplete, &["1 part without a result"]);
}

#[test]
fn findings_weigh_what_they_say() {
    let with = |severity| {
        let mut its = of(clean(), Vec::new());
        its.results[0].findings = vec![finding(severity)];
        its
    };
    expect(&with(Severity::Fault), Standing::Failed, &["1 fault found beyond the trials"]);
    expect(&with(Severity::Warning), Standing::PassedWithWarnings, &["1 warning"]);
    let noted = expect(&with(Severity::Note), Standing::Passed, &["8 trials passed"]);
    assert_eq!(noted.issues[0].kind, IssueKind::Note);
}

#[test]
fn a_deviation_that_is_declared_is_one_obstacle_and_no_failure() {
    let tagged = scenarios().iter().filter(|its| its.id.as_ref().starts_with("vlan/qinq"));
    let deviating = tagged.map(|its| stripped(its, ON_A_WIRE[1], Some("igb"), Some("igb takes tags out")));
    let deviating: Vec<TrialRecord> = deviating.collect();
    let number = deviating.len();
    let its = of([clean(), deviating].concat(), Vec::new());
    let assessment = expect(&its, Standing::Passed, &[&format!("{number} deviate as declared")]);
    assert_eq!(assessment.issues.len(), 1);
    assert_eq!(assessment.issues[0].places.len(), number);
}

#[test]
fn a_rule_that_does_not_hold_fails_the_whole() {
    let mut its = of(clean(), Vec::new());
    its.results[0].attach_semantics = matrix(scenarios()).results[3].attach_semantics.clone();
    let assessment = expect(&its, Standing::Failed, &["1 of 4 attach-semantics tests failed"]);
    assert!(matches!(assessment.issues[0].places[..], [IssuePlace::AttachTest(0, _)]));
}

#[test]
fn measurements_alone_are_judged_by_their_verdicts() {
    let regressed = measurements();
    expect(
        &of(Vec::new(), regressed.clone()),
        Standing::Failed,
        &["2 of 16 measurements slower than the tolerance allows"],
    );
    let is_pass = |its: &Measurement| its.verdict == Some(Judgement::Pass);
    let good: Vec<Measurement> = regressed.iter().filter(|its| is_pass(its)).cloned().collect();
    expect(
        &of(Vec::new(), good.clone()),
        Standing::Passed,
        &["13 of 13 judged measurements within the tolerance"],
    );
    let inconclusive = |its: &&Measurement| matches!(its.verdict, Some(Judgement::Inconclusive { .. }));
    let doubtful = regressed.iter().filter(inconclusive).cloned();
    expect(
        &of(Vec::new(), good.iter().cloned().chain(doubtful).collect()),
        Standing::PassedWithWarnings,
        &["13 of 14"],
    );
    let mut unjudged = good;
    unjudged.iter_mut().for_each(|its| its.verdict = None);
    expect(&of(Vec::new(), unjudged), Standing::Measured, &["13 comparisons were made, none of them judged"]);
}

#[test]
fn a_summary_that_its_trials_do_not_bear_out_fails_the_whole() {
    let mut its = of([clean(), failed()].concat(), Vec::new());
    let claimed = Summary { pass: its.results[0].trials.len(), ..Summary::default() };
    for trial in &mut its.results[0].trials {
        trial.verdict = VerdictKind::Pass;
    }
    expect(&its, Standing::Failed, &["result files are inconsistent"]);
    its.results[0].summary = claimed.clone();
    expect(&its, Standing::Failed, &["1 result file is inconsistent"]);
    its.summary = claimed;
    expect(&its, Standing::Passed, &["passed"]);
}

#[test]
fn what_weighs_most_comes_first() {
    let assessment = Assessment::of(&matrix(scenarios()));
    assert_eq!(assessment.standing, Standing::Failed);
    let kinds: Vec<IssueKind> = assessment.by_kind().map(|(kind, _)| kind).collect();
    let expected = [
        IssueKind::Failure,
        IssueKind::AttachSemantics,
        IssueKind::Fault,
        IssueKind::Slower,
        IssueKind::Error,
        IssueKind::InfrastructureFailure,
        IssueKind::Warning,
        IssueKind::Inconclusive,
        IssueKind::Recovered,
        IssueKind::Deviation,
        IssueKind::Note,
    ];
    assert_eq!(kinds, expected);
    let severities: Vec<IssueSeverity> = assessment.issues.iter().map(|its| its.kind.severity()).collect();
    assert!(severities.is_sorted(), "{severities:?}");
    let warning = assessment.issues.iter().find(|its| its.kind == IssueKind::Warning).unwrap();
    assert_eq!(warning.places.len(), 3, "what three kernels show alike is said once");
}

#[test]
fn a_pass_is_worth_the_faults_that_its_scenarios_find() {
    let everything = |its| passed(its, TEST_RUN, None);
    let all = of(scenarios().iter().map(everything).collect(), Vec::new());
    let power = detection_power::power(&all.results[0]);
    assert_eq!(power.len(), 1);
    assert_eq!(power[0].found + power[0].missed.len(), detection_power::table().len());
    assert!(power[0].found > 100, "{:?}", power[0].missed);
    let one = of(clean().into_iter().take(1).collect(), Vec::new());
    assert!(detection_power::power(&one.results[0])[0].found < power[0].found);
    // A failed run proves nothing.
    assert_eq!(detection_power::power(&of(failed(), Vec::new()).results[0])[0].found, 0);
    assert!(page(&all).contains(&format!(
        "The scenarios that passed here detect {} of {} planted faults.",
        power[0].found,
        detection_power::table().len()
    )));
}
