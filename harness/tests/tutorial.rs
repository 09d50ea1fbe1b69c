//! The tutorial `docs/program-tests.md`, followed literally: its files are written and its commands are run as they stand there.
//!
//! Ignored without privilege, as in `conformance.rs`, and without clang.

#[path = "support/clang.rs"]
#[expect(dead_code, reason = "only the search for a compiler is needed")]
mod clang;
#[path = "support/privilege.rs"]
mod privilege;
#[path = "support/threads.rs"]
mod threads;

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use libtest_mimic::{Failed, Trial as Test};
use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag};

fn main() -> ExitCode {
    let arguments = threads::arguments();
    let obstacle = privilege::obstacle().or_else(|| clang::compiler().err());
    let test = Test::test("the_commands_of_the_tutorial_print_what_it_says", follow);
    let conclusion = libtest_mimic::run(&arguments, vec![test.with_ignored_flag(obstacle.is_some())]);
    privilege::conclude(&arguments, obstacle.as_deref(), &conclusion)
}

/// A block of the page.
enum Block {
    /// A file: its name, which the text in front of the block gives, and its contents.
    File(String, String),
    /// Commands, and the exit code of the last one, which the text behind the block gives.
    Commands(String),
    /// Lines that the commands before have printed.
    Printed(String),
}

/// Returns the blocks of the page up to the part about other crates.
fn blocks(page: &str) -> Vec<Block> {
    let (mut blocks, mut name, mut code) = (Vec::new(), String::new(), None);
    for event in Parser::new(page) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => {
                code = Some((language.to_string(), String::new()));
            }
            Event::Code(word) => name = word.to_string(),
            Event::Text(text) => match &mut code {
                Some((_, block)) => block.push_str(&text),
                None if text.as_ref() == "From cargo test" && !blocks.is_empty() => break,
                None => {}
            },
            Event::End(pulldown_cmark::TagEnd::CodeBlock) => {
                blocks.extend(code.take().map(|(language, text)| match language.as_str() {
                    "sh" => Block::Commands(text),
                    "" => Block::Printed(text),
                    _ => Block::File(name.clone(), text),
                }));
            }
            _ => {}
        }
    }
    blocks
}

fn follow() -> Result<(), Failed> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/program-tests.md"))?;
    let directory = tempfile::tempdir()?;
    let (work, tools) = (directory.path().join("work"), directory.path().join("tools"));
    fs::create_dir_all(work.join("tests"))?;
    fs::create_dir(&tools)?;
    symlink(env!("CARGO_BIN_EXE_xdproof"), tools.join("xdproof"))?;
    // Debian's package has the version in the name of the compiler.
    let compiler = Command::new("sh").args(["-c", &format!("command -v {}", clang::compiler()?)]).output()?;
    symlink(String::from_utf8(compiler.stdout)?.trim(), tools.join("clang"))?;
    let path = format!("{}:{}", tools.display(), std::env::var("PATH")?);
    let (mut printed, mut ran, mut compared) = (String::new(), 0, 0);
    for block in blocks(&page) {
        match block {
            Block::File(name, text) => fs::write(work.join(name), text)?,
            Block::Commands(text) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("exec 2>&1\n{text}")]).current_dir(&work).env("PATH", &path);
                let output = shell.env("NO_COLOR", "1").stdin(Stdio::null()).output()?;
                printed = String::from_utf8(output.stdout)?;
                let code = output.status.code();
                // Those that fail on purpose work on files with such names.
                let expected = match (text.contains("broken.o"), text.contains("typo.toml")) {
                    (true, _) => Some(1),
                    (_, true) => Some(2),
                    _ => Some(0),
                };
                if code != expected {
                    return Err(format!("{code:?}, expected {expected:?}\n{text}\n{printed}").into());
                }
                ran += 1;
            }
            Block::Printed(text) => {
                for line in text.lines() {
                    if !printed.contains(line.trim()) {
                        return Err(format!("`{line}` was not printed:\n{printed}").into());
                    }
                    compared += 1;
                }
            }
        }
    }
    if ran >= 7 && compared >= 5 { Ok(()) } else { Err(format!("{ran} commands, {compared} lines").into()) }
}
