//! Many frames a system call, for any driver: by the ring of an `AF_XDP` socket in copy mode, or, for what that cannot
//! carry and on kernels that have none, by `sendmmsg` on a packet socket. Either leaves without a queueing discipline.
//!
//! Which of the ways is the fastest was measured: see [`TxRing`].

use std::io;

use xdproof_netns::{PacketOptions, PacketSocket, TxOutcome, TxRing, Worker};

use crate::ports::Port;

/// Frames that one call of the kernel's sends at most. More gain nothing.
pub const BURST: u32 = 64;

/// A sender at the tester's port: a ring for each transmit queue, which take turns.
#[derive(Debug)]
pub struct RingSender {
    rings: Vec<Ring>,
    packet: PacketSocket,
    turn: usize,
}

#[derive(Debug)]
struct Ring {
    ring: TxRing,
    /// What the slots hold, from the first.
    loaded: Vec<Vec<u8>>,
    /// The slots of the frames that are to be repeated, in their order; none where the packet socket does it.
    order: Vec<u32>,
}

impl RingSender {
    /// Opens a ring for each transmit queue of the port. Needs `CAP_NET_RAW` in the worker's namespace.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn open(worker: &Worker, port: &Port) -> Result<Self, xdproof_netns::Error> {
        let index = port.index;
        let queues = worker.call(move |host| host.link_by_index(index))?.tx_queues;
        Self::open_on(worker, port, 0..queues)
    }

    /// Opens a ring for each of some transmit queues.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn open_on(
        worker: &Worker,
        port: &Port,
        queues: std::ops::Range<u32>,
    ) -> Result<Self, xdproof_netns::Error> {
        let index = port.index;
        worker.call(move |host| {
            let options = PacketOptions { bypass_qdisc: true, receive_buffer: 0, ..PacketOptions::default() };
            let packet = host.packet_socket(index, options)?;
            let mut rings = Vec::new();
            for queue in queues {
                match host.tx_ring(index, queue, BURST) {
                    Ok(ring) => rings.push(Ring { ring, loaded: Vec::new(), order: Vec::new() }),
                    // A kernel without AF_XDP, or a driver that will not have it: the packet socket does it alone.
                    Err(error) if is_unsupported(&error) => break,
                    Err(error) => return Err(error),
                }
            }
            Ok(Self { rings, packet, turn: 0 })
        })
    }

    /// Sends frames, without FCS, as they are: in this order where there is one transmit queue, and from one queue after the
    /// other where there are several.
    ///
    /// # Errors
    ///
    /// What the kernel answered: EINVAL for a frame shorter than an Ethernet header, EMSGSIZE for one that is longer than
    /// both a ring and the MTU allow. A frame beyond the MTU that a ring carries is refused.
    pub fn send(&mut self, frames: &[&[u8]]) -> io::Result<TxOutcome> {
        let carried = |frame: &&[u8]| (14..=TxRing::MAX_FRAME).contains(&frame.len());
        if self.rings.is_empty() || !frames.iter().all(carried) {
            return self.packet.send_all(frames).map_err(io_error);
        }
        let queues = self.rings.len();
        let first = self.turn;
        self.turn = (first + frames.len()) % queues;
        let mut handed = TxOutcome::default();
        for (queue, ring) in self.rings.iter_mut().enumerate() {
            let skip = (queue + queues - first % queues) % queues;
            let its: Vec<&[u8]> = frames.iter().skip(skip).step_by(queues).copied().collect();
            let TxOutcome { accepted, dropped } = ring.send(&its)?;
            handed.accepted += accepted;
            handed.dropped += dropped;
        }
        Ok(handed)
    }

    /// Whether frames leave in the order in which they are sent: where there is more than one ring, each frame leaves by another.
    #[must_use]
    pub fn keeps_order(&self) -> bool {
        self.rings.len() <= 1
    }

    /// Makes ready to [`repeat`](Self::repeat) frames.
    ///
    /// # Errors
    ///
    /// What the kernel answered, as of [`send`](Self::send).
    pub fn load(&mut self, frames: &[&[u8]]) -> io::Result<()> {
        let carried = frames.iter().all(|frame| frame.len() <= TxRing::MAX_FRAME);
        for ring in &mut self.rings {
            ring.order = if carried { ring.load(frames)? } else { Vec::new() };
        }
        self.turn = 0;
        Ok(())
    }

    /// Sends the frames that were [loaded](Self::load), one after the other, beginning with the one whose turn it is, `count`
    /// in all.
    ///
    /// # Errors
    ///
    /// What the kernel answered.
    pub fn repeat(&mut self, frames: &[&[u8]], count: u32) -> io::Result<TxOutcome> {
        let (first, kinds) = (self.turn, frames.len().max(1));
        let count = usize::try_from(count).map_err(io::Error::other)?;
        self.turn = (first + count) % kinds;
        let ring = self.rings.first_mut().filter(|ring| !ring.order.is_empty());
        if let Some(Ring { ring, order, .. }) = ring {
            ring.send(order.iter().cycle().skip(first).take(count).copied()).map_err(io_error)
        } else {
            let batch: Vec<&[u8]> = frames.iter().cycle().skip(first).take(count).copied().collect();
            self.packet.send_all(&batch).map_err(io_error)
        }
    }

    /// What a report has to say of how it sends frames of at most so many bytes, if that is not by the ring.
    #[must_use]
    pub fn note(&self, longest: usize) -> Option<String> {
        if self.rings.is_empty() {
            Some("this kernel or driver has no AF_XDP ring: sent by sendmmsg on a packet socket".to_owned())
        } else if longest > TxRing::MAX_FRAME {
            let most = TxRing::MAX_FRAME;
            Some(format!(
                "a ring carries frames of {most} bytes at most: sent by sendmmsg on a packet socket"
            ))
        } else {
            None
        }
    }
}

