//! The program under test: loading it, attaching it, reading its counters.
//!
//! Promises: what was asked for is what is attached (it is read back from the kernel), and nothing that was attached
//! outlives its [`Attachment`].

mod counter_map;
mod held;
mod section_names;

use std::{
    borrow::Cow,
    fmt, io,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::MapError,
    programs::{
        Program, ProgramError, TestRun as _, TestRunOptions, TestRunResult, Xdp,
        links::FdLink,
        loaded_programs,
        xdp::{XdpError, XdpLink, XdpMode as AyaMode},
    },
    sys::{Stats, enable_stats},
};
use aya_obj::{ProgramSection, maps::PinningType};
use xdproof_ebpf::abi;
use xdproof_netns::{Host, IfIndex, Worker, XdpMode, XdpState, run_in_root};
use xdproof_scenarios::KernelVersion;

pub use crate::attach::{counter_map::Width, held::Held};
use crate::{
    attach::counter_map::{CounterMap, misfit},
    host::kernel,
    model::{environment::ProgramIdentity, observation::Counts},
};
/// The object with the programs of this project, as built by `build.rs`.
static BUILTIN: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/xdproof-programs"));

/// Map types that are arrays (`enum bpf_map_type` in include/uapi/linux/bpf.h).
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_PERCPU_ARRAY: u32 = 6;

/// Bytes of an instruction (`struct bpf_insn`).
const INSTRUCTION: u32 = 8;

/// The first kernel with `bpf_link` for XDP (`BPF_LINK_TYPE_XDP`).
pub const LINK_KERNEL: KernelVersion = KernelVersion { major: 5, minor: 9, patch: 0 };

/// Which program is tested: an object, a program in it and its counter map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// A BPF object file; none: the programs of this project.
    pub path: Option<PathBuf>,
    /// The program's name; none: the only XDP program of a file, or [`abi::COUNT_PROGRAM`].
    pub program: Option<String>,
    /// The map's name; none: `rxcnt`, or the only map that can be the counter.
    pub map: Option<String>,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => path.display().fmt(f),
            None => f.write_str("the built-in object"),
        }
    }
}

