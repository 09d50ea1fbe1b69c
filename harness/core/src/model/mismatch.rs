//! A departure of an observation from its expectation, as data: a report renders it without knowing the check that found it.

use std::{borrow::Cow, cmp::Ordering, collections::BTreeMap, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use xdproof_ebpf::abi::protocol_name;

use crate::model::sink::Sink;

/// One departure of an observation from its expectation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mismatch {
    /// The check that found it.
    pub check: CheckId,
    /// The kind of fault that it shows.
    pub class: FaultClass,
    /// The thing that was compared, such as `protocol 17 (udp)`, `frames at the stack` or `CPU 1`.
    pub subject: String,
    /// The expected reading of it.
    pub expected: Reading,
    /// The observed reading of it. It can be the expected one where the frames differ.
    pub observed: Reading,
    /// The first frames that are missing, unexpected or out of place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<FrameDelta>,
    /// The number of the other ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<OmittedFrames>,
}

/// The name of a check. It is a string, so that a new check changes no type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct CheckId(Cow<'static, str>);

impl CheckId {
    /// The id of this name.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }
}

impl fmt::Display for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The kind of fault that a mismatch shows, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultClass {
    /// Frames were sent and the program did not run for them.
    LostBeforeProgram,
    /// The program ran more often than frames were sent.
    Duplicated,
    /// Fewer frames than expected arrived at a sink.
    DroppedAfterPass,
    /// Frames arrived with other bytes than they were sent with.
    ModifiedInTransit,
    /// More frames than expected arrived at the stack, or at another sink at which some may arrive.
    NotDropped,
    /// The map counted other numbers.
    Miscounted,
    /// A map or a variable of the program holds another value than is declared.
    WrongState,
    /// Frames arrived in another order than they were sent in.
    Reordered,
    /// Frames arrived at a sink at which none may arrive.
    Misdirected,
    /// The program returned a verdict that it may not return.
    WrongVerdict,
    /// Frames were not spread over CPUs or receive queues.
    NotSpread,
    /// The path did not come to rest.
    StillInFlight,
    /// The kernel or the driver accepted or rejected something contrary to what is known of it.
    UnexpectedAttach,
    /// A deviation is declared, and the trial does not deviate.
    StaleDeviation,
    /// The trial left its testbed changed.
    TestbedChanged,
    /// A step of an attach-semantics test had another result.
    AttachSemantics,
}

impl FaultClass {
    /// Returns true if a declared deviation can account for it: other numbers, other bytes or another order. A lost frame, or a path that does
    /// not come to rest, is never how a driver counts.
    #[must_use]
    pub fn is_excusable(self) -> bool {
        matches!(
            self,
            Self::DroppedAfterPass
                | Self::ModifiedInTransit
                | Self::NotDropped
                | Self::Miscounted
                | Self::WrongState
                | Self::WrongVerdict
                | Self::Reordered
        )
    }

    /// The class of other numbers or other bytes of frames at a sink.
    #[must_use]
    pub fn at_sink(sink: Sink, expected: u64, observed: u64) -> Self {
        match (sink, expected.cmp(&observed)) {
            (Sink::Nowhere, Ordering::Less) => Self::DroppedAfterPass,
            (Sink::Nowhere, _) => Self::NotDropped,
            (_, Ordering::Greater) => Self::DroppedAfterPass,
            (_, Ordering::Equal) => Self::ModifiedInTransit,
            (Sink::Tester | Sink::Device(_), Ordering::Less) if expected == 0 => Self::Misdirected,
            (_, Ordering::Less) => Self::NotDropped,
        }
    }

    /// The fault as a clause, where a difference between attach modes makes it a finding about the driver.
    #[must_use]
    pub fn between_modes(self) -> Option<&'static str> {
        match self {
            Self::LostBeforeProgram => Some("frames are lost before they reach the program"),
            Self::Duplicated => Some("the program runs for frames that were not sent"),
            Self::DroppedAfterPass => Some("frames that the program passes are dropped"),
            Self::ModifiedInTransit => Some("frames are modified in transit"),
            Self::NotDropped => Some("frames pass that should have been dropped"),
            Self::Miscounted => Some("frames are counted differently"),
            Self::WrongState => Some("the program's maps end in another state"),
            Self::Reordered => Some("frames are reordered"),
            _ => None,
        }
    }
}

/// The packets of a protocol as the subject of a mismatch: `protocol 17 (udp)`.
#[must_use]
pub fn protocol_subject(protocol: u8) -> String {
    match protocol_name(protocol) {
        Some(name) => format!("protocol {protocol} ({name})"),
        None => format!("protocol {protocol}"),
    }
}

/// A number or a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A number of things that the subject names.
    Number(u64),
    /// Anything else.
    Text(String),
}

impl From<u64> for Reading {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<String> for Reading {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Reading {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Serialize for Reading {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Reading {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Reading;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a string")
            }

            fn visit_u64<E>(self, number: u64) -> Result<Reading, E> {
                Ok(number.into())
            }

