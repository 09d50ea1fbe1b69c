//! Trying a rule: the device, the programs, and the steps one after the other.

use std::os::fd::{AsFd as _, OwnedFd};

use xdproof_netns::{
    Host, IfIndex, LinkName, LinkSetting, MacAddr, NetNs, VethEnd, VethSpec, VirtualKind, Worker, XdpFlags,
    XdpLink, XdpMode, XdpState,
};
use xdproof_scenarios::{DUT_MAC, KernelVersion, TESTER_MAC};

use crate::{
    host::kernel,
    inject::tc_tools::ToolError,
    program::{Object, ProgramError, Subject},
};
use crate::{
    model::attach_step::StepRecord,
    suites::attach_semantics::{
        case::{Act, Answer, Errno, Ground, How, If, Rule, RuleRecord, Step, Then, Which},
        lifetime,
    },
};
use xdproof_ebpf::abi;

/// The first kernel with `bpf_xdp_load_bytes()` and `BPF_F_XDP_HAS_FRAGS`.
const FRAGS_KERNEL: KernelVersion = KernelVersion { major: 5, minor: 18, patch: 0 };

/// Why a rule cannot be tried, or not to its end. Not that it does not hold: that is a step that came out otherwise.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// What the rule is about is not on this machine or of this device, which is known of it.
    #[error("{reason}")]
    NotHere {
        /// What is missing.
        reason: String,
    },
    /// The programs cannot be loaded.
    #[error(transparent)]
    Attach(#[from] ProgramError),
    /// The namespace or a link failed beside the rule.
    #[error("failed to {0}")]
    Network(#[from] xdproof_netns::Error),
    /// A tool that stands around the counter does not work.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The process that had to hold a program did not.
    #[error("failed to {action}")]
    Process {
        /// What was attempted.
        action: &'static str,
        /// What the system answered.
        source: std::io::Error,
    },
    /// The rule asks for something that its ground has not: a fault in the table.
    #[error("the rule has {missing} to act on")]
    Table {
        /// What is missing.
        missing: &'static str,
    },
    /// Something did not happen in time.
    #[error("{awaited} did not happen in time")]
    Late {
        /// What was waited for.
        awaited: &'static str,
    },
    /// A step came out otherwise; the rest was not tried.
    #[error("a step came out otherwise")]
    Departed,
}

/// A device on which rules are tried that need nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    /// A thread in its namespace.
    pub worker: &'a Worker,
    /// Its index there.
    pub index: IfIndex,
    /// The kernel's name of its driver.
    pub driver: &'a str,
    /// Whether the driver has native XDP.
    pub native: bool,
}

/// What a rule acts on.
pub(crate) struct Stand<'a> {
    pub(crate) dut: &'a Worker,
    pub(crate) index: IfIndex,
    name: LinkName,
    /// The other end, of a veth of ours.
    pub(crate) peer: Option<(&'a Worker, IfIndex)>,
    /// The namespace to which the device was moved.
    moved: Option<Worker>,
    programs: &'a Programs,
    links: Vec<XdpLink>,
    steps: Vec<StepRecord>,
}

/// Tries rules, with programs that are loaded once for all of them.
#[derive(Debug)]
pub struct Bench {
    programs: Programs,
}

/// The programs that rules attach.
#[derive(Debug)]
struct Programs {
    first: Subject,
    second: Subject,
    /// None where the kernel is older than programs that take multi-buffer frames.
    frags: Option<Subject>,
}

impl Bench {
    /// Loads the programs that rules attach. Needs root, or `CAP_BPF` and `CAP_NET_ADMIN`.
    ///
    /// # Errors
    ///
    /// When the kernel refuses them.
    pub fn open() -> Result<Self, ProgramError> {
        Ok(Self { programs: Programs::load()? })
    }

