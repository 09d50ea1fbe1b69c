//! Throughput snapshots: ratios that are committed (`throughput.toml`) and are to hold on any machine, each within its band.
//!
//! One interleaved run measures all of them; a trial a ratio: it passes if the interval lies within the band, fails if it lies
//! outside, and is ignored as INCONCLUSIVE, with the reason, where this machine cannot tell. `INSTA_UPDATE=always`, which
//! updates the counts' snapshots too, writes down what was measured instead and moves each band with it; a changed file is
//! reviewed as any other snapshot.

#[path = "support/privilege.rs"]
mod privilege;

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, OnceLock, atomic::AtomicBool},
    time::Duration,
};

use libtest_mimic::{Arguments, Completion, Failed, Trial as Test};
use serde::{Deserialize, Serialize};
use xdproof::{
    bench::{BenchOrder, Objects, run},
    error::chain,
    measure::{
        case::{Case, Place, Wanted, native_to_generic, size_to_smallest},
        traffic::{Mix, Traffic},
    },
    model::{
        judgement::{Estimate, Judgement, Tolerance},
        measurement::Measurement,
        mode::{InjectorKind, Mode},
    },
    report::{Event, Reporter},
    testbed::VethTestbed,
};

/// Time for all of them.
const BUDGET: Duration = Duration::from_secs(20);

/// First lines of the file.
const HEADER: &str = "\
# Speed ratios that are to hold on any machine: the subject's over the reference's (see harness/src/measure/case.rs for the ids).
# The counter against the null program; native against generic mode; full frames against the smallest.
# `INSTA_UPDATE=always cargo test -p xdproof --test throughput`, as root, writes the measured ratios and moves the bands.

";

/// The file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Snapshot {
    ratio: Vec<Band>,
}

/// A ratio and where it may lie.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Band {
    id: String,
    /// Ratio when it was last reviewed.
    measured: f64,
    low: f64,
    high: f64,
}

/// Outcome of a ratio.
#[derive(Debug, PartialEq)]
enum Finding {
    Within,
    Outside(String),
    Unknown(String),
}

type Measured = Arc<OnceLock<Result<Vec<Measurement>, String>>>;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let snapshot = match read() {
        Ok(snapshot) => snapshot,
        Err(error) => return privilege::broken(&error),
    };
    let obstacle = privilege::obstacle();
    let measured = Measured::default();
    let mut tests = vec![
        Test::test("a_band_is_told_from_what_lies_outside_of_it", bands),
        Test::test("every_case_has_a_band_and_every_band_a_case", {
            let snapshot = snapshot.clone();
            move || complete(&snapshot)
        }),
    ];
    tests.extend(snapshot.ratio.iter().map(|band| {
        let (band, measured) = (band.clone(), Arc::clone(&measured));
        Test::ignorable_test(format!("throughput/{}", band.id), move || hold(&band, &measured))
            .with_ignored_flag(obstacle.is_some())
    }));
    let conclusion = libtest_mimic::run(&arguments, tests);
    if let (Some(Ok(measurements)), true) = (measured.get(), updates())
        && let Err(error) = update(&snapshot, measurements)
    {
        return privilege::broken(&format!("failed to update {}: {error}", file().display()));
    }
    privilege::conclude(&arguments, obstacle.as_deref(), &conclusion)
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/throughput.toml")
}

fn read() -> Result<Snapshot, String> {
    let text = std::fs::read_to_string(file()).map_err(|error| format!("{}: {error}", file().display()))?;
    toml::from_str(&text).map_err(|error| format!("{}: {error}", file().display()))
}

fn updates() -> bool {
    std::env::var("INSTA_UPDATE").as_deref() == Ok("always")
}

/// Measurements for the snapshots.
fn cases() -> Result<Vec<Case>, Failed> {
    let udp = |size| Traffic::of(Mix::Udp, size);
    let wanted = |injectors: &[InjectorKind], mixes: &[Mix]| Wanted {
        injectors: injectors.to_vec(),
        mixes: mixes.to_vec(),
        ..Wanted::default()
    };
    let mut cases = wanted(&[InjectorKind::TestRun], &[Mix::Udp, Mix::QinqIpv6]).cases()?;
    cases.extend(wanted(&[InjectorKind::LiveFrames], &[Mix::Udp]).cases()?);
    for injector in [InjectorKind::Ring, InjectorKind::LiveFrames] {
        cases.push(native_to_generic(injector, udp(64)?));
    }
    for mode in [Mode::Generic, Mode::Native] {
        let place = Place::Wire { mode, injector: InjectorKind::LiveFrames, cpus: 1 };
        cases.push(size_to_smallest(place, udp(1518)?, udp(64)?));
    }
    Ok(cases)
}

fn complete(snapshot: &Snapshot) -> Result<(), Failed> {
    let measured: Vec<String> = cases()?.iter().map(Case::id).collect();
    let banded: Vec<String> = snapshot.ratio.iter().map(|band| band.id.clone()).collect();
    if measured == banded {
        Ok(())
    } else {
        Err(format!("measured {measured:?}, in the file {banded:?}").into())
    }
}

