//! Results of runs that nobody made, for tests about what is said of them.

use xdproof::model::{
    environment::{Environment, ProgramIdentity},
    expectation::{ExpectationSource, ExpectedTotals},
    measurement::Measurement,
    mismatch::{CheckId, FaultClass, Mismatch, protocol_subject},
    mode::{InjectorKind, Mode},
    observation::Counts,
    result::{Failure, Observed, RunResult, SentFrame, TrialRecord},
    sink::Sink,
    verdict::VerdictKind,
};

/// Four frames of UDP sent by pnet to a veth in a mode, which come out as a verdict says.
pub(crate) fn trial(scenario: &str, mode: Mode, verdict: VerdictKind) -> TrialRecord {
    let udp = |packets| Counts::from([(17, packets)]);
    let counted = |counts: Counts| Observed {
        per_cpu: vec![Counts::new(), counts.clone()],
        counts: Some(counts),
        frames: [(Sink::Stack, 4), (Sink::Nowhere, 0)].into(),
        unobservable: 0,
    };
    let (observed, reason) = match verdict {
        VerdictKind::Pass => (Some(counted(udp(4))), None),
        VerdictKind::Fail => (Some(counted(udp(3))), Some("protocol 17 (udp): expected 4, got 3")),
        VerdictKind::Xfail => (Some(counted(udp(3))), Some("this driver takes one for a runt")),
        VerdictKind::Skip => (None, Some("there is no device to offload to: Invalid argument")),
        VerdictKind::Error => (None, Some("failed to make a veth pair: File exists")),
        VerdictKind::Unreachable => (None, Some("the kernel refuses the frames: Message too long")),
    };
    let failure = matches!(verdict, VerdictKind::Fail | VerdictKind::Xfail).then(|| Failure {
        mismatches: vec![Mismatch::new(
            CheckId::new("counts"),
            FaultClass::Miscounted,
            protocol_subject(17),
            4,
            3,
        )],
        frames: vec![SentFrame {
            layers: "Ethernet 02:00:00:00:00:01>02:00:00:00:00:02 / IPv4 192.0.2.1>192.0.2.2 udp".to_owned(),
            hex: "02000000000202000000000108004500001c00000000401136d0c0000201c00002029c40000900080000"
                .to_owned(),
            times: 4,
        }],
        omitted: 0,
        reproducer: format!("xdproof validate --scenario {scenario} --mode {mode} --injector pnet"),
        pcap: None,
    });
    TrialRecord {
        id: format!("{scenario}::{mode}::pnet"),
        scenario: scenario.to_owned(),
        mode,
        injector: InjectorKind::Pnet,
        nic: Some("veth".to_owned()),
        verdict,
        reason: reason.map(str::to_owned),
        expected: ExpectedTotals {
            source: ExpectationSource::Both,
            counts: Some(udp(4)),
            frames: [(Sink::Stack, 4), (Sink::Nowhere, 0)].into(),
        },
        sent: observed.as_ref().map_or(0, |_| 4),
        observed,
        duration_us: 1500,
        failure,
    }
}

/// What a run on a kernel found, all of whose trials ended.
pub(crate) fn result(kernel: &str, trials: Vec<TrialRecord>, measurements: Vec<Measurement>) -> RunResult {
    let environment = Environment {
        xdproof: "0.1.0".to_owned(),
        kernel_release: kernel.to_owned(),
        kernel_version: "#1 SMP".to_owned(),
        architecture: "x86_64".to_owned(),
        cpu_model: None,
        cpus_available: 2,
        bpf_jit: Some(1),
        program: ProgramIdentity {
            object: None,
            name: "subject".to_owned(),
            tag: "ac51964683292ff9".to_owned(),
            counter_map: None,
            notes: Vec::new(),
        },
    };
    let planned = trials.len();
    RunResult::new(environment, trials, measurements, planned)
}
