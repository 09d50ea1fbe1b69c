//! From TOML to scenarios. All problems of all files are reported at once, each with its position and a hint.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::document::{Bindings, Context, Node, Problem, Problems, Table, Value, Wide};
use crate::frame::Frame;
use crate::input::{
    self, CORPUS_BYTES, CORPUS_FRAME_BYTES, ENTRIES, LAYERS, LINE_BYTES, PROBLEMS, SCENARIO_BYTES,
    SCENARIO_FRAME_BYTES, SCENARIO_FRAMES, SENT_FRAMES, quoted,
};
use crate::layer::{Layer, Layers};
use crate::matrix::Matrix;
use crate::model::{
    Deviation, Expectation, INJECTORS, MODES, OFFLOADS, Requires, SHORTEST_FRAME, Scenario, ScenarioId,
    Spread,
};
use crate::value::{Hex, Protocol};
use crate::{capture_file, oracle};

/// Files of the repository's corpus, by their paths below it.
const BUILTIN: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/corpus.rs"));

/// Smallest MTU of an IPv4 link (RFC 791 section 3.2).
const MIN_MTU: u32 = 68;

/// An error in a scenario file, or in reading it.
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
    fn whole(path: &Path, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: 0, column: 0, message: message.into(), hint: None }
    }

    fn at(path: &Path, text: &str, problem: Problem) -> Self {
        let before = text.get(..problem.span.start).unwrap_or(text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
            message: problem.message,
            hint: problem.hint,
        }
    }

    /// Tells the first problems of a file, each with its place, and the number of the others.
    fn all(path: &Path, text: &str, problems: Problems) -> Vec<Self> {
        let Problems { first: mut problems, mut others } = problems;
        problems.sort_by(|a, b| (a.span.start, &a.message).cmp(&(b.span.start, &b.message)));
        // A frame is read once for each combination of the matrix: a problem of all of them is reported once.
        problems.dedup();
        others = others.saturating_add(problems.len().saturating_sub(PROBLEMS));
        // A place takes the time of the text before it.
        let first = problems.into_iter().take(PROBLEMS);
        let mut errors: Vec<Self> = first.map(|problem| Self::at(path, text, problem)).collect();
        if others > 0 {
            errors.push(Self::whole(path, format!("and {others} more errors in this file")));
        }
        errors
    }
}

