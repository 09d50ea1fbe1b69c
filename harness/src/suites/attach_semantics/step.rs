//! Steps of a case: an action, the reply that the kernel must give, and the program that must be attached afterwards.

use std::fmt;

use rustix::io::Errno;
use xdproof_netns::{XdpMode, XdpState};

/// The programs that cases attach. First and second are two loads of the same counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TestProgram {
    First,
    Second,
    /// The counter that takes multi-buffer frames.
    Frags,
}

impl TestProgram {
    pub(super) const ALL: [Self; 3] = [Self::First, Self::Second, Self::Frags];
}

impl fmt::Display for TestProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "the first program",
            Self::Second => "the second program",
            Self::Frags => "the frags program",
        })
    }
}

/// Interface by which a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttachMethod {
    /// `IFLA_XDP` of `RTM_SETLINK`.
    Netlink,
    /// `bpf_link_create()`.
    BpfLink,
}

impl fmt::Display for AttachMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Netlink => "netlink",
            Self::BpfLink => "bpf_link",
        })
    }
}

/// Condition under which a program is to be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttachCondition {
    Always,
    /// `XDP_FLAGS_UPDATE_IF_NOEXIST`.
    IfNoExist,
    /// `XDP_FLAGS_REPLACE`, by netlink alone.
    Replace(TestProgram),
}

/// One action of a case.
#[derive(Clone, Copy, Debug)]
pub(super) enum StepAction {
    /// Attaches a program; a `bpf_link` is held from then on.
    Attach(AttachMethod, TestProgram, &'static [XdpMode], AttachCondition),
    /// Detaches by netlink.
    Detach(Option<XdpMode>),
    /// `bpf_link_update()` of the newest link, from an expected program if there is one.
    UpdateLink(TestProgram, Option<TestProgram>),
    /// Closes the descriptor of the newest link.
    CloseLink,
    SetUp(bool),
    SetPeerMtu(u32),
    ReadPeerMaxMtu,
    ReadFeatures,
    ReadPeerFeatures,
    /// Reads the device that the newest link is attached to.
    ReadLinkDevice,
    /// Moves the device to a new namespace.
    MoveDevice,
    DeleteDevice,
}

/// Expected reply of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ExpectedReply {
    Done,
    /// An errno, and the extack sentence if the case is about it.
    Refused(Errno, Option<&'static str>),
    /// The value that a reading action returns.
    Value(String),
}

/// Program that is attached to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttachState {
    Nothing,
    Attached(XdpMode, TestProgram),
    /// The device itself is gone.
    NoDevice,
}

/// Returns the mode bits of one mode.
pub(super) const fn only(mode: XdpMode) -> &'static [XdpMode] {
    match mode {
        XdpMode::Generic => &[XdpMode::Generic],
        XdpMode::Native => &[XdpMode::Native],
        XdpMode::Offload => &[XdpMode::Offload],
    }
}

/// One step of a case.
#[derive(Clone, Debug)]
pub(super) struct AttachStep {
    pub(super) action: StepAction,
    pub(super) reply: ExpectedReply,
    /// Expected state; without one it is the [implied](Self::state_after) one.
    state: Option<AttachState>,
}

/// Returns a step whose action succeeds.
pub(super) const fn done(action: StepAction) -> AttachStep {
    AttachStep { action, reply: ExpectedReply::Done, state: None }
}

/// Returns a step whose action reads `value`.
pub(super) fn reads(action: StepAction, value: impl fmt::Display) -> AttachStep {
    AttachStep { action, reply: ExpectedReply::Value(value.to_string()), state: None }
}

impl AttachStep {
    /// Expects a refusal.
    pub(super) fn fails(self, errno: Errno) -> Self {
        Self { reply: ExpectedReply::Refused(errno, None), ..self }
    }

    /// Expects a refusal with a sentence. `bpf(2)` gives its caller an errno alone, so that the sentence is expected from netlink.
    pub(super) fn fails_with(self, errno: Errno, sentence: &'static str) -> Self {
        let by_bpf = matches!(self.action, StepAction::Attach(AttachMethod::BpfLink, ..));
        Self { reply: ExpectedReply::Refused(errno, (!by_bpf).then_some(sentence)), ..self }
    }

    /// Expects another state than the implied one.
    pub(super) const fn leaves(mut self, state: AttachState) -> Self {
        self.state = Some(state);
        self
    }

    /// Returns the expected state after the step: a program is attached if it was attached in one mode, none after a detach, and
    /// everything else leaves the state `before` as it is.
    pub(super) fn state_after(&self, before: AttachState) -> AttachState {
        use AttachState::{Attached, NoDevice, Nothing};
        match (self.state, &self.reply, self.action, before) {
            (Some(state), ..) => state,
            (None, ExpectedReply::Refused(..), ..) | (.., NoDevice) => before,
            (.., StepAction::Attach(_, program, &[mode], _), _)
            | (.., StepAction::UpdateLink(program, _), Attached(mode, _)) => Attached(mode, program),
            (.., StepAction::Detach(_) | StepAction::CloseLink, _) => Nothing,
            (.., StepAction::DeleteDevice, _) => NoDevice,
            _ => before,
        }
    }
}

