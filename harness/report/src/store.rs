//! Reads results back, checks them, and merges them.
//!
//! ```text
//! files, directories --gather--> parse --> (upgrade) --> check --join--> Collection
//! ```
//!
//! Promises: nothing that contradicts itself is accepted, whoever wrote it; each error names the file, the place and the
//! reason; a newer schema is rejected and every older one is read.

mod check;
mod error;
mod gather;
mod join;
mod keyed;
mod missing;
mod parse;
mod upgrade;

pub use crate::store::error::{Conflict, StoreError};
pub use crate::store::gather::{Gathered, gather, load, read_one};
pub(crate) use crate::store::keyed::Keyed;
pub use crate::store::missing::{MissingParts, missing};
