//! Which program of an object is tested, and which of its maps is the counter: decided from names, types and dimensions.

use aya_obj::generated::bpf_map_type::{
    BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_LRU_PERCPU_HASH,
    BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_PERCPU_HASH, BPF_MAP_TYPE_RINGBUF,
};
use xdproof_ebpf::abi;

use crate::program::{
    btf::Shape,
    code::CodeProblem,
    elf::ElfProblem,
    externs::ExternProblem,
    map_definition::{DefinitionProblem, MapDefinition},
    object::Object,
    section_names::SectionKind,
};

/// `BPF_F_RDONLY` and `BPF_F_WRONLY` (include/uapi/linux/bpf.h): forbid user space to write to a map, and to read it.
const READ_ONLY: u32 = 1 << 3;
const WRITE_ONLY: u32 = 1 << 4;

/// The most entries of an array that is read as a counter: beyond the protocol numbers every one is read to find keys that are
/// none.
const MOST_ENTRIES: u32 = 1 << 16;

/// Names that a message lists.
const SHOWN_NAMES: usize = 20;

/// The most memory that a map may take when it is created.
pub(super) const MOST_MAP_BYTES: u64 = 1 << 30;

/// `BPF_F_NO_PREALLOC`: entries take memory only once they exist.
const NOT_ALLOCATED: u32 = 1;

/// A function that may be the program under test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) name: String,
    pub(super) section: String,
    /// Its index in the code of the object.
    pub(super) function: usize,
}

impl Candidate {
    fn kind(&self) -> SectionKind {
        SectionKind::of(&self.section)
    }
}

/// A map of the object, and whether the program under test uses it.
#[derive(Clone, Copy, Debug)]
pub(super) struct CounterCandidate<'m> {
    pub(super) map: &'m MapDefinition,
    pub(super) is_used: bool,
}

/// A reason why an object cannot be tested as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectProblem {
    #[error(transparent)]
    Elf(#[from] ElfProblem),
    #[error(transparent)]
    Definition(#[from] DefinitionProblem),
    #[error(transparent)]
    Code(#[from] CodeProblem),
    #[error(transparent)]
    Extern(#[from] ExternProblem),
    #[error("its types (`{section}`) are damaged")]
    Types { section: &'static str },
    #[error("no XDP program `{name}`; the object has {}", list(available))]
    NoSuchProgram { name: String, available: Vec<String> },
    /// Its functions, each with its section.
    #[error("no XDP program; {}", elsewhere(available))]
    NoProgram { available: Vec<(String, String)> },
    #[error("several XDP programs, {}; choose one with --program", list(available))]
    SeveralPrograms { available: Vec<String> },
    #[error(
        "program `{name}` runs behind a devmap or a cpumap (section `{section}`), and cannot be attached to a device"
    )]
    BehindMap { name: String, section: String },
    #[error("program `{name}` is no XDP program (section `{section}`)")]
    OtherKind { name: String, section: String },
    #[error("no map `{name}`; the object has {}", list(available))]
    NoSuchMap { name: String, available: Vec<String> },
    /// Its maps, each with what keeps it from being the counter.
    #[error("no map that can be the counter: {}", misfits(maps))]
    NoCounterMap { maps: Vec<(String, String)> },
    #[error("several maps that can be the counter, {}; choose one with --map", list(available))]
    SeveralCounterMaps { available: Vec<String> },
    /// A map fits, and another one looks more like a counter.
    #[error(
        "map `{name}` can be read, but perhaps another one is the counter; {}; choose one with --map",
        misfits(others)
    )]
    DoubtfulCounterMap { name: String, others: Vec<(String, String)> },
    #[error("map `{name}` cannot be the counter: {misfit}")]
    NotACounter { name: String, misfit: String },
    #[error("map `{name}` is an array whose key has {key_size} bytes; the key of an array has 4")]
    ArrayKey { name: String, key_size: u32 },
    #[error(
        "map `{name}` is a map of maps, and its definition does not say of which; add `__array(values, ..)`"
    )]
    NoInnerMap { name: String },
    #[error("map `{name}` would take {mebibytes} MiB; at most {} are created", MOST_MAP_BYTES >> 20)]
    TooLarge { name: String, mebibytes: u64 },
}

fn list(names: &[String]) -> String {
    let shown = &names[..names.len().min(SHOWN_NAMES)];
    match names.len() - shown.len() {
        _ if names.is_empty() => "none".to_owned(),
        0 => format!("`{}`", shown.join("`, `")),
        more => format!("`{}` and {more} more", shown.join("`, `")),
    }
}

