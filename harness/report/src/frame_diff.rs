//! Frames that arrived with other bytes than they were sent with: pairs of a missing and an unexpected frame, and the bytes that differ.

use std::fmt::Write as _;

use xdproof_scenarios::describe;

use xdproof_core::model::{Delta, FrameDelta, Mismatch};

use crate::terminal_style::{shown, wrapped};

/// Bytes in a row.
const ROW: usize = 16;

/// Rows that are shown of a frame.
const SHOWN_ROWS: usize = 8;

/// Bytes that are shown of a frame that resembles no other.
const SHOWN_BYTES: usize = 256;

/// Pairs, and frames that resemble no other, that are shown of a mismatch.
const SHOWN_FRAMES: usize = 4;

/// Frames of either kind that are compared with each other, which takes the product of both.
const COMPARED: usize = 64;

/// The frames of a mismatch, those that resemble each other in pairs.
pub(super) struct FrameDiff<'a> {
    /// Each missing frame with the unexpected one that it probably became.
    pub(super) pairs: Vec<(&'a FrameDelta, &'a FrameDelta)>,
    /// All others.
    pub(super) rest: Vec<&'a FrameDelta>,
}

impl<'a> FrameDiff<'a> {
    /// Pairs each missing frame with the unexpected one that is nearest to it.
    pub(super) fn of(frames: &'a [FrameDelta]) -> Self {
        let of_kind = |delta| frames.iter().filter(move |frame| frame.delta == delta).collect::<Vec<_>>();
        let (missing, unexpected) = (of_kind(Delta::Missing), of_kind(Delta::Unexpected));
        let pairs: Vec<_> = pairs(&missing, &unexpected)
            .into_iter()
            .map(|(sent, came)| (missing[sent], unexpected[came]))
            .collect();
        let is_paired = |frame: &FrameDelta| {
            pairs.iter().any(|(sent, came)| std::ptr::eq(*sent, frame) || std::ptr::eq(*came, frame))
        };
        let rest = frames.iter().filter(|frame| !is_paired(frame)).collect();
        Self { pairs, rest }
    }
}

/// Writes each mismatch on a line, and its first frames below it: pairs with the differing bytes marked, then the rest.
pub(super) fn write(to: &mut String, mismatches: &[Mismatch]) -> std::fmt::Result {
    for mismatch in mismatches {
        writeln!(to, "  {}", wrapped(&shown(&mismatch.to_string()), 2, 4))?;
        let FrameDiff { pairs, rest } = FrameDiff::of(&mismatch.frames);
        for (sent, came) in pairs.iter().take(SHOWN_FRAMES) {
            write_pair(to, sent, came)?;
        }
        for FrameDelta { delta, bytes, times } in rest.iter().take(SHOWN_FRAMES) {
            let frame = format!("{} {times} x {}", delta.name(), describe(bytes));
            writeln!(to, "  {}", wrapped(&frame, 2, 6))?;
            let shown = bytes.get(..SHOWN_BYTES).unwrap_or(bytes);
            let rest = if shown.len() < bytes.len() { " ..." } else { "" };
            writeln!(to, "      {}{rest}", hex::encode(shown))?;
        }
        let hidden = 2 * pairs.len().saturating_sub(SHOWN_FRAMES) + rest.len().saturating_sub(SHOWN_FRAMES);
        let more = mismatch.distinct_omitted().saturating_add(hidden as u64);
        if more > 0 {
            writeln!(to, "  and {more} more distinct frames")?;
        }
    }
    Ok(())
}

