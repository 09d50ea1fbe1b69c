//! Reasons for which there is no observation.

use std::io;

use rustix::io::Errno;

use crate::{inject::sender::SendError, model::observation::Observation, program::ProgramError};

/// Frames could not be exchanged, or the observation proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The kernel refused to take frames for sending.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The sending thread cannot be kept on one CPU.
    #[error("failed to stay on one CPU")]
    Pin { source: io::Error },
    /// The kernel refused to run the program on a frame.
    #[error("failed to run the program on a frame")]
    TestRun { source: io::Error },
    /// The sender cannot be moved from CPU to CPU.
    #[error("failed to send from another CPU")]
    Turn { source: io::Error },
    /// A port of the DUT sends nothing, so that nobody knows whether a frame is still in flight there.
    #[error("failed to flush a port of the DUT")]
    Flush { source: io::Error },
    /// The runs or the counters of the program cannot be read.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The capture failed.
    #[error("failed to {0}")]
    Network(#[from] xdproof_netns::Error),
    /// Frames arrived that nobody of the trial sent: the program has counted them.
    #[error("foreign frames arrived during the trial: {frames}")]
    ForeignFrames {
        /// Their layers.
        frames: String,
        /// They are link-local control traffic.
        is_control: bool,
        /// Everything that was observed.
        observed: Box<Observation>,
    },
    /// A signal asked the run to end.
    #[error("the run was interrupted")]
    Interrupted,
    /// A capture lost frames, so that it proves nothing.
    #[error("a capture lost {frames} frames")]
    CaptureLost { frames: u32 },
}

impl ExchangeError {
    /// Returns true if the kernel refused a frame as such: EINVAL, EMSGSIZE for one beyond the MTU (`packet_snd`) or, in a test run
    /// of a kernel without multi-buffer frames, beyond a page (`bpf_test_init` of Linux 5.10), or ENOMEM for one of more fragments
    /// than an skb has (`bpf_prog_test_run_xdp`).
    #[must_use]
    pub fn refused_frame(&self) -> bool {
        let is = |source: &io::Error, errno: Errno| source.raw_os_error() == Some(errno.raw_os_error());
        let invalid = |source: &io::Error| source.kind() == io::ErrorKind::InvalidInput;
        match self {
            Self::Send(SendError { source, .. }) => invalid(source) || is(source, Errno::MSGSIZE),
            Self::TestRun { source } => {
                invalid(source) || is(source, Errno::MSGSIZE) || is(source, Errno::NOMEM)
            }
            _ => false,
        }
    }
}