/// Why a program is not loaded or not attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The object file cannot be read.
    #[error("failed to read the object {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// The file is not a BPF object.
    #[error("{} is not a BPF object", path.display())]
    NotAnObject {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<EbpfError>,
    },
    /// The kernel makes no map for us, for want of a capability.
    #[error("the kernel refuses BPF; run as root, or with CAP_BPF and CAP_NET_ADMIN")]
    NoPrivilege {
        /// EPERM.
        source: io::Error,
    },
    /// The object cannot be loaded, although it is one.
    #[error("failed to load {object}")]
    Load {
        /// The object.
        object: String,
        /// What is wrong.
        source: Box<EbpfError>,
    },
    /// There is no such XDP program in the object.
    #[error("{object} has no XDP program `{name}`; it has {}", list(available))]
    NoSuchProgram {
        /// The object.
        object: String,
        /// The name asked for.
        name: String,
        /// The XDP programs that it has.
        available: Vec<String>,
    },
    /// The object has no XDP program, or several and none was named.
    #[error("{object} has {}; name the one to test with --program", list(available))]
    WhichProgram {
        /// The object.
        object: String,
        /// The XDP programs that it has.
        available: Vec<String>,
    },
    /// There is no such map in the object.
    #[error("{object} has no map `{name}`; it has {}", list(available))]
    NoSuchMap {
        /// The object.
        object: String,
        /// The name asked for.
        name: String,
        /// The maps that it has.
        available: Vec<String>,
    },
    /// No map of the object can be the counter.
    #[error("{object} has no map that could be the counter: {}", misfits(maps))]
    NoCounter {
        /// The object.
        object: String,
        /// Its maps, and in what each differs from a counter.
        maps: Vec<(String, String)>,
    },
    /// Several maps of the object can be the counter, and none was named.
    #[error("{object} has {} that could be the counter; name it with --map", list(available))]
    WhichMap {
        /// The object.
        object: String,
        /// The maps that could be it.
        available: Vec<String>,
    },
    /// A map would be shared with others through the BPF file system, and would outlive us.
    #[error(
        "map `{name}` of {object} is pinned by name: its counts would be shared; build the object without that"
    )]
    Pinned {
        /// The object.
        object: String,
        /// The map.
        name: String,
    },
    /// The map is not a counter.
    #[error("map `{name}` of {object} is not a counter: {what}")]
    NotACounter {
        /// The object.
        object: String,
        /// The map.
        name: String,
        /// In what it differs from one.
        what: String,
    },
    /// The kernel's verifier rejects the program.
    #[error("the kernel rejects program `{program}`: {answer}\n{log}")]
    Rejected {
        /// The program.
        program: String,
        /// What the kernel answered; shown before the log, which may be long.
        answer: io::Error,
        /// What the verifier said.
        log: String,
    },
    /// The programs of this project do not load on this machine.
    #[error("the built-in programs do not load here")]
    Builtin {
        /// Why.
        source: Box<AttachError>,
    },
    /// The kernel or the driver refuses to attach the program.
    #[error("{mode} attach is refused")]
    Refused {
        /// The mode asked for.
        mode: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The kernel takes the program by netlink only, which outlives its process.
    #[error("no bpf_link can hold the program in {mode} mode")]
    FellBack {
        /// The mode asked for.
        mode: &'static str,
    },
    /// The program counts beyond the protocol numbers.
    #[error("the counter's map has key {key}, and a protocol number is at most 255")]
    Strays {
        /// The first such key.
        key: u32,
    },
    /// Something else is attached than what was asked for.
    #[error("asked for program {id} in {mode} mode, and found {found}")]
    NotAttached {
        /// The mode asked for.
        mode: &'static str,
        /// The program's id.
        id: u32,
        /// What the kernel says is attached.
        found: XdpState,
    },
    /// A counter holds something else than what was just written into it.
    #[error("slot {protocol} was set to {value} and holds {found}")]
    NotPreset {
        /// The slot.
        protocol: u8,
        /// What was written.
        value: u64,
        /// What was read on some CPU.
        found: u64,
    },
    /// A system call about a program or a map failed.
    #[error("failed to {action}")]
    Kernel {
        /// What was attempted.
        action: &'static str,
        /// What went wrong.
        source: Box<ProgramError>,
    },
    /// The namespace or the link failed.
    #[error("failed to {0}{hint}", hint = root_hint(.0))]
    Network(#[from] xdproof_netns::Error),
}

impl AttachError {
    /// Whether an input that the user named is at fault, not the machine.
    #[must_use]
    pub fn is_input(&self) -> bool {
        match self {
            Self::NoPrivilege { .. }
            | Self::Builtin { .. }
            | Self::FellBack { .. }
            | Self::Strays { .. }
            | Self::Refused { .. }
            | Self::NotAttached { .. }
            | Self::NotPreset { .. }
            | Self::Kernel { .. }
            | Self::Network(_) => false,
            Self::Open { .. }
            | Self::NotAnObject { .. }
            | Self::Load { .. }
            | Self::NoSuchProgram { .. }
            | Self::WhichProgram { .. }
            | Self::NoSuchMap { .. }
            | Self::NoCounter { .. }
            | Self::WhichMap { .. }
            | Self::Pinned { .. }
            | Self::NotACounter { .. }
            | Self::Rejected { .. } => true,
        }
    }
}

/// What to do about a missing privilege.
fn root_hint(error: &xdproof_netns::Error) -> &'static str {
    if error.errno() == Some(rustix::io::Errno::PERM.raw_os_error()) { "; run as root" } else { "" }
}

/// Names for a sentence.
fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { format!("`{}`", names.join("`, `")) }
}

/// Maps that do not fit, for a sentence.
fn misfits(maps: &[(String, String)]) -> String {
    let each: Vec<_> = maps.iter().map(|(name, what)| format!("`{name}`: {what}")).collect();
    if each.is_empty() { "it has no map at all".to_owned() } else { each.join(". ") }
}

