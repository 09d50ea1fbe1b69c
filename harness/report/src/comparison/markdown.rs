//! A comparison in Markdown.

use std::{fmt::Write as _, io};

use crate::{
    comparison::{
        Comparison, Side,
        tables::{ChangeRow, ChangeTable, tables},
    },
    markdown::table,
    markdown_text::{code, prose},
};

/// Writes the comparison.
pub fn write(comparison: &Comparison, mut to: impl io::Write) -> io::Result<()> {
    let mut text = String::new();
    render(&mut text, comparison).map_err(io::Error::other)?;
    to.write_all(text.as_bytes())?;
    to.flush()
}

fn render(to: &mut String, comparison: &Comparison) -> std::fmt::Result {
    writeln!(to, "## xdproof compare: {}\n", comparison.headline())?;
    writeln!(to, "{}.\n", prose(&comparison.summary()))?;
    let sides = Side::rows([&comparison.old, &comparison.new]);
    let sides = sides.map(|(name, [old, new])| vec![name.to_lowercase(), prose(&old), prose(&new)]);
    table(to, &["", "old", "new"].map(str::to_owned), &sides)?;
    for incomplete in &comparison.incomplete {
        writeln!(to, "- incomplete: {}", prose(incomplete))?;
    }
    if !comparison.incomplete.is_empty() {
        writeln!(to)?;
    }
    for ChangeTable { heading, columns, rows } in tables(comparison) {
        writeln!(to, "### {heading}\n")?;
        let header: Vec<String> = [""].iter().chain(columns).map(|name| name.to_lowercase()).collect();
        table(to, &header, &rows.iter().map(cells).collect::<Vec<_>>())?;
    }
    Ok(())
}

fn cells(ChangeRow { word, tone: _, worse, id, cells }: &ChangeRow) -> Vec<String> {
    let word = if *worse { format!("**{word}**") } else { word.clone() };
    let id = id.iter().map(|(id, aside)| format!("{}{}", code(id).replace('|', "\\|"), prose(aside)));
    [word].into_iter().chain(id).chain(cells.iter().map(|cell| prose(cell))).collect()
}
