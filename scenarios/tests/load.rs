//! Loading: the corpus itself, and the errors for mistakes in a file.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use xdproof_scenarios::load::{self, LoadError};
use xdproof_scenarios::{KernelVersion, SHORTEST_FRAME, Scenario, Spread, capture_file, describe};

/// Two UDP frames that count; each test changes one thing in it.
const SOUND: &str = r#"summary = "UDP"
tags = ["udp"]

[[frame]]
repeat = 2
layers = [
  { ethernet = {} },
  { ipv4 = { protocol = "udp" } },
  { udp = {} },
]

[expect]
counts = { udp = 2 }
passed = 2
dropped = 0
"#;

/// Layers of [`SOUND`].
const LAYERS: &str = r#"layers = [
  { ethernet = {} },
  { ipv4 = { protocol = "udp" } },
  { udp = {} },
]
"#;

fn parse(text: &str) -> Result<Scenario, Vec<LoadError>> {
    load::scenario("kind/name".parse().unwrap(), text, Path::new("corpus/kind"))
}

/// Returns the errors of [`SOUND`] with a text in it replaced, as they print.
#[track_caller]
fn errors(replace: &str, by: &str) -> Vec<String> {
    assert!(SOUND.contains(replace), "{replace}");
    let errors = parse(&SOUND.replacen(replace, by, 1)).unwrap_err();
    errors.iter().map(LoadError::to_string).collect()
}

#[track_caller]
fn assert_error(replace: &str, by: &str, expected: &str) {
    assert_eq!(errors(replace, by), [format!("corpus/kind/name.toml:{expected}")]);
}

#[test]
fn the_corpus_loads_and_is_what_is_built_in() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let loaded = load::corpus(&folder).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let mut builtin = load::builtin().unwrap();
    assert!(loaded.len() >= 150, "{}", loaded.len());
    assert!(loaded.is_sorted_by(|a, b| a.id < b.id));
    for scenario in &mut builtin {
        scenario.source = Path::new(env!("CARGO_MANIFEST_DIR")).join(&scenario.source);
    }
    assert_eq!(builtin, loaded);
}

#[test]
fn every_frame_of_the_corpus_is_accounted_for_and_can_be_described() {
    for scenario in load::builtin().unwrap() {
        assert_eq!(scenario.expect.total(), scenario.sent(), "{}", scenario.id);
        assert!(!scenario.summary.contains('\n'), "{}", scenario.id);
        for frame in &scenario.frames {
            assert_eq!(frame.bytes.len() < SHORTEST_FRAME, scenario.is_unreachable(), "{}", scenario.id);
            assert_eq!(frame.describe(), describe(&frame.bytes));
        }
    }
}

#[test]
fn every_summary_is_unique_and_names_a_fault() {
    let mut seen = BTreeSet::new();
    for scenario in load::builtin().unwrap() {
        assert!(scenario.summary.contains("catches "), "{}", scenario.id);
        assert!(seen.insert(scenario.summary), "{} has the summary of another", scenario.id);
    }
}

#[test]
fn the_corpus_reaches_every_slot_and_every_outcome() {
    let corpus = load::builtin().unwrap();
    for slot in 0..=u8::MAX {
        assert!(corpus.iter().any(|scenario| scenario.expect.counts.contains_key(&slot)), "{slot}");
    }
    assert!(corpus.iter().any(|scenario| scenario.expect.dropped > 0 && scenario.expect.passed > 0));
    assert!(corpus.iter().any(Scenario::is_unreachable));
}

#[test]
fn a_corpus_survives_being_written_as_pcap() {
    for scenario in load::builtin().unwrap() {
        let mut file = Vec::new();
        capture_file::write(&mut file, scenario.frames.iter().map(|frame| frame.bytes.as_slice())).unwrap();
        let frames: Vec<_> = scenario.frames.into_iter().map(|frame| frame.bytes).collect();
        assert_eq!(capture_file::read(file.as_slice()).unwrap().frames, frames, "{}", scenario.id);
    }
}

