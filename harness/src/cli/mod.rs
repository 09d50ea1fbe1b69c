//! The command line: one file a verb.

mod args;
mod bench;
mod command;
mod compare;
mod devices;
mod doctor;
mod exit;
mod export;
mod fan_out;
mod interface;
mod list;
mod manual;
mod merge;
mod record;
mod report;
mod restore;
mod schema;
mod signals;
mod stderr;
mod survey;
mod test;
mod validate;
mod watch;

pub use crate::cli::command::{Cli, main};
pub(crate) use crate::cli::{
    args::Output,
    exit::{Exit, Failure},
};
