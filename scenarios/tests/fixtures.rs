//! Loading fixtures: what is read, and the errors for mistakes in a file.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use xdproof_scenarios::fixture::{
    self, BytesAt, BytesExpectation, Fixture, FixtureAction, FixtureValue, FrameContext, FrameExpectation,
    Ingress, MapClaim, MapExpectation, MapSubject, PerCpu, ProgramChoice, ProgramOrigin, Spot, Target,
};
use xdproof_scenarios::load::LoadError;
use xdproof_scenarios::{KernelVersion, capture_file};

/// A fixture with most parts; tests change one thing in it.
const SOUND: &str = r#"summary = "a SYN to the VIP goes to backend 2"
tags = ["lb"]

[program]
object = "../build/lb.o"
name = "balancer"

[globals]
backends = 2
config = { timeout = 5 }

[context]
rx_queue = 3

[[map]]
name = "vips"
entries = [
  { key = { addr = "192.0.2.10", port = "be:80" }, value = { backend = 2 } },
]

[[frame]]
layers = [{ ethernet = {} }, { ipv4 = {} }, { tcp = {} }]
expect = { action = "tx", length = 94, starts_with = "0200" }

[[frame]]
repeat = 2
hex = "ffffffffffff 020000000001 9000"

[expect]
action = "pass"
maps = [
  { name = "stats", key = 0, value = { packets = 3, bytes = "sent:bytes" }, per_cpu = "sum" },
]

[requires]
paths = ["test_run"]
mtu = 3000
min_kernel = "5.18"

[[deviation]]
driver = "ixgbe"
reason = "pads frames"
"#;

/// The smallest fixture.
const SMALL: &str = r#"summary = "a frame passes"

[[frame]]
hex = "ffffffffffff0200000000019000"
expect = { action = "pass" }
"#;

fn parse(text: &str) -> Result<Fixture, Vec<LoadError>> {
    fixture::fixture("lb/name".parse().unwrap(), text, Path::new("tests/lb"))
}

/// Returns the errors of a text as they print, without the path.
fn errors(text: &str) -> Vec<String> {
    let errors = parse(text).err().unwrap_or_default();
    let strip = |error: &LoadError| error.to_string().strip_prefix("tests/lb/name.toml:").unwrap().to_owned();
    errors.iter().map(strip).collect()
}

/// Cases of mistakes with their errors.
const ERRORS: &str = include_str!("fixture_errors.txt");

#[test]
fn every_mistake_is_reported_with_its_place_and_a_fix() {
    let (mut base, mut found, mut cases) = (SOUND, String::new(), 0);
    for line in ERRORS.lines().filter(|line| !line.starts_with(' ')) {
        writeln!(found, "{line}").unwrap();
        if line.starts_with("SMALL: ") {
            base = SMALL;
        } else if line.starts_with("SOUND: ") {
            base = SOUND;
        } else if let Some((replace, by)) = line.split_once(" =>") {
            let [replace, by] = [replace, by.trim_start()].map(|text| text.replace("\\n", "\n"));
            assert!(base.contains(&replace), "{line}");
            let errors = errors(&base.replacen(&replace, &by, 1));
            errors.iter().for_each(|error| writeln!(found, "    {error}").unwrap());
            cases += 1;
        }
    }
    let differing = found.lines().zip(ERRORS.lines()).find(|(found, expected)| found != expected);
    assert_eq!(differing, None, "found, expected");
    assert_eq!(found.lines().count(), ERRORS.lines().count());
    assert!(cases > 100, "{cases}");
}

/// Returns a fixture whose `[[frame]]` and what is behind it is given.
#[track_caller]
fn with_frame(frame: &str) -> Fixture {
    parse(&format!("summary = 'a'\n[matrix]\nn = '1..=2'\n\n[[frame]]\n{frame}"))
        .unwrap_or_else(|errors| panic!("{errors:#?}"))
}

fn fields<const N: usize>(fields: [(&str, (usize, usize), FixtureValue); N]) -> FixtureValue {
    FixtureValue::Fields(
        fields.map(|(name, (line, column), value)| (name.to_owned(), Spot { line, column }, value)).to_vec(),
    )
}

fn text(text: &str) -> FixtureValue {
    FixtureValue::Text(text.to_owned())
}

