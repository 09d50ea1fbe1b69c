//! Findings about a driver: contradictions between its advertised features and its trials, and differences between modes. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    FaultClass, Finding, FindingKind, KernelMessage, Mode, Severity, TrialRecord, VerdictKind,
};

/// Result of attaching in a mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attached {
    /// The program is attached and frames reach it.
    Yes,
    /// The kernel or the driver refused, with this reply.
    Refused(String),
    /// It is attached, and no frame reaches it.
    NoTraffic(String),
}

/// Everything about a device that findings follow from, beside its trials.
#[derive(Clone, Copy, Debug)]
pub struct Outcomes<'a> {
    /// Its name in trials.
    pub nic: &'a str,
    /// It advertised native XDP (`NETDEV_XDP_ACT_BASIC`) before a program was attached; none where the kernel cannot be asked.
    pub advertised: Option<bool>,
    /// Results of attaching at the usual MTU, by mode.
    pub attached: &'a BTreeMap<Mode, Attached>,
    /// Modes for which the support table has no entry.
    pub unknown: &'a BTreeSet<Mode>,
}

/// Returns the findings about a device.
#[must_use]
pub fn of_device(outcomes: Outcomes<'_>, trials: &[TrialRecord]) -> Vec<Finding> {
    let Outcomes { nic, advertised, attached, unknown } = outcomes;
    let finding = |kind, severity, mode, message: String| Finding {
        kind,
        severity,
        nic: Some(nic.to_owned()),
        mode: Some(mode),
        message,
    };
    let mut found = Vec::new();
    for (&mode, outcome) in attached {
        let promised = match mode {
            Mode::Native => advertised,
            _ => None,
        };
        match (outcome, promised) {
            (Attached::Refused(answer), Some(true)) => found.push(finding(
                FindingKind::AdvertisedNotWorking,
                Severity::Fault,
                mode,
                format!("the driver advertises XDP (basic) and refuses the program: {answer}"),
            )),
            (Attached::Refused(answer), _) if unknown.contains(&mode) => found.push(finding(
                FindingKind::UnknownSupport,
                Severity::Warning,
                mode,
                format!(
                    "the support table has no entry for this driver, which refuses the program: {answer}"
                ),
            )),
            (Attached::NoTraffic(what), _) => {
                found.push(finding(FindingKind::AdvertisedNotWorking, Severity::Fault, mode, what.clone()));
            }
            (Attached::Yes, Some(false)) => found.push(finding(
                FindingKind::NotAdvertised,
                Severity::Warning,
                mode,
                "the program attaches and counts, and the driver does not advertise XDP (basic)".to_owned(),
            )),
            (Attached::Yes | Attached::Refused(_), _) => {}
        }
    }
    found.extend(support(nic, trials));
    found.extend(between_modes(nic, trials));
    found
}

/// Contradictions to the support table and to declared deviations: each once, however many trials show it.
fn support(nic: &str, trials: &[TrialRecord]) -> Vec<Finding> {
    let mut seen = BTreeMap::<(FindingKind, Mode, String), usize>::new();
    for trial in trials {
        for mismatch in trial.failure.iter().flat_map(|failure| &failure.mismatches) {
            let kind = match mismatch.class {
                FaultClass::UnexpectedAttach => FindingKind::SupportTable,
                FaultClass::StaleDeviation => FindingKind::UnexpectedPass,
                _ => continue,
            };
            *seen.entry((kind, trial.mode, mismatch.to_string())).or_default() += 1;
        }
    }
    let one = |((kind, mode, what), trials)| {
        let message = format!("{what}, in {trials} {}", if trials == 1 { "trial" } else { "trials" });
        Finding { kind, severity: Severity::Fault, nic: Some(nic.to_owned()), mode: Some(mode), message }
    };
    seen.into_iter().map(one).collect()
}

/// The number of scenarios that a finding names.
const NAMED: usize = 3;

/// Faults of one mode that the other does not have, with the same frames, program and devices: the driver causes them.
fn between_modes(nic: &str, trials: &[TrialRecord]) -> Vec<Finding> {
    let passes = |mode: Mode| -> BTreeSet<(&str, &str)> {
        let passed = trials.iter().filter(|trial| trial.mode == mode && trial.verdict == VerdictKind::Pass);
        passed.map(|trial| (trial.scenario.as_str(), trial.injector.name())).collect()
    };
    let mut found = Vec::new();
    for (good, bad) in [(Mode::Generic, Mode::Native), (Mode::Native, Mode::Generic)] {
        let passed = passes(good);
        let mut by_fault = BTreeMap::<&'static str, Vec<&str>>::new();
        for trial in trials.iter().filter(|trial| {
            trial.mode == bad && passed.contains(&(trial.scenario.as_str(), trial.injector.name()))
        }) {
            let mismatches = trial.failure.iter().flat_map(|failure| &failure.mismatches);
            let faults = mismatches.map(|mismatch| mismatch.class);
            let gravest = faults.filter(|class| class.between_modes().is_some()).min();
            if let Some(fault) = gravest.and_then(FaultClass::between_modes) {
                by_fault.entry(fault).or_default().push(&trial.scenario);
            }
        }
        for (fault, scenarios) in by_fault {
            let named = scenarios.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
            let more = scenarios.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            found.push(Finding {
                kind: FindingKind::AdvertisedNotWorking,
                severity: Severity::Fault,
                nic: Some(nic.to_owned()),
                mode: Some(bad),
                message: format!(
                    "in {bad} mode {fault}, and in {good} mode they are not, with the same program, frames and devices: {named}{more}"
                ),
            });
        }
    }
    found
}

