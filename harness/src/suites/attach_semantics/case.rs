//! What a rule is made of: pure data, and how it reads.

use std::fmt;

use xdproof_netns::{VirtualKind, XdpMode, XdpState};

use crate::{
    judge::trial::attach_step,
    model::{
        attach_step::StepRecord,
        result::RuleResult,
        verdict::{Verdict, VerdictKind},
    },
    suites::attach_semantics::{
        fixture::{RuleError, Stand},
        lifetime,
    },
};

/// A rule of the kernel about attaching.
#[derive(Clone, Debug)]
pub struct Rule {
    /// `attach/` and a fact, then `::` and the way in which it attaches (`netlink` or `bpf_link`).
    pub id: &'static str,
    /// The row of [`ATTACHING`](super::ATTACHING) or [`DIFFERENCES`](super::DIFFERENCES) that it stands for.
    pub row: &'static str,
    /// What it is tried on.
    pub ground: Ground,
    pub(crate) how: How,
}

/// What a rule is tried on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// Any device.
    Device,
    /// Any device that has native XDP.
    NativeDevice,
    /// A device that may be moved and deleted, which is a veth of our own: hardware cannot be.
    Expendable,
    /// A veth pair with these numbers of receive queues at the DUT and transmit queues at the tester.
    Veth {
        /// Receive queues of the DUT's end.
        rx: u32,
        /// Transmit queues of the tester's end.
        peer_tx: u32,
    },
    /// The loopback device.
    Loopback,
    /// A virtual link.
    Virtual(VirtualKind),
}

/// How a rule is tried.
#[derive(Clone, Copy)]
pub(crate) enum How {
    /// One step after the other; after each the answer and what is attached must be as it says.
    Steps(&'static [Step]),
    /// By a function, where steps do not say it.
    Code(fn(&mut Stand<'_>) -> Result<(), RuleError>),
    /// A process attaches and is killed.
    Killed(lifetime::Holding),
}

impl fmt::Debug for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps(steps) => f.debug_tuple("Steps").field(&steps.len()).finish(),
            Self::Code(_) => f.write_str("Code"),
            Self::Killed(holding) => f.debug_tuple("Killed").field(holding).finish(),
        }
    }
}

/// The programs that rules attach. First and second are two loads of the same counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    First,
    Second,
    /// The program that takes multi-buffer frames.
    Frags,
}

impl Which {
    pub(crate) const ALL: [Self; 3] = [Self::First, Self::Second, Self::Frags];
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "the first program",
            Self::Second => "the second program",
            Self::Frags => "the frags program",
        })
    }
}

/// The condition of an attachment by netlink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum If {
    Always,
    /// `XDP_FLAGS_UPDATE_IF_NOEXIST`.
    NoneIsThere,
    /// `XDP_FLAGS_REPLACE`.
    ThisIsThere(Which),
}

/// One thing that is done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// Attach by netlink.
    Netlink(Which, &'static [XdpMode], If),
    /// Detach by netlink.
    Clear(Option<XdpMode>),
    /// Attach by `bpf_link_create`; the link is held from then on.
    Link(Which, &'static [XdpMode]),
    /// The same with `XDP_FLAGS_UPDATE_IF_NOEXIST`.
    LinkIfNone(Which, &'static [XdpMode]),
    /// `bpf_link_update` of the link that was made last.
    Update(Which, Option<Which>),
    /// Close the descriptor of the link that was made last.
    Close,
    /// Switch the device on or off.
    Up(bool),
    /// Set the MTU of the device's peer.
    PeerMtu(u32),
    /// Read the greatest MTU that the device's peer takes.
    ReadPeerMaxMtu(Option<u32>),
    /// Read what the device advertises.
    ReadFeatures(u64),
    /// Read what the device's peer advertises.
    ReadPeerFeatures(u64),
    /// Move the device to a new namespace.
    Move,
    /// Delete the device.
    Delete,
    /// Read on which device the link that was made last is: on this one, or on none.
    ReadLinkDevice(bool),
}

/// What the kernel answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    /// An errno; the kernel's sentence, where it gives one to the caller and the rule is about it.
    Refused(Errno, Option<&'static str>),
}

/// An errno by its name, so that a report reads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) rustix::io::Errno);

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use rustix::io::Errno as E;
        let name = match self.0 {
            E::BUSY => "EBUSY",
            E::EXIST => "EEXIST",
            E::INVAL => "EINVAL",
            E::OPNOTSUPP => "EOPNOTSUPP",
            E::RANGE => "ERANGE",
            E::NOSPC => "ENOSPC",
            E::PERM => "EPERM",
            E::NOLINK => "ENOLINK",
            other => return write!(f, "errno {}", other.raw_os_error()),
        };
        f.write_str(name)
    }
}

/// What is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Nothing,
    Has(XdpMode, Which),
    /// The device itself is gone.
    NoDevice,
}

