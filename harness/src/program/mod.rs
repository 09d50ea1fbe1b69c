//! The program under test: loaded, attached, run on single frames, and its counters read.
//!
//! Promises: the mode that was asked for is the mode in which the program is attached, as the kernel reports it, and no
//! program outlives its [`Attachment`]. A [`Program`] needs no map of its own: a filter or a load balancer is one as well as
//! a counter.

mod attachment;
mod btf;
mod btf_ext;
mod code;
mod counter_map;
mod dispatcher;
mod elf;
mod error;
mod existing;
mod externs;
mod helpers;
mod image;
mod layout;
mod linker;
mod load;
mod loaded;
mod map_definition;
mod map_kind;
mod map_sizes;
mod maps;
mod names;
mod nearest;
mod object;
mod object_file;
#[expect(clippy::module_inception, reason = "the type that the module is named after has a file of its own")]
mod program;
mod saved;
mod section_names;
mod select;
mod set_up;
mod state;
mod subject;
mod survey;
mod variables;

pub use attachment::{Attachment, LINK_KERNEL};
pub use code::CodeProblem;
pub use counter_map::{CounterMap, Width};
pub use dispatcher::DispatcherHold;
pub use elf::ElfProblem;
pub use error::{ProgramError, VerifierLog};
pub use externs::ExternProblem;
pub use layout::{FieldDifference, Layout, LayoutError, Names};
pub use linker::LinkError;
pub(crate) use load::{load_bytes, loader_without_types};
pub use loaded::Global;
pub use map_definition::DefinitionProblem;
pub use map_kind::{Access, MapKind};
pub use maps::{Entry, ProgramMap};
pub use names::ProgramNames;
pub use object::{Contents, Object};
pub use program::{Identity, Program, RunCounting, TestContext, TestRunOutput, TestRunner, is_loaded};
pub use saved::Saved;
pub use select::ObjectProblem;
pub use set_up::LoadSetUp;
pub use subject::Subject;
pub use survey::{ObjectSurvey, SurveyedGlobal, SurveyedMap, SurveyedProgram, survey};