    /// Tries a rule on links made for it, in namespaces made for it. Needs root, or `CAP_BPF`, `CAP_NET_ADMIN` and
    /// `CAP_SYS_ADMIN`.
    #[must_use]
    pub fn attempt(&self, rule: &Rule) -> RuleRecord {
        let mut steps = Vec::new();
        let (nic, ended) = match rule.ground {
            Ground::Device | Ground::NativeDevice | Ground::Expendable => {
                ("veth", self.on_veth(rule, 1, 1, &mut steps))
            }
            Ground::Veth { rx, peer_tx } => ("veth", self.on_veth(rule, rx, peer_tx, &mut steps)),
            Ground::Loopback => ("lo", self.on_loopback(rule, &mut steps)),
            Ground::Virtual(kind) => {
                let driver = match kind {
                    VirtualKind::Bridge => "bridge",
                    VirtualKind::Ifb => "ifb",
                    VirtualKind::Dummy => "dummy",
                };
                (driver, self.on_virtual(rule, kind, driver, &mut steps))
            }
        };
        RuleRecord::new(rule, nic, ended, steps)
    }

    /// Tries a rule on a device of the caller's, with nothing attached to it, and takes everything off it again. A rule that
    /// needs more than a device, or native XDP where there is none, is skipped.
    #[must_use]
    pub fn attempt_on(&self, rule: &Rule, device: &Device<'_>) -> RuleRecord {
        let mut steps = Vec::new();
        let ended = match rule.ground {
            Ground::Device => self.on_device(rule, device, None, &mut steps),
            Ground::NativeDevice if device.native => self.on_device(rule, device, None, &mut steps),
            Ground::NativeDevice => {
                Err(RuleError::NotHere { reason: format!("{} has no native XDP", device.driver) })
            }
            Ground::Expendable | Ground::Veth { .. } | Ground::Loopback | Ground::Virtual(_) => {
                Err(RuleError::NotHere { reason: format!("the rule is not about {}", device.driver) })
            }
        };
        RuleRecord::new(rule, device.driver, ended, steps)
    }

    fn on_veth(
        &self,
        rule: &Rule,
        rx: u32,
        peer_tx: u32,
        steps: &mut Vec<StepRecord>,
    ) -> Result<(), RuleError> {
        let tester = Worker::spawn(&NetNs::create()?, "tester")?;
        let dut = Worker::spawn(&NetNs::create()?, "dut")?;
        let (near, far): (LinkName, LinkName) = ("tester".parse()?, "dut".parse()?);
        let spec = VethSpec {
            near: VethEnd { tx_queues: peer_tx, ..VethEnd::new(near.clone(), MacAddr(TESTER_MAC)) },
            far: VethEnd { rx_queues: rx, ..VethEnd::new(far.clone(), MacAddr(DUT_MAC)) },
        };
        let there = dut.namespace().clone();
        tester.call(move |host| host.create_veth(&spec, &there))?;
        let peer = bring_up(&tester, near)?;
        let index = bring_up(&dut, far)?;
        for (worker, index) in [(&tester, peer), (&dut, index)] {
            worker.call(move |host| host.wait_running(index, lifetime::MUST_HAPPEN))?;
        }
        let device = Device { worker: &dut, index, driver: "veth", native: true };
        self.on_device(rule, &device, Some((&tester, peer)), steps)
    }

    fn on_loopback(&self, rule: &Rule, steps: &mut Vec<StepRecord>) -> Result<(), RuleError> {
        let worker = Worker::spawn(&NetNs::create()?, "dut")?;
        let name: LinkName = "lo".parse()?;
        let index = worker.call(move |host| host.link(&name))?.index;
        self.on_device(rule, &Device { worker: &worker, index, driver: "lo", native: false }, None, steps)
    }

