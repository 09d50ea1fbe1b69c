//! The kernel's rules of attaching, each as a trial of its own: what is done, what must come out, and what is attached
//! afterwards.
//!
//! [`table`] is the whole list, and [`modes`] the list of what generic and native make of the same packets; [`Bench::attempt`] tries a rule on links that it makes itself, [`Bench::attempt_on`] on a
//! device of the caller's.

mod attach_cases;
mod case;
mod catalog;
mod fixture;
mod holder_process;
mod lifetime;
mod mode_cases;
mod run;

pub use crate::suites::attach_semantics::attach_cases::table;
pub use crate::suites::attach_semantics::catalog::{ATTACHING, DIFFERENCES, ELSEWHERE};
pub use crate::suites::attach_semantics::fixture::{Bench, Device, RuleError};
pub use crate::suites::attach_semantics::holder_process::hold_if_asked;
pub use crate::suites::attach_semantics::mode_cases::modes;
pub use crate::suites::attach_semantics::run::run;
pub use crate::{
    model::attach_step::StepRecord,
    suites::attach_semantics::case::{Ground, Rule, RuleRecord},
};
