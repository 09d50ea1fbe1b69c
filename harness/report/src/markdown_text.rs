//! Text for Markdown: escaped, so that nothing that others wrote is taken for markup. Pure.

use xdproof_core::model::result::RunResult;

use crate::{
    assessment::{Issue, IssuePlace},
    test_cases::nic,
};

/// Returns the line of an issue.
pub(super) fn issue_line(issue: &Issue, labels: &[String], results: &[RunResult]) -> String {
    let Issue { kind: _, subject, message, places } = issue;
    let subject = if subject.is_empty() { String::new() } else { format!("{}: ", code(subject)) };
    let mut line = format!("- {subject}{}", prose(&shortened(message)));
    if let Some(first) = places.first().and_then(|place| place_name(*place, labels, results)) {
        line.push_str(&format!(" ({}", prose(&first)));
        if places.len() > 1 {
            line.push_str(&format!(" and {} more", places.len() - 1));
        }
        line.push(')');
    }
    line
}

fn place_name(place: IssuePlace, labels: &[String], results: &[RunResult]) -> Option<String> {
    match place {
        IssuePlace::Trial(run, trial) => {
            let trial = results.get(run)?.trials.get(trial)?;
            Some(format!("{}/{}/{}", labels.get(run)?, nic(trial), trial.path()))
        }
        IssuePlace::AttachTest(run, rule) => {
            Some(format!("{}/{}", labels.get(run)?, results.get(run)?.attach_semantics.get(rule)?.nic))
        }
        IssuePlace::Result(run) | IssuePlace::Measurement(run, _) => labels.get(run).cloned(),
        IssuePlace::InfrastructureFailure(_) => None,
    }
}

/// Free text, so that nothing of it is taken for markup, in a table neither.
pub(super) fn prose(text: &str) -> String {
    let text = visible(text);
    let mut escaped = String::with_capacity(text.len());
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        let within =
            |next: Option<&char>| before.is_alphanumeric() && next.is_some_and(|next| next.is_alphanumeric());
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            // An underscore within a word is none.
            '_' if within(rest.peek()) => escaped.push('_'),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '!' => {
                escaped.push('\\');
                escaped.push(character);
            }
            character => escaped.push(character),
        }
        before = character;
    }
    escaped
}

/// A name, as code. In the cell of a table, a pipe would still end the cell: there is none in names that are shown there.
pub(super) fn code(text: &str) -> String {
    let text = visible(text);
    let fence = "`".repeat(longest_run(&text) + 1);
    // Without room around it, a backtick would lengthen the fence.
    let room = if text.starts_with('`') || text.ends_with('`') || text.trim().is_empty() { " " } else { "" };
    format!("{fence}{room}{text}{room}{fence}")
}

/// Text within HTML.
pub(super) fn html(text: &str) -> String {
    visible(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The text on one line, without what is not printed.
pub(super) fn visible(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            character if character.is_control() => ' ',
            // They would turn the line around.
            '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => ' ',
            character => character,
        })
        .collect()
}

/// The longest run of backticks.
pub(super) fn longest_run(text: &str) -> usize {
    text.split(|character| character != '`').map(str::len).max().unwrap_or(0)
}

/// Characters of a reason that are shown.
const REASON: usize = 300;

fn shortened(text: &str) -> String {
    cut(text, REASON)
}

pub(super) fn cut(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text.to_owned(),
    }
}
