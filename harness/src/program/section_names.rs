//! The kinds of programs, by the names of their sections.
//!
//! The names are those of libbpf (`section_defs` of `src/libbpf.c`). Before 1.0 it took every section whose name begins with
//! `xdp` for an XDP program: the kernel's own samples say `SEC("xdp1")`. iproute2 takes a section of any name.

use xdproof_netns::bpf::ProgramPlace;

/// Names of other kinds of programs; what follows one of them is a `/`, a `.`, or nothing.
const OTHERS: [&str; 33] = [
    "action",
    "cgroup",
    "cgroup_skb",
    "classifier",
    "fentry",
    "fexit",
    "flow_dissector",
    "fmod_ret",
    "freplace",
    "iter",
    "kprobe",
    "kretprobe",
    "kretsyscall",
    "ksyscall",
    "lirc_mode2",
    "lsm",
    "lsm_cgroup",
    "netkit",
    "perf_event",
    "raw_tp",
    "raw_tracepoint",
    "socket",
    "sockops",
    "struct_ops",
    "syscall",
    "tc",
    "tcx",
    "tp",
    "tp_btf",
    "tracepoint",
    "uprobe",
    "uretprobe",
    "usdt",
];
/// Beginnings of names of other kinds of programs.
const OTHER_BEGINNINGS: [&str; 2] = ["lwt_", "sk_"];

/// The section of functions that programs call.
const TEXT: &str = ".text";
/// The section that `ip link set dev X xdp obj FILE` takes.
const OF_IPROUTE2: &str = "prog";

/// The kind of the programs in a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SectionKind {
    /// `is_optional`: its own loader loads it only on request (`SEC("?xdp")`).
    Xdp { frags: bool, is_optional: bool },
    /// Runs behind a devmap or a cpumap, and cannot be attached to a device.
    BehindMap { frags: bool, place: ProgramPlace },
    /// Another kind of program.
    Other,
    /// Functions that programs call.
    Text,
    /// A name that stands for no kind; `is_default` for the one that iproute2 takes by itself.
    Own { is_default: bool },
}

impl SectionKind {
    pub(super) fn of(name: &str) -> Self {
        let (name, is_optional) = name.strip_prefix('?').map_or((name, false), |name| (name, true));
        let frags = name.starts_with("xdp.frags");
        if name.starts_with("xdp") {
            return if name.contains("devmap") {
                Self::BehindMap { frags, place: ProgramPlace::Devmap }
            } else if name.contains("cpumap") {
                Self::BehindMap { frags, place: ProgramPlace::Cpumap }
            } else {
                Self::Xdp { frags, is_optional }
            };
        }
        let is = |other: &str| {
            name.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '.', '+']))
        };
        if OTHERS.iter().any(|other| is(other)) || OTHER_BEGINNINGS.iter().any(|its| name.starts_with(its)) {
            Self::Other
        } else if name == TEXT || name.starts_with(".text.") {
            Self::Text
        } else {
            Self::Own { is_default: name == OF_IPROUTE2 }
        }
    }

    /// Returns whether its programs take multi-buffer frames.
    pub(super) fn takes_frags(self) -> bool {
        matches!(self, Self::Xdp { frags: true, .. } | Self::BehindMap { frags: true, .. })
    }

    /// Returns where its programs run.
    pub(super) fn place(self) -> ProgramPlace {
        match self {
            Self::BehindMap { place, .. } => place,
            _ => ProgramPlace::Device,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_of_the_kind_that_its_name_says() {
        let xdp = |frags, is_optional| SectionKind::Xdp { frags, is_optional };
        let behind = |frags, place| SectionKind::BehindMap { frags, place };
        for (name, kind) in [
            ("xdp", xdp(false, false)),
            ("xdp1", xdp(false, false)),
            ("xdp_prog", xdp(false, false)),
            ("xdp/mine", xdp(false, false)),
            ("?xdp", xdp(false, true)),
            ("xdp.frags", xdp(true, false)),
            ("?xdp.frags/mine", xdp(true, true)),
            ("xdp/devmap", behind(false, ProgramPlace::Devmap)),
            ("xdp.frags/cpumap", behind(true, ProgramPlace::Cpumap)),
            ("xdp_cpumap/mine", behind(false, ProgramPlace::Cpumap)),
            ("tc", SectionKind::Other),
            ("tcx/ingress", SectionKind::Other),
            ("fentry.s/xdp_mine", SectionKind::Other),
            ("sk_skb/stream_parser", SectionKind::Other),
            ("syscall", SectionKind::Other),
            (".text", SectionKind::Text),
            (".text.unlikely", SectionKind::Text),
            ("prog", SectionKind::Own { is_default: true }),
            ("tcp_filter", SectionKind::Own { is_default: false }),
            ("mysection", SectionKind::Own { is_default: false }),
        ] {
            assert_eq!(SectionKind::of(name), kind, "{name}");
        }
    }
}
