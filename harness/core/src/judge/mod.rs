//! The judge: compares an observation with its expectation, and derives findings about a driver. Pure.

pub mod findings;
pub mod trial;
