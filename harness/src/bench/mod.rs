//! Measuring: from a list of cases to measurements.
//!
//! * [`programs`]: the programs that are compared, loaded anew for every round.
//! * [`path`]: trials of a path.
//! * [`cost`]: trials of a program by itself.
//! * [`machine`]: the machine, and its state meanwhile.
//! * [`run`](mod@run): runs the cases block by block, until the budget is spent.

pub mod cost;
pub mod machine;
pub mod path;
pub mod programs;
pub mod run;

mod measurement;
mod order;
mod rig;
mod state;

pub use crate::bench::measurement::{BenchOutcome, outcome};
pub use crate::bench::order::{BenchError, BenchOrder};
pub use crate::bench::programs::Objects;
pub use crate::bench::rig::kind_of;
pub use crate::bench::run::run;
