//! Journal of a run on devices of the host: their settings, on disk before the first of them changes, so that `xdproof restore`
//! or the next run can restore the devices after the run was killed at any moment.
//!
//! Each run has a directory of its own below [`directory`]:
//!
//! | | |
//! |---|---|
//! | `journal.json` | the settings of its devices |
//! | `tester`, `dut` | the namespaces of the devices, bound to these files: they outlive the run, for the kernel deletes virtual devices together with their namespace; that of a device which stays in place is empty |
//! | `bpf` | a bpf file system with the XDP programs that were attached by netlink |
//!
//! A run is alive as long as its directory is locked (`flock`), which the kernel ends with the process; process ids prove
//! nothing. The file `lock` next to the runs serializes the processes that claim or restore devices.
//!
//! Files and mounts are those of process 1 ([`Mounts::lasting`]): in a mount namespace of its own, a killed run would lose them.
//! A journal is deleted when everything in it is restored or beyond restoring, or when a user [discards](discard_dead) it.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{CWD, FlockOperation, Mode, OFlags, Stat, flock, fstat, openat},
    mount::{MountFlags, UnmountFlags, mount, unmount},
    process::geteuid,
    time::{ClockId, clock_gettime},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use xdproof_netns::{LinkName, Mounts, NetNs, Worker};
use xdproof_scenarios::input;

use crate::{
    error::chain,
    model::device::PortRole,
    testbed::devices::{
        restore::{Away, RestoreContext, restore},
        snapshot::{DeviceSettings, StoredRecord},
        step::{ClaimStep, RestoreOutcome, RestoredItem},
    },
};

/// Directory of the journals unless [`DIRECTORY_VARIABLE`] names another one. It is empty after a boot, and the devices have
/// lost their settings.
pub const DIRECTORY: &str = "/run/xdproof";

/// Environment variable that names another directory for journals, for tests.
pub const DIRECTORY_VARIABLE: &str = "XDPROOF_RUN_DIR";

const SCHEMA: &str = "xdproof.journal/2";
/// Schema of version 0.1, which has the fields of [`DeviceSettings::link`] in the device itself.
const SCHEMA_1: &str = "xdproof.journal/1";
const LINK_FIELDS_OF_SCHEMA_1: [&str; 10] =
    ["mac", "mtu", "tx_queue_length", "alias", "group", "promiscuous", "all_multicast", "arp", "token", "up"];
const JOURNAL: &str = "journal.json";
const DRAFT: &str = "draft";
const LOCK: &str = "lock";
const PROGRAMS: &str = "bpf";

/// Mode bits of a directory in which a group or everybody can write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Most bytes of a journal.
const JOURNAL_BYTES: u64 = 16 << 20;

/// Returns the directory of the journals.
#[must_use]
pub fn directory() -> PathBuf {
    std::env::var_os(DIRECTORY_VARIABLE).map_or_else(|| PathBuf::from(DIRECTORY), PathBuf::from)
}

/// The reason why a journal could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file, a lock or a mount.
    #[error("failed to {action} {}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    /// A journal there is another user's word.
    #[error(
        "refused to use {}, which belongs to user {owner}, not to user {us}; name another directory with {DIRECTORY_VARIABLE}",
        path.display()
    )]
    OtherOwner { path: PathBuf, owner: u32, us: u32 },
    #[error(
        "refused to use {}, in which others can write (mode {mode:04o}); name another directory with {DIRECTORY_VARIABLE}, or `chmod 700` it",
        path.display()
    )]
    WritableByOthers { path: PathBuf, mode: u32 },
    /// The namespace of the devices.
    #[error("failed to {0}")]
    Network(#[from] xdproof_netns::Error),
    #[error("failed to write the settings of the devices as JSON")]
    Json(#[from] serde_json::Error),
}

fn at<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> JournalError {
    move |source| JournalError::File { action, path: path.to_owned(), source: source.into() }
}

/// The content of a journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Journal {
    schema: String,
    /// Process id of the writer, for people.
    process: u32,
    /// The kernel's boot id: settings do not outlive a boot.
    boot: String,
    /// Seconds from the boot to the reading of the settings.
    since_boot_s: u64,
    /// Inode of the namespace that the devices belong to.
    namespace: u64,
    devices: Vec<DeviceSettings>,
    /// Groups of competing routes, in the kernel's order.
    #[serde(alias = "rivals")]
    competing_routes: Vec<Vec<StoredRecord>>,
}

