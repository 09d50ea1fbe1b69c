//! The pure core of xdproof: the domain model, and everything that is computed from it without touching the kernel.
//!
//! * [`model`]: the types that a run is planned in, judged by and reported with.
//! * [`plan`]: which trials a selection has, and which attachments are known to be refused.
//! * [`judge`]: an observation against its expectation, and findings about a driver.
//! * [`measure`]: cases, statistics and verdicts of measurements.
//!
//! Promises: no I/O, no clock, no randomness but what a caller seeds. `plan`, `judge` and `measure` import `model`, and never each other.

#[macro_use]
mod named;

pub mod error;
pub mod judge;
pub mod measure;
pub mod model;
pub mod plan;
