//! Captures: files in both formats, both byte orders, gzipped or not, everything that is rejected, and the scenarios of a capture.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::io::Write as _;

use xdproof_scenarios::Hex;
use xdproof_scenarios::capture::scenarios;
use xdproof_scenarios::capture_file::{self, Capture, CaptureCut, CaptureError, write};

/// The frames of a capture.
fn read(file: &[u8]) -> Result<Vec<Vec<u8>>, CaptureError> {
    capture(file).map(|capture| capture.frames)
}

fn capture(file: &[u8]) -> Result<Capture, CaptureError> {
    capture_file::read(file)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_gzipped_capture_is_read_and_of_a_cut_one_the_whole_packets() {
    // Bytes that cannot be compressed, so that cutting the file cuts packets.
    let frames: Vec<Vec<u8>> = (1..=20_u32)
        .map(|frame| {
            (0..500_u32).map(|at| ((frame.pow(3) * (at + 7).pow(2)) >> 5).to_be_bytes()[3]).collect()
        })
        .collect();
    let mut file = Vec::new();
    write(&mut file, frames.iter().map(Vec::as_slice)).unwrap();
    let gzipped = gzip(&file);
    assert_eq!(capture(&gzipped).unwrap(), capture(&file).unwrap());
    let mut numbers = Vec::new();
    for length in (2..gzipped.len()).step_by(17) {
        match capture(&gzipped[..length]) {
            Ok(cut) => {
                assert_eq!(cut.frames, frames[..cut.frames.len()], "{length}");
                numbers.push(cut.frames.len());
            }
            // Nothing is decompressed so far.
            Err(CaptureError::Magic { magic: 0 } | CaptureError::Short { .. }) => assert!(numbers.is_empty()),
            Err(other) => panic!("{length}: {other}"),
        }
    }
    assert!(numbers.is_sorted() && numbers.first() < Some(&9) && numbers.last() >= Some(&18), "{numbers:?}");
    let mut damaged = gzipped;
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x55;
    assert!(capture(&damaged).is_err());
}

#[test]
fn other_files_are_rejected_gzipped_or_not() {
    let other = b"\x0a\x0d\x0a\x0d....";
    assert_eq!(read(other), Err(CaptureError::Magic { magic: 0x0a0d_0a0d }));
    assert_eq!(read(&gzip(other)), Err(CaptureError::Magic { magic: 0x0a0d_0a0d }));
    assert_eq!(read(&gzip(&gzip(other))), Err(CaptureError::Magic { magic: 0x1f8b_0800 }));
    for short in [&b""[..], b"abc"] {
        assert_eq!(read(short), Err(CaptureError::Magic { magic: 0 }));
    }
}

#[test]
fn errors_name_the_link_type_and_the_fix() {
    let text = |link_type| CaptureError::LinkType { link_type }.to_string();
    assert!(text(113).starts_with("link type is LINUX_SLL (113), not Ethernet (1); capture on one"));
    assert!(text(276).contains("LINUX_SLL2 (276)") && text(101).contains("RAW (101)"));
    assert!(text(113).ends_with("(`tcpdump -i eth0`), not on `any`"));
    assert!(text(101).contains("WireGuard") && text(127).contains("monitor mode"));
    let magic = |magic| CaptureError::Magic { magic }.to_string();
    assert!(magic(0x28b5_2ffd).ends_with("it is compressed by zstd (`zstd -d`)"));
    assert!(magic(0x425a_6839).contains("bzip2") && magic(7).ends_with("begins with 0x00000007"));
}

const FILE_HEADER: usize = 24;

fn file(frames: &[&[u8]]) -> Vec<u8> {
    let mut file = Vec::new();
    write(&mut file, frames.iter().copied()).unwrap();
    file
}

#[test]
fn frames_are_read_as_they_were_written() {
    let frames: [&[u8]; 3] = [&[1; 60], &[], &[0xff; 1514]];
    assert_eq!(read(&file(&frames)).unwrap(), frames);
}

#[test]
fn a_written_file_has_the_bytes_of_the_format() {
    let expected = "d4c3b2a1 0200 0400 00000000 00000000 00000400 01000000
         00000000 00000000 02000000 02000000 abcd";
    assert_eq!(file(&[&[0xab, 0xcd]]), expected.parse::<Hex>().unwrap().0);
}

#[test]
fn a_big_endian_file_with_nanoseconds_is_read() {
    let text =
        "a1b23c4d 0002 0004 00000000 00000000 00040000 00000001  00000000 00000000 00000001 00000001 ee";
    assert_eq!(read(&text.parse::<Hex>().unwrap().0).unwrap(), [[0xee]]);
}

#[test]
fn of_a_file_that_ends_early_the_whole_packets_are_taken_and_a_note_says_so() {
    let whole = file(&[&[7; 20], &[8; 20]]);
    let second = FILE_HEADER + 16 + 20;
    for length in 0..whole.len() {
        let read = capture(&whole[..length]);
        if length < FILE_HEADER {
            assert!(read.is_err(), "{length}");
            continue;
        }
        let read = read.unwrap();
        // The file header alone is a file of no frames.
        let is_whole = [FILE_HEADER, second].contains(&length);
        assert_eq!(
            (read.frames.len(), read.cut.is_none()),
            (usize::from(length >= second), is_whole),
            "{length}"
        );
    }
    let cut = capture(&whole[..second + 16]).unwrap();
    let (offset, length) = (second as u64, second as u64 + 16);
    assert_eq!(cut.cut, Some(CaptureCut { offset, length }));
    assert_eq!(
        cut.notes(),
        [
            "the file ends at byte 76, within what starts at byte 60; the first 1 packets are whole and are used"
        ]
    );
}

#[test]
fn the_fcs_is_left_out_where_the_header_says_that_there_is_one() {
    // 4 bytes, or 2 words of 2 bytes, and the bit that says so.
    for mark in [0x44, 0x24] {
        let mut with_fcs = file(&[&[1; 64], &[2; 18]]);
        with_fcs[23] = mark;
        let read = capture(&with_fcs).unwrap();
        assert_eq!(read.frames, [vec![1; 60], vec![2; 14]]);
        assert_eq!(read.notes(), ["2 of 2 frames end in an FCS, which is left out"]);
    }
    let mut without = file(&[&[1; 64]]);
    without[23] = 0x04;
    assert_eq!(capture(&without).unwrap().frames, [vec![1; 64]]);
    let mut other = file(&[&[1; 64]]);
    other[23] = 0x14;
    assert_eq!(read(&other), Err(CaptureError::Fcs));
    let mut short = file(&[&[1; 3]]);
    short[23] = 0x24;
    assert_eq!(read(&short), Err(CaptureError::ShorterThanFcs { packet: 1, length: 3 }));
}

#[test]
fn a_frame_of_which_only_the_fcs_is_missing_is_whole() {
    let mut snapped = file(&[&[1; 62]]);
    snapped[23] = 0x44;
    snapped[FILE_HEADER + 12] = 64;
    assert_eq!(read(&snapped).unwrap(), [vec![1; 60]]);
    snapped[FILE_HEADER + 12] = 67;
    assert_eq!(read(&snapped), Err(CaptureError::Cut { packet: 1, captured: 62, length: 67 }));
}

#[test]
fn another_link_type_and_a_cut_frame_are_rejected() {
    let mut raw_ip = file(&[]);
    raw_ip[20] = 101;
    assert_eq!(read(&raw_ip), Err(CaptureError::LinkType { link_type: 101 }));
    let mut cut = file(&[&[0; 14]]);
    cut[FILE_HEADER + 12] = 60;
    assert_eq!(read(&cut), Err(CaptureError::Cut { packet: 1, captured: 14, length: 60 }));
}

const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const SECTION: u32 = 0x0a0d_0d0a;
const OBSOLETE_PACKET: u32 = 2;
const ENHANCED_PACKET: u32 = 6;
const SIMPLE_PACKET: u32 = 3;
const STATISTICS: u32 = 5;

/// A block of a type, in a byte order.
fn block(big: bool, kind: u32, body: &[&[u8]]) -> Vec<u8> {
    let mut body = body.concat();
    body.resize(body.len().next_multiple_of(4), 0);
    let length = word(big, u32::try_from(body.len() + 12).unwrap());
    [&word(big, kind)[..], &length, &body, &length].concat()
}

fn word(big: bool, number: u32) -> [u8; 4] {
    if big { number.to_be_bytes() } else { number.to_le_bytes() }
}

fn half(big: bool, number: u16) -> [u8; 2] {
    if big { number.to_be_bytes() } else { number.to_le_bytes() }
}

fn section(big: bool) -> Vec<u8> {
    block(big, SECTION, &[&word(big, BYTE_ORDER), &half(big, 1), &half(big, 0), &[0xff; 8]])
}

fn interface(big: bool, link_type: u16, options: &[u8]) -> Vec<u8> {
    block(big, INTERFACE, &[&half(big, link_type), &[0; 2], &word(big, 0), options])
}

fn packet(big: bool, captured: u32, length: u32, frame: &[u8]) -> Vec<u8> {
    block(big, ENHANCED_PACKET, &[&[0; 12], &word(big, captured), &word(big, length), frame])
}

#[test]
fn frames_are_read_from_every_kind_of_block_in_both_byte_orders() {
    let mut file = Vec::new();
    for big in [false, true] {
        let simple = block(big, SIMPLE_PACKET, &[&word(big, 5), &[3; 5]]);
        let old = block(big, OBSOLETE_PACKET, &[&[0; 12], &word(big, 6), &word(big, 6), &[4; 6]]);
        let statistics = block(big, STATISTICS, &[&[0; 12]]);
        let parts =
            [section(big), interface(big, 1, &[]), packet(big, 14, 14, &[1; 14]), statistics, simple, old];
        file.extend(parts.concat());
    }
    let once = [vec![1; 14], vec![3; 5], vec![4; 6]];
    assert_eq!(read(&file).unwrap(), [once.clone(), once].concat());
}

#[test]
fn cut_frames_and_other_links_are_rejected() {
    let rejected = |parts: &[Vec<u8>]| read(&parts.concat()).unwrap_err();
    let cut = [section(false), interface(false, 1, &[]), packet(false, 14, 60, &[1; 14])];
    assert_eq!(rejected(&cut), CaptureError::Cut { packet: 1, captured: 14, length: 60 });
    let raw_ip = [section(false), interface(false, 101, &[]), packet(false, 1, 1, &[1])];
    assert_eq!(rejected(&raw_ip), CaptureError::LinkType { link_type: 101 });
    let no_interface = [section(false), packet(false, 1, 1, &[1])];
    assert_eq!(rejected(&no_interface), CaptureError::Malformed { offset: 28 });
}

#[test]
fn the_fcs_is_left_out_where_an_interface_or_a_packet_says_that_there_is_one() {
    let option = [13, 0, 1, 0, 4, 0, 0, 0];
    let fcs = [section(false), interface(false, 1, &option), packet(false, 18, 18, &[1; 18])];
    assert_eq!(read(&fcs.concat()).unwrap(), [[1; 14]]);
    let mut flags = [[1; 14].as_slice(), &[9; 4], &[0; 2]].concat();
    flags.extend([2, 0, 4, 0, 4 << 5, 0, 0, 0]);
    let flagged = [section(false), interface(false, 1, &[]), packet(false, 18, 18, &flags)];
    assert_eq!(read(&flagged.concat()).unwrap(), [[1; 14]]);
}

#[test]
fn of_a_file_that_ends_within_a_block_the_whole_packets_are_taken() {
    let parts = [
        section(false),
        interface(false, 1, &[]),
        packet(false, 14, 14, &[1; 14]),
        packet(false, 14, 14, &[2; 14]),
    ];
    let ends: Vec<usize> = (1..=4).map(|blocks| parts[..blocks].concat().len()).collect();
    let whole = parts.concat();
    for length in 1..=whole.len() {
        let read = capture(&whole[..length]);
        let is_whole = ends.contains(&length);
        if length < ends[1] {
            assert_eq!(read.is_ok(), is_whole, "{length}");
            continue;
        }
        let read = read.unwrap();
        let frames = usize::from(length >= ends[2]) + usize::from(length >= ends[3]);
        assert_eq!((read.frames.len(), read.cut.is_none()), (frames, is_whole), "{length}");
    }
}

#[test]
fn an_unknown_byte_order_is_rejected() {
    let mut file = section(false);
    file[8] = 0;
    assert_eq!(read(&file), Err(CaptureError::Malformed { offset: 0 }));
}

#[test]
fn a_block_whose_two_lengths_differ_is_rejected() {
    let mut file = [section(false), interface(false, 1, &[])].concat();
    let last = file.len() - 4;
    file[last] += 4;
    assert_eq!(read(&file), Err(CaptureError::Malformed { offset: 28 }));
}

fn of_lengths(lengths: &[usize]) -> Vec<(String, u64, Option<u32>)> {
    let frames = lengths.iter().map(|length| vec![0; *length]).collect();
    let parts = scenarios("/tmp/My Capture.v2.pcap".as_ref(), frames);
    parts.iter().map(|part| (part.id.to_string(), part.sent(), part.requires.mtu)).collect()
}

#[test]
fn every_frame_is_in_one_scenario_by_what_it_needs() {
    let name = |part: &str| format!("pcap/my_capture_v2{part}");
    assert_eq!(
        of_lengths(&[60, 13, 1_522, 60, 0, 1_523, 3_520, 3_521, 65_549, 65_550, 60]),
        [
            (name(""), 4, None),
            (name("/too_short"), 2, None),
            (name("/long"), 2, Some(3_506)),
            (name("/jumbo"), 2, Some(65_535)),
            (name("/too_long"), 1, Some(65_536)),
        ]
    );
    assert_eq!(of_lengths(&[]), []);
}

#[test]
fn the_expectation_is_the_oracles_and_equal_neighbours_become_repeats() {
    let udp = [&[0; 12][..], &[0x08, 0], &[0; 9], &[17], &[0; 20]].concat();
    let part = &scenarios("x.pcap".as_ref(), vec![udp.clone(), udp.clone(), vec![0; 14], udp])[0];
    assert_eq!(part.frames.iter().map(|frame| frame.repeat).collect::<Vec<_>>(), [2, 1, 1]);
    assert_eq!(part.expect.counts, [(0, 1), (17, 3)].into());
    assert_eq!((part.expect.passed, part.expect.dropped), (4, 0));
}

#[test]
fn a_capture_of_more_packets_than_are_taken_is_rejected() {
    let record = [&[0; 8][..], &[1, 0, 0, 0, 1, 0, 0, 0], &[7]].concat();
    let endless = file(&[]).into_iter().chain(std::iter::repeat_n(record, (1 << 21) + 1).flatten());
    let bytes: Vec<u8> = endless.collect();
    assert_eq!(read(&bytes), Err(CaptureError::TooMany));
}
