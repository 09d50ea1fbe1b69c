//! The built-in scenarios.

use xdproof_scenarios::{Scenario, load};

/// Returns the scenarios of the built-in corpus.
pub(crate) fn builtin() -> Result<&'static [Scenario], String> {
    let errors = match load::builtin() {
        Ok(scenarios) => return Ok(scenarios.leak()),
        Err(errors) => errors,
    };
    Err(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}
