//! Which program of an object is tested, and which of its maps is the counter: decided from names and dimensions alone.

use aya_obj::generated::bpf_map_type::{
    BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_LRU_PERCPU_HASH,
    BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_PERCPU_HASH,
};
use xdproof_ebpf::abi;

use crate::program::object::Object;

/// Name and dimensions of a map.
#[derive(Clone, Debug)]
pub(super) struct MapShape {
    pub(super) name: String,
    /// `enum bpf_map_type` of `include/uapi/linux/bpf.h`.
    pub(super) kind: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) entries: u32,
    /// Pinned by name: one map for every process that loads the object.
    pub(super) pinned: bool,
}

/// A reason why an object cannot be tested as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectProblem {
    #[error("no XDP program `{name}`; it has {}", list(available))]
    NoSuchProgram { name: String, available: Vec<String> },
    #[error("no XDP program")]
    NoProgram,
    #[error("several XDP programs, {}; choose one with --program", list(available))]
    SeveralPrograms { available: Vec<String> },
    #[error("no map `{name}`; it has {}", list(available))]
    NoSuchMap { name: String, available: Vec<String> },
    /// Its maps, each with what keeps it from being the counter.
    #[error("no map that can be the counter: {}", misfits(maps))]
    NoCounterMap { maps: Vec<(String, String)> },
    #[error("several maps that can be the counter, {}; choose one with --map", list(available))]
    SeveralCounterMaps { available: Vec<String> },
    #[error("map `{name}` cannot be the counter: {misfit}")]
    NotACounter { name: String, misfit: String },
    #[error(
        "map `{name}` is pinned by name, so that other processes would share it; build the object without pinning"
    )]
    Pinned { name: String },
    #[error("map `{name}` is an array whose key has {key_size} bytes; the key of an array has 4")]
    ArrayKey { name: String, key_size: u32 },
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { format!("`{}`", names.join("`, `")) }
}

fn misfits(maps: &[(String, String)]) -> String {
    let each: Vec<_> = maps.iter().map(|(name, misfit)| format!("`{name}`: {misfit}")).collect();
    if each.is_empty() { "it has no map".to_owned() } else { each.join(". ") }
}

impl MapShape {
    fn is_array(&self) -> bool {
        [BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PERCPU_ARRAY].map(|kind| kind as u32).contains(&self.kind)
    }

    /// Returns what keeps the map from being the counter: all of it, or nothing.
    fn misfit(&self) -> Option<String> {
        let is = |kinds: [_; 2]| kinds.map(|kind| kind as u32).contains(&self.kind);
        if is([BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_LRU_PERCPU_HASH]) {
            return Some("it is an LRU hash, which forgets counts when it is full".to_owned());
        }
        if !self.is_array() && !is([BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_PERCPU_HASH]) {
            return Some("it is neither an array nor a hash, per CPU or not".to_owned());
        }
        let &Self { key_size, value_size, entries, .. } = self;
        let mut wrong = Vec::new();
        if key_size != 4 {
            wrong.push(format!("its key has {key_size} bytes, expected 4 (the protocol number as u32)"));
        }
        if !matches!(value_size, 4 | 8) {
            wrong.push(format!("its value has {value_size} bytes, expected 8 or 4 (a number of packets)"));
        }
        if entries < abi::SLOTS {
            let slots = abi::SLOTS;
            wrong.push(format!("it has {entries} entries, expected at least {slots}, one a protocol number"));
        }
        if wrong.is_empty() { None } else { Some(wrong.join("; ")) }
    }
}