/// Measures all of them, once for all tests.
fn measure() -> Result<Vec<Measurement>, String> {
    /// Nobody watches.
    struct Silent;
    impl Reporter for Silent {
        fn report(&mut self, _event: Event<'_>) -> io::Result<()> {
            Ok(())
        }
    }
    let cases = cases().map_err(|error| error.message().unwrap_or_default().to_owned())?;
    let order = BenchOrder {
        objects: Objects::default(),
        cases,
        budget: BUDGET,
        tolerance: Tolerance::VM,
        rate: None,
        testbed: Arc::new(VethTestbed::default()),
    };
    let result = run(&order, &AtomicBool::new(false), &mut Silent).map_err(|error| chain(&error))?;
    Ok(result.measurements)
}

fn hold(band: &Band, measured: &Measured) -> Result<Completion, Failed> {
    let measurements = measured.get_or_init(measure).as_ref()?;
    let measurement = measurements.iter().find(|measurement| measurement.id == band.id);
    let measurement = measurement.ok_or_else(|| format!("{} was not measured", band.id))?;
    if updates() {
        return Ok(Completion::Completed);
    }
    match find(
        band,
        measurement.ratio,
        measurement.verdict,
        measurement.unmeasured.as_ref().map(|why| why.reason.as_str()),
    ) {
        Finding::Within => Ok(Completion::Completed),
        Finding::Outside(what) => Err(what.into()),
        Finding::Unknown(why) => Ok(Completion::ignored_with(format!("INCONCLUSIVE: {why}"))),
    }
}

fn find(
    band: &Band,
    ratio: Option<Estimate>,
    verdict: Option<Judgement>,
    unmeasured: Option<&str>,
) -> Finding {
    let Band { low, high, .. } = *band;
    match (unmeasured, verdict, ratio) {
        (Some(why), _, _) => Finding::Unknown(why.to_owned()),
        (None, Some(verdict), _) => Finding::Unknown(
            verdict.reason().map_or_else(|| verdict.to_string(), |reason| reason.to_string()),
        ),
        (None, None, None) => Finding::Unknown("no block is whole".to_owned()),
        (None, None, Some(Estimate { ratio, interval, .. })) => {
            let what = format!("{ratio:.3} ({interval}), and the band is {low} to {high}");
            if interval.low >= low && interval.high <= high {
                Finding::Within
            } else if interval.high < low || interval.low > high {
                Finding::Outside(what)
            } else {
                Finding::Unknown(what)
            }
        }
    }
}

/// Writes down what was measured. What this machine cannot tell stays as it was.
fn update(snapshot: &Snapshot, measurements: &[Measurement]) -> io::Result<()> {
    let mut snapshot = snapshot.clone();
    for band in &mut snapshot.ratio {
        let its = measurements
            .iter()
            .find(|measurement| measurement.id == band.id && measurement.verdict.is_none());
        let Some(Estimate { ratio, .. }) = its.and_then(|measurement| measurement.ratio) else { continue };
        let moved = ratio / band.measured;
        let round = |number: f64| (number * 1000.0).round() / 1000.0;
        *band = Band {
            id: band.id.clone(),
            measured: round(ratio),
            low: round(band.low * moved),
            high: round(band.high * moved),
        };
    }
    let text = toml::to_string(&snapshot).map_err(io::Error::other)?;
    std::fs::write(file(), format!("{HEADER}{text}"))
}

fn bands() -> Result<(), Failed> {
    use xdproof::model::judgement::{Contender, Inconclusive, Interval};
    let band = Band { id: String::new(), measured: 1.0, low: 0.9, high: 1.1 };
    let estimate = |low, high| {
        Some(Estimate {
            ratio: f64::midpoint(low, high),
            interval: Interval { low, high },
            median_abs_deviation: 0.0,
            blocks: 20,
        })
    };
    let reason = Inconclusive::TooFewBlocks { series: Contender::Subject, blocks: 3 };
    let found = [
        find(&band, estimate(0.95, 1.05), None, None) == Finding::Within,
        matches!(find(&band, estimate(0.7, 0.8), None, None), Finding::Outside(_)),
        matches!(find(&band, estimate(1.2, 1.3), None, None), Finding::Outside(_)),
        matches!(find(&band, estimate(0.85, 0.95), None, None), Finding::Unknown(_)),
        matches!(find(&band, estimate(0.5, 1.5), None, None), Finding::Unknown(_)),
        matches!(find(&band, None, None, None), Finding::Unknown(_)),
        matches!(find(&band, estimate(1.0, 1.0), None, Some("no device")), Finding::Unknown(_)),
        matches!(
            find(&band, estimate(1.0, 1.0), Some(Judgement::Inconclusive { reason }), None),
            Finding::Unknown(_)
        ),
    ];
    if found == [true; 8] { Ok(()) } else { Err(format!("{found:?}").into()) }
}
