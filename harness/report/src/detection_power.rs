//! Detection power of a pass: which scenarios find which planted fault (`ebpf/src/mutants.rs`), and how many of the faults those
//! would have found that passed. The test `detection` holds the table true. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use serde::{Deserialize, Serialize};

use xdproof_core::model::{Mode, RunResult, VerdictKind};

/// The table as it is stored.
pub const STORED: &str = include_str!("detection_power.json");

/// Mutants by their names.
pub type DetectionTable = BTreeMap<String, Finders>;

/// The scenarios that find a mutant, by how the program is run. On a wire they are those that find it when it is attached to
/// a veth and frames are sent one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finders {
    /// Those that find it in each of the ways below.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub everywhere: BTreeSet<String>,
    /// Those that find it in test runs, and not everywhere.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unattached: BTreeSet<String>,
    /// Those that find it in native mode, and not everywhere.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub native: BTreeSet<String>,
    /// Those that find it in generic mode, and not everywhere.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub generic: BTreeSet<String>,
}

impl Finders {
    /// From all that find it in each way.
    #[must_use]
    pub fn new(unattached: &BTreeSet<String>, native: &BTreeSet<String>, generic: &BTreeSet<String>) -> Self {
        let on_a_wire: BTreeSet<String> = native & generic;
        let everywhere = unattached & &on_a_wire;
        Self {
            unattached: unattached - &everywhere,
            native: native - &everywhere,
            generic: generic - &everywhere,
            everywhere,
        }
    }

    /// Those that find it in a mode. What a device makes of a program that is offloaded to it is what its driver must make of it,
    /// too: the scenarios are those of native mode.
    pub fn in_mode(&self, mode: Mode) -> impl Iterator<Item = &str> {
        let beside = match mode {
            Mode::Unattached => &self.unattached,
            Mode::Native | Mode::Offload => &self.native,
            Mode::Generic => &self.generic,
        };
        self.everywhere.iter().chain(beside).map(String::as_str)
    }
}

static TABLE: LazyLock<DetectionTable> = LazyLock::new(|| serde_json::from_str(STORED).unwrap_or_default());

/// The table; empty only if what is stored is none, which a test sees to.
#[must_use]
pub fn table() -> &'static DetectionTable {
    &TABLE
}

/// Detection power of the passes on one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Power {
    /// The device, as trials call it; none where there is none.
    pub nic: Option<String>,
    /// Attach mode of the passes.
    pub mode: Mode,
    /// Scenarios that passed.
    pub passed: usize,
    /// Faults of the table that one of them would have found.
    pub found: usize,
    /// The others.
    pub missed: Vec<&'static str>,
}

/// Detection power of a result's passes, by device and mode.
#[must_use]
pub fn power(result: &RunResult) -> Vec<Power> {
    let mut passed: BTreeMap<(Option<&str>, Mode), BTreeSet<&str>> = BTreeMap::new();
    for trial in &result.trials {
        let scenarios = passed.entry((trial.nic.as_deref(), trial.mode)).or_default();
        if trial.verdict == VerdictKind::Pass {
            scenarios.insert(&trial.scenario);
        }
    }
    let of_path = |((nic, mode), scenarios): ((Option<&str>, Mode), BTreeSet<&str>)| {
        let finds = |finders: &Finders| finders.in_mode(mode).any(|scenario| scenarios.contains(scenario));
        let missed = table().iter().filter(|(_, finders)| !finds(finders));
        let missed: Vec<&str> = missed.map(|(mutant, _)| mutant.as_str()).collect();
        Power {
            nic: nic.map(str::to_owned),
            mode,
            passed: scenarios.len(),
            found: table().len() - missed.len(),
            missed,
        }
    };
    passed.into_iter().map(of_path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn finders_of_each_way_are_what_they_were_made_of() {
        let finders = Finders::new(&set(&["a", "b", "t"]), &set(&["a", "b", "n"]), &set(&["a", "n"]));
        assert_eq!(finders.everywhere, set(&["a"]));
        let of = |mode| finders.in_mode(mode).map(str::to_owned).collect::<BTreeSet<_>>();
        assert_eq!(of(Mode::Unattached), set(&["a", "b", "t"]));
        assert_eq!(of(Mode::Native), set(&["a", "b", "n"]));
        assert_eq!(of(Mode::Generic), set(&["a", "n"]));
    }

    #[test]
    fn the_stored_table_is_one_and_each_mutant_of_it_is_found() {
        let table: DetectionTable = serde_json::from_str(STORED).unwrap();
        assert!(table.len() > 100, "{}", table.len());
        for (mutant, finders) in &table {
            let found = Mode::ATTACHED
                .into_iter()
                .chain([Mode::Unattached])
                .any(|mode| finders.in_mode(mode).next().is_some());
            assert!(found, "{mutant}");
        }
    }
}
