//! Pages: their commands parse, their links and anchors resolve, the files that they name exist, every directory has one, and
//! every dependency has a reason. Needs no privilege and builds nothing.

#![expect(clippy::unwrap_used, reason = "a page that cannot be read fails the test")]

use std::{
    collections::BTreeSet,
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use clap::{Command, error::ErrorKind};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use xdproof::cli::Cli;

/// The landing page routes to the others, and has to stay short.
const LANDING_PAGE_LINES: usize = 100;

/// Directories below the top level that need a page.
const DIRECTORIES: [&str; 5] =
    ["harness/core", "harness/report", "harness/docs", "harness/tests", "harness/benches"];

static COMMAND_LINE: LazyLock<Command> = LazyLock::new(Cli::definition);

/// A Markdown file; its path is relative to the repository.
struct Page {
    file: PathBuf,
    text: String,
}

/// Code of a page: a line of a block, or a span.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Code {
    line: usize,
    text: String,
    is_span: bool,
}

#[test]
fn the_landing_page_is_short() {
    let lines = read("README.md").text.lines().count();
    assert!(lines <= LANDING_PAGE_LINES, "README.md has {lines} lines, more than {LANDING_PAGE_LINES}");
}

#[test]
fn every_directory_has_a_page() {
    let directories = rooms().into_iter().chain(DIRECTORIES.map(str::to_owned));
    let without: Vec<_> = directories.filter(|directory| !has_page(directory)).collect();
    assert!(without.is_empty(), "these directories have no README.md: {without:?}");
    assert!(!has_page("harness/src"));
}

#[test]
fn every_command_parses() {
    let pages = pages();
    let commands = pages.iter().flat_map(|page| code(&page.text)).filter(|code| command(code).is_some());
    assert!(commands.count() > 50, "the commands of the pages are not found");
    assert_none(pages.iter().flat_map(wrong_commands));
}

#[test]
fn every_link_and_anchor_resolves() {
    assert_none(pages().iter().flat_map(broken_links));
}

#[test]
fn every_named_source_file_and_test_exists() {
    assert_none(pages().iter().flat_map(missing_files));
}

#[test]
fn every_dependency_has_a_reason_and_no_other_is_listed() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert_none(dependency_differences(&manifest, &read("harness/docs/dependencies.md").text).into_iter());
}

#[test]
fn a_wrong_command_is_found() {
    let found = |text: &str| wrong_commands(&page(text)).len();
    for wrong in [
        "```\nxdproof validat\n```",
        "```\n$ sudo xdproof validate --scenari 'vlan/*'\n```",
        "```\nci/xdproof report out\n```",
        "```\n  reproduce: xdproof validate --mode nativ\n```",
        "```\nxdproof bench \\\n    --budge 3s\n```",
        "see `xdproof validates`",
        "see `xdproof validate --rule`",
        "see `validate --rule`",
    ] {
        assert_eq!(found(wrong), 1, "{wrong}");
    }
    for right in [
        "```\nxdproof validate --scenario 'vlan/*' # all tags\nxdproof 0.1.0 on kernel 6.18\n```",
        "```\nxdproof export --out all && ls all\n```",
        "see `xdproof compare`, `xdproof help`, `xdproof --version`, `xdproof-core` and `bench --against FILE`",
        "```\nxdproof bench \\\n    --budget 3s\n```",
    ] {
        assert_eq!(found(right), 0, "{right}");
    }
}

#[test]
fn a_broken_link_is_found() {
    let found = |text: &str| broken_links(&page(text));
    assert_eq!(found("[a](Cargo.toml) [b](#a-b_c) [c](https://example.org/x#y)\n\n## A, `b_c`\n"), [""; 0]);
    assert_eq!(found("a\n\n[b](gone.md)"), ["page.md:3: gone.md does not exist"]);
    assert_eq!(found("![a](gone.png)"), ["page.md:1: gone.png does not exist"]);
    assert_eq!(found("[a](#gone)\n\n# Here"), ["page.md:1: #gone is no heading"]);
    assert_eq!(found("[a](README.md#gone)"), ["page.md:1: README.md#gone is no heading"]);
    assert_eq!(found("# A\n# A\n[a](#a) [b](#a-1)"), [""; 0]);
}

