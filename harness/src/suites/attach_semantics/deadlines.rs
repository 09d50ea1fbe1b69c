//! Deadlines of the suite.

use std::time::Duration;

/// Limit for an event that must happen: it normally takes microseconds, and a machine under load may take much longer.
pub(super) const MUST_HAPPEN: Duration = Duration::from_secs(10);

/// Time in which an event must not happen: many times what the kernel takes to detach the program of a process that has
/// ended.
pub(super) const MUST_NOT_HAPPEN: Duration = Duration::from_millis(300);

/// Limit for the next frame of a case to arrive.
pub(super) const ARRIVAL: Duration = Duration::from_secs(3);

/// Limit for the traffic under which programs are replaced. It takes two seconds; a machine under load may take much longer.
pub(super) const TRAFFIC: Duration = Duration::from_secs(60);