/// What the kernel says of a loaded program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its name in the kernel, at most 15 bytes.
    pub name: String,
    /// Its id.
    pub id: u32,
    /// The hash of its instructions: the same program has the same tag on every machine.
    pub tag: u64,
    /// Instructions after the verifier has rewritten them; none where the kernel does not show them.
    pub instructions: Option<u32>,
    /// Instructions that the verifier looked at, along all ways (kernel 5.16).
    pub verified_instructions: Option<u32>,
    /// Bytes of machine code; 0 without a JIT compiler.
    pub machine_code_bytes: u32,
}

impl Identity {
    /// Returns the record of a program that was loaded from `object`.
    #[must_use]
    pub fn of(&self, object: &Object) -> ProgramIdentity {
        ProgramIdentity {
            object: object.path.as_ref().map(|path| path.display().to_string()),
            name: self.name.clone(),
            tag: format!("{:016x}", self.tag),
        }
    }
}

/// What a program answered for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The program's return value, an `XDP_*` action.
    pub action: u32,
    /// Length of the frame after the program, in bytes.
    pub length: usize,
}

impl Answer {
    /// `XDP_PASS` (include/uapi/linux/bpf.h).
    pub const PASS: u32 = 2;
}

/// A loaded program with its counters.
pub struct Counter {
    ebpf: Ebpf,
    program: String,
    map: CounterMap,
    identity: Identity,
    frags: bool,
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counter").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Counter {
    /// Loads a program and its map into the kernel. Needs `CAP_BPF` and `CAP_NET_ADMIN`, or root.
    ///
    /// # Errors
    ///
    /// Every way in which a file is not a counter, and the verifier's refusal with its log.
    pub fn load(object: &Object) -> Result<Self, AttachError> {
        Self::load_object(object).map_err(|error| match error {
            // Nothing that the user gave is at fault when our own programs do not load.
            error @ (AttachError::Load { .. } | AttachError::Rejected { .. }) if object.path.is_none() => {
                AttachError::Builtin { source: Box::new(error) }
            }
            error => error,
        })
    }

    fn load_object(object: &Object) -> Result<Self, AttachError> {
        let (path, bytes) = match &object.path {
            None => (Path::new("the built-in object"), Cow::Borrowed(BUILTIN)),
            Some(path) => (path.as_path(), Cow::Owned(read(path)?)),
        };
        let parsed = parse(path, &bytes)?;
        refuse_maps(object, &parsed)?;
        let mut ebpf = load_parsed(&parsed, &bytes).map_err(|error| load_error(object, error))?;
        let program = choose_program(object, &ebpf)?;
        let map_name = choose_map(object, &ebpf)?;
        let map = take_counter(object, &mut ebpf, &map_name)?;
        let xdp = xdp_of(&mut ebpf, &program)?;
        xdp.load().map_err(|error| match error {
            ProgramError::LoadError { io_error, .. } if is_permission(&io_error) => {
                AttachError::NoPrivilege { source: io_error }
            }
            ProgramError::LoadError { io_error, verifier_log } => AttachError::Rejected {
                program: program.clone(),
                answer: io_error,
                log: verifier_log.to_string(),
            },
            other => AttachError::Kernel { action: "load the program", source: Box::new(other) },
        })?;
        let info = xdp.info().map_err(kernel("ask what was loaded"))?;
        let name = String::from_utf8_lossy(info.name()).into_owned();
        let identity = Identity {
            name,
            id: info.id(),
            tag: info.tag(),
            instructions: info.size_translated().map(|bytes| bytes / INSTRUCTION),
            verified_instructions: info.verified_instruction_count(),
            machine_code_bytes: info.size_jitted(),
        };
        let frags = parsed
            .programs
            .get(&program)
            .is_some_and(|program| matches!(program.section, ProgramSection::Xdp { frags: true, .. }));
        Ok(Self { ebpf, program, map, identity, frags })
    }

