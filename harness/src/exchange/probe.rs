//! Finding out that frames reach a program.

use std::time::{Duration, Instant};

use super::{
    Capture, ExchangeError,
    barrier::{HAND_UP_TIMEOUT, barrier, closing_frame},
};
use crate::{
    host::interrupt::{self, Rounds},
    inject::sender::Sender,
    program::{Program, Subject},
};

/// Time after which a lone frame counts as lost while a device is still being set up.
const PROBE_TIMEOUT: Duration = Duration::from_millis(100);

/// The number of probes that were sent until two in a row arrived, and of those that were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probed {
    pub sent: u32,
    pub lost: u32,
}

/// Sends probes, one at a time, until two in a row have arrived: a device that was just set up may drop the first ones (igb and e1000
/// do). `arrives` sends one and tells whether it arrived. `Err(Probed)` if no two did `within` that time, or until a signal asked the run
/// to end.
pub fn two_in_a_row<E>(
    within: Duration,
    mut arrives: impl FnMut() -> Result<bool, E>,
) -> Result<Result<Probed, Probed>, E> {
    let deadline = Instant::now() + within;
    let (mut in_a_row, mut probed) = (0, Probed { sent: 0, lost: 0 });
    while in_a_row < 2 {
        if Instant::now() > deadline || interrupt::is_requested() {
            return Ok(Err(probed));
        }
        probed.sent += 1;
        if arrives()? {
            in_a_row += 1;
        } else {
            probed.lost += 1;
            in_a_row = 0;
        }
    }
    Ok(Ok(probed))
}

/// Sends frames of no protocol until [two in a row](two_in_a_row) have reached the program, and removes them from the captures.
/// Returns how many were lost, or nothing if none arrived `within` that time.
pub fn first_frame(
    subject: &Subject,
    sender: &mut Sender,
    captures: [&mut Capture; 2],
    within: Duration,
) -> Result<Option<u32>, ExchangeError> {
    let before = subject.runs()?;
    let Some(lost) = until_first_frame(&subject.program, sender, within)? else { return Ok(None) };
    let probe = probe();
    let ran = subject.runs()?.wrapping_sub(before);
    let [capture, returned] = captures;
    for capture in [&mut *capture, returned] {
        barrier(capture)?;
    }
    // None of them must arrive during a trial. A program that does not pass them makes this wait time out, once.
    capture.drain_until(HAND_UP_TIMEOUT, |seen| seen.times(&probe) >= ran)?;
    drop((capture.take()?, returned.take()?));
    Ok(Some(lost))
}

/// Sends frames of no protocol until [two in a row](two_in_a_row) have reached the program. Returns how many were lost, or nothing if
/// none arrived `within` that time. The kernel has to count runs.
pub fn until_first_frame(
    program: &Program,
    sender: &mut Sender,
    within: Duration,
) -> Result<Option<u32>, ExchangeError> {
    let probe = probe();
    let reached = two_in_a_row(within, || {
        let start = program.runs()?;
        sender.send(&[&probe])?;
        for () in Rounds::new(PROBE_TIMEOUT) {
            if program.runs()? != start {
                return Ok(true);
            }
            std::thread::yield_now();
        }
        Ok::<_, ExchangeError>(false)
    })?;
    match reached {
        Err(_) if interrupt::is_requested() => Err(ExchangeError::Interrupted),
        reached => Ok(reached.ok().map(|probed| probed.lost)),
    }
}

fn probe() -> Vec<u8> {
    closing_frame(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(arrivals: &[bool]) -> Result<Probed, Probed> {
        let mut arrivals = arrivals.iter().copied();
        // A deadline that only a path on which nothing ever arrives runs into.
        let within = Duration::from_millis(20);
        two_in_a_row(within, || Ok::<_, ()>(arrivals.next().unwrap_or(false))).unwrap()
    }

    #[test]
    fn two_probes_in_a_row_prove_that_frames_arrive() {
        assert_eq!(probe(&[true, true]), Ok(Probed { sent: 2, lost: 0 }));
        assert_eq!(probe(&[false, true, false, true, true]), Ok(Probed { sent: 5, lost: 2 }));
    }

    #[test]
    fn a_path_that_loses_every_second_frame_is_not_alive() {
        let Err(Probed { sent, lost }) = probe(&[true, false, true, false, true]) else { panic!("alive") };
        assert!(sent > 5 && lost == sent - 3);
    }
}
