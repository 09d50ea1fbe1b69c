//! Merging: parts of a run that was split become one result, what is there twice is taken once.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use xdproof_core::model::{
    device::{DeviceRecord, Statistic},
    environment::Environment,
    result::{AttachTestRecord, Collection, PartitionRecord, RunResult, Summary, TrialRecord},
    verdict::VerdictKind,
};

use crate::store::{
    error::{Conflict, StoreError},
    gather::Gathered,
    keyed::{Key, Keyed, nics},
    missing::missing_parts,
};

impl Gathered {
    /// Joins the parts of each run that was split into one result, and keeps results of other kernels, devices, hosts and
    /// programs side by side: whole results first, each in the order of discovery. Duplicates are dropped. Repetitions of a run
    /// on one machine, in which each trial has the verdict that it had before, are kept in the order in which they began.
    ///
    /// # Errors
    ///
    /// For two verdicts of one trial or test with the same kernel, host, program and device.
    pub fn join(self) -> Result<Collection, StoreError> {
        let Self { results, mut infrastructure_failures, files: _, bytes: _ } = self;
        let (parts, wholes): (Vec<_>, Vec<_>) =
            results.into_iter().partition(|(_, result)| result.partition.is_some());
        let mut joined: Vec<Joined> = Vec::new();
        for (file, part) in parts {
            let is_its =
                |other: &&mut Joined| is_same_run(&other.result, &part) && !repeats(&other.result, &part);
            match joined.iter_mut().find(is_its) {
                Some(run) => run.add(file, part)?,
                None => joined.push(Joined::new(file, part)),
            }
        }
        joined.iter_mut().for_each(Joined::close);
        let wholes = wholes.into_iter().map(|(file, result)| Joined::new(file, result));
        let mut once: Vec<Joined> = Vec::new();
        for mut next in wholes.chain(joined) {
            if !once.iter().any(|other| other.result == next.result) && next.leave_out_known(&once)? {
                once.push(next);
            }
        }
        sort_by_time(&mut once);
        keep_first(&mut infrastructure_failures);
        Ok(Collection::new(once.into_iter().map(|joined| joined.result).collect(), infrastructure_failures))
    }
}

/// A result from one file or from the files of its parts.
struct Joined {
    result: RunResult,
    files: Vec<PathBuf>,
    /// Index of the file that holds a trial or a test, if that is not the first.
    origins: HashMap<(Option<String>, String), usize>,
}

impl Joined {
    fn new(file: PathBuf, result: RunResult) -> Self {
        Self { result, files: vec![file], origins: HashMap::new() }
    }

    /// Adds another part.
    fn add(&mut self, file: PathBuf, part: RunResult) -> Result<(), StoreError> {
        let RunResult {
            schema: _,
            environment,
            started,
            partition,
            devices,
            findings,
            kernel_messages,
            attach_semantics,
            trials,
            measurements,
            summary,
        } = part;
        let parts = partition.map_or_else(Vec::new, |its| its.parts);
        let mut not_run = self.result.summary.not_run;
        if let Some(PartitionRecord { parts: held, count: _ }) = &mut self.result.partition {
            if !parts.iter().all(|part| held.contains(part)) {
                not_run = not_run.saturating_add(summary.not_run);
            }
            held.extend(parts);
            held.sort_unstable();
            held.dedup();
        }
        let index = self.files.len();
        self.files.push(file);
        let known: HashMap<Key<'_>, &TrialRecord> = by_key(&self.result.trials);
        let trials = self.unknown(trials, &known, index)?;
        let known: HashMap<Key<'_>, &AttachTestRecord> = by_key(&self.result.attach_semantics);
        let tests = self.unknown(attach_semantics, &known, index)?;
        for (nic, id) in trials.iter().map(Keyed::key).chain(tests.iter().map(Keyed::key)) {
            self.origins.insert((nic.map(str::to_owned), id.to_owned()), index);
        }
        let result = &mut self.result;
        join_environment(&mut result.environment, environment);
        result.started = result.started.into_iter().chain(started).min();
        join_devices(&mut result.devices, devices);
        result.findings.extend(findings);
        result.kernel_messages.extend(kernel_messages);
        result.attach_semantics.extend(tests);
        result.trials.extend(trials);
        result.measurements.extend(measurements);
        result.summary.not_run = not_run;
        Ok(())
    }

