//! Attach-semantics tests: the kernel's replies to each way of attaching an XDP program, the lifetime of an attachment, and the
//! differences between generic and native mode.
//!
//! * The catalog ([`ATTACHING`], [`DIFFERENCES`]) lists the facts, a row each. A case names the row that it covers, and
//!   [`ELSEWHERE`] says why a row has no case here.
//! * [`attach_cases`] are sequences of steps. Each step is an action (attach, detach, set the peer's MTU), the reply that the
//!   kernel must give (an errno and its extack sentence), and the program that must be attached afterwards.
//! * [`mode_cases`] send packets and compare the counts and the frames at the stack.
//! * [`run()`] runs the suite on the testbed of a lab. [`AttachSuite::run`] runs one case on links that it makes,
//!   [`AttachSuite::run_on`] on a device of the caller's.
//!
//! To add a case about attaching, add its steps to `attach_cases.rs`, below the function for the modes and methods that the fact
//! is about; a new fact needs a row in `catalog.rs`. A case that steps cannot express is a function of the fixture, as in
//! `lifetime.rs` and `mode_cases.rs`. Ids are a contract: results of two runs are compared by them.

mod attach_cases;
mod case;
mod catalog;
mod deadlines;
mod error;
mod fixture;
mod holder_process;
mod lifetime;
mod mode_cases;
mod run;
mod step;
mod suite;
mod traffic;

pub use attach_cases::attach_cases;
pub use case::{AttachCase, CaseTarget};
pub use catalog::{ATTACHING, DIFFERENCES, ELSEWHERE};
pub use error::CaseError;
pub use holder_process::hold_if_asked;
pub use mode_cases::mode_cases;
pub use run::run;
pub use suite::{AttachSuite, TargetDevice};
