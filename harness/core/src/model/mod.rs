//! The domain model: the types that a run is planned in, judged by and reported with. Plain data with serde; no I/O.
//!
//! Every other layer may import it; it imports `xdproof-scenarios` and nothing else of this crate. Its items have one name each, so
//! that an import need not name the file.

pub mod action;
pub mod attach_step;
pub mod device;
pub mod environment;
pub mod expectation;
pub mod facts;
pub mod finding;
pub mod frame_sequence;
pub mod judgement;
pub mod losses;
pub mod measurement;
pub mod mismatch;
pub mod mode;
pub mod observation;
pub mod partition;
pub mod result;
pub mod rx_transform;
pub mod sink;
pub mod v1;
pub mod verdict;

pub use action::*;
pub use attach_step::*;
pub use device::*;
pub use environment::*;
pub use expectation::*;
pub use facts::*;
pub use finding::*;
pub use frame_sequence::*;
pub use judgement::*;
pub use losses::*;
pub use measurement::*;
pub use mismatch::*;
pub use mode::*;
pub use observation::*;
pub use partition::*;
pub use result::*;
pub use rx_transform::*;
pub use sink::*;
pub use verdict::*;
