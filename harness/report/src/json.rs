//! The result file: what a run found, for programs.
//!
//! `"schema": "xdproof.result/2"`. Unknown keys are rejected on reading.

use std::{
    borrow::Cow,
    io,
    path::{Path, PathBuf},
};

use serde::Serialize;
use xdproof_scenarios::{Frame, capture_file};

use xdproof_core::model::{
    frame_sequence::Surplus,
    result::{Collection, TrialRecord},
};

use crate::{
    Event, Reporter,
    output::{OutputFile, write_file},
};

/// Writes `result.json` into a directory when the run has ended, and before that the frames of each trial that failed.
#[derive(Debug)]
pub struct JsonFile {
    directory: PathBuf,
    /// None when the run has ended.
    file: Option<OutputFile>,
}

impl JsonFile {
    /// The file's name within its directory.
    pub const NAME: &'static str = "result.json";

    /// Makes the directory if it is not there, and begins the file, so that a result never has nowhere to go. The file of an earlier
    /// run stays until this one is whole.
    pub fn create_in(directory: &Path) -> io::Result<Self> {
        let file = OutputFile::create(directory, Path::new(Self::NAME))?;
        Ok(Self { directory: directory.to_owned(), file: Some(file) })
    }

    /// The pcap file with the frames that a trial sent, each as often as it was sent, below the directory.
    #[must_use]
    pub fn frames_of(trial: &TrialRecord) -> PathBuf {
        Path::new("failed").join(format!("{}.pcap", trial.scenario))
    }

    /// The pcap file with the frames that came through and should not have; only where there are any.
    fn unexpected_of(trial: &TrialRecord) -> PathBuf {
        let TrialRecord { scenario, mode, injector, .. } = trial;
        Path::new("failed").join(format!("{scenario}.{mode}.{injector}.unexpected.pcap"))
    }

    fn keep_frames(&self, trial: &TrialRecord, sent: &[Frame], unexpected: &[Surplus]) -> io::Result<()> {
        let sent = sent.iter().map(|frame| (frame.bytes.as_slice(), u64::from(frame.repeat)));
        self.write_frames(&Self::frames_of(trial), sent)?;
        let unexpected = unexpected.iter().flat_map(Surplus::frames);
        if unexpected.clone().next().is_none() {
            return Ok(());
        }
        self.write_frames(&Self::unexpected_of(trial), unexpected)
    }

    fn write_frames<'a>(
        &self,
        file: &Path,
        frames: impl Iterator<Item = (&'a [u8], u64)> + Clone,
    ) -> io::Result<()> {
        let length = |(bytes, times): (&[u8], u64)| times.saturating_mul(bytes.len() as u64);
        let all = frames.clone().map(length).fold(0, u64::saturating_add);
        // A file that repeats would make too long has each distinct frame once.
        let times =
            |times: u64| if all > MAX_PCAP { 1 } else { usize::try_from(times).unwrap_or(usize::MAX) };
        let each = frames.flat_map(|(bytes, its)| std::iter::repeat_n(bytes, times(its)));
        write_file(&self.directory, file, |to| capture_file::write(to, each)).map(drop)
    }
}

/// Bytes of a pcap file that repeats of frames may fill.
const MAX_PCAP: u64 = 256 << 20;

impl Reporter for JsonFile {
    fn report(&mut self, event: Event<'_>) -> io::Result<()> {
        if let Event::Frames { trial, sent, unexpected } = event {
            self.keep_frames(trial, sent, unexpected)?;
        }
        if let Event::Ended { result } = event {
            let mut result = Cow::Borrowed(result);
            // A copy of it all is dear, and most runs need none.
            if result.trials.iter().any(|trial| trial.failure.is_some()) {
                for trial in &mut result.to_mut().trials {
                    let pcap = Self::frames_of(trial);
                    if let Some(failure) = &mut trial.failure {
                        failure.pcap = Some(pcap);
                    }
                }
            }
            if let Some(mut file) = self.file.take() {
                write_pretty(&mut file, result.as_ref())?;
                file.finish()?;
            }
        }
        Ok(())
    }
}

/// Writes a collection as files have it: a single complete result is written as such.
pub fn write_collection(collection: &Collection, to: impl io::Write) -> io::Result<()> {
    match (collection.results.as_slice(), collection.infrastructure_failures.is_empty()) {
        ([result], true) => write_pretty(to, result),
        _ => write_pretty(to, collection),
    }
}

/// Bytes of a document that are written at once.
const AT_ONCE: usize = 1 << 16;

/// Writes a result or a [`Collection`] as files have it: indented, with a newline at the end.
pub fn write_pretty<T: Serialize>(to: impl io::Write, result: &T) -> io::Result<()> {
    use io::Write as _;
    // Standard output would write each line of its own accord.
    let mut to = io::BufWriter::with_capacity(AT_ONCE, to);
    serde_json::to_writer_pretty(&mut to, result)?;
    writeln!(to)?;
    to.flush()
}
