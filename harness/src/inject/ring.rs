//! Many frames a system call, for any driver: by the ring of an `AF_XDP` socket in copy mode, or, for frames that a ring cannot
//! carry and on kernels without rings, by `sendmmsg` on a packet socket. Both bypass the qdisc. [`TxRing`] has the measurements
//! behind this choice.

use std::{
    io,
    time::{Duration, Instant},
};

use rustix::io::Errno;
use xdproof_netns::{Host, IfIndex, PacketOptions, PacketSocket, TxOutcome, TxRing, Worker};

use crate::ports::Port;

/// Most frames that one system call sends. More gain nothing.
pub const BURST: u32 = 64;

/// Time that the kernel may take to free the queue of a ring that was closed; it takes milliseconds.
const QUEUE_RELEASE: Duration = Duration::from_secs(2);

/// A sender at the tester's port: a ring for each transmit queue, used in turn.
#[derive(Debug)]
pub struct RingSender {
    rings: Vec<Ring>,
    packet: PacketSocket,
    turn: usize,
}

#[derive(Debug)]
struct Ring {
    ring: TxRing,
    /// Contents of the slots, from the first.
    loaded: Vec<Vec<u8>>,
    /// Slots of the frames to repeat, in order; none where the packet socket sends them.
    order: Vec<u32>,
}

impl RingSender {
    /// Opens a ring for each transmit queue of the port. Needs `CAP_NET_RAW` in the worker's namespace.
    pub fn open(worker: &Worker, port: &Port) -> Result<Self, xdproof_netns::Error> {
        let index = port.index;
        let queues = worker.call(move |host| host.link_by_index(index))?.tx_queues;
        Self::open_on(worker, port, 0..queues)
    }

    /// Opens a ring for each of some transmit queues.
    pub(crate) fn open_on(
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
                match ring_on_free_queue(host, index, queue) {
                    Ok(ring) => rings.push(Ring { ring, loaded: Vec::new(), order: Vec::new() }),
                    // A kernel without AF_XDP, or a driver that refuses it: the packet socket sends alone.
                    Err(error) if is_unsupported(&error) => break,
                    Err(error) => return Err(error),
                }
            }
            Ok(Self { rings, packet, turn: 0 })
        })
    }

    /// Sends frames, without FCS, as they are: in order from one transmit queue, or from several queues in turn.
    ///
    /// Fails with EINVAL for a frame shorter than an Ethernet header, EMSGSIZE for one that is longer than both a ring and
    /// the MTU allow. A frame beyond the MTU that a ring carries is dropped.
    pub(crate) fn send(&mut self, frames: &[&[u8]]) -> io::Result<TxOutcome> {
        let carried = |frame: &&[u8]| (14..=TxRing::MAX_FRAME).contains(&frame.len());
        if self.rings.is_empty() || !frames.iter().all(carried) {
            return self.packet.send_all(frames).map_err(io_error);
        }
        let queues = self.rings.len();
        let first = self.turn;
        self.turn = (first + frames.len()) % queues;
        let mut outcome = TxOutcome::default();
        for (queue, ring) in self.rings.iter_mut().enumerate() {
            let skip = (queue + queues - first % queues) % queues;
            let its: Vec<&[u8]> = frames.iter().skip(skip).step_by(queues).copied().collect();
            outcome += ring.send(&its)?;
        }
        Ok(outcome)
    }

    /// Returns true if frames leave in the order in which they are sent: several rings take turns.
    pub(crate) fn keeps_order(&self) -> bool {
        self.rings.len() <= 1
    }

    /// Prepares to [`repeat`](Self::repeat) frames.
    pub fn load(&mut self, frames: &[&[u8]]) -> io::Result<()> {
        let carried = frames.iter().all(|frame| frame.len() <= TxRing::MAX_FRAME);
        for ring in &mut self.rings {
            ring.order = if carried { ring.load(frames)? } else { Vec::new() };
        }
        self.turn = 0;
        Ok(())
    }

    /// Sends `count` of the frames that were [loaded](Self::load), from where the last call ended.
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

    /// Returns a note for the report if frames of at most `longest` bytes are not sent by a ring.
    pub(crate) fn note(&self, longest: usize) -> Option<String> {
        if self.rings.is_empty() {
            Some("this kernel or driver has no AF_XDP ring: sent by sendmmsg on a packet socket".to_owned())
        } else if longest > TxRing::MAX_FRAME {
            let most = TxRing::MAX_FRAME;
            Some(format!("a ring carries at most {most} bytes a frame: sent by sendmmsg on a packet socket"))
        } else {
            None
        }
    }
}

impl Ring {
    /// Sends frames; equal frames in a row share a slot.
    fn send(&mut self, frames: &[&[u8]]) -> io::Result<TxOutcome> {
        let mut outcome = TxOutcome::default();
        for part in frames.chunks(usize::try_from(TxRing::SLOTS).map_err(io::Error::other)?) {
            let slots = self.load(part)?;
            outcome += self.ring.send(slots).map_err(io_error)?;
        }
        Ok(outcome)
    }

    /// Puts frames into slots, a run of equal ones into one, and returns the slot of each. A slot that already holds its frame is
    /// left alone.
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

/// Opens a ring on a queue, waiting for one that was just closed: the kernel frees a queue from a work queue, and answers EBUSY
/// until then (`xp_put_pool()` and `xp_assign_dev()` of `net/xdp/xsk_buff_pool.c`).
fn ring_on_free_queue(host: &mut Host, index: IfIndex, queue: u32) -> Result<TxRing, xdproof_netns::Error> {
    let deadline = Instant::now() + QUEUE_RELEASE;
    loop {
        match host.tx_ring(index, queue, BURST) {
            Err(error) if is_busy(&error) && Instant::now() < deadline => std::thread::yield_now(),
            opened => return opened,
        }
    }
}

fn is_busy(error: &xdproof_netns::Error) -> bool {
    error.errno() == Some(Errno::BUSY.raw_os_error())
}

/// Returns true if this kernel or driver has no such socket.
fn is_unsupported(error: &xdproof_netns::Error) -> bool {
    let errno = error.errno().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::AFNOSUPPORT | Errno::OPNOTSUPP | Errno::NOPROTOOPT))
}

/// Returns the kernel's error, for callers that know no other.
fn io_error(error: xdproof_netns::Error) -> io::Error {
    error.errno().map_or_else(|| io::Error::other(error), io::Error::from_raw_os_error)
}
