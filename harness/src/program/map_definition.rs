//! The maps of an object as their definitions say: by types (`SEC(".maps")`) or by numbers (`SEC("maps")`).
//!
//! Types are read as libbpf does (`parse_btf_map_def()` of `src/libbpf.c`), numbers as they were written before: four words that
//! describe the map, flags, and a tail that differs from loader to loader.

use std::{collections::HashMap, ops::Range};

use aya_obj::generated::bpf_map_type::{
    BPF_MAP_TYPE_ARRAY_OF_MAPS, BPF_MAP_TYPE_HASH_OF_MAPS, BPF_MAP_TYPE_PROG_ARRAY,
};

use crate::program::{
    btf::{Btf, Shape, kind},
    elf::{Contents, Elf, ElfProblem, Symbol},
};

/// Section of maps that types define.
pub(super) const TYPED: &str = ".maps";
/// Section of maps that numbers define; aya appends a name.
const NUMBERED: &str = "maps";
/// Bytes of a numbered definition: at least type, key, value, entries, flags; iproute2's has four words more.
const NUMBERED_LEAST: usize = 20;
const NUMBERED_OF_IPROUTE2: usize = 36;
/// `sizeof(void *)` of an object: what a slot takes in the definition.
const POINTER: u64 = 8;

/// A map that cannot be read as it is defined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionProblem {
    #[error(transparent)]
    Elf(#[from] ElfProblem),
    #[error("its maps are defined by types, and it has no BTF; build it with `clang -g`")]
    NoTypes,
    #[error("map `{map}`: {problem}")]
    Map { map: String, problem: String },
}

/// A map as it is defined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MapDefinition {
    pub(super) name: String,
    /// `enum bpf_map_type` of `include/uapi/linux/bpf.h`.
    pub(super) kind: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) entries: u32,
    pub(super) flags: u32,
    pub(super) extra: u64,
    pub(super) numa_node: u32,
    /// Pinned by name: its own loader shares it with whoever has it open.
    pub(super) pinned: bool,
    /// Numbers of the types of key and value.
    pub(super) types: Option<(u32, u32)>,
    pub(super) key: Option<Shape>,
    pub(super) value: Option<Shape>,
    /// Defined by numbers.
    pub(super) numbered: bool,
    /// The map that a map of maps holds.
    pub(super) inner: Option<Box<MapDefinition>>,
    /// Contents that the object puts into the map: each slot, and the symbol that is in it.
    pub(super) slots: Vec<(u32, usize)>,
    /// The section and the bytes that it is defined by.
    pub(super) section: usize,
    pub(super) place: Range<u64>,
    /// Offset of its slots, in bytes from the start of the definition.
    pub(super) values_at: Option<u64>,
}

impl MapDefinition {
    pub(super) fn is_of_maps(&self) -> bool {
        [BPF_MAP_TYPE_ARRAY_OF_MAPS, BPF_MAP_TYPE_HASH_OF_MAPS].map(|kind| kind as u32).contains(&self.kind)
    }

    pub(super) fn is_of_programs(&self) -> bool {
        self.kind == BPF_MAP_TYPE_PROG_ARRAY as u32
    }
}

/// Returns the maps of an object, sorted by name.
pub(super) fn definitions(
    elf: &Elf<'_>,
    types: Option<&Btf>,
) -> Result<Vec<MapDefinition>, DefinitionProblem> {
    let mut maps = Vec::new();
    for (index, section) in elf.sections.iter().enumerate() {
        if section.contents != Contents::Data {
            continue;
        }
        if section.name == TYPED {
            maps.extend(typed(elf, index, types.ok_or(DefinitionProblem::NoTypes)?)?);
        } else if section.name.starts_with(NUMBERED) {
            maps.extend(numbered(elf, index)?);
        }
    }
    maps.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(maps)
}

fn typed(elf: &Elf<'_>, section: usize, types: &Btf) -> Result<Vec<MapDefinition>, DefinitionProblem> {
    let (_, entries) = types.data_section(TYPED).ok_or(DefinitionProblem::NoTypes)?;
    let symbols: HashMap<&str, &Symbol<'_>> =
        elf.symbols_of(section).into_iter().map(|symbol| (symbol.name, symbol)).collect();
    let mut maps = Vec::new();
    for entry in entries {
        let Some(variable) = types.get(entry.kind).filter(|one| one.kind() == kind::VAR) else { continue };
        let name = types.string(variable.name);
        let failed =
            |problem: &str| DefinitionProblem::Map { map: name.to_owned(), problem: problem.to_owned() };
        let symbol = symbols.get(name).ok_or_else(|| failed("the object has no such symbol"))?;
        let mut map =
            read_structure(types, variable.size_or_type, false).map_err(|problem| failed(&problem))?;
        map.name = name.to_owned();
        (map.section, map.place) = (section, symbol.address..symbol.address + symbol.size);
        map.slots = slots(elf, &map).map_err(failed)?;
        maps.push(map);
    }
    Ok(maps)
}

