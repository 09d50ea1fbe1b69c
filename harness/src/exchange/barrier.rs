//! Knowing that no frame is in flight any more.

use std::time::Duration;

use xdproof_scenarios::{DUT_MAC, TESTER_MAC};

use super::{Capture, ExchangeError, link_traffic::PROBE_TYPE};
use crate::{
    host::interrupt::{self, Rounds},
    program::Program,
};

/// Time within which a frame has to arrive: it normally takes microseconds; a machine under load may take much longer.
pub(super) const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(3);

/// A capture is quiet if no frame arrives for so long: only for kernels that have no [`barrier`] for us.
const QUIET_PERIOD: Duration = Duration::from_secs(1);

/// Time after a [`barrier`] in which a device may still hand up a frame: tun runs the program in the writer's call and hands the frame up
/// behind that, outside of any section that a grace period would outlast (`tun_build_skb()`, `tun_get_user()` of `drivers/net/tun.c`).
pub(super) const HAND_UP_TIMEOUT: Duration = Duration::from_secs(1);

/// A frame of 60 bytes from the tester to the DUT that nothing else sends.
pub fn closing_frame(nonce: u64) -> Vec<u8> {
    let mut frame = Vec::with_capacity(60);
    frame.extend_from_slice(&DUT_MAC);
    frame.extend_from_slice(&TESTER_MAC);
    frame.extend_from_slice(&PROBE_TYPE);
    frame.extend_from_slice(b"xdproof closing frame ");
    frame.extend_from_slice(&nonce.to_be_bytes());
    frame.resize(60, 0);
    frame
}

/// Waits until the closing frame has come through; `runs` are those of the program before it was sent. If the program has run on it and
/// it does not arrive within `late` after a [`barrier`], it never does.
pub(super) fn wait_closing(
    program: &Program,
    capture: &mut Capture,
    runs: u64,
    closing: &[u8],
    late: Duration,
) -> Result<bool, ExchangeError> {
    for () in Rounds::new(ARRIVAL_TIMEOUT) {
        capture.drain()?;
        if capture.has_seen(closing) {
            return Ok(true);
        }
        if interrupt::is_requested() {
            return Err(ExchangeError::Interrupted);
        }
        if program.runs()? != runs {
            break;
        }
        std::thread::yield_now();
    }
    barrier(capture)?;
    capture.drain_until(late, |seen| seen.contains(closing))?;
    Ok(capture.has_seen(closing))
}

/// Returns when every frame on which the program has run is in the capture, if it is ever going to be.
///
/// A driver's poll and the stack's backlog run with softirqs off, which is an RCU read-side section: the program's run, its
/// verdict and the delivery to sockets all lie in one. `membarrier(MEMBARRIER_CMD_GLOBAL)` is a `synchronize_rcu()`
/// (kernel/sched/membarrier.c): it outlasts every such section that has begun. With one CPU it is nothing, and nothing is
/// needed: we do not run before such a section has ended, unless the kernel is `PREEMPT_RT`. There, and where `nohz_full`
/// makes the kernel refuse it, no frame may arrive for a second.
pub(super) fn barrier(capture: &mut Capture) -> Result<(), ExchangeError> {
    use rustix::thread::{MembarrierCommand, membarrier};
    let real_time = std::path::Path::new("/sys/kernel/realtime").exists();
    if real_time || membarrier(MembarrierCommand::Global).is_err() {
        while capture.wait_readable(QUIET_PERIOD)? {
            capture.drain()?;
        }
    }
    capture.drain()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_frames_differ_by_their_nonce() {
        assert_ne!(closing_frame(1), closing_frame(2));
        assert_eq!(closing_frame(7).len(), 60);
    }
}
