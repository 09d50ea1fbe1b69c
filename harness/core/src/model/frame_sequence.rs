//! Frames in the order in which they were sent or arrived, each distinct one kept once.

use indexmap::IndexMap;

/// Frames in order, byte for byte.
///
/// A hundred thousand equal frames take the place of one; a million distinct ones take little more than their bytes. Two sequences
/// are equal if they hold the same frames in the same order.
#[derive(Clone, Debug, Default)]
pub struct FrameSequence {
    /// How many times each distinct frame occurs. Frames are numbered from 0 as they first occurred.
    totals: IndexMap<Box<[u8]>, u64>,
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

impl PartialEq for FrameSequence {
    fn eq(&self, other: &Self) -> bool {
        self.runs == other.runs && self.totals.keys().eq(other.totals.keys())
    }
}

impl Eq for FrameSequence {}

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
        let number = match self.totals.get_full_mut(bytes) {
            Some((number, _, total)) => {
                *total += times;
                number
            }
            None => self.totals.insert_full(bytes.into(), times).0,
        };
        self.push_run(Run { frame: u32::try_from(number).unwrap_or(u32::MAX), times });
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
        self.totals.contains_key(bytes)
    }

    /// Number of frames of these bytes.
    #[must_use]
    pub fn times(&self, bytes: &[u8]) -> u64 {
        self.totals.get(bytes).copied().unwrap_or(0)
    }

    /// The number of the distinct frame of these bytes, which is its place in [`distinct`](Self::distinct).
    #[must_use]
    pub fn number_of(&self, bytes: &[u8]) -> Option<usize> {
        self.totals.get_index_of(bytes)
    }

    /// The distinct frames in the order in which they first occur.
    pub fn distinct(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.totals.keys().map(AsRef::as_ref)
    }

    /// Each distinct frame and how many times it occurs, wherever, in the order of [`distinct`](Self::distinct).
    pub fn totals(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.totals.iter().map(|(bytes, times)| (bytes.as_ref(), *times))
    }

    /// The frames in order, equal ones in a row as one.
    pub fn runs(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.numbered_runs()
            .filter_map(|(number, times)| Some((self.totals.get_index(number)?.0.as_ref(), times)))
    }

    /// The frames in order, equal ones in a row as one, each by its number.
    pub fn numbered_runs(&self) -> impl Iterator<Item = (usize, u64)> {
        self.runs.iter().map(|run| (run.frame as usize, run.times))
    }

    /// The distinct frames that occur more often than in another sequence, and how many times more.
    pub fn into_surplus(self, over: &Self) -> impl Iterator<Item = (Box<[u8]>, u64)> {
        let surplus = self.totals.into_iter().map(|(bytes, times)| {
            let more = times.saturating_sub(over.times(&bytes));
            (bytes, more)
        });
        surplus.filter(|(_, times)| *times > 0)
    }

    /// Removes the frames that are not to be kept.
    pub fn retain(&mut self, keep: impl Fn(&[u8]) -> bool) {
        let mut kept = 0;
        let mut renumbered = |bytes: &[u8]| {
            let number = keep(bytes).then_some(kept);
            kept += u32::from(number.is_some());
            number
        };
        let renumbered: Vec<Option<u32>> = self.totals.keys().map(|bytes| renumbered(bytes)).collect();
        if renumbered.iter().all(Option::is_some) {
            return;
        }
        let mut numbers = renumbered.iter();
        self.totals.retain(|_, _| numbers.next().is_some_and(Option::is_some));
        self.len = 0;
        for Run { frame, times } in std::mem::take(&mut self.runs) {
            if let Some(Some(frame)) = renumbered.get(frame as usize).copied() {
                self.push_run(Run { frame, times });
                self.len += times;
            }
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
        assert_eq!(frames.totals().collect::<Vec<_>>(), [(&[7][..], 6), (&[5][..], 1)]);
        assert_eq!(frames.distinct().collect::<Vec<_>>(), [[7], [5]]);
        assert_eq!((frames.number_of(&[5]), frames.number_of(&[9])), (Some(1), None));
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

    #[test]
    fn the_surplus_is_what_occurs_more_often_than_elsewhere() {
        let frames = sequence(&[(7, 3), (5, 1), (7, 1), (2, 2)]);
        let surplus: Vec<_> = frames.into_surplus(&sequence(&[(7, 1), (5, 1), (9, 4)])).collect();
        assert_eq!(surplus, [([7].into(), 3), ([2].into(), 2)]);
    }
}
