//! The sections, symbols and relocations of an object file, checked once: nothing behind this reads outside a section.

use std::ops::Range;

use object::{
    Endianness, SectionIndex, elf,
    read::elf::{FileHeader as _, SectionHeader as _, SectionTable, Sym as _},
};

/// Bytes of an instruction (`struct bpf_insn`).
pub(super) const INSTRUCTION: u64 = 8;

/// The most bytes of a section without contents (`.bss`): the kernel's limit for a map's value is below
/// (`KMALLOC_MAX_SIZE` in `array_map_alloc_check()` of `kernel/bpf/arraymap.c`, 4 MiB).
const MOST_ZEROS: u64 = 64 << 20;

/// The most sections and symbols that are read: large objects have some hundreds and some ten thousands.
const MOST_SECTIONS: usize = 4096;
const MOST_SYMBOLS: usize = 1 << 18;

/// `e_machine` of BPF (`include/uapi/linux/elf-em.h`).
const EM_BPF: u16 = 247;

type Header = elf::FileHeader64<Endianness>;

/// An object file that is damaged, or that is no BPF object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElfProblem {
    #[error("it is not a BPF object (no ELF file of 64 bits)")]
    NotElf,
    #[error("it is for another machine (ELF machine {machine}); build it with `-target bpf`")]
    Machine { machine: u16 },
    #[error("it is for a big-endian machine; build it with `-target bpfel`")]
    BigEndian,
    #[error("it has {count} {what}; at most {most} are read")]
    TooMany { what: &'static str, count: usize, most: usize },
    #[error("it is damaged: {what}")]
    Damaged { what: String },
}

fn damaged(what: impl Into<String>) -> ElfProblem {
    ElfProblem::Damaged { what: what.into() }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contents {
    /// Instructions.
    Code,
    Data,
    /// No contents in the file: zeros.
    Zeros,
    /// Symbols, relocations, debug information.
    Other,
}

#[derive(Clone, Debug)]
pub(super) struct Section<'d> {
    pub(super) name: &'d str,
    pub(super) contents: Contents,
    /// Empty for [`Contents::Zeros`].
    pub(super) data: &'d [u8],
    pub(super) size: u64,
    /// Sorted by their offset.
    pub(super) relocations: Vec<Relocation>,
}

impl<'d> Section<'d> {
    /// Returns bytes of the section, if it has them.
    pub(super) fn bytes(&self, place: Range<u64>) -> Option<&'d [u8]> {
        self.data.get(usize::try_from(place.start).ok()?..usize::try_from(place.end).ok()?)
    }
}

/// A place that refers to a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Relocation {
    /// In bytes from the start of the section.
    pub(super) offset: u64,
    /// Index of a symbol.
    pub(super) symbol: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SymbolKind {
    Function,
    Section,
    Other,
}

#[derive(Clone, Debug)]
pub(super) struct Symbol<'d> {
    pub(super) name: &'d str,
    pub(super) kind: SymbolKind,
    /// None for an extern symbol.
    pub(super) section: Option<usize>,
    /// In bytes from the start of the section.
    pub(super) address: u64,
    pub(super) size: u64,
    pub(super) is_local: bool,
    pub(super) is_weak: bool,
}

/// An object file: sections and symbols by the index that they have in it.
#[derive(Clone, Debug)]
pub(super) struct Elf<'d> {
    pub(super) sections: Vec<Section<'d>>,
    pub(super) symbols: Vec<Symbol<'d>>,
}

impl<'d> Elf<'d> {
    pub(super) fn parse(file: &'d [u8]) -> Result<Self, ElfProblem> {
        let header = Header::parse(file).map_err(|_| ElfProblem::NotElf)?;
        let endian = header.endian().map_err(|_| ElfProblem::NotElf)?;
        if endian == Endianness::Big {
            return Err(ElfProblem::BigEndian);
        }
        let machine = header.e_machine.get(endian);
        // LLVM before 4.0 wrote no machine.
        if ![EM_BPF, elf::EM_NONE].contains(&machine) {
            return Err(ElfProblem::Machine { machine });
        }
        let table =
            header.sections(endian, file).map_err(|error| damaged(format!("its sections: {error}")))?;
        let mut sections = sections(&table, endian, file)?;
        let symbols = symbols(&table, endian, file, &sections)?;
        relocations(&table, endian, file, symbols.len(), &mut sections)?;
        Ok(Self { sections, symbols })
    }

    /// Returns the section of this name, with its index.
    pub(super) fn section(&self, name: &str) -> Option<(usize, &Section<'d>)> {
        self.sections.iter().enumerate().find(|(_, section)| section.name == name)
    }

    /// Returns the named symbols of a section, as they lie in it.
    pub(super) fn symbols_of(&self, section: usize) -> Vec<&Symbol<'d>> {
        let is_in = |symbol: &&Symbol<'_>| {
            symbol.section == Some(section) && symbol.kind != SymbolKind::Section && !symbol.name.is_empty()
        };
        let mut symbols: Vec<_> = self.symbols.iter().filter(is_in).collect();
        symbols.sort_by_key(|symbol| symbol.address);
        symbols
    }
}

