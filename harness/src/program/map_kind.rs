//! The types of maps, and what user space can do with the contents of each.

use std::fmt;

/// Type of a map, by its number in `enum bpf_map_type` of `include/uapi/linux/bpf.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MapKind(pub u32);

/// Access of user space to the contents of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Keys are listed, read, written and deleted.
    Keys,
    /// Values without keys, which come out in an order.
    Values,
    /// Values without keys, of which is only known whether one may be in it.
    Membership,
    /// None; a sentence says why, and what to do instead.
    Refused(&'static str),
}

/// Names by their numbers, as bpftool has them.
const NAMES: [&str; 35] = [
    "unspec",
    "hash",
    "array",
    "prog_array",
    "perf_event_array",
    "percpu_hash",
    "percpu_array",
    "stack_trace",
    "cgroup_array",
    "lru_hash",
    "lru_percpu_hash",
    "lpm_trie",
    "array_of_maps",
    "hash_of_maps",
    "devmap",
    "sockmap",
    "cpumap",
    "xskmap",
    "sockhash",
    "cgroup_storage",
    "reuseport_sockarray",
    "percpu_cgroup_storage",
    "queue",
    "stack",
    "sk_storage",
    "devmap_hash",
    "struct_ops",
    "ringbuf",
    "inode_storage",
    "task_storage",
    "bloom_filter",
    "user_ringbuf",
    "cgrp_storage",
    "arena",
    "insn_array",
];

impl MapKind {
    pub const HASH: Self = Self(1);
    pub const ARRAY: Self = Self(2);
    pub const PROG_ARRAY: Self = Self(3);
    pub const PERF_EVENT_ARRAY: Self = Self(4);
    pub const PERCPU_HASH: Self = Self(5);
    pub const PERCPU_ARRAY: Self = Self(6);
    pub const LRU_HASH: Self = Self(9);
    pub const LRU_PERCPU_HASH: Self = Self(10);
    pub const LPM_TRIE: Self = Self(11);
    pub const ARRAY_OF_MAPS: Self = Self(12);
    pub const HASH_OF_MAPS: Self = Self(13);
    pub const DEVMAP: Self = Self(14);
    pub const CPUMAP: Self = Self(16);
    pub const XSKMAP: Self = Self(17);
    pub const QUEUE: Self = Self(22);
    pub const STACK: Self = Self(23);
    pub const DEVMAP_HASH: Self = Self(25);
    pub const RINGBUF: Self = Self(27);
    pub const BLOOM_FILTER: Self = Self(30);

    /// Returns the name, as bpftool has it: `percpu_array`.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        NAMES.get(self.0 as usize).copied()
    }

    /// Returns whether every key from 0 on exists.
    #[must_use]
    pub fn is_array(self) -> bool {
        matches!(self, Self::ARRAY | Self::PERCPU_ARRAY)
    }

    /// Returns whether its values are other maps.
    #[must_use]
    pub fn is_of_maps(self) -> bool {
        matches!(self, Self::ARRAY_OF_MAPS | Self::HASH_OF_MAPS)
    }

    /// Returns whether its keys are numbers from 0 on, some of which may not exist.
    #[must_use]
    pub fn is_indexed(self) -> bool {
        let sparse = [
            Self::PROG_ARRAY,
            Self::PERF_EVENT_ARRAY,
            Self::ARRAY_OF_MAPS,
            Self::DEVMAP,
            Self::CPUMAP,
            Self::XSKMAP,
        ];
        self.is_array() || sparse.contains(&self)
    }

    /// Returns what user space can do with the contents.
    #[must_use]
    pub fn access(self) -> Access {
        match self {
            Self::HASH
            | Self::ARRAY
            | Self::PROG_ARRAY
            | Self::PERCPU_HASH
            | Self::PERCPU_ARRAY
            | Self::LRU_HASH
            | Self::LRU_PERCPU_HASH
            | Self::LPM_TRIE
            | Self::ARRAY_OF_MAPS
            | Self::HASH_OF_MAPS
            | Self::DEVMAP
            | Self::DEVMAP_HASH
            | Self::CPUMAP => Access::Keys,
            Self::QUEUE | Self::STACK => Access::Values,
            Self::BLOOM_FILTER => Access::Membership,
            Self::RINGBUF | Self::PERF_EVENT_ARRAY => Access::Refused(
                "its records go to a reader and are in no entry; let the program count them in an array, and expect that",
            ),
            Self::XSKMAP => Access::Refused(
                "the kernel shows none of its sockets, and an AF_XDP socket belongs to a process; expect the action of a program \
                 without sockets",
            ),
            _ => Access::Refused(match self.name() {
                Some("sockmap" | "sockhash" | "reuseport_sockarray") => "its values are sockets of a process",
                Some("stack_trace") => "the kernel writes stacks of itself into it",
                Some("cgroup_array" | "cgroup_storage" | "percpu_cgroup_storage" | "cgrp_storage") => {
                    "its values belong to cgroups, which no XDP program has"
                }
                Some("sk_storage" | "inode_storage" | "task_storage") => {
                    "its values belong to objects of the kernel, not to keys"
                }
                Some("user_ringbuf") => "its records are from a writer in user space, and are in no entry",
                Some("arena") => {
                    "it is memory without entries; let the program copy what is expected into a global variable"
                }
                Some("struct_ops" | "insn_array") => "it holds code, and no data",
                _ => "this version does not know its type",
            }),
        }
    }
}

