//! JUnit, KTAP and Markdown, each read by a parser that is not ours.

use std::{io::Cursor, time::Instant};

use junit_parser::{TestStatus, TestSuites};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use tap_parser::{DirectiveKind, TapParser, TapStatement, TapTest};
use xdproof::{
    model::{
        mode::Mode::{Generic, Native, Offload},
        result::{Collection, RunResult, TrialRecord},
        verdict::VerdictKind::{Error, Fail, Pass, Skip, Unreachable},
    },
    report::{junit, ktap, markdown},
};

use super::{
    everything::{HOSTILE, Numbers, everything, hostile},
    results::{result, trial},
};

fn of(results: Vec<RunResult>) -> Collection {
    Collection::new(results, Vec::new())
}

fn junit_of(collection: &Collection) -> TestSuites {
    let mut text = Vec::new();
    junit::write(collection, &mut text).unwrap();
    junit_parser::from_reader(Cursor::new(text)).unwrap()
}

fn ktap_of(collection: &Collection) -> String {
    let mut text = Vec::new();
    ktap::write(collection, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

fn markdown_of(collection: &Collection) -> String {
    let mut text = Vec::new();
    markdown::write(collection, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn junit_has_a_case_for_everything_and_counts_each_as_what_it_is() {
    let suites = junit_of(&everything()).suites;
    let cases: Vec<_> = suites.iter().flat_map(|suite| &suite.cases).collect();
    let number = |is: fn(&TestStatus) -> bool| cases.iter().filter(|case| is(&case.status)).count();
    let deviates =
        |status: &TestStatus| status.is_skipped() && status.skipped_as_ref().skipped_type == "xfail";
    let xfail = number(deviates);
    let counted = Numbers {
        pass: number(TestStatus::is_success),
        fail: number(TestStatus::is_failure),
        error: number(TestStatus::is_error),
        skip: number(TestStatus::is_skipped) - xfail,
        xfail,
    };
    assert_eq!(counted, Numbers::EVERYTHING);
    let told = |of: fn(&junit_parser::TestSuite) -> u64| suites.iter().map(of).sum::<u64>();
    assert_eq!(told(|suite| suite.tests), Numbers::EVERYTHING.total() as u64);
    assert_eq!(told(|suite| suite.failures), Numbers::EVERYTHING.fail as u64);
    assert_eq!(told(|suite| suite.errors), Numbers::EVERYTHING.error as u64);
    let names: Vec<&str> = suites.iter().map(|suite| suite.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "6.1/veth/generic::pnet",
            "6.1/veth/native::pnet",
            "6.1/veth/offload::pnet",
            "6.1/veth/attach semantics",
            "6.1/measurements",
            "6.1/findings",
            "6.1/not run",
            "6.12/veth/generic::pnet",
            "infrastructure failures",
        ]
    );
}

#[test]
fn results_are_called_by_what_tells_them_apart() {
    let names = |results: Vec<RunResult>| -> Vec<String> {
        junit_of(&of(results)).suites.into_iter().map(|suite| suite.name).collect()
    };
    let one = |scenario: &str| result("6.1", vec![trial(scenario, Native, Pass)], Vec::new());
    let place = |name: &str| format!("{name}/veth/native::pnet");
    // Two runs in one environment.
    assert_eq!(names(vec![one("a"), one("b")]), [place("6.1"), place("6.1")]);
    let mut host = one("a");
    host.environment.cpus_available = 64;
    assert_eq!(names(vec![one("a"), host]), [place("6.1 (1)"), place("6.1 (2)")]);
    let mut program = one("a");
    program.environment.program.tag = "another".to_owned();
    let named = ["6.1 (subject ac51964683292ff9)", "6.1 (subject another)"].map(place);
    assert_eq!(names(vec![one("a"), program]), named);
}

#[test]
fn junit_gives_a_failure_with_its_bytes_and_its_command_and_a_skip_with_its_reason() {
    let trials = vec![trial("a/b", Native, Fail), trial("c", Native, Skip), trial("d", Native, Pass)];
    let suites = junit_of(&of(vec![result("6.1", trials, Vec::new())]));
    let [suite] = suites.suites.as_slice() else { panic!("{suites:?}") };
    let [failed, skipped, passed] = suite.cases.as_slice() else { panic!("{suite:?}") };
    assert_eq!(
        (failed.original_name.as_str(), failed.classname.as_deref()),
        ("a/b", Some("6.1/veth/native::pnet"))
    );
    let failure = failed.status.failure_as_ref();
    assert_eq!(failure.message, "protocol 17 (udp): expected 4, got 3");
    for word in [
        "FAIL a/b::native::pnet",
        "02000000000202000000000108004500001c",
        "17 udp                              4            3",
        "reproduce: xdproof validate --scenario a/b --mode native --injector pnet",
    ] {
        assert!(failure.text.contains(word), "{}", failure.text);
    }
    let skip = skipped.status.skipped_as_ref();
    assert_eq!(skip.message, "there is no device to offload to: Invalid argument");
    assert!(passed.status.is_success());
    // Each took 1.5 ms, and the form has milliseconds.
    assert!((passed.time - 0.0015).abs() < 0.0006 && (suite.time - 0.0045).abs() < 0.0006, "{suite:?}");
    assert_eq!(suite.properties.hashmap["program tag"], "ac51964683292ff9");
}

#[test]
fn hostile_names_stay_names_in_junit() {
    let suites = junit_of(&hostile()).suites;
    let cases = &suites[0].cases;
    assert_eq!(cases.len(), HOSTILE.len());
    for (number, (case, text)) in cases.iter().zip(HOSTILE).enumerate() {
        assert!(case.status.is_failure(), "{text:?}: {case:?}");
        assert!(case.original_name.starts_with(&number.to_string()), "{text:?}: {case:?}");
    }
    assert_eq!(cases[0].original_name, "0<script>alert(1)</script>");
    assert_eq!(cases[1].original_name, "1]]><system-out>&amp;\"'");
    let all = |is: fn(&TestStatus) -> bool| {
        suites[1..].iter().flat_map(|suite| &suite.cases).all(|case| is(&case.status))
    };
    assert!(!all(TestStatus::is_success));
}

/// KTAP as TAP 14, from which it differs (`Documentation/dev-tools/ktap.rst`) in the version line, which subtests have too, in
/// indentation, and in directives beyond SKIP and TODO.
fn as_tap(ktap: &str) -> String {
    let mut tap = String::from("TAP version 14\n");
    let mut lines = ktap.lines();
    assert_eq!(lines.next(), Some("KTAP version 1"));
    for line in lines.filter(|line| *line != "  KTAP version 1") {
        let (indent, line) = line.strip_prefix("  ").map_or(("", line), |line| ("    ", line));
        let line = match line.split_once(" # ") {
            Some((result, directive)) if result.starts_with("ok") || result.starts_with("not ok") => {
                match directive.split_once(' ').map_or(directive, |(word, _)| word) {
                    "SKIP" => line.to_owned(),
                    "XFAIL" => format!("{result} # TODO {}", &directive["XFAIL".len()..]),
                    "note:" | "fail:" | "ERROR" => result.to_owned(),
                    other => panic!("`{other}` is no directive that is known: {line}"),
                }
            }
            _ => line.to_owned(),
        };
        tap.push_str(&format!("{indent}{line}\n"));
    }
    tap
}

/// Each group with its results, as a parser of TAP reads them.
fn with_tests(ktap: &str, check: impl FnOnce(&[(TapTest<'_>, Vec<TapTest<'_>>)])) {
    let tap = as_tap(ktap);
    let statements = TapParser::new().parse(&tap).unwrap_or_else(|error| panic!("{error}\n{tap}"));
    let mut groups = Vec::new();
    let mut planned = None;
    for statement in statements {
        match statement {
            TapStatement::Plan(plan) => planned = Some(plan.count),
            TapStatement::Subtest(subtest) => {
                let mut planned = None;
                let tests: Vec<TapTest<'_>> = subtest
                    .statements
                    .into_iter()
                    .filter_map(|statement| match statement {
                        TapStatement::TestPoint(test) => Some(test),
                        TapStatement::Plan(plan) => {
                            planned = Some(plan.count);
                            None
                        }
                        TapStatement::Comment(_) => None,
                        TapStatement::Subtest(subtest) => panic!("a subtest of a subtest: {subtest:?}"),
                    })
                    .collect();
                assert_eq!(planned, Some(tests.len()), "{tests:?}");
                let numbers: Vec<_> = tests.iter().map(|test| test.number).collect();
                assert_eq!(numbers, (1..=tests.len()).map(Some).collect::<Vec<_>>());
                groups.push((subtest.ending, tests));
            }
            TapStatement::Comment(_) => {}
            TapStatement::TestPoint(test) => panic!("a test without subtests: {test:?}"),
        }
    }
    assert_eq!(planned, Some(groups.len()));
    check(&groups);
}

#[test]
fn ktap_has_a_result_for_everything_and_counts_each_as_what_it_is() {
    let text = ktap_of(&everything());
    with_tests(&text, |groups| {
        let tests = || groups.iter().flat_map(|(_, tests)| tests);
        let is = |test: &TapTest<'_>, kind: DirectiveKind| {
            test.directive.as_ref().is_some_and(|its| its.kind == kind)
        };
        let of =
            |result: bool| tests().filter(|test| test.result == result && test.directive.is_none()).count();
        let errors =
            text.lines().filter(|line| line.starts_with("  not ok ") && line.contains(" # ERROR ")).count();
        let counted = Numbers {
            pass: of(true),
            fail: of(false) - errors,
            error: errors,
            skip: tests().filter(|test| is(test, DirectiveKind::Skip)).count(),
            xfail: tests().filter(|test| is(test, DirectiveKind::Todo)).count(),
        };
        assert_eq!(counted, Numbers::EVERYTHING);
        for (group, tests) in groups {
            assert_eq!(group.result, tests.iter().all(|test| test.result), "{group:?}");
            let skipped = tests.iter().all(|test| is(test, DirectiveKind::Skip));
            assert_eq!(is(group, DirectiveKind::Skip), skipped, "{group:?}");
        }
        assert_eq!(groups[0].0.desc, Some("6.1/veth/generic::pnet"));
        let skip = groups[2].1[0].directive.as_ref().and_then(|directive| directive.reason);
        assert_eq!(skip, Some("there is no device to offload to: Invalid argument"));
    });
    assert!(text.contains("  #   reproduce: xdproof validate --scenario group/fails"), "{text}");
    assert!(text.contains("  not ok 2 group/fails # fail: protocol 17 (udp): expected 4, got 3\n"), "{text}");
}

#[test]
fn hostile_names_stay_names_in_ktap() {
    let text = ktap_of(&hostile());
    with_tests(&text, |groups| {
        let (group, tests) = &groups[0];
        assert!(!group.result && tests.len() == HOSTILE.len());
        for (number, (test, text)) in tests.iter().zip(HOSTILE).enumerate() {
            assert!(!test.result && test.directive.is_none(), "{text:?}: {test:?}");
            assert!(
                test.desc.is_some_and(|name| name.starts_with(&number.to_string())),
                "{text:?}: {test:?}"
            );
        }
        assert_eq!(tests[2].desc, Some("2a \\x23 SKIP b"));
        assert!(groups.iter().filter(|(group, _)| !group.result).count() == 4, "{groups:?}");
    });
    for line in text.lines() {
        let line = line.trim_start();
        let known =
            ["KTAP version 1", "1..", "ok ", "not ok ", "# "].iter().any(|start| line.starts_with(start));
        assert!(known || line == "#", "{line:?}");
        assert!(!line.starts_with("# Subtest"), "{line:?}");
        // At these the kernel's parser stops reading.
        for end in ["List of all partitions:", "Kernel panic - not syncing: VFS:", "reboot: System halted"] {
            assert!(!line.contains(end), "{line:?}");
        }
        // It takes the last of them for the directive.
        assert!(!line.starts_with("not ok") || !line.contains(" # SKIP"), "{line:?}");
    }
}

/// The rows of the first table, and all HTML.
fn parsed(text: &str) -> (Vec<Vec<String>>, Vec<String>) {
    let (mut rows, mut html) = (Vec::<Vec<String>>::new(), Vec::new());
    let mut in_cell = false;
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::TableHead | Tag::TableRow) => rows.push(Vec::new()),
            Event::Start(Tag::TableCell) => {
                in_cell = true;
                rows.last_mut().unwrap().push(String::new());
            }
            Event::End(TagEnd::TableCell) => in_cell = false,
            Event::Text(text) | Event::Code(text) if in_cell => {
                rows.last_mut().unwrap().last_mut().unwrap().push_str(&text);
            }
            Event::Html(text) | Event::InlineHtml(text) => html.push(text.to_string()),
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                panic!("a link to {dest_url}")
            }
            _ => {}
        }
    }
    (rows, html)
}

