//! The crate's one error type. It is made of fields: the action, the subject, and the kernel's reply.

use std::{fmt, io, path::PathBuf, time::Duration};

use crate::{IfIndex, LinkName};

/// The subject of a failed action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A link, by its index in the namespace.
    Index(IfIndex),
    /// A link, by its name in the namespace.
    Name(LinkName),
    Path(PathBuf),
    Family(&'static str),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => write!(f, "link {index}"),
            Self::Name(name) => write!(f, "link {name}"),
            Self::Path(path) => path.display().fmt(f),
            Self::Family(name) => write!(f, "netlink family {name}"),
        }
    }
}

impl From<IfIndex> for Subject {
    fn from(index: IfIndex) -> Self {
        Self::Index(index)
    }
}

impl From<&LinkName> for Subject {
    fn from(name: &LinkName) -> Self {
        Self::Name(name.clone())
    }
}

/// The reason for a failure. Every text fits "failed to ..."; the errno is the source of [`Error::Refused`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text is not a valid link name, address, namespace name or the like.
    #[error("parse {text:?} as {what}: {problem}")]
    Invalid { what: &'static str, text: String, problem: &'static str },

    /// No link in the namespace has this name.
    #[error("find a link named {name} in the namespace")]
    NoSuchLink { name: LinkName },

    /// No link in the namespace has this index.
    #[error("find a link with index {index} in the namespace")]
    NoSuchIndex { index: IfIndex },

    /// The kernel rejected a request or a system call: the attempted action, the link, file or family that it
    /// concerned, and the errno.
    #[error("{action}{}{}", aside(subject.as_ref()), reason(extack.as_deref()))]
    Refused {
        action: &'static str,
        subject: Option<Subject>,
        /// The extack message (`NLMSGERR_ATTR_MSG`), if the kernel sent one.
        extack: Option<String>,
        source: io::Error,
    },

    /// The kernel accepted a request, but its reply lacks an attribute.
    #[error("{action}{}: the reply has no {missing}", aside(subject.as_ref()))]
    IncompleteReply { action: &'static str, subject: Option<Subject>, missing: &'static str },

    /// A condition was not met before its deadline.
    #[error("{action}{} within {deadline:?}", aside(subject.as_ref()))]
    Timeout { action: &'static str, subject: Option<Subject>, deadline: Duration },

    /// The kernel accepted a request for an offload, but the offload did not change.
    #[error("turn {offload} {} (link {index}): the driver left it unchanged", if *on { "on" } else { "off" })]
    OffloadUnchanged { index: IfIndex, offload: String, on: bool },

    /// A job panicked. Its worker remains usable.
    #[error("finish a job in worker {worker}, which panicked: {message}")]
    WorkerPanicked { worker: String, message: String },

    /// A worker's thread has ended.
    #[error("reach worker {worker}, whose thread has ended")]
    WorkerGone { worker: String },

    /// A job waits for another job of its own worker, a deadlock.
    #[error("run a job in worker {worker} from one of its own jobs")]
    WorkerReentered { worker: String },
}

impl Error {
    /// Returns the kernel's errno, if there is one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// Returns the kernel's extack message, if there is one. It is evidence for a report and must not be
    /// parsed.
    #[must_use]
    pub fn extack(&self) -> Option<&str> {
        match self {
            Self::Refused { extack, .. } => extack.as_deref(),
            _ => None,
        }
    }

    /// Makes a function for `map_err` of a failed system call.
    pub(crate) fn refused<E: Into<io::Error>>(
        action: &'static str,
        subject: impl Into<Option<Subject>>,
    ) -> impl FnOnce(E) -> Self {
        let subject = subject.into();
        move |source| Self::Refused { action, subject, extack: None, source: source.into() }
    }
}

fn aside(subject: Option<&Subject>) -> String {
    subject.map(|subject| format!(" ({subject})")).unwrap_or_default()
}

fn reason(extack: Option<&str>) -> String {
    extack.map(|extack| format!(": {extack}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_fragment_with_the_extack_message() {
        let error = Error::Refused {
            action: "attach an XDP program",
            subject: IfIndex::new(3).map(Subject::Index),
            extack: Some("XDP program already attached".into()),
            source: io::Error::from_raw_os_error(libc::EBUSY),
        };
        assert_eq!(error.to_string(), "attach an XDP program (link 3): XDP program already attached");
        assert_eq!(
            (error.errno(), error.extack()),
            (Some(libc::EBUSY), Some("XDP program already attached"))
        );
    }

    #[test]
    fn a_refusal_without_details_is_the_action_alone() {
        let error: Error = Error::refused("open a socket", None)(io::Error::from_raw_os_error(libc::EPERM));
        assert_eq!(error.to_string(), "open a socket");
        assert_eq!(error.extack(), None);
    }
}
