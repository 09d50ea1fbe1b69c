//! The domain model: the types that a run is planned in, judged by and reported with. Plain data with serde; no I/O.
//!
//! Every other layer may import it; it imports `xdproof-scenarios` and nothing else of this crate.

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
