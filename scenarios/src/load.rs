//! From TOML to scenarios. All problems of all files are reported at once, each with its position and a hint.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::Path;

use crate::conditions::{read_deviations, read_mtu};
use crate::document::{Context, Node, Table, Value, Wide};
use crate::files::{self, Found};
use crate::frame::Frame;
use crate::frames::{self, FrameList, FrameMaker, MadeFor, OpenCapture, open_capture};
pub use crate::load_error::LoadError;
use crate::matrix::Matrix;
use crate::model::{
    Expectation, INJECTORS, OFFLOADS, Requires, SHORTEST_FRAME, Scenario, ScenarioId, Spread,
};
use crate::oracle;
use crate::value::Protocol;

/// Files of the repository's corpus, by their paths below it.
const BUILTIN: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/corpus.rs"));

/// Loads all scenarios below a directory, sorted by id. Files that do not end in `.toml` are ignored.
///
/// # Errors
///
/// All errors of all files; a directory without a scenario is an error, too.
pub fn corpus(dir: &Path) -> Result<Vec<Scenario>, Vec<LoadError>> {
    let mut found = Found::default();
    found.search(dir, dir, |_| false).map_err(|error| vec![error])?;
    gather(
        dir,
        found.files.iter().map(|path| {
            let below = path.strip_prefix(dir).unwrap_or(path);
            let bytes = files::read(path)?;
            file(&below.to_string_lossy(), path, &bytes, &|name| open_capture(&path.with_file_name(name)))
        }),
    )
}

/// Loads the scenarios that are built in, the repository's corpus, sorted by id.
///
/// # Errors
///
/// As for [`corpus`]; the repository's tests ensure that there are none.
pub fn builtin() -> Result<Vec<Scenario>, Vec<LoadError>> {
    let root = Path::new("corpus");
    let scenarios = BUILTIN.iter().filter(|(below, _)| below.ends_with(".toml"));
    gather(
        root,
        scenarios.map(|(below, bytes)| {
            let sibling = |name: &str| {
                let path = Path::new(below).with_file_name(name);
                let found = BUILTIN.iter().find(|(below, _)| Path::new(below) == path);
                found
                    .map(|(_, bytes)| Box::new(*bytes) as Box<dyn Read>)
                    .ok_or_else(|| io::ErrorKind::NotFound.into())
            };
            file(below, &root.join(below), bytes, &sibling)
        }),
    )
}

/// Loads one scenario from its text; `base_dir` is the directory of its file and of the captures that it names.
///
/// # Errors
///
/// All errors of the text.
pub fn scenario(id: ScenarioId, text: &str, base_dir: &Path) -> Result<Scenario, Vec<LoadError>> {
    let name = id.as_ref().rsplit('/').next().unwrap_or_default();
    let source = base_dir.join(format!("{name}.toml"));
    decode(id, &source, text, &|name| open_capture(&base_dir.join(name)))
}

/// Sorts the scenarios of a corpus, which must have one.
fn gather(
    root: &Path,
    loaded: impl Iterator<Item = Result<Scenario, Vec<LoadError>>>,
) -> Result<Vec<Scenario>, Vec<LoadError>> {
    let memory = |scenario: &Scenario| scenario.frames.iter().map(frames::memory).sum();
    let mut scenarios = files::gather(root, loaded, memory)?;
    if scenarios.is_empty() {
        return Err(vec![LoadError::whole(root, "no scenario in this corpus")]);
    }
    scenarios.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(scenarios)
}

/// Loads one file of a corpus; `below` is its path below the corpus.
fn file(below: &str, path: &Path, bytes: &[u8], open: OpenCapture<'_>) -> Result<Scenario, Vec<LoadError>> {
    let (id, text) = files::identify("scenario", below, path, bytes)?;
    decode(id, path, text, open)
}

fn decode(
    id: ScenarioId,
    source: &Path,
    text: &str,
    open: OpenCapture<'_>,
) -> Result<Scenario, Vec<LoadError>> {
    files::decode(source, text, |context, root| read_scenario(context, id, source, root, open))
}

