//! Frames that came through with other bytes than they were sent with: which came of which, and where they differ.

use std::fmt::Write as _;

use xdproof_scenarios::describe;

use xdproof_core::model::mismatch::Mismatch;

/// Bytes in a row.
const ROW: usize = 16;

/// Rows that are shown of a frame.
const SHOWN_ROWS: usize = 8;

/// Bytes that are shown of a frame that nothing resembles.
const SHOWN_BYTES: usize = 256;

/// Frames of either kind that are held against each other, which takes the product of both.
const COMPARED: usize = 64;

/// A frame that is missing or that nobody sent.
pub(super) struct Stray {
    pub(super) bytes: Vec<u8>,
    pub(super) times: u64,
}

/// Frames that did not come through as they were sent.
pub(super) struct Damage<'a> {
    /// Each missing frame with the unexpected one that came of it, as it seems.
    pub(super) pairs: Vec<(Stray, Stray)>,
    /// The other missing ones.
    pub(super) missing: Vec<Stray>,
    /// The other unexpected ones.
    pub(super) unexpected: Vec<Stray>,
    /// Mismatches whose bytes cannot be read.
    pub(super) unread: Vec<&'a Mismatch>,
}

impl<'a> Damage<'a> {
    /// Puts the frames of mismatches together, each with the nearest; what is not about frames is left out.
    pub(super) fn of(mismatches: &'a [Mismatch]) -> Self {
        let (mut missing, mut unexpected, mut unread) = (Vec::new(), Vec::new(), Vec::new());
        for mismatch in mismatches {
            let (strays, hex, times) = match mismatch {
                Mismatch::Missing { hex, times } => (&mut missing, hex, times),
                Mismatch::Unexpected { hex, times } => (&mut unexpected, hex, times),
                _ => continue,
            };
            match hex::decode(hex) {
                Ok(bytes) => strays.push(Some(Stray { bytes, times: *times })),
                Err(_) => unread.push(mismatch),
            }
        }
        let taken: Vec<_> = pairs(&missing, &unexpected)
            .into_iter()
            .filter_map(|(sent, came)| Some((missing[sent].take()?, unexpected[came].take()?)))
            .collect();
        let rest = |strays: Vec<Option<Stray>>| strays.into_iter().flatten().collect();
        Self { pairs: taken, missing: rest(missing), unexpected: rest(unexpected), unread }
    }
}

/// Writes every missing frame beside the unexpected one that is nearest to it, the differing bytes marked, and the rest of
/// both by themselves.
pub(super) fn write(to: &mut String, mismatches: &[Mismatch]) -> std::fmt::Result {
    let Damage { pairs, missing, unexpected, unread } = Damage::of(mismatches);
    for mismatch in unread {
        writeln!(to, "  {mismatch}")?;
    }
    for (sent, came) in &pairs {
        write_pair(to, sent, came)?;
    }
    for (what, strays) in [("missing", missing), ("unexpected", unexpected)] {
        for Stray { bytes, times } in strays {
            writeln!(to, "  {what} {times} x {}", describe(&bytes))?;
            let shown = bytes.get(..SHOWN_BYTES).unwrap_or(&bytes);
            let rest = if shown.len() < bytes.len() { " ..." } else { "" };
            writeln!(to, "      {}{rest}", hex::encode(shown))?;
        }
    }
    Ok(())
}

/// Which frame came of which, by their indices: the nearest first, each once. What differs in more than half of its bytes
/// came of something else.
fn pairs(missing: &[Option<Stray>], unexpected: &[Option<Stray>]) -> Vec<(usize, usize)> {
    let mut candidates = Vec::new();
    for (sent_index, sent) in missing.iter().enumerate().take(COMPARED) {
        for (came_index, came) in unexpected.iter().enumerate().take(COMPARED) {
            if let (Some(sent), Some(came)) = (sent, came) {
                let distance = marks(&sent.bytes, &came.bytes).distance();
                if 2 * distance <= sent.bytes.len().max(came.bytes.len()) {
                    candidates.push((distance, sent_index, came_index));
                }
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

/// Frames of one length differ byte by byte; of others, all between what they begin with and what they end with differs.
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

fn write_pair(to: &mut String, sent: &Stray, came: &Stray) -> std::fmt::Result {
    let marks = marks(&sent.bytes, &came.bytes);
    for (what, stray) in [("sent", sent), ("came", came)] {
        let Stray { bytes, times } = stray;
        writeln!(to, "  {what} {times} x {} bytes: {}", bytes.len(), describe(bytes))?;
    }
    write_marked(to, "sent", &sent.bytes, &marks.sent)?;
    write_marked(to, "came", &came.bytes, &marks.came)
}

/// The rows of a frame in which bytes are marked, with the marks below them.
fn write_marked(to: &mut String, what: &str, bytes: &[u8], marked: &[usize]) -> std::fmt::Result {
    if marked.is_empty() {
        return writeln!(to, "      {what}  nothing in that place");
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
        writeln!(to, "      and {more} rows more that differ")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex::encode as hex;

    fn text(missing: &[&[u8]], unexpected: &[&[u8]]) -> String {
        let missing = missing.iter().map(|bytes| Mismatch::Missing { hex: hex(bytes), times: 1 });
        let unexpected = unexpected.iter().map(|bytes| Mismatch::Unexpected { hex: hex(bytes), times: 1 });
        let mut text = String::new();
        write(&mut text, &missing.chain(unexpected).collect::<Vec<_>>()).unwrap();
        text
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
        let strays = |bytes: &[u8]| Some(Stray { bytes: bytes.to_vec(), times: 1 });
        let pairs = pairs(&[strays(&one), strays(&other)], &[strays(&damaged_other), strays(&damaged_one)]);
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