#[test]
fn a_sound_fixture_is_read_as_it_is_written() {
    let fixture = parse(SOUND).unwrap_or_else(|errors| panic!("{errors:#?}"));
    assert_eq!(fixture.id.to_string(), "lb/name");
    assert_eq!(fixture.source, Path::new("tests/lb/name.toml"));
    assert_eq!(fixture.summary, "a SYN to the VIP goes to backend 2");
    assert_eq!(fixture.tags, ["lb"]);
    let program = ProgramChoice {
        from: ProgramOrigin::Object("tests/lb/../build/lb.o".into()),
        name: Some("balancer".to_owned()),
        reuse_pins: false,
        spot: Spot { line: 5, column: 10 },
    };
    assert_eq!(fixture.program, Some(program));
    let timeout = fields([("timeout", (10, 12), FixtureValue::Integer(5))]);
    assert_eq!(
        fixture.globals,
        [
            ("backends".to_owned(), Spot { line: 9, column: 1 }, FixtureValue::Integer(2)),
            ("config".to_owned(), Spot { line: 10, column: 1 }, timeout),
        ]
    );
    assert_eq!(fixture.context, FrameContext { rx_queue: 3, ..FrameContext::default() });
    let [vips] = &fixture.maps[..] else { panic!("{:?}", fixture.maps) };
    assert_eq!((vips.name.as_str(), vips.spot), ("vips", Spot { line: 16, column: 8 }));
    assert_eq!(
        vips.entries[0].key,
        Some(fields([("addr", (18, 13), text("192.0.2.10")), ("port", (18, 34), text("be:80"))]))
    );
    assert_eq!(vips.entries[0].value, fields([("backend", (18, 62), FixtureValue::Integer(2))]));
    assert_eq!(vips.entries[0].spot, Spot { line: 18, column: 3 });
    let [syn, other] = &fixture.frames[..] else { panic!("{:?}", fixture.frames) };
    assert_eq!((syn.group, syn.frame.bytes.len(), syn.frame.repeat, syn.frame.layers.len()), (0, 54, 1, 3));
    let part = BytesAt { offset: 0, bytes: vec![2, 0], mask: None };
    let bytes = BytesExpectation::Partly { length: Some(94), parts: vec![part] };
    assert_eq!(syn.expect, FrameExpectation { action: FixtureAction::Tx, to: None, bytes });
    assert_eq!((other.group, other.frame.bytes.len(), other.frame.repeat), (1, 14, 2));
    let bytes = BytesExpectation::Unchanged;
    assert_eq!(other.expect, FrameExpectation { action: FixtureAction::Pass, to: None, bytes });
    assert_eq!(
        (other.spot, other.context.as_ref(), other.maps.len()),
        (Spot { line: 25, column: 1 }, None, 0)
    );
    assert_eq!(fixture.sent(), 3);
    let value =
        fields([("packets", (32, 40), FixtureValue::Integer(3)), ("bytes", (32, 53), text("sent:bytes"))]);
    assert_eq!(
        fixture.maps_after,
        [MapExpectation {
            subject: MapSubject::Map("stats".to_owned()),
            spot: Spot { line: 32, column: 3 },
            claim: MapClaim::Value { key: Some(FixtureValue::Integer(0)), value },
            per_cpu: Some(PerCpu::Sum),
        }]
    );
    assert_eq!(fixture.requires.paths.as_deref(), Some(&["test_run".to_owned()][..]));
    assert_eq!(fixture.requires.mtu, Some(3000));
    assert_eq!(fixture.requires.min_kernel, KernelVersion::from_release("5.18"));
    assert_eq!(fixture.deviations[0].driver.as_deref(), Some("ixgbe"));
}

#[test]
fn keys_that_are_left_out_have_defaults() {
    let fixture = parse(SMALL).unwrap();
    assert_eq!((fixture.program.as_ref(), fixture.context), (None, FrameContext::default()));
    assert!(fixture.tags.is_empty() && fixture.globals.is_empty() && fixture.maps.is_empty());
    assert!(fixture.maps_after.is_empty() && fixture.deviations.is_empty());
    assert_eq!(fixture.requires, fixture::FixtureRequires::default());
    assert_eq!(fixture.frames[0].expect.bytes, BytesExpectation::Unchanged);
}

