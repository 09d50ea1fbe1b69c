//! The command line: one file a verb.

mod args;
mod bench;
mod compare;
mod devices;
mod doctor;
mod export;
mod list;
mod manual;
mod merge;
mod report;
mod restore;
mod schema;
mod validate;
mod watch;

pub use crate::cli::args::{Cli, main};
