//! One error type, made of fields: what was tried, on what, and what the kernel said.

use std::{fmt, io, path::PathBuf, time::Duration};

use crate::{IfIndex, LinkName, Offload};

/// What a refused action was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A link, by its index in the namespace.
    Index(IfIndex),
    /// A link, by its name in the namespace.
    Name(LinkName),
    /// A file.
    Path(PathBuf),
    /// A generic netlink family.
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

/// Why something could not be done. Every text fits behind "failed to"; the errno is the source of
/// [`Error::Refused`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text is not what it should be (a link name, an address, a namespace name).
    #[error("read {text:?} as {what}: {problem}")]
    Invalid {
        /// What the text was read as.
        what: &'static str,
        /// The text.
        text: String,
        /// The rule that it breaks.
        problem: &'static str,
    },

    /// No link has this name in the namespace.
    #[error("find a link named {name} in the namespace")]
    NoSuchLink {
        /// The name that was asked for.
        name: LinkName,
    },

    /// No link has this index in the namespace.
    #[error("find a link with index {index} in the namespace")]
    NoSuchIndex {
        /// The index that was asked for.
        index: IfIndex,
    },

    /// The kernel refused a request or a system call.
    #[error("{action}{}{}", aside(subject.as_ref()), reason(extack.as_deref()))]
    Refused {
        /// What was tried.
        action: &'static str,
        /// The link, file or family that it was tried on.
        subject: Option<Subject>,
        /// The kernel's own sentence (`NLMSGERR_ATTR_MSG`), where it gave one.
        extack: Option<String>,
        /// The errno.
        source: io::Error,
    },

    /// The kernel accepted a request, but its answer lacks something.
    #[error("{action}{}: the answer has no {missing}", aside(subject.as_ref()))]
    IncompleteAnswer {
        /// What was asked.
        action: &'static str,
        /// What it was asked about.
        subject: Option<Subject>,
        /// What the answer should have had.
        missing: &'static str,
    },

    /// A condition did not come true in time.
    #[error("{action}{} within {deadline:?}", aside(subject.as_ref()))]
    Timeout {
        /// What was waited for.
        action: &'static str,
        /// What it was waited for on.
        subject: Option<Subject>,
        /// How long it was waited for.
        deadline: Duration,
    },

    /// An offload was accepted by the kernel and yet is not as asked.
    #[error("turn {offload} {} (link {index}): the driver left it as it was", if *on { "on" } else { "off" })]
    OffloadUnchanged {
        /// The link.
        index: IfIndex,
        /// The offload.
        offload: Offload,
        /// What was asked for.
        on: bool,
    },

    /// A job panicked. Its worker stays usable.
    #[error("finish a job in worker {worker}, which panicked: {message}")]
    WorkerPanicked {
        /// The worker's label.
        worker: String,
        /// What the panic said.
        message: String,
    },

    /// A worker's thread has ended.
    #[error("reach worker {worker}, whose thread has ended")]
    WorkerGone {
        /// The worker's label.
        worker: String,
    },

    /// A job waits for another job of its own worker, which would be for ever.
    #[error("run a job in worker {worker} from one of its own jobs")]
    WorkerReentered {
        /// The worker's label.
        worker: String,
    },
}

impl Error {
    /// The errno behind it, if the kernel gave one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// The kernel's own sentence, if it gave one: evidence for a report, never to be parsed.
    #[must_use]
    pub fn extack(&self) -> Option<&str> {
        match self {
            Self::Refused { extack, .. } => extack.as_deref(),
            _ => None,
        }
    }

    /// For `map_err`: a system call that failed.
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
    fn a_refusal_reads_as_a_fragment_with_the_kernels_sentence() {
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