#[test]
fn a_sound_scenario_is_read_as_it_is_written() {
    let scenario = parse(SOUND).unwrap();
    assert_eq!(scenario.id.to_string(), "kind/name");
    assert_eq!(scenario.source, Path::new("corpus/kind/name.toml"));
    assert_eq!((scenario.summary.as_str(), scenario.tags), ("UDP", vec!["udp".to_owned()]));
    assert_eq!((scenario.frames.len(), scenario.frames[0].repeat), (1, 2));
    assert_eq!(scenario.frames[0].bytes.len(), 42);
    assert_eq!(scenario.expect.to_string(), "udp=2, passed 2, dropped 0");
}

#[test]
fn a_misspelt_key_is_reported_with_its_position_and_the_likely_one() {
    assert_error("repeat", "rpeat", "5:1: unknown key `rpeat` in [[frame]]; did you mean `repeat`?");
    assert_error("summary", "sumary", "1:1: unknown key `sumary` in the scenario; did you mean `summary`?");
}

#[test]
fn a_misspelt_field_of_a_layer_is_reported_with_its_position() {
    assert_error(
        "{ protocol =",
        "{ protcol =",
        "8:14: unknown key `protcol` in `ipv4`; did you mean `protocol`?",
    );
}

#[test]
fn a_key_unlike_any_other_is_reported_with_all_of_them() {
    assert_error(
        "tags",
        "zzzzzz",
        "2:1: unknown key `zzzzzz` in the scenario; \
         known are summary, tags, matrix, frame, expect, requires, preset, spread, deviation",
    );
}

#[test]
fn a_misspelt_layer_is_reported_with_the_likely_one() {
    assert_error("{ ethernet", "{ etherent", "7:5: unknown layer `etherent`; did you mean `ethernet`?");
}

#[test]
fn a_misspelt_protocol_is_reported_with_the_likely_one() {
    assert_error("\"udp\" }", "\"upd\" }", "8:25: `protocol`: unknown protocol `upd`; did you mean `udp`?");
    assert_error("counts = { udp", "counts = { utp", "13:12: unknown protocol `utp`; did you mean `udp`?");
}

#[test]
fn a_value_of_the_wrong_type_is_reported_with_the_right_one() {
    assert_error(
        "repeat = 2",
        "repeat = \"2\"",
        "5:10: `repeat`: expected an integer from 0 to 4294967295, found `2`",
    );
    assert_error(
        "repeat = 2",
        "repeat = 2.5",
        "5:10: `repeat`: expected an integer from 0 to 4294967295, found a float",
    );
    assert_error(
        "protocol = \"udp\"",
        "protocol = 256",
        "8:25: `protocol`: expected an integer from 0 to 255 or a protocol by name, found 256",
    );
    assert_error(
        "protocol = \"udp\"",
        "source = \"192.0.2\"",
        "8:23: `source`: expected an IPv4 address like 192.0.2.1, found `192.0.2`",
    );
}

#[test]
fn a_vid_of_more_than_12_bits_is_rejected() {
    assert_error(
        "  { ipv4 = {",
        "  { vlan = { vid = 4096 } },\n  { ipv4 = {",
        "8:20: `vid`: expected an integer from 0 to 4095, found 4096",
    );
}

#[test]
fn a_column_counts_characters_not_bytes() {
    let errors = errors("{ udp = {} }", "{ raw = { hex = \"äö\" } }, { payload = { lenght = 0 } }");
    assert_eq!(
        errors,
        [
            "corpus/kind/name.toml:9:19: `hex`: expected an even number of hexadecimal digits, found `äö`",
            "corpus/kind/name.toml:9:43: unknown key `lenght` in `payload`; did you mean `length`?",
        ]
    );
}

#[test]
fn an_expectation_that_the_bytes_contradict_is_rejected_side_by_side() {
    assert_error(
        "udp = 2",
        "tcp = 2",
        "12:1: declared and computed expectations disagree: \
         tcp: declared 2, computed 0; udp: declared 0, computed 2",
    );
    assert_error(
        "passed = 2\ndropped = 0",
        "passed = 1\ndropped = 1",
        "12:1: declared and computed expectations disagree: \
         passed: declared 1, computed 2; dropped: declared 1, computed 0",
    );
}

#[test]
fn every_part_of_an_expectation_must_be_declared() {
    for key in ["counts", "passed", "dropped"] {
        let line = SOUND.lines().find(|line| line.starts_with(key)).unwrap();
        assert_error(line, "", &format!("12:1: [expect] has no `{key}`"));
    }
    assert_error("udp = 2", "udp = 2, tcp = 0", "13:27: a count must be at least 1; omit the protocol");
}

