//! Loads a program with its maps into the kernel, as the object's own loader would (libbpf's `bpf_object__load()`, or aya's).

use std::{
    collections::{BTreeMap, HashMap},
    io,
    os::fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::{Mutex, Once, OnceLock, PoisonError},
};

use aya::{Ebpf, EbpfError, EbpfLoader};
use aya_obj::generated::bpf_map_type::{
    BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_CPUMAP, BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_DEVMAP_HASH,
    BPF_MAP_TYPE_PERF_EVENT_ARRAY, BPF_MAP_TYPE_RINGBUF,
};
use rustix::{
    io::Errno,
    process::{Resource, Rlimit, setrlimit},
};
use xdproof_netns::{
    bpf::{self, BpfMap, MapInfo, NewMap, NewProgram, ProgramPlace, ProgramTypes},
    run_in_root,
};
use xdproof_scenarios::KernelVersion;

use crate::{
    host::kernel,
    program::{
        ProgramError,
        code::{Reference, Target, global_data},
        elf::{Contents, INSTRUCTION},
        error::VerifierLog,
        externs::Resolved,
        image,
        linker::{Linked, Linker, Patch, Place},
        map_definition::MapDefinition,
        map_kind::MapKind,
        object_file::{ObjectFile, Selected},
    },
};

/// `BPF_PSEUDO_*`: what the number in an instruction is.
const MAP_FD: u8 = 1;
const MAP_VALUE: u8 = 2;
const KERNEL_TYPE: u8 = 3;
const KERNEL_FUNCTION: u8 = 2;

/// A helper that does not exist, for a call that must not be reached (`POISON_CALL_KFUNC_BASE` of libbpf).
const NO_SUCH_HELPER: i32 = 2_002_000_000;

/// `BPF_F_RDONLY_PROG` and `BPF_F_XDP_HAS_FRAGS`.
const READ_ONLY_PROGRAM: u32 = 1 << 7;
pub(super) const HAS_FRAGS: u32 = 1 << 5;

/// The first kernel that charges maps to the memory of a cgroup, not to `RLIMIT_MEMLOCK`.
const CGROUP_MEMORY_KERNEL: KernelVersion = KernelVersion { major: 5, minor: 11, patch: 0 };

/// The longest log of the verifier that all kernels take.
const LOG_BYTES: usize = (16 << 20) - 1;

/// Directory in which maps are pinned by name.
const PINS: &str = "/sys/fs/bpf";

/// A program in the kernel with its maps, by their index in the object. Its maps are held: the kernel empties a map of programs
/// when the last descriptor is closed (`prog_array_map_clear()` of `kernel/bpf/arraymap.c`).
pub(super) struct Loaded {
    pub(super) program: OwnedFd,
    pub(super) takes_frags: bool,
    pub(super) maps: BTreeMap<usize, OwnedFd>,
    /// Maps of global variables, by the index of their section.
    pub(super) globals: BTreeMap<usize, OwnedFd>,
    /// The other programs that were loaded, by their name.
    pub(super) programs: BTreeMap<String, OwnedFd>,
    /// Maps that no program uses and the kernel refused, with its answer.
    pub(super) unavailable: Vec<(usize, String)>,
    _options: Option<OwnedFd>,
}

impl Loaded {
    /// Holds a program whose maps are held by others.
    pub(super) fn alone(program: OwnedFd, takes_frags: bool) -> Self {
        Self {
            program,
            takes_frags,
            maps: BTreeMap::new(),
            globals: BTreeMap::new(),
            programs: BTreeMap::new(),
            unavailable: Vec::new(),
            _options: None,
        }
    }
}

/// Maps, sections and values that are loaded in addition to the program and its needs.
#[derive(Debug, Default)]
pub(super) struct Additions {
    /// Maps that no program uses.
    pub(super) maps: Vec<usize>,
    /// Sections of global variables that no program uses.
    pub(super) sections: Vec<usize>,
    /// Contents of sections in which variables are set.
    pub(super) contents: HashMap<usize, Vec<u8>>,
    /// Set if maps that are pinned by name are used, where they are.
    pub(super) reuse_pins: bool,
}

