//! Writing fixtures: the text is as a person would write it, and loads again with the same content.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any};
use proptest::test_runner::{Config, RngSeed};
use proptest::{prop_assert_eq, prop_oneof, proptest};
use xdproof_scenarios::fixture::{
    self, BytesExpectation, Fixture, FixtureAction, FixtureValue, MapClaim, MapExpectation, NewFixture,
    NewFrame, NewInput, NewMapValue, NewOutput, NewProgram, PerCpu, ProgramOrigin, Spot, Target,
};
use xdproof_scenarios::{capture_file, input};

fn frame(input: &[u8], action: FixtureAction, output: NewOutput) -> NewFrame {
    NewFrame { input: NewInput::Hex(input.to_vec()), repeat: 1, action, to: None, output }
}

fn load(text: &str, directory: &Path) -> Fixture {
    let fixture = fixture::fixture("a".parse().unwrap(), text, directory);
    fixture.unwrap_or_else(|errors| panic!("{errors:#?}\n{text}"))
}

/// Returns a value without the positions of its fields.
fn without_spots(value: &FixtureValue) -> FixtureValue {
    match value {
        FixtureValue::Array(items) => FixtureValue::Array(items.iter().map(without_spots).collect()),
        FixtureValue::Fields(fields) => FixtureValue::Fields(
            fields
                .iter()
                .map(|(name, _, value)| (name.clone(), Spot::default(), without_spots(value)))
                .collect(),
        ),
        other => other.clone(),
    }
}

fn field(name: &str, value: FixtureValue) -> (String, Spot, FixtureValue) {
    (name.to_owned(), Spot::default(), value)
}

/// A TCP SYN of 60 bytes, and what became of it.
fn syn() -> Vec<u8> {
    let digits = "020000000002020000000001080045000028000000004006f6cdc0000201c00002029c4000500000000100000000\
                  5002faf0945d0000000000000000";
    digits.parse::<xdproof_scenarios::Hex>().unwrap().0
}

fn whole() -> NewFixture {
    let packets = FixtureValue::Fields(vec![
        field("packets", FixtureValue::Integer(1)),
        field("bytes", FixtureValue::Integer(60)),
    ]);
    let map = |name: &str, key, value, per_cpu| NewMapValue { name: name.to_owned(), key, value, per_cpu };
    let mut sent = syn();
    sent.resize(94, 0xab);
    NewFixture {
        summary: "a \"SYN\" to the VIP\\goes to backend 2".to_owned(),
        program: Some(NewProgram { object: "../build/lb.o".into(), name: Some("balancer".to_owned()) }),
        frames: vec![
            frame(&syn(), FixtureAction::Tx, NewOutput::Hex(sent)),
            frame(&syn()[..14], FixtureAction::Drop, NewOutput::Dropped),
            NewFrame {
                repeat: 3,
                to: Some(Target::Port(2)),
                ..frame(&syn()[..34], FixtureAction::Redirect, NewOutput::Unchanged)
            },
            NewFrame {
                to: Some(Target::Stack),
                ..frame(&syn(), FixtureAction::Redirect, NewOutput::Hex(syn()[..20].to_vec()))
            },
            NewFrame {
                input: NewInput::Pcap("in.pcap".to_owned()),
                repeat: 1,
                action: FixtureAction::Pass,
                to: None,
                output: NewOutput::Pcap("in.pcap".to_owned()),
            },
            frame(&syn(), FixtureAction::Pass, NewOutput::Dropped),
        ],
        maps: vec![
            map("stats", Some(FixtureValue::Integer(0)), packets, None),
            map("queue", None, FixtureValue::Text("192.0.2.1".to_owned()), Some(PerCpu::Sum)),
            map(
                "names",
                Some(FixtureValue::Text("$HOME".to_owned())),
                FixtureValue::Array(vec![FixtureValue::Integer(i128::from(u64::MAX)); 12]),
                Some(PerCpu::Each),
            ),
        ],
    }
}

/// [`whole`] as it is written.
const WRITTEN: &str = r#"summary = "a \"SYN\" to the VIP\\goes to backend 2"

[program]
object = "../build/lb.o"
name = "balancer"

[[frame]]
# Ethernet 02:00:00:00:00:01>02:00:00:00:00:02 / IPv4 192.0.2.1>192.0.2.2 tcp / TCP 40000>80 / 0 bytes
hex = """
020000000002 020000000001 0800
45000028 00000000 4006f6cd c0000201 c0000202 9c400050 00000001 00000000
5002faf0 945d0000 00000000 0000
"""

