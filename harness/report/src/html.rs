//! The report as one self-contained page, for a validation engineer to hand over and a kernel maintainer to read.
//!
//! The verdict, the issues, the matrix and everything but the single trials is plain HTML; trials are data, which the script of
//! the page filters and draws. Templates are in `templates/`.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::LazyLock,
};

use askama::Template;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest as _, Sha256};

use xdproof_core::model::{
    Collection, DeviceRecord, Environment, InfrastructureFailure, Mode, PortRole, RunResult, TrialRecord,
    VerdictKind,
};

use crate::{
    assessment::{Assessment, Issue, IssueKind, IssuePlace, IssueSeverity, Standing},
    detection_power::{self, Power},
};

mod badge;
mod columns;
mod data;
mod matrix;
mod rates;
mod text;

use crate::html::badge::{Badge, Link};
use crate::html::columns::{Columns, NO_DEVICE, encoded};
use crate::html::data::{Data, Known};
use crate::html::matrix::{Mark, Matrix, mark};
use crate::html::rates::Rates;
pub(crate) use crate::html::text::Visible;
use crate::html::text::{in_script, visible};

/// An error that leaves no page.
#[derive(Debug, thiserror::Error)]
pub enum HtmlError {
    /// The trials cannot be written down.
    #[error("the trials of the page cannot be written down")]
    Data(#[source] serde_json::Error),
    /// The page cannot be written.
    #[error("the page cannot be written")]
    Write(#[source] io::Error),
}

pub(super) const STYLE: &str = include_str!("../templates/report.css");
const SCRIPT: &str = include_str!("../templates/report.js");

/// Writes the page.
pub fn write(collection: &Collection, to: &mut impl io::Write) -> Result<(), HtmlError> {
    let columns = Columns::of(collection);
    let data = serde_json::to_string(&Data::of(collection, &columns, &KNOWN)).map_err(HtmlError::Data)?;
    let page = Page::of(collection, &columns, &KNOWN, in_script(&data));
    let mut to = io::BufWriter::new(to);
    page.write_into(&mut to).and_then(|()| io::Write::flush(&mut to)).map_err(HtmlError::Write)
}

/// Summaries of the built-in scenarios.
static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let scenarios = xdproof_scenarios::load::builtin().unwrap_or_default();
    scenarios.into_iter().map(|its| (its.id.to_string(), (its.summary, its.tags))).collect()
});

/// The name under which a policy lets an inline element run (CSP level 3, `hash-source`).
pub(super) fn policy_hash(content: &str) -> String {
    format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(content)))
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    style: &'static str,
    script: &'static str,
    style_hash: String,
    script_hash: String,
    data: String,
    verdict: Badge,
    sentence: String,
    numbers: Vec<(Mark, usize)>,
    facts: Vec<Fact>,
    issues: Vec<IssueGroup>,
    trials: usize,
    facets: Vec<Facet>,
    matrix: Matrix,
    infrastructure_failures: &'a [InfrastructureFailure],
    support: Vec<SupportRow<'a>>,
    attach_semantics: Vec<AttachTestRow<'a>>,
    devices: Vec<DevicesOf<'a>>,
    rates: Vec<Rates>,
    faults: usize,
    summary_of_power: String,
    power: Vec<(String, Power)>,
    environments: Vec<EnvironmentOf<'a>>,
}

/// Something that was tested.
struct Fact {
    name: &'static str,
    /// Lines.
    values: Vec<String>,
    more: usize,
}

/// Issues of a kind: those that are shown, and the others.
struct IssueGroup {
    heading: &'static str,
    badge: Badge,
    number: usize,
    shown: Vec<IssueItem>,
    hidden: Vec<IssueItem>,
}

struct IssueItem {
    subject: String,
    about: String,
    message: String,
    places: Vec<Link>,
    more: Option<Link>,
    repeat: String,
}

impl IssueItem {
    /// The link of what is at one place, and called as that is.
    fn itself(&self) -> Option<&Link> {
        match self.places.as_slice() {
            [one] if one.text == self.subject => Some(one),
            _ => None,
        }
    }
}

/// A choice that the list of trials offers.
struct Facet {
    name: &'static str,
    label: &'static str,
    values: Vec<String>,
}

