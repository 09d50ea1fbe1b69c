//! Changes as tables, for the formats that show them so: the worst first.

use std::cmp::Reverse;

use crate::comparison::{
    Comparison,
    change::{ChangeKind, VerdictChange, aside},
};

/// The changes of one kind.
pub(super) struct ChangeTable {
    pub(super) heading: &'static str,
    /// Headings of the columns behind that of the change.
    pub(super) columns: &'static [&'static str],
    pub(super) rows: Vec<ChangeRow>,
}

pub(super) struct ChangeRow {
    pub(super) word: String,
    pub(super) tone: Tone,
    pub(super) worse: bool,
    /// Id of a trial, test or measurement, and its device and place as far as the id does not tell them; none of a finding.
    pub(super) id: Option<(String, String)>,
    pub(super) cells: Vec<String>,
}

/// The tone of a word, by which it gets its colour.
#[derive(Clone, Copy)]
pub(super) enum Tone {
    Good,
    Neutral,
    Doubtful,
    Bad,
}

impl Tone {
    pub(super) fn of(kind: ChangeKind) -> Self {
        match kind {
            ChangeKind::Fixed => Self::Good,
            ChangeKind::New | ChangeKind::Changed => Self::Neutral,
            ChangeKind::Missing => Self::Doubtful,
            ChangeKind::Lost | ChangeKind::Regressed => Self::Bad,
        }
    }
}

/// Returns the tables that have rows.
pub(super) fn tables(comparison: &Comparison) -> Vec<ChangeTable> {
    let several = comparison.has_several_nics();
    let mut verdicts: Vec<&VerdictChange> = comparison.verdicts().collect();
    verdicts.sort_by_key(|change| Reverse(change.kind));
    let verdicts = verdicts.into_iter().map(|change| ChangeRow {
        word: change.kind.name().to_owned(),
        tone: Tone::of(change.kind),
        worse: change.worse,
        id: Some((change.id.clone(), change.aside(several))),
        cells: change
            .verdicts()
            .map(str::to_owned)
            .into_iter()
            .chain([change.reason.clone().unwrap_or_default()])
            .collect(),
    });
    let findings = comparison.findings.iter().map(|change| ChangeRow {
        word: change.name().to_owned(),
        tone: Tone::of(change.kind),
        worse: change.worse,
        id: None,
        cells: vec![format!("{change}{}", aside(change.place.as_deref()))],
    });
    let mut measurements: Vec<_> = comparison.measurements.iter().collect();
    measurements.sort_by_key(|change| (!change.is_slower(), change.is_same()));
    let measurements = measurements.into_iter().map(|change| ChangeRow {
        word: change.name(),
        tone: match (change.is_slower(), change.is_same()) {
            (true, _) => Tone::Bad,
            (false, true) => Tone::Good,
            (false, false) => Tone::Neutral,
        },
        worse: change.is_slower(),
        id: Some((change.id.clone(), aside(change.place.as_deref()))),
        cells: vec![change.to_string().trim_start_matches([':', ' ']).to_owned()],
    });
    let table = |heading, columns, rows| ChangeTable { heading, columns, rows };
    let mut tables = vec![
        table("Trials and attach-semantics tests", &["Test", "Old", "New", "Reason"], verdicts.collect()),
        table("Findings", &["Finding"], findings.collect()),
        table("Measurements", &["Measurement", "Change since the old set"], measurements.collect()),
    ];
    tables.retain(|table| !table.rows.is_empty());
    tables
}
