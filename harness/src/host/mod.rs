//! The host: its kernel's version and options, the kernel log, and signals that end a run.

pub mod interrupt;
pub mod kernel;
pub mod kernel_log;
pub mod xdp_mode;
