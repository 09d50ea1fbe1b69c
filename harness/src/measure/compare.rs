//! Today's measurements against stored ones: ratio by ratio, and absolute figures only on the same machine. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    Estimate, Judgement, Tolerance,
    case::What,
    judge_against_baseline,
    record::{Costs, Measurement, series},
};

/// What became of a measurement since a stored one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// How the ratio compares, each being taken in its own run: today's over the stored one.
    pub ratio: Option<Estimate>,
    /// The verdict on it.
    pub verdict: Judgement,
    /// Today's speed over the stored one. Only where both were measured on the same machine, which is not to say that the
    /// machine was as fast.
    pub absolute: Option<f64>,
    /// The verdict on that; none in a virtual machine, whose speed is not its own from one run to the next.
    pub absolute_verdict: Option<Judgement>,
}

impl Change {
    /// Whether anything is slower than it may be.
    #[must_use]
    pub fn is_slower(&self) -> bool {
        self.verdict == Judgement::Regression || self.absolute_verdict == Some(Judgement::Regression)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ratio {
            Some(Estimate { ratio, interval, .. }) => {
                write!(f, "the ratio is {ratio:.3} times the baseline's ({interval})")?;
            }
            None => f.write_str("the ratio cannot be compared")?,
        }
        if let Judgement::Inconclusive { reason } = &self.verdict {
            write!(f, ": {reason}")?;
        }
        match (self.absolute, &self.absolute_verdict) {
            (Some(speed), Some(verdict)) => {
                write!(f, "; {speed:.3} times as fast as then: {}", verdict.name().to_uppercase())
            }
            (Some(speed), None) => {
                write!(f, "; {speed:.3} times as fast as then (shown, not judged)")
            }
            (None, _) => f.write_str("; absolute figures compare for one machine, program and load only"),
        }
    }
}

/// Holds a measurement against the stored one of the same id.
#[must_use]
pub fn against(new: &Measurement, old: &Measurement, tolerance: Tolerance) -> Change {
    let logs = |measurement: &Measurement| series(&measurement.trials, false, Costs::Gross).logs();
    let judged = judge_against_baseline(&logs(new), &logs(old), tolerance, new.seed);
    // A figure that was not believed when it was measured is nothing to judge by.
    let doubted = [new, old].into_iter().find_map(|measurement| match &measurement.verdict {
        Some(verdict @ Judgement::Inconclusive { .. }) => Some(*verdict),
        _ => None,
    });
    let comparable = new.fingerprint == old.fingerprint && new.offered_pps == old.offered_pps;
    // Costs: a lower one is faster. Rates: a higher one.
    let speeds = |measurement: &Measurement| -> Vec<f64> {
        let blocks = series(&measurement.trials, false, Costs::Gross).blocks;
        blocks.iter().map(|block| -f64::midpoint(block.subject[0], block.subject[1]).ln()).collect()
    };
    let absolute =
        comparable.then(|| judge_against_baseline(&speeds(new), &speeds(old), tolerance, new.seed));
    let is_real = !new.fingerprint.virtual_machine && doubted.is_none();
    Change {
        ratio: judged.estimate,
        verdict: doubted.unwrap_or(judged.verdict),
        absolute: absolute.and_then(|judged| Some(judged.estimate?.ratio)),
        absolute_verdict: absolute.filter(|_| is_real).map(|judged| judged.verdict),
    }
}

/// Every measurement of either, by id, and what became of it: those of `new` in their order, then what only `old` has.
pub fn pairs<'a>(
    new: &'a [Measurement],
    old: &'a [Measurement],
) -> impl Iterator<Item = (Option<&'a Measurement>, Option<&'a Measurement>)> {
    let find = |measurements: &'a [Measurement], id: &str| measurements.iter().find(|its| its.id == id);
    let both = new.iter().map(move |its| (Some(its), find(old, &its.id)));
    let gone = old.iter().filter(move |its| find(new, &its.id).is_none()).map(|its| (None, Some(its)));
    both.chain(gone)
}

