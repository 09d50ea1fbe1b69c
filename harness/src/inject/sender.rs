//! One interface to the injectors that send from the tester's port.

use std::io;

use rustix::io::Errno;
use xdproof_netns::{TxOutcome, Worker};

use crate::inject::{
    live_frames::LiveFrames,
    pace::{Pace, Pps},
    pnet::PnetSender,
    ring::RingSender,
    tc_tools::ToolError,
};
use crate::{model::mode::InjectorKind, ports::PortPair};

/// Most frames between two looks at the clock, at a rate below the greatest.
const MOST_AT_ONCE: u32 = 64;

/// Sends frames from the tester to the DUT.
#[derive(Debug)]
pub enum Sender {
    Pnet(PnetSender),
    Ring(RingSender),
    LiveFrames(Box<LiveFrames>),
}

/// Reason for which a sender cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    #[error("failed to open a sender")]
    Open(#[from] io::Error),
    /// The namespace or the link failed.
    #[error("failed to {0}")]
    Network(#[from] xdproof_netns::Error),
    /// The program that sends live frames cannot be used.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// Test runs send nothing.
    #[error("{0} sends nothing")]
    SendsNothing(InjectorKind),
}

/// Frames that were not sent.
#[derive(Debug, thiserror::Error)]
#[error("failed to send {count} frames of at most {longest} bytes")]
pub struct SendError {
    pub count: usize,
    /// Length of the longest in bytes.
    pub longest: usize,
    pub source: io::Error,
}

impl Sender {
    /// Opens a sender at the tester's port, once the DUT has its program. Needs `CAP_NET_RAW` there, and `CAP_BPF` and
    /// `CAP_NET_ADMIN` for live frames.
    pub(crate) fn open(kind: InjectorKind, testbed: &PortPair) -> Result<Self, SenderError> {
        let (worker, port) = (&testbed.tester, &testbed.topology.tester);
        Ok(match kind {
            InjectorKind::Pnet => Self::Pnet(PnetSender::open(worker, port, false)?),
            InjectorKind::Ring => Self::Ring(RingSender::open(worker, port)?),
            InjectorKind::LiveFrames => {
                Self::LiveFrames(Box::new(LiveFrames::open_on(worker, port, worker)?))
            }
            InjectorKind::TestRun => return Err(SenderError::SendsNothing(kind)),
        })
    }

    /// Opens one of several senders at the tester's port, with a transmit queue of its own where the injector can choose it. `shelf`
    /// is a namespace that holds one program of live frames ([`DispatcherHold`](crate::program::DispatcherHold)).
    pub(crate) fn open_on(
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

    /// Opens a sender for one of several CPUs that send at the same time, as [`Self::open_on`] with the queue of that CPU.
    pub(crate) fn open_for_cpu(
        kind: InjectorKind,
        testbed: &PortPair,
        cpu: usize,
        shelf: &Worker,
    ) -> Result<Self, SenderError> {
        let (worker, port) = (&testbed.tester, &testbed.topology.tester);
        if kind == InjectorKind::Pnet {
            return Ok(Self::Pnet(PnetSender::open(worker, port, true)?));
        }
        let index = port.index;
        let queues = worker.call(move |host| host.link_by_index(index))?.tx_queues;
        let queue = u32::try_from(cpu).unwrap_or(u32::MAX) % queues.max(1);
        Self::open_on(kind, testbed, queue, shelf)
    }

    /// Returns true if the frames of a flow leave in the order in which they are sent: several rings take turns.
    pub(crate) fn keeps_order(&self) -> bool {
        match self {
            Self::Pnet(_) | Self::LiveFrames(_) => true,
            Self::Ring(ring) => ring.keeps_order(),
        }
    }

    /// Sends frames, without FCS, as they are and in this order.
    ///
    /// Fails with EINVAL for a frame shorter than an Ethernet header, EMSGSIZE or ENOBUFS for one beyond the MTU. Some of the
    /// frames may have been sent.
    pub(crate) fn send(&mut self, frames: &[&[u8]]) -> Result<(), SendError> {
        let sent = match self {
            Self::Pnet(pnet) => frames.iter().try_for_each(|frame| pnet.send(frame)),
            Self::Ring(ring) => ring.send(frames).and_then(all_accepted),
            Self::LiveFrames(live) => live.send(frames),
        };
        sent.map_err(|source| SendError {
            count: frames.len(),
            longest: frames.iter().map(|frame| frame.len()).max().unwrap_or(0),
            source,
        })
    }

    /// Prepares to [`repeat`](Self::repeat) frames, each so many times in a row.
    pub(crate) fn load(&mut self, frames: &[(&[u8], u32)]) -> io::Result<()> {
        match self {
            Self::Pnet(_) => Ok(()),
            Self::Ring(ring) => ring.load(&unrolled(frames)),
            Self::LiveFrames(live) => live.load(frames),
        }
    }

    /// Sends `count` of the frames that were [loaded](Self::load), over and over: at a rate if there is one, else as fast as
    /// possible. A live frame that is lost on its way to the driver counts as accepted.
    ///
    /// Fails with the kernel's error; it is then unknown how many were sent.
    pub(crate) fn repeat(
        &mut self,
        frames: &[(&[u8], u32)],
        count: u32,
        rate: Option<Pps>,
    ) -> io::Result<TxOutcome> {
        let Some(pace) = rate.and_then(Pace::begin) else { return self.burst(frames, count) };
        let each = pace.burst(MOST_AT_ONCE);
        let mut outcome = TxOutcome::default();
        let mut sent = 0;
        while sent < count {
            pace.wait(u64::from(sent));
            let now = each.min(count - sent);
            outcome += self.burst(frames, now)?;
            sent += now;
        }
        // The time until the next frame is due belongs to these frames, so that a second call at once does not exceed the rate.
        pace.wait(u64::from(count));
        Ok(outcome)
    }

    fn burst(&mut self, frames: &[(&[u8], u32)], count: u32) -> io::Result<TxOutcome> {
        match self {
            Self::Ring(ring) => ring.repeat(&unrolled(frames), count),
            Self::LiveFrames(live) => {
                live.run(count)?;
                Ok(TxOutcome { accepted: u64::from(count), dropped: 0 })
            }
            Self::Pnet(pnet) => {
                let mut outcome = TxOutcome::default();
                let unrolled = unrolled(frames);
                let count = usize::try_from(count).map_err(io::Error::other)?;
                for frame in unrolled.iter().cycle().take(count) {
                    match pnet.send(frame) {
                        Ok(()) => outcome.accepted += 1,
                        // The driver dropped it at once (NET_XMIT_DROP).
                        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOBUFS) => {
                            outcome.dropped += 1;
                        }
                        Err(error) => return Err(error),
                    }
                }
                Ok(outcome)
            }
        }
    }

    /// Returns the frames to send at once for the best rate: whole bursts, of an injector that has them.
    pub(crate) fn grain(&self) -> u32 {
        match self {
            Self::Pnet(_) => 1,
            Self::Ring(_) => super::ring::BURST,
            Self::LiveFrames(_) => super::live_frames::BATCH,
        }
    }
}

/// Returns the frames in order, each as often as it is sent in a row.
fn unrolled<'a>(frames: &[(&'a [u8], u32)]) -> Vec<&'a [u8]> {
    frames.iter().flat_map(|&(frame, times)| (0..times).map(move |_| frame)).collect()
}

/// Fails if the driver dropped a frame at once.
fn all_accepted(outcome: TxOutcome) -> io::Result<()> {
    if outcome.dropped == 0 { Ok(()) } else { Err(Errno::NOBUFS.into()) }
}
