//! Small pieces that several parts of the page share.

/// A word with a symbol, so that it does not depend on its colour.
pub(super) struct Badge {
    pub(super) class: &'static str,
    pub(super) symbol: &'static str,
    pub(super) name: String,
}

pub(super) struct PageLink {
    pub(super) text: String,
    pub(super) href: String,
}

/// Counts one more of a value.
pub(super) fn count<T: PartialEq>(counts: &mut Vec<(T, usize)>, value: T) {
    match counts.iter_mut().find(|(known, _)| *known == value) {
        Some((_, times)) => *times += 1,
        None => counts.push((value, 1)),
    }
}
