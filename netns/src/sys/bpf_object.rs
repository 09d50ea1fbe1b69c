//! `bpf(2)`: maps, types and XDP programs, loaded from descriptions that the caller made, and test runs. Each structure is the
//! head of the command's `union bpf_attr` (`include/uapi/linux/bpf.h`); the kernel assumes zeros for the rest.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use libc::c_int;

use super::{
    bpf::{bpf, bpf_descriptor, object_info},
    narrow,
};

/// `BPF_OBJ_NAME_LEN`: a name with its NUL.
const NAME_LENGTH: usize = 16;

/// The description of a map that is created.
#[derive(Debug, Clone, Copy)]
pub struct NewMap<'a> {
    pub name: &'a str,
    /// `enum bpf_map_type`.
    pub kind: u32,
    /// In bytes.
    pub key_size: u32,
    /// In bytes.
    pub value_size: u32,
    pub entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// Its meaning depends on the type of the map.
    pub extra: u64,
    pub numa_node: u32,
    /// A map like those that a map of maps will hold.
    pub inner: Option<BorrowedFd<'a>>,
    /// Types, and the ids of those of the key and of the value.
    pub types: Option<(BorrowedFd<'a>, u32, u32)>,
}

/// The description of an XDP program that is loaded.
#[derive(Debug, Clone, Copy)]
pub struct NewProgram<'a> {
    pub name: &'a str,
    /// `struct bpf_insn`, one after the other.
    pub instructions: &'a [u8],
    pub license: &'a CStr,
    /// `BPF_F_*`.
    pub flags: u32,
    pub place: ProgramPlace,
    pub types: Option<ProgramTypes<'a>>,
}

/// The place at which an XDP program will run (`enum bpf_attach_type`).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum ProgramPlace {
    #[default]
    Device,
    /// Behind an entry of a devmap (Linux 5.8).
    Devmap,
    /// Behind an entry of a cpumap (Linux 5.9).
    Cpumap,
}

/// The types of a program's functions and the source of its lines.
#[derive(Debug, Clone, Copy)]
pub struct ProgramTypes<'a> {
    pub btf: BorrowedFd<'a>,
    /// `struct bpf_func_info`, one after the other.
    pub functions: &'a [u8],
    /// `struct bpf_line_info`, one after the other.
    pub lines: &'a [u8],
}

/// The kernel's description of a loaded program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedProgram {
    /// `enum bpf_prog_type`.
    pub kind: u32,
    pub id: u32,
    /// At most 15 bytes.
    pub name: String,
    /// The hash of its instructions.
    pub tag: [u8; 8],
    /// 0 without a JIT compiler.
    pub machine_code_bytes: u32,
    /// After the verifier has rewritten them; 0 where the kernel does not show them.
    pub instruction_bytes: u32,
    /// Instructions that the verifier looked at along all paths; 0 before Linux 5.16.
    pub verified_instructions: u32,
    /// Runs that were counted.
    pub runs: u64,
    /// Id of the types that it was loaded with; 0 without.
    pub types: u32,
}

/// One call of `BPF_PROG_TEST_RUN`.
#[derive(Debug, Default)]
pub struct TestRun<'a> {
    pub frame: &'a [u8],
    pub frame_out: &'a mut [u8],
    pub context: &'a [u8],
    pub context_out: &'a mut [u8],
    pub times: u32,
}

/// The outcome of a test run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TestRunOutcome {
    /// The program's return value.
    pub returned: u32,
    /// Bytes of the frame with its metadata.
    pub frame_length: u32,
    /// Bytes of the context that the kernel wrote.
    pub context_length: u32,
}

/// Returns a name as the kernel accepts one (`bpf_obj_name_cpy()` of `kernel/bpf/syscall.c`).
fn object_name(name: &str) -> [u8; NAME_LENGTH] {
    let mut field = [0; NAME_LENGTH];
    for (place, byte) in field[..NAME_LENGTH - 1].iter_mut().zip(name.bytes()) {
        *place = if byte.is_ascii_alphanumeric() || byte == b'.' { byte } else { b'_' };
    }
    field
}

