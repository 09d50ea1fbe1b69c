//! Results read back, checked, and joined.
//!
//! ```text
//! files, directories --gather--> each result with its file --join--> Collection
//! ```
//!
//! What is read may come from another version or another hand: nothing of it is believed that contradicts itself, and each
//! refusal names the file, the place and the reason.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt, fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};
use walkdir::WalkDir;

use xdproof_core::model::{
    device::{DeviceRecord, PortRole, Statistic},
    finding::InfrastructureFailure,
    result::{
        COLLECTION_SCHEMA, Collection, PartitionRecord, RuleResult, RunResult, SCHEMA, Summary, TrialRecord,
    },
};
use xdproof_core::model::{environment::Environment, observation::side_by_side, verdict::VerdictKind};

use crate::json::{JsonFile, write_pretty};

/// Why results cannot be read or joined.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file cannot be read.
    #[error("failed to read {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// A directory cannot be looked through.
    #[error("failed to look through {}", directory.display())]
    Walk {
        /// The directory that was named.
        directory: PathBuf,
        /// What is in the way.
        source: walkdir::Error,
    },
    /// A directory holds no result.
    #[error("there is no {} in {} or below", JsonFile::NAME, directory.display())]
    Nothing {
        /// The directory.
        directory: PathBuf,
    },
    /// The file was made when a run began, and the run has written nothing.
    #[error("{} is empty: the run that was to write it has not ended", file.display())]
    Empty {
        /// The file.
        file: PathBuf,
    },
    /// The text is not JSON, or not what the schema says.
    #[error("{}:{line}:{column}: {}{reason}", file.display(), At(path))]
    Malformed {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// Where in the document: `trials[3].verdict`; empty where it is nowhere in particular.
        path: String,
        /// What is wrong there.
        reason: String,
    },
    /// The schema is of a later version.
    #[error(
        "{}: written by a newer xdproof: its schema is {schema}, and this version reads up to {reads}",
        file.display()
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// The schema that it names.
        schema: String,
        /// The latest one that is understood.
        reads: &'static str,
    },
    /// It is some other document.
    #[error(
        "{}: not a result: its schema is {}, and this version reads {SCHEMA} and {COLLECTION_SCHEMA}",
        file.display(), schema.as_deref().unwrap_or("not named")
    )]
    Foreign {
        /// The file.
        file: PathBuf,
        /// The schema that it names, if it names one.
        schema: Option<String>,
    },
    /// One thing that the file says is against another.
    #[error("{}: {}{what}", file.display(), At(path))]
    Contradiction {
        /// The file.
        file: PathBuf,
        /// Where in the document.
        path: String,
        /// What contradicts what, a sentence without its full stop.
        what: String,
    },
    /// A file holds several results where one is wanted.
    #[error("{} holds {number} results, and one is wanted", file.display())]
    Several {
        /// The file.
        file: PathBuf,
        /// How many there are.
        number: usize,
    },
    /// The same was tried twice and came out otherwise, or was another run.
    #[error(transparent)]
    Conflict(#[from] Box<Conflict>),
}

/// Two results of one thing.
#[derive(Debug, thiserror::Error)]
#[error(
    "{id} on {nic} (kernel {kernel}, program {program}) is in {} and in {}, and they differ: name one of them",
    first.display(), second.display()
)]
pub struct Conflict {
    /// The trial's or the rule's id.
    pub id: String,
    /// The device that it was tried on.
    pub nic: String,
    /// The kernel's release.
    pub kernel: String,
    /// The program's tag.
    pub program: String,
    /// A file that has it.
    pub first: PathBuf,
    /// The other one.
    pub second: PathBuf,
}

/// A place in a document, with what has to stand behind it; nothing where there is none.
struct At<'a>(&'a str);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `?` stands where the text breaks off before it says what it is.
        let path = self.0.strip_suffix(".?").unwrap_or(self.0);
        if ["", ".", "?"].contains(&path) { Ok(()) } else { write!(f, "at {path}: ") }
    }
}

/// Results as they were found.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Each with the file that it was in.
    results: Vec<(PathBuf, RunResult)>,
    breakdowns: Vec<InfrastructureFailure>,
    files: usize,
}