    /// What the kernel says of the program.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// A descriptor of the program, for whoever attaches it by other ways than [`Counter::attach`].
    ///
    /// # Errors
    ///
    /// When the process has no descriptor left.
    pub fn descriptor(&self) -> Result<OwnedFd, AttachError> {
        let copy = self.xdp()?.fd().map_err(kernel("find the program"))?.as_fd().try_clone_to_owned();
        copy.map_err(|error| kernel("copy the program's descriptor")(ProgramError::IOError(error)))
    }

    /// How many times the program ran since it was loaded, while a [`RunCounting`] was held (`run_cnt` of
    /// `struct bpf_prog_info`). The kernel adds to it after the program has returned, so a frame that is in here is also in
    /// [`Counter::counts`] (on processors that keep stores in order, as x86 does; elsewhere a count may be seen late).
    ///
    /// # Errors
    ///
    /// When the kernel does not answer.
    pub fn runs(&self) -> Result<u64, AttachError> {
        let info = self.xdp()?.info().map_err(kernel("ask how often the program ran"))?;
        Ok(info.run_count())
    }

    /// Whether the program says that it takes frames of several buffers (`SEC("xdp.frags")`).
    #[must_use]
    pub fn takes_fragments(&self) -> bool {
        self.frags
    }

    /// How wide the counters are: what was added between two [readings](Counter::counts) is taken modulo that.
    #[must_use]
    pub fn width(&self) -> Width {
        self.map.width()
    }

    /// Whether each CPU has counters of its own.
    #[must_use]
    pub fn is_per_cpu(&self) -> bool {
        self.map.is_per_cpu()
    }

    /// Writes a value into a slot on every possible CPU, and reads it back.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, or something else is there afterwards.
    pub fn preset(&mut self, protocol: u8, value: u64) -> Result<(), AttachError> {
        let failed = |error: MapError| AttachError::Kernel {
            action: "preset a counter",
            source: Box::new(ProgramError::MapError(error)),
        };
        // As much of it as a counter holds: it then wraps where it would have come to.
        let value = self.width().added(0, value);
        self.map.preset(protocol, value).map_err(failed)?;
        match self.map.values(protocol).map_err(failed)?.into_iter().find(|&found| found != value) {
            None => Ok(()),
            Some(found) => Err(AttachError::NotPreset { protocol, value, found }),
        }
    }

    /// The value of every slot that is not 0, for each possible CPU; in one place for a map that is not per CPU.
    ///
    /// # Errors
    ///
    /// When the kernel does not answer.
    pub fn counts(&self) -> Result<Vec<Counts>, AttachError> {
        let mut per_cpu: Vec<Counts> = Vec::new();
        let stray = self.map.read(|protocol, values| {
            per_cpu.resize_with(values.len().max(per_cpu.len()), Counts::new);
            for (counts, &value) in per_cpu.iter_mut().zip(values) {
                if value != 0 {
                    counts.insert(protocol, value);
                }
            }
        });
        match stray.map_err(|error| kernel("read the counters")(ProgramError::MapError(error)))? {
            Some(key) => Err(AttachError::Strays { key }),
            None => Ok(per_cpu),
        }
    }

    /// What a slot holds, for each possible CPU; in one place for a map that is not per CPU.
    fn values(&self, slot: u8) -> Result<Vec<u64>, AttachError> {
        let failed = |error| kernel("read the counters")(ProgramError::MapError(error));
        self.map.values(slot).map_err(failed)
    }

    /// What some slots hold, summed over them and the CPUs: quicker than [`Counter::counts`].
    ///
    /// # Errors
    ///
    /// When the kernel does not answer.
    pub fn counted(&self, slots: &[u8]) -> Result<u64, AttachError> {
        Ok(self.counted_by_cpu(slots)?.into_iter().fold(0, u64::wrapping_add))
    }

    /// The same for each possible CPU; in one place for a map that is not per CPU.
    ///
    /// # Errors
    ///
    /// When the kernel does not answer.
    pub fn counted_by_cpu(&self, slots: &[u8]) -> Result<Vec<u64>, AttachError> {
        let mut per_cpu: Vec<u64> = Vec::new();
        for &slot in slots {
            let values = self.values(slot)?;
            per_cpu.resize(values.len().max(per_cpu.len()), 0);
            for (sum, value) in per_cpu.iter_mut().zip(values) {
                *sum = sum.wrapping_add(value);
            }
        }
        Ok(per_cpu)
    }

