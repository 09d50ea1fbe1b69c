//! Layouts of keys and values that the type of a map determines, where the object says nothing.

use super::{Field, Layout, Shape};
use crate::program::map_kind::MapKind;

impl Layout {
    /// Returns the layout of a key without types.
    pub(in crate::program) fn of_key(kind: MapKind, size: usize) -> Self {
        match (kind, size.checked_sub(4)) {
            (MapKind::LPM_TRIE, Some(data @ 1..)) => {
                let data = Self { name: format!("__u8[{data}]"), size: data, shape: Shape::Octets };
                record("struct bpf_lpm_trie_key", size, [("prefixlen", 0, word()), ("data", 4, data)])
            }
            (kind, Some(0)) if kind.is_indexed() => word(),
            _ => Self::plain("the key", size),
        }
    }

    /// Returns the layout of a value without types.
    pub(in crate::program) fn of_value(kind: MapKind, size: usize) -> Self {
        let (name, first) = match kind {
            MapKind::DEVMAP | MapKind::DEVMAP_HASH => ("struct bpf_devmap_val", "ifindex"),
            MapKind::CPUMAP => ("struct bpf_cpumap_val", "qsize"),
            _ => return Self::plain("the value", size),
        };
        match size {
            4 => word(),
            8 => {
                let fields = [("fd", 0, word()), ("id", 0, word())];
                let mut program = record("union", 4, fields);
                if let Shape::Record { is_union, .. } = &mut program.shape {
                    *is_union = true;
                }
                record(name, size, [(first, 0, word()), ("bpf_prog", 4, program)])
            }
            _ => Self::plain("the value", size),
        }
    }
}

fn word() -> Layout {
    Layout { name: "__u32".to_owned(), size: 4, shape: Shape::Number { signed: false } }
}

fn record(name: &str, size: usize, fields: [(&str, usize, Layout); 2]) -> Layout {
    let fields = fields
        .into_iter()
        .map(|(name, offset, layout)| Field { name: name.to_owned(), offset, bits: None, layout })
        .collect();
    Layout { name: name.to_owned(), size, shape: Shape::Record { is_union: false, fields } }
}
