//! Errors of loading, attaching and reading a program, and which of them the user's input causes.

use std::{fmt, io, path::PathBuf};

use aya::programs::{ProgramError as AyaError, xdp::XdpError};
use rustix::io::Errno;
use xdproof_netns::{XdpMode, XdpState};

use crate::program::{layout::LayoutError, linker::LinkError, object::Object, select::ObjectProblem};

/// Lines of the verifier's log that an error shows; the last ones say what is wrong.
const SHOWN_LINES: usize = 20;

/// An error in loading, attaching or reading a program.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error("failed to read the object {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    /// The object holds no program, or no counter, that can be tested.
    #[error("{object}: {problem}")]
    Object { object: String, problem: Box<ObjectProblem> },
    #[error("{object} cannot be loaded")]
    Link { object: String, source: Box<LinkError> },
    #[error("{object}: the kernel rejects map `{map}`: {answer}")]
    Map { object: String, map: String, answer: io::Error },
    #[error("{object}: the kernel rejects what slot {slot} of map `{map}` holds: {answer}")]
    Slot { object: String, map: String, slot: u32, answer: io::Error },
    /// A value of a global variable that does not fit, with its position.
    #[error(transparent)]
    Value(#[from] LayoutError),
    #[error("no map `{name}`; {hint}")]
    NoSuchMap { name: String, hint: String },
    #[error("no global variable `{name}` in .data, .rodata or .bss; {hint}")]
    NoSuchGlobal { name: String, hint: String },
    #[error("map `{name}` was not created: {reason}")]
    UnavailableMap { name: String, reason: String },
    #[error("no program `{name}` was loaded; {hint}")]
    NotLoaded { name: String, hint: String },
    #[error(
        "map `{map}` is pinned at {} and differs from the object ({difference}); unpin it, or leave out `reuse_pins`",
        path.display()
    )]
    Pinned { map: String, path: PathBuf, difference: String },
    /// A program or something else that is loaded, and that is no XDP program.
    #[error("{what} {problem}")]
    NotXdp { what: String, problem: String },
    /// EPERM: the kernel creates no map for this process, or counts no runs.
    #[error("no permission to use BPF; run as root, or with CAP_BPF and CAP_NET_ADMIN")]
    NoPrivilege { source: io::Error },
    /// The answer stands before the verifier's log, which may be long.
    #[error("the kernel rejects program `{program}`: {answer}\n{log}")]
    Rejected { program: String, answer: io::Error, log: VerifierLog },
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
    #[error("failed to {action}")]
    System { action: String, source: io::Error },
    #[error("failed to {0}{hint}", hint = root_hint(.0))]
    Network(#[from] xdproof_netns::Error),
}

/// The log that the verifier wrote about a program that it rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierLog {
    /// All of it, as far as it fits 16 MiB.
    pub text: String,
}

impl VerifierLog {
    /// Reads a log that ends with a NUL.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
        // Lines of the source are in it, and it is shown on a terminal.
        let shown = |byte: char| if byte.is_control() && byte != '\n' { ' ' } else { byte };
        Self { text: String::from_utf8_lossy(text).chars().map(shown).collect() }
    }

    /// Returns how many lines are not shown.
    #[must_use]
    pub fn hidden_lines(&self) -> usize {
        self.text.lines().count().saturating_sub(SHOWN_LINES)
    }
}

impl fmt::Display for VerifierLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<&str> = self.text.lines().skip(self.hidden_lines()).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl ProgramError {
    /// Returns whether an input that the user named is at fault, not the machine.
    #[must_use]
    pub fn is_input(&self) -> bool {
        match self {
            Self::Open { source, .. } => !Self::is_of_machine(source),
            Self::Object { .. }
            | Self::Link { .. }
            | Self::Map { .. }
            | Self::Slot { .. }
            | Self::NoCounters
            | Self::Value(_)
            | Self::NoSuchMap { .. }
            | Self::NoSuchGlobal { .. }
            | Self::UnavailableMap { .. }
            | Self::NotLoaded { .. }
            | Self::Pinned { .. }
            | Self::NotXdp { .. }
            | Self::Rejected { .. } => true,
            Self::NoPrivilege { .. }
            | Self::Builtin { .. }
            | Self::Refused { .. }
            | Self::NotAttached { .. }
            | Self::KeyOutOfRange { .. }
            | Self::NotPreset { .. }
            | Self::Kernel { .. }
            | Self::System { .. }
            | Self::Network(_) => false,
        }
    }

