//! Values that do not fit a layout.

use xdproof_scenarios::fixture::Spot;

/// A value that does not fit a layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default())]
pub struct LayoutError {
    /// Position of the innermost field around the fault; none if it is the whole value.
    pub spot: Option<Spot>,
    /// A sentence with the field, the limit and the value.
    pub message: String,
    /// Something that helps, such as the nearest name.
    pub hint: Option<String>,
}

/// The place in a value that is being read: what the whole is, the path of the field in it, and its position in the file.
#[derive(Clone, Debug)]
pub(super) struct At<'w> {
    pub(super) whole: &'w str,
    pub(super) path: String,
    pub(super) spot: Option<Spot>,
}

impl<'w> At<'w> {
    pub(super) fn whole(whole: &'w str) -> Self {
        Self { whole, path: String::new(), spot: None }
    }

    pub(super) fn field(&self, name: &str, spot: Spot) -> Self {
        let separator = if self.path.is_empty() { "" } else { "." };
        Self { whole: self.whole, path: format!("{}{separator}{name}", self.path), spot: Some(spot) }
    }

    pub(super) fn element(&self, index: usize) -> Self {
        Self { whole: self.whole, path: format!("{}[{index}]", self.path), spot: self.spot }
    }

    /// Returns an error whose message begins with the place.
    pub(super) fn error(&self, problem: impl AsRef<str>) -> LayoutError {
        let subject = if self.path.is_empty() { self.whole.to_owned() } else { format!("`{}`", self.path) };
        self.sentence(format!("{subject} {}", problem.as_ref()))
    }

    /// Returns an error with this message.
    pub(super) fn sentence(&self, message: String) -> LayoutError {
        LayoutError { spot: self.spot, message, hint: None }
    }
}

impl LayoutError {
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}
