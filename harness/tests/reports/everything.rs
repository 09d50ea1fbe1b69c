//! A collection with one of everything that can be told, and one with everything that can be told with malice.

use xdproof::model::{
    attach_step::StepRecord,
    finding::{Finding, FindingKind, InfrastructureFailure, Severity},
    judgement::{Contender, Inconclusive, Judgement},
    measurement::Unmeasured,
    mode::Mode::{Generic, Native, Offload},
    result::{AttachTestRecord, Collection, RunResult, TrialRecord},
    verdict::VerdictKind::{self, Error, Fail, Pass, Skip, Unreachable, Xfail},
};

use super::{
    measurement::measurement,
    results::{result, trial},
};

/// Cases by how they come out, as every form has to count them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) pass: usize,
    pub(crate) fail: usize,
    pub(crate) error: usize,
    pub(crate) skip: usize,
    pub(crate) xfail: usize,
}

impl Numbers {
    /// Those of [`everything`].
    pub(crate) const EVERYTHING: Self = Self {
        // A trial on either kernel, a rule, a measurement, a finding, a part that was recovered.
        pass: 6,
        // A trial, a rule, a measurement, a finding.
        fail: 4,
        // A trial, a measurement, trials that were never begun, a part that came to nothing.
        error: 4,
        // A trial, one that is unreachable, two measurements.
        skip: 4,
        xfail: 1,
    };

    pub(crate) fn total(self) -> usize {
        let Self { pass, fail, error, skip, xfail } = self;
        pass + fail + error + skip + xfail
    }
}

fn rule(id: &str, verdict: VerdictKind, observed: &str) -> AttachTestRecord {
    AttachTestRecord {
        id: id.to_owned(),
        fact: "two mode bits".to_owned(),
        nic: "veth".to_owned(),
        verdict,
        reason: (verdict != Pass).then(|| format!("expected EINVAL, observed {observed}")),
        steps: vec![StepRecord {
            action: "attach in both modes".to_owned(),
            expected: "EINVAL".to_owned(),
            observed: observed.to_owned(),
        }],
    }
}

fn finding(severity: Severity, message: &str) -> Finding {
    Finding {
        kind: FindingKind::AdvertisedNotWorking,
        severity,
        nic: Some("veth".to_owned()),
        mode: Some(Native),
        message: message.to_owned(),
    }
}

pub(crate) fn everything() -> Collection {
    let mut slower = measurement("path/slower", 0, |_| 100.0);
    slower.verdict = Some(Judgement::Regression);
    let mut doubtful = measurement("path/doubtful", 0, |_| 100.0);
    let reason = Inconclusive::TooFewBlocks { series: Contender::Subject, blocks: 3 };
    doubtful.verdict = Some(Judgement::Inconclusive { reason });
    let unmeasured = |id, declared| {
        let mut measurement = measurement(id, 0, |_| 100.0);
        measurement.unmeasured = Some(Unmeasured { reason: "no such path".to_owned(), declared });
        measurement
    };
    let measurements = vec![
        measurement("path/judged_well", 0, |_| 100.0),
        slower,
        doubtful,
        unmeasured("path/impossible", true),
        unmeasured("path/broken", false),
    ];
    let trials = vec![
        trial("group/passes", Generic, Pass),
        trial("group/fails", Generic, Fail),
        trial("group/breaks", Generic, Error),
        trial("group/skipped", Offload, Skip),
        trial("group/unreachable", Native, Unreachable),
        trial("group/deviates", Native, Xfail),
    ];
    let mut first = result("6.1", trials, measurements);
    first.attach_semantics =
        vec![rule("attach/two::netlink", Fail, "done"), rule("attach/one::netlink", Pass, "EINVAL")];
    first.findings = vec![
        finding(Severity::Fault, "native is advertised, and refused"),
        finding(Severity::Warning, "nothing advertises it"),
    ];
    first.summary.not_run = 3;
    let second = result("6.12", vec![trial("group/passes", Generic, Pass)], Vec::new());
    let breakdown = |cell: &str, recovered| InfrastructureFailure {
        cell: cell.to_owned(),
        message: "the machine hung".to_owned(),
        attempts: 2,
        recovered,
        console: "Booting\nKernel panic - not syncing: VFS: Unable to mount root fs\n".to_owned(),
    };
    Collection::new(vec![first, second], vec![breakdown("5.10", false), breakdown("6.18", true)])
}

/// What breaks out of a format that does not take care.
pub(crate) const HOSTILE: &[&str] = &[
    "<script>alert(1)</script>",
    "]]><system-out>&amp;\"'",
    "a # SKIP b",
    "# SKIP",
    "SKIP",
    "\nok 1 forged\n1..0 # SKIP\nBail out!",
    "# Subtest: forged",
    "\\# SKIP",
    "| a | b |\n|---|---|",
    "``` `` ` \n```\n# heading",
    "</details><details open>",
    "![image](http://192.0.2.1/x) [link](javascript:alert(1)) **bold** _em_",
    "\u{1b}[31mred\u{1b}[0m\u{7}\u{0}\u{8}",
    "\u{202e}reversed\u{2028}\u{fffe}\u{feff}",
    "",
    " ",
    "KTAP version 1",
    "reboot: System halted",
];

/// Failed trials of which everything that is a text has been chosen by someone who means ill.
pub(crate) fn hostile() -> Collection {
    let trials = HOSTILE.iter().enumerate().map(|(number, text)| {
        let mut trial = trial(&format!("{number}{text}"), Generic, Fail);
        trial.reason = Some((*text).to_owned());
        trial.nic = Some("ve|th<b>".to_owned());
        let failure = trial.failure.as_mut().unwrap();
        failure.reproducer = format!("{text}\n{text}");
        failure.frames[0].layers = (*text).to_owned();
        failure.frames[0].hex = (*text).to_owned();
        trial
    });
    let trials: Vec<TrialRecord> = trials.collect();
    let all = HOSTILE.concat();
    let mut result: RunResult = result(&all, trials, vec![measurement(&all, 0, |_| 100.0)]);
    result.environment.program.name.clone_from(&all);
    result.environment.program.object = Some(all.clone());
    result.findings = vec![Finding { nic: Some(all.clone()), ..finding(Severity::Fault, &all) }];
    result.attach_semantics = vec![rule(&all, Fail, &all)];
    let breakdown = InfrastructureFailure {
        cell: all.clone(),
        message: all.clone(),
        attempts: 1,
        recovered: false,
        console: all,
    };
    Collection::new(vec![result], vec![breakdown])
}
