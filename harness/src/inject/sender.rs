//! A sender at the tester's port, whichever it is.

use std::io;

use xdproof_netns::Handed;

use super::{live_frames::LiveFrames, pnet::PnetSender, ring::RingSender, shape::ToolError};
use crate::{plan::InjectorKind, testbed::Veth};

/// Sends frames from the tester to the DUT.
#[derive(Debug)]
pub enum Sender {
    /// See [`PnetSender`].
    Pnet(PnetSender),
    /// See [`RingSender`].
    Ring(RingSender),
    /// See [`LiveFrames`].
    LiveFrames(Box<LiveFrames>),
}

/// Why there is no sender.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    /// The kernel opened no socket.
    #[error("failed to open a sender")]
    Open(#[from] io::Error),
    /// The namespace or the link failed.
    #[error("failed to {0}")]
    Network(#[from] xdproof_netns::Error),
    /// The program that sends live frames does not work.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// Test runs send nothing.
    #[error("{0} sends nothing")]
    SendsNothing(InjectorKind),
}

/// Why frames were not sent.
#[derive(Debug, thiserror::Error)]
#[error("failed to send {count} frames of at most {longest} bytes")]
pub struct SendError {
    /// How many they were.
    pub count: usize,
    /// The length of the longest in bytes.
    pub longest: usize,
    /// What the kernel answered.
    pub source: io::Error,
}

impl Sender {
    /// Opens a sender at the tester's port, on which the DUT has the program already. Needs `CAP_NET_RAW` there, and `CAP_BPF`
    /// and `CAP_NET_ADMIN` for live frames.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn open(kind: InjectorKind, testbed: &Veth) -> Result<Self, SenderError> {
        let (worker, port) = (&testbed.tester, &testbed.topology.tester);
        Ok(match kind {
            InjectorKind::Pnet => Self::Pnet(PnetSender::open(worker, port)?),
            InjectorKind::Ring => Self::Ring(RingSender::open(worker, port)?),
            InjectorKind::LiveFrames => Self::LiveFrames(Box::new(LiveFrames::open(worker, port)?)),
            InjectorKind::TestRun => return Err(SenderError::SendsNothing(kind)),
        })
    }

    /// Sends frames, without FCS, as they are and in this order.
    ///
    /// # Errors
    ///
    /// What the kernel answered: EINVAL for a frame shorter than an Ethernet header, EMSGSIZE or ENOBUFS for one beyond the
    /// MTU. Some of the frames may have been sent.
    pub fn send(&mut self, frames: &[&[u8]]) -> Result<(), SendError> {
        let sent = match self {
            Self::Pnet(pnet) => frames.iter().try_for_each(|frame| pnet.send(frame)),
            Self::Ring(ring) => ring.send(frames).and_then(all_taken),
            Self::LiveFrames(live) => live.send(frames),
        };
        sent.map_err(|source| SendError {
            count: frames.len(),
            longest: frames.iter().map(|frame| frame.len()).max().unwrap_or(0),
            source,
        })
    }
}

/// A frame that the driver drops at once is not sent.
fn all_taken(handed: Handed) -> io::Result<()> {
    match handed.refused {
        0 => Ok(()),
        _ => Err(rustix::io::Errno::NOBUFS.into()),
    }
}
