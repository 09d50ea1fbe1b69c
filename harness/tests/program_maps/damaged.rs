//! Objects that are damaged, or not what a survey expects: an error, and no panic.

use xdproof::program::{LoadSetUp, Object, Program, survey};

use crate::{Case, Compiled, Result, fields, named, value};

pub(crate) const CASES: &[Case] = &[("a_damaged_object_is_an_error_or_is_loaded", loaded)];

/// These need a compiler only.
pub(crate) const UNPRIVILEGED: &[Case] = &[
    ("an_object_is_surveyed_without_being_loaded", fields::surveyed),
    ("a_damaged_object_is_surveyed_or_an_error", surveyed),
];

const KINDS: [(&str, &[&str]); 6] = [
    ("maps.c", &[]),
    ("shapes.c", &["TIMER"]),
    ("shapes.c", &["OF_MAPS=BPF_MAP_TYPE_HASH_OF_MAPS"]),
    ("shapes.c", &["DEVICES=BPF_MAP_TYPE_DEVMAP"]),
    ("shapes.c", &["LEGACY"]),
    ("counter.c", &["GLOBALS", "CORE", "SUBPROGRAM"]),
];

/// Calls `each` with damaged objects of every kind. `XDPROOF_DAMAGED` sets their number.
fn each_damaged(number: u64, each: impl Fn(&Object) -> bool) -> Result {
    let number =
        std::env::var("XDPROOF_DAMAGED").ok().map(|count| count.parse()).transpose()?.unwrap_or(number);
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("damaged.o");
    let originals: Vec<Vec<u8>> = KINDS
        .iter()
        .map(|(source, defines)| Ok(std::fs::read(Compiled::from_source(source, defines)?.path())?))
        .collect::<Result<_>>()?;
    let (mut taken, mut refused) = (0, 0);
    for seed in 0..number {
        let mut draws = fastrand::Rng::with_seed(seed);
        let mut bytes = originals[draws.usize(..originals.len())].clone();
        let from = draws.usize(..bytes.len());
        let reach = if draws.bool() { bytes.len() - from } else { (bytes.len() - from).min(256) };
        for _ in 0..draws.usize(1..=8) {
            let place = from + draws.usize(..reach);
            bytes[place] = if draws.bool() { draws.u8(..) } else { bytes[place] ^ 1 << draws.u8(..8) };
        }
        std::fs::write(&path, &bytes)?;
        let is_taken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| each(&Object::file(&path))));
        if is_taken.map_err(|_| format!("seed {seed} panics"))? {
            taken += 1;
        } else {
            refused += 1;
        }
    }
    if taken > 0 && refused > 0 { Ok(()) } else { Err(format!("{taken} taken, {refused} refused").into()) }
}

fn surveyed() -> Result {
    each_damaged(3000, |object| survey(object).is_ok())
}

fn loaded() -> Result {
    let globals = vec![("counter".to_owned(), Default::default(), value("7")?)];
    let programs = ["behind".to_owned()].into();
    let set_up = LoadSetUp { globals, programs, reuse_pins: true, ..LoadSetUp::default() };
    each_damaged(400, |object| {
        let any = |set_up| {
            ["count", "shape", "count_by_protocol"]
                .iter()
                .find_map(|program| Program::load_with(&named(object.clone(), program), set_up).ok())
        };
        let Some(program) = any(&LoadSetUp::default()).or_else(|| any(&set_up)) else { return false };
        for map in program.maps() {
            let _shown = (map.key.describe(), map.value.describe());
            for (key, values) in map.contents().unwrap_or_default().iter().take(16) {
                let _rendered = (map.key.render(key), map.value.render(&map.value.sum(values)));
            }
        }
        for name in program.globals() {
            let _read = program.global(name).map(|global| global.read());
        }
        true
    })
}