[frame.expect]
action = "tx"
# Ethernet 02:00:00:00:00:01>02:00:00:00:00:02 / IPv4 192.0.2.1>192.0.2.2 tcp / TCP 40000>80 / 0 bytes
hex = """
020000000002 020000000001 0800
45000028 00000000 4006f6cd c0000201 c0000202 9c400050 00000001 00000000
5002faf0 945d0000 00000000 0000abab abababab abababab abababab abababab
abababab abababab abababab abababab
"""

[[frame]]
# Ethernet 02:00:00:00:00:01>02:00:00:00:00:02 / type ipv4 / 0 bytes
hex = "020000000002 020000000001 0800"
expect = { action = "drop" }

[[frame]]
# Ethernet 02:00:00:00:00:01>02:00:00:00:00:02 / IPv4 192.0.2.1>192.0.2.2 tcp / TCP header cut to 0 of 20 bytes
hex = "020000000002 020000000001 0800 45000028 00000000 4006f6cd c0000201 c0000202"
repeat = 3
expect = { action = "redirect", to = "port 2" }

[[frame]]
# Ethernet 02:00:00:00:00:01>02:00:00:00:00:02 / IPv4 192.0.2.1>192.0.2.2 tcp / TCP 40000>80 / 0 bytes
hex = """
020000000002 020000000001 0800
45000028 00000000 4006f6cd c0000201 c0000202 9c400050 00000001 00000000
5002faf0 945d0000 00000000 0000
"""

[frame.expect]
action = "redirect"
to = "stack"
# Ethernet 02:00:00:00:00:01>02:00:00:00:00:02 / IPv4 header cut to 6 of 20 bytes
hex = "020000000002 020000000001 0800 45000028 0000"

[[frame]]
pcap = "in.pcap"
expect = { action = "pass", pcap = "in.pcap" }

[[frame]]
# Ethernet 02:00:00:00:00:01>02:00:00:00:00:02 / IPv4 192.0.2.1>192.0.2.2 tcp / TCP 40000>80 / 0 bytes
hex = """
020000000002 020000000001 0800
45000028 00000000 4006f6cd c0000201 c0000202 9c400050 00000001 00000000
5002faf0 945d0000 00000000 0000
"""
expect = { action = "pass", bytes = "any" }

[expect]
maps = [
  { name = "stats", key = 0, value = { packets = 1, bytes = 60 } },
  { name = "queue", value = "192.0.2.1", per_cpu = "sum" },
  { name = "names", key = "hex:24484f4d45", value = [
    "0xffffffffffffffff", "0xffffffffffffffff", "0xffffffffffffffff", "0xffffffffffffffff",
    "0xffffffffffffffff", "0xffffffffffffffff", "0xffffffffffffffff", "0xffffffffffffffff",
    "0xffffffffffffffff", "0xffffffffffffffff", "0xffffffffffffffff", "0xffffffffffffffff",
  ], per_cpu = "each" },
]
"#;

#[test]
fn a_fixture_is_written_as_a_person_would_write_it() {
    let written = fixture::write(&whole());
    assert!(written == WRITTEN, "{written}");
}

#[test]
fn a_written_fixture_loads_with_the_same_content() {
    let new = whole();
    let directory = tempfile::tempdir().unwrap();
    let mut capture = Vec::new();
    capture_file::write(&mut capture, [&[1; 60][..], &[2; 60]]).unwrap();
    fs::write(directory.path().join("in.pcap"), capture).unwrap();
    let fixture = load(&fixture::write(&new), directory.path());
    assert_eq!(fixture.summary, new.summary);
    let program = fixture.program.unwrap();
    assert!(matches!(program.from, ProgramOrigin::Object(path) if path.ends_with("../build/lb.o")));
    assert_eq!(program.name.as_deref(), Some("balancer"));
    let mut frames = fixture.frames.iter();
    for (group, new) in new.frames.iter().enumerate() {
        let number = match &new.input {
            NewInput::Hex(_) => 1,
            NewInput::Pcap(_) => 2,
        };
        for index in 1..=number {
            let frame = frames.next().unwrap();
            assert_eq!((frame.group, frame.frame.repeat), (group, new.repeat));
            assert_eq!((frame.expect.action, frame.expect.to), (new.action, new.to));
            if let NewInput::Hex(bytes) = &new.input {
                assert_eq!(&frame.frame.bytes, bytes);
            }
            let expected = match &new.output {
                NewOutput::Unchanged => BytesExpectation::Unchanged,
                NewOutput::Hex(bytes) => BytesExpectation::Exactly(bytes.clone()),
                NewOutput::Pcap(_) => BytesExpectation::Exactly(vec![index; 60]),
                NewOutput::Dropped => BytesExpectation::Any,
            };
            assert_eq!(frame.expect.bytes, expected);
        }
    }
    assert!(frames.next().is_none());
    let [stats, queue, names] = &fixture.maps_after[..] else { panic!("{:?}", fixture.maps_after) };
    let value = |expectation: &MapExpectation| match &expectation.claim {
        MapClaim::Value { value, .. } => without_spots(value),
        other => panic!("{other:?}"),
    };
    for (expectation, new) in [stats, queue, names].into_iter().zip(&new.maps) {
        assert_eq!((value(expectation), expectation.per_cpu), (new.value.clone(), new.per_cpu));
    }
    // Text with another meaning in a fixture is written as its bytes.
    assert!(
        matches!(&names.claim, MapClaim::Value { key: Some(FixtureValue::Text(key)), .. } if key == "hex:24484f4d45")
    );
}

