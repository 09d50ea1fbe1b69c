//! The judge: holds what was observed against what had to be observed. Pure.

use std::{cmp::Ordering, collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xdproof_scenarios::{Expectation, Spread};

/// Frames by their bytes, and how many times each.
pub type Frames = BTreeMap<Vec<u8>, u64>;

/// Adds one frame; only the first of its kind is copied.
pub fn add(frames: &mut Frames, bytes: &[u8]) {
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
    /// (see [`stack_discards`]). A test run shows it.
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

/// Whether the kernel's stack discards a frame before any socket sees it, although XDP has passed it.
///
/// Source: `skb_vlan_untag` in `net/core/skbuff.c`, which `__netif_receive_skb_core` calls before it delivers anything, wants
/// the outer tag and the two bytes behind it (`VLAN_HLEN + sizeof(unsigned short)` beyond the Ethernet header), and frees
/// what is shorter.
#[must_use]
pub fn stack_discards(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [_, _, _, _, _, _, _, _, _, _, _, _, 0x81, 0x00, ..]
            | [_, _, _, _, _, _, _, _, _, _, _, _, 0x88, 0xa8, ..]
    ) && bytes.len() < 14 + 4 + 2
}

/// What a trial has to come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Numbers: what the map counts, how many frames pass and how many are dropped.
    pub numbers: Expectation,
    /// Bytes: the frames that can be seen to pass.
    pub passed: Frames,
    /// Of `numbers.passed`, frames that nobody can see pass.
    pub undecided_passed: u64,
    /// Of `numbers.dropped`, frames that nobody could see pass either.
    pub undecided_dropped: u64,
    /// Over what the frames are spread.
    pub spread: Spread,
}

/// `XDP_DROP` and `XDP_PASS` (include/uapi/linux/bpf.h): the answers that a counter gives.
const LEGAL_ANSWERS: [u32; 2] = [1, 2];

/// One way in which an observation departs from what was expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Mismatch {
    /// The map counted another number of packets for a protocol.
    Count {
        /// IP protocol number.
        protocol: u8,
        /// Packets that had to be counted.
        expected: u64,
        /// Packets that were counted.
        observed: u64,
    },
    /// Another number of frames passed.
    Passed {
        /// Frames that had to pass.
        expected: u64,
        /// Frames that passed.
        observed: u64,
    },
    /// Another number of frames was dropped by the program.
    Dropped {
        /// Frames that had to be dropped.
        expected: u64,
        /// Frames that were dropped.
        observed: u64,
    },
    /// The program gave an answer that no counter gives, neither `XDP_PASS` nor `XDP_DROP`.
    Answer {
        /// The answer, an `XDP_*` action or a number beyond them.
        action: u32,
        /// How often.
        times: u64,
    },
    /// A frame came back to the tester.
    Returned {
        /// The bytes in hexadecimal.
        hex: String,
        /// How many of them came.
        times: u64,
    },
    /// The program did not run once for each frame sent: the path lost frames or added its own.
    Conservation {
        /// Frames sent.
        sent: u64,
        /// Runs of the program.
        ran: u64,
    },
    /// A frame that had to pass did not come through with these bytes.
    Missing {
        /// The bytes in hexadecimal.
        hex: String,
        /// How many of them are missing.
        times: u64,
    },
    /// A frame came through that nobody sent, or that had to be dropped.
    Unexpected {
        /// The bytes in hexadecimal.
        hex: String,
        /// How many of them came.
        times: u64,
    },
    /// Frames were sent from a CPU, and nothing was counted there.
    IdleCpu {
        /// The CPU's number.
        cpu: usize,
    },
    /// Frames that had to be spread over receive queues arrived on too few.
    NotSpread {
        /// How many queues had to get some.
        least: u32,
        /// Those that did.
        queues: Vec<u8>,
    },
    /// The closing frame, sent after all others, did not come through.
    NotClosed,
    /// A deviation is declared for this trial, and it does not deviate any more.
    NoDeviation {
        /// The declared reason.
        reason: String,
    },
    /// The trial left its testbed in another state than it found it in.
    Dirty {
        /// What was left.
        what: String,
    },
    /// A refusal or an attachment that the support table does not know.
    Support {
        /// What happened.
        what: String,
    },
    /// The kernel answered otherwise than a [rule](crate::rules) says.
    Rule {
        /// What was done.
        action: String,
        /// What had to come out.
        expected: String,
        /// What came out.
        observed: String,
    },
}

