//! Two devices of this host as a testbed.
//!
//! Imports go down this list only:
//!
//! | file | |
//! |---|---|
//! | [`testbed`] | the path between the devices as a [`Testbed`](crate::testbed::Testbed), explored by frames that [`prober`] sends, by `survey` and by `sight`; `offloads` keeps frames unchanged |
//! | [`pair`] | claims two devices and restores them |
//! | [`journal`] | settings on disk; restores the devices of killed runs |
//! | `restore` | moves devices back and sets what differs |
//! | `diff`, `route_order` | differences between settings; order of competing routes |
//! | `isolate` | moves a device to a namespace of its own |
//! | [`preflight`], [`inventory`] | checks before a device is claimed; its description and statistics |
//! | `snapshot`, [`step`], `spanning_tree` | settings of a device; steps and outcomes; delays of a switch |

mod diff;
pub mod inventory;
mod isolate;
pub mod journal;
mod offloads;
pub mod pair;
pub mod preflight;
pub mod prober;
mod restore;
mod route_order;
mod sight;
mod snapshot;
mod spanning_tree;
pub mod step;
mod survey;
pub mod testbed;