impl fmt::Display for MapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "type {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use aya_obj::generated::bpf_map_type as kernel;

    use super::*;

    #[test]
    fn constants_and_names_are_those_of_the_kernel() {
        for (kind, number, name) in [
            (MapKind::HASH, kernel::BPF_MAP_TYPE_HASH, "hash"),
            (MapKind::ARRAY, kernel::BPF_MAP_TYPE_ARRAY, "array"),
            (MapKind::PROG_ARRAY, kernel::BPF_MAP_TYPE_PROG_ARRAY, "prog_array"),
            (MapKind::PERF_EVENT_ARRAY, kernel::BPF_MAP_TYPE_PERF_EVENT_ARRAY, "perf_event_array"),
            (MapKind::PERCPU_HASH, kernel::BPF_MAP_TYPE_PERCPU_HASH, "percpu_hash"),
            (MapKind::PERCPU_ARRAY, kernel::BPF_MAP_TYPE_PERCPU_ARRAY, "percpu_array"),
            (MapKind::LRU_HASH, kernel::BPF_MAP_TYPE_LRU_HASH, "lru_hash"),
            (MapKind::LRU_PERCPU_HASH, kernel::BPF_MAP_TYPE_LRU_PERCPU_HASH, "lru_percpu_hash"),
            (MapKind::LPM_TRIE, kernel::BPF_MAP_TYPE_LPM_TRIE, "lpm_trie"),
            (MapKind::ARRAY_OF_MAPS, kernel::BPF_MAP_TYPE_ARRAY_OF_MAPS, "array_of_maps"),
            (MapKind::HASH_OF_MAPS, kernel::BPF_MAP_TYPE_HASH_OF_MAPS, "hash_of_maps"),
            (MapKind::DEVMAP, kernel::BPF_MAP_TYPE_DEVMAP, "devmap"),
            (MapKind::CPUMAP, kernel::BPF_MAP_TYPE_CPUMAP, "cpumap"),
            (MapKind::XSKMAP, kernel::BPF_MAP_TYPE_XSKMAP, "xskmap"),
            (MapKind::QUEUE, kernel::BPF_MAP_TYPE_QUEUE, "queue"),
            (MapKind::STACK, kernel::BPF_MAP_TYPE_STACK, "stack"),
            (MapKind::DEVMAP_HASH, kernel::BPF_MAP_TYPE_DEVMAP_HASH, "devmap_hash"),
            (MapKind::RINGBUF, kernel::BPF_MAP_TYPE_RINGBUF, "ringbuf"),
            (MapKind::BLOOM_FILTER, kernel::BPF_MAP_TYPE_BLOOM_FILTER, "bloom_filter"),
        ] {
            assert_eq!((kind.0, kind.to_string()), (number as u32, name.to_owned()));
        }
        for (number, name) in [
            (kernel::BPF_MAP_TYPE_SOCKHASH, "sockhash"),
            (kernel::BPF_MAP_TYPE_STRUCT_OPS, "struct_ops"),
            (kernel::BPF_MAP_TYPE_CGRP_STORAGE, "cgrp_storage"),
            (kernel::BPF_MAP_TYPE_ARENA, "arena"),
        ] {
            assert_eq!(MapKind(number as u32).name(), Some(name));
        }
        assert_eq!(MapKind(99).to_string(), "type 99");
    }

    #[test]
    fn every_type_can_be_accessed_or_is_refused_in_a_sentence() {
        for number in 0..50 {
            if let Access::Refused(reason) = MapKind(number).access() {
                assert!(reason.contains(' ') && !reason.ends_with('.'), "{reason}");
            }
        }
    }
}