/// Pairs of frames by their indices: the nearest first, each frame once. Frames that differ in more than half of their bytes are no pair.
fn pairs(missing: &[&FrameDelta], unexpected: &[&FrameDelta]) -> Vec<(usize, usize)> {
    let mut candidates = Vec::new();
    for (sent_index, sent) in missing.iter().enumerate().take(COMPARED) {
        for (came_index, came) in unexpected.iter().enumerate().take(COMPARED) {
            let distance = marks(&sent.bytes, &came.bytes).distance();
            if 2 * distance <= sent.bytes.len().max(came.bytes.len()) {
                candidates.push((distance, sent_index, came_index));
            }
        }
    }
    candidates.sort_unstable();
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    for (_, sent, came) in candidates {
        if pairs.iter().all(|pair| pair.0 != sent && pair.1 != came) {
            pairs.push((sent, came));
        }
    }
    pairs
}

/// The bytes, by their indices, in which two frames differ.
pub(super) struct Marks {
    pub(super) sent: Vec<usize>,
    pub(super) came: Vec<usize>,
}

impl Marks {
    fn distance(&self) -> usize {
        self.sent.len().max(self.came.len())
    }
}

/// Frames of one length are compared byte by byte; of others, everything between their common head and their common tail differs.
pub(super) fn marks(sent: &[u8], came: &[u8]) -> Marks {
    if sent.len() == came.len() {
        let differing: Vec<usize> = (0..sent.len()).filter(|&at| sent[at] != came[at]).collect();
        return Marks { came: differing.clone(), sent: differing };
    }
    let shorter = sent.len().min(came.len());
    let begin = sent.iter().zip(came).take_while(|(sent, came)| sent == came).count();
    let same_end = sent.iter().rev().zip(came.iter().rev()).take_while(|(sent, came)| sent == came).count();
    let end = same_end.min(shorter - begin);
    Marks { sent: (begin..sent.len() - end).collect(), came: (begin..came.len() - end).collect() }
}

fn write_pair(to: &mut String, sent: &FrameDelta, came: &FrameDelta) -> std::fmt::Result {
    let marks = marks(&sent.bytes, &came.bytes);
    for (what, FrameDelta { bytes, times, .. }) in [("sent", sent), ("got", came)] {
        let frame = format!("{what} {times} x {} bytes: {}", bytes.len(), describe(bytes));
        writeln!(to, "  {}", wrapped(&frame, 2, 6))?;
    }
    write_marked(to, "sent", &sent.bytes, &marks.sent)?;
    write_marked(to, " got", &came.bytes, &marks.came)
}

