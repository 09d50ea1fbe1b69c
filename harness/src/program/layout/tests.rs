//! Layouts of types that are written here, with the values of a document.

use xdproof_scenarios::fixture::{FixtureValue, Spot};

use super::{Layout, Names};
use crate::program::btf::{Btf, kind};

/// Types as they are written: each in words, with names in one section of strings.
struct Types {
    strings: Vec<u8>,
    words: Vec<u32>,
    count: u32,
}

impl Types {
    fn new() -> Self {
        Self { strings: vec![0], words: Vec::new(), count: 0 }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let place = u32::try_from(self.strings.len()).unwrap();
        self.strings.extend(name.bytes().chain([0]));
        place
    }

    fn add(&mut self, name: &str, kind: u32, info: u32, size: u32, words: &[u32]) -> u32 {
        let name = self.name(name);
        self.words.extend([name, kind << 24 | info, size]);
        self.words.extend(words);
        self.count += 1;
        self.count
    }

    fn int(&mut self, name: &str, size: u32, encoding: u32) -> u32 {
        self.add(name, kind::INT, 0, size, &[(encoding << 24) | (8 * size)])
    }

    fn array(&mut self, element: u32, count: u32) -> u32 {
        self.add("", kind::ARRAY, 0, 0, &[element, element, count])
    }

    /// Members are a name, a type and an offset in bits, with the width of a bit field in the highest byte.
    fn record(&mut self, name: &str, kind: u32, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        let mut words = Vec::new();
        for (name, id, offset) in members {
            words.extend([self.name(name), *id, *offset]);
        }
        let has_bits = u32::from(members.iter().any(|(.., offset)| offset >> 24 > 0));
        self.add(name, kind, has_bits << 31 | u32::try_from(members.len()).unwrap(), size, &words)
    }

    fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(4 * self.words.len()).unwrap();
        let strings = u32::try_from(self.strings.len()).unwrap();
        let header = [0xeb9f | 1 << 16, 24, 0, length, length, strings];
        let words = header.into_iter().chain(self.words.iter().copied());
        words.flat_map(u32::to_le_bytes).chain(self.strings.iter().copied()).collect()
    }

    fn layout(&self, id: u32, size: usize) -> Layout {
        Layout::of_type(&Btf::parse(&self.bytes()).unwrap(), id, "the value", size)
    }
}

/// A structure with a member of every kind.
fn everything() -> (Types, u32) {
    let mut types = Types::new();
    let byte = types.int("unsigned char", 1, 0);
    let letter = types.int("char", 1, 1);
    let truth = types.int("_Bool", 1, 4);
    let word = types.int("unsigned int", 4, 0);
    let long = types.int("long long", 8, 1);
    let short = types.int("unsigned short", 2, 0);
    let (mac, text, two) = (types.array(byte, 6), types.array(letter, 8), types.array(word, 2));
    let [none, policy] = ["REASON_NONE", "REASON_POLICY"].map(|name| types.name(name));
    let reason = types.add("reason", kind::ENUM, 2, 4, &[none, 0, policy, 7]);
    let typedef = types.add("__u32", kind::TYPEDEF, 0, word, &[]);
    let inner = types.record("pair", kind::STRUCT, 8, &[("first", word, 0), ("second", typedef, 32)]);
    let either = types.record("", kind::UNION, 4, &[("timeout", word, 0), ("port", short, 0)]);
    let pointer = types.add("", kind::PTR, 0, inner, &[]);
    let whole = types.record(
        "everything",
        kind::STRUCT,
        72,
        &[
            ("count", typedef, 0),
            ("reason", reason, 32),
            ("mac", mac, 64),
            ("low", byte, 3 << 24 | 112),
            ("high", short, 13 << 24 | 115),
            ("name", text, 128),
            ("weight", long, 192),
            ("limits", two, 256),
            ("pair", inner, 320),
            ("", either, 384),
            ("next", pointer, 448),
            ("enabled", truth, 512),
        ],
    );
    (types, whole)
}

fn layout() -> Layout {
    let (types, whole) = everything();
    types.layout(whole, 72)
}

fn number(number: i128) -> FixtureValue {
    FixtureValue::Integer(number)
}

fn text(text: &str) -> FixtureValue {
    FixtureValue::Text(text.to_owned())
}

