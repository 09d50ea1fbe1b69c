//! One XDP program in the kernel.

use std::{
    collections::BTreeSet,
    fmt, io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use aya::{
    programs::loaded_programs,
    sys::{Stats, enable_stats},
};
use xdproof_netns::bpf::{self, TestRun, TestRunOutcome};

use crate::{
    model::environment::ProgramIdentity,
    program::{
        CounterMap, LoadSetUp, Object, ProgramError,
        error::{errno, is_permission, kernel},
        load::{self, Additions, Loaded},
        map_sizes,
        object_file::{ObjectFile, Selected},
        state::{KERNEL_NAME, State},
        variables,
    },
};

/// Bytes of an instruction (`struct bpf_insn`).
const INSTRUCTION: u32 = 8;

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
    /// The map that its counters are read from.
    pub counter_map: Option<String>,
    /// Sentences about what its own loader does otherwise, or leaves to user space.
    pub notes: Vec<String>,
}

impl Identity {
    /// Returns the record of a program that was loaded from `object`.
    #[must_use]
    pub fn of(&self, object: &Object) -> ProgramIdentity {
        ProgramIdentity {
            object: object.path.as_ref().map(|path| path.display().to_string()),
            name: self.name.clone(),
            tag: format!("{:016x}", self.tag),
            counter_map: self.counter_map.clone(),
            notes: self.notes.clone(),
        }
    }
}

// `struct xdp_md` of include/uapi/linux/bpf.h: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
const CONTEXT: usize = 24;

/// The context in which a frame arrives by a test run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestContext {
    /// Index of a device in the namespace of the calling thread; 0: the loopback device of the kernel's first namespace.
    pub ingress_ifindex: u32,
    /// Receive queue of that device. The kernel takes one only with a device.
    pub rx_queue: u32,
    /// Bytes in front of the frame, between `data_meta` and `data`: a multiple of 4, at most 32.
    pub metadata: Vec<u8>,
}

/// The result of one test run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestRunOutput {
    /// The program's return value, an `XDP_*` action.
    pub action: u32,
    /// Length of the frame after the program in bytes, without metadata.
    pub length: usize,
}

impl TestRunOutput {
    /// `XDP_PASS` (include/uapi/linux/bpf.h).
    pub const PASS: u32 = 2;
}