impl Mismatch {
    /// Whether a declared deviation can account for it: other numbers or other bytes come out. That frames are lost, or that
    /// the path does not come to rest, is never a way in which a driver counts.
    fn is_excusable(&self) -> bool {
        match self {
            Self::Count { .. }
            | Self::Passed { .. }
            | Self::Dropped { .. }
            | Self::Missing { .. }
            | Self::Unexpected { .. } => true,
            Self::Answer { .. }
            | Self::Returned { .. }
            | Self::Conservation { .. }
            | Self::IdleCpu { .. }
            | Self::NotSpread { .. }
            | Self::NotClosed
            | Self::NoDeviation { .. }
            | Self::Dirty { .. }
            | Self::Support { .. }
            | Self::Rule { .. } => false,
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { protocol, expected, observed } => {
                write!(f, "protocol {protocol}: expected {expected}, counted {observed}")
            }
            Self::Passed { expected, observed } => {
                write!(f, "expected {expected} to pass, {observed} passed")
            }
            Self::Dropped { expected, observed } => {
                write!(f, "expected {expected} to be dropped, {observed} were")
            }
            Self::Conservation { sent, ran } => {
                write!(f, "{sent} frames were sent and the program ran {ran} times")
            }
            Self::Answer { action, times } => {
                write!(f, "{times} times the answer was {action}, neither XDP_PASS nor XDP_DROP")
            }
            Self::Returned { hex, times } => write!(f, "came back to the tester {times} x {hex}"),
            Self::Missing { hex, times } => write!(f, "missing {times} x {hex}"),
            Self::Unexpected { hex, times } => write!(f, "unexpected {times} x {hex}"),
            Self::IdleCpu { cpu } => {
                write!(f, "nothing was counted on CPU {cpu}, from which frames were sent")
            }
            Self::NotSpread { least, queues } => {
                write!(f, "frames had to arrive on {least} receive queues at least, and did on {queues:?}")
            }
            Self::NotClosed => f.write_str("the closing frame was not passed"),
            Self::NoDeviation { reason } => write!(f, "passes, although a deviation is declared: {reason}"),
            Self::Dirty { what } | Self::Support { what } => f.write_str(what),
            Self::Rule { action, expected, observed } => {
                write!(f, "{action}: expected {expected}, observed {observed}")
            }
        }
    }
}

/// How a trial came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything was as it had to be.
    Pass,
    /// Something was not.
    Fail(Vec<Mismatch>),
    /// It was not run, for a reason that was declared beforehand.
    Skip {
        /// The declared reason.
        reason: String,
    },
    /// It deviated as a reviewed entry says that it does.
    Xfail {
        /// The declared reason.
        reason: String,
        /// In what it deviated.
        mismatches: Vec<Mismatch>,
    },
    /// The testbed broke; this says nothing about the program, the driver or the mode.
    Error {
        /// What broke.
        reason: String,
    },
    /// No injector can produce these frames; the kernel was asked, and refused them.
    Unreachable {
        /// What the kernel answered.
        reason: String,
    },
}

/// The kind of a verdict, by the name that results use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VerdictKind {
    /// See [`Verdict::Pass`].
    Pass,
    /// See [`Verdict::Fail`].
    Fail,
    /// See [`Verdict::Skip`].
    Skip,
    /// See [`Verdict::Xfail`].
    Xfail,
    /// See [`Verdict::Error`].
    Error,
    /// See [`Verdict::Unreachable`].
    Unreachable,
}

impl VerdictKind {
    /// The name that results use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Skip => "skip",
            Self::Xfail => "xfail",
            Self::Error => "error",
            Self::Unreachable => "unreachable",
        }
    }

    /// Whether a run with such a verdict has not come out as expected.
    #[must_use]
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Fail | Self::Error)
    }
}

