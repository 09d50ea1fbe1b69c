//! Passes the events of a run to everything that reports it.

use std::io;

use crate::report::{Event, Reporter, json::JsonFile, progress::Progress};

/// The progress bar, the text for people, and result.json if one is written.
pub(super) struct FanOut<T> {
    pub(super) progress: Progress<io::Stderr>,
    pub(super) text: T,
    pub(super) file: Option<JsonFile>,
}

impl<T: Reporter> Reporter for FanOut<T> {
    /// Reports to each of them even if another one fails. The progress bar is removed before the summary is printed, and
    /// redrawn after any other text.
    fn report(&mut self, event: Event<'_>) -> io::Result<()> {
        let ends = matches!(event, Event::Ended { .. });
        // A run does not depend on the bar, which is on standard error.
        let _undrawn = if ends { self.progress.report(event) } else { Ok(()) };
        let written = self.file.as_mut().map_or(Ok(()), |file| file.report(event));
        let printed = self.text.report(event);
        if !ends {
            let _undrawn = self.progress.report(event);
        }
        written.and(printed)
    }
}