#[test]
fn markdown_says_the_verdict_what_was_tested_and_what_is_wrong() {
    let text = markdown_of(&everything());
    assert!(text.starts_with("## xdproof: Failed\n\n1 of 7 trials failed, "), "{text}");
    let (rows, _) = parsed(&text);
    assert_eq!(rows[0], ["kernel", "NIC", "generic::pnet", "native::pnet", "offload::pnet"]);
    assert_eq!(rows[1], ["6.1", "veth", "1 fail, 1 error, 1 pass", "1 xfail, 1 unreachable", "1 skip"]);
    assert_eq!(rows[2], ["6.12", "veth", "1 pass", "-", "-"]);
    for word in [
        "- `group/fails`: protocol 17 (udp): expected 4, got 3 (6.1/veth/generic::pnet)",
        "- `attach/two::netlink`: expected EINVAL, observed done (6.1/veth)",
        "- `veth, native`: native is advertised, and refused (6.1)",
        "- `5.10`: the machine hung",
        "planned trials were not run",
        "reproduce: xdproof validate --scenario group/fails",
        "| `path/slower` |",
    ] {
        assert!(text.contains(word), "no `{word}` in\n{text}");
    }
}

#[test]
fn markdown_folds_and_cuts_what_is_many() {
    let trials = |number: usize| {
        let trials = (0..number).map(|index| trial(&format!("many/{index}"), Native, Fail)).collect();
        of(vec![result("6.1", trials, Vec::new())])
    };
    let (few, many) = (markdown_of(&trials(5)), markdown_of(&trials(2000)));
    assert_eq!((few.matches("<details>").count(), many.matches("<details>").count()), (3, 4));
    assert!(!few.contains("more</summary>") && many.contains("<details><summary>and 1995 more</summary>"));
    assert!(many.contains("- 1945 more not shown"));
    assert!(many.len() < 20_000, "{}", many.len());
}