fn elsewhere(available: &[(String, String)]) -> String {
    let each: Vec<_> = available
        .iter()
        .take(SHOWN_NAMES)
        .map(|(name, section)| format!("`{name}` (section `{section}`)"))
        .collect();
    match each.as_slice() {
        [] => "the object has no program at all".to_owned(),
        [only] => format!("the object has {only}; name it with --program to test it"),
        _ => format!("the object has {}; name the one to test with --program", each.join(", ")),
    }
}

fn misfits(maps: &[(String, String)]) -> String {
    let each: Vec<_> =
        maps.iter().take(SHOWN_NAMES).map(|(name, misfit)| format!("`{name}`: {misfit}")).collect();
    if each.is_empty() { "the program uses no map".to_owned() } else { each.join(". ") }
}

impl MapDefinition {
    fn is_array(&self) -> bool {
        [BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PERCPU_ARRAY].map(|kind| kind as u32).contains(&self.kind)
    }

    fn is_hash(&self) -> bool {
        [BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_PERCPU_HASH].map(|kind| kind as u32).contains(&self.kind)
    }

    /// Returns what keeps the map from being the counter: all of it, or nothing.
    fn misfit(&self) -> Option<String> {
        if [BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_LRU_PERCPU_HASH].map(|kind| kind as u32).contains(&self.kind)
        {
            return Some("it is an LRU hash, which forgets counts when it is full".to_owned());
        }
        if !self.is_array() && !self.is_hash() {
            return Some("it is neither an array nor a hash, per CPU or not".to_owned());
        }
        let &Self { key_size, value_size, entries, flags, .. } = self;
        let mut wrong = Vec::new();
        match &self.key {
            Some(Shape::Other(kind)) => {
                wrong.push(format!("its key is {kind}, expected u32 (the protocol number)"));
            }
            _ if key_size != 4 => {
                wrong.push(format!("its key has {key_size} bytes, expected 4 (the protocol number as u32)"));
            }
            _ => {}
        }
        match &self.value {
            Some(Shape::Other(kind)) => {
                wrong.push(format!("its value is {kind}, expected u64 or u32 (a number of packets)"));
            }
            _ if !matches!(value_size, 4 | 8) => {
                wrong
                    .push(format!("its value has {value_size} bytes, expected 8 or 4 (a number of packets)"));
            }
            _ => {}
        }
        if entries < abi::SLOTS {
            let slots = abi::SLOTS;
            wrong.push(format!("it has {entries} entries, expected at least {slots}, one a protocol number"));
        }
        if self.is_array() && entries > MOST_ENTRIES {
            wrong.push(format!("it has {entries} entries, expected at most {MOST_ENTRIES}"));
        }
        if flags & WRITE_ONLY != 0 {
            wrong.push("user space cannot read it (BPF_F_WRONLY)".to_owned());
        }
        if flags & READ_ONLY != 0 {
            wrong.push("user space cannot preset it (BPF_F_RDONLY)".to_owned());
        }
        if wrong.is_empty() { None } else { Some(wrong.join("; ")) }
    }

    /// Returns about how much memory the map takes on a machine with so many CPUs.
    fn bytes(&self, cpus: u64) -> u64 {
        let &Self { kind, key_size, value_size, entries, flags, .. } = self;
        let per_cpu = [BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_PERCPU_HASH, BPF_MAP_TYPE_LRU_PERCPU_HASH];
        let value = u64::from(value_size).next_multiple_of(8);
        let value = if per_cpu.iter().any(|&one| one as u32 == kind) { value * cpus } else { value };
        if kind == BPF_MAP_TYPE_RINGBUF as u32 {
            u64::from(entries)
        } else if flags & NOT_ALLOCATED != 0 && !self.is_array() {
            0
        } else {
            u64::from(entries).saturating_mul(value + u64::from(key_size))
        }
    }

    /// Returns whether the map has a slot for every protocol number, and only its values are none that can be read.
    fn looks_like_a_counter(&self) -> bool {
        (self.is_array() || self.is_hash()) && self.key_size == 4 && self.entries >= abi::SLOTS
    }

    /// Returns whether the map has exactly one slot for every protocol number.
    fn has_a_slot_for_each_protocol(&self) -> bool {
        self.is_array() && self.entries == abi::SLOTS
    }
}

