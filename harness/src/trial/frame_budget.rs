//! A bound on the frames that parallel trials hold, and so on the memory of a run: trials of a few frames run side by side, those of a
//! million one after the other.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes of frames that trials share.
#[derive(Debug)]
pub(super) struct FrameBudget {
    whole: usize,
    left: Mutex<usize>,
    returned: Condvar,
}

/// A share of the budget, which is returned when this is dropped.
#[derive(Debug)]
pub(super) struct FrameShare<'a> {
    budget: &'a FrameBudget,
    bytes: usize,
}

impl FrameBudget {
    pub(super) fn new(bytes: usize) -> Self {
        Self { whole: bytes, left: Mutex::new(bytes), returned: Condvar::new() }
    }

    /// Waits until there is room for so many bytes. A trial of more than the whole budget runs alone.
    pub(super) fn take(&self, bytes: usize) -> FrameShare<'_> {
        let bytes = bytes.min(self.whole);
        let waited = self.returned.wait_while(self.left(), |left| *left < bytes);
        *waited.unwrap_or_else(PoisonError::into_inner) -= bytes;
        FrameShare { budget: self, bytes }
    }

    fn left(&self) -> MutexGuard<'_, usize> {
        // A number is whole, even if a thread panicked that held it.
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FrameShare<'_> {
    fn drop(&mut self) {
        *self.budget.left() += self.bytes;
        self.budget.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn trials_that_exceed_the_budget_together_run_one_after_the_other() {
        let budget = FrameBudget::new(10);
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for bytes in [6, 20, 7, 6, 9, 30] {
                let (budget, now, most) = (&budget, &now, &most);
                scope.spawn(move || {
                    let share = budget.take(bytes);
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    now.fetch_sub(1, Ordering::SeqCst);
                    drop(share);
                });
            }
        });
        assert_eq!((most.into_inner(), *budget.left()), (1, 10));
    }

    #[test]
    fn trials_that_fit_have_their_shares_at_once() {
        let budget = FrameBudget::new(10);
        let shares = [budget.take(4), budget.take(0), budget.take(6)];
        assert_eq!(*budget.left(), 0);
        drop(shares);
        assert_eq!(*budget.left(), 10);
    }
}
