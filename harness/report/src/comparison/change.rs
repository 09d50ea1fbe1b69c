//! Single changes: of a verdict, of a finding, of a measurement.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use xdproof_core::model::{Change, Finding, Judgement, VerdictKind};

use crate::test_cases::kind_name;

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// Failed before, passes now.
    Fixed,
    /// In the new set only, and not failed.
    New,
    /// Another verdict, neither being worse.
    Changed,
    /// In the old set only; the new set is incomplete.
    Missing,
    /// Passed before, and is absent or skipped now.
    Lost,
    /// Passed or was absent before, fails now.
    Regressed,
}

impl ChangeKind {
    /// Returns the word for it, in capitals for the worse ones.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::New => "new",
            Self::Changed => "changed",
            Self::Missing => "missing",
            Self::Lost => "LOST",
            Self::Regressed => "REGRESSED",
        }
    }

    pub(super) fn is_worse(self) -> bool {
        matches!(self, Self::Lost | Self::Regressed)
    }
}

/// A trial or an attach-semantics test that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct VerdictChange {
    pub id: String,
    /// None where there is no device.
    pub nic: Option<String>,
    /// Kernel and program, if both sets have several.
    pub place: Option<String>,
    /// None if it is in the new set only.
    pub old: Option<VerdictKind>,
    /// None if it is in the old set only.
    pub new: Option<VerdictKind>,
    pub kind: ChangeKind,
    pub worse: bool,
    /// Reason of the new verdict, or of the old one if there is no new one.
    pub reason: Option<String>,
}

impl VerdictChange {
    /// Returns old and new verdict in words.
    pub(super) fn verdicts(&self) -> [&'static str; 2] {
        [self.old, self.new].map(|verdict| verdict.map_or("absent", VerdictKind::name))
    }

    /// Returns device and place, as far as the id does not tell them.
    pub(super) fn aside(&self, several_nics: bool) -> String {
        aside(self.nic.as_deref().filter(|_| several_nics).into_iter().chain(self.place.as_deref()))
    }
}

/// Returns words in parentheses behind a blank, if there are any.
pub(super) fn aside<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
}

/// A finding in one set only, or with another severity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FindingChange {
    pub finding: Finding,
    /// Kernel and program, if both sets have several.
    pub place: Option<String>,
    /// [`ChangeKind::New`], [`ChangeKind::Regressed`] for a fault, [`ChangeKind::Fixed`] for a finding that is gone.
    pub kind: ChangeKind,
    pub worse: bool,
}

impl FindingChange {
    /// Returns the change in a word.
    pub(super) fn name(&self) -> &'static str {
        if self.kind == ChangeKind::Fixed { "gone" } else { self.kind.name() }
    }
}

/// A measurement of either set or of both.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MeasurementChange {
    pub id: String,
    /// Kernel and program, if both sets have several.
    pub place: Option<String>,
    /// The change, if both sets have it and it compares.
    pub change: Option<Change>,
    /// The reason why it does not compare.
    pub reason: Option<&'static str>,
    /// Set if the old set has it, and it cannot be compared.
    #[serde(skip)]
    pub(super) is_lost: bool,
}

impl MeasurementChange {
    /// Returns the change in a word, verdicts in capitals.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.change {
            Some(change) if change.is_slower() => Judgement::Regression.name().to_uppercase(),
            Some(change) => change.verdict.name().to_uppercase(),
            None => "changed".to_owned(),
        }
    }

    fn verdict(&self) -> Option<Judgement> {
        self.change.as_ref().map(|change| change.verdict)
    }

    /// Returns whether the speeds are the same within the tolerance.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.verdict() == Some(Judgement::Pass) && !self.is_slower()
    }

    pub(super) fn is_faster(&self) -> bool {
        self.verdict() == Some(Judgement::Improved)
    }

    pub(super) fn is_doubtful(&self) -> bool {
        matches!(self.verdict(), Some(Judgement::Inconclusive { .. }))
    }

    /// Returns whether it is slower than the tolerance allows.
    #[must_use]
    pub fn is_slower(&self) -> bool {
        self.change.as_ref().is_some_and(Change::is_slower)
    }
}

impl fmt::Display for MeasurementChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.change, self.reason) {
            (Some(change), _) => write!(f, ": {change}"),
            (None, reason) => write!(f, " {}", reason.unwrap_or("does not compare")),
        }
    }
}

impl fmt::Display for FindingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { kind, severity: _, nic, mode, message } = &self.finding;
        f.write_str(kind_name(*kind))?;
        if let Some(nic) = nic {
            write!(f, " on {nic}")?;
        }
        if let Some(mode) = mode {
            write!(f, " in {mode} mode")?;
        }
        write!(f, ": {message}")
    }
}
