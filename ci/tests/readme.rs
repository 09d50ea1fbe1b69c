//! Commands and links of `README.md`.

#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

fn room() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    fs::read_to_string(room().join("README.md")).unwrap()
}

/// Returns the lines of code blocks that begin with a word.
fn commands(text: &str, program: &str) -> Vec<String> {
    let blocks = text.split("```").skip(1).step_by(2);
    let lines = blocks.flat_map(str::lines).filter(|line| line.split(' ').next() == Some(program));
    lines.map(str::to_owned).collect()
}

/// Checks that a program knows the arguments of a command, up to a further `--help`.
fn parses(command: &mut Command, arguments: &str) {
    let words = arguments.split_whitespace().skip(1).map(|word| word.trim_matches('\''));
    let status = command.args(words).arg("--help").stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{arguments}: {status}");
}

#[test]
fn every_command_of_the_matrix_parses() {
    let found = commands(&readme(), "ci/matrix");
    assert!(found.len() > 5, "{found:?}");
    for command in found {
        parses(&mut Command::new(env!("CARGO_BIN_EXE_xdproof-ci")), &command);
    }
}

#[test]
fn every_command_of_the_bootstrap_parses() {
    let found = commands(&readme(), "ci/bootstrap");
    assert!(!found.is_empty());
    for command in found {
        parses(&mut Command::new(room().join("bootstrap")), &command);
    }
}

#[test]
fn every_kernel_and_nic_of_a_command_exists() {
    let names = |file: &str, tables: &[&str], key: &str| -> Vec<String> {
        let file: toml::Table = toml::from_str(&fs::read_to_string(room().join(file)).unwrap()).unwrap();
        let entries = tables.iter().flat_map(|table| file[*table].as_array().unwrap().clone());
        entries.map(|entry| entry[key].as_str().unwrap().to_owned()).collect()
    };
    let kernels = names("kernels.toml", &["kernel"], "series");
    let nics = names("nics.toml", &["emulated", "software"], "name");
    for command in commands(&readme(), "ci/matrix") {
        for (option, known) in [("--kernel ", &kernels), ("--nic ", &nics)] {
            let Some((_, value)) = command.split_once(option) else { continue };
            for name in value.split(' ').next().unwrap().split(',').filter(|name| !name.contains('/')) {
                assert!(known.iter().any(|known| known == name), "{command}: {name}");
            }
        }
    }
}

#[test]
fn every_link_and_source_file_exists() {
    let text = readme();
    let links = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
    for link in links.filter(|link| !link.contains("://")) {
        assert!(room().join(link).exists(), "{link}");
    }
    let sources = text.split_once("## Sources").unwrap().1;
    let quoted: Vec<&str> = sources.split('`').skip(1).step_by(2).collect();
    for file in &quoted {
        let found = [room().join("src").join(file), room().join(file)].iter().any(|path| path.is_file());
        assert!(found, "{file}");
    }
    for entry in fs::read_dir(room().join("src")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert!(
            quoted.contains(&name.as_str()) || entry.path().is_dir(),
            "{name} is not in the table of sources"
        );
    }
}

#[test]
fn the_table_of_scripts_lists_each_of_them() {
    for script in ["bootstrap", "xdproof", "test", "matrix"] {
        assert!(readme().contains(&format!("| `ci/{script}` |")), "{script}");
        assert!(Path::new(&room().join(script)).is_file(), "{script}");
    }
}
