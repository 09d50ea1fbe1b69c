//! A sender at the tester's port, whichever it is.

use std::io;

use xdproof_netns::{TxOutcome, Worker};

use crate::inject::{
    live_frames::LiveFrames,
    pace::{Pace, Pps},
    pnet::PnetSender,
    ring::RingSender,
    tc_tools::ToolError,
};
use crate::{model::mode::InjectorKind, ports::PortPair};

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
    pub fn open(kind: InjectorKind, testbed: &PortPair) -> Result<Self, SenderError> {
        let (worker, port) = (&testbed.tester, &testbed.topology.tester);
        Ok(match kind {
            InjectorKind::Pnet => Self::Pnet(PnetSender::open(worker, port)?),
            InjectorKind::Ring => Self::Ring(RingSender::open(worker, port)?),
            InjectorKind::LiveFrames => Self::LiveFrames(Box::new(LiveFrames::open(worker, port)?)),
            InjectorKind::TestRun => return Err(SenderError::SendsNothing(kind)),
        })
    }

    /// Opens a sender of one of several at the tester's port, which leaves by a transmit queue of its own where it can. `shelf` is
    /// a namespace that keeps one program of live frames ([`DispatcherHold`](crate::program::DispatcherHold)).
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn open_on(
        kind: InjectorKind,
        testbed: &PortPair,
        queue: u32,
        shelf: &Worker,
    ) -> Result<Self, SenderError> {
        let (worker, port) = (&testbed.tester, &testbed.topology.tester);
        Ok(match kind {
            InjectorKind::Ring => Self::Ring(RingSender::open_on(worker, port, queue..queue + 1)?),
            InjectorKind::LiveFrames => Self::LiveFrames(Box::new(LiveFrames::open_on(worker, port, shelf)?)),
            InjectorKind::Pnet | InjectorKind::TestRun => Self::open(kind, testbed)?,
        })
    }

    /// Whether frames leave in the order in which they are sent, at least those of one flow: several rings take turns.
    #[must_use]
    pub fn keeps_order(&self) -> bool {
        match self {
            Self::Pnet(_) | Self::LiveFrames(_) => true,
            Self::Ring(ring) => ring.keeps_order(),
        }
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

/// Frames under way between two looks at the clock, where a load is offered that is not the greatest.
const MOST_AT_ONCE: u32 = 64;

impl Sender {
    /// Makes ready to [`repeat`](Self::repeat) frames, each so many times in a row.
    ///
    /// # Errors
    ///
    /// What the kernel answered, as of [`send`](Self::send).
    pub fn load(&mut self, frames: &[(&[u8], u32)]) -> io::Result<()> {
        match self {
            Self::Pnet(_) => Ok(()),
            Self::Ring(ring) => ring.load(&unrolled(frames)),
            Self::LiveFrames(live) => live.load(frames),
        }
    }

    /// Sends `count` of the frames that were [loaded](Self::load), over and over: at a rate if there is one, else as fast as it
    /// goes. A live frame that is lost on its way to the driver is among those taken.
    ///
    /// # Errors
    ///
    /// What the kernel answered; it is then unknown how many were sent.
    pub fn repeat(
        &mut self,
        frames: &[(&[u8], u32)],
        count: u32,
        rate: Option<Pps>,
    ) -> io::Result<TxOutcome> {
        let Some(pace) = rate.and_then(Pace::begin) else { return self.burst(frames, count) };
        let each = pace.burst(MOST_AT_ONCE);
        let mut handed = TxOutcome::default();
        let mut sent = 0;
        while sent < count {
            pace.wait(u64::from(sent));
            let now = each.min(count - sent);
            let TxOutcome { accepted, dropped } = self.burst(frames, now)?;
            handed.accepted += accepted;
            handed.dropped += dropped;
            sent += now;
        }
        // The time until the frame that would be next belongs to these: who repeats at once offers no more than was asked.
        pace.wait(u64::from(count));
        Ok(handed)
    }

    fn burst(&mut self, frames: &[(&[u8], u32)], count: u32) -> io::Result<TxOutcome> {
        match self {
            Self::Ring(ring) => ring.repeat(&unrolled(frames), count),
            Self::LiveFrames(live) => {
                live.run(count)?;
                Ok(TxOutcome { accepted: u64::from(count), dropped: 0 })
            }
            Self::Pnet(pnet) => {
                let mut handed = TxOutcome::default();
                let unrolled = unrolled(frames);
                let count = usize::try_from(count).map_err(io::Error::other)?;
                for frame in unrolled.iter().cycle().take(count) {
                    match pnet.send(frame) {
                        Ok(()) => handed.accepted += 1,
                        // The driver dropped it at once (NET_XMIT_DROP).
                        Err(error)
                            if rustix::io::Errno::from_io_error(&error)
                                == Some(rustix::io::Errno::NOBUFS) =>
                        {
                            handed.dropped += 1;
                        }
                        Err(error) => return Err(error),
                    }
                }
                Ok(handed)
            }
        }
    }

    /// How many frames it is best to send at once: whole bursts, for those that make them.
    #[must_use]
    pub fn grain(&self) -> u32 {
        match self {
            Self::Pnet(_) => 1,
            Self::Ring(_) => super::ring::BURST,
            Self::LiveFrames(_) => super::live_frames::BATCH,
        }
    }
}

/// The frames in their order, each as often as it is sent in a row.
fn unrolled<'a>(frames: &[(&'a [u8], u32)]) -> Vec<&'a [u8]> {
    frames.iter().flat_map(|&(frame, times)| (0..times).map(move |_| frame)).collect()
}

/// A frame that the driver drops at once is not sent.
fn all_taken(handed: TxOutcome) -> io::Result<()> {
    match handed.dropped {
        0 => Ok(()),
        _ => Err(rustix::io::Errno::NOBUFS.into()),
    }
}