#[test]
fn an_error_of_the_binding_has_the_place_of_the_value() {
    let fixture = parse(SOUND).unwrap();
    let error = fixture.error(fixture.maps[0].spot, "no map `vips`", Some("known are stats".to_owned()));
    assert_eq!(error.to_string(), "tests/lb/name.toml:16:8: no map `vips`; known are stats");
}

#[test]
fn a_program_is_from_an_object_a_pin_an_id_or_the_command_line() {
    let program = |keys: &str| {
        let text = SMALL.replace("[[frame]]", &format!("[program]\n{keys}\n[[frame]]"));
        parse(&text).unwrap().program.unwrap()
    };
    assert_eq!(program("object = 'a.o'").from, ProgramOrigin::Object("tests/lb/a.o".into()));
    assert_eq!(program("object = '/a.o'").from, ProgramOrigin::Object("/a.o".into()));
    assert_eq!(program("pinned = '/sys/fs/bpf/lb'").from, ProgramOrigin::Pinned("/sys/fs/bpf/lb".into()));
    assert_eq!(program("id = 17").from, ProgramOrigin::Id(17));
    let unnamed = program("name = 'lb'\nreuse_pins = true");
    assert_eq!((unnamed.from, unnamed.name.as_deref()), (ProgramOrigin::Unnamed, Some("lb")));
    assert!(unnamed.reuse_pins);
}

#[test]
fn an_expectation_takes_the_default_with_the_action() {
    let hex = "hex = 'ffffffffffff0200000000019000'";
    let fixture = with_frame(&format!(
        "{hex}
repeat = '$n'

[[frame]]
{hex}
expect = {{ action = 'drop' }}

[[frame]]
{hex}
expect = {{ action = 'tx' }}

[[frame]]
{hex}
expect = {{ length = 60 }}

[[frame]]
{hex}
expect = {{ to = 'stack' }}

[expect]
action = 'redirect'
to = 'port 7'
bytes = 'any'
"
    ));
    let expectations: Vec<_> = fixture.frames.iter().map(|frame| (frame.group, &frame.expect)).collect();
    let expect = |action, to, bytes| FrameExpectation { action, to, bytes };
    let redirect = |to, bytes| expect(FixtureAction::Redirect, Some(to), bytes);
    let part = BytesExpectation::Partly { length: Some(60), parts: Vec::new() };
    assert_eq!(
        expectations,
        [
            (0, &redirect(Target::Port(7), BytesExpectation::Any)),
            (0, &redirect(Target::Port(7), BytesExpectation::Any)),
            (1, &expect(FixtureAction::Drop, None, BytesExpectation::Any)),
            (2, &expect(FixtureAction::Tx, None, BytesExpectation::Unchanged)),
            (3, &redirect(Target::Port(7), part)),
            (4, &redirect(Target::Stack, BytesExpectation::Any)),
        ]
    );
    assert_eq!(fixture.sent(), 1 + 2 + 4);
}

#[test]
fn expected_bytes_vary_with_the_frame() {
    let fixture = with_frame(
        "layers = [{ ethernet = {} }, { vlan = { vid = '$n' } }, { arp = {} }]
context = { rx_queue = '$n' }
expect = { action = 'tx', layers = [{ ethernet = { ethertype = '$n' } }, { arp = {} }], maps = [
  { name = 'vlans', entries = 2 },
] }
",
    );
    let frames = &fixture.frames;
    let bytes = |frame: usize| match &frames[frame].expect.bytes {
        BytesExpectation::Exactly(bytes) => bytes[12..14].to_vec(),
        other => panic!("{other:?}"),
    };
    assert_eq!((frames.len(), bytes(0), bytes(1)), (2, vec![0, 1], vec![0, 2]));
    assert_eq!(frames[1].context.as_ref().map(|context| context.rx_queue), Some(2));
    let input = "hex = 'ffffffffffff0200000000019000'\nrepeat = '$n'\n";
    let parts =
        with_frame(&format!("{input}expect = {{ action = 'tx', at = [{{ offset = '$n', hex = '00' }}] }}\n"));
    let offset = |frame: usize| match &parts.frames[frame].expect.bytes {
        BytesExpectation::Partly { parts, .. } => parts[0].offset,
        other => panic!("{other:?}"),
    };
    assert_eq!((offset(0), offset(1)), (1, 2));
    // The state of maps is of all frames together.
    assert!(frames[0].maps.is_empty());
    assert_eq!(frames[1].maps[0].claim, MapClaim::Entries(2));
}

