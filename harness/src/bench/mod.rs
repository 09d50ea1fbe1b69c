//! Measuring: from a list of cases to what each came to.
//!
//! * [`programs`]: the programs that are compared, loaded anew again and again.
//! * [`path`]: a wire, and trials on it.
//! * [`cost`]: trials of a program on its own.
//! * [`machine`]: what the machine did meanwhile, and what it is.
//! * [`run`](mod@run): one way through, block by block, until the budget is spent.

pub mod cost;
pub mod machine;
pub mod path;
pub mod programs;
pub mod run;

pub use crate::bench::programs::Objects;
pub use crate::bench::run::{BenchError, Order, run};
