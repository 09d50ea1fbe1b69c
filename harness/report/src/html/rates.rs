//! Measurements as tables and charts. Text comes from results, numbers in drawings are computed here.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::html::badge::{Badge, PageLink, count};
use xdproof_core::{
    measure::median,
    model::{
        InjectorKind, Interval, Judgement, Measurement, Mode, ProgramRole, Quantity, RunResult, Sample,
        SideStats, Unmeasured,
    },
};

use crate::rates::{figure, reference, span};

/// The measurements of a result.
pub(super) struct RatesSection {
    pub(super) title: String,
    /// Precision of the machine.
    pub(super) telling: Vec<String>,
    pub(super) sizes: Vec<SizeChart>,
    /// Labels of the ends of the drawn ratios.
    pub(super) scale: [String; 2],
    pub(super) rows: Vec<RateRow>,
    pub(super) strips: Vec<Strip>,
    /// Notes, and the number of measurements to which each applies.
    pub(super) notes: Vec<(String, usize)>,
}

pub(super) struct RateRow {
    pub(super) anchor: String,
    pub(super) id: String,
    pub(super) figure: String,
    pub(super) interval: String,
    pub(super) ratio: String,
    pub(super) ratio_interval: String,
    pub(super) reference: String,
    pub(super) control: String,
    pub(super) blocks: usize,
    pub(super) void: usize,
    pub(super) badge: Option<Badge>,
    pub(super) drawn: Option<Drawn>,
    pub(super) remarks: Vec<String>,
}

/// A ratio as it is drawn: 0 is the left end and 200 the right one, 100 is 1.
pub(super) struct Drawn {
    pub(super) band: [String; 2],
    pub(super) bar: Option<[String; 2]>,
    pub(super) control: Option<[String; 2]>,
    pub(super) at: String,
    pub(super) judged: bool,
}

/// Rates by frame size, a line a mode.
pub(super) struct SizeChart {
    pub(super) injector: InjectorKind,
    pub(super) mix: String,
    pub(super) ticks: Vec<(String, String)>,
    pub(super) sizes: Vec<(String, usize)>,
    pub(super) lines: Vec<ChartLine>,
    pub(super) table: Vec<(usize, Vec<String>)>,
}

pub(super) struct ChartLine {
    pub(super) mode: Mode,
    /// By which its style is chosen.
    pub(super) number: usize,
    pub(super) path: String,
    pub(super) points: Vec<Point>,
    pub(super) dots: String,
}

pub(super) struct Point {
    pub(super) x: String,
    pub(super) y: String,
    pub(super) low: String,
    pub(super) high: String,
    pub(super) words: String,
}

/// The raw trials of a measurement in the order in which they were run.
pub(super) struct Strip {
    pub(super) id: String,
    pub(super) top: String,
    pub(super) bottom: String,
    pub(super) subject: String,
    pub(super) reference: String,
    pub(super) control: String,
    pub(super) void: String,
    pub(super) trials: usize,
    pub(super) voids: usize,
}

/// Size of the drawing of rates by size; the axes leave room for their labels.
const CHART: DrawingArea = DrawingArea { left: 46.0, right: 560.0, top: 14.0, bottom: 236.0 };

/// Size of the drawing of raw trials.
const STRIP: DrawingArea = DrawingArea { left: 4.0, right: 316.0, top: 5.0, bottom: 67.0 };

/// The area of points.
#[derive(Clone, Copy)]
struct DrawingArea {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl DrawingArea {
    /// Returns the horizontal position of a share from 0 to 1.
    fn x(self, share: f64) -> f64 {
        self.left + share * (self.right - self.left)
    }

