//! The action of a counter on the frames that it counts.

/// What the program under test does with a frame that it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum CountedAction {
    /// `XDP_PASS`, as the classic sample does.
    #[default]
    Pass,
    /// `XDP_DROP`.
    Drop,
}
