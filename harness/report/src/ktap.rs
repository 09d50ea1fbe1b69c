//! A collection as KTAP, the kernel's test protocol (`Documentation/dev-tools/ktap.rst`). Pure.
//!
//! A test is a place (kernel, device, mode and injector), its subtests are scenarios. What failed stands in diagnostic lines
//! before its result, as the terminal shows it.

use std::io;

use xdproof_core::model::Collection;

use crate::test_cases::{CaseGroup, CaseStatus, ReportCase, groups};

/// One level of subtests.
const INDENT: &str = "  ";

/// Writes a collection.
pub fn write(collection: &Collection, mut to: impl io::Write) -> io::Result<()> {
    let groups = groups(collection);
    writeln!(to, "KTAP version 1\n1..{}", groups.len())?;
    for (number, group) in (1..).zip(&groups) {
        write_group(&mut to, number, group)?;
    }
    to.flush()
}

fn write_group(to: &mut impl io::Write, number: usize, group: &CaseGroup<'_>) -> io::Result<()> {
    let CaseGroup { name, result: _, cases } = group;
    writeln!(to, "{INDENT}KTAP version 1\n{INDENT}1..{}", cases.len())?;
    for (number, case) in (1..).zip(cases) {
        write_case(to, number, case)?;
    }
    let bad = cases.iter().any(|case| case.status.is_bad());
    let skipped = cases.iter().all(|case| case.status == CaseStatus::Skip);
    let ok = if bad { "not ok" } else { "ok" };
    writeln!(to, "{ok} {number} {}{}", in_result(name), if skipped { " # SKIP" } else { "" })
}

fn write_case(to: &mut impl io::Write, number: usize, case: &ReportCase<'_>) -> io::Result<()> {
    for line in case.detail().lines() {
        // A parser would take a header of subtests for one.
        let guard = if line.trim_start().starts_with("Subtest:") { "\\" } else { "" };
        writeln!(to, "{INDENT}# {guard}{}", escaped(line))?;
    }
    let ok = if case.status.is_bad() { "not ok" } else { "ok" };
    let directive = match case.status {
        // No directives: what follows is for people, and must not begin as one does.
        CaseStatus::Pass => "note: ",
        CaseStatus::Fail => "fail: ",
        CaseStatus::Error => "ERROR ",
        CaseStatus::Skip => "SKIP ",
        CaseStatus::Xfail => "XFAIL ",
    };
    let behind = match (case.reason.as_deref(), case.status) {
        (None, CaseStatus::Pass | CaseStatus::Fail) => String::new(),
        (reason, _) => format!(" # {directive}{}", in_result(reason.unwrap_or(""))),
    };
    writeln!(to, "{INDENT}{ok} {number} {}{}", in_result(&case.name), behind.trim_end())
}

/// A text within a result line, where `#` begins a directive, wherever it stands: it is written as `\x23`.
fn in_result(text: &str) -> String {
    escaped(text).replace('#', "\\x23")
}

/// The end of a log for the kernel's parser, wherever it stands (`KTAP_END` in `kunit_parser.py`).
const ENDS: [&str; 3] =
    ["List of all partitions:", "Kernel panic - not syncing: VFS:", "reboot: System halted"];

/// A text on one line.
fn escaped(text: &str) -> String {
    let mut line = on_one_line(text);
    for end in ENDS {
        let (first, rest) = end.split_at(1);
        line = line.replace(end, &format!("\\x{:02x}{rest}", first.as_bytes()[0]));
    }
    line
}

fn on_one_line(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => escaped.push_str("\\\\"),
            character if is_break(character) => escaped.extend(character.escape_unicode()),
            character => escaped.push(character),
        }
    }
    escaped
}

/// Characters that a reader takes for the end of a line, or a terminal for a command.
fn is_break(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}