    /// Attaches the program to a link of the worker's namespace; without a mode the kernel chooses one. The counter is
    /// lent to the worker for it and comes back. Needs `CAP_NET_ADMIN` there.
    ///
    /// The attachment is a `bpf_link` (kernel 5.9); older kernels get a netlink attachment, which is taken back on drop
    /// but not when the process is killed.
    ///
    /// # Errors
    ///
    /// The kernel's refusal, and anything else being attached than what was asked for.
    pub fn attach(
        mut self,
        worker: &Worker,
        index: IfIndex,
        mode: Option<XdpMode>,
    ) -> Result<(Self, Result<Attachment, AttachError>), AttachError> {
        Ok(worker.run(move |host| {
            let id = self.identity.id;
            let attached = self.attach_here(index, mode).and_then(|guard| {
                let found = host.xdp(index)?;
                match found.iter().find(|(_, attached)| *attached == id).map(|(mode, _)| mode) {
                    Some(actual) if mode.is_none_or(|asked| asked == actual) => {
                        Ok(Attachment { mode: actual, index, id, _guard: guard })
                    }
                    _ => Err(AttachError::NotAttached { mode: mode_name(mode), id, found }),
                }
            });
            let attached = match attached {
                Err(fell_back @ AttachError::FellBack { .. }) => detach(host, index, id).and(Err(fell_back)),
                attached => attached,
            };
            (self, attached)
        })?)
    }

    /// Attaches in the calling thread's namespace.
    fn attach_here(&mut self, index: IfIndex, mode: Option<XdpMode>) -> Result<Guard, AttachError> {
        let asked = match mode {
            None => AyaMode::Default,
            Some(XdpMode::Generic) => AyaMode::Skb,
            Some(XdpMode::Native) => AyaMode::Driver,
            Some(XdpMode::Offload) => AyaMode::Hardware,
        };
        let xdp = xdp_of(&mut self.ebpf, &self.program)?;
        let link = xdp.attach_to_if_index(index.get(), asked).and_then(|link| xdp.take_link(link)).map_err(
            |error| match errno(&error) {
                Some(source) => AttachError::Refused { mode: mode_name(mode), source },
                None => AttachError::Kernel { action: "attach the program", source: Box::new(error) },
            },
        )?;
        if kernel::kernel_version().is_ok_and(|version| version < LINK_KERNEL) {
            return Ok(Guard::Netlink(link));
        }
        // aya falls back to netlink wherever the kernel answers EINVAL. It does not detach what it then cannot convert.
        FdLink::try_from(link)
            .map(Guard::Link)
            .map_err(|_not_a_link| AttachError::FellBack { mode: mode_name(mode) })
    }

    /// Runs the program once on one frame by `BPF_PROG_TEST_RUN`; `out` gets the frame as the program left it. Needs
    /// `CAP_BPF` (or root).
    ///
    /// # Errors
    ///
    /// What the kernel answered: EINVAL for a frame that is too short or too long (`bpf_prog_test_run_xdp`).
    pub fn test_run(&self, frame: &[u8], out: &mut [u8]) -> io::Result<Answer> {
        self.test_run_in_context(frame, None, out)
    }

    /// Runs the program many times on one frame, each time on what the run before has left of it. While it is not attached
    /// anywhere, the kernel changes its XDP dispatcher around the call, which takes some ten milliseconds.
    ///
    /// # Errors
    ///
    /// As [`Counter::test_run`], and EINTR if a signal came, after which it is unknown how often it ran.
    pub fn repeat(&self, frame: &[u8], times: u32) -> io::Result<()> {
        let mut options = TestRunOptions::new();
        (options.data_in, options.repeat) = (Some(frame), times);
        self.run_with(options).map(drop)
    }

