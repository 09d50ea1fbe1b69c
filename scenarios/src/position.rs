//! Positions in a text, by line and column.

/// Position in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spot {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// Bytes between two places whose number of characters is known.
const BLOCK: usize = 256;

/// Lines and characters of a text, counted once: a position takes the same time at the end of a long line.
#[derive(Debug)]
pub(crate) struct Positions<'a> {
    text: &'a [u8],
    /// Offsets of the first byte of each line.
    lines: Vec<usize>,
    /// Characters in front of each block.
    characters: Vec<usize>,
}

impl<'a> Positions<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let text = text.as_bytes();
        let breaks = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let lines = std::iter::once(0).chain(breaks.map(|(offset, _)| offset + 1)).collect();
        let mut before = 0;
        let blocks = text.chunks(BLOCK).map(|block| {
            before += count(block);
            before
        });
        let characters = std::iter::once(0).chain(blocks).collect();
        Self { text, lines, characters }
    }

    /// Returns the position of an offset in bytes; one behind the text is at its end.
    pub(crate) fn spot(&self, offset: usize) -> Spot {
        let offset = offset.min(self.text.len());
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
        Spot { line, column: self.before(offset) - self.before(start) + 1 }
    }

    /// Returns the number of characters in front of an offset.
    fn before(&self, offset: usize) -> usize {
        let block = offset / BLOCK;
        let rest = self.text.get(block * BLOCK..offset).unwrap_or_default();
        self.characters.get(block).copied().unwrap_or_default() + count(rest)
    }
}

/// Returns the number of characters that begin in a part of a text.
fn count(part: &[u8]) -> usize {
    part.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_counted_in_lines_and_characters() {
        let text = format!("ä\n\n{}b\nc", "ö".repeat(1000));
        let positions = Positions::new(&text);
        for (offset, character) in text.char_indices() {
            let before = &text[..offset];
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
            assert_eq!(positions.spot(offset), Spot { line, column }, "{character} at {offset}");
        }
        assert_eq!(positions.spot(usize::MAX), Spot { line: 4, column: 2 });
        assert_eq!(Positions::new("").spot(0), Spot { line: 1, column: 1 });
    }
}