/// Fields, each in a line of its own.
fn fields(fields: &[(&str, FixtureValue)]) -> FixtureValue {
    let each = (1..).zip(fields);
    let each =
        each.map(|(line, (name, value))| ((*name).to_owned(), Spot { line, column: 1 }, value.clone()));
    FixtureValue::Fields(each.collect())
}

struct Numbers;

impl Names for Numbers {
    fn resolve(&self, text: &str, size: usize) -> Option<Result<Vec<u8>, String>> {
        match text.strip_prefix("port:")? {
            "tester" => Some(Err("it is in another namespace".to_owned())),
            number => Some(Ok(number.bytes().map(|digit| digit - b'0').cycle().take(size).collect())),
        }
    }
}

#[test]
fn a_type_is_described_by_its_names() {
    let layout = layout();
    assert_eq!(
        layout.describe(),
        "struct everything { count: __u32, reason: enum reason, mac: unsigned char[6], low: 3 bits, high: 13 bits, \
         name: char[8], weight: long long, limits: unsigned int[2], .. }"
    );
    let names =
        ["count", "reason", "mac", "low", "high", "name", "weight", "limits", "pair", "timeout", "port"];
    assert_eq!(layout.fields()[..11], names);
    assert_eq!((layout.size(), layout.is_typed()), (72, true));
}

#[test]
fn bytes_of_any_value_are_the_value_again() {
    let layout = layout();
    for seed in 0..500 {
        let mut draws = fastrand::Rng::with_seed(seed);
        let mut bytes = vec![0; 72];
        for byte in &mut bytes {
            *byte = if draws.bool() { 0 } else { draws.u8(..) };
        }
        // Padding is no field.
        bytes[52..56].fill(0);
        let value = layout.value(&bytes);
        assert_eq!(layout.compare(&value, &bytes, &()).unwrap(), [], "{}", layout.render(&bytes));
        let again = layout.encode(&value, &()).unwrap();
        assert_eq!(again[..65], bytes[..65], "{}", layout.render(&bytes));
    }
}

#[test]
fn fields_that_are_not_named_are_zero_and_are_not_compared() {
    let layout = layout();
    let value = fields(&[
        ("count", number(5)),
        ("reason", text("REASON_POLICY")),
        ("mac", text("02:00:00:00:00:07")),
        ("high", number(8191)),
        ("name", text("dns")),
        ("weight", number(-2)),
        ("limits", FixtureValue::Array(vec![number(1), text("0xffffffff")])),
        ("pair", fields(&[("second", text("be:80"))])),
        ("port", number(53)),
        ("enabled", FixtureValue::Boolean(true)),
    ]);
    let bytes = layout.encode(&value, &()).unwrap();
    let rendered = "{ count = 5, reason = \"REASON_POLICY\", mac = \"hex:020000000007\", low = 0, high = 8191, \
                    name = \"dns\", weight = -2, limits = [1, 4294967295], pair = { first = 0, second = 1342177280 }, \
                    timeout = 53, next = 0, enabled = true }";
    assert_eq!(layout.render(&bytes), rendered);
    assert_eq!(layout.compare(&value, &bytes, &()).unwrap(), []);
    assert_eq!(layout.compare(&fields(&[("count", number(5))]), &bytes, &()).unwrap(), []);
}

#[test]
fn differences_are_shown_in_the_form_of_the_expectation() {
    let layout = layout();
    let bytes = layout.encode(&fields(&[("count", text("192.0.2.1")), ("high", number(4))]), &()).unwrap();
    let expected = fields(&[
        ("count", text("192.0.2.9")),
        ("high", number(3)),
        ("mac", text("hex:010000000000")),
        ("pair", fields(&[("first", text("be:80"))])),
        ("limits", FixtureValue::Array(vec![text("0x10"), number(0)])),
        ("timeout", text("port:3")),
    ]);
    let differences = layout.compare(&expected, &bytes, &Numbers).unwrap();
    let shown: Vec<String> =
        differences.iter().map(|its| format!("{}: {}, {}", its.field, its.expected, its.observed)).collect();
    assert_eq!(
        shown,
        [
            "count: 192.0.2.9, 192.0.2.1",
            "high: 3, 4",
            "mac: hex:010000000000, hex:000000000000",
            "pair.first: be:80, be:0",
            "limits[0]: 0x10, 0x0",
            "timeout: port:3 (50529027), 0",
        ]
    );
    let whole = Layout::plain("the value", 4);
    let differences = whole.compare(&number(1), &[2, 0, 0, 0], &()).unwrap();
    assert_eq!((differences[0].field.as_str(), differences[0].observed.as_str()), ("", "2"));
    assert!(whole.compare(&number(1), &[2, 0], &()).unwrap_err().message.contains("has 4 bytes, got 2"));
}

