//! Measurements that nobody made, for tests about what is said of them.

use std::collections::BTreeMap;

use xdproof::model::{
    judgement::Tolerance,
    losses::Losses,
    measurement::{Fingerprint, Measured, Measurement, ProgramRole, Quantity, Sample, SideStats},
    mode::{InjectorKind, Mode},
};

/// A measurement of so many blocks, in which a frame of the reference costs 100 ns and one of the subject what `cost` says
/// by block, on a machine of its own.
pub(crate) fn measurement(id: &str, blocks: u32, cost: impl Fn(u32) -> f64) -> Measurement {
    let sample = |block, role, ns_per_frame| Sample {
        block,
        control: false,
        role,
        sent: 1000,
        counted: 1000,
        lost: 0,
        time_ns: 100_000,
        ns_per_frame,
        cpu_ns: 100_000,
        steal: 0.0,
        losses: Losses::default(),
        per_cpu: vec![0, 1000],
        void: None,
    };
    let roles = [ProgramRole::Reference, ProgramRole::Subject, ProgramRole::Subject, ProgramRole::Reference];
    let trials = (0..blocks).flat_map(|block| {
        roles
            .map(|role| sample(block, role, if role == ProgramRole::Reference { 100.0 } else { cost(block) }))
    });
    let program = |name: &str| Measured {
        object: None,
        name: name.to_owned(),
        tag: name.to_owned(),
        instructions: None,
        verified_instructions: None,
        machine_code_bytes: 100,
    };
    Measurement {
        id: id.to_owned(),
        quantity: Quantity::PathRate,
        mode: Mode::Native,
        injector: InjectorKind::Ring,
        traffic: "udp/64".to_owned(),
        cpus: 1,
        offered_pps: None,
        subject: program("subject"),
        reference: program("null"),
        value: None,
        reference_value: None,
        ratio: None,
        net_ratio: None,
        control: None,
        tolerance: Tolerance::BARE_METAL,
        seed: 1,
        verdict: None,
        unmeasured: None,
        baseline: None,
        notes: Vec::new(),
        side_stats: SideStats::default(),
        fingerprint: Fingerprint {
            kernel: "6.1".to_owned(),
            cpu_model: None,
            cpus: 2,
            virtual_machine: false,
            bpf_jit: Some(1),
            mitigations: BTreeMap::new(),
            program: "subject".to_owned(),
            device: None,
        },
        trials: trials.collect(),
    }
}
