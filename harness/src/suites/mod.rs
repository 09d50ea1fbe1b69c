//! Test suites: sets of test cases that prove one area of a kernel or driver, each in a folder of its own.
//!
//! * [`attach_semantics`]: replies of the kernel to each way of attaching, and the differences between the modes.

pub mod attach_semantics;
