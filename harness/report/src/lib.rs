//! Reports: one event enum between running and reporting, and the reporters behind it.
//!
//! * [`event`]: events of a run.
//! * [`json`], [`schema`]: the result file and its JSON Schema. [`store`]: reads results back and merges them.
//! * [`console`], [`rates`], [`progress`]: trials, measurements and progress on a terminal.
//! * [`assessment`]: the verdict on results and their issues. [`html`]: the report page. [`markdown`]: the short report.
//! * [`junit`], [`ktap`]: results as test cases. [`comparison`]: two sets of results compared.
//! * [`output`]: files that are written whole or not at all.
//! * [`detection_power`]: planted faults that the passed scenarios detect.
//!
//! Promises: reports are made from results alone; only `event`, `json` and `progress` see a run.
#![expect(
    clippy::missing_errors_doc,
    reason = "a reporter fails where its output cannot be written, and the error types say what else can fail"
)]

pub mod assessment;
pub mod comparison;
pub mod console;
pub mod detection_power;
pub mod event;
pub mod html;
pub mod json;
pub mod junit;
pub mod ktap;
pub mod markdown;
pub mod output;
pub mod progress;
pub mod rates;
pub mod schema;
pub mod store;
pub mod terminal_style;

mod driver_table;
mod frame_diff;
mod markdown_text;
mod matrix_summary;
mod table;
mod test_cases;

pub use crate::event::{Event, Reporter};
