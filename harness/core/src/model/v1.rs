//! Trials of `xdproof.result/1`, as far as version 2 holds them in another shape.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use xdproof_scenarios::Expectation;

use crate::model::{
    expectation::{ExpectationSource, ExpectedTotals},
    mismatch::{CheckId, Delta, FaultClass, FrameDelta, Mismatch, Reading, protocol_subject},
    observation::Counts,
    sink::Sink,
};

/// A mismatch of version 1.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "the format is frozen; version 2 documents each mismatch where it is found")]
pub enum MismatchV1 {
    Count { protocol: u8, expected: u64, observed: u64 },
    Passed { expected: u64, observed: u64 },
    Dropped { expected: u64, observed: u64 },
    Answer { action: u32, times: u64 },
    Returned { hex: String, times: u64 },
    Conservation { sent: u64, ran: u64 },
    Missing { hex: String, times: u64 },
    Unexpected { hex: String, times: u64 },
    IdleCpu { cpu: usize },
    NotSpread { least: u32, queues: Vec<u8> },
    NotClosed,
    NoDeviation { reason: String },
    Dirty { what: String },
    Support { what: String },
    Rule { action: String, expected: String, observed: String },
}

/// `observed` of a trial of version 1.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct ObservedV1 {
    counts: Counts,
    passed: u64,
    dropped: u64,
    #[serde(default)]
    undecided: u64,
    per_cpu: Vec<Counts>,
}

/// Rewrites a trial of version 1 in place: `expected`, `observed` and `failure.mismatches`. Every other key is as it was.
///
/// # Errors
///
/// Any of these that is not as version 1 has it.
pub fn upgrade_trial(trial: &mut Value) -> Result<(), serde_json::Error> {
    let mut passed = 0;
    if let Some(expected) = trial.get_mut("expected") {
        let Expectation { counts, passed, dropped } = Expectation::deserialize(&*expected)?;
        let frames = BTreeMap::from([(Sink::Stack, passed), (Sink::Nowhere, dropped)]);
        // Version 1 does not tell a scenario, which declares its numbers, from a capture, which does not.
        let source = ExpectationSource::Oracle;
        *expected = serde_json::to_value(ExpectedTotals { source, counts: Some(counts), frames })?;
    }
    if let Some(observed) = trial.get_mut("observed").filter(|observed| !observed.is_null()) {
        let old = ObservedV1::deserialize(&*observed)?;
        passed = old.passed;
        let mut new = json!({
            "counts": old.counts,
            "frames": { "stack": old.passed, "dropped": old.dropped },
            "per_cpu": old.per_cpu,
        });
        if old.undecided > 0 {
            new["unobservable"] = old.undecided.into();
        }
        *observed = new;
    }
    if let Some(mismatches) = trial.get_mut("failure").and_then(|failure| failure.get_mut("mismatches")) {
        let old = Vec::<MismatchV1>::deserialize(&*mismatches)?;
        *mismatches = serde_json::to_value(upgrade_mismatches(old, passed)?)?;
    }
    Ok(())
}

/// The mismatches of a trial of version 1 as version 2 has them: those about the frames at one sink are one. `passed` is the number of
/// frames that were observed to pass.
///
/// # Errors
///
/// A frame that is not in hexadecimal.
pub fn upgrade_mismatches(old: Vec<MismatchV1>, passed: u64) -> Result<Vec<Mismatch>, serde_json::Error> {
    let mut new: Vec<Mismatch> = Vec::new();
    for mismatch in old {
        let mut upgraded = upgrade_mismatch(mismatch, passed)?;
        match new.iter_mut().find(|its| its.check == SINKS && its.subject == upgraded.subject) {
            Some(earlier) => {
                earlier.frames.append(&mut upgraded.frames);
                if earlier.class == FaultClass::Misdirected {
                    earlier.observed = earlier.times(Delta::Unexpected).into();
                }
            }
            None => new.push(upgraded),
        }
    }
    Ok(new)
}

const SINKS: CheckId = CheckId::new("sinks");

