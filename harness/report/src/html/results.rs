//! Tables of the page: support by device and mode, attach-semantics tests, devices, environments, detection power.

use std::collections::BTreeMap;

use xdproof_core::model::{DeviceRecord, Environment, Mode, PortRole, RunResult, StepRecord, VerdictKind};

use crate::{
    detection_power::{Power, table},
    html::{
        badge::count,
        columns::NO_DEVICE,
        matrix::{Mark, mark},
    },
};

/// The outcome of a mode on a device.
#[derive(PartialEq)]
pub(super) struct SupportRow<'a> {
    pub(super) nic: &'a str,
    pub(super) mode: Mode,
    pub(super) ran: usize,
    pub(super) tried: usize,
    pub(super) advertised: Option<&'a [String]>,
    pub(super) reasons: Vec<((Mark, &'a str), usize)>,
}

/// A rule, wherever it was tried.
pub(super) struct AttachTestRow<'a> {
    pub(super) id: &'a str,
    pub(super) fact: &'a str,
    pub(super) numbers: Vec<(Mark, usize)>,
    pub(super) bad: bool,
    pub(super) tries: Vec<AttachTestRun<'a>>,
}

pub(super) struct AttachTestRun<'a> {
    pub(super) anchor: String,
    pub(super) place: String,
    pub(super) mark: Mark,
    pub(super) bad: bool,
    pub(super) reason: &'a str,
    pub(super) steps: &'a [StepRecord],
}

/// The devices of a result.
pub(super) struct DevicesOf<'a> {
    pub(super) title: String,
    pub(super) records: &'a [DeviceRecord],
}

pub(super) struct EnvironmentOf<'a> {
    pub(super) anchor: String,
    pub(super) title: String,
    pub(super) environment: &'a Environment,
    /// Parts that are present of a run that was split.
    pub(super) parts: String,
    pub(super) virtual_machine: Option<bool>,
    pub(super) mitigations: Vec<(&'a str, &'a str)>,
    pub(super) messages: Vec<Message<'a>>,
}

pub(super) struct Message<'a> {
    pub(super) level: u8,
    /// Seconds since the kernel started, as `dmesg` has them.
    pub(super) since_boot: String,
    pub(super) text: &'a str,
}

/// Returns the outcomes, each with the kernels on which it is the same.
pub(super) fn support(results: &[RunResult]) -> Vec<(SupportRow<'_>, Vec<String>)> {
    let mut rows: Vec<(SupportRow<'_>, Vec<String>)> = Vec::new();
    for result in results {
        let kernel = &result.environment.kernel_release;
        for row in support_of(result) {
            match rows.iter_mut().find(|(known, _)| *known == row) {
                Some((_, kernels)) if kernels.contains(kernel) => {}
                Some((_, kernels)) => kernels.push(kernel.clone()),
                None => rows.push((row, vec![kernel.clone()])),
            }
        }
    }
    rows.sort_by(|(a, _), (b, _)| (a.nic, a.mode).cmp(&(b.nic, b.mode)));
    rows
}

fn support_of(result: &RunResult) -> impl Iterator<Item = SupportRow<'_>> {
    let mut by_path: BTreeMap<(Option<&str>, Mode), SupportRow<'_>> = BTreeMap::new();
    for trial in &result.trials {
        let nic = trial.nic.as_deref();
        let is_its =
            |device: &&DeviceRecord| device.role == PortRole::Dut && Some(device.nic.as_str()) == nic;
        let row = by_path.entry((nic, trial.mode)).or_insert_with(|| SupportRow {
            nic: nic.unwrap_or(NO_DEVICE),
            mode: trial.mode,
            ran: 0,
            tried: 0,
            advertised: result.devices.iter().find(is_its).and_then(|device| device.advertised.as_deref()),
            reasons: Vec::new(),
        });
        row.tried += 1;
        row.ran += usize::from(trial.observed.is_some());
        let declared =
            matches!(trial.verdict, VerdictKind::Skip | VerdictKind::Unreachable | VerdictKind::Xfail);
        if let (true, Some(reason)) = (declared, &trial.reason) {
            count(&mut row.reasons, (mark(trial.verdict), reason.as_str()));
        }
    }
    by_path.into_values()
}

