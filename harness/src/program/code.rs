//! The functions of an object, and everything that they refer to: other functions, maps, global variables, extern symbols.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use crate::program::{
    elf::{Contents, Elf, INSTRUCTION, Symbol, SymbolKind},
    map_definition::MapDefinition,
};

/// `BPF_LD | BPF_DW | BPF_IMM`: loads 64 bits, and takes two instructions.
const LOAD_64: u8 = 0x18;
/// `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;
/// `BPF_PSEUDO_CALL`, in the source register: a call of a function of the object.
const OF_OBJECT: u8 = 1;

/// The most functions that are called: aya-obj links them by recursion, and the kernel takes 256 in a program
/// (`BPF_MAX_SUBPROGS` of `include/linux/bpf_verifier.h`).
const MOST_FUNCTIONS: usize = 1024;

/// The most instructions of a program with its functions (`BPF_COMPLEXITY_LIMIT_INSNS` of `include/linux/bpf.h`). Functions of a
/// damaged object may overlap, so that each is as long as all of them.
const MOST_INSTRUCTIONS: u64 = 1_000_000;

/// Code that cannot be loaded as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeProblem {
    #[error(
        "`{function}` refers to `{symbol}` in section `{section}`, which is neither a map nor .data, .rodata or .bss"
    )]
    Elsewhere { function: String, symbol: String, section: String },
    #[error("`{function}` refers to no function and no map at instruction {instruction}")]
    Nothing { function: String, instruction: u64 },
    #[error("slot {slot} of map `{map}` holds `{symbol}`, which is no {expected} of the object")]
    Slot { map: String, slot: u32, symbol: String, expected: &'static str },
    #[error(
        "`{one}` and `{other}` are called and lie at the same place of two sections; build the object with one section of functions"
    )]
    SamePlace { one: String, other: String },
    #[error(
        "`{program}` calls {count} functions; at most {MOST_FUNCTIONS} are linked (the kernel takes 256)"
    )]
    TooManyFunctions { program: String, count: usize },
    #[error("`{program}` has more than {most} instructions, which no kernel takes")]
    TooLong { program: String, most: u64 },
}

/// A function; a program is one that nothing calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) section: usize,
    /// In bytes from the start of the section.
    pub(super) place: Range<u64>,
    pub(super) is_local: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Function(usize),
    Map(usize),
    /// A global variable: its section, and its place there in bytes.
    Global {
        section: usize,
        offset: i32,
    },
    /// An extern symbol, by its index.
    Extern(usize),
}

/// An instruction that refers to something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// In bytes from the start of the section.
    pub(super) at: u64,
    pub(super) is_call: bool,
    /// Set if the instruction needs no relocation: a call within a section.
    pub(super) is_relative: bool,
    pub(super) target: Target,
}

/// Everything that a program needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reach {
    /// The program itself, then those that it calls by tail calls the slots of which the object fills.
    pub(super) programs: Vec<usize>,
    pub(super) functions: BTreeSet<usize>,
    pub(super) maps: BTreeSet<usize>,
    /// Sections of global variables.
    pub(super) globals: BTreeSet<usize>,
    /// Indices of extern symbols.
    pub(super) externs: BTreeSet<usize>,
}

/// The functions of an object with its maps.
#[derive(Clone, Debug)]
pub(super) struct Code<'e, 'd> {
    elf: &'e Elf<'d>,
    maps: &'e [MapDefinition],
    pub(super) functions: Vec<Function>,
    /// Functions and maps by their section and their place in it.
    function_places: BTreeMap<(usize, u64), usize>,
    map_places: BTreeMap<(usize, u64), usize>,
}

/// Returns whether a section holds global variables, and whether they are read-only.
pub(super) fn global_data(name: &str, contents: Contents) -> Option<bool> {
    let is =
        |kind: &str| name.strip_prefix(kind).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    match contents {
        Contents::Data if is(".rodata") => Some(true),
        Contents::Data if is(".data") => Some(false),
        Contents::Data | Contents::Zeros if is(".bss") => Some(false),
        Contents::Code | Contents::Data | Contents::Zeros | Contents::Other => None,
    }
}

