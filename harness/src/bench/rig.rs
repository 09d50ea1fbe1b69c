//! The rig of a run of measurements: programs, paths and CPUs, and the trials that are run with them.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use xdproof_scenarios::KernelVersion;

use crate::{
    bench::{
        cost,
        order::BenchError,
        path::{Load, MeasuredPath, PathKind},
        programs::{Loaded, Programs},
        state::{FIRST, Obstacle, State},
    },
    host::{kernel, xdp_mode},
    inject::{live_frames, pace::Pps},
    measure::case::{Place, Setup},
    model::{BURSTS, Facts, InjectorKind, MAX_MTU, Mode, ProgramRole, Quantity, Sample, Unmeasured, Void},
    plan::{
        eligibility::Conditions,
        needs::Needs,
        support::{self, RefusalMeaning},
    },
    program::RunCounting,
    testbed::Testbed,
    trial::attaching::NoRig,
};

/// Minimum and maximum frames of a burst. The minimum does not apply to an offered load.
const LEAST_FRAMES: u32 = 64;
const MOST_FRAMES: u32 = 4_000_000;

/// Length of a trial of a program's cost.
pub(super) const COST_TRIAL: Duration = Duration::from_millis(2);

/// Everything with which trials are run.
pub(super) struct BenchRig {
    pub(super) programs: Programs,
    pub(super) paths: HashMap<PathKind, MeasuredPath>,
    pub(super) testbed: Arc<dyn Testbed>,
    pub(super) cpus: Vec<usize>,
    pub(super) rate: Option<Pps>,
    /// For a program's cost, and for a path.
    pub(super) blocks_in_a_round: [u32; 2],
}

impl BenchRig {
    pub(super) fn program(&self, role: ProgramRole, second: bool) -> Result<&Loaded, BenchError> {
        let missing = || io::Error::other("a program is not loaded").into();
        self.programs.get(role, second).ok_or_else(missing)
    }

    /// Brings up everything that a case needs, and finds out how many frames its trials take. The samples are
    /// discarded.
    pub(super) fn warm_up(&mut self, state: &mut State<'_>, length: Duration) -> Result<(), Obstacle> {
        let case = state.case;
        let subject = self.fitting(&case.setup, case.subject, length)?;
        // The slower one decides: neither then has longer trials than there is time for.
        let reference = self.fitting(case.reference_setup(), case.reference, length)?;
        state.frames = subject.min(reference);
        Ok(())
    }

    /// Returns the frames of a burst with which a trial takes this long, by the rate of two trials.
    fn fitting(&mut self, setup: &Setup, role: ProgramRole, length: Duration) -> Result<u32, Obstacle> {
        self.prepare(setup)?;
        let (length, cpus) = match setup.place {
            Place::Alone => (COST_TRIAL, 1),
            Place::Wire { cpus, .. } => (length, cpus),
        };
        let burst = (length / BURSTS).as_secs_f64();
        // A paced burst takes as long as its frames are apart, however few they are.
        let paced = self.rate.filter(|_| setup.place != Place::Alone);
        let due = paced.map(|Pps(rate)| rate / cpus as f64 * burst);
        let mut frames = due.map_or(FIRST, |due| between(due, 1, FIRST));
        for _ in 0..2 {
            let sample = self.trial(setup, (role, false), frames, ProgramRole::Reference);
            let sample = sample.map_err(|error| Obstacle::broken(&error))?;
            if let Some(reason) = self.fault(setup, (role, false), &sample) {
                return Err(Obstacle(Unmeasured { reason, declared: false }));
            }
            // Each CPU sends this many, all at once.
            let each = (sample.time_ns.max(1) as f64 * cpus as f64 / sample.sent.max(1) as f64).max(0.1);
            let fits = burst * 1e9 / each;
            frames = match due {
                Some(due) => between(due.min(fits), 1, MOST_FRAMES),
                None => self.whole_bursts(setup, between(fits, LEAST_FRAMES, MOST_FRAMES)),
            };
        }
        Ok(frames)
    }

