//! A rig: everything that is up and ready for a trial. Ports with a program attached to the DUT, a sender, captures.

use std::{sync::Arc, time::Duration};

use xdproof_netns::{NetNs, Worker};
use xdproof_scenarios::{Frame, KernelVersion, SHORTEST_FRAME, describe};

use crate::{
    error::chain,
    exchange::{self, Capture, ExchangeError, Offered},
    host::{interrupt, kernel, xdp_mode},
    inject::sender::Sender,
    model::{
        facts::Facts,
        mode::{InjectorKind, Mode, TrialPath},
    },
    plan::{needs::Needs, selection::Trial},
    program::{Attachment, DispatcherHold, Object, Subject},
    testbed::{PortPair, Testbed},
    trial::attaching::{NoRig, attach_at_dut},
};

/// Time that the first frame may take to reach a program that was just attached to a device.
const FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(10);

/// The first kernel on which a test run that is not repeated is known to leave the XDP dispatcher alone. On 5.10 each one changes it,
/// which takes some hundred microseconds even with one CPU (`bpf_dispatcher_change_prog()` of `kernel/bpf/dispatcher.c`).
const LONE_RUNS_KERNEL: KernelVersion = KernelVersion { major: 6, minor: 1, patch: 0 };

/// Rigs of one kind are interchangeable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RigKind {
    pub(crate) path: TrialPath,
    pub(crate) needs: Needs,
    pub(super) role: RigRole,
    /// Set if all CPUs send at the same time.
    pub(super) at_once: bool,
}

/// The purpose of a rig's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum RigRole {
    /// It is tested.
    UnderTest,
    /// It counts frames by receive queue (`abi::QUEUES_PROGRAM`).
    CountsQueues,
}

/// Everything that is up and ready for a trial.
#[derive(Debug)]
pub(crate) enum Rig {
    /// The program is attached to a device.
    Attached(Box<AttachedRig>),
    /// The program is attached to nothing that frames reach.
    Detached(Box<DetachedRig>),
}

/// A program for test runs.
#[derive(Debug)]
pub(crate) struct DetachedRig {
    pub(crate) counter: Subject,
    /// Set where each test run would otherwise wait for all CPUs.
    _held: Option<DispatcherHold>,
}

// The order of the fields is the order in which they are dropped: the program is detached before its device goes.
#[derive(Debug)]
pub(crate) struct AttachedRig {
    pub(crate) attachment: Attachment,
    pub(crate) counter: Subject,
    pub(crate) sender: Sender,
    pub(crate) crowd: Crowd,
    pub(crate) capture: Capture,
    pub(crate) returned: Capture,
    pub(crate) ports: Arc<PortPair>,
    /// Time that the link may take to come up again after a trial.
    link_up: Duration,
    runs: u64,
}

/// Senders for all CPUs but the first, where they send at the same time.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    pub(crate) senders: Vec<Sender>,
    /// A namespace for each, whose loopback device keeps a program that creates live frames in the kernel's dispatcher.
    shelves: Vec<Worker>,
}

impl RigKind {
    pub(crate) fn for_trial(trial: &Trial<'_>, role: RigRole, facts: &Facts) -> Self {
        let at_once = trial.scenario.spread.at_once && trial.path.mode.is_attached();
        Self { needs: Needs::of(trial, facts), path: trial.path, role, at_once }
    }

    /// Returns the rig of a trial that asks for nothing special, by pnet.
    pub(crate) fn usual(mode: Mode, facts: &Facts) -> Self {
        let path = TrialPath { mode, injector: InjectorKind::Pnet };
        Self { needs: Needs::usual(facts), path, role: RigRole::UnderTest, at_once: false }
    }

