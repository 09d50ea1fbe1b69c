//! The object that aya-obj reads: the functions under test with their types, under names that it knows, and nothing else.

use std::collections::BTreeMap;

use crate::program::{
    code::{Code, Reach, Target},
    elf::Elf,
};

/// `ET_REL`, `EM_BPF`, `EV_CURRENT`.
const RELOCATABLE: u16 = 1;
const BPF: u16 = 247;
const CURRENT: u8 = 1;

/// `SHT_*` and `SHF_*`.
const PROGBITS: u32 = 1;
const SYMTAB: u32 = 2;
const STRTAB: u32 = 3;
const REL: u32 = 9;
const ALLOCATED_CODE: u64 = 2 | 4;

/// `R_BPF_64_64` and `R_BPF_64_32`: of a load of 64 bits, and of a call.
const OF_LOAD: u64 = 1;
const OF_CALL: u64 = 10;

/// `STB_GLOBAL` with `STT_FUNC`.
const GLOBAL_FUNCTION: u8 = 1 << 4 | 2;

const FILE_HEADER: usize = 64;
const SECTION_HEADER: usize = 64;
const SYMBOL: u8 = 24;
const RELOCATION: u8 = 16;

/// A section that is written.
#[derive(Default)]
struct Written {
    name: String,
    kind: u32,
    flags: u64,
    link: u32,
    info: u32,
    entry: u8,
    data: Vec<u8>,
}

/// Returns the name of a section of code in an image: one that aya-obj takes for programs, and that no other section has.
pub(super) fn name_of(section: usize) -> String {
    format!("socket/{section}")
}

/// Returns the sections of code that are in an image, by their index in the object, with their index in the image.
pub(super) fn sections_of(code: &Code<'_, '_>, reach: &Reach) -> BTreeMap<usize, usize> {
    let mut sections: Vec<usize> =
        reach.functions.iter().map(|&index| code.functions[index].section).collect();
    sections.sort_unstable();
    sections.dedup();
    sections.into_iter().zip(1..).collect()
}

/// Writes the image of everything that a program needs. `types` and `ext` are the sections with types, completed and cut to
/// these functions.
pub(super) fn write(
    elf: &Elf<'_>,
    code: &Code<'_, '_>,
    reach: &Reach,
    types: Option<(Vec<u8>, Vec<u8>)>,
) -> Vec<u8> {
    let places = sections_of(code, reach);
    let mut sections = vec![Written::default()];
    sections.extend(places.keys().map(|&index| Written {
        name: name_of(index),
        kind: PROGBITS,
        flags: ALLOCATED_CODE,
        data: elf.sections[index].data.to_vec(),
        ..Written::default()
    }));
    if let Some((types, ext)) = types {
        let section =
            |name: &str, data| Written { name: name.to_owned(), kind: PROGBITS, data, ..Written::default() };
        sections.extend([section(".BTF", types), section(".BTF.ext", ext)]);
    }
    let (mut names, mut symbols, mut numbers) = (vec![0], vec![0; usize::from(SYMBOL)], BTreeMap::new());
    for (number, &index) in (1_u64..).zip(&reach.functions) {
        let function = &code.functions[index];
        numbers.insert(index, number);
        symbols.extend(narrow(names.len()).to_le_bytes());
        symbols.extend([GLOBAL_FUNCTION, 0]);
        symbols.extend(short(places[&function.section]).to_le_bytes());
        symbols.extend(function.place.start.to_le_bytes());
        symbols.extend((function.place.end - function.place.start).to_le_bytes());
        names.extend(function.name.bytes().chain([0]));
    }
    let table = narrow(sections.len() + places.len());
    for (&index, &place) in &places {
        let data = relocations(code, reach, index, &numbers);
        let name = format!(".rel{}", name_of(index));
        let (link, info) = (table, narrow(place));
        sections.push(Written { name, kind: REL, link, info, entry: RELOCATION, data, ..Written::default() });
    }
    sections.push(Written {
        name: ".symtab".to_owned(),
        kind: SYMTAB,
        link: table + 1,
        info: 1,
        entry: SYMBOL,
        data: symbols,
        ..Written::default()
    });
    sections.push(Written { name: ".strtab".to_owned(), kind: STRTAB, data: names, ..Written::default() });
    file(sections)
}

/// Returns the references to functions of a section; those to anything else are written into the instructions once they are
/// known.
fn relocations(
    code: &Code<'_, '_>,
    reach: &Reach,
    section: usize,
    numbers: &BTreeMap<usize, u64>,
) -> Vec<u8> {
    let functions = reach.functions.iter().filter(|&&index| code.functions[index].section == section);
    let references = functions.filter_map(|&index| code.references(index).ok()).flatten();
    let mut written = Vec::new();
    for reference in references.filter(|reference| !reference.is_relative) {
        if let Target::Function(callee) = reference.target {
            let kind = if reference.is_call { OF_CALL } else { OF_LOAD };
            written.extend(reference.at.to_le_bytes());
            written.extend((numbers[&callee] << 32 | kind).to_le_bytes());
        }
    }
    written
}

/// Writes a file: its header, the contents of its sections, and their headers.
fn file(mut sections: Vec<Written>) -> Vec<u8> {
    sections.push(Written { name: ".shstrtab".to_owned(), kind: STRTAB, ..Written::default() });
    let mut names = Vec::new();
    let name_places: Vec<u32> = sections
        .iter()
        .map(|section| {
            let place = narrow(names.len());
            names.extend(section.name.bytes().chain([0]));
            place
        })
        .collect();
    if let Some(last) = sections.last_mut() {
        last.data = names;
    }
    let (mut contents, mut headers) = (vec![0; FILE_HEADER], Vec::new());
    for (section, name) in sections.iter().zip(name_places) {
        contents.resize(contents.len().next_multiple_of(8), 0);
        let Written { kind, flags, link, info, entry, data, .. } = section;
        headers.extend([name, *kind].into_iter().flat_map(u32::to_le_bytes));
        let (place, length) = if *kind == 0 { (0, 0) } else { (contents.len() as u64, data.len() as u64) };
        headers.extend([*flags, 0, place, length].into_iter().flat_map(u64::to_le_bytes));
        headers.extend([*link, *info].into_iter().flat_map(u32::to_le_bytes));
        headers.extend([8, u64::from(*entry)].into_iter().flat_map(u64::to_le_bytes));
        contents.extend(data);
    }
    contents.resize(contents.len().next_multiple_of(8), 0);
    let (start, count) = (contents.len() as u64, short(sections.len()));
    let header = [
        &[0x7f, b'E', b'L', b'F', 2, 1, CURRENT, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
        &RELOCATABLE.to_le_bytes(),
        &BPF.to_le_bytes(),
        &u32::from(CURRENT).to_le_bytes(),
        &[0; 16],
        &start.to_le_bytes(),
        &[0; 4],
        &short(FILE_HEADER).to_le_bytes(),
        &[0; 4],
        &short(SECTION_HEADER).to_le_bytes(),
        &count.to_le_bytes(),
        &(count - 1).to_le_bytes(),
    ]
    .concat();
    contents[..FILE_HEADER].copy_from_slice(&header);
    contents.extend(headers);
    contents
}

/// Lengths of an image, which is no longer than the object.
fn narrow(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Numbers of sections, of which an object has a few thousand at most.
fn short(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}
