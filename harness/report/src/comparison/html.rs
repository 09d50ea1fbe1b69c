//! A comparison on one self-contained page without a script.

use std::io;

use askama::Template;

use crate::{
    comparison::{
        Comparison, ComparisonOutcome, Side,
        tables::{ChangeTable, Tone, tables},
    },
    html::{STYLE, policy_hash},
};

/// Differences of one kind that are on the page.
const SHOWN: usize = 5_000;

#[derive(Template)]
#[template(path = "comparison.html")]
struct ComparisonPage<'a> {
    style: &'static str,
    style_hash: String,
    class: &'static str,
    symbol: &'static str,
    headline: String,
    summary: String,
    incomplete: &'a [String],
    sides: [(&'static str, [String; 2]); 3],
    tables: Vec<ChangeTable>,
    /// Lines that have no room.
    left_out: usize,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Self::Good => "pass",
            Self::Neutral => "skip",
            Self::Doubtful => "xfail",
            Self::Bad => "fail",
        }
    }
}

/// Writes the page.
pub fn write(comparison: &Comparison, mut to: impl io::Write) -> io::Result<()> {
    let (tone, symbol) = match comparison.outcome() {
        ComparisonOutcome::AsExpected => (Tone::Good, "\u{2713}"),
        ComparisonOutcome::Worse => (Tone::Bad, "\u{2717}"),
        ComparisonOutcome::Inconclusive => (Tone::Doubtful, "?"),
    };
    let mut tables = tables(comparison);
    let mut left_out = 0;
    for ChangeTable { rows, .. } in &mut tables {
        left_out += rows.len().saturating_sub(SHOWN);
        rows.truncate(SHOWN);
    }
    let page = ComparisonPage {
        style: STYLE,
        style_hash: policy_hash(STYLE),
        class: tone.class(),
        symbol,
        headline: comparison.headline(),
        summary: comparison.summary(),
        incomplete: &comparison.incomplete,
        sides: Side::rows([&comparison.old, &comparison.new]),
        tables,
        left_out,
    };
    page.write_into(&mut to)?;
    to.flush()
}
