//! Needs of a trial or a measurement: the way in which a testbed's ports have to be set up. Pure.

use std::collections::BTreeMap;

use xdproof_scenarios::Spread;

use crate::{
    model::{Facts, MAX_MTU},
    plan::selection::Trial,
};

/// The settings that both ends have to have. Ports that were set up for equal needs are interchangeable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Needs {
    /// MTU of both ends in bytes, without the Ethernet header.
    pub mtu: u32,
    /// Receive queues of the DUT.
    pub queues: u32,
    /// Offloads of the DUT that must be on or off, by their ethtool name.
    pub offloads: BTreeMap<String, bool>,
}

impl Needs {
    /// Returns the needs of a trial that asks for nothing special.
    #[must_use]
    pub fn usual(facts: &Facts) -> Self {
        Self { mtu: facts.usual_mtu, queues: 1, offloads: BTreeMap::new() }
    }

    /// Returns the needs of a trial.
    #[must_use]
    pub fn of(trial: &Trial<'_>, facts: &Facts) -> Self {
        let usual = Self::usual(facts);
        if !trial.path.mode.is_attached() {
            return usual;
        }
        let requires = &trial.scenario.requires;
        Self {
            mtu: requires.mtu.unwrap_or(0).max(usual.mtu).min(MAX_MTU),
            queues: queues_of(trial.scenario.spread, facts).unwrap_or(usual.queues),
            offloads: requires.offloads.clone(),
        }
    }

    /// Returns why a testbed cannot meet the needs, as far as its facts say.
    #[must_use]
    pub fn unmet(&self, facts: &Facts) -> Option<String> {
        let (needed, queues) = (self.queues, facts.queues?);
        (needed > queues).then(|| format!("the scenario needs {needed} receive queues; the DUT has {queues}"))
    }
}

/// Returns the receive queues over which frames are to be spread. CPUs that send at the same time need one each: a veth polls a
/// queue on one CPU at a time. A frame that a CPU sends goes to the queue of its number, modulo their number
/// (`packet_pick_tx_queue()` of `net/packet/af_packet.c`, `veth_select_rxq()` of `drivers/net/veth.c`).
fn queues_of(spread: Spread, facts: &Facts) -> Option<u32> {
    if !spread.at_once {
        return spread.queues;
    }
    let highest = u32::try_from(*facts.cpus.last()?).unwrap_or(u32::MAX);
    Some(highest.saturating_add(1).min(Spread::MAX_QUEUES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{InjectorKind, Mode, TrialPath};

    fn trial_of(scenario: &xdproof_scenarios::Scenario, mode: Mode) -> Trial<'_> {
        Trial { scenario, path: TrialPath { mode, injector: InjectorKind::Pnet } }
    }

    fn scenario() -> xdproof_scenarios::Scenario {
        xdproof_scenarios::load::builtin().unwrap().swap_remove(0)
    }

    #[test]
    fn the_mtu_is_what_the_scenario_requires_but_never_less_than_usual() {
        let facts = Facts::veth();
        let mut scenario = scenario();
        for (required, expected) in
            [(None, 1508), (Some(100), 1508), (Some(9000), 9000), (Some(70_000), MAX_MTU)]
        {
            scenario.requires.mtu = required;
            assert_eq!(Needs::of(&trial_of(&scenario, Mode::Native), &facts).mtu, expected, "{required:?}");
        }
    }

    #[test]
    fn a_test_run_needs_no_ports_of_its_own() {
        let facts = Facts::veth();
        let mut scenario = scenario();
        scenario.requires.mtu = Some(9000);
        scenario.requires.offloads.insert("rx-gro".to_owned(), false);
        assert_eq!(Needs::of(&trial_of(&scenario, Mode::Unattached), &facts), Needs::usual(&facts));
    }

    #[test]
    fn cpus_that_send_at_the_same_time_have_a_queue_each() {
        let facts = Facts { cpus: vec![1, 3], ..Facts::veth() };
        let mut scenario = scenario();
        scenario.spread = Spread { cpus: true, at_once: true, queues: None };
        assert_eq!(Needs::of(&trial_of(&scenario, Mode::Native), &facts).queues, 4);
        let many = Facts { cpus: (0..400).collect(), ..Facts::veth() };
        assert_eq!(Needs::of(&trial_of(&scenario, Mode::Native), &many).queues, Spread::MAX_QUEUES);
        scenario.spread.at_once = false;
        assert_eq!(Needs::of(&trial_of(&scenario, Mode::Native), &facts).queues, 1);
    }

    #[test]
    fn a_device_with_too_few_queues_does_not_meet_the_needs_and_a_veth_always_does() {
        let needs = Needs { queues: 3, ..Needs::usual(&Facts::veth()) };
        assert_eq!(needs.unmet(&Facts::veth()), None);
        let device = |queues| Facts { queues: Some(queues), ..Facts::veth() };
        assert_eq!(needs.unmet(&device(3)), None);
        let reason = needs.unmet(&device(2)).unwrap();
        assert!(reason.contains('3') && reason.contains('2'), "{reason}");
    }
}
