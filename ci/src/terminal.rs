//! Lines for a terminal. Where it cannot be written (a full disk, a closed terminal), the run goes on: the exit code tells its outcome.

use std::io::Write as _;

use textwrap::{Options, WordSeparator, WordSplitter};

/// Wraps each line at 100 columns, with an indent.
pub(crate) fn wrap(text: &str) -> String {
    let options = Options::new(100).subsequent_indent("    ").break_words(false);
    let options = options.word_separator(WordSeparator::AsciiSpace);
    textwrap::fill(text, options.word_splitter(WordSplitter::NoHyphenation))
}

/// Prints wrapped lines to stderr.
pub(crate) fn log(text: &str) {
    let _unwritable = writeln!(anstream::stderr(), "{}", wrap(text));
}