/// Creates a map: `bpf(BPF_MAP_CREATE)`, `CAP_BPF` (`map_create()` in `kernel/bpf/syscall.c`).
///
/// # Errors
/// The kernel's.
pub fn create_map(map: &NewMap<'_>) -> io::Result<OwnedFd> {
    #[repr(C)]
    #[derive(Default)]
    struct Create {
        kind: u32,
        key_size: u32,
        value_size: u32,
        entries: u32,
        flags: u32,
        inner: c_int,
        numa_node: u32,
        name: [u8; NAME_LENGTH],
        device: u32,
        btf: c_int,
        key_type: u32,
        value_type: u32,
        kernel_value_type: u32,
        extra: u64,
    }
    const BPF_MAP_CREATE: c_int = 0;
    let &NewMap { name, kind, key_size, value_size, entries, flags, extra, numa_node, inner, types } = map;
    let (btf, key_type, value_type) =
        types.map_or((0, 0, 0), |(btf, key, value)| (btf.as_raw_fd(), key, value));
    let mut create = Create {
        kind,
        key_size,
        value_size,
        entries,
        flags,
        inner: inner.map_or(0, |inner| inner.as_raw_fd()),
        numa_node,
        name: object_name(name),
        btf,
        key_type,
        value_type,
        extra,
        ..Create::default()
    };
    // SAFETY: the layout is the command's, there is no pointer, and the command returns a new descriptor.
    unsafe { bpf_descriptor(BPF_MAP_CREATE, &mut create) }
}

/// Writes a value into a map whose values are not per CPU: `bpf(BPF_MAP_UPDATE_ELEM)`, `CAP_BPF` (`map_update_elem()` in
/// `kernel/bpf/syscall.c`).
///
/// # Errors
/// The kernel's; `InvalidInput` if key or value are not as long as the map's.
pub fn update_map(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        kind: u32,
        id: u32,
        key: u32,
        value: u32,
    }
    #[repr(C)]
    struct Update {
        map: c_int,
        hole: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    const BPF_MAP_UPDATE_ELEM: c_int = 2;
    /// Maps whose values user space gives for each CPU: more bytes than a value has.
    const PER_CPU: [u32; 4] = [5, 6, 10, 21];
    let mut info = Info::default();
    // SAFETY: the kernel's structure for a map begins so, and it consists of integers.
    unsafe { object_info(map, &mut info) }?;
    let lengths: [u32; 2] = [narrow(key.len())?, narrow(value.len())?];
    if PER_CPU.contains(&info.kind) || lengths != [info.key, info.value] {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut update = Update {
        map: map.as_raw_fd(),
        hole: 0,
        key: key.as_ptr() as u64,
        value: value.as_ptr() as u64,
        flags: 0,
    };
    // SAFETY: the layout is the command's; key and value are alive and as long as the kernel reads.
    unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut update) }.map(drop)
}

/// Forbids user space to write to a map: `bpf(BPF_MAP_FREEZE)`, Linux 5.2 (`map_freeze()` in `kernel/bpf/syscall.c`). The
/// verifier then takes the values of a read-only map for constants.
///
/// # Errors
/// The kernel's.
pub fn freeze_map(map: BorrowedFd<'_>) -> io::Result<()> {
    const BPF_MAP_FREEZE: c_int = 22;
    let mut freeze: c_int = map.as_raw_fd();
    // SAFETY: the command reads a descriptor, and there is no pointer.
    unsafe { bpf(BPF_MAP_FREEZE, &mut freeze) }.map(drop)
}

/// Loads types: `bpf(BPF_BTF_LOAD)`, Linux 4.18, `CAP_BPF` (`btf_new_fd()` in `kernel/bpf/btf.c`).
///
/// # Errors
/// The kernel's.
pub fn load_types(btf: &[u8]) -> io::Result<OwnedFd> {
    #[repr(C)]
    #[derive(Default)]
    struct Load {
        btf: u64,
        log: u64,
        length: u32,
        log_length: u32,
        log_level: u32,
        /// `btf_log_true_size`. Padding would not be zero.
        log_true_length: u32,
    }
    const BPF_BTF_LOAD: c_int = 18;
    let length = narrow(btf.len())?;
    let mut load = Load { btf: btf.as_ptr() as u64, length, ..Load::default() };
    // SAFETY: the layout is the command's, the types are alive and of that length, and the command returns a new descriptor.
    unsafe { bpf_descriptor(BPF_BTF_LOAD, &mut load) }
}

