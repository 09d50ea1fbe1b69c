//! Imports go one way: reads the `use` lines and `crate::` paths of every crate, and fails on an arrow that points up.
//!
//! A path is followed through re-exports to the file that has the item, so that a facade hides no arrow. Unit tests are left out.
//! Needs no privilege and builds nothing.

#![expect(clippy::unwrap_used, reason = "a source that cannot be read fails the test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Each crate: its name in paths, its folder, and the crates of ours that it may name.
const CRATES: [(&str, &str, &[&str]); 7] = [
    ("xdproof_ebpf", "ebpf", &[]),
    ("xdproof_netns", "netns", &[]),
    ("xdproof_scenarios", "scenarios", &["xdproof_ebpf"]),
    ("xdproof_core", "harness/core", &["xdproof_ebpf", "xdproof_scenarios"]),
    ("xdproof_report", "harness/report", &["xdproof_core", "xdproof_ebpf", "xdproof_scenarios"]),
    (
        "xdproof",
        "harness",
        &["xdproof_core", "xdproof_ebpf", "xdproof_netns", "xdproof_report", "xdproof_scenarios"],
    ),
    ("xdproof_ci", "ci", &[]),
];

/// The layers of a crate, the lowest first. A module may import modules of lower layers, and of its own in one direction.
const LAYERS: [(&str, &[&[&str]]); 2] = [
    ("xdproof_core", &[&["error", "model"], &["plan", "judge", "measure"]]),
    (
        "xdproof",
        &[
            &["host", "ports", "program", "inject", "exchange", "testbed"],
            &["trial"],
            &["suites", "bench"],
            &["cli"],
        ],
    ),
];

/// Modules that never import each other, although they are of one layer.
const APART: [(&str, &[&str]); 2] =
    [("xdproof_core", &["plan", "judge", "measure"]), ("xdproof", &["suites", "bench"])];

/// Modules of `xdproof` that may import reports; any may import what happens in a run, which reports are told of.
const MAY_REPORT: [&str; 4] = ["trial", "suites", "bench", "cli"];
const EVENTS: [&str; 3] = ["event", "Event", "Reporter"];

/// Import cycles between files that are known, each by one of its files and with the reason why it stays.
const KNOWN_CYCLES: &[(&str, &str)] = &[(
    "netns/src/error.rs",
    "the crate's one error names a link, and a link's name that is invalid is such an error",
)];

/// A path as it stands in the source, in segments without `crate`.
type Segments = Vec<String>;

#[derive(Default)]
struct Source {
    module: Segments,
    file: PathBuf,
    /// Names that the file defines.
    items: BTreeSet<String>,
    /// Re-exports: the name, and where it is from; `*` for all.
    exports: Vec<(String, Segments)>,
    /// Everything that it names of its own crate.
    names: Vec<Segments>,
    /// Crates of ours that it names, with what of them.
    others: Vec<Segments>,
}