    /// Returns a name that no other kind with a device has.
    pub(super) fn name(&self) -> String {
        let Self { path, needs: Needs { mtu, queues, offloads }, role, at_once } = self;
        let mut name = format!("{}-mtu{mtu}", path.mode);
        if *queues != 1 {
            name.push_str(&format!("-queues{queues}"));
        }
        for (offload, on) in offloads {
            name.push_str(&format!("-{offload}-{}", if *on { "on" } else { "off" }));
        }
        if *role == RigRole::CountsQueues {
            name.push_str("-probe");
        }
        if *at_once {
            name.push_str("-at-once");
        }
        name
    }
}

impl Rig {
    pub(super) fn bring_up(object: &Object, kind: &RigKind, testbed: &dyn Testbed) -> Result<Self, NoRig> {
        let TrialPath { mode, injector } = kind.path;
        let counter = Subject::load(object).map_err(NoRig::failed)?;
        match (xdp_mode::to_kernel(mode), injector) {
            (Some(mode), InjectorKind::Pnet | InjectorKind::Ring | InjectorKind::LiveFrames) => {
                let (attachment, ports) = attach_at_dut(testbed, &kind.needs, &counter.program, mode)?;
                let rig = AttachedRig::around(attachment, counter, ports, kind, testbed);
                rig.map(Box::new).map(Self::Attached)
            }
            (None, InjectorKind::TestRun) => Ok(Self::Detached(Box::new(DetachedRig::new(counter)?))),
            _ => Err(NoRig::Failed(format!("the injector {injector} cannot be used in {mode} mode"))),
        }
    }

    /// Offers each frame by itself, once.
    pub(crate) fn offer_each(&mut self, frames: &[Frame]) -> Result<Offered, ExchangeError> {
        let frames = frames.iter().map(|frame| frame.bytes.as_slice());
        match self {
            Self::Attached(rig) => exchange::offer_each(frames, |frame| Ok(rig.sender.send(&[frame])?)),
            Self::Detached(rig) => exchange::offer_each(frames, |frame| {
                let taken = rig.counter.program.test_run(frame, &mut [0; SHORTEST_FRAME]);
                taken.map(drop).map_err(|source| ExchangeError::TestRun { source })
            }),
        }
    }

    pub(crate) fn counter(&mut self) -> &mut Subject {
        match self {
            Self::Attached(rig) => &mut rig.counter,
            Self::Detached(rig) => &mut rig.counter,
        }
    }

    /// Returns whether nothing happened while the rig waited.
    pub(super) fn is_untouched(&self) -> bool {
        match self {
            Self::Attached(rig) => rig.counter.runs().is_ok_and(|runs| runs == rig.runs),
            Self::Detached(_) => true,
        }
    }

    /// Checks that the next trial finds everything as this one did, which has sent these frames.
    pub(super) fn check_clean(&mut self, sent: &[Frame]) -> Result<(), String> {
        match self {
            Self::Attached(rig) => rig.check_clean(sent),
            Self::Detached(_) => Ok(()),
        }
    }
}

impl DetachedRig {
    fn new(counter: Subject) -> Result<Self, NoRig> {
        let version = kernel::kernel_version().map_err(NoRig::failed)?;
        let held = if version < LONE_RUNS_KERNEL {
            let namespace = NetNs::create().map_err(NoRig::failed)?;
            let worker = Worker::spawn(&namespace, "shelf").map_err(NoRig::failed)?;
            let program = counter.program.descriptor().map_err(NoRig::failed)?;
            Some(DispatcherHold::on_loopback(&worker, program).map_err(NoRig::failed)?)
        } else {
            None
        };
        Ok(Self { counter, _held: held })
    }
}

impl Crowd {
    /// Opens a sender for the first of the CPUs, and a crowd of senders for the others.
    fn open(
        injector: InjectorKind,
        ports: &PortPair,
        first: usize,
        others: &[usize],
    ) -> Result<(Sender, Self), NoRig> {
        let sender =
            |cpu, shelf: &Worker| Sender::open_for_cpu(injector, ports, cpu, shelf).map_err(NoRig::failed);
        let mut crowd = Self::default();
        for &cpu in others {
            let namespace = NetNs::create().map_err(NoRig::failed)?;
            let shelf = Worker::spawn(&namespace, "shelf").map_err(NoRig::failed)?;
            crowd.senders.push(sender(cpu, &shelf)?);
            crowd.shelves.push(shelf);
        }
        Ok((sender(first, &ports.tester)?, crowd))
    }
}

