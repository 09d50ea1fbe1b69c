//! Shared pieces of text on a terminal: verbosity, colours, numbers with their nouns, wrapping.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use xdproof_ebpf::abi::protocol_name;

use xdproof_core::model::{Summary, VerdictKind};

/// Columns of a line; longer ones are wrapped.
const COLUMNS: usize = 100;

/// Amount of output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Failures and the summary.
    Quiet,
    /// Adds the table.
    #[default]
    Normal,
    /// Adds each trial when it ends.
    Verbose,
}

/// Returns trials by verdict, as in `3 pass, 1 fail`.
#[must_use]
pub fn numbers(summary: &Summary) -> String {
    let numbers = summary.numbers().into_iter().filter(|(_, number)| *number > 0);
    numbers.map(|(name, number)| format!("{number} {name}")).collect::<Vec<_>>().join(", ")
}

/// Returns the text on one line without control characters, so that it cannot steer a terminal.
#[must_use]
pub fn shown(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// Returns a number with its noun, as in `1 trial` and `2 trials`.
#[must_use]
pub fn several(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Breaks a line at blanks so that it fits the terminal; further lines are indented. `taken` columns of the first line are
/// in use. A word that is longer stays whole, so that commands and bytes can be copied.
#[must_use]
pub fn wrapped(text: &str, taken: usize, indent: usize) -> String {
    let mut wrapped = String::with_capacity(text.len() + 16);
    let mut column = taken;
    for word in text.split(' ') {
        let width = word.chars().count();
        if column > indent && column + 1 + width > COLUMNS {
            let _infallible = write!(wrapped, "\n{:indent$}{word}", "");
            column = indent + width;
        } else {
            let blank = if wrapped.is_empty() { "" } else { " " };
            column += blank.len() + width;
            wrapped.push_str(blank);
            wrapped.push_str(word);
        }
    }
    wrapped
}

/// Returns the colour of a verdict.
pub(crate) fn style_of(verdict: VerdictKind) -> Style {
    let color = match verdict {
        VerdictKind::Pass => AnsiColor::Green,
        VerdictKind::Fail | VerdictKind::Error => return AnsiColor::Red.on_default().bold(),
        VerdictKind::Skip | VerdictKind::Unreachable => AnsiColor::Yellow,
        VerdictKind::Xfail => AnsiColor::Magenta,
    };
    color.on_default()
}

/// Returns a protocol's number and name, as in `17 udp`.
#[must_use]
pub fn protocol_label(protocol: u8) -> String {
    protocol_name(protocol).map_or_else(|| protocol.to_string(), |name| format!("{protocol} {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_wrapped_with_an_indent_and_words_stay_whole() {
        let text = "word ".repeat(40);
        let wrapped = wrapped(text.trim_end(), 10, 4);
        assert!(wrapped.lines().all(|line| line.chars().count() <= COLUMNS), "{wrapped}");
        assert!(wrapped.lines().skip(1).all(|line| line.starts_with("    word")), "{wrapped}");
        assert_eq!(wrapped.split_whitespace().count(), 40);
        let long = "f".repeat(300);
        assert_eq!(super::wrapped(&long, 0, 4), long);
    }
}
