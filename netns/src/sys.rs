//! System calls without a safe wrapper in the libraries that this crate uses, one file for each family. All
//! `unsafe` code of the crate is here.
//!
//! Every function names the system call, the first Linux version that has it, the capability that it requires
//! and its place in the kernel.
#![expect(unsafe_code, reason = "system calls with pointers to structures of the kernel's ABI")]

mod bpf;
mod bpf_map;
mod bpf_object;
mod counter_array;
mod device;
mod packet;
mod xsk;

use std::io;

#[cfg(test)]
pub(crate) use bpf::load_passing_program;
pub(crate) use bpf::{
    LinkInfo, create_xdp_link, link_by_id, link_info, next_link, pin, pinned, program_by_id, tcx_programs,
    update_link,
};
pub use bpf_map::{BpfMap, MapInfo, open_pinned_program, open_program, program_maps, read_types};
pub use bpf_object::{
    LoadedProgram, NewMap, NewProgram, ProgramPlace, ProgramTypes, TestRun, TestRunOutcome, create_map,
    describe_program, freeze_map, load_types, load_xdp_program, test_run, update_map,
};
pub use counter_array::{CounterArray, CounterReading};
pub(crate) use device::{add_multicast, driver_info, driver_statistics, namespace_kind};
pub(crate) use packet::{bind_packet, packet_drops, set_option};
pub(crate) use xsk::RingMemory;

/// Turns the result of a call that returns -1 on failure into the errno.
fn check<T: PartialOrd + From<i8>>(result: T) -> io::Result<T> {
    if result < T::from(0) { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Converts a number to the width of the kernel's structure.
fn narrow<T: TryFrom<S>, S>(number: S) -> io::Result<T> {
    number.try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}