/// Returns a finding for each line in which the kernel reports a fault of its own.
#[must_use]
pub fn of_kernel(messages: &[KernelMessage]) -> Vec<Finding> {
    let fault = |message: &KernelMessage| Finding {
        kind: FindingKind::KernelFault,
        severity: Severity::Fault,
        nic: None,
        mode: None,
        message: format!("the kernel printed: {}", message.text),
    };
    // Returns true for a line between the mark and the warning. It may read like a fault of its own.
    let explains = |at: usize| match messages.get(at.saturating_sub(1)..) {
        Some([cut, _, warning, ..]) if at > 0 => {
            cut.text.contains(CUT_HERE) && warning.text.starts_with("WARNING: ")
        }
        _ => false,
    };
    let told = |(at, message): (usize, &KernelMessage)| {
        let mut fault = fault(message);
        if at > 0 && explains(at - 1) {
            fault.message = format!("{}: {}", fault.message, messages[at - 1].text);
        }
        fault
    };
    let faults = messages.iter().enumerate().filter(|(at, message)| is_fault(message) && !explains(*at));
    faults.map(told).collect()
}

/// The line that begins a warning; `WARN(condition, format, ...)` prints its explanation behind it and before `WARNING:`
/// (`warn_slowpath_fmt()` and `__warn_printk()` of `kernel/panic.c`).
const CUT_HERE: &str = "[ cut here ]";

/// Sorts findings by severity, and removes duplicates.
pub fn sort(findings: &mut Vec<Finding>) {
    findings.sort_by(|a, b| {
        (b.severity, a.kind, &a.nic, a.mode, &a.message)
            .cmp(&(a.severity, b.kind, &b.nic, b.mode, &b.message))
    });
    findings.dedup();
}

/// Strings by which a fault of the kernel is recognized: those that `__warn()` of `kernel/panic.c`, the oops paths of the architectures,
/// KASAN, KCSAN, UBSAN, lockdep, the watchdogs and `refcount_warn_saturate()` print.
const FAULTS: [&str; 17] = [
    "WARNING: ",
    "BUG: ",
    "Oops: ",
    "kernel BUG at ",
    "KASAN: ",
    "KCSAN: ",
    "KFENCE: ",
    "UBSAN: ",
    "general protection fault",
    "Kernel panic",
    "unable to handle",
    "refcount_t: ",
    "NETDEV WATCHDOG",
    "blocked for more than",
    "detected stall",
    "possible circular locking",
    "scheduling while atomic",
];

