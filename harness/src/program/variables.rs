//! Global variables of an object or of a loaded program: their places in the sections that hold them.

use std::collections::{HashMap, HashSet};

use xdproof_scenarios::fixture::{FixtureValue, Spot};

use crate::program::{
    btf::{Btf, kind},
    code::global_data,
    elf::{Contents, Elf, Section, SymbolKind},
    layout::{Layout, LayoutError, Names},
    nearest,
};

/// The most sections and variables that are read, and the longest name: a damaged object may have any number.
const MOST_SECTIONS: usize = 64;
const MOST_VARIABLES: usize = 1 << 16;
const LONGEST_NAME: usize = 512;

/// A section of global variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DataSection {
    pub(super) name: String,
    /// Its index in the object.
    pub(super) index: usize,
    /// In bytes.
    pub(super) size: usize,
    pub(super) variables: Vec<Variable>,
}

/// A global variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) name: String,
    /// In bytes from the start of its section.
    pub(super) offset: usize,
    /// In bytes.
    pub(super) size: usize,
    /// The number of its type, if it has one.
    pub(super) kind: Option<u32>,
}

impl Variable {
    pub(super) fn layout(&self, types: Option<&Btf>) -> Layout {
        match (types, self.kind) {
            (Some(types), Some(kind)) => Layout::of_type(types, kind, "the variable", self.size),
            _ => Layout::plain("the variable", self.size),
        }
    }

    /// Returns the name of its type, or its size.
    pub(super) fn describe(&self, types: Option<&Btf>) -> String {
        match (types, self.kind) {
            (Some(types), Some(kind)) => types.type_name(kind),
            _ => format!("{} bytes", self.size),
        }
    }
}

/// Returns the sections of global variables of an object with what lies in them: by its types, or by its symbols without them.
pub(super) fn sections(elf: &Elf<'_>, types: Option<&Btf>) -> Vec<DataSection> {
    let is_data = |(_, section): &(usize, &Section<'_>)| {
        global_data(section.name, section.contents).is_some() && section.size > 0
    };
    let sections = elf.sections.iter().enumerate().filter(is_data).take(MOST_SECTIONS);
    sections
        .map(|(index, section)| {
            let size = usize::try_from(section.size).unwrap_or(usize::MAX);
            let symbols: Vec<_> = elf
                .symbols_of(index)
                .into_iter()
                .filter(|symbol| symbol.kind != SymbolKind::Section && symbol.name.len() <= LONGEST_NAME)
                .take(MOST_VARIABLES)
                .collect();
            let places: HashMap<&str, u64> =
                symbols.iter().map(|symbol| (symbol.name, symbol.address)).collect();
            let typed = types.and_then(|types| Some((types, types.data_section(section.name)?)));
            let mut variables = match typed {
                // The compiler leaves places open, and writes 0 for them.
                Some((types, (id, _))) => listed(types, id, |name| places.get(name).copied()),
                None => Vec::new(),
            };
            let known: HashSet<String> = variables.iter().map(|variable| variable.name.clone()).collect();
            let untyped = symbols.iter().filter(|symbol| symbol.size > 0 && !known.contains(symbol.name));
            variables.extend(untyped.filter_map(|symbol| {
                Some(Variable {
                    name: symbol.name.to_owned(),
                    offset: usize::try_from(symbol.address).ok()?,
                    size: usize::try_from(symbol.size).ok()?,
                    kind: None,
                })
            }));
            variables
                .retain(|variable| variable.offset.checked_add(variable.size).is_some_and(|end| end <= size));
            DataSection { name: section.name.to_owned(), index, size, variables }
        })
        .collect()
}

/// Returns the variables that a section of the types lists; `place` knows those that are not placed yet.
pub(super) fn listed(types: &Btf, section: u32, place: impl Fn(&str) -> Option<u64>) -> Vec<Variable> {
    let Some(section) = types.get(section).filter(|one| one.kind() == kind::DATASEC) else {
        return Vec::new();
    };
    let entries = section.parts();
    let is_placed = entries.iter().any(|entry| entry.offset > 0);
    let is_only = entries.len() == 1;
    let variables = entries.into_iter().take(MOST_VARIABLES).filter_map(|entry| {
        let variable = types.get(entry.kind).filter(|one| one.kind() == kind::VAR)?;
        let name = types.string(variable.name);
        let offset = place(name).or_else(|| (is_placed || is_only).then_some(entry.offset.into()))?;
        let named = !name.is_empty() && name.len() <= LONGEST_NAME;
        named.then_some(())?;
        Some(Variable {
            name: name.to_owned(),
            offset: usize::try_from(offset).ok()?,
            size: usize::try_from(types.size(variable.size_or_type)?).ok()?,
            kind: Some(variable.size_or_type),
        })
    });
    variables.collect()
}

/// Returns the contents of the sections in which variables are set, by their index in the object.
pub(super) fn set(
    elf: &Elf<'_>,
    types: Option<&Btf>,
    sections: &[DataSection],
    values: &[(String, Spot, FixtureValue)],
    names: &dyn Names,
) -> Result<HashMap<usize, Vec<u8>>, LayoutError> {
    let mut contents: HashMap<usize, Vec<u8>> = HashMap::new();
    for (name, spot, value) in values {
        let at = |error: LayoutError| LayoutError { spot: error.spot.or(Some(*spot)), ..error };
        let found = sections.iter().find_map(|section| {
            Some((section, section.variables.iter().find(|variable| variable.name == *name)?))
        });
        let Some((section, variable)) = found else {
            let known = sections.iter().flat_map(|section| &section.variables).map(|its| its.name.as_str());
            return Err(LayoutError {
                spot: Some(*spot),
                message: format!("no global variable `{name}` in .data, .rodata or .bss"),
                hint: Some(nearest::hint(name, known)),
            });
        };
        let bytes = variable.layout(types).encode(value, names).map_err(at)?;
        let its = &elf.sections[section.index];
        let whole = contents.entry(section.index).or_insert_with(|| match its.contents {
            Contents::Zeros => vec![0; section.size],
            _ => its.data.to_vec(),
        });
        if let Some(place) = whole.get_mut(variable.offset..variable.offset + variable.size) {
            place.copy_from_slice(&bytes);
        }
    }
    Ok(contents)
}
