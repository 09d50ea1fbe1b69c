//! The host: its kernel's version and options, and what that kernel prints.

pub mod kernel;
pub mod kernel_log;
pub mod xdp_mode;