#[test]
fn an_error_has_the_position_of_its_field_the_limit_and_the_value() {
    let layout = layout();
    let pair = |value| fields(&[("first", number(1)), ("second", value)]);
    for (field, value, message, hint) in [
        ("cuont", number(1), "no field `cuont` in struct everything", Some("did you mean `count`?")),
        ("count", number(1 << 32), "`count` must be 0 to 4294967295 (__u32), got 4294967296", None),
        ("count", number(-1), "`count` must be 0 to 4294967295 (__u32), got -1", None),
        ("count", text("02:00:00:00:00:07"), "`count` has 4 bytes (__u32), a MAC address has 6", None),
        ("count", text("ten"), "`count` must be an integer (__u32), got `ten`", None),
        (
            "count",
            text("hex:00112"),
            "`count` must be pairs of hexadecimal digits after `hex:`, got `00112`",
            None,
        ),
        ("count", text("port:tester"), "`count` is `port:tester`: it is in another namespace", None),
        (
            "reason",
            text("REASON_POLICE"),
            "`reason` has no enumerator `REASON_POLICE` (enum reason)",
            Some("did you mean `REASON_POLICY`?"),
        ),
        ("mac", FixtureValue::Array(vec![number(1); 5]), "`mac` has 6 elements, got 5", None),
        ("mac", number(1), "`mac` must be an address, `hex:` or an array of 6 bytes, got 1", None),
        ("low", number(8), "`low` must be 0 to 7 (unsigned char), got 8", None),
        ("name", text("far too long"), "`name` has 8 bytes, got a text of 12", None),
        ("name", number(1), "`name` must be a text of at most 8 bytes, got 1", None),
        (
            "weight",
            text("be:-1"),
            "`weight` must be `be:0` to `be:18446744073709551615` (long long), got `be:-1`",
            None,
        ),
        (
            "limits",
            number(1),
            "`limits` must be an array of 2 unsigned int, or a table like { 0 = .. } of some, got 1",
            None,
        ),
        ("pair", pair(FixtureValue::Boolean(true)), "", None),
        ("pair", pair(text("x")), "`pair.second` must be an integer (__u32), got `x`", None),
        (
            "pair",
            number(3),
            "`pair` must be a table with fields of struct pair { first: unsigned int, second: __u32 }, got 3",
            None,
        ),
        ("enabled", number(2), "`enabled` must be 0 to 1 (_Bool), got 2", None),
        ("enabled", text("yes"), "`enabled` must be true or false, got `yes`", None),
    ] {
        let outcome = layout.encode(&fields(&[("count", number(0)), (field, value)]), &Numbers);
        let Err(error) = outcome else {
            assert_eq!(message, "", "{field}");
            continue;
        };
        assert_eq!((error.message.as_str(), error.hint.as_deref()), (message, hint));
        // The field of the inner table is its second one, too.
        assert_eq!(error.spot, Some(Spot { line: 2, column: 1 }), "{field}");
    }
    let whole = layout.encode(&number(1), &()).unwrap_err();
    assert_eq!(whole.spot, None);
    assert!(
        whole.message.starts_with("the value (struct everything) must be a table with fields of "),
        "{whole}"
    );
}

#[test]
fn a_union_takes_one_of_its_fields_and_a_structure_of_one_number_is_that_number() {
    let mut types = Types::new();
    let word = types.int("unsigned int", 4, 0);
    let either = types.record("either", kind::UNION, 4, &[("one", word, 0), ("other", word, 0)]);
    let only = types.record("only", kind::STRUCT, 4, &[("number", word, 0)]);
    let single = types.array(only, 1);
    let both = fields(&[("one", number(1)), ("other", number(2))]);
    let either = types.layout(either, 4);
    let refused = either.encode(&both, &()).unwrap_err();
    assert_eq!((refused.hint.as_deref(), refused.spot.unwrap().line), (Some("leave out `other`"), 2));
    assert_eq!(either.compare(&both, &[1, 0, 0, 0], &()).unwrap().len(), 1);
    assert_eq!(either.render(&[7, 0, 0, 0]), "{ one = 7 }");
    for id in [only, single] {
        let layout = types.layout(id, 4);
        assert_eq!(layout.encode(&number(5), &()).unwrap(), [5, 0, 0, 0]);
        assert_eq!(layout.encode(&text("192.0.2.1"), &()).unwrap(), [192, 0, 2, 1]);
        assert_eq!(layout.encode(&text("be:80"), &()).unwrap(), [0, 0, 0, 80]);
    }
}