#[test]
fn a_crate_names_only_crates_below_it() {
    let mut wrong = Vec::new();
    for (name, folder, below) in CRATES {
        for source in sources(folder) {
            for path in &source.others {
                let other = path[0].as_str();
                if other != name && !below.contains(&other) {
                    wrong.push(format!("{}: {}", source.file.display(), path.join("::")));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "these name a crate that is not below theirs:\n{}", wrong.join("\n"));
}

#[test]
fn scenarios_take_protocol_names_from_the_programs_and_nothing_else() {
    let wrong: Vec<String> = sources("scenarios")
        .iter()
        .flat_map(|source| source.others.iter().map(|path| (source.file.display().to_string(), path)))
        .filter(|(_, path)| path[0] == "xdproof_ebpf" && path.get(1).is_none_or(|module| module != "abi"))
        .map(|(file, path)| format!("{file}: {}", path.join("::")))
        .collect();
    assert!(wrong.is_empty(), "the oracle must not depend on what it judges:\n{}", wrong.join("\n"));
}

#[test]
fn a_module_imports_only_layers_below_it_and_its_own_in_one_direction() {
    for (name, layers) in LAYERS {
        let sources = sources(folder_of(name));
        let layer = |module: &str| layers.iter().position(|layer| layer.contains(&module));
        let mut modules = BTreeMap::<String, BTreeSet<String>>::new();
        let mut wrong = Vec::new();
        for (from, to) in edges(&sources) {
            let [from_module, to_module] = [&from, &to].map(|source| source.module.first().cloned());
            let (Some(from_module), Some(to_module)) = (from_module, to_module) else { continue };
            if from_module == to_module {
                continue;
            }
            let arrow = format!("{} -> {}", from.file.display(), to.file.display());
            match (layer(&from_module), layer(&to_module)) {
                (Some(above), Some(below)) if below <= above => {}
                (Some(_), Some(_)) => wrong.push(format!("{arrow}: {to_module} lies above {from_module}")),
                _ => wrong.push(format!("{arrow}: a module has no layer in this test")),
            }
            let apart = APART.iter().find(|(its, _)| *its == name).map_or(&[][..], |(_, modules)| modules);
            if [&from_module, &to_module].iter().all(|module| apart.contains(&module.as_str())) {
                wrong.push(format!("{arrow}: these two never import each other"));
            }
            modules.entry(from_module).or_default().insert(to_module);
        }
        assert!(wrong.is_empty(), "imports of {name} that point the wrong way:\n{}", wrong.join("\n"));
        let cycles = cycles(&modules);
        assert!(cycles.is_empty(), "modules of {name} that import each other: {cycles:?}");
    }
}

#[test]
fn reports_are_imported_only_from_above() {
    let mut wrong = Vec::new();
    for source in sources("harness") {
        let module = source.module.first().map_or("", String::as_str);
        let named = source.names.iter().filter(|path| path[0] == "report").chain(
            source.others.iter().filter(|path| path[0] == "xdproof_report" && !source.module.is_empty()),
        );
        for path in named {
            let is_event = path.get(1).is_some_and(|name| EVENTS.contains(&name.as_str()));
            if !is_event && !MAY_REPORT.contains(&module) {
                wrong.push(format!("{}: {}", source.file.display(), path.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "these import reports from below:\n{}", wrong.join("\n"));
}

#[test]
fn no_files_import_each_other_but_for_a_reason() {
    let mut found = Vec::new();
    for (_, folder, _) in CRATES {
        let sources = sources(folder);
        let mut files = BTreeMap::<String, BTreeSet<String>>::new();
        for (from, to) in edges(&sources) {
            let [from, to] = [from, to].map(|source| source.file.display().to_string());
            files.entry(from).or_default().insert(to);
        }
        found.extend(cycles(&files));
    }
    let known = |cycle: &&Vec<String>| {
        KNOWN_CYCLES.iter().any(|(file, _)| cycle.iter().any(|its| its.ends_with(file)))
    };
    let unknown: Vec<_> = found.iter().filter(|cycle| !known(cycle)).collect();
    assert!(unknown.is_empty(), "files that import each other: {unknown:#?}");
    for (file, reason) in KNOWN_CYCLES {
        let stays = found.iter().any(|cycle| cycle.iter().any(|its| its.ends_with(file)));
        assert!(stays, "the cycle of {file} is gone: take it out of this test ({reason})");
    }
}

fn folder_of(name: &str) -> &'static str {
    CRATES.iter().find(|(its, ..)| *its == name).map(|(_, folder, _)| *folder).unwrap()
}

/// Every source file below a crate's `src`.
fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let src = root.join(folder).join("src");
    let mut waiting = vec![src.clone()];
    let mut found = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let module = module_of(path.strip_prefix(&src).unwrap());
            let text = fs::read_to_string(&path).unwrap();
            found.push(read(&text, module, path.strip_prefix(root).unwrap().to_owned()));
        }
    }
    assert!(!found.is_empty(), "{folder} has no sources");
    found.sort_by(|a, b| a.file.cmp(&b.file));
    found
}

fn module_of(file: &Path) -> Segments {
    let without = file.with_extension("");
    let mut module: Segments =
        without.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| last == "mod")
        || module.first().is_some_and(|first| ["lib", "main"].contains(&first.as_str()))
    {
        module.pop();
    }
    module
}

/// What a file defines, re-exports and names. Comments, strings on a line with `//` and unit tests do not count.
fn read(text: &str, module: Segments, file: PathBuf) -> Source {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let code = code.split("#[cfg(test)]\npub(super) mod tests").next().unwrap_or_default();
    let code: String =
        code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut source = Source { module, file, ..Source::default() };
    for line in code.lines() {
        let words: Vec<&str> = line.split_whitespace().filter(|word| !word.starts_with("pub")).collect();
        let words: Vec<&str> =
            words.into_iter().skip_while(|word| ["async", "unsafe", "default"].contains(word)).collect();
        if let [kind, name, ..] = words.as_slice()
            && ["fn", "struct", "enum", "trait", "type", "const", "static", "union"].contains(kind)
            && !line.starts_with(' ')
        {
            let name = name.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
            source.items.insert(name.to_owned());
        }
    }
    let mut rest = code.as_str();
    let mut outside = String::new();
    while let Some(at) = find_use(rest) {
        outside.push_str(&rest[..at]);
        let end = at + rest[at..].find(';').unwrap_or(rest.len() - at);
        let statement = &rest[at..end];
        let is_export = statement.trim_start().starts_with("pub");
        let tree = statement.split_once("use ").map_or("", |(_, tree)| tree);
        for (path, alias) in flatten(tree, &[]) {
            let name = alias.unwrap_or_else(|| path.last().cloned().unwrap_or_default());
            if is_export {
                if let Some(own) = resolve(&source.module, &path, true) {
                    source.exports.push((name, own));
                } else {
                    source.others.push(path);
                }
            } else if let Some(own) = resolve(&source.module, &path, false) {
                source.names.push(own);
            } else if path[0].starts_with("xdproof") {
                source.others.push(path);
            }
        }
        rest = &rest[end..];
    }
    outside.push_str(rest);
    for path in inline_paths(&outside) {
        if let Some(own) = resolve(&source.module, &path, false) {
            source.names.push(own);
        } else {
            source.others.push(path);
        }
    }
    source
}

/// The start of the next `use` statement at the beginning of a line.
fn find_use(text: &str) -> Option<usize> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_start();
        let bare =
            bare.strip_prefix("pub(crate) ").or_else(|| bare.strip_prefix("pub(super) ")).unwrap_or(bare);
        let bare = bare.strip_prefix("pub ").unwrap_or(bare);
        if bare.starts_with("use ") {
            return Some(at);
        }
        at += line.len();
    }
    None
}