impl fmt::Display for VerdictKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Verdict {
    /// Judges a trial that ran. `deviation` is the reason of the declared deviation that holds for it, if one does.
    #[must_use]
    pub fn judge(expected: &Expected, observed: &Observation, deviation: Option<&str>) -> Self {
        let mismatches = compare(expected, observed);
        match (mismatches.is_empty(), deviation) {
            (true, None) => Self::Pass,
            (true, Some(reason)) => Self::Fail(vec![Mismatch::NoDeviation { reason: reason.to_owned() }]),
            (false, Some(reason)) if mismatches.iter().all(Mismatch::is_excusable) => {
                Self::Xfail { reason: reason.to_owned(), mismatches }
            }
            (false, _) => Self::Fail(mismatches),
        }
    }

    /// The kind of this verdict.
    #[must_use]
    pub fn kind(&self) -> VerdictKind {
        match self {
            Self::Pass => VerdictKind::Pass,
            Self::Fail(_) => VerdictKind::Fail,
            Self::Skip { .. } => VerdictKind::Skip,
            Self::Xfail { .. } => VerdictKind::Xfail,
            Self::Error { .. } => VerdictKind::Error,
            Self::Unreachable { .. } => VerdictKind::Unreachable,
        }
    }

    /// Why, where there is something to say.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Pass => None,
            Self::Fail(mismatches) => {
                Some(mismatches.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
            }
            Self::Skip { reason }
            | Self::Xfail { reason, .. }
            | Self::Error { reason }
            | Self::Unreachable { reason } => Some(reason.clone()),
        }
    }

    /// In what the trial departed from what was expected.
    #[must_use]
    pub fn mismatches(&self) -> &[Mismatch] {
        match self {
            Self::Fail(mismatches) | Self::Xfail { mismatches, .. } => mismatches,
            Self::Pass | Self::Skip { .. } | Self::Error { .. } | Self::Unreachable { .. } => &[],
        }
    }
}

fn compare(expected: &Expected, observed: &Observation) -> Vec<Mismatch> {
    let mut found = Vec::new();
    if observed.sent != observed.ran {
        found.push(Mismatch::Conservation { sent: observed.sent, ran: observed.ran });
    }
    let Expectation { counts, passed, dropped } = &expected.numbers;
    let counted = observed.counts();
    for (protocol, expected, observed) in side_by_side(counts, &counted) {
        if expected != observed {
            found.push(Mismatch::Count { protocol: *protocol, expected, observed });
        }
    }
    let seen_passed = passed.saturating_sub(expected.undecided_passed);
    if seen_passed != observed.passed() {
        found.push(Mismatch::Passed { expected: seen_passed, observed: observed.passed() });
    }
    let seen_dropped = dropped.saturating_sub(expected.undecided_dropped);
    if seen_dropped != observed.dropped() {
        found.push(Mismatch::Dropped { expected: seen_dropped, observed: observed.dropped() });
    }
    for (&action, &times) in observed.answers.iter().filter(|(action, _)| !LEGAL_ANSWERS.contains(action)) {
        found.push(Mismatch::Answer { action, times });
    }
    for (bytes, &times) in &observed.returned {
        found.push(Mismatch::Returned { hex: hex::encode(bytes), times });
    }
    for (bytes, expected, observed) in side_by_side(&expected.passed, &observed.passed) {
        if expected > observed {
            found.push(Mismatch::Missing { hex: hex::encode(bytes), times: expected - observed });
        }
        if expected < observed {
            found.push(Mismatch::Unexpected { hex: hex::encode(bytes), times: observed - expected });
        }
    }
    if observed.closed == Some(false) {
        found.push(Mismatch::NotClosed);
    }
    found.extend(not_spread(expected.spread, observed));
    found
}

/// In what the frames were not spread as they had to be.
fn not_spread(spread: Spread, observed: &Observation) -> Vec<Mismatch> {
    let Spread { cpus, queues } = spread;
    let mut found = Vec::new();
    if cpus {
        let counted = |cpu: usize| observed.per_cpu.get(cpu).is_some_and(|counts| !counts.is_empty());
        found
            .extend(observed.cpus.iter().filter(|&&cpu| !counted(cpu)).map(|&cpu| Mismatch::IdleCpu { cpu }));
    }
    if let Some(queues) = queues {
        let least = queues.saturating_sub(1);
        let seen: Vec<u8> = observed.queues.keys().copied().collect();
        if u32::try_from(seen.len()).is_ok_and(|seen| seen < least) {
            found.push(Mismatch::NotSpread { least, queues: seen });
        }
    }
    found
}