#[test]
fn a_source_file_or_a_test_that_is_gone_is_found() {
    let found = |text: &str| missing_files(&page(text)).len();
    assert_eq!(found("`harness/src/lib.rs`, `src/NAME.rs` and `cargo test -p xdproof --test pages`"), 0);
    assert_eq!(found("`harness/src/gone.rs`"), 1);
    assert_eq!(found("`scenarios/gone.toml`"), 1);
    assert_eq!(found("`ci/gone --check`"), 1);
    assert_eq!(found("```\ncargo test -p xdproof --test gone\n```"), 1);
    assert_eq!(found("```\ncargo bench -p xdproof --bench gone -- --runs 1\n```"), 1);
    assert_eq!(found("```\nsudo -E cargo test -p gone\n```"), 1);
}

#[test]
fn a_dependency_without_a_reason_or_without_use_is_found() {
    let manifest = "[workspace.dependencies]\na = '1'\nb-c = '1'\n";
    let differences = |page: &str| dependency_differences(manifest, page);
    let table = |rows: &str| format!("| dependency | why |\n|---|---|\n{rows}");
    assert_eq!(differences(&table("| a, b-c | because |")), [""; 0]);
    assert_eq!(differences(&table("| a | because |")), ["b-c has no reason in dependencies.md"]);
    assert_eq!(
        differences(&table("| a, b-c, d | x |")),
        ["d is in dependencies.md, and nothing depends on it"]
    );
    assert_eq!(differences(&table("| a | b-c |")).len(), 1, "a name among the reasons is no reason");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(file: impl AsRef<Path>) -> Page {
    let file = file.as_ref().to_owned();
    let text = fs::read_to_string(root().join(&file)).unwrap();
    Page { file, text }
}

/// Returns a page at the top level that is not on disk.
fn page(text: &str) -> Page {
    Page { file: "page.md".into(), text: text.to_owned() }
}

fn assert_none(found: impl Iterator<Item = String>) {
    let found: Vec<_> = found.collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Returns the members of the workspace, as directories below the top level.
fn members() -> Vec<String> {
    let manifest: toml::Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let members = manifest["workspace"]["members"].as_array().unwrap().iter();
    members.map(|member| member.as_str().unwrap().to_owned()).collect()
}

/// Returns the directories of the top level; others there are a user's.
fn rooms() -> BTreeSet<String> {
    members().iter().map(|member| member.split('/').next().unwrap().to_owned()).collect()
}

fn has_page(directory: &str) -> bool {
    root().join(directory).join("README.md").is_file()
}

/// Lists the files and directories in a directory, without those that are hidden or made by tools.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let is_ours = |name: &str| !(name.starts_with('.') || name == "target" || name == "node_modules");
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let ours = entries.filter(|entry| is_ours(&entry.file_name().to_string_lossy()));
    ours.map(|entry| entry.path()).collect()
}

fn pages() -> Vec<Page> {
    let mut waiting: Vec<_> = rooms().iter().map(|room| root().join(room)).collect();
    waiting.extend(entries(&root()).into_iter().filter(|path| path.is_file()));
    let mut found = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(entries(&path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(read(path.strip_prefix(root()).unwrap()));
        }
    }
    found
}

fn events(text: &str) -> impl Iterator<Item = (Event<'_>, Range<usize>)> {
    Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter()
}

fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// Returns the code of a page. A line of a block that ends with a backslash goes on in the next one.
fn code(text: &str) -> Vec<Code> {
    let mut found = Vec::<Code>::new();
    let mut in_block = false;
    for (event, range) in events(text) {
        let line = line_of(text, range.start);
        match event {
            Event::Start(Tag::CodeBlock(_)) => in_block = true,
            Event::End(TagEnd::CodeBlock) => in_block = false,
            Event::Code(span) => found.push(Code { line, text: span.into_string(), is_span: true }),
            Event::Text(block) if in_block => {
                let mut continued = false;
                for (number, part) in block.lines().enumerate() {
                    let (part, goes_on) = part.strip_suffix('\\').map_or((part, false), |part| (part, true));
                    match found.last_mut().filter(|_| continued) {
                        Some(last) => last.text.push_str(part),
                        None => {
                            found.push(Code { line: line + number, text: part.to_owned(), is_span: false });
                        }
                    }
                    continued = goes_on;
                }
            }
            _ => {}
        }
    }
    found
}

/// Returns the words of a shell command, up to a comment or another command, without a prompt, sudo and variables.
fn words(text: &str) -> Vec<String> {
    let text = text.trim_start().trim_start_matches("$ ").trim_start_matches("reproduce: ");
    let mut words = vec![String::new()];
    let mut quote = None;
    for character in text.chars() {
        let word = words.last_mut().unwrap();
        match (character, quote) {
            ('\'' | '"', None) => quote = Some(character),
            (_, Some(open)) if character == open => quote = None,
            ('#', None) if word.is_empty() => break,
            ('|' | ';' | '&' | '>' | '<', None) => break,
            (' ', None) => words.push(String::new()),
            _ => word.push(character),
        }
    }
    words.retain(|word| !word.is_empty());
    let is_prefix = |word: &String| {
        word == "sudo" || word == "-E" || word.split_once('=').is_some_and(|(name, _)| is_variable(name))
    };
    words.into_iter().skip_while(is_prefix).collect()
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

/// Returns the arguments of a call of xdproof, its name included. In a span it may be missing: `validate --report`.
fn command(code: &Code) -> Option<Vec<String>> {
    let mut words = words(&code.text);
    let is_verb = |word: &String| COMMAND_LINE.find_subcommand(word).is_some();
    if code.is_span && words.len() > 1 && words[1].starts_with("--") && is_verb(&words[0]) {
        words.insert(0, "xdproof".to_owned());
    }
    let name = words.first()?;
    let is_call = name == "xdproof" || name == "ci/xdproof";
    // Output begins with the version, a diagram goes on with something else.
    let is_argument =
        |word: &String| word.starts_with(|first: char| first.is_ascii_lowercase() || first == '-');
    (is_call && words.get(1).is_some_and(is_argument)).then_some(words)
}

fn wrong_commands(page: &Page) -> Vec<String> {
    let mut found = Vec::new();
    for code in code(&page.text) {
        let Some(words) = command(&code) else { continue };
        // A verb, or one with an option, may be named without the arguments that it needs.
        let is_mention = code.is_span && (words.len() == 2 || !code.text.contains("xdproof"));
        let error =
            COMMAND_LINE.clone().try_get_matches_from(&words).err().filter(|error| match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => false,
                ErrorKind::MissingRequiredArgument => !is_mention,
                _ => true,
            });
        let reason = error.map(|error| error.to_string());
        found.extend(
            reason.map(|reason| format!("{}:{}: {}\n{reason}", page.file.display(), code.line, code.text)),
        );
    }
    found
}

/// Returns the anchors of the headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut heading: Option<String> = None;
    for (event, _) in events(text) {
        match (event, &mut heading) {
            (Event::Start(Tag::Heading { .. }), _) => heading = Some(String::new()),
            (Event::Text(text) | Event::Code(text), Some(heading)) => heading.push_str(&text),
            (Event::End(TagEnd::Heading(_)), Some(title)) => {
                let kept = title.to_lowercase().replace(' ', "-");
                let kept: String =
                    kept.chars().filter(|kept| kept.is_alphanumeric() || matches!(kept, '-' | '_')).collect();
                let again = (1..).map(|number| format!("{kept}-{number}"));
                let free = std::iter::once(kept.clone()).chain(again).find(|name| !anchors.contains(name));
                anchors.extend(free);
                heading = None;
            }
            _ => {}
        }
    }
    anchors
}

