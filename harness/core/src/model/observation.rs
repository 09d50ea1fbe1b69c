//! The judge: holds what was observed against what had to be observed. Pure.

use std::{cmp::Ordering, collections::BTreeMap};

/// Frames by their bytes, and how many times each.
pub type Frames = BTreeMap<Vec<u8>, u64>;

/// Adds one frame; only the first of its kind is copied.
pub fn add_frame(frames: &mut Frames, bytes: &[u8]) {
    match frames.get_mut(bytes) {
        Some(times) => *times += 1,
        None => drop(frames.insert(bytes.to_vec(), 1)),
    }
}

/// Packets by protocol number; a protocol that counted nothing has no entry.
pub type Counts = BTreeMap<u8, u64>;

/// What was seen of one trial.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// Frames handed to the path.
    pub sent: u64,
    /// Runs of the program, as the kernel counts them: every frame that reached it.
    pub ran: u64,
    /// What was added to the map, for every possible CPU.
    pub per_cpu: Vec<Counts>,
    /// What came out of the program: the frames that it passed, byte for byte.
    pub passed: Frames,
    /// What came back to the tester: the DUT answers nothing, so only a program can have sent it.
    pub returned: Frames,
    /// What the program answered, `XDP_*` actions and how often each, where that can be asked.
    pub answers: BTreeMap<u32, u64>,
    /// Frames of which nobody can see whether they passed, because the stack discards them before any socket gets them
    /// (see [`stack_discards`](crate::model::rx_transform::stack_discards)). A test run shows it.
    pub undecided: u64,
    /// Whether the closing frame came through. It is sent after everything else was counted and shows that nothing is
    /// still under way; `None` where the path needs none.
    pub closed: Option<bool>,
    /// The CPUs from which frames were to be sent, where the scenario spreads them over all.
    pub cpus: Vec<usize>,
    /// Frames by the receive queue on which they arrive, where the scenario spreads them over several.
    pub queues: Counts,
}

impl Observation {
    /// The counts summed over the CPUs.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut sum = Counts::new();
        for (protocol, packets) in self.per_cpu.iter().flatten() {
            // A fault can make each of them anything. A sum that wrapped could come to what is expected.
            let sum = sum.entry(*protocol).or_default();
            *sum = sum.saturating_add(*packets);
        }
        sum
    }

    /// How many frames were seen to pass.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.passed.values().sum()
    }

    /// How many frames the program saw and did not pass.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.ran.saturating_sub(self.passed() + self.undecided)
    }
}

/// Every key of either map with both its values, in order; what has no entry is 0.
pub fn side_by_side<'a, K: Ord>(
    left: &'a BTreeMap<K, u64>,
    right: &'a BTreeMap<K, u64>,
) -> impl Iterator<Item = (&'a K, u64, u64)> {
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    std::iter::from_fn(move || {
        let order = |one: Option<&(&K, &u64)>, other: Option<&(&K, &u64)>| match (one, other) {
            (Some((one, _)), Some((other, _))) => one.cmp(other),
            (one, other) => other.is_some().cmp(&one.is_some()),
        };
        match order(left.peek(), right.peek()) {
            Ordering::Less => left.next().map(|(key, value)| (key, *value, 0)),
            Ordering::Greater => right.next().map(|(key, value)| (key, 0, *value)),
            Ordering::Equal => {
                left.next().zip(right.next()).map(|((key, left), (_, right))| (key, *left, *right))
            }
        }
    })
}
