//! All trials as compact JSON, which the page's script draws when they are looked at. What recurs stands once, in a table of
//! its own, and trials refer to it by number.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

use serde::Serialize;
use xdproof_ebpf::abi::protocol_name;
use xdproof_scenarios::describe;

use crate::html::{
    columns::{Column, Columns, Several},
    text::visible,
};
use xdproof_core::model::{
    expectation::ExpectedTotals,
    mismatch::{FrameDelta, Mismatch},
    observation::Counts,
    result::{Collection, Failure, Observed, TrialRecord},
    sink::Sink,
    verdict::VerdictKind,
};

use crate::frame_diff::{self, FrameDiff};

/// Frames that are shown of a failure.
const SHOWN_FRAMES: usize = 64;

/// Bytes that are shown of a frame.
const SHOWN_BYTES: usize = 2048;

/// Kernel messages that are shown of a result with each of its trials.
const SHOWN_MESSAGES: usize = 50;

/// Summary and tags of scenarios, by id.
pub(super) type ScenarioNotes = BTreeMap<String, (String, Vec<String>)>;

#[derive(Serialize)]
pub(super) struct Data<'a> {
    several: Several,
    columns: &'a [Column],
    /// The last lines that the kernel printed in each result, and how many there were.
    messages: Vec<(Vec<String>, usize)>,
    /// Id, sentence, tags.
    scenarios: Vec<(String, String, Vec<String>)>,
    reasons: Vec<String>,
    protocols: BTreeMap<u8, &'static str>,
    numbers: Vec<Numbers>,
    frames: Vec<ShownFrame>,
    failures: Vec<ShownFailure>,
    trials: Vec<TrialRow>,
}

/// Scenario, column, verdict (as in [`VERDICTS`]), reason, expected numbers, observed numbers, frames sent, microseconds,
/// failure: each but the third and the last three by its number in a table, -1 where there is none.
type TrialRow = (usize, usize, usize, i64, usize, i64, u64, u64, i64);

/// Verdicts, those first that are looked at first.
pub(super) const VERDICTS: [VerdictKind; 6] = [
    VerdictKind::Fail,
    VerdictKind::Error,
    VerdictKind::Xfail,
    VerdictKind::Pass,
    VerdictKind::Skip,
    VerdictKind::Unreachable,
];

/// Counts by protocol, frames by sink (as a subject), frames that are not observable, counts by CPU.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
struct Numbers(Counts, Vec<(String, u64)>, u64, Vec<Counts>);

/// Layers, bytes in hexadecimal, bytes in all.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
struct ShownFrame(String, String, usize);

/// Frame sent and how many times, frame that came and how many times, the bytes of each that differ.
type Pair = (usize, u64, usize, u64, Vec<usize>, Vec<usize>);

#[derive(Serialize)]
struct ShownFailure {
    /// Each mismatch on a line.
    mismatches: Vec<String>,
    /// A frame that was sent and the one that probably came of it: frame and times of both, and the bytes of both that differ.
    pairs: Vec<Pair>,
    /// The other frames of mismatches: the name of the delta, frame and times.
    deltas: Vec<(&'static str, usize, u64)>,
    /// Frames sent, and how many times.
    frames: Vec<(usize, u32)>,
    /// Frames that are not shown.
    more: u64,
    repeat: String,
    pcap: String,
}

/// Values, each once, by number.
struct Interner<T> {
    values: Vec<T>,
    numbers: HashMap<T, usize>,
}

impl<T: Clone + Eq + Hash> Interner<T> {
    fn new() -> Self {
        Self { values: Vec::new(), numbers: HashMap::new() }
    }

