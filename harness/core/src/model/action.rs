//! The action of a counter on the frames that it counts.

use crate::model::sink::Sink;

/// The action of the program under test on a frame that it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum CountedAction {
    /// `XDP_PASS`, as the classic sample does.
    #[default]
    Pass,
    /// `XDP_DROP`.
    Drop,
}

impl CountedAction {
    /// The sink of the frames that are counted.
    #[must_use]
    pub fn sink(self) -> Sink {
        match self {
            Self::Pass => Sink::Stack,
            Self::Drop => Sink::Nowhere,
        }
    }
}