    /// Returns the verifier's log, if it rejected the program.
    #[must_use]
    pub fn verifier_log(&self) -> Option<&VerifierLog> {
        match self {
            Self::Rejected { log, .. } => Some(log),
            Self::Builtin { source } => source.verifier_log(),
            _ => None,
        }
    }

    pub(super) fn object(object: &Object, problem: ObjectProblem) -> Self {
        Self::Object { object: object.to_string(), problem: Box::new(problem) }
    }

    pub(super) fn link(object: &Object, source: LinkError) -> Self {
        Self::Link { object: object.to_string(), source: Box::new(source) }
    }

    pub(super) fn map(object: &Object, map: &str, answer: io::Error) -> Self {
        if Self::is_of_machine(&answer) {
            return Self::system(&format!("create map `{map}` of {object}"), answer);
        }
        Self::Map { object: object.to_string(), map: map.to_owned(), answer }
    }

    pub(super) fn slot(object: &Object, map: &str, slot: u32, answer: io::Error) -> Self {
        Self::Slot { object: object.to_string(), map: map.to_owned(), slot, answer }
    }

    /// Returns the error of a system call that nothing in the object has caused.
    pub(super) fn system(action: &str, source: io::Error) -> Self {
        if is_permission(&source) {
            return Self::NoPrivilege { source };
        }
        Self::System { action: action.to_owned(), source }
    }

    /// Returns whether an answer says that the machine has no permission, no descriptors or no memory left.
    pub(super) fn is_of_machine(answer: &io::Error) -> bool {
        let of_machine = [Errno::PERM, Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOSYS];
        Errno::from_io_error(answer).is_some_and(|errno| of_machine.contains(&errno))
    }

    /// Says for an error of loading `object` whose fault it is: nothing that the user gave is at fault when our own programs
    /// do not load.
    pub(super) fn while_loading(self, object: &Object) -> Self {
        match self {
            Self::Link { .. } | Self::Map { .. } | Self::Slot { .. } | Self::Rejected { .. }
                if object.path.is_none() =>
            {
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
    if error.errno() == Some(Errno::PERM.raw_os_error()) { "; run as root" } else { "" }
}

/// For `map_err`: a system call about a program or a map.
pub(super) fn kernel<E: Into<AyaError>>(action: &'static str) -> impl Fn(E) -> ProgramError {
    move |error| ProgramError::Kernel { action, source: Box::new(error.into()) }
}

/// Returns whether the kernel wants a capability. EACCES is another thing: the verifier answers it.
pub(super) fn is_permission(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::PERM.raw_os_error())
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
        ProgramError::Rejected {
            program: "mine".to_owned(),
            answer,
            log: VerifierLog::of(b"R1 is unbounded\0"),
        }
    }

    fn refused(sentence: Option<&str>) -> ProgramError {
        let answer = io::Error::from_raw_os_error(95);
        let sentence = sentence.map(str::to_owned);
        ProgramError::Refused { mode: Some(XdpMode::Native), answer, sentence }
    }

    #[test]
    fn a_rejected_program_of_the_user_is_an_input_and_one_of_ours_is_not() {
        let mine = Object::file("mine.o");
        assert!(rejected().while_loading(&mine).is_input());
        assert!(!rejected().while_loading(&Object::default()).is_input());
        assert!(ProgramError::object(&mine, ObjectProblem::NoProgram { available: Vec::new() }).is_input());
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
    fn a_map_that_the_kernel_rejects_is_an_input_unless_the_machine_has_nothing_left() {
        let mine = Object::file("mine.o");
        for (errno, is_input) in
            [(Errno::INVAL, true), (Errno::TOOBIG, true), (Errno::MFILE, false), (Errno::PERM, false)]
        {
            assert_eq!(ProgramError::map(&mine, "cnt", errno.into()).is_input(), is_input, "{errno}");
        }
    }

    #[test]
    fn only_the_last_lines_of_a_log_are_shown() {
        let lines: Vec<String> = (0..100).map(|line| format!("line {line}")).collect();
        let log = VerifierLog::of(format!("{}\0rest", lines.join("\n")).as_bytes());
        assert_eq!(log.hidden_lines(), 80);
        let shown = log.to_string();
        assert!(shown.starts_with("line 80\n") && shown.ends_with("line 99"), "{shown}");
        assert_eq!(VerifierLog::of(b"one\0").hidden_lines(), 0);
    }

    #[test]
    fn a_refusal_ends_with_the_drivers_sentence() {
        let error = refused(Some("too many queues")).to_string();
        assert!(
            error.starts_with("failed to attach in native mode: ") && error.ends_with(": too many queues")
        );
    }
}
