//! Objects of others: C programs, compiled here from `objects/`, in place of the built-in counter.
//!
//! Ignored without privilege, as in `conformance.rs`, and without clang.

#[path = "support/corpus.rs"]
mod corpus;
#[path = "support/objects.rs"]
mod objects;
#[path = "support/privilege.rs"]
mod privilege;
#[path = "support/threads.rs"]
mod threads;

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
    sync::OnceLock,
};

use libtest_mimic::{Failed, Trial as Test};
use objects::{Compiled, compiler};
use xdproof::{
    model::{
        mode::{InjectorKind, Mode, TrialPath},
        verdict::VerdictKind,
    },
    plan::selection::{Selection, Trial},
    program::{Object, Program, ProgramError, Subject},
    report::console::explain,
    testbed::{PortPair, Spec},
    trial::{Lab, LabOptions},
};
use xdproof_netns::XdpMode;
use xdproof_scenarios::{
    Scenario,
    oracle::{self, CounterOutcome},
};

/// Bytes that the 60-byte counter loads before it parses anything.
const FIRST: usize = 60;

type Result<T = (), E = Failed> = std::result::Result<T, E>;
type Case = (&'static str, fn() -> Result);

fn main() -> ExitCode {
    let arguments = threads::arguments();
    let obstacle = privilege::obstacle().or_else(|| compiler().err());
    let tests =
        CASES.iter().map(|&(name, test)| Test::test(name, test).with_ignored_flag(obstacle.is_some()));
    let conclusion = libtest_mimic::run(&arguments, tests.collect());
    privilege::conclude(&arguments, obstacle.as_deref(), &conclusion)
}

const CASES: &[Case] = &[
    ("a_c_object_with_the_samples_rules_passes_everything", || passes(&[])),
    ("a_c_object_of_few_instructions_passes_everything", || passes(&["RIVAL"])),
    ("an_object_like_the_kernels_first_samples_passes_everything", || {
        passes(&["LEGACY", "SECTION=\"xdp1\"", "WITHOUT_BTF"])
    }),
    ("a_multi_buffer_program_in_c_passes_everything", || passes(&["SECTION=\"xdp.frags\""])),
    ("a_plain_array_is_a_counter", || is_read(&["MAP_TYPE=BPF_MAP_TYPE_ARRAY"])),
    ("a_hash_is_a_counter", || is_read(&["MAP_TYPE=BPF_MAP_TYPE_HASH"])),
    ("a_per_cpu_hash_is_a_counter", || is_read(&["MAP_TYPE=BPF_MAP_TYPE_PERCPU_HASH"])),
    ("32_bit_values_are_counters", || is_read(&["VALUE=__u32"])),
    ("32_bit_values_in_a_hash_are_counters", || is_read(&["MAP_TYPE=BPF_MAP_TYPE_HASH", "VALUE=__u32"])),
    ("a_32_bit_counter_that_wraps_while_it_counts_has_counted", wraps),
    ("more_slots_than_protocols_are_a_counter", || is_read(&["ENTRIES=1000"])),
    ("counting_beyond_the_protocol_numbers_is_an_error", strays),
    ("loading_60_bytes_first_fails_short_frames_and_qinq_over_ipv6_and_nothing_else", first_60),
    ("of_two_maps_that_fit_the_named_one_is_read", two_maps),
    ("a_key_of_8_bytes_is_refused", || refused(&["KEY=__u64"], &["packets", "key has 8 bytes"])),
    ("a_value_of_2_bytes_is_refused", || {
        refused(&["VALUE=__u16", "NARROW"], &["packets", "value has 2 bytes"])
    }),
    ("a_hash_key_of_8_bytes_is_refused", || {
        refused(&["MAP_TYPE=BPF_MAP_TYPE_HASH", "KEY=__u64"], &["packets", "key has 8 bytes"])
    }),
    ("too_few_slots_are_refused", || refused(&["ENTRIES=255"], &["packets", "255 entries"])),
    ("an_lru_hash_is_refused_because_it_forgets", || {
        refused(&["MAP_TYPE=BPF_MAP_TYPE_LRU_HASH"], &["packets", "forgets"])
    }),
    ("a_pinned_map_is_refused_because_it_is_shared", || refused(&["PINNED"], &["packets", "pinned"])),
    ("a_program_that_the_verifier_rejects_is_shown_with_its_log", || {
        refused(&["UNCHECKED"], &["count_by_protocol", "invalid access to packet"])
    }),
    ("a_program_without_a_map_is_attached_and_run", filter),
    ("a_program_without_a_map_is_no_counter", || {
        let filter = Compiled::from_source("filter.c", &[])?;
        expect_refused(filter.object(), &["no map that can be the counter", "it has no map"])
    }),
    ("an_attachment_by_netlink_ends_with_its_owner", by_netlink),
    ("a_refusal_to_attach_has_the_sentence_of_the_kernel", refusal),
    ("every_misfit_is_in_one_message", || {
        refused(&["KEY=__u16", "ENTRIES=5", "MAP_TYPE=BPF_MAP_TYPE_HASH"], &["key has 2 bytes", "5 entries"])
    }),
];

fn corpus() -> Result<&'static [Scenario]> {
    static CORPUS: OnceLock<Result<&'static [Scenario], String>> = OnceLock::new();
    Ok(CORPUS.get_or_init(corpus::builtin).clone()?)
}

