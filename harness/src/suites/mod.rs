//! Test suites: sets of test cases that prove one area of a kernel or driver, each in a folder of its own.
//!
//! * [`attach_semantics`]: replies of the kernel to each way of attaching, and the differences between the modes.
//! * [`fixtures`]: any XDP program against declared frames, actions, bytes and maps.

pub mod attach_semantics;
pub mod fixtures;
