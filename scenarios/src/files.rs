//! TOML files of scenarios and fixtures: finding them, and reading each with all of its problems at once.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use crate::document::{Bindings, Context, Node, Problem, Problems};
use crate::input::{self, CORPUS_BYTES, CORPUS_FRAME_BYTES, ENTRIES, LINE_BYTES, SCENARIO_BYTES};
use crate::load_error::LoadError;
use crate::model::ScenarioId;
use crate::position::Positions;

/// TOML files, whose size is known before one of them is read.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) files: Vec<PathBuf>,
    bytes: u64,
    entries: usize,
}

impl Found {
    /// Searches a directory below `root`, without the entries that `skips` names.
    pub(crate) fn search(
        &mut self,
        root: &Path,
        dir: &Path,
        skips: fn(&Path) -> bool,
    ) -> Result<(), LoadError> {
        let unreadable = |error| LoadError::whole(dir, format!("cannot be read: {error}"));
        for entry in fs::read_dir(dir).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let path = entry.path();
            self.entries += 1;
            if self.entries > ENTRIES {
                return Err(LoadError::whole(root, format!("has more than {ENTRIES} entries")));
            }
            if skips(&path) {
                continue;
            }
            if entry.file_type().map_err(unreadable)?.is_dir() {
                self.search(root, &path, skips)?;
            } else if is_toml(&path) {
                self.add(root, path)?;
            }
        }
        Ok(())
    }

    /// Adds a file.
    pub(crate) fn add(&mut self, root: &Path, path: PathBuf) -> Result<(), LoadError> {
        // One that is too large is told by its name when it is read.
        self.bytes += path.metadata().map_or(0, |file| file.len().min(SCENARIO_BYTES));
        if self.bytes > CORPUS_BYTES {
            let message = format!("its TOML files have more than {CORPUS_BYTES} bytes together");
            return Err(LoadError::whole(root, message));
        }
        self.files.push(path);
        Ok(())
    }
}

/// Returns true for a name that ends in `.toml`.
pub(crate) fn is_toml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "toml")
}

/// Reads the bytes of one file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Vec<LoadError>> {
    input::read(path, SCENARIO_BYTES)
        .map_err(|error| vec![LoadError::whole(path, format!("cannot be read: {error}"))])
}

/// Returns the id of a file by its path below a directory, and its text; `what` it is, for an error.
pub(crate) fn identify<'a>(
    what: &str,
    below: &str,
    path: &Path,
    bytes: &'a [u8],
) -> Result<(ScenarioId, &'a str), Vec<LoadError>> {
    let whole = |message: String| vec![LoadError::whole(path, message)];
    let id = below.strip_suffix(".toml").unwrap_or(below).parse();
    let id = id.map_err(|error| whole(format!("invalid path of a {what}: {error}")))?;
    let text = str::from_utf8(bytes).map_err(|error| whole(format!("not UTF-8: {error}")))?;
    Ok((id, text))
}

/// Reads a text by `read`, which returns as much as it can; it is not used if a problem is reported.
pub(crate) fn decode<T>(
    source: &Path,
    text: &str,
    read: impl FnOnce(Context<'_>, &Node) -> Option<T>,
) -> Result<T, Vec<LoadError>> {
    let problems = RefCell::new(Problems::default());
    let positions = Positions::new(text);
    let context = Context { bindings: &Bindings::default(), problems: &problems, positions: &positions };
    let root = context.keep(short_lines(text).and_then(|()| Node::parse(text)));
    let decoded = root.and_then(|root| read(context, &root));
    let problems = problems.into_inner();
    match decoded {
        Some(decoded) if problems.first.is_empty() => Ok(decoded),
        _ => Err(LoadError::all(source, &positions, problems)),
    }
}

/// Rejects a text with a line that nobody could read.
fn short_lines(text: &str) -> Result<(), Problem> {
    let mut start = 0;
    for line in text.split('\n') {
        if line.len() > LINE_BYTES {
            let message = format!("the line has {} bytes; at most {LINE_BYTES} are read", line.len());
            return Err(Problem::new(start..start, message));
        }
        start += line.len() + 1;
    }
    Ok(())
}

/// Returns what was loaded if all of it was, or all errors in order. `memory` is the bytes that one takes.
pub(crate) fn gather<T>(
    root: &Path,
    loaded: impl Iterator<Item = Result<T, Vec<LoadError>>>,
    memory: impl Fn(&T) -> usize,
) -> Result<Vec<T>, Vec<LoadError>> {
    let (mut all, mut errors) = (Vec::new(), Vec::new());
    let mut bytes = 0;
    for result in loaded {
        match result {
            Ok(one) => {
                bytes += memory(&one);
                all.push(one);
            }
            Err(more) => errors.extend(more),
        }
        if bytes > CORPUS_FRAME_BYTES {
            let message = format!("its frames take more than {CORPUS_FRAME_BYTES} bytes of memory");
            errors.push(LoadError::whole(root, message));
            break;
        }
    }
    sort(&mut errors);
    if errors.is_empty() { Ok(all) } else { Err(errors) }
}

/// Sorts errors by file and place.
pub(crate) fn sort(errors: &mut [LoadError]) {
    errors.sort_by(|a, b| (&a.path, a.line, a.column).cmp(&(&b.path, b.line, b.column)));
}
