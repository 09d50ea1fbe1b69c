//! Where a trial takes place: two ports that are wired together, each in a namespace of its own.
//!
//! * [`veth`]: a veth pair; needs no hardware.

pub mod veth;

pub use veth::{Port, Spec, Topology, Veth};
