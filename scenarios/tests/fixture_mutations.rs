//! Mutated fixtures: whatever a file holds, loading ends with a fixture or with errors that have a place, and never panics.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::fs;

use xdproof_scenarios::capture_file;
use xdproof_scenarios::fixture;

/// A fixture with every key of the format.
const SEED: &str = r#"summary = "every key, and an umlaut: ä"
tags = ["lb", "syn"]

[program]
object = "../build/lb.o"
name = "balancer"
reuse_pins = true

[globals]
backends = 2
config = { timeout = 5, name = "a", on = true, mac = "02:00:00:00:00:01" }

[context]
rx_queue = 0
ingress = "port 1"
metadata = "01020304"

[matrix]
ttl = "1..=3"
tags = [[], [{ vlan = { vid = 10 } }]]
name = ["in.pcap"]

[[map]]
name = "vips"
entries = [
  { key = { addr = "192.0.2.10", port = "be:80" }, value = { backend = 2, mask = "0xffffffffffffffff" } },
  { key = 7, value = "program:main" },
  { value = ["port:0", "map:inner", "hex:00ff"] },
]

[[frame]]
layers = [{ ethernet = {} }, "$tags", { ipv4 = { ttl = "$ttl" } }, { tcp = { flags = ["syn"] } }]
repeat = "$ttl"
context = { rx_queue = "$ttl" }
expect = { action = "tx", layers = [{ ethernet = {} }, { ipv4 = { ttl = "$ttl" } }, { udp = {} }], maps = [
  { name = "stats", key = 0, added = { packets = 1, bytes = "sent:bytes" } },
  { name = "vips", entries = 2 },
] }

[[frame]]
pcap = "$name"
truncate = 14
expect = { action = "redirect", to = "port 7", pcap = "$name" }

[[frame]]
hex = "ffffffffffff 020000000001 9000 0102"
expect = { length = 60, starts_with = "0200", at = [{ offset = 14, hex = "45", mask = "f0" }] }

[[frame]]
hex = "ffffffffffff 020000000001 9000"
expect = { action = "drop" }

[expect]
action = "pass"
unchanged = true
maps = [
  { name = "flows", key = [1, 2], absent = true },
  { name = "flows", unchanged = true },
  { name = "cpus", key = 1, value = [1, 2], per_cpu = "each" },
  { global = "hits", value = 4 },
]

[requires]
paths = ["test_run"]
mtu = 3000
min_kernel = "5.18"

[[deviation]]
driver = "ixgbe"
mode = "native"
kernel = ">=6.1, <6.12"
injector = "test_run"
reason = "pads frames"
"#;

/// Values that mutations put in place of others.
const VALUES: &[&str] = &[
    "-1",
    "0",
    "1",
    "14",
    "65535",
    "65536",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "1.5",
    "1979-05-27",
    "true",
    "false",
    "''",
    "'$ttl'",
    "'$'",
    "'$nothing'",
    "[]",
    "{}",
    "[[]]",
    "[{}]",
    "'0x'",
    "'hex:0'",
    "'be:'",
    "'sent:frames'",
    "'port 8'",
    "'any'",
    "'..'",
    "'in.pcap'",
    "'/'",
    "'redirect'",
    "'ä'",
    "'0..=99'",
    "'00'",
    "\"\\u0000\"",
    "[1, 'a', { b = 2 }]",
];

/// Other texts that mutations put in.
const TEXTS: &[&str] = &[
    "ä",
    "\u{0}",
    "\u{2028}",
    "'''",
    "\"",
    "[",
    "]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "\n",
    "#",
    "\n[[frame]]\n",
    "\n[expect]\n",
    "counts",
    "layers",
    "hex",
    "pcap",
    "maps",
    "value",
    "key",
    "unchanged",
    "action",
    "to",
];

/// Numbers without an order, the same in every run.
struct Numbers(u64);

impl Numbers {
    /// Returns a number below `end` (splitmix64).
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(end.max(1)).unwrap()).unwrap()
    }
}