#[test]
fn the_longest_frame_can_be_read_again() {
    let long = vec![0x5a; input::FRAME_BYTES];
    let new = NewFixture {
        summary: "a".to_owned(),
        program: None,
        frames: vec![frame(&long, FixtureAction::Pass, NewOutput::Unchanged)],
        maps: Vec::new(),
    };
    assert_eq!(load(&fixture::write(&new), Path::new("none")).frames[0].frame.bytes, long);
}

fn value() -> impl Strategy<Value = FixtureValue> {
    let number =
        prop_oneof![any::<i64>().prop_map(i128::from), any::<u64>().prop_map(i128::from), 0..=i128::MAX];
    let name = prop_oneof!["[a-z_]{1,8}", "\\PC{0,5}"];
    let leaf = prop_oneof![
        number.prop_map(FixtureValue::Integer),
        any::<bool>().prop_map(FixtureValue::Boolean),
        any::<String>().prop_map(FixtureValue::Text),
        Just(FixtureValue::Text("\u{7f}\r\n\t\"\\\u{80}".to_owned())),
    ];
    leaf.prop_recursive(4, 64, 20, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..20).prop_map(FixtureValue::Array),
            vec((name.clone(), inner), 0..6).prop_map(|mut fields| {
                fields.sort_by(|a, b| a.0.cmp(&b.0));
                fields.dedup_by(|a, b| a.0 == b.0);
                FixtureValue::Fields(fields.into_iter().map(|(name, value)| field(&name, value)).collect())
            }),
        ]
    })
}

/// Returns a value as it is read again: text with another meaning is written as bytes.
fn reread(value: &FixtureValue) -> FixtureValue {
    let hex = |text: &str| FixtureValue::Text(format!("hex:{}", hex_of(text)));
    match value {
        FixtureValue::Text(text) if text.starts_with('$') || text.starts_with("0x") => hex(text),
        FixtureValue::Array(items) => FixtureValue::Array(items.iter().map(reread).collect()),
        FixtureValue::Fields(fields) => FixtureValue::Fields(
            fields.iter().map(|(name, spot, value)| (name.clone(), *spot, reread(value))).collect(),
        ),
        other => other.clone(),
    }
}

fn hex_of(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

proptest! {
    #![proptest_config(Config {
        cases: 500,
        rng_seed: RngSeed::Fixed(0x7864_7031),
        failure_persistence: None,
        ..Config::default()
    })]

    #[test]
    fn any_value_is_read_as_it_was_written(value in value()) {
        let map = NewMapValue {
            name: "a".to_owned(), key: Some(value.clone()), value: value.clone(), per_cpu: None
        };
        let new = NewFixture {
            summary: "a".to_owned(),
            program: None,
            frames: vec![frame(&[0; 14], FixtureAction::Pass, NewOutput::Unchanged)],
            maps: vec![map],
        };
        // The variable is written in one line, the value of the map in several if it is long.
        let text = format!("{}\n[globals]\nvariable = {value}\n", fixture::write(&new));
        let fixture = load(&text, Path::new("none"));
        let MapClaim::Value { key, value: read } = &fixture.maps_after[0].claim else { unreachable!("a value") };
        prop_assert_eq!(without_spots(read), reread(&value));
        prop_assert_eq!(without_spots(key.as_ref().unwrap()), reread(&value));
        prop_assert_eq!(without_spots(&fixture.globals[0].2), reread(&value));
    }
}
