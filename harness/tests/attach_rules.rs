//! Attach-semantics tests under `cargo test`: one trial a fact and method of attaching, each named like
//! `attach/native_over_generic_is_refused::netlink`.
//!
//! Ignored without privilege, as in `conformance.rs`.

#[path = "support/attach_suite.rs"]
mod attach_suite;
#[path = "support/privilege.rs"]
mod privilege;

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
    suites::attach_semantics::{
        ATTACHING, AttachSuite, CaseTarget, DIFFERENCES, ELSEWHERE, TargetDevice, attach_cases,
        hold_if_asked, mode_cases,
    },
    testbed::{PortPair, Spec},
};
use xdproof_netns::{NetNs, Worker, XdpMode};

fn main() -> ExitCode {
    if let Some(code) = hold_if_asked() {
        return code;
    }
    let arguments = Arguments::from_args();
    let obstacle = privilege::obstacle();
    let suite = match attach_suite::open(obstacle.as_deref()) {
        Ok(suite) => suite,
        Err(error) => return privilege::broken(&error),
    };
    let mut tests = attach_suite::trials(suite.as_ref(), attach_cases(), obstacle.is_some());
    tests.push(Test::test("every_case_has_an_id_of_its_own_and_a_method", || {
        attach_suite::check_ids(&attach_cases(), 76, ["::netlink", "::bpf_link"])
    }));
    tests.push(Test::test("every_row_of_the_catalog_has_a_case_or_a_reason", rows));
    tests.push(
        Test::test("cases_about_a_device_leave_it_as_they_found_it", move || in_turn(suite.as_deref()))
            .with_ignored_flag(obstacle.is_some()),
    );
    tests.push(
        Test::test("a_program_in_the_dispatcher_outlasts_the_thread_that_put_it_there", outlasts)
            .with_ignored_flag(obstacle.is_some()),
    );
    let conclusion = libtest_mimic::run(&arguments, tests);
    privilege::conclude(&arguments, obstacle.as_deref(), &conclusion)
}

/// Runs the cases that need no more than a device on one and the same: each finds it as the one before found it.
fn in_turn(suite: Option<&AttachSuite>) -> Result<(), Failed> {
    let suite = suite.ok_or("this machine cannot run attach-semantics tests")?;
    let ports = PortPair::veth(Spec::default()).map_err(|error| error.to_string())?;
    let index = ports.topology.dut.index;
    for native in [true, false] {
        let device = TargetDevice { worker: &ports.dut, index, driver: "veth", native };
        for case in attach_cases() {
            let fits = match case.target {
                CaseTarget::Device => true,
                // A device that is said to have no native XDP is not asked for any.
                CaseTarget::NativeDevice => native,
                _ => false,
            };
            let expected = if fits { VerdictKind::Pass } else { VerdictKind::Skip };
            let result = suite.run_on(&case, &device);
            if result.verdict != expected {
                return Err(format!("expected {expected}, got {}", attach_suite::describe(&result)).into());
            }
        }
    }
    Ok(())
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
    let covered: BTreeSet<&str> = attach_cases().iter().chain(&mode_cases()).map(|case| case.row).collect();
    let elsewhere: BTreeSet<&str> = ELSEWHERE.iter().map(|(row, _)| *row).collect();
    let rows: BTreeSet<&str> = ATTACHING.iter().chain(DIFFERENCES).copied().collect();
    if let Some(row) = rows.iter().find(|row| covered.contains(*row) == elsewhere.contains(*row)) {
        return Err(format!("no case, or a case and a reason for having none: {row}").into());
    }
    match covered.union(&elsewhere).find(|row| !rows.contains(*row)) {
        Some(row) => Err(format!("the catalog has no such row: {row}").into()),
        None => Ok(()),
    }
}
