//! An error in a file of scenarios or fixtures, with its place and a fix.

use std::path::{Path, PathBuf};

use crate::document::{Problem, Problems};
use crate::input::PROBLEMS;
use crate::position::{Positions, Spot};

/// An error in a scenario or fixture file, or in reading it.
///
/// It prints as `vlan/x.toml:7:3: unknown key `rpeat` in [[frame]]; did you mean `repeat`?`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {message}{}", .path.display(), place(*.line, *.column), suffix(.hint.as_deref()))]
pub struct LoadError {
    /// File or directory that cannot be loaded.
    pub path: PathBuf,
    /// Line, from 1; 0 for an error of the whole file.
    pub line: usize,
    /// Column in characters, from 1; 0 for an error of the whole file.
    pub column: usize,
    /// The error.
    pub message: String,
    /// A fix, if one can be guessed.
    pub hint: Option<String>,
}

fn place(line: usize, column: usize) -> String {
    if line == 0 { String::new() } else { format!(":{line}:{column}") }
}

fn suffix(hint: Option<&str>) -> String {
    hint.map(|hint| format!("; {hint}")).unwrap_or_default()
}

impl LoadError {
    pub(crate) fn whole(path: &Path, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: 0, column: 0, message: message.into(), hint: None }
    }

    fn at(path: &Path, positions: &Positions<'_>, problem: Problem) -> Self {
        let Spot { line, column } = positions.spot(problem.span.start);
        Self { path: path.to_owned(), line, column, message: problem.message, hint: problem.hint }
    }

    /// Tells the first problems of a file, each with its place, and the number of the others.
    pub(crate) fn all(path: &Path, positions: &Positions<'_>, problems: Problems) -> Vec<Self> {
        let Problems { first: mut problems, mut others } = problems;
        problems.sort_by(|a, b| (a.span.start, &a.message).cmp(&(b.span.start, &b.message)));
        // A frame is read once for each combination of the matrix: a problem of all of them is reported once.
        problems.dedup();
        others = others.saturating_add(problems.len().saturating_sub(PROBLEMS));
        let first = problems.into_iter().take(PROBLEMS);
        let mut errors: Vec<Self> = first.map(|problem| Self::at(path, positions, problem)).collect();
        if others > 0 {
            errors.push(Self::whole(path, format!("and {others} more errors in this file")));
        }
        errors
    }
}
