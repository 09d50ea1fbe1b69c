//! The contents of an object that a test can use: programs, maps and global variables. Nothing is loaded.

use std::collections::BTreeSet;

use crate::program::{
    Object, ProgramError,
    code::Code,
    helpers,
    layout::Layout,
    map_definition::MapDefinition,
    map_kind::{Access, MapKind},
    object_file::ObjectFile,
    section_names::SectionKind,
    variables,
};

/// The most programs and maps that are listed.
const MOST_PROGRAMS: usize = 256;
const MOST_MAPS: usize = 512;

/// Everything in an object that a test can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectSurvey {
    /// The license that it is loaded with; empty without one.
    pub license: String,
    /// Set if it has types (BTF), by which fields have names.
    pub has_types: bool,
    pub programs: Vec<SurveyedProgram>,
    pub maps: Vec<SurveyedMap>,
    pub globals: Vec<SurveyedGlobal>,
}

/// Program of an object that is an XDP program, or may be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SurveyedProgram {
    pub name: String,
    pub section: String,
    /// Set if it takes multi-buffer frames (`SEC("xdp.frags")`).
    pub takes_frags: bool,
    /// Set if it runs behind a devmap or a cpumap, and cannot be attached to a device.
    pub is_behind_map: bool,
    /// Names of the helpers that it calls, with those of its functions.
    pub helpers: Vec<String>,
    /// Functions and variables of the kernel and options of its configuration that it needs.
    pub externs: Vec<String>,
    pub maps: Vec<String>,
    /// A reason why it cannot be loaded that is known before.
    pub problem: Option<String>,
}

/// Map of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SurveyedMap {
    pub name: String,
    pub kind: MapKind,
    /// The type of its keys: `struct flow { addr: __be32, port: __be16 }`; none for maps without keys.
    pub key: Option<String>,
    pub value: String,
    pub entries: u32,
    /// Set if its own loader pins it by name.
    pub is_pinned: bool,
    /// A sentence about why its contents can be neither set nor expected.
    pub refused: Option<String>,
}

/// Global variable of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SurveyedGlobal {
    pub name: String,
    /// `.data`, `.rodata`, `.bss` and the like.
    pub section: String,
    pub kind: String,
}

/// Lists what an object has. Needs no privilege.
///
/// # Errors
///
/// When the file cannot be read or is not an object.
pub fn survey(object: &Object) -> Result<ObjectSurvey, ProgramError> {
    let file = ObjectFile::open(object)?;
    let types = file.types.as_ref();
    let globals = variables::sections(&file.elf, types).into_iter().flat_map(|section| {
        let each = section.variables.iter().take(MOST_MAPS).map(|variable| SurveyedGlobal {
            name: variable.name.clone(),
            section: section.name.clone(),
            kind: variable.describe(types),
        });
        each.collect::<Vec<_>>()
    });
    Ok(ObjectSurvey {
        license: file.license().to_string_lossy().into_owned(),
        has_types: types.is_some(),
        programs: programs(&file),
        maps: file.maps.iter().take(MOST_MAPS).map(|map| surveyed(&file, map)).collect(),
        globals: globals.collect(),
    })
}

fn programs(file: &ObjectFile<'_>) -> Vec<SurveyedProgram> {
    let code = Code::of(&file.elf, &file.maps);
    let candidates = file.candidates(&code);
    let kind = |section: &str| SectionKind::of(section);
    let is_xdp =
        |section: &str| matches!(kind(section), SectionKind::Xdp { .. } | SectionKind::BehindMap { .. });
    let any_xdp = candidates.iter().any(|its| is_xdp(&its.section));
    let wanted = candidates.iter().filter(|its| {
        is_xdp(&its.section)
            || (!any_xdp && matches!(kind(&its.section), SectionKind::Own { .. } | SectionKind::Text))
    });
    wanted
        .take(MOST_PROGRAMS)
        .map(|candidate| {
            let kind = kind(&candidate.section);
            let mut program = SurveyedProgram {
                name: candidate.name.clone(),
                section: candidate.section.clone(),
                takes_frags: kind.takes_frags(),
                is_behind_map: matches!(kind, SectionKind::BehindMap { .. }),
                helpers: Vec::new(),
                externs: Vec::new(),
                maps: Vec::new(),
                problem: None,
            };
            match code.reach(candidate.function, &[]) {
                Ok(reach) => {
                    let numbers: BTreeSet<u32> =
                        reach.functions.iter().flat_map(|&function| code.helpers(function)).collect();
                    let named = |number| helpers::name(number).unwrap_or_else(|| format!("helper {number}"));
                    program.helpers = numbers.into_iter().map(named).collect();
                    let symbol = |&index: &usize| file.elf.symbols[index].name.to_owned();
                    program.externs = reach.externs.iter().map(symbol).collect();
                    program.maps = reach.maps.iter().map(|&map| file.maps[map].name.clone()).collect();
                }
                Err(problem) => program.problem = Some(problem.to_string()),
            }
            program
        })
        .collect()
}

fn surveyed(file: &ObjectFile<'_>, map: &MapDefinition) -> SurveyedMap {
    let kind = MapKind(map.kind);
    let layouts = |size: u32, id: u32, what: &str, default: fn(MapKind, usize) -> Layout| {
        let size = usize::try_from(size).unwrap_or_default();
        let typed = file.types.as_ref().filter(|_| id != 0);
        typed.map_or_else(|| default(kind, size), |types| Layout::of_type(types, id, what, size))
    };
    let (key_id, value_id) = map.types.unwrap_or_default();
    let key = layouts(map.key_size, key_id, "the key", Layout::of_key);
    let value = layouts(map.value_size, value_id, "the value", Layout::of_value);
    let refused = match kind.access() {
        Access::Refused(reason) => Some(reason.to_owned()),
        Access::Keys | Access::Values | Access::Membership => None,
    };
    SurveyedMap {
        name: map.name.clone(),
        kind,
        key: (map.key_size > 0).then(|| key.describe()),
        value: value.describe(),
        entries: map.entries,
        is_pinned: map.pinned,
        refused,
    }
}
