//! Proves what an XDP program, a NIC driver and an attach mode do to frames.
//!
//! A [`trial::run`] takes a [`plan`] of trials. Each trial gets a [`testbed`] with the program [attached](program) to its DUT; frames
//! are [injected](inject), the counters and the DUT's stack are [observed](exchange), and the [judge](mod@judge) compares the
//! observation with what the frames' bytes must lead to. Every [`report`] is told of it.
//!
//! [`mod@bench`] measures what a program and a path cost, by the method in [`measure`]. The
//! [attach-semantics tests](suites::attach_semantics) check the kernel's reply to each way of attaching.
//!
//! Two layers are crates of their own, so that the compiler enforces that they stay pure: `xdproof-core` (`model`, `plan`, `judge`,
//! `measure`) and `xdproof-report`. They are re-exported here.
#![expect(
    clippy::missing_errors_doc,
    reason = "the error types say what can fail; a section names the errnos and refusals that a caller handles"
)]

pub mod bench;
pub mod cli;
pub mod exchange;
pub mod host;
pub mod inject;
pub mod ports;
pub mod program;
pub mod suites;
pub mod testbed;
pub mod trial;

pub use suites::fixtures;
pub use xdproof_core::{error, judge, measure, model, plan};
pub use xdproof_report as report;
