//! Proves what an XDP program, a NIC driver and an attach mode really do to frames.
//!
//! The way through is [`run`]: a [`plan`] of trials; a [`testbed`] for each, with the program [attached](attach) to its
//! DUT; frames [injected](inject), the counters and the DUT's stack [observed](observe), the whole held against what the
//! frames' bytes must count by the [`verdict`], and every [`report`] told of it.
//!
//! [`mod@bench`] measures what a program and a path cost, by the method in [`measure`].
//!
//! Beside the trials stand the [`rules`]: what the kernel answers to whoever attaches.
//!
//! `verdict`, `delivery`, `findings`, `support`, `plan`, `measure` and `report` are pure; `testbed`, `attach`, `inject`, `observe`, `bench` and
//! `environment` touch the kernel.

pub mod attach;
pub mod bench;
pub mod cli;
pub mod error;
mod examine;
pub mod host;
pub mod inject;
pub mod judge;
pub mod measure;
pub mod model;
pub mod observe;
pub mod plan;
pub mod report;
mod rig;
pub mod rules;
pub mod run;
pub mod testbed;
