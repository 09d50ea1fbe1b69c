//! The command that repeats one trial.

use std::{os::unix::ffi::OsStrExt as _, path::PathBuf};

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
    let LabOptions { counted, origin, part: _, most_frames: _, keep: _ } = options;
    let counted = (*counted == CountedAction::Drop).then_some("drop");
    let word = |text: String| quoted(text.as_bytes());
    let file = |path: &PathBuf| quoted(path.as_os_str().as_bytes());
    let ports = facts.ports.as_ref().filter(|_| mode.is_attached());
    let arguments = [
        ("dut", ports.map(|ports| word(ports.dut.clone()))),
        ("tester", ports.map(|ports| word(ports.tester.clone()))),
        ("scenario", Some(word(trial.scenario.id.to_string()))),
        ("mode", mode.is_attached().then(|| word(mode.to_string()))),
        ("injector", Some(word(injector.to_string()))),
        ("object", path.as_ref().map(file)),
        ("program", program.clone().map(word)),
        ("map", map.clone().map(word)),
        ("expect-action", counted.map(|counted| word(counted.to_owned()))),
    ];
    let origin = origin.iter().map(|(name, path)| (*name, Some(file(path))));
    let given =
        arguments.into_iter().chain(origin).filter_map(|(name, value)| Some(format!(" --{name} {}", value?)));
    format!("xdproof validate{}", given.collect::<String>())
}

/// Quotes a word for a shell, on one line. A name that has a newline or is not UTF-8 is quoted as bash and zsh read it (`$'..'`).
pub(crate) fn quoted(word: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:,+@%=".contains(&byte);
    match str::from_utf8(word) {
        Ok(text) if !text.is_empty() && word.iter().all(|byte| plain(*byte)) => text.to_owned(),
        Ok(text) if !text.chars().any(char::is_control) => format!("'{}'", text.replace('\'', r"'\''")),
        _ => {
            let escaped: String = word
                .iter()
                .map(|byte| match byte {
                    b'\'' | b'\\' => format!("\\{}", char::from(*byte)),
                    b' '..=b'~' => char::from(*byte).to_string(),
                    byte => format!("\\x{byte:02x}"),
                })
                .collect();
            format!("$'{escaped}'")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_quoted_only_where_a_shell_needs_it() {
        assert_eq!(quoted(b"vlan/qinq_ipv4_udp"), "vlan/qinq_ipv4_udp");
        assert_eq!(quoted(b"my counter.o"), "'my counter.o'");
        assert_eq!(quoted(b"it's"), r"'it'\''s'");
        assert_eq!(quoted(b""), "''");
    }

    #[test]
    fn a_name_with_a_newline_stays_on_the_line() {
        assert_eq!(quoted(b"a\nb's.o"), r"$'a\x0ab\'s.o'");
        assert_eq!(quoted("µ.o".as_bytes()), "'µ.o'");
        assert_eq!(quoted(b"\xff.o"), r"$'\xff.o'");
    }
}
