//! A collection as JUnit's XML, for continuous integration. Pure.
//!
//! A suite is a place (kernel, device, mode and injector), a case a scenario. Output of a failure is what the terminal shows.

use std::{io, time::Duration};

use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use xdproof_core::model::{Collection, Environment, ProgramIdentity};

use crate::test_cases::{CaseGroup, CaseStatus, ReportCase, groups};

/// Writes a collection.
pub fn write(collection: &Collection, to: impl io::Write) -> Result<(), SerializeError> {
    let mut report = Report::new("xdproof");
    report.add_test_suites(groups(collection).iter().map(suite));
    report.serialize(to)
}

fn suite(group: &CaseGroup<'_>) -> TestSuite {
    let CaseGroup { name, result, cases } = group;
    let mut suite = TestSuite::new(name.as_str());
    if let Some(result) = result {
        let Environment { xdproof, kernel_release, kernel_version, architecture, cpu_model, program, .. } =
            &result.environment;
        let ProgramIdentity { object, name, tag, counter_map, notes: _ } = program;
        for (property, value) in [
            ("xdproof", xdproof.as_str()),
            ("kernel", kernel_release),
            ("kernel build", kernel_version),
            ("architecture", architecture),
            ("processor", cpu_model.as_deref().unwrap_or("unknown")),
            ("program", name),
            ("program tag", tag),
            ("object", object.as_deref().unwrap_or("built in")),
        ] {
            suite.add_property((property, value));
        }
        if let Some(map) = counter_map {
            suite.add_property(("counter map", map.as_str()));
        }
    }
    let times = cases.iter().filter_map(|case| case.time);
    suite.set_time(times.fold(Duration::ZERO, Duration::saturating_add));
    suite.add_test_cases(cases.iter().map(|case| test_case(name, case)));
    suite
}

fn test_case(place: &str, case: &ReportCase<'_>) -> TestCase {
    let mut status = match case.status {
        CaseStatus::Pass => TestCaseStatus::success(),
        CaseStatus::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
        CaseStatus::Error => TestCaseStatus::non_success(NonSuccessKind::Error),
        CaseStatus::Skip | CaseStatus::Xfail => TestCaseStatus::skipped(),
    };
    match case.status {
        CaseStatus::Pass => {}
        CaseStatus::Fail => drop(status.set_type("fail")),
        CaseStatus::Error => drop(status.set_type("error")),
        CaseStatus::Skip => drop(status.set_type("skip")),
        CaseStatus::Xfail => drop(status.set_type("xfail")),
    }
    if let Some(reason) = &case.reason {
        status.set_message(reason.as_ref());
    }
    let detail = case.detail();
    if !detail.is_empty() {
        status.set_description(detail.as_str());
    }
    let mut test_case = TestCase::new(case.name.as_ref(), status);
    test_case.set_classname(place);
    if let Some(time) = case.time {
        test_case.set_time(time);
    }
    // A case that passes has no room for a reason.
    if let (CaseStatus::Pass, Some(reason)) = (case.status, &case.reason) {
        test_case.set_system_out(format!("{reason}\n{detail}"));
    }
    test_case
}
