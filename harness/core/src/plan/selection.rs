//! Selecting trials: which scenarios run on which paths, decided before anything touches the kernel.

use globset::{Glob, GlobSet, GlobSetBuilder};
use xdproof_ebpf::abi::LIVE_LONGEST;
use xdproof_scenarios::{Scenario, fixture::Fixture};

use crate::model::{InjectorKind, Mode, Partition, TrialPath};

/// Fixtures that an error names.
const KNOWN: usize = 8;

/// A selection of trials.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Attach modes; none: generic and native.
    pub modes: Vec<Mode>,
    /// Injectors; none: pnet and test runs, or pnet alone if modes are given. The others send the same frames
    /// faster.
    pub injectors: Vec<InjectorKind>,
    /// Glob patterns of scenario ids, where `*` also matches `/`; none: every scenario.
    pub scenarios: Vec<String>,
    pub partition: Option<Partition>,
}

/// An error in a selection.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("`{pattern}` is not a valid glob pattern")]
    Pattern { pattern: String, source: globset::Error },
    #[error("no scenario matches `{pattern}`; `xdproof list` shows them all")]
    NoMatch { pattern: String },
    #[error("no fixture matches `{pattern}`; there are {}", .known.join(", "))]
    NoFixture {
        pattern: String,
        /// The ids of the first fixtures.
        known: Vec<String>,
    },
    #[error(
        "--injector {} cannot be combined with --mode: it attaches the program to no device",
        InjectorKind::TestRun
    )]
    NothingToAttach,
    #[error("the selection leaves no trial to run")]
    Nothing,
}

/// A scenario on a path: one thing to run and to judge.
#[derive(Clone, Copy, Debug)]
pub struct Trial<'a> {
    pub scenario: &'a Scenario,
    pub path: TrialPath,
}

impl Trial<'_> {
    /// Returns true if the path's injector can produce the frames as the scenario means them.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        let Scenario { requires, frames, spread, .. } = self.scenario;
        let named = requires.injectors.as_ref();
        let carried = match self.path.injector {
            InjectorKind::Pnet | InjectorKind::Ring | InjectorKind::TestRun => true,
            // One page holds a live frame; one CPU's arrive on one receive queue (`veth_select_rxq()` of
            // `drivers/net/veth.c`); in generic mode a veth takes none without GRO.
            InjectorKind::LiveFrames => {
                let fits = frames.iter().all(|frame| frame.bytes.len() <= LIVE_LONGEST as usize);
                let without_gro = requires.offloads.get("rx-gro") == Some(&false);
                fits && spread.queues.is_none() && !(without_gro && self.path.mode == Mode::Generic)
            }
        };
        carried && named.is_none_or(|able| able.iter().any(|able| able == self.path.injector.name()))
    }

    /// Returns the length in bytes, without FCS, of the longest frame; 0 where there is none.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.scenario.frames.iter().map(|frame| frame.bytes.len()).max().unwrap_or(0)
    }

    /// Returns the trial's name in results, tables and `cargo test`: `scenario::mode::injector`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}::{}", self.scenario.id, self.path)
    }
}