            fn visit_str<E>(self, text: &str) -> Result<Reading, E> {
                Ok(text.into())
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Reading {
    fn schema_name() -> Cow<'static, str> {
        "Reading".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number or a text.",
            "type": ["integer", "string"],
            "minimum": 0
        })
    }
}

/// A frame that is missing, unexpected or out of place, and how many times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FrameDelta {
    /// Its relation to the expectation.
    pub delta: Delta,
    /// Its bytes, in hexadecimal in the result file.
    #[serde(rename = "hex", with = "hex::serde")]
    #[schemars(with = "String", regex(pattern = "^([0-9a-fA-F]{2})*$"))]
    pub bytes: Vec<u8>,
    /// Frames of these bytes.
    pub times: u64,
}

/// The relation of a frame to the expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Delta {
    /// It was expected and did not arrive.
    Missing,
    /// It arrived and was not expected.
    Unexpected,
    /// It arrived as expected, in another place of the order.
    Displaced,
}

named!(Delta { Missing = "missing", Unexpected = "unexpected", Displaced = "out of order" });

/// Frames of one kind beyond the first ones, whose bytes are not in the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OmittedFrames {
    /// Their relation to the expectation.
    pub delta: Delta,
    /// Number of distinct frames.
    pub distinct: u64,
    /// Number of frames.
    pub times: u64,
}

/// The most distinct frames of a kind whose bytes a mismatch, or the record of a trial, has. The others are counted: a systematic
/// fault hits all frames of a capture, and a report of a million of them helps nobody.
pub const KEPT_FRAMES: usize = 16;

/// The most bytes of those frames. The first frame is kept whatever its length.
pub const KEPT_BYTES: usize = 16 << 10;

/// Frames that are kept while there is room: [`KEPT_FRAMES`] and [`KEPT_BYTES`].
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameRoom {
    frames: usize,
    bytes: usize,
}

impl FrameRoom {
    /// Takes the room of a frame of this length; returns false if there is none.
    pub fn take(&mut self, length: usize) -> bool {
        let fits = self.frames < KEPT_FRAMES && self.bytes.saturating_add(length) <= KEPT_BYTES;
        let taken = self.frames == 0 || fits;
        if taken {
            self.frames += 1;
            self.bytes = self.bytes.saturating_add(length);
        } else {
            // The first ones are kept, not the short ones.
            self.frames = KEPT_FRAMES;
        }
        taken
    }
}

/// Collects the frames of a mismatch: the first ones of each kind, and the number of the others.
#[derive(Debug, Default)]
pub struct FrameDeltas {
    frames: Vec<FrameDelta>,
    omitted: Vec<OmittedFrames>,
    room: BTreeMap<Delta, FrameRoom>,
}

impl FrameDeltas {
    /// Adds a frame that occurs `times` too rarely or too often; none if that is 0.
    pub fn add(&mut self, delta: Delta, bytes: &[u8], times: u64) {
        if times == 0 {
            return;
        }
        if self.room.entry(delta).or_default().take(bytes.len()) {
            self.frames.push(FrameDelta { delta, bytes: bytes.to_vec(), times });
        } else {
            omit(&mut self.omitted, OmittedFrames { delta, distinct: 1, times });
        }
    }

    /// Returns true if no frame was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

/// Counts omitted frames, those of a kind together.
fn omit(omitted: &mut Vec<OmittedFrames>, more: OmittedFrames) {
    match omitted.iter_mut().find(|its| its.delta == more.delta) {
        Some(its) => {
            its.distinct = its.distinct.saturating_add(more.distinct);
            its.times = its.times.saturating_add(more.times);
        }
        None => omitted.push(more),
    }
}

impl Mismatch {
    /// A mismatch that is not about the bytes of frames.
    pub fn new(
        check: CheckId,
        class: FaultClass,
        subject: impl Into<String>,
        expected: impl Into<Reading>,
        observed: impl Into<Reading>,
    ) -> Self {
        let (expected, observed) = (expected.into(), observed.into());
        let (frames, omitted) = (Vec::new(), Vec::new());
        Self { check, class, subject: subject.into(), expected, observed, frames, omitted }
    }

    /// Adds the frames that it is about.
    #[must_use]
    pub fn with_frames(self, FrameDeltas { frames, omitted, room: _ }: FrameDeltas) -> Self {
        Self { frames, omitted, ..self }
    }

    /// Leaves out the bytes of all frames, and counts the frames instead.
    pub fn omit_frames(&mut self) {
        for FrameDelta { delta, bytes: _, times } in self.frames.drain(..) {
            omit(&mut self.omitted, OmittedFrames { delta, distinct: 1, times });
        }
    }

    /// The number of its frames of one kind.
    #[must_use]
    pub fn times(&self, delta: Delta) -> u64 {
        let kept = self.frames.iter().filter(|frame| frame.delta == delta).map(|frame| frame.times);
        let omitted = self.omitted.iter().filter(|its| its.delta == delta).map(|its| its.times);
        kept.chain(omitted).fold(0, u64::saturating_add)
    }