    fn number(&mut self, value: T) -> usize {
        if let Some(&number) = self.numbers.get(&value) {
            return number;
        }
        self.values.push(value.clone());
        self.numbers.insert(value, self.values.len() - 1);
        self.values.len() - 1
    }
}

/// Tables that are filled while the trials are read.
struct Interners {
    scenarios: Interner<String>,
    reasons: Interner<String>,
    numbers: Interner<Numbers>,
    frames: Interner<ShownFrame>,
    failures: Vec<ShownFailure>,
}

impl<'a> Data<'a> {
    pub(super) fn of(collection: &Collection, columns: &'a Columns, known: &ScenarioNotes) -> Self {
        let mut tables = Interners {
            scenarios: Interner::new(),
            reasons: Interner::new(),
            numbers: Interner::new(),
            frames: Interner::new(),
            failures: Vec::new(),
        };
        let mut trials = Vec::new();
        for (run, result) in collection.results.iter().enumerate() {
            for trial in &result.trials {
                trials.push(tables.row(columns.at(run, trial), trial));
            }
        }
        let Interners { scenarios, reasons, numbers, frames, failures } = tables;
        let protocols = numbers.values.iter().flat_map(|Numbers(counts, ..)| counts.keys().copied());
        let protocols = protocols.filter_map(|number| Some((number, protocol_name(number)?))).collect();
        let messages = collection.results.iter().map(|result| {
            let all = &result.kernel_messages;
            let last = all.iter().skip(all.len().saturating_sub(SHOWN_MESSAGES));
            (last.map(|message| visible(&message.text).into_owned()).collect(), all.len())
        });
        let described = scenarios.values.into_iter().map(|id| {
            let (summary, tags) = known.get(&id).cloned().unwrap_or_default();
            (visible(&id).into_owned(), summary, tags)
        });
        Self {
            several: columns.several,
            columns: &columns.all,
            messages: messages.collect(),
            scenarios: described.collect(),
            reasons: reasons.values,
            protocols,
            numbers: numbers.values,
            frames: frames.values,
            failures,
            trials,
        }
    }
}

impl Interners {
    fn row(&mut self, column: usize, trial: &TrialRecord) -> TrialRow {
        let TrialRecord { scenario, verdict, reason, expected, observed, sent, duration_us, failure, .. } =
            trial;
        let ExpectedTotals { source: _, counts, frames } = expected;
        let rank = VERDICTS.iter().position(|kind| kind == verdict).unwrap_or(0);
        (
            self.scenarios.number(scenario.clone()),
            column,
            rank,
            number_or_none(reason.as_ref().map(|reason| self.reasons.number(visible(reason).into_owned()))),
            self.numbers.number(Numbers(counts.clone().unwrap_or_default(), by_sink(frames), 0, Vec::new())),
            number_or_none(observed.as_ref().map(|observed| self.observed(observed, *verdict))),
            *sent,
            *duration_us,
            number_or_none(failure.as_ref().map(|failure| self.failure(failure))),
        )
    }

    fn observed(&mut self, observed: &Observed, verdict: VerdictKind) -> usize {
        let Observed { counts, frames, unobservable, per_cpu } = observed;
        // On which CPU something was counted differs from trial to trial, and matters where it went wrong.
        let per_cpu = if verdict == VerdictKind::Pass { Vec::new() } else { per_cpu.clone() };
        self.numbers.number(Numbers(
            counts.clone().unwrap_or_default(),
            by_sink(frames),
            *unobservable,
            per_cpu,
        ))
    }

    fn failure(&mut self, failure: &Failure) -> usize {
        let Failure { mismatches, frames, omitted, reproducer, pcap } = failure;
        let omitted = mismatches.iter().map(Mismatch::distinct_omitted).fold(*omitted, u64::saturating_add);
        let mut more = frames.len().saturating_sub(SHOWN_FRAMES) as u64;
        more = more.saturating_add(omitted);
        let (mut pairs, mut deltas) = (Vec::new(), Vec::new());
        for mismatch in mismatches {
            let diff = FrameDiff::of(&mismatch.frames);
            for (sent, came) in diff.pairs {
                let marks = frame_diff::marks(&sent.bytes, &came.bytes);
                let [sent_number, came_number] =
                    [sent, came].map(|its| self.frames.number(ShownFrame::of(its)));
                let marks = (shown(marks.sent), shown(marks.came));
                pairs.push((sent_number, sent.times, came_number, came.times, marks.0, marks.1));
            }
            more = more.saturating_add(diff.rest.len().saturating_sub(SHOWN_FRAMES) as u64);
            deltas.extend(
                diff.rest.into_iter().take(SHOWN_FRAMES).map(|frame| {
                    (frame.delta.name(), self.frames.number(ShownFrame::of(frame)), frame.times)
                }),
            );
        }
        let mismatches = mismatches.iter().map(|its| visible(&its.to_string()).into_owned()).collect();
        let frames = frames.iter().take(SHOWN_FRAMES).map(|frame| {
            let digits = frame.hex.get(..2 * SHOWN_BYTES).unwrap_or(&frame.hex);
            let shown = ShownFrame(
                visible(&frame.layers).into_owned(),
                visible(digits).into_owned(),
                frame.hex.len() / 2,
            );
            (self.frames.number(shown), frame.times)
        });
        let frames = frames.collect();
        let pcap = pcap.as_ref().map(|path| visible(&path.display().to_string()).into_owned());
        self.failures.push(ShownFailure {
            mismatches,
            pairs,
            deltas,
            frames,
            more,
            repeat: visible(reproducer).into_owned(),
            pcap: pcap.unwrap_or_default(),
        });
        self.failures.len() - 1
    }
}

fn by_sink(frames: &BTreeMap<Sink, u64>) -> Vec<(String, u64)> {
    frames.iter().map(|(sink, frames)| (sink.frames(), *frames)).collect()
}

/// Marks of bytes that are shown.
fn shown(marks: Vec<usize>) -> Vec<usize> {
    marks.into_iter().filter(|at| *at < SHOWN_BYTES).collect()
}

impl ShownFrame {
    fn of(frame: &FrameDelta) -> Self {
        let bytes = frame.bytes.get(..SHOWN_BYTES).unwrap_or(&frame.bytes);
        Self(describe(&frame.bytes), hex::encode(bytes), frame.bytes.len())
    }
}

fn number_or_none(number: Option<usize>) -> i64 {
    number.and_then(|number| i64::try_from(number).ok()).unwrap_or(-1)
}