/// Reads as much as it can; the scenario must not be used if a problem is reported.
fn read_scenario(
    context: Context<'_>,
    id: ScenarioId,
    source: &Path,
    root: &Node,
    open: OpenCapture<'_>,
) -> Option<Scenario> {
    let mut table = context.table("the scenario", root)?;
    let summary: Option<String> = table.require("summary");
    let tags = table.take("tags").unwrap_or_default();
    let matrix = table.node("matrix").map(|node| Matrix::read(context, node)).unwrap_or_default();
    let nodes = frames::nodes(&mut table);
    matrix.report_unused(context, nodes);
    let mut frames = FrameList::new(MadeFor::Scenario, open);
    for node in nodes {
        read_frames(context, &matrix, node, &mut frames);
    }
    let frames = frames.frames;
    let expect = table.require_node("expect");
    let requires = table.node("requires").and_then(|node| read_requires(context, node)).unwrap_or_default();
    let preset = table.node("preset").and_then(|node| read_preset(context, node)).unwrap_or_default();
    let spread =
        table.node("spread").and_then(|node| read_spread(context, node, &requires)).unwrap_or_default();
    let deviations = read_deviations(&mut table);
    table.finish();
    let sound = context.problems.borrow().first.is_empty();
    let expect = read_expectation(context, &matrix, expect?, sound.then_some(&frames))?;
    Some(Scenario {
        id,
        source: source.to_owned(),
        summary: summary?,
        tags,
        frames,
        expect,
        requires,
        preset,
        spread,
        deviations,
    })
}

/// Reads the frames of one `[[frame]]`: one for each combination of the values of its variables, or all of a capture.
fn read_frames(context: Context<'_>, matrix: &Matrix, node: &Node, frames: &mut FrameList<'_>) -> Option<()> {
    let combinations = context.keep(matrix.bindings(node, &[node]))?;
    if combinations.len() == 0 {
        return None;
    }
    context.keep(frames.reserve(node, combinations.len()))?;
    let mut maker = FrameMaker::open(context, node)?;
    for bindings in combinations {
        maker.make(Context { bindings: &bindings, ..context }, frames)?;
    }
    maker.table.finish();
    Some(())
}

/// Reads the declared expectation and, if the frames have no problem, compares it with the oracle's.
fn read_expectation(
    context: Context<'_>,
    matrix: &Matrix,
    node: &Node,
    frames: Option<&Vec<Frame>>,
) -> Option<Expectation> {
    let mut table = context.table("[expect]", node)?;
    let unreachable = table.take("unreachable").unwrap_or(false);
    let declared = if unreachable { None } else { read_declared(&mut table, matrix) };
    table.finish();
    let frames = frames?;
    let computed =
        oracle::expectation(frames.iter().map(|frame| (frame.bytes.as_slice(), frame.repeat.into())));
    let short = frames.iter().filter(|frame| frame.bytes.len() < SHORTEST_FRAME).count();
    let disagreement = match (short, unreachable) {
        (0, true) => node.problem("the frames are declared unreachable, but each of them can be injected"),
        (0, false) if declared.as_ref()? == &computed => return Some(computed),
        (0, false) => node.problem(differences(&declared?, &computed)),
        (short, true) if short == frames.len() => return Some(computed),
        (short, _) => node
            .problem(format!(
                "{short} of {} frames are shorter than {SHORTEST_FRAME} bytes and cannot be injected",
                frames.len()
            ))
            .hint("move them to a scenario of their own, with `unreachable = true` in [expect]"),
    };
    context.report(disagreement);
    None
}

/// Lists the differences of two expectations.
fn differences(declared: &Expectation, computed: &Expectation) -> String {
    let keys: BTreeSet<u8> = declared.counts.keys().chain(computed.counts.keys()).copied().collect();
    let count = |of: &Expectation, key| of.counts.get(&key).copied().unwrap_or_default();
    let counts =
        keys.into_iter().map(|key| (Protocol(key).to_string(), count(declared, key), count(computed, key)));
    let differing: Vec<_> = counts
        .chain([
            ("passed".to_owned(), declared.passed, computed.passed),
            ("dropped".to_owned(), declared.dropped, computed.dropped),
        ])
        .filter(|(_, declared, computed)| declared != computed)
        .map(|(what, declared, computed)| format!("{what}: declared {declared}, computed {computed}"))
        .collect();
    format!("declared and computed expectations disagree: {}", differing.join("; "))
}

fn read_declared(table: &mut Table<'_>, matrix: &Matrix) -> Option<Expectation> {
    let context = table.context;
    let counts = table.require_node("counts").and_then(|node| read_counts(context, matrix, node));
    let (passed, dropped) = (table.require("passed"), table.require("dropped"));
    Some(Expectation { counts: counts?, passed: passed?, dropped: dropped? })
}

