//! Programs with maps and global variables: set before they run, read afterwards, by the names of their fields.
//!
//! Ignored without privilege, as in `conformance.rs`, and without clang.

#[path = "../support/objects.rs"]
mod objects;
#[path = "../support/privilege.rs"]
mod privilege;
#[path = "../support/threads.rs"]
mod threads;

mod damaged;
mod existing;
mod fields;
mod shapes;

use std::process::ExitCode;

use libtest_mimic::{Failed, Trial as Test};
use objects::{Compiled, clang::compiler};
use xdproof::program::{FieldDifference, LoadSetUp, Object, Program, ProgramMap};
use xdproof_scenarios::fixture::{FixtureValue, Spot};

type Result<T = (), E = Failed> = std::result::Result<T, E>;
type Case = (&'static str, fn() -> Result);

/// A frame of UDP over IPv4 to 192.0.2.10.
const FRAME: [u8; 60] = frame();

fn main() -> ExitCode {
    let arguments = threads::arguments();
    let obstacle = privilege::obstacle().or_else(|| compiler().err());
    let case = |&(name, test): &Case| Test::test(name, test);
    let cases = fields::CASES.iter().chain(existing::CASES).chain(damaged::CASES).map(case);
    let shapes = shapes::SHAPES.iter().map(|shape| Test::test(shape.name, || shape.check()));
    let privileged = cases.chain(shapes).map(|test| test.with_ignored_flag(obstacle.is_some()));
    let others = damaged::UNPRIVILEGED.iter().map(case);
    let others = others.map(|test| test.with_ignored_flag(compiler().is_err()));
    let tests = privileged.chain(others).collect();
    let conclusion = libtest_mimic::run(&arguments, tests);
    privilege::conclude(&arguments, obstacle.as_deref(), &conclusion)
}

const fn frame() -> [u8; 60] {
    let mut frame = [0; 60];
    (frame[12], frame[13], frame[14]) = (8, 0, 0x45);
    (frame[23], frame[30], frame[31], frame[32], frame[33]) = (17, 192, 0, 2, 10);
    frame
}

/// Parses a value of a document.
fn value(text: &str) -> Result<FixtureValue> {
    let table: toml::Table = format!("value = {text}").parse()?;
    Ok(of_document(&table["value"]))
}

fn of_document(value: &toml::Value) -> FixtureValue {
    match value {
        toml::Value::Integer(number) => FixtureValue::Integer((*number).into()),
        toml::Value::Boolean(truth) => FixtureValue::Boolean(*truth),
        toml::Value::Array(values) => FixtureValue::Array(values.iter().map(of_document).collect()),
        toml::Value::Table(fields) => FixtureValue::Fields(
            fields.iter().map(|(name, value)| (name.clone(), Spot::default(), of_document(value))).collect(),
        ),
        other => FixtureValue::Text(other.as_str().unwrap_or_default().to_owned()),
    }
}

fn named(object: Object, program: &str) -> Object {
    Object { program: Some(program.to_owned()), ..object }
}

fn load(program: &str, globals: &[(&str, &str)]) -> Result<Program> {
    let compiled = Compiled::from_source("maps.c", &[])?;
    let globals = globals.iter().map(|(name, text)| Ok(((*name).to_owned(), Spot::default(), value(text)?)));
    let set_up = LoadSetUp { globals: globals.collect::<Result<_>>()?, ..LoadSetUp::default() };
    Ok(Program::load_with(&named(compiled.object(), program), &set_up)?)
}

fn run(program: &Program) -> Result<u32> {
    let mut out = [0; 2048];
    Ok(program.test_run(&FRAME, &mut out)?.action)
}

fn set(map: &ProgramMap, key: &str, text: &str) -> Result {
    Ok(map.update(&map.key.encode(&value(key)?, &())?, &map.value.encode(&value(text)?, &())?)?)
}

/// Returns the only value of a key, or the sum of those of all CPUs.
fn read(map: &ProgramMap, key: &str) -> Result<Vec<u8>> {
    let values = map.lookup(&map.key.encode(&value(key)?, &())?)?.ok_or("there is no such key")?;
    Ok(if map.per_cpu { map.value.sum(&values) } else { values[0].clone() })
}

fn compare(map: &ProgramMap, key: &str, expected: &str) -> Result<Vec<FieldDifference>> {
    Ok(map.value.compare(&value(expected)?, &read(map, key)?, &())?)
}

fn expect(what: &str, found: impl AsRef<str>) -> Result {
    let found = found.as_ref();
    if found == what { Ok(()) } else { Err(format!("expected `{what}`, got `{found}`").into()) }
}
