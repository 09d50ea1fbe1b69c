//! The verdict of one step of a fixture: frames with the action and the bytes that are declared for each. Pure.

use std::collections::BTreeMap;

use xdproof_scenarios::fixture::{BytesExpectation, FixtureAction, FrameExpectation, Target};

use crate::{
    judge::field_names::field_at,
    model::{
        CheckId, Delta, FaultClass, FrameDeltas, FrameSequence, Mismatch, Observation, PortId, Sink,
        stack_discards,
    },
};

/// The most mismatches of a step that are described one by one.
const TOLD: usize = 64;

/// Bytes of a difference that are shown on a line.
const SHOWN_BYTES: usize = 16;

const ACTION: CheckId = CheckId::new("action");
const BYTES: CheckId = CheckId::new("bytes");
const CONSERVATION: CheckId = CheckId::new("conservation");
const CLOSING: CheckId = CheckId::new("closing");

/// A frame of a step.
#[derive(Clone, Copy, Debug)]
pub struct StepFrame<'a> {
    /// Its number in the fixture, from 1.
    pub number: usize,
    /// The bytes that are sent.
    pub sent: &'a [u8],
    /// How often it is sent.
    pub times: u64,
    /// The declared action and output.
    pub expect: &'a FrameExpectation,
}

/// The result of running a program on one frame of a step without a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Returned {
    /// Index of the frame in the step.
    pub frame: usize,
    /// The `XDP_*` action.
    pub action: u32,
    /// The frame as the program left it.
    pub bytes: Vec<u8>,
}

impl StepFrame<'_> {
    /// Returns the sink at which the frame comes out.
    #[must_use]
    pub fn sink(&self) -> Sink {
        match (self.expect.action, self.expect.to) {
            (FixtureAction::Pass, _) | (FixtureAction::Redirect, Some(Target::Stack)) => Sink::Stack,
            (FixtureAction::Tx, _) => Sink::Tester,
            (FixtureAction::Redirect, Some(Target::Port(number))) => Sink::Device(PortId(number)),
            (FixtureAction::Redirect, None) | (FixtureAction::Aborted | FixtureAction::Drop, _) => {
                Sink::Nowhere
            }
        }
    }

    /// Returns true if the stack frees the frame before any socket gets it.
    #[must_use]
    pub fn is_unobservable(&self) -> bool {
        let output = match &self.expect.bytes {
            BytesExpectation::Exactly(bytes) => bytes.as_slice(),
            _ => self.sent,
        };
        self.sink() == Sink::Stack && stack_discards(output)
    }

    /// Returns whether these bytes are what is expected; `padded_to` is the length in bytes up to which the path appends zeros.
    fn matches(&self, observed: &[u8], padded_to: usize) -> bool {
        if self.expect.bytes.matches(self.sent, observed) {
            return true;
        }
        let (mut length, expect) = (observed.len(), &self.expect.bytes);
        let mut unpadded = || {
            let is_padding = length <= padded_to && length > 0 && observed.get(length - 1) == Some(&0);
            length -= usize::from(is_padding);
            is_padding.then_some(length)
        };
        std::iter::from_fn(&mut unpadded).any(|length| expect.matches(self.sent, &observed[..length]))
    }

    fn name(&self) -> String {
        format!("frame {}", self.number)
    }
}

/// Returns the number of frames by the sink at which they come out, those left out that nothing can observe.
#[must_use]
pub fn expected_by_sink(frames: &[StepFrame<'_>]) -> BTreeMap<Sink, u64> {
    let mut expected = BTreeMap::new();
    for frame in frames.iter().filter(|frame| !frame.is_unobservable()) {
        *expected.entry(frame.sink()).or_default() += frame.times;
    }
    expected
}

/// A frame that is expected at a sink and did not arrive, by its index in the step.
struct MissingFrame {
    frame: usize,
    times: u64,
}

/// A frame that arrived at a sink and is not expected there.
struct SurplusFrame<'a> {
    sink: Sink,
    bytes: &'a [u8],
    times: u64,
}

