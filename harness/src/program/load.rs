//! Object files: read, parsed, and made into maps and programs by aya's loader.

use std::{
    borrow::Cow,
    path::Path,
    sync::{Mutex, OnceLock, PoisonError},
};

use aya::{Ebpf, EbpfError, EbpfLoader, maps::MapError};
use aya_obj::{ProgramSection, maps::PinningType};
use xdproof_netns::run_in_root;

use crate::program::{
    Object, ProgramError,
    error::is_permission,
    section_names,
    select::{self, MapShape},
};

/// The object with the programs of this project, as built by `build.rs`.
static BUILTIN: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/xdproof-programs"));

/// An object file that was read and parsed; nothing of it is in the kernel yet.
pub(super) struct ObjectFile<'a> {
    pub(super) object: &'a Object,
    bytes: Cow<'static, [u8]>,
    parsed: aya_obj::Object,
}

impl Object {
    /// Returns the names of the XDP programs in an object file, sorted. Needs no privilege.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is not an object.
    pub fn programs_in(path: &Path) -> Result<Vec<String>, ProgramError> {
        let object = Self { path: Some(path.to_owned()), ..Self::default() };
        Ok(ObjectFile::open(&object)?.programs())
    }
}

impl<'a> ObjectFile<'a> {
    pub(super) fn open(object: &'a Object) -> Result<Self, ProgramError> {
        let bytes = match &object.path {
            None => Cow::Borrowed(BUILTIN),
            Some(path) => match std::fs::read(path) {
                Ok(bytes) => Cow::Owned(section_names::modernize(bytes)),
                Err(source) => return Err(ProgramError::Open { path: path.clone(), source }),
            },
        };
        let parsed = aya_obj::Object::parse(&bytes).map_err(|error| load_error(object, error.into()))?;
        Ok(Self { object, bytes, parsed })
    }

    /// Returns the names of the XDP programs, sorted.
    pub(super) fn programs(&self) -> Vec<String> {
        let xdp =
            self.parsed.programs.iter().filter(|(_, its)| matches!(its.section, ProgramSection::Xdp { .. }));
        let mut names: Vec<String> = xdp.map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// Returns the maps, sorted by name.
    pub(super) fn maps(&self) -> Vec<MapShape> {
        let shape = |(name, map): (&String, &aya_obj::Map)| MapShape {
            name: name.clone(),
            kind: map.map_type(),
            key_size: map.key_size(),
            value_size: map.value_size(),
            entries: map.max_entries(),
            pinned: map.pinning() == PinningType::ByName,
        };
        let mut maps: Vec<MapShape> = self.parsed.maps.iter().map(shape).collect();
        maps.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        maps
    }

    /// Returns whether a program asks to be loaded for multi-buffer frames (`SEC("xdp.frags")`).
    pub(super) fn takes_frags(&self, program: &str) -> bool {
        let program = self.parsed.programs.get(program);
        program.is_some_and(|program| matches!(program.section, ProgramSection::Xdp { frags: true, .. }))
    }

    /// Creates the maps and relocates the programs, none of which is loaded yet.
    pub(super) fn load(&self) -> Result<Ebpf, ProgramError> {
        select::check_maps(&self.maps()).map_err(|problem| ProgramError::object(self.object, problem))?;
        load_parsed(&self.parsed, &self.bytes).map_err(|error| load_error(self.object, error))
    }
}

fn load_error(object: &Object, error: EbpfError) -> ProgramError {
    match (error, &object.path) {
        (EbpfError::MapError(MapError::CreateError { io_error, .. }), _) if is_permission(&io_error) => {
            ProgramError::NoPrivilege { source: io_error }
        }
        (error @ (EbpfError::ParseError(_) | EbpfError::BtfError(_)), Some(path)) => {
            ProgramError::NotAnObject { path: path.clone(), source: Box::new(error) }
        }
        (error, _) => ProgramError::Load { object: object.to_string(), source: Box::new(error) },
    }
}

/// Creates the maps of one of our own objects and relocates its programs.
pub(crate) fn load_bytes(bytes: &[u8]) -> Result<Ebpf, EbpfError> {
    load_parsed(&aya_obj::Object::parse(bytes)?, bytes)
}

/// Creates an object's maps and relocates its programs.
///
/// aya's loader reads the BTF of the whole kernel when it is made, which takes longer than everything else that a trial
/// needs. Only an object with CO-RE relocations needs such a loader, and one is made for the process.
fn load_parsed(parsed: &aya_obj::Object, bytes: &[u8]) -> Result<Ebpf, EbpfError> {
    static LOADER: OnceLock<Mutex<EbpfLoader<'static>>> = OnceLock::new();
    static LOADER_WITHOUT_TYPES: OnceLock<Mutex<EbpfLoader<'static>>> = OnceLock::new();
    let loader = if parsed.has_btf_relocations() {
        LOADER.get_or_init(|| Mutex::new(EbpfLoader::new()))
    } else {
        LOADER_WITHOUT_TYPES.get_or_init(|| Mutex::new(loader_without_types()))
    };
    // A load does not change the loader, so that one which panicked has broken nothing.
    loader.lock().unwrap_or_else(PoisonError::into_inner).load(bytes)
}

/// Returns a loader that does not know the kernel's types. `EbpfLoader::new` looks for them and cannot be told not to, so
/// it is called where there is no `/sys/kernel/btf/vmlinux`; without the privilege for that, the usual loader is returned.
pub(crate) fn loader_without_types() -> EbpfLoader<'static> {
    run_in_root(Path::new("/sys"), EbpfLoader::new).unwrap_or_else(|_| EbpfLoader::new())
}
