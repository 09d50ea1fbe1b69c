//! A hundred thousand trials, by every verb that reads results.

use std::{fs, time::Instant};

use xdproof::model::{
    mode::Mode::{Generic, Native},
    verdict::VerdictKind::{Fail, Pass},
};

use super::{
    commands::{path, run, said, unwrapped},
    directory,
    results::{result, trial},
};

/// Trials of a result.
const TRIALS: usize = 100_000;

#[test]
fn a_hundred_thousand_trials_are_reported_merged_and_compared() {
    let trials = |broken: usize| {
        let trials = (0..TRIALS).map(|index| {
            let mode = if index % 2 == 0 { Generic } else { Native };
            let verdict = if index % 100 == broken { Fail } else { Pass };
            trial(&format!("many/scenario_{index}"), mode, verdict)
        });
        result("6.1", trials.collect(), Vec::new())
    };
    let results = directory(&[("old/result.json", &trials(0)), ("new/result.json", &trials(1))]);
    let [old, new, out] = ["old", "new", "out"].map(|name| results.path().join(name));
    let timed = |what: &str, arguments: &[&str], code: i32| {
        let began = Instant::now();
        let told = said(&run(arguments), code);
        println!("{what}: {:?}", began.elapsed());
        told
    };
    let all = "html,markdown,junit,ktap,json";
    timed("report", &["report", path(&old), "--format", all, "--out", path(&out)], 0);
    let told = timed("merge", &["merge", path(&old), "--out", path(&out)], 0);
    assert!(told.contains("100000 trials: 99000 pass, 1000 fail"), "{told}");
    let told = timed("compare", &["compare", path(&old), path(&new), "--out", path(&out)], 1);
    assert!(unwrapped(&told).ends_with(
        "100000 trials compared: 2000 changed, 1000 worse; 0 measurements compared: 0 slower, 0 faster, 0 \
         inconclusive"
    ));
    let size = |name: &str| fs::metadata(out.join(name)).unwrap().len();
    assert!(size("report.md") < 20_000, "{}", size("report.md"));
    let junit = fs::read_to_string(out.join("junit.xml")).unwrap();
    assert_eq!(
        (junit.matches("<testcase").count(), junit.matches("<failure").count()),
        (TRIALS, TRIALS / 100)
    );
    let html = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(html.contains("many/scenario_99999"));
}
