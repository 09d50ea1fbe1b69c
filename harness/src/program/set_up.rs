//! The set-up of a program before it is loaded: values of global variables, further programs, and maps that others share.

use std::collections::{BTreeMap, BTreeSet};

use xdproof_scenarios::fixture::{FixtureValue, Spot};

/// The beginning of a text that names a program.
const PROGRAM: &str = "program:";

/// Set-up of a program, before it is loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadSetUp {
    /// Values of variables in `.data`, `.rodata` and `.bss`, each with the position of its name.
    pub globals: Vec<(String, Spot, FixtureValue)>,
    /// Set if maps that are pinned by name under `/sys/fs/bpf` are used, where they are; otherwise every map is a private one.
    pub reuse_pins: bool,
    /// Numbers of entries by the names of maps, as far as they are not those of the object.
    pub entries: BTreeMap<String, u32>,
    /// Programs of the object that are loaded, too, for slots of a program array and for entries of devmaps and cpumaps.
    pub programs: BTreeSet<String>,
}

impl LoadSetUp {
    /// Adds the programs that values name (`program:NAME`).
    pub fn add_programs_of<'v>(&mut self, values: impl IntoIterator<Item = &'v FixtureValue>) {
        let mut values: Vec<&FixtureValue> = values.into_iter().collect();
        while let Some(value) = values.pop() {
            match value {
                FixtureValue::Text(text) => {
                    self.programs.extend(text.strip_prefix(PROGRAM).map(str::to_owned));
                }
                FixtureValue::Array(elements) => values.extend(elements),
                FixtureValue::Fields(fields) => values.extend(fields.iter().map(|(_, _, value)| value)),
                FixtureValue::Integer(_) | FixtureValue::Boolean(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_wherever_a_value_names_them() {
        let text = |text: &str| FixtureValue::Text(text.to_owned());
        let fields = vec![
            ("ifindex".to_owned(), Spot::default(), text("port:0")),
            ("bpf_prog".to_owned(), Spot::default(), text("program:behind")),
        ];
        let mut set_up = LoadSetUp::default();
        let values =
            [FixtureValue::Array(vec![text("program:next"), text("other")]), FixtureValue::Fields(fields)];
        set_up.add_programs_of(&values);
        assert_eq!(set_up.programs, ["behind", "next"].map(str::to_owned).into());
    }
}