impl<'e, 'd> Code<'e, 'd> {
    pub(super) fn of(elf: &'e Elf<'d>, maps: &'e [MapDefinition]) -> Self {
        let mut functions = Vec::new();
        for (section, its) in elf.sections.iter().enumerate() {
            if its.contents != Contents::Code {
                continue;
            }
            let whole = |symbol: &&Symbol<'_>| {
                let aligned =
                    [symbol.address, symbol.size].iter().all(|bytes| bytes.is_multiple_of(INSTRUCTION));
                symbol.kind == SymbolKind::Function && symbol.size > 0 && aligned
            };
            functions.extend(elf.symbols_of(section).into_iter().filter(whole).map(|symbol| Function {
                name: symbol.name.to_owned(),
                section,
                place: symbol.address..symbol.address + symbol.size,
                is_local: symbol.is_local,
            }));
        }
        let function_place = |its: &Function| (its.section, its.place.start);
        let function_places = functions.iter().map(function_place).zip(0..).collect();
        let map_places = maps.iter().map(|map| (map.section, map.place.start)).zip(0..).collect();
        Self { elf, maps, functions, function_places, map_places }
    }

    /// Returns everything that a program needs, together with `further` ones, if nothing of it is missing.
    pub(super) fn reach(&self, program: usize, further: &[usize]) -> Result<Reach, CodeProblem> {
        let mut reach = Reach { programs: vec![program], ..Reach::default() };
        reach.programs.extend(further.iter().filter(|&&other| other != program));
        let (mut functions, mut called) = (reach.programs.clone(), BTreeSet::new());
        let mut instructions = 0;
        while let Some(function) = functions.pop() {
            if !reach.functions.insert(function) {
                continue;
            }
            let place = &self.functions[function].place;
            instructions += (place.end - place.start) / INSTRUCTION;
            let most = MOST_INSTRUCTIONS * reach.programs.len() as u64;
            if instructions > most {
                return Err(CodeProblem::TooLong { program: self.functions[program].name.clone(), most });
            }
            for Reference { target, .. } in self.references(function)? {
                match target {
                    Target::Function(callee) => {
                        called.insert(callee);
                        functions.push(callee);
                    }
                    Target::Map(map) => self.add_map(map, &mut reach, &mut functions)?,
                    Target::Global { section, .. } => drop(reach.globals.insert(section)),
                    Target::Extern(symbol) => drop(reach.externs.insert(symbol)),
                }
            }
        }
        if called.len() > MOST_FUNCTIONS {
            let program = self.functions[program].name.clone();
            return Err(CodeProblem::TooManyFunctions { program, count: called.len() });
        }
        self.check_places(&called)?;
        Ok(reach)
    }

    /// Adds a map with everything that the object puts into it.
    fn add_map(&self, map: usize, reach: &mut Reach, functions: &mut Vec<usize>) -> Result<(), CodeProblem> {
        let mut maps = vec![map];
        while let Some(map) = maps.pop() {
            if !reach.maps.insert(map) {
                continue;
            }
            for (_, target) in self.filled(map)? {
                match target {
                    Target::Function(program) if !reach.programs.contains(&program) => {
                        reach.programs.push(program);
                        functions.push(program);
                    }
                    Target::Map(inner) => maps.push(inner),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Returns what the object puts into a map, by slot.
    pub(super) fn filled(&self, map: usize) -> Result<Vec<(u32, Target)>, CodeProblem> {
        let definition = &self.maps[map];
        let (of_programs, of_maps) = (definition.is_of_programs(), definition.is_of_maps());
        let each = definition.slots.iter().map(|&(slot, symbol)| {
            let symbol = &self.elf.symbols[symbol];
            let place = symbol.section.map(|section| (section, symbol.address));
            let target = match place {
                Some((section, at)) if of_programs => self.function_at(section, at).map(Target::Function),
                Some((section, at)) if of_maps => self.map_at(section, at).map(Target::Map),
                _ => None,
            };
            let expected = if of_programs { "program" } else { "map" };
            let (map, symbol) = (definition.name.clone(), symbol.name.to_owned());
            Ok((slot, target.ok_or(CodeProblem::Slot { map, slot, symbol, expected })?))
        });
        each.collect()
    }

    /// Returns everything that a function refers to.
    pub(super) fn references(&self, function: usize) -> Result<Vec<Reference>, CodeProblem> {
        let Function { name, section, place, .. } = &self.functions[function];
        let its = &self.elf.sections[*section];
        let relocation = |at: u64| {
            let found = its.relocations.binary_search_by_key(&at, |relocation| relocation.offset);
            found.ok().map(|index| its.relocations[index].symbol)
        };
        let (mut references, mut at) = (Vec::new(), place.start);
        while at < place.end {
            let nothing = || CodeProblem::Nothing {
                function: name.clone(),
                instruction: (at - place.start) / INSTRUCTION,
            };
            let bytes = its.bytes(at..at + INSTRUCTION).ok_or_else(nothing)?;
            let immediate = i32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
            let (is_call, is_load) = (bytes[0] == CALL, bytes[0] == LOAD_64);
            let target = match relocation(at) {
                Some(symbol) if is_call || is_load => {
                    Some(self.target(function, symbol, immediate, is_call, nothing)?)
                }
                Some(_) => return Err(nothing()),
                None if is_call && bytes[1] >> 4 == OF_OBJECT => {
                    let callee =
                        place_of_call(at, immediate).and_then(|callee| self.function_at(*section, callee));
                    Some(Target::Function(callee.ok_or_else(nothing)?))
                }
                None => None,
            };
            if let Some(target) = target {
                references.push(Reference { at, is_call, is_relative: relocation(at).is_none(), target });
            }
            // A load of 64 bits at the end of a function misses its second half.
            let length = if is_load { 2 } else { 1 } * INSTRUCTION;
            if at + length > place.end {
                return Err(nothing());
            }
            at += length;
        }
        Ok(references)
    }

    fn target(
        &self,
        function: usize,
        symbol: usize,
        immediate: i32,
        is_call: bool,
        nothing: impl Fn() -> CodeProblem,
    ) -> Result<Target, CodeProblem> {
        let Symbol { name, section, address, .. } = &self.elf.symbols[symbol];
        let Some(index) = *section else {
            return if name.is_empty() { Err(nothing()) } else { Ok(Target::Extern(symbol)) };
        };
        let section = &self.elf.sections[index];
        let at = |offset: Option<i64>| offset.and_then(|offset| address.checked_add_signed(offset));
        if section.contents == Contents::Code {
            // A call counts instructions from the one behind it, an address counts bytes.
            let offset = if is_call {
                i64::from(immediate).checked_add(1).map(|count| 8 * count)
            } else {
                Some(i64::from(immediate))
            };
            let callee = at(offset).and_then(|at| self.function_at(index, at));
            return callee.map(Target::Function).ok_or_else(nothing);
        }
        if is_call {
            return Err(nothing());
        }
        if let Some(map) = at(Some(immediate.into())).and_then(|at| self.map_at(index, at)) {
            return Ok(Target::Map(map));
        }
        if global_data(section.name, section.contents).is_some() {
            let offset = at(Some(immediate.into())).and_then(|at| i32::try_from(at).ok());
            return Ok(Target::Global { section: index, offset: offset.ok_or_else(nothing)? });
        }
        let (symbol, section) = ((*name).to_owned(), section.name.to_owned());
        Err(CodeProblem::Elsewhere { function: self.functions[function].name.clone(), symbol, section })
    }

    pub(super) fn function_at(&self, section: usize, address: u64) -> Option<usize> {
        self.function_places.get(&(section, address)).copied()
    }

    fn map_at(&self, section: usize, address: u64) -> Option<usize> {
        self.map_places.get(&(section, address)).copied()
    }

    /// aya-obj's linker knows a called function by its place in a section, and not by its section
    /// (`FunctionLinker::linked_functions`).
    fn check_places(&self, called: &BTreeSet<usize>) -> Result<(), CodeProblem> {
        let mut seen = BTreeMap::new();
        for function in called.iter().map(|&index| &self.functions[index]) {
            if let Some(other) = seen.insert(function.place.start, &function.name) {
                let (one, other) = (function.name.clone(), other.clone());
                return Err(CodeProblem::SamePlace { one, other });
            }
        }
        Ok(())
    }
}

impl Code<'_, '_> {
    /// Returns the numbers of the helpers that a function calls.
    pub(super) fn helpers(&self, function: usize) -> BTreeSet<u32> {
        let Function { section, place, .. } = &self.functions[function];
        let its = &self.elf.sections[*section];
        let code = its.bytes(place.clone()).unwrap_or_default();
        let (mut helpers, mut second_half) = (BTreeSet::new(), false);
        let places = (0..).map(|index| place.start + INSTRUCTION * index);
        // `struct bpf_insn`.
        for (at, bytes) in places.zip(code.as_chunks::<8>().0) {
            let skipped = second_half;
            second_half = bytes[0] == LOAD_64 && !skipped;
            let is_relocated = || its.relocations.binary_search_by_key(&at, |its| its.offset).is_ok();
            if !skipped && bytes[0] == CALL && bytes[1] >> 4 == 0 && !is_relocated() {
                helpers.insert(u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]));
            }
        }
        helpers
    }
}

fn place_of_call(at: u64, immediate: i32) -> Option<u64> {
    at.checked_add_signed(8 * (i64::from(immediate) + 1))
}