impl Journal {
    /// Parses a journal of this version or of version 0.1; returns the problem otherwise.
    fn parse(text: &[u8]) -> Result<Self, String> {
        let damaged = |error| format!("is damaged: {error}");
        let mut json: Value = serde_json::from_slice(text).map_err(damaged)?;
        match json.get("schema").and_then(Value::as_str) {
            Some(SCHEMA_1) => nest_link_settings(&mut json),
            Some(schema) if schema != SCHEMA => return Err(format!("is of another version: {schema}")),
            _ => {}
        }
        serde_json::from_value(json).map_err(damaged)
    }
}

/// Turns a journal of version 0.1 into one of this version; serde knows the former names of other fields.
fn nest_link_settings(journal: &mut Value) {
    let devices = journal.get_mut("devices").and_then(Value::as_array_mut).into_iter().flatten();
    for device in devices.filter_map(Value::as_object_mut) {
        let link: Map<String, Value> =
            LINK_FIELDS_OF_SCHEMA_1.iter().filter_map(|field| device.remove_entry(*field)).collect();
        device.insert("link".to_owned(), link.into());
    }
}

/// The journals, locked against other processes.
#[derive(Debug)]
pub(super) struct Journals {
    directory: PathBuf,
    mounts: Mounts,
    /// Closing it releases the lock.
    _lock: File,
}

/// Refuses a directory in which another user can place a journal: what it says is done to devices by root.
fn check_owner(directory: &Path) -> Result<(), JournalError> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = openat(CWD, directory, flags, Mode::empty()).map_err(at("open the directory", directory))?;
    let Stat { st_uid: owner, st_mode: mode, .. } = fstat(&opened).map_err(at("examine", directory))?;
    let (us, path) = (geteuid().as_raw(), directory.to_owned());
    if owner != us {
        return Err(JournalError::OtherOwner { path, owner, us });
    }
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err(JournalError::WritableByOthers { path, mode: mode & 0o7777 });
    }
    Ok(())
}

/// The state of a run, from its directory.
enum RunDirectory {
    Alive(Option<Journal>),
    /// Locked by this process now.
    Dead {
        lock: File,
        journal: Journal,
    },
    /// The run ended before it had changed anything.
    Blank {
        lock: File,
    },
    /// Locked by this process now.
    Unreadable {
        lock: File,
        problem: String,
    },
}

impl Journals {
    /// Waits until no other process claims or restores devices. `directory` is a path in these mounts.
    pub(super) fn lock(directory: &Path, mounts: Mounts) -> Result<Self, JournalError> {
        let directory = mounts.reach(directory)?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(at("create the directory", &directory))?;
        check_owner(&directory)?;
        let path = directory.join(LOCK);
        let nofollow = OFlags::NOFOLLOW.bits().cast_signed();
        let mut options = OpenOptions::new();
        let lock = options.write(true).create(true).truncate(false).mode(0o600).custom_flags(nofollow);
        let lock = lock.open(&path).map_err(at("open", &path))?;
        flock(&lock, FlockOperation::LockExclusive).map_err(at("lock", &path))?;
        Ok(Self { directory, mounts, _lock: lock })
    }