/// Loads an XDP program, with the verifier's log where a place for it is given: `bpf(BPF_PROG_LOAD)`, `CAP_BPF` and
/// `CAP_NET_ADMIN` (`bpf_prog_load()` in `kernel/bpf/syscall.c`). The log ends with a NUL.
///
/// # Errors
/// The kernel's: the verifier's only without a log, because one that does not fit is `ENOSPC` (`bpf_vlog_finalize()` in
/// `kernel/bpf/log.c`).
pub fn load_xdp_program(program: &NewProgram<'_>, log: Option<&mut [u8]>) -> io::Result<OwnedFd> {
    #[repr(C)]
    #[derive(Default)]
    struct Load {
        kind: u32,
        instructions: u32,
        code: u64,
        license: u64,
        log_level: u32,
        log_length: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
        name: [u8; NAME_LENGTH],
        device: u32,
        attach_type: u32,
        btf: c_int,
        function_size: u32,
        functions: u64,
        function_count: u32,
        line_size: u32,
        lines: u64,
        line_count: u32,
        /// `attach_btf_id`. Padding would not be zero.
        attach_type_id: u32,
    }
    const BPF_PROG_LOAD: c_int = 5;
    const BPF_PROG_TYPE_XDP: u32 = 6;
    const BPF_XDP_DEVMAP: u32 = 33;
    const BPF_XDP_CPUMAP: u32 = 35;
    const BPF_XDP: u32 = 37;
    /// `BPF_LOG_LEVEL1`.
    const EACH_INSTRUCTION: u32 = 1;
    const INSTRUCTION: usize = 8;
    /// `struct bpf_func_info` and `struct bpf_line_info`.
    const FUNCTION: u32 = 8;
    const LINE: u32 = 16;
    let &NewProgram { name, instructions, license, flags, place, types } = program;
    let mut load = Load {
        kind: BPF_PROG_TYPE_XDP,
        instructions: narrow(instructions.len() / INSTRUCTION)?,
        code: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        flags,
        name: object_name(name),
        attach_type: match place {
            ProgramPlace::Device => BPF_XDP,
            ProgramPlace::Devmap => BPF_XDP_DEVMAP,
            ProgramPlace::Cpumap => BPF_XDP_CPUMAP,
        },
        ..Load::default()
    };
    if let Some(ProgramTypes { btf, functions, lines }) = types {
        load.btf = btf.as_raw_fd();
        (load.functions, load.function_size) = (functions.as_ptr() as u64, FUNCTION);
        load.function_count = narrow::<u32, _>(functions.len())? / FUNCTION;
        (load.lines, load.line_size) = (lines.as_ptr() as u64, LINE);
        load.line_count = narrow::<u32, _>(lines.len())? / LINE;
    }
    if let Some(log) = log {
        (load.log, load.log_length) = (log.as_mut_ptr() as u64, narrow(log.len())?);
        load.log_level = EACH_INSTRUCTION;
    }
    // SAFETY: the layout is the command's, everything that it points to is alive and of the lengths given, and the command
    // returns a new descriptor.
    unsafe { bpf_descriptor(BPF_PROG_LOAD, &mut load) }
}

/// Describes a program: `bpf(BPF_OBJ_GET_INFO_BY_FD)`, Linux 4.13 (`bpf_prog_get_info_by_fd()` in `kernel/bpf/syscall.c`).
///
/// # Errors
/// The kernel's.
pub fn describe_program(program: BorrowedFd<'_>) -> io::Result<LoadedProgram> {
    /// `struct bpf_prog_info` up to the last field that is read.
    #[repr(C, align(8))]
    #[derive(Default)]
    struct Info {
        kind: u32,
        id: u32,
        tag: [u8; 8],
        machine_code_bytes: u32,
        instruction_bytes: u32,
        /// From `jited_prog_insns` to `map_ids`. The kernel writes to the places of these lists only where their lengths,
        /// which are 0, ask for it.
        code: [u64; 5],
        name: [u8; NAME_LENGTH],
        /// From `ifindex` to `jited_func_lens`.
        places: [u64; 6],
        types: u32,
        function_size: u32,
        /// From `func_info` to `prog_tags`.
        lists: [u64; 7],
        nanoseconds: u64,
        runs: u64,
        recursion_misses: u64,
        verified_instructions: u32,
        hole: u32,
    }
    let mut info = Info::default();
    // SAFETY: the kernel's structure for a program begins so, and it consists of integers; its lists are empty.
    unsafe { object_info(program, &mut info) }?;
    let name = info.name.split(|&byte| byte == 0).next().unwrap_or_default();
    Ok(LoadedProgram {
        kind: info.kind,
        id: info.id,
        name: String::from_utf8_lossy(name).into_owned(),
        tag: info.tag,
        machine_code_bytes: info.machine_code_bytes,
        instruction_bytes: info.instruction_bytes,
        verified_instructions: info.verified_instructions,
        runs: info.runs,
        types: info.types,
    })
}