impl AttachedRig {
    /// Opens everything around an attached program, and waits for its first frame where frames cross a device.
    fn around(
        attachment: Attachment,
        counter: Subject,
        ports: Arc<PortPair>,
        kind: &RigKind,
        testbed: &dyn Testbed,
    ) -> Result<Self, NoRig> {
        let facts = testbed.facts();
        let capture = ports.watch_dut(exchange::CAPTURE_BUFFER).map(Capture::new).map_err(NoRig::failed)?;
        let returned =
            ports.watch_tester(exchange::CAPTURE_BUFFER).map(Capture::new).map_err(NoRig::failed)?;
        // The offloads of a scenario come last: attaching and watching change some themselves.
        testbed.set_offloads(&ports, &kind.needs.offloads)?;
        if kind.path.injector == InjectorKind::LiveFrames {
            ports.take_redirected(attachment.mode).map_err(NoRig::failed)?;
        }
        let (sender, crowd) = match facts.cpus.split_first() {
            Some((first, others)) if kind.at_once => Crowd::open(kind.path.injector, &ports, *first, others)?,
            _ => (Sender::open(kind.path.injector, &ports).map_err(NoRig::failed)?, Crowd::default()),
        };
        let link_up = facts.link_up;
        let mut rig = Self { attachment, counter, sender, crowd, capture, returned, ports, link_up, runs: 0 };
        if facts.asynchronous {
            rig.wait_for_first_frame(kind.path.mode)?;
        }
        rig.runs = rig.counter.runs().map_err(NoRig::failed)?;
        Ok(rig)
    }

    fn wait_for_first_frame(&mut self, mode: Mode) -> Result<(), NoRig> {
        self.capture.share_link();
        self.returned.share_link();
        let captures = [&mut self.capture, &mut self.returned];
        let first = exchange::first_frame(&self.counter, &mut self.sender, captures, FIRST_FRAME_TIMEOUT)
            .map_err(NoRig::failed)?;
        let within = FIRST_FRAME_TIMEOUT.as_secs();
        let silent = || {
            NoRig::NoTraffic(format!(
                "attached in {mode} mode, and no frame reached the program within {within} s, although frames arrive without it"
            ))
        };
        first.map(drop).ok_or_else(silent)
    }

    fn check_clean(&mut self, sent: &[Frame]) -> Result<(), String> {
        let is_sent = |late: &[u8]| sent.iter().any(|frame| late.starts_with(&frame.bytes));
        self.runs = self.counter.runs().map_err(|error| chain(&error))?;
        for (capture, port) in [(&mut self.capture, "DUT"), (&mut self.returned, "tester")] {
            if let Some(frame) = capture.late_frame(is_sent).map_err(|error| chain(&error))? {
                let frame = describe(frame);
                return Err(format!("a frame arrived at the {port} after the trial had ended: {frame}"));
            }
        }
        let Attachment { index, id, mode, .. } = self.attachment;
        let within = self.link_up;
        let link = self.ports.dut.call(move |host| {
            let link = host.link_state(index)?;
            if link.running || within.is_zero() {
                return Ok(link);
            }
            // Changing an offload resets some devices (e1000e), whose link then takes seconds.
            match interrupt::wait(within, |slice| host.wait_running(index, slice)) {
                Ok(_) | Err(xdproof_netns::Error::Timeout { .. }) => host.link_state(index),
                Err(error) => Err(error),
            }
        });
        let link = link.map_err(|error| chain(&error))?;
        if !link.running || link.xdp.attached(mode) != Some(id) {
            return Err(format!("the DUT was left with {} attached, running: {}", link.xdp, link.running));
        }
        Ok(())
    }
}
