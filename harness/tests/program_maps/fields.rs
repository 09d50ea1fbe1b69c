//! Fields of keys, values and variables, and the context of a frame.

use xdproof::program::{LoadSetUp, Program, TestContext, survey};

use crate::{Case, Compiled, FRAME, Failed, Result, compare, expect, load, named, read, run, set, value};

pub(crate) const CASES: &[Case] = &[
    ("fields_are_set_and_compared_by_their_names", fields),
    ("a_per_cpu_value_is_summed_and_its_growth_is_a_difference", per_cpu),
    ("global_variables_are_set_before_and_read_after_the_run", globals),
    ("a_frame_has_the_context_that_it_is_given", context),
    ("an_error_says_what_is_there", errors),
    ("a_program_that_a_slot_holds_is_known_by_its_name", slots),
];

fn fields() -> Result {
    let program = load("count", &[])?;
    let services = program.map("services")?;
    let key = "{ addr = '192.0.2.10', port = 'be:53', protocol = 17 }";
    let text = "{ backend = 2, reason = 'REASON_POLICY', mac = '02:00:00:00:00:07', name = 'dns', enabled = true, \
                timeout = 30, low = 5, high = 17, weight = -3 }";
    set(services, key, text)?;
    if run(&program)? != 1 {
        return Err("the entry is not found by the program".into());
    }
    let after = "{ backend = 3, reason = \"REASON_POLICY\", mac = \"hex:020000000007\", name = \"dns\", enabled = true, \
                 timeout = 30, low = 5, high = 17, weight = -3 }";
    expect(after, services.value.render(&read(services, key)?))?;
    if services.value.encode(&services.value.value(&read(services, key)?), &())? != read(services, key)? {
        return Err("the value of the bytes is not the bytes again".into());
    }
    if !compare(services, key, "{ backend = 3, low = 5, ports = [30, 0] }")?.is_empty() {
        return Err("the fields that are as expected differ".into());
    }
    let differences =
        compare(services, key, "{ backend = 2, mac = '02:00:00:00:00:08', high = 1, ports = [30, 9] }")?;
    let shown: Vec<String> =
        differences.iter().map(|its| format!("{}: {} / {}", its.field, its.expected, its.observed)).collect();
    let wanted = "backend: 2 / 3, high: 1 / 17, mac: 02:00:00:00:00:08 / 02:00:00:00:00:07, ports[1]: 9 / 0";
    expect(wanted, shown.join(", "))?;
    let differences = compare(services, key, "{ ports = { 1 = 9 }, mac = 'hex:0200 0000 0007' }")?;
    let shown = differences.iter().map(|its| format!("{}: {} / {}", its.field, its.expected, its.observed));
    expect("ports[1]: 9 / 0", shown.collect::<String>())?;
    expect("1", services.count()?.to_string())?;
    if !services.delete(&services.key.encode(&value(key)?, &())?)? || run(&program)? != 2 {
        return Err("the entry is still there".into());
    }
    Ok(())
}

fn per_cpu() -> Result {
    let program = load("count", &[])?;
    let stats = program.map("stats")?;
    let before = read(stats, "2")?;
    for _ in 0..3 {
        run(&program)?;
    }
    let after = read(stats, "2")?;
    expect("{ packets = 3, bytes = 180 }", stats.value.render(&after))?;
    expect("{ packets = 3, bytes = 180 }", stats.value.render(&stats.value.difference(&before, &after)))?;
    let fallen = stats.value.of_differences().render(&stats.value.difference(&after, &before));
    expect("{ packets = -3, bytes = -180 }", fallen)?;
    // Every CPU has what is set.
    set(stats, "2", "{ packets = 1 }")?;
    let cpus = stats.lookup(&[2, 0, 0, 0])?.ok_or("no value")?.len();
    expect(&format!("{{ packets = {cpus}, bytes = 0 }}"), stats.value.render(&read(stats, "2")?))?;
    expect("1", stats.count()?.to_string())?;
    expect("5", stats.keys()?.len().to_string())
}

fn globals() -> Result {
    let program =
        load("count", &[("action", "1"), ("config", "{ limits = [0, 9] }"), ("previous", "0xffff")])?;
    if run(&program)? != 1 {
        return Err("the variable does not have its value".into());
    }
    let shown = |name: &str| -> Result<String> {
        let global = program.global(name)?;
        Ok(global.layout.render(&global.read()?))
    };
    expect("1", shown("counter")?)?;
    expect("{ packets = 109, bytes = 0 }", shown("all")?)?;
    // Fields that are not named are 0, whatever the object has there.
    expect("{ timeout = 0, limits = [0, 9] }", shown("config")?)?;
    expect("0", shown("previous")?)?;
    expect(
        "{ packets = 1, bytes = 60 }",
        program.map("stats")?.value.render(&read(program.map("stats")?, "1")?),
    )
}