/// Reads results from files and from directories, in which every `result.json` counts, at any depth, in the order of their
/// paths. A file that is found twice is read once. `except` is left out: the file that is going to be written.
///
/// # Errors
///
/// A file that cannot be read, is not a result, is of a newer schema or contradicts itself; a directory without a result.
pub fn gather(paths: &[PathBuf], except: Option<&Path>) -> Result<Gathered, StoreError> {
    let except = except.and_then(|file| fs::canonicalize(file).ok());
    let mut gathered = Gathered::default();
    let mut known = HashSet::new();
    for path in paths {
        let files = if path.is_dir() { below(path)? } else { vec![path.clone()] };
        let mut found = false;
        for file in files {
            let real =
                fs::canonicalize(&file).map_err(|source| StoreError::Read { file: file.clone(), source })?;
            if except.as_ref() == Some(&real) {
                continue;
            }
            found = true;
            if known.insert(real) {
                gathered.add(file)?;
            }
        }
        if !found {
            return Err(StoreError::Nothing { directory: path.clone() });
        }
    }
    Ok(gathered)
}

/// Every result file in a directory or below.
fn below(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = WalkDir::new(directory).sort_by_file_name().into_iter();
    let walk = |source| StoreError::Walk { directory: directory.to_owned(), source };
    let is_result =
        |entry: &walkdir::DirEntry| entry.file_name() == JsonFile::NAME && !entry.file_type().is_dir();
    let files = entries.filter(|entry| entry.as_ref().map_or(true, is_result));
    files.map(|entry| Ok(entry.map_err(walk)?.into_path())).collect()
}

/// Reads and joins: see [`gather`] and [`Gathered::join`].
///
/// # Errors
///
/// As those two.
pub fn load(paths: &[PathBuf]) -> Result<Collection, StoreError> {
    gather(paths, None)?.join()
}

/// Reads the one result that is in a file, or in the `result.json` of a directory.
///
/// # Errors
///
/// As [`gather`], and where a collection holds none or several.
pub fn read_one(path: &Path) -> Result<RunResult, StoreError> {
    let file = if path.is_dir() { path.join(JsonFile::NAME) } else { path.to_owned() };
    let mut gathered = Gathered::default();
    gathered.add(file.clone())?;
    let number = gathered.results.len();
    match (gathered.results.pop(), number) {
        (Some((_, result)), 1) => Ok(result),
        _ => Err(StoreError::Several { file, number }),
    }
}

/// What every result names.
#[derive(Deserialize)]
#[serde(expecting = "a result")]
struct Labelled {
    schema: Option<serde_json::Value>,
}

impl Gathered {
    /// How many files were read.
    #[must_use]
    pub fn files(&self) -> usize {
        self.files
    }

    fn add(&mut self, file: PathBuf) -> Result<(), StoreError> {
        let text = fs::read(&file).map_err(|source| StoreError::Read { file: file.clone(), source })?;
        if text.is_empty() {
            return Err(StoreError::Empty { file });
        }
        let Labelled { schema } = label(&file, &text)?;
        let schema = schema.as_ref().and_then(serde_json::Value::as_str);
        match schema {
            Some(SCHEMA) => {
                let result: RunResult = parse(&file, &text)?;
                check(&file, "", &result)?;
                self.results.push((file, result));
            }
            Some(COLLECTION_SCHEMA) => self.add_all(&file, parse(&file, &text)?)?,
            other => return Err(foreign(file, other)),
        }
        self.files += 1;
        Ok(())
    }

    fn add_all(&mut self, file: &Path, collection: Collection) -> Result<(), StoreError> {
        let Collection { schema: _, results, breakdowns, summary } = collection;
        for (index, result) in results.iter().enumerate() {
            if result.schema != SCHEMA {
                return Err(foreign(file.to_owned(), Some(&result.schema)));
            }
            check(file, &format!("results[{index}]."), result)?;
        }
        let total = Summary::total(&results);
        if total != summary {
            return Err(miscounted(file, "summary", &summary, &total));
        }
        self.results.extend(results.into_iter().map(|result| (file.to_owned(), result)));
        self.breakdowns.extend(breakdowns);
        Ok(())
    }

