//! The program under test: loaded, attached, run on single frames, and its counters read.
//!
//! Promises: the mode that was asked for is the mode in which the program is attached, as the kernel reports it, and no
//! program outlives its [`Attachment`]. A [`Program`] needs no map of its own: a filter or a load balancer is one as well as
//! a counter.

mod attachment;
mod counter_map;
mod dispatcher;
mod error;
mod load;
mod object;
#[expect(clippy::module_inception, reason = "the type that the module is named after has a file of its own")]
mod program;
mod section_names;
mod select;
mod subject;

pub use attachment::{Attachment, LINK_KERNEL};
pub use counter_map::{CounterMap, Width};
pub use dispatcher::DispatcherHold;
pub use error::ProgramError;
pub(crate) use load::{load_bytes, loader_without_types};
pub use object::Object;
pub use program::{Identity, Program, RunCounting, TestRunOutput, is_loaded};
pub use select::ObjectProblem;
pub use subject::Subject;
