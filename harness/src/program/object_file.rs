//! An object file that was read and parsed; nothing of it is in the kernel yet.

use std::{
    collections::{BTreeSet, HashMap},
    ffi::CString,
    ops::Range,
};

use xdproof_netns::bpf::ProgramPlace;

use crate::program::{
    Object, ProgramError,
    btf::Btf,
    btf_ext::BtfExt,
    code::{Code, Reach},
    elf::Elf,
    externs::{self, Externs},
    image,
    linker::Linker,
    map_definition::{self, MapDefinition},
    section_names::SectionKind,
    select::{self, Candidate, CounterCandidate, ObjectProblem},
};

/// The object with the programs of this project, as built by `build.rs`.
static BUILTIN: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/xdproof-programs"));

/// The most maps of an object that are created although no program uses them.
const MOST_MAPS: usize = 512;

/// A part of what the Rust compiler leaves in its objects.
const RUST: &[u8] = b"rustc";

/// An object with its maps and types.
pub(super) struct ObjectFile<'a> {
    pub(super) object: &'a Object,
    pub(super) elf: Elf<'a>,
    pub(super) types: Option<Btf>,
    ext: Option<BtfExt>,
    pub(super) maps: Vec<MapDefinition>,
    bytes: &'a [u8],
}

/// The program under test, and everything that it needs.
pub(super) struct Selected<'f, 'a> {
    pub(super) code: Code<'f, 'a>,
    pub(super) reach: Reach,
    pub(super) externs: Externs,
}

impl Object {
    /// Returns the names of the XDP programs in the object, sorted; where no section says so, those that may be one. Needs no
    /// privilege.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is not an object.
    pub fn programs(&self) -> Result<Vec<String>, ProgramError> {
        let file = ObjectFile::open(self)?;
        let code = Code::of(&file.elf, &file.maps);
        let candidates = file.candidates(&code);
        let of = |wanted: fn(SectionKind) -> bool| -> Vec<String> {
            let found = candidates.iter().filter(|its| wanted(SectionKind::of(&its.section)));
            found.map(|its| its.name.clone()).collect()
        };
        let mut names = of(|kind| matches!(kind, SectionKind::Xdp { .. }));
        if names.is_empty() {
            names = of(|kind| matches!(kind, SectionKind::Own { .. } | SectionKind::Text));
        }
        names.sort_unstable();
        Ok(names)
    }
}

impl<'a> ObjectFile<'a> {
    pub(super) fn open(object: &'a Object) -> Result<Self, ProgramError> {
        let bytes = match &object.path {
            None => BUILTIN,
            Some(path) => object
                .contents
                .of(path)
                .map_err(|source| ProgramError::Open { path: path.clone(), source })?,
        };
        Self::parse(object, bytes).map_err(|problem| ProgramError::object(object, problem))
    }

    fn parse(object: &'a Object, bytes: &'a [u8]) -> Result<Self, ObjectProblem> {
        let elf = Elf::parse(bytes)?;
        let damaged = |section| move || ObjectProblem::Types { section };
        let section = |name: &'static str| elf.section(name).map(|(_, section)| section.data);
        let types = section(".BTF").map(|data| Btf::parse(data).ok_or_else(damaged(".BTF"))).transpose()?;
        let ext = section(".BTF.ext").filter(|_| types.is_some());
        let ext = ext.map(|data| BtfExt::parse(data).ok_or_else(damaged(".BTF.ext"))).transpose()?;
        let maps = map_definition::definitions(&elf, types.as_ref())?;
        Ok(Self { object, elf, types, ext, maps, bytes })
    }

    /// Returns the functions that may be the program under test.
    pub(super) fn candidates(&self, code: &Code<'_, '_>) -> Vec<Candidate> {
        let global = code.functions.iter().enumerate().filter(|(_, function)| !function.is_local);
        global
            .map(|(index, function)| Candidate {
                name: function.name.clone(),
                section: self.elf.sections[function.section].name.to_owned(),
                function: index,
            })
            .collect()
    }