#[test]
fn every_error_of_a_file_is_reported() {
    let text = SOUND.replace("repeat", "rpeat").replace("ipv4", "ipv5").replace("passed = 2", "passed = -1");
    let places: Vec<_> = parse(&text).unwrap_err().iter().map(|error| (error.line, error.column)).collect();
    assert_eq!(places, [(5, 1), (8, 5), (14, 10)]);
}

#[test]
fn invalid_toml_is_reported_with_its_position() {
    let error = &parse(&SOUND.replace("[expect]", "[expect")).unwrap_err()[0];
    assert_eq!((error.line, error.column), (12, 8), "{error}");
    assert!(error.message.starts_with("not valid TOML: "), "{error}");
}

#[test]
fn a_frame_is_given_in_exactly_one_way() {
    assert_error(
        "repeat = 2",
        "repeat = 2\nhex = \"00\"",
        "4:1: a frame needs exactly one of `layers`, `hex` and `pcap`, found 2",
    );
    let without = errors(LAYERS, "");
    assert_eq!(
        without,
        ["corpus/kind/name.toml:4:1: a frame needs exactly one of `layers`, `hex` and `pcap`, found 0"]
    );
    assert_error("repeat = 2", "repeat = 0", "5:10: `repeat`: must be at least 1");
}

#[test]
fn a_layer_that_cannot_be_crafted_is_reported_with_its_position() {
    assert_error(
        "{ protocol = \"udp\" } },\n  { udp = {} },",
        "{} },",
        "8:3: `protocol` of `ipv4` must be given, because the next layer does not determine it",
    );
}

#[test]
fn a_truncation_beyond_the_frame_is_rejected_and_one_within_cuts() {
    assert_error(
        "repeat = 2",
        "repeat = 2\ntruncate = 43",
        "6:12: `truncate`: must be at most 42, the length of the frame",
    );
    let cut = parse(&SOUND.replace("repeat", "truncate = 34\nrepeat")).unwrap();
    assert_eq!(cut.frames[0].bytes.len(), 34);
}

#[test]
fn only_unreachable_frames_must_be_declared_unreachable() {
    let short = "repeat = 2\ntruncate = 13";
    assert_error(
        "repeat = 2",
        short,
        "13:1: 1 of 1 frames are shorter than 14 bytes and cannot be injected; \
         move them to a scenario of their own, with `unreachable = true` in [expect]",
    );
    let counts = "counts = { udp = 2 }\npassed = 2\ndropped = 0\n";
    assert_error(
        counts,
        "unreachable = true",
        "12:1: the frames are declared unreachable, but each of them can be injected",
    );
    let both = SOUND.replace("[expect]", &format!("[[frame]]\ntruncate = 13\n{LAYERS}\n[expect]"));
    let error = &parse(&both.replace(counts, "unreachable = true")).unwrap_err()[0];
    assert!(error.message.starts_with("1 of 2 frames are shorter than 14 bytes"), "{error}");
    let unreachable =
        parse(&SOUND.replace("repeat = 2", short).replace(counts, "unreachable = true")).unwrap();
    assert!(unreachable.is_unreachable());
    assert!(unreachable.expect.counts.is_empty());
}

#[test]
fn a_matrix_makes_a_frame_of_every_combination_that_the_frame_refers_to() {
    let text = SOUND
        .replace("[[frame]]", "[matrix]\nttl = \"1..=2\"\nprotocol = [\"tcp\", 17]\n\n[[frame]]")
        .replace("protocol = \"udp\"", "protocol = \"$protocol\", ttl = \"$ttl\"")
        .replace("udp = 2 }\npassed = 2", "\"$protocol\" = 4 }\npassed = 8");
    let scenario = parse(&text).unwrap();
    let fields: Vec<_> = scenario.frames.iter().map(|frame| (frame.bytes[23], frame.bytes[22])).collect();
    assert_eq!(fields, [(6, 1), (17, 1), (6, 2), (17, 2)]);
}