    /// As [`Counter::test_run`], with only the first `linear` bytes of the frame in its linear part and the rest in
    /// fragments: the program must take multi-buffer frames. Needs kernel 6.18.
    ///
    /// # Errors
    ///
    /// What the kernel answered: EINVAL from older kernels.
    pub fn test_run_split(&self, frame: &[u8], linear: u32, out: &mut [u8]) -> io::Result<Answer> {
        // struct xdp_md of include/uapi/linux/bpf.h: data, data_end, data_meta, ingress_ifindex, rx_queue_index,
        // egress_ifindex.
        let mut context = [0; 24];
        context[4..8].copy_from_slice(&linear.to_ne_bytes());
        self.test_run_in_context(frame, Some(&context), out)
    }

    fn test_run_in_context(
        &self,
        frame: &[u8],
        context: Option<&[u8]>,
        out: &mut [u8],
    ) -> io::Result<Answer> {
        let mut options = TestRunOptions::new();
        (options.data_in, options.data_out, options.ctx_in) = (Some(frame), Some(out), context);
        let result = self.run_with(options)?;
        let length = usize::try_from(result.data_size_out).map_err(io::Error::other)?;
        Ok(Answer { action: result.return_value, length })
    }

    fn run_with(&self, options: TestRunOptions<'_>) -> io::Result<TestRunResult> {
        let result = self.xdp().map_err(io::Error::other)?.test_run(options);
        result.map_err(|error| errno(&error).unwrap_or_else(|| io::Error::other(error)))
    }

    fn xdp(&self) -> Result<&Xdp, AttachError> {
        match self.ebpf.program(&self.program) {
            Some(Program::Xdp(xdp)) => Ok(xdp),
            _ => Err(AttachError::Kernel {
                action: "find the program",
                source: Box::new(ProgramError::UnexpectedProgramType),
            }),
        }
    }
}

/// A program on a device. It is detached when this is dropped.
#[derive(Debug)]
pub struct Attachment {
    /// The mode in which it is attached, as the kernel says.
    pub mode: XdpMode,
    /// The device.
    pub index: IfIndex,
    /// The program's id.
    pub id: u32,
    _guard: Guard,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held for what happens when they are dropped")]
enum Guard {
    Link(FdLink),
    Netlink(XdpLink),
}

/// Whether the kernel has a program of this id. It has one for as long as someone holds it: a descriptor, an attachment.
/// Needs `CAP_SYS_ADMIN` (`bpf_prog_get_fd_by_id()` of `kernel/bpf/syscall.c`).
///
/// # Errors
///
/// When the kernel does not answer.
pub fn is_loaded(id: u32) -> Result<bool, AttachError> {
    for program in loaded_programs() {
        match program {
            Ok(info) if info.id() == id => return Ok(true),
            // A program of someone else that went while it was being looked at is none of ours.
            Ok(_) => {}
            Err(error) if errno(&error).is_some_and(|error| error.kind() == io::ErrorKind::NotFound) => {}
            Err(error) => return Err(kernel("list the programs")(error)),
        }
    }
    Ok(false)
}

/// While this is held, the kernel counts the runs of every program (`BPF_ENABLE_STATS`, kernel 5.8; `CAP_SYS_ADMIN`).
#[derive(Debug)]
pub struct RunCounting {
    _switch: OwnedFd,
}

impl RunCounting {
    /// Switches the counting on until this is dropped; others who want it are not disturbed.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn enable() -> Result<Self, AttachError> {
        let switch = enable_stats(Stats::RunTime).map_err(|error| {
            if is_permission(&error.io_error) {
                AttachError::NoPrivilege { source: error.io_error }
            } else {
                kernel("count the program's runs")(error.into())
            }
        })?;
        Ok(Self { _switch: switch })
    }
}

/// Takes a program off a link, in whichever mode it is attached.
fn detach(host: &mut Host, index: IfIndex, id: u32) -> Result<(), AttachError> {
    for (mode, _) in host.xdp(index)?.iter().filter(|(_, attached)| *attached == id) {
        host.detach_xdp(index, mode)?;
    }
    Ok(())
}

