//! One XDP program in the kernel.

use std::{
    fmt, io,
    os::fd::{AsFd as _, OwnedFd},
};

use aya::{
    Ebpf,
    programs::{
        Program as AyaProgram, ProgramError as AyaError, TestRun as _, TestRunOptions, TestRunResult, Xdp,
        loaded_programs,
    },
    sys::{Stats, enable_stats},
};

use crate::{
    model::environment::ProgramIdentity,
    program::{
        CounterMap, Object, ProgramError,
        error::{errno, is_permission, kernel},
        load::ObjectFile,
        select,
    },
};

/// Bytes of an instruction (`struct bpf_insn`).
const INSTRUCTION: u32 = 8;

const FIND: &str = "find the program";

/// The kernel's description of a loaded program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// At most 15 bytes.
    pub name: String,
    pub id: u32,
    /// The hash of its instructions: the same program has the same tag on every machine.
    pub tag: u64,
    /// Instructions after the verifier has rewritten them; none where the kernel does not show them.
    pub instructions: Option<u32>,
    /// Instructions that the verifier looked at, along all paths (kernel 5.16).
    pub verified_instructions: Option<u32>,
    /// 0 without a JIT compiler.
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

/// The result of one test run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestRunOutput {
    /// The program's return value, an `XDP_*` action.
    pub action: u32,
    /// Length of the frame after the program, in bytes.
    pub length: usize,
}

impl TestRunOutput {
    /// `XDP_PASS` (include/uapi/linux/bpf.h).
    pub const PASS: u32 = 2;
}

