//! The JSON Schema of what is written, made from the types that are written. The repository holds it in `harness/report/schema/`.

use std::io;

use schemars::{Schema, schema_for};

use xdproof_core::model::{Collection, RunResult};

/// A document that has a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Document {
    /// One result, `xdproof.result/2`: what validate and bench write.
    Result,
    /// Several, `xdproof.results/2`: what merge writes.
    Results,
}

impl Document {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Result, Self::Results];

    /// The file in `harness/report/schema/`.
    #[must_use]
    pub fn file(self) -> &'static str {
        match self {
            Self::Result => "result.schema.json",
            Self::Results => "results.schema.json",
        }
    }

    /// Its schema (JSON Schema, draft 2020-12).
    #[must_use]
    pub fn schema(self) -> Schema {
        match self {
            Self::Result => schema_for!(RunResult),
            Self::Results => schema_for!(Collection),
        }
    }

    /// Writes its schema as the file has it.
    pub fn write(self, to: impl io::Write) -> io::Result<()> {
        super::json::write_pretty(to, &self.schema())
    }
}