    /// Sorts and deduplicates after the last part.
    fn close(&mut self) {
        let result = &mut self.result;
        if self.files.len() > 1 {
            keep_first(&mut result.findings);
            result.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
            keep_first(&mut result.kernel_messages);
            keep_first(&mut result.measurements);
            result
                .trials
                .sort_by(|a, b| (&a.nic, &a.scenario, a.path()).cmp(&(&b.nic, &b.scenario, b.path())));
            result.attach_semantics.sort_by(|a, b| a.key().cmp(&b.key()));
            result.summary = Summary::of(&result.trials, result.summary.not_run);
        }
        if result.partition.as_ref().is_some_and(|its| missing_parts(its).is_none()) {
            result.partition = None;
        }
    }

    /// Drops what other results of the same environment also have. Returns false if nothing is left.
    fn leave_out_known(&mut self, others: &[Self]) -> Result<bool, StoreError> {
        let was_void = is_void(&self.result);
        let others: Vec<&Self> =
            others.iter().filter(|other| other.result.environment == self.result.environment).collect();
        if others.iter().any(|other| repeats(&other.result, &self.result)) {
            others.iter().try_for_each(|other| other.check_verdicts(self))?;
            return Ok(true);
        }
        for other in others {
            let trials = std::mem::take(&mut self.result.trials);
            self.result.trials = other.unknown_of(trials, &by_key(&other.result.trials), self)?;
            let tests = std::mem::take(&mut self.result.attach_semantics);
            self.result.attach_semantics =
                other.unknown_of(tests, &by_key(&other.result.attach_semantics), self)?;
            self.result.measurements.retain(|its| !other.result.measurements.contains(its));
        }
        let RunResult { trials, summary, .. } = &mut self.result;
        *summary = Summary::of(&*trials, summary.not_run);
        Ok(was_void || !is_void(&self.result))
    }

    /// Returns the new ones among those of another file.
    fn unknown<T: Keyed>(
        &self,
        new: Vec<T>,
        known: &HashMap<Key<'_>, &T>,
        index: usize,
    ) -> Result<Vec<T>, StoreError> {
        keep_unknown(new, known, |(nic, id)| {
            self.conflict((nic, id), self.file_of((nic, id)), &self.files[index])
        })
    }

    /// Returns the new ones among those of another result.
    fn unknown_of<T: Keyed>(
        &self,
        new: Vec<T>,
        known: &HashMap<Key<'_>, &T>,
        other: &Self,
    ) -> Result<Vec<T>, StoreError> {
        keep_unknown(new, known, |key| self.conflict(key, self.file_of(key), other.file_of(key)))
    }

    /// Rejects another result that has another verdict on a trial or a test.
    fn check_verdicts(&self, other: &Self) -> Result<(), StoreError> {
        let conflict = |key| self.conflict(key, self.file_of(key), other.file_of(key));
        let (ours, theirs) = (&self.result, &other.result);
        let trial = contradicted(&by_key(&ours.trials), &theirs.trials);
        let test = contradicted(&by_key(&ours.attach_semantics), &theirs.attach_semantics);
        trial.or(test).map_or(Ok(()), |key| Err(conflict(key)))
    }

    fn conflict(&self, (nic, id): Key<'_>, first: &Path, second: &Path) -> StoreError {
        let Environment { kernel_release, program, .. } = &self.result.environment;
        let conflict = Conflict {
            id: id.to_owned(),
            nic: nic.unwrap_or("no device").to_owned(),
            kernel: kernel_release.clone(),
            program: program.tag.clone(),
            first: first.to_owned(),
            second: second.to_owned(),
        };
        Box::new(conflict).into()
    }

    fn file_of(&self, (nic, id): Key<'_>) -> &Path {
        let index = self.origins.get(&(nic.map(str::to_owned), id.to_owned())).copied().unwrap_or(0);
        &self.files[index]
    }
}

fn by_key<T: Keyed>(of: &[T]) -> HashMap<Key<'_>, &T> {
    of.iter().map(|its| (its.key(), its)).collect()
}