    fn on_virtual(
        &self,
        rule: &Rule,
        kind: VirtualKind,
        driver: &str,
        steps: &mut Vec<StepRecord>,
    ) -> Result<(), RuleError> {
        let worker = Worker::spawn(&NetNs::create()?, "dut")?;
        let name: LinkName = "dut".parse()?;
        let made = worker.call(move |host| {
            host.create_virtual(&name, kind)?;
            host.link(&name)
        });
        let index = match made {
            Ok(link) => link.index,
            // What rtnl_newlink() of net/core/rtnetlink.c answers when no module knows the kind.
            Err(error) if error.errno() == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error()) => {
                return Err(RuleError::NotHere { reason: format!("this kernel has no {driver}") });
            }
            Err(error) => return Err(error.into()),
        };
        self.on_device(rule, &Device { worker: &worker, index, driver, native: false }, None, steps)
    }

    fn on_device(
        &self,
        rule: &Rule,
        device: &Device<'_>,
        peer: Option<(&Worker, IfIndex)>,
        steps: &mut Vec<StepRecord>,
    ) -> Result<(), RuleError> {
        let own;
        let programs = match rule.how {
            How::Steps(_) | How::Killed(_) => &self.programs,
            // It counts frames, from nothing.
            How::Code(_) => {
                own = Programs::load()?;
                &own
            }
        };
        let index = device.index;
        let name = device.worker.call(move |host| host.link_by_index(index))?.name;
        let mut stand = Stand {
            dut: device.worker,
            index,
            name,
            peer,
            moved: None,
            programs,
            links: Vec::new(),
            steps: Vec::new(),
        };
        // Whatever is there already would be taken for what the rule has attached.
        stand.check("look before anything is done", Then::Nothing.to_string(), |stand| stand.attached());
        let tried = if stand.departed() { Ok(()) } else { stand.attempt(rule.how) };
        stand.links.clear();
        let cleared = stand.clear();
        steps.append(&mut stand.steps);
        tried.and(cleared)
    }
}

impl Programs {
    fn load() -> Result<Self, ProgramError> {
        let load = |program: &str| Subject::load(&Object::builtin(program));
        let old = kernel::kernel_version().is_ok_and(|version| version < FRAGS_KERNEL);
        let frags = if old { None } else { Some(load(abi::FRAGS_PROGRAM)?) };
        Ok(Self { first: load(abi::COUNT_PROGRAM)?, second: load(abi::COUNT_PROGRAM)?, frags })
    }
}

fn bring_up(worker: &Worker, name: LinkName) -> Result<IfIndex, RuleError> {
    Ok(worker.call(move |host| {
        let index = host.link(&name)?.index;
        host.set_link(index, &LinkSetting::Arp(false))?;
        host.set_up(index, true).map(|()| index)
    })?)
}