/// Chooses the program that an object names, or the only one of `available`.
pub(super) fn choose_program(object: &Object, available: Vec<String>) -> Result<String, ObjectProblem> {
    let named = match (&object.program, &object.path) {
        (Some(name), _) => Some(name.as_str()),
        (None, None) => Some(abi::COUNT_PROGRAM),
        (None, Some(_)) => None,
    };
    match (named, available.as_slice()) {
        (Some(name), all) if all.iter().any(|other| other == name) => Ok(name.to_owned()),
        (Some(name), _) => Err(ObjectProblem::NoSuchProgram { name: name.to_owned(), available }),
        (None, [only]) => Ok(only.clone()),
        (None, []) => Err(ObjectProblem::NoProgram),
        (None, _) => Err(ObjectProblem::SeveralPrograms { available }),
    }
}

/// Chooses the counter: the map that an object names, `rxcnt`, or the only one that can be it.
pub(super) fn choose_map<'a>(object: &Object, maps: &'a [MapShape]) -> Result<&'a MapShape, ObjectProblem> {
    let named = |name: &str| maps.iter().find(|map| map.name == name);
    let names = |maps: &[&MapShape]| maps.iter().map(|map| map.name.clone()).collect();
    let chosen = match &object.map {
        Some(name) => Some(named(name).ok_or_else(|| ObjectProblem::NoSuchMap {
            name: name.clone(),
            available: names(&maps.iter().collect::<Vec<_>>()),
        })?),
        None => named(abi::MAP_NAME),
    };
    if let Some(map) = chosen {
        return match map.misfit() {
            None => Ok(map),
            Some(misfit) => Err(ObjectProblem::NotACounter { name: map.name.clone(), misfit }),
        };
    }
    let fitting: Vec<&MapShape> = maps.iter().filter(|map| map.misfit().is_none()).collect();
    match fitting.as_slice() {
        [only] => Ok(only),
        [] => {
            let misfit = |map: &MapShape| Some((map.name.clone(), map.misfit()?));
            Err(ObjectProblem::NoCounterMap { maps: maps.iter().filter_map(misfit).collect() })
        }
        several => Err(ObjectProblem::SeveralCounterMaps { available: names(several) }),
    }
}

