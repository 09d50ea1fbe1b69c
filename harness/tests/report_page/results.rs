//! Results that nobody had, as a matrix of kernels and NICs would bring them, for tests about the page made of them.

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use xdproof::{
    judge::{expectation::CounterTrial, trial},
    measure::{
        judge,
        series::{Costs, figures, series},
    },
    model::{
        attach_step::StepRecord,
        device::{Channels, DeviceRecord, Feature, PathTraits, PortRole, Rings, Statistic, StatisticSource},
        environment::{Environment, ProgramIdentity},
        expectation::TrialExpectation,
        finding::{Finding, FindingKind, InfrastructureFailure, KernelMessage, Severity},
        judgement::Tolerance,
        measurement::{MeasuredDevice, Measurement, Quantity, Sample},
        mode::{InjectorKind, Mode, TrialPath},
        observation::{Counts, Observation},
        result::{AttachTestRecord, Collection, RunResult, TrialOutcome, TrialRecord},
        verdict::{Verdict, VerdictKind},
    },
};
use xdproof_scenarios::{Scenario, Spread, load};

use super::measurement::measurement;

pub(crate) const ON_A_WIRE: [TrialPath; 2] = [
    TrialPath { mode: Mode::Generic, injector: InjectorKind::Pnet },
    TrialPath { mode: Mode::Native, injector: InjectorKind::Pnet },
];
pub(crate) const TEST_RUN: TrialPath = TrialPath { mode: Mode::Unattached, injector: InjectorKind::TestRun };

/// The built-in scenarios.
pub(crate) fn scenarios() -> &'static [Scenario] {
    static ALL: LazyLock<Result<Vec<Scenario>, Vec<load::LoadError>>> = LazyLock::new(load::builtin);
    assert_eq!(ALL.as_ref().err().map_or(0, Vec::len), 0, "{:?}", ALL.as_ref().err());
    ALL.as_deref().unwrap_or_default()
}

pub(crate) fn environment(kernel: &str) -> Environment {
    Environment {
        xdproof: "0.1.0".to_owned(),
        kernel_release: kernel.to_owned(),
        kernel_version: "#1 SMP PREEMPT_DYNAMIC Debian".to_owned(),
        architecture: "x86_64".to_owned(),
        cpu_model: Some("QEMU TCG CPU version 2.5+".to_owned()),
        cpus_available: 2,
        bpf_jit: Some(1),
        program: ProgramIdentity {
            object: None,
            name: "xdproof_count".to_owned(),
            tag: "ac51964683292ff9".to_owned(),
            counter_map: None,
            notes: Vec::new(),
        },
    }
}

/// A trial whose frames came through as they had to.
pub(crate) fn passed(scenario: &Scenario, path: TrialPath, nic: Option<&str>) -> TrialRecord {
    let (expected, observation) = as_expected(scenario);
    record(scenario, path, nic, &expected, trial::judge(&expected, &observation, None), Some(observation))
}

/// Eight trials that passed.
pub(crate) fn clean() -> Vec<TrialRecord> {
    let ipv4 = scenarios().iter().filter(|its| its.id.as_ref().starts_with("ipv4/"));
    ipv4.take(8).map(|its| passed(its, ON_A_WIRE[1], Some("igb"))).collect()
}

pub(crate) fn finding(severity: Severity) -> Finding {
    Finding {
        kind: FindingKind::UnsafeMtu,
        severity,
        nic: Some("vmxnet3".to_owned()),
        mode: Some(Mode::Native),
        message: "an MTU of 9000 is accepted while a program is attached that takes frames of one buffer"
            .to_owned(),
    }
}

/// A trial on a device that takes the first four bytes behind the addresses out of every frame.
pub(crate) fn stripped(
    scenario: &Scenario,
    path: TrialPath,
    nic: Option<&str>,
    deviation: Option<&str>,
) -> TrialRecord {
    let (expected, mut observation) = as_expected(scenario);
    let without_tag = |(bytes, times): (&[u8], u64)| {
        let mut bytes = bytes.to_vec();
        if bytes.len() > 18 {
            bytes.drain(12..16);
        }
        (bytes, times)
    };
    observation.frames.values_mut().for_each(|frames| *frames = frames.runs().map(without_tag).collect());
    observation.per_cpu = Some(vec![Counts::from([(0, observation.ran)]), Counts::new()]);
    record(
        scenario,
        path,
        nic,
        &expected,
        trial::judge(&expected, &observation, deviation),
        Some(observation),
    )
}

/// A trial that was not run.
pub(crate) fn not_run(
    scenario: &Scenario,
    path: TrialPath,
    nic: Option<&str>,
    verdict: Verdict,
) -> TrialRecord {
    let (expected, _) = as_expected(scenario);
    record(scenario, path, nic, &expected, verdict, None)
}