/// Everything that instructions can refer to, in the kernel.
struct InKernel<'f, 'a> {
    file: &'f ObjectFile<'a>,
    additions: &'f Additions,
    types: Option<OwnedFd>,
    maps: BTreeMap<usize, OwnedFd>,
    globals: BTreeMap<usize, OwnedFd>,
    options: Option<OwnedFd>,
}

/// Loads the programs that were selected.
pub(super) fn load(
    file: &ObjectFile<'_>,
    selected: &Selected<'_, '_>,
    additions: &Additions,
) -> Result<Loaded, ProgramError> {
    raise_memory_limit();
    let mut linker = file.link(selected)?;
    // libbpf goes on without types, too: those that need them are refused with their map or program.
    let types = linker.types.as_deref().and_then(|types| bpf::load_types(types).ok());
    let (maps, globals) = (BTreeMap::new(), BTreeMap::new());
    let mut kernel = InKernel { file, additions, types, maps, globals, options: None };
    for &map in &selected.reach.maps {
        let created = kernel.create_or_reuse(&file.maps[map])?;
        kernel.maps.insert(map, created);
    }
    for &section in &selected.reach.globals {
        let created = kernel.create_globals(section)?;
        kernel.globals.insert(section, created);
    }
    let unavailable = kernel.add()?;
    if !selected.externs.options.is_empty() {
        kernel.options = Some(kernel.create_data(".kconfig", &selected.externs.options, true, 0)?);
    }
    kernel.fill_maps(selected)?;
    kernel.patch(selected, &mut linker)?;
    let sections = image::sections_of(&selected.code, &selected.reach);
    let mut programs: BTreeMap<usize, OwnedFd> = BTreeMap::new();
    for &index in &selected.reach.programs {
        let function = &selected.code.functions[index];
        let place = (sections[&function.section], function.place.start);
        let linked = linker.link(place, &function.name);
        let linked = linked.map_err(|source| ProgramError::link(file.object, source))?;
        let flags = if file.takes_frags(function.section) { HAS_FRAGS } else { 0 };
        let place = file.place(function.section);
        programs.insert(index, kernel.load_program(&function.name, &linked, flags, place)?);
    }
    kernel.fill_programs(selected, &programs)?;
    let takes_frags = file.takes_frags(selected.code.functions[selected.reach.programs[0]].section);
    let program = programs.remove(&selected.reach.programs[0]);
    let program = program.ok_or_else(|| ProgramError::system("find the program", Errno::NOENT.into()))?;
    let named = |(index, program): (usize, OwnedFd)| (selected.code.functions[index].name.clone(), program);
    let programs = programs.into_iter().map(named).collect();
    let InKernel { maps, globals, options, .. } = kernel;
    Ok(Loaded { program, takes_frags, maps, globals, programs, unavailable, _options: options })
}

/// Lifts the limit of memory that maps are charged to on older kernels, as libbpf and aya do. Where that is not allowed, the
/// limit may still suffice.
fn raise_memory_limit() {
    static RAISED: Once = Once::new();
    RAISED.call_once(|| {
        if kernel::kernel_version().is_ok_and(|version| version < CGROUP_MEMORY_KERNEL) {
            let _refused = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
        }
    });
}

impl InKernel<'_, '_> {
    fn refused(&self, map: &str, answer: io::Error) -> ProgramError {
        ProgramError::map(self.file.object, map, answer)
    }

    /// Creates a map. One that the kernel refuses with types is created without, as libbpf does
    /// (`bpf_object__create_map()`).
    fn create(&self, map: &MapDefinition) -> Result<OwnedFd, ProgramError> {
        let inner = map.inner.as_deref().map(|inner| self.create(inner)).transpose()?;
        let types = map.types.and_then(|(key, value)| Some((self.types.as_ref()?.as_fd(), key, value)));
        let new = NewMap {
            name: &map.name,
            kind: map.kind,
            key_size: map.key_size,
            value_size: map.value_size,
            entries: entries(map),
            flags: map.flags,
            extra: map.extra,
            numa_node: map.numa_node,
            inner: inner.as_ref().map(OwnedFd::as_fd),
            types,
        };
        let mut created = bpf::create_map(&new);
        if created.is_err() && types.is_some() {
            created = bpf::create_map(&NewMap { types: None, ..new });
        }
        if let (Err(_), Some(value_size)) = (&created, older_value_size(map)) {
            created = bpf::create_map(&NewMap { value_size, types: None, ..new });
        }
        created.map_err(|answer| self.refused(&map.name, answer))
    }