/// Refuses maps that must not be created, or that the kernel refuses without saying why.
///
/// A map that is pinned by name would be one map for all testbeds, and would outlive the process. An array's key has four
/// bytes (`array_map_alloc_check` in kernel/bpf/arraymap.c).
pub(super) fn check_maps(maps: &[MapShape]) -> Result<(), ObjectProblem> {
    for map in maps {
        let name = map.name.clone();
        if map.pinned {
            return Err(ObjectProblem::Pinned { name });
        }
        if map.is_array() && map.key_size != 4 {
            return Err(ObjectProblem::ArrayKey { name, key_size: map.key_size });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use aya_obj::generated::bpf_map_type::{self, BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_LPM_TRIE};

    use super::*;

    fn map(name: &str, kind: bpf_map_type) -> MapShape {
        let (key_size, value_size, entries) = (4, 8, abi::SLOTS);
        MapShape { name: name.to_owned(), kind: kind as u32, key_size, value_size, entries, pinned: false }
    }

    fn array(name: &str) -> MapShape {
        map(name, BPF_MAP_TYPE_PERCPU_ARRAY)
    }

    fn named(map: &str) -> Object {
        Object { path: Some("mine.o".into()), map: Some(map.to_owned()), ..Object::default() }
    }

    fn of_file() -> Object {
        Object { path: Some("mine.o".into()), ..Object::default() }
    }

    fn chosen(object: &Object, maps: &[MapShape]) -> Result<String, ObjectProblem> {
        choose_map(object, maps).map(|map| map.name.clone())
    }

    #[test]
    fn the_only_program_of_a_file_is_chosen_and_several_need_a_name() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(choose_program(&of_file(), names(&["one"])), Ok("one".to_owned()));
        assert_eq!(choose_program(&of_file(), Vec::new()), Err(ObjectProblem::NoProgram));
        let several = choose_program(&of_file(), names(&["one", "two"])).unwrap_err();
        assert_eq!(several.to_string(), "several XDP programs, `one`, `two`; choose one with --program");
        let two = Object { program: Some("two".to_owned()), ..of_file() };
        assert_eq!(choose_program(&two, names(&["one", "two"])), Ok("two".to_owned()));
        let none = choose_program(&two, names(&["one"])).unwrap_err();
        assert_eq!(none.to_string(), "no XDP program `two`; it has `one`");
    }

    #[test]
    fn the_built_in_object_means_its_counter() {
        let names = [abi::COUNT_PROGRAM, abi::NULL_PROGRAM].map(str::to_owned).to_vec();
        assert_eq!(choose_program(&Object::default(), names.clone()), Ok(abi::COUNT_PROGRAM.to_owned()));
        let null = Object::builtin(abi::NULL_PROGRAM);
        assert_eq!(choose_program(&null, names), Ok(abi::NULL_PROGRAM.to_owned()));
    }

    #[test]
    fn the_only_map_that_fits_is_the_counter() {
        let maps =
            [map("config", BPF_MAP_TYPE_LPM_TRIE), array("packets"), map("ports", BPF_MAP_TYPE_DEVMAP)];
        assert_eq!(chosen(&of_file(), &maps), Ok("packets".to_owned()));
    }

    #[test]
    fn of_several_that_fit_the_named_one_is_the_counter_and_rxcnt_needs_no_name() {
        let maps = [array("bytes"), array("packets")];
        let available = ["bytes", "packets"].map(str::to_owned).to_vec();
        assert_eq!(chosen(&of_file(), &maps), Err(ObjectProblem::SeveralCounterMaps { available }));
        assert_eq!(chosen(&named("packets"), &maps), Ok("packets".to_owned()));
        assert_eq!(chosen(&of_file(), &[array("bytes"), array("rxcnt")]), Ok("rxcnt".to_owned()));
        let other = chosen(&named("drops"), &maps).unwrap_err();
        assert_eq!(other.to_string(), "no map `drops`; it has `bytes`, `packets`");
    }

    #[test]
    fn a_named_map_that_does_not_fit_is_refused_even_beside_one_that_does() {
        let narrow = MapShape { key_size: 2, value_size: 16, entries: 5, ..array("rxcnt") };
        let refused = chosen(&of_file(), &[array("packets"), narrow]).unwrap_err().to_string();
        for part in ["`rxcnt`", "key has 2 bytes", "value has 16 bytes", "5 entries"] {
            assert!(refused.contains(part), "{refused}");
        }
    }

    #[test]
    fn an_object_without_a_counter_tells_why_for_each_map() {
        assert_eq!(
            chosen(&of_file(), &[]).unwrap_err().to_string(),
            "no map that can be the counter: it has no map"
        );
        let maps = [map("seen", BPF_MAP_TYPE_LRU_HASH), map("trie", BPF_MAP_TYPE_LPM_TRIE)];
        let refused = chosen(&of_file(), &maps).unwrap_err().to_string();
        assert!(refused.contains("`seen`: it is an LRU hash") && refused.contains("`trie`: it is neither"));
    }

    #[test]
    fn arrays_and_hashes_of_32_or_64_bit_values_fit() {
        for kind in [BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_PERCPU_HASH] {
            for value_size in [4, 8] {
                assert_eq!(MapShape { value_size, ..map("packets", kind) }.misfit(), None);
            }
        }
    }

    #[test]
    fn pinned_maps_and_arrays_of_other_keys_are_not_created() {
        let pinned = MapShape { pinned: true, ..map("shared", BPF_MAP_TYPE_HASH) };
        assert_eq!(check_maps(&[pinned]), Err(ObjectProblem::Pinned { name: "shared".to_owned() }));
        let wide = MapShape { key_size: 8, ..array("packets") };
        let refused = ObjectProblem::ArrayKey { name: "packets".to_owned(), key_size: 8 };
        assert_eq!(check_maps(&[array("fits"), wide]), Err(refused));
        assert_eq!(check_maps(&[MapShape { key_size: 8, ..map("flows", BPF_MAP_TYPE_HASH) }]), Ok(()));
    }
}
