//! Sends the frames of a trial and observes what becomes of them.

mod send;

pub use send::*;
