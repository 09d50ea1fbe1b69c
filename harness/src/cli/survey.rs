//! The contents of an object that nobody has described with a fixture yet.

use std::io::{self, Write};

use crate::{
    program::{ObjectSurvey, SurveyedMap, SurveyedProgram},
    report::terminal_style::{shown, wrapped},
};

/// Maps and programs that are listed.
const LISTED: usize = 16;

/// Writes the programs and maps of an object.
pub(super) fn write(to: &mut dyn Write, survey: &ObjectSurvey) -> io::Result<()> {
    let ObjectSurvey { license, has_types, programs, maps, globals: _ } = survey;
    let license = if license.is_empty() { "no license" } else { license };
    let types = if *has_types { "" } else { ", without types (BTF)" };
    writeln!(to, "{}", shown(&format!("the object has license {license}{types}")))?;
    for program in programs.iter().take(LISTED) {
        let SurveyedProgram { name, section, helpers, maps, problem, .. } = program;
        let list = |what: &str, names: &[String]| {
            if names.is_empty() { String::new() } else { format!("; {what} {}", names.join(", ")) }
        };
        let problem = problem.as_ref().map(|problem| format!("; {problem}")).unwrap_or_default();
        let line = format!(
            "program {name} ({section}){}{}{problem}",
            list("calls", helpers),
            list("uses maps", maps)
        );
        writeln!(to, "  {}", wrapped(&shown(&line), 2, 4))?;
    }
    for SurveyedMap { name, kind, key, value, entries, .. } in maps.iter().take(LISTED) {
        let key = key.as_ref().map(|key| format!("{key} -> ")).unwrap_or_default();
        let line = format!("map {name}: {kind}, {entries} entries, {key}{value}");
        writeln!(to, "  {}", wrapped(&shown(&line), 2, 4))?;
    }
    let more = programs.len().saturating_sub(LISTED) + maps.len().saturating_sub(LISTED);
    if more > 0 {
        writeln!(to, "  and {more} more programs and maps")?;
    }
    Ok(())
}