fn broken_links(page: &Page) -> Vec<String> {
    let mut found = Vec::new();
    for (event, range) in events(&page.text) {
        let Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) = event else {
            continue;
        };
        if dest_url.contains("://") || dest_url.starts_with("mailto:") {
            continue;
        }
        let (target, anchor) =
            dest_url.split_once('#').map_or((&*dest_url, None), |(path, its)| (path, Some(its)));
        let path = root().join(page.file.parent().unwrap()).join(target);
        let text = if target.is_empty() { Some(page.text.clone()) } else { fs::read_to_string(&path).ok() };
        let broken = match anchor {
            _ if !target.is_empty() && !path.exists() => "does not exist",
            Some(anchor) if !text.is_some_and(|text| anchors(&text).contains(anchor)) => "is no heading",
            _ => continue,
        };
        let line = line_of(&page.text, range.start);
        found.push(format!("{}:{line}: {dest_url} {broken}", page.file.display()));
    }
    found
}

/// Returns true if a path begins with a directory of the top level.
fn is_below_top(path: &str) -> bool {
    path.split_once('/').is_some_and(|(top, _)| rooms().contains(top))
}

/// Returns the directory of a package of the workspace.
fn package(name: &str) -> Option<PathBuf> {
    members().into_iter().map(|member| root().join(member)).find(|directory| {
        let its: toml::Table = fs::read_to_string(directory.join("Cargo.toml")).unwrap().parse().unwrap();
        its["package"]["name"].as_str() == Some(name)
    })
}