/// The leaves of a tree of imports, each with its alias.
fn flatten(tree: &str, before: &[String]) -> Vec<(Segments, Option<String>)> {
    let tree = tree.trim();
    if let Some((prefix, inner)) = tree.split_once('{').filter(|_| tree.ends_with('}')) {
        let path = [before, &segments(prefix.trim_end_matches("::"))].concat();
        return split_top(&inner[..inner.len() - 1]).iter().flat_map(|part| flatten(part, &path)).collect();
    }
    let (path, alias) = match tree.split_once(" as ") {
        Some((path, alias)) => (path, Some(alias.trim().to_owned())),
        None => (tree, None),
    };
    let mut path = [before, &segments(path)].concat();
    if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
        path.pop();
    }
    if path.is_empty() { Vec::new() } else { vec![(path, alias)] }
}

fn segments(path: &str) -> Segments {
    path.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// The parts between the commas that lie in no braces.
fn split_top(list: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(c);
    }
    parts.into_iter().filter(|part| !part.trim().is_empty()).collect()
}

/// `crate::a::b` and `xdproof_x::a` outside of `use` lines.
fn inline_paths(code: &str) -> Vec<Segments> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    code.split(|c: char| !is_path(c))
        .filter(|word| {
            word.starts_with("crate::") || word.starts_with("super::") || word.starts_with("xdproof_")
        })
        .filter(|word| word.contains("::"))
        .map(segments)
        .collect()
}