    /// Chooses the program under test, and resolves what it needs, and what `further` programs need, which are loaded with it.
    pub(super) fn select(&self, further: &BTreeSet<String>) -> Result<Selected<'_, 'a>, ProgramError> {
        let select = || {
            let code = Code::of(&self.elf, &self.maps);
            let candidates = self.candidates(&code);
            let chosen = select::choose_program(self.object, &candidates)?;
            let further = further.iter().map(|name| select::further_program(name, &candidates));
            let further: Vec<usize> =
                further.map(|found| found.map(|program| program.function)).collect::<Result<_, _>>()?;
            let reach = code.reach(chosen.function, &further)?;
            for &map in &reach.maps {
                select::check_map(&self.maps[map])?;
            }
            let externs = externs::resolve(&self.elf, self.types.as_ref(), &reach.externs)?;
            Ok(Selected { code, reach, externs })
        };
        select().map_err(|problem| ProgramError::object(self.object, problem))
    }

    /// Chooses the counter among the maps that a program uses.
    pub(super) fn counter(&self, selected: &Selected<'_, '_>) -> Result<usize, ProgramError> {
        let user_fills = !self.filled_by_user(selected).is_empty();
        let each = self.maps.iter().enumerate().map(|(index, map)| {
            // Programs that user space calls by tail calls use maps, too.
            let is_used = user_fills || selected.reach.maps.contains(&index);
            CounterCandidate { map, is_used }
        });
        let candidates: Vec<_> = each.collect();
        let chosen = select::choose_map(self.object, &candidates)
            .map_err(|problem| ProgramError::object(self.object, problem))?;
        Ok(self.maps.iter().position(|map| map == chosen).unwrap_or_default())
    }

    /// Returns the maps of programs and of maps that the program uses, and the object leaves empty.
    pub(super) fn filled_by_user(&self, selected: &Selected<'_, '_>) -> Vec<&MapDefinition> {
        let used = selected.reach.maps.iter().map(|&index| &self.maps[index]);
        used.filter(|map| (map.is_of_programs() || map.is_of_maps()) && map.slots.is_empty()).collect()
    }

    /// Returns the maps that the programs do not use, as many as fit the memory that a map may take.
    pub(super) fn unused_maps(&self, selected: &Selected<'_, '_>) -> (Vec<usize>, Vec<(usize, String)>) {
        let (mut created, mut refused, mut bytes) = (Vec::new(), Vec::new(), 0_u64);
        for (index, map) in self.maps.iter().enumerate().take(MOST_MAPS) {
            if selected.reach.maps.contains(&index) {
                continue;
            }
            bytes = bytes.saturating_add(select::map_bytes(map));
            let problem =
                select::check_map(map).err().or_else(|| selected.code.filled(index).err().map(Into::into));
            match problem {
                Some(problem) => refused.push((index, problem.to_string())),
                None if bytes > select::MOST_MAP_BYTES => {
                    refused.push((index, "the maps that no program uses take too much memory".to_owned()));
                }
                None => created.push(index),
            }
        }
        (created, refused)
    }

    /// Returns what its own loader does otherwise than it is done here, or leaves to user space.
    pub(super) fn notes(&self, selected: &Selected<'_, '_>) -> Vec<String> {
        let used = selected.reach.maps.iter().map(|&index| &self.maps[index]);
        let pinned = used.filter(|map| map.pinned).map(|map| {
            format!("map `{}` is pinned by name; this run has one of its own, which is not pinned", map.name)
        });
        let empty = self.filled_by_user(selected).into_iter().map(|map| {
            let what = if map.is_of_programs() { "PROG_ARRAY" } else { "map of maps" };
            format!("the {what} `{}` is empty: the object leaves it to user space to fill", map.name)
        });
        pinned.chain(empty).collect()
    }

    /// Returns the license under which the object's own loader loads it: without one, libbpf takes none, and aya GPL.
    pub(super) fn license(&self) -> CString {
        let written = self.elf.section("license").map(|(_, section)| section.data);
        let is_of_rust = || self.bytes.windows(RUST.len()).any(|window| window == RUST);
        let default = || if is_of_rust() { &b"GPL"[..] } else { b"" };
        let text = written.unwrap_or_else(default).split(|&byte| byte == 0).next().unwrap_or_default();
        CString::new(text).unwrap_or_default()
    }

    /// Returns whether a function takes multi-buffer frames (`SEC("xdp.frags")`).
    pub(super) fn takes_frags(&self, section: usize) -> bool {
        SectionKind::of(self.elf.sections[section].name).takes_frags()
    }