#[test]
fn bytes_without_types_are_integers_addresses_or_digits() {
    let key = Layout::plain("the key", 4);
    for (value, bytes) in [
        (number(258), [2, 1, 0, 0]),
        (number(-1), [255; 4]),
        (text("0xff"), [255, 0, 0, 0]),
        (text("be:258"), [0, 0, 1, 2]),
        (text("192.0.2.1"), [192, 0, 2, 1]),
        (text("hex:01020304"), [1, 2, 3, 4]),
        (text("port:12"), [1, 2, 1, 2]),
        (FixtureValue::Array(vec![number(1), number(2), number(3), number(4)]), [1, 2, 3, 4]),
        (FixtureValue::Boolean(true), [1, 0, 0, 0]),
    ] {
        assert_eq!(key.encode(&value, &Numbers).unwrap(), bytes, "{value:?}");
    }
    let refused = key.encode(&text("hex:001122334455"), &()).unwrap_err();
    assert_eq!(refused.message, "the key has 4 bytes, got 6");
    let refused = key.encode(&fields(&[("addr", number(1))]), &()).unwrap_err().to_string();
    let expected =
        "the key must be an integer or `hex:` with 4 bytes, got a table; the object has no types (BTF) of it";
    assert_eq!(refused, expected);
    let long = Layout::plain("the value", 100);
    assert!(
        long.encode(&number(1), &())
            .unwrap_err()
            .message
            .starts_with("the value must be `hex:` with 100 bytes")
    );
    assert_eq!(
        Layout::plain("the value", 1000).render(&[0; 1000]).len(),
        "\"hex:..\" (1000 bytes)".len() + 512
    );
}

#[test]
fn a_number_of_128_bits_takes_any_integer() {
    let mut types = Types::new();
    let [signed, unsigned] = [1, 0].map(|encoding| types.int("__int128", 16, encoding));
    for (id, value) in [(signed, i128::MIN), (unsigned, i128::MAX), (signed, -1)] {
        let layout = types.layout(id, 16);
        assert_eq!(layout.encode(&number(value), &()).unwrap(), value.to_le_bytes());
    }
    assert_eq!(types.layout(signed, 16).encode(&text("2001:db8::1"), &()).unwrap()[..2], [0x20, 1]);
}

#[test]
fn the_key_of_a_trie_is_a_prefix() {
    let mut types = Types::new();
    let word = types.int("unsigned int", 4, 0);
    let key = types.record("prefix", kind::STRUCT, 8, &[("prefixlen", word, 0), ("address", word, 32)]);
    let layout = types.layout(key, 8);
    let bytes = layout.encode(&text("192.0.2.0/24"), &()).unwrap();
    assert_eq!(bytes, [24, 0, 0, 0, 192, 0, 2, 0]);
    let named = fields(&[("prefixlen", number(24)), ("address", text("192.0.2.0"))]);
    assert_eq!(layout.encode(&named, &()).unwrap(), bytes);
    let refused = layout.encode(&text("2001:db8::/32"), &()).unwrap_err().message;
    assert!(refused.contains("an IPv6 prefix (its length in 4 bytes, and the address) has 20"), "{refused}");
}

