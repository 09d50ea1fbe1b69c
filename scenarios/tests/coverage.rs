//! Table of facts (`coverage.toml`): every fact is covered by scenarios that exist.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::collections::BTreeSet;

use serde::Deserialize;
use xdproof_scenarios::load;

/// Rows of the table `frames`, so that a fact cannot be removed unnoticed.
const FRAMES: usize = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Coverage {
    frames: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    row: String,
    outcome: String,
    #[serde(default = "yes")]
    reachable: bool,
    scenarios: Vec<String>,
}

fn yes() -> bool {
    true
}

fn coverage() -> Coverage {
    toml::from_str(include_str!("../coverage.toml")).unwrap()
}

#[test]
fn every_fact_is_covered_by_scenarios_that_exist() {
    let corpus = load::builtin().unwrap();
    for Row { row, outcome, reachable, scenarios } in &coverage().frames {
        assert!(!row.trim().is_empty() && !outcome.is_empty(), "a fact without text: `{row}`");
        assert!(!scenarios.is_empty(), "no scenario covers `{row}`");
        let named: BTreeSet<_> = scenarios.iter().collect();
        assert_eq!(named.len(), scenarios.len(), "a scenario is listed twice for `{row}`");
        for id in scenarios {
            let named = corpus.iter().find(|scenario| scenario.id.as_ref() as &str == id);
            let found = named.map(|scenario| !scenario.is_unreachable());
            assert_eq!(
                found,
                Some(*reachable),
                "`{id}`, listed for `{row}`, does not exist or differs in `reachable`"
            );
        }
    }
}

#[test]
fn every_fact_about_frames_has_one_row() {
    let rows: BTreeSet<_> = coverage().frames.into_iter().map(|row| row.row).collect();
    assert_eq!(rows.len(), FRAMES);
}