    /// Returns where the programs of a section run.
    pub(super) fn place(&self, section: usize) -> ProgramPlace {
        SectionKind::of(self.elf.sections[section].name).place()
    }

    /// Gives everything that a program needs to the linker.
    pub(super) fn link(&self, selected: &Selected<'_, '_>) -> Result<Linker, ProgramError> {
        let Selected { code, reach, .. } = selected;
        let (types, relocates) = match (&self.types, &self.ext) {
            (Some(types), ext) => {
                let (types, ext) = self.cut_types(types, ext.as_ref(), selected);
                (Some((types.to_bytes(), ext.to_bytes())), ext.relocates())
            }
            (None, _) => (None, false),
        };
        let image = image::write(&self.elf, code, reach, types);
        Linker::open(&image, relocates).map_err(|source| ProgramError::link(self.object, source))
    }

    /// Returns the types as the kernel takes them, and the records of the functions that are loaded.
    fn cut_types(&self, types: &Btf, ext: Option<&BtfExt>, selected: &Selected<'_, '_>) -> (Btf, BtfExt) {
        let Selected { code, reach, .. } = selected;
        let mut types = types.clone();
        let size_of = |name: &str| self.elf.section(name).map(|(_, section)| section.size);
        let placed = self.elf.symbols.iter().filter_map(|symbol| {
            let section = self.elf.sections[symbol.section?].name;
            Some(((section, symbol.name), symbol.address))
        });
        let places: HashMap<(&str, &str), u64> = placed.collect();
        types.complete(size_of, |section, variable| places.get(&(section, variable)).copied());
        let mut ext = ext.cloned().unwrap_or_default();
        let mut names = Vec::new();
        for &section in image::sections_of(code, reach).keys() {
            let name = types.add_string(&image::name_of(section));
            let functions = reach.functions.iter().map(|&index| &code.functions[index]);
            let places: Vec<_> =
                functions.filter(|its| its.section == section).map(|its| its.place.clone()).collect();
            names.push((self.elf.sections[section].name, name, places));
        }
        ext.keep(|section, at| {
            let section = types.string(section);
            let holds = |places: &[Range<u64>]| places.iter().any(|its| its.contains(&u64::from(at)));
            names.iter().find(|(its, _, places)| *its == section && holds(places)).map(|(_, name, _)| *name)
        });
        (types, ext)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linked(object: &Object, bytes: &[u8]) -> Result<(), ProgramError> {
        let file =
            ObjectFile::parse(object, bytes).map_err(|problem| ProgramError::object(object, problem))?;
        let selected = file.select(&BTreeSet::new())?;
        file.counter(&selected)?;
        let linker = file.link(&selected)?;
        let sections = image::sections_of(&selected.code, &selected.reach);
        for &program in &selected.reach.programs {
            let function = &selected.code.functions[program];
            let place = (sections[&function.section], function.place.start);
            linker.link(place, &function.name).map_err(|source| ProgramError::link(object, source))?;
        }
        Ok(())
    }

    #[test]
    fn only_the_functions_of_the_program_under_test_are_linked() {
        let object = Object::default();
        let file = ObjectFile::open(&object).unwrap();
        let selected = file.select(&BTreeSet::new()).unwrap();
        assert!(selected.reach.functions.len() < selected.code.functions.len());
        assert_eq!(selected.reach.programs.len(), 1);
        linked(&object, BUILTIN).unwrap();
    }

    /// Each object is damaged in one to four bytes near each other.
    #[test]
    fn a_damaged_object_is_refused_or_linked_and_never_panics() {
        let (object, mut refused) = (Object::default(), 0);
        for seed in 0..500 {
            let mut draws = fastrand::Rng::with_seed(seed);
            let mut bytes = BUILTIN.to_vec();
            let from = draws.usize(..bytes.len() - 64);
            for _ in 0..draws.usize(1..=4) {
                bytes[from + draws.usize(..64)] = draws.u8(..);
            }
            refused += usize::from(linked(&object, &bytes).is_err());
        }
        assert!(refused > 10, "{refused}");
    }

    #[test]
    fn an_object_that_ends_anywhere_is_refused() {
        let object = Object::default();
        for length in (0..BUILTIN.len()).step_by(997) {
            assert!(linked(&object, &BUILTIN[..length]).is_err(), "{length} bytes");
        }
    }
}