fn as_expected(scenario: &Scenario) -> (TrialExpectation, Observation) {
    let mut expected = CounterTrial::default().expectation(scenario);
    // Nobody made up on which CPUs and queues the frames arrived.
    expected.spread = Spread::default();
    let observation = Observation {
        sent: scenario.sent(),
        ran: scenario.sent(),
        per_cpu: Some(vec![scenario.expect.counts.clone(), Counts::new()]),
        frames: expected.frames.clone(),
        closed: Some(true),
        ..Observation::default()
    };
    (expected, observation)
}

fn record(
    scenario: &Scenario,
    path: TrialPath,
    nic: Option<&str>,
    expected: &TrialExpectation,
    verdict: Verdict,
    observation: Option<Observation>,
) -> TrialRecord {
    let outcome = TrialOutcome { verdict, observation, duration: Duration::from_micros(7_300) };
    let repeat = || {
        format!(
            "xdproof validate --scenario {} --mode {} --injector {} --dut eth1 --tester eth2",
            scenario.id, path.mode, path.injector
        )
    };
    TrialRecord::new((&scenario.id, &scenario.frames), path, nic, &expected.totals, &outcome, repeat)
}

/// Four kernels by five NICs, in which something of everything happened.
pub(crate) fn matrix(scenarios: &[Scenario]) -> Collection {
    let kernels = ["5.10.0-36-amd64", "6.1.0-41-amd64", "6.12.48+deb13-amd64", "6.18.44+deb14-amd64"];
    let results = kernels.iter().enumerate().map(|(age, kernel)| of_kernel(scenarios, kernel, age));
    let infrastructure_failures = vec![
        InfrastructureFailure {
            cell: "6.1/vmxnet3".to_owned(),
            message: "the machine printed nothing for 120 s while attaching to vmxnet3".to_owned(),
            attempts: 3,
            recovered: false,
            console: "[    4.112233] vmxnet3 0000:00:05.0 eth3: NIC Link is Up 10000 Mbps\n[  124.551020] watchdog: BUG: \
                      soft lockup - CPU#0 stuck for 26s! [xdproof:212]\n"
                .to_owned(),
        },
        InfrastructureFailure {
            cell: "5.10/e1000e".to_owned(),
            message: "the machine ended without a result".to_owned(),
            attempts: 2,
            recovered: true,
            console: "[    6.020100] e1000e 0000:00:04.0: Refused to change power state\n".to_owned(),
        },
    ];
    Collection::new(results.collect(), infrastructure_failures)
}

const NICS: [(&str, &str); 5] = [
    ("veth", ""),
    ("virtio_net", "1af4:1041"),
    ("igb", "8086:10c9"),
    ("vmxnet3", "15ad:07b0"),
    ("e1000e", "8086:10d3"),
];

fn of_kernel(scenarios: &[Scenario], kernel: &str, age: usize) -> RunResult {
    let mut trials = Vec::new();
    for scenario in scenarios {
        for (nic, _) in NICS {
            for path in ON_A_WIRE {
                trials.push(of_nic(scenario, path, nic, age));
            }
        }
        trials.push(passed(scenario, TEST_RUN, None));
    }
    let mut result = RunResult::new(environment(kernel), trials, Vec::new(), scenarios.len() * 11);
    result.devices = NICS
        .iter()
        .flat_map(|(nic, pci)| [PortRole::Dut, PortRole::Tester].map(|role| device(nic, pci, role)))
        .collect();
    result.attach_semantics = rules(age);
    if age == 2 {
        result.measurements = measurements();
    }
    if age > 0 {
        result.findings.push(finding(Severity::Warning));
    }
    if age == 3 {
        result.findings.insert(
            0,
            Finding {
                kind: FindingKind::AdvertisedNotWorking,
                severity: Severity::Fault,
                nic: Some("igb".to_owned()),
                mode: Some(Mode::Native),
                message:
                    "NETDEV_XDP_ACT_NDO_XMIT is advertised, and a redirected frame is answered with ENOSPC"
                        .to_owned(),
            },
        );
        result.kernel_messages = (0..7)
            .map(|line| KernelMessage {
                level: if line == 0 { 3 } else { 4 },
                since_boot_us: 41_220_331 + line * 812,
                text: format!("igb 0000:00:03.0 eth2: Detected Tx Unit Hang, queue {line}"),
            })
            .collect();
    }
    result.findings.push(Finding {
        kind: FindingKind::ModifiedFrames,
        severity: Severity::Note,
        nic: Some("e1000e".to_owned()),
        mode: None,
        message: "frames of fewer than 60 bytes arrive padded to 60".to_owned(),
    });
    result
}

