//! Errors of loading, attaching and reading a program, and which of them the user's input causes.

use std::{io, path::PathBuf};

use aya::{
    EbpfError,
    programs::{ProgramError as AyaError, xdp::XdpError},
};
use xdproof_netns::{XdpMode, XdpState};

use crate::program::{object::Object, select::ObjectProblem};

/// An error in loading, attaching or reading a program.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error("failed to read the object {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{} is not a BPF object", path.display())]
    NotAnObject { path: PathBuf, source: Box<EbpfError> },
    /// The object holds no program, or no counter, that can be tested.
    #[error("{object}: {problem}")]
    Object { object: String, problem: ObjectProblem },
    /// EPERM: the kernel creates no map for this process, or counts no runs.
    #[error("no permission to use BPF; run as root, or with CAP_BPF and CAP_NET_ADMIN")]
    NoPrivilege { source: io::Error },
    #[error("failed to load {object}")]
    Load { object: String, source: Box<EbpfError> },
    /// The answer stands before the verifier's log, which may be long.
    #[error("the kernel rejects program `{program}`: {answer}\n{log}")]
    Rejected { program: String, answer: io::Error, log: String },
    /// The programs of this project do not load on this machine.
    #[error("failed to load the built-in programs")]
    Builtin { source: Box<ProgramError> },
    /// The kernel or the driver refuses to attach the program.
    #[error("failed to attach in {} mode: {answer}{}", mode_name(*mode), detail(sentence.as_ref()))]
    Refused {
        mode: Option<XdpMode>,
        answer: io::Error,
        /// The driver's own sentence (extack).
        sentence: Option<String>,
    },
    #[error("expected program {id} in {} mode on the device, got {found}", mode_name(*mode))]
    NotAttached { mode: Option<XdpMode>, id: u32, found: XdpState },
    #[error("the program has no counter map to preset")]
    NoCounters,
    /// The program counts beyond the protocol numbers.
    #[error("the counter map has a count at key {key}; protocol numbers end at 255")]
    KeyOutOfRange { key: u32 },
    #[error("failed to preset slot {protocol} of the counter map: expected {value}, got {found}")]
    NotPreset { protocol: u8, value: u64, found: u64 },
    #[error("failed to {action}")]
    Kernel { action: &'static str, source: Box<AyaError> },
    #[error("failed to {0}{hint}", hint = root_hint(.0))]
    Network(#[from] xdproof_netns::Error),
}

impl ProgramError {
    /// Returns whether an input that the user named is at fault, not the machine.
    #[must_use]
    pub fn is_input(&self) -> bool {
        match self {
            Self::Open { .. }
            | Self::NotAnObject { .. }
            | Self::Object { .. }
            | Self::Load { .. }
            | Self::NoCounters
            | Self::Rejected { .. } => true,
            Self::NoPrivilege { .. }
            | Self::Builtin { .. }
            | Self::Refused { .. }
            | Self::NotAttached { .. }
            | Self::KeyOutOfRange { .. }
            | Self::NotPreset { .. }
            | Self::Kernel { .. }
            | Self::Network(_) => false,
        }
    }

    pub(super) fn object(object: &Object, problem: ObjectProblem) -> Self {
        Self::Object { object: object.to_string(), problem }
    }

    /// Says for an error of loading `object` whose fault it is: nothing that the user gave is at fault when our own programs
    /// do not load.
    pub(super) fn while_loading(self, object: &Object) -> Self {
        match self {
            Self::Load { .. } | Self::Rejected { .. } if object.path.is_none() => {
                Self::Builtin { source: Box::new(self) }
            }
            error => error,
        }
    }
}

fn mode_name(mode: Option<XdpMode>) -> String {
    mode.map_or("the kernel's default".to_owned(), |mode| mode.to_string())
}

fn detail(sentence: Option<&String>) -> String {
    sentence.map(|sentence| format!(": {sentence}")).unwrap_or_default()
}

fn root_hint(error: &xdproof_netns::Error) -> &'static str {
    if error.errno() == Some(rustix::io::Errno::PERM.raw_os_error()) { "; run as root" } else { "" }
}

/// For `map_err`: a system call about a program or a map.
pub(super) fn kernel<E: Into<AyaError>>(action: &'static str) -> impl Fn(E) -> ProgramError {
    move |error| ProgramError::Kernel { action, source: Box::new(error.into()) }
}

/// Returns whether the kernel wants a capability. EACCES is another thing: the verifier answers it.
pub(super) fn is_permission(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error())
}

/// Returns the system's answer within aya's error, if there is one.
pub(super) fn errno(error: &AyaError) -> Option<io::Error> {
    let code = match error {
        AyaError::SyscallError(error) => error.io_error.raw_os_error(),
        AyaError::XdpError(XdpError::NetlinkError(error)) => error.raw_os_error(),
        _ => None,
    };
    code.map(io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected() -> ProgramError {
        let answer = io::Error::from_raw_os_error(13);
        ProgramError::Rejected { program: "mine".to_owned(), answer, log: "R1 is unbounded".to_owned() }
    }

    fn refused(sentence: Option<&str>) -> ProgramError {
        let answer = io::Error::from_raw_os_error(95);
        let sentence = sentence.map(str::to_owned);
        ProgramError::Refused { mode: Some(XdpMode::Native), answer, sentence }
    }

    #[test]
    fn a_rejected_program_of_the_user_is_an_input_and_one_of_ours_is_not() {
        let mine = Object { path: Some("mine.o".into()), ..Object::default() };
        assert!(rejected().while_loading(&mine).is_input());
        assert!(!rejected().while_loading(&Object::default()).is_input());
        assert!(ProgramError::object(&mine, ObjectProblem::NoProgram).is_input());
    }

    #[test]
    fn a_missing_privilege_and_a_refusing_driver_are_the_machine() {
        let denied = io::Error::from_raw_os_error(1);
        assert!(is_permission(&denied));
        assert!(!is_permission(&io::Error::from_raw_os_error(13)));
        for error in [
            ProgramError::NoPrivilege { source: denied },
            refused(None),
            ProgramError::KeyOutOfRange { key: 300 },
        ] {
            assert!(!error.is_input(), "{error}");
        }
    }

    #[test]
    fn a_refusal_ends_with_the_drivers_sentence() {
        let error = refused(Some("too many queues")).to_string();
        assert!(
            error.starts_with("failed to attach in native mode: ") && error.ends_with(": too many queues")
        );
    }
}
