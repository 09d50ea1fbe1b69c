//! The frames that arrive at a port.

use std::time::{Duration, Instant};

use xdproof_netns::PacketSocket;

use super::{ExchangeError, is_link_control, link_traffic::PROBE_TYPE};
use crate::{host::interrupt, model::frame_sequence::FrameSequence};

/// Bytes of room in the socket of a capture: many times a window of frames.
pub const CAPTURE_BUFFER: usize = 4 << 20;

/// Bytes of the largest frame that a socket hands up: a merged one of 64 KiB, with headers to spare.
const MAX_CAPTURED_FRAME: usize = 128 * 1024;

/// The frames that the stack of a port receives, byte for byte and in order, with the outer VLAN tag in its place.
#[derive(Debug)]
pub struct Capture {
    socket: PacketSocket,
    buffer: Vec<u8>,
    seen: FrameSequence,
    is_shared: bool,
}

impl Capture {
    /// Keeps the frames that the socket receives from now on.
    #[must_use]
    pub fn new(socket: PacketSocket) -> Self {
        Self { socket, buffer: vec![0; MAX_CAPTURED_FRAME], seen: FrameSequence::default(), is_shared: false }
    }

    /// Expects link-local control frames among the others from now on.
    pub fn share_link(&mut self) {
        self.is_shared = true;
    }

    /// Returns true if link-local control frames are expected among the others.
    pub(super) fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Receives every frame that waits in the socket.
    pub(super) fn drain(&mut self) -> Result<(), xdproof_netns::Error> {
        while let Some(received) = self.socket.receive(&mut self.buffer)? {
            if received.outgoing {
                continue;
            }
            let bytes = self.buffer.get(..received.len).unwrap_or(&self.buffer);
            self.seen.push(bytes);
        }
        Ok(())
    }

    /// Returns a frame that was received since the last observation, if there is one. Where others share the link, it has to be a probe
    /// or one that was sent.
    pub(crate) fn late_frame(
        &mut self,
        is_sent: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<&[u8]>, xdproof_netns::Error> {
        self.drain()?;
        if self.is_shared {
            let is_probe = |frame: &[u8]| frame.get(12..14) == Some(&PROBE_TYPE[..]);
            self.seen.retain(|frame| is_probe(frame) || is_sent(frame) && !is_link_control(frame));
        }
        Ok(self.seen.distinct().next())
    }

    /// Receives frames until they are enough, or `within` has passed.
    pub(super) fn drain_until(
        &mut self,
        within: Duration,
        is_enough: impl Fn(&FrameSequence) -> bool,
    ) -> Result<(), xdproof_netns::Error> {
        let deadline = Instant::now() + within;
        self.drain()?;
        while !is_enough(&self.seen) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || interrupt::is_requested() {
                break;
            }
            self.socket.wait_readable(left.min(interrupt::SLICE))?;
            self.drain()?;
        }
        Ok(())
    }

    /// Receives frames until there are `frames` since the last observation, or `within` has passed; then takes all of them.
    pub(crate) fn take_within(
        &mut self,
        frames: u64,
        within: Duration,
    ) -> Result<FrameSequence, ExchangeError> {
        self.drain_until(within, |seen| seen.len() >= frames)?;
        self.take()
    }

    /// Receives frames until a certain one has arrived, or `within` has passed; then takes all the others, and tells whether it has.
    pub(crate) fn take_until(
        &mut self,
        last: &[u8],
        within: Duration,
    ) -> Result<(FrameSequence, bool), ExchangeError> {
        self.drain_until(within, |seen| seen.contains(last))?;
        let has_arrived = self.has_seen(last);
        let mut seen = self.take()?;
        seen.retain(|frame| frame != last);
        Ok((seen, has_arrived))
    }

    /// Takes everything that was received since the last call.
    pub(super) fn take(&mut self) -> Result<FrameSequence, ExchangeError> {
        self.drain()?;
        match self.socket.drops()? {
            0 => Ok(std::mem::take(&mut self.seen)),
            frames => Err(ExchangeError::CaptureLost { frames }),
        }
    }

    /// Returns how many frames have arrived since the last observation.
    pub(super) fn seen(&self) -> u64 {
        self.seen.len()
    }

    /// Returns true if a frame has arrived since the last observation.
    pub(super) fn has_seen(&self, frame: &[u8]) -> bool {
        self.seen.contains(frame)
    }

    /// Waits until a frame can be received, or `within` has passed; tells which.
    pub(super) fn wait_readable(&self, within: Duration) -> Result<bool, xdproof_netns::Error> {
        self.socket.wait_readable(within)
    }
}