pub(super) fn attach_semantics<'a>(results: &'a [RunResult], labels: &[String]) -> Vec<AttachTestRow<'a>> {
    let mut rows: Vec<AttachTestRow<'a>> = Vec::new();
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    for (run, (result, label)) in results.iter().zip(labels).enumerate() {
        for (number, rule) in result.attach_semantics.iter().enumerate() {
            let at = *known.entry(&rule.id).or_insert_with(|| {
                rows.push(AttachTestRow {
                    id: &rule.id,
                    fact: &rule.fact,
                    numbers: Vec::new(),
                    bad: false,
                    tries: Vec::new(),
                });
                rows.len() - 1
            });
            let (row, mark) = (&mut rows[at], mark(rule.verdict));
            row.bad |= rule.verdict.is_bad();
            count(&mut row.numbers, mark);
            row.tries.push(AttachTestRun {
                anchor: format!("attach-test-{}-{}", run + 1, number + 1),
                place: format!("{label} · {}", rule.nic),
                mark,
                bad: rule.verdict.is_bad(),
                reason: rule.reason.as_deref().unwrap_or_default(),
                steps: &rule.steps,
            });
        }
    }
    // Failed tests come first.
    rows.sort_by_key(|row| !row.bad);
    for row in &mut rows {
        row.tries.sort_by_key(|its| !its.bad);
    }
    rows
}

pub(super) fn devices<'a>(results: &'a [RunResult], labels: &[String]) -> Vec<DevicesOf<'a>> {
    let all = results.iter().zip(labels).filter(|(result, _)| !result.devices.is_empty());
    all.map(|(result, label)| DevicesOf { title: label.clone(), records: &result.devices }).collect()
}

/// Returns a sentence about the detection power of a pass.
pub(super) fn detection_power(power: &[(String, Power)]) -> String {
    let found = power.iter().filter(|(_, its)| its.passed > 0).map(|(_, its)| its.found);
    let (least, most) = (found.clone().min(), found.max());
    let faults = table().len();
    match (least, most) {
        (Some(least), Some(most)) if least == most => {
            format!("The scenarios that passed here detect {least} of {faults} planted faults.")
        }
        (Some(least), Some(most)) => format!(
            "The scenarios that passed here detect {least} to {most} of {faults} planted faults, depending on the path."
        ),
        _ => "No scenario passed, so that no planted fault would be detected.".to_owned(),
    }
}

pub(super) fn environments<'a>(results: &'a [RunResult], labels: &[String]) -> Vec<EnvironmentOf<'a>> {
    let of_result = |(run, (result, label)): (usize, (&'a RunResult, &String))| {
        let fingerprint = result.measurements.first().map(|measurement| &measurement.fingerprint);
        let mitigations = fingerprint.iter().flat_map(|its| &its.mitigations);
        let messages = result.kernel_messages.iter().map(|message| Message {
            level: message.level,
            since_boot: format!(
                "{}.{:06}",
                message.since_boot_us / 1_000_000,
                message.since_boot_us % 1_000_000
            ),
            text: &message.text,
        });
        let parts = result.partition.as_ref().map(|its| {
            let parts: Vec<String> = its.parts.iter().map(u64::to_string).collect();
            format!("{} of {}", parts.join(", "), its.count)
        });
        EnvironmentOf {
            parts: parts.unwrap_or_default(),
            anchor: format!("environment-{}", run + 1),
            title: label.clone(),
            environment: &result.environment,
            virtual_machine: fingerprint.map(|its| its.virtual_machine),
            mitigations: mitigations.map(|(name, state)| (name.as_str(), state.as_str())).collect(),
            messages: messages.collect(),
        }
    };
    results.iter().zip(labels).enumerate().map(of_result).collect()
}