    /// Begins a run: when this returns, the settings are on disk.
    pub(super) fn begin(
        &self,
        origin: &Worker,
        devices: Vec<DeviceSettings>,
        competing_routes: Vec<Vec<StoredRecord>>,
    ) -> Result<JournaledRun, JournalError> {
        let journal = Journal {
            schema: SCHEMA.to_owned(),
            process: std::process::id(),
            boot: boot()?,
            since_boot_s: since_boot().as_secs(),
            namespace: origin.namespace().inode()?,
            devices,
            competing_routes,
        };
        // A process may have several runs, and process ids are reused.
        let made = (0_u32..).find_map(|number| {
            let path = self.directory.join(format!("{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
                made => Some(made.map(|()| path)),
            }
        });
        let directory = made
            .unwrap_or_else(|| Err(io::ErrorKind::AlreadyExists.into()))
            .map_err(at("create a directory in", &self.directory))?;
        let lock = File::open(&directory).map_err(at("open", &directory))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(at("lock", &directory))?;
        let run = JournaledRun { directory, mounts: self.mounts.clone(), journal, lock };
        run.write()?;
        Ok(run)
    }

    /// Returns the process of the living run that has a device of this name, if there is one.
    pub(super) fn holder_of(&self, device: &LinkName, namespace: u64) -> Result<Option<u32>, JournalError> {
        let has = |journal: &Journal| {
            journal.namespace == namespace && journal.devices.iter().any(|settings| settings.name == *device)
        };
        Ok(self.runs()?.into_iter().find_map(|(_, run)| match run {
            RunDirectory::Alive(Some(journal)) if has(&journal) => Some(journal.process),
            _ => None,
        }))
    }

    /// Restores the devices of this namespace that dead runs have left changed, and keeps the journals of those that cannot be
    /// restored, unless they are to be discarded.
    pub(super) fn recover(&self, origin: &Worker, discard: bool) -> Result<Vec<Recovery>, JournalError> {
        let (boot, namespace) = (boot()?, origin.namespace().inode()?);
        let mut recoveries = Vec::new();
        for (directory, run) in self.runs()? {
            let (state, process, restored) = match run {
                RunDirectory::Alive(journal) => {
                    (RunState::Alive, journal.map(|journal| journal.process), Vec::new())
                }
                RunDirectory::Unreadable { lock, .. } if discard => {
                    clear(&directory, &self.mounts, &lock)?;
                    (RunState::Discarded, None, Vec::new())
                }
                RunDirectory::Unreadable { problem, .. } => (RunState::Unreadable(problem), None, Vec::new()),
                RunDirectory::Blank { lock } => {
                    clear(&directory, &self.mounts, &lock)?;
                    continue;
                }
                RunDirectory::Dead { lock, journal } => {
                    let process = Some(journal.process);
                    if journal.boot != boot {
                        clear(&directory, &self.mounts, &lock)?;
                        (RunState::EarlierBoot, process, Vec::new())
                    } else if journal.namespace != namespace && discard {
                        clear(&directory, &self.mounts, &lock)?;
                        (RunState::Discarded, process, Vec::new())
                    } else if journal.namespace != namespace {
                        (RunState::Elsewhere(journal.namespace), process, Vec::new())
                    } else {
                        let mounts = self.mounts.clone();
                        let mut run = JournaledRun { directory: directory.clone(), mounts, journal, lock };
                        let restored = run.restore(origin, |_| ());
                        let state = match run.finish(&restored) {
                            Ok(true) => RunState::Ended,
                            Ok(false) if discard => {
                                clear(&directory, &self.mounts, &run.lock)?;
                                RunState::Discarded
                            }
                            Ok(false) => RunState::Kept,
                            Err(error) => RunState::Unreadable(chain(&error)),
                        };
                        (state, process, restored)
                    }
                }
            };
            let run = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
            recoveries.push(Recovery { run, process, state, restored });
        }
        Ok(recoveries)
    }

    /// Lists the runs and their directories.
    fn runs(&self) -> Result<Vec<(PathBuf, RunDirectory)>, JournalError> {
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
        let mut runs = Vec::new();
        for directory in list().map_err(at("list", &self.directory))? {
            // A run may end meanwhile, and remove its directory.
            if let Some(run) = examine(&directory)? {
                runs.push((directory, run));
            }
        }
        Ok(runs)
    }
}

/// Returns the state of a run; `None` if it is gone.
fn examine(directory: &Path) -> Result<Option<RunDirectory>, JournalError> {
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
    let text = match input::read(&path, JOURNAL_BYTES) {
        // The journal is the first file that a run creates and the last one that it removes.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Some(if alive { RunDirectory::Alive(None) } else { RunDirectory::Blank { lock } }));
        }
        read => read.map_err(at("read", &path))?,
    };
    Ok(Some(match (alive, Journal::parse(&text)) {
        (true, journal) => RunDirectory::Alive(journal.ok()),
        (false, Ok(journal)) => RunDirectory::Dead { lock, journal },
        (false, Err(problem)) => {
            RunDirectory::Unreadable { lock, problem: format!("{} {problem}", path.display()) }
        }
    }))
}

/// A run that has a journal.
#[derive(Debug)]
pub(super) struct JournaledRun {
    directory: PathBuf,
    mounts: Mounts,
    journal: Journal,
    /// Closing it releases the lock.
    lock: File,
}

impl JournaledRun {
    /// Holds the namespace of a device until the run has ended or its device is restored.
    pub(super) fn hold(&self, role: PortRole, namespace: &NetNs) -> Result<(), JournalError> {
        let (namespace, path) = (namespace.clone(), namespace_file(&self.directory, role));
        Ok(self.mounts.run(move || namespace.hold_at(&path)).flatten()?)
    }

    /// Mounts a bpf file system of the run, for the pins of programs.
    pub(super) fn mount_pins(&self) -> Result<PathBuf, JournalError> {
        let path = self.directory.join(PROGRAMS);
        DirBuilder::new().mode(0o700).create(&path).map_err(at("create the directory", &path))?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let target = path.clone();
        let mounted = self.mounts.run(move || mount("bpf", &target, "bpf", flags, None))?;
        mounted.map_err(at("mount a bpf file system on", &path))?;
        Ok(path)
    }

