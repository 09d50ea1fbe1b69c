//! Frames in the order in which they were sent or arrived, each distinct one kept once.

use std::collections::{BTreeMap, BTreeSet};

/// Frames in order, byte for byte.
///
/// A hundred thousand equal frames take the place of one. Two sequences are equal if they hold the same frames in the same order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameSequence {
    /// The distinct frames, numbered from 0 as they first occurred.
    numbers: BTreeMap<Vec<u8>, u32>,
    /// Never two in a row of one frame.
    runs: Vec<Run>,
    len: u64,
}

/// Equal frames in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    frame: u32,
    times: u64,
}

impl FrameSequence {
    /// Appends a frame. Only the first of its kind is copied.
    pub fn push(&mut self, bytes: &[u8]) {
        self.push_times(bytes, 1);
    }

    /// Appends a frame several times.
    pub fn push_times(&mut self, bytes: &[u8], times: u64) {
        if times == 0 {
            return;
        }
        let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        let frame = self.numbers.get(bytes).copied().unwrap_or(next);
        if frame == next {
            self.numbers.insert(bytes.to_vec(), next);
        }
        self.push_run(Run { frame, times });
        self.len += times;
    }

    fn push_run(&mut self, run: Run) {
        match self.runs.last_mut() {
            Some(last) if last.frame == run.frame => last.times += run.times,
            _ => self.runs.push(run),
        }
    }

    /// Number of frames.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns true if there is no frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns true if there is a frame of these bytes.
    #[must_use]
    pub fn contains(&self, bytes: &[u8]) -> bool {
        self.numbers.contains_key(bytes)
    }

    /// Number of frames of these bytes.
    #[must_use]
    pub fn times(&self, bytes: &[u8]) -> u64 {
        let Some(&number) = self.numbers.get(bytes) else { return 0 };
        self.runs.iter().filter(|run| run.frame == number).map(|run| run.times).sum()
    }

    /// The distinct frames, ordered by their bytes.
    pub fn distinct(&self) -> impl Iterator<Item = &[u8]> {
        self.numbers.keys().map(Vec::as_slice)
    }

    /// Each distinct frame and how many times it occurs, wherever.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<&[u8], u64> {
        let mut sums = BTreeMap::<u32, u64>::new();
        for run in &self.runs {
            *sums.entry(run.frame).or_default() += run.times;
        }
        let total =
            |(bytes, number): (_, &u32)| (Vec::as_slice(bytes), sums.get(number).copied().unwrap_or(0));
        self.numbers.iter().map(total).collect()
    }

    /// The frames in order, equal ones in a row as one.
    pub fn runs(&self) -> impl Iterator<Item = (&[u8], u64)> {
        let mut frames: Vec<&[u8]> = vec![&[]; self.numbers.len()];
        for (bytes, &number) in &self.numbers {
            frames[number as usize] = bytes;
        }
        self.runs.iter().map(move |run| (frames[run.frame as usize], run.times))
    }

    /// Removes the frames that are not to be kept.
    pub fn retain(&mut self, keep: impl Fn(&[u8]) -> bool) {
        let gone: BTreeSet<u32> =
            self.numbers.iter().filter(|(bytes, _)| !keep(bytes)).map(|(_, &number)| number).collect();
        if gone.is_empty() {
            return;
        }
        let renumbered = |number: u32| number - u32::try_from(gone.range(..number).count()).unwrap_or(0);
        self.numbers.retain(|_, number| !gone.contains(number));
        self.numbers.values_mut().for_each(|number| *number = renumbered(*number));
        let runs = std::mem::take(&mut self.runs);
        self.len = 0;
        for Run { frame, times } in runs.into_iter().filter(|run| !gone.contains(&run.frame)) {
            self.push_run(Run { frame: renumbered(frame), times });
            self.len += times;
        }
    }

    /// Appends all frames of another sequence.
    pub fn append(&mut self, other: &Self) {
        for (bytes, times) in other.runs() {
            self.push_times(bytes, times);
        }
    }
}

impl<B: AsRef<[u8]>> FromIterator<(B, u64)> for FrameSequence {
    fn from_iter<I: IntoIterator<Item = (B, u64)>>(frames: I) -> Self {
        let mut sequence = Self::default();
        for (bytes, times) in frames {
            sequence.push_times(bytes.as_ref(), times);
        }
        sequence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(frames: &[(u8, u64)]) -> FrameSequence {
        frames.iter().map(|&(byte, times)| ([byte], times)).collect()
    }

    #[test]
    fn equal_frames_in_a_row_are_one_run() {
        let frames = sequence(&[(7, 3), (7, 2), (5, 1), (5, 0), (7, 1)]);
        assert_eq!(frames.runs().collect::<Vec<_>>(), [(&[7][..], 5), (&[5][..], 1), (&[7][..], 1)]);
        assert_eq!((frames.len(), frames.times(&[7]), frames.times(&[9])), (7, 6, 0));
        assert_eq!(frames.totals(), [(&[5][..], 1), (&[7][..], 6)].into());
        assert_eq!(frames.distinct().collect::<Vec<_>>(), [[5], [7]]);
    }

    #[test]
    fn the_order_is_part_of_a_sequence() {
        assert_ne!(sequence(&[(1, 1), (2, 1)]), sequence(&[(2, 1), (1, 1)]));
        assert_eq!(sequence(&[(1, 2), (2, 1)]), sequence(&[(1, 1), (1, 1), (2, 1)]));
    }

    #[test]
    fn a_sequence_without_a_frame_is_as_if_it_had_never_been_there() {
        let mut frames = sequence(&[(4, 1), (1, 2), (9, 1), (1, 3), (3, 1)]);
        frames.retain(|bytes| bytes != [9] && bytes != [4]);
        assert_eq!(frames, sequence(&[(1, 5), (3, 1)]));
        frames.retain(|_| true);
        frames.append(&sequence(&[(3, 1), (4, 1)]));
        assert_eq!(frames, sequence(&[(1, 5), (3, 2), (4, 1)]));
        frames.retain(|_| false);
        assert_eq!(frames, FrameSequence::default());
    }
}
