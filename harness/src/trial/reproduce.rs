//! The command that repeats one trial.

use std::path::PathBuf;

use crate::{
    model::{action::CountedAction, facts::Facts, mode::TrialPath},
    plan::selection::Trial,
    program::Object,
    trial::options::LabOptions,
};

/// Returns the command that runs this trial and no other.
pub(super) fn command(trial: &Trial<'_>, facts: &Facts, object: &Object, options: &LabOptions) -> String {
    let TrialPath { mode, injector } = trial.path;
    let Object { path, program, map, contents: _ } = object;
    let LabOptions { counted, origin, part: _, most_frames: _ } = options;
    let counted = (*counted == CountedAction::Drop).then_some("drop");
    let shown = |path: &PathBuf| path.display().to_string();
    let ports = facts.ports.as_ref().filter(|_| mode.is_attached());
    let arguments = [
        ("dut", ports.map(|ports| ports.dut.clone())),
        ("tester", ports.map(|ports| ports.tester.clone())),
        ("scenario", Some(trial.scenario.id.to_string())),
        ("mode", mode.is_attached().then(|| mode.to_string())),
        ("injector", Some(injector.to_string())),
        ("object", path.as_ref().map(shown)),
        ("program", program.clone()),
        ("map", map.clone()),
        ("expect-action", counted.map(str::to_owned)),
    ];
    let origin = origin.iter().map(|(name, path)| (*name, Some(shown(path))));
    let given = arguments
        .into_iter()
        .chain(origin)
        .filter_map(|(name, value)| Some(format!(" --{name} {}", quoted(&value?))));
    format!("xdproof validate{}", given.collect::<String>())
}

/// Quotes a word for a shell.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:,+@%=".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_quoted_only_where_a_shell_needs_it() {
        assert_eq!(quoted("vlan/qinq_ipv4_udp"), "vlan/qinq_ipv4_udp");
        assert_eq!(quoted("my counter.o"), "'my counter.o'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
