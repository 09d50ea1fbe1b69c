//! Observing a program that is attached to nothing.

use std::io;

use super::ExchangeError;
use crate::{
    inject::test_run,
    model::{
        observation::{ArrivalOrder, Counts, Observation, side_by_side},
        sink::Sink,
    },
    program::{Subject, Width},
};

/// Observes a program that is attached to nothing: `run` runs it, and returns the frames that it was given and those that it passed.
pub fn run_detached(
    subject: &Subject,
    run: impl FnOnce(&Subject) -> io::Result<test_run::Ran>,
) -> Result<Observation, ExchangeError> {
    let before = subject.counts()?;
    let start = subject.runs()?;
    let test_run::Ran { sent, passed, verdicts, overlap } =
        run(subject).map_err(|source| ExchangeError::TestRun { source })?;
    Ok(Observation {
        sent,
        ran: subject.runs()?.wrapping_sub(start),
        per_cpu: counted_since(subject, &before)?,
        frames: [(Sink::Stack, passed)].into(),
        verdicts,
        // One CPU runs the program on one frame after the other.
        order: if overlap.is_some() { ArrivalOrder::Unspecified } else { ArrivalOrder::PerEtherType },
        overlap,
        ..Observation::default()
    })
}

/// The packets that were counted since a reading; none for a program without a counter map.
pub(super) fn counted_since(
    subject: &Subject,
    before: &[Counts],
) -> Result<Option<Vec<Counts>>, ExchangeError> {
    if subject.counters.is_none() {
        return Ok(None);
    }
    Ok(Some(difference(subject.width(), before, &subject.counts()?)))
}

/// The packets that were added between two readings, per CPU. Counters wrap at their width.
pub fn difference(width: Width, before: &[Counts], after: &[Counts]) -> Vec<Counts> {
    let none = Counts::new();
    let cpus = before.len().max(after.len());
    (0..cpus)
        .map(|cpu| {
            let [before, after] = [before, after].map(|counts| counts.get(cpu).unwrap_or(&none));
            side_by_side(before, after)
                .map(|(protocol, before, after)| (*protocol, width.added(before, after)))
                .filter(|(_, added)| *added != 0)
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_taken_for_each_cpu_and_wraps() {
        let before = [Counts::from([(6, u64::MAX)]), Counts::from([(17, 5)])];
        let after = [Counts::from([(6, 2)]), Counts::from([(17, 5), (58, 1)])];
        assert_eq!(
            difference(Width::Bits64, &before, &after),
            [Counts::from([(6, 3)]), Counts::from([(58, 1)])]
        );
    }

    #[test]
    fn a_counter_that_wrapped_to_zero_still_counts() {
        let before = [Counts::from([(6, u64::MAX)])];
        assert_eq!(difference(Width::Bits64, &before, &[Counts::new()]), [Counts::from([(6, 1)])]);
    }
}
