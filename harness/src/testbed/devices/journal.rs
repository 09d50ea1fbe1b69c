//! The journal of a run on devices of the host: what was set at them, on disk before the first of it is changed, so that a
//! run that is killed at any moment can be undone by `xdproof restore`, or by the next run.
//!
//! Each run has a directory of its own below [`directory`]:
//!
//! | | |
//! |---|---|
//! | `journal.json` | the [settings](DeviceSettings) of its devices |
//! | `tester`, `dut` | the namespaces that the devices are in, bound to these files: they outlive the run, for the kernel deletes virtual devices together with their namespace; that of a device which stays where it is has nothing in it |
//! | `bpf` | a bpf file system with the XDP programs that were attached by netlink |
//!
//! A run is alive as long as its directory is locked (`flock`), which the kernel ends with the process; process ids prove
//! nothing. The file `lock` beside the runs is held by whoever takes devices or puts them back, one at a time.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, flock},
    mount::{MountFlags, UnmountFlags, mount, unmount},
    time::{ClockId, clock_gettime},
};
use serde::{Deserialize, Serialize};
use xdproof_netns::{NetNs, Worker};

use crate::model::device::PortRole;
use crate::testbed::devices::pair::Step;
use crate::testbed::devices::restore::{DeviceSettings, Outcome, PutBack, StoredRecord, Way, put_back};

/// Where journals are unless [`DIRECTORY_VARIABLE`] says otherwise. It is empty after a boot, and so are the devices'
/// settings.
pub const DIRECTORY: &str = "/run/xdproof";

/// The environment variable that names another directory for journals, for tests.
pub const DIRECTORY_VARIABLE: &str = "XDPROOF_RUN_DIR";

const SCHEMA: &str = "xdproof.journal/1";
const JOURNAL: &str = "journal.json";
const LOCK: &str = "lock";
const PROGRAMS: &str = "bpf";

/// Where journals are.
#[must_use]
pub fn directory() -> PathBuf {
    std::env::var_os(DIRECTORY_VARIABLE).map_or_else(|| PathBuf::from(DIRECTORY), PathBuf::from)
}

