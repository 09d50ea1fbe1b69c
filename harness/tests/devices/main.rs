//! Devices of a host are claimed and restored: after a run, and after `kill -9` at any moment and `xdproof restore`, `ip` and
//! `ethtool` print what they printed before.
//!
//! The host is a namespace of each test's own. Ignored without privileges, as in `conformance.rs`.

mod broken;
mod checks;
mod child;
mod claims;
#[path = "../support/cli.rs"]
#[expect(dead_code, reason = "only a part of it is needed")]
mod cli;
mod host;
mod in_place;
mod inventory_case;
mod links;
#[path = "../support/privilege.rs"]
mod privilege;
mod switch;
#[path = "../support/threads.rs"]
mod threads;
mod validate;

use std::process::ExitCode;

use cli::Result;
use libtest_mimic::Trial as Test;

fn main() -> ExitCode {
    if let Ok(order) = std::env::var(child::ORDER) {
        return child::claim_as_ordered(&order);
    }
    let arguments = threads::arguments();
    let obstacle = privilege::obstacle();
    let bonds = obstacle.is_some() || in_place::makes_bonds();
    let tests = CASES.iter().map(|&(name, test)| {
        Test::test(name, test).with_ignored_flag(obstacle.is_some() || (name == in_place::BOND && !bonds))
    });
    let conclusion = libtest_mimic::run(&arguments, tests.collect());
    if !bonds && !arguments.list {
        eprintln!("{} is ignored: this kernel makes no bonds; those of ci/matrix do", in_place::BOND);
    }
    privilege::conclude(&arguments, obstacle.as_deref(), &conclusion)
}

type Case = (&'static str, fn() -> Result);

const CASES: &[Case] = &[
    ("claimed_devices_are_restored_as_they_were", claims::restored),
    ("a_pair_that_is_dropped_is_restored", claims::dropped),
    ("a_pair_is_restored_when_a_thread_panics", claims::panicked),
    ("restore_undoes_a_killed_run", claims::killed),
    ("restore_undoes_a_run_killed_after_any_step", claims::killed_anywhere),
    ("restore_undoes_a_run_killed_in_a_mount_namespace_of_its_own", claims::killed_in_private_mounts),
    ("a_run_that_would_lose_the_devices_when_killed_is_rejected", claims::first_process),
    ("a_journal_that_cannot_be_undone_is_kept_until_it_is_discarded", claims::unheld),
    ("the_next_run_undoes_a_killed_run", claims::next_run),
    ("restore_leaves_a_living_run_alone", claims::living),
    ("restore_in_json_lists_each_thing", claims::restore_json),
    ("restore_with_nothing_to_do_says_so", claims::nothing),
    ("restore_without_privilege_exits_3", claims::unprivileged_restore),
    ("a_damaged_journal_is_reported_and_kept", claims::damaged),
    ("a_journal_of_another_namespace_is_reported_and_kept", claims::elsewhere),
    ("a_device_that_has_vanished_is_reported_until_it_is_discarded", claims::vanished),
    ("an_index_in_use_is_reported_once", claims::index_in_use),
    ("settings_that_a_trial_leaves_at_a_device_are_removed", claims::leftovers),
    ("a_name_in_use_is_reported_and_the_device_restored_later", claims::name_in_use),
    ("devices_that_are_not_connected_are_detected_and_restored", links::not_connected),
    ("devices_without_a_carrier_are_detected_and_restored", links::no_carrier),
    ("a_child_that_does_not_claim_the_devices_fails_its_test", links::child_without_carrier),
    ("a_device_is_not_its_own_peer", checks::same),
    ("a_missing_device_is_reported", checks::absent),
    ("the_loopback_is_rejected_with_force_too", checks::loopback),
    ("a_default_route_is_rejected", checks::default_route),
    ("a_default_route_in_another_table_is_rejected", checks::default_route_in_table),
    ("an_ipv6_default_route_of_several_next_hops_is_rejected", checks::default_route_multipath),
    ("an_address_that_a_socket_uses_is_rejected", checks::used_address),
    ("an_address_that_a_wildcard_socket_uses_is_accepted", checks::wildcard),
    ("a_packet_socket_is_rejected", checks::packet_socket),
    ("a_port_of_a_bridge_is_rejected", checks::bridge_port),
    ("a_bridge_of_several_ports_is_rejected", checks::bridge),
    ("a_device_with_upper_devices_is_rejected", checks::upper_devices),
    ("a_configured_qdisc_is_rejected", checks::qdisc),
    ("a_traffic_control_program_is_rejected", checks::traffic_program),
    ("nexthop_objects_are_rejected", checks::next_hops),
    ("a_program_held_by_a_bpf_link_is_rejected_with_force_too", checks::bpf_link),
    ("the_device_of_this_ssh_session_is_rejected", checks::ssh_session),
    ("the_uplink_of_this_machine_is_rejected", checks::uplink),
    ("force_claims_a_rejected_device_and_reports_what_is_lost", checks::force),
    ("claimed_devices_are_silent", links::silent),
    ("validate_proves_devices_and_restores_them", validate::validated),
    ("validate_restores_devices_when_it_is_interrupted", validate::interrupted),
    ("validate_restores_devices_on_hangup_and_quit", validate::hung_up),
    ("validate_restores_devices_when_its_terminal_goes", validate::terminal_gone),
    ("restore_undoes_a_killed_validate", validate::killed),
    ("validate_says_why_it_rejects_devices", validate::rejected),
    ("a_link_that_dies_ends_the_run_and_is_named", broken::no_carrier),
    ("a_dut_that_is_set_down_ends_the_run_and_is_named", broken::down),
    ("a_dut_that_is_deleted_ends_the_run_and_is_named", broken::deleted),
    ("a_dut_that_is_moved_ends_the_run_and_is_restored_later", broken::moved),
    ("a_path_across_a_switch_is_surveyed_and_carries_the_corpus", switch::corpus),
    ("a_survey_is_interrupted_within_seconds", switch::interrupted),
    ("short_tagged_frames_that_a_switch_loses_are_unreachable", switch::short_tagged),
    ("tags_that_a_switch_takes_out_are_found_by_frames", switch::stripping),
    ("foreign_frames_during_trials_are_retried_and_reported", switch::foreign),
    ("a_switch_port_in_stp_learning_is_waited_for", switch::learning),
    ("devices_are_claimed_by_alternative_names", links::alternative_names),
    ("taps_are_claimed_and_restored", links::taps),
    ("a_bridge_stays_in_place_and_is_restored", in_place::bridge),
    ("restore_undoes_a_run_on_a_bridge_killed_after_any_step", in_place::bridge_killed_anywhere),
    ("validate_proves_a_bridge_and_restores_it", in_place::bridge_validated),
    ("validate_restores_a_bridge_when_it_is_interrupted", in_place::bridge_interrupted),
    ("a_bridge_sends_as_the_tester_and_is_restored", in_place::bridge_as_tester),
    ("a_bridge_that_was_never_up_is_down_again", in_place::bridge_down),
    ("two_bridges_are_claimed_in_one_namespace_and_restored", in_place::two_bridges),
    (in_place::BOND, in_place::bond_validated),
    ("a_device_is_described_with_its_counters", inventory_case::veth),
];