    /// Journals that a device stays in place, before anything is changed at it.
    pub(super) fn stays_in_place(&mut self, role: PortRole) -> Result<(), JournalError> {
        for settings in self.journal.devices.iter_mut().filter(|settings| settings.role == role) {
            settings.stays_in_place = true;
        }
        self.write()
    }

    /// Writes the journal atomically and durably.
    fn write(&self) -> Result<(), JournalError> {
        let (draft, path) = (self.directory.join(DRAFT), self.directory.join(JOURNAL));
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

    /// Restores the devices.
    pub(super) fn restore(&self, origin: &Worker, after_step: fn(ClaimStep)) -> Vec<RestoredItem> {
        let age = since_boot().saturating_sub(Duration::from_secs(self.journal.since_boot_s));
        let away = |role| {
            let path = namespace_file(&self.directory, role);
            match NetNs::at(&path).and_then(|namespace| Worker::spawn(&namespace, "away")) {
                Ok(worker) => Away::Held(worker),
                // A run that ended before it had created the namespace has left nothing in it.
                Err(error) if error.errno() == Some(rustix::io::Errno::NOENT.raw_os_error()) => Away::Unused,
                Err(error) => Away::Gone(error),
            }
        };
        let Journal { devices, competing_routes, .. } = &self.journal;
        let context = RestoreContext { pins: self.directory.join(PROGRAMS), age, after_step };
        restore(devices, competing_routes, origin, &away, &context)
    }

    /// Ends a run whose devices were restored; returns true if it has ended. Otherwise the journal is kept for another attempt, which
    /// leaves devices alone that are restored: whoever changes them from now on means it.
    pub(super) fn finish(&mut self, restored: &[RestoredItem]) -> Result<bool, JournalError> {
        let failed = restored.iter().filter(|item| matches!(item.outcome, RestoreOutcome::Failed(_)));
        let failed: BTreeSet<&str> = failed.map(|item| item.device.as_str()).collect();
        if failed.is_empty() {
            clear(&self.directory, &self.mounts, &self.lock)?;
            return Ok(true);
        }
        let devices = &mut self.journal.devices;
        // A failure may concern all of them, as the order of their routes does.
        if failed.iter().all(|name| devices.iter().any(|device| device.name.as_ref() == *name)) {
            for device in devices {
                device.is_restored |= !failed.contains(device.name.as_ref());
            }
        }
        self.write()?;
        Ok(false)
    }
}

fn namespace_file(directory: &Path, role: PortRole) -> PathBuf {
    directory.join(match role {
        PortRole::Dut => "dut",
        PortRole::Tester => "tester",
    })
}

/// Removes a run's directory, the journal last. Only the owner of the lock may do so.
fn clear(directory: &Path, mounts: &Mounts, _lock: &File) -> Result<(), JournalError> {
    let directory = directory.to_owned();
    mounts.run(move || remove(&directory))?
}

/// Unmounts and removes everything in a run's directory, and the directory.
fn remove(directory: &Path) -> Result<(), JournalError> {
    for role in [PortRole::Tester, PortRole::Dut] {
        NetNs::release(&namespace_file(directory, role))?;
    }
    let programs = directory.join(PROGRAMS);
    match unmount(&programs, UnmountFlags::DETACH) {
        // It was not mounted, or not created.
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
        Err(errno) => return Err(at("unmount", &programs)(errno)),
    }
    let gone = |removed: io::Result<()>| match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    };
    let remove = || {
        gone(fs::remove_dir(&programs))?;
        gone(fs::remove_file(directory.join(DRAFT)))?;
        gone(fs::remove_file(directory.join(JOURNAL)))?;
        fs::remove_dir(directory)
    };
    remove().map_err(at("remove", directory))
}

/// A run that was found, and what was restored of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// Name of its directory.
    pub run: String,
    pub process: Option<u32>,
    /// Its state now.
    pub state: RunState,
    /// Everything that was restored, or could not be.
    #[serde(rename = "put_back")]
    pub restored: Vec<RestoredItem>,
}

/// The state of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It runs, and keeps its devices.
    Alive,
    /// It was dead, and its devices are restored as far as possible; its journal is gone.
    Ended,
    /// It was dead, and something could not be restored; its journal is kept for another attempt.
    Kept,
    /// Its journal cannot be read, and is kept: the problem.
    Unreadable(String),
    /// Its devices belong to another namespace, of this inode: they have to be restored from there.
    Elsewhere(u64),
    /// It was of an earlier boot, which no setting has outlived; its journal is gone.
    EarlierBoot,
    /// It was dead, something could not be restored, and its journal was removed as the user wished.
    Discarded,
}