/// Why a journal could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file, a lock or a mount.
    #[error("failed to {action} {}", path.display())]
    File {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// The namespace that the devices belong to.
    #[error("failed to {0}")]
    Network(#[from] xdproof_netns::Error),
    /// What this very program is to write cannot be written as JSON.
    #[error("failed to write the settings of the devices as JSON")]
    Json(#[from] serde_json::Error),
}

fn at<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> JournalError {
    move |source| JournalError::File { action, path: path.to_owned(), source: source.into() }
}

/// What stands in a journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Journal {
    schema: String,
    /// The process that writes it, for people.
    process: u32,
    /// The kernel's boot id: settings do not outlive a boot.
    boot: String,
    /// Seconds from the boot to when the settings were read.
    since_boot_s: u64,
    /// The namespace that the devices belong to, by its inode.
    namespace: u64,
    devices: Vec<DeviceSettings>,
    /// Routes of the devices and of others that lead to the same place with the same right, in the kernel's order.
    rivals: Vec<Vec<StoredRecord>>,
}

/// The journals, held against everyone else for as long as this lives.
#[derive(Debug)]
pub(super) struct Journals {
    directory: PathBuf,
    /// Closing it gives the lock back.
    _lock: File,
}

/// A run as its directory shows it.
struct Found {
    directory: PathBuf,
    state: FoundState,
}

enum FoundState {
    Alive(Option<Journal>),
    /// Ours now, as long as the lock is kept.
    Dead {
        lock: File,
        journal: Journal,
    },
    /// It ended before it had changed anything.
    Blank {
        lock: File,
    },
    Unreadable {
        problem: String,
    },
}

impl Journals {
    /// Waits until nobody else takes devices or puts them back.
    pub(super) fn hold(directory: &Path) -> Result<Self, JournalError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(at("make the directory", directory))?;
        let path = directory.join(LOCK);
        let lock = File::create(&path).map_err(at("open", &path))?;
        flock(&lock, FlockOperation::LockExclusive).map_err(at("lock", &path))?;
        Ok(Self { directory: directory.to_owned(), _lock: lock })
    }

    /// Begins a run: when this returns, the settings are on disk.
    pub(super) fn begin(
        &self,
        origin: &Worker,
        devices: Vec<DeviceSettings>,
        rivals: Vec<Vec<StoredRecord>>,
    ) -> Result<Run, JournalError> {
        let journal = Journal {
            schema: SCHEMA.to_owned(),
            process: std::process::id(),
            boot: boot()?,
            since_boot_s: since_boot().as_secs(),
            namespace: origin.namespace().inode()?,
            devices,
            rivals,
        };
        // A process may have several, and numbers of processes come again.
        let made = (0_u32..).find_map(|number| {
            let path = self.directory.join(format!("{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
                made => Some(made.map(|()| path)),
            }
        });
        let directory = made
            .unwrap_or_else(|| Err(io::ErrorKind::AlreadyExists.into()))
            .map_err(at("make a directory in", &self.directory))?;
        let lock = File::open(&directory).map_err(at("open", &directory))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(at("lock", &directory))?;
        let run = Run { directory, journal, lock };
        run.write()?;
        Ok(run)
    }

    /// The name of the living run that has a device of this name, if one has.
    pub(super) fn holder_of(&self, device: &str, namespace: u64) -> Result<Option<String>, JournalError> {
        let has = |journal: &Journal| {
            journal.namespace == namespace && journal.devices.iter().any(|settings| settings.name == device)
        };
        Ok(self.runs()?.iter().find_map(|found| match &found.state {
            FoundState::Alive(Some(journal)) if has(journal) => Some(format!("process {}", journal.process)),
            _ => None,
        }))
    }

    /// Puts back what dead runs have left of this namespace's devices.
    pub(super) fn recover(&self, origin: &Worker) -> Result<Vec<Recovery>, JournalError> {
        let (boot, namespace) = (boot()?, origin.namespace().inode()?);
        let mut told = Vec::new();
        for Found { directory, state } in self.runs()? {
            let run = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let tell = |state, process, put_back| Recovery { run: run.clone(), process, state, put_back };
            match state {
                FoundState::Alive(journal) => {
                    told.push(tell(RunState::Alive, journal.map(|journal| journal.process), Vec::new()));
                }
                FoundState::Unreadable { problem } => {
                    told.push(tell(RunState::Unreadable(problem), None, Vec::new()));
                }
                FoundState::Blank { lock } => clear(&directory, &lock)?,
                FoundState::Dead { lock, journal } => {
                    let process = Some(journal.process);
                    if journal.boot != boot {
                        clear(&directory, &lock)?;
                        told.push(tell(RunState::EarlierBoot, process, Vec::new()));
                        continue;
                    }
                    if journal.namespace != namespace {
                        told.push(tell(RunState::Elsewhere(journal.namespace), process, Vec::new()));
                        continue;
                    }
                    let run = Run { directory: directory.clone(), journal, lock };
                    let put_back = run.put_back(origin, |_| ());
                    let state = match run.finish(&put_back) {
                        Ok(true) => RunState::Ended,
                        Ok(false) => RunState::Kept,
                        Err(error) => RunState::Unreadable(crate::error::chain(&error)),
                    };
                    told.push(tell(state, process, put_back));
                }
            }
        }
        Ok(told)
    }

    fn runs(&self) -> Result<Vec<Found>, JournalError> {
        let list = || -> io::Result<Vec<PathBuf>> {
            let mut paths = Vec::new();
            for entry in fs::read_dir(&self.directory)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    paths.push(entry.path());
                }
            }
            paths.sort();
            Ok(paths)
        };
        let paths = list().map_err(at("list", &self.directory))?;
        let mut found = Vec::new();
        for directory in paths {
            // A run may end meanwhile, and take its directory away.
            if let Some(state) = look(&directory)? {
                found.push(Found { directory, state });
            }
        }
        Ok(found)
    }
}

/// How it stands with a run; `None` if it is gone.
fn look(directory: &Path) -> Result<Option<FoundState>, JournalError> {
    let lock = match File::open(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(at("open", directory))?,
    };
    let alive = match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => false,
        Err(rustix::io::Errno::WOULDBLOCK) => true,
        Err(errno) => return Err(at("lock", directory)(errno)),
    };
    let path = directory.join(JOURNAL);
    let read = match fs::read(&path) {
        // It is the first thing that a run makes and the last that it takes away.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Some(if alive { FoundState::Alive(None) } else { FoundState::Blank { lock } }));
        }
        read => read.map_err(at("read", &path))?,
    };
    let parsed = serde_json::from_slice::<Journal>(&read);
    Ok(Some(match (alive, parsed) {
        (true, journal) => FoundState::Alive(journal.ok()),
        (false, Ok(journal)) if journal.schema == SCHEMA => FoundState::Dead { lock, journal },
        (false, Ok(journal)) => FoundState::Unreadable {
            problem: format!("{} is of another version: {}", path.display(), journal.schema),
        },
        (false, Err(error)) => {
            FoundState::Unreadable { problem: format!("{} is damaged: {error}", path.display()) }
        }
    }))
}

/// A run whose devices are taken, or are to be put back.
#[derive(Debug)]
pub(super) struct Run {
    directory: PathBuf,
    journal: Journal,
    /// Closing it gives the lock back.
    lock: File,
}

impl Run {
    /// The file that holds a device's namespace.
    pub(super) fn namespace(&self, role: PortRole) -> PathBuf {
        namespace_file(&self.directory, role)
    }

    /// Mounts a bpf file system of the run's own, where programs can be pinned.
    pub(super) fn make_room_for_programs(&self) -> Result<PathBuf, JournalError> {
        let path = self.directory.join(PROGRAMS);
        DirBuilder::new().mode(0o700).create(&path).map_err(at("make the directory", &path))?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("bpf", &path, "bpf", flags, None).map_err(at("mount a bpf file system on", &path))?;
        Ok(path)
    }

