//! The references of scenarios (`README.md`) and of fixtures (`FIXTURES.md`) against the loaders: every key with its values, the
//! defaults of layers, every name, and the examples. The loaders are asked for their own lists, by the errors for a key, a value
//! and a name that they do not know.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::collections::{BTreeMap, BTreeSet};

use xdproof_scenarios::load::{self, LoadError};
use xdproof_scenarios::{Layer, Scenario, fixture};

const README: &str = include_str!("../README.md");
const FIXTURES: &str = include_str!("../FIXTURES.md");

/// A format with its tables, apart from those of layers, and a file that has one line more in a table.
struct Format {
    tables: &'static [&'static str],
    with: fn(&str, &str) -> String,
    errors: fn(&str) -> Vec<LoadError>,
}

const SCENARIO: Format = Format {
    tables: &["the scenario", "[[frame]]", "[expect]", "[requires]", "[spread]", "[[deviation]]"],
    with,
    errors: |text| parse(text).err().unwrap_or_default(),
};

const FIXTURE: Format = Format {
    tables: &[
        "the fixture",
        "[program]",
        "[context]",
        "[[map]]",
        "entries",
        "[[frame]]",
        "expect",
        "[expect]",
        "at",
        "maps",
        "[requires]",
    ],
    with: with_in_fixture,
    errors: |text| parse_fixture(text).err().unwrap_or_default(),
};

fn parse_fixture(text: &str) -> Result<fixture::Fixture, Vec<LoadError>> {
    fixture::fixture("a/b".parse().unwrap(), text, ".".as_ref())
}

/// Keys of a table in the reference, with the columns `value` and `default`.
type Keys = BTreeMap<String, (String, String)>;

fn parse(text: &str) -> Result<Scenario, Vec<LoadError>> {
    load::scenario("a/b".parse().unwrap(), text, ".".as_ref())
}

/// Returns the tables of the reference by their headings, without the code marks around these.
fn documented(readme: &str) -> BTreeMap<String, Keys> {
    let (mut tables, mut heading) = (BTreeMap::<String, Keys>::new(), String::new());
    for line in readme.lines() {
        if let Some(title) = line.strip_prefix("#### ") {
            heading = title.trim_matches('`').to_owned();
        } else if line.starts_with("### ") || line.starts_with("## ") {
            heading.clear();
        } else if let Some(row) = line.strip_prefix("| `")
            && !heading.is_empty()
        {
            let cells: Vec<_> = row.trim_end_matches('|').split(" | ").map(str::trim).collect();
            let [key, value, default, ..] = cells[..] else { panic!("a row of too few columns: {line}") };
            let row = (value.to_owned(), default.trim_matches('`').to_owned());
            tables.entry(heading.clone()).or_default().insert(key.trim_matches('`').to_owned(), row);
        }
    }
    tables
}

/// A scenario with one line more in a table, named as in the reference.
fn with(table: &str, line: &str) -> String {
    let layers = if Layer::NAMES.contains(&table) {
        // Types and protocols are derivable from the layer behind, and the frame is cut to nothing that has to be counted.
        format!(
            "{{ ethernet = {{ ethertype = 0 }} }}, {{ {table} = {{ {line} }} }}, {{ ipv6 = {{ next_header = 0 }} }}"
        )
    } else {
        "{ ethernet = {} }, { arp = {} }".to_owned()
    };
    let tables = [
        ("the scenario", "summary = 'a'".to_owned()),
        ("[[frame]]", format!("[[frame]]\ntruncate = 13\nlayers = [{layers}]")),
        ("[expect]", "[expect]\nunreachable = true".to_owned()),
        ("[requires]", "[requires]".to_owned()),
        ("[spread]", "[spread]\ncpus = true".to_owned()),
        ("[[deviation]]", "[[deviation]]\nmode = 'native'\nreason = 'a'".to_owned()),
    ];
    let text = assemble(&tables, table, line);
    if table == "[expect]" { text.replace("unreachable = true\n", "") } else { text }
}

/// A fixture with one line more in a table, named as in the reference.
fn with_in_fixture(table: &str, line: &str) -> String {
    let given = given(line);
    let inline = |name: &str, keys: &[&str]| {
        let kept =
            keys.iter().copied().filter(|key| name != table || !key.starts_with(&format!("{given} =")));
        kept.chain((name == table).then_some(line)).collect::<Vec<_>>().join(", ")
    };
    let map: &[&str] = match given {
        "global" => &["value = 1"],
        "added" | "absent" => &["name = 'a'", "key = 0"],
        "entries" | "unchanged" => &["name = 'a'"],
        _ => &["name = 'a'", "key = 0", "value = 1"],
    };
    let at = format!("at = [{{ {} }}]", inline("at", &["offset = 0", "hex = '00'"]));
    let maps = format!("maps = [{{ {} }}]", inline("maps", map));
    let expect = match table {
        "at" => inline("expect", &["action = 'pass'", &at]),
        "maps" => inline("expect", &["action = 'pass'", &maps]),
        _ => inline("expect", &["action = 'pass'"]),
    };
    let entries = inline("entries", &["value = 1"]);
    let tables = [
        ("the fixture", "summary = 'a'".to_owned()),
        ("[program]", "[program]\nname = 'a'".to_owned()),
        ("[context]", "[context]".to_owned()),
        ("[[map]]", format!("[[map]]\nname = 'a'\nentries = [{{ {entries} }}]")),
        ("[[frame]]", format!("[[frame]]\nhex = '{}'\nexpect = {{ {expect} }}", "00".repeat(14))),
        ("[expect]", "[expect]\naction = 'pass'".to_owned()),
        ("[requires]", "[requires]".to_owned()),
        ("[[deviation]]", "[[deviation]]\nmode = 'native'\nreason = 'a'".to_owned()),
    ];
    assemble(&tables, table, line)
}