    /// Brings up the path that a setup needs, and prepares its senders.
    fn prepare(&mut self, setup: &Setup) -> Result<(), Obstacle> {
        let Place::Wire { mode, injector, cpus } = setup.place else {
            return match setup.traffic.frames.len() {
                1 => Ok(()),
                several => Err(Obstacle::declared(format!(
                    "the cost of a program is measured on one frame, and the traffic has {several}"
                ))),
            };
        };
        let kernel = kernel::kernel_version().map_err(|error| Obstacle::broken(&error))?;
        let facts = self.testbed.facts();
        if let Some(reason) = support::injector(injector, kernel) {
            return Err(Obstacle::declared(reason));
        }
        let longest = setup.traffic.longest();
        if injector == InjectorKind::LiveFrames && longest > live_frames::LONGEST {
            let most = live_frames::LONGEST;
            return Err(Obstacle::declared(format!(
                "a live frame has at most {most} bytes, and the traffic has frames of {longest}"
            )));
        }
        if cpus > self.cpus.len() {
            let reason = format!("--cpus {cpus} exceeds the {} CPUs that can be used", self.cpus.len());
            return Err(Obstacle::declared(reason));
        }
        let Some(kind) = kind_of(setup, facts) else {
            return Err(Obstacle::declared("test runs attach to nothing"));
        };
        if let Some(reason) = kind.needs.unmet(facts) {
            return Err(Obstacle::declared(reason));
        }
        if !self.paths.contains_key(&kind) {
            if facts.exclusive {
                // There is one DUT: its last program has to be detached first.
                self.paths.clear();
                self.testbed.wait_released().map_err(|error| Obstacle::broken(&error))?;
            }
            let path = self.bring_up(kind.clone(), mode, kernel, longest)?;
            self.paths.insert(kind.clone(), path);
        }
        let Some(path) = self.paths.get_mut(&kind) else { return Ok(()) };
        path.prepare(injector, &setup.traffic).map_err(|error| Obstacle::broken(&error))
    }

    /// Brings a path up. A refusal is declared where the [support table](support) has its errno and its sentence.
    fn bring_up(
        &self,
        kind: PathKind,
        mode: Mode,
        kernel: KernelVersion,
        longest: usize,
    ) -> Result<MeasuredPath, Obstacle> {
        let program = self.program(ProgramRole::Subject, false).map_err(|error| Obstacle::broken(&error))?;
        let conditions = Conditions {
            facts: self.testbed.facts(),
            kernel,
            page: rustix::param::page_size(),
            takes_frags: program.program.takes_frags(),
            most_frames: None,
        };
        let mtu = kind.needs.mtu;
        MeasuredPath::up(self.testbed.as_ref(), kind, program).map_err(|error| match error {
            NoRig::Incapable(reason) => Obstacle::declared(reason),
            NoRig::Refused(refusal) => match conditions.explain(mode, mtu, longest, &refusal) {
                RefusalMeaning::Declared(reason) | RefusalMeaning::Unreachable(reason) => {
                    Obstacle::declared(reason)
                }
                RefusalMeaning::Unexpected(reason) => Obstacle(Unmeasured { reason, declared: false }),
            },
            NoRig::NoTraffic(reason) | NoRig::Failed(reason) => {
                Obstacle(Unmeasured { reason, declared: false })
            }
        })
    }

    fn whole_bursts(&self, setup: &Setup, frames: u32) -> u32 {
        let wire = kind_of(setup, self.testbed.facts()).and_then(|kind| self.paths.get(&kind));
        match (wire, setup.place) {
            (Some(wire), Place::Wire { injector, .. }) => wire.whole_bursts(injector, frames),
            _ => frames,
        }
    }

    /// Runs a block of the subject and one of the control, or several of each if they are short.
    pub(super) fn round(&mut self, state: &mut State<'_>) -> Result<(), BenchError> {
        if state.settled || state.unmeasured.is_some() {
            return Ok(());
        }
        let [cost, path] = self.blocks_in_a_round;
        for _ in 0..if state.case.quantity == Quantity::ProgramCost { cost } else { path } {
            for control in [false, true] {
                self.block(state, control)?;
            }
        }
        Ok(())
    }

    fn block(&mut self, state: &mut State<'_>, control: bool) -> Result<(), BenchError> {
        let case = state.case;
        let reference_setup = case.reference_setup();
        let reference = (ProgramRole::Reference, reference_setup, (case.reference, false));
        let subject = if control {
            (ProgramRole::Subject, reference_setup, (case.reference, true))
        } else {
            (ProgramRole::Subject, &case.setup, (case.subject, false))
        };
        let net = case.quantity == Quantity::ProgramCost && case.reference != ProgramRole::Null;
        let null = net.then_some((ProgramRole::Null, reference_setup, (ProgramRole::Null, false)));
        let [outer, inner] = if state.draws.bool() { [reference, subject] } else { [subject, reference] };
        let order = [null, Some(outer), Some(inner), Some(inner), Some(outer), null];
        for (role, setup, program) in order.into_iter().flatten() {
            if let Err(Obstacle(why)) = self.prepare(setup) {
                // The samples so far stay.
                state.unmeasured = Some(why);
                break;
            }
            let sample = self.trial(setup, program, state.frames, role)?;
            if let Some(Void::Miscounted { .. }) = sample.void {
                let reason = self.fault(setup, program, &sample);
                state.unmeasured = reason.map(|reason| Unmeasured { reason, declared: false });
            }
            state.trials.push(Sample { block: state.blocks, control, ..sample });
            if state.unmeasured.is_some() {
                break;
            }
        }
        state.blocks += 1;
        Ok(())
    }