/// Returns a name that can be shown on a terminal.
fn readable(name: &[u8]) -> Option<&str> {
    str::from_utf8(name).ok().filter(|name| !name.contains(char::is_control))
}

fn sections<'d>(
    table: &SectionTable<'d, Header>,
    endian: Endianness,
    file: &'d [u8],
) -> Result<Vec<Section<'d>>, ElfProblem> {
    if table.len() > MOST_SECTIONS {
        return Err(ElfProblem::TooMany { what: "sections", count: table.len(), most: MOST_SECTIONS });
    }
    let mut sections = Vec::new();
    for (index, header) in table.iter().enumerate() {
        let name = table.section_name(endian, header).map_err(|error| damaged(format!("{error}")))?;
        let name = readable(name).ok_or_else(|| damaged(format!("the name of section {index}")))?;
        let size = header.sh_size.get(endian);
        let contents = match (header.sh_type.get(endian), header.sh_flags.get(endian)) {
            (elf::SHT_PROGBITS, flags) if flags & u64::from(elf::SHF_EXECINSTR) != 0 => Contents::Code,
            (elf::SHT_NOBITS, _) => Contents::Zeros,
            (elf::SHT_PROGBITS, _) => Contents::Data,
            _ => Contents::Other,
        };
        if contents == Contents::Zeros && size > MOST_ZEROS {
            return Err(damaged(format!("section `{name}` has {size} bytes")));
        }
        if contents == Contents::Code && !size.is_multiple_of(INSTRUCTION) {
            return Err(damaged(format!("section `{name}` does not end with a whole instruction")));
        }
        let outside = |_| damaged(format!("section `{name}` is not within the file"));
        let data = header.data(endian, file).map_err(outside)?;
        sections.push(Section { name, contents, data, size, relocations: Vec::new() });
    }
    Ok(sections)
}

fn symbols<'d>(
    table: &SectionTable<'d, Header>,
    endian: Endianness,
    file: &'d [u8],
    sections: &[Section<'d>],
) -> Result<Vec<Symbol<'d>>, ElfProblem> {
    let of = |error: object::Error| damaged(format!("its symbols: {error}"));
    let symbols = table.symbols(endian, file, elf::SHT_SYMTAB).map_err(of)?;
    if symbols.len() > MOST_SYMBOLS {
        return Err(ElfProblem::TooMany { what: "symbols", count: symbols.len(), most: MOST_SYMBOLS });
    }
    let mut all = Vec::new();
    for (index, symbol) in symbols.iter().enumerate() {
        let name = symbol.name(endian, symbols.strings()).map_err(of)?;
        let name = readable(name).ok_or_else(|| damaged(format!("the name of symbol {index}")))?;
        let section = usize::from(symbol.st_shndx.get(endian));
        let kind = match symbol.st_type() {
            elf::STT_FUNC => SymbolKind::Function,
            elf::STT_SECTION => SymbolKind::Section,
            _ => SymbolKind::Other,
        };
        let (address, size) = (symbol.st_value.get(endian), symbol.st_size.get(endian));
        let section = match sections.get(section) {
            _ if section == 0 => None,
            Some(its) if address.checked_add(size).is_some_and(|end| end <= its.size) => Some(section),
            // Files and constants have numbers that are no index.
            None => None,
            Some(its) => {
                return Err(damaged(format!("symbol `{name}` is not within section `{}`", its.name)));
            }
        };
        let (is_local, is_weak) = (symbol.is_local(), symbol.is_weak());
        all.push(Symbol { name, kind, section, address, size, is_local, is_weak });
    }
    Ok(all)
}

fn relocations<'d>(
    table: &SectionTable<'d, Header>,
    endian: Endianness,
    file: &'d [u8],
    symbols: usize,
    sections: &mut [Section<'d>],
) -> Result<(), ElfProblem> {
    for header in table.iter() {
        let listed =
            header.rel(endian, file).map_err(|error| damaged(format!("its relocations: {error}")))?;
        let (Some((entries, _)), SectionIndex(target)) = (listed, header.info_link(endian)) else { continue };
        let Some(section) = sections.get_mut(target) else { continue };
        // Debug information is not read.
        if section.contents == Contents::Other || section.name.starts_with(".debug") {
            continue;
        }
        for entry in entries {
            let (offset, symbol) = (entry.r_offset.get(endian), entry.r_sym(endian) as usize);
            if symbol >= symbols || offset.checked_add(4).is_none_or(|end| end > section.size) {
                return Err(damaged(format!("a relocation of section `{}`", section.name)));
            }
            section.relocations.push(Relocation { offset, symbol });
        }
        section.relocations.sort_by_key(|relocation| relocation.offset);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_steer_a_terminal_is_damage() {
        assert_eq!(readable(b"count"), Some("count"));
        assert_eq!((readable(b"\x1b[2J"), readable(b"\xff")), (None, None));
    }

    #[test]
    fn a_file_that_is_no_object_is_named_as_what_it_is() {
        for file in [&b""[..], b"text", &[0x7f, b'E', b'L', b'F', 2, 1, 1]] {
            assert_eq!(Elf::parse(file).unwrap_err(), ElfProblem::NotElf);
        }
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert!(matches!(Elf::parse(&own), Err(ElfProblem::Machine { .. })));
    }
}
