//! The kernel's rules of attaching, each as a trial of its own: what is done, what must come out, and what is attached
//! afterwards.
//!
//! [`table`] is the whole list, and [`modes`] the list of what generic and native make of the same packets; [`Bench::attempt`] tries a rule on links that it makes itself, [`Bench::attempt_on`] on a
//! device of the caller's.

mod hold;
mod lifetime;
mod model;
mod modes;
mod rows;
mod stand;
mod table;

pub use crate::rules::hold::hold_if_asked;
pub use crate::rules::modes::modes;
pub use crate::rules::rows::{ATTACHING, DIFFERENCES, ELSEWHERE};
pub use crate::rules::stand::{Bench, Device, RuleError};
pub use crate::rules::table::table;
pub use crate::{
    model::attach_step::StepRecord,
    rules::model::{Ground, Rule, RuleRecord},
};
