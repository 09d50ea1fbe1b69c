//! The maps, sections of variables and further programs that were loaded with a program.

use std::{collections::BTreeMap, os::fd::OwnedFd, sync::Arc};

use xdproof_netns::bpf::BpfMap;

use crate::program::{
    ProgramError,
    btf::Btf,
    load::Loaded,
    maps::ProgramMap,
    object_file::ObjectFile,
    variables::{DataSection, Variable},
};

/// Bytes of a name that the kernel has of a map or a program (`BPF_OBJ_NAME_LEN`, with its NUL).
pub(super) const KERNEL_NAME: usize = 15;

/// Everything of a loaded program that is read and written from here.
#[derive(Default)]
pub(super) struct State {
    pub(super) maps: Vec<ProgramMap>,
    pub(super) data: Vec<DataMap>,
    pub(super) programs: BTreeMap<String, OwnedFd>,
    /// Set if names are those of the kernel, which cuts them.
    pub(super) has_short_names: bool,
    /// Maps that do not exist, and why.
    pub(super) unavailable: Vec<(String, String)>,
}

/// The map of a section of global variables.
pub(super) struct DataMap {
    pub(super) map: ProgramMap,
    pub(super) variables: Vec<Variable>,
    pub(super) types: Option<Arc<Btf>>,
}

impl State {
    /// Takes the maps of a program that was just loaded.
    pub(super) fn of_object(
        file: &ObjectFile<'_>,
        sections: Vec<DataSection>,
        refused: Vec<(usize, String)>,
        loaded: &mut Loaded,
    ) -> Result<Self, ProgramError> {
        let open = |map| {
            BpfMap::open(map).map_err(|answer| ProgramError::system("read the description of a map", answer))
        };
        let types = file.types.as_ref();
        let mut state = Self { programs: std::mem::take(&mut loaded.programs), ..Self::default() };
        for (index, map) in std::mem::take(&mut loaded.maps) {
            let definition = &file.maps[index];
            let types = types.zip(definition.types).map(|(types, (key, value))| (types, key, value));
            state.maps.push(ProgramMap::new(&definition.name, open(map)?, types));
        }
        let shared = types.cloned().map(Arc::new);
        for section in sections {
            if let Some(map) = loaded.globals.remove(&section.index) {
                let map = ProgramMap::new(&section.name, open(map)?, None);
                state.data.push(DataMap { map, variables: section.variables, types: shared.clone() });
            }
        }
        let named = |(index, reason): (usize, String)| (file.maps[index].name.clone(), reason);
        state.unavailable =
            refused.into_iter().chain(std::mem::take(&mut loaded.unavailable)).map(named).collect();
        Ok(state)
    }
}
