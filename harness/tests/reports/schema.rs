//! The JSON Schema: the one in the repository is that of the types, and everything that is written keeps to it.

use std::{fs, path::Path};

use serde_json::{Value, json};
use xdproof::{
    model::{
        device::{Channels, DeviceRecord, Feature, PathTraits, PortRole, Rings, Statistic, StatisticSource},
        judgement::{Change, Contender, Estimate, Inconclusive, Interval, Judgement, Tolerance, Void},
        measurement::{Figure, Measurement},
        mismatch::{CheckId, Delta, FaultClass, FrameDelta, Mismatch, OmittedFrames},
        mode::Mode::Native,
        result::{COLLECTION_SCHEMA, PartitionRecord, RunResult},
        sink::{PortId, Sink},
        verdict::VerdictKind::Fail,
    },
    report::schema::Document,
};

use super::{
    everything::{everything, hostile},
    measurement::measurement,
    results::{result, trial},
};

/// Set to `always` by whoever wants the files to be as the types are, as for snapshots.
const UPDATE: &str = "INSTA_UPDATE";

#[test]
fn the_schemas_in_the_repository_are_those_of_the_types() {
    for document in Document::ALL {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("report/schema").join(document.file());
        let mut made = Vec::new();
        document.write(&mut made).unwrap();
        if std::env::var(UPDATE).as_deref() == Ok("always") {
            fs::write(&file, &made).unwrap();
        }
        let held = fs::read(&file).unwrap();
        assert!(held == made, "{} is stale: {UPDATE}=always makes it anew", file.display());
    }
}

/// Everything that is wrong with a document by its schema.
pub(crate) fn faults(document: &Value) -> Vec<String> {
    let of = match document["schema"].as_str() {
        Some(COLLECTION_SCHEMA) => Document::Results,
        _ => Document::Result,
    };
    let schema = serde_json::to_value(of.schema()).unwrap();
    let validator = jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap();
    validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

const CLASSES: [FaultClass; 16] = [
    FaultClass::LostBeforeProgram,
    FaultClass::Duplicated,
    FaultClass::DroppedAfterPass,
    FaultClass::ModifiedInTransit,
    FaultClass::NotDropped,
    FaultClass::Miscounted,
    FaultClass::WrongState,
    FaultClass::Reordered,
    FaultClass::Misdirected,
    FaultClass::WrongVerdict,
    FaultClass::NotSpread,
    FaultClass::StillInFlight,
    FaultClass::UnexpectedAttach,
    FaultClass::StaleDeviation,
    FaultClass::TestbedChanged,
    FaultClass::AttachSemantics,
];

/// A result in which every field and every variant has something.
fn whole() -> RunResult {
    let interval = Interval { low: 0.9, high: 1.1 };
    let estimate = Estimate { ratio: 1.0, interval, median_abs_deviation: 0.01, blocks: 30 };
    let figure = Figure { median: 100.0, interval };
    let change =
        |verdict| Change { ratio: Some(estimate), verdict, absolute: Some(1.0), absolute_verdict: None };
    let doubts = [
        Inconclusive::TooFewBlocks { series: Contender::Baseline, blocks: 3 },
        Inconclusive::TooManyVoid { series: Contender::Control, void_blocks: 20, blocks: 30 },
        Inconclusive::TooWide { interval, tolerance: Tolerance::VM },
    ];
    let measurements = doubts.into_iter().map(|reason| {
        let mut trials = measurement("path", 2, |_| 100.0).trials;
        trials[0].void = Some(Void::Softnet { dropped: 1 });
        trials[1].void = Some(Void::Injector { reason: "it broke".to_owned() });
        Measurement {
            value: Some(figure),
            ratio: Some(estimate),
            control: Some(estimate),
            verdict: Some(Judgement::Inconclusive { reason }),
            baseline: Some(change(Judgement::Improved)),
            trials,
            ..measurement("path", 0, |_| 100.0)
        }
    });
    let mut failed = trial("a", Native, Fail);
    let frames = [Delta::Missing, Delta::Unexpected, Delta::Displaced];
    let frames = frames.map(|delta| FrameDelta { delta, bytes: vec![0, 0xff], times: 1 }).to_vec();
    let omitted = vec![OmittedFrames { delta: Delta::Missing, distinct: 2, times: 3 }];
    let new = |class| Mismatch::new(CheckId::new("sinks"), class, "frames at device 2", 1, "none");
    failed.failure.as_mut().unwrap().mismatches.extend(CLASSES.map(|class| Mismatch {
        frames: frames.clone(),
        omitted: omitted.clone(),
        ..new(class)
    }));
    failed.failure.as_mut().unwrap().omitted = 7;
    let observed = failed.observed.as_mut().unwrap();
    observed.unobservable = 1;
    observed.frames.extend([(Sink::Tester, 2), (Sink::Device(PortId(2)), 3)]);
    failed.failure.as_mut().unwrap().pcap = Some("failed/a.pcap".into());
    let mut whole = result("6.1", vec![failed], measurements.collect());
    whole.started = Some(1_700_000_000);
    whole.partition = Some(PartitionRecord { parts: vec![1], count: 2 });
    whole.devices = vec![DeviceRecord {
        role: PortRole::Dut,
        nic: "igb".to_owned(),
        name: "eth1".to_owned(),
        driver: "igb".to_owned(),
        driver_version: Some("6.1".to_owned()),
        firmware: Some("1".to_owned()),
        bus: Some("0000:00:03.0".to_owned()),
        pci_id: Some("8086:10c9".to_owned()),
        mac: Some("02:00:00:00:00:01".to_owned()),
        speed_mbps: Some(1000),
        mtu: 1500,
        max_mtu: Some(9216),
        rx_queues: 8,
        tx_queues: 8,
        rings: Some(Rings::default()),
        channels: Some(Channels::default()),
        features: [("rx-gro".to_owned(), Feature { on: true, changeable: true })].into(),
        advertised: Some(vec!["basic".to_owned()]),
        statistics: vec![Statistic {
            name: "rx_packets".to_owned(),
            source: StatisticSource::Kernel,
            before: 0,
            after: u64::MAX,
        }],
        path: Some(PathTraits::default()),
    }];
    whole
}

#[test]
fn everything_that_is_written_keeps_to_the_schema() {
    for document in [
        serde_json::to_value(whole()).unwrap(),
        serde_json::to_value(everything()).unwrap(),
        serde_json::to_value(hostile()).unwrap(),
    ] {
        assert_eq!(faults(&document), Vec::<String>::new());
    }
}

#[test]
fn what_the_reader_refuses_the_schema_refuses() {
    let changed = |change: fn(&mut Value)| {
        let mut value = serde_json::to_value(whole()).unwrap();
        change(&mut value);
        faults(&value)
    };
    let cases: [fn(&mut Value); 9] = [
        |value| drop(value["trials"][0].as_object_mut().unwrap().remove("verdict")),
        |value| value["trials"][0]["duration_us"] = Value::Null,
        |value| value["trials"][0]["sent"] = json!(-1),
        |value| value["trials"][0]["verdict"] = json!("passed"),
        |value| value["trials"][0]["expected"]["counts"] = json!({ "seventeen": 1 }),
        |value| value["environment"]["kernel_release"] = json!(["6.1"]),
        |value| value["measurements"][0]["trials"][0]["ns_per_frame"] = Value::Null,
        |value| value["extra"] = json!(1),
        |value| value["schema"] = json!("xdproof.result/1"),
    ];
    for (number, change) in cases.into_iter().enumerate() {
        assert_eq!(changed(change).len(), 1, "case {number}: {:?}", changed(change));
    }
}