impl Recovery {
    /// Returns true if something is not as it was, and should be.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        match self.state {
            RunState::Alive | RunState::EarlierBoot | RunState::Discarded => false,
            RunState::Kept | RunState::Unreadable(_) | RunState::Elsewhere(_) => true,
            RunState::Ended => self.restored.iter().any(|item| item.outcome != RestoreOutcome::Done),
        }
    }
}

/// Restores the devices of the calling thread's namespace that killed runs have left changed, and reports all runs. Living runs
/// are left alone.
///
/// # Errors
///
/// The directory of the journals cannot be locked or read. A thing that could not be restored is reported, and no error.
pub fn recover_dead(directory: &Path) -> Result<Vec<Recovery>, JournalError> {
    recover(directory, false)
}

/// Restores devices as [`recover_dead`] does, and removes the journals of killed runs that cannot be restored, those of other
/// namespaces too. The kernel then deletes the virtual devices that such a run has left in its namespaces, and moves the others to
/// the machine's first namespace.
///
/// # Errors
///
/// The directory of the journals cannot be locked, read or cleared.
pub fn discard_dead(directory: &Path) -> Result<Vec<Recovery>, JournalError> {
    recover(directory, true)
}

fn recover(directory: &Path, discard: bool) -> Result<Vec<Recovery>, JournalError> {
    let origin = Worker::spawn(&NetNs::current()?, "origin")?;
    // Without lasting mounts, a run was claimed by force, and its mounts are those of this process.
    let mounts = Mounts::lasting().unwrap_or_default();
    Journals::lock(directory, mounts)?.recover(&origin, discard)
}

fn boot() -> Result<String, JournalError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    Ok(fs::read_to_string(path).map_err(at("read", path))?.trim_end().to_owned())
}

/// Returns the time since the boot, suspended time included.
fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::from_secs(now.tv_sec.try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A journal that version 0.1 has left when it was killed.
    const OF_VERSION_0_1: &[u8] = include_bytes!("../../../tests/devices/journal_0.1.json");

    fn parsed() -> Journal {
        Journal::parse(OF_VERSION_0_1).unwrap()
    }

    #[test]
    fn a_journal_of_version_0_1_is_read_whole() {
        let Journal { process: 32_286, since_boot_s: 3207, devices, competing_routes, .. } = parsed() else {
            panic!("other numbers")
        };
        let [tester, dut] = &devices[..] else { panic!("{} devices", devices.len()) };
        assert_eq!((tester.role, tester.name.as_ref()), (PortRole::Tester, "t0"));
        assert_eq!((dut.role, dut.name.as_ref()), (PortRole::Dut, "d0"));
        let shown: Vec<_> = tester.link.list().iter().map(ToString::to_string).collect();
        assert_eq!(
            shown.join(", "),
            "address 02:aa:00:00:00:01, MTU 1437, transmit queue length 77, alias the wire to the lab, group 5, \
             promiscuous on, all multicast off, ARP on, token none, up"
        );
        let qdisc = Some("noqueue".to_owned());
        assert_eq!((&tester.qdisc, tester.stays_in_place, tester.master.is_none()), (&qdisc, false, true));
        assert_eq!(tester.programs[0].pin(tester.role), "tester-generic");
        assert_eq!(dut.programs[0].pin(dut.role), "dut-native");
        assert_eq!(dut.sysctls["ipv6/conf/*/hop_limit"], "33");
        assert!(tester.offloads["rx-gro"].wanted && !tester.offloads["tx-generic-segmentation"].wanted);
        assert_eq!(tester.addresses[1].text, "address 192.0.2.1/24");
        assert!(competing_routes.iter().all(|group| group.len() > 1));
    }

    #[test]
    fn a_journal_is_read_as_it_was_written() {
        let journal = Journal { schema: SCHEMA.to_owned(), ..parsed() };
        let text = serde_json::to_vec(&journal).unwrap();
        assert_eq!(serde_json::to_vec(&Journal::parse(&text).unwrap()).unwrap(), text);
    }

    #[test]
    fn a_journal_of_a_later_version_is_told_from_a_damaged_one() {
        let later = br#"{"schema": "xdproof.journal/3", "new": 1}"#;
        assert_eq!(Journal::parse(later).unwrap_err(), "is of another version: xdproof.journal/3");
        for text in [&OF_VERSION_0_1[..OF_VERSION_0_1.len() / 2], b"", b"[]", br#"{"schema": 1}"#] {
            assert!(Journal::parse(text).unwrap_err().starts_with("is damaged: "));
        }
    }
}