/// Returns true if a message reports a fault of the kernel.
#[must_use]
pub fn is_fault(message: &KernelMessage) -> bool {
    FAULTS.iter().any(|mark| message.text.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        judge::trial::unexpected_attach,
        model::{CheckId, ExpectedTotals, Failure, InjectorKind, Mismatch},
    };

    fn trial(scenario: &str, mode: Mode, mismatches: Vec<Mismatch>) -> TrialRecord {
        let verdict = if mismatches.is_empty() { VerdictKind::Pass } else { VerdictKind::Fail };
        let failure =
            Failure { mismatches, frames: Vec::new(), omitted: 0, reproducer: String::new(), pcap: None };
        TrialRecord {
            id: format!("{scenario}::{mode}::pnet"),
            scenario: scenario.to_owned(),
            mode,
            injector: InjectorKind::Pnet,
            nic: Some("x".to_owned()),
            verdict,
            reason: None,
            expected: ExpectedTotals::default(),
            observed: None,
            sent: 0,
            duration_us: 0,
            failure: (verdict == VerdictKind::Fail).then_some(failure),
        }
    }

    fn found(
        advertised: Option<bool>,
        native: Attached,
        trials: &[TrialRecord],
    ) -> Vec<(FindingKind, Severity)> {
        let attached = BTreeMap::from([(Mode::Generic, Attached::Yes), (Mode::Native, native)]);
        let unknown = BTreeSet::from([Mode::Native]);
        let outcomes = Outcomes { nic: "x", advertised, attached: &attached, unknown: &unknown };
        of_device(outcomes, trials).into_iter().map(|finding| (finding.kind, finding.severity)).collect()
    }

    #[test]
    fn a_driver_that_contradicts_its_advertised_features_is_a_finding() {
        let refused = || Attached::Refused("no".to_owned());
        let lies = (FindingKind::AdvertisedNotWorking, Severity::Fault);
        let none = Some(false);
        assert_eq!(found(Some(true), refused(), &[]), [lies]);
        assert_eq!(found(Some(true), Attached::Yes, &[]), []);
        assert_eq!(found(Some(true), Attached::NoTraffic("nothing".to_owned()), &[]), [lies]);
        assert_eq!(found(none, Attached::Yes, &[]), [(FindingKind::NotAdvertised, Severity::Warning)]);
        assert_eq!(found(none, refused(), &[]), [(FindingKind::UnknownSupport, Severity::Warning)]);
        assert_eq!(found(None, refused(), &[]), [(FindingKind::UnknownSupport, Severity::Warning)]);
        assert_eq!(found(None, Attached::Yes, &[]), []);
    }

    #[test]
    fn a_loss_in_one_mode_only_is_one_finding_with_its_scenarios() {
        let lost = || {
            vec![
                Mismatch::new(CheckId::new("counts"), FaultClass::Miscounted, "protocol 17", 4, 3),
                Mismatch::new(CheckId::new("conservation"), FaultClass::LostBeforeProgram, "runs", 4, 3),
            ]
        };
        let trials = [
            trial("a", Mode::Generic, vec![]),
            trial("a", Mode::Native, lost()),
            trial("b", Mode::Generic, vec![]),
            trial("b", Mode::Native, lost()),
            // A loss in both modes says nothing about either.
            trial("c", Mode::Generic, lost()),
            trial("c", Mode::Native, lost()),
        ];
        let attached = BTreeMap::from([(Mode::Generic, Attached::Yes), (Mode::Native, Attached::Yes)]);
        let outcomes =
            Outcomes { nic: "x", advertised: None, attached: &attached, unknown: &BTreeSet::new() };
        let findings = of_device(outcomes, &trials);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(
            (findings[0].kind, findings[0].mode),
            (FindingKind::AdvertisedNotWorking, Some(Mode::Native))
        );
        assert!(
            findings[0].message.contains("lost") && findings[0].message.ends_with("a, b"),
            "{}",
            findings[0].message
        );
    }

    #[test]
    fn a_contradiction_to_the_support_table_is_one_finding_for_all_trials() {
        let refused = || vec![unexpected_attach("attached", "refused")];
        let trials = [trial("a", Mode::Native, refused()), trial("b", Mode::Native, refused())];
        let findings = support("x", &trials);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].message.contains("2 trials"), "{}", findings[0].message);
    }

    #[test]
    fn only_faults_of_the_kernel_are_findings() {
        let message = |text: &str| KernelMessage { level: 4, since_boot_us: 1, text: text.to_owned() };
        let findings =
            of_kernel(&[message("link is down"), message("WARNING: CPU: 0 PID: 1 at net/core/dev.c:1")]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Fault);
    }

    #[test]
    fn a_warning_is_told_with_the_line_that_explains_it() {
        let told = |lines: &[&str]| {
            let messages: Vec<_> = lines.iter().map(|line| message(line)).collect();
            of_kernel(&messages).into_iter().map(|finding| finding.message).collect::<Vec<_>>()
        };
        let (cut, warning) =
            ("------------[ cut here ]------------", "WARNING: CPU: 0 PID: 1 at lib/refcount.c:28");
        let explained = format!("the kernel printed: {warning}: refcount_t: underflow; use-after-free.");
        assert_eq!(told(&[cut, "refcount_t: underflow; use-after-free.", warning]), [explained]);
        assert_eq!(told(&["link is down", cut, warning]), [format!("the kernel printed: {warning}")]);
    }

    #[test]
    fn findings_are_sorted_by_severity_without_duplicates() {
        let finding = |severity, message: &str| Finding {
            kind: FindingKind::Statistics,
            severity,
            nic: None,
            mode: None,
            message: message.to_owned(),
        };
        let mut findings =
            vec![finding(Severity::Note, "a"), finding(Severity::Fault, "b"), finding(Severity::Note, "a")];
        sort(&mut findings);
        assert_eq!(findings.iter().map(|finding| finding.message.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    }

    fn message(text: &str) -> KernelMessage {
        KernelMessage { level: 4, since_boot_us: 0, text: text.to_owned() }
    }

    #[test]
    fn a_kernel_fault_is_distinguished_from_other_messages() {
        for fault in [
            "WARNING: CPU: 0 PID: 1 at net/core/dev.c:5 dev_watchdog+0x1/0x2",
            "BUG: KASAN: slab-out-of-bounds in igb_clean_rx_irq",
            "BUG: unable to handle page fault for address: ffff",
            "NETDEV WATCHDOG: eth0 (e1000): transmit queue 0 timed out",
            "watchdog: BUG: soft lockup - CPU#0 stuck for 22s!",
        ] {
            assert!(is_fault(&message(fault)), "{fault}");
        }
        for complaint in [
            "virtio_net virtio0 eth0: XDP request 2 queues but max is 1. XDP_TX and XDP_REDIRECT will operate in a slower locked tx mode.",
            "e1000: eth0 NIC Link is Up 1000 Mbps Full Duplex",
        ] {
            assert!(!is_fault(&message(complaint)), "{complaint}");
        }
    }
}
