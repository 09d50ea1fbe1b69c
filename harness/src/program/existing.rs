//! Programs that somebody else has loaded: opened by their path in a BPF file system or by their id, and left as they are.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use rustix::io::Errno;
use xdproof_netns::bpf::{self, BpfMap, NewMap, NewProgram, ProgramPlace};

use crate::program::{
    Program, ProgramError,
    btf::{Btf, kind},
    load::{HAS_FRAGS, Loaded},
    map_kind::MapKind,
    maps::ProgramMap,
    state::{DataMap, State},
    variables::{self, Variable},
};

/// `BPF_PROG_TYPE_XDP` and `BPF_PROG_TYPE_EXT`.
const XDP: u32 = 6;
const EXTENSION: u32 = 28;

/// Names of the types of programs by their numbers, as bpftool has them.
const TYPES: [&str; 33] = [
    "unspec",
    "socket_filter",
    "kprobe",
    "sched_cls",
    "sched_act",
    "tracepoint",
    "xdp",
    "perf_event",
    "cgroup_skb",
    "cgroup_sock",
    "lwt_in",
    "lwt_out",
    "lwt_xmit",
    "sock_ops",
    "sk_skb",
    "cgroup_device",
    "sk_msg",
    "raw_tracepoint",
    "cgroup_sock_addr",
    "lwt_seg6local",
    "lirc_mode2",
    "sk_reuseport",
    "flow_dissector",
    "cgroup_sysctl",
    "raw_tracepoint_writable",
    "cgroup_sockopt",
    "tracing",
    "struct_ops",
    "ext",
    "lsm",
    "sk_lookup",
    "syscall",
    "netfilter",
];

impl Program {
    /// Opens the XDP program that is pinned at a path of a BPF file system, with its maps. Needs `CAP_SYS_ADMIN` for the maps.
    ///
    /// # Errors
    ///
    /// A path at which no XDP program is pinned.
    pub fn from_pinned(path: &Path) -> Result<Self, ProgramError> {
        let what = format!("the object at {}", path.display());
        let program =
            bpf::open_pinned_program(path).map_err(|answer| match Errno::from_io_error(&answer) {
                Some(Errno::NOENT) => {
                    not_xdp(&what, "does not exist; `bpftool prog show pinned` lists what is pinned")
                }
                // bpf_obj_do_get() of kernel/bpf/inode.c.
                Some(Errno::ACCESS) => {
                    not_xdp(&what, "is not pinned in a BPF file system, such as /sys/fs/bpf")
                }
                Some(_) => ProgramError::system(&format!("open {}", path.display()), answer),
                None => not_xdp(&what, &format!("is no program: {answer}")),
            })?;
        Self::existing(program, &what)
    }

    /// Opens a loaded XDP program by the kernel's id, with its maps. Needs `CAP_SYS_ADMIN`.
    ///
    /// # Errors
    ///
    /// An id that no XDP program has.
    pub fn from_id(id: u32) -> Result<Self, ProgramError> {
        let what = format!("program {id}");
        let program = bpf::open_program(id).map_err(|answer| match answer.kind() {
            io::ErrorKind::NotFound => {
                not_xdp(&what, "is not loaded; `bpftool prog show` lists the programs")
            }
            _ => ProgramError::system(&format!("open program {id}"), answer),
        })?;
        Self::existing(program, &what)
    }

    fn existing(program: OwnedFd, what: &str) -> Result<Self, ProgramError> {
        let described = bpf::describe_program(program.as_fd())
            .map_err(|answer| ProgramError::system("read the program's description", answer))?;
        match described.kind {
            XDP => {}
            EXTENSION => {
                return Err(not_xdp(
                    what,
                    "extends another program (type ext), as libxdp loads it behind its dispatcher; test its object, or the \
                     dispatcher that is attached",
                ));
            }
            other => {
                let name = TYPES.get(other as usize).copied().unwrap_or("unknown");
                return Err(not_xdp(what, &format!("is no XDP program (type {name})")));
            }
        }
        let takes_frags = takes_frags(program.as_fd()).unwrap_or_default();
        let state = State::of_kernel(program.as_fd(), described.types)?;
        let mut opened = Self::described(Loaded::alone(program, takes_frags), Vec::new())?;
        opened.state = state;
        Ok(opened)
    }
}

