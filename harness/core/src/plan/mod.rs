//! Planning: the trials of a selection, and the attachments that are known to be refused. Pure.

pub mod selection;
pub mod support;
