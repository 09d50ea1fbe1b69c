//! Section names of objects from before libbpf 1.0, which took every section whose name begins with `xdp` for an XDP program:
//! the kernel's own samples say `SEC("xdp1")`. aya accepts the names of libbpf 1.0 only.
//!
//! Promises: nothing but the names of such sections changes, and nothing at all in a file that cannot be parsed.

use std::ops::Range;

/// `SHT_PROGBITS` and `SHF_EXECINSTR` (include/uapi/linux/elf.h): a section of instructions.
const PROGBITS: u64 = 1;
const EXECUTABLE: u64 = 4;

/// First bytes of a 64-bit little-endian ELF file: the magic, `ELFCLASS64`, `ELFDATA2LSB`.
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

/// Returns the object with the section names that libbpf 1.0 has for its XDP programs.
pub(super) fn modernize(object: Vec<u8>) -> Vec<u8> {
    renamed(&object).unwrap_or(object)
}

/// Returns the name that libbpf 1.0 has for a section, if it differs.
fn modern_name(name: &str) -> Option<&'static str> {
    let kind = if name.starts_with("xdp.frags") { "xdp.frags" } else { "xdp" };
    let rest = name.strip_prefix(kind)?;
    // A program for a devmap or cpumap is not attached to a device.
    let not_for_a_device = rest.contains("devmap") || rest.contains("cpumap");
    (!rest.is_empty() && !not_for_a_device).then_some(kind)
}

/// Returns the object with new names, or none where no section needs one. The string table moves to the end of the file with
/// the new names appended, because sections may share parts of a name.
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
        if let (true, Some(modern)) = (is_program, modern_name(str::from_utf8(name).ok()?)) {
            changes.push((header + NAME.start, u32::try_from(names.len()).ok()?.to_le_bytes().to_vec()));
            names.extend(modern.bytes().chain([0]));
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

/// Reads a little-endian number; none beyond 32 bits, which no object reaches.
fn number(bytes: &[u8], at: Range<usize>) -> Option<usize> {
    let number = bytes.get(at)?.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    usize::try_from(u32::try_from(number).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_from_before_libbpf_1_are_changed() {
        for (name, modern) in [
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
            assert_eq!(modern_name(name), modern, "{name}");
        }
    }

    #[test]
    fn a_file_that_is_no_object_or_a_broken_one_stays_as_it_is() {
        let mut broken = vec![0xff; 64];
        broken[..6].copy_from_slice(&MAGIC);
        for file in [vec![], b"text".to_vec(), MAGIC.to_vec(), broken] {
            assert_eq!(modernize(file.clone()), file);
        }
    }
}