/// Results of 8 kernels with 49 NICs each, of which some are like others; `change` alters a NIC's trials on a kernel.
fn matrix(change: impl Fn(&str, usize, &mut Vec<TrialRecord>)) -> Collection {
    let kernels = ["5.10.1", "5.15.2", "6.1.3", "6.6.4", "6.12.5", "6.18.6", "6.19.7", "7.0.8"];
    let of_kernel = |kernel: &str| {
        let trials = (0..49).flat_map(|nic| {
            let mut trials: Vec<TrialRecord> = (0..4 + nic % 5)
                .map(|index| trial(&format!("s/{index}"), Generic, Pass))
                .chain((0..3).map(|index| {
                    trial(&format!("s/{index}"), Native, if nic % 7 == 0 { Pass } else { Skip })
                }))
                .collect();
            change(kernel, nic, &mut trials);
            trials.iter_mut().for_each(|trial| trial.nic = Some(format!("nic{nic:02}")));
            trials
        });
        result(kernel, trials.collect(), Vec::new())
    };
    of(kernels.map(of_kernel).to_vec())
}

#[test]
fn the_report_of_a_matrix_has_sixty_lines_at_most_and_says_what_is_wrong() {
    let sound = markdown_of(&matrix(|_, _, _| ()));
    let (rows, _) = parsed(&sound);
    assert_eq!(rows[0], ["NIC", "kernels", "generic::pnet", "native::pnet"]);
    assert_eq!(rows.len(), 3, "NICs with and without native mode\n{sound}");
    let kernels = "5.10.1 to 7.0.8 (8)";
    let of = |row: usize| rows[row][1..].to_vec();
    assert_eq!([of(1), of(2)], [[kernels, "4 to 8 pass", "3 pass"], [kernels, "4 to 8 pass", "3 skip"]]);
    assert_eq!(rows[1][0], "nic00, nic07, nic14, nic21, nic28, nic35 and 1 more");

    let fails = markdown_of(&matrix(|kernel, nic, trials| {
        if nic == 7 && ["6.1.3", "6.6.4"].contains(&kernel) {
            trials[0] = trial("s/0", Generic, Fail);
        }
    }));
    let (rows, _) = parsed(&fails);
    assert_eq!(rows[1], ["nic07", "6.1.3 to 6.6.4 (2)", "1 fail, 5 pass", "3 pass"], "{fails}");
    assert_eq!(rows.len(), 3 + 3, "{fails}");
    assert!(fails.contains("### Failed trials (2)\n\n- `s/0`: protocol 17 (udp)"), "{fails}");

    // Each NIC fails in a way of its own on each kernel.
    let worst = markdown_of(&matrix(|kernel, nic, trials| {
        for (index, its) in trials.iter_mut().enumerate().take((nic + kernel.len()) % 4 + 1) {
            *its = trial(&format!("s/{index}"), Generic, if index % 2 == 0 { Fail } else { Error });
        }
        trials.push(trial(&format!("of/{nic}"), Offload, Unreachable));
    }));
    for text in [&sound, &fails, &worst] {
        let lines = text.lines().count();
        assert!(lines <= 60, "{lines}\n{text}");
    }
}

