//! Steps of claiming and restoring devices, and the outcome of each thing that was to be restored.

use serde::Serialize;

/// A step of claiming devices, or of restoring them.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub enum ClaimStep {
    Journal,
    /// The namespaces exist and are bound to files.
    Namespaces,
    /// XDP programs are pinned and detached.
    ProgramsDetached,
    /// The tester is in its namespace, or isolated where it has to stay.
    TesterMoved,
    /// The DUT is in its namespace, or isolated where it has to stay.
    DutMoved,
    Running,
    Probed,
    TesterReturned,
    DutReturned,
    LinksSet,
    ProgramsAttached,
    OffloadsSet,
    /// Both are up or down as before.
    UpSet,
    /// Addresses, routes and neighbours are restored.
    RecordsAdded,
    /// Everything is restored, and the journal still exists.
    Restored,
}

impl ClaimStep {
    /// All steps, in order.
    pub const ALL: [Self; 15] = [
        Self::Journal,
        Self::Namespaces,
        Self::ProgramsDetached,
        Self::TesterMoved,
        Self::DutMoved,
        Self::Running,
        Self::Probed,
        Self::TesterReturned,
        Self::DutReturned,
        Self::LinksSet,
        Self::ProgramsAttached,
        Self::OffloadsSet,
        Self::UpSet,
        Self::RecordsAdded,
        Self::Restored,
    ];

    /// Returns true for a step of restoring.
    #[must_use]
    pub fn is_of_restoring(self) -> bool {
        self >= Self::TesterReturned
    }
}

/// One thing that was to be restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RestoredItem {
    pub device: String,
    /// The thing and its value: `MTU 1400`, `address 192.0.2.1/24`.
    pub what: String,
    pub outcome: RestoreOutcome,
}

/// The outcome of restoring one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreOutcome {
    Done,
    /// Not restored, but another attempt may succeed: the reason.
    Failed(String),
    /// Not restored, and no attempt can: the reason.
    Lost(String),
}

impl RestoreOutcome {
    /// Returns the reason why something was not restored.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Done => "",
            Self::Failed(why) | Self::Lost(why) => why,
        }
    }
}
