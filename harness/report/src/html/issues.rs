//! Issues on the page: grouped by kind, and scenarios together that came out otherwise on the same paths.

use xdproof_core::model::{Collection, TrialRecord, VerdictKind};

use crate::{
    assessment::{Assessment, Issue, IssueKind, IssuePlace, IssueSeverity},
    html::{
        badge::{Badge, PageLink},
        columns::{Columns, encoded},
        data::ScenarioNotes,
        rates,
        text::visible,
    },
};

/// Issues of a kind that are shown at once.
const SHOWN_ISSUES: usize = 8;

/// Places of an issue that are linked.
const SHOWN_PLACES: usize = 16;

/// Characters of a reason that are shown in an overview.
const SHOWN_REASON: usize = 220;

/// Issues of a kind: those that are shown, and the others.
pub(super) struct IssueGroup {
    pub(super) heading: &'static str,
    pub(super) badge: Badge,
    pub(super) number: usize,
    pub(super) shown: Vec<IssueItem>,
    pub(super) hidden: Vec<IssueItem>,
}

pub(super) struct IssueItem {
    pub(super) subject: String,
    pub(super) about: String,
    pub(super) message: String,
    pub(super) places: Vec<PageLink>,
    pub(super) more: Option<PageLink>,
    pub(super) repeat: String,
}

impl IssueItem {
    /// The link of what is at one place, and called as that is.
    pub(super) fn itself(&self) -> Option<&PageLink> {
        match self.places.as_slice() {
            [one] if one.text == self.subject => Some(one),
            _ => None,
        }
    }
}

pub(super) fn issues(
    collection: &Collection,
    assessment: &Assessment,
    columns: &Columns,
    known: &ScenarioNotes,
    labels: &[String],
) -> Vec<IssueGroup> {
    let item = |issue: &Issue| {
        let Issue { kind, subject, message, places } = issue;
        let is_deviation = *kind == IssueKind::Deviation;
        let links = places.iter().take(SHOWN_PLACES).map(|place| {
            let link = link(*place, collection, columns, labels);
            match trial_at(collection, *place).filter(|_| is_deviation) {
                Some(trial) => PageLink { text: trial.scenario.clone(), ..link },
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
                .then(|| PageLink { text: format!("and {hidden} more"), href: rest(issue, collection) }),
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
        Some(PageLink { text: issue.subject.clone(), href })
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
        more: (hidden > 0).then(|| PageLink {
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

fn link(place: IssuePlace, collection: &Collection, columns: &Columns, labels: &[String]) -> PageLink {
    let label = |run: usize| labels.get(run).cloned().unwrap_or_default();
    match place {
        IssuePlace::Result(run) => PageLink { text: label(run), href: format!("#environment-{}", run + 1) },
        IssuePlace::Trial(run, number) => {
            let trial = &collection.results[run].trials[number];
            let text = columns.label(run, trial);
            PageLink { text, href: format!("#trial={}", encoded(&columns.key(run, trial))) }
        }
        IssuePlace::AttachTest(run, number) => PageLink {
            text: format!("{} · {}", label(run), collection.results[run].attach_semantics[number].nic),
            href: format!("#attach-test-{}-{}", run + 1, number + 1),
        },
        IssuePlace::Measurement(run, number) => {
            let measurement = &collection.results[run].measurements[number];
            rates::link(run, number, measurement)
        }
        IssuePlace::InfrastructureFailure(number) => {
            let text = collection.infrastructure_failures[number].cell.clone();
            PageLink { text, href: format!("#infrastructure-failure-{}", number + 1) }
        }
    }
}