#[test]
fn a_context_of_a_frame_changes_only_what_it_names() {
    let frame = "hex = 'ffffffffffff0200000000019000'
truncate = 14
context = { ingress = 'port 3' }
repeat = '$n'

[context]
rx_queue = 2
metadata = '01020304'

[expect]
action = 'pass'
";
    let context = with_frame(frame).frames[0].context.clone().unwrap();
    assert_eq!(context, FrameContext { rx_queue: 2, ingress: Ingress::Port(3), metadata: vec![1, 2, 3, 4] });
    assert!(context.needs_test_run() && !FrameContext::default().needs_test_run());
}

#[test]
fn every_form_of_an_expectation_of_a_map_is_read() {
    let claims = |item: &str| {
        let maps = format!("[expect]\nmaps = [{{ {item} }}]\n");
        let fixture = parse(&format!("{SMALL}\n{maps}")).unwrap_or_else(|errors| panic!("{errors:#?}"));
        let [MapExpectation { subject, claim, per_cpu, .. }] = &fixture.maps_after[..] else {
            panic!("{:?}", fixture.maps_after)
        };
        (subject.clone(), claim.clone(), *per_cpu)
    };
    let map = || MapSubject::Map("a".to_owned());
    let one = || FixtureValue::Integer(1);
    let of_map = |item: &str| claims(&format!("name = 'a', {item}"));
    assert_eq!(of_map("value = 1"), (map(), MapClaim::Value { key: None, value: one() }, None));
    assert_eq!(
        of_map("key = 1, value = [1, true], per_cpu = 'each'"),
        (
            map(),
            MapClaim::Value {
                key: Some(one()),
                value: FixtureValue::Array(vec![one(), FixtureValue::Boolean(true)])
            },
            Some(PerCpu::Each)
        )
    );
    assert_eq!(
        of_map("key = 1, added = { a = 'sent:frames' }").1,
        MapClaim::Added { key: Some(one()), value: fields([("a", (8, 42), text("sent:frames"))]) }
    );
    assert_eq!(of_map("key = 1, absent = true").1, MapClaim::Absent { key: one() });
    assert_eq!(of_map("entries = 0").1, MapClaim::Entries(0));
    assert_eq!(of_map("unchanged = true").1, MapClaim::Unchanged);
    assert_eq!(
        claims("global = 'hits', added = 1"),
        (MapSubject::Global("hits".to_owned()), MapClaim::Added { key: None, value: one() }, None)
    );
}

#[test]
fn a_string_is_text_unless_it_is_a_number() {
    let value = |literal: &str| {
        let set_up = format!("\n[[map]]\nname = 'a'\nentries = [{{ value = {literal} }}]\n");
        parse(&format!("{SMALL}{set_up}")).unwrap_or_else(|errors| panic!("{errors:#?}")).maps[0].entries[0]
            .value
            .clone()
    };
    assert_eq!(value("'0xffffffffffffffff'"), FixtureValue::Integer(u64::MAX.into()));
    assert_eq!(value("'0x7fffffffffffffffffffffffffffffff'"), FixtureValue::Integer(i128::MAX));
    assert_eq!(value("-9223372036854775808"), FixtureValue::Integer(i64::MIN.into()));
    for plain in [
        "hex:00 ff",
        "be:80",
        "be:0x50",
        "program:main",
        "map:inner",
        "port:0",
        "port:dut",
        "192.0.2.1",
        "2001:db8::1",
        "be:80::1",
        "02:00:00:00:00:01",
        "IPPROTO_TCP",
        "eth0",
        "",
        "Host: example",
    ] {
        assert_eq!(value(&format!("'{plain}'")), text(plain));
    }
}

