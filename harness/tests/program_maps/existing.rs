//! Programs that another loader has loaded, and maps that are pinned.

use std::{
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use aya::{Ebpf, maps::MapData, programs::Xdp};
use xdproof::program::{LoadSetUp, Program, ProgramError, ProgramMap};

use crate::{Case, Compiled, Result, expect, load, read, run, set, shapes};

pub(crate) const CASES: &[Case] = &[
    ("a_program_of_another_loader_is_opened_with_its_maps", pinned),
    ("a_loaded_program_is_opened_by_its_id", by_id),
    ("what_a_fixture_changes_is_put_back", restored),
    ("something_that_is_no_xdp_program_is_refused", no_program),
    ("a_map_of_a_million_entries_is_counted_and_one_of_more_is_refused", large),
    ("maps_that_user_space_cannot_read_are_left_as_they_are", unreadable),
    ("a_map_that_is_pinned_by_name_is_shared_on_request", shapes::pinned_map),
];

/// A path in the BPF file system, which is removed when this is dropped.
pub(crate) struct Pin(PathBuf);

impl Drop for Pin {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

pub(crate) fn pin(map: &ProgramMap, path: &Path) -> Result<Pin> {
    MapData::from_fd(map.as_fd().try_clone_to_owned()?)?.pin(path)?;
    Ok(Pin(path.to_owned()))
}

/// Returns a path of this process.
fn path(name: &str) -> PathBuf {
    Path::new("/sys/fs/bpf").join(format!("xdproof_{name}_{}", std::process::id()))
}

fn pinned() -> Result {
    let compiled = Compiled::from_source("maps.c", &[])?;
    let mut other = Ebpf::load_file(compiled.path())?;
    let theirs: &mut Xdp = other.program_mut("count").ok_or("no program")?.try_into()?;
    theirs.load()?;
    let path = path("program");
    theirs.pin(&path)?;
    let pin = Pin(path.clone());
    let program = Program::from_pinned(&path)?;
    drop(other);
    expect("count", &program.identity().name)?;
    set(
        program.map("services")?,
        "{ addr = '192.0.2.10', port = 'be:53', protocol = 17 }",
        "{ reason = 'REASON_POLICY' }",
    )?;
    if run(&program)? != 1 {
        return Err("the entry is not found by the program".into());
    }
    let stats = program.map("stats")?;
    expect("{ packets = 1, bytes = 60 }", stats.value.render(&read(stats, "2")?))?;
    let counter = program.global("counter")?;
    expect("__u64 1", format!("{} {}", counter.layout.describe(), counter.layout.render(&counter.read()?)))?;
    drop(program);
    if Program::from_pinned(&path)?.map("stats")?.count()? != 1 {
        return Err("the program is another one afterwards".into());
    }
    drop(pin);
    Ok(())
}

fn by_id() -> Result {
    for (section, frags) in [("xdp", false), ("xdp.frags", true)] {
        let define = format!("SECTION=\"{section}\"");
        let compiled = Compiled::from_source("shapes.c", &["ADJUST", &define])?;
        let first = Program::load_with(&compiled.object(), &LoadSetUp::default())?;
        let again = Program::from_id(first.identity().id)?;
        if again.identity() != first.identity() || again.takes_frags() != frags {
            return Err(format!("{section}: {:?}, frags {}", again.identity(), again.takes_frags()).into());
        }
    }
    // Sections of variables have their types in the kernel.
    let first = load("count", &[("previous", "9")])?;
    let again = Program::from_id(first.identity().id)?;
    let mut names: Vec<&str> = again.globals().collect();
    names.sort_unstable();
    expect("action all config counter previous", names.join(" "))?;
    let global = again.global("previous")?;
    expect("9", global.layout.render(&global.read()?))?;
    let first = Program::load_with(&Compiled::new(&["PINNED"])?.object(), &LoadSetUp::default())?;
    let again = Program::from_id(first.identity().id)?;
    expect("1", again.maps().len().to_string())?;
    again.map("packets")?;
    match again.map("packet") {
        Err(error @ ProgramError::NoSuchMap { .. }) => {
            expect("no map `packet`; did you mean `packets`?", error.to_string())
        }
        other => Err(format!("no such map: {other:?}").into()),
    }?;
    // The kernel has the first 15 bytes of a name.
    let long = "a_map_with_a_long_name";
    let compiled = Compiled::from_source("shapes.c", &[&format!("PINNED={long}"), "ENTRIES=1"])?;
    let first = Program::load_with(&compiled.object(), &LoadSetUp::default())?;
    expect(long, &first.map(long)?.name)?;
    if first.map("a_map_with_a_lo").is_ok() {
        return Err("a name is taken for the beginning of another one".into());
    }
    expect("a_map_with_a_lo", &Program::from_id(first.identity().id)?.map(long)?.name)
}

fn restored() -> Result {
    let program = load("count", &[])?;
    let services = program.map("services")?;
    let (old, new) = ("{ addr = '192.0.2.1' }", "{ addr = '192.0.2.2' }");
    set(services, old, "{ backend = 1 }")?;
    run(&program)?;
    let saved = program.save()?;
    set(services, old, "{ backend = 9 }")?;
    set(services, new, "{ backend = 2 }")?;
    run(&program)?;
    let changed = program.save()?;
    program.restore(&saved)?;
    if changed == saved || program.save()? != saved {
        return Err("the contents are not those of before".into());
    }
    set(services, new, "{ backend = 2 }")?;
    services.delete(&services.key.encode(&crate::value(old)?, &())?)?;
    program.restore(&saved)?;
    if program.save()? != saved || services.count()? != 1 {
        return Err("the deleted key is not there again".into());
    }
    let counter = program.global("counter")?;
    expect("1", counter.layout.render(&counter.read()?))?;
    for defines in [&["QUEUE=BPF_MAP_TYPE_QUEUE"], &["QUEUE=BPF_MAP_TYPE_STACK"]] {
        let compiled = Compiled::from_source("shapes.c", defines)?;
        let program = Program::load_with(&compiled.object(), &LoadSetUp::default())?;
        let waiting = program.map("waiting")?;
        [1, 2, 3].iter().try_for_each(|number: &u32| waiting.update(&[], &number.to_ne_bytes()))?;
        let saved = program.save()?;
        run(&program)?;
        program.restore(&saved)?;
        if program.save()? != saved || waiting.count()? != 3 {
            return Err(format!("{defines:?}: the values are not those of before").into());
        }
    }
    slots_restored()
}

/// The kernel shows ids of programs and takes descriptors.
fn slots_restored() -> Result {
    let compiled = Compiled::from_source("shapes.c", &["DEVICES=BPF_MAP_TYPE_DEVMAP"])?;
    let programs = ["behind".to_owned()].into();
    let program = Program::load_with(&compiled.object(), &LoadSetUp { programs, ..LoadSetUp::default() })?;
    let ports = program.map("ports")?;
    let entry = crate::value("{ ifindex = 1, bpf_prog = 'program:behind' }")?;
    let [two, three] = [2_u32, 3].map(u32::to_ne_bytes);
    ports.update(&two, &ports.value.encode(&entry, &program.names_to_write())?)?;
    let saved = program.save()?;
    ports.delete(&two)?;
    ports.update(&three, &ports.value.encode(&entry, &program.names_to_write())?)?;
    program.restore(&saved)?;
    if program.save()? == saved { Ok(()) } else { Err("the devmap is not as before".into()) }
}

fn no_program() -> Result {
    let program = load("count", &[])?;
    let path = path("map");
    let pin = pin(program.map("stats")?, &path)?;
    let file = tempfile::NamedTempFile::new()?;
    let said = |path: &Path, part: &str| match Program::from_pinned(path) {
        Err(error) if error.to_string().contains(part) && error.is_input() => Ok(()),
        other => Err(format!("{}: {other:?}, expected `{part}`", path.display())),
    };
    said(&path, "is no program: expected a BPF program, got a bpf-map")?;
    drop(pin);
    said(&path, "does not exist; `bpftool prog show pinned`")?;
    said(file.path(), "is not pinned in a BPF file system")?;
    match Program::from_id(u32::MAX) {
        Err(error) if error.to_string().contains("is not loaded; `bpftool prog show`") => Ok(()),
        other => Err(io::Error::other(format!("{other:?}")).into()),
    }
}

fn large() -> Result {
    for (entries, count) in [(1 << 20, Some(1)), ((1 << 20) + 1, None)] {
        let entries = format!("ENTRIES={entries}");
        let compiled = Compiled::from_source("shapes.c", &["PINNED=large", &entries])?;
        let program = Program::load_with(&compiled.object(), &LoadSetUp::default())?;
        run(&program)?;
        let counted = program.map("large")?.count();
        match (counted, count) {
            (Ok(counted), Some(count)) if counted == count => {}
            (Err(error), None) if error.to_string().contains("more than 1048576 keys") => {
                expect("large", program.save()?.left_out.join(" "))?;
            }
            (counted, count) => return Err(format!("{entries}: {counted:?}, expected {count:?}").into()),
        }
    }
    Ok(())
}

fn unreadable() -> Result {
    let compiled = Compiled::from_source("shapes.c", &["HASH=BPF_MAP_TYPE_HASH", "FLAGS=BPF_F_WRONLY"])?;
    let program = Program::load_with(&compiled.object(), &LoadSetUp::default())?;
    expect("flows", program.save()?.left_out.join(" "))?;
    let flows = program.map("flows")?;
    flows.update(&[0; 16], &[0; 8])?;
    let compiled = Compiled::from_source("shapes.c", &["HASH=BPF_MAP_TYPE_HASH", "FLAGS=BPF_F_RDONLY"])?;
    let program = Program::load_with(&compiled.object(), &LoadSetUp::default())?;
    match program.map("flows")?.update(&[0; 16], &[0; 8]) {
        Err(error) if error.to_string().contains("user space cannot write to it") => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}