/// Reads counts by protocol. A key that is a variable is replaced by each of its values, and its count may be that value,
/// too; counts of several keys for one protocol add up.
fn read_counts(context: Context<'_>, matrix: &Matrix, node: &Node) -> Option<BTreeMap<u8, u64>> {
    let mut counts = BTreeMap::new();
    for (key, count) in dynamic(context, "`counts`", node)? {
        for bindings in context.keep(matrix.bindings(&key, &[&key]))? {
            let context = Context { bindings: &bindings, ..context };
            let protocol = context.keep(context.read::<Protocol>(&key));
            let number = context.keep(context.read::<u64>(count));
            if number == Some(0) {
                context.report(count.problem("a count must be at least 1").hint("omit the protocol"));
                return None;
            }
            let total: &mut u64 = counts.entry(protocol?.into()).or_default();
            *total = total.saturating_add(number?);
        }
    }
    Some(counts)
}

/// Returns the entries of a table whose keys are data: each key as a node, an integer if it reads as one.
fn dynamic<'a>(
    context: Context<'a>,
    place: &str,
    node: &'a Node,
) -> Option<impl Iterator<Item = (Node, &'a Node)> + use<'a>> {
    let entries = context.entries(place, node)?;
    Some(entries.iter().map(|(key, value)| {
        let name = key.name.parse().map_or_else(|_| Value::String(key.name.clone()), Value::Integer);
        (Node { span: key.span.clone(), value: name }, value)
    }))
}

fn read_requires(context: Context<'_>, node: &Node) -> Option<Requires> {
    let mut table = context.table("[requires]", node)?;
    let mtu = read_mtu(&mut table);
    let injectors = table.node("injectors").map(|node| context.choices("injector", INJECTORS, node));
    let min_kernel = table.take("min_kernel");
    let mut offloads = BTreeMap::new();
    for (key, state) in
        table.node("offloads").and_then(|node| dynamic(context, "`offloads`", node)).into_iter().flatten()
    {
        let name = context.choice("offload", OFFLOADS, &key);
        offloads.extend(name.zip(context.keep(context.read(state))));
    }
    table.finish();
    Some(Requires { mtu, injectors, min_kernel, offloads })
}

/// Reads the values of slots before the first frame, by protocol.
fn read_preset(context: Context<'_>, node: &Node) -> Option<BTreeMap<u8, u64>> {
    let mut preset = BTreeMap::new();
    for (key, value) in dynamic(context, "`preset`", node)? {
        let protocol = context.keep(context.read::<Protocol>(&key));
        let start = context.keep(context.read::<Wide>(value));
        if let (Some(Protocol(protocol)), Some(Wide(start))) = (protocol, start)
            && preset.insert(protocol, start).is_some()
        {
            let message = format!("the value of slot {protocol} is given twice");
            context.report(key.problem(message));
        }
    }
    Some(preset)
}

fn read_spread(context: Context<'_>, node: &Node, requires: &Requires) -> Option<Spread> {
    let mut table = context.table("[spread]", node)?;
    let spread = Spread {
        cpus: table.take("cpus").unwrap_or(false),
        at_once: table.take("at_once").unwrap_or(false),
        queues: table.take("queues"),
    };
    if spread.at_once && !spread.cpus {
        table.reject("at_once", "needs `cpus = true`");
    }
    if spread.at_once && spread.queues.is_some() {
        table.reject("queues", "cannot be combined with `at_once`, which gives each CPU a queue of its own");
    }
    if spread.queues.is_some_and(|queues| !(Spread::MIN_QUEUES..=Spread::MAX_QUEUES).contains(&queues)) {
        let (least, most) = (Spread::MIN_QUEUES, Spread::MAX_QUEUES);
        table.reject("queues", format!("must be {least} to {most}"));
    }
    let test_run = |injectors: &Vec<String>| injectors.iter().any(|injector| injector == "test_run");
    if spread.queues.is_some() && requires.injectors.as_ref().is_none_or(test_run) {
        table.reject("queues", "test_run has no queues; list `injectors` without it in [requires]");
    }
    table.finish();
    if spread == Spread::default() {
        let problem = node.problem("[spread] spreads over nothing");
        context.report(problem.hint("set `cpus = true` or `queues = 4`"));
    }
    Some(spread)
}