fn missing_files(page: &Page) -> Vec<String> {
    let place = root().join(page.file.parent().unwrap());
    // A page names files from its own directory, from the sources there, or from the top.
    let bases = [place.clone(), place.join("src"), place.join(".."), root()];
    let mut found = Vec::new();
    for Code { line, text, is_span } in code(&page.text) {
        let words = words(&text);
        let Some(first) = words.first() else { continue };
        let behind = |option: &str| words.iter().skip_while(|word| *word != option).nth(1);
        let mut missing = Vec::new();
        let is_source = first.contains('/') && first.ends_with(".rs") || is_below_top(first);
        let is_placeholder = ["NAME", "GROUP", "*"].iter().any(|part| first.contains(part));
        let is_script = first.starts_with("ci/") || first.starts_with(".ci/");
        let is_file = is_script || is_span && is_source && !is_placeholder;
        if is_file && !bases.iter().any(|base| base.join(first).exists()) {
            missing.push(first.clone());
        }
        if first == "cargo" && words.get(1).is_some_and(|verb| verb == "test" || verb == "bench") {
            let directory = behind("-p").map_or_else(|| Some(root().join("harness")), |name| package(name));
            missing.extend(behind("-p").filter(|_| directory.is_none()).cloned());
            for (option, folder) in [("--test", "tests"), ("--bench", "benches")] {
                let (Some(name), Some(directory)) = (behind(option), &directory) else { continue };
                let target = directory.join(folder).join(name);
                let is_placeholder = name.bytes().all(|byte| byte.is_ascii_uppercase());
                if !(is_placeholder
                    || target.with_extension("rs").is_file()
                    || target.join("main.rs").is_file())
                {
                    missing.push(name.clone());
                }
            }
        }
        let at = page.file.display();
        found.extend(missing.iter().map(|name| format!("{at}:{line}: `{text}`: {name} does not exist")));
    }
    found
}

/// Lists dependencies without a row, and rows without a dependency. A table of dependencies has that word as its first heading.
fn dependency_differences(manifest: &str, page: &str) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().unwrap();
    let dependencies = manifest["workspace"]["dependencies"].as_table().unwrap();
    let used: BTreeSet<&str> = dependencies.keys().map(String::as_str).collect();
    let mut listed = BTreeSet::new();
    let mut in_table = false;
    for line in page.lines() {
        let Some(cell) = line.strip_prefix("| ").and_then(|row| row.split(" | ").next()) else {
            in_table &= line.starts_with('|');
            continue;
        };
        if in_table {
            listed.extend(cell.split(", "));
        }
        in_table |= cell == "dependency";
    }
    let without = used.difference(&listed).map(|name| format!("{name} has no reason in dependencies.md"));
    let unused = listed.difference(&used);
    let unused = unused.map(|name| format!("{name} is in dependencies.md, and nothing depends on it"));
    without.chain(unused).collect()
}