/// The outcome of a mode on a device.
struct SupportRow<'a> {
    kernels: Vec<String>,
    nic: &'a str,
    mode: Mode,
    ran: usize,
    tried: usize,
    advertised: Option<&'a [String]>,
    reasons: Vec<(Mark, usize, &'a str)>,
}

impl SupportRow<'_> {
    /// Returns true if it says the same, on whatever kernels.
    fn same(&self, other: &Self) -> bool {
        let Self { kernels: _, nic, mode, ran, tried, advertised, reasons } = self;
        let theirs = (other.nic, other.mode, other.ran, other.tried, other.advertised);
        (*nic, *mode, *ran, *tried, *advertised) == theirs && *reasons == other.reasons
    }
}

/// A rule, wherever it was tried.
struct AttachTestRow<'a> {
    id: &'a str,
    fact: &'a str,
    numbers: Vec<(Mark, usize)>,
    bad: bool,
    tries: Vec<AttachTestRun<'a>>,
}

struct AttachTestRun<'a> {
    anchor: String,
    place: String,
    mark: Mark,
    bad: bool,
    reason: &'a str,
    steps: &'a [xdproof_core::model::attach_step::StepRecord],
}

/// The devices of a result.
struct DevicesOf<'a> {
    title: String,
    records: &'a [DeviceRecord],
}

struct EnvironmentOf<'a> {
    anchor: String,
    title: String,
    environment: &'a Environment,
    /// Parts that are present of a run that was split.
    parts: String,
    virtual_machine: Option<bool>,
    mitigations: Vec<(&'a str, &'a str)>,
    messages: Vec<Message<'a>>,
}

struct Message<'a> {
    level: u8,
    /// Seconds since the kernel started, as `dmesg` has them.
    since_boot: String,
    text: &'a str,
}

/// Issues of a kind that are shown at once.
const SHOWN_ISSUES: usize = 8;

/// Places of an issue that are linked.
const SHOWN_PLACES: usize = 16;

/// Characters of a reason that are shown in an overview.
const SHOWN_REASON: usize = 220;

/// Values of a fact that are shown.
const SHOWN_VALUES: usize = 8;

impl<'a> Page<'a> {
    fn of(collection: &'a Collection, columns: &Columns, known: &Known, data: String) -> Self {
        let assessment = Assessment::of(collection);
        let results = &collection.results;
        let labels = labels(results);
        let power: Vec<(String, Power)> = results
            .iter()
            .zip(&labels)
            .flat_map(|(result, label)| {
                detection_power::power(result).into_iter().map(|its| (label.clone(), its))
            })
            .collect();
        Self {
            style: STYLE,
            script: SCRIPT,
            style_hash: policy_hash(STYLE),
            script_hash: policy_hash(SCRIPT),
            data,
            verdict: standing(assessment.standing),
            sentence: assessment.sentence.clone(),
            numbers: numbers(&assessment),
            facts: facts(results),
            issues: issues(collection, &assessment, columns, known, &labels),
            trials: results.iter().map(|result| result.trials.len()).sum(),
            facets: facets(results, columns, known),
            matrix: Matrix::of(collection, columns),
            infrastructure_failures: &collection.infrastructure_failures,
            support: support(results),
            attach_semantics: attach_semantics(results, &labels),
            devices: devices(results, &labels),
            rates: results
                .iter()
                .zip(&labels)
                .enumerate()
                .filter_map(|(run, (result, label))| Rates::of(run, result, label.clone()))
                .collect(),
            faults: detection_power::table().len(),
            summary_of_power: detection_power(&power),
            power,
            environments: environments(results, &labels),
        }
    }
}

