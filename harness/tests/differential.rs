//! The same bytes, parsed by every parser: the classifier on the host, the oracle, and the programs in the kernel by
//! `BPF_PROG_TEST_RUN`: the linear one, the multi-buffer one, and the multi-buffer one with the frame split anywhere.
//!
//! Frames are random, mutated from the corpus, and truncated. A case on which two readers differ is shrunk, kept in
//! `regressions/` and tried first from then on. `XDPROOF_SEED` gives other frames than every day's, `XDPROOF_CASES` more
//! of them. What needs privilege is ignored without it, as in `conformance.rs`.
//!
//! A slot can only be read from the map, and a map costs 256 system calls: frames of one expected slot are run together and
//! the map is read once for them. They can only be counted in that slot, so that no two mistakes cancel out; if the sum is
//! wrong, halving finds the frame.

#[path = "support/corpus.rs"]
mod corpus;
#[path = "support/privilege.rs"]
mod privilege;

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use libtest_mimic::{Arguments, Failed, Trial as Test};
use xdproof::{
    model::observation::{Counts, sum},
    program::{CounterMap, Object, Program, TestRunOutput},
};
use xdproof_ebpf::{
    abi,
    classify::{Class, Sample, classify},
};
use xdproof_scenarios::{
    Hex, SHORTEST_FRAME, describe,
    oracle::{self, CounterOutcome},
};

type Result<T = (), E = Failed> = std::result::Result<T, E>;

/// The seed of every day: the same frames in every run.
const SEED: u64 = 0x7864_7031;

/// Cases in a run.
const CASES: usize = 100_000;

/// Cases that are sorted by slot and run before the next are made.
const BATCH: usize = 25_000;

/// Cases within which a mutant must be found.
const CASES_FOR_A_MUTANT: usize = 20_000;

/// The most attempts to make a failing case smaller.
const SHRINKING_STEPS: usize = 3_000;

/// A linear program is given no longer frame: more than that does not fit in a page with what XDP keeps around a frame.
const LONGEST_LINEAR: usize = 3_000;

/// Directory of the failing cases.
const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/regressions");

/// Counters with a fault in how they read a frame, and the most bytes that it takes to show it.
const MUTANTS: [(&str, usize); 12] = [
    ("no_tag", 18),
    ("one_tag", 22),
    ("three_tags", 46),
    ("no_8021ad", 18),
    ("tag_9100", 38),
    ("tag_5", 22),
    ("ipv4_19", 33),
    ("ipv4_21", 34),
    ("ipv6_41", 58),
    ("ipv6_byte_7", 54),
    ("passes_cut", 17),
    ("damages_59th", 60),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let obstacle = privilege::obstacle();
    let ignored = obstacle.is_some();
    let mut tests = vec![
        Test::test("classifier_and_oracle_read_random_frames_the_same", || random(&mut [])),
        Test::test("kept_cases_are_read_the_same_by_all", kept).with_ignored_flag(ignored),
        Test::test("random_frames_are_read_the_same_by_all", || random(&mut everyone()?))
            .with_ignored_flag(ignored),
    ];
    tests.extend(MUTANTS.map(|(name, longest)| {
        let test = move || finds(name, longest);
        Test::test(format!("a_fault_is_found_and_shrunk/{name}"), test).with_ignored_flag(ignored)
    }));
    let conclusion = libtest_mimic::run(&arguments, tests);
    privilege::conclude(&arguments, obstacle.as_deref(), &conclusion)
}

/// A frame, and how much of it lies in the linear part where it is split.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Case {
    bytes: Vec<u8>,
    linear: usize,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# {}", describe(&self.bytes))?;
        writeln!(f, "# the oracle: {:?}", oracle::outcome(&self.bytes))?;
        writeln!(f, "linear {}", self.linear)?;
        writeln!(f, "bytes {}", hex::encode(&self.bytes))
    }
}

impl Case {
    fn parse(text: &str) -> Result<Self> {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let Hex(bytes) = field("bytes").ok_or("no bytes")?.parse()?;
        Ok(Self { bytes, linear: field("linear ").ok_or("no linear")?.parse()? })
    }
}

/// A case that someone reads otherwise than the oracle does.
#[derive(Debug)]
struct Found {
    case: Case,
    what: String,
}

/// Two readings without the kernel: what they agree on.
fn on_host(case: &Case) -> Result<CounterOutcome, Found> {
    let expected = oracle::outcome(&case.bytes);
    let read = match classify::<Sample>(case.bytes.as_slice()) {
        Class::Count(slot) => CounterOutcome::Counted(slot),
        Class::Truncated => CounterOutcome::Dropped,
    };
    if read == expected {
        return Ok(expected);
    }
    Err(Found { case: case.clone(), what: format!("the classifier: {read:?}, the oracle: {expected:?}") })
}