/// A loaded XDP program, with the maps that it uses.
pub struct Program {
    loaded: Loaded,
    identity: Identity,
    pub(super) state: State,
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
        let load = || {
            let file = ObjectFile::open(object)?;
            Self::of(&file, &file.select(&BTreeSet::new())?, &Additions::default())
        };
        load().map_err(|error| error.while_loading(object))
    }

    /// Loads a program that counts, and takes its counter map. Needs `CAP_BPF` and `CAP_NET_ADMIN`, or root.
    ///
    /// # Errors
    ///
    /// Those of [`Program::load`], and an object without a map that can be the counter.
    pub fn load_counter(object: &Object) -> Result<(Self, CounterMap), ProgramError> {
        let load = || {
            let file = ObjectFile::open(object)?;
            let mut selected = file.select(&BTreeSet::new())?;
            let counter = file.counter(&selected)?;
            // Only programs that user space calls by tail calls may use it.
            selected.reach.maps.insert(counter);
            let mut program = Self::of(&file, &selected, &Additions::default())?;
            program.identity.counter_map = Some(file.maps[counter].name.clone());
            let counters = match program.loaded.maps.get(&counter) {
                Some(map) => CounterMap::of(map.as_fd())?,
                None => return Err(ProgramError::NoCounters),
            };
            Ok((program, counters))
        };
        load().map_err(|error: ProgramError| error.while_loading(object))
    }

    /// Loads a program with values for its global variables and with all maps of its object, which can then be read and
    /// written. Needs `CAP_BPF` and `CAP_NET_ADMIN`, or root.
    ///
    /// # Errors
    ///
    /// Those of [`Program::load`], and a set-up that does not fit the object.
    pub fn load_with(object: &Object, set_up: &LoadSetUp) -> Result<Self, ProgramError> {
        let load = || {
            let mut file = ObjectFile::open(object)?;
            let completed = map_sizes::complete(&mut file.maps, &set_up.entries)?;
            let selected = file.select(&set_up.programs)?;
            let types = file.types.as_ref();
            let sections = variables::sections(&file.elf, types);
            let contents = variables::set(&file.elf, types, &sections, &set_up.globals, &())?;
            let (maps, refused) = file.unused_maps(&selected);
            let additions = Additions {
                maps,
                sections: sections.iter().map(|section| section.index).collect(),
                contents,
                reuse_pins: set_up.reuse_pins,
            };
            let mut program = Self::of(&file, &selected, &additions)?;
            let is_used =
                |name: &str| selected.reach.maps.iter().any(|&index| file.maps[index].name == *name);
            let notes = completed.into_iter().filter(|(name, _)| is_used(name)).map(|(_, note)| note);
            program.identity.notes.extend(notes);
            program.state = State::of_object(&file, sections, refused, &mut program.loaded)?;
            Ok(program)
        };
        load().map_err(|error: ProgramError| error.while_loading(object))
    }

    fn of(
        file: &ObjectFile<'_>,
        selected: &Selected<'_, '_>,
        additions: &Additions,
    ) -> Result<Self, ProgramError> {
        let loaded = load::load(file, selected, additions)?;
        Self::described(loaded, file.notes(selected))
    }

    /// Describes a program that is loaded.
    pub(super) fn described(loaded: Loaded, notes: Vec<String>) -> Result<Self, ProgramError> {
        let described = bpf::describe_program(loaded.program.as_fd());
        let described =
            described.map_err(|answer| ProgramError::system("read the program's description", answer))?;
        let some = |number: u32| (number > 0).then_some(number);
        let identity = Identity {
            name: described.name,
            id: described.id,
            tag: u64::from_be_bytes(described.tag),
            instructions: some(described.instruction_bytes / INSTRUCTION),
            verified_instructions: some(described.verified_instructions),
            machine_code_bytes: described.machine_code_bytes,
            counter_map: None,
            notes,
        };
        Ok(Self { loaded, identity, state: State::default() })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.loaded.program.as_fd()
    }

    /// Returns whether this is the program of that name in the object.
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.identity.name == name.get(..KERNEL_NAME).unwrap_or(name)
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
        let copy = self.loaded.program.try_clone();
        copy.map_err(|answer| ProgramError::system("copy the program's descriptor", answer))
    }

    /// Returns how many times the program ran since it was loaded, while a [`RunCounting`] was held
    /// (`run_cnt` of `struct bpf_prog_info`). The kernel adds to it after the program has returned, so a frame that is in here
    /// is also in its maps (on processors that keep stores in order, as x86 does; elsewhere a count may be seen late).
    pub fn runs(&self) -> Result<u64, ProgramError> {
        let described = bpf::describe_program(self.loaded.program.as_fd());
        let described =
            described.map_err(|answer| ProgramError::system("read how often the program ran", answer))?;
        Ok(described.runs)
    }

    /// Returns whether the program takes multi-buffer frames (`SEC("xdp.frags")`).
    #[must_use]
    pub fn takes_frags(&self) -> bool {
        self.loaded.takes_frags
    }

    /// Runs the program once on one frame by `BPF_PROG_TEST_RUN`; `out` gets the frame as the program left it. Needs
    /// `CAP_BPF` (or root).
    ///
    /// # Errors
    ///
    /// The kernel's answer: EINVAL for a frame that is too short or too long (`bpf_prog_test_run_xdp`).
    pub fn test_run(&self, frame: &[u8], out: &mut [u8]) -> io::Result<TestRunOutput> {
        let linear = u32::try_from(frame.len()).map_err(io::Error::other)?;
        self.test_run_in_context(frame, linear, out)
    }

    /// As [`Program::test_run`], with the fields of the context that a frame has besides its bytes. Needs kernel 5.15.
    ///
    /// # Errors
    ///
    /// The kernel's answer: ENODEV for a device that is not in the namespace of the calling thread, EINVAL for a receive queue
    /// that the device does not have, and for metadata whose length is no multiple of 4 or more than 32
    /// (`xdp_convert_md_to_buff()` of `net/bpf/test_run.c`, `xdp_metalen_invalid()` of `include/net/xdp.h`).
    pub fn test_run_with(
        &self,
        frame: &[u8],
        context: &TestContext,
        out: &mut [u8],
    ) -> io::Result<TestRunOutput> {
        if *context == TestContext::default() {
            return self.test_run(frame, out);
        }
        run_in_context(self.loaded.program.as_fd(), frame, context, out)
    }

    /// Returns the same for another thread: the kernel looks the device of a context up in the namespace of the calling one.
    pub fn test_runner(&self) -> Result<TestRunner, ProgramError> {
        self.descriptor().map(TestRunner)
    }

    /// Runs the program many times on one frame, each time on what the run before has left of it. While it is not attached
    /// anywhere, the kernel changes its XDP dispatcher around the call, which takes some ten milliseconds.
    ///
    /// # Errors
    ///
    /// As [`Program::test_run`], and EINTR if a signal came, after which it is unknown how often it ran.
    pub fn repeat(&self, frame: &[u8], times: u32) -> io::Result<()> {
        bpf::test_run(self.loaded.program.as_fd(), TestRun { frame, times, ..TestRun::default() }).map(drop)
    }

    /// As [`Program::test_run`], with only the first `linear` bytes of the frame in its linear part and the rest in frags:
    /// the program must take multi-buffer frames. Needs kernel 6.18.
    ///
    /// # Errors
    ///
    /// The kernel's answer: EINVAL from older kernels.
    pub fn test_run_split(&self, frame: &[u8], linear: u32, out: &mut [u8]) -> io::Result<TestRunOutput> {
        self.test_run_in_context(frame, linear, out)
    }

    /// Runs the program with the first `linear` bytes of the frame in its linear part.
    ///
    /// The kernel copies out from `data_meta` on, so that metadata which the program has added stands in front of the frame; the context
    /// says how much of it (`bpf_prog_test_run_xdp()` and `xdp_convert_buff_to_md()` of `net/bpf/test_run.c`).
    fn test_run_in_context(&self, frame: &[u8], linear: u32, out: &mut [u8]) -> io::Result<TestRunOutput> {
        let program = self.loaded.program.as_fd();
        let (mut given, mut context) = ([0; CONTEXT], [0; CONTEXT]);
        given[4..8].copy_from_slice(&linear.to_ne_bytes());
        let run =
            TestRun { frame, frame_out: &mut *out, context: &given, context_out: &mut context, times: 1 };
        let outcome = match bpf::test_run(program, run) {
            // A kernel before 5.15 takes no context, and copies out from `data`.
            Err(error)
                if error.kind() == io::ErrorKind::InvalidInput
                    && u32::try_from(frame.len()) == Ok(linear) =>
            {
                context = [0; CONTEXT];
                bpf::test_run(
                    program,
                    TestRun { frame, frame_out: &mut *out, times: 1, ..TestRun::default() },
                )
            }
            outcome => outcome,
        }?;
        without_metadata(outcome, &context, out)
    }
}