impl Stand<'_> {
    fn attempt(&mut self, how: How) -> Result<(), RuleError> {
        match how {
            How::Steps(steps) => {
                for step in steps {
                    self.make(step)?;
                    if self.departed() {
                        return Err(RuleError::Departed);
                    }
                }
                Ok(())
            }
            How::Code(code) => code(self),
            How::Killed(holding) => lifetime::killed(self, holding),
        }
    }

    fn make(&mut self, step: &Step) -> Result<(), RuleError> {
        let Step { act, answer, then } = step;
        let wanted = Self::wanted(act, *answer);
        let observed = self.act(act, *answer)?;
        let state = Then::describe(self.state()?, &self.ids());
        self.steps.push(StepRecord {
            action: act.to_string(),
            expected: format!("{wanted}; {then}"),
            observed: format!("{observed}; {state}"),
        });
        Ok(())
    }

    /// What the answer must read.
    fn wanted(act: &Act, answer: Answer) -> String {
        match act {
            Act::ReadPeerMaxMtu(Some(mtu)) => mtu.to_string(),
            Act::ReadPeerMaxMtu(None) => "no limit".to_owned(),
            Act::ReadFeatures(bits) | Act::ReadPeerFeatures(bits) => format!("{bits:#x}"),
            Act::ReadLinkDevice(on) => if *on { "this one" } else { "none" }.to_owned(),
            _ => answer.to_string(),
        }
    }

    /// Does it, and says what the kernel answered, in the words of [`Stand::wanted`].
    fn act(&mut self, act: &Act, expected: Answer) -> Result<String, RuleError> {
        let answered = match *act {
            Act::Netlink(which, modes, condition) => {
                let program = self.descriptor(which)?;
                let replace = match condition {
                    If::ThisIsThere(old) => Some(self.descriptor(old)?),
                    If::Always | If::NoneIsThere => None,
                };
                let if_no_exist = condition == If::NoneIsThere;
                self.on_device(move |host, index| {
                    let replace = replace.as_ref().map(|old| old.as_fd());
                    host.attach_xdp(index, program.as_fd(), modes, XdpFlags { if_no_exist, replace })
                })
            }
            Act::Clear(mode) => self.on_device(move |host, index| host.detach_xdp(index, mode)),
            Act::Link(which, modes) => self.link(which, modes, false)?,
            Act::LinkIfNone(which, modes) => self.link(which, modes, true)?,
            Act::Update(which, old) => {
                let program = self.descriptor(which)?;
                let old = old.map(|old| self.descriptor(old)).transpose()?;
                self.last_link()?.update(program.as_fd(), old.as_ref().map(|old| old.as_fd()))
            }
            Act::Close => {
                drop(self.links.pop().ok_or(RuleError::Table { missing: "no bpf_link" })?);
                Ok(())
            }
            Act::Up(up) => self.on_device(move |host, index| host.set_up(index, up)),
            Act::PeerMtu(mtu) => self.on_peer(move |host, index| host.set_mtu(index, mtu))?,
            Act::Move => self.move_away()?,
            Act::Delete => self.on_device(Host::delete_link),
            Act::ReadPeerMaxMtu(_) => {
                let link = self.on_peer(Host::link_by_index)??;
                return Ok(link.max_mtu.map_or_else(|| "no limit".to_owned(), |mtu| mtu.to_string()));
            }
            Act::ReadFeatures(_) => return features(self.on_device(Host::xdp_features)?),
            Act::ReadPeerFeatures(_) => return features(self.on_peer(Host::xdp_features)??),
            Act::ReadLinkDevice(_) => {
                let here = self.index;
                return Ok(match self.last_link()?.device()? {
                    Some(index) if index == here => "this one".to_owned(),
                    Some(index) => format!("link {index}"),
                    None => "none".to_owned(),
                });
            }
        };
        told(answered, expected)
    }

    fn link(
        &mut self,
        which: Which,
        modes: &'static [XdpMode],
        if_no_exist: bool,
    ) -> Result<Result<(), xdproof_netns::Error>, RuleError> {
        let program = self.descriptor(which)?;
        let made =
            self.on_device(move |host, index| host.link_xdp(index, program.as_fd(), modes, if_no_exist));
        Ok(made.map(|link| self.links.push(link)))
    }

    fn move_away(&mut self) -> Result<Result<(), xdproof_netns::Error>, RuleError> {
        let to = NetNs::create()?;
        let there = to.clone();
        let moved = self.on_device(move |host, index| host.move_link(index, &there, None));
        if moved.is_ok() {
            let worker = Worker::spawn(&to, "moved")?;
            let name = self.name.clone();
            self.index = worker.call(move |host| host.link(&name))?.index;
            self.moved = Some(worker);
        }
        Ok(moved)
    }

    /// The thread in whose namespace the device is now.
    fn home(&self) -> &Worker {
        self.moved.as_ref().unwrap_or(self.dut)
    }

    pub(crate) fn on_device<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Host, IfIndex) -> Result<T, xdproof_netns::Error> + Send + 'static,
    ) -> Result<T, xdproof_netns::Error> {
        let index = self.index;
        self.home().call(move |host| job(host, index))
    }

    /// A job at the peer: the table's fault outside, the kernel's answer inside.
    fn on_peer<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Host, IfIndex) -> Result<T, xdproof_netns::Error> + Send + 'static,
    ) -> Result<Result<T, xdproof_netns::Error>, RuleError> {
        let (worker, index) = self.peer.ok_or(RuleError::Table { missing: "no peer" })?;
        Ok(worker.call(move |host| job(host, index)))
    }

    pub(crate) fn descriptor(&self, which: Which) -> Result<OwnedFd, RuleError> {
        Ok(self.counter(which)?.program.descriptor()?)
    }

    pub(crate) fn counter(&self, which: Which) -> Result<&Subject, RuleError> {
        let Programs { first, second, frags } = self.programs;
        match which {
            Which::First => Ok(first),
            Which::Second => Ok(second),
            Which::Frags => frags.as_ref().ok_or_else(|| RuleError::NotHere {
                reason: format!("programs that take multi-buffer frames need kernel {FRAGS_KERNEL}"),
            }),
        }
    }

    /// The programs' ids, as in [`Which::ALL`]; 0, which is no program's, for one that there is not.
    pub(crate) fn ids(&self) -> [u32; 3] {
        Which::ALL.map(|which| self.counter(which).map_or(0, |counter| counter.program.identity().id))
    }

    fn last_link(&self) -> Result<&XdpLink, RuleError> {
        self.links.last().ok_or(RuleError::Table { missing: "no bpf_link" })
    }

    /// What is attached; `None` if there is no such device any more.
    fn state(&self) -> Result<Option<XdpState>, RuleError> {
        match self.on_device(Host::xdp) {
            Ok(state) => Ok(Some(state)),
            Err(xdproof_netns::Error::NoSuchIndex { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What is attached, in the words of an expectation.
    pub(crate) fn attached(&self) -> String {
        match self.state() {
            Ok(state) => Then::describe(state, &self.ids()),
            Err(error) => crate::error::chain(&error),
        }
    }

    /// Records something that is observed.
    pub(crate) fn check(
        &mut self,
        action: impl Into<String>,
        expected: impl Into<String>,
        observe: impl FnOnce(&mut Self) -> String,
    ) {
        let observed = observe(self);
        self.steps.push(StepRecord { action: action.into(), expected: expected.into(), observed });
    }

    /// Whether the last step came out otherwise than expected.
    pub(crate) fn departed(&self) -> bool {
        self.steps.last().is_some_and(|step| step.expected != step.observed)
    }

    /// Takes off what a netlink attachment left, in each mode by its name, and asks whether it is gone.
    fn clear(&self) -> Result<(), RuleError> {
        let Some(state) = self.state()? else { return Ok(()) };
        for (mode, _) in state.iter() {
            self.on_device(move |host, index| host.detach_xdp(index, mode))?;
        }
        match self.state()? {
            Some(state) if !state.is_empty() => Err(RuleError::Late { awaited: "taking the programs off" }),
            _ => Ok(()),
        }
    }
}

/// The kernel's answer in the words of an [`Answer`]. Its sentence is told if one is expected.
fn told(answered: Result<(), xdproof_netns::Error>, expected: Answer) -> Result<String, RuleError> {
    let error = match answered {
        Ok(()) => return Ok(Answer::Done.to_string()),
        Err(error) => error,
    };
    let Some(errno) = error.errno() else { return Err(error.into()) };
    let errno = Errno(rustix::io::Errno::from_raw_os_error(errno));
    // A step that names no sentence is not about it.
    let told = error.extack().filter(|_| !matches!(expected, Answer::Refused(_, None)));
    Ok(told.map_or_else(|| errno.to_string(), |sentence| format!("{errno} \"{sentence}\"")))
}

fn features(features: Option<xdproof_netns::XdpFeatures>) -> Result<String, RuleError> {
    features.map(|features| format!("{:#x}", features.bits())).ok_or_else(|| RuleError::NotHere {
        reason: "this kernel tells no XDP features (6.3 does)".to_owned(),
    })
}