/// Every key of either map with both its values, in order; what has no entry is 0.
pub(crate) fn side_by_side<'a, K: Ord>(
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

    /// Three UDP frames and one that is dropped, and the observation that agrees.
    fn agreeing() -> (Expected, Observation) {
        let frames = Frames::from([(vec![1, 2, 3], 3)]);
        let expected = Expected {
            numbers: Expectation { counts: Counts::from([(17, 3)]), passed: 3, dropped: 1 },
            passed: frames.clone(),
            undecided_passed: 0,
            undecided_dropped: 0,
            spread: Spread::default(),
        };
        let observed = Observation {
            sent: 4,
            ran: 4,
            per_cpu: vec![Counts::from([(17, 1)]), Counts::from([(17, 2)])],
            passed: frames,
            closed: Some(true),
            ..Observation::default()
        };
        (expected, observed)
    }

    /// What is found when the agreeing observation is changed.
    fn after(change: impl FnOnce(&mut Observation)) -> Vec<Mismatch> {
        let (expected, mut observed) = agreeing();
        change(&mut observed);
        match Verdict::judge(&expected, &observed, None) {
            Verdict::Fail(mismatches) => mismatches,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn agreement_passes() {
        let (expected, observed) = agreeing();
        assert_eq!(Verdict::judge(&expected, &observed, None), Verdict::Pass);
    }

    #[test]
    fn one_packet_too_few_too_many_or_elsewhere_fails() {
        let too_few = after(|seen| seen.per_cpu[0].clear());
        assert_eq!(too_few, [Mismatch::Count { protocol: 17, expected: 3, observed: 2 }]);
        let elsewhere = after(|seen| seen.per_cpu[0] = Counts::from([(6, 1)]));
        assert_eq!(
            elsewhere,
            [
                Mismatch::Count { protocol: 6, expected: 0, observed: 1 },
                Mismatch::Count { protocol: 17, expected: 3, observed: 2 },
            ]
        );
    }

    #[test]
    fn a_damaged_frame_fails_although_the_numbers_agree() {
        let found = after(|seen| seen.passed = Frames::from([(vec![1, 2, 3], 2), (vec![1, 2, 4], 1)]));
        assert_eq!(
            found,
            [
                Mismatch::Missing { hex: "010203".to_owned(), times: 1 },
                Mismatch::Unexpected { hex: "010204".to_owned(), times: 1 },
            ]
        );
    }

    #[test]
    fn a_frame_that_is_dropped_instead_of_passed_fails() {
        let found = after(|seen| seen.passed = Frames::from([(vec![1, 2, 3], 2)]));
        assert!(found.contains(&Mismatch::Passed { expected: 3, observed: 2 }));
        assert!(found.contains(&Mismatch::Dropped { expected: 1, observed: 2 }));
    }

    #[test]
    fn what_nobody_can_see_is_neither_missing_nor_dropped() {
        let (mut expected, mut observed) = agreeing();
        observed.passed = Frames::from([(vec![1, 2, 3], 2)]);
        (expected.passed, expected.undecided_passed, observed.undecided) = (observed.passed.clone(), 1, 1);
        assert_eq!(Verdict::judge(&expected, &observed, None), Verdict::Pass);
        (expected.undecided_dropped, observed.undecided) = (1, 2);
        assert_eq!(Verdict::judge(&expected, &observed, None), Verdict::Pass);
        observed.undecided = 0;
        assert_eq!(Verdict::judge(&expected, &observed, None).kind(), VerdictKind::Fail);
    }

    #[test]
    fn an_answer_that_no_counter_gives_fails_although_the_numbers_agree() {
        let found = after(|seen| seen.answers = BTreeMap::from([(1, 1), (2, 2), (3, 1)]));
        assert_eq!(found, [Mismatch::Answer { action: 3, times: 1 }]);
        let (expected, mut observed) = agreeing();
        observed.answers = BTreeMap::from([(1, 1), (2, 3)]);
        assert_eq!(Verdict::judge(&expected, &observed, None), Verdict::Pass);
    }

    #[test]
    fn a_frame_that_comes_back_fails() {
        let found = after(|seen| seen.returned = Frames::from([(vec![1], 2)]));
        assert_eq!(found, [Mismatch::Returned { hex: "01".to_owned(), times: 2 }]);
    }

    #[test]
    fn a_declared_deviation_excuses_no_lost_frame() {
        let (expected, mut observed) = agreeing();
        observed.ran = 3;
        assert_eq!(Verdict::judge(&expected, &observed, Some("driver pads")).kind(), VerdictKind::Fail);
    }

    #[test]
    fn the_stack_discards_a_tag_without_two_bytes_behind_it() {
        let tagged = |tpid: [u8; 2], length: usize| {
            let mut bytes = vec![0; 12];
            bytes.extend_from_slice(&tpid);
            bytes.resize(length, 0);
            stack_discards(&bytes)
        };
        for tpid in [[0x81, 0x00], [0x88, 0xa8]] {
            assert!(tagged(tpid, 18) && tagged(tpid, 19));
            assert!(!tagged(tpid, 20));
        }
        assert!(!tagged([0x91, 0x00], 18) && !tagged([0x08, 0x00], 18));
    }

    #[test]
    fn lost_and_foreign_frames_break_conservation() {
        assert!(after(|seen| seen.ran = 3).contains(&Mismatch::Conservation { sent: 4, ran: 3 }));
        assert!(after(|seen| seen.ran = 5).contains(&Mismatch::Conservation { sent: 4, ran: 5 }));
    }

    #[test]
    fn a_cpu_that_had_a_turn_and_counted_nothing_fails() {
        let (mut expected, mut observed) = agreeing();
        expected.spread.cpus = true;
        observed.cpus = vec![0, 1];
        assert_eq!(Verdict::judge(&expected, &observed, None), Verdict::Pass);
        observed.per_cpu = vec![Counts::new(), Counts::from([(17, 3)])];
        let verdict = Verdict::judge(&expected, &observed, None);
        assert_eq!(verdict.mismatches(), [Mismatch::IdleCpu { cpu: 0 }]);
        observed.cpus = vec![1, 2];
        let verdict = Verdict::judge(&expected, &observed, None);
        assert_eq!(verdict.mismatches(), [Mismatch::IdleCpu { cpu: 2 }]);
    }

    #[test]
    fn frames_that_leave_more_than_one_queue_out_are_not_spread() {
        let (mut expected, mut observed) = agreeing();
        expected.spread.queues = Some(4);
        observed.queues = Counts::from([(0, 1), (1, 2), (3, 3)]);
        assert_eq!(Verdict::judge(&expected, &observed, None), Verdict::Pass);
        observed.queues.remove(&0);
        let verdict = Verdict::judge(&expected, &observed, None);
        assert_eq!(verdict.mismatches(), [Mismatch::NotSpread { least: 3, queues: vec![1, 3] }]);
        observed.queues.clear();
        let verdict = Verdict::judge(&expected, &observed, None);
        assert_eq!(verdict.mismatches(), [Mismatch::NotSpread { least: 3, queues: vec![] }]);
    }

    #[test]
    fn counts_that_are_off_by_opposite_amounts_do_not_cancel_out() {
        let found =
            after(|seen| seen.per_cpu = vec![Counts::from([(17, u64::MAX - 1)]), Counts::from([(17, 5)])]);
        assert_eq!(found, [Mismatch::Count { protocol: 17, expected: 3, observed: u64::MAX }]);
    }

    #[test]
    fn an_open_end_fails() {
        assert_eq!(after(|seen| seen.closed = Some(false)), [Mismatch::NotClosed]);
    }

    #[test]
    fn a_declared_deviation_must_deviate() {
        let (expected, mut observed) = agreeing();
        let verdict = Verdict::judge(&expected, &observed, Some("driver pads"));
        assert_eq!(verdict.kind(), VerdictKind::Fail);
        observed.per_cpu.clear();
        let verdict = Verdict::judge(&expected, &observed, Some("driver pads"));
        assert_eq!(verdict.kind(), VerdictKind::Xfail);
        assert_eq!(verdict.reason().as_deref(), Some("driver pads"));
    }
}