#[test]
fn a_count_may_be_the_variable_that_its_key_is() {
    let text = SOUND
        .replace("[[frame]]", "[matrix]\nn = \"1..=4\"\n\n[[frame]]")
        .replace("repeat = 2", "repeat = \"$n\"")
        .replace("protocol = \"udp\"", "protocol = \"$n\"")
        .replace("udp = 2 }\npassed = 2", "\"$n\" = \"$n\" }\npassed = 10");
    assert_eq!(parse(&text).unwrap().expect.counts, [(1, 1), (2, 2), (3, 3), (4, 4)].into());
}

#[test]
fn a_matrix_that_is_wrong_is_reported_with_its_position() {
    let matrix = |lines: &str| format!("[matrix]\n{lines}\n\n[[frame]]\ntruncate = \"$n\"");
    assert_error(
        "[[frame]]",
        &matrix("n = \"42..=40\""),
        "5:5: expected a range like \"0..=255\" or an array of integers, strings or lists of layers",
    );
    assert_error("[[frame]]", &matrix("n = [42]\nm = [1]"), "6:1: no frame refers to `$m`");
    assert_error(
        "[[frame]]",
        &matrix("n = \"0..=65536\""),
        "5:5: expected a range like \"0..=255\" or an array of integers, strings or lists of layers",
    );
    let misspelt = matrix("length = [42]").replace("$n", "$lenght");
    let errors = errors("[[frame]]", &misspelt);
    assert_eq!(
        errors,
        [
            "corpus/kind/name.toml:5:1: no frame refers to `$length`",
            "corpus/kind/name.toml:8:12: `truncate`: unknown variable `lenght`; did you mean `length`?",
        ]
    );
}

#[test]
fn a_problem_of_every_frame_of_a_matrix_is_reported_once() {
    let text = SOUND
        .replace("[[frame]]", "[matrix]\nttl = \"1..=3\"\n\n[[frame]]")
        .replace("{ protocol", "{ ttl = \"$ttl\", ihl = 16, dscp = 64, protocol");
    let columns: Vec<_> = parse(&text).unwrap_err().iter().map(|error| error.column).collect();
    assert_eq!(columns, [34, 45]);
}

#[test]
fn a_value_of_a_variable_that_does_not_fit_is_reported_where_it_is_used() {
    assert_error(
        "[[frame]]\nrepeat = 2",
        "[matrix]\nttl = [255, 256]\n\n[[frame]]",
        "5:1: no frame refers to `$ttl`",
    );
    let text = SOUND
        .replace("[[frame]]", "[matrix]\nttl = [255, 256]\n\n[[frame]]")
        .replace("{ protocol", "{ ttl = \"$ttl\", protocol");
    let errors = parse(&text).unwrap_err();
    assert_eq!(
        errors[0].to_string(),
        "corpus/kind/name.toml:11:20: `ttl`: expected an integer from 0 to 255, found 256"
    );
    assert_eq!(errors.len(), 1);
}