    fn trial(
        &mut self,
        setup: &Setup,
        (program, second): (ProgramRole, bool),
        frames: u32,
        role: ProgramRole,
    ) -> Result<Sample, BenchError> {
        let missing = || io::Error::other("a program or a path is missing");
        let program = self.programs.get(program, second).ok_or_else(missing)?;
        match (kind_of(setup, self.testbed.facts()), setup.place) {
            (Some(kind), Place::Wire { injector, cpus, .. }) => {
                let wire = self.paths.get_mut(&kind).ok_or_else(missing)?;
                let cpus = self.cpus.get(..cpus).ok_or_else(missing)?;
                let load = Load { injector, traffic: &setup.traffic, frames, cpus, rate: self.rate };
                let sample = wire.trial(program, load, role)?;
                if !matches!(sample.void, Some(Void::Conservation { .. })) {
                    return Ok(sample);
                }
                // Once more, to tell the program's count from the machine's losses.
                let _counting = RunCounting::enable()?;
                let again = wire.trial(program, load, role)?;
                Ok(if matches!(again.void, Some(Void::Miscounted { .. })) { again } else { sample })
            }
            _ => Ok(cost::trial(program, &setup.traffic, frames, role)?),
        }
    }

    /// Returns what is wrong with the injector or the program of a trial, so that another one would fail, too.
    fn fault(&self, setup: &Setup, (role, second): (ProgramRole, bool), sample: &Sample) -> Option<String> {
        match sample.void.as_ref()? {
            Void::Injector { reason } => Some(reason.clone()),
            Void::Miscounted { ran, counted } => {
                let program = &self.programs.get(role, second)?.program;
                let name = &program.identity().name;
                let frame = setup.traffic.frames.first().map_or(&[][..], |(frame, _)| frame);
                let mut out = vec![0; frame.len() + 4096];
                let left = program.test_run(frame, &mut out).ok().and_then(|ran| out.get(..ran.length));
                Some(if setup.place == Place::Alone && left.is_some_and(|left| left != frame) {
                    format!(
                        "`{name}` modifies the frame, and repeated test runs go on with what is left of it: leave out --injector test_run"
                    )
                } else {
                    let slots: Vec<String> = setup.traffic.slots.keys().map(ToString::to_string).collect();
                    let slots = slots.join(", ");
                    format!(
                        "`{name}` ran on {ran} frames and counted {counted} in slot {slots}; `xdproof validate` shows the fault"
                    )
                })
            }
            _ => None,
        }
    }
}

/// Returns a whole number of frames within limits.
fn between(frames: f64, least: u32, most: u32) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let frames = frames.clamp(f64::from(least), f64::from(most)) as u32;
    frames
}

/// Returns the kind of path that a setup needs; none for test runs.
#[must_use]
pub fn kind_of(setup: &Setup, facts: &Facts) -> Option<PathKind> {
    let Place::Wire { mode, injector, cpus } = setup.place else { return None };
    let header = 14;
    let mtu = u32::try_from(setup.traffic.longest().saturating_sub(header)).ok()?;
    let usual = Needs::usual(facts);
    // A veth has a receive queue for each sender; a device spreads frames as it likes.
    let queues = if facts.asynchronous { usual.queues } else { u32::try_from(cpus).ok()? };
    Some(PathKind {
        mode: xdp_mode::to_kernel(mode)?,
        needs: Needs { mtu: mtu.clamp(usual.mtu, MAX_MTU.max(usual.mtu)), queues, ..usual },
        redirected: injector == InjectorKind::LiveFrames,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::traffic::{Mix, Traffic};

    #[test]
    fn a_veth_has_room_for_the_frames_and_a_queue_for_each_cpu() {
        let place = Place::Wire { mode: Mode::Native, injector: InjectorKind::Ring, cpus: 2 };
        let setup = |size| Setup { place, traffic: Traffic::of(Mix::Udp, size).unwrap() };
        let facts = Facts::veth();
        let needs = |size| kind_of(&setup(size), &facts).unwrap().needs;
        assert_eq!(needs(64), Needs { queues: 2, ..Needs::usual(&facts) });
        assert_eq!(needs(9018), Needs { mtu: 9000, queues: 2, ..Needs::usual(&facts) });
        let alone = Setup { place: Place::Alone, traffic: Traffic::of(Mix::Udp, 64).unwrap() };
        assert_eq!(kind_of(&alone, &facts), None);
    }
}