    /// The number of distinct frames whose bytes are left out.
    #[must_use]
    pub fn distinct_omitted(&self) -> u64 {
        self.omitted.iter().fold(0, |sum, its| sum.saturating_add(its.distinct))
    }
}

impl fmt::Display for Mismatch {
    /// One line without the bytes of frames: `frames at the stack: expected 3, got 2 (1 missing)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { check: _, class: _, subject, expected, observed, frames: _, omitted: _ } = self;
        let kinds = [Delta::Missing, Delta::Unexpected, Delta::Displaced];
        let kinds = kinds.map(|kind| (self.times(kind), kind.name()));
        let told: Vec<String> = kinds
            .iter()
            .filter(|(times, _)| *times > 0)
            .map(|(times, name)| format!("{times} {name}"))
            .collect();
        let told = told.join(", ");
        match (told.is_empty(), expected == observed) {
            (false, true) => write!(f, "{subject}: {told}"),
            (true, _) => write!(f, "{subject}: expected {expected}, got {observed}"),
            (false, false) => write!(f, "{subject}: expected {expected}, got {observed} ({told})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mismatch(observed: u64, frames: &[(Delta, u64)]) -> Mismatch {
        let frames = frames.iter().map(|&(delta, times)| FrameDelta { delta, bytes: vec![1, 2], times });
        let subject = "frames at the stack";
        let check = CheckId::new("sinks");
        Mismatch {
            frames: frames.collect(),
            ..Mismatch::new(check, FaultClass::ModifiedInTransit, subject, 3, observed)
        }
    }

    #[test]
    fn a_mismatch_is_one_line_without_bytes() {
        let told = |observed, frames: &[_]| mismatch(observed, frames).to_string();
        assert_eq!(told(2, &[]), "frames at the stack: expected 3, got 2");
        assert_eq!(told(2, &[(Delta::Missing, 1)]), "frames at the stack: expected 3, got 2 (1 missing)");
        assert_eq!(
            told(3, &[(Delta::Missing, 1), (Delta::Unexpected, 1)]),
            "frames at the stack: 1 missing, 1 unexpected"
        );
    }

    #[test]
    fn a_mismatch_is_read_as_it_is_written() {
        let mut both = mismatch(2, &[(Delta::Missing, 1), (Delta::Displaced, 2)]);
        both.observed = "nothing".into();
        let text = serde_json::to_string(&both).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"check":"sinks","class":"modified_in_transit","subject":"frames at the stack","expected":3,"observed":"nothing","#,
                r#""frames":[{"delta":"missing","hex":"0102","times":1},{"delta":"displaced","hex":"0102","times":2}]}"#
            )
        );
        assert_eq!(serde_json::from_str::<Mismatch>(&text).unwrap(), both);
    }

    #[test]
    fn the_times_of_hostile_frames_do_not_overflow() {
        let both = mismatch(0, &[(Delta::Missing, u64::MAX), (Delta::Missing, 2)]);
        assert_eq!(both.times(Delta::Missing), u64::MAX);
    }

    #[test]
    fn a_lost_frame_is_never_excused() {
        assert!(FaultClass::Miscounted.is_excusable());
        assert!(!FaultClass::LostBeforeProgram.is_excusable() && !FaultClass::Misdirected.is_excusable());
    }

    /// The frames that are kept of `number` frames of `length` bytes, and those that are only counted.
    fn kept(number: u32, length: usize) -> (usize, u64) {
        let mut deltas = FrameDeltas::default();
        for frame in 0..number {
            let mut bytes = frame.to_be_bytes().to_vec();
            bytes.resize(length, 0);
            deltas.add(Delta::Missing, &bytes, 2);
        }
        let mismatch = mismatch(0, &[]).with_frames(deltas);
        assert_eq!(mismatch.times(Delta::Missing), 2 * u64::from(number));
        assert_eq!(mismatch.frames[0].bytes[..4], [0; 4], "the first ones are kept");
        (mismatch.frames.len(), mismatch.distinct_omitted())
    }

    #[test]
    fn the_first_frames_are_kept_and_the_others_are_counted() {
        assert_eq!(kept(3, 60), (3, 0));
        assert_eq!(kept(1_000, 60), (KEPT_FRAMES, 1_000 - 16));
        assert_eq!(kept(1_000, 9_000), (1, 999));
        assert_eq!(kept(2, 200_000), (1, 1));
    }

    #[test]
    fn frames_of_another_kind_have_room_of_their_own() {
        let mut deltas = FrameDeltas::default();
        for _ in 0..20 {
            deltas.add(Delta::Missing, &[1], 1);
            deltas.add(Delta::Unexpected, &[2], 1);
        }
        let mut mismatch = mismatch(0, &[]).with_frames(deltas);
        assert_eq!((mismatch.frames.len(), mismatch.distinct_omitted()), (2 * KEPT_FRAMES, 8));
        mismatch.omit_frames();
        assert_eq!((mismatch.frames.len(), mismatch.distinct_omitted()), (0, 40));
        assert_eq!((mismatch.times(Delta::Missing), mismatch.omitted.len()), (20, 2));
    }
}