    /// Joins the parts of runs that were split into one result each, and puts those of other kernels, devices, hosts and
    /// programs side by side: whole results first, each in the order in which it was found. What is there twice and the
    /// same is taken once.
    ///
    /// # Errors
    ///
    /// Two results of one trial or rule that differ, where kernel, host, program and device are the same.
    pub fn join(self) -> Result<Collection, StoreError> {
        let Self { results, mut breakdowns, files: _ } = self;
        let (parts, wholes): (Vec<_>, Vec<_>) =
            results.into_iter().partition(|(_, result)| result.partition.is_some());
        let mut joined: Vec<Joined> = Vec::new();
        for (file, part) in parts {
            match joined.iter_mut().find(|other| is_same_run(&other.result, &part)) {
                Some(run) => run.add(file, part)?,
                None => joined.push(Joined::new(file, part)),
            }
        }
        joined.iter_mut().for_each(Joined::close);
        let wholes = wholes.into_iter().map(|(file, result)| Joined::new(file, result));
        let mut once: Vec<Joined> = Vec::new();
        for mut next in wholes.chain(joined) {
            if !once.iter().any(|other| other.result == next.result) && next.leave_out_known(&once)? {
                once.push(next);
            }
        }
        keep_first(&mut breakdowns);
        Ok(Collection::new(once.into_iter().map(|joined| joined.result).collect(), breakdowns))
    }
}

/// One result out of one file, or out of those of its parts.
struct Joined {
    result: RunResult,
    files: Vec<PathBuf>,
    /// In which file a trial or a rule was, where that is not the first.
    origins: HashMap<(Option<String>, String), usize>,
}

impl Joined {
    fn new(file: PathBuf, result: RunResult) -> Self {
        Self { result, files: vec![file], origins: HashMap::new() }
    }

    /// Takes in a further part.
    fn add(&mut self, file: PathBuf, part: RunResult) -> Result<(), StoreError> {
        let RunResult {
            schema: _,
            environment,
            partition,
            devices,
            findings,
            kernel_messages,
            rules,
            trials,
            measurements,
            summary,
        } = part;
        let parts = partition.map_or_else(Vec::new, |its| its.parts);
        let mut not_run = self.result.summary.not_run;
        if let Some(PartitionRecord { parts: held, count: _ }) = &mut self.result.partition {
            if !parts.iter().all(|part| held.contains(part)) {
                not_run = not_run.saturating_add(summary.not_run);
            }
            held.extend(parts);
            held.sort_unstable();
            held.dedup();
        }
        let index = self.files.len();
        self.files.push(file);
        let known: HashMap<Key<'_>, &TrialRecord> = by_key(&self.result.trials);
        let trials = self.unknown(trials, &known, index)?;
        let known: HashMap<Key<'_>, &RuleResult> = by_key(&self.result.rules);
        let rules = self.unknown(rules, &known, index)?;
        for (nic, id) in trials.iter().map(Tried::key).chain(rules.iter().map(Tried::key)) {
            self.origins.insert((nic.map(str::to_owned), id.to_owned()), index);
        }
        let result = &mut self.result;
        join_environment(&mut result.environment, environment);
        join_devices(&mut result.devices, devices);
        result.findings.extend(findings);
        result.kernel_messages.extend(kernel_messages);
        result.rules.extend(rules);
        result.trials.extend(trials);
        result.measurements.extend(measurements);
        result.summary.not_run = not_run;
        Ok(())
    }

    /// Puts what the parts brought in order.
    fn close(&mut self) {
        let result = &mut self.result;
        if self.files.len() > 1 {
            keep_first(&mut result.findings);
            result.findings.sort_by_key(|finding| std::cmp::Reverse(finding.weight));
            keep_first(&mut result.kernel_messages);
            keep_first(&mut result.measurements);
            result
                .trials
                .sort_by(|a, b| (&a.nic, &a.scenario, a.path()).cmp(&(&b.nic, &b.scenario, b.path())));
            result.rules.sort_by(|a, b| a.key().cmp(&b.key()));
            result.summary = Summary::of(&result.trials, result.summary.not_run);
        }
        if result.partition.as_ref().is_some_and(|its| missing_parts(its).is_none()) {
            result.partition = None;
        }
    }

    /// Leaves out what others, of the same environment, have too. Whether anything is left that was there.
    fn leave_out_known(&mut self, others: &[Self]) -> Result<bool, StoreError> {
        let was_void = is_void(&self.result);
        for other in others.iter().filter(|other| other.result.environment == self.result.environment) {
            let trials = std::mem::take(&mut self.result.trials);
            self.result.trials = other.unknown_of(trials, &by_key(&other.result.trials), self)?;
            let rules = std::mem::take(&mut self.result.rules);
            self.result.rules = other.unknown_of(rules, &by_key(&other.result.rules), self)?;
            self.result.measurements.retain(|its| !other.result.measurements.contains(its));
        }
        let RunResult { trials, summary, .. } = &mut self.result;
        *summary = Summary::of(&*trials, summary.not_run);
        Ok(was_void || !is_void(&self.result))
    }

