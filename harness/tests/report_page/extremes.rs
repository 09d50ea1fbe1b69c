//! Results that go to the limits of a page: very many trials, and text that tries to break out.

use std::collections::BTreeMap;

use xdproof::model::{
    device::{Feature, PortRole},
    environment::ProgramIdentity,
    finding::{Finding, FindingKind, InfrastructureFailure, KernelMessage, Severity},
    judgement::{Estimate, Interval},
    measurement::Figure,
    mismatch::{CheckId, FaultClass, Mismatch},
    result::{Collection, RunResult, TrialRecord},
};
use xdproof_scenarios::Scenario;

use super::{
    measurement::measurement,
    results::{ON_A_WIRE, TEST_RUN, device, environment, passed, rules, stripped},
};

/// At least so many trials, as of very many devices.
pub(crate) fn many(scenarios: &[Scenario], least: usize) -> Collection {
    let on_a_wire: Vec<_> =
        scenarios.iter().flat_map(|scenario| ON_A_WIRE.map(|path| (scenario, path))).collect();
    let passing: Vec<TrialRecord> =
        on_a_wire.iter().map(|&(scenario, path)| passed(scenario, path, None)).collect();
    let mut results = Vec::new();
    let mut number = 0;
    while number < least {
        let kernel = format!("6.{}.0", results.len());
        let mut trials = Vec::new();
        for nic in ["igb", "ixgbe", "ice", "mlx5_core", "bnxt_en"] {
            for (&(scenario, path), passes) in on_a_wire.iter().zip(&passing) {
                number += 1;
                trials.push(if number % 97 == 0 && !scenario.is_unreachable() {
                    stripped(scenario, path, Some(nic), None)
                } else {
                    TrialRecord { nic: Some(nic.to_owned()), ..passes.clone() }
                });
            }
        }
        let planned = trials.len();
        results.push(RunResult::new(environment(&kernel), trials, Vec::new(), planned));
    }
    Collection::new(results, Vec::new())
}

/// What tries to break out of wherever it is put.
pub(crate) const HOSTILE: &str = "</script><script>window.broken=1</script><img src=x onerror=window.broken=1>\
     <!-- \u{202e}gnp.exe \u{0}\u{1b}[2J' \" & \\u003c {{ 7*7 }} ]]>";

/// Hostile text in every place that a file has for text, and numbers that are none.
pub(crate) fn hostile(scenarios: &[Scenario]) -> Collection {
    let text = || HOSTILE.to_owned();
    let mut environment = environment(HOSTILE);
    environment.xdproof = text();
    environment.kernel_version = text();
    environment.architecture = text();
    environment.cpu_model = Some(text());
    environment.program = ProgramIdentity {
        object: Some(text()),
        name: text(),
        tag: text(),
        counter_map: Some(text()),
        notes: vec![text()],
    };
    let tagged = scenarios.iter().find(|its| its.id.as_ref() == "vlan/qinq_ipv4_udp").into_iter();
    let mut trials: Vec<TrialRecord> = tagged
        .flat_map(|its| [stripped(its, ON_A_WIRE[1], Some(HOSTILE), None), passed(its, TEST_RUN, None)])
        .collect();
    for trial in &mut trials {
        trial.scenario = format!("{HOSTILE}/{}", "long".repeat(40_000));
        trial.id = text();
        trial.reason = Some("w".repeat(200_000));
        if let Some(failure) = &mut trial.failure {
            failure.reproducer = text();
            failure.pcap = Some(HOSTILE.into());
            for frame in &mut failure.frames {
                frame.layers = text();
                frame.hex = text();
            }
            let check = CheckId::new(HOSTILE);
            failure.mismatches.push(Mismatch::new(check, FaultClass::TestbedChanged, text(), text(), text()));
        }
    }
    let mut broken = measurement(HOSTILE, 30, |_| f64::NAN);
    broken.traffic = format!("{HOSTILE}/64");
    broken.notes = vec![text()];
    broken.reference.object = Some(text());
    let infinite = Interval { low: f64::NEG_INFINITY, high: f64::NAN };
    broken.value = Some(Figure { median: f64::INFINITY, interval: infinite });
    broken.ratio =
        Some(Estimate { ratio: f64::NAN, interval: infinite, median_abs_deviation: f64::NAN, blocks: 0 });
    broken.control = broken.ratio;
    broken.fingerprint.mitigations = BTreeMap::from([(text(), text())]);
    let planned = trials.len();
    let mut result = RunResult::new(environment, trials, vec![broken], planned);
    let mut its = device(HOSTILE, HOSTILE, PortRole::Dut);
    its.name = text();
    its.driver = text();
    its.firmware = Some(text());
    its.bus = Some(text());
    its.mac = Some(text());
    its.features.insert(text(), Feature { on: true, changeable: false });
    its.advertised = Some(vec![text()]);
    its.statistics[0].name = text();
    result.devices = vec![its];
    result.findings = vec![Finding {
        kind: FindingKind::KernelFault,
        severity: Severity::Fault,
        nic: Some(text()),
        mode: None,
        message: text(),
    }];
    result.kernel_messages = vec![KernelMessage { level: 0, since_boot_us: u64::MAX, text: text() }];
    result.attach_semantics = rules(3);
    for rule in &mut result.attach_semantics {
        rule.id = text();
        rule.fact = text();
        rule.nic = text();
        rule.reason = Some(text());
        rule.steps[0].action = text();
        rule.steps[0].observed = text();
    }
    let breakdown = InfrastructureFailure {
        cell: text(),
        message: text(),
        attempts: u32::MAX,
        recovered: false,
        console: text(),
    };
    Collection::new(vec![result], vec![breakdown])
}
