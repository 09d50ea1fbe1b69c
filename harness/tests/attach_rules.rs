//! The kernel's rules of attaching under `cargo test`: one trial a rule and way of attaching, each named like
//! `attach/native_over_generic_is_refused::netlink`.
//!
//! Ignored without privilege, as in `conformance.rs`.

#[path = "gate/mod.rs"]
#[expect(dead_code, reason = "the rules have nothing to do with the corpus")]
mod gate;
#[path = "trying/mod.rs"]
mod trying;

use std::{
    collections::BTreeSet,
    os::fd::AsFd as _,
    process::ExitCode,
    time::{Duration, Instant},
};

use libtest_mimic::{Arguments, Failed, Trial as Test};
use xdproof::{
    model::verdict::VerdictKind,
    program::{DispatcherHold, Object, Program},
    suites::attach_semantics::{self, Bench, Device, Ground, Rule, hold_if_asked},
    testbed::{PortPair, Spec},
};
use xdproof_netns::{NetNs, Worker, XdpMode};

fn main() -> ExitCode {
    if let Some(code) = hold_if_asked() {
        return code;
    }
    let arguments = Arguments::from_args();
    let obstacle = gate::obstacle();
    let bench = match trying::bench(obstacle.as_deref()) {
        Ok(bench) => bench,
        Err(error) => return gate::broken(&error),
    };
    let mut tests = trying::trials(bench.as_ref(), attach_semantics::table(), obstacle.is_some());
    tests.push(Test::test("every_rule_has_a_name_of_its_own_and_a_way_of_attaching", || {
        trying::named(&attach_semantics::table(), ["::netlink", "::bpf_link"])
    }));
    tests.push(Test::test("every_row_of_the_tables_has_a_rule_or_a_reason", rows));
    tests.push(
        Test::test("rules_of_a_device_hold_on_one_after_another", move || in_turn(bench.as_deref()))
            .with_ignored_flag(obstacle.is_some()),
    );
    tests.push(
        Test::test("a_program_in_the_dispatcher_outlasts_the_thread_that_put_it_there", outlasts)
            .with_ignored_flag(obstacle.is_some()),
    );
    let conclusion = libtest_mimic::run(&arguments, tests);
    gate::conclude(&arguments, obstacle.as_deref(), &conclusion)
}

/// Rules that need no more than a device, on one and the same: each finds it as the one before found it.
fn in_turn(bench: Option<&Bench>) -> Result<(), Failed> {
    let (bench, rules) = (bench.ok_or("this machine cannot try rules")?, attach_semantics::table());
    let testbed = PortPair::veth(Spec::default()).map_err(|error| error.to_string())?;
    let index = testbed.topology.dut.index;
    let with = |native| {
        let device = Device { worker: &testbed.dut, index, driver: "veth", native };
        let records: Vec<_> =
            rules.iter().map(|rule| (rule.ground, bench.attempt_on(rule, &device))).collect();
        records
    };
    for (ground, record) in with(true) {
        let tried = matches!(ground, Ground::Device | Ground::NativeDevice);
        let expected = if tried { VerdictKind::Pass } else { VerdictKind::Skip };
        if record.kind() != expected {
            return Err(format!("{expected} was expected of {record}").into());
        }
    }
    // Said to have no native XDP, it is asked for none.
    match with(false)
        .into_iter()
        .find(|(ground, record)| (record.kind() == VerdictKind::Pass) != (*ground == Ground::Device))
    {
        Some((_, record)) => Err(format!("without native XDP: {record}").into()),
        None => Ok(()),
    }
}

/// A namespace ends with its last user, and loopback devices with it. One of ours that ends shows when another would have.
fn outlasts() -> Result<(), Failed> {
    const ENDS_WITHIN: Duration = Duration::from_secs(30);
    let place = || Worker::spawn(&NetNs::create()?, "shelf");
    let loaded = Program::load(&Object::default())?;
    // The pair of sockets by which tokio learns of signals stays in the namespace in which a process first needs it.
    drop(place()?);
    let first = place()?;
    let held = DispatcherHold::on_loopback(&first, loaded.descriptor()?)?;
    drop(first);
    let (second, program) = (place()?, loaded.descriptor()?);
    let ends = second.call(move |host| {
        let loopback = host.link(&"lo".parse()?)?.index;
        host.link_xdp(loopback, program.as_fd(), &[XdpMode::Generic], false)
    })?;
    drop(second);
    let begun = Instant::now();
    while ends.device()?.is_some() {
        if begun.elapsed() > ENDS_WITHIN {
            return Err("the other namespace did not end".into());
        }
        std::thread::yield_now();
    }
    if held.is_attached()? { Ok(()) } else { Err("the program is held no more".into()) }
}

fn rows() -> Result<(), Failed> {
    let named: BTreeSet<&str> = table_and_modes().iter().map(|rule| rule.row).collect();
    let elsewhere: BTreeSet<&str> = attach_semantics::ELSEWHERE.iter().map(|(row, _)| *row).collect();
    let rows: BTreeSet<&str> =
        [attach_semantics::ATTACHING, attach_semantics::DIFFERENCES].concat().into_iter().collect();
    if let Some(row) = rows.iter().find(|row| named.contains(*row) == elsewhere.contains(*row)) {
        return Err(format!("no rule, or a rule and a reason for having none: {row}").into());
    }
    match named.union(&elsewhere).find(|row| !rows.contains(*row)) {
        Some(row) => Err(format!("there is no such row: {row}").into()),
        None => Ok(()),
    }
}

fn table_and_modes() -> Vec<Rule> {
    [attach_semantics::table(), attach_semantics::modes()].concat()
}