/// A path from the crate's root; nothing for one of another crate.
fn resolve(module: &[String], path: &[String], is_export: bool) -> Option<Segments> {
    match path[0].as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some([module, &path[1..]].concat()),
        "super" => {
            let up = path.iter().take_while(|part| *part == "super").count();
            let base = module.get(..module.len().checked_sub(up)?)?;
            Some([base, &path[up..]].concat())
        }
        // A facade names its children without `self`.
        other if is_export && !other.starts_with("xdproof") && !["std", "core"].contains(&other) => {
            Some([module, path].concat())
        }
        _ => None,
    }
    .filter(|path| !path.is_empty())
}

/// Every import of one file from another of its crate.
fn edges(sources: &[Source]) -> Vec<(&Source, &Source)> {
    let mut found = Vec::new();
    for source in sources {
        for path in &source.names {
            if let Some(to) = follow(sources, path, 0)
                && to.file != source.file
            {
                found.push((source, to));
            }
        }
    }
    found
}

/// The file that has what a path names, through re-exports.
fn follow<'a>(sources: &'a [Source], path: &[String], depth: u32) -> Option<&'a Source> {
    if depth > 8 {
        return None;
    }
    let holder = (0..=path.len())
        .rev()
        .find_map(|length| sources.iter().find(|source| source.module == path[..length]))?;
    let Some(name) = path.get(holder.module.len()) else { return Some(holder) };
    if holder.items.contains(name) {
        return Some(holder);
    }
    for (exported, from) in &holder.exports {
        if exported == name {
            let rest = path.get(holder.module.len() + 1..).unwrap_or_default();
            return follow(sources, &[from, rest].concat(), depth + 1);
        }
        if exported == "*" {
            let inside =
                from.split_last().map(|(_, module)| [module, &path[holder.module.len()..]].concat())?;
            let there = follow(sources, &inside, depth + 1);
            if there.is_some_and(|there| there.items.contains(name)) {
                return there;
            }
        }
    }
    Some(holder)
}

/// The sets of more than one node in which each reaches each other (Tarjan's components, by reachability: the graphs are small).
fn cycles(graph: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let reach = |from: &String| {
        let (mut seen, mut waiting) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(node) = waiting.pop() {
            for next in graph.get(&node).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    waiting.push(next.clone());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<String>> = graph.keys().map(|node| (node, reach(node))).collect();
    let mut found = BTreeSet::new();
    for (node, its) in &reached {
        if its.contains(*node) {
            let cycle: Vec<String> = its
                .iter()
                .filter(|other| reached.get(other).is_some_and(|back| back.contains(*node)))
                .cloned()
                .collect();
            found.insert(cycle);
        }
    }
    found.into_iter().filter(|cycle| cycle.len() > 1).collect()
}

#[test]
fn an_arrow_that_points_up_and_a_cycle_are_found() {
    let source = |file: &str, text: &str| read(text, module_of(Path::new(file)), PathBuf::from(file));
    let sources = [
        source("low.rs", "use crate::{high::{Top, other}, leaf};\npub struct Low;\n"),
        source("high/mod.rs", "mod deep;\npub use deep::Top;\npub fn other() {}\n"),
        source(
            "high/deep.rs",
            "pub struct Top;\nfn f() -> crate::low::Low { todo() }\n#[cfg(test)]\nmod tests { use crate::leaf::X; }",
        ),
        source("leaf.rs", "// use crate::high::Top;\npub struct X;\n"),
    ];
    let arrows: Vec<(String, String)> = edges(&sources)
        .into_iter()
        .map(|(from, to)| (from.file.display().to_string(), to.file.display().to_string()))
        .collect();
    let expected = [
        ("low.rs", "high/deep.rs"),
        ("low.rs", "high/mod.rs"),
        ("low.rs", "leaf.rs"),
        ("high/deep.rs", "low.rs"),
    ];
    assert_eq!(arrows, expected.map(|(from, to)| (from.to_owned(), to.to_owned())));
    let mut graph = BTreeMap::<String, BTreeSet<String>>::new();
    for (from, to) in arrows {
        graph.entry(from).or_default().insert(to);
    }
    assert_eq!(cycles(&graph), [vec!["high/deep.rs".to_owned(), "low.rs".to_owned()]]);
}