/// Writes a capture of frames that are 14 bytes and more, each by its first byte.
fn write_capture(directory: &Path, name: &str, frames: &[u8]) {
    let frames: Vec<_> = frames.iter().map(|byte| vec![*byte; 14]).collect();
    let mut file = Vec::new();
    capture_file::write(&mut file, frames.iter().map(Vec::as_slice)).unwrap();
    fs::write(directory.join(name), file).unwrap();
}

#[test]
fn a_capture_is_compared_frame_by_frame() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("captures")).unwrap();
    for (name, frames) in
        [("captures/in.pcap", &[1, 2][..]), ("a.pcap", &[3]), ("b.pcap", &[4]), ("four.pcap", &[5, 6, 7, 8])]
    {
        write_capture(directory.path(), name, frames);
    }
    let load = |matrix: &str, input: &str, expect: &str| {
        let text = format!("summary = 'a'\n[matrix]\n{matrix}\n[[frame]]\n{input}\nexpect = {expect}\n");
        fixture::fixture("a".parse().unwrap(), &text, directory.path())
    };
    let expected = |matrix: &str, input: &str, expect: &str| -> Vec<u8> {
        let fixture = load(matrix, input, expect).unwrap_or_else(|errors| panic!("{errors:#?}"));
        let first = |expect: &FrameExpectation| match &expect.bytes {
            BytesExpectation::Exactly(bytes) => bytes[0],
            other => panic!("{other:?}"),
        };
        fixture.frames.iter().map(|frame| first(&frame.expect)).collect()
    };
    let twice = "pcap = 'captures/in.pcap'\nrepeat = '$n'";
    let four = "{ action = 'pass', pcap = 'four.pcap' }";
    assert_eq!(expected("n = [1, 2]", twice, four), [5, 6, 7, 8]);
    let own = "{ action = 'pass', pcap = '$name' }";
    assert_eq!(expected("name = ['a.pcap', 'b.pcap']", "pcap = '$name'", own), [3, 4]);
    for (matrix, input, expect, message) in [
        ("n = [1]", twice, four, "7:36: `pcap`: four.pcap has 4 frames; the [[frame]] sends 2"),
        ("n = [1, 2, 3]", twice, four, "7:36: `pcap`: four.pcap has 4 frames; the [[frame]] sends 6"),
        (
            "name = ['four.pcap']",
            "hex = 'ffffffffffff0200000000019000'",
            own,
            "6:36: `pcap`: variable `$name` has no value here",
        ),
    ] {
        let error = &load(matrix, input, expect).unwrap_err()[0];
        assert_eq!(format!("{}:{}: {}", error.line, error.column, error.message), message);
    }
}

#[test]
fn bytes_are_compared_whole_in_part_or_not_at_all() {
    let sent = [1, 2, 3];
    let part = |offset, bytes: &[u8], mask: Option<&[u8]>| BytesAt {
        offset,
        bytes: bytes.to_vec(),
        mask: mask.map(<[u8]>::to_vec),
    };
    let partly = |length, parts: &[BytesAt]| BytesExpectation::Partly { length, parts: parts.to_vec() };
    for (expected, observed, matches) in [
        (BytesExpectation::Unchanged, &sent[..], true),
        (BytesExpectation::Unchanged, &[1, 2], false),
        (BytesExpectation::Exactly(vec![4]), &[4], true),
        (BytesExpectation::Exactly(vec![4]), &sent, false),
        (BytesExpectation::Any, &[], true),
        (partly(Some(2), &[]), &[8, 9], true),
        (partly(Some(2), &[]), &sent, false),
        (partly(None, &[part(1, &[2, 3], None)]), &sent, true),
        (partly(None, &[part(1, &[2, 4], None)]), &sent, false),
        (partly(None, &[part(2, &[3, 4], None)]), &sent, false),
        (partly(None, &[part(usize::MAX, &[3], None)]), &sent, false),
        (partly(None, &[part(0, &[0xf1, 2], Some(&[0x0f, 0xff]))]), &sent, true),
        (partly(None, &[part(0, &[0xf1, 3], Some(&[0x0f, 0xff]))]), &sent, false),
        (partly(Some(3), &[part(0, &[1], None), part(2, &[4], None)]), &sent, false),
    ] {
        assert_eq!(expected.matches(&sent, observed), matches, "{expected:?} {observed:?}");
    }
}