/// A loaded XDP program, with the maps that it uses.
pub struct Program {
    ebpf: Ebpf,
    name: String,
    identity: Identity,
    takes_frags: bool,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Program {
    /// Loads a program into the kernel, whatever maps it has. Needs `CAP_BPF` and `CAP_NET_ADMIN`, or root.
    ///
    /// # Errors
    ///
    /// A file that is no object, an object without such a program, and the verifier's refusal with its log.
    pub fn load(object: &Object) -> Result<Self, ProgramError> {
        ObjectFile::open(object).and_then(|file| Self::of(&file)).map_err(|error| error.while_loading(object))
    }

    /// Loads a program that counts, and takes its counter map. Needs `CAP_BPF` and `CAP_NET_ADMIN`, or root.
    ///
    /// # Errors
    ///
    /// Those of [`Program::load`], and an object without a map that can be the counter.
    pub fn load_counter(object: &Object) -> Result<(Self, CounterMap), ProgramError> {
        let load = || {
            let file = ObjectFile::open(object)?;
            let maps = file.maps();
            let shape = select::choose_map(object, &maps);
            let shape = shape.map_err(|problem| ProgramError::object(object, problem))?;
            let mut program = Self::of(&file)?;
            let map = program.ebpf.take_map(&shape.name).ok_or(aya::maps::MapError::ElementNotFound);
            let counters = map.and_then(|map| CounterMap::new(map, shape.value_size));
            Ok((program, counters.map_err(kernel("open the counter map"))?))
        };
        load().map_err(|error: ProgramError| error.while_loading(object))
    }

    fn of(file: &ObjectFile<'_>) -> Result<Self, ProgramError> {
        let name = select::choose_program(file.object, file.programs());
        let name = name.map_err(|problem| ProgramError::object(file.object, problem))?;
        let mut ebpf = file.load()?;
        let program = ebpf.program_mut(&name).ok_or(AyaError::UnexpectedProgramType);
        let xdp: &mut Xdp = program.and_then(TryInto::try_into).map_err(kernel(FIND))?;
        xdp.load().map_err(|error| match error {
            AyaError::LoadError { io_error, .. } if is_permission(&io_error) => {
                ProgramError::NoPrivilege { source: io_error }
            }
            AyaError::LoadError { io_error, verifier_log } => ProgramError::Rejected {
                program: name.clone(),
                answer: io_error,
                log: verifier_log.to_string(),
            },
            other => kernel("load the program")(other),
        })?;
        let info = xdp.info().map_err(kernel("read the program's description"))?;
        let identity = Identity {
            name: String::from_utf8_lossy(info.name()).into_owned(),
            id: info.id(),
            tag: info.tag(),
            instructions: info.size_translated().map(|bytes| bytes / INSTRUCTION),
            verified_instructions: info.verified_instruction_count(),
            machine_code_bytes: info.size_jitted(),
        };
        let takes_frags = file.takes_frags(&name);
        Ok(Self { ebpf, name, identity, takes_frags })
    }

    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns a descriptor of the program.
    ///
    /// # Errors
    ///
    /// When the process has no descriptor left.
    pub fn descriptor(&self) -> Result<OwnedFd, ProgramError> {
        let copy = self.xdp()?.fd().map_err(kernel(FIND))?.as_fd().try_clone_to_owned();
        copy.map_err(|error| kernel("copy the program's descriptor")(AyaError::IOError(error)))
    }

    /// Returns how many times the program ran since it was loaded, while a [`RunCounting`] was held
    /// (`run_cnt` of `struct bpf_prog_info`). The kernel adds to it after the program has returned, so a frame that is in here
    /// is also in its maps (on processors that keep stores in order, as x86 does; elsewhere a count may be seen late).
    ///
    /// # Errors
    ///
    /// When the kernel does not answer.
    pub fn runs(&self) -> Result<u64, ProgramError> {
        let info = self.xdp()?.info().map_err(kernel("read how often the program ran"))?;
        Ok(info.run_count())
    }

    /// Returns whether the program takes multi-buffer frames (`SEC("xdp.frags")`).
    #[must_use]
    pub fn takes_frags(&self) -> bool {
        self.takes_frags
    }

    /// Runs the program once on one frame by `BPF_PROG_TEST_RUN`; `out` gets the frame as the program left it. Needs
    /// `CAP_BPF` (or root).
    ///
    /// # Errors
    ///
    /// The kernel's answer: EINVAL for a frame that is too short or too long (`bpf_prog_test_run_xdp`).
    pub fn test_run(&self, frame: &[u8], out: &mut [u8]) -> io::Result<TestRunOutput> {
        self.test_run_in_context(frame, None, out)
    }

    /// Runs the program many times on one frame, each time on what the run before has left of it. While it is not attached
    /// anywhere, the kernel changes its XDP dispatcher around the call, which takes some ten milliseconds.
    ///
    /// # Errors
    ///
    /// As [`Program::test_run`], and EINTR if a signal came, after which it is unknown how often it ran.
    pub fn repeat(&self, frame: &[u8], times: u32) -> io::Result<()> {
        let mut options = TestRunOptions::new();
        (options.data_in, options.repeat) = (Some(frame), times);
        self.run_with(options).map(drop)
    }

    /// As [`Program::test_run`], with only the first `linear` bytes of the frame in its linear part and the rest in frags:
    /// the program must take multi-buffer frames. Needs kernel 6.18.
    ///
    /// # Errors
    ///
    /// The kernel's answer: EINVAL from older kernels.
    pub fn test_run_split(&self, frame: &[u8], linear: u32, out: &mut [u8]) -> io::Result<TestRunOutput> {
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
    ) -> io::Result<TestRunOutput> {
        let mut options = TestRunOptions::new();
        (options.data_in, options.data_out, options.ctx_in) = (Some(frame), Some(out), context);
        let result = self.run_with(options)?;
        let length = usize::try_from(result.data_size_out).map_err(io::Error::other)?;
        Ok(TestRunOutput { action: result.return_value, length })
    }

    fn run_with(&self, options: TestRunOptions<'_>) -> io::Result<TestRunResult> {
        let result = self.xdp().map_err(io::Error::other)?.test_run(options);
        result.map_err(|error| errno(&error).unwrap_or_else(|| io::Error::other(error)))
    }

    fn xdp(&self) -> Result<&Xdp, ProgramError> {
        match self.ebpf.program(&self.name) {
            Some(AyaProgram::Xdp(xdp)) => Ok(xdp),
            _ => Err(kernel(FIND)(AyaError::UnexpectedProgramType)),
        }
    }
}

/// Returns whether the kernel has a program of this id. It has one for as long as someone holds it: a descriptor, an
/// attachment. Needs `CAP_SYS_ADMIN` (`bpf_prog_get_fd_by_id()` of `kernel/bpf/syscall.c`).
///
/// # Errors
///
/// When the kernel does not answer.
pub fn is_loaded(id: u32) -> Result<bool, ProgramError> {
    for program in loaded_programs() {
        match program {
            Ok(info) if info.id() == id => return Ok(true),
            Ok(_) => {}
            // A program of someone else that was unloaded while it was being looked at.
            Err(error) if errno(&error).is_some_and(|error| error.kind() == io::ErrorKind::NotFound) => {}
            Err(error) => return Err(kernel("list the programs")(error)),
        }
    }
    Ok(false)
}

/// While this is held, the kernel counts the runs of every program (`BPF_ENABLE_STATS`, kernel 5.8; `CAP_SYS_ADMIN`).
#[derive(Debug)]
pub struct RunCounting {
    _enabled: OwnedFd,
}

impl RunCounting {
    /// Enables the counting until this is dropped; other holders are not disturbed.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn enable() -> Result<Self, ProgramError> {
        match enable_stats(Stats::RunTime) {
            Ok(enabled) => Ok(Self { _enabled: enabled }),
            Err(error) if is_permission(&error.io_error) => {
                Err(ProgramError::NoPrivilege { source: error.io_error })
            }
            Err(error) => Err(kernel("count the program's runs")(error)),
        }
    }
}
