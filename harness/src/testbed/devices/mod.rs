//! Two devices of this host as a testbed.

pub mod inventory;
pub mod journal;
pub mod pair;
pub mod path;
pub mod preflight;
pub mod restore;
mod route_order;
pub mod testbed;
