//! Numbers of entries that an object leaves to its own loader (`bpf_map__set_max_entries()` of libbpf).

use std::collections::BTreeMap;

use crate::program::{
    ProgramError,
    map_definition::MapDefinition,
    map_kind::{Access, MapKind},
    nearest,
};

/// Entries of a map whose object says nothing: more than there are CPUs, queues or ports.
const USUAL: u32 = 1024;
/// Bytes of a ring buffer whose object says nothing.
const RING_BUFFER: u32 = 256 << 10;

/// Gives maps the numbers of entries that are asked for, and those without one the usual number. Returns a sentence for each of
/// these.
pub(super) fn complete(
    maps: &mut [MapDefinition],
    wanted: &BTreeMap<String, u32>,
) -> Result<Vec<(String, String)>, ProgramError> {
    for (name, entries) in wanted {
        let Some(map) = maps.iter_mut().find(|map| map.name == *name) else {
            let hint = nearest::hint(name, maps.iter().map(|map| map.name.as_str()));
            return Err(ProgramError::NoSuchMap { name: name.clone(), hint });
        };
        map.entries = *entries;
    }
    let without = maps.iter_mut().filter(|map| map.entries == 0);
    let completed = without.filter_map(|map| {
        map.entries = usual(MapKind(map.kind))?;
        let (name, entries) = (map.name.clone(), map.entries);
        let note = format!(
            "map `{name}` has no number of entries, which its own loader sets; this run has {entries}"
        );
        Some((name, note))
    });
    Ok(completed.collect())
}

fn usual(kind: MapKind) -> Option<u32> {
    match kind {
        // More than possible CPUs are refused (`cpu_map_alloc()` of kernel/bpf/cpumap.c).
        MapKind::CPUMAP => aya::util::nr_cpus().ok().and_then(|cpus| u32::try_from(cpus).ok()),
        MapKind::RINGBUF => Some(RING_BUFFER),
        MapKind::XSKMAP => Some(USUAL),
        // Those of other types have none, or are completed when they are created.
        _ => (!matches!(kind.access(), Access::Refused(_))).then_some(USUAL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(name: &str, kind: MapKind, entries: u32) -> MapDefinition {
        MapDefinition { name: name.to_owned(), kind: kind.0, entries, ..MapDefinition::default() }
    }

    #[test]
    fn maps_without_a_number_of_entries_get_one() {
        let mut maps = [
            map("counts", MapKind::PERCPU_ARRAY, 0),
            map("flows", MapKind::HASH, 7),
            map("events", MapKind::PERF_EVENT_ARRAY, 0),
            map("asked", MapKind::ARRAY, 0),
        ];
        let notes = complete(&mut maps, &[("asked".to_owned(), 5), ("flows".to_owned(), 9)].into()).unwrap();
        assert_eq!(maps.map(|map| map.entries), [1024, 9, 0, 5]);
        let note = "map `counts` has no number of entries, which its own loader sets; this run has 1024";
        assert_eq!(notes, [("counts".to_owned(), note.to_owned())]);
        let refused = complete(&mut [map("flows", MapKind::HASH, 7)], &[("flow".to_owned(), 5)].into());
        assert_eq!(refused.unwrap_err().to_string(), "no map `flow`; did you mean `flows`?");
    }
}