/// Judges a step whose frames crossed a device. `padded_to` is the length in bytes up to which the path appends zeros to frames.
#[must_use]
pub fn judge_observed(frames: &[StepFrame<'_>], observed: &Observation, padded_to: usize) -> Vec<Mismatch> {
    let mut found = Vec::new();
    let Observation { sent, ran, .. } = *observed;
    if ran != sent {
        let class = if ran < sent { FaultClass::LostBeforeProgram } else { FaultClass::Duplicated };
        found.push(Mismatch::new(CONSERVATION, class, "runs of the program", sent, ran));
    }
    if observed.closed == Some(false) {
        let subject = "frame that is sent behind all others from each port of the DUT";
        found.push(Mismatch::new(CLOSING, FaultClass::StillInFlight, subject, "arrives", "missing"));
    }
    let (mut missing, mut surplus) = (Vec::new(), Vec::new());
    let sinks = frames.iter().map(StepFrame::sink).chain(observed.frames.keys().copied());
    let sinks: std::collections::BTreeSet<Sink> = sinks.filter(|sink| *sink != Sink::Nowhere).collect();
    for sink in sinks {
        match_sink(frames, sink, observed, padded_to, &mut missing, &mut surplus);
    }
    missing.sort_by_key(|its: &MissingFrame| its.frame);
    found.extend(explain(frames, missing, surplus));
    bounded(found)
}

/// Judges a step whose frames were given to the program by the kernel. The target of a redirect cannot be observed.
#[must_use]
pub fn judge_returned(frames: &[StepFrame<'_>], returned: &[Returned]) -> Vec<Mismatch> {
    let mut found = Vec::new();
    for Returned { frame, action, bytes } in returned {
        let Some(frame) = frames.get(*frame) else { continue };
        let expected = frame.expect.action;
        if *action != expected.number() {
            let observed = FixtureAction::from_number(*action)
                .map_or_else(|| format!("{action}, which is no XDP action"), |action| action.to_string());
            found.push(action_mismatch(frame, expected.name(), observed));
        } else if expected.has_output() && !frame.matches(bytes, 0) {
            found.push(bytes_mismatch(frame, None, bytes, 1));
        }
    }
    bounded(found)
}

/// Matches the frames that are expected at a sink with those that arrived there.
fn match_sink<'o>(
    frames: &[StepFrame<'_>],
    sink: Sink,
    observed: &'o Observation,
    padded_to: usize,
    missing: &mut Vec<MissingFrame>,
    surplus: &mut Vec<SurplusFrame<'o>>,
) {
    let expected = frames.iter().enumerate().filter(|(_, frame)| frame.sink() == sink);
    let mut expected: Vec<MissingFrame> =
        expected.map(|(frame, its)| MissingFrame { frame, times: its.times }).collect();
    // A frame whose bytes are known takes its own before one of which anything is taken.
    expected.sort_by_key(|its| match frames[its.frame].expect.bytes {
        BytesExpectation::Unchanged | BytesExpectation::Exactly(_) => 0,
        BytesExpectation::Partly { .. } => 1,
        BytesExpectation::Any => 2,
    });
    let arrived = observed.frames.get(&sink).into_iter().flat_map(FrameSequence::totals);
    for (bytes, mut times) in arrived {
        for one in expected.iter_mut().filter(|one| one.times > 0) {
            if times == 0 {
                break;
            }
            if frames[one.frame].matches(bytes, padded_to) {
                let taken = times.min(one.times);
                (one.times, times) = (one.times - taken, times - taken);
            }
        }
        if times > 0 {
            surplus.push(SurplusFrame { sink, bytes, times });
        }
    }
    let unseen = |its: &MissingFrame| its.times > 0 && !frames[its.frame].is_unobservable();
    missing.extend(expected.into_iter().filter(unseen));
}

/// Describes each frame that did not come out as it should, with the frame that it probably became.
fn explain(
    frames: &[StepFrame<'_>],
    missing: Vec<MissingFrame>,
    mut surplus: Vec<SurplusFrame<'_>>,
) -> Vec<Mismatch> {
    let mut found = Vec::new();
    for MissingFrame { frame, times } in missing {
        let frame = &frames[frame];
        let sink = frame.sink();
        let became = nearest(frame, &surplus, |its| its.sink == sink)
            .or_else(|| nearest(frame, &surplus, |its| its.sink != sink));
        let Some(index) = became else {
            found.push(nowhere(frame, times));
            continue;
        };
        let SurplusFrame { sink: at, bytes, times: surplus_times } = surplus[index];
        let taken = times.min(surplus_times);
        if at == sink {
            found.push(bytes_mismatch(frame, Some(at), bytes, taken));
        } else {
            found.push(action_mismatch(frame, &expected_at(frame), observed_at(at)).with_frames(deltas(
                None,
                Some(bytes),
                taken,
            )));
        }
        surplus[index].times -= taken;
        surplus.retain(|its| its.times > 0);
        if times > taken {
            found.push(nowhere(frame, times - taken));
        }
    }
    let mut dropped: Vec<&StepFrame<'_>> = frames.iter().filter(|its| its.sink() == Sink::Nowhere).collect();
    for SurplusFrame { sink, bytes, times } in surplus {
        let unmodified = dropped.iter().position(|frame| frame.sent == bytes);
        let index = unmodified.or(if dropped.is_empty() { None } else { Some(0) });
        let mismatch = if let Some(index) = index {
            let frame = dropped.remove(index);
            action_mismatch(frame, frame.expect.action.name(), observed_at(sink))
        } else {
            let subject = format!("unexpected {}", sink.frames());
            Mismatch::new(ACTION, FaultClass::Misdirected, subject, 0, times)
        };
        found.push(mismatch.with_frames(deltas(None, Some(bytes), times)));
    }
    found
}

/// Returns the surplus frame that is most like the expected one.
fn nearest(
    frame: &StepFrame<'_>,
    surplus: &[SurplusFrame<'_>],
    is_meant: impl Fn(&SurplusFrame<'_>) -> bool,
) -> Option<usize> {
    let expected = match &frame.expect.bytes {
        BytesExpectation::Exactly(bytes) => bytes.as_slice(),
        _ => frame.sent,
    };
    let distance = |bytes: &[u8]| {
        let differing = expected.iter().zip(bytes).filter(|(one, other)| one != other).count();
        differing + expected.len().abs_diff(bytes.len())
    };
    let meant = surplus.iter().enumerate().filter(|(_, its)| is_meant(its));
    meant.min_by_key(|(_, its)| distance(its.bytes)).map(|(index, _)| index)
}

fn action_mismatch(frame: &StepFrame<'_>, expected: &str, observed: String) -> Mismatch {
    let subject = format!("action on {}", frame.name());
    Mismatch::new(ACTION, FaultClass::WrongVerdict, subject, expected, observed)
}

/// A frame that came out nowhere.
fn nowhere(frame: &StepFrame<'_>, times: u64) -> Mismatch {
    let subject = format!("action on {}", frame.name());
    let expected = expected_at(frame);
    let bytes = match &frame.expect.bytes {
        BytesExpectation::Exactly(bytes) => bytes.as_slice(),
        _ => frame.sent,
    };
    Mismatch::new(ACTION, FaultClass::DroppedAfterPass, subject, expected, "nothing").with_frames(deltas(
        Some(bytes),
        None,
        times,
    ))
}

/// The declared action, with the target of a redirect.
fn expected_at(frame: &StepFrame<'_>) -> String {
    match frame.expect.to {
        Some(to) => format!("{} to {to}", frame.expect.action),
        None => frame.expect.action.to_string(),
    }
}

/// The action that a frame at a sink shows.
fn observed_at(sink: Sink) -> String {
    match sink {
        Sink::Stack => FixtureAction::Pass.to_string(),
        Sink::Tester => FixtureAction::Tx.to_string(),
        Sink::Device(PortId(number)) => format!("{} to port {number}", FixtureAction::Redirect),
        Sink::Nowhere => FixtureAction::Drop.to_string(),
    }
}

/// A frame that came out with other bytes: the first field that differs, or the length.
fn bytes_mismatch(frame: &StepFrame<'_>, sink: Option<Sink>, observed: &[u8], times: u64) -> Mismatch {
    let at = match sink {
        Some(Sink::Stack) => " at the stack".to_owned(),
        Some(Sink::Tester) => " at the tester".to_owned(),
        Some(Sink::Device(PortId(number))) => format!(" at port {number}"),
        Some(Sink::Nowhere) | None => String::new(),
    };
    let name = format!("{}{at}", frame.name());
    let class = FaultClass::ModifiedInTransit;
    let whole = |expected: &[u8]| {
        let (subject, expected_text, observed_text) = difference(&name, expected, observed);
        Mismatch::new(BYTES, class, subject, expected_text, observed_text).with_frames(deltas(
            Some(expected),
            Some(observed),
            times,
        ))
    };
    match &frame.expect.bytes {
        BytesExpectation::Unchanged | BytesExpectation::Any => whole(frame.sent),
        BytesExpectation::Exactly(bytes) => whole(bytes),
        BytesExpectation::Partly { length, parts } => {
            let wrong_length = length.filter(|length| *length != observed.len());
            let (subject, expected, got) = match wrong_length {
                Some(length) => {
                    let bytes = |length: usize| format!("{length} bytes");
                    (format!("length of {name}"), bytes(length), bytes(observed.len()))
                }
                None => match parts.iter().find(|part| !part.matches(observed)) {
                    Some(part) => {
                        let masked =
                            part.mask.as_ref().map(|mask| format!(" under mask {}", hex::encode(mask)));
                        let found = observed.get(part.offset..).unwrap_or_default();
                        let found = found.get(..part.bytes.len()).unwrap_or(found);
                        let subject =
                            format!("byte {} of {name}{}", part.offset, named(observed, part.offset));
                        let expected = format!("{}{}", short(&part.bytes), masked.unwrap_or_default());
                        (subject, expected, short(found))
                    }
                    None => (name.clone(), "as declared".to_owned(), "another frame".to_owned()),
                },
            };
            Mismatch::new(BYTES, class, subject, expected, got).with_frames(deltas(
                None,
                Some(observed),
                times,
            ))
        }
    }
}

/// The first difference of two frames: its subject, and the bytes of both.
fn difference(name: &str, expected: &[u8], observed: &[u8]) -> (String, String, String) {
    if expected.len() != observed.len() {
        let bytes = |bytes: &[u8]| format!("{} bytes", bytes.len());
        return (format!("length of {name}"), bytes(expected), bytes(observed));
    }
    let differs = |at: &usize| expected.get(*at) != observed.get(*at);
    let Some(first) = (0..expected.len()).find(differs) else {
        return (name.to_owned(), "as declared".to_owned(), "another frame".to_owned());
    };
    let field = field_at(expected, first);
    let range = field.as_ref().map_or_else(
        || first..(first..expected.len()).find(|at| !differs(at)).unwrap_or(expected.len()),
        |field| field.range.start..field.range.end.min(expected.len()),
    );
    let others = (0..expected.len()).filter(|at| !range.contains(at) && differs(at)).count();
    let others = match others {
        0 => String::new(),
        1 => ", and 1 byte behind it differs".to_owned(),
        more => format!(", and {more} bytes behind it differ"),
    };
    let field = field.map_or_else(|| "payload".to_owned(), |field| field.name);
    let place = match range.len() {
        1 => format!("byte {first}"),
        _ => format!("bytes {} to {}", range.start, range.end - 1),
    };
    let of = |frame: &[u8]| short(frame.get(range.clone()).unwrap_or_default());
    (format!("{name}, {field} ({place})"), of(expected), format!("{}{others}", of(observed)))
}

fn named(frame: &[u8], offset: usize) -> String {
    field_at(frame, offset).map_or_else(String::new, |field| format!(" ({})", field.name))
}

fn short(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "nothing".to_owned();
    }
    let shown = bytes.get(..SHOWN_BYTES).unwrap_or(bytes);
    let rest = if shown.len() < bytes.len() { ".." } else { "" };
    format!("{}{rest}", hex::encode(shown))
}

fn deltas(missing: Option<&[u8]>, unexpected: Option<&[u8]>, times: u64) -> FrameDeltas {
    let mut deltas = FrameDeltas::default();
    for (delta, bytes) in [(Delta::Missing, missing), (Delta::Unexpected, unexpected)] {
        if let Some(bytes) = bytes {
            deltas.add(delta, bytes, times);
        }
    }
    deltas
}

/// Keeps the first mismatches, and counts the others.
fn bounded(mut found: Vec<Mismatch>) -> Vec<Mismatch> {
    if let Some(more @ 1..) = found.len().checked_sub(TOLD) {
        found.truncate(TOLD);
        let subject = "further frames that differ";
        found.push(Mismatch::new(ACTION, FaultClass::WrongVerdict, subject, 0, more as u64));
    }
    found
}

#[cfg(test)]
mod tests {
    use xdproof_scenarios::fixture::BytesAt;

    use super::*;

    const UDP: [u8; 4] = [1, 2, 3, 4];
    const TCP: [u8; 4] = [5, 6, 7, 8];

    fn expects(action: FixtureAction, bytes: BytesExpectation) -> FrameExpectation {
        let to = (action == FixtureAction::Redirect).then_some(Target::Port(0));
        FrameExpectation { action, to, bytes }
    }

    fn observed(frames: &[(Sink, &[u8], u64)], ran: u64) -> Observation {
        let mut observed = Observation { sent: 2, ran, ..Observation::default() };
        for (sink, bytes, times) in frames {
            observed.frames.entry(*sink).or_default().push_times(bytes, *times);
        }
        observed
    }

    /// The mismatches of two frames, the first of which is expected to be transmitted and the second to be dropped.
    fn judged(bytes: BytesExpectation, frames: &[(Sink, &[u8], u64)]) -> Vec<String> {
        let (first, second) =
            (expects(FixtureAction::Tx, bytes), expects(FixtureAction::Drop, BytesExpectation::Any));
        let step = [
            StepFrame { number: 1, sent: &UDP, times: 1, expect: &first },
            StepFrame { number: 2, sent: &TCP, times: 1, expect: &second },
        ];
        judge_observed(&step, &observed(frames, 2), 0).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn frames_that_come_out_as_declared_pass() {
        let none: [&str; 0] = [];
        assert_eq!(judged(BytesExpectation::Unchanged, &[(Sink::Tester, &UDP, 1)]), none);
        assert_eq!(judged(BytesExpectation::Exactly(vec![9]), &[(Sink::Tester, &[9], 1)]), none);
        let part = BytesAt { offset: 1, bytes: vec![0xf2], mask: Some(vec![0x0f]) };
        let part = BytesExpectation::Partly { length: Some(4), parts: vec![part] };
        assert_eq!(judged(part, &[(Sink::Tester, &UDP, 1)]), none);
    }

    #[test]
    fn a_wrong_action_is_told_by_the_place_where_the_frame_came_out() {
        assert_eq!(
            judged(BytesExpectation::Unchanged, &[(Sink::Stack, &UDP, 1)]),
            ["action on frame 1: expected tx, got pass (1 unexpected)"]
        );
        assert_eq!(
            judged(BytesExpectation::Unchanged, &[]),
            ["action on frame 1: expected tx, got nothing (1 missing)"]
        );
        let both = [(Sink::Tester, &UDP[..], 1), (Sink::Device(PortId(3)), &TCP[..], 1)];
        assert_eq!(
            judged(BytesExpectation::Unchanged, &both),
            ["action on frame 2: expected drop, got redirect to port 3 (1 unexpected)"]
        );
    }

    #[test]
    fn other_bytes_are_told_by_the_first_difference() {
        assert_eq!(
            judged(BytesExpectation::Unchanged, &[(Sink::Tester, &[1, 9, 3, 9], 1)]),
            [
                "frame 1 at the tester, Ethernet destination (bytes 0 to 3): expected 01020304, got 01090309 (1 missing, 1 unexpected)"
            ]
        );
        assert_eq!(
            judged(BytesExpectation::Unchanged, &[(Sink::Tester, &[1, 2, 3], 1)]),
            ["length of frame 1 at the tester: expected 4 bytes, got 3 bytes (1 missing, 1 unexpected)"]
        );
        let part = |offset, length| BytesExpectation::Partly {
            length,
            parts: vec![BytesAt { offset, bytes: vec![7], mask: None }],
        };
        assert_eq!(
            judged(part(2, None), &[(Sink::Tester, &UDP, 1)]),
            ["byte 2 of frame 1 at the tester (Ethernet destination): expected 07, got 03 (1 unexpected)"]
        );
        assert_eq!(
            judged(part(2, Some(9)), &[(Sink::Tester, &UDP, 1)]),
            ["length of frame 1 at the tester: expected 9 bytes, got 4 bytes (1 unexpected)"]
        );
    }

    #[test]
    fn a_frame_that_comes_out_twice_is_found() {
        assert_eq!(
            judged(BytesExpectation::Unchanged, &[(Sink::Tester, &UDP, 3)]),
            ["action on frame 2: expected drop, got tx (2 unexpected)"]
        );
        let expect = expects(FixtureAction::Pass, BytesExpectation::Unchanged);
        let step = [StepFrame { number: 1, sent: &UDP, times: 2, expect: &expect }];
        let found = judge_observed(&step, &observed(&[(Sink::Stack, &UDP, 3)], 3), 0);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "runs of the program: expected 2, got 3",
                "unexpected frames at the stack: expected 0, got 1 (1 unexpected)"
            ]
        );
    }

    #[test]
    fn lost_frames_and_a_path_that_does_not_rest_are_no_pass() {
        let expect = expects(FixtureAction::Drop, BytesExpectation::Any);
        let step = [StepFrame { number: 1, sent: &UDP, times: 2, expect: &expect }];
        let classes = |observed: &Observation| {
            judge_observed(&step, observed, 0).iter().map(|its| its.class).collect::<Vec<_>>()
        };
        assert_eq!(classes(&observed(&[], 2)), []);
        assert_eq!(classes(&observed(&[], 1)), [FaultClass::LostBeforeProgram]);
        let restless = Observation { closed: Some(false), ..observed(&[], 2) };
        assert_eq!(classes(&restless), [FaultClass::StillInFlight]);
    }

    #[test]
    fn padding_is_taken_for_nothing_where_the_path_pads() {
        let expect = expects(FixtureAction::Tx, BytesExpectation::Unchanged);
        let step = [StepFrame { number: 1, sent: &UDP, times: 2, expect: &expect }];
        let padded = observed(&[(Sink::Tester, &[1, 2, 3, 4, 0, 0], 2)], 2);
        assert_eq!(judge_observed(&step, &padded, 6), []);
        assert_eq!(judge_observed(&step, &padded, 5).len(), 1);
        let other = observed(&[(Sink::Tester, &[1, 2, 3, 0, 0, 0], 2)], 2);
        assert_eq!(judge_observed(&step, &other, 6).len(), 1);
    }

    #[test]
    fn a_test_run_is_judged_frame_by_frame() {
        let (pass, redirect) = (
            expects(FixtureAction::Pass, BytesExpectation::Unchanged),
            expects(FixtureAction::Redirect, BytesExpectation::Exactly(vec![9])),
        );
        let step = [
            StepFrame { number: 1, sent: &UDP, times: 1, expect: &pass },
            StepFrame { number: 2, sent: &TCP, times: 1, expect: &redirect },
        ];
        let judge = |first: (u32, &[u8]), second: (u32, &[u8])| {
            let returned = [first, second].into_iter().enumerate();
            let returned =
                returned.map(|(frame, (action, bytes))| Returned { frame, action, bytes: bytes.to_vec() });
            let found = judge_returned(&step, &returned.collect::<Vec<_>>());
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        assert_eq!(judge((2, &UDP), (4, &[9])), none);
        assert_eq!(
            judge((7, &UDP), (1, &[9])),
            [
                "action on frame 1: expected pass, got 7, which is no XDP action",
                "action on frame 2: expected redirect, got drop"
            ]
        );
        assert_eq!(
            judge((2, &UDP), (4, &[8])),
            ["frame 2, Ethernet destination (byte 0): expected 09, got 08 (1 missing, 1 unexpected)"]
        );
    }

    #[test]
    fn mismatches_of_many_frames_are_bounded() {
        let expect = expects(FixtureAction::Pass, BytesExpectation::Unchanged);
        let step = |number| StepFrame { number, sent: &UDP, times: 1, expect: &expect };
        let step: Vec<StepFrame<'_>> = (1..=1000).map(step).collect();
        let returned = (0..1000).map(|frame| Returned { frame, action: 1, bytes: Vec::new() });
        let found = judge_returned(&step, &returned.collect::<Vec<_>>());
        assert_eq!(found.len(), TOLD + 1);
        assert_eq!(found[TOLD].to_string(), "further frames that differ: expected 0, got 936");
    }
}
