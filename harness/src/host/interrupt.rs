//! The request to end that a signal makes. Everything that waits on the way to a verdict looks at it, so that a run ends within a
//! second; restoring what a run has changed does not.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use xdproof_netns::Error;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// The longest wait that does not look at the request.
pub const SLICE: Duration = Duration::from_millis(250);

/// Asks the run of this process to end.
pub fn request() {
    REQUESTED.store(true, Ordering::Relaxed);
}

/// Returns true once the run is asked to end.
#[must_use]
pub fn is_requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Returns the flag that [`request`] sets.
#[must_use]
pub fn flag() -> &'static AtomicBool {
    &REQUESTED
}

/// Rounds of looking for something, until `within` has passed. The last round begins when the time is over: this process may not have
/// run meanwhile, on a busy machine for seconds.
#[derive(Debug)]
pub struct Rounds {
    deadline: Instant,
    is_over: bool,
}

impl Rounds {
    #[must_use]
    pub fn new(within: Duration) -> Self {
        Self { deadline: Instant::now() + within, is_over: false }
    }

    /// Looks for so much longer.
    pub fn extend(&mut self, by: Duration) {
        self.deadline += by;
        self.is_over = false;
    }
}

impl Iterator for Rounds {
    type Item = ();

    fn next(&mut self) -> Option<()> {
        let goes_on = !self.is_over;
        self.is_over = Instant::now() >= self.deadline;
        goes_on.then_some(())
    }
}

/// Calls a function that waits for at most the time that it gets, until it does not time out, `within` has passed, or the run is asked to
/// end.
///
/// # Errors
///
/// Those of `wait`; [`Error::Timeout`] with the time that has passed.
pub fn wait<T>(within: Duration, mut wait: impl FnMut(Duration) -> Result<T, Error>) -> Result<T, Error> {
    let begun = Instant::now();
    loop {
        let left = within.saturating_sub(begun.elapsed());
        match wait(left.min(SLICE)) {
            Err(Error::Timeout { .. }) if left > SLICE && !is_requested() => {}
            Err(Error::Timeout { action, subject, .. }) => {
                let deadline = if is_requested() { begun.elapsed() } else { within };
                return Err(Error::Timeout { action, subject, deadline });
            }
            ended => return ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeout(deadline: Duration) -> Result<(), Error> {
        Err(Error::Timeout { action: "see it", subject: None, deadline })
    }

    #[test]
    fn a_wait_is_as_long_as_its_slices_and_ends_with_the_first_success() {
        let mut slices = Vec::new();
        let ended = wait(SLICE * 2 + SLICE / 2, |slice| {
            slices.push(slice);
            if slices.len() < 2 { timeout(slice) } else { Ok(()) }
        });
        assert!(ended.is_ok());
        assert_eq!(slices, [SLICE, SLICE]);
    }

    #[test]
    fn the_last_round_begins_when_the_time_is_over() {
        assert_eq!(Rounds::new(Duration::ZERO).count(), 1);
        let within = Duration::from_millis(1);
        let spend = || {
            let begun = Instant::now();
            while begun.elapsed() < within {
                std::hint::spin_loop();
            }
        };
        // The first round takes all the time.
        assert_eq!(Rounds::new(within).map(|()| spend()).count(), 2);
        let mut extended = Rounds::new(Duration::ZERO);
        assert_eq!((extended.next(), extended.next()), (Some(()), None));
        extended.extend(Duration::from_secs(60));
        assert_eq!([extended.next(), extended.next()], [Some(()); 2]);
    }

    #[test]
    fn a_deadline_in_the_error_is_that_of_the_whole_wait() {
        let within = Duration::from_millis(20);
        let ended = wait(within, timeout);
        assert!(matches!(ended, Err(Error::Timeout { deadline, .. }) if deadline == within), "{ended:?}");
    }
}
