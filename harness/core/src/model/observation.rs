//! The observation of a trial.

use std::{cmp::Ordering, collections::BTreeMap};

use crate::model::{frame_sequence::FrameSequence, sink::Sink};

/// Packets by protocol number; a protocol that counted nothing has no entry.
pub type Counts = BTreeMap<u8, u64>;

/// Everything that was observed of a trial.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// Frames handed to the path.
    pub sent: u64,
    /// Runs of the program, as the kernel counts them: every frame that reached it.
    pub ran: u64,
    /// Packets that were added to the map, for every possible CPU; none where the program has no counter map.
    pub per_cpu: Option<Vec<Counts>>,
    /// Frames by sink, for each sink that is watched. Those at the tester were sent back by the program: the DUT itself sends nothing.
    pub frames: BTreeMap<Sink, FrameSequence>,
    /// `XDP_*` actions that the program returned and how often each, where that can be observed.
    pub verdicts: BTreeMap<u32, u64>,
    /// Frames of which nothing can observe whether they passed, because the stack discards them before any socket gets them. Only a
    /// test run shows their verdict.
    pub unobservable: u64,
    /// The order in which the path delivers frames to a sink.
    pub order: ArrivalOrder,
    /// The closing frame came through. It is sent after everything else was counted and proves that no frame is still in
    /// flight; `None` where the path needs none.
    pub closed: Option<bool>,
    /// The CPUs from which frames were to be sent, where the scenario spreads them over all.
    pub cpus: Vec<usize>,
    /// Evidence that CPUs counted at the same time, where the scenario asks for that.
    pub overlap: Option<Overlap>,
    /// Frames by the receive queue on which they arrive, where the scenario spreads them over several.
    pub queues: Counts,
}

/// The fate of a plain counter that all senders share and increment once for each frame that they send, without atomic updates. Where
/// it loses updates, so does a program that counts as carelessly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overlap {
    pub updates: u64,
    pub lost: u64,
}

impl Overlap {
    /// Lost updates from which on a program that lost none is not merely lucky. Programs that add without an atomic instruction were seen to
    /// lose from 0.4 to 20 times as many (2 CPUs, all paths): by chance, one of them loses none in less than 1 of 100,000 trials.
    pub const PROOF: u64 = 32;

    /// Returns true if CPUs have counted at the same time often enough.
    #[must_use]
    pub fn is_proof(self) -> bool {
        self.lost >= Self::PROOF
    }
}

impl std::ops::Add for Overlap {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { updates: self.updates + other.updates, lost: self.lost + other.lost }
    }
}

/// The order in which a path delivers frames to a sink, if nothing is wrong with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ArrivalOrder {
    /// The path guarantees no order.
    #[default]
    Unspecified,
    /// Frames of one flow keep their order: those that have the same addresses, ports and VLANs, and that a hash therefore puts on the
    /// same queue.
    PerFlow,
    /// Frames of one EtherType, behind the same VLAN tags, keep their order. The stack does not keep that of others: of the frames of a
    /// batch it hands those that no protocol takes to packet sockets last (`__netif_receive_skb_list_core()` of `net/core/dev.c`).
    PerEtherType,
}

impl Observation {
    /// The counts summed over the CPUs; none where the program has no counter map.
    #[must_use]
    pub fn counts(&self) -> Option<Counts> {
        self.per_cpu.as_deref().map(sum)
    }

    /// The number of frames that were observed at a sink; those that were dropped, for [`Sink::Nowhere`].
    #[must_use]
    pub fn total(&self, sink: Sink) -> u64 {
        match sink {
            Sink::Nowhere => self.dropped(),
            _ => self.frames.get(&sink).map_or(0, FrameSequence::len),
        }
    }

    /// The frames on which the program ran and that came out at no sink.
    fn dropped(&self) -> u64 {
        let seen: u64 = self.frames.values().map(FrameSequence::len).sum();
        self.ran.saturating_sub(seen + self.unobservable)
    }
}

/// The counts of all CPUs together.
#[must_use]
pub fn sum(per_cpu: &[Counts]) -> Counts {
    let mut total = Counts::new();
    for (protocol, packets) in per_cpu.iter().flatten() {
        // A fault can make each of them anything. A sum that wrapped could come to what is expected.
        let sum = total.entry(*protocol).or_default();
        *sum = sum.saturating_add(*packets);
    }
    total
}

/// Every key of either map with both its values, in order; a key without an entry has 0.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_walked_side_by_side() {
        let walk = |left: &[(u8, u64)], right: &[(u8, u64)]| {
            let [left, right] = [left, right].map(|map| Counts::from_iter(map.iter().copied()));
            side_by_side(&left, &right).map(|(key, left, right)| (*key, left, right)).collect::<Vec<_>>()
        };
        assert_eq!(walk(&[], &[]), []);
        assert_eq!(walk(&[(1, 5)], &[]), [(1, 5, 0)]);
        assert_eq!(walk(&[], &[(1, 5)]), [(1, 0, 5)]);
        assert_eq!(
            walk(&[(1, 2), (4, 1), (6, 7)], &[(0, 3), (4, 9), (5, 8), (9, 1)]),
            [(0, 0, 3), (1, 2, 0), (4, 1, 9), (5, 0, 8), (6, 7, 0), (9, 0, 1)]
        );
    }

    #[test]
    fn a_frame_that_is_at_no_sink_was_dropped() {
        let frames = |times| FrameSequence::from_iter([([1], times)]);
        let mut seen = Observation { ran: 9, unobservable: 1, ..Observation::default() };
        seen.frames = [(Sink::Stack, frames(4)), (Sink::Tester, frames(1))].into();
        let totals = [Sink::Stack, Sink::Tester, Sink::Nowhere].map(|sink| seen.total(sink));
        assert_eq!(totals, [4, 1, 3]);
        seen.ran = 2;
        assert_eq!(seen.total(Sink::Nowhere), 0);
    }
}
