//! `.BTF.ext`: types of functions, source lines and CO-RE relocations, kept for the functions that are loaded.
//!
//! The format is that of `struct btf_ext_header` (libbpf, `src/libbpf_internal.h`): records by the name of their section, the
//! first word of each being the place in the section in bytes.

/// `BTF_MAGIC`, version 1.
const MAGIC: u32 = 0xeb9f | 1 << 16;
/// `struct btf_ext_header` with CO-RE relocations.
const HEADER: u32 = 32;
/// Lists of records: functions, lines, CO-RE relocations.
const LISTS: usize = 3;
/// The least words of a record: `struct bpf_func_info`, `struct bpf_line_info`, `struct bpf_core_relo`.
const LEAST_WORDS: [usize; LISTS] = [2, 4, 4];

/// Records of one section.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OfSection {
    /// A string of the types.
    name: u32,
    records: Vec<Vec<u32>>,
}

/// Everything that a section holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BtfExt {
    lists: [Vec<OfSection>; LISTS],
}

impl BtfExt {
    /// Reads a section; none if it is damaged.
    pub(super) fn parse(section: &[u8]) -> Option<Self> {
        if !section.len().is_multiple_of(4) {
            return None;
        }
        let words: Vec<u32> = section
            .chunks_exact(4)
            .map(|word| word.iter().rev().fold(0, |sum, &byte| sum << 8 | u32::from(byte)))
            .collect();
        let header = word_count(*words.get(1)?)?;
        if words.first()? & 0xffff != MAGIC & 0xffff {
            return None;
        }
        let mut ext = Self::default();
        for (index, list) in ext.lists.iter_mut().enumerate() {
            let place = 2 + 2 * index;
            // CO-RE relocations came later.
            if place + 1 >= header {
                continue;
            }
            let start = header.checked_add(word_count(*words.get(place)?)?)?;
            let end = start.checked_add(word_count(*words.get(place + 1)?)?)?;
            *list = read_list(words.get(start..end)?, LEAST_WORDS[index])?;
        }
        Some(ext)
    }

    /// Keeps the records that `wanted` wants, by the name of their section and their place in it, and gives the sections new
    /// names.
    pub(super) fn keep(&mut self, mut wanted: impl FnMut(u32, u32) -> Option<u32>) {
        for list in &mut self.lists {
            for section in list.iter_mut() {
                let old = section.name;
                section.records.retain(|record| match wanted(old, record[0]) {
                    Some(name) => {
                        section.name = name;
                        true
                    }
                    None => false,
                });
            }
            list.retain(|section| !section.records.is_empty());
        }
    }

    /// Returns whether there are CO-RE relocations.
    pub(super) fn relocates(&self) -> bool {
        !self.lists[2].is_empty()
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let (mut header, mut words) = (vec![MAGIC, HEADER], Vec::new());
        for list in &self.lists {
            let start = words.len();
            if let Some(length) = list.first().map(|section| section.records[0].len()) {
                words.push(bytes_of(length));
            }
            for OfSection { name, records } in list {
                words.extend([*name, u32::try_from(records.len()).unwrap_or_default()]);
                words.extend(records.concat());
            }
            header.extend([bytes_of(start), bytes_of(words.len() - start)]);
        }
        header.into_iter().chain(words).flat_map(u32::to_le_bytes).collect()
    }
}

fn word_count(bytes: u32) -> Option<usize> {
    bytes.is_multiple_of(4).then_some(bytes as usize / 4)
}

fn bytes_of(words: usize) -> u32 {
    u32::try_from(4 * words).unwrap_or_default()
}

fn read_list(words: &[u32], least: usize) -> Option<Vec<OfSection>> {
    let Some((&length, mut rest)) = words.split_first() else { return Some(Vec::new()) };
    let length = word_count(length)?;
    if length < least {
        return None;
    }
    let mut sections = Vec::new();
    while let [name, count, behind @ ..] = rest {
        let (records, behind) = behind.split_at_checked((*count as usize).checked_mul(length)?)?;
        // A record may be longer than what is known of it.
        let records = records.chunks_exact(length).map(|record| record[..least].to_vec()).collect();
        sections.push(OfSection { name: *name, records });
        rest = behind;
    }
    rest.is_empty().then_some(sections)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ext() -> BtfExt {
        let functions = OfSection { name: 5, records: vec![vec![0, 1], vec![80, 2]] };
        let lines = OfSection { name: 5, records: vec![vec![0, 1, 2, 3], vec![88, 1, 2, 3]] };
        let other = OfSection { name: 9, records: vec![vec![0, 7]] };
        BtfExt { lists: [vec![functions, other], vec![lines], Vec::new()] }
    }

    #[test]
    fn records_are_written_as_they_were_read() {
        assert_eq!(BtfExt::parse(&ext().to_bytes()), Some(ext()));
        assert!(!ext().relocates());
    }

    #[test]
    fn only_the_records_of_wanted_functions_are_kept_under_the_new_name() {
        let mut kept = ext();
        kept.keep(|section, place| (section == 5 && place >= 80).then_some(20));
        let [functions, lines, relocations] = &kept.lists;
        assert_eq!(functions, &[OfSection { name: 20, records: vec![vec![80, 2]] }]);
        assert_eq!(lines, &[OfSection { name: 20, records: vec![vec![88, 1, 2, 3]] }]);
        assert!(relocations.is_empty());
    }

    #[test]
    fn a_damaged_section_is_not_read() {
        let whole = ext().to_bytes();
        for length in 0..whole.len() {
            assert_eq!(BtfExt::parse(&whole[..length]), None, "{length} bytes");
        }
        for place in [0, 4, 12, 20] {
            let mut damaged = whole.clone();
            damaged[place + 1] = 0xff;
            assert_eq!(BtfExt::parse(&damaged), None, "byte {place}");
        }
    }
}