/// The rows of a frame in which bytes are marked, with the marks below them.
fn write_marked(to: &mut String, what: &str, bytes: &[u8], marked: &[usize]) -> std::fmt::Result {
    if marked.is_empty() {
        return writeln!(to, "      {what}  nothing there");
    }
    let mut rows: Vec<usize> = marked.iter().map(|at| at / ROW).collect();
    rows.dedup();
    for row in rows.iter().take(SHOWN_ROWS) {
        let (mut line, mut below) = (String::new(), String::new());
        for (at, byte) in bytes.iter().enumerate().skip(row * ROW).take(ROW) {
            write!(line, " {byte:02x}")?;
            below.push_str(if marked.binary_search(&at).is_ok() { " ^^" } else { "   " });
        }
        writeln!(to, "      {what} {:>5} {line}", row * ROW)?;
        writeln!(to, "                 {}", below.trim_end())?;
    }
    if let Some(more @ 1..) = rows.len().checked_sub(SHOWN_ROWS) {
        writeln!(to, "      and {more} more rows that differ")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use xdproof_core::model::{CheckId, FaultClass};

    fn frame(delta: Delta, bytes: &[u8]) -> FrameDelta {
        FrameDelta { delta, bytes: bytes.to_vec(), times: 1 }
    }

    fn text(missing: &[&[u8]], unexpected: &[&[u8]]) -> String {
        let missing = missing.iter().map(|bytes| frame(Delta::Missing, bytes));
        let unexpected = unexpected.iter().map(|bytes| frame(Delta::Unexpected, bytes));
        let frames = missing.chain(unexpected).collect();
        let check = CheckId::new("sinks");
        let mismatch = Mismatch::new(check, FaultClass::ModifiedInTransit, "frames at the stack", 3, 3);
        let mut text = String::new();
        write(&mut text, &[Mismatch { frames, ..mismatch }]).unwrap();
        text
    }

    #[test]
    fn a_mismatch_without_frames_is_a_line() {
        let check = CheckId::new("a check that this crate knows nothing of");
        let mut text = String::new();
        write(&mut text, &[Mismatch::new(check, FaultClass::Reordered, "the subject", "this", "that")])
            .unwrap();
        assert_eq!(text, "  the subject: expected this, got that\n");
    }

    #[test]
    fn a_frame_that_is_out_of_order_is_paired_with_none() {
        let frames = [frame(Delta::Displaced, &[7; 60]), frame(Delta::Missing, &[7; 60])];
        let FrameDiff { pairs, rest } = FrameDiff::of(&frames);
        assert_eq!((pairs.len(), rest.len()), (0, 2));
    }

    #[test]
    fn the_first_frames_are_shown_and_the_others_are_counted() {
        let sent: Vec<[u8; 60]> = (0..10).map(|byte| [byte; 60]).collect();
        let sent: Vec<&[u8]> = sent.iter().map(<[u8; 60]>::as_slice).collect();
        let lost = text(&sent, &[]);
        assert_eq!(lost.matches("missing 1 x").count(), SHOWN_FRAMES, "{lost}");
        assert!(lost.ends_with("  and 6 more distinct frames\n"), "{lost}");
        let short: Vec<&[u8]> = sent.iter().map(|frame| &frame[..56]).collect();
        let cut = text(&sent, &short);
        assert_eq!(cut.matches("sent 1 x").count(), SHOWN_FRAMES, "{cut}");
        assert!(cut.ends_with("  and 12 more distinct frames\n"), "{cut}");
    }

    #[test]
    fn a_damaged_byte_is_marked_below_it() {
        let sent = [7; 60];
        let mut came = sent;
        came[17] = 0xab;
        let text = text(&[&sent], &[&came]);
        let row = text.lines().position(|line| line.contains("07 ab 07")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[row].find("ab"), lines[row + 1].find("^^"), "{text}");
        assert_eq!(text.matches('^').count(), 4, "one mark in what was sent, one in what came\n{text}");
    }

    #[test]
    fn each_missing_frame_is_paired_with_the_one_that_is_nearest() {
        let (one, other) = ([1; 60], [2; 60]);
        let (mut damaged_one, mut damaged_other) = (one, other);
        damaged_one[0] = 9;
        damaged_other[0] = 9;
        let missing = [&one, &other].map(|bytes| frame(Delta::Missing, bytes));
        let unexpected = [&damaged_other, &damaged_one].map(|bytes| frame(Delta::Unexpected, bytes));
        let pairs = pairs(&missing.each_ref(), &unexpected.each_ref());
        assert_eq!(pairs, [(0, 1), (1, 0)]);
    }

    #[test]
    fn what_resembles_nothing_stands_by_itself() {
        let text = text(&[&[1; 60]], &[&[2; 60]]);
        assert!(
            text.contains("missing 1 x") && text.contains("unexpected 1 x") && !text.contains('^'),
            "{text}"
        );
    }

    #[test]
    fn a_tag_that_was_taken_out_is_marked_where_it_was() {
        let came: Vec<u8> = (0..60).collect();
        let mut sent = came.clone();
        sent.splice(12..12, [0x81, 0, 0, 0x64]);
        let marks = marks(&sent, &came);
        assert_eq!((marks.sent, marks.came), ((12..16).collect(), vec![]));
    }

    #[test]
    fn a_byte_that_was_cut_off_is_marked() {
        let marks = marks(&[5; 60], &[5; 59]);
        assert_eq!((marks.sent, marks.came), (vec![59], vec![]));
    }
}