/// Loads all scenarios below a directory, sorted by id. Files that do not end in `.toml` are ignored.
///
/// # Errors
///
/// All errors of all files; a directory without a scenario is an error, too.
pub fn corpus(dir: &Path) -> Result<Vec<Scenario>, Vec<LoadError>> {
    let mut found = Found::default();
    found.search(dir, dir).map_err(|error| vec![error])?;
    gather(
        dir,
        found.files.iter().map(|path| {
            let below = path.strip_prefix(dir).unwrap_or(path);
            let bytes = input::read(path, SCENARIO_BYTES)
                .map_err(|error| vec![LoadError::whole(path, format!("cannot be read: {error}"))])?;
            file(&below.to_string_lossy(), path, &bytes, &|name| capture_beside(&path.with_file_name(name)))
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
    decode(id, &source, text, &|name| capture_beside(&base_dir.join(name)))
}

/// Opens a file in the directory of a scenario.
type Sibling<'a> = &'a dyn Fn(&str) -> io::Result<Box<dyn Read>>;

fn capture_beside(path: &Path) -> io::Result<Box<dyn Read>> {
    Ok(Box::new(input::open(path)?))
}

/// The scenario files of a corpus.
#[derive(Default)]
struct Found {
    files: Vec<PathBuf>,
    bytes: u64,
    entries: usize,
}

impl Found {
    /// Searches a directory of the corpus `root`, whose size is known before a file is read.
    fn search(&mut self, root: &Path, dir: &Path) -> Result<(), LoadError> {
        let unreadable = |error| LoadError::whole(dir, format!("cannot be read: {error}"));
        for entry in fs::read_dir(dir).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let path = entry.path();
            self.entries += 1;
            if self.entries > ENTRIES {
                return Err(LoadError::whole(root, format!("has more than {ENTRIES} entries")));
            }
            if entry.file_type().map_err(unreadable)?.is_dir() {
                self.search(root, &path)?;
            } else if path.extension().is_some_and(|extension| extension == "toml") {
                // One that is too large is told by its name when it is read.
                self.bytes += path.metadata().map_or(0, |file| file.len().min(SCENARIO_BYTES));
                if self.bytes > CORPUS_BYTES {
                    let message = format!("its scenario files have more than {CORPUS_BYTES} bytes together");
                    return Err(LoadError::whole(root, message));
                }
                self.files.push(path);
            }
        }
        Ok(())
    }
}

fn gather(
    root: &Path,
    loaded: impl Iterator<Item = Result<Scenario, Vec<LoadError>>>,
) -> Result<Vec<Scenario>, Vec<LoadError>> {
    let (mut scenarios, mut errors) = (Vec::new(), Vec::new());
    let mut bytes = 0;
    for result in loaded {
        match result {
            Ok(scenario) => {
                bytes += scenario.frames.iter().map(frame_memory).sum::<usize>();
                scenarios.push(scenario);
            }
            Err(more) => errors.extend(more),
        }
        if bytes > CORPUS_FRAME_BYTES {
            let message = format!("its frames take more than {CORPUS_FRAME_BYTES} bytes of memory");
            errors.push(LoadError::whole(root, message));
            break;
        }
    }
    if scenarios.is_empty() && errors.is_empty() {
        errors.push(LoadError::whole(root, "no scenario in this corpus"));
    }
    scenarios.sort_by(|a, b| a.id.cmp(&b.id));
    errors.sort_by(|a, b| (&a.path, a.line, a.column).cmp(&(&b.path, b.line, b.column)));
    if errors.is_empty() { Ok(scenarios) } else { Err(errors) }
}

/// Loads one file of a corpus; `below` is its path below the corpus.
fn file(below: &str, path: &Path, bytes: &[u8], sibling: Sibling<'_>) -> Result<Scenario, Vec<LoadError>> {
    let whole = |message: String| vec![LoadError::whole(path, message)];
    let id = below.strip_suffix(".toml").unwrap_or(below).parse();
    let id = id.map_err(|error| whole(format!("invalid path of a scenario: {error}")))?;
    let text = str::from_utf8(bytes).map_err(|error| whole(format!("not UTF-8: {error}")))?;
    decode(id, path, text, sibling)
}

fn decode(
    id: ScenarioId,
    source: &Path,
    text: &str,
    sibling: Sibling<'_>,
) -> Result<Scenario, Vec<LoadError>> {
    let problems = RefCell::new(Problems::default());
    let context = Context { bindings: &Bindings::default(), problems: &problems };
    let root = context.keep(short_lines(text).and_then(|()| Node::parse(text)));
    let scenario = root.and_then(|root| read_scenario(context, id, source, &root, sibling));
    let problems = problems.into_inner();
    match scenario {
        Some(scenario) if problems.first.is_empty() => Ok(scenario),
        _ => Err(LoadError::all(source, text, problems)),
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

/// Reads as much as it can; the scenario must not be used if a problem is reported.
fn read_scenario(
    context: Context<'_>,
    id: ScenarioId,
    source: &Path,
    root: &Node,
    sibling: Sibling<'_>,
) -> Option<Scenario> {
    let mut table = context.table("the scenario", root)?;
    let summary: Option<String> = table.require("summary");
    let tags = table.take("tags").unwrap_or_default();
    let matrix = table.node("matrix").map(|node| Matrix::read(context, node)).unwrap_or_default();
    let nodes = table.node("frame").map(|node| context.array(node)).unwrap_or_default();
    if nodes.is_empty() {
        table.missing("frame");
    }
    matrix.report_unused(context, nodes);
    let mut frames = FrameList::default();
    for node in nodes {
        read_frames(context, &matrix, node, sibling, &mut frames);
    }
    let frames = frames.frames;
    let expect = table.require_node("expect");
    let requires = table.node("requires").and_then(|node| read_requires(context, node)).unwrap_or_default();
    let preset = table.node("preset").and_then(|node| read_preset(context, node)).unwrap_or_default();
    let spread =
        table.node("spread").and_then(|node| read_spread(context, node, &requires)).unwrap_or_default();
    let deviations = table.node("deviation").map(|node| context.array(node)).unwrap_or_default();
    let deviations = deviations.iter().filter_map(|node| read_deviation(context, node)).collect();
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
fn read_frames(
    context: Context<'_>,
    matrix: &Matrix,
    node: &Node,
    sibling: Sibling<'_>,
    frames: &mut FrameList,
) -> Option<()> {
    let combinations = context.keep(matrix.bindings(node))?;
    if combinations.len() == 0 {
        return None;
    }
    context.keep(frames.reserve(node, combinations.len()))?;
    let mut table = context.table("[[frame]]", node)?;
    let (repeat, truncate) = (table.node("repeat"), table.node("truncate"));
    let (layers, hex, pcap) = (table.node("layers"), table.node("hex"), table.node("pcap"));
    let given = [layers, hex, pcap].iter().flatten().count();
    if given != 1 {
        let message = format!("a frame needs exactly one of `layers`, `hex` and `pcap`, found {given}");
        context.report(node.problem(message));
    }
    let mut crafting = layers.map(Crafting::new);
    for bindings in combinations {
        let context = Context { bindings: &bindings, ..context };
        let repeat = repeat.and_then(|node| context.take("repeat", node)).unwrap_or(1);
        if repeat == 0 {
            table.reject("repeat", "must be at least 1");
        }
        if u64::from(repeat) > SENT_FRAMES {
            table.reject("repeat", format!("must be at most {SENT_FRAMES}"));
        }
        let truncate: Option<u16> = truncate.and_then(|node| context.take("truncate", node));
        let first = frames.frames.len();
        let plain = |bytes| Frame { bytes, repeat, layers: Vec::new() };
        let hex = hex.and_then(|node| context.take("hex", node)).map(|Hex(bytes)| plain(bytes));
        let pcap = pcap.and_then(|node| context.take::<String>("pcap", node)).and_then(|name| {
            let capture = frames.capture(&name, sibling);
            capture.map_err(|message| table.reject("pcap", message)).ok()
        });
        let made = crafting.as_mut().and_then(|crafting| crafting.craft(context, repeat)).or(hex);
        let captured = pcap.iter().flat_map(|frames| frames.iter()).cloned().map(plain);
        context.keep(frames.extend(node, made.into_iter().chain(captured)))?;
        if context.problems.borrow().are_full() {
            return None;
        }
        for bytes in frames.frames[first..].iter_mut().map(|frame| &mut frame.bytes) {
            let whole = bytes.len();
            let length = truncate.map_or(whole, usize::from);
            if length > whole {
                table.reject("truncate", format!("must be at most {whole}, the length of the frame"));
            }
            if length < whole {
                bytes.truncate(length);
                bytes.shrink_to_fit();
            }
        }
    }
    table.finish();
    Some(())
}

/// The frames of a scenario while they are made, within the limits on their number and memory.
#[derive(Default)]
struct FrameList {
    frames: Vec<Frame>,
    /// Bytes of memory, captures included.
    bytes: usize,
    sent: u64,
    /// Captures by name: a matrix can name one many times.
    captures: BTreeMap<String, Rc<[Vec<u8>]>>,
}

impl FrameList {
    /// Checks that there may be so many more frames, before one of them is made.
    fn reserve(&self, node: &Node, more: usize) -> Result<(), Problem> {
        let number = self.frames.len().saturating_add(more);
        if number <= SCENARIO_FRAMES {
            return Ok(());
        }
        Err(node.problem(format!(
            "the scenario has {number} distinct frames; at most {SCENARIO_FRAMES} are made"
        )))
    }

    fn extend(&mut self, node: &Node, frames: impl Iterator<Item = Frame>) -> Result<(), Problem> {
        for frame in frames {
            self.reserve(node, 1)?;
            self.bytes += frame_memory(&frame);
            self.sent += u64::from(frame.repeat);
            if self.bytes > SCENARIO_FRAME_BYTES {
                let message = format!("the frames take more than {SCENARIO_FRAME_BYTES} bytes of memory");
                return Err(node.problem(message));
            }
            if self.sent > SENT_FRAMES {
                let message = format!("the scenario sends more than {SENT_FRAMES} frames, repeats included");
                return Err(node.problem(message));
            }
            self.frames.push(frame);
        }
        Ok(())
    }

    /// Returns the frames of a capture in the directory of the scenario.
    fn capture(&mut self, name: &str, sibling: Sibling<'_>) -> Result<Rc<[Vec<u8>]>, String> {
        if let Some(frames) = self.captures.get(name) {
            return Ok(Rc::clone(frames));
        }
        if Path::new(name).file_name().is_none_or(|file| file != name) {
            return Err(format!(
                "{} is not the name of a file in the directory of the scenario",
                quoted(name)
            ));
        }
        let file = sibling(name).map_err(|error| format!("{name} cannot be read: {error}"))?;
        let capture = capture_file::read(file).map_err(|error| format!("{name}: {error}"))?;
        if let Some(cut) = capture.cut {
            return Err(format!("{name}: {cut}"));
        }
        let frames: Rc<[Vec<u8>]> = capture.frames.into();
        if frames.is_empty() {
            return Err(format!("{name} holds no frame"));
        }
        self.bytes += frames.iter().map(|bytes| size_of::<Vec<u8>>() + bytes.len()).sum::<usize>();
        self.captures.insert(name.to_owned(), Rc::clone(&frames));
        Ok(frames)
    }
}

/// Bytes of memory that a frame takes.
fn frame_memory(frame: &Frame) -> usize {
    size_of::<Frame>() + frame.bytes.len() + frame.layers.len() * size_of::<Layer>()
}

/// Crafts frames from the `layers` of one `[[frame]]`, for one combination of values after another.
struct Crafting<'a> {
    node: &'a Node,
    layers: Layers,
    /// The frame is the same for every combination, because its layers have no variable.
    constant: bool,
    /// Such a frame, once it is crafted.
    made: Option<Frame>,
}

impl<'a> Crafting<'a> {
    fn new(node: &'a Node) -> Self {
        let constant = !node.has_variable();
        Self { node, layers: Layers::default(), constant, made: None }
    }

    fn craft(&mut self, context: Context<'_>, repeat: u32) -> Option<Frame> {
        if let Some(frame) = &self.made {
            return Some(Frame { repeat, ..frame.clone() });
        }
        let nodes = context.splice(self.node);
        if nodes.len() > LAYERS {
            let message = format!("the frame has {} layers; at most {LAYERS} are made", nodes.len());
            context.report(self.node.problem(message));
            return None;
        }
        // All layers are read before one that failed ends it, so that all problems are reported.
        let mut layers = Vec::with_capacity(nodes.len());
        layers.extend(nodes.iter().filter_map(|(_, node)| self.layers.read(context, node)));
        if layers.len() < nodes.len() {
            return None;
        }
        let frame = context.keep(Frame::craft(layers, repeat).map_err(|error| {
            // An error in the value of a variable is reported at the use, not at the definition.
            let place = nodes.get(error.index()).map_or(self.node, |(place, _)| *place);
            place.problem(error.to_string())
        }))?;
        if self.constant {
            self.made = Some(frame.clone());
        }
        Some(frame)
    }
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
        for bindings in context.keep(matrix.bindings(&key))? {
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
    let mtu = table.take("mtu");
    if mtu.is_some_and(|mtu| mtu < MIN_MTU) {
        table.reject("mtu", format!("must be at least {MIN_MTU}"));
    }
    let injectors = table.node("injectors").map(|node| {
        context.array(node).iter().filter_map(|node| choice(context, "injector", INJECTORS, node)).collect()
    });
    let min_kernel = table.take("min_kernel");
    let mut offloads = BTreeMap::new();
    for (key, state) in
        table.node("offloads").and_then(|node| dynamic(context, "`offloads`", node)).into_iter().flatten()
    {
        let name = choice(context, "offload", OFFLOADS, &key);
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

fn read_deviation(context: Context<'_>, node: &Node) -> Option<Deviation> {
    let mut table = context.table("[[deviation]]", node)?;
    let driver: Option<String> = table.take("driver");
    let mode = table.node("mode").and_then(|node| choice(context, "mode", MODES, node));
    let kernel = table.take("kernel");
    let injector = table.node("injector").and_then(|node| choice(context, "injector", INJECTORS, node));
    let conditions =
        ["driver", "mode", "kernel", "injector"].map(|key| table.node(key)).iter().flatten().count();
    let reason = table.require("reason");
    table.finish();
    if conditions == 0 {
        let problem = node.problem("a deviation without a condition is a wrong expectation");
        context.report(problem.hint("give at least one of driver, mode, kernel and injector"));
    }
    Some(Deviation { driver, mode, kernel, injector, reason: reason? })
}

/// Reads one of a set of names.
fn choice(context: Context<'_>, what: &str, known: &[&str], node: &Node) -> Option<String> {
    let name: String = context.keep(context.read(node))?;
    if known.contains(&name.as_str()) {
        return Some(name);
    }
    context.report(Problem::unknown(node.span.clone(), what, &name, known.iter().copied()));
    None
}
