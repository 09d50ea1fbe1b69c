//! The runner for measurements: from cases to measurements.
//!
//! ```text
//! Wanted --Case--> round: programs loaded anew
//!                    case: block of four trials, block of the control    (path or test runs)
//!                  until each case is settled or the budget is spent --Measurement--> reporters
//! ```

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    bench::{
        machine::IdleTimes,
        order::{BenchError, BenchOrder},
        programs::Programs,
        rig::{BenchRig, COST_TRIAL},
        state::{Obstacle, State},
    },
    host::kernel,
    inject::cpu::Pinned,
    measure::case::Case,
    model::{ProgramRole, Quantity, RunResult},
    report::{Event, Reporter},
};

/// Minimum and maximum length of a path's trial. A shorter one measures the clock's resolution and wake-ups;
/// a longer one leaves few blocks.
const TRIAL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(3));

/// Rounds that fit the budget, so that each case gets at least as many blocks as a verdict takes.
const ROUNDS: u32 = 26;

/// Overhead of a round: loading the programs anew, most of it waiting for the kernel.
const RELOAD: Duration = Duration::from_millis(150);

/// Overhead of a trial: reading counters, replacing programs.
const AROUND_TRIAL: Duration = Duration::from_micros(600);

/// Returns the blocks in a round of a program's cost, and of a path: with few cases, loading programs takes
/// longer than they do.
fn blocks_in_a_round(cases: usize) -> [u32; 2] {
    /// Cases that take as long as loading does.
    const FEW: usize = 8;
    if cases <= FEW { [4, 2] } else { [2, 1] }
}

/// Measures until the budget is spent or `cancelled` is set. Needs the privileges of
/// [`Lab::open`](crate::trial::Lab::open).
///
/// # Errors
///
/// An object that cannot be measured, a machine that cannot be read, a reporter that fails.
pub fn run(
    order: &BenchOrder,
    cancelled: &AtomicBool,
    reporter: &mut dyn Reporter,
) -> Result<RunResult, BenchError> {
    let deadline = Instant::now() + order.budget;
    let idle = IdleTimes::read()?;
    let programs = Programs::load(order.objects.clone())?;
    let mut rig = BenchRig {
        programs,
        paths: HashMap::new(),
        testbed: Arc::clone(&order.testbed),
        cpus: idle.quietest_since()?,
        rate: order.rate,
        blocks_in_a_round: blocks_in_a_round(order.cases.len()),
    };
    let is_over = || Instant::now() >= deadline || cancelled.load(Ordering::Relaxed);
    let identity = rig.program(ProgramRole::Subject, false)?.program.identity().clone();
    let environment = kernel::environment(identity.of(&order.objects.subject))?;
    reporter.report(Event::Measuring {
        environment: &environment,
        cases: order.cases.len(),
        budget: order.budget,
    })?;
    let home = rig.cpus.first().copied().unwrap_or(0);
    let _pinned = Pinned::on(home)?;

    let length = trial_length(&order.cases, order.budget);
    let mut states: Vec<State<'_>> = order.cases.iter().map(State::new).collect();
    for state in &mut states {
        if is_over() {
            break;
        }
        state.unmeasured = rig.warm_up(state, length).err().map(|Obstacle(why)| why);
    }
    let mut round = 0;
    'measuring: loop {
        if round > 0 {
            rig.programs.reload()?;
        }
        round += 1;
        for state in &mut states {
            if is_over() {
                break 'measuring;
            }
            let whole = order.budget.as_secs_f64().max(f64::MIN_POSITIVE);
            let left = deadline.saturating_duration_since(Instant::now());
            let spent = 1.0 - left.as_secs_f64() / whole;
            reporter.report(Event::Progress { round, spent, case: &state.case.id() })?;
            rig.round(state)?;
            state.settle(order.tolerance);
        }
        if states.iter().all(|state| state.settled || state.unmeasured.is_some()) {
            break;
        }
    }
    let measurements =
        states.into_iter().map(|state| rig.measurement(state, order)).collect::<Result<_, _>>()?;
    let result = RunResult::new(environment, Vec::new(), measurements, 0);
    let devices = order.testbed.devices().to_vec();
    Ok(RunResult { devices, findings: order.testbed.findings(), ..result })
}

/// Returns the length of a path's trial with which the budget holds [`ROUNDS`].
fn trial_length(cases: &[Case], budget: Duration) -> Duration {
    let paths = cases.iter().filter(|case| case.quantity != Quantity::ProgramCost).count();
    let costs = cases.len() - paths;
    // A block of the subject and one of the control, with the null program around both for a net cost.
    let [cost_blocks, path_blocks] = blocks_in_a_round(cases.len());
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let each_cost = (COST_TRIAL + AROUND_TRIAL) * (12 * cost_blocks).saturating_mul(number(costs));
    let round = (budget / ROUNDS).saturating_sub(RELOAD + each_cost);
    let trials = (8 * path_blocks).saturating_mul(number(paths.max(1)));
    (round / trials).saturating_sub(AROUND_TRIAL).clamp(TRIAL.0, TRIAL.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::case::Wanted;

    #[test]
    fn a_small_budget_makes_short_trials_and_a_large_one_no_long_ones() {
        let cases = Wanted { cpus_available: 2, ..Wanted::default() }.cases().unwrap();
        assert_eq!(trial_length(&cases, Duration::from_secs(1)), TRIAL.0);
        assert_eq!(trial_length(&cases, Duration::from_secs(600)), TRIAL.1);
        let length = trial_length(&cases, Duration::from_secs(20));
        assert!(TRIAL.0 < length && length < TRIAL.1, "{length:?}");
    }
}
