//! Frames arrive at each sink in the order in which they were sent, as far as the path guarantees one.
//!
//! A path of several queues keeps the order of a flow, one of a single queue that of an EtherType ([`ArrivalOrder`]). Frames that could be hashed to different queues are never compared: a flow is
//! no larger than any hash (RSS, `skb_get_hash()`) makes it, and frames that a NIC may take for malformed have no flow. Equal frames
//! cannot be told apart, lost ones leave the others in order, and where there are too many of one kind, none is out of place.

use std::collections::{BTreeMap, HashMap};

use crate::{
    judge::checks::MismatchNotes,
    model::{ArrivalOrder, Delta, FaultClass, FrameDeltas, FrameSequence, Observation, TrialExpectation},
};

pub(super) fn run(expected: &TrialExpectation, observed: &Observation, found: &mut MismatchNotes) {
    for (sink, arrived) in &observed.frames {
        let Some(sent) = expected.frames.get(sink).filter(|sent| *sent != arrived) else { continue };
        let key = match observed.order {
            ArrivalOrder::Unspecified => continue,
            ArrivalOrder::PerEtherType => ether_type,
            ArrivalOrder::PerFlow => flow,
        };
        let displaced = displaced_in_groups(sent, arrived, key);
        if !displaced.is_empty() {
            let mut frames = FrameDeltas::default();
            for (bytes, times) in sent
                .distinct()
                .enumerate()
                .filter_map(|(number, bytes)| displaced.get(&number).map(|times| (bytes, *times)))
            {
                frames.add(Delta::Displaced, bytes, times);
            }
            let subject = format!("{} out of order", sink.frames());
            found.note_frames(FaultClass::Reordered, subject, 0, displaced.values().sum::<u64>(), frames);
        }
    }
}

/// Frames in a row of one group, by the number that the frame has among those that were sent. A million distinct frames are compared
/// by their numbers, for which there is room.
#[derive(Clone, Copy)]
struct GroupedRun {
    group: u32,
    number: usize,
    times: u64,
}

/// The displaced frames of all groups by their numbers, and how many of each.
fn displaced_in_groups(
    sent: &FrameSequence,
    arrived: &FrameSequence,
    key: fn(&[u8]) -> Vec<u8>,
) -> BTreeMap<usize, u64> {
    let mut keys = HashMap::<Vec<u8>, u32>::new();
    let group = |bytes| {
        let next = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        *keys.entry(key(bytes)).or_insert(next)
    };
    let groups: Vec<u32> = sent.distinct().map(group).collect();
    drop(keys);
    let in_groups = |runs: &mut dyn Iterator<Item = (usize, u64)>| {
        let run = |(number, times): (usize, u64)| GroupedRun { group: groups[number], number, times };
        let mut runs: Vec<GroupedRun> = runs.map(run).collect();
        runs.sort_by_key(|run| run.group);
        runs
    };
    // A modified or foreign frame has no place.
    let known = |(bytes, times): (&[u8], u64)| Some((sent.number_of(bytes)?, times));
    let arrived = in_groups(&mut arrived.runs().filter_map(known));
    let sent = in_groups(&mut sent.numbered_runs());
    let mut all = BTreeMap::new();
    for arrived in arrived.chunk_by(|one, other| one.group == other.group) {
        let group = arrived[0].group;
        let first = sent.partition_point(|run| run.group < group);
        let length = sent[first..].partition_point(|run| run.group == group);
        all.append(&mut displaced(&sent[first..first + length], arrived));
    }
    all
}