#[test]
fn requirements_and_deviations_are_read() {
    let text = format!(
        "{SOUND}
[requires]
mtu = 1508
injectors = [\"pnet\", \"ring\"]
min_kernel = \"5.18\"
offloads = {{ rx-vlan-hw-parse = false }}

[[deviation]]
driver = \"virtio_net\"
mode = \"native\"
kernel = \">=6.1, <6.12\"
reason = \"checksums are left to the device\"
"
    );
    let scenario = parse(&text).unwrap();
    assert_eq!(scenario.requires.mtu, Some(1508));
    assert_eq!(scenario.requires.injectors.unwrap(), ["pnet", "ring"]);
    assert_eq!(scenario.requires.min_kernel, KernelVersion::from_release("5.18.0-rc1"));
    assert!(!scenario.requires.offloads["rx-vlan-hw-parse"]);
    let holds = |driver, mode, kernel| {
        let kernel = KernelVersion::from_release(kernel).unwrap();
        scenario.deviations[0].holds(driver, mode, kernel, "pnet")
    };
    assert!(holds("virtio_net", "native", "6.1.0-44-cloud"));
    assert!(holds("virtio_net", "native", "6.11.9"));
    assert!(!holds("virtio_net", "native", "6.12.0"));
    assert!(!holds("virtio_net", "native", "6.0.12"));
    assert!(!holds("virtio_net", "generic", "6.6.1"));
    assert!(!holds("veth", "native", "6.6.1"));
}

#[test]
fn wrong_requirements_and_deviations_are_reported_with_their_positions() {
    let append = |text: &str| {
        let errors = parse(&format!("{SOUND}{text}\n")).unwrap_err();
        errors.iter().map(|error| error.to_string().replace("corpus/kind/name.toml:", "")).collect::<Vec<_>>()
    };
    assert_eq!(
        append("[requires]\ninjectors = [\"pent\"]"),
        ["17:14: unknown injector `pent`; did you mean `pnet`?"]
    );
    assert_eq!(
        append("[requires]\noffloads = { rx-gor = true }"),
        ["17:14: unknown offload `rx-gor`; did you mean `rx-gro`?"]
    );
    assert_eq!(append("[requires]\nmtu = 67"), ["17:7: `mtu`: must be at least 68"]);
    assert_eq!(
        append("[requires]\nmin_kernel = \"six\""),
        ["17:14: `min_kernel`: expected a kernel version like 6.1 or 6.1.12, found `six`"]
    );
    assert_eq!(
        append("[[deviation]]\nreason = \"because\""),
        ["16:1: a deviation without a condition is a wrong expectation; \
          give at least one of driver, mode, kernel and injector"]
    );
    assert_eq!(append("[[deviation]]\nmode = \"native\""), ["16:1: [[deviation]] has no `reason`"]);
    assert_eq!(
        append("[[deviation]]\nkernel = \"<6.1, >=6.2\"\nreason = \"never\""),
        ["17:10: `kernel`: expected a kernel range like >=6.1, <6.12, found `<6.1, >=6.2`"]
    );
}

#[test]
fn a_pcap_file_is_read_from_the_directory_of_the_scenario() {
    let folder = tempfile::tempdir().unwrap();
    let frames = [vec![0; 14], vec![1; 60]];
    let mut file = Vec::new();
    capture_file::write(&mut file, frames.iter().map(Vec::as_slice)).unwrap();
    fs::create_dir(folder.path().join("kind")).unwrap();
    fs::write(folder.path().join("kind/frames.pcap"), file).unwrap();
    let text = SOUND
        .replace(LAYERS, "pcap = \"frames.pcap\"\n")
        .replace("udp = 2 }\npassed = 2", "other = 4 }\npassed = 4");
    fs::write(folder.path().join("kind/name.toml"), &text).unwrap();
    let scenarios = load::corpus(folder.path()).unwrap();
    assert_eq!(
        scenarios[0].frames.iter().map(|frame| &frame.bytes).collect::<Vec<_>>(),
        frames.iter().collect::<Vec<_>>()
    );
    for wrong in ["../kind/frames.pcap", "/etc/passwd", "..", "", "none.pcap"] {
        fs::write(folder.path().join("kind/name.toml"), text.replace("frames.pcap", wrong)).unwrap();
        let errors = load::corpus(folder.path()).unwrap_err();
        assert!(errors[0].message.starts_with("`pcap`: "), "{errors:?}");
    }
}

#[test]
fn a_corpus_reports_the_errors_of_every_file() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("a.toml", &SOUND.replace("tags", "tag"));
    write("b.toml", SOUND);
    write("c.toml", &SOUND.replace("udp = {}", "upd = {}"));
    write("Bad Name.toml", SOUND);
    write("readme.md", "not a scenario");
    fs::write(folder.path().join("d.toml"), b"\xff").unwrap();
    let errors = load::corpus(folder.path()).unwrap_err();
    let names: Vec<_> =
        errors.iter().map(|error| error.path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["Bad Name.toml", "a.toml", "c.toml", "d.toml"], "{errors:#?}");
}

#[test]
fn an_empty_corpus_and_a_missing_one_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(load::corpus(folder.path()).unwrap_err()[0].message, "no scenario in this corpus");
    let missing = &load::corpus(&folder.path().join("missing")).unwrap_err()[0];
    assert!(missing.message.starts_with("cannot be read: "), "{missing}");
    assert_eq!((missing.line, missing.column), (0, 0));
}

#[test]
fn a_list_of_layers_replaces_the_variable_that_names_it() {
    let text = SOUND
        .replace("[[frame]]", "[matrix]\ntags = [[], [{ vlan = { vid = 1 } }, { vlan = {} }]]\n\n[[frame]]")
        .replace("  { ipv4", "  \"$tags\",\n  { ipv4")
        .replace("= 2 }", "= 4 }")
        .replace("passed = 2", "passed = 4");
    let lengths: Vec<_> = parse(&text).unwrap().frames.iter().map(|frame| frame.bytes.len()).collect();
    assert_eq!(lengths, [42, 50]);
}

