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
use objects::{Compiled, clang::compiler};
use xdproof::{
    inject::cpu,
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
    ("metadata_in_front_of_a_frame_is_no_part_of_it", || {
        is_read(&["METADATA=4"])?;
        passes(&["METADATA=32"])
    }),
    ("a_shared_counter_that_adds_without_an_atomic_instruction_fails", || races(&["ARRAY"], &["RACY"])),
    ("a_shared_counter_of_32_bits_that_is_racy_fails", || races(&["ARRAY"], &["RACY", "VALUE=__u32"])),
    ("a_shared_counter_that_is_racy_in_one_slot_fails", || races(&["ARRAY", "HASH"], &["RACY_SLOT=6"])),
    ("a_shared_counter_that_reads_and_updates_fails", || races(&["ARRAY"], &["BY_UPDATE"])),
    ("a_shared_counter_that_adds_atomically_passes_with_all_cpus_at_once", shares),
    ("more_slots_than_protocols_are_a_counter", || is_read(&["ENTRIES=1000"])),
    ("counting_beyond_the_protocol_numbers_fails_one_trial", strays),
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
    ("a_pinned_map_is_loaded_as_one_of_its_own_and_said", pinned),
    ("only_the_program_under_test_of_an_object_is_loaded", beside),
    ("a_program_in_a_section_of_another_name_is_read", || {
        is_read(&["SECTION=\"mysection\""])?;
        is_read(&["SECTION=\"?xdp\""])?;
        is_read(&["SECTION=\".text\""])
    }),
    ("a_program_behind_a_devmap_is_not_offered", behind_a_devmap),
    ("options_and_functions_and_variables_of_the_kernel_are_resolved", || {
        is_read(&["OPTION"])?;
        is_read(&["FUNCTION"])?;
        is_read(&["VARIABLE"])
    }),
    ("an_extern_symbol_that_the_kernel_lacks_is_named_unless_it_is_weak", || {
        refused(&["MISSING"], &["this kernel has no function `no_such_function`"])?;
        is_read(&["WEAK"])
    }),
    ("a_map_that_the_kernel_takes_without_types_is_created_so", || is_read(&["TRIE"])),
    ("global_variables_and_relocations_by_types_have_their_values", || {
        is_read(&["GLOBALS"])?;
        is_read(&["CORE"])?;
        is_read(&["SUBPROGRAM"])?;
        is_read(&["GLOBALS", "CORE", "SUBPROGRAM", "OPTION", "SECTION=\"xdp1\""])
    }),
    ("a_map_of_maps_that_the_object_fills_is_filled", || is_read(&["INNER", "MAP_TYPE=BPF_MAP_TYPE_ARRAY"])),
    ("a_program_array_that_the_object_fills_is_filled", || entry_passes(&["TAIL"])),
    ("an_empty_program_array_is_mentioned", empty_program_array),
    ("an_object_without_types_says_how_it_is_built", || {
        refused(&["WITHOUT_BTF"], &["has no BTF", "clang -g"])
    }),
    ("a_value_that_is_a_structure_is_refused", || {
        refused(&["RECORD"], &["`packets`: its value is struct record {packets, bytes}"])
    }),
    ("a_map_is_not_taken_beside_one_that_looks_more_like_the_counter", || {
        refused(
            &["RECORD", "BLOCKLIST"],
            &["`blocklist` can be read, but perhaps", "`packets`: its value is"],
        )
    }),
    ("maps_that_user_space_cannot_read_or_write_are_refused", || {
        refused(&["FLAGS=BPF_F_WRONLY"], &["packets", "cannot read it"])?;
        refused(&["FLAGS=BPF_F_RDONLY"], &["packets", "cannot preset it"])
    }),
    ("an_object_is_read_once", swapped),
    ("the_answer_of_the_verifier_is_its_own_and_its_log_ends_with_the_reason", complex),
    ("without_a_license_an_object_in_c_is_not_under_the_gpl", || {
        is_read(&["WITHOUT_LICENSE"])?;
        refused(&["WITHOUT_LICENSE", "FUNCTION"], &["count_by_protocol", "GPL"])
    }),
    ("a_damaged_object_is_an_error_and_no_panic", damaged),
    ("a_program_that_the_verifier_rejects_is_shown_with_its_log", || {
        refused(&["UNCHECKED"], &["count_by_protocol", "invalid access to packet"])
    }),
    ("a_program_without_a_map_is_attached_and_run", filter),
    ("a_program_without_a_map_is_no_counter", || {
        let filter = Compiled::from_source("filter.c", &[])?;
        expect_refused(filter.object(), &["no map that can be the counter", "the program uses no map"])
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

/// The first scenario that counts four UDP packets, by a test run.
fn four_packets() -> Result<Trial<'static>> {
    let scenario = corpus()?.iter().find(|scenario| scenario.expect.counts == [(17, 4)].into());
    let scenario = scenario.ok_or("no scenario counts four UDP packets and nothing else")?;
    let path = TrialPath { mode: Mode::Unattached, injector: InjectorKind::TestRun };
    Ok(Trial { scenario, path })
}

/// Runs one trial with an object. Returns its verdict and the notes about the program.
fn one_trial(object: Object) -> Result<(VerdictKind, Vec<String>, String)> {
    let lab = Lab::open(object, LabOptions::default()).map_err(|error| error.to_string())?;
    let record = lab.run(&four_packets()?);
    Ok((record.verdict, lab.environment()?.program.notes, explain(&record)))
}

fn named(object: Object, program: &str) -> Object {
    Object { program: Some(program.to_owned()), ..object }
}

fn pinned() -> Result {
    let compiled = Compiled::new(&["PINNED"])?;
    let (verdict, notes, text) = one_trial(compiled.object())?;
    let is_pinned = std::path::Path::new("/sys/fs/bpf/packets").exists();
    match notes.as_slice() {
        [note]
            if note.contains("`packets` is pinned by name") && verdict == VerdictKind::Pass && !is_pinned =>
        {
            Ok(())
        }
        _ => Err(format!("{verdict}, notes {notes:?}, pinned: {is_pinned}\n{text}").into()),
    }
}

fn beside() -> Result {
    for section in ["tc", "tcx/ingress", "syscall", "fentry/no_such_function", "mine", "xdp.frags/cpumap"] {
        let compiled = Compiled::new(&[&format!("BESIDE=\"{section}\"")])?;
        let (verdict, _, text) = one_trial(compiled.object())?;
        if verdict != VerdictKind::Pass {
            return Err(format!("beside {section}: {verdict}\n{text}").into());
        }
    }
    let compiled = Compiled::new(&["BESIDE=\"tc\""])?;
    expect_refused(named(compiled.object(), "beside"), &["`beside` is no XDP program (section `tc`)"])
}

fn behind_a_devmap() -> Result {
    let compiled = Compiled::new(&["BESIDE=\"xdp/devmap\""])?;
    if compiled.object().programs()? != ["count_by_protocol"] {
        return Err(format!("offered: {:?}", compiled.object().programs()?).into());
    }
    let (verdict, _, text) = one_trial(compiled.object())?;
    if verdict != VerdictKind::Pass {
        return Err(format!("{verdict}\n{text}").into());
    }
    expect_refused(named(compiled.object(), "beside"), &["behind a devmap", "cannot be attached to a device"])
}

fn entry_passes(defines: &[&str]) -> Result {
    let compiled = Compiled::new(defines)?;
    let (verdict, notes, text) = one_trial(named(compiled.object(), "entry"))?;
    if verdict == VerdictKind::Pass && notes.is_empty() {
        return Ok(());
    }
    Err(format!("{verdict}, notes {notes:?}\n{text}").into())
}

/// User space fills the array of such an object; here nobody does.
fn empty_program_array() -> Result {
    let compiled = Compiled::new(&["TAIL_EMPTY"])?;
    let (verdict, notes, text) = one_trial(named(compiled.object(), "entry"))?;
    let is_told = notes.iter().any(|note| note.contains("PROG_ARRAY `table` is empty"));
    if verdict == VerdictKind::Fail && is_told {
        return Ok(());
    }
    Err(format!("{verdict}, notes {notes:?}\n{text}").into())
}

/// The file is replaced by another program, then removed, while trials run.
fn swapped() -> Result {
    let (first, other) = (Compiled::new(&[])?, Compiled::new(&["FIRST_60"])?);
    let lab = Lab::open(first.object(), LabOptions::default()).map_err(|error| error.to_string())?;
    let tag = lab.environment()?.program.tag;
    let trial = four_packets()?;
    let change: [&dyn Fn() -> std::io::Result<()>; 2] =
        [&|| std::fs::copy(other.path(), first.path()).map(drop), &|| std::fs::remove_file(first.path())];
    for change in change {
        change()?;
        // Each kind of rig is brought up anew.
        for path in [trial.path, TrialPath { mode: Mode::Generic, injector: InjectorKind::Pnet }] {
            let record = lab.run(&Trial { scenario: trial.scenario, path });
            if record.verdict != VerdictKind::Pass {
                return Err(format!("{}\n{}", record.verdict, explain(&record)).into());
            }
        }
        lab.detach();
    }
    if lab.environment()?.program.tag == tag { Ok(()) } else { Err("another tag".into()) }
}

fn complex() -> Result {
    let compiled = Compiled::new(&["COMPLEX"])?;
    let Err(error) = Program::load(&compiled.object()) else {
        return Err("the program was accepted".into());
    };
    let shown = error.to_string();
    let ProgramError::Rejected { answer, log, .. } = &error else {
        return Err(format!("another error: {shown}").into());
    };
    let is_too_long = answer.raw_os_error() == Some(rustix::io::Errno::TOOBIG.raw_os_error());
    let tells = shown.contains("too large") && shown.lines().count() < 30 && log.hidden_lines() > 1000;
    if is_too_long && tells { Ok(()) } else { Err(format!("{answer}: {shown}").into()) }
}

/// Damages objects of every kind in one to eight bytes, somewhere or in one section. `XDPROOF_DAMAGED` sets the number of
/// objects.
fn damaged() -> Result {
    const KINDS: [&[&str]; 6] = [
        &[],
        &["GLOBALS", "CORE", "SUBPROGRAM", "OPTION", "WEAK"],
        &["TAIL", "BESIDE=\"tc\""],
        &["INNER", "MAP_TYPE=BPF_MAP_TYPE_ARRAY"],
        &["LEGACY", "WITHOUT_BTF"],
        &["FUNCTION", "TRIE", "BLOCKLIST"],
    ];
    let count = std::env::var("XDPROOF_DAMAGED").ok().map(|count| count.parse()).transpose()?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("damaged.o");
    let originals: Vec<Vec<u8>> = KINDS
        .iter()
        .map(|defines| Ok(std::fs::read(Compiled::new(defines)?.path())?))
        .collect::<Result<_>>()?;
    let mut refused = 0;
    for seed in 0..count.unwrap_or(600_u64) {
        let mut draws = fastrand::Rng::with_seed(seed);
        let mut bytes = originals[draws.usize(..originals.len())].clone();
        // Sections of a kind lie together: a few bytes near each other reach one of them.
        let from = draws.usize(..bytes.len());
        let reach = if draws.bool() { bytes.len() - from } else { (bytes.len() - from).min(256) };
        for _ in 0..draws.usize(1..=8) {
            let place = from + draws.usize(..reach);
            bytes[place] = if draws.bool() { draws.u8(..) } else { bytes[place] ^ 1 << draws.u8(..8) };
        }
        std::fs::write(&path, &bytes)?;
        let object = named(Object::file(&path), if draws.bool() { "entry" } else { "count_by_protocol" });
        let loaded = std::panic::catch_unwind(|| Program::load_counter(&object).map(drop));
        refused += u64::from(loaded.map_err(|_| format!("seed {seed} panics"))?.is_err());
    }
    if refused > 0 { Ok(()) } else { Err("no damage was noticed".into()) }
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
        // CPUs do not always count at the same time: it depends on the rest of the machine.
        let overlaps = trial.scenario.spread.at_once && [verdict, *builtin].contains(&VerdictKind::Skip);
        if verdict.is_bad() || (verdict != *builtin && !more && !overlaps) {
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
    let trial = four_packets()?;
    let [first, second] = [(); 2].map(|()| lab.run(&trial));
    if first.verdict == VerdictKind::Fail && second.verdict == VerdictKind::Pass {
        return Ok(());
    }
    Err(format!("{}, then {}\n{}", first.verdict, second.verdict, explain(&second)).into())
}

/// Verdicts of the scenario in which all CPUs count at the same time, on every path that can show something, and explanations.
fn at_once(defines: &[&str]) -> Result<Vec<(String, VerdictKind, String)>> {
    let compiled = Compiled::new(defines)?;
    let lab = Lab::open(compiled.object(), LabOptions::default()).map_err(|error| error.to_string())?;
    let injectors = vec![InjectorKind::Pnet, InjectorKind::Ring, InjectorKind::TestRun];
    let plan = Selection { injectors, ..Selection::default() }.plan(corpus()?)?;
    let records = plan.iter().filter(|trial| trial.scenario.spread.at_once).map(|trial| lab.run(trial));
    Ok(records.map(|record| (record.id.clone(), record.verdict, explain(&record))).collect())
}

/// Runs each of some map types with the defines: two CPUs that count at the same time lose updates, and one proves nothing.
fn races(maps: &[&str], defines: &[&str]) -> Result {
    let several = cpu::allowed()?.len() > 1;
    let expected = if several { VerdictKind::Fail } else { VerdictKind::Skip };
    for map in maps {
        let map = format!("MAP_TYPE=BPF_MAP_TYPE_{map}");
        let verdicts = at_once(&[&[map.as_str()], defines].concat())?;
        if verdicts.len() < 5 {
            return Err(format!("only {} trials", verdicts.len()).into());
        }
        if let Some((id, verdict, text)) = verdicts.iter().find(|(_, verdict, _)| *verdict != expected) {
            return Err(format!("{map}: {id}: {verdict}, expected {expected}\n{text}").into());
        }
    }
    Ok(())
}

/// A busy machine may not let CPUs overlap: then a trial is skipped, and never passes nor fails.
fn shares() -> Result {
    for map in ["ARRAY", "HASH", "PERCPU_HASH"] {
        for (id, verdict, text) in at_once(&[&format!("MAP_TYPE=BPF_MAP_TYPE_{map}")])? {
            if !matches!(verdict, VerdictKind::Pass | VerdictKind::Skip) {
                return Err(format!("{map}: {id}: {verdict}\n{text}").into());
            }
        }
    }
    Ok(())
}

/// Maps are read at once, or key by key. The other trials are judged by the rest of the map.
fn strays() -> Result {
    for map in ["PERCPU_ARRAY", "ARRAY", "HASH", "PERCPU_HASH"] {
        let compiled = Compiled::new(&[&format!("MAP_TYPE=BPF_MAP_TYPE_{map}"), "ENTRIES=1000", "ALSO=300"])?;
        let lab = Lab::open(compiled.object(), LabOptions::default()).map_err(|error| error.to_string())?;
        let trial = four_packets()?;
        let [record, second] = [(); 2].map(|()| lab.run(&trial));
        let told = record.reason.as_deref().is_some_and(|reason| reason.contains("key 300"));
        if (record.verdict, second.verdict) != (VerdictKind::Fail, VerdictKind::Pass) || !told {
            return Err(format!("{map}: {}, {}: {:?}", record.verdict, second.verdict, record.reason).into());
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
