//! The head of the page: everything that was tested, the verdicts by number, and the choices that the list of trials offers.

use std::collections::{BTreeMap, BTreeSet};

use xdproof_core::model::{DeviceRecord, Environment, PortRole, RunResult, VerdictKind};

use crate::{
    assessment::{Assessment, Standing},
    html::{
        badge::Badge,
        columns::{Column, Columns, programs},
        data::ScenarioNotes,
        matrix::{Mark, group, mark},
        text::visible,
    },
};

/// Values of a fact that are shown.
const SHOWN_VALUES: usize = 8;

/// Something that was tested.
pub(super) struct TestedFact {
    pub(super) name: &'static str,
    /// Lines.
    pub(super) values: Vec<String>,
    pub(super) more: usize,
}

/// A choice that the list of trials offers.
pub(super) struct Facet {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) values: Vec<String>,
}

/// Returns a name for each result: its kernel, NICs and program, as far as they differ, otherwise its number.
pub(super) fn labels(results: &[RunResult]) -> Vec<String> {
    let parts = results.iter().zip(programs(results)).map(|(result, program)| {
        let mut nics: Vec<&str> = result.trials.iter().filter_map(|trial| trial.nic.as_deref()).collect();
        nics.extend(
            result.devices.iter().filter(|its| its.role == PortRole::Dut).map(|its| its.nic.as_str()),
        );
        nics.sort_unstable();
        nics.dedup();
        let mut nics = nics.join(", ");
        if nics.len() > 40 {
            nics = "several NICs".to_owned();
        }
        [visible(&result.environment.kernel_release).into_owned(), visible(&nics).into_owned(), program]
    });
    let parts: Vec<[String; 3]> = parts.collect();
    let differ = |at: usize| parts.iter().any(|part| part[at] != parts[0][at]);
    let wanted: Vec<usize> = (0..3).filter(|&at| at == 0 || differ(at)).collect();
    let label = |part: &[String; 3]| {
        let words: Vec<&str> =
            wanted.iter().map(|&at| part[at].as_str()).filter(|its| !its.is_empty()).collect();
        words.join(" · ")
    };
    let labels: Vec<String> = parts.iter().map(label).collect();
    let mut taken = BTreeMap::new();
    let numbered = labels.iter().map(|label| {
        let times = taken.entry(label).or_insert(0_usize);
        *times += 1;
        if *times == 1 { label.clone() } else { format!("{label} ({times})") }
    });
    numbered.collect()
}

pub(super) fn standing(standing: Standing) -> Badge {
    let (class, symbol) = match standing {
        Standing::Failed => ("fail", "✗"),
        Standing::Incomplete => ("error", "!"),
        Standing::NothingProved | Standing::Empty => ("skip", "–"),
        Standing::PassedWithWarnings => ("xfail", "≈"),
        Standing::Measured => ("skip", "="),
        Standing::Passed => ("pass", "✓"),
    };
    Badge { class, symbol, name: standing.name().to_owned() }
}

/// Verdicts by number.
pub(super) fn numbers(assessment: &Assessment) -> Vec<(Mark, usize)> {
    let summary = &assessment.summary;
    let numbers = [
        (mark(VerdictKind::Fail), summary.fail),
        (mark(VerdictKind::Error), summary.error),
        (mark(VerdictKind::Xfail), summary.xfail),
        (mark(VerdictKind::Pass), summary.pass),
        (mark(VerdictKind::Skip), summary.skip),
        (mark(VerdictKind::Unreachable), summary.unreachable),
    ];
    numbers.into_iter().filter(|(_, number)| *number > 0).collect()
}