fn mode_name(mode: Option<XdpMode>) -> &'static str {
    match mode {
        None => "the kernel's choice of",
        Some(XdpMode::Generic) => "generic",
        Some(XdpMode::Native) => "native",
        Some(XdpMode::Offload) => "offload",
    }
}

fn kernel(action: &'static str) -> impl Fn(ProgramError) -> AttachError {
    move |error| AttachError::Kernel { action, source: Box::new(error) }
}

/// Whether the kernel wants a capability. EACCES is another thing: it is what the verifier answers.
fn is_permission(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error())
}

/// The system's answer within aya's error, if there is one.
fn errno(error: &ProgramError) -> Option<io::Error> {
    let code = match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        ProgramError::XdpError(XdpError::NetlinkError(error)) => error.raw_os_error(),
        _ => None,
    };
    code.map(io::Error::from_raw_os_error)
}

/// Makes the maps of one of our own objects and readies its programs.
pub(crate) fn load_bytes(bytes: &[u8]) -> Result<Ebpf, EbpfError> {
    load_parsed(&aya_obj::Object::parse(bytes)?, bytes)
}

/// Makes an object's maps and readies its programs.
///
/// aya's loader reads the types of the whole kernel when it is made, which takes longer than everything else that a trial
/// needs. Only an object that is to be relocated by those types needs such a loader, and one is made for the process.
fn load_parsed(parsed: &aya_obj::Object, bytes: &[u8]) -> Result<Ebpf, EbpfError> {
    static LOADER: OnceLock<Mutex<EbpfLoader<'static>>> = OnceLock::new();
    static LOADER_WITHOUT_TYPES: OnceLock<Mutex<EbpfLoader<'static>>> = OnceLock::new();
    let loader = if parsed.has_btf_relocations() {
        LOADER.get_or_init(|| Mutex::new(EbpfLoader::new()))
    } else {
        LOADER_WITHOUT_TYPES.get_or_init(|| Mutex::new(loader_without_types()))
    };
    // What it holds does not change by a load, so that one which panicked has broken nothing.
    loader.lock().unwrap_or_else(PoisonError::into_inner).load(bytes)
}

/// A loader that does not know the kernel's types. `EbpfLoader::new` looks for them and cannot be told not to, so that it is
/// called where there is no `/sys/kernel/btf/vmlinux`; and as ever where that is refused.
pub(crate) fn loader_without_types() -> EbpfLoader<'static> {
    run_in_root(Path::new("/sys"), EbpfLoader::new).unwrap_or_else(|_| EbpfLoader::new())
}

fn load_error(object: &Object, error: EbpfError) -> AttachError {
    match (error, &object.path) {
        (EbpfError::MapError(MapError::CreateError { io_error, .. }), _) if is_permission(&io_error) => {
            AttachError::NoPrivilege { source: io_error }
        }
        (error @ (EbpfError::ParseError(_) | EbpfError::BtfError(_)), Some(path)) => {
            AttachError::NotAnObject { path: path.clone(), source: Box::new(error) }
        }
        (error, _) => AttachError::Load { object: object.to_string(), source: Box::new(error) },
    }
}

fn read(path: &Path) -> Result<Vec<u8>, AttachError> {
    let object = std::fs::read(path).map_err(|source| AttachError::Open { path: path.to_owned(), source })?;
    Ok(section_names::with_todays_names(object))
}

fn parse(path: &Path, bytes: &[u8]) -> Result<aya_obj::Object, AttachError> {
    aya_obj::Object::parse(bytes).map_err(|error| AttachError::NotAnObject {
        path: path.to_owned(),
        source: Box::new(EbpfError::ParseError(error)),
    })
}