fn of_nic(scenario: &Scenario, path: TrialPath, nic: &str, age: usize) -> TrialRecord {
    let id = scenario.id.to_string();
    let is_tagged = id.starts_with("vlan/qinq");
    match (nic, path.mode) {
        _ if scenario.is_unreachable() => {
            let reason = "the kernel refuses frames of fewer than 14 bytes (EINVAL)".to_owned();
            not_run(scenario, path, Some(nic), Verdict::Unreachable { reason })
        }
        ("e1000e", Mode::Native) => {
            let reason = "e1000e has no native XDP: Underlying driver does not support XDP in native mode (native attach \
                          is refused: Operation not supported (os error 95))";
            not_run(scenario, path, Some(nic), Verdict::Skip { reason: reason.to_owned() })
        }
        ("vmxnet3", Mode::Native) if age < 2 => {
            let reason = "vmxnet3 has native XDP from 6.6 on (native attach is refused: Operation not supported (os error 95))";
            not_run(scenario, path, Some(nic), Verdict::Skip { reason: reason.to_owned() })
        }
        (_, Mode::Native) if id.starts_with("jumbo/") => {
            let reason = "the program takes frames of one buffer, and the device does not put a frame of this MTU into one";
            not_run(scenario, path, Some(nic), Verdict::Skip { reason: reason.to_owned() })
        }
        ("igb", Mode::Native) if age == 3 && is_tagged => stripped(scenario, path, Some(nic), None),
        ("virtio_net", Mode::Generic) if age == 0 && is_tagged => {
            let reason =
                "the outer tag is taken out of the frame before a generic program sees it, before 5.14";
            stripped(scenario, path, Some(nic), Some(reason))
        }
        ("vmxnet3", Mode::Generic) if age == 1 && id.starts_with("volume/") => {
            let reason = "no frame came within 5 s: the link of eth3 is down".to_owned();
            not_run(scenario, path, Some(nic), Verdict::Error { reason })
        }
        _ => passed(scenario, path, Some(nic)),
    }
}

pub(crate) fn device(nic: &str, pci: &str, role: PortRole) -> DeviceRecord {
    let is_software = pci.is_empty();
    let number = if role == PortRole::Dut { 1 } else { 2 };
    let feature = |name: &str, on, changeable| (name.to_owned(), Feature { on, changeable });
    DeviceRecord {
        role,
        nic: nic.to_owned(),
        name: format!("eth{number}"),
        driver: nic.to_owned(),
        driver_version: is_software.then(|| "1.0".to_owned()),
        firmware: (nic == "igb").then(|| "3.25, 0x800005cc".to_owned()),
        bus: (!is_software).then(|| format!("0000:00:0{number}.0")),
        pci_id: (!is_software).then(|| pci.to_owned()),
        mac: Some(format!("02:00:00:00:00:0{number}")),
        speed_mbps: Some(if nic == "e1000e" { 1_000 } else { 10_000 }),
        mtu: 1500,
        max_mtu: (nic != "veth").then_some(9216),
        rx_queues: 2,
        tx_queues: 2,
        rings: (!is_software).then_some(Rings { rx: 256, rx_max: 4096, tx: 256, tx_max: 4096 }),
        channels: Some(Channels { combined: 2, combined_max: 8, ..Channels::default() }),
        features: BTreeMap::from([
            feature("rx-gro", true, true),
            feature("rx-gro-hw", false, false),
            feature("rx-lro", false, false),
            feature("rx-vlan-filter", true, true),
            feature("rx-vlan-hw-parse", false, true),
            feature("tx-checksum-ip-generic", true, true),
            feature("tx-scatter-gather", true, true),
        ]),
        advertised: (nic != "e1000e")
            .then(|| vec!["basic".to_owned(), "redirect".to_owned(), "ndo-xmit".to_owned()]),
        statistics: vec![
            Statistic {
                name: "rx_packets".to_owned(),
                source: StatisticSource::Kernel,
                before: 12,
                after: 1_204_332,
            },
            Statistic {
                name: "rx_dropped".to_owned(),
                source: StatisticSource::Kernel,
                before: 0,
                after: 41,
            },
            Statistic {
                name: "rx_queue_0_packets".to_owned(),
                source: StatisticSource::Driver,
                before: 9,
                after: 2,
            },
        ],
        path: (role == PortRole::Dut).then_some(PathTraits {
            shortest: 14,
            padded_to: if is_software { 0 } else { 60 },
            window: 64,
            longest: 1514,
        }),
    }
}