/// Whether a ratio means anything beyond its own run: what is held against a program that does nothing, or one place
/// against another. What is held against a version of a program means something for these two only, and what was offered
/// less than goes comes out as fast as it was offered.
#[must_use]
pub fn is_comparable(new: &Measurement, old: &Measurement) -> bool {
    let same_reference = new.reference.tag == old.reference.tag;
    new.what == old.what
        && new.traffic == old.traffic
        && new.offered_pps == old.offered_pps
        && (same_reference || matches!(new.what, What::NativeToGeneric | What::SizeToSmallest))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{
        super::{
            Inconclusive, Losses, Which,
            record::{Beside, Fingerprint, Measured, Part, Sample},
        },
        *,
    };
    use crate::plan::{InjectorKind, Mode};

    /// A measurement of so many blocks, in which a frame of the reference costs 100 ns and one of the subject what `cost` says
    /// by block.
    fn measurement(id: &str, blocks: u32, cost: impl Fn(u32) -> f64) -> Measurement {
        let sample = |block, part, frame_ns| Sample {
            block,
            gate: false,
            part,
            sent: 1000,
            counted: 1000,
            lost: 0,
            time_ns: 100_000,
            frame_ns,
            cpu_ns: 100_000,
            steal: 0.0,
            losses: Losses::default(),
            per_cpu: Vec::new(),
            void: None,
        };
        let parts = [Part::Reference, Part::Subject, Part::Subject, Part::Reference];
        let trials = (0..blocks).flat_map(|block| {
            parts.map(|part| sample(block, part, if part == Part::Reference { 100.0 } else { cost(block) }))
        });
        let program = |name: &str| Measured {
            object: None,
            name: name.to_owned(),
            tag: name.to_owned(),
            instructions: None,
            verified_instructions: None,
            machine_code_bytes: 100,
        };
        Measurement {
            id: id.to_owned(),
            what: What::PathRate,
            mode: Mode::Native,
            injector: InjectorKind::Ring,
            traffic: "udp/64".to_owned(),
            cpus: 1,
            offered_pps: None,
            subject: program("subject"),
            reference: program("null"),
            value: None,
            reference_value: None,
            ratio: None,
            net_ratio: None,
            gate: None,
            tolerance: Tolerance::BARE_METAL,
            seed: 1,
            verdict: None,
            unmeasured: None,
            baseline: None,
            notes: Vec::new(),
            beside: Beside::default(),
            fingerprint: Fingerprint {
                kernel: "6.1".to_owned(),
                cpu_model: None,
                cpus: 2,
                virtual_machine: false,
                bpf_jit: Some(1),
                mitigations: BTreeMap::new(),
                program: "subject".to_owned(),
                device: None,
            },
            trials: trials.collect(),
        }
    }

    fn costing(cost: f64) -> Measurement {
        measurement("path", 30, move |_| cost)
    }

    fn change(new: &Measurement, old: &Measurement) -> Change {
        against(new, old, Tolerance::VM)
    }

    #[test]
    fn a_planted_change_is_found_with_its_size_and_direction() {
        for (cost, verdict) in [
            (100.0, Judgement::Pass),
            (104.0, Judgement::Pass),
            (110.0, Judgement::Regression),
            (90.0, Judgement::Improved),
        ] {
            let found = change(&costing(cost), &costing(100.0));
            assert_eq!(found.verdict, verdict, "{cost}");
            let (ratio, absolute) = (found.ratio.unwrap().ratio, found.absolute.unwrap());
            assert!((ratio - 100.0 / cost).abs() < 1e-9, "{cost}: {ratio}");
            assert!((absolute - 100.0 / cost).abs() < 1e-9, "{cost}: {absolute}");
            assert_eq!(found.absolute_verdict, Some(verdict), "{cost}");
            assert_eq!(found.is_slower(), verdict == Judgement::Regression);
        }
    }

    #[test]
    fn noise_is_inconclusive() {
        let noise = measurement("path", 30, |block| if block % 2 == 0 { 80.0 } else { 125.0 });
        let found = change(&noise, &costing(100.0));
        assert!(matches!(found.verdict.reason(), Some(Inconclusive::TooWide { .. })), "{found:?}");
        assert!(!found.is_slower());
    }

    #[test]
    fn too_few_blocks_on_either_side_are_inconclusive() {
        let few = measurement("path", 19, |_| 150.0);
        for (new, old, series) in
            [(&few, &costing(100.0), Which::Subject), (&costing(100.0), &few, Which::Baseline)]
        {
            let reason = change(new, old).verdict.reason();
            assert_eq!(reason, Some(Inconclusive::TooFewBlocks { series, n: 19 }));
        }
    }

    #[test]
    fn what_was_not_believed_when_it_was_measured_is_nothing_to_judge_by() {
        let reason = Inconclusive::TooManyVoid { series: Which::Gate, void: 20, of: 30 };
        let doubted = Measurement { verdict: Some(Judgement::Inconclusive { reason }), ..costing(150.0) };
        for (new, old) in [(&doubted, &costing(100.0)), (&costing(100.0), &doubted)] {
            let found = change(new, old);
            assert_eq!(found.verdict.reason(), Some(reason));
            assert_eq!(found.absolute_verdict, None);
            assert!(!found.is_slower());
        }
    }

    #[test]
    fn void_blocks_are_not_compared() {
        let mut new = measurement("path", 60, |block| if block < 30 { 100.0 } else { 200.0 });
        for trial in new.trials.iter_mut().filter(|trial| trial.block >= 30) {
            trial.void = Some(super::super::Void::Softnet { dropped: 1 });
        }
        assert_eq!(change(&new, &costing(100.0)).verdict, Judgement::Pass);
    }

    #[test]
    fn another_machine_program_or_load_has_no_absolute_figure() {
        let old = costing(100.0);
        let fingerprints = [
            Fingerprint { kernel: "6.2".to_owned(), ..old.fingerprint.clone() },
            Fingerprint { program: "another".to_owned(), ..old.fingerprint.clone() },
            Fingerprint { cpus: 4, ..old.fingerprint.clone() },
        ];
        let others = fingerprints.map(|fingerprint| Measurement { fingerprint, ..costing(150.0) });
        let paced = Measurement { offered_pps: Some(1e6), ..costing(150.0) };
        for new in others.into_iter().chain([paced]) {
            let found = change(&new, &old);
            assert_eq!((found.absolute, found.absolute_verdict), (None, None));
            assert!(found.to_string().contains("compare for one machine"), "{found}");
            // The ratio is another matter.
            assert_eq!(found.verdict, Judgement::Regression);
        }
    }

    #[test]
    fn in_a_virtual_machine_an_absolute_figure_is_shown_and_not_judged() {
        // Both programs got slower alike: the ratio is what it was.
        let slow_machine = |mut measurement: Measurement, slower: f64| {
            measurement.fingerprint.virtual_machine = true;
            measurement.trials.iter_mut().for_each(|trial| trial.frame_ns *= slower);
            measurement
        };
        let found = change(&slow_machine(costing(100.0), 2.0), &slow_machine(costing(100.0), 1.0));
        assert_eq!((found.verdict, found.absolute_verdict), (Judgement::Pass, None));
        assert!((found.absolute.unwrap() - 0.5).abs() < 1e-9);
        assert!(!found.is_slower());
        assert!(found.to_string().contains("0.500 times as fast as then (not judged"), "{found}");
        // On a machine of one's own it is.
        let mut slow = costing(100.0);
        slow.trials.iter_mut().for_each(|trial| trial.frame_ns *= 2.0);
        let found = change(&slow, &costing(100.0));
        assert_eq!((found.verdict, found.absolute_verdict), (Judgement::Pass, Some(Judgement::Regression)));
        assert!(found.is_slower());
    }

    #[test]
    fn new_and_vanished_ids_are_paired_with_nothing() {
        let of =
            |ids: &[&str]| -> Vec<Measurement> { ids.iter().map(|id| measurement(id, 0, |_| 1.0)).collect() };
        let (new, old) = (of(&["new", "both"]), of(&["gone", "both"]));
        let ids: Vec<_> = pairs(&new, &old)
            .map(|(new, old)| [new, old].map(|its| its.map(|its| its.id.as_str())))
            .collect();
        assert_eq!(ids, [[Some("new"), None], [Some("both"), Some("both")], [None, Some("gone")]]);
    }

    #[test]
    fn what_is_held_against_another_program_or_at_another_load_does_not_compare() {
        let old = costing(100.0);
        assert!(is_comparable(&costing(150.0), &old));
        let mut reference = costing(100.0);
        reference.reference.tag = "another".to_owned();
        let traffic = Measurement { traffic: "imix".to_owned(), ..costing(100.0) };
        let load = Measurement { offered_pps: Some(1e6), ..costing(100.0) };
        let what = Measurement { what: What::SizeToSmallest, ..costing(100.0) };
        for new in [&reference, &traffic, &load, &what] {
            assert!(!is_comparable(new, &old), "{new:?}");
        }
        // One place against another: both are of the program under test, whatever became of it.
        let place = |mut measurement: Measurement| {
            measurement.what = What::NativeToGeneric;
            measurement
        };
        assert!(is_comparable(&place(reference), &place(old)));
    }
}