#[test]
fn a_problem_in_a_list_of_layers_is_reported() {
    let with = |value: &str| {
        let matrix = format!("[matrix]\ntags = [{value}]\n\n[[frame]]");
        let text = SOUND.replace("[[frame]]", &matrix).replace("  { ipv4", "  \"$tags\",\n  { ipv4");
        parse(&text).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let expected = "corpus/kind/name.toml:5:8: expected a range like \"0..=255\" or an array of integers, \
                    strings or lists of layers";
    assert_eq!(with("[17]"), [expected]);
    assert_eq!(with("[{ vlan = { vid = \"$vid\" } }]"), [expected]);
    assert_eq!(
        with("[{ vlan = { vdi = 1 } }]"),
        ["corpus/kind/name.toml:5:21: unknown key `vdi` in `vlan`; did you mean `vid`?"]
    );
    assert_eq!(
        with("7"),
        ["corpus/kind/name.toml:11:3: expected a layer, a table with one key like { udp = {} }"]
    );
}

#[test]
fn a_preset_is_a_number_of_up_to_64_bits() {
    let text = format!(
        "{SOUND}\n[preset]\nudp = \"0xffffffffffffffff\"\n6 = 4294967295\nsctp = \"18446744073709551615\"\n"
    );
    assert_eq!(parse(&text).unwrap().preset, [(17, u64::MAX), (6, 4_294_967_295), (132, u64::MAX)].into());
    assert!(parse(SOUND).unwrap().preset.is_empty());
}

#[test]
fn a_preset_that_is_no_number_or_is_given_twice_is_reported() {
    let wide = "expected an integer from 0, or a string like \"0xffffffffffffffff\" for a large one";
    for (value, found) in
        [("-1", "-1"), ("\"ffff\"", "`ffff`"), ("\"0x1ffffffffffffffff\"", "`0x1ffffffffffffffff`")]
    {
        assert_error(
            "dropped = 0\n",
            &format!("dropped = 0\n[preset]\nudp = {value}\n"),
            &format!("17:7: {wide}, found {found}"),
        );
    }
    assert_error(
        "dropped = 0\n",
        "dropped = 0\n[preset]\nudp = 1\n17 = 2\n",
        "18:1: the value of slot 17 is given twice",
    );
}

#[test]
fn a_spread_is_over_cpus_or_over_queues_that_the_injectors_have() {
    let spread = |text: &str| parse(&format!("{SOUND}\n{text}")).unwrap().spread;
    assert_eq!(spread("[spread]\ncpus = true\n"), Spread { cpus: true, ..Spread::default() });
    assert_eq!(
        spread("[requires]\ninjectors = [\"pnet\"]\n[spread]\nqueues = 4\n"),
        Spread { queues: Some(4), ..Spread::default() }
    );
    let wrong = |text: &str| parse(&format!("{SOUND}\n{text}")).unwrap_err()[0].message.clone();
    assert_eq!(wrong("[spread]\ncpus = false\n"), "[spread] spreads over nothing");
    assert_eq!(
        spread("[spread]\ncpus = true\nat_once = true\n"),
        Spread { cpus: true, at_once: true, ..Spread::default() }
    );
    assert_eq!(wrong("[spread]\nat_once = true\n"), "`at_once`: needs `cpus = true`");
    let own_queue = "`queues`: cannot be combined with `at_once`, which gives each CPU a queue of its own";
    let both = "[requires]\ninjectors = [\"pnet\"]\n[spread]\ncpus = true\nat_once = true\nqueues = 4\n";
    assert_eq!(wrong(both), own_queue);
    let no_queues = "`queues`: test_run has no queues; list `injectors` without it in [requires]";
    assert_eq!(wrong("[spread]\nqueues = 4\n"), no_queues);
    assert_eq!(wrong("[requires]\ninjectors = [\"test_run\"]\n[spread]\nqueues = 4\n"), no_queues);
    for queues in ["0", "1", "2", "257"] {
        let text = format!("[requires]\ninjectors = [\"pnet\"]\n[spread]\nqueues = {queues}\n");
        assert_eq!(wrong(&text), "`queues`: must be 3 to 256");
    }
}
