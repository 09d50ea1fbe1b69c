//! The result file: what a run found, for programs.
//!
//! `"schema": "xdproof.result/2"`. Unknown keys are rejected on reading.

use std::{
    borrow::Cow,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;
use xdproof_scenarios::{Hex, capture_file};

use xdproof_core::model::{
    mismatch::Delta,
    result::{Collection, Failure, TrialRecord},
};

use crate::{Event, Reporter};

/// Writes `result.json` into a directory when the run has ended, and before that the frames of each trial that failed.
#[derive(Debug)]
pub struct JsonFile {
    directory: PathBuf,
    file: fs::File,
}

impl JsonFile {
    /// The file's name within its directory.
    pub const NAME: &'static str = "result.json";

    /// Makes the directory if it is not there, and the file, so that a result never has nowhere to go.
    ///
    /// # Errors
    ///
    /// When they cannot be made.
    pub fn create_in(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        // The file of an earlier run stays until there is something to replace it with.
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).open(directory.join(Self::NAME))?;
        Ok(Self { directory: directory.to_owned(), file })
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

    fn keep_frames(&self, trial: &TrialRecord, failure: &Failure) -> io::Result<()> {
        let bytes = |hex: &str| hex.parse().map(|Hex(bytes)| bytes).map_err(io::Error::other);
        let sent = failure.frames.iter().map(|frame| Ok((bytes(&frame.hex)?, u64::from(frame.times))));
        self.write_frames(&Self::frames_of(trial), &sent.collect::<io::Result<Vec<_>>>()?)?;
        let frames = failure.mismatches.iter().flat_map(|mismatch| &mismatch.frames);
        let unexpected = frames.filter(|frame| frame.delta == Delta::Unexpected);
        let unexpected: Vec<_> = unexpected.map(|frame| (&frame.bytes, frame.times)).collect();
        if unexpected.is_empty() {
            return Ok(());
        }
        self.write_frames(&Self::unexpected_of(trial), &unexpected)
    }

    fn write_frames(&self, file: &Path, frames: &[(impl AsRef<[u8]>, u64)]) -> io::Result<()> {
        let path = self.directory.join(file);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let times = |times: u64| usize::try_from(times).unwrap_or(usize::MAX);
        let each = frames.iter().flat_map(|(bytes, its)| std::iter::repeat_n(bytes.as_ref(), times(*its)));
        let mut to = io::BufWriter::new(fs::File::create(path)?);
        capture_file::write(&mut to, each)?;
        io::Write::flush(&mut to)
    }
}

impl Reporter for JsonFile {
    fn report(&mut self, event: Event<'_>) -> io::Result<()> {
        if let Event::Trial(trial) = event
            && let Some(failure) = &trial.failure
        {
            self.keep_frames(trial, failure)?;
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
            self.file.set_len(0)?;
            write_pretty(&self.file, result.as_ref())?;
        }
        Ok(())
    }
}

/// Writes a collection as files have it: a single complete result is written as such.
///
/// # Errors
///
/// When it cannot be written.
pub fn write_collection(collection: &Collection, to: impl io::Write) -> io::Result<()> {
    match (collection.results.as_slice(), collection.infrastructure_failures.is_empty()) {
        ([result], true) => write_pretty(to, result),
        _ => write_pretty(to, collection),
    }
}

/// Bytes of a document that are written at once.
const AT_ONCE: usize = 1 << 16;

/// Writes a result or a [`Collection`] as files have it: indented, with a newline at the end.
///
/// # Errors
///
/// When it cannot be written.
pub fn write_pretty<T: Serialize>(to: impl io::Write, result: &T) -> io::Result<()> {
    use io::Write as _;
    // Standard output would write each line of its own accord.
    let mut to = io::BufWriter::with_capacity(AT_ONCE, to);
    serde_json::to_writer_pretty(&mut to, result)?;
    writeln!(to)?;
    to.flush()
}