/// Refuses maps that must not be made, or that the kernel refuses without saying why.
///
/// A map that is pinned by name would be one map for all testbeds, and would stay when we are gone. An array's key has four
/// bytes (`array_map_alloc_check` in kernel/bpf/arraymap.c).
fn refuse_maps(object: &Object, parsed: &aya_obj::Object) -> Result<(), AttachError> {
    let mut maps: Vec<_> = parsed.maps.iter().collect();
    maps.sort_unstable_by_key(|(name, _)| name.as_str());
    for (name, map) in maps {
        let (object, name, key) = (object.to_string(), name.clone(), map.key_size());
        if map.pinning() == PinningType::ByName {
            return Err(AttachError::Pinned { object, name });
        }
        if [BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PERCPU_ARRAY].contains(&map.map_type()) && key != 4 {
            let what = format!("its key has {key} bytes, and an array's has 4");
            return Err(AttachError::NotACounter { object, name, what });
        }
    }
    Ok(())
}

/// The names of the XDP programs in an object file, sorted. Needs no privilege.
///
/// # Errors
///
/// When the file cannot be read or is not an object.
pub fn programs_of(path: &Path) -> Result<Vec<String>, AttachError> {
    let parsed = parse(path, &read(path)?)?;
    let mut names: Vec<String> = parsed
        .programs
        .iter()
        .filter(|(_, program)| matches!(program.section, ProgramSection::Xdp { .. }))
        .map(|(name, _)| name.clone())
        .collect();
    names.sort_unstable();
    Ok(names)
}

fn choose_program(object: &Object, ebpf: &Ebpf) -> Result<String, AttachError> {
    let mut available: Vec<String> = ebpf
        .programs()
        .filter(|(_, program)| matches!(program, Program::Xdp(_)))
        .map(|(name, _)| name.to_owned())
        .collect();
    available.sort_unstable();
    let named = match (&object.program, &object.path) {
        (Some(name), _) => Some(name.as_str()),
        (None, None) => Some(abi::COUNT_PROGRAM),
        (None, Some(_)) => None,
    };
    match (named, available.as_slice()) {
        (Some(name), _) if available.iter().any(|other| other == name) => Ok(name.to_owned()),
        (Some(name), _) => {
            Err(AttachError::NoSuchProgram { object: object.to_string(), name: name.to_owned(), available })
        }
        (None, [only]) => Ok(only.clone()),
        (None, _) => Err(AttachError::WhichProgram { object: object.to_string(), available }),
    }
}

fn choose_map(object: &Object, ebpf: &Ebpf) -> Result<String, AttachError> {
    if let Some(name) = &object.map {
        if ebpf.map(name).is_some() {
            return Ok(name.clone());
        }
        let mut available: Vec<String> = ebpf.maps().map(|(name, _)| name.to_owned()).collect();
        available.sort_unstable();
        return Err(AttachError::NoSuchMap { object: object.to_string(), name: name.clone(), available });
    }
    if ebpf.map(abi::MAP_NAME).is_some() {
        return Ok(abi::MAP_NAME.to_owned());
    }
    let mut maps: Vec<_> = ebpf.maps().map(|(name, map)| (name.to_owned(), misfit(map))).collect();
    maps.sort_unstable();
    let fitting = maps.iter().filter(|(_, wrong)| wrong.is_none()).map(|(name, _)| name.clone());
    let available: Vec<String> = fitting.collect();
    match available.as_slice() {
        [only] => Ok(only.clone()),
        [] => {
            let maps = maps.into_iter().filter_map(|(name, wrong)| Some((name, wrong?))).collect();
            Err(AttachError::NoCounter { object: object.to_string(), maps })
        }
        _ => Err(AttachError::WhichMap { object: object.to_string(), available }),
    }
}

fn take_counter(object: &Object, ebpf: &mut Ebpf, name: &str) -> Result<CounterMap, AttachError> {
    let map = ebpf.take_map(name).ok_or_else(|| "it is not there".to_owned());
    map.and_then(CounterMap::new).map_err(|what| AttachError::NotACounter {
        object: object.to_string(),
        name: name.to_owned(),
        what,
    })
}

fn xdp_of<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, AttachError> {
    let wrong = || kernel("find the program")(ProgramError::UnexpectedProgramType);
    let program = ebpf.program_mut(name).ok_or_else(wrong)?;
    program.try_into().map_err(kernel("find the program"))
}