impl AttachState {
    /// Describes the kernel's answer in the words of an expectation, with `ids` of the programs as in [`TestProgram::ALL`].
    /// `None`: there is no such device.
    pub(super) fn describe(state: Option<XdpState>, ids: &[u32; 3]) -> String {
        let Some(state) = state else { return Self::NoDevice.to_string() };
        let attached = state.iter().map(|(mode, id)| {
            let known = TestProgram::ALL.into_iter().zip(ids).find(|(_, known)| **known == id);
            match known {
                Some((program, _)) => Self::Attached(mode, program).to_string(),
                None => format!("foreign program {id} is attached in {mode} mode"),
            }
        });
        let attached: Vec<String> = attached.collect();
        if attached.is_empty() { Self::Nothing.to_string() } else { attached.join(" and ") }
    }
}

impl fmt::Display for StepAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attach(method, program, modes, condition) => {
                write!(f, "attach {program} by {method}{}", InModes(modes))?;
                match condition {
                    AttachCondition::Always => Ok(()),
                    AttachCondition::IfNoExist => f.write_str(" if nothing is attached"),
                    AttachCondition::Replace(other) => write!(f, " in place of {other}"),
                }
            }
            Self::Detach(mode) => write!(f, "detach by netlink{}", InModes(mode.as_slice())),
            Self::UpdateLink(program, None) => write!(f, "update the bpf_link to {program}"),
            Self::UpdateLink(program, Some(old)) => write!(f, "update the bpf_link from {old} to {program}"),
            Self::CloseLink => f.write_str("close the bpf_link"),
            Self::SetUp(up) => write!(f, "set the device {}", if *up { "up" } else { "down" }),
            Self::SetPeerMtu(mtu) => write!(f, "set the peer's MTU to {mtu}"),
            Self::ReadPeerMaxMtu => f.write_str("read the peer's maximum MTU"),
            Self::ReadFeatures => f.write_str("read the advertised features"),
            Self::ReadPeerFeatures => f.write_str("read the peer's advertised features"),
            Self::ReadLinkDevice => f.write_str("read the device of the bpf_link"),
            Self::MoveDevice => f.write_str("move the device to another namespace"),
            Self::DeleteDevice => f.write_str("delete the device"),
        }
    }
}

/// "in MODE and MODE mode".
struct InModes<'a>(&'a [XdpMode]);

impl fmt::Display for InModes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(" with no mode");
        }
        let names: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        write!(f, " in {} mode", names.join(" and "))
    }
}

impl fmt::Display for ExpectedReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Refused(errno, sentence) => f.write_str(&refusal(*errno, *sentence)),
            Self::Value(value) => f.write_str(value),
        }
    }
}

/// Describes a refusal by the name of its errno, and the kernel's sentence if one is asked for.
pub(super) fn refusal(errno: Errno, sentence: Option<&str>) -> String {
    let name = match errno {
        Errno::BUSY => "EBUSY",
        Errno::EXIST => "EEXIST",
        Errno::INVAL => "EINVAL",
        Errno::OPNOTSUPP => "EOPNOTSUPP",
        Errno::RANGE => "ERANGE",
        Errno::NOSPC => "ENOSPC",
        Errno::PERM => "EPERM",
        Errno::NOLINK => "ENOLINK",
        other => &format!("errno {}", other.raw_os_error()),
    };
    sentence.map_or_else(|| name.to_owned(), |sentence| format!("{name} \"{sentence}\""))
}

impl fmt::Display for AttachState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing is attached"),
            Self::Attached(mode, program) => write!(f, "{program} is attached in {mode} mode"),
            Self::NoDevice => f.write_str("the device is gone"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AttachState::{Attached, NoDevice, Nothing};
    use TestProgram::{First, Second};
    use XdpMode::{Generic, Native};

    fn attach(program: TestProgram, modes: &'static [XdpMode]) -> StepAction {
        StepAction::Attach(AttachMethod::Netlink, program, modes, AttachCondition::Always)
    }

    #[test]
    fn only_what_succeeds_changes_the_state() {
        let before = Attached(Generic, First);
        assert_eq!(done(attach(Second, &[Generic])).state_after(before), Attached(Generic, Second));
        assert_eq!(done(attach(Second, &[Native])).fails(Errno::EXIST).state_after(before), before);
        assert_eq!(done(StepAction::UpdateLink(Second, None)).state_after(before), Attached(Generic, Second));
        assert_eq!(done(StepAction::Detach(Some(Generic))).state_after(before), Nothing);
        assert_eq!(done(StepAction::Detach(None)).leaves(before).state_after(before), before);
        assert_eq!(reads(StepAction::ReadFeatures, 0).state_after(before), before);
        assert_eq!(done(StepAction::DeleteDevice).state_after(before), NoDevice);
        assert_eq!(done(StepAction::CloseLink).state_after(NoDevice), NoDevice);
    }

    #[test]
    fn a_sentence_is_expected_from_netlink_alone() {
        let by = |method| StepAction::Attach(method, First, &[Native], AttachCondition::Always);
        let reply = |method| done(by(method)).fails_with(Errno::BUSY, "a sentence").reply.to_string();
        assert_eq!(reply(AttachMethod::Netlink), "EBUSY \"a sentence\"");
        assert_eq!(reply(AttachMethod::BpfLink), "EBUSY");
    }
}
