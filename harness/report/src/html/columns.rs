//! Columns of trials: each kernel, NIC, mode and injector of each result once, and the names by which links find trials.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::{html::text::visible, test_cases::runs};
use xdproof_core::model::{
    environment::ProgramIdentity,
    mode::{InjectorKind, Mode},
    result::{Collection, RunResult, TrialRecord},
};

/// Shown where there is no NIC.
pub(super) const NO_DEVICE: &str = "no device";

/// The columns of trials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Column {
    /// The result that it is of.
    pub(super) run: usize,
    pub(super) kernel: String,
    pub(super) nic: String,
    pub(super) mode: Mode,
    pub(super) injector: InjectorKind,
    pub(super) program: String,
    /// Suffix of the keys of its trials, unique among columns.
    pub(super) suffix: String,
}

/// Device, mode and injector of a trial.
type TrialKey = (Option<String>, Mode, InjectorKind);

/// All columns, and which of what they are made of there are several of.
pub(super) struct Columns {
    pub(super) all: Vec<Column>,
    /// For each result, the column of a trial by what tells it from others.
    by_trial: Vec<BTreeMap<TrialKey, usize>>,
    pub(super) several: Several,
}

/// Returns true if there is more than one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Several {
    pub(super) kernel: bool,
    pub(super) nic: bool,
    pub(super) mode: bool,
    pub(super) injector: bool,
    pub(super) program: bool,
}

impl Columns {
    pub(super) fn of(collection: &Collection) -> Self {
        let mut all: Vec<Column> = Vec::new();
        let mut taken = BTreeSet::new();
        let mut by_trial = Vec::new();
        let programs = programs(&collection.results);
        let repetitions = runs(&collection.results);
        for (run, result) in collection.results.iter().enumerate() {
            let mut columns = BTreeMap::new();
            let keys: BTreeSet<_> = result.trials.iter().map(key).collect();
            for (nic, mode, injector) in keys {
                let path = (nic.as_deref(), mode, injector);
                let repetition = (run, repetitions[run]);
                let column = Column::new(repetition, result, path, programs[run].clone(), &mut taken);
                columns.insert((nic, mode, injector), all.len());
                all.push(column);
            }
            by_trial.push(columns);
        }
        let several = Several {
            kernel: differ(&all, |column| &column.kernel),
            nic: differ(&all, |column| &column.nic),
            mode: differ(&all, |column| &column.mode),
            injector: differ(&all, |column| &column.injector),
            program: differ(&all, |column| &column.program),
        };
        Self { all, by_trial, several }
    }

    /// The number of a trial's column.
    pub(super) fn at(&self, run: usize, trial: &TrialRecord) -> usize {
        self.by_trial.get(run).and_then(|columns| columns.get(&key(trial))).copied().unwrap_or(0)
    }

    pub(super) fn column(&self, run: usize, trial: &TrialRecord) -> Option<&Column> {
        self.all.get(self.at(run, trial))
    }

    /// The name that links find a trial by.
    pub(super) fn key(&self, run: usize, trial: &TrialRecord) -> String {
        let suffix = self.column(run, trial).map_or("", |column| &column.suffix);
        format!("{}{suffix}", visible(&trial.scenario))
    }

    /// In the fewest words where a trial was run.
    pub(super) fn label(&self, run: usize, trial: &TrialRecord) -> String {
        self.column(run, trial).map(|column| column.label(self.several)).unwrap_or_default()
    }
}

fn key(trial: &TrialRecord) -> (Option<String>, Mode, InjectorKind) {
    (trial.nic.clone(), trial.mode, trial.injector)
}

fn differ<T: PartialEq + ?Sized>(columns: &[Column], of: impl Fn(&Column) -> &T) -> bool {
    columns.windows(2).any(|two| of(&two[0]) != of(&two[1]))
}

/// The program of each result: by its name, and by its tag where the name does not tell it from others.
pub(super) fn programs(results: &[RunResult]) -> Vec<String> {
    let tells = |program: &ProgramIdentity| {
        results
            .iter()
            .map(|result| &result.environment.program)
            .all(|other| other.name != program.name || other == program)
    };
    let name = |result: &RunResult| {
        let program = &result.environment.program;
        let name =
            if tells(program) { program.name.clone() } else { format!("{} {}", program.name, program.tag) };
        visible(&name).into_owned()
    };
    results.iter().map(name).collect()
}

impl Column {
    fn new(
        (run, repetition): (usize, usize),
        result: &RunResult,
        (nic, mode, injector): (Option<&str>, Mode, InjectorKind),
        program: String,
        taken: &mut BTreeSet<String>,
    ) -> Self {
        let mut kernel = visible(&result.environment.kernel_release).into_owned();
        if repetition > 1 {
            kernel.push_str(&format!(" run {repetition}"));
        }
        let nic = visible(nic.unwrap_or(NO_DEVICE)).into_owned();
        let wanted = format!("::{mode}::{injector}@{nic}@{kernel}");
        let more = (2_usize..).map(|number| format!("{wanted}~{number}"));
        let suffix = std::iter::once(wanted.clone()).chain(more).find(|suffix| !taken.contains(suffix));
        let suffix = suffix.unwrap_or(wanted);
        taken.insert(suffix.clone());
        Self { run, kernel, nic, mode, injector, program, suffix }
    }

    /// In the fewest words what it is, where there are others.
    pub(super) fn label(&self, several: Several) -> String {
        self.parts(several).into_iter().flatten().collect::<Vec<_>>().join(" · ")
    }

    /// Returns the attributes that distinguish it: kernel, program, NIC, mode, injector.
    pub(super) fn parts(&self, several: Several) -> [Option<&str>; 5] {
        let part = |needed: bool, text| if needed { Some(text) } else { None };
        [
            part(several.kernel, self.kernel.as_str()),
            part(several.program, self.program.as_str()),
            part(several.nic && self.nic != NO_DEVICE, self.nic.as_str()),
            part(several.mode || !several.injector, self.mode.name()),
            part(several.injector, self.injector.name()),
        ]
    }

    /// The part of a link that shows its trials and no others.
    pub(super) fn filter(&self, several: Several) -> String {
        let mut filter = String::new();
        let mut part = |needed: bool, name: &str, value: &str| {
            if needed {
                filter.push_str(&format!("&{name}={}", encoded(value)));
            }
        };
        part(several.kernel, "kernel", &self.kernel);
        part(several.nic, "nic", &self.nic);
        part(several.mode, "mode", self.mode.name());
        part(several.injector, "injector", self.injector.name());
        part(several.program, "program", &self.program);
        filter
    }
}

/// Text as it may stand in a part of a link (RFC 3986, section 2), so that `URLSearchParams` reads it back.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' | b':' | b'@' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}