fn context() -> Result {
    let program = load("context", &[])?;
    let mut out = [0; 128];
    let metadata = vec![4, 3, 2, 1, 0, 0, 0, 0];
    let given = TestContext { ingress_ifindex: 1, rx_queue: 0, metadata };
    let ran = program.test_run_with(&FRAME, &given, &mut out)?;
    if ran.action != 3 || ran.length != FRAME.len() || out[..60] != FRAME {
        return Err(format!("got {ran:?}").into());
    }
    let bytes = program.global("all")?.read()?;
    expect("{ packets = 100, bytes = 16909060 }", program.global("all")?.layout.render(&bytes))?;
    expect("1", program.global("counter")?.read()?[0].to_string())?;
    let beyond = TestContext { rx_queue: 9999, ..given };
    match program.test_run_with(&FRAME, &beyond, &mut out) {
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => Ok(()),
        other => Err(format!("a queue that does not exist: {other:?}").into()),
    }
}

fn errors() -> Result {
    let program = load("count", &[])?;
    let said = |error: String, parts: &[&str]| match parts.iter().find(|part| !error.contains(**part)) {
        Some(part) => Err(Failed::from(format!("`{error}` does not say `{part}`"))),
        None => Ok(()),
    };
    let no_map = program.map("stast").map(drop).map_err(|error| error.to_string());
    said(no_map.err().unwrap_or_default(), &["no map `stast`", "did you mean `stats`?"])?;
    let no_global = load("count", &[("counterr", "1")]).map(drop);
    said(
        no_global.err().unwrap_or("loaded".into()).message().unwrap_or("").to_owned(),
        &["no global variable `counterr`", "did you mean `counter`?"],
    )?;
    let stats = program.map("stats")?;
    for (layout, text, part) in [
        (&stats.value, "{ pakets = 1 }", "no field `pakets` in struct datarec; did you mean `packets`?"),
        (&stats.value, "{ packets = -1 }", "`packets` must be 0 to 18446744073709551615"),
        (
            &stats.value,
            "7",
            "must be a table with fields of struct datarec { packets: __u64, bytes: __u64 }, got 7",
        ),
        (&stats.key, "'hex:001122334455'", "has 4 bytes, got 6"),
        (&program.map("services")?.key, "{ port = 'be:70000' }", "`port` must be `be:0` to `be:65535`"),
        (&program.map("services")?.value, "{ reason = 'REASON_POLICI' }", "did you mean `REASON_POLICY`?"),
        (&program.map("services")?.value, "{ name = 'a much too long name' }", "`name` has 10 bytes"),
        (&program.map("services")?.value, "{ low = 8 }", "`low` must be 0 to 7"),
        (
            &program.map("services")?.value,
            "{ ports = { 2 = 1 } }",
            "`ports` has 2 elements, from 0 on, and no 2",
        ),
        (
            &program.map("services")?.value,
            "{ ports = 1 }",
            "an array of 2 __u16, or a table like { 0 = .. } of some",
        ),
        (&program.map("seen")?.key, "'hex:00'", "the key has 6 bytes, got 1"),
    ] {
        let error = layout.encode(&value(text)?, &()).map(drop).map_err(|error| error.to_string());
        said(error.err().unwrap_or("it is taken".to_owned()), &[part])?;
    }
    Ok(())
}

/// The object fills the slot of the program array itself.
fn slots() -> Result {
    let compiled = Compiled::new(&["TAIL"])?;
    let program = Program::load_with(&named(compiled.object(), "entry"), &LoadSetUp::default())?;
    let table = program.map("table")?;
    let held = value("\"program:count_by_protocol\"")?;
    let key = table.keys()?.into_iter().next().ok_or("the program array is empty")?;
    let values = table.lookup(&key)?.ok_or("no value")?;
    if !table.value.compare(&held, &values[0], &program.names_to_read())?.is_empty() {
        return Err("the slot holds another program".into());
    }
    table.delete(&key)?;
    expect("0", table.count()?.to_string())?;
    table.update(&key, &table.value.encode(&held, &program.names_to_write())?)?;
    expect("1", table.count()?.to_string())
}

pub(crate) fn surveyed() -> Result {
    let survey = survey(&Compiled::from_source("maps.c", &[])?.object())?;
    let count = survey.programs.iter().find(|program| program.name == "count").ok_or("no program `count`")?;
    expect("bpf_map_lookup_elem", count.helpers.join(" "))?;
    expect("services stats totals", count.maps.join(" "))?;
    let maps: Vec<String> = survey
        .maps
        .iter()
        .map(|map| {
            format!("{}: {} of {}, {}", map.name, map.kind, map.key.as_deref().unwrap_or(""), map.value)
        })
        .collect();
    let expected = "seen: lru_hash of 6 bytes, 4 bytes\n\
                    services: hash of struct flow { addr: __be32, port: __be16, protocol: __u8 }, struct service { \
                    backend: __u32, reason: enum reason, mac: unsigned char[6], name: char[10], enabled: _Bool, \
                    timeout: __u32 or ports: __u16[2], low: 3 bits, high: 5 bits, .. }\n\
                    stats: percpu_array of __u32, struct datarec { packets: __u64, bytes: __u64 }\n\
                    totals: array of __u32, __u64";
    expect(expected, maps.join("\n"))?;
    let globals: Vec<String> =
        survey.globals.iter().map(|its| format!("{} {} {}", its.section, its.name, its.kind)).collect();
    let listed = ".rodata action __u32, .rodata config struct config, \
                  .data all struct datarec, .data previous __u32, .bss counter __u64";
    expect(listed, globals.join(", "))?;
    expect("GPL", survey.license)
}
