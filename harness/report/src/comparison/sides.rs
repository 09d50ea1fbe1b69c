//! The two sets of a comparison: their description, and the properties that identify results within them.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use xdproof_core::model::{Collection, PortRole, RunResult};

use crate::{store, terminal_style::several};

/// One of the two sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Side {
    /// The kernels' releases.
    pub kernels: BTreeSet<String>,
    /// The programs under test: name and tag.
    pub programs: BTreeSet<String>,
    /// The devices, as trials call them, with driver, version and firmware where they are known.
    pub devices: BTreeSet<String>,
}

impl Side {
    pub(super) fn of(results: &[RunResult]) -> Self {
        let devices = results.iter().flat_map(|result| &result.devices);
        let devices = devices.filter(|device| device.role == PortRole::Dut).map(|device| {
            let details = [&device.driver_version, &device.firmware].into_iter().flatten();
            details
                .fold(format!("{}: {}", device.nic, device.driver), |text, detail| format!("{text} {detail}"))
        });
        let mut devices: BTreeSet<String> = devices.collect();
        if devices.is_empty() {
            devices = results
                .iter()
                .flat_map(|result| &result.trials)
                .filter_map(|trial| trial.nic.clone())
                .collect();
        }
        Self {
            kernels: results.iter().map(kernel).collect(),
            programs: results.iter().map(program).collect(),
            devices,
        }
    }
    /// Returns the rows of a table of both sets.
    pub(super) fn rows(sides: [&Self; 2]) -> [(&'static str, [String; 2]); 3] {
        let row = |name, of: fn(&Self) -> &BTreeSet<String>| {
            (name, sides.map(|side| of(side).iter().cloned().collect::<Vec<_>>().join(", ")))
        };
        [
            row("Kernel", |side| &side.kernels),
            row("Program", |side| &side.programs),
            row("Device", |side| &side.devices),
        ]
    }
}

fn kernel(result: &RunResult) -> String {
    result.environment.kernel_release.clone()
}

fn program(result: &RunResult) -> String {
    let program = &result.environment.program;
    format!("{} {}", program.name, program.tag)
}

/// Returns the reasons why a collection is incomplete.
pub(super) fn incomplete(collection: &Collection) -> Vec<String> {
    let mut incomplete: Vec<String> = store::missing(collection).iter().map(ToString::to_string).collect();
    for result in &collection.results {
        if result.summary.not_run > 0 {
            incomplete.push(format!(
                "{}: {} not run",
                kernel(result),
                several(result.summary.not_run, "trial")
            ));
        }
    }
    let broken = collection.infrastructure_failures.iter().filter(|breakdown| !breakdown.recovered);
    incomplete.extend(broken.map(|breakdown| format!("{}: {}", breakdown.cell, breakdown.message)));
    incomplete
}

/// The properties that identify results within a set: kernel and program, if both sets have several.
pub(super) struct Places {
    kernels: bool,
    programs: bool,
}

impl Places {
    pub(super) fn of(sets: [&[RunResult]; 2]) -> Self {
        let several = |of: fn(&RunResult) -> String| {
            sets.iter().all(|results| results.iter().map(of).collect::<BTreeSet<_>>().len() > 1)
        };
        Self { kernels: several(kernel), programs: several(program) }
    }

    pub(super) fn place(&self, result: &RunResult) -> Option<String> {
        match (self.kernels, self.programs) {
            (true, true) => Some(format!("{}, {}", kernel(result), program(result))),
            (true, false) => Some(kernel(result)),
            (false, true) => Some(program(result)),
            (false, false) => None,
        }
    }
}
