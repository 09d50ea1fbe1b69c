//! Trials: from a planned trial to its record.
//!
//! ```text
//! plan --Trial--> Lab::run: ports up, program attached (a rig, from the pool)
//!                 inject -> exchange -> judge -> TrialRecord --Event--> reporters
//! ```

pub(crate) mod attaching;
mod device_checks;
mod frame_budget;
mod health;
mod lab;
mod options;
pub(crate) mod pool;
pub mod preconditions;
mod reproduce;
pub(crate) mod rig;
mod schedule;

pub use attaching::NoRig;
pub use device_checks::Suite;
pub use lab::{Lab, LabError};
pub use options::{LabOptions, Origin};
pub(crate) use reproduce::quoted;
pub use schedule::{Order, RunError, nothing_to_give_back, run};
