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
    fn a_deadline_in_the_error_is_that_of_the_whole_wait() {
        let within = Duration::from_millis(20);
        let ended = wait(within, timeout);
        assert!(matches!(ended, Err(Error::Timeout { deadline, .. }) if deadline == within), "{ended:?}");
    }
}