#[test]
fn an_action_has_the_number_and_the_name_of_the_kernel() {
    for (number, action) in (0..).zip(FixtureAction::ALL) {
        assert_eq!(action.number(), number);
        assert_eq!(FixtureAction::from_number(number), Some(action));
        assert_eq!(FixtureAction::from_name(action.name()), Some(action));
    }
    let names: Vec<_> = FixtureAction::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(names, FixtureAction::NAMES);
    assert_eq!(FixtureAction::from_number(5), None);
}

/// A directory of fixtures, and the ids and errors that are found in it.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = folder.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Returns the ids of fixtures, or the errors with paths below the directory.
    fn find(&self, names: &[&str]) -> Result<Vec<String>, Vec<String>> {
        let paths: Vec<_> = names.iter().map(|name| self.path(name)).collect();
        let root = format!("{}/", self.0.path().display());
        match fixture::find(&paths) {
            Ok(fixtures) => Ok(fixtures.iter().map(|fixture| fixture.id.to_string()).collect()),
            Err(errors) => Err(errors.iter().map(|error| error.to_string().replace(&root, "")).collect()),
        }
    }

    #[track_caller]
    fn assert_found(&self, names: &[&str], ids: &[&str]) {
        assert_eq!(self.find(names), Ok(ids.iter().map(|id| (*id).to_owned()).collect()));
    }

    #[track_caller]
    fn assert_errors(&self, names: &[&str], errors: &[&str]) {
        assert_eq!(self.find(names), Err(errors.iter().map(|error| (*error).to_owned()).collect()));
    }
}

#[test]
fn fixtures_are_found_in_directories_and_by_their_names() {
    let folder = Folder::new(&[
        ("lb/syn.toml", SMALL),
        ("lb/deep/udp.toml", SMALL),
        ("lb/readme.md", "not a fixture"),
        ("lb/Cargo.toml", "[package]"),
        ("lb/.git/x.toml", "x"),
        ("other/fin.toml", SMALL),
    ]);
    folder.assert_found(&["lb"], &["deep/udp", "syn"]);
    folder.assert_found(&["lb/deep/udp.toml", "lb/syn.toml"], &["syn", "udp"]);
    folder.assert_found(&["lb", "other/fin.toml"], &["deep/udp", "fin", "syn"]);
    // A file that is named besides its directory is one fixture.
    folder.assert_found(&["lb", "lb/syn.toml", "lb/deep/udp.toml", "lb/../lb"], &["deep/udp", "syn"]);
}

#[test]
fn relative_paths_start_at_the_file() {
    let text = SMALL.replace("[[frame]]", "[program]\nobject = \"../lb.o\"\n[[frame]]");
    let folder = Folder::new(&[("lb/syn.toml", &text)]);
    let fixtures = fixture::find(&[folder.path("lb")]).unwrap();
    assert_eq!(fixtures[0].source, folder.path("lb/syn.toml"));
    let program = fixtures[0].program.clone().unwrap();
    assert_eq!(program.from, ProgramOrigin::Object(folder.path("lb/../lb.o")));
}

#[test]
fn the_errors_of_all_files_are_reported() {
    let folder = Folder::new(&[
        ("a.toml", &SMALL.replace("hex", "hxe")),
        ("b.toml", SMALL),
        ("c/Big.toml", SMALL),
        ("d.toml", &SMALL.replace("pass", "psas")),
        ("empty/readme.md", ""),
        ("prog.o", "\u{7f}ELF"),
    ]);
    folder.assert_errors(
        &["", "empty", "prog.o", "none", "none.toml"],
        &[
            "a.toml:3:1: a frame needs exactly one of `layers`, `hex` and `pcap`, found 0",
            "a.toml:4:1: unknown key `hxe` in [[frame]]; did you mean `hex`?",
            "c/Big.toml: invalid path of a fixture: expected parts of a-z, 0-9, `_`, `-` and `.` between single \
             slashes, found `c/Big`",
            "d.toml:5:21: unknown action `psas`; did you mean `pass`?",
            "empty: no fixture (*.toml) in this directory",
            "none: cannot be read: No such file or directory (os error 2)",
            "none.toml: cannot be read: No such file or directory (os error 2)",
            "prog.o: is no fixture (*.toml)",
        ],
    );
    assert_eq!(fixture::find(&[]).unwrap_err()[0].message, "no fixture (*.toml) is given");
    fs::write(folder.path("d.toml"), b"summary = '\xff'").unwrap();
    assert!(folder.find(&["d.toml"]).unwrap_err()[0].starts_with("d.toml: not UTF-8: "));
}