/// Chooses the program that an object names, or the only one that it can be.
pub(super) fn choose_program<'c>(
    object: &Object,
    candidates: &'c [Candidate],
) -> Result<&'c Candidate, ObjectProblem> {
    let named = match (&object.program, &object.path) {
        (Some(name), _) => Some(name.as_str()),
        (None, None) => Some(abi::COUNT_PROGRAM),
        (None, Some(_)) => None,
    };
    let Some(name) = named else { return only_program(candidates) };
    let Some(found) = candidates.iter().find(|candidate| candidate.name == name) else {
        let available = candidates.iter().map(|candidate| candidate.name.clone()).collect();
        return Err(ObjectProblem::NoSuchProgram { name: name.to_owned(), available });
    };
    let (name, section) = (name.to_owned(), found.section.clone());
    match found.kind() {
        SectionKind::BehindMap { .. } => Err(ObjectProblem::BehindMap { name, section }),
        SectionKind::Other => Err(ObjectProblem::OtherKind { name, section }),
        SectionKind::Xdp { .. } | SectionKind::Text | SectionKind::Own { .. } => Ok(found),
    }
}

/// Finds a program that is loaded besides the one under test, for a slot of a map.
pub(super) fn further_program<'c>(
    name: &str,
    candidates: &'c [Candidate],
) -> Result<&'c Candidate, ObjectProblem> {
    let Some(found) = candidates.iter().find(|candidate| candidate.name == name) else {
        let available = candidates.iter().map(|candidate| candidate.name.clone()).collect();
        return Err(ObjectProblem::NoSuchProgram { name: name.to_owned(), available });
    };
    match found.kind() {
        SectionKind::Other => {
            Err(ObjectProblem::OtherKind { name: name.to_owned(), section: found.section.clone() })
        }
        _ => Ok(found),
    }
}

/// Chooses among the programs that a section calls XDP; without one, among those whose section says nothing.
fn only_program(candidates: &[Candidate]) -> Result<&Candidate, ObjectProblem> {
    let of = |wanted: &dyn Fn(SectionKind) -> bool| -> Vec<&Candidate> {
        candidates.iter().filter(|candidate| wanted(candidate.kind())).collect()
    };
    let groups = [
        of(&|kind| matches!(kind, SectionKind::Xdp { is_optional: false, .. })),
        of(&|kind| matches!(kind, SectionKind::Xdp { is_optional: true, .. })),
        of(&|kind| kind == SectionKind::Own { is_default: true }),
    ];
    for group in groups {
        match group.as_slice() {
            [] => {}
            [only] => return Ok(only),
            several => {
                let available = several.iter().map(|candidate| candidate.name.clone()).collect();
                return Err(ObjectProblem::SeveralPrograms { available });
            }
        }
    }
    let unnamed =
        [of(&|kind| matches!(kind, SectionKind::Own { .. })), of(&|kind| kind == SectionKind::Text)];
    if let Some([only]) = unnamed.iter().find(|group| !group.is_empty()).map(Vec::as_slice) {
        return Ok(only);
    }
    let placed = |candidate: &Candidate| (candidate.name.clone(), candidate.section.clone());
    Err(ObjectProblem::NoProgram { available: candidates.iter().map(placed).collect() })
}

/// Chooses the counter: the map that an object names, or the only one that can be it.
pub(super) fn choose_map<'m>(
    object: &Object,
    maps: &[CounterCandidate<'m>],
) -> Result<&'m MapDefinition, ObjectProblem> {
    let name_of = |candidate: &CounterCandidate<'_>| candidate.map.name.clone();
    let named = object.map.as_deref().or(object.path.is_none().then_some(abi::MAP_NAME));
    if let Some(name) = named {
        let Some(found) = maps.iter().find(|candidate| candidate.map.name == name) else {
            let available = maps.iter().map(name_of).collect();
            return Err(ObjectProblem::NoSuchMap { name: name.to_owned(), available });
        };
        // Programs of ours that count nothing, such as the null program, have the map beside them.
        let misfit = if object.path.is_none() { found.map.misfit() } else { found.misfit() };
        return match misfit {
            None => Ok(found.map),
            Some(misfit) => Err(ObjectProblem::NotACounter { name: name.to_owned(), misfit }),
        };
    }
    let used: Vec<_> = maps.iter().filter(|candidate| candidate.is_used).collect();
    let misfits = |of: &[&CounterCandidate<'_>]| -> Vec<(String, String)> {
        of.iter().filter_map(|candidate| Some((name_of(candidate), candidate.misfit()?))).collect()
    };
    let fitting: Vec<_> = used.iter().filter(|candidate| candidate.misfit().is_none()).collect();
    match fitting.as_slice() {
        [only] => {
            let alike: Vec<_> =
                used.iter().copied().filter(|candidate| candidate.map.looks_like_a_counter()).collect();
            let others = misfits(&alike);
            if others.is_empty() || only.map.has_a_slot_for_each_protocol() {
                Ok(only.map)
            } else {
                Err(ObjectProblem::DoubtfulCounterMap { name: name_of(only), others })
            }
        }
        [] => Err(ObjectProblem::NoCounterMap { maps: misfits(&used) }),
        several => {
            let available = several.iter().map(|candidate| name_of(candidate)).collect();
            Err(ObjectProblem::SeveralCounterMaps { available })
        }
    }
}