fn not_xdp(what: &str, problem: &str) -> ProgramError {
    ProgramError::NotXdp { what: what.to_owned(), problem: problem.to_owned() }
}

impl State {
    /// Opens the maps of a loaded program, with the types that the kernel has of them. `own` is the id of the program's.
    fn of_kernel(program: BorrowedFd<'_>, own: u32) -> Result<Self, ProgramError> {
        let failed = |answer| ProgramError::system("open the maps of the program", answer);
        let mut known = KnownTypes::default();
        let mut state = Self { has_short_names: true, ..Self::default() };
        for id in bpf::program_maps(program).map_err(failed)? {
            let map = BpfMap::by_id(id).map_err(failed)?;
            let info = map.info().clone();
            // libbpf gives the map of a section its types; aya does not, and names it as the section.
            let of_map = known.get(info.types).and_then(|types| section_of(types, info.value_type));
            let section = of_map.or_else(|| {
                let types = known.get(own).filter(|_| info.types == 0 && info.kind == MapKind::ARRAY.0)?;
                let (section, _) = types.data_section(&info.name)?;
                section_of(types, section)
            });
            if let Some((name, variables, types)) = section {
                let map = ProgramMap::new(&name, map, None);
                state.data.push(DataMap { map, variables, types: Some(types) });
            } else {
                let types = known.get(info.types).map(|types| (&**types, info.key_type, info.value_type));
                state.maps.push(ProgramMap::new(&info.name, map, types));
            }
        }
        Ok(state)
    }
}

/// Types by the kernel's ids, each read once.
#[derive(Default)]
struct KnownTypes(HashMap<u32, Option<Arc<Btf>>>);

impl KnownTypes {
    fn get(&mut self, id: u32) -> Option<&Arc<Btf>> {
        let read = || {
            let bytes = (id != 0).then(|| bpf::read_types(id).ok()).flatten()?;
            Btf::parse(&bytes).map(Arc::new)
        };
        self.0.entry(id).or_insert_with(read).as_ref()
    }
}

/// Returns the name and the variables of a section of global variables.
fn section_of(types: &Arc<Btf>, id: u32) -> Option<(String, Vec<Variable>, Arc<Btf>)> {
    let section = types.get(id).filter(|one| one.kind() == kind::DATASEC)?;
    let variables = variables::listed(types, id, |_| None);
    Some((types.string(section.name).to_owned(), variables, Arc::clone(types)))
}

/// Returns whether a program takes multi-buffer frames. The kernel says so only by what a program array takes: programs that are
/// like its first one (`bpf_prog_map_compatible()` of `kernel/bpf/core.c`).
fn takes_frags(program: BorrowedFd<'_>) -> io::Result<bool> {
    // r0 = XDP_PASS; exit
    const PASS: [u8; 16] = [0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    let array = bpf::create_map(&NewMap {
        name: "like",
        kind: MapKind::PROG_ARRAY.0,
        key_size: 4,
        value_size: 4,
        entries: 1,
        flags: 0,
        extra: 0,
        numa_node: 0,
        inner: None,
        types: None,
    })?;
    let first = NewProgram {
        name: "like",
        instructions: &PASS,
        license: c"GPL",
        flags: HAS_FRAGS,
        place: ProgramPlace::Device,
        types: None,
    };
    let first = bpf::load_xdp_program(&first, None)?;
    let put =
        |program: BorrowedFd<'_>| bpf::update_map(array.as_fd(), &[0; 4], &program.as_raw_fd().to_ne_bytes());
    put(first.as_fd())?;
    Ok(put(program).is_ok())
}