#[test]
fn two_fixtures_of_one_id_are_an_error() {
    let folder = Folder::new(&[("a/syn.toml", SMALL), ("b/syn.toml", SMALL)]);
    let errors = folder.find(&["a", "b/syn.toml"]).unwrap_err();
    let first = folder.path("a/syn.toml");
    let expected = format!(
        "b/syn.toml: has the id syn, as {} has; name a directory that both are in, instead of the files",
        first.strip_prefix(folder.0.path()).unwrap().display()
    );
    assert_eq!(errors, [expected]);
}

#[test]
fn a_file_that_exceeds_a_limit_is_refused_with_the_limit() {
    let long_line = SMALL.replace("a frame passes", &"x".repeat(1 << 18));
    let frame = "hex = 'ffffffffffff0200000000019000'";
    let with = |matrix: &str, frame: &str, rest: &str| {
        format!("summary = 'a'\n[matrix]\n{matrix}\n[[frame]]\n{frame}\n{rest}")
    };
    let pass = "expect = { action = 'pass' }\n";
    let bytes = |length: usize| "00".repeat(length);
    let cases = [
        (long_line, "1:1: the line has 262156 bytes; at most 262144 are read"),
        (
            with("n = '0..=65536'", frame, pass),
            "3:5: expected a range like \"0..=255\" or an array of integers, strings or lists of layers",
        ),
        (
            with("n = '1..=65536'", &format!("{frame}\nrepeat = '$n'"), pass),
            "the fixture sends more than 16777216 frames, repeats included",
        ),
        (
            with(
                "n = '0..=65535'",
                &format!("{frame}\nrepeat = 65536\ncontext = {{ rx_queue = '$n' }}"),
                pass,
            ),
            "the fixture sends more than 16777216 frames, repeats included",
        ),
        (
            with(
                "n = '0..=999'",
                &format!("{frame}\ncontext = {{ rx_queue = '$n' }}"),
                &format!("expect = {{ action = 'pass', starts_with = '{}' }}", bytes(100_000)),
            ),
            "the frames take more than 67108864 bytes of memory",
        ),
        (
            with(
                "n = '0..=65535'",
                &format!("{frame}\ncontext = {{ rx_queue = '$n' }}"),
                &format!(
                    "expect = {{ action = 'pass', at = [{}] }}",
                    "{ offset = 1, hex = '00' }, ".repeat(1000)
                ),
            ),
            "the frames take more than 67108864 bytes of memory",
        ),
    ];
    for (text, expected) in cases {
        let errors = errors(&text);
        assert!(errors.iter().any(|error| error.ends_with(expected)), "{expected}: {errors:#?}");
    }
    let starts_with = bytes(100_000);
    let expect = format!("expect = {{ action = 'pass', starts_with = '{starts_with}' }}");
    let folder =
        Folder::new(&[("a.toml", &format!("summary = 'a'\n[[frame]]\npcap = 'a.pcap'\n{expect}\n"))]);
    write_capture(&folder.path(""), "a.pcap", &[7; 700]);
    folder.assert_errors(&[""], &["a.toml:2:1: the frames take more than 67108864 bytes of memory"]);
    let folder = Folder::new(&[("big.toml", &"#".repeat((1 << 20) + 1))]);
    folder.assert_errors(&[""], &["big.toml: cannot be read: has 1048577 bytes; at most 1048576 are read"]);
}

#[test]
fn the_first_errors_of_a_file_are_told_and_the_others_counted() {
    let maps = "  { name = 'a', key = 0, vlaue = 1 },\n".repeat(3000);
    let errors = parse(&format!("{SMALL}[expect]\nmaps = [\n{maps}]\n")).unwrap_err();
    assert_eq!(errors.len(), 21);
    let last = errors.last().unwrap().to_string();
    assert_eq!(last, "tests/lb/name.toml: and 2980 more errors in this file");
}
