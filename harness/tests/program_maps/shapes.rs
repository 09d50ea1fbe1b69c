//! Programs in the shapes that people have them in: each is loaded, run and read, or refused in a sentence.

use xdproof::program::{LoadSetUp, Program, ProgramError, ProgramMap};

use crate::{Compiled, Failed, Result, expect, named, run, value};

/// A shape of a program, the entries that are set before it runs, and what is there afterwards.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    source: &'static str,
    defines: &'static [&'static str],
    program: &'static str,
    /// Map, key and value; without a key for a queue and the like.
    set: &'static [(&'static str, &'static str, &'static str)],
    outcome: Outcome,
}

enum Outcome {
    /// The action, and entries afterwards, as those that are set.
    Runs { action: u32, after: &'static [(&'static str, &'static str, &'static str)] },
    /// Parts of the sentence with which it is refused, when it is loaded or when entries are set or read.
    Refused { parts: &'static [&'static str] },
}

const ABORTED: u32 = 0;
const DROP: u32 = 1;
const PASS: u32 = 2;
const TX: u32 = 3;
const REDIRECT: u32 = 4;

const SHAPE: Shape = Shape {
    name: "",
    source: "shapes.c",
    defines: &[],
    program: "shape",
    set: &[],
    outcome: Outcome::Runs { action: PASS, after: &[] },
};

const COUNTER: Shape = Shape {
    source: "counter.c",
    program: "count_by_protocol",
    outcome: Outcome::Runs { action: PASS, after: &[("packets", "17", "1")] },
    ..SHAPE
};

const fn runs(action: u32, after: &'static [(&'static str, &'static str, &'static str)]) -> Outcome {
    Outcome::Runs { action, after }
}

const fn refused(parts: &'static [&'static str]) -> Outcome {
    Outcome::Refused { parts }
}

const FLOW: &str = "{ to = '192.0.2.10', protocol = 17 }";

