//! The schedule of an offered load.

use std::time::{Duration, Instant};

/// Frames a second.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Pps(pub f64);

/// A schedule: the n-th frame is due `n / rate` after the first. A late sender catches up, so that the load offered over the
/// whole is the requested one, if the sender can reach it at all.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    rate: Pps,
    begun: Instant,
}

impl Pace {
    /// Begins now; `None` for a rate that is not above 0.
    pub(crate) fn begin(rate: Pps) -> Option<Self> {
        (rate.0 > 0.0 && rate.0.is_finite()).then(|| Self { rate, begun: Instant::now() })
    }

    /// Waits until the frame after `sent` others is due. The wait is spent on the CPU: a thread that yields it gets it back
    /// late, and a trial takes milliseconds.
    pub(crate) fn wait(&self, sent: u64) {
        let due = self.begun + self.rate.time_for(sent);
        while Instant::now() < due {
            std::hint::spin_loop();
        }
    }

    /// Returns the frames to send at once so that a wait between them pays: those of 100 microseconds, 1 to `most`.
    pub(crate) fn burst(&self, most: u32) -> u32 {
        let frames = (self.rate.0 * 1e-4).clamp(1.0, f64::from(most));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 1..=most")]
        let frames = frames as u32;
        frames
    }
}

impl Pps {
    /// Returns the time that `frames` take at this rate.
    pub(crate) fn time_for(self, frames: u64) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "a schedule of 2^53 frames is never begun")]
        let frames = frames as f64;
        Duration::try_from_secs_f64(frames / self.0).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_due_at_their_share_of_a_second() {
        assert_eq!(Pps(1000.0).time_for(250), Duration::from_millis(250));
        assert_eq!(Pps(2e6).time_for(1), Duration::from_nanos(500));
        assert_eq!(Pps(0.0).time_for(1), Duration::MAX);
    }

    #[test]
    fn nothing_is_sent_before_it_is_due() {
        let pace = Pace::begin(Pps(100_000.0)).unwrap();
        for sent in (0..2_000).step_by(100) {
            pace.wait(sent);
            assert!(pace.begun.elapsed() >= Pps(100_000.0).time_for(sent));
        }
    }

    #[test]
    fn a_burst_is_the_frames_of_a_tenth_of_a_millisecond() {
        let burst = |rate| Pace::begin(Pps(rate)).unwrap().burst(64);
        assert_eq!([burst(10.0), burst(50_000.0), burst(1e6)], [1, 5, 64]);
    }

    #[test]
    fn a_rate_of_zero_or_less_makes_no_pace() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Pace::begin(Pps(rate)).is_none(), "{rate}");
        }
    }
}