/// Splits a text into words, strings and punctuation; the space between them has tokens of its own.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let (mut last_kind, mut is_string) = (None, false);
    for letter in text.chars() {
        // Punctuation stands alone.
        let kind = match letter {
            _ if is_string => Some('"'),
            _ if letter.is_whitespace() => Some(' '),
            _ if letter.is_alphanumeric() || matches!(letter, '_' | '-') => Some('a'),
            _ => None,
        };
        match tokens.last_mut() {
            Some(last) if kind.is_some() && kind == last_kind => last.push(letter),
            _ => tokens.push(letter.to_string()),
        }
        is_string ^= letter == '"';
        last_kind = if is_string { Some('"') } else { kind.filter(|kind| *kind != '"') };
    }
    tokens
}

/// Leaves out half of the tables, and changes some of the rest.
fn mutate(numbers: &mut Numbers) -> String {
    // Variables are left out with the frames that refer to them, and a frame with the default that it needs.
    let together: [&[&str]; 3] = [&["$", "[matrix]"], &["length = 60", "[expect]"], &["summary", "drop"]];
    let kept = [numbers.below(2) == 0, numbers.below(2) == 0, true];
    let tables: Vec<_> = SEED
        .split("\n\n")
        .filter(|table| match together.iter().position(|texts| texts.iter().any(|it| table.contains(it))) {
            Some(group) => kept[group],
            None => numbers.below(3) == 0,
        })
        .collect();
    let mut tokens = tokens(&tables.join("\n\n"));
    for _ in 0..=numbers.below(2) {
        // Only what is not space is changed, and mostly a value: else most files are not even TOML.
        let places: Vec<_> = (0..tokens.len()).filter(|at| !tokens[*at].trim().is_empty()).collect();
        let is_value =
            |at: &&usize| tokens[**at].starts_with(|first: char| first == '"' || first.is_ascii_digit());
        let values: Vec<_> = places.iter().filter(is_value).copied().collect();
        let (Some(at), Some(other)) =
            (places.get(numbers.below(places.len())), places.get(numbers.below(places.len())))
        else {
            break;
        };
        let (at, other) = (*at, *other);
        let text = TEXTS[numbers.below(TEXTS.len())].to_owned();
        match numbers.below(16) {
            0 => drop(tokens.remove(at)),
            1 => tokens.insert(at, text),
            2 => tokens[at] = text,
            3 => tokens.swap(at, other),
            4 => tokens[at] = tokens[other].clone(),
            // A part once more, or not at all.
            5 => {
                let part = tokens[at..(at + numbers.below(60)).min(tokens.len())].to_vec();
                tokens.splice(other..other, part);
            }
            6 => drop(tokens.drain(at..(at + numbers.below(60)).min(tokens.len()))),
            _ => {
                let at = values.get(numbers.below(values.len())).copied().unwrap_or(at);
                tokens[at] = VALUES[numbers.below(VALUES.len())].to_owned();
            }
        }
    }
    tokens.concat()
}

#[test]
fn a_mutated_fixture_loads_or_has_errors_with_a_place() {
    let directory = tempfile::tempdir().unwrap();
    let mut capture = Vec::new();
    capture_file::write(&mut capture, [&[1; 60][..], &[2; 60]]).unwrap();
    fs::write(directory.path().join("in.pcap"), capture).unwrap();
    let load = |text: &str| fixture::fixture("a".parse().unwrap(), text, directory.path());
    load(SEED).unwrap_or_else(|errors| unreachable!("{errors:#?}"));
    let (mut numbers, mut sound, mut valid) = (Numbers(0x7864_7031), 0, 0);
    for _ in 0..5_000 {
        let text = mutate(&mut numbers);
        let Err(errors) = load(&text) else {
            sound += 1;
            continue;
        };
        assert!(!errors.is_empty(), "{text}");
        valid += i32::from(!errors[0].message.starts_with("not valid TOML"));
        for error in errors {
            assert!(!error.to_string().contains('\n'), "{error}\n{text}");
            let line = text.split('\n').nth(error.line.saturating_sub(1));
            let column = line.map(|line| line.chars().count() + 1);
            assert!(column.is_some_and(|columns| error.column <= columns), "{error}\n{text}");
        }
    }
    println!("{sound} sound, {valid} valid");
    // Mutations are of use only if they break neither everything nor nothing.
    assert!((300..3_000).contains(&sound), "{sound} of 5000 load");
    assert!(valid > 1_000, "{valid} of 5000 are TOML with a mistake");
}