/// Runs every scenario on every path. Returns each trial with its verdict and explanation.
fn verdicts(object: Object) -> Result<Vec<(Trial<'static>, VerdictKind, String)>> {
    verdicts_where(object, |_| true)
}

/// Runs every scenario on some of the paths.
fn verdicts_where(
    object: Object,
    wanted: fn(&Trial<'_>) -> bool,
) -> Result<Vec<(Trial<'static>, VerdictKind, String)>> {
    let lab = Lab::open(object, LabOptions::default()).map_err(|error| error.to_string())?;
    let plan = Selection::default().plan(corpus()?)?;
    Ok(plan
        .into_iter()
        .filter(|trial| wanted(trial))
        .map(|trial| {
            let record = lab.run(&trial);
            (trial, record.verdict, explain(&record))
        })
        .collect())
}

/// Verdicts of the built-in counter by trial: skips, unreachable trials and known deviations are those of every counter.
fn builtin() -> Result<&'static BTreeMap<String, VerdictKind>> {
    static BUILTIN: OnceLock<Result<BTreeMap<String, VerdictKind>, String>> = OnceLock::new();
    let verdicts = BUILTIN.get_or_init(|| {
        let verdicts =
            verdicts(Object::default()).map_err(|error| error.message().unwrap_or("").to_owned())?;
        Ok(verdicts.into_iter().map(|(trial, verdict, _)| (trial.id(), verdict)).collect())
    });
    Ok(verdicts.as_ref().map_err(Clone::clone)?)
}

fn passes(defines: &[&str]) -> Result {
    passes_where(defines, |_| true)
}

/// A map of another type differs only in how it is read, which test runs show.
fn is_read(defines: &[&str]) -> Result {
    passes_where(defines, |trial| trial.path.mode == Mode::Unattached)
}

