//! Text from results on a page: whatever it holds, it is shown and never obeyed.

use std::{borrow::Cow, fmt};

use askama::filters::{Escaper, Html};

/// Characters of a string that are shown; a longer one says how many more it has.
const SHOWN: usize = 16_384;

/// The escaper of the templates: escapes for HTML, and makes invisible characters [`visible`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Visible;

impl Escaper for Visible {
    fn write_escaped_str<W: fmt::Write>(&self, to: W, text: &str) -> fmt::Result {
        Html.write_escaped_str(to, &visible(text))
    }
}

/// The same text, with what steers the display instead of being displayed written as `\u{202e}`: control characters but for
/// line feed and tab, marks of direction, and characters of no width. What is too long is cut.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    let fits = text.len() <= SHOWN;
    if fits && !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len().min(SHOWN) + 64);
    let mut characters = text.chars();
    for character in characters.by_ref().take(SHOWN) {
        if steers(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    let more = characters.count();
    if more > 0 {
        shown.push_str(&format!(" … and {more} characters more"));
    }
    Cow::Owned(shown)
}

fn steers(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        // Soft hyphen, Arabic letter mark, zero widths and marks of direction, separators of lines and paragraphs, embeddings
        // and overrides, invisible operators and isolates, byte order mark.
        '\u{ad}'
        | '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => true,
        other => other.is_control(),
    }
}

/// JSON that can stand within a `<script>` element: no markup begins or ends in it.
pub(super) fn in_script(json: &str) -> String {
    // Outside of strings, JSON has none of these.
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_as_it_is_written_stays_as_it_is() {
        assert!(matches!(visible("vlan/qinq, größer\n\t✓"), Cow::Borrowed(_)));
    }

    #[test]
    fn what_steers_the_display_is_written_out() {
        assert_eq!(visible("a\u{202e}b\u{0}\u{1b}[2J\u{feff}"), "a\\u{202e}b\\u{0}\\u{1b}[2J\\u{feff}");
    }

    #[test]
    fn a_huge_string_is_cut_and_says_so() {
        let shown = visible(&"ä".repeat(SHOWN + 3)).into_owned();
        assert!(shown.ends_with("ä … and 3 characters more"), "{}", shown.len());
        assert_eq!(visible(&"a".repeat(SHOWN)).len(), SHOWN);
    }

    #[test]
    fn a_template_escapes_markup_and_shows_the_rest() {
        let mut text = String::new();
        Visible.write_escaped_str(&mut text, "<b title='\u{202e}\">&").unwrap();
        assert!(!text.contains(['<', '>', '\'', '"', '\u{202e}']) && text.contains("\\u{202e}"), "{text}");
    }

    #[test]
    fn json_ends_no_script() {
        let json = serde_json::to_string("</script><!--<script>&").unwrap();
        let safe = in_script(&json);
        assert!(!safe.contains(['<', '>', '&']), "{safe}");
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), "</script><!--<script>&");
    }
}