    /// Returns the vertical position of a share from 0 to 1.
    fn y(self, share: f64) -> f64 {
        self.bottom - share.clamp(0.0, 1.0) * (self.bottom - self.top)
    }
}

fn number(value: f64) -> String {
    format!("{value:.1}")
}

pub(super) fn anchor(run: usize, number: usize) -> String {
    format!("rate-{}-{}", run + 1, number + 1)
}

impl RatesSection {
    /// The measurements of the result with that number, unless there are none.
    pub(super) fn of(run: usize, result: &RunResult, title: String) -> Option<Self> {
        let measurements = &result.measurements;
        if measurements.is_empty() {
            return None;
        }
        let scale = scale(measurements);
        let mut notes: Vec<(String, usize)> = Vec::new();
        for note in measurements.iter().flat_map(|measurement| &measurement.notes) {
            count(&mut notes, note.clone());
        }
        let rows = measurements.iter().enumerate();
        Some(Self {
            title,
            telling: capability(measurements),
            sizes: size_charts(measurements),
            scale: [1.0 - scale, 1.0 + scale].map(|end| format!("{end:.2}")),
            rows: rows.map(|(number, measurement)| row(anchor(run, number), measurement, scale)).collect(),
            strips: measurements.iter().filter_map(strip).collect(),
            notes,
        })
    }
}

/// Returns the anchor to which the verdict of a measurement links.
pub(super) fn link(run: usize, number: usize, measurement: &Measurement) -> PageLink {
    PageLink { text: measurement.id.clone(), href: format!("#{}", anchor(run, number)) }
}

/// Returns the distance from 1 of the ends of the drawn ratios: that of the furthest interval, but at most a half.
fn scale(measurements: &[Measurement]) -> f64 {
    let intervals =
        measurements.iter().flat_map(|measurement| [measurement.ratio, measurement.control]).flatten();
    let ends = intervals.flat_map(|estimate| [estimate.interval.low, estimate.interval.high]);
    let furthest = ends.map(|end| (end - 1.0).abs()).filter(|off| off.is_finite()).fold(0.0, f64::max);
    let tolerance = measurements.iter().map(|measurement| measurement.tolerance.share()).fold(0.0, f64::max);
    (furthest * 1.05).max(tolerance * 2.0).min(0.5)
}

fn row(anchor: String, measurement: &Measurement, scale: f64) -> RateRow {
    let Measurement {
        id, quantity, value, ratio, net_ratio, control, tolerance, verdict, unmeasured, ..
    } = measurement;
    let Measurement { baseline, side_stats, .. } = measurement;
    let none = || "–".to_owned();
    let (figure, interval) = value.map_or_else(|| (none(), String::new()), |value| figure(*quantity, value));
    let across = |value: f64| number(100.0 * (1.0 + ((value - 1.0) / scale).clamp(-1.0, 1.0)));
    let ends = |interval: Interval| [across(interval.low), across(interval.high)];
    let finite = |interval: Interval| interval.low.is_finite() && interval.high.is_finite();
    let drawn = ratio.filter(|its| its.ratio.is_finite()).map(|its| Drawn {
        band: ends(Interval { low: 1.0 - tolerance.share(), high: 1.0 + tolerance.share() }),
        bar: finite(its.interval).then(|| ends(its.interval)),
        control: control.map(|control| control.interval).filter(|its| finite(*its)).map(ends),
        at: across(its.ratio),
        judged: verdict.is_some(),
    });
    let badge = match (unmeasured, verdict) {
        (Some(Unmeasured { declared, .. }), _) => {
            let (class, symbol) = if *declared { ("skip", "–") } else { ("error", "!") };
            Some(Badge { class, symbol, name: "not measured".to_owned() })
        }
        (None, Some(verdict)) => {
            let (class, symbol) = match verdict {
                Judgement::Pass => ("pass", "✓"),
                Judgement::Regression => ("fail", "✗"),
                Judgement::Improved => ("pass", "↑"),
                Judgement::Inconclusive { .. } => ("xfail", "?"),
            };
            Some(Badge { class, symbol, name: verdict.name().to_owned() })
        }
        (None, None) => None,
    };
    let mut remarks = Vec::new();
    if let Some(net) = net_ratio {
        remarks.push(format!(
            "net of the null program: {:.3} times as fast ({}), which is {:.3} times the cost",
            net.ratio,
            span(net.interval, 3),
            1.0 / net.ratio
        ));
    }
    remarks.extend(unmeasured.as_ref().map(|its| its.reason.clone()));
    remarks.extend(verdict.and_then(|verdict| verdict.reason()).map(|reason| reason.to_string()));
    let SideStats { void_blocks: void, .. } = side_stats;
    let is_doubtful = matches!(verdict, Some(Judgement::Inconclusive { .. }));
    if is_doubtful && !void.is_empty() {
        let each: Vec<String> = void.iter().map(|(name, times)| format!("{times} by {name}")).collect();
        remarks.push(format!("void blocks: {}", each.join(", ")));
    }
    remarks.extend(baseline.as_ref().map(|change| format!("against the baseline: {change}")));
    RateRow {
        anchor,
        id: id.clone(),
        figure,
        interval,
        ratio: ratio.map_or_else(none, |its| format!("{:.3}", its.ratio)),
        ratio_interval: ratio.map_or_else(String::new, |its| span(its.interval, 3)),
        reference: reference(measurement),
        control: control.map_or_else(none, |its| span(its.interval, 3)),
        blocks: ratio.map_or(0, |its| its.blocks),
        void: void.values().sum(),
        badge,
        drawn,
        remarks,
    }
}

/// Returns sentences about the differences that the machine can show.
fn capability(measurements: &[Measurement]) -> Vec<String> {
    let mut sentences = Vec::new();
    let halves = |intervals: Vec<Interval>| -> Vec<f64> {
        intervals.iter().map(|interval| interval.width() / 2.0).filter(|half| half.is_finite()).collect()
    };
    let controls = halves(measurements.iter().filter_map(|its| Some(its.control?.interval)).collect());
    let ratios = halves(measurements.iter().filter_map(|its| Some(its.ratio?.interval)).collect());
    let widest = controls.iter().copied().fold(0.0, f64::max);
    if let (Some(control), Some(ratio), Some(first)) =
        (median(&controls), median(&ratios), measurements.first())
    {
        let [control, widest, ratio] = [control, widest, ratio].map(|half| format!("{:.1} %", half * 100.0));
        sentences.push(format!(
            "The A/A control agrees within ±{control} in the median and ±{widest} at worst, of {} comparisons. A ratio is \
             known to ±{ratio} in the median: smaller differences cannot be seen here, and those within the tolerance of {} \
             count as none.",
            controls.len(),
            first.tolerance
        ));
    }
    let judged = measurements.iter().filter_map(|its| its.verdict);
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    for verdict in judged {
        *by_name.entry(verdict.name()).or_default() += 1;
    }
    let judged: Vec<String> = by_name.iter().map(|(name, times)| format!("{times} {name}")).collect();
    let unmeasured = measurements.iter().filter(|its| its.unmeasured.is_some()).count();
    let unjudged = measurements.len() - by_name.values().sum::<usize>() - unmeasured;
    let mut counts = Vec::new();
    if !judged.is_empty() {
        counts.push(judged.join(", "));
    }
    if unjudged > 0 {
        counts.push(format!("{unjudged} with valid figures and nothing to judge"));
    }
    if unmeasured > 0 {
        counts.push(format!("{unmeasured} not measured"));
    }
    sentences.push(format!("Of {} comparisons: {}.", measurements.len(), counts.join("; ")));
    if measurements.iter().any(|its| its.fingerprint.virtual_machine) {
        sentences.push(
            "This is a virtual machine, whose speed varies from run to run: ratios compare, absolute figures do not."
                .to_owned(),
        );
    }
    let veth =
        |its: &&Measurement| its.fingerprint.device.as_ref().is_some_and(|device| device.driver == "veth");
    if measurements.iter().any(|its| veth(&its)) {
        sentences.push(
            "On a veth the CPU of the sender also does the receive side: a rate is that of the whole path, not of a driver."
                .to_owned(),
        );
    }
    sentences
}

/// A trial's value in the unit of its measurement: nanoseconds a frame, or frames a second.
fn value(what: Quantity, sample: &Sample) -> f64 {
    if what == Quantity::ProgramCost { sample.ns_per_frame } else { 1e9 / sample.ns_per_frame }
}

/// Groups measurements by frame size in bytes.
type BySize<'a> = BTreeMap<usize, &'a Measurement>;

/// Charts of everything that was measured at several sizes.
fn size_charts(measurements: &[Measurement]) -> Vec<SizeChart> {
    let mut families = BTreeMap::<(InjectorKind, &str), BTreeMap<Mode, BySize<'_>>>::new();
    for measurement in measurements {
        let Measurement { quantity, mode, injector, traffic, cpus, offered_pps, .. } = measurement;
        if let (Quantity::PathRate, 1, None, Some((mix, size))) =
            (quantity, cpus, offered_pps, traffic.rsplit_once('/'))
            && let Ok(size) = size.parse()
            && measurement.value.is_some_and(|value| value.median.is_finite())
        {
            let modes = families.entry((*injector, mix)).or_default();
            modes.entry(*mode).or_default().insert(size, measurement);
        }
    }
    let several = |modes: &BTreeMap<Mode, BTreeMap<usize, &Measurement>>| {
        modes.values().map(BTreeMap::len).max().unwrap_or(0) > 2
    };
    let charts = families.into_iter().filter(|(_, modes)| several(modes));
    charts.map(|((injector, mix), modes)| size_chart(injector, mix, &modes)).collect()
}

fn size_chart(
    injector: InjectorKind,
    mix: &str,
    modes: &BTreeMap<Mode, BTreeMap<usize, &Measurement>>,
) -> SizeChart {
    let mut sizes: Vec<usize> = modes.values().flat_map(|by_size| by_size.keys().copied()).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let highest = modes.values().flat_map(BTreeMap::values).filter_map(|its| its.value);
    let highest = highest.map(|value| value.median.max(value.interval.high)).filter(|high| high.is_finite());
    let (step, top) = axis(highest.fold(0.0, f64::max));
    let ticks = (0_u32..=10).map(|tick| f64::from(tick) * step).take_while(|at| *at <= top * 1.001);
    let unit = if top >= 1e6 { (1e6, "M") } else { (1e3, "k") };
    let label = |rate: f64| format!("{}{}", short(rate / unit.0), if rate > 0.0 { unit.1 } else { "" });
    let places = f64::from(u32::try_from(sizes.len()).unwrap_or(u32::MAX));
    let x = |size: usize, shift: f64| {
        let place = sizes.iter().position(|its| *its == size).unwrap_or(0);
        CHART.x((f64::from(u32::try_from(place).unwrap_or(0)) + 0.5 + shift) / places)
    };
    let y = |rate: f64| CHART.y(rate / top);
    let lines: Vec<ChartLine> = modes
        .iter()
        .enumerate()
        .map(|(number, (mode, by_size))| {
            // Modes stand side by side, so that none hides another.
            let shift = (f64::from(u32::try_from(number).unwrap_or(0)) - 0.5) * 0.16;
            line(*mode, number, by_size, |size| x(size, shift), y)
        })
        .collect();
    let cell = |by_size: &BTreeMap<usize, &Measurement>, size| {
        let value = by_size.get(size).and_then(|its: &&Measurement| Some(figure(its.quantity, its.value?)));
        value.map_or_else(|| "–".to_owned(), |(figure, interval)| format!("{figure} ({interval})"))
    };
    let table = sizes.iter().map(|size| (*size, modes.values().map(|by_size| cell(by_size, size)).collect()));
    let table = table.collect();
    SizeChart {
        injector,
        mix: mix.to_owned(),
        ticks: ticks.map(|rate| (number(y(rate)), label(rate))).collect(),
        sizes: sizes.iter().map(|size| (number(x(*size, 0.0)), *size)).collect(),
        lines,
        table,
    }
}

fn line(
    mode: Mode,
    index: usize,
    by_size: &BTreeMap<usize, &Measurement>,
    x: impl Fn(usize) -> f64,
    y: impl Fn(f64) -> f64,
) -> ChartLine {
    let (mut path, mut dots, mut points) = (String::new(), String::new(), Vec::new());
    for (&size, measurement) in by_size {
        let Some(value_of) = measurement.value else { continue };
        let (across, up) = (x(size), y(value_of.median));
        let _infallible =
            write!(path, "{}{} {}", if path.is_empty() { "M" } else { "L" }, number(across), number(up));
        let (figure, interval) = figure(measurement.quantity, value_of);
        points.push(Point {
            x: number(across),
            y: number(up),
            low: number(y(value_of.interval.low)),
            high: number(y(value_of.interval.high)),
            words: format!("{mode}, {size} bytes: {figure} ({interval})"),
        });
        let samples = measurement.trials.iter().filter(|sample| {
            sample.role == ProgramRole::Subject
                && !sample.control
                && sample.void.is_none()
                && sample.ns_per_frame > 0.0
        });
        for (place, sample) in samples.enumerate() {
            // Beside each other, in the order in which they were run, over and over.
            let aside = f64::from(u32::try_from(place % 9).unwrap_or(0)) - 4.0;
            dot(&mut dots, across + aside * 1.3, y(value(measurement.quantity, sample)));
        }
    }
    ChartLine { mode, number: index, path, points, dots }
}

/// Adds a dot: a line of no length, whose round ends are seen.
fn dot(path: &mut String, x: f64, y: f64) {
    if x.is_finite() && y.is_finite() {
        let _infallible = write!(path, "M{} {}h0", number(x), number(y));
    }
}

/// The step between ticks, and the top of an axis from 0 that holds a value.
fn axis(highest: f64) -> (f64, f64) {
    if highest <= 0.0 {
        return (1.0, 1.0);
    }
    let power = 10_f64.powf((highest / 4.0).log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * power);
    let step = steps.into_iter().find(|step| step * 5.0 >= highest).unwrap_or(10.0 * power);
    (step, step * (highest / step).ceil())
}

/// A number with as many digits as it needs, three at most.
fn short(value: f64) -> String {
    format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn strip(measurement: &Measurement) -> Option<Strip> {
    let Measurement { id, quantity, trials, .. } = measurement;
    let values: Vec<f64> = trials.iter().map(|sample| value(*quantity, sample)).collect();
    let whole = trials
        .iter()
        .zip(&values)
        .filter(|(sample, its)| sample.void.is_none() && sample.role != ProgramRole::Null && its.is_finite());
    let (low, high) =
        whole.fold((f64::INFINITY, 0.0_f64), |(low, high), (_, its)| (low.min(*its), high.max(*its)));
    let width = high - low;
    if !(low.is_finite() && width > 0.0) {
        return None;
    }
    let last = trials.len().max(2) - 1;
    let mut strip = Strip {
        id: id.clone(),
        top: in_unit(*quantity, high),
        bottom: in_unit(*quantity, low),
        subject: String::new(),
        reference: String::new(),
        control: String::new(),
        void: String::new(),
        trials: trials.len(),
        voids: trials.iter().filter(|sample| sample.void.is_some()).count(),
    };
    for (place, (sample, its)) in trials.iter().zip(values).enumerate() {
        let share = f64::from(u32::try_from(place).ok()?) / f64::from(u32::try_from(last).ok()?);
        let path = match (&sample.void, sample.control, sample.role) {
            (Some(_), ..) => &mut strip.void,
            (None, _, ProgramRole::Null) => continue,
            (None, true, _) => &mut strip.control,
            (None, false, ProgramRole::Reference) => &mut strip.reference,
            (None, false, ProgramRole::Subject) => &mut strip.subject,
        };
        dot(path, STRIP.x(share), STRIP.y((its - low) / width));
    }
    Some(strip)
}

fn in_unit(what: Quantity, value: f64) -> String {
    match what {
        Quantity::ProgramCost => format!("{value:.1} ns"),
        _ if value >= 1e6 => format!("{:.2} Mpps", value / 1e6),
        _ => format!("{:.0} kpps", value / 1e3),
    }
}