pub(super) fn facts(results: &[RunResult]) -> Vec<TestedFact> {
    let fact = |name, all: Vec<String>| {
        let mut seen = BTreeSet::new();
        let mut values: Vec<String> = all.into_iter().filter(|value| seen.insert(value.clone())).collect();
        let more = values.len().saturating_sub(SHOWN_VALUES);
        values.truncate(SHOWN_VALUES);
        TestedFact { name, values, more }
    };
    let each = |of: &dyn Fn(&RunResult) -> Vec<String>| results.iter().flat_map(of).collect::<Vec<String>>();
    let devices = each(&|result| {
        let duts = result.devices.iter().filter(|device| device.role == PortRole::Dut);
        let mut devices: Vec<String> = duts.map(device_in_words).collect();
        let described: BTreeSet<&str> = result.devices.iter().map(|device| device.nic.as_str()).collect();
        let tested = result.trials.iter().filter_map(|trial| trial.nic.as_deref());
        let measured = result.measurements.iter().filter_map(|its| its.fingerprint.device.as_ref());
        let nics: BTreeSet<&str> = tested.chain(measured.map(|its| its.driver.as_str())).collect();
        devices.extend(nics.into_iter().filter(|nic| !described.contains(nic)).map(str::to_owned));
        devices
    });
    let modes = each(&|result| {
        let of_trials = result.trials.iter().map(|its| its.mode);
        of_trials.chain(result.measurements.iter().map(|its| its.mode)).map(|its| its.to_string()).collect()
    });
    let injectors = each(&|result| {
        let of_trials = result.trials.iter().map(|its| its.injector);
        of_trials
            .chain(result.measurements.iter().map(|its| its.injector))
            .map(|its| its.to_string())
            .collect()
    });
    let programs = each(&|result| {
        let program = &result.environment.program;
        let object = program.object.as_deref().unwrap_or("built in");
        let counters = program.counter_map.as_ref().map(|map| format!(", counts in map {map}"));
        let identity = format!("{} ({object}), tag {}", program.name, program.tag);
        std::iter::once(identity + &counters.unwrap_or_default()).chain(program.notes.clone()).collect()
    });
    let machines = each(&|result| {
        let Environment { architecture, cpu_model, cpus_available, .. } = &result.environment;
        let model = cpu_model.as_deref().unwrap_or("unknown CPU");
        vec![format!("{architecture}, {model}, {cpus_available} CPUs")]
    });
    vec![
        fact("Devices", devices),
        fact("Kernels", each(&|result| vec![result.environment.kernel_release.clone()])),
        fact("Modes", one_line(modes)),
        fact("Injectors", one_line(injectors)),
        fact("Program", programs),
        fact("Machine", machines),
        fact("xdproof", each(&|result| vec![result.environment.xdproof.clone()])),
    ]
}

/// Short values behind each other, each once.
fn one_line(values: Vec<String>) -> Vec<String> {
    let each: BTreeSet<String> = values.into_iter().collect();
    if each.is_empty() { Vec::new() } else { vec![each.into_iter().collect::<Vec<_>>().join(", ")] }
}

fn device_in_words(device: &DeviceRecord) -> String {
    let DeviceRecord { nic, driver, driver_version, firmware, pci_id, .. } = device;
    let mut words = vec![if nic == driver { nic.clone() } else { format!("{nic}: driver {driver}") }];
    words.extend(driver_version.as_ref().map(|version| format!("version {version}")));
    words.extend(firmware.as_ref().map(|its| format!("firmware {its}")));
    words.extend(pci_id.clone());
    words.join(", ")
}

pub(super) fn facets(results: &[RunResult], columns: &Columns, known: &ScenarioNotes) -> Vec<Facet> {
    let of =
        |name, label, values: BTreeSet<String>| Facet { name, label, values: values.into_iter().collect() };
    let column = |of: &dyn Fn(&Column) -> String| columns.all.iter().map(of).collect();
    let scenarios = || results.iter().flat_map(|result| &result.trials).map(|trial| trial.scenario.as_str());
    let groups = scenarios().map(|scenario| visible(group(scenario)).into_owned());
    let tags = scenarios().filter_map(|scenario| known.get(scenario)).flat_map(|(_, tags)| tags.clone());
    let all = [
        of("group", "Group", groups.collect()),
        of("kernel", "Kernel", column(&|its| its.kernel.clone())),
        of("nic", "NIC", column(&|its| its.nic.clone())),
        of("mode", "Mode", column(&|its| its.mode.to_string())),
        of("injector", "Injector", column(&|its| its.injector.to_string())),
        of("program", "Program", column(&|its| its.program.clone())),
        of("tag", "Tag", tags.collect()),
    ];
    all.into_iter().filter(|facet| facet.values.len() > 1).collect()
}