/// Returns the key of a line.
fn given(line: &str) -> &str {
    line.split(" =").next().unwrap()
}

/// Joins tables to a file, with one line more in one of them. A key that is given takes the place of the line, or of the table,
/// that has it there.
fn assemble(tables: &[(&str, String)], table: &str, line: &str) -> String {
    let given = given(line);
    let mut text = String::new();
    for (name, lines) in tables {
        if table.starts_with("the ") && name.trim_matches(['[', ']']) == given {
            continue;
        }
        let replaced = |its: &&str| *name == table && its.starts_with(&format!("{given} ="));
        let lines = lines.lines().filter(|its| !replaced(its)).chain((*name == table).then_some(line));
        text.extend(lines.flat_map(|line| [line, "\n"]));
    }
    text
}

/// Returns what follows `behind` in the error for a line in a table.
fn answer(format: &Format, table: &str, line: &str, behind: &str) -> Option<String> {
    let errors = (format.errors)(&(format.with)(table, line));
    errors.iter().find_map(|error| {
        let text = format!("{}; {}", error.message, error.hint.as_deref().unwrap_or_default());
        text.split_once(behind).map(|(_, rest)| rest.to_owned())
    })
}

/// Returns the keys that the loader knows in a table.
fn known_keys(format: &Format, table: &str) -> BTreeSet<String> {
    let known =
        answer(format, table, "zzzzzz = 0", "known are ").unwrap_or_else(|| panic!("no such table: {table}"));
    known.split(", ").map(str::to_owned).collect()
}

/// Lists the differences between the reference of scenarios and their loader.
fn differences(readme: &str) -> Vec<String> {
    differences_of(&SCENARIO, Layer::NAMES, readme)
}

