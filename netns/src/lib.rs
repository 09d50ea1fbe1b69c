#![doc = include_str!("../README.md")]
#![expect(
    clippy::missing_errors_doc,
    reason = "every fallible method returns `Error`; the errnos that callers handle are documented"
)]

mod create;
mod error;
mod ethtool;
mod generic;
mod host;
mod link;
mod link_settings;
mod mounts;
mod multicast;
mod names;
mod namespace;
mod netlink;
mod new_thread;
mod offload;
mod packet;
mod poll;
mod qdisc;
mod record;
mod ring;
mod root;
mod sys;
mod sysctl;
mod worker;
mod xdp;

#[cfg(test)]
mod testing;

pub use create::{Tap, VethEnd, VethSpec, VirtualKind};
pub use error::{Error, Subject};
pub use ethtool::{Channels, Driver, Rings};
pub use host::{Host, Kept};
pub use link::{Link, LinkState, Statistics};
pub use link_settings::{LinkSetting, LinkSettings};
pub use mounts::Mounts;
pub use names::{IfIndex, LinkName, MacAddr};
pub use namespace::{NetNs, Published};
pub use offload::{OffloadState, Offloads};
pub use packet::{PacketOptions, PacketSocket, Received, SkbLayout, VnetSocket};
pub use qdisc::Qdisc;
pub use record::{Record, RecordKind};
pub use ring::{TxOutcome, TxRing};
pub use root::run_in_root;
pub use sys::{CounterArray, CounterReading};

/// `bpf(2)` for a loader of objects: maps, types, programs, test runs.
pub mod bpf {
    pub use crate::sys::{
        BpfMap, LoadedProgram, MapInfo, NewMap, NewProgram, ProgramPlace, ProgramTypes, TestRun,
        TestRunOutcome, create_map, describe_program, freeze_map, load_types, load_xdp_program,
        open_pinned_program, open_program, program_maps, read_types, test_run, update_map,
    };
}
pub use worker::Worker;
pub use xdp::{XdpFeatures, XdpFlags, XdpLink, XdpMode, XdpState};
