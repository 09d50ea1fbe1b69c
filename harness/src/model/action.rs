//! One way through: from a planned trial to its record.
//!
//! ```text
//! plan --Trial--> Lab::run: testbed up, program attached (a rig, from the pool)
//!                 inject -> observe -> verdict -> TrialRecord --Event--> reporters
//! ```
//!
//! [`run`] does it for a whole plan, in parallel; `cargo test` calls [`Lab::run`] for one trial at a time.

pub use crate::rig::Ground;

/// What the program under test does with a frame that it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum CountedAction {
    /// `XDP_PASS`, as the classic sample does.
    #[default]
    Pass,
    /// `XDP_DROP`.
    Drop,
}
