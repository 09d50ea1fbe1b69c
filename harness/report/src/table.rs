//! The table of verdicts on a terminal: scenario by scenario where that fits a screen, else in groups.

use std::{collections::BTreeMap, io};

use xdproof_core::model::{Summary, TrialPath, TrialRecord, VerdictKind};

use crate::terminal_style::{Verbosity, numbers, several, shown, style_of};

/// Rows that fit a screen of 24 lines with what else is on it.
const ROWS: usize = 12;

/// Columns of a screen.
const COLUMNS: usize = 80;

/// Writes it: as it is where everything is asked for, or where it fits a screen.
pub(super) fn write(to: &mut impl io::Write, trials: &[TrialRecord], verbosity: Verbosity) -> io::Result<()> {
    let scenarios = ConsoleTable::of(trials, |scenario| scenario);
    if verbosity == Verbosity::Verbose || scenarios.fits(TableRow::verdict) {
        return scenarios.write(to, "scenario", TableRow::verdict);
    }
    let groups =
        ConsoleTable::of(trials, |scenario| scenario.split_once('/').map_or(scenario, |(group, _)| group));
    if groups.fits(TableRow::numbers) {
        return groups.write(to, "group", TableRow::numbers);
    }
    groups.write_paths(to)
}

/// Trials by name and by path.
struct ConsoleTable<'a> {
    paths: Vec<TrialPath>,
    rows: BTreeMap<&'a str, TableRow<'a>>,
}

/// The trials of one name.
#[derive(Default)]
struct TableRow<'a>(BTreeMap<TrialPath, Vec<&'a TrialRecord>>);

impl TableRow<'_> {
    /// Returns the text of a cell with one trial, and the verdict that colours it.
    fn verdict(trials: &[&TrialRecord]) -> (String, VerdictKind) {
        let worst = worst(trials);
        (worst.name().to_owned(), worst)
    }

    /// Returns the text of a cell with several trials.
    fn numbers(trials: &[&TrialRecord]) -> (String, VerdictKind) {
        (numbers(&Summary::of(trials.iter().copied(), 0)), worst(trials))
    }
}

/// The verdict that weighs most.
fn worst(trials: &[&TrialRecord]) -> VerdictKind {
    use VerdictKind::{Error, Fail, Pass, Skip, Unreachable, Xfail};
    let order = [Fail, Error, Xfail, Unreachable, Skip];
    order.into_iter().find(|kind| trials.iter().any(|trial| trial.verdict == *kind)).unwrap_or(Pass)
}

type CellText = fn(&[&TrialRecord]) -> (String, VerdictKind);

impl<'a> ConsoleTable<'a> {
    fn of(trials: &'a [TrialRecord], name: fn(&'a str) -> &'a str) -> Self {
        let mut paths: Vec<TrialPath> = trials.iter().map(TrialRecord::path).collect();
        paths.sort_unstable();
        paths.dedup();
        let mut rows: BTreeMap<&str, TableRow<'_>> = BTreeMap::new();
        for trial in trials {
            rows.entry(name(&trial.scenario)).or_default().0.entry(trial.path()).or_default().push(trial);
        }
        Self { paths, rows }
    }

    /// The width of the names, and of each path's column.
    fn widths(&self, heading: &str, cell: CellText) -> (usize, Vec<usize>) {
        let length = |name: &&str| shown(name).chars().count();
        let name = self.rows.keys().map(length).max().unwrap_or(0).max(heading.len());
        let width = |path: &TrialPath| {
            let cells = self.rows.values().filter_map(|row| row.0.get(path));
            let widest = cells.map(|trials| cell(trials).0.chars().count()).max().unwrap_or(0);
            widest.max(path.to_string().len())
        };
        (name, self.paths.iter().map(width).collect())
    }

    fn fits(&self, cell: CellText) -> bool {
        let (name, widths) = self.widths("scenario", cell);
        self.rows.len() <= ROWS && name + widths.iter().map(|width| width + 2).sum::<usize>() <= COLUMNS
    }

    /// A row a name, a column a path.
    fn write(&self, to: &mut impl io::Write, heading: &str, cell: CellText) -> io::Result<()> {
        let (name, widths) = self.widths(heading, cell);
        write!(to, "{heading:name$}")?;
        // The room up to the next cell is written with it, so that no line ends in blanks.
        let mut room = 2;
        for (path, width) in self.paths.iter().zip(&widths) {
            let path = path.to_string();
            write!(to, "{:room$}{path}", "")?;
            room = 2 + width - path.len();
        }
        writeln!(to)?;
        for (row, cells) in &self.rows {
            write!(to, "{:name$}", shown(row))?;
            let mut room = 2;
            for (path, width) in self.paths.iter().zip(&widths) {
                if let Some(trials) = cells.0.get(path) {
                    let (text, verdict) = cell(trials);
                    let style = style_of(verdict);
                    write!(to, "{:room$}{style}{text}{style:#}", "")?;
                    room = 2 + width - text.chars().count();
                } else {
                    room += 2 + width;
                }
            }
            writeln!(to)?;
        }
        Ok(())
    }

    /// A row a path, where there is no room for more; the groups that have failures are named.
    fn write_paths(&self, to: &mut impl io::Write) -> io::Result<()> {
        let width = self.paths.iter().map(|path| path.to_string().len()).max().unwrap_or(0);
        for path in self.paths.iter().take(ROWS) {
            let trials: Vec<&TrialRecord> =
                self.rows.values().filter_map(|row| row.0.get(path)).flatten().copied().collect();
            let (text, verdict) = TableRow::numbers(&trials);
            let style = style_of(verdict);
            writeln!(to, "{:width$}  {style}{text}{style:#}", path.to_string())?;
        }
        let is_bad = |row: &&TableRow<'_>| row.0.values().flatten().any(|trial| trial.verdict.is_bad());
        let bad: Vec<String> =
            self.rows.iter().filter(|(_, row)| is_bad(row)).map(|(name, _)| shown(name)).collect();
        let mut line = String::new();
        for (index, name) in bad.iter().enumerate() {
            if line.len() + name.len() > COLUMNS - 32 {
                line.push_str(&format!(" and {} more", several(bad.len() - index, "group")));
                break;
            }
            line.push_str(if index == 0 { " " } else { ", " });
            line.push_str(name);
        }
        if line.is_empty() { Ok(()) } else { writeln!(to, "failures in{line}") }
    }
}
