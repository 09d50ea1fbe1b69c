//! Runs the trials of a plan, in parallel where the testbed allows it.

use std::{
    io,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
};

use crate::{
    host::kernel,
    judge::{findings, refused_modes},
    model::{
        finding::{Finding, FindingKind, Severity},
        mode::TrialPath,
        result::{RunResult, TrialRecord},
        verdict::VerdictKind,
    },
    plan::selection::Trial,
    report::{Event, Reporter},
    testbed::TestbedError,
    trial::{
        device_checks::{Examined, Suite, Watch},
        frame_budget::FrameBudget,
        rig::{RigKind, RigRole},
    },
};

use crate::trial::lab::Lab;

/// A plan to run, and the way in which to run it.
#[derive(Clone, Copy)]
pub struct Order<'a> {
    /// The trials.
    pub plan: &'a [Trial<'a>],
    /// The columns of the plan.
    pub paths: &'a [TrialPath],
    /// Trials at once; devices take one at a time.
    pub jobs: usize,
    /// Other suites that run after the trials.
    pub suites: &'a [Suite<'a>],
    /// Once this is set, the run stops early, with what there is.
    pub cancelled: &'a AtomicBool,
    /// Is called when nothing is attached any more and before the result is told: puts devices back, and finds what could not be.
    pub give_back: &'a (dyn Fn() -> Vec<Finding> + Sync),
}

/// An error that leaves no result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A reporter cannot pass on what it is told, or the machine cannot be read.
    #[error(transparent)]
    Output(#[from] io::Error),
    /// The path between the ports cannot be explored.
    #[error("failed to find out which frames arrive at the DUT without a program")]
    Testbed(#[from] TestbedError),
}

/// For what needs nothing to be put back.
#[must_use]
pub fn nothing_to_give_back() -> Vec<Finding> {
    Vec::new()
}

/// Runs a plan, examines the devices if there are some, and tells `reporter` what happens.
pub fn run(lab: &Lab, order: Order<'_>, reporter: &mut dyn Reporter) -> Result<RunResult, RunError> {
    let Order { plan, paths, jobs: _, suites, cancelled, give_back } = order;
    let environment = lab.environment()?;
    let started = kernel::seconds_since_1970();
    reporter.report(Event::Started { environment: &environment, paths, trials: plan.len() })?;
    let watch = Watch::begin(lab);
    survey(lab, order, reporter)?;
    let (trials, broken) = run_trials(lab, order, reporter)?;
    // Nothing can be examined at a broken testbed.
    let over = AtomicBool::new(true);
    let Examined { devices, mut findings, kernel_messages, attach_semantics } =
        watch.end(lab, &trials, suites, if broken.is_some() { &over } else { cancelled });
    let left = plan.len() - trials.len();
    findings.extend(broken.map(|what| testbed_failure(lab, &what, left)));
    findings.extend(lab.disturbances());
    let ended = trials.len();
    let trials = refused_modes::collapse(trials, &lab.pool.attached());
    let planned = plan.len() - (ended - trials.len());
    if !lab.options.keep {
        lab.detach();
    }
    findings.extend(give_back());
    findings::sort(&mut findings);
    let result = RunResult {
        devices,
        findings,
        kernel_messages,
        attach_semantics,
        started,
        ..RunResult::new(environment, trials, Vec::new(), planned).of_part(lab.options.part)
    };
    reporter.report(Event::Ended { result: &result })?;
    Ok(result)
}

/// Finds out which frames of the plan arrive without the program. A signal ends it without an error.
fn survey(lab: &Lab, order: Order<'_>, reporter: &mut dyn Reporter) -> Result<(), RunError> {
    let mut told = Ok(());
    let mut tell = |frames, sent, lost| {
        if told.is_ok() {
            told = reporter.report(Event::Surveying { frames, sent, lost });
        }
    };
    match lab.survey(order.plan, order.cancelled, &mut tell) {
        Err(_) if order.cancelled.load(Ordering::Relaxed) => {}
        surveyed => surveyed?,
    }
    Ok(told?)
}

fn testbed_failure(lab: &Lab, what: &str, left: usize) -> Finding {
    Finding {
        kind: FindingKind::TestbedFailure,
        severity: Severity::Fault,
        nic: Some(lab.testbed().facts().label.clone()),
        mode: None,
        message: format!("the run ended early, {left} trials were not run: {what}"),
    }
}

/// The most bytes of frames that the records of a run have in all. Beyond it, records count their frames.
const KEPT_IN_ALL: usize = 4 << 20;

/// The most bytes of frames that the trials have at once that are under way. A trial holds the frames that it expects and those that
/// it observes.
const UNDER_WAY: usize = 64 << 20;

/// Runs the trials of a plan; gives those that ended, in the order of the plan, and why the others were not begun if the testbed is
/// broken.
fn run_trials(
    lab: &Lab,
    order: Order<'_>,
    reporter: &mut dyn Reporter,
) -> io::Result<(Vec<TrialRecord>, Option<String>)> {
    let Order { plan, cancelled, .. } = order;
    let (order, jobs) = in_turn(lab, order);
    let mut records: Vec<Option<TrialRecord>> = vec![None; plan.len()];
    let next = AtomicUsize::new(0);
    let broken = OnceLock::new();
    let room = FrameBudget::new(UNDER_WAY);
    let mut kept = KEPT_IN_ALL;
    let (done, ended) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, plan.len().max(1)) {
            let (order, next, room, done, broken) = (&order, &next, &room, done.clone(), &broken);
            scope.spawn(move || {
                while !cancelled.load(Ordering::Relaxed) && broken.get().is_none() {
                    let Some((index, trial)) = order.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                    let frames = trial.scenario.frames.iter().map(|frame| frame.bytes.len()).sum();
                    let share = room.take(frames);
                    let (record, unexpected) = lab.run_with_frames(trial);
                    // A signal cuts waits short, so that a trial which did not pass has not run.
                    if cancelled.load(Ordering::Relaxed) && record.verdict != VerdictKind::Pass {
                        break;
                    }
                    if let Some(what) = lab.broken() {
                        broken.get_or_init(|| what);
                    }
                    if done.send((*index, record, unexpected, share)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(done);
        for (index, mut record, unexpected, share) in ended {
            if let Some(failure) = &mut record.failure {
                kept = failure.fit(kept);
                let sent = plan[index].scenario.frames.as_slice();
                reporter.report(Event::Frames { trial: &record, sent, unexpected: &unexpected })?;
            }
            drop((unexpected, share));
            reporter.report(Event::Trial(&record))?;
            records[index] = Some(record);
        }
        Ok::<(), io::Error>(())
    })?;
    Ok((records.into_iter().flatten().collect(), broken.into_inner()))
}

/// The trials in the order in which they are begun, each with its place in the plan, and how many at once.
fn in_turn<'a>(lab: &Lab, order: Order<'a>) -> (Vec<(usize, &'a Trial<'a>)>, usize) {
    let mut trials: Vec<_> = order.plan.iter().enumerate().collect();
    let facts = lab.testbed().facts();
    if facts.exclusive {
        // Trials with equal needs follow each other: changing the settings of a device takes a second.
        trials.sort_by_cached_key(|(_, trial)| RigKind::for_trial(trial, RigRole::UnderTest, facts));
        (trials, 1)
    } else {
        // The longest first, so that no thread is left with one when the others are done.
        trials.sort_by_key(|(_, trial)| std::cmp::Reverse(trial.scenario.sent()));
        (trials, order.jobs)
    }
}