fn keep_unknown<T: Keyed>(
    new: Vec<T>,
    known: &HashMap<Key<'_>, &T>,
    conflict: impl Fn(Key<'_>) -> StoreError,
) -> Result<Vec<T>, StoreError> {
    let mut kept = Vec::new();
    for its in new {
        match known.get(&its.key()) {
            None => kept.push(its),
            // A trial that was skipped twice was not repeated.
            Some(other) if **other == its || is_skipped_in_both(*other, &its) => {}
            Some(_) => return Err(conflict(its.key())),
        }
    }
    Ok(kept)
}

/// Returns the first one that has another verdict than the known one.
fn contradicted<'a, T: Keyed>(known: &HashMap<Key<'_>, &T>, new: &'a [T]) -> Option<Key<'a>> {
    let differs = |its: &&T| known.get(&its.key()).is_some_and(|other| other.verdict() != its.verdict());
    new.iter().find(differs).map(Keyed::key)
}

/// Returns whether a trial or a test of one result was run again in the other, with the same verdict: not a copy of its record, which
/// would have the same duration.
fn repeats(one: &RunResult, other: &RunResult) -> bool {
    fn any_again<T: Keyed>(ours: &[T], theirs: &[T]) -> bool {
        let known = by_key(ours);
        let again = |its: &T| {
            let is_again = |other: &&T| {
                **other != *its && other.verdict() == its.verdict() && !is_skipped_in_both(*other, its)
            };
            known.get(&its.key()).is_some_and(is_again)
        };
        theirs.iter().any(again)
    }
    any_again(&one.trials, &other.trials) || any_again(&one.attach_semantics, &other.attach_semantics)
}

/// Sorts the results of each machine and program by the time at which they began; the places of other results stay.
fn sort_by_time(results: &mut Vec<Joined>) {
    let mut ordered: Vec<Joined> = std::mem::take(results);
    let environments: Vec<Environment> =
        ordered.iter().map(|joined| joined.result.environment.clone()).collect();
    // The first of each machine in order of time takes the first place of that machine.
    ordered.sort_by_key(|joined| joined.result.started);
    for environment in environments {
        let next = ordered.iter().position(|joined| joined.result.environment == environment);
        results.extend(next.map(|next| ordered.remove(next)));
    }
}

fn is_skipped_in_both<T: Keyed>(one: &T, other: &T) -> bool {
    [one, other].iter().all(|its| its.verdict() == VerdictKind::Skip)
}

/// Returns whether there are neither trials nor tests nor measurements.
fn is_void(result: &RunResult) -> bool {
    result.trials.is_empty() && result.attach_semantics.is_empty() && result.measurements.is_empty()
}

/// Returns whether both are parts of one run. Parts may run on several hosts of one kind, so the CPU model may differ.
fn is_same_run(one: &RunResult, other: &RunResult) -> bool {
    let counts = [one, other].map(|result| result.partition.as_ref().map(|its| its.count));
    let places = [one, other].map(|RunResult { environment, .. }| {
        let Environment {
            xdproof,
            kernel_release,
            kernel_version,
            architecture,
            cpu_model: _,
            cpus_available: _,
            bpf_jit,
            program,
        } = environment;
        (xdproof, kernel_release, kernel_version, architecture, bpf_jit, program)
    });
    // A part may hold nothing but trials without a device.
    let [nics, others] = [one, other].map(nics);
    let same_nics = nics == others || nics.is_empty() || others.is_empty();
    counts[0].is_some() && counts[0] == counts[1] && places[0] == places[1] && same_nics
}

/// Lists all CPU models, and keeps the lowest number of CPUs.
fn join_environment(environment: &mut Environment, other: Environment) {
    let Environment { cpu_model, cpus_available, .. } = other;
    environment.cpus_available = environment.cpus_available.min(cpus_available);
    match (&mut environment.cpu_model, cpu_model) {
        (Some(models), Some(model)) => {
            if !models.split("; ").any(|known| known == model) {
                models.push_str("; ");
                models.push_str(&model);
            }
        }
        (None, Some(model)) => environment.cpu_model = Some(model),
        (_, None) => {}
    }
}

/// Merges records of the same device by adding up its counters' increments.
fn join_devices(devices: &mut Vec<DeviceRecord>, others: Vec<DeviceRecord>) {
    for mut other in others {
        let statistics = std::mem::take(&mut other.statistics);
        let is_same = |device: &&mut DeviceRecord| {
            let bare = DeviceRecord { statistics: Vec::new(), ..(**device).clone() };
            bare == other
        };
        match devices.iter_mut().find(is_same) {
            Some(device) => join_statistics(&mut device.statistics, statistics),
            None => devices.push(DeviceRecord { statistics, ..other }),
        }
    }
}

fn join_statistics(statistics: &mut Vec<Statistic>, others: Vec<Statistic>) {
    for other in others {
        let is_same = |its: &&mut Statistic| its.name == other.name && its.source == other.source;
        match statistics.iter_mut().find(is_same) {
            Some(its) => its.after = its.after.saturating_add(other.after.saturating_sub(other.before)),
            None => statistics.push(other),
        }
    }
}

/// Drops duplicates.
fn keep_first<T: PartialEq>(of: &mut Vec<T>) {
    let mut kept: Vec<T> = Vec::with_capacity(of.len());
    for its in of.drain(..) {
        if !kept.contains(&its) {
            kept.push(its);
        }
    }
    *of = kept;
}
