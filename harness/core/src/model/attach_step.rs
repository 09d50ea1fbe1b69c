//! Steps of attach-semantics tests.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A step with its expected and observed outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepRecord {
    pub action: String,
    pub expected: String,
    pub observed: String,
}