/// The frames that arrived behind one that was sent after them, and how many of each.
fn displaced(sent: &[GroupedRun], arrived: &[GroupedRun]) -> BTreeMap<usize, u64> {
    // The places of each frame among those that were sent; a run takes as many as it has frames.
    let mut places = Vec::with_capacity(sent.len());
    let mut next = 0;
    for run in sent {
        places.push((run.number, next, next + run.times));
        next += run.times;
    }
    places.sort_by_key(|(number, ..)| *number);
    if has_surplus(&places, arrived) {
        // A duplicate has no place in the order.
        return BTreeMap::new();
    }
    let mut displaced = BTreeMap::new();
    let mut place = 0;
    for &GroupedRun { number, mut times, group: _ } in arrived {
        let ahead = places.partition_point(|(its, _, end)| (*its, *end) < (number, place + 1));
        for &(_, begin, end) in places[ahead..].iter().take_while(|(its, ..)| *its == number) {
            let taken = times.min(end - begin.max(place));
            if taken > 0 {
                place = begin.max(place) + taken;
                times -= taken;
            }
            if times == 0 {
                break;
            }
        }
        if times > 0 {
            *displaced.entry(number).or_default() += times;
        }
    }
    displaced
}

/// Returns whether a frame arrived more often than it was sent. `places` are sorted by the number of the frame.
fn has_surplus(places: &[(usize, u64, u64)], arrived: &[GroupedRun]) -> bool {
    let mut arrived = arrived.to_vec();
    arrived.sort_by_key(|run| run.number);
    let sent = |number| {
        let first = places.partition_point(|(its, ..)| *its < number);
        let its = places[first..].iter().take_while(|(its, ..)| *its == number);
        its.map(|(_, begin, end)| end - begin).sum::<u64>()
    };
    arrived
        .chunk_by(|one, other| one.number == other.number)
        .any(|runs| runs.iter().map(|run| run.times).sum::<u64>() > sent(runs[0].number))
}

/// The VLAN tags and the EtherType of a frame.
fn ether_type(bytes: &[u8]) -> Vec<u8> {
    let end = network_offset(bytes).unwrap_or(bytes.len());
    bytes.get(12..end).unwrap_or(bytes).to_vec()
}

/// The offset behind the EtherType of a frame.
fn network_offset(bytes: &[u8]) -> Option<usize> {
    let mut at = 12;
    while matches!(bytes.get(at..at + 2)?, [0x81 | 0x91, 0x00] | [0x88, 0xa8]) {
        at += 4;
    }
    Some(at + 2)
}

/// IP protocols whose header begins with two ports: TCP, UDP and SCTP.
const WITH_PORTS: [u8; 3] = [6, 17, 132];

/// UDP ports of tunnels whose inner headers some NICs hash: GTP-U, ESP in UDP, VXLAN (IANA's and Linux' own) and GENEVE.
const TUNNELS: [u16; 5] = [2152, 4500, 4789, 6081, 8472];

/// Everything of a frame by which a path may choose its queue. A frame without ports, one that is fragmented, tunneled or malformed
/// is a flow of its own: hashes differ in what they take of it.
fn flow(bytes: &[u8]) -> Vec<u8> {
    headers_with_ports(bytes).unwrap_or_else(|| bytes.to_vec())
}

fn headers_with_ports(bytes: &[u8]) -> Option<Vec<u8>> {
    let network = network_offset(bytes)?;
    let (link, rest) = bytes.split_at_checked(network)?;
    let (fixed, protocol, addresses, header) = match (&link[network - 2..], rest.first()?) {
        ([0x08, 0x00], 0x45) => {
            let header = rest.first_chunk::<20>()?;
            let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let is_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
            let is_sound = (28..=rest.len()).contains(&length) && checksum(header) == 0xffff;
            (is_sound && !is_fragment).then_some((&header[1..2], header[9], &header[12..20], 20))?
        }
        ([0x86, 0xdd], first) if first >> 4 == 6 => {
            let header = rest.first_chunk::<40>()?;
            let length = 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
            (48..=rest.len()).contains(&length).then_some((&header[..4], header[6], &header[8..40], 40))?
        }
        _ => return None,
    };
    let ports = rest.get(header..header + 4)?;
    let destination = u16::from_be_bytes([ports[2], ports[3]]);
    let is_flow = WITH_PORTS.contains(&protocol) && !TUNNELS.contains(&destination);
    is_flow.then(|| [link, fixed, &[protocol], addresses, ports].concat())
}