/// Rules of attaching on two devices, of which one does not hold on the newest kernel.
pub(crate) fn rules(age: usize) -> Vec<AttachTestRecord> {
    let step = |action: &str, expected: &str, observed: &str| StepRecord {
        action: action.to_owned(),
        expected: expected.to_owned(),
        observed: observed.to_owned(),
    };
    let rule = |name: &str, row: &str, nic: &str, steps: Vec<StepRecord>| {
        let differs = steps.iter().any(|step| step.expected != step.observed);
        AttachTestRecord {
            id: format!("attach/{name}::netlink"),
            fact: row.to_owned(),
            nic: nic.to_owned(),
            verdict: if differs { VerdictKind::Fail } else { VerdictKind::Pass },
            reason: differs.then(|| "the second program is taken although the first is attached".to_owned()),
            steps,
        }
    };
    let of_nic = |nic: &'static str| {
        let second = if nic == "igb" && age == 3 { "attached" } else { "EBUSY" };
        [
            rule(
                "second_without_flag",
                "a second program with XDP_FLAGS_UPDATE_IF_NOEXIST",
                nic,
                vec![
                    step("attach the first in native mode", "attached", "attached"),
                    step("attach a second with XDP_FLAGS_UPDATE_IF_NOEXIST", "EBUSY", second),
                ],
            ),
            rule(
                "generic_beside_native",
                "a generic program beside a native one",
                nic,
                vec![
                    step("attach in native mode", "attached", "attached"),
                    step("attach in generic mode", "EEXIST", "EEXIST"),
                ],
            ),
        ]
    };
    ["virtio_net", "igb"].into_iter().flat_map(of_nic).collect()
}

/// Rates by size in two modes, and costs, one of them regressed, as an honest machine would have measured them.
pub(crate) fn measurements() -> Vec<Measurement> {
    let mut random = fastrand::Rng::with_seed(6);
    let mut all = Vec::new();
    for (mode, base) in [(Mode::Generic, 540.0), (Mode::Native, 330.0)] {
        for size in [64_u32, 128, 256, 512, 1024, 1280, 1518] {
            let cost = base + f64::from(size) * 0.05;
            let slower = if size == 1280 && mode == Mode::Native { 1.11 } else { 1.003 };
            let id = format!("path/{mode}/live_frames/udp/{size}");
            all.push(measured(&id, Quantity::PathRate, mode, cost, slower, 0.01, &mut random));
        }
    }
    all.push(measured(
        "cost/udp/64",
        Quantity::ProgramCost,
        Mode::Unattached,
        21.0,
        1.08,
        0.004,
        &mut random,
    ));
    all.push(measured(
        "path/native/ring/udp/64",
        Quantity::PathRate,
        Mode::Native,
        1700.0,
        1.0,
        0.2,
        &mut random,
    ));
    all
}

fn measured(
    id: &str,
    quantity: Quantity,
    mode: Mode,
    cost: f64,
    slower: f64,
    noise: f64,
    random: &mut fastrand::Rng,
) -> Measurement {
    let mut its = measurement(id, 100, |_| cost);
    its.quantity = quantity;
    its.mode = mode;
    let is_ring = id.contains("/ring/");
    its.injector = match quantity {
        Quantity::ProgramCost => InjectorKind::TestRun,
        _ if is_ring => InjectorKind::Ring,
        _ => InjectorKind::LiveFrames,
    };
    its.traffic =
        id.split('/').rev().take(2).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("/");
    its.tolerance = Tolerance::VM;
    its.fingerprint.virtual_machine = true;
    its.fingerprint.mitigations =
        BTreeMap::from([("spectre_v2".to_owned(), "Mitigation: Retpolines".to_owned())]);
    its.fingerprint.device = Some(MeasuredDevice {
        driver: "virtio_net".to_owned(),
        firmware: None,
        mtu: 1500,
        rx_queues: 2,
        tx_queues: 2,
        offloads: Vec::new(),
    });
    its.fingerprint.mitigations.insert("retbleed".to_owned(), "Not affected".to_owned());
    for sample in &mut its.trials {
        use xdproof::model::measurement::ProgramRole;
        sample.control = sample.block % 2 == 1;
        let factor = if sample.role == ProgramRole::Subject && !sample.control { slower } else { 1.0 };
        sample.ns_per_frame = cost * factor * (1.0 + noise * (random.f64() + random.f64() - 1.0));
        if random.u32(..400) == 0 {
            sample.void = Some(xdproof::model::judgement::Void::Preempted { share: 0.51 });
        }
    }
    let of = |trials: &[Sample], control| series(trials, control, Costs::Gross);
    let (subject, control) = (of(&its.trials, false), of(&its.trials, true));
    let judged = judge(&subject, &control, its.tolerance, its.seed);
    [its.value, its.reference_value] = figures(quantity, true, &subject, its.seed);
    its.ratio = judged.estimate;
    its.control = judged.control;
    its.verdict = Some(judged.verdict);
    its
}
