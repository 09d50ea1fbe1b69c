//! `xdproof schema`

use std::io;

use clap::Args;

use crate::{
    cli::{Exit, Failure},
    report::schema::Document,
};

#[derive(Debug, Args)]
pub(super) struct Schema {
    /// Print the schema of this: result, results.
    #[arg(value_enum, default_value_t = Document::Result)]
    document: Document,
}

impl Schema {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        self.document.write(io::stdout().lock()).map_err(Failure::output)?;
        Ok(Exit::AsExpected)
    }
}