/// Runs a program on a frame: `bpf(BPF_PROG_TEST_RUN)`, Linux 4.12, `CAP_BPF` (`bpf_prog_test_run_xdp()` in
/// `net/bpf/test_run.c`).
///
/// # Errors
/// The kernel's: `ENOSPC` if the frame afterwards is longer than its place, `EINTR` if a signal came.
pub fn test_run(program: BorrowedFd<'_>, run: TestRun<'_>) -> io::Result<TestRunOutcome> {
    #[repr(C)]
    #[derive(Default)]
    struct Run {
        program: c_int,
        returned: u32,
        frame_length: u32,
        frame_out_length: u32,
        frame: u64,
        frame_out: u64,
        times: u32,
        nanoseconds: u32,
        context_length: u32,
        context_out_length: u32,
        context: u64,
        context_out: u64,
        flags: u32,
        cpu: u32,
        batch: u32,
        hole: u32,
    }
    const BPF_PROG_TEST_RUN: c_int = 10;
    let TestRun { frame, frame_out, context, context_out, times } = run;
    // The kernel takes a pointer without a length, or the reverse, for an error.
    let place = |bytes: &[u8]| if bytes.is_empty() { 0 } else { bytes.as_ptr() as u64 };
    let mut attribute = Run {
        program: program.as_raw_fd(),
        frame_length: narrow(frame.len())?,
        frame_out_length: narrow(frame_out.len())?,
        frame: place(frame),
        frame_out: if frame_out.is_empty() { 0 } else { frame_out.as_mut_ptr() as u64 },
        times,
        context_length: narrow(context.len())?,
        context_out_length: narrow(context_out.len())?,
        context: place(context),
        context_out: if context_out.is_empty() { 0 } else { context_out.as_mut_ptr() as u64 },
        ..Run::default()
    };
    // SAFETY: the layout is the command's; its places are alive and of the lengths given, and those that it writes to are
    // borrowed mutably.
    unsafe { bpf(BPF_PROG_TEST_RUN, &mut attribute) }?;
    let Run { returned, frame_out_length, context_out_length, .. } = attribute;
    Ok(TestRunOutcome { returned, frame_length: frame_out_length, context_length: context_out_length })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;
    use crate::testing::namespace;

    const ARRAY: u32 = 2;

    fn array<'a>() -> NewMap<'a> {
        NewMap {
            name: "a-map of.ours, long",
            kind: ARRAY,
            key_size: 4,
            value_size: 8,
            entries: 2,
            flags: 0,
            extra: 0,
            numa_node: 0,
            inner: None,
            types: None,
        }
    }

    #[test]
    fn a_name_is_cut_and_keeps_only_characters_that_the_kernel_takes() {
        assert_eq!(&object_name("a-map of.ours, long"), b"a_map_of.ours__\0");
        assert_eq!(object_name("")[0], 0);
    }

    #[test]
    fn a_value_of_another_length_is_not_given_to_the_kernel() {
        let Some(_privileged) = namespace() else { return };
        let map = create_map(&array()).unwrap();
        update_map(map.as_fd(), &[1, 0, 0, 0], &[7; 8]).unwrap();
        for (key, value) in [(&[1; 3][..], &[7; 8][..]), (&[1, 0, 0, 0], &[7; 4])] {
            let refused = update_map(map.as_fd(), key, value).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        }
        freeze_map(map.as_fd()).unwrap();
        let frozen = update_map(map.as_fd(), &[1, 0, 0, 0], &[7; 8]).unwrap_err();
        assert_eq!(frozen.raw_os_error(), Some(libc::EPERM));
    }

    #[test]
    fn a_program_is_loaded_described_and_run() {
        let Some(_privileged) = namespace() else { return };
        // r0 = XDP_PASS; exit
        let code = [0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
        let new = NewProgram {
            name: "pass",
            instructions: &code,
            license: c"MIT",
            flags: 0,
            place: ProgramPlace::Device,
            types: None,
        };
        let program = load_xdp_program(&new, None).unwrap();
        let described = describe_program(program.as_fd()).unwrap();
        assert_eq!((described.name.as_str(), described.runs), ("pass", 0));
        let mut out = [0; 64];
        let run = TestRun { frame: &[0; 60], frame_out: &mut out, times: 1, ..TestRun::default() };
        let outcome = test_run(program.as_fd(), run).unwrap();
        assert_eq!((outcome.returned, outcome.frame_length), (2, 60));
        // r0 stays unset.
        let mut log = [0; 4096];
        let unset = NewProgram { instructions: &code[8..], ..new };
        let refused = load_xdp_program(&unset, Some(&mut log)).unwrap_err();
        let log = String::from_utf8_lossy(&log);
        assert!(log.contains("R0 !read_ok"), "{refused}: {log}");
    }
}