    /// Those of a further file that are not known.
    fn unknown<T: Tried>(
        &self,
        new: Vec<T>,
        known: &HashMap<Key<'_>, &T>,
        index: usize,
    ) -> Result<Vec<T>, StoreError> {
        keep_unknown(new, known, |(nic, id)| {
            self.conflict((nic, id), self.file_of((nic, id)), &self.files[index])
        })
    }

    /// Those of another result that are not known.
    fn unknown_of<T: Tried>(
        &self,
        new: Vec<T>,
        known: &HashMap<Key<'_>, &T>,
        other: &Self,
    ) -> Result<Vec<T>, StoreError> {
        keep_unknown(new, known, |key| self.conflict(key, self.file_of(key), other.file_of(key)))
    }

    fn conflict(&self, (nic, id): Key<'_>, first: &Path, second: &Path) -> StoreError {
        let Environment { kernel_release, program, .. } = &self.result.environment;
        let conflict = Conflict {
            id: id.to_owned(),
            nic: nic.unwrap_or("no device").to_owned(),
            kernel: kernel_release.clone(),
            program: program.tag.clone(),
            first: first.to_owned(),
            second: second.to_owned(),
        };
        Box::new(conflict).into()
    }

    fn file_of(&self, (nic, id): Key<'_>) -> &Path {
        let index = self.origins.get(&(nic.map(str::to_owned), id.to_owned())).copied().unwrap_or(0);
        &self.files[index]
    }
}

/// The device and the id: what tells apart what was tried in one environment.
type Key<'a> = (Option<&'a str>, &'a str);

/// What was tried on a device, and came out somehow.
trait Tried: PartialEq {
    fn key(&self) -> Key<'_>;
}

impl Tried for TrialRecord {
    fn key(&self) -> Key<'_> {
        (self.nic.as_deref(), &self.id)
    }
}

impl Tried for RuleResult {
    fn key(&self) -> Key<'_> {
        (Some(&self.nic), &self.id)
    }
}

fn by_key<T: Tried>(of: &[T]) -> HashMap<Key<'_>, &T> {
    of.iter().map(|its| (its.key(), its)).collect()
}

fn keep_unknown<T: Tried>(
    new: Vec<T>,
    known: &HashMap<Key<'_>, &T>,
    conflict: impl Fn(Key<'_>) -> StoreError,
) -> Result<Vec<T>, StoreError> {
    let mut kept = Vec::new();
    for its in new {
        match known.get(&its.key()) {
            None => kept.push(its),
            Some(other) if **other == its => {}
            Some(_) => return Err(conflict(its.key())),
        }
    }
    Ok(kept)
}

/// Whether nothing was tried or measured.
fn is_void(result: &RunResult) -> bool {
    result.trials.is_empty() && result.rules.is_empty() && result.measurements.is_empty()
}

/// Whether both are parts of one run. They may have run on several hosts of one kind: another processor is no other run.
fn is_same_run(one: &RunResult, other: &RunResult) -> bool {
    let counts = [one, other].map(|result| result.partition.as_ref().map(|its| its.count));
    let places = [one, other].map(|RunResult { environment, .. }| {
        let Environment {
            xdproof,
            kernel_release,
            kernel_version,
            architecture,
            cpu_model: _,
            cpus_available: _,
            bpf_jit,
            program,
        } = environment;
        (xdproof, kernel_release, kernel_version, architecture, bpf_jit, program)
    });
    // A part may hold nothing but trials without a device.
    let [nics, others] = [one, other].map(nics);
    let same_nics = nics == others || nics.is_empty() || others.is_empty();
    counts[0].is_some() && counts[0] == counts[1] && places[0] == places[1] && same_nics
}

/// The devices that were tested, as trials call them.
fn nics(result: &RunResult) -> BTreeSet<&str> {
    let tested = result.devices.iter().filter(|device| device.role == PortRole::Dut);
    let tested: BTreeSet<&str> = tested.map(|device| device.nic.as_str()).collect();
    if tested.is_empty() {
        return result.trials.iter().filter_map(|trial| trial.nic.as_deref()).collect();
    }
    tested
}

/// Processors of several models are all named; of their numbers, the least holds for all.
fn join_environment(environment: &mut Environment, other: Environment) {
    let Environment { cpu_model, cpus_available, .. } = other;
    environment.cpus_available = environment.cpus_available.min(cpus_available);
    match (&mut environment.cpu_model, cpu_model) {
        (Some(models), Some(model)) => {
            if !models.split("; ").any(|known| known == model) {
                models.push_str("; ");
                models.push_str(&model);
            }
        }
        (None, Some(model)) => environment.cpu_model = Some(model),
        (_, None) => {}
    }
}

/// A device that was there before is the same one. What its counters have gone up by adds up.
fn join_devices(devices: &mut Vec<DeviceRecord>, others: Vec<DeviceRecord>) {
    for mut other in others {
        let statistics = std::mem::take(&mut other.statistics);
        let is_same = |device: &&mut DeviceRecord| {
            let bare = DeviceRecord { statistics: Vec::new(), ..(**device).clone() };
            bare == other
        };
        match devices.iter_mut().find(is_same) {
            Some(device) => join_statistics(&mut device.statistics, statistics),
            None => devices.push(DeviceRecord { statistics, ..other }),
        }
    }
}

fn join_statistics(statistics: &mut Vec<Statistic>, others: Vec<Statistic>) {
    for other in others {
        let is_same = |its: &&mut Statistic| its.name == other.name && its.source == other.source;
        match statistics.iter_mut().find(is_same) {
            Some(its) => its.after = its.after.saturating_add(other.after.saturating_sub(other.before)),
            None => statistics.push(other),
        }
    }
}

/// Leaves out what equals something before it.
fn keep_first<T: PartialEq>(of: &mut Vec<T>) {
    let mut kept: Vec<T> = Vec::with_capacity(of.len());
    for its in of.drain(..) {
        if !kept.contains(&its) {
            kept.push(its);
        }
    }
    *of = kept;
}

/// A collection as a file holds it: a result that is by itself is written as one.
#[derive(Clone, Copy, Debug)]
pub struct Rendered<'a>(pub &'a Collection);