#[test]
fn sums_and_differences_are_of_each_number_in_its_width() {
    let layout = layout();
    let encode = |count, high, name| {
        let named = [("count", number(count)), ("high", number(high)), ("name", text(name))];
        layout.encode(&fields(&named), &()).unwrap()
    };
    let sum =
        layout.sum(&[encode(1, 8000, ""), encode(i128::from(u32::MAX), 200, "dns"), encode(7, 0, "ntp")]);
    assert_eq!(layout.compare(&fields(&[("count", number(7)), ("high", number(8))]), &sum, &()).unwrap(), []);
    assert_eq!(layout.compare(&fields(&[("name", text("dns")), ("low", number(0))]), &sum, &()).unwrap(), []);
    let difference = layout.difference(&encode(5, 9, "a"), &encode(3, 9, "b"));
    let signed = layout.of_differences();
    let expected = fields(&[("count", number(-2)), ("high", number(0)), ("name", text("b"))]);
    assert_eq!(signed.compare(&expected, &difference, &()).unwrap(), []);
    let plain = Layout::plain("the value", 8);
    let [before, after] = [u64::MAX, 3].map(u64::to_le_bytes);
    assert_eq!(plain.of_differences().render(&plain.difference(&before, &after)), "4");
    assert_eq!(plain.of_differences().render(&plain.difference(&after, &before)), "-4");
    assert_eq!(plain.sum(&[vec![1; 8], vec![1; 3]]), vec![1; 8]);
}

#[test]
fn types_without_end_and_types_that_contradict_themselves_are_bytes() {
    let mut types = Types::new();
    let word = types.int("unsigned int", 4, 0);
    let itself = types.record("itself", kind::STRUCT, 8, &[("again", 2, 0)]);
    let mut twice = word;
    for _ in 0..14 {
        let members: Vec<(&str, u32, u32)> = (0..8).map(|_| ("member", twice, 0)).collect();
        twice = types.record("twice", kind::STRUCT, 8, &members);
    }
    let outside = types.record("outside", kind::STRUCT, 4, &[("number", word, 8)]);
    let shifted = types.record("shifted", kind::STRUCT, 8, &[("number", word, 3)]);
    let bits = types.record("bits", kind::STRUCT, 8, &[("pair", itself, 3 << 24)]);
    let fraction = types.add("double", kind::FLOAT, 0, 8, &[]);
    let long_name = types.record(&"x".repeat(600), kind::STRUCT, 4, &[("number", word, 0)]);
    let wide = types.record("wide", kind::STRUCT, 64, &[("number", word, 255 << 24)]);
    let empty = types.add("empty", kind::ENUM, 0, 0, &[]);
    for (id, size, reason) in [
        (wide, 64, "contradict themselves"),
        (empty, 0, "contradict themselves"),
        (itself, 8, "nested too deeply"),
        (twice, 8, "more than 4096 fields"),
        (outside, 4, "contradict themselves"),
        (shifted, 8, "contradict themselves"),
        (bits, 8, "nested too deeply"),
        (long_name, 4, "contradict themselves"),
        (word, 8, "has another size"),
        (0, 8, "contradict themselves"),
        (9999, 8, "contradict themselves"),
    ] {
        let layout = types.layout(id, size);
        let hint = layout.encode(&fields(&[]), &()).unwrap_err().hint.unwrap();
        assert!(!layout.is_typed() && hint.contains(reason), "{id}: {hint}");
    }
    assert_eq!(types.layout(fraction, 8).render(&[0; 8]), "0");
}

/// Types of an object are whatever its file says.
#[test]
fn damaged_types_never_panic() {
    let (types, whole) = everything();
    let original = types.bytes();
    let mut parsed = 0;
    for seed in 0..3000 {
        let mut draws = fastrand::Rng::with_seed(seed);
        let mut bytes = original.clone();
        for _ in 0..draws.usize(1..=4) {
            let place = draws.usize(24..bytes.len());
            bytes[place] = if draws.bool() { draws.u8(..) } else { bytes[place] ^ 1 << draws.u8(..8) };
        }
        let Some(types) = Btf::parse(&bytes) else { continue };
        parsed += 1;
        for id in 0..=whole {
            let Some(size) = types.size(id).and_then(|size| usize::try_from(size).ok()) else { continue };
            if size > 1 << 16 {
                continue;
            }
            let layout = Layout::of_type(&types, id, "the value", size);
            let bytes: Vec<u8> = (0..size).map(|_| draws.u8(..)).collect();
            let value = layout.value(&bytes);
            let _names = (layout.describe(), layout.render(&bytes), layout.fields().len());
            let _fits = (layout.encode(&value, &()).is_ok(), layout.compare(&value, &bytes, &()).is_ok());
            let _sum =
                layout.of_differences().difference(&layout.sum(&[bytes.clone(), bytes.clone()]), &bytes);
        }
    }
    assert!(parsed > 500, "{parsed}");
}