    /// Creates the maps and sections that no program uses. Returns the maps that the kernel refuses.
    fn add(&mut self) -> Result<Vec<(usize, String)>, ProgramError> {
        let additions = self.additions;
        let mut refused = Vec::new();
        for &index in &additions.maps {
            match self.create_or_reuse(&self.file.maps[index]) {
                Ok(created) => drop(self.maps.insert(index, created)),
                Err(ProgramError::Map { answer, .. }) => {
                    refused.push((index, format!("the kernel rejects it: {answer}")));
                }
                Err(error) => return Err(error),
            }
        }
        for &section in &additions.sections {
            match self.create_globals(section) {
                _ if self.globals.contains_key(&section) => {}
                Ok(created) => drop(self.globals.insert(section, created)),
                // Their variables are then missing, which is said to whoever wants one.
                Err(ProgramError::Map { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(refused)
    }

    /// Opens a map that is pinned by name, if it is and may be used, or creates one.
    fn create_or_reuse(&self, map: &MapDefinition) -> Result<OwnedFd, ProgramError> {
        if !(self.additions.reuse_pins && map.pinned) {
            return self.create(map);
        }
        let path = Path::new(PINS).join(&map.name);
        let pinned = match BpfMap::pinned(&path) {
            Ok(pinned) => pinned,
            Err(answer) if answer.kind() == io::ErrorKind::NotFound => return self.create(map),
            Err(answer) => {
                return Err(ProgramError::system(&format!("open the map at {}", path.display()), answer));
            }
        };
        if let Some(difference) = difference(map, pinned.info()) {
            return Err(ProgramError::Pinned { map: map.name.clone(), path, difference });
        }
        let copy = pinned.as_fd().try_clone_to_owned();
        copy.map_err(|answer| ProgramError::system("copy the descriptor of a map", answer))
    }

    /// Creates the map of a section of global variables with their values.
    fn create_globals(&self, section: usize) -> Result<OwnedFd, ProgramError> {
        let its = &self.file.elf.sections[section];
        let is_constant = global_data(its.name, its.contents) == Some(true);
        let kind =
            self.file.types.as_ref().and_then(|types| types.data_section(its.name)).map_or(0, |(id, _)| id);
        if let Some(contents) = self.additions.contents.get(&section) {
            self.create_data(its.name, contents, is_constant, kind)
        } else if its.contents == Contents::Zeros {
            let zeros = usize::try_from(its.size).unwrap_or_default();
            self.create_data(its.name, &vec![0; zeros], false, kind)
        } else {
            self.create_data(its.name, its.data, is_constant, kind)
        }
    }

    fn create_data(
        &self,
        name: &str,
        values: &[u8],
        is_constant: bool,
        kind: u32,
    ) -> Result<OwnedFd, ProgramError> {
        let types = self.types.as_ref().filter(|_| kind != 0).map(|types| (types.as_fd(), 0, kind));
        let new = NewMap {
            name,
            kind: BPF_MAP_TYPE_ARRAY as u32,
            key_size: 4,
            value_size: u32::try_from(values.len()).unwrap_or(u32::MAX),
            entries: 1,
            flags: if is_constant { READ_ONLY_PROGRAM } else { 0 },
            extra: 0,
            numa_node: 0,
            inner: None,
            types,
        };
        let refused = |answer| self.refused(name, answer);
        let created = bpf::create_map(&new).or_else(|_| bpf::create_map(&NewMap { types: None, ..new }));
        let created = created.map_err(refused)?;
        bpf::update_map(created.as_fd(), &[0; 4], values).map_err(refused)?;
        if is_constant {
            bpf::freeze_map(created.as_fd()).map_err(refused)?;
        }
        Ok(created)
    }

    /// Puts maps into maps where the object says so.
    fn fill_maps(&self, selected: &Selected<'_, '_>) -> Result<(), ProgramError> {
        self.fill(selected, |target| match target {
            Target::Map(inner) => self.maps.get(&inner).map(OwnedFd::as_fd),
            _ => None,
        })
    }

    /// Puts programs into maps where the object says so.
    fn fill_programs(
        &self,
        selected: &Selected<'_, '_>,
        programs: &BTreeMap<usize, OwnedFd>,
    ) -> Result<(), ProgramError> {
        self.fill(selected, |target| match target {
            Target::Function(program) => programs.get(&program).map(OwnedFd::as_fd),
            _ => None,
        })
    }

    fn fill<'k>(
        &self,
        selected: &Selected<'_, '_>,
        held: impl Fn(Target) -> Option<BorrowedFd<'k>>,
    ) -> Result<(), ProgramError> {
        for (&index, map) in &self.maps {
            let filled = selected.code.filled(index);
            let filled = filled.map_err(|problem| ProgramError::object(self.file.object, problem.into()))?;
            for (slot, target) in filled {
                let Some(descriptor) = held(target) else { continue };
                let value = descriptor.as_raw_fd().to_ne_bytes();
                let put = bpf::update_map(map.as_fd(), &slot.to_ne_bytes(), &value);
                let name = &self.file.maps[index].name;
                put.map_err(|answer| ProgramError::slot(self.file.object, name, slot, answer))?;
            }
        }
        Ok(())
    }

    /// Writes into the instructions what they refer to.
    fn patch(&self, selected: &Selected<'_, '_>, linker: &mut Linker) -> Result<(), ProgramError> {
        let sections = image::sections_of(&selected.code, &selected.reach);
        for &index in &selected.reach.functions {
            let function = &selected.code.functions[index];
            let references = selected.code.references(index);
            let references =
                references.map_err(|problem| ProgramError::object(self.file.object, problem.into()))?;
            let patches: Vec<Patch> = references
                .iter()
                .filter_map(|reference| self.patch_of(selected, reference, function.place.start))
                .collect();
            let place: Place = (sections[&function.section], function.place.start);
            linker.patch(place, &patches);
        }
        Ok(())
    }

    fn patch_of(&self, selected: &Selected<'_, '_>, reference: &Reference, start: u64) -> Option<Patch> {
        let fd = |map: Option<&OwnedFd>| map.map(AsRawFd::as_raw_fd);
        let (meaning, number, second) = match reference.target {
            Target::Function(_) => return None,
            Target::Map(map) => (MAP_FD, fd(self.maps.get(&map))?, 0),
            Target::Global { section, offset } => (MAP_VALUE, fd(self.globals.get(&section))?, offset),
            Target::Extern(symbol) => match *selected.externs.symbols.get(&symbol)? {
                Resolved::Option { offset } => (MAP_VALUE, fd(self.options.as_ref())?, offset),
                Resolved::OfKernel { id } if reference.is_call => (KERNEL_FUNCTION, id, 0),
                Resolved::OfKernel { id } => (KERNEL_TYPE, id, 0),
                Resolved::Address(_) if reference.is_call => (0, NO_SUCH_HELPER, 0),
                Resolved::Address(address) => {
                    let [low, high] = [address, address >> 32].map(|half| (half & 0xffff_ffff) as u32);
                    (0, low.cast_signed(), high.cast_signed())
                }
            },
        };
        let instruction = usize::try_from((reference.at - start) / INSTRUCTION).ok()?;
        Some(Patch { instruction, meaning, number, second: (!reference.is_call).then_some(second) })
    }

    /// Loads a program. A log that does not fit is ENOSPC, whatever the verifier says, so that it is asked without one first.
    fn load_program(
        &self,
        name: &str,
        linked: &Linked,
        flags: u32,
        place: ProgramPlace,
    ) -> Result<OwnedFd, ProgramError> {
        let license = self.file.license();
        let Linked { instructions, functions, lines } = linked;
        let types = self.types.as_ref().map(|btf| ProgramTypes { btf: btf.as_fd(), functions, lines });
        let new = NewProgram { name, instructions, license: &license, flags, place, types };
        let answer = match bpf::load_xdp_program(&new, None) {
            Ok(program) => return Ok(program),
            Err(answer) => answer,
        };
        if ProgramError::is_of_machine(&answer) {
            return Err(ProgramError::system("load the program", answer));
        }
        let mut log = vec![0; LOG_BYTES];
        match bpf::load_xdp_program(&new, Some(&mut log)) {
            // It was refused for a reason that is gone.
            Ok(program) => Ok(program),
            Err(_) => {
                Err(ProgramError::Rejected { program: name.to_owned(), answer, log: VerifierLog::of(&log) })
            }
        }
    }
}

/// Returns how a pinned map differs from a definition (`map_is_reuse_compat()` of libbpf).
fn difference(map: &MapDefinition, pinned: &MapInfo) -> Option<String> {
    let is_devmap =
        [BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_DEVMAP_HASH].iter().any(|&kind| map.kind == kind as u32);
    // The kernel sets this one for devmaps.
    let flags = if is_devmap { map.flags | READ_ONLY_PROGRAM } else { map.flags };
    if map.kind != pinned.kind {
        return Some(format!("its type is {}, the object's {}", MapKind(pinned.kind), MapKind(map.kind)));
    }
    let fields = [
        ("bytes of a key", pinned.key_size, map.key_size),
        ("bytes of a value", pinned.value_size, map.value_size),
        ("entries", pinned.entries, entries(map)),
        ("flags", pinned.flags, flags),
    ];
    let differing = fields.iter().find(|(_, pinned, defined)| pinned != defined);
    differing.map(|(what, pinned, defined)| format!("{what}: {pinned}, the object's {defined}"))
}

/// Returns the number of entries with which a map is created: libbpf and aya complete those of some types
/// (`map_set_def_max_entries()` and `adjust_ringbuf_sz()` of libbpf).
fn entries(map: &MapDefinition) -> u32 {
    let is = |kind| map.kind == kind as u32;
    if is(BPF_MAP_TYPE_PERF_EVENT_ARRAY) && map.entries == 0 {
        return aya::util::nr_cpus().ok().and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or(1);
    }
    if is(BPF_MAP_TYPE_RINGBUF) && map.entries != 0 {
        let page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
        let pages = map.entries.div_ceil(page).checked_next_power_of_two();
        return pages.and_then(|pages| pages.checked_mul(page)).unwrap_or(map.entries);
    }
    map.entries
}

/// Returns the size of values that a kernel without programs behind devmaps and cpumaps takes (before 5.8 and 5.9): aya declares
/// the larger one, and falls back to this.
fn older_value_size(map: &MapDefinition) -> Option<u32> {
    let kinds = [BPF_MAP_TYPE_CPUMAP, BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_DEVMAP_HASH];
    let is_such = kinds.iter().any(|&kind| map.kind == kind as u32);
    (is_such && map.numbered && map.value_size == 8).then_some(4)
}

/// Creates the maps of one of our own objects and relocates its programs. They have no CO-RE relocations, and one loader is made
/// for the process: aya's reads the types of the whole kernel when it is made, which takes longer than everything else.
pub(crate) fn load_bytes(bytes: &[u8]) -> Result<Ebpf, EbpfError> {
    static LOADER: OnceLock<Mutex<EbpfLoader<'static>>> = OnceLock::new();
    let loader = LOADER.get_or_init(|| Mutex::new(loader_without_types()));
    // A load does not change the loader, so that one which panicked has broken nothing.
    loader.lock().unwrap_or_else(PoisonError::into_inner).load(bytes)
}

/// Returns a loader that does not know the kernel's types. `EbpfLoader::new` looks for them and cannot be told not to, so
/// it is called where there is no `/sys/kernel/btf/vmlinux`; without the privilege for that, the usual loader is returned.
pub(crate) fn loader_without_types() -> EbpfLoader<'static> {
    run_in_root(Path::new("/sys"), EbpfLoader::new).unwrap_or_else(|_| EbpfLoader::new())
}