/// Lists the differences between a reference, with tables of layers or without, and the loader.
fn differences_of(format: &Format, layers: &[&'static str], readme: &str) -> Vec<String> {
    let documented = documented(readme);
    let mut differences = Vec::new();
    let tables: BTreeSet<_> = format.tables.iter().chain(layers).copied().collect();
    let headings: BTreeSet<_> = documented.keys().map(String::as_str).collect();
    differences
        .extend(tables.symmetric_difference(&headings).map(|table| format!("{table}: on one side only")));
    for (table, keys) in documented.iter().filter(|(table, _)| tables.contains(table.as_str())) {
        let (known, listed) = (known_keys(format, table), keys.keys().cloned().collect::<BTreeSet<_>>());
        differences
            .extend(known.difference(&listed).map(|key| format!("{table}: `{key}` is not documented")));
        differences.extend(
            listed.difference(&known).map(|key| format!("{table}: `{key}` is unknown to the loader")),
        );
        for (key, (value, default)) in keys.iter().filter(|(key, _)| known.contains(*key)) {
            let expected = answer(format, table, &format!("{key} = 1979-05-27"), "expected ");
            let expected = expected.map(|rest| rest.split(", found").next().unwrap().to_owned());
            if expected.as_ref() != Some(value) {
                differences.push(format!("{table}: `{key}` is {expected:?}, not {value}"));
            }
            if layers.contains(&table.as_str()) && !is_default(table, key, default) {
                differences.push(format!("{table}: `{key}` has another default than {default}"));
            }
        }
    }
    differences
}

/// Checks the default of a field: its layer is the same with the default given, or is derived or absent without.
fn is_default(layer: &str, key: &str, default: &str) -> bool {
    let read = |line: &str| parse(&with(layer, line)).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let plain = format!("{:?}", read("").frames[0].layers[1]);
    match default {
        "derived" | "none" => plain.contains(&format!(" {key}: None")),
        _ => format!("{:?}", read(&format!("{key} = {default}")).frames[0].layers[1]) == plain,
    }
}

#[test]
fn the_reference_documents_every_key_with_its_values_and_defaults() {
    assert_eq!(differences(README), Vec::<String>::new());
}

#[test]
fn a_key_that_is_not_documented_or_not_known_is_found() {
    let changed = |row: &str, by: &str| {
        assert!(README.contains(row), "{row}");
        differences(&README.replacen(row, by, 1))
    };
    let row =
        "| `mtu` | an integer from 0 to 4294967295 | none | MTU of both ends in bytes, at least 68. |\n";
    assert_eq!(changed(row, ""), ["[requires]: `mtu` is not documented"]);
    let more = format!("{row}| `mtv` | a string | none | |\n");
    assert_eq!(changed(row, &more), ["[requires]: `mtv` is unknown to the loader"]);
    let vid = "| `vid` | an integer from 0 to 4095 | `0` | VLAN ID. |\n";
    assert_eq!(changed(vid, ""), ["vlan: `vid` is not documented"]);
    let wider = vid.replace("4095", "4096");
    assert_eq!(
        changed(vid, &wider),
        ["vlan: `vid` is Some(\"an integer from 0 to 4095\"), not an integer from 0 to 4096"]
    );
    assert_eq!(changed(vid, &vid.replace("`0`", "`1`")), ["vlan: `vid` has another default than 1"]);
    assert_eq!(changed("#### `udp`", "#### `upd`"), ["udp: on one side only", "upd: on one side only"]);
}

#[test]
fn the_reference_of_fixtures_documents_every_key_with_its_values() {
    assert_eq!(differences_of(&FIXTURE, &[], FIXTURES), Vec::<String>::new());
    let row = "| `absent` | true or false | none | The key does not exist; can only be true. |\n";
    assert!(FIXTURES.contains(row));
    let without = FIXTURES.replace(row, "");
    assert_eq!(differences_of(&FIXTURE, &[], &without), ["maps: `absent` is not documented"]);
}

/// Checks a row of a table of names, for the name that is unknown in a line of a table.
#[track_caller]
fn assert_names(format: &Format, page: &str, kind: &str, table: &str, line: &str) {
    let known = answer(format, table, line, "known are ").unwrap_or_else(|| panic!("{kind} has no list"));
    let known: BTreeSet<_> = known.split(", ").map(str::to_owned).collect();
    let row = page.lines().find_map(|line| line.strip_prefix(&format!("| {kind} | ")));
    let row = row.unwrap_or_else(|| panic!("no row for {kind}")).trim_end_matches(" |");
    let listed: BTreeSet<_> = row.split(", ").map(|name| name.trim_matches('`').to_owned()).collect();
    assert_eq!(known, listed, "{kind}");
}

#[test]
fn the_reference_lists_every_name() {
    let cases = [
        ("protocol", "ipv4", "protocol = 'zzzzzzzzzzzzzzzz'"),
        ("EtherType", "ethernet", "ethertype = 'zzzzzzzzzzzzzzzz'"),
        ("TPID", "vlan", "tpid = 'zzzzzzzzzzzzzzzz'"),
        ("TCP flag", "tcp", "flags = ['zzzzzzzzzzzzzzzz']"),
        ("injector", "[requires]", "injectors = ['zzzzzzzzzzzzzzzz']"),
        ("mode", "[[deviation]]", "mode = 'zzzzzzzzzzzzzzzz'"),
        ("offload", "[requires]", "offloads = { zzzzzzzzzzzzzzzz = true }"),
    ];
    for (kind, table, line) in cases {
        assert_names(&SCENARIO, README, kind, table, line);
    }
}

#[test]
fn the_reference_of_fixtures_lists_every_name() {
    let cases = [
        ("action", "[expect]", "action = 'zzzzzzzzzzzzzzzz'"),
        ("path", "[requires]", "paths = ['zzzzzzzzzzzzzzzz']"),
        ("mode", "[[deviation]]", "mode = 'zzzzzzzzzzzzzzzz'"),
        ("injector", "[[deviation]]", "injector = 'zzzzzzzzzzzzzzzz'"),
        ("value of `bytes`", "expect", "bytes = 'zzzzzzzzzzzzzzzz'"),
        ("value of `per_cpu`", "maps", "per_cpu = 'zzzzzzzzzzzzzzzz'"),
    ];
    for (kind, table, line) in cases {
        assert_names(&FIXTURE, FIXTURES, kind, table, line);
    }
}

/// Returns the examples of a page.
fn examples(page: &str) -> Vec<&str> {
    page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn the_examples_load() {
    let blocks = examples(README);
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        assert!(parse(block).is_ok_and(|scenario| scenario.expect.total() == scenario.sent()), "{block}");
    }
    let blocks = examples(FIXTURES);
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        assert!(parse_fixture(block).is_ok(), "{block}");
    }
    let misspelt =
        parse_fixture(&examples(FIXTURES)[0].replace("action = \"tx\"", "acton = \"tx\"")).unwrap_err();
    let shown =
        format!("fixtures/syn.toml:{}:{}: {}", misspelt[0].line, misspelt[0].column, misspelt[0].message);
    assert!(FIXTURES.contains(&shown), "{shown}");
}