#[test]
fn hostile_names_stay_names_in_markdown() {
    let text = markdown_of(&hostile());
    let (rows, html) = parsed(&text);
    assert_eq!(rows[1].len(), 3);
    assert_eq!(rows[1][1], "ve|th<b>");
    for tag in &html {
        let known = ["<details><summary>", "</details>"].iter().any(|known| tag.starts_with(known));
        assert!(known && !tag.contains("<script>") && !tag.contains("<details open>"), "{tag}");
    }
    let opened = html.iter().filter(|tag| tag.starts_with("<details>")).count();
    assert_eq!(opened, html.iter().filter(|tag| tag.starts_with("</details>")).count());
    assert!(!text.contains('\u{202e}') && !text.contains('\u{1b}') && !text.contains('\u{0}'));
    let headings: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
    let ours = [
        "## xdproof: Failed",
        "### Failed trials (18)",
        "### Failed attach-semantics tests (1)",
        "### Faults (1)",
        "### Infrastructure failures (1)",
        "### Measurements",
    ];
    assert_eq!(headings, ours);
    let headings = Parser::new(&text).filter(|event| matches!(event, Event::Start(Tag::Heading { .. })));
    assert_eq!(headings.count(), ours.len());
}

#[test]
fn a_hundred_thousand_trials_are_written_fast() {
    let trials = (0..100_000).map(|index| {
        let verdict = if index % 10 == 0 { Fail } else { Pass };
        trial(&format!("many/{index}"), Native, verdict)
    });
    let collection = of(vec![result("6.1", trials.collect(), Vec::new())]);
    let began = Instant::now();
    let suites = junit_of(&collection).suites;
    assert_eq!((suites[0].tests, suites[0].failures), (100_000, 10_000));
    println!("JUnit, read back: {:?}", began.elapsed());
    let began = Instant::now();
    assert_eq!(ktap_of(&collection).matches("\n  not ok ").count(), 10_000);
    println!("KTAP: {:?}", began.elapsed());
    let began = Instant::now();
    assert!(markdown_of(&collection).len() < 20_000);
    println!("Markdown: {:?}", began.elapsed());
}
