//! What a rule is made of: pure data, and how it reads.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a step came to, expected and observed side by side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepRecord {
    /// What was done.
    pub action: String,
    /// What had to come out.
    pub expected: String,
    /// What came out.
    pub observed: String,
}
