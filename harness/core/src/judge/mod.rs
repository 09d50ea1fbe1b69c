//! The judge: compares an observation with its expectation, and derives findings about a driver. Pure.

pub mod arrival_order;
pub mod checks;
pub mod expectation;
pub mod field_names;
pub mod findings;
pub mod refused_modes;
pub mod step;
pub mod trial;
