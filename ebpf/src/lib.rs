//! Parts of the eBPF programs that user space shares.
//!
//! This library runs anywhere (`no_std`, no allocation, no `unsafe`): the host's tests exercise the parser that the kernel
//! runs. The objects with the programs (`main.rs` and others) are built for a BPF target only; see `ebpf/README.md`.
//!
//! * [`abi`]: names and layouts that programs and user space share.
//! * [`mod@classify`]: the slot of the counter's map that a frame counts in.

#![no_std]

pub mod abi;
pub mod classify;
