//! The programs under test and what they have in common with the rest of xdproof.
//!
//! This library runs anywhere (`no_std`, no allocation, no `unsafe`): the host's tests exercise the very parser that the
//! kernel runs. The object with the programs is `main.rs`, built only for a BPF target.
//!
//! * [`abi`]: the counter's map, as user space sees it.
//! * [`mod@classify`]: which slot of that map a frame counts in.

#![no_std]

pub mod abi;
pub mod classify;
