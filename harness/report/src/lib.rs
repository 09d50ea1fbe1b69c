//! What a run says of itself: one event enum between running and reporting, and the reporters behind it.
//!
//! * [`event`]: what happens in a run.
//! * [`json`]: the result file.
//! * [`schema`]: the result file's JSON Schema.
//! * [`store`]: reads results back, and joins them.
//! * [`markdown`], [`junit`] and [`ktap`]: many results for continuous integration.
//! * [`comparison`]: two sets of results against each other.
//! * [`console`]: the table, the failures and the summary on a terminal.
//! * [`progress`]: how far a run is.
//! * [`rates`]: what was measured, as a table on a terminal.
//! * [`assessment`]: what several results come to; [`html`]: all that there is to know about them, on one page.

pub mod assessment;
pub mod comparison;
pub mod console;
pub mod detection;
pub mod event;
pub mod html;
pub mod json;
pub mod junit;
pub mod ktap;
pub mod markdown;
pub mod progress;
pub mod rates;
pub mod schema;
pub mod store;

mod cases;
mod frame_diff;
mod table;

pub use crate::event::{Event, Reporter};
