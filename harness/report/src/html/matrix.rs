//! The matrix: what each path made of each group of scenarios.

use std::collections::BTreeMap;

use crate::html::{
    columns::{Column, Columns, NO_DEVICE, encoded},
    data::VERDICTS,
    text::visible,
};
use xdproof_core::model::{Collection, TrialRecord, VerdictKind};

/// A verdict as it is shown: never by its colour alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) symbol: &'static str,
    pub(super) name: &'static str,
}

pub(super) fn mark(verdict: VerdictKind) -> Mark {
    let symbol = match verdict {
        VerdictKind::Pass => "✓",
        VerdictKind::Fail => "✗",
        VerdictKind::Skip => "–",
        VerdictKind::Xfail => "≈",
        VerdictKind::Error => "!",
        VerdictKind::Unreachable => "∅",
    };
    Mark { symbol, name: verdict.name() }
}

pub(super) struct Matrix {
    pub(super) groups: Vec<String>,
    pub(super) sections: Vec<Section>,
}

/// The rows of a result.
pub(super) struct Section {
    /// The kernel, and the program where there are several.
    pub(super) title: String,
    pub(super) rows: Vec<MatrixRow>,
}

pub(super) struct MatrixRow {
    /// The NIC, or none.
    pub(super) nic: String,
    pub(super) path: String,
    /// All groups first, then one after the other.
    pub(super) cells: Vec<Option<MatrixCell>>,
}

pub(super) struct MatrixCell {
    /// The verdict that matters most.
    pub(super) mark: Mark,
    /// Trials with that verdict.
    pub(super) number: usize,
    /// All trials, if there are more.
    pub(super) of: Option<usize>,
    /// Verdicts by number, in words.
    pub(super) words: String,
    pub(super) link: String,
}

/// The first part of a scenario's id.
pub(super) fn group(scenario: &str) -> &str {
    scenario.split('/').next().unwrap_or(scenario)
}

type VerdictCounts = BTreeMap<usize, usize>;

impl Matrix {
    pub(super) fn of(collection: &Collection, columns: &Columns) -> Self {
        let mut groups: Vec<&str> = Vec::new();
        let mut by_cell: BTreeMap<(usize, Option<&str>), VerdictCounts> = BTreeMap::new();
        for (run, result) in collection.results.iter().enumerate() {
            for trial in &result.trials {
                let TrialRecord { scenario, verdict, .. } = trial;
                let (at, group) = (columns.at(run, trial), group(scenario));
                let rank = VERDICTS.iter().position(|kind| kind == verdict).unwrap_or(0);
                for part in [None, Some(group)] {
                    *by_cell.entry((at, part)).or_default().entry(rank).or_default() += 1;
                }
                if !groups.contains(&group) {
                    groups.push(group);
                }
            }
        }
        groups.sort_unstable();
        let row = |(at, column): (usize, &Column)| {
            let parts = std::iter::once(None).chain(groups.iter().copied().map(Some));
            let cell = |part| Some(MatrixCell::new(by_cell.get(&(at, part))?, column, columns, part));
            let injector = if columns.several.injector { column.injector.name() } else { "" };
            MatrixRow {
                nic: if column.nic == NO_DEVICE { String::new() } else { column.nic.clone() },
                path: format!("{} {injector}", column.mode).trim_end().to_owned(),
                cells: parts.map(cell).collect(),
            }
        };
        let numbered: Vec<(usize, &Column)> = columns.all.iter().enumerate().collect();
        let sections = numbered.chunk_by(|a, b| a.1.run == b.1.run).map(|of_run| {
            let first = of_run[0].1;
            let title = match (columns.several.kernel, columns.several.program) {
                (_, true) => format!("{} · {}", first.kernel, first.program),
                (_, false) => first.kernel.clone(),
            };
            Section { title, rows: of_run.iter().copied().map(row).collect() }
        });
        let sections = sections.collect();
        Self { groups: groups.into_iter().map(|group| visible(group).into_owned()).collect(), sections }
    }
}

impl MatrixCell {
    fn new(counts: &VerdictCounts, column: &Column, columns: &Columns, group: Option<&str>) -> Self {
        let (rank, number) = counts.first_key_value().map_or((0, 0), |(rank, number)| (*rank, *number));
        let all: usize = counts.values().sum();
        let words: Vec<String> =
            counts.iter().map(|(rank, number)| format!("{number} {}", VERDICTS[*rank])).collect();
        let group_filter = group.map(|group| format!("&group={}", encoded(&visible(group))));
        let filter = format!("{}{}", column.filter(columns.several), group_filter.unwrap_or_default());
        Self {
            mark: mark(VERDICTS[rank]),
            number,
            of: (all > number).then_some(all),
            words: format!("{}: {}", group.map_or("all".into(), visible), words.join(", ")),
            link: format!("#list{filter}"),
        }
    }
}