fn upgrade_mismatch(old: MismatchV1, passed: u64) -> Result<Mismatch, serde_json::Error> {
    use FaultClass as Class;
    let new = |check, class, subject: &str, expected: Reading, observed: Reading| {
        Mismatch::new(CheckId::new(check), class, subject, expected, observed)
    };
    let at_sink = |sink: Sink, expected, observed| {
        let class = FaultClass::at_sink(sink, expected, observed);
        Mismatch::new(SINKS, class, sink.frames(), expected, observed)
    };
    let frame = |mismatch: Mismatch, delta, hex: &str, times| {
        let bytes = hex::decode(hex).map_err(serde::de::Error::custom)?;
        Ok::<_, serde_json::Error>(Mismatch { frames: vec![FrameDelta { delta, bytes, times }], ..mismatch })
    };
    Ok(match old {
        MismatchV1::Passed { expected, observed } => at_sink(Sink::Stack, expected, observed),
        MismatchV1::Dropped { expected, observed } => at_sink(Sink::Nowhere, expected, observed),
        MismatchV1::Missing { hex, times } => {
            frame(at_sink(Sink::Stack, passed, passed), Delta::Missing, &hex, times)?
        }
        MismatchV1::Unexpected { hex, times } => {
            frame(at_sink(Sink::Stack, passed, passed), Delta::Unexpected, &hex, times)?
        }
        MismatchV1::Returned { hex, times } => {
            frame(at_sink(Sink::Tester, 0, times), Delta::Unexpected, &hex, times)?
        }
        MismatchV1::Count { protocol, expected, observed } => {
            let subject = protocol_subject(protocol);
            new("counts", Class::Miscounted, &subject, expected.into(), observed.into())
        }
        MismatchV1::Conservation { sent, ran } => {
            let class = if ran < sent { Class::LostBeforeProgram } else { Class::Duplicated };
            new("conservation", class, "runs of the program", sent.into(), ran.into())
        }
        MismatchV1::Answer { action, times } => {
            let subject = format!("returns of verdict {action}");
            new("verdicts", Class::WrongVerdict, &subject, 0.into(), times.into())
        }
        MismatchV1::IdleCpu { cpu } => {
            let subject = format!("packets counted on CPU {cpu}");
            new("cpus", Class::NotSpread, &subject, "at least 1".into(), 0.into())
        }
        MismatchV1::NotSpread { least, queues } => {
            let (least, seen) = (format!("at least {least}"), format!("{queues:?}"));
            new("queues", Class::NotSpread, "receive queues with frames", least.into(), seen.into())
        }
        MismatchV1::NotClosed => {
            new("closing", Class::StillInFlight, "closing frame", "passed".into(), "missing".into())
        }
        MismatchV1::NoDeviation { reason } => {
            let subject = format!("declared deviation ({reason})");
            new("deviation", Class::StaleDeviation, &subject, "deviates".into(), "passes".into())
        }
        MismatchV1::Dirty { what } => {
            new("testbed", Class::TestbedChanged, "testbed after the trial", "unchanged".into(), what.into())
        }
        MismatchV1::Support { what } => {
            new("attach", Class::UnexpectedAttach, "attach", "as known".into(), what.into())
        }
        MismatchV1::Rule { action, expected, observed } => {
            new("attach_semantics", Class::AttachSemantics, &action, expected.into(), observed.into())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upgraded(mut trial: Value) -> Value {
        upgrade_trial(&mut trial).unwrap();
        trial
    }

    #[test]
    fn the_numbers_of_a_trial_are_by_sink() {
        let old = json!({
            "id": "a::generic::pnet", "sent": 5,
            "expected": { "counts": { "17": 4 }, "passed": 4, "dropped": 1 },
            "observed": { "counts": { "17": 3 }, "passed": 2, "dropped": 1, "undecided": 1, "per_cpu": [{}, { "17": 3 }] },
        });
        let new = json!({
            "id": "a::generic::pnet", "sent": 5,
            "expected": { "source": "oracle", "counts": { "17": 4 }, "frames": { "stack": 4, "dropped": 1 } },
            "observed": {
                "counts": { "17": 3 }, "frames": { "stack": 2, "dropped": 1 }, "unobservable": 1,
                "per_cpu": [{}, { "17": 3 }],
            },
        });
        assert_eq!(upgraded(old), new);
    }

    #[test]
    fn a_trial_that_did_not_run_has_no_observation() {
        let expected = json!({ "counts": {}, "passed": 0, "dropped": 0 });
        let new = upgraded(json!({ "expected": expected, "observed": null, "reason": "skipped" }));
        assert_eq!((&new["observed"], &new["reason"]), (&Value::Null, &json!("skipped")));
    }

    #[test]
    fn mismatches_about_frames_at_one_sink_are_one() {
        let new = upgraded(json!({
            "observed": { "counts": {}, "passed": 2, "dropped": 0, "per_cpu": [] },
            "failure": { "repeat": "again", "mismatches": [
                { "kind": "passed", "expected": 3, "observed": 2 },
                { "kind": "returned", "hex": "01", "times": 2 },
                { "kind": "returned", "hex": "02", "times": 1 },
                { "kind": "missing", "hex": "0a0b", "times": 2 },
                { "kind": "unexpected", "hex": "0a0c", "times": 1 },
            ] },
        }));
        assert_eq!(
            new["failure"],
            json!({ "repeat": "again", "mismatches": [
                {
                    "check": "sinks", "class": "dropped_after_pass", "subject": "frames at the stack",
                    "expected": 3, "observed": 2,
                    "frames": [
                        { "delta": "missing", "hex": "0a0b", "times": 2 },
                        { "delta": "unexpected", "hex": "0a0c", "times": 1 },
                    ],
                },
                {
                    "check": "sinks", "class": "misdirected", "subject": "frames at the tester",
                    "expected": 0, "observed": 3,
                    "frames": [
                        { "delta": "unexpected", "hex": "01", "times": 2 },
                        { "delta": "unexpected", "hex": "02", "times": 1 },
                    ],
                },
            ] })
        );
    }

    #[test]
    fn each_kind_of_mismatch_is_told_in_the_words_of_version_2() {
        let old = json!([
            { "kind": "missing", "hex": "0a", "times": 1 },
            { "kind": "dropped", "expected": 1, "observed": 2 },
            { "kind": "count", "protocol": 17, "expected": 4, "observed": 3 },
            { "kind": "count", "protocol": 200, "expected": 0, "observed": 3 },
            { "kind": "conservation", "sent": 4, "ran": 3 },
            { "kind": "conservation", "sent": 4, "ran": 5 },
            { "kind": "answer", "action": 3, "times": 1 },
            { "kind": "idle_cpu", "cpu": 1 },
            { "kind": "not_spread", "least": 3, "queues": [1, 3] },
            { "kind": "not_closed" },
            { "kind": "no_deviation", "reason": "driver pads" },
            { "kind": "dirty", "what": "a program was left" },
            { "kind": "support", "what": "refused: EINVAL" },
            { "kind": "rule", "action": "attach twice", "expected": "EBUSY", "observed": "done" },
        ]);
        let old: Vec<MismatchV1> = serde_json::from_value(old).unwrap();
        let new = upgrade_mismatches(old, 2).unwrap();
        let told: Vec<(FaultClass, String)> = new.iter().map(|its| (its.class, its.to_string())).collect();
        let expected = [
            (FaultClass::ModifiedInTransit, "frames at the stack: 1 missing"),
            (FaultClass::DroppedAfterPass, "dropped frames: expected 1, got 2"),
            (FaultClass::Miscounted, "protocol 17 (udp): expected 4, got 3"),
            (FaultClass::Miscounted, "protocol 200: expected 0, got 3"),
            (FaultClass::LostBeforeProgram, "runs of the program: expected 4, got 3"),
            (FaultClass::Duplicated, "runs of the program: expected 4, got 5"),
            (FaultClass::WrongVerdict, "returns of verdict 3: expected 0, got 1"),
            (FaultClass::NotSpread, "packets counted on CPU 1: expected at least 1, got 0"),
            (FaultClass::NotSpread, "receive queues with frames: expected at least 3, got [1, 3]"),
            (FaultClass::StillInFlight, "closing frame: expected passed, got missing"),
            (FaultClass::StaleDeviation, "declared deviation (driver pads): expected deviates, got passes"),
            (
                FaultClass::TestbedChanged,
                "testbed after the trial: expected unchanged, got a program was left",
            ),
            (FaultClass::UnexpectedAttach, "attach: expected as known, got refused: EINVAL"),
            (FaultClass::AttachSemantics, "attach twice: expected EBUSY, got done"),
        ];
        assert_eq!(told, expected.map(|(class, text)| (class, text.to_owned())));
    }

    #[test]
    fn what_is_not_of_version_1_is_refused() {
        let refused = |mismatch: Value| {
            let mut trial = json!({ "failure": { "mismatches": [mismatch] } });
            upgrade_trial(&mut trial).is_err()
        };
        assert!(refused(json!({ "kind": "missing", "hex": "0", "times": 1 })));
        assert!(refused(json!({ "kind": "moved" })));
        assert!(refused(json!({ "kind": "dirty", "what": "", "extra": 1 })));
        assert!(upgrade_trial(&mut json!({ "expected": { "counts": {} } })).is_err());
    }
}
