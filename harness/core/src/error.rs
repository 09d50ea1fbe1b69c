//! An error with everything behind it, as one line of text.

/// An error with everything behind it, on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        // An error that says of what it came says it once.
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_source_that_an_error_already_names_is_not_repeated() {
        #[derive(Debug, thiserror::Error)]
        #[error("failed to {0}")]
        struct Outer(#[from] Inner);
        #[derive(Debug, thiserror::Error)]
        #[error("open a door")]
        struct Inner(#[source] io::Error);
        let error = Outer(Inner(io::ErrorKind::NotFound.into()));
        assert_eq!(chain(&error), "failed to open a door: entity not found");
    }
}
