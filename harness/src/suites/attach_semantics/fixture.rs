//! The device, the programs and the record of one case. Promises: [`AttachFixture::run`] detaches whatever the case has attached
//! before it returns.

use std::{
    fmt::Display,
    os::fd::{AsFd as _, OwnedFd},
};

use rustix::io::Errno;
use xdproof_ebpf::abi;
use xdproof_netns::{
    Error, Host, IfIndex, LinkName, NetNs, Worker, XdpFeatures, XdpFlags, XdpLink, XdpMode, XdpState,
};
use xdproof_scenarios::KernelVersion;

use crate::{
    error::chain,
    host::kernel,
    model::StepRecord,
    program::{Object, ProgramError, Subject},
    suites::attach_semantics::{
        error::CaseError,
        step::{
            AttachCondition, AttachMethod, AttachState, AttachStep, ExpectedReply, StepAction, TestProgram,
            refusal,
        },
    },
};

/// The first kernel with `bpf_xdp_load_bytes()` and `BPF_F_XDP_HAS_FRAGS`.
const FRAGS_KERNEL: KernelVersion = KernelVersion { major: 5, minor: 18, patch: 0 };

/// The programs that cases attach.
#[derive(Debug)]
pub(super) struct TestPrograms {
    first: Subject,
    second: Subject,
    /// None where the kernel is older than programs that take multi-buffer frames.
    frags: Option<Subject>,
}

impl TestPrograms {
    pub(super) fn load() -> Result<Self, ProgramError> {
        let load = |program: &str| Subject::load(&Object::builtin(program));
        let old = kernel::kernel_version().is_ok_and(|version| version < FRAGS_KERNEL);
        let frags = if old { None } else { Some(load(abi::FRAGS_PROGRAM)?) };
        Ok(Self { first: load(abi::COUNT_PROGRAM)?, second: load(abi::COUNT_PROGRAM)?, frags })
    }
}

/// A device without a program, the programs, and the steps that were made.
pub(super) struct AttachFixture<'a> {
    pub(super) dut: &'a Worker,
    pub(super) index: IfIndex,
    name: LinkName,
    /// The other end of a veth of ours.
    peer: Option<(&'a Worker, IfIndex)>,
    /// The namespace to which the device was moved.
    moved: Option<Worker>,
    programs: &'a TestPrograms,
    links: Vec<XdpLink>,
    steps: Vec<StepRecord>,
}