/// One step of a rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) act: Act,
    pub(crate) answer: Answer,
    pub(crate) then: Then,
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Netlink(which, modes, condition) => {
                write!(f, "attach {which} by netlink{}", In(modes))?;
                match condition {
                    If::Always => Ok(()),
                    If::NoneIsThere => f.write_str(" if nothing is attached"),
                    If::ThisIsThere(other) => write!(f, " in the place of {other}"),
                }
            }
            Self::Clear(mode) => write!(f, "detach by netlink{}", In(mode.as_slice())),
            Self::Link(which, modes) => write!(f, "attach {which} by bpf_link{}", In(modes)),
            Self::LinkIfNone(which, modes) => {
                write!(f, "attach {which} by bpf_link{} if nothing is attached", In(modes))
            }
            Self::Update(which, None) => write!(f, "update the bpf_link to {which}"),
            Self::Update(which, Some(old)) => write!(f, "update the bpf_link from {old} to {which}"),
            Self::Close => f.write_str("close the bpf_link"),
            Self::Up(up) => write!(f, "switch the device {}", if *up { "on" } else { "off" }),
            Self::PeerMtu(mtu) => write!(f, "set the peer's MTU to {mtu}"),
            Self::ReadPeerMaxMtu(_) => f.write_str("read the peer's maximum MTU"),
            Self::ReadFeatures(_) => f.write_str("read the advertised features"),
            Self::ReadPeerFeatures(_) => f.write_str("read the peer's advertised features"),
            Self::Move => f.write_str("move the device to another namespace"),
            Self::Delete => f.write_str("delete the device"),
            Self::ReadLinkDevice(_) => f.write_str("read which device the bpf_link is on"),
        }
    }
}

/// "in MODE and MODE mode".
struct In<'a>(&'a [XdpMode]);

impl fmt::Display for In<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str(" with no mode"),
            modes => {
                let names: Vec<String> = modes.iter().map(ToString::to_string).collect();
                write!(f, " in {} mode", names.join(" and "))
            }
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Refused(errno, None) => errno.fmt(f),
            Self::Refused(errno, Some(sentence)) => write!(f, "{errno} \"{sentence}\""),
        }
    }
}

impl fmt::Display for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing is attached"),
            Self::Has(mode, which) => write!(f, "{which} is attached in {mode} mode"),
            Self::NoDevice => f.write_str("the device is gone"),
        }
    }
}

impl Then {
    /// What the kernel's answer says, in the words of an expectation, with `ids` of the programs as in [`Which::ALL`].
    /// `None`: there is no such device.
    pub(crate) fn describe(state: Option<XdpState>, ids: &[u32; 3]) -> String {
        let Some(state) = state else { return Self::NoDevice.to_string() };
        let mut told: Vec<String> = Vec::new();
        for (mode, id) in state.iter() {
            let which = Which::ALL.into_iter().zip(ids).find(|(_, known)| **known == id);
            told.push(match which {
                Some((which, _)) => Self::Has(mode, which).to_string(),
                None => format!("program {id}, which is none of ours, is attached in {mode} mode"),
            });
        }
        if told.is_empty() { Self::Nothing.to_string() } else { told.join(" and ") }
    }
}

/// What trying a rule came to.
#[derive(Clone, Debug)]
pub struct RuleRecord {
    /// The rule's id.
    pub id: &'static str,
    /// The row that it stands for.
    pub row: &'static str,
    /// The driver that it was tried on.
    pub nic: String,
    /// The verdict with its reason.
    pub verdict: Verdict,
    /// Every step that was made, to the first that came out otherwise.
    pub steps: Vec<StepRecord>,
}

impl RuleRecord {
    /// A pass needs steps, and each of them as expected: a rule that checks nothing is an error.
    pub(crate) fn new(rule: &Rule, nic: &str, ended: Result<(), RuleError>, steps: Vec<StepRecord>) -> Self {
        let departed: Vec<_> = steps.iter().filter_map(attach_step).collect();
        let verdict = match ended {
            _ if !departed.is_empty() => Verdict::Fail(departed),
            Err(RuleError::NotHere { reason }) => Verdict::Skip { reason },
            Err(error) => Verdict::Error { reason: crate::error::chain(&error) },
            Ok(()) if steps.is_empty() => {
                Verdict::Error { reason: "the rule was not tried: it has no step".to_owned() }
            }
            Ok(()) => Verdict::Pass,
        };
        Self { id: rule.id, row: rule.row, nic: nic.to_owned(), verdict, steps }
    }

    /// Whether the rule does not hold here, or could not be tried although it must be possible.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.verdict.kind().is_bad()
    }

    /// The kind of the verdict.
    #[must_use]
    pub fn kind(&self) -> VerdictKind {
        self.verdict.kind()
    }
}

impl fmt::Display for RuleRecord {
    /// The verdict, and every step with what was expected and what came out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}: {}", self.id, self.nic, self.verdict.kind())?;
        if let Some(reason) = self.verdict.reason() {
            write!(f, ": {reason}")?;
        }
        for StepRecord { action, expected, observed } in &self.steps {
            let mark = if expected == observed { "as expected" } else { "NOT as expected" };
            write!(f, "\n  {action}\n    expected: {expected}\n    observed: {observed} ({mark})")?;
        }
        Ok(())
    }
}

impl From<RuleRecord> for RuleResult {
    fn from(record: RuleRecord) -> Self {
        let RuleRecord { id, row, nic, verdict, steps } = record;
        Self {
            id: id.to_owned(),
            row: row.to_owned(),
            nic,
            verdict: verdict.kind(),
            reason: verdict.reason(),
            steps,
        }
    }
}