/// A program in the kernel, and how frames are given to it.
struct Reader {
    name: String,
    program: Program,
    counters: CounterMap,
    splits: bool,
    /// The longest frame that it takes, in bytes.
    longest: usize,
    counted: Counts,
    out: Vec<u8>,
}

impl Reader {
    fn new(object: &Object, splits: bool, longest: usize) -> Result<Self> {
        let (program, counters) = Program::load_counter(object)?;
        let name = format!("{}{}", program.identity().name, if splits { ", split" } else { "" });
        let mut reader =
            Self { name, program, counters, splits, longest, counted: Counts::new(), out: vec![0; 1 << 16] };
        reader.counted = reader.read()?;
        Ok(reader)
    }

    /// Reads the map, summed over all CPUs.
    fn read(&self) -> Result<Counts> {
        Ok(sum(&self.counters.counts()?))
    }

    fn answer(&mut self, case: &Case) -> io::Result<TestRunOutput> {
        if self.splits {
            let linear = u32::try_from(case.linear.min(case.bytes.len())).map_err(io::Error::other)?;
            self.program.test_run_split(&case.bytes, linear, &mut self.out)
        } else {
            self.program.test_run(&case.bytes, &mut self.out)
        }
    }

    /// Returns what is wrong with the program's return for a frame, if anything.
    fn misread(&mut self, case: &Case, outcome: CounterOutcome) -> Option<String> {
        let short = case.bytes.len() < SHORTEST_FRAME;
        match self.answer(case) {
            Err(error) if short && error.kind() == io::ErrorKind::InvalidInput => None,
            Err(error) => Some(format!("refused: {error}")),
            Ok(_) if short => Some("taken, although it is too short".to_owned()),
            Ok(TestRunOutput { action, length }) => {
                let intact = self.out.get(..length) == Some(case.bytes.as_slice());
                let passes = matches!(outcome, CounterOutcome::Counted(_));
                let right = intact && (action == TestRunOutput::PASS) == passes;
                (!right).then(|| format!("answered {action}, intact: {intact}"))
            }
        }
    }

    /// Runs the program on cases of one expected outcome; the first that it reads otherwise.
    fn disagreement(&mut self, cases: &[&Case], outcome: CounterOutcome) -> Result<Option<Found>> {
        let cases: Vec<&Case> =
            cases.iter().filter(|case| case.bytes.len() <= self.longest).copied().collect();
        let found = |case: &Case, what: String| Found { case: case.clone(), what };
        for case in &cases {
            if let Some(what) = self.misread(case, outcome) {
                self.counted = self.read()?;
                return Ok(Some(found(case, format!("{}: {what}, the oracle: {outcome:?}", self.name))));
            }
        }
        let mut expected = self.counted.clone();
        if let (CounterOutcome::Counted(slot), 1..) = (outcome, cases.len()) {
            *expected.entry(slot).or_default() += cases.len() as u64;
        }
        let now = self.read()?;
        let before = std::mem::replace(&mut self.counted, now);
        match cases.as_slice() {
            _ if self.counted == expected => Ok(None),
            [] => Err(format!("{}: counts without a frame", self.name).into()),
            [only] => {
                let added: Vec<String> = (self.counted.iter())
                    .filter(|(slot, count)| before.get(slot) != Some(count))
                    .map(|(slot, _)| slot.to_string())
                    .collect();
                let slots = if added.is_empty() { "no slot".to_owned() } else { added.join(" and ") };
                Ok(Some(found(only, format!("{}: counted in {slots}, the oracle: {outcome:?}", self.name))))
            }
            several => {
                let (left, right) = several.split_at(several.len() / 2);
                let halves = [self.disagreement(left, outcome)?, self.disagreement(right, outcome)?];
                let together = || format!("{}: only {} cases together go wrong", self.name, several.len());
                Ok(halves.into_iter().flatten().next().or_else(|| Some(found(several[0], together()))))
            }
        }
    }
}

/// Every way into the kernel that this machine has.
fn everyone() -> Result<Vec<Reader>> {
    let object = |name: &str| Object { program: Some(name.to_owned()), ..Object::default() };
    let frags = object(abi::FRAGS_PROGRAM);
    let mut readers = vec![
        Reader::new(&object(abi::COUNT_PROGRAM), false, LONGEST_LINEAR)?,
        Reader::new(&frags, false, usize::MAX)?,
    ];
    if Program::load(&frags)?.test_run_split(&[0; 60], 30, &mut [0; 60]).is_ok() {
        readers.push(Reader::new(&frags, true, usize::MAX)?);
    } else {
        eprintln!("no frame is split: this kernel does not split frames for a test run (6.18 does)");
    }
    Ok(readers)
}