impl Rendered<'_> {
    /// Writes it.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(self, to: impl io::Write) -> io::Result<()> {
        match (self.0.results.as_slice(), self.0.breakdowns.is_empty()) {
            ([result], true) => write_pretty(to, result),
            _ => write_pretty(to, self.0),
        }
    }
}

/// Parts of a run that no result holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingParts {
    /// The run: its kernel and its devices.
    pub run: String,
    /// The first of them.
    pub parts: Vec<u64>,
    /// How many are missing.
    pub missing: u64,
    /// How many there are in all.
    pub count: u64,
}

impl fmt::Display for MissingParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { run, parts, missing, count } = self;
        let named: Vec<String> = parts.iter().map(u64::to_string).collect();
        let more =
            if usize::try_from(*missing).is_ok_and(|missing| missing == parts.len()) { "" } else { ", ..." };
        let (noun, verb) = if *missing == 1 { ("part", "is") } else { ("parts", "are") };
        write!(f, "{run}: {noun} {}{more} of {count} {verb} missing", named.join(", "))
    }
}

/// How many missing parts are named.
const NAMED_PARTS: usize = 20;

/// The runs of which parts are missing.
#[must_use]
pub fn missing(collection: &Collection) -> Vec<MissingParts> {
    let of = |result: &RunResult| {
        let mut missing = missing_parts(result.partition.as_ref()?)?;
        let nics: Vec<&str> = nics(result).into_iter().collect();
        let kernel = &result.environment.kernel_release;
        missing.run = if nics.is_empty() { kernel.clone() } else { format!("{kernel}/{}", nics.join("+")) };
        Some(missing)
    };
    collection.results.iter().filter_map(of).collect()
}

fn missing_parts(PartitionRecord { parts: held, count }: &PartitionRecord) -> Option<MissingParts> {
    let missing = count.saturating_sub(u64::try_from(held.len()).unwrap_or(u64::MAX));
    let parts = (1..=*count).filter(|part| held.binary_search(part).is_err()).take(NAMED_PARTS);
    (missing > 0).then(|| MissingParts { run: String::new(), parts: parts.collect(), missing, count: *count })
}

/// Reads what schema a document names. Where the text is no JSON, the error says where in a result it breaks off.
fn label(file: &Path, text: &[u8]) -> Result<Labelled, StoreError> {
    let error = match serde_json::from_slice(text) {
        Ok(labelled) => return Ok(labelled),
        Err(error) => error,
    };
    let names = |schema: &str| text.windows(schema.len()).take(NEAR).any(|part| part == schema.as_bytes());
    if error.is_data() {
        parse(file, text)
    } else if names(COLLECTION_SCHEMA) {
        parse::<Collection>(file, text).and_then(|_| parse(file, text))
    } else {
        parse::<RunResult>(file, text).and_then(|_| parse(file, text))
    }
}

