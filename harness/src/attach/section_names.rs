//! Section names of objects from before libbpf 1.0, which took every section whose name begins with `xdp` for an XDP program:
//! the kernel's own samples say `SEC("xdp1")`. aya wants today's names.
//!
//! It promises to change nothing but the names of such sections, and nothing at all in a file that it does not understand.

use std::ops::Range;

/// `SHT_PROGBITS` and `SHF_EXECINSTR` (include/uapi/linux/elf.h): a section of instructions.
const PROGBITS: u64 = 1;
const EXECUTABLE: u64 = 4;

/// What a 64-bit little-endian ELF file begins with: the magic, `ELFCLASS64`, `ELFDATA2LSB`.
const MAGIC: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];

/// Fields of `Elf64_Ehdr`.
const SECTIONS_AT: Range<usize> = 0x28..0x30;
const SECTION_HEADER_LENGTH: Range<usize> = 0x3a..0x3c;
const SECTION_COUNT: Range<usize> = 0x3c..0x3e;
const NAMES_INDEX: Range<usize> = 0x3e..0x40;

/// Fields of `Elf64_Shdr`.
const NAME: Range<usize> = 0..4;
const TYPE: Range<usize> = 4..8;
const FLAGS: Range<usize> = 8..16;
const OFFSET: Range<usize> = 0x18..0x20;
const SIZE: Range<usize> = 0x20..0x28;

/// The object with today's names for its XDP sections.
pub(super) fn with_todays_names(object: Vec<u8>) -> Vec<u8> {
    renamed(&object).unwrap_or(object)
}

/// The name that a section has to have today, if it has another.
fn todays_name(name: &str) -> Option<&'static str> {
    let kind = if name.starts_with("xdp.frags") { "xdp.frags" } else { "xdp" };
    let rest = name.strip_prefix(kind)?;
    // A program for a map of devices or CPUs is none for a device, then and now.
    let not_for_a_device = rest.contains("devmap") || rest.contains("cpumap");
    (!rest.is_empty() && !not_for_a_device).then_some(kind)
}

/// None where nothing is to be renamed. The table of names is put at the end of the file, with today's names behind it: a
/// name in its place may be part of another one.
fn renamed(object: &[u8]) -> Option<Vec<u8>> {
    object.strip_prefix(&MAGIC)?;
    let header = number(object, SECTIONS_AT)?;
    let length = number(object, SECTION_HEADER_LENGTH)?;
    let headers: Vec<usize> =
        (0..number(object, SECTION_COUNT)?).map(|index| header + index * length).collect();
    let field = |header: usize, field: Range<usize>| number(object, header + field.start..header + field.end);
    let table = *headers.get(number(object, NAMES_INDEX)?)?;
    let start = field(table, OFFSET)?;
    let mut names = object.get(start..start.checked_add(field(table, SIZE)?)?)?.to_vec();
    let mut changes = Vec::new();
    for &header in &headers {
        let is_program =
            field(header, TYPE)? as u64 == PROGBITS && field(header, FLAGS)? as u64 & EXECUTABLE != 0;
        let name = names.get(field(header, NAME)?..)?.split(|byte| *byte == 0).next()?;
        if let (true, Some(today)) = (is_program, todays_name(str::from_utf8(name).ok()?)) {
            changes.push((header + NAME.start, u32::try_from(names.len()).ok()?.to_le_bytes().to_vec()));
            names.extend(today.bytes().chain([0]));
        }
    }
    if changes.is_empty() {
        return None;
    }
    let mut changed = object.to_vec();
    changes.push((table + OFFSET.start, changed.len().to_le_bytes().to_vec()));
    changes.push((table + SIZE.start, names.len().to_le_bytes().to_vec()));
    changed.extend(names);
    for (at, bytes) in changes {
        changed.get_mut(at..at + bytes.len())?.copy_from_slice(&bytes);
    }
    Some(changed)
}

/// A little-endian number; none beyond 32 bits, where no object has anything.
fn number(bytes: &[u8], at: Range<usize>) -> Option<usize> {
    let number = bytes.get(at)?.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    usize::try_from(u32::try_from(number).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_are_not_todays_are_changed() {
        for (name, today) in [
            ("xdp1", Some("xdp")),
            ("xdp_prog", Some("xdp")),
            ("xdp/mine", Some("xdp")),
            ("xdp.frags/mine", Some("xdp.frags")),
            ("xdp", None),
            ("xdp.frags", None),
            ("xdp/devmap", None),
            ("xdp_cpumap/mine", None),
            ("tc", None),
            (".text", None),
            ("maps", None),
        ] {
            assert_eq!(todays_name(name), today, "{name}");
        }
    }

    #[test]
    fn a_file_that_is_no_object_or_a_broken_one_stays_as_it_is() {
        let mut broken = vec![0xff; 64];
        broken[..6].copy_from_slice(&MAGIC);
        for file in [vec![], b"text".to_vec(), MAGIC.to_vec(), broken] {
            assert_eq!(with_todays_names(file.clone()), file);
        }
    }
}