impl CounterCandidate<'_> {
    fn misfit(&self) -> Option<String> {
        if self.is_used { self.map.misfit() } else { Some("the program does not use it".to_owned()) }
    }
}

/// Returns about how much memory a map takes on this machine.
pub(super) fn map_bytes(map: &MapDefinition) -> u64 {
    map.bytes(aya::util::nr_cpus().map_or(1, |cpus| cpus as u64))
}

/// Refuses a map that the kernel refuses without saying why: an array's key has four bytes (`array_map_alloc_check` in
/// kernel/bpf/arraymap.c), and a map of maps needs one to compare others with.
pub(super) fn check_map(map: &MapDefinition) -> Result<(), ObjectProblem> {
    let name = map.name.clone();
    if map.is_array() && map.key_size != 4 {
        return Err(ObjectProblem::ArrayKey { name, key_size: map.key_size });
    }
    if map.is_of_maps() && map.inner.is_none() {
        return Err(ObjectProblem::NoInnerMap { name });
    }
    let bytes = map_bytes(map);
    if bytes > MOST_MAP_BYTES {
        return Err(ObjectProblem::TooLarge { name, mebibytes: bytes >> 20 });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use aya_obj::generated::bpf_map_type::{self, BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_LPM_TRIE};

    use super::*;

    fn map(name: &str, kind: bpf_map_type) -> MapDefinition {
        MapDefinition {
            name: name.to_owned(),
            kind: kind as u32,
            key_size: 4,
            value_size: 8,
            entries: abi::SLOTS,
            ..MapDefinition::default()
        }
    }

    fn array(name: &str) -> MapDefinition {
        map(name, BPF_MAP_TYPE_PERCPU_ARRAY)
    }

    fn hash(name: &str) -> MapDefinition {
        MapDefinition { entries: 1024, ..map(name, BPF_MAP_TYPE_HASH) }
    }

    fn of_pairs(map: MapDefinition) -> MapDefinition {
        MapDefinition { value: Some(Shape::Other("struct rec {packets, bytes}".to_owned())), ..map }
    }

    fn named(map: &str) -> Object {
        Object { map: Some(map.to_owned()), ..of_file() }
    }

    fn of_file() -> Object {
        Object::file("mine.o")
    }

    fn chosen(object: &Object, maps: &[MapDefinition]) -> Result<String, ObjectProblem> {
        let all: Vec<_> = maps.iter().map(|map| CounterCandidate { map, is_used: true }).collect();
        choose_map(object, &all).map(|map| map.name.clone())
    }

    fn candidates(sections: &[(&str, &str)]) -> Vec<Candidate> {
        let candidate = |(function, (name, section)): (usize, &(&str, &str))| Candidate {
            name: (*name).to_owned(),
            section: (*section).to_owned(),
            function,
        };
        sections.iter().enumerate().map(candidate).collect()
    }

    fn program(object: &Object, sections: &[(&str, &str)]) -> Result<String, String> {
        let candidates = candidates(sections);
        choose_program(object, &candidates).map(|it| it.name.clone()).map_err(|problem| problem.to_string())
    }

    #[test]
    fn the_only_program_of_a_file_is_chosen_and_several_need_a_name() {
        assert_eq!(program(&of_file(), &[("one", "xdp")]), Ok("one".to_owned()));
        assert_eq!(
            program(&of_file(), &[]),
            Err("no XDP program; the object has no program at all".to_owned())
        );
        let both = [("one", "xdp"), ("two", "xdp.frags")];
        assert_eq!(
            program(&of_file(), &both),
            Err("several XDP programs, `one`, `two`; choose one with --program".to_owned())
        );
        let two = Object { program: Some("two".to_owned()), ..of_file() };
        assert_eq!(program(&two, &both), Ok("two".to_owned()));
        let none = Err("no XDP program `two`; the object has `one`".to_owned());
        assert_eq!(program(&two, &both[..1]), none);
    }

    #[test]
    fn programs_of_other_kinds_and_those_behind_maps_are_not_offered() {
        let beside = [("other", "tc"), ("count", "xdp"), ("egress", "xdp/devmap"), ("later", "?xdp")];
        assert_eq!(program(&of_file(), &beside), Ok("count".to_owned()));
        let named = |name: &str| Object { program: Some(name.to_owned()), ..of_file() };
        let refused = program(&named("egress"), &beside).unwrap_err();
        assert!(refused.contains("behind a devmap or a cpumap (section `xdp/devmap`)"), "{refused}");
        let refused = program(&named("other"), &beside).unwrap_err();
        assert_eq!(refused, "program `other` is no XDP program (section `tc`)");
        assert_eq!(program(&named("later"), &beside), Ok("later".to_owned()));
    }

    #[test]
    fn a_program_in_a_section_of_its_own_name_is_chosen_if_it_is_the_only_one() {
        assert_eq!(
            program(&of_file(), &[("count", "mysection"), ("helper", ".text")]),
            Ok("count".to_owned())
        );
        assert_eq!(program(&of_file(), &[("count", ".text"), ("other", "tc")]), Ok("count".to_owned()));
        assert_eq!(program(&of_file(), &[("one", "mysection"), ("main", "prog")]), Ok("main".to_owned()));
        let several = program(&of_file(), &[("one", "mine"), ("two", "yours")]).unwrap_err();
        assert_eq!(
            several,
            "no XDP program; the object has `one` (section `mine`), `two` (section `yours`); name the one to test with --program"
        );
        let other = program(&of_file(), &[("filter", "tc")]).unwrap_err();
        assert!(other.contains("the object has `filter` (section `tc`)"), "{other}");
        let two = Object { program: Some("two".to_owned()), ..of_file() };
        assert_eq!(program(&two, &[("one", "mine"), ("two", ".text")]), Ok("two".to_owned()));
    }

    #[test]
    fn the_built_in_object_means_its_counter() {
        let both = [(abi::COUNT_PROGRAM, "xdp"), (abi::NULL_PROGRAM, "xdp")];
        assert_eq!(program(&Object::default(), &both), Ok(abi::COUNT_PROGRAM.to_owned()));
        let null = Object::builtin(abi::NULL_PROGRAM);
        assert_eq!(program(&null, &both), Ok(abi::NULL_PROGRAM.to_owned()));
        let maps = [array("other"), array(abi::MAP_NAME)];
        assert_eq!(chosen(&Object::default(), &maps), Ok(abi::MAP_NAME.to_owned()));
    }

    #[test]
    fn the_only_map_that_fits_is_the_counter() {
        let maps =
            [map("config", BPF_MAP_TYPE_LPM_TRIE), array("packets"), map("ports", BPF_MAP_TYPE_DEVMAP)];
        assert_eq!(chosen(&of_file(), &maps), Ok("packets".to_owned()));
    }

    #[test]
    fn of_several_that_fit_the_named_one_is_the_counter_whatever_they_are_called() {
        let maps = [array("rxcnt"), array("packets")];
        let available = ["rxcnt", "packets"].map(str::to_owned).to_vec();
        assert_eq!(chosen(&of_file(), &maps), Err(ObjectProblem::SeveralCounterMaps { available }));
        assert_eq!(chosen(&named("packets"), &maps), Ok("packets".to_owned()));
        let other = chosen(&named("drops"), &maps).unwrap_err();
        assert_eq!(other.to_string(), "no map `drops`; the object has `rxcnt`, `packets`");
    }

    #[test]
    fn a_map_that_the_program_does_not_use_is_not_its_counter() {
        let (ours, theirs) = (array("ours"), array("theirs"));
        let maps = [
            CounterCandidate { map: &ours, is_used: true },
            CounterCandidate { map: &theirs, is_used: false },
        ];
        assert_eq!(choose_map(&of_file(), &maps).map(|map| map.name.as_str()), Ok("ours"));
        let refused = choose_map(&named("theirs"), &maps).unwrap_err().to_string();
        assert_eq!(refused, "map `theirs` cannot be the counter: the program does not use it");
    }

    #[test]
    fn a_structure_is_no_number_though_it_is_as_long() {
        let narrow = MapDefinition { value_size: 8, ..of_pairs(array("cnt")) };
        let refused = chosen(&of_file(), &[narrow]).unwrap_err().to_string();
        assert!(
            refused.contains("`cnt`: its value is struct rec {packets, bytes}, expected u64"),
            "{refused}"
        );
    }

    #[test]
    fn a_map_that_fits_beside_one_that_looks_more_like_the_counter_needs_a_name() {
        let maps = [of_pairs(array("cnt")), hash("blocklist")];
        let refused = chosen(&of_file(), &maps).unwrap_err().to_string();
        assert!(
            refused.contains("`blocklist`") && refused.contains("`cnt`: its value is struct"),
            "{refused}"
        );
        assert_eq!(chosen(&named("blocklist"), &maps), Ok("blocklist".to_owned()));
        let certain = [of_pairs(hash("flows")), array("packets")];
        assert_eq!(chosen(&of_file(), &certain), Ok("packets".to_owned()));
    }

    #[test]
    fn a_named_map_that_does_not_fit_is_refused_even_beside_one_that_does() {
        let narrow = MapDefinition { key_size: 2, value_size: 16, entries: 5, ..array("rxcnt") };
        let refused = chosen(&named("rxcnt"), &[array("packets"), narrow]).unwrap_err().to_string();
        for part in ["`rxcnt`", "key has 2 bytes", "value has 16 bytes", "5 entries"] {
            assert!(refused.contains(part), "{refused}");
        }
    }

    #[test]
    fn an_object_without_a_counter_tells_why_for_each_map() {
        assert_eq!(
            chosen(&of_file(), &[]).unwrap_err().to_string(),
            "no map that can be the counter: the program uses no map"
        );
        let maps = [map("seen", BPF_MAP_TYPE_LRU_HASH), map("trie", BPF_MAP_TYPE_LPM_TRIE)];
        let refused = chosen(&of_file(), &maps).unwrap_err().to_string();
        assert!(refused.contains("`seen`: it is an LRU hash") && refused.contains("`trie`: it is neither"));
    }

    #[test]
    fn a_map_that_user_space_cannot_read_or_write_is_no_counter() {
        for (flag, part) in [(WRITE_ONLY, "cannot read it"), (READ_ONLY, "cannot preset it")] {
            let refused = chosen(&of_file(), &[MapDefinition { flags: flag, ..array("cnt") }]).unwrap_err();
            assert!(refused.to_string().contains(part), "{refused}");
        }
        let wide = MapDefinition { entries: 10_000_000, ..array("cnt") };
        assert!(chosen(&of_file(), &[wide]).unwrap_err().to_string().contains("at most 65536"));
    }

    #[test]
    fn arrays_and_hashes_of_32_or_64_bit_values_fit() {
        for kind in [BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_PERCPU_HASH] {
            for value_size in [4, 8] {
                assert_eq!(MapDefinition { value_size, ..map("packets", kind) }.misfit(), None);
            }
        }
    }

    #[test]
    fn a_map_beyond_all_memory_is_not_created() {
        let huge = MapDefinition { entries: 200_000_000, ..hash("flows") };
        let refused = check_map(&huge).unwrap_err().to_string();
        assert_eq!(refused, "map `flows` would take 2288 MiB; at most 1024 are created");
        assert_eq!(check_map(&MapDefinition { flags: NOT_ALLOCATED, ..huge }), Ok(()));
        assert_eq!(check_map(&MapDefinition { entries: 1_000_000, ..hash("flows") }), Ok(()));
    }

    #[test]
    fn a_message_lists_some_names_and_counts_the_rest() {
        let names: Vec<String> = (0..25).map(|number| format!("map_{number}")).collect();
        assert!(list(&names).ends_with("`map_19` and 5 more"), "{}", list(&names));
        assert_eq!(list(&names[..2]), "`map_0`, `map_1`");
    }

    #[test]
    fn arrays_of_other_keys_and_maps_of_unknown_maps_are_not_created() {
        let wide = MapDefinition { key_size: 8, ..array("packets") };
        let refused = ObjectProblem::ArrayKey { name: "packets".to_owned(), key_size: 8 };
        assert_eq!(check_map(&wide), Err(refused));
        assert_eq!(check_map(&array("fits")), Ok(()));
        assert_eq!(check_map(&MapDefinition { key_size: 8, ..hash("flows") }), Ok(()));
        let outer = map("outer", bpf_map_type::BPF_MAP_TYPE_HASH_OF_MAPS);
        assert_eq!(check_map(&outer), Err(ObjectProblem::NoInnerMap { name: "outer".to_owned() }));
    }
}