impl Ring {
    /// Sends frames; those of the same bytes have one slot.
    fn send(&mut self, frames: &[&[u8]]) -> io::Result<TxOutcome> {
        let mut handed = TxOutcome::default();
        for part in frames.chunks(usize::try_from(TxRing::SLOTS).map_err(io::Error::other)?) {
            let slots = self.load(part)?;
            let TxOutcome { accepted, dropped } = self.ring.send(slots).map_err(io_error)?;
            handed.accepted += accepted;
            handed.dropped += dropped;
        }
        Ok(handed)
    }

    /// Puts frames into slots, a run of equal ones into one, and gives the slot of each. A slot that holds its frame already
    /// is left alone.
    fn load(&mut self, frames: &[&[u8]]) -> io::Result<Vec<u32>> {
        let mut slots = Vec::with_capacity(frames.len());
        let mut slot = 0;
        for (place, frame) in frames.iter().enumerate() {
            if place > 0 && frames[place - 1] != *frame {
                slot += 1;
            }
            if self.loaded.get(slot).is_none_or(|loaded| loaded != frame) {
                let number = u32::try_from(slot).map_err(io::Error::other)?;
                self.ring.load(number, frame).map_err(io_error)?;
                self.loaded.resize(self.loaded.len().max(slot + 1), Vec::new());
                self.loaded[slot] = frame.to_vec();
            }
            slots.push(u32::try_from(slot).map_err(io::Error::other)?);
        }
        Ok(slots)
    }
}

/// Whether there is no such socket for this kernel or driver.
fn is_unsupported(error: &xdproof_netns::Error) -> bool {
    use rustix::io::Errno;
    error.errno().is_some_and(|errno| {
        [Errno::AFNOSUPPORT, Errno::OPNOTSUPP, Errno::NOPROTOOPT]
            .iter()
            .any(|known| known.raw_os_error() == errno)
    })
}

/// The kernel's answer, for what only knows those.
fn io_error(error: xdproof_netns::Error) -> io::Error {
    error.errno().map_or_else(|| io::Error::other(error), io::Error::from_raw_os_error)
}