impl<'a> AttachFixture<'a> {
    pub(super) fn new(
        dut: &'a Worker,
        index: IfIndex,
        peer: Option<(&'a Worker, IfIndex)>,
        programs: &'a TestPrograms,
    ) -> Result<Self, CaseError> {
        let name = dut.call(move |host| host.link_by_index(index))?.name;
        Ok(Self { dut, index, name, peer, moved: None, programs, links: Vec::new(), steps: Vec::new() })
    }

    /// Runs a test on the device and cleans up; appends the steps to `steps`.
    pub(super) fn run(
        mut self,
        test: impl FnOnce(&mut Self) -> Result<(), CaseError>,
        steps: &mut Vec<StepRecord>,
    ) -> Result<(), CaseError> {
        // A program that is there already would be taken for what the case attaches.
        let initial = self.attached();
        let ended = self
            .require("read the initial state", AttachState::Nothing, initial)
            .and_then(|()| test(&mut self));
        self.links.clear();
        let cleared = self.clear();
        steps.append(&mut self.steps);
        match ended {
            // The record shows it.
            Ok(()) | Err(CaseError::Mismatch) => cleared,
            Err(error) => Err(error),
        }
    }

    /// Runs a job in the namespace of the device.
    pub(super) fn on_device<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Host, IfIndex) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let index = self.index;
        self.moved.as_ref().unwrap_or(self.dut).call(move |host| job(host, index))
    }

    pub(super) fn peer(&self) -> Result<(&'a Worker, IfIndex), CaseError> {
        self.peer.ok_or(CaseError::InvalidCase { missing: "no peer" })
    }

    /// Runs a job at the peer. The outer error is that of a case without a peer, the inner one the kernel's reply.
    fn on_peer<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Host, IfIndex) -> Result<T, Error> + Send + 'static,
    ) -> Result<Result<T, Error>, CaseError> {
        let (worker, index) = self.peer()?;
        Ok(worker.call(move |host| job(host, index)))
    }

    pub(super) fn counter(&self, program: TestProgram) -> Result<&'a Subject, CaseError> {
        let TestPrograms { first, second, frags } = self.programs;
        match program {
            TestProgram::First => Ok(first),
            TestProgram::Second => Ok(second),
            TestProgram::Frags => frags.as_ref().ok_or_else(|| CaseError::NotApplicable {
                reason: format!("programs that take multi-buffer frames need kernel {FRAGS_KERNEL}"),
            }),
        }
    }

    pub(super) fn descriptor(&self, program: TestProgram) -> Result<OwnedFd, CaseError> {
        Ok(self.counter(program)?.program.descriptor()?)
    }

    pub(super) fn newest_link(&self) -> Result<&XdpLink, CaseError> {
        self.links.last().ok_or(CaseError::InvalidCase { missing: "no bpf_link" })
    }

    pub(super) fn close_link(&mut self) -> Result<(), CaseError> {
        self.links.pop().map(drop).ok_or(CaseError::InvalidCase { missing: "no bpf_link" })
    }

    /// Returns the program that is attached, or `None` if the device is gone.
    fn state(&self) -> Result<Option<XdpState>, CaseError> {
        match self.on_device(Host::xdp) {
            Ok(state) => Ok(Some(state)),
            Err(Error::NoSuchIndex { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Describes what is attached in the words of an [`AttachState`].
    pub(super) fn attached(&self) -> String {
        // 0 is the id of no program.
        let id = |program| self.counter(program).map_or(0, |counter| counter.program.identity().id);
        match self.state() {
            Ok(state) => AttachState::describe(state, &TestProgram::ALL.map(id)),
            Err(error) => chain(&error),
        }
    }

    /// Records an observation.
    pub(super) fn record(
        &mut self,
        action: impl Into<String>,
        expected: impl Display,
        observed: impl Into<String>,
    ) {
        let (action, expected, observed) = (action.into(), expected.to_string(), observed.into());
        self.steps.push(StepRecord { action, expected, observed });
    }

    /// Records an observation without which the rest of the case makes no sense.
    pub(super) fn require(
        &mut self,
        action: impl Into<String>,
        expected: impl Display,
        observed: impl Into<String>,
    ) -> Result<(), CaseError> {
        self.record(action, expected, observed);
        let matched = self.steps.last().is_some_and(|step| step.expected == step.observed);
        matched.then_some(()).ok_or(CaseError::Mismatch)
    }

    /// Makes steps, and ends at the first that does not match.
    pub(super) fn perform(&mut self, steps: &[AttachStep]) -> Result<(), CaseError> {
        let mut state = AttachState::Nothing;
        for step in steps {
            state = step.state_after(state);
            let reply = self.act(step)?;
            let observed = format!("{reply}; {}", self.attached());
            self.require(step.action.to_string(), format!("{}; {state}", step.reply), observed)?;
        }
        Ok(())
    }

    /// Performs an action and describes the kernel's reply in the words of an [`ExpectedReply`].
    fn act(&mut self, step: &AttachStep) -> Result<String, CaseError> {
        let replied = match step.action {
            StepAction::Attach(method, program, modes, condition) => {
                self.attach(method, program, modes, condition)?
            }
            StepAction::Detach(mode) => self.on_device(move |host, index| host.detach_xdp(index, mode)),
            StepAction::UpdateLink(program, old) => {
                let program = self.descriptor(program)?;
                let old = old.map(|old| self.descriptor(old)).transpose()?;
                self.newest_link()?.update(program.as_fd(), old.as_ref().map(|old| old.as_fd()))
            }
            StepAction::CloseLink => self.close_link().map(Ok)?,
            StepAction::SetUp(up) => self.on_device(move |host, index| host.set_up(index, up)),
            StepAction::SetPeerMtu(mtu) => self.on_peer(move |host, index| host.set_mtu(index, mtu))?,
            StepAction::MoveDevice => self.move_device()?,
            StepAction::DeleteDevice => self.on_device(Host::delete_link),
            StepAction::ReadPeerMaxMtu => {
                let max = self.on_peer(Host::link_by_index)??.max_mtu;
                return Ok(max.map_or_else(|| "no limit".to_owned(), |mtu| mtu.to_string()));
            }
            StepAction::ReadFeatures => return features(self.on_device(Host::xdp_features)?),
            StepAction::ReadPeerFeatures => return features(self.on_peer(Host::xdp_features)??),
            StepAction::ReadLinkDevice => {
                return Ok(match self.newest_link()?.device()? {
                    Some(index) if index == self.index => "this one".to_owned(),
                    Some(index) => format!("link {index}"),
                    None => "none".to_owned(),
                });
            }
        };
        let Err(error) = replied else { return Ok(ExpectedReply::Done.to_string()) };
        let Some(errno) = error.errno() else { return Err(error.into()) };
        // A step that expects no sentence is not about it.
        let sentence = error.extack().filter(|_| !matches!(step.reply, ExpectedReply::Refused(_, None)));
        Ok(refusal(Errno::from_raw_os_error(errno), sentence))
    }

    /// Attaches a program; a link is held until the case ends or closes it.
    pub(super) fn attach(
        &mut self,
        method: AttachMethod,
        program: TestProgram,
        modes: &'static [XdpMode],
        condition: AttachCondition,
    ) -> Result<Result<(), Error>, CaseError> {
        let program = self.descriptor(program)?;
        let replace = match condition {
            AttachCondition::Replace(old) => Some(self.descriptor(old)?),
            AttachCondition::Always | AttachCondition::IfNoExist => None,
        };
        let if_no_exist = condition == AttachCondition::IfNoExist;
        let attached = self.on_device(move |host, index| match method {
            AttachMethod::Netlink => {
                let replace = replace.as_ref().map(|old| old.as_fd());
                let extra = XdpFlags { if_no_exist, replace };
                host.attach_xdp(index, program.as_fd(), modes, extra).map(|()| None)
            }
            AttachMethod::BpfLink => host.link_xdp(index, program.as_fd(), modes, if_no_exist).map(Some),
        });
        Ok(attached.map(|link| self.links.extend(link)))
    }

    /// Attaches another program by a link, which is held until the case ends or closes it.
    pub(super) fn attach_program(&mut self, program: OwnedFd, mode: XdpMode) -> Result<(), CaseError> {
        let link =
            self.on_device(move |host, index| host.link_xdp(index, program.as_fd(), &[mode], false))?;
        self.links.push(link);
        Ok(())
    }

    fn move_device(&mut self) -> Result<Result<(), Error>, CaseError> {
        let to = NetNs::create()?;
        let target = to.clone();
        let moved = self.on_device(move |host, index| host.move_link(index, &target, None));
        if moved.is_ok() {
            let worker = Worker::spawn(&to, "moved")?;
            let name = self.name.clone();
            self.index = worker.call(move |host| host.link(&name))?.index;
            self.moved = Some(worker);
        }
        Ok(moved)
    }

    /// Detaches what netlink attached, in each mode by its name, and reads back that it is gone.
    fn clear(&self) -> Result<(), CaseError> {
        let Some(state) = self.state()? else { return Ok(()) };
        for (mode, _) in state.iter() {
            self.on_device(move |host, index| host.detach_xdp(index, mode))?;
        }
        match self.state()? {
            Some(state) if !state.is_empty() => {
                Err(CaseError::Timeout { awaited: "the detaching of the programs" })
            }
            _ => Ok(()),
        }
    }
}

/// Describes advertised features.
pub(super) fn features(features: Option<XdpFeatures>) -> Result<String, CaseError> {
    features.map(|features| format!("{:#x}", features.bits())).ok_or_else(|| CaseError::NotApplicable {
        reason: "this kernel does not report XDP features (6.3 does)".to_owned(),
    })
}
