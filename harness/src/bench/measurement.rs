//! From the samples of a case to its measurement, and the outcome of a run.

use std::io;

use crate::{
    bench::{
        machine::fingerprint,
        order::{BenchError, BenchOrder},
        path::MeasuredPath,
        rig::{BenchRig, kind_of},
        state::State,
    },
    error::chain,
    host::kernel,
    inject::pace::Pps,
    measure::{
        Series,
        case::{Case, Place},
        judge,
        series::{Costs, believe, figures, series},
    },
    model::{InjectorKind, Judgement, Losses, Measurement, Mode, ProgramRole, Sample, SideStats},
};

impl BenchRig {
    /// Returns a note if two programs have different verdicts on a frame, so that the paths behind them differ too.
    fn different_answers(&self, case: &Case) -> Result<Option<String>, BenchError> {
        let Some((frame, _)) = case.setup.traffic.frames.first() else { return Ok(None) };
        let mut out = vec![0; frame.len() + 4096];
        let mut answer = |role| {
            let program = self.program(role, false)?;
            // Nothing is known of a frame that a test run rejects.
            Ok::<_, BenchError>(program.program.test_run(frame, &mut out).ok().map(|answer| answer.action))
        };
        Ok(match (answer(case.subject)?, answer(case.reference)?) {
            (Some(its), Some(other)) if its != other => Some(format!(
                "the programs return {its} and {other} (XDP_DROP is 1, XDP_PASS 2): the paths behind them differ, and are measured too"
            )),
            _ => None,
        })
    }

    /// Returns the measurement of a case.
    pub(super) fn measurement(
        &self,
        state: State<'_>,
        order: &BenchOrder,
    ) -> Result<Measurement, BenchError> {
        let State { case, seed, trials, unmeasured, .. } = state;
        let [judged_series, judged_control] =
            [false, true].map(|control| series(&trials, control, Costs::Gross));
        let subject = series(&trials, false, Costs::Net);
        let judged = judge(&judged_series, &judged_control, order.tolerance, seed);
        let verdict = if unmeasured.is_some() {
            None
        } else if case.is_judged() {
            Some(judged.verdict)
        } else {
            believe(&judged_series, &judged_control, order.tolerance, seed)
        };
        let [value, reference_value] =
            figures(case.quantity, case.reference == ProgramRole::Null, &subject, seed);
        let missing = || io::Error::other("a program is not loaded");
        let describe = |role| self.programs.describe(role).ok_or_else(missing);
        let wire = kind_of(&case.setup, self.testbed.facts()).and_then(|kind| self.paths.get(&kind));
        let device =
            wire.map(MeasuredPath::device).transpose().map_err(|error| io::Error::other(chain(&error)))?;
        let described = describe(case.subject)?;
        let (mode, injector, cpus) = match case.setup.place {
            Place::Wire { mode, injector, cpus } => (mode, injector, cpus),
            Place::Alone => (Mode::Unattached, InjectorKind::TestRun, 1),
        };
        let mut notes = wire.map(|path| path.notes(injector, &case.setup.traffic)).unwrap_or_default();
        if order.rate.is_some() && wire.is_some() {
            notes.push("at an offered load, every program that keeps up has the same rate".to_owned());
        }
        if let Some(answers) = self.different_answers(case)? {
            notes.push(answers);
        }
        if kernel::counts_runs() {
            notes.push("the kernel counts the runs of every program (kernel.bpf_stats_enabled)".to_owned());
        }
        Ok(Measurement {
            id: case.id(),
            quantity: case.quantity,
            mode,
            injector,
            traffic: case.setup.traffic.name.clone(),
            cpus,
            offered_pps: order.rate.map(|Pps(rate)| rate),
            fingerprint: fingerprint(described.tag.clone(), self.cpus.len(), device)?,
            subject: described,
            reference: describe(case.reference)?,
            value,
            reference_value,
            ratio: judged.estimate,
            net_ratio: subject
                .blocks
                .iter()
                .any(|block| block.null.is_some())
                .then(|| subject.estimate(seed))
                .flatten(),
            control: judged.control,
            tolerance: order.tolerance,
            seed,
            verdict,
            unmeasured,
            baseline: None,
            notes,
            side_stats: side_stats(&trials, &judged_series, &judged_control),
            trials,
        })
    }
}

/// Returns the state of the machine during the complete trials of the subject.
fn side_stats(trials: &[Sample], subject: &Series, control: &Series) -> SideStats {
    let mut stats = SideStats::default();
    let (mut frames, mut cpu_ns, mut time_ns, mut stolen) = (0, 0, 0, 0.0);
    let its = trials
        .iter()
        .filter(|trial| !trial.control && trial.role == ProgramRole::Subject && trial.void.is_none());
    for Sample { counted, cpu_ns: cpu, time_ns: time, steal, losses, per_cpu, .. } in its {
        frames += counted;
        cpu_ns += cpu;
        time_ns += time;
        stolen += steal * *time as f64;
        let Losses { tx_dropped, tx_errors, rx_dropped, rx_missed, softnet } = *losses;
        stats.losses.tx_dropped += tx_dropped;
        stats.losses.tx_errors += tx_errors;
        stats.losses.rx_dropped += rx_dropped;
        stats.losses.rx_missed += rx_missed;
        stats.losses.softnet += softnet;
        stats.per_cpu.resize(stats.per_cpu.len().max(per_cpu.len()), 0);
        for (sum, frames) in stats.per_cpu.iter_mut().zip(per_cpu) {
            *sum += frames;
        }
    }
    if frames > 0 {
        stats.cpu_ns_per_frame = Some(cpu_ns as f64 / frames as f64);
        stats.steal = Some(stolen / time_ns.max(1) as f64);
    }
    for void in subject.void.iter().chain(&control.void) {
        *stats.void_blocks.entry(void.name().to_owned()).or_default() += 1;
    }
    stats
}

/// Returns the outcome of a run of measurements.
#[must_use]
pub fn outcome(measurements: &[Measurement]) -> BenchOutcome {
    let is = |measurement: &Measurement, wanted: fn(&Judgement) -> bool| {
        measurement.verdict.as_ref().is_some_and(wanted)
    };
    let inconclusive = |verdict: &Judgement| matches!(verdict, Judgement::Inconclusive { .. });
    let broken = |measurement: &Measurement| measurement.unmeasured.as_ref().is_some_and(|why| !why.declared);
    let mut measured = measurements.iter().filter(|measurement| measurement.unmeasured.is_none()).peekable();
    if measurements.iter().any(|measurement| is(measurement, |verdict| *verdict == Judgement::Regression)) {
        BenchOutcome::Slower
    } else if measured.peek().is_none()
        || measurements.iter().any(broken)
        || measured.any(|measurement| is(measurement, inconclusive))
    {
        BenchOutcome::Inconclusive
    } else {
        BenchOutcome::AsExpected
    }
}

/// The outcome of a run of measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BenchOutcome {
    /// Every verdict is conclusive, and nothing is slower than allowed.
    AsExpected,
    /// A measurement is slower than allowed.
    Slower,
    /// A verdict is inconclusive, or nothing was measured.
    Inconclusive,
}