/// How many bytes into a file its schema is looked for where the file is broken.
const NEAR: usize = 64;

/// Parses a document, and says where it is not as it has to be.
fn parse<T: DeserializeOwned>(file: &Path, text: &[u8]) -> Result<T, StoreError> {
    // To keep track of the place takes time, so it is done where it is needed.
    if let Ok(document) = serde_json::from_slice(text) {
        return Ok(document);
    }
    let mut reader = serde_json::Deserializer::from_slice(text);
    let parsed = serde_path_to_error::deserialize(&mut reader);
    let (path, error) = match parsed {
        Err(error) => (error.path().to_string(), error.into_inner()),
        Ok(document) => match reader.end() {
            Ok(()) => return Ok(document),
            Err(error) => (String::new(), error),
        },
    };
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let reason = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text).to_owned();
    Err(StoreError::Malformed { file: file.to_owned(), line, column, path, reason })
}

/// A schema that is not read here: a later version of ours, or none of ours.
fn foreign(file: PathBuf, schema: Option<&str>) -> StoreError {
    for reads in [SCHEMA, COLLECTION_SCHEMA] {
        let newer = schema.filter(|schema| is_newer(schema, reads));
        if let Some(schema) = newer {
            return StoreError::Newer { file, schema: schema.to_owned(), reads };
        }
    }
    StoreError::Foreign { file, schema: schema.map(str::to_owned) }
}

/// Whether both are versions of one schema, and the first is the later.
fn is_newer(schema: &str, reads: &str) -> bool {
    let split = |schema: &str| {
        let (name, version) = schema.rsplit_once('/')?;
        Some((name.to_owned(), version.parse::<u32>().ok()?))
    };
    matches!((split(schema), split(reads)), (Some(its), Some(ours)) if its.0 == ours.0 && its.1 > ours.1)
}

/// Whether a result agrees with itself. `at` is where it is within its file.
fn check(file: &Path, at: &str, result: &RunResult) -> Result<(), StoreError> {
    let contradiction =
        |path: String, what: String| StoreError::Contradiction { file: file.to_owned(), path, what };
    if let Some(PartitionRecord { parts, count }) = &result.partition {
        let ascend = parts.windows(2).all(|pair| pair[0] < pair[1]);
        if parts.is_empty() || !ascend || parts.iter().any(|part| !(1..=*count).contains(part)) {
            return Err(contradiction(
                format!("{at}partition"),
                format!("{parts:?} are not parts of {count}"),
            ));
        }
    }
    let mut keys = HashSet::new();
    for (index, trial) in result.trials.iter().enumerate() {
        let wrong = |what: String| Err(contradiction(format!("{at}trials[{index}]"), what));
        let id = format!("{}::{}", trial.scenario, trial.path());
        if trial.id != id {
            return wrong(format!("the id is {}, and scenario, mode and injector make {id}", trial.id));
        }
        if !keys.insert(trial.key()) {
            return wrong(format!("{id} is there twice"));
        }
        if trial.verdict == VerdictKind::Pass {
            if trial.failure.is_some() {
                return wrong(format!("{id} passes, and has a failure"));
            }
            let counted = trial.observed.as_ref().and_then(|observed| observed.counts.as_ref());
            let departs = trial.expected.counts.as_ref().zip(counted).is_some_and(|(expected, counted)| {
                side_by_side(expected, counted).any(|(_, expected, observed)| expected != observed)
            });
            if departs {
                return wrong(format!("{id} passes, and counted something else than was expected"));
            }
        }
    }
    let mut keys = HashSet::new();
    for (index, rule) in result.rules.iter().enumerate() {
        if !keys.insert(rule.key()) {
            return Err(contradiction(format!("{at}rules[{index}]"), format!("{} is there twice", rule.id)));
        }
    }
    let counted = Summary::of(&result.trials, result.summary.not_run);
    if counted != result.summary {
        return Err(miscounted(file, &format!("{at}summary"), &result.summary, &counted));
    }
    Ok(())
}

fn miscounted(file: &Path, path: &str, told: &Summary, counted: &Summary) -> StoreError {
    let pairs = told.numbers().into_iter().zip(counted.numbers());
    let differing = pairs.filter(|((_, told), (_, counted))| told != counted);
    let differing =
        differing.map(|((name, told), (_, counted))| format!("{told} {name}, where trials make {counted}"));
    let what = differing.collect::<Vec<_>>().join("; ");
    StoreError::Contradiction { file: file.to_owned(), path: path.to_owned(), what }
}
