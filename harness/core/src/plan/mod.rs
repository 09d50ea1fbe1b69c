//! Planning: the trials of a selection, what each needs, whether it may run, and the attachments that are known to be refused.
//! Pure.

pub mod eligibility;
pub mod needs;
pub mod selection;
pub mod support;