impl Selection {
    /// Returns the columns of the run: each selected mode with each injector that fits it.
    #[must_use]
    pub fn paths(&self) -> Vec<TrialPath> {
        let modes: &[Mode] = if self.modes.is_empty() { &[Mode::Generic, Mode::Native] } else { &self.modes };
        let injectors: &[InjectorKind] = match (self.injectors.is_empty(), self.modes.is_empty()) {
            (false, _) => &self.injectors,
            (true, true) => &[InjectorKind::Pnet, InjectorKind::TestRun],
            (true, false) => &[InjectorKind::Pnet],
        };
        let mut paths: Vec<TrialPath> = Vec::new();
        for &injector in injectors {
            match injector {
                InjectorKind::TestRun => paths.push(TrialPath { mode: Mode::Unattached, injector }),
                InjectorKind::Pnet | InjectorKind::Ring | InjectorKind::LiveFrames => {
                    paths.extend(modes.iter().map(|&mode| TrialPath { mode, injector }));
                }
            }
        }
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    /// Returns the selected scenarios.
    ///
    /// # Errors
    ///
    /// A pattern that is invalid or matches nothing.
    pub fn choose<'a>(&self, scenarios: &'a [Scenario]) -> Result<Vec<&'a Scenario>, PlanError> {
        let ids = scenarios.iter().map(|scenario| scenario.id.as_ref());
        let wanted = self.patterns(&ids, |pattern| PlanError::NoMatch { pattern })?;
        let is_wanted =
            |scenario: &&Scenario| wanted.is_empty() || wanted.is_match(scenario.id.as_ref() as &str);
        Ok(scenarios.iter().filter(is_wanted).collect())
    }

    /// Removes the fixtures that are not selected.
    ///
    /// # Errors
    ///
    /// A pattern that is invalid or matches nothing.
    pub fn retain(&self, fixtures: &mut Vec<Fixture>) -> Result<(), PlanError> {
        let ids = fixtures.iter().map(|fixture| fixture.id.as_ref());
        let known = fixtures.iter().take(KNOWN).map(|fixture| fixture.id.to_string()).collect::<Vec<_>>();
        let unmatched = |pattern| PlanError::NoFixture { pattern, known: known.clone() };
        let wanted = self.patterns(&ids, unmatched)?;
        fixtures.retain(|fixture| wanted.is_empty() || wanted.is_match(fixture.id.as_ref() as &str));
        Ok(())
    }

    /// Returns every selected trial, scenario by scenario, each on the paths whose injector can produce its
    /// frames.
    ///
    /// # Errors
    ///
    /// A pattern that is invalid or matches nothing, and a selection without a trial.
    pub fn plan<'a>(&self, scenarios: &'a [Scenario]) -> Result<Vec<Trial<'a>>, PlanError> {
        if !self.modes.is_empty() && self.injectors == [InjectorKind::TestRun] {
            return Err(PlanError::NothingToAttach);
        }
        let paths = self.paths();
        let trials: Vec<_> = self
            .choose(scenarios)?
            .into_iter()
            .flat_map(|scenario| paths.iter().map(move |&path| Trial { scenario, path }))
            .filter(Trial::is_possible)
            .filter(|trial| self.partition.is_none_or(|partition| partition.holds(&trial.id())))
            .collect();
        if trials.is_empty() { Err(PlanError::Nothing) } else { Ok(trials) }
    }

    fn patterns<'i>(
        &self,
        ids: &(impl Iterator<Item = &'i str> + Clone),
        unmatched: impl Fn(String) -> PlanError,
    ) -> Result<GlobSet, PlanError> {
        let mut set = GlobSetBuilder::new();
        for pattern in &self.scenarios {
            let wrap = |source| PlanError::Pattern { pattern: pattern.clone(), source };
            let glob = Glob::new(pattern).map_err(wrap)?;
            let matcher = glob.compile_matcher();
            if !ids.clone().any(|id| matcher.is_match(id)) {
                return Err(unmatched(pattern.clone()));
            }
            set.add(glob);
        }
        set.build().map_err(|source| PlanError::Pattern { pattern: self.scenarios.join(","), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(modes: &[Mode], injectors: &[InjectorKind]) -> Vec<String> {
        let selection =
            Selection { modes: modes.to_vec(), injectors: injectors.to_vec(), ..Selection::default() };
        selection.paths().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_default_paths_are_both_software_modes_and_a_test_run() {
        assert_eq!(paths(&[], &[]), ["generic::pnet", "native::pnet", "unattached::test_run"]);
    }

    #[test]
    fn faster_injectors_are_used_where_they_are_named() {
        assert_eq!(
            paths(&[], &[InjectorKind::LiveFrames, InjectorKind::Ring]),
            ["generic::ring", "generic::live_frames", "native::ring", "native::live_frames"]
        );
    }

    #[test]
    fn named_modes_leave_test_runs_out_unless_asked_for() {
        assert_eq!(paths(&[Mode::Native], &[]), ["native::pnet"]);
        assert_eq!(
            paths(&[Mode::Native], &[InjectorKind::TestRun, InjectorKind::Pnet]),
            ["native::pnet", "unattached::test_run"]
        );
        assert_eq!(paths(&[], &[InjectorKind::TestRun]), ["unattached::test_run"]);
    }

    #[test]
    fn a_scenario_is_planned_for_the_injectors_that_it_names_and_for_no_other() {
        let mut scenario = xdproof_scenarios::load::builtin().unwrap().swap_remove(0);
        scenario.requires.injectors = Some(vec!["pnet".to_owned()]);
        let scenarios = [scenario];
        let plan = Selection::default().plan(&scenarios).unwrap();
        let injectors: Vec<InjectorKind> = plan.iter().map(|trial| trial.path.injector).collect();
        assert_eq!(injectors, [InjectorKind::Pnet, InjectorKind::Pnet]);
        let only = Selection { injectors: vec![InjectorKind::TestRun], ..Selection::default() };
        assert!(matches!(only.plan(&scenarios), Err(PlanError::Nothing)));
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_an_error() {
        let selection = Selection { scenarios: vec!["no/such*".to_owned()], ..Selection::default() };
        let scenarios = xdproof_scenarios::load::builtin().unwrap();
        assert!(matches!(selection.plan(&scenarios), Err(PlanError::NoMatch { .. })));
    }
}