/// Returns a name for each result: its kernel, NICs and program, as far as they differ, otherwise its number.
fn labels(results: &[RunResult]) -> Vec<String> {
    let parts = results.iter().zip(columns::programs(results)).map(|(result, program)| {
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

fn standing(standing: Standing) -> Badge {
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
fn numbers(assessment: &Assessment) -> Vec<(Mark, usize)> {
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

fn facts(results: &[RunResult]) -> Vec<Fact> {
    let fact = |name, all: Vec<String>| {
        let mut values: Vec<String> = Vec::new();
        let mut seen = BTreeSet::new();
        for value in all {
            if seen.insert(value.clone()) {
                values.push(value);
            }
        }
        let more = values.len().saturating_sub(SHOWN_VALUES);
        values.truncate(SHOWN_VALUES);
        Fact { name, values, more }
    };
    let each = |of: &dyn Fn(&RunResult) -> Vec<String>| results.iter().flat_map(of).collect::<Vec<String>>();
    let devices = each(&|result| {
        let duts = result.devices.iter().filter(|device| device.role == PortRole::Dut);
        let mut devices: Vec<String> = duts.map(device_in_words).collect();
        let described: BTreeSet<&str> = result.devices.iter().map(|device| device.nic.as_str()).collect();
        let nics: BTreeSet<&str> = result.trials.iter().filter_map(|trial| trial.nic.as_deref()).collect();
        let measured = result.measurements.iter().filter_map(|its| its.fingerprint.device.as_ref());
        let nics: BTreeSet<&str> = nics.into_iter().chain(measured.map(|its| its.driver.as_str())).collect();
        devices.extend(nics.into_iter().filter(|nic| !described.contains(nic)).map(str::to_owned));
        devices
    });
    let modes = each(&|result| {
        let modes: BTreeSet<Mode> = result
            .trials
            .iter()
            .map(|its| its.mode)
            .chain(result.measurements.iter().map(|its| its.mode))
            .collect();
        modes.into_iter().map(|mode| mode.to_string()).collect()
    });
    let injectors = each(&|result| {
        let injectors: BTreeSet<_> = result
            .trials
            .iter()
            .map(|its| its.injector)
            .chain(result.measurements.iter().map(|its| its.injector))
            .collect();
        injectors.into_iter().map(|injector| injector.to_string()).collect()
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

fn issues(
    collection: &Collection,
    assessment: &Assessment,
    columns: &Columns,
    known: &Known,
    labels: &[String],
) -> Vec<IssueGroup> {
    let item = |issue: &Issue| {
        let Issue { kind, subject, message, places } = issue;
        let is_deviation = *kind == IssueKind::Deviation;
        let links = places.iter().take(SHOWN_PLACES).map(|place| {
            let link = link(*place, collection, columns, labels);
            match trial_at(collection, *place).filter(|_| is_deviation) {
                Some(trial) => Link { text: trial.scenario.clone(), ..link },
                None => link,
            }
        });
        let hidden = places.len().saturating_sub(SHOWN_PLACES);
        let repeat = places.iter().find_map(|place| trial_at(collection, *place)?.failure.as_ref());
        let (subject, about) = if is_deviation {
            (named(&paths(issue, collection, columns), columns), format!("{} trials", places.len()))
        } else {
            (subject.clone(), known.get(subject).map(|(summary, _)| summary.clone()).unwrap_or_default())
        };
        IssueItem {
            subject,
            about,
            message: shortened(message),
            places: links.collect(),
            more: (hidden > 0)
                .then(|| Link { text: format!("and {hidden} more"), href: rest(issue, collection) }),
            repeat: repeat.map(|failure| failure.reproducer.clone()).unwrap_or_default(),
        }
    };
    // Scenarios that came out otherwise on the same paths have most likely one cause: they are one item.
    let items = |all: &[Issue]| -> Vec<IssueItem> {
        let mut by_paths: Vec<(Vec<usize>, Vec<&Issue>)> = Vec::new();
        for issue in all {
            let paths = paths(issue, collection, columns);
            match by_paths.iter_mut().find(|(known, _)| !paths.is_empty() && *known == paths) {
                Some((_, issues)) => issues.push(issue),
                None => by_paths.push((paths, vec![issue])),
            }
        }
        by_paths.sort_by_key(|(_, issues)| std::cmp::Reverse(issues.len()));
        let several = |(paths, issues): &(Vec<usize>, Vec<&Issue>)| match issues.as_slice() {
            [one] => item(one),
            many => together(paths, many, collection, columns),
        };
        by_paths.iter().map(several).collect()
    };
    let group = |(kind, all): (IssueKind, &[Issue])| {
        let mut shown = items(all);
        let hidden = shown.split_off(shown.len().min(SHOWN_ISSUES));
        let (class, symbol) = match kind.severity() {
            IssueSeverity::Fault => ("fail", "✗"),
            IssueSeverity::Gap => ("error", "!"),
            IssueSeverity::Warning => ("xfail", "≈"),
            IssueSeverity::Note => ("skip", "i"),
        };
        let places: usize = all.iter().map(|issue| issue.places.len()).sum();
        let badge = Badge { class, symbol, name: String::new() };
        IssueGroup { heading: kind.heading(), badge, number: places, shown, hidden }
    };
    assessment.by_kind().map(group).collect()
}

fn trial_at(collection: &Collection, place: IssuePlace) -> Option<&TrialRecord> {
    match place {
        IssuePlace::Trial(run, number) => collection.results.get(run)?.trials.get(number),
        _ => None,
    }
}

/// The columns in which trials came out so, in order; none where it is about no trial.
fn paths(issue: &Issue, collection: &Collection, columns: &Columns) -> Vec<usize> {
    let at = |place: &IssuePlace| match *place {
        IssuePlace::Trial(run, _) => Some(columns.at(run, trial_at(collection, *place)?)),
        _ => None,
    };
    let mut paths: Vec<usize> = issue.places.iter().filter_map(at).collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// Returns the element that shows the remaining places of an issue.
fn rest(issue: &Issue, collection: &Collection) -> String {
    match issue.places.first().and_then(|place| trial_at(collection, *place)) {
        Some(trial) if issue.subject.is_empty() => format!("#list&verdict={}", trial.verdict),
        Some(trial) => format!("#list&verdict={}&q={}", trial.verdict, encoded(&visible(&issue.subject))),
        None => "#environment".to_owned(),
    }
}

/// Paths that are named.
const SHOWN_PATHS: usize = 4;

/// Paths by their names, what they have in common first, and how many more there are.
fn named(paths: &[usize], columns: &Columns) -> String {
    let all =
        paths.iter().filter_map(|path| columns.all.get(*path)).map(|column| column.parts(columns.several));
    let all: Vec<[Option<&str>; 5]> = all.collect();
    let is_common = |at: usize| all.iter().all(|parts| parts[at] == all[0][at]);
    let (common, apart): (Vec<usize>, Vec<usize>) = (0..5).partition(|at| is_common(*at));
    let words = |parts: &[Option<&str>; 5], chosen: &[usize], between| {
        chosen.iter().filter_map(|at| parts[*at]).collect::<Vec<_>>().join(between)
    };
    let mut names = vec![all.first().map(|parts| words(parts, &common, " · ")).unwrap_or_default()];
    if !apart.is_empty() {
        let mut each: Vec<String> =
            all.iter().take(SHOWN_PATHS).map(|parts| words(parts, &apart, " ")).collect();
        if all.len() > SHOWN_PATHS {
            each.push(format!("{} more paths", all.len() - SHOWN_PATHS));
        }
        names.push(each.join(", "));
    }
    names.retain(|name| !name.is_empty());
    names.join(": ")
}

/// Several scenarios that came out otherwise on the same paths.
fn together(paths: &[usize], issues: &[&Issue], collection: &Collection, columns: &Columns) -> IssueItem {
    let links = issues.iter().filter_map(|issue| {
        let IssuePlace::Trial(run, _) = *issue.places.first()? else { return None };
        let trial = trial_at(collection, *issue.places.first()?)?;
        let href = format!("#trial={}", encoded(&columns.key(run, trial)));
        Some(Link { text: issue.subject.clone(), href })
    });
    let hidden = issues.len().saturating_sub(SHOWN_PLACES);
    let first = issues.first().map_or("", |first| &first.message);
    let filter = paths.first().and_then(|path| columns.all.get(*path)).map(|its| its.filter(columns.several));
    let verdict =
        issues.first().and_then(|its| trial_at(collection, *its.places.first()?)).map(|its| its.verdict);
    let repeat = issues
        .iter()
        .flat_map(|its| &its.places)
        .find_map(|place| trial_at(collection, *place)?.failure.as_ref());
    IssueItem {
        subject: named(paths, columns),
        about: format!("{} scenarios", issues.len()),
        message: format!("the first: {}", shortened(first)),
        places: links.take(SHOWN_PLACES).collect(),
        more: (hidden > 0).then(|| Link {
            text: format!("and {hidden} more"),
            href: format!(
                "#list{}&verdict={}",
                filter.unwrap_or_default(),
                verdict.map(VerdictKind::name).unwrap_or_default()
            ),
        }),
        repeat: repeat.map(|failure| failure.reproducer.clone()).unwrap_or_default(),
    }
}

/// As much of a reason as an overview has room for.
fn shortened(text: &str) -> String {
    let mut characters = text.chars();
    let mut short: String = characters.by_ref().take(SHOWN_REASON).collect();
    if characters.next().is_some() {
        short.push('…');
    }
    short
}

fn link(place: IssuePlace, collection: &Collection, columns: &Columns, labels: &[String]) -> Link {
    let label = |run: usize| labels.get(run).cloned().unwrap_or_default();
    match place {
        IssuePlace::Result(run) => Link { text: label(run), href: format!("#environment-{}", run + 1) },
        IssuePlace::Trial(run, number) => {
            let trial = &collection.results[run].trials[number];
            let text = columns.label(run, trial);
            Link { text, href: format!("#trial={}", encoded(&columns.key(run, trial))) }
        }
        IssuePlace::AttachTest(run, number) => Link {
            text: format!("{} · {}", label(run), collection.results[run].attach_semantics[number].nic),
            href: format!("#attach-test-{}-{}", run + 1, number + 1),
        },
        IssuePlace::Measurement(run, number) => {
            let measurement = &collection.results[run].measurements[number];
            rates::link(run, number, measurement)
        }
        IssuePlace::InfrastructureFailure(number) => {
            let text = collection.infrastructure_failures[number].cell.clone();
            Link { text, href: format!("#infrastructure-failure-{}", number + 1) }
        }
    }
}

fn facets(results: &[RunResult], columns: &Columns, known: &Known) -> Vec<Facet> {
    let of =
        |name, label, values: BTreeSet<String>| Facet { name, label, values: values.into_iter().collect() };
    let column = |of: &dyn Fn(&columns::Column) -> String| columns.all.iter().map(of).collect();
    let scenarios = || results.iter().flat_map(|result| &result.trials).map(|trial| trial.scenario.as_str());
    let groups = scenarios().map(|scenario| visible(matrix::group(scenario)).into_owned());
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

fn support(results: &[RunResult]) -> Vec<SupportRow<'_>> {
    let mut rows: Vec<SupportRow<'_>> = Vec::new();
    for result in results {
        let kernel = &result.environment.kernel_release;
        for row in support_of(result) {
            // Most kernels make the same of a device.
            match rows.iter_mut().find(|known| known.same(&row)) {
                Some(known) if known.kernels.contains(kernel) => {}
                Some(known) => known.kernels.push(kernel.clone()),
                None => rows.push(SupportRow { kernels: vec![kernel.clone()], ..row }),
            }
        }
    }
    rows.sort_by(|a, b| (&a.nic, a.mode).cmp(&(&b.nic, b.mode)));
    rows
}

fn support_of(result: &RunResult) -> impl Iterator<Item = SupportRow<'_>> {
    let mut by_path: BTreeMap<(Option<&str>, Mode), SupportRow<'_>> = BTreeMap::new();
    for trial in &result.trials {
        let nic = trial.nic.as_deref();
        let is_its =
            |device: &&DeviceRecord| device.role == PortRole::Dut && Some(device.nic.as_str()) == nic;
        let row = by_path.entry((nic, trial.mode)).or_insert_with(|| SupportRow {
            kernels: Vec::new(),
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
            let mark = mark(trial.verdict);
            match row.reasons.iter_mut().find(|(known, _, text)| (*known, *text) == (mark, reason)) {
                Some((_, times, _)) => *times += 1,
                None => row.reasons.push((mark, 1, reason)),
            }
        }
    }
    by_path.into_values()
}

fn attach_semantics<'a>(results: &'a [RunResult], labels: &[String]) -> Vec<AttachTestRow<'a>> {
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
            match row.numbers.iter_mut().find(|(known, _)| *known == mark) {
                Some((_, times)) => *times += 1,
                None => row.numbers.push((mark, 1)),
            }
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

fn devices<'a>(results: &'a [RunResult], labels: &[String]) -> Vec<DevicesOf<'a>> {
    let all = results.iter().zip(labels).filter(|(result, _)| !result.devices.is_empty());
    all.map(|(result, label)| DevicesOf { title: label.clone(), records: &result.devices }).collect()
}

/// Returns a sentence about the detection power of a pass.
fn detection_power(power: &[(String, Power)]) -> String {
    let found = power.iter().filter(|(_, its)| its.passed > 0).map(|(_, its)| its.found);
    let (least, most) = (found.clone().min(), found.max());
    let faults = detection_power::table().len();
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

fn environments<'a>(results: &'a [RunResult], labels: &[String]) -> Vec<EnvironmentOf<'a>> {
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
