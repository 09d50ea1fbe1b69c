//! The report as one self-contained page, for a validation engineer to hand over and a kernel maintainer to read.
//!
//! The verdict, the issues, the matrix and everything but the single trials is plain HTML; trials are data, which the script of
//! the page filters and draws. Templates are in `templates/`.

use std::{io, sync::LazyLock};

use askama::Template;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest as _, Sha256};

use xdproof_core::model::{Collection, InfrastructureFailure};

use crate::{
    assessment::Assessment,
    detection_power::{self, Power},
    html::{
        badge::Badge,
        columns::Columns,
        data::{Data, ScenarioNotes},
        issues::{IssueGroup, issues},
        matrix::{Mark, Matrix},
        overview::{Facet, TestedFact, facets, facts, labels, numbers, standing},
        rates::RatesSection,
        results::{
            AttachTestRow, DevicesOf, EnvironmentOf, SupportRow, attach_semantics, detection_power, devices,
            environments, support,
        },
        text::in_script,
    },
};

mod badge;
mod columns;
mod data;
mod issues;
mod matrix;
mod overview;
mod rates;
mod results;
mod text;

pub(crate) use crate::html::text::Visible;

/// An error that leaves no page.
#[derive(Debug, thiserror::Error)]
pub enum HtmlError {
    #[error("the trials of the page cannot be written down")]
    Data(#[source] serde_json::Error),
    #[error("the page cannot be written")]
    Write(#[source] io::Error),
}

pub(super) const STYLE: &str = include_str!("../templates/report.css");
const SCRIPT: &str = include_str!("../templates/report.js");

/// Writes the page.
pub fn write(collection: &Collection, to: &mut impl io::Write) -> Result<(), HtmlError> {
    let columns = Columns::of(collection);
    let data = serde_json::to_string(&Data::of(collection, &columns, &KNOWN)).map_err(HtmlError::Data)?;
    let page = ReportPage::of(collection, &columns, &KNOWN, in_script(&data));
    let mut to = io::BufWriter::new(to);
    page.write_into(&mut to).and_then(|()| io::Write::flush(&mut to)).map_err(HtmlError::Write)
}

/// Summaries of the built-in scenarios.
static KNOWN: LazyLock<ScenarioNotes> = LazyLock::new(|| {
    let scenarios = xdproof_scenarios::load::builtin().unwrap_or_default();
    scenarios.into_iter().map(|its| (its.id.to_string(), (its.summary, its.tags))).collect()
});

/// The name under which a policy lets an inline element run (CSP level 3, `hash-source`).
pub(super) fn policy_hash(content: &str) -> String {
    format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(content)))
}

#[derive(Template)]
#[template(path = "report.html")]
struct ReportPage<'a> {
    style: &'static str,
    script: &'static str,
    style_hash: String,
    script_hash: String,
    data: String,
    verdict: Badge,
    sentence: String,
    numbers: Vec<(Mark, usize)>,
    facts: Vec<TestedFact>,
    issues: Vec<IssueGroup>,
    trials: usize,
    facets: Vec<Facet>,
    matrix: Matrix,
    infrastructure_failures: &'a [InfrastructureFailure],
    support: Vec<(SupportRow<'a>, Vec<String>)>,
    attach_semantics: Vec<AttachTestRow<'a>>,
    devices: Vec<DevicesOf<'a>>,
    rates: Vec<RatesSection>,
    faults: usize,
    summary_of_power: String,
    power: Vec<(String, Power)>,
    environments: Vec<EnvironmentOf<'a>>,
}

impl<'a> ReportPage<'a> {
    fn of(collection: &'a Collection, columns: &Columns, known: &ScenarioNotes, data: String) -> Self {
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
                .filter_map(|(run, (result, label))| RatesSection::of(run, result, label.clone()))
                .collect(),
            faults: detection_power::table().len(),
            summary_of_power: detection_power(&power),
            power,
            environments: environments(results, &labels),
        }
    }
}
