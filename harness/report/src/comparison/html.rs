//! A comparison on one page that asks nobody for anything, without a script.

use std::io;

use askama::Template;

use crate::comparison::{
    ChangeKind, Comparison, ComparisonOutcome, FindingChange, MeasurementChange, VerdictChange, named, suffix,
};
use crate::html::{STYLE, policy_hash};

/// Differences of one kind that are on the page.
const SHOWN: usize = 5_000;

#[derive(Template)]
#[template(path = "comparison.html")]
struct Page<'a> {
    style: &'static str,
    style_hash: String,
    class: &'static str,
    symbol: &'static str,
    headline: String,
    summary: String,
    incomplete: &'a [String],
    sides: Vec<(&'static str, String, String)>,
    verdicts: Vec<Verdict<'a>>,
    findings: Vec<(Word, String)>,
    rates: Vec<(Word, String, String)>,
    /// Lines that have no room.
    left_out: usize,
}

struct Word {
    name: String,
    class: &'static str,
}

struct Verdict<'a> {
    word: Word,
    id: &'a str,
    place: String,
    old: &'static str,
    new: &'static str,
    reason: &'a str,
}

/// Writes it.
pub fn write(comparison: &Comparison, mut to: impl io::Write) -> io::Result<()> {
    let (class, symbol) = match comparison.outcome() {
        ComparisonOutcome::AsExpected => ("pass", "\u{2713}"),
        ComparisonOutcome::Worse => ("fail", "\u{2717}"),
        ComparisonOutcome::Inconclusive => ("xfail", "?"),
    };
    let several = comparison.has_several_nics();
    let mut verdicts: Vec<&VerdictChange> = comparison.verdicts().collect();
    verdicts.sort_by_key(|change| std::cmp::Reverse(change.kind));
    let mut rates: Vec<&MeasurementChange> = comparison.measurements.iter().collect();
    rates.sort_by_key(|change| (!change.is_slower(), change.is_same()));
    let over = |number: usize| number.saturating_sub(SHOWN);
    let [old, new] = [&comparison.old, &comparison.new];
    let list =
        |names: &std::collections::BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
    let page = Page {
        style: STYLE,
        style_hash: policy_hash(STYLE),
        class,
        symbol,
        headline: comparison.headline(),
        summary: comparison.summary(),
        incomplete: &comparison.incomplete,
        sides: vec![
            ("Kernel", list(&old.kernels), list(&new.kernels)),
            ("Program", list(&old.programs), list(&new.programs)),
            ("Device", list(&old.devices), list(&new.devices)),
        ],
        left_out: over(verdicts.len()) + over(comparison.findings.len()) + over(rates.len()),
        verdicts: verdicts.into_iter().take(SHOWN).map(|change| verdict(change, several)).collect(),
        findings: comparison.findings.iter().take(SHOWN).map(finding).collect(),
        rates: rates.into_iter().take(SHOWN).map(rate).collect(),
    };
    page.write_into(&mut to)?;
    to.flush()
}

fn word(kind: ChangeKind) -> Word {
    let class = match kind {
        ChangeKind::Fixed => "pass",
        ChangeKind::New | ChangeKind::Changed => "skip",
        ChangeKind::Missing => "xfail",
        ChangeKind::Lost | ChangeKind::Regressed => "fail",
    };
    Word { name: kind.name().to_owned(), class }
}

fn verdict(change: &VerdictChange, several: bool) -> Verdict<'_> {
    let VerdictChange { id, nic, place, old, new, kind, worse: _, reason } = change;
    Verdict {
        word: word(*kind),
        id,
        place: suffix(nic.as_deref(), place.as_deref(), several),
        old: named(*old),
        new: named(*new),
        reason: reason.as_deref().unwrap_or(""),
    }
}

fn finding(change: &FindingChange) -> (Word, String) {
    let mut word = word(change.kind);
    if change.kind == ChangeKind::Fixed {
        "gone".clone_into(&mut word.name);
    }
    (word, format!("{change}{}", suffix(None, change.place.as_deref(), false)))
}

fn rate(change: &MeasurementChange) -> (Word, String, String) {
    let class = match (change.is_slower(), change.is_same()) {
        (true, _) => "fail",
        (false, true) => "pass",
        (false, false) => "skip",
    };
    let what = change.to_string();
    let id = format!("{}{}", change.id, suffix(None, change.place.as_deref(), false));
    (Word { name: change.name(), class }, id, what.trim_start_matches([':', ' ']).to_owned())
}