pub(crate) const SHAPES: &[Shape] = &[
    Shape {
        name: "shape_a_hash_by_5_tuple",
        defines: &["HASH=BPF_MAP_TYPE_HASH"],
        set: &[("flows", FLOW, "{ packets = 7 }")],
        outcome: runs(PASS, &[("flows", FLOW, "{ packets = 8, bytes = 0 }")]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_hash_that_is_not_preallocated",
        defines: &["HASH=BPF_MAP_TYPE_HASH", "FLAGS=BPF_F_NO_PREALLOC"],
        outcome: runs(PASS, &[("flows", FLOW, "{ packets = 1, bytes = 60 }")]),
        ..SHAPE
    },
    Shape {
        name: "shape_an_lru_hash",
        defines: &["HASH=BPF_MAP_TYPE_LRU_HASH"],
        outcome: runs(PASS, &[("flows", FLOW, "{ packets = 1, bytes = 60 }")]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_per_cpu_hash",
        defines: &["HASH=BPF_MAP_TYPE_PERCPU_HASH"],
        outcome: runs(PASS, &[("flows", FLOW, "{ packets = 1, bytes = 60 }")]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_per_cpu_lru_hash",
        defines: &["HASH=BPF_MAP_TYPE_LRU_PERCPU_HASH"],
        outcome: runs(PASS, &[("flows", FLOW, "{ packets = 1, bytes = 60 }")]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_trie_of_prefixes",
        defines: &["TRIE"],
        set: &[
            ("routes", "'192.0.2.0/24'", "'XDP_DROP'"),
            ("routes", "{ prefixlen = 32, address = '192.0.2.10' }", "'XDP_TX'"),
        ],
        outcome: runs(TX, &[("routes", "'192.0.2.0/24'", "1")]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_trie_without_types",
        defines: &["TRIE", "UNTYPED"],
        set: &[("routes", "{ prefixlen = 24, data = '192.0.2.0' }", "1")],
        outcome: runs(DROP, &[("routes", "'192.0.2.0/24'", "1")]),
        ..SHAPE
    },
    Shape {
        name: "shape_an_array_of_maps",
        defines: &["OF_MAPS=BPF_MAP_TYPE_ARRAY_OF_MAPS"],
        set: &[("inner_two", "0", "3"), ("outer", "2", "'map:inner_two'")],
        outcome: runs(TX, &[("outer", "2", "'map:inner_two'"), ("inner_one", "0", "0")]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_hash_of_maps",
        defines: &["OF_MAPS=BPF_MAP_TYPE_HASH_OF_MAPS"],
        set: &[("inner_one", "0", "1"), ("outer", "2", "'map:inner_one'")],
        outcome: runs(DROP, &[("outer", "2", "'map:inner_one'")]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_map_of_maps_with_a_map_that_there_is_not",
        defines: &["OF_MAPS=BPF_MAP_TYPE_HASH_OF_MAPS"],
        set: &[("outer", "2", "'map:inner_oen'")],
        outcome: refused(&["is `map:inner_oen`: no map `inner_oen`", "did you mean `inner_one`?"]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_devmap_with_a_program_behind_an_entry",
        defines: &["DEVICES=BPF_MAP_TYPE_DEVMAP"],
        set: &[("ports", "2", "{ ifindex = 1, bpf_prog = { fd = 'program:behind' } }")],
        outcome: runs(REDIRECT, &[("ports", "2", "{ ifindex = 1, bpf_prog = { id = 'program:behind' } }")]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_devmap_hash",
        defines: &["DEVICES=BPF_MAP_TYPE_DEVMAP_HASH"],
        set: &[("ports", "2", "{ ifindex = 1 }")],
        outcome: runs(REDIRECT, &[("ports", "2", "{ ifindex = 1 }")]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_devmap_without_types",
        defines: &["DEVICES=BPF_MAP_TYPE_DEVMAP", "VALUE_SIZE=8"],
        set: &[("ports", "2", "{ ifindex = 1, bpf_prog = 'program:behind' }")],
        outcome: runs(REDIRECT, &[("ports", "2", "{ bpf_prog = 'program:behind' }")]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_devmap_of_indices",
        defines: &["DEVICES=BPF_MAP_TYPE_DEVMAP", "VALUE_SIZE=4"],
        set: &[("ports", "2", "1")],
        outcome: runs(REDIRECT, &[("ports", "2", "1")]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_devmap_with_a_program_that_is_not_for_it",
        defines: &["DEVICES=BPF_MAP_TYPE_DEVMAP"],
        set: &[("ports", "2", "{ ifindex = 1, bpf_prog = 'program:shape' }")],
        outcome: refused(&["the program is not in SEC(\"xdp/devmap\")"]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_cpumap_with_a_program_behind_an_entry",
        defines: &["CPUS"],
        set: &[("cpus", "0", "{ qsize = 192, bpf_prog = { fd = 'program:behind' } }")],
        outcome: runs(REDIRECT, &[("cpus", "0", "{ qsize = 192, bpf_prog = { id = 'program:behind' } }")]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_map_whose_entries_the_own_loader_counts",
        defines: &["HASH=BPF_MAP_TYPE_HASH", "UNSIZED"],
        outcome: runs(PASS, &[("flows", FLOW, "{ packets = 1, bytes = 60 }")]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_cpumap_whose_entries_the_own_loader_counts",
        defines: &["CPUS", "UNSIZED"],
        set: &[("cpus", "0", "{ qsize = 192 }")],
        outcome: runs(REDIRECT, &[("cpus", "0", "{ qsize = 192 }")]),
        ..SHAPE
    },
    Shape { name: "shape_an_xskmap_is_loaded", defines: &["SOCKETS"], ..SHAPE },
    Shape {
        name: "shape_the_sockets_of_an_xskmap_are_refused",
        defines: &["SOCKETS"],
        set: &[("sockets", "0", "3")],
        outcome: refused(&["map `sockets` is a xskmap", "an AF_XDP socket belongs to a process"]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_program_array_that_user_space_fills",
        defines: &["TAIL"],
        set: &[("table", "1", "'program:next'")],
        outcome: runs(TX, &[("table", "1", "'program:next'")]),
        ..SHAPE
    },
    Shape { name: "shape_an_empty_program_array", defines: &["TAIL"], outcome: runs(ABORTED, &[]), ..SHAPE },
    Shape {
        name: "shape_a_program_array_of_multi_buffer_programs",
        defines: &["TAIL", "SECTION=\"xdp.frags\""],
        set: &[("table", "1", "'program:next'")],
        outcome: runs(TX, &[]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_program_array_with_a_program_that_does_not_fit",
        defines: &["TAIL", "SECTION=\"xdp.frags\""],
        set: &[("table", "1", "'program:behind'")],
        outcome: refused(&["the program does not fit its other users"]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_slot_behind_the_end",
        defines: &["TAIL"],
        set: &[("table", "3", "'program:next'")],
        outcome: refused(&["its keys are 0 to 2"]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_slot_for_a_program_that_there_is_not",
        defines: &["TAIL"],
        set: &[("table", "1", "'program:nexxt'")],
        outcome: refused(&["no XDP program `nexxt`", "`next`"]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_ring_buffer_is_loaded",
        defines: &["EVENTS=BPF_MAP_TYPE_RINGBUF", "ENTRIES=4096"],
        ..SHAPE
    },
    Shape {
        name: "shape_the_records_of_a_ring_buffer_are_refused",
        defines: &["EVENTS=BPF_MAP_TYPE_RINGBUF", "ENTRIES=4096"],
        outcome: refused(&["map `events` is a ringbuf", "let the program count them"]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_perf_event_array_is_loaded",
        defines: &["EVENTS=BPF_MAP_TYPE_PERF_EVENT_ARRAY"],
        ..SHAPE
    },
    Shape {
        name: "shape_a_bloom_filter_takes_values",
        defines: &["BLOOM"],
        set: &[("blocked", "", "'192.0.2.10'")],
        outcome: runs(DROP, &[]),
        ..SHAPE
    },
    Shape {
        name: "shape_the_values_of_a_bloom_filter_are_not_listed",
        defines: &["BLOOM"],
        outcome: refused(&["map `blocked` is a bloom_filter: it cannot be listed"]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_queue",
        defines: &["QUEUE=BPF_MAP_TYPE_QUEUE"],
        set: &[("waiting", "", "3"), ("waiting", "", "1")],
        outcome: runs(TX, &[("waiting", "", "1"), ("waiting", "", "60")]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_stack",
        defines: &["QUEUE=BPF_MAP_TYPE_STACK"],
        set: &[("waiting", "", "3"), ("waiting", "", "1")],
        outcome: runs(DROP, &[("waiting", "", "60"), ("waiting", "", "3")]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_timer_in_a_value",
        defines: &["TIMER"],
        set: &[("timers", "0", "{ started = 4 }")],
        outcome: runs(PASS, &[("timers", "0", "{ started = 5 }")]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_lock_in_a_value",
        defines: &["LOCKED"],
        set: &[("counts", "7", "{ packets = 4 }")],
        outcome: runs(PASS, &[("counts", "7", "{ packets = 5 }")]),
        ..SHAPE
    },
    Shape {
        name: "shape_head_tail_and_metadata_are_moved",
        defines: &["ADJUST"],
        outcome: runs(TX, &[]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_multi_buffer_program",
        defines: &["ADJUST", "SECTION=\"xdp.frags\""],
        outcome: runs(TX, &[]),
        ..SHAPE
    },
    Shape { name: "shape_a_route_is_looked_up", defines: &["ROUTE"], ..SHAPE },
    Shape { name: "shape_functions_are_called", defines: &["FUNCTIONS"], ..SHAPE },
    Shape { name: "shape_metadata_for_libxdp", defines: &["DISPATCHED"], ..SHAPE },
    Shape {
        name: "shape_a_map_that_numbers_define",
        defines: &["LEGACY"],
        outcome: runs(PASS, &[("counts", "2", "'hex:01000000000000000000000000000000'")]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_map_that_numbers_define_without_types",
        defines: &["LEGACY", "WITHOUT_BTF"],
        outcome: runs(PASS, &[("counts", "2", "'hex:01000000000000000000000000000000'")]),
        ..SHAPE
    },
    Shape {
        name: "shape_a_license_that_is_not_gpl",
        defines: &["HASH=BPF_MAP_TYPE_HASH", "LICENSE=\"Proprietary\""],
        outcome: runs(PASS, &[("flows", FLOW, "{ packets = 1 }")]),
        ..SHAPE
    },
    Shape {
        name: "shape_no_license_and_a_helper_for_the_gpl",
        defines: &["EVENTS=BPF_MAP_TYPE_PERF_EVENT_ARRAY", "UNLICENSED"],
        outcome: refused(&["cannot call GPL-restricted function"]),
        ..SHAPE
    },
    Shape { name: "shape_a_relocation_by_the_types_of_the_kernel", defines: &["CORE"], ..COUNTER },
    Shape { name: "shape_a_function_of_the_kernel", defines: &["FUNCTION"], ..COUNTER },
    Shape { name: "shape_a_variable_of_the_kernel", defines: &["VARIABLE"], ..COUNTER },
    Shape { name: "shape_an_option_of_the_kernel", defines: &["OPTION"], ..COUNTER },
    Shape { name: "shape_global_variables", defines: &["GLOBALS"], ..COUNTER },
    Shape { name: "shape_a_function_in_another_section", defines: &["SUBPROGRAM"], ..COUNTER },
    Shape { name: "shape_a_section_of_an_own_name", defines: &["SECTION=\"xdp_stats1\""], ..COUNTER },
    Shape { name: "shape_a_program_that_is_loaded_on_request", defines: &["SECTION=\"?xdp\""], ..COUNTER },
    Shape { name: "shape_a_program_of_tc_beside", defines: &["BESIDE=\"tc\""], ..COUNTER },
    Shape { name: "shape_a_pinned_map_is_a_private_one", defines: &["PINNED"], ..COUNTER },
    Shape {
        name: "shape_a_map_in_a_map_that_the_object_fills",
        defines: &["INNER", "MAP_TYPE=BPF_MAP_TYPE_ARRAY"],
        ..COUNTER
    },
    Shape {
        name: "shape_a_program_array_that_the_object_fills",
        defines: &["TAIL"],
        program: "entry",
        ..COUNTER
    },
];

impl Shape {
    pub(crate) fn check(&self) -> Result {
        match (self.observe(), &self.outcome) {
            (Ok(()), Outcome::Runs { .. }) => Ok(()),
            (Ok(()), Outcome::Refused { .. }) => Err("it is not refused".into()),
            (Err(error), Outcome::Runs { .. }) => Err(error),
            (Err(error), Outcome::Refused { parts }) => {
                let error = error.message().unwrap_or_default().to_owned();
                match parts.iter().find(|part| !error.contains(**part)) {
                    Some(part) => Err(format!("`{error}` does not say `{part}`").into()),
                    None => Ok(()),
                }
            }
        }
    }

    fn observe(&self) -> Result {
        let compiled = Compiled::from_source(self.source, self.defines)?;
        let mut set_up = LoadSetUp::default();
        let values = self.set.iter().map(|(_, _, text)| value(text)).collect::<Result<Vec<_>>>()?;
        set_up.add_programs_of(&values);
        let program = Program::load_with(&named(compiled.object(), self.program), &set_up)?;
        for (name, key, text) in self.set {
            let map = program.map(name)?;
            let bytes = map.value.encode(&value(text)?, &program.names_to_write())?;
            map.update(&key_of(map, key)?, &bytes)?;
        }
        let Outcome::Runs { action, after } = self.outcome else {
            return program.maps().iter().try_for_each(|map| map.contents().map(drop)).map_err(Failed::from);
        };
        let returned = run(&program)?;
        if returned != action {
            return Err(format!("expected action {action}, got {returned}").into());
        }
        for (name, key, expected) in after {
            let map = program.map(name)?;
            let values = if key.is_empty() {
                vec![map.pop()?.ok_or("it is empty")?]
            } else {
                map.lookup(&key_of(map, key)?)?.ok_or(format!("no key {key}"))?
            };
            let observed = map.value.sum(&values);
            let differences = map.value.compare(&value(expected)?, &observed, &program.names_to_read())?;
            if !differences.is_empty() {
                return Err(format!("{name}: {differences:?}").into());
            }
        }
        // Every map can be listed, or says why not.
        for map in program.maps() {
            if let Err(error) = map.contents()
                && error.kind() != std::io::ErrorKind::Unsupported
            {
                return Err(format!("the contents of `{}`: {error}", map.name).into());
            }
        }
        Ok(())
    }
}

fn key_of(map: &ProgramMap, text: &str) -> Result<Vec<u8>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    Ok(map.key.encode(&value(text)?, &())?)
}

/// Pinned maps are in the one BPF file system: their names are those of this process.
pub(crate) fn pinned_map() -> Result {
    let name = format!("xdproof_test_{}", std::process::id());
    let define = format!("PINNED={name}");
    let compiled = Compiled::from_source("shapes.c", &[&define, "ENTRIES=2"])?;
    let set_up = LoadSetUp { reuse_pins: true, ..LoadSetUp::default() };
    // Nothing is pinned yet, and nothing is pinned by us.
    let first = Program::load_with(&compiled.object(), &set_up)?;
    run(&first)?;
    let path = std::path::Path::new("/sys/fs/bpf").join(&name);
    if path.exists() {
        return Err("the map was pinned".into());
    }
    let pin = crate::existing::pin(first.map(&name)?, &path)?;
    let second = Program::load_with(&compiled.object(), &set_up)?;
    run(&second)?;
    let private = Program::load_with(&compiled.object(), &LoadSetUp::default())?;
    run(&private)?;
    for (program, count) in [(&first, "2"), (&second, "2"), (&private, "1")] {
        let map = program.map(&name)?;
        expect(count, map.value.render(&map.lookup(&[0; 4])?.ok_or("no value")?[0]))?;
    }
    let other = Compiled::from_source("shapes.c", &[&define, "ENTRIES=3"])?;
    let refused = Program::load_with(&other.object(), &set_up);
    drop(pin);
    match refused {
        Err(error @ ProgramError::Pinned { .. })
            if error.to_string().contains("(entries: 2, the object's 3)") =>
        {
            Ok(())
        }
        other => Err(format!("a pinned map of another size: {other:?}").into()),
    }
}
