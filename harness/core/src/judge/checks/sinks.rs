//! Every sink gets the frames that it should get, in number and byte for byte; the rest is dropped.

use std::collections::BTreeSet;

use crate::{
    judge::checks::MismatchNotes,
    model::{Delta, FaultClass, FrameDeltas, FrameSequence, Observation, Sink, TrialExpectation},
};

pub(super) fn run(expected: &TrialExpectation, observed: &Observation, found: &mut MismatchNotes) {
    let none = FrameSequence::default();
    let watched = expected.frames.keys().chain(expected.totals.frames.keys()).chain(observed.frames.keys());
    let sinks: BTreeSet<Sink> = watched.copied().chain([Sink::Nowhere]).collect();
    for sink in sinks {
        let [wanted, came] =
            [&expected.frames, &observed.frames].map(|frames| frames.get(&sink).unwrap_or(&none));
        let frames = deltas(wanted, came);
        let (expected, observed) = (expected.observable(sink), observed.total(sink));
        if expected != observed || !frames.is_empty() {
            let class = FaultClass::at_sink(sink, expected, observed);
            found.note_frames(class, sink.frames(), expected, observed, frames);
        }
    }
}

/// The frames that are missing, in the order of sending, and those that are unexpected, in the order of arrival.
fn deltas(wanted: &FrameSequence, came: &FrameSequence) -> FrameDeltas {
    let mut deltas = FrameDeltas::default();
    for (delta, these, others) in [(Delta::Missing, wanted, came), (Delta::Unexpected, came, wanted)] {
        for (bytes, times) in these.totals() {
            deltas.add(delta, bytes, times.saturating_sub(others.times(bytes)));
        }
    }
    deltas
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        judge::checks::tests::found_by,
        model::{FrameDelta, PortId},
    };

    fn frames(frames: &[(&[u8], u64)]) -> FrameSequence {
        frames.iter().copied().collect()
    }

    /// The class of each mismatch, and how it reads.
    fn found(change: impl FnOnce(&mut TrialExpectation, &mut Observation)) -> Vec<(FaultClass, String)> {
        found_by("sinks", change).iter().map(|its| (its.class, its.to_string())).collect()
    }

    fn at_stack(arrived: &[(&[u8], u64)]) -> Vec<(FaultClass, String)> {
        found(|_, seen| drop(seen.frames.insert(Sink::Stack, frames(arrived))))
    }

    #[test]
    fn a_damaged_frame_is_found_although_the_numbers_agree() {
        let arrived: [(&[u8], u64); 2] = [(&[1, 2, 3], 2), (&[1, 2, 4], 1)];
        let told = "frames at the stack: 1 missing, 1 unexpected".to_owned();
        assert_eq!(at_stack(&arrived), [(FaultClass::ModifiedInTransit, told)]);
        let found = found_by("sinks", |_, seen| drop(seen.frames.insert(Sink::Stack, frames(&arrived))));
        let delta = |delta, byte| FrameDelta { delta, bytes: vec![1, 2, byte], times: 1 };
        assert_eq!(found[0].frames, [delta(Delta::Missing, 3), delta(Delta::Unexpected, 4)]);
    }

    #[test]
    fn a_frame_that_is_dropped_instead_of_passed_is_found() {
        assert_eq!(
            at_stack(&[(&[1, 2, 3], 2)]),
            [
                (
                    FaultClass::DroppedAfterPass,
                    "frames at the stack: expected 3, got 2 (1 missing)".to_owned()
                ),
                (FaultClass::DroppedAfterPass, "dropped frames: expected 1, got 2".to_owned()),
            ]
        );
    }

    #[test]
    fn a_frame_that_is_passed_instead_of_dropped_is_found() {
        let found = at_stack(&[(&[1, 2, 3], 3), (&[9], 1)]);
        assert_eq!(
            found,
            [
                (FaultClass::NotDropped, "frames at the stack: expected 3, got 4 (1 unexpected)".to_owned()),
                (FaultClass::NotDropped, "dropped frames: expected 1, got 0".to_owned()),
            ]
        );
    }

    #[test]
    fn a_frame_that_comes_back_to_the_tester_is_found_and_never_excused() {
        let found = found(|_, seen| drop(seen.frames.insert(Sink::Tester, frames(&[(&[1], 1)]))));
        let told = "frames at the tester: expected 0, got 1 (1 unexpected)".to_owned();
        assert!(found.contains(&(FaultClass::Misdirected, told)), "{found:?}");
        assert!(!FaultClass::Misdirected.is_excusable());
    }

    #[test]
    fn frames_that_the_program_sends_back_or_redirects_are_held_to_their_sinks() {
        for sink in [Sink::Tester, Sink::Device(PortId(1))] {
            let moved = |expected: &mut TrialExpectation, seen: &mut Observation| {
                for frames in [&mut expected.frames, &mut seen.frames] {
                    let stack = frames.remove(&Sink::Stack).unwrap();
                    frames.insert(sink, stack);
                }
                expected.totals.frames = [(sink, 3), (Sink::Nowhere, 1)].into();
            };
            assert_eq!(found(moved), []);
            let missing = found(|expected, seen| {
                moved(expected, seen);
                seen.frames.insert(sink, frames(&[(&[1, 2, 3], 2)]));
            });
            assert_eq!(missing[0].0, FaultClass::DroppedAfterPass, "{missing:?}");
        }
    }

    #[test]
    fn an_unobservable_frame_is_neither_missing_nor_dropped() {
        let hidden = |of: Sink, unobservable: u64| {
            found(|expected, seen| {
                for frames in [&mut expected.frames, &mut seen.frames] {
                    frames.insert(Sink::Stack, frames_of_two());
                }
                expected.unobservable.insert(Sink::Stack, 1);
                *expected.unobservable.entry(of).or_default() += u64::from(of == Sink::Nowhere);
                seen.unobservable = unobservable;
            })
        };
        assert_eq!(hidden(Sink::Stack, 1), []);
        assert_eq!(hidden(Sink::Nowhere, 2), []);
        assert_eq!(hidden(Sink::Nowhere, 0).len(), 1);
    }

    fn frames_of_two() -> FrameSequence {
        frames(&[(&[1, 2, 3], 2)])
    }
}
