//! Sends the frames of a trial and observes what becomes of them.
//!
//! Promises: nothing is missed, and every wait is for something that can be observed and has a deadline.

mod barrier;
mod capture;
mod detached;
mod error;
mod link_traffic;
mod offer;
mod probe;
mod send;
mod step;

pub use barrier::closing_frame;
pub use capture::{CAPTURE_BUFFER, Capture};
pub use detached::{difference, run_detached};
pub use error::ExchangeError;
pub use link_traffic::{PROBE_TYPE, is_link_control};
pub use offer::{Offered, offer_each};
pub use probe::{first_frame, two_in_a_row, until_first_frame};
pub use send::{ExchangePorts, SendOptions, run_attached};
pub use step::{Outlet, StepPorts, run_step};