/// The sum of a header's 16-bit words in ones' complement (RFC 1071): 0xffff for one with a right checksum.
fn checksum(header: &[u8; 20]) -> u32 {
    let sum: u32 = header.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    (sum & 0xffff) + (sum >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{judge::checks::tests::found_by, model::Sink};

    /// A UDP frame over IPv4 or IPv6, tagged or not.
    fn udp(version: u8, port: u8, payload: u8) -> Vec<u8> {
        let mut bytes = vec![2; 12];
        if version == 4 {
            bytes.extend([
                0x08, 0x00, 0x45, 0, 0, 46, 0, 1, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2,
            ]);
            let header: [u8; 20] = bytes[14..].try_into().unwrap();
            let sum = 0xffff - u16::try_from(checksum(&header)).unwrap();
            bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        } else {
            bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 26, 17, 64]);
            bytes.extend([0xfd; 32]);
        }
        bytes.extend([0x9c, 0x40, 0, port, 0, 26, 0, 0]);
        bytes.extend([payload; 18]);
        bytes
    }

    fn tagged(mut frame: Vec<u8>, id: u8) -> Vec<u8> {
        frame.splice(12..12, [0x81, 0x00, 0, id]);
        frame
    }

    /// The frames that are out of order: their payload and times.
    fn found(order: ArrivalOrder, sent: &[Vec<u8>], arrived: &[Vec<u8>]) -> Vec<(u8, u64)> {
        at(Sink::Stack, order, sent, arrived)
    }

    fn at(sink: Sink, order: ArrivalOrder, sent: &[Vec<u8>], arrived: &[Vec<u8>]) -> Vec<(u8, u64)> {
        let sequence = |frames: &[Vec<u8>]| frames.iter().map(|bytes| (bytes, 1)).collect::<FrameSequence>();
        let found = found_by("order", |expected, seen| {
            expected.frames = [(sink, sequence(sent))].into();
            (seen.frames, seen.order) = ([(sink, sequence(arrived))].into(), order);
        });
        assert!(found.iter().all(|mismatch| mismatch.class == FaultClass::Reordered));
        let frames = found.iter().flat_map(|mismatch| &mismatch.frames);
        frames.map(|frame| (frame.bytes.last().copied().unwrap(), frame.times)).collect()
    }

    fn flow_of(payloads: &[u8]) -> Vec<Vec<u8>> {
        payloads.iter().map(|&payload| udp(4, 9, payload)).collect()
    }

    #[test]
    fn frames_in_the_order_in_which_they_were_sent_are_fine() {
        let sent = flow_of(&[1, 2, 2, 1, 3]);
        for order in [ArrivalOrder::PerEtherType, ArrivalOrder::PerFlow, ArrivalOrder::Unspecified] {
            assert_eq!(found(order, &sent, &sent), []);
        }
    }

    #[test]
    fn a_frame_that_is_overtaken_within_its_flow_is_found() {
        for order in [ArrivalOrder::PerEtherType, ArrivalOrder::PerFlow] {
            assert_eq!(found(order, &flow_of(&[1, 2, 3]), &flow_of(&[2, 3, 1])), [(1, 1)]);
            assert_eq!(found(order, &flow_of(&[1, 1, 2, 2]), &flow_of(&[1, 2, 1, 2])), [(1, 1)]);
        }
        assert_eq!(found(ArrivalOrder::Unspecified, &flow_of(&[1, 2]), &flow_of(&[2, 1])), []);
    }

    #[test]
    fn the_mismatch_names_the_sink_and_the_number_of_frames() {
        let sequence = |payloads| flow_of(payloads).iter().map(|bytes| (bytes, 1)).collect();
        let found = found_by("order", |expected, seen| {
            expected.frames = [(Sink::Tester, sequence(&[1, 2]))].into();
            seen.frames = [(Sink::Tester, sequence(&[2, 1]))].into();
        });
        assert_eq!(
            found[0].to_string(),
            "frames at the tester out of order: expected 0, got 1 (1 out of order)"
        );
    }

    #[test]
    fn every_sink_has_an_order_of_its_own() {
        for sink in [Sink::Stack, Sink::Tester] {
            assert_eq!(at(sink, ArrivalOrder::PerEtherType, &flow_of(&[1, 2]), &flow_of(&[2, 1])), [(1, 1)]);
        }
    }

    #[test]
    fn frames_of_different_flows_may_overtake_each_other_where_there_are_several_queues() {
        let both = |one: Vec<u8>, other: Vec<u8>| {
            let [sent, arrived] = [[one.clone(), other.clone()], [other, one]];
            [ArrivalOrder::PerFlow, ArrivalOrder::PerEtherType]
                .map(|order| found(order, &sent, &arrived).len())
        };
        assert_eq!(both(udp(4, 9, 1), udp(4, 10, 2)), [0, 1]);
        assert_eq!(both(tagged(udp(6, 9, 1), 5), tagged(udp(6, 10, 2), 5)), [0, 1]);
        assert_eq!(both(udp(6, 9, 1), udp(6, 9, 2)), [1, 1]);
        assert_eq!(both(tagged(udp(4, 9, 1), 7), tagged(udp(4, 9, 2), 7)), [1, 1]);
    }

    #[test]
    fn the_stack_may_hand_up_one_ether_type_before_another() {
        for other in [udp(6, 9, 2), tagged(udp(4, 9, 2), 5), vec![2; 60]] {
            let [sent, arrived] = [[udp(4, 9, 1), other.clone()], [other, udp(4, 9, 1)]];
            assert_eq!(found(ArrivalOrder::PerEtherType, &sent, &arrived), []);
        }
    }

    #[test]
    fn a_frame_that_a_nic_may_hash_otherwise_is_no_part_of_a_flow() {
        let change = |at: usize, byte: u8, payload| {
            let mut frame = udp(4, 9, payload);
            frame[at] = byte;
            frame
        };
        let vxlan = |payload| {
            let mut frame = udp(4, 9, payload);
            frame[36..38].copy_from_slice(&8472_u16.to_be_bytes());
            frame
        };
        let cases = [
            // Fragmented, with a wrong checksum, too long, of another protocol, with options.
            [change(20, 0x20, 1), change(20, 0x20, 2)],
            [change(24, 0xee, 1), change(24, 0xee, 2)],
            [change(16, 0xff, 1), change(16, 0xff, 2)],
            [change(23, 1, 1), change(23, 1, 2)],
            [change(14, 0x46, 1), change(14, 0x46, 2)],
            [vxlan(1), vxlan(2)],
            [vec![1; 60], vec![2; 60]],
            [vec![1; 13], vec![2; 13]],
        ];
        for [one, other] in cases {
            let [sent, arrived] = [[one.clone(), other.clone()], [other, one]];
            assert_eq!(found(ArrivalOrder::PerFlow, &sent, &arrived), []);
        }
    }

    #[test]
    fn lost_duplicated_modified_and_foreign_frames_are_not_out_of_order() {
        let found = |sent: &[u8], arrived: &[u8]| {
            found(ArrivalOrder::PerEtherType, &flow_of(sent), &flow_of(arrived))
        };
        // The first 1 is lost, not moved behind the 2.
        assert_eq!(found(&[1, 2, 1, 3], &[2, 1, 3]), []);
        assert_eq!(found(&[1, 2, 3], &[3]), []);
        assert_eq!(found(&[1, 2, 3], &[1, 2, 3, 1]), []);
        assert_eq!(found(&[1, 2, 3], &[77, 1, 88, 3, 77]), []);
        assert_eq!(found(&[1, 2, 3, 4], &[77, 3, 2]), [(2, 1)]);
        assert_eq!(found(&[1, 2, 3], &[]), []);
    }

    #[test]
    fn many_frames_in_reverse_are_found_in_time() {
        let number = |number: u32| [&[2; 14][..], &number.to_be_bytes()].concat();
        let sent: Vec<_> = (0..50_000).map(number).collect();
        let arrived: Vec<_> = sent.iter().rev().cloned().collect();
        let found = found_by("order", |expected, seen| {
            for (frames, to) in [(&sent, &mut expected.frames), (&arrived, &mut seen.frames)] {
                *to = [(Sink::Stack, frames.iter().map(|bytes| (bytes, 1)).collect())].into();
            }
        });
        assert_eq!(found[0].times(Delta::Displaced), 49_999);
    }
}
