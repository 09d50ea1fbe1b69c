//! The host: its kernel's version and options, and the kernel log.

pub mod kernel;
pub mod kernel_log;
pub mod xdp_mode;
