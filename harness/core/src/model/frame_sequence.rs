//! Frames in the order in which they were sent or arrived, each distinct one kept once.

use std::hash::{BuildHasher as _, RandomState};

use hashbrown::HashTable;

/// Frames in order, byte for byte.
///
/// A hundred thousand equal frames take the place of one. Of a million distinct ones, each takes 30 bytes beside its own: all bytes
/// are in one piece of memory, which goes back to the kernel at once. Two sequences are equal if they hold the same frames in the
/// same order.
#[derive(Clone, Debug, Default)]
pub struct FrameSequence {
    /// The distinct frames, one behind the other. They are numbered from 0 as they first occurred.
    bytes: Vec<u8>,
    /// The end of each in these bytes.
    ends: Vec<usize>,
    /// Number of times that each occurs.
    totals: Vec<u64>,
    /// The numbers of the frames by the hash of their bytes.
    numbers: HashTable<u32>,
    hasher: RandomState,
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
        self.runs == other.runs && self.ends == other.ends && self.bytes == other.bytes
    }
}

impl Eq for FrameSequence {}

/// The frame of a number.
fn frame<'a>(bytes: &'a [u8], ends: &[usize], number: usize) -> &'a [u8] {
    let begin = number.checked_sub(1).map_or(0, |before| ends[before]);
    &bytes[begin..ends[number]]
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
        let number = self.number_of(bytes).unwrap_or_else(|| {
            self.bytes.extend_from_slice(bytes);
            self.ends.push(self.bytes.len());
            self.totals.push(0);
            let number = self.ends.len() - 1;
            self.index(number);
            number
        });
        self.totals[number] += times;
        self.push_run(Run { frame: u32::try_from(number).unwrap_or(u32::MAX), times });
        self.len += times;
    }

    /// Makes a frame found by its bytes.
    fn index(&mut self, number: usize) {
        let Self { bytes, ends, numbers, hasher, .. } = self;
        let hash = |number: &u32| hasher.hash_one(frame(bytes, ends, *number as usize));
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        numbers.insert_unique(hash(&number), number, hash);
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
        self.number_of(bytes).is_some()
    }

    /// Number of frames of these bytes.
    #[must_use]
    pub fn times(&self, bytes: &[u8]) -> u64 {
        self.number_of(bytes).map_or(0, |number| self.totals[number])
    }

    /// The number of the distinct frame of these bytes, which is its place in [`distinct`](Self::distinct).
    #[must_use]
    pub fn number_of(&self, bytes: &[u8]) -> Option<usize> {
        let is_it = |number: &u32| self.frame(*number as usize) == bytes;
        self.numbers.find(self.hasher.hash_one(bytes), is_it).map(|number| *number as usize)
    }

    fn frame(&self, number: usize) -> &[u8] {
        frame(&self.bytes, &self.ends, number)
    }

    /// The distinct frames in the order in which they first occur.
    pub fn distinct(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.ends.len()).map(|number| self.frame(number))
    }

    /// Each distinct frame and how many times it occurs, wherever, in the order of [`distinct`](Self::distinct).
    pub fn totals(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.distinct().zip(self.totals.iter().copied())
    }

    /// The frames in order, equal ones in a row as one.
    pub fn runs(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.numbered_runs().map(|(number, times)| (self.frame(number), times))
    }

    /// The frames in order, equal ones in a row as one, each by its number.
    pub fn numbered_runs(&self) -> impl Iterator<Item = (usize, u64)> {
        self.runs.iter().map(|run| (run.frame as usize, run.times))
    }

    /// Keeps of each distinct frame only what occurs more often than in another sequence.
    #[must_use]
    pub fn into_surplus(mut self, over: &Self) -> Surplus {
        for number in 0..self.ends.len() {
            let times = over.times(self.frame(number));
            self.totals[number] = self.totals[number].saturating_sub(times);
        }
        Surplus(self)
    }

    /// Removes the frames that are not to be kept.
    pub fn retain(&mut self, keep: impl Fn(&[u8]) -> bool) {
        let mut kept = 0;
        let renumbered = |bytes: &[u8]| {
            let number = keep(bytes).then_some(kept);
            kept += u32::from(number.is_some());
            number
        };
        let renumbered: Vec<Option<u32>> = self.distinct().map(renumbered).collect();
        if renumbered.iter().all(Option::is_some) {
            return;
        }
        // In place: a copy would take as much memory again.
        let (mut begin, mut end) = (0, 0);
        for (number, new) in renumbered.iter().enumerate() {
            let its_end = self.ends[number];
            if let Some(new) = new {
                self.bytes.copy_within(begin..its_end, end);
                end += its_end - begin;
                self.ends[*new as usize] = end;
                self.totals[*new as usize] = self.totals[number];
            }
            begin = its_end;
        }
        self.bytes.truncate(end);
        self.ends.truncate(kept as usize);
        self.totals.truncate(kept as usize);
        self.numbers.clear();
        (0..self.ends.len()).for_each(|number| self.index(number));
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

/// Frames that occur more often than elsewhere.
#[derive(Clone, Debug)]
pub struct Surplus(FrameSequence);

impl Surplus {
    /// Each distinct frame, and how many times more it occurs.
    pub fn frames(&self) -> impl Iterator<Item = (&[u8], u64)> + Clone {
        let of = |number: usize| (self.0.frame(number), self.0.totals[number]);
        (0..self.0.ends.len()).map(of).filter(|(_, times)| *times > 0)
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
        let surplus = frames.into_surplus(&sequence(&[(7, 1), (5, 1), (9, 4)]));
        assert_eq!(surplus.frames().collect::<Vec<_>>(), [(&[7][..], 3), (&[2][..], 2)]);
    }

    #[test]
    fn frames_are_found_after_others_were_removed() {
        let number = |number: u16| number.to_be_bytes().repeat(usize::from(number % 5));
        let mut frames = FrameSequence::default();
        (0..2_000).for_each(|frame| frames.push(&number(frame)));
        frames.retain(|bytes| bytes.len() != 4);
        for frame in 0..2_000 {
            let bytes = number(frame);
            let times = match bytes.len() {
                4 => 0,
                0 => 400,
                _ => 1,
            };
            assert_eq!(frames.times(&bytes), times, "{bytes:?}");
        }
        frames.push(&number(2));
        assert_eq!((frames.len(), frames.distinct().last()), (1_601, Some(number(2).as_slice())));
    }
}