/// Runs a program as [`Program::test_run_with`] does.
fn run_in_context(
    program: BorrowedFd<'_>,
    frame: &[u8],
    context: &TestContext,
    out: &mut [u8],
) -> io::Result<TestRunOutput> {
    let TestContext { ingress_ifindex, rx_queue, metadata } = context;
    let with_metadata = [metadata.as_slice(), frame].concat();
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(io::Error::other);
    let (data, end) = (length(metadata)?, length(&with_metadata)?);
    let words = [data, end, 0, *ingress_ifindex, *rx_queue, 0];
    let given: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
    let mut changed = [0; CONTEXT];
    let run = TestRun {
        frame: &with_metadata,
        frame_out: &mut *out,
        context: &given,
        context_out: &mut changed,
        times: 1,
    };
    let outcome = bpf::test_run(program, run)?;
    without_metadata(outcome, &changed, out)
}

/// Runs a program on frames from any thread.
#[derive(Debug)]
pub struct TestRunner(OwnedFd);

impl TestRunner {
    /// Runs the program as [`Program::test_run_with`] does, with a device of the calling thread's namespace in the context.
    ///
    /// # Errors
    ///
    /// Those of [`Program::test_run_with`].
    pub fn run(&self, frame: &[u8], context: &TestContext, out: &mut [u8]) -> io::Result<TestRunOutput> {
        run_in_context(self.0.as_fd(), frame, context, out)
    }
}

/// Removes the metadata that stands in front of the frame.
fn without_metadata(
    outcome: TestRunOutcome,
    context: &[u8; CONTEXT],
    out: &mut [u8],
) -> io::Result<TestRunOutput> {
    let length = usize::try_from(outcome.frame_length).map_err(io::Error::other)?;
    let metadata = usize::try_from(u32::from_ne_bytes([context[0], context[1], context[2], context[3]]));
    let metadata = metadata.map_err(io::Error::other)?.min(length);
    if metadata > 0 && length <= out.len() {
        out.copy_within(metadata..length, 0);
    }
    Ok(TestRunOutput { action: outcome.returned, length: length - metadata })
}

/// Returns whether the kernel has a program of this id. It has one for as long as someone holds it: a descriptor, an
/// attachment. Needs `CAP_SYS_ADMIN` (`bpf_prog_get_fd_by_id()` of `kernel/bpf/syscall.c`).
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
