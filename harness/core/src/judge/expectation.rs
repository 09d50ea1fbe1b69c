//! The expectation of a counter's trial: it follows from the bytes that arrive at the program. Pure.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use xdproof_scenarios::{Frame, Scenario, oracle};

use crate::model::{
    CountedAction, ExpectationSource, ExpectedTotals, FrameSequence, RxTransform, Sink, TrialExpectation,
    stack_discards,
};

/// `XDP_DROP` and `XDP_PASS` (`include/uapi/linux/bpf.h`): the verdicts of a counter.
const COUNTER_VERDICTS: [u32; 2] = [1, 2];

/// A counter and its place on a path.
#[derive(Clone, Copy, Debug, Default)]
pub struct CounterTrial {
    /// The changes that the path makes to a frame before the program gets it.
    pub transform: RxTransform,
    /// The action of the counter on the frames that it counts.
    pub action: CountedAction,
    /// The counter is attached to a device, so that a frame that it passes goes through the stack.
    pub attached: bool,
}

impl CounterTrial {
    /// A scenario as it arrives: its frames, and the counts that they lead to.
    #[must_use]
    pub fn arriving<'a>(&self, scenario: &'a Scenario) -> Cow<'a, Scenario> {
        let transform = self.transform;
        if transform.is_faithful() || scenario.is_unreachable() {
            return Cow::Borrowed(scenario);
        }
        let mut arriving = scenario.clone();
        for frame in &mut arriving.frames {
            frame.bytes = transform.arriving(&frame.bytes).into_owned();
        }
        let given: Vec<(Vec<u8>, u64)> = arriving
            .frames
            .iter()
            .map(|Frame { bytes, repeat, .. }| (transform.given(bytes).into_owned(), u64::from(*repeat)))
            .collect();
        arriving.expect = oracle::expectation(given.iter().map(|(bytes, times)| (bytes.as_slice(), *times)));
        Cow::Owned(arriving)
    }

    /// The numbers that a scenario as it [arrives](Self::arriving) leads to.
    #[must_use]
    pub fn totals(&self, arriving: &Scenario) -> ExpectedTotals {
        let xdproof_scenarios::Expectation { counts, passed, dropped } = &arriving.expect;
        let mut frames = BTreeMap::from([(Sink::Stack, 0), (Sink::Nowhere, *dropped)]);
        *frames.entry(self.action.sink()).or_default() += passed;
        // Scenario files declare their counts; captures do not.
        let is_declared = arriving.source.extension().is_some_and(|extension| extension == "toml");
        let source = if is_declared && self.transform.is_faithful() {
            ExpectationSource::Both
        } else {
            ExpectationSource::Oracle
        };
        ExpectedTotals { source, counts: Some(counts.clone()), frames }
    }

    /// The expectation of a scenario as it [arrives](Self::arriving).
    #[must_use]
    pub fn expectation(&self, arriving: &Scenario) -> TrialExpectation {
        let mut frames = BTreeMap::from([(Sink::Stack, FrameSequence::default())]);
        let mut unobservable = BTreeMap::new();
        for Frame { bytes, repeat, .. } in &arriving.frames {
            let sink = match oracle::outcome(&self.transform.given(bytes)) {
                oracle::CounterOutcome::Counted(_) => self.action.sink(),
                oracle::CounterOutcome::Dropped => Sink::Nowhere,
            };
            let times = u64::from(*repeat);
            if self.attached && stack_discards(bytes) {
                *unobservable.entry(sink).or_default() += times;
            } else if sink != Sink::Nowhere {
                frames.entry(sink).or_default().push_times(bytes, times);
            }
        }
        TrialExpectation {
            totals: self.totals(arriving),
            frames,
            unobservable,
            verdicts: BTreeSet::from(COUNTER_VERDICTS),
            spread: arriving.spread,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::model::Strips;

    fn corpus() -> &'static [Scenario] {
        static CORPUS: LazyLock<Vec<Scenario>> =
            LazyLock::new(|| xdproof_scenarios::load::builtin().unwrap());
        &CORPUS
    }

    fn scenario(id: &str) -> Scenario {
        corpus().iter().find(|scenario| scenario.id.to_string() == id).unwrap().clone()
    }

    fn on_path(transform: RxTransform) -> CounterTrial {
        CounterTrial { transform, attached: true, ..CounterTrial::default() }
    }

    #[test]
    fn a_faithful_path_changes_nothing() {
        for scenario in corpus() {
            let arriving = CounterTrial::default().arriving(scenario);
            assert!(matches!(arriving, Cow::Borrowed(same) if same == scenario));
        }
    }

    /// An IPv4 frame whose header is cut counts as "other"; with zeros behind it the header is complete again.
    #[test]
    fn the_expectation_follows_from_the_padded_bytes() {
        let path = on_path(RxTransform { padded_to: 60, ..RxTransform::default() });
        let changed = corpus().iter().filter(|sent| path.arriving(sent).expect != sent.expect).count();
        assert!(changed > 5, "{changed}");
        let unpadded = scenario("vlan/qinq_full_mtu");
        assert_eq!(path.arriving(&unpadded).expect, unpadded.expect);
        assert_eq!(path.totals(&unpadded).source, ExpectationSource::Oracle);
    }

    /// With three tags the third is not opened, unless the device has taken the first one out.
    #[test]
    fn a_stripped_tag_lets_the_program_see_one_more() {
        let mut sent = scenario("vlan/qinq_ipv4_udp");
        for frame in &mut sent.frames {
            frame.bytes.splice(12..12, [0x81, 0x00, 0x00, 0x05]);
        }
        let strips = Strips { customer: true, service: false };
        let path = on_path(RxTransform { strips, ..RxTransform::default() });
        let times = sent.sent();
        assert_eq!(path.arriving(&sent).expect.counts, [(17, times)].into());
        let counted: Vec<_> = sent.frames.iter().map(|frame| oracle::outcome(&frame.bytes)).collect();
        assert!(counted.iter().all(|outcome| *outcome == oracle::CounterOutcome::Counted(0)));
    }

    #[test]
    fn a_stripped_tag_is_in_what_the_stack_gets() {
        let sent = scenario("vlan/qinq_ipv4_udp");
        let strips = Strips { customer: true, service: true };
        let arriving = on_path(RxTransform { strips, ..RxTransform::default() }).arriving(&sent).into_owned();
        assert_eq!((arriving.frames, arriving.expect), (sent.frames, sent.expect));
    }

    #[test]
    fn the_frames_at_each_sink_add_up_to_the_totals() {
        for (action, attached) in
            [(CountedAction::Pass, true), (CountedAction::Pass, false), (CountedAction::Drop, true)]
        {
            let trial = CounterTrial { action, attached, ..CounterTrial::default() };
            for scenario in corpus().iter().filter(|scenario| !scenario.is_unreachable()) {
                let expected = trial.expectation(scenario);
                for (&sink, frames) in &expected.frames {
                    assert_eq!(frames.len(), expected.observable(sink), "{} at {sink}", scenario.id);
                }
                assert_eq!(expected.totals.frames.values().sum::<u64>(), scenario.sent(), "{}", scenario.id);
                assert_eq!(expected.totals.source, ExpectationSource::Both);
            }
        }
    }

    #[test]
    fn a_frame_that_the_stack_discards_is_unobservable_only_on_a_device() {
        let short = scenario("boundary/tag_18");
        let unobservable = |attached| {
            let trial = CounterTrial { attached, ..CounterTrial::default() };
            trial.expectation(&short).unobservable.values().sum::<u64>()
        };
        assert!(unobservable(true) > 0);
        assert_eq!(unobservable(false), 0);
    }
}