/// The first of the cases that anyone reads otherwise than the oracle.
fn first_disagreement(cases: &[Case], readers: &mut [Reader]) -> Result<Option<Found>> {
    let mut by_outcome: BTreeMap<Option<u8>, (CounterOutcome, Vec<&Case>)> = BTreeMap::new();
    for case in cases {
        let outcome = match on_host(case) {
            Ok(outcome) => outcome,
            Err(found) => return Ok(Some(found)),
        };
        let slot = if let CounterOutcome::Counted(slot) = outcome { Some(slot) } else { None };
        by_outcome.entry(slot).or_insert_with(|| (outcome, Vec::new())).1.push(case);
    }
    for (outcome, cases) in by_outcome.values() {
        for reader in &mut *readers {
            if let Some(found) = reader.disagreement(cases, *outcome)? {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

/// Makes a failing case smaller as long as it fails: fewer bytes first, then zeros, then an earlier split.
fn shrink(found: Found, readers: &mut [Reader]) -> Result<Found> {
    let mut smallest = found;
    let mut steps = 0;
    'again: loop {
        for case in simpler(&smallest.case) {
            steps += 1;
            if steps > SHRINKING_STEPS {
                return Ok(smallest);
            }
            if let Some(found) = first_disagreement(&[case], readers)? {
                smallest = found;
                continue 'again;
            }
        }
        return Ok(smallest);
    }
}

/// Length of a VLAN tag in bytes (IEEE 802.1Q, clause 9).
const TAG: usize = 4;

/// Cases that are simpler than one, the boldest first.
fn simpler(case: &Case) -> impl Iterator<Item = Case> + use<> {
    let Case { bytes, linear } = case.clone();
    let length = bytes.len();
    let halves = std::iter::successors(Some(length / 2), |size| Some(size / 2)).take_while(|size| *size > 0);
    // A tag goes only as a whole.
    let sizes = halves.chain((length > TAG).then_some(TAG));
    let (whole, zeroed) = (bytes.clone(), bytes.clone());
    let cut = sizes.flat_map(move |size| {
        let bytes = bytes.clone();
        (0..length.div_ceil(size)).rev().map(move |index| {
            let mut bytes = bytes.clone();
            bytes.drain(index * size..((index + 1) * size).min(length));
            Case { bytes, linear }
        })
    });
    let zeroed = (0..length).filter(move |at| zeroed[*at] != 0).map({
        let whole = whole.clone();
        move |at| {
            let mut bytes = whole.clone();
            bytes[at] = 0;
            Case { bytes, linear }
        }
    });
    let split = [0, linear / 2, linear.saturating_sub(1)].into_iter().filter(move |less| *less < linear);
    cut.chain(zeroed).chain(split.map(move |linear| Case { bytes: whole.clone(), linear }))
}

fn random(readers: &mut [Reader]) -> Result {
    let seed = number("XDPROOF_SEED")?.unwrap_or(SEED);
    let cases = number("XDPROOF_CASES")?.map_or(Ok(CASES), usize::try_from)?;
    let mut source = Source::new(seed)?;
    let started = Instant::now();
    let mut done = 0;
    while done < cases {
        let batch: Vec<Case> = (0..BATCH.min(cases - done)).map(|_| source.case()).collect();
        if let Some(found) = first_disagreement(&batch, readers)? {
            let Found { case, what } = shrink(found, readers)?;
            // Whoever may not write there still wants to see the case.
            let kept = match keep(&case) {
                Ok(file) => format!("kept as {}", file.display()),
                Err(error) => format!("not kept: {error}"),
            };
            return Err(format!("seed {seed}: {what}\n{case}{kept}").into());
        }
        done += batch.len();
    }
    let names: Vec<&str> = readers.iter().map(|reader| reader.name.as_str()).collect();
    let seconds = started.elapsed().as_secs_f64();
    let rate = done as f64 / seconds;
    println!(
        "differential: {done} cases by the classifier, the oracle{}{} in {seconds:.1} s: {rate:.0} cases/s (seed {seed})",
        if names.is_empty() { "" } else { ", " },
        names.join(", "),
    );
    Ok(())
}

/// A number from the environment.
fn number(name: &str) -> Result<Option<u64>> {
    let Ok(text) = std::env::var(name) else { return Ok(None) };
    Ok(Some(text.parse().map_err(|error| format!("{name}={text}: {error}"))?))
}

/// Writes a failing case where the next run tries it first. Its name follows from its bytes.
fn keep(case: &Case) -> io::Result<PathBuf> {
    // FNV-1a, 64 bits: https://datatracker.ietf.org/doc/html/draft-eastlake-fnv
    let hash = case.to_string().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let file = Path::new(REGRESSIONS).join(format!("{hash:016x}.txt"));
    fs::create_dir_all(REGRESSIONS)?;
    fs::write(&file, case.to_string())?;
    Ok(file)
}

fn kept() -> Result {
    let mut readers = everyone()?;
    let mut cases = 0;
    for entry in fs::read_dir(REGRESSIONS)? {
        let file = entry?.path();
        let broken = |what: String| Failed::from(format!("{}: {what}", file.display()));
        let case = Case::parse(&fs::read_to_string(&file)?)
            .map_err(|error| broken(error.message().unwrap_or_default().to_owned()))?;
        if let Some(found) = first_disagreement(&[case], &mut readers)? {
            return Err(broken(found.what));
        }
        cases += 1;
    }
    if cases > 0 { Ok(()) } else { Err(format!("{REGRESSIONS} holds no case").into()) }
}

/// Runs a counter with a fault in the linear one's place: it must be found, and shown by a case that is as small as it can be.
fn finds(mutant: &str, longest: usize) -> Result {
    let object = Object {
        path: Some(concat!(env!("OUT_DIR"), "/xdproof-mutants").into()),
        program: Some(mutant.to_owned()),
        ..Object::default()
    };
    let mut readers = [Reader::new(&object, false, LONGEST_LINEAR)?];
    let mut source = Source::new(SEED)?;
    let cases: Vec<Case> = (0..CASES_FOR_A_MUTANT).map(|_| source.case()).collect();
    let found = first_disagreement(&cases, &mut readers)?.ok_or("it was not found")?;
    let Found { case, what } = shrink(found, &mut readers)?;
    if case.bytes.len() > longest {
        return Err(format!("shrunk to {} bytes only: {what}\n{case}", case.bytes.len()).into());
    }
    match first_disagreement(std::slice::from_ref(&case), &mut everyone()?)? {
        None => Ok(()),
        Some(found) => Err(format!("the right programs misread it, too: {}", found.what).into()),
    }
}

/// The source of frames.
struct Source {
    random: Random,
    corpus: Vec<&'static [u8]>,
}

impl Source {
    fn new(seed: u64) -> Result<Self> {
        let frames = corpus::builtin()?.iter().flat_map(|scenario| &scenario.frames);
        let corpus: Vec<_> = frames.map(|frame| frame.bytes.as_slice()).collect();
        Ok(Self { random: Random(seed), corpus })
    }

    fn case(&mut self) -> Case {
        let mut bytes = match self.random.below(8) {
            0 => {
                let length = self.random.below(200);
                self.random.bytes(length)
            }
            1..=3 => self.mutated(),
            _ => self.headers(),
        };
        if self.random.one_in(2) {
            // Most of what matters is decided in the first 80 bytes.
            let limit = if self.random.one_in(4) { bytes.len() } else { bytes.len().min(80) };
            bytes.truncate(self.random.below(limit + 1));
        } else if self.random.one_in(300) {
            let length = self.random.below(9_000);
            bytes.extend(self.random.bytes(length));
        }
        let linear = self.random.below(bytes.len().min(100) + 1);
        Case { bytes, linear }
    }

    /// A frame of the corpus with some bytes changed, put in or taken out.
    fn mutated(&mut self) -> Vec<u8> {
        let mut bytes = self.corpus[self.random.below(self.corpus.len())].to_vec();
        for _ in 0..self.random.below(4) {
            let at = self.random.below(bytes.len().clamp(1, 64));
            match self.random.below(5) {
                0 => bytes.splice(at..at, TYPES[self.random.below(TYPES.len())].to_be_bytes()).for_each(drop),
                1 => drop(bytes.drain(at..(at + 4).min(bytes.len()))),
                2 if bytes.len() >= 12 => {
                    let tag = self.tag();
                    bytes.splice(12..12, tag).for_each(drop);
                }
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = self.random.byte();
                    }
                }
            }
        }
        bytes
    }

    /// Random tags and types, followed by a header that is random but for its length.
    fn headers(&mut self) -> Vec<u8> {
        let mut bytes = self.random.bytes(12);
        for _ in 0..self.random.below(4) {
            bytes.extend(self.tag());
        }
        let ether_type = if self.random.one_in(8) {
            [self.random.byte(), self.random.byte()]
        } else {
            TYPES[self.random.below(TYPES.len())].to_be_bytes()
        };
        bytes.extend(ether_type);
        let length = self.random.below(70);
        bytes.extend(self.random.bytes(length));
        bytes
    }

    fn tag(&mut self) -> [u8; 4] {
        let [high, low] = TYPES[self.random.below(TAGS)].to_be_bytes();
        [high, low, self.random.byte(), self.random.byte()]
    }
}

/// EtherTypes that matter, tags first.
const TYPES: [u16; 8] = [0x8100, 0x88a8, 0x9100, 0x9200, 0x0800, 0x86dd, 0x0806, 0x0800];
const TAGS: usize = 4;

/// `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 on, below `limit`, which is not 0.
    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap_or(0)
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}
