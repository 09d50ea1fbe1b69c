//! Network namespaces and what lives in them: veth pairs, link state, offloads, XDP attachments and packet
//! sockets.
//!
//! Nothing here runs a program (`ip`, `ethtool`) and nothing outlives the process: a [`NetNs`] is a
//! descriptor without a name, and what the kernel keeps for it goes when the last descriptor, socket or
//! thread of it goes, even by `SIGKILL`. What is left behind is left on purpose: a namespace whose
//! [published](NetNs::publish) name [persists](Published::persist), or that is [held](NetNs::hold_at) at a path.
//!
//! A namespace is a thread. A [`Worker`] enters its namespace once and never leaves it; closures are sent to
//! it and find a [`Host`], which is the namespace seen from inside:
//!
//! ```no_run
//! use std::time::Duration;
//! use xdproof_netns::{LinkName, MacAddr, NetNs, VethEnd, VethSpec, Worker};
//!
//! fn main() -> Result<(), xdproof_netns::Error> {
//!     let (tester, dut) = (NetNs::create()?, NetNs::create()?);
//!     let (near, far): (LinkName, LinkName) = ("xp-tester".parse()?, "xp-dut".parse()?);
//!     let spec = VethSpec {
//!         near: VethEnd::new(near.clone(), MacAddr([2, 0, 0, 0, 0, 1])),
//!         far: VethEnd::new(far.clone(), MacAddr([2, 0, 0, 0, 0, 2])),
//!     };
//!     let (tester, dut) = (Worker::spawn(&tester, "tester")?, Worker::spawn(&dut, "dut")?);
//!     let other = dut.namespace().clone();
//!     tester.call(move |host| {
//!         host.create_veth(&spec, &other)?;
//!         let index = host.link(&near)?.index;
//!         host.set_up(index, true)
//!     })?;
//!     let link = dut.call(move |host| {
//!         let index = host.link(&far)?.index;
//!         host.set_up(index, true)?;
//!         host.wait_running(index, Duration::from_secs(5))
//!     })?;
//!     println!("{} runs, XDP: {}", link.name, link.xdp);
//!     Ok(())
//! }
//! ```
//!
//! Most of it needs `CAP_NET_ADMIN` over the namespace, creating and entering one needs `CAP_SYS_ADMIN`,
//! packet sockets need `CAP_NET_RAW`. What the kernel answers to a refused request, its own sentence
//! included, is in [`Error`].

mod error;
mod ethtool;
mod generic;
mod host;
mod link;
mod map;
mod names;
mod namespace;
mod netlink;
mod offload;
mod packet;
mod record;
mod ring;
mod root;
mod switches;
mod sys;
mod worker;
mod xdp;

#[cfg(test)]
mod testing;

pub use error::{Error, Subject};
pub use ethtool::{Channels, Driver, Rings};
pub use host::{Host, Kept};
pub use link::{Link, LinkState, Statistics, Tap, VethEnd, VethSpec, VirtualKind};
pub use map::{CounterArray, CounterReading};
pub use names::{IfIndex, LinkName, MacAddr};
pub use namespace::{NetNs, Published};
pub use offload::{Offload, OffloadState, Offloads};
pub use packet::{Build, FrameBuilder, PacketOptions, PacketSocket, Received};
pub use record::{Discipline, Record, RecordKind};
pub use ring::{Handed, TxRing};
pub use root::below_root;
pub use worker::Worker;
pub use xdp::{XdpFeatures, XdpFlags, XdpLink, XdpMode, XdpState};