    /// Writes down that a device stays where it is, before anything is changed at it.
    pub(super) fn stays(&mut self, role: PortRole) -> Result<(), JournalError> {
        for settings in self.journal.devices.iter_mut().filter(|settings| settings.role == role) {
            settings.stays = true;
        }
        self.write()
    }

    /// Writes the journal so that it is whole or not there, and is there when this returns.
    fn write(&self) -> Result<(), JournalError> {
        let (draft, path) = (self.directory.join("draft"), self.directory.join(JOURNAL));
        let text = serde_json::to_vec_pretty(&self.journal)?;
        let write = || {
            let mut file = File::create_new(&draft)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(&self.directory)?.sync_all()?;
            self.directory.parent().map_or(Ok(()), |above| File::open(above)?.sync_all())
        };
        write().map_err(at("write", &path))
    }

    /// Puts the devices back.
    pub(super) fn put_back(&self, origin: &Worker, behind: fn(Step)) -> Vec<PutBack> {
        let age = since_boot().saturating_sub(Duration::from_secs(self.journal.since_boot_s));
        let away = |role| {
            // A run that ended before it had made the namespace has left nothing in it.
            let namespace = NetNs::at(&self.namespace(role)).ok()?;
            Worker::spawn(&namespace, "away").ok()
        };
        let Journal { devices, rivals, .. } = &self.journal;
        let way = Way { pins: self.directory.join(PROGRAMS), age, behind };
        put_back(devices, rivals, origin, &away, &way)
    }

    /// Ends a run whose devices were put back, unless some of it may still be put back later; tells whether it has ended.
    pub(super) fn finish(&self, put_back: &[PutBack]) -> Result<bool, JournalError> {
        if put_back.iter().any(|one| matches!(one.outcome, Outcome::Failed(_))) {
            return Ok(false);
        }
        clear(&self.directory, &self.lock)?;
        Ok(true)
    }
}

fn namespace_file(directory: &Path, role: PortRole) -> PathBuf {
    directory.join(match role {
        PortRole::Dut => "dut",
        PortRole::Tester => "tester",
    })
}

/// Takes a run's directory away; the journal goes last. The lock is whose right that is.
fn clear(directory: &Path, _lock: &File) -> Result<(), JournalError> {
    for role in [PortRole::Tester, PortRole::Dut] {
        NetNs::release(&namespace_file(directory, role))?;
    }
    let programs = directory.join(PROGRAMS);
    match unmount(&programs, UnmountFlags::DETACH) {
        // It was not mounted, or not made.
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
        Err(errno) => return Err(at("unmount", &programs)(errno)),
    }
    let gone = |removed: io::Result<()>| match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    };
    let remove = || {
        gone(fs::remove_dir(&programs))?;
        gone(fs::remove_file(directory.join("draft")))?;
        gone(fs::remove_file(directory.join(JOURNAL)))?;
        fs::remove_dir(directory)
    };
    remove().map_err(at("remove", directory))
}

/// A run that was found, and what was done about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// Its directory's name.
    pub run: String,
    /// The process that it was or is.
    pub process: Option<u32>,
    /// How it stands with it now.
    pub state: RunState,
    /// What was put back, or could not be.
    pub put_back: Vec<PutBack>,
}

/// How it stands with a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It runs: its devices are left to it.
    Alive,
    /// It was dead, and is undone as far as it ever can be; its journal is gone.
    Ended,
    /// It was dead, and something could not be put back; its journal is kept for another attempt.
    Kept,
    /// Its journal cannot be read, and is kept: the problem.
    Unreadable(String),
    /// Its devices belong to another namespace, of this inode: it has to be undone from there.
    Elsewhere(u64),
    /// It was of an earlier boot, which nothing that was set has outlived; its journal is gone.
    EarlierBoot,
}

impl Recovery {
    /// Whether something is not as it was, and should be.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        match self.state {
            RunState::Alive | RunState::EarlierBoot => false,
            RunState::Kept | RunState::Unreadable(_) | RunState::Elsewhere(_) => true,
            RunState::Ended => self.put_back.iter().any(|one| one.outcome != Outcome::Done),
        }
    }
}

/// Puts back what runs that were killed have left of the devices of the calling thread's namespace, and tells of every run
/// that there is. Runs that are alive are left alone.
///
/// # Errors
///
/// When the directory of the journals cannot be held or read. What could not be put back is no error but told.
pub fn recover_dead(directory: &Path) -> Result<Vec<Recovery>, JournalError> {
    let origin = Worker::spawn(&NetNs::current()?, "origin")?;
    Journals::hold(directory)?.recover(&origin)
}

fn boot() -> Result<String, JournalError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    Ok(fs::read_to_string(path).map_err(at("read", path))?.trim_end().to_owned())
}

/// The time since the kernel started, sleep included.
fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::from_secs(now.tv_sec.try_into().unwrap_or_default())
}
