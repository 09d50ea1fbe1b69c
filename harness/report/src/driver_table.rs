//! Trials of many kernels and NICs in few rows: NICs with the same verdicts share a row, and so do kernels that follow each other. Pure.

use std::collections::{BTreeMap, BTreeSet};

use xdproof_core::model::{
    mode::TrialPath,
    result::{RunResult, TrialRecord},
    verdict::VerdictKind,
};

use crate::test_cases::{labels, nic};

/// Names of NICs in a row; the others are counted.
const NAMED: usize = 6;

/// Trials by verdict, the fewest and the most of the kernels and NICs that share a row.
type Cell = BTreeMap<VerdictKind, (usize, usize)>;

/// The trials of one kernel and NIC, or of several with the same verdicts.
type Cells = BTreeMap<TrialPath, Cell>;

/// Rows of kernels and NICs by attach mode and injector.
pub(super) struct DriverTable {
    pub(super) paths: BTreeSet<TrialPath>,
    /// Those with failures first.
    pub(super) rows: Vec<DriverRow>,
}

/// NICs and kernels with the same verdicts.
pub(super) struct DriverRow {
    pub(super) nics: String,
    pub(super) kernels: String,
    cells: Cells,
}

/// A NIC with its kernels, those with the same verdicts in one span.
type Spans = Vec<Span>;

#[derive(Clone)]
struct Span {
    first: String,
    last: String,
    kernels: usize,
    cells: Cells,
}

/// Properties that are equal in all cells of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Likeness {
    /// The verdicts, and the numbers of failures.
    Verdicts,
    /// The numbers of failures, and that something passed.
    Failures,
}

impl DriverTable {
    /// Makes at most `most` rows, if rows that differ in skips only may share one.
    pub(super) fn of(results: &[RunResult], most: usize) -> Self {
        let by_nic = by_nic(results);
        let paths = by_nic.values().flat_map(BTreeMap::values).flat_map(Cells::keys).copied().collect();
        let mut rows = rows(&by_nic, Likeness::Verdicts);
        if rows.len() > most {
            rows = self::rows(&by_nic, Likeness::Failures);
        }
        rows.sort_by_key(|row| !row.is_bad());
        Self { paths, rows }
    }
}

impl DriverRow {
    fn is_bad(&self) -> bool {
        self.cells.values().flat_map(BTreeMap::keys).any(|kind| kind.is_bad())
    }

    /// The verdicts of a path, those that are bad apart: `1 fail` and `203 to 204 pass, 1 skip`.
    pub(super) fn verdicts(&self, path: TrialPath) -> [String; 2] {
        let Some(cell) = self.cells.get(&path) else { return [String::new(), "-".to_owned()] };
        let text = |bad: bool| {
            let order = [
                VerdictKind::Fail,
                VerdictKind::Error,
                VerdictKind::Pass,
                VerdictKind::Xfail,
                VerdictKind::Skip,
                VerdictKind::Unreachable,
            ];
            let of = order.into_iter().filter(|kind| kind.is_bad() == bad);
            let numbers = of.filter_map(|kind| {
                let (least, most) = cell.get(&kind)?;
                let number = if least == most { most.to_string() } else { format!("{least} to {most}") };
                Some(format!("{number} {}", kind.name()))
            });
            numbers.collect::<Vec<_>>().join(", ")
        };
        [text(true), text(false)]
    }
}

/// The trials of each NIC by kernel, the oldest kernel first.
fn by_nic(results: &[RunResult]) -> BTreeMap<String, BTreeMap<(Vec<u64>, String), Cells>> {
    let mut by_nic: BTreeMap<String, BTreeMap<(Vec<u64>, String), Cells>> = BTreeMap::new();
    for (label, result) in labels(results).into_iter().zip(results) {
        let version = version(&label);
        for trial in &result.trials {
            let kernels = by_nic.entry(nic(trial).to_owned()).or_default();
            let cells = kernels.entry((version.clone(), label.clone())).or_default();
            add(cells, trial);
        }
    }
    by_nic
}

fn add(cells: &mut Cells, trial: &TrialRecord) {
    let (least, most) = cells.entry(trial.path()).or_default().entry(trial.verdict).or_default();
    *least += 1;
    *most += 1;
}

/// The numbers in a kernel's release, by which releases are sorted.
fn version(label: &str) -> Vec<u64> {
    label
        .split(|character: char| !character.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

fn rows(
    by_nic: &BTreeMap<String, BTreeMap<(Vec<u64>, String), Cells>>,
    likeness: Likeness,
) -> Vec<DriverRow> {
    let mut groups: Vec<(Vec<&str>, Spans)> = Vec::new();
    for (nic, kernels) in by_nic {
        let spans = spans(kernels, likeness);
        let is_like = |(_, other): &&mut (Vec<&str>, Spans)| {
            let same = |(one, other): (&Span, &Span)| {
                one.first == other.first
                    && one.last == other.last
                    && are_like(&one.cells, &other.cells, likeness)
            };
            other.len() == spans.len() && other.iter().zip(&spans).all(same)
        };
        match groups.iter_mut().find(is_like) {
            Some((nics, known)) => {
                nics.push(nic);
                for (known, more) in known.iter_mut().zip(&spans) {
                    widen(&mut known.cells, &more.cells);
                }
            }
            None => groups.push((vec![nic], spans)),
        }
    }
    groups
        .into_iter()
        .flat_map(|(nics, spans)| {
            let nics = named(&nics);
            spans.into_iter().map(move |Span { first, last, kernels, cells }| {
                let kernels = match kernels {
                    1 => first,
                    _ => format!("{first} to {last} ({kernels})"),
                };
                DriverRow { nics: nics.clone(), kernels, cells }
            })
        })
        .collect()
}

fn spans(kernels: &BTreeMap<(Vec<u64>, String), Cells>, likeness: Likeness) -> Spans {
    let mut spans: Spans = Vec::new();
    for ((_, label), cells) in kernels {
        match spans.last_mut() {
            Some(span) if are_like(&span.cells, cells, likeness) => {
                span.last.clone_from(label);
                span.kernels += 1;
                widen(&mut span.cells, cells);
            }
            _ => {
                let (first, last) = (label.clone(), label.clone());
                spans.push(Span { first, last, kernels: 1, cells: cells.clone() });
            }
        }
    }
    spans
}

fn are_like(one: &Cells, other: &Cells, likeness: Likeness) -> bool {
    let counts =
        |kind: VerdictKind| likeness == Likeness::Verdicts || kind.is_bad() || kind == VerdictKind::Pass;
    let key = |cells: &Cells| {
        let verdicts = cells.iter().flat_map(|(path, cell)| {
            cell.iter().map(|(kind, numbers)| (*path, *kind, kind.is_bad().then_some(*numbers)))
        });
        verdicts.filter(|(_, kind, _)| counts(*kind)).collect::<Vec<_>>()
    };
    key(one) == key(other)
}

/// Adds the numbers of other cells to the range of each.
fn widen(cells: &mut Cells, more: &Cells) {
    for (path, cell) in more {
        let known = cells.entry(*path).or_default();
        for (kind, (least, most)) in cell {
            let range = known.entry(*kind).or_insert((*least, *most));
            *range = (range.0.min(*least), range.1.max(*most));
        }
    }
}

fn named(nics: &[&str]) -> String {
    let more = nics.len().saturating_sub(NAMED);
    let names = nics.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    if more == 0 { names } else { format!("{names} and {more} more") }
}