fn passes_where(defines: &[&str], wanted: fn(&Trial<'_>) -> bool) -> Result {
    let compiled = Compiled::new(defines)?;
    // The built-in counter takes linear frames: a multi-buffer program passes where that one cannot be attached.
    let takes_more = defines.iter().any(|define| define.contains("frags"));
    let mut passed = 0;
    for (trial, verdict, text) in verdicts_where(compiled.object(), wanted)? {
        let builtin = builtin()?.get(&trial.id()).ok_or("the built-in counter has no such trial")?;
        let more = takes_more && (verdict, builtin) == (VerdictKind::Pass, &VerdictKind::Skip);
        if verdict.is_bad() || (verdict != *builtin && !more) {
            return Err(format!("{}: {verdict}, the built-in counter: {builtin}\n{text}", trial.id()).into());
        }
        passed += usize::from(verdict == VerdictKind::Pass);
    }
    if passed > 0 { Ok(()) } else { Err("nothing passed".into()) }
}

/// A counter jumps to six packets before its maximum at the first packet: the first trial fails by the jump, and in the second
/// it wraps.
fn wraps() -> Result {
    let compiled = Compiled::new(&["VALUE=__u32", "MAP_TYPE=BPF_MAP_TYPE_ARRAY", "START=0xfffffffa"])?;
    let lab = Lab::open(compiled.object(), LabOptions::default()).map_err(|error| error.to_string())?;
    let scenario = corpus()?.iter().find(|scenario| scenario.expect.counts == [(17, 4)].into());
    let scenario = scenario.ok_or("no scenario counts four UDP packets and nothing else")?;
    let path = TrialPath { mode: Mode::Unattached, injector: InjectorKind::TestRun };
    let [first, second] = [(); 2].map(|()| lab.run(&Trial { scenario, path }));
    if first.verdict == VerdictKind::Fail && second.verdict == VerdictKind::Pass {
        return Ok(());
    }
    Err(format!("{}, then {}\n{}", first.verdict, second.verdict, explain(&second)).into())
}

/// Maps are read at once, or key by key.
fn strays() -> Result {
    for map in ["PERCPU_ARRAY", "ARRAY", "HASH", "PERCPU_HASH"] {
        let compiled = Compiled::new(&[&format!("MAP_TYPE=BPF_MAP_TYPE_{map}"), "ENTRIES=1000", "ALSO=300"])?;
        let lab = Lab::open(compiled.object(), LabOptions::default()).map_err(|error| error.to_string())?;
        let scenario = corpus()?.iter().find(|scenario| scenario.expect.counts == [(17, 4)].into());
        let scenario = scenario.ok_or("no scenario counts four UDP packets and nothing else")?;
        let path = TrialPath { mode: Mode::Unattached, injector: InjectorKind::TestRun };
        let record = lab.run(&Trial { scenario, path });
        let told = record.reason.as_deref().is_some_and(|reason| reason.contains("key 300"));
        if record.verdict != VerdictKind::Error || !told {
            return Err(format!("{map}: {}: {:?}", record.verdict, record.reason).into());
        }
    }
    Ok(())
}

/// Returns the outcome for a counter that sees the first 60 bytes or nothing.
fn outcome_of_first_60(bytes: &[u8]) -> CounterOutcome {
    bytes.get(..FIRST).map_or(CounterOutcome::Dropped, oracle::outcome)
}

/// Returns whether a frame has two tags and a whole IPv6 header, by its own bytes: 62 bytes of headers.
fn is_qinq_over_ipv6(bytes: &[u8]) -> bool {
    let tag = |at: usize| {
        bytes.get(at..at + 2).is_some_and(|tpid| [[0x81, 0x00], [0x88, 0xa8]].contains(&[tpid[0], tpid[1]]))
    };
    tag(12) && tag(16) && bytes.get(20..22) == Some(&[0x86, 0xdd]) && bytes.len() >= 62
}

fn first_60() -> Result {
    let mut failing = BTreeSet::new();
    for scenario in corpus()?.iter().filter(|scenario| !scenario.is_unreachable()) {
        for frame in &scenario.frames {
            let differs = outcome_of_first_60(&frame.bytes) != oracle::outcome(&frame.bytes);
            if differs && frame.bytes.len() >= FIRST && !is_qinq_over_ipv6(&frame.bytes) {
                return Err(format!("neither short nor QinQ over IPv6: {}", frame.describe()).into());
            }
            if differs {
                failing.insert(scenario.id.to_string());
            }
        }
    }
    let compiled = Compiled::new(&["FIRST_60"])?;
    let (mut short, mut wrong) = (0, Vec::new());
    for (trial, verdict, text) in verdicts(compiled.object())? {
        let builtin = builtin()?.get(&trial.id()).ok_or("the built-in counter has no such trial")?;
        let fails = failing.contains(&trial.scenario.id.to_string()) && *builtin == VerdictKind::Pass;
        let expected = if fails { VerdictKind::Fail } else { *builtin };
        short += usize::from(fails);
        if verdict != expected {
            wrong.push(format!("{}: {verdict}, expected {expected}\n{text}", trial.id()));
        }
    }
    println!("loading 60 bytes first: {} scenarios and {short} trials fail, as predicted", failing.len());
    if wrong.is_empty() && short > 0 { Ok(()) } else { Err(wrong.join("\n").into()) }
}

fn two_maps() -> Result {
    let compiled = Compiled::new(&["SECOND_MAP"])?;
    expect_refused(compiled.object(), &["`packets`, `unused`", "--map"])?;
    let named = |map: &str| Object { map: Some(map.to_owned()), ..compiled.object() };
    let fails = |object| -> Result<usize> {
        Ok(verdicts(object)?.iter().filter(|(_, verdict, _)| verdict.is_bad()).count())
    };
    let (right, wrong) = (fails(named("packets"))?, fails(named("unused"))?);
    if right != 0 || wrong == 0 {
        return Err(format!("{right} trials fail by the right map, {wrong} by the wrong one").into());
    }
    expect_refused(named("none_such"), &["none_such", "packets"])
}

/// A veth pair of the default kind.
fn veth() -> Result<PortPair> {
    Ok(PortPair::veth(Spec::default()).map_err(|error| error.to_string())?)
}

/// The program that is attached to the DUT in a mode.
fn attached(ports: &PortPair, mode: XdpMode) -> Result<Option<u32>> {
    let index = ports.topology.dut.index;
    Ok(ports.dut.call(move |host| host.xdp(index))?.attached(mode))
}

fn filter() -> Result {
    let (object, ports) = (Compiled::from_source("filter.c", &[])?, veth()?);
    let subject = Subject::from(Program::load(&object.object())?);
    let mut out = [0; 2048];
    for (id, action) in [("ipv4/udp", 1), ("ipv4/tcp", 2), ("non_ip/arp", 2)] {
        let scenario = corpus()?.iter().find(|scenario| scenario.id.as_ref() as &str == id);
        let frame = &scenario.and_then(|scenario| scenario.frames.first()).ok_or("no such scenario")?.bytes;
        let returned = subject.program.test_run(frame, &mut out)?;
        if (returned.action, returned.length) != (action, frame.len()) {
            return Err(format!("{id}: expected XDP action {action}, got {returned:?}").into());
        }
    }
    let attachment = subject.program.attach(&ports.dut, ports.topology.dut.index, Some(XdpMode::Native))?;
    let is_attached = attached(&ports, XdpMode::Native)? == Some(subject.program.identity().id);
    drop(attachment);
    if is_attached && attached(&ports, XdpMode::Native)?.is_none() && subject.counts()?.is_empty() {
        Ok(())
    } else {
        Err("the program is not attached, or still is, or has counts".into())
    }
}

fn by_netlink() -> Result {
    let (program, ports) = (Program::load(&Object::default())?, veth()?);
    let other = Program::load(&Object::default())?;
    let mut attachment =
        program.attach_by_netlink(&ports.dut, ports.topology.dut.index, Some(XdpMode::Generic))?;
    let first = attached(&ports, XdpMode::Generic)?;
    attachment.replace(&other)?;
    let second = attached(&ports, XdpMode::Generic)?;
    drop(attachment);
    let ids = [first, second, attached(&ports, XdpMode::Generic)?];
    let expected = [Some(program.identity().id), Some(other.identity().id), None];
    if ids == expected { Ok(()) } else { Err(format!("expected {expected:?}, got {ids:?}").into()) }
}

fn refusal() -> Result {
    let (program, ports) = (Program::load(&Object::default())?, veth()?);
    let attach = |mode| program.attach(&ports.dut, ports.topology.dut.index, Some(mode));
    let _native = attach(XdpMode::Native)?;
    let Err(error) = attach(XdpMode::Generic) else {
        return Err("generic was attached beside native".into());
    };
    match error {
        ProgramError::Refused { sentence: Some(sentence), .. } if sentence.contains("same time") => Ok(()),
        error => Err(format!("no sentence of the kernel: {error}").into()),
    }
}

fn refused(defines: &[&str], parts: &[&str]) -> Result {
    expect_refused(Compiled::new(defines)?.object(), parts)
}

fn expect_refused(object: Object, parts: &[&str]) -> Result {
    let Err(error) = Lab::open(object, LabOptions::default()) else {
        return Err("the object was accepted".into());
    };
    let text = error.to_string();
    match parts.iter().find(|part| !text.contains(**part)) {
        Some(part) => Err(format!("the message does not say `{part}`: {text}").into()),
        None => Ok(()),
    }
}