/// Reads a definition by types. The map within a map holds no further one.
fn read_structure(types: &Btf, id: u32, is_inner: bool) -> Result<MapDefinition, String> {
    let (_, structure) = types.resolve(id).ok_or("its definition is a type without end")?;
    if structure.kind() != kind::STRUCT {
        return Err("its definition is no structure".to_owned());
    }
    let (mut map, mut ids) = (MapDefinition::default(), (0, 0));
    for member in structure.parts() {
        let name = types.string(member.name);
        let number = || {
            let number = types.constant(member.kind).and_then(|number| u32::try_from(number).ok());
            number.ok_or_else(|| format!("`{name}` of its definition is no number"))
        };
        // A key and a value are pointers to their type.
        let pointee = || {
            let pointer = types.resolve(member.kind).filter(|(_, one)| one.kind() == kind::PTR);
            let id = pointer.map(|(_, one)| one.size_or_type)?;
            Some((id, u32::try_from(types.size(id)?).ok()?))
        };
        let sized = || pointee().ok_or_else(|| format!("`{name}` of its definition has no size"));
        match name {
            "type" => map.kind = number()?,
            "max_entries" => map.entries = number()?,
            "map_flags" => map.flags = number()?,
            "numa_node" => map.numa_node = number()?,
            "key_size" => map.key_size = number()?,
            "value_size" => map.value_size = number()?,
            "map_extra" => {
                map.extra =
                    types.constant(member.kind).ok_or("`map_extra` of its definition is no number")?;
            }
            "pinning" => map.pinned = number()? != 0,
            "key" => {
                (ids.0, map.key_size) = sized()?;
                map.key = Some(types.shape(ids.0));
            }
            "value" => {
                (ids.1, map.value_size) = sized()?;
                map.value = Some(types.shape(ids.1));
            }
            "values" if is_inner => return Err("maps of maps of maps do not exist".to_owned()),
            "values" => {
                map.inner = read_values(types, member.kind)?;
                (map.values_at, map.value_size) = (Some(u64::from(member.offset / 8)), 4);
            }
            // As libbpf does for a loader that asks it to (`relaxed_maps`).
            _ => {}
        }
    }
    map.types = (ids != (0, 0)).then_some(ids);
    Ok(map)
}

/// Reads the type of the slots: pointers to the definition of a map, or to a function.
fn read_values(types: &Btf, id: u32) -> Result<Option<Box<MapDefinition>>, String> {
    let element = types.resolve(id).and_then(|(_, one)| one.array()).map(|(element, _)| element);
    let pointer =
        element.and_then(|element| types.resolve(element)).filter(|(_, one)| one.kind() == kind::PTR);
    let pointee = pointer.and_then(|(_, pointer)| types.resolve(pointer.size_or_type));
    match pointee {
        Some((id, one)) if one.kind() == kind::STRUCT => Ok(Some(Box::new(read_structure(types, id, true)?))),
        Some((_, one)) if one.kind() == kind::FUNC_PROTO => Ok(None),
        _ => Err("`values` of its definition is neither an array of maps nor one of programs".to_owned()),
    }
}

/// Returns what the object puts into the slots of a map (`bpf_object__collect_map_relos()` of libbpf).
fn slots(elf: &Elf<'_>, map: &MapDefinition) -> Result<Vec<(u32, usize)>, &'static str> {
    let inside = |offset: u64| map.place.contains(&offset);
    let filled = elf.sections[map.section].relocations.iter().filter(|its| inside(its.offset));
    filled
        .map(|its| {
            let start = map.values_at.map(|at| map.place.start + at).filter(|&start| its.offset >= start);
            let at = its.offset - start.ok_or("its definition refers to something that is no slot")?;
            let slot = (at % POINTER == 0).then(|| u32::try_from(at / POINTER).ok()).flatten();
            Ok((slot.ok_or("a slot of its definition has no number")?, its.symbol))
        })
        .collect()
}

fn numbered(elf: &Elf<'_>, section: usize) -> Result<Vec<MapDefinition>, DefinitionProblem> {
    let mut maps = Vec::new();
    for symbol in elf.symbols_of(section) {
        let failed = |problem: &str| DefinitionProblem::Map {
            map: symbol.name.to_owned(),
            problem: problem.to_owned(),
        };
        let place = symbol.address..symbol.address + symbol.size;
        let definition =
            elf.sections[section].bytes(place.clone()).filter(|bytes| bytes.len() >= NUMBERED_LEAST);
        let definition = definition.ok_or_else(|| failed("its definition is too short"))?;
        let word = |index: usize| {
            let bytes = definition.get(4 * index..4 * index + 4).unwrap_or(&[0; 4]);
            bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u32::from(byte))
        };
        let is_of_iproute2 = definition.len() >= NUMBERED_OF_IPROUTE2;
        // aya has pinning there, too.
        let pinned = if is_of_iproute2 { word(6) != 0 } else { word(6) == 1 };
        let map = MapDefinition {
            name: symbol.name.to_owned(),
            kind: word(0),
            key_size: word(1),
            value_size: word(2),
            entries: word(3),
            flags: word(4),
            pinned,
            numbered: true,
            section,
            place,
            ..MapDefinition::default()
        };
        if map.is_of_maps() {
            return Err(failed("a map of maps cannot be defined by numbers; define it in SEC(\".maps\")"));
        }
        maps.push(map);
    }
    Ok(maps)
}
