//! Objects of the programs and examples, compiled next to copies of their fixtures. Nothing is written into the source tree, whose
//! owner may be another user than the one who runs tests.

use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use libtest_mimic::Failed;
use serde::Deserialize;
use tempfile::TempDir;

use crate::clang::compile;

type Result<T = (), E = Failed> = std::result::Result<T, E>;

/// The package of xdproof.
const PACKAGE: &str = env!("CARGO_MANIFEST_DIR");

/// Debian and Ubuntu install the objects of xdp-filter in a directory of the architecture.
const XDP_FILTER: &str = "xdp_filter";

/// Source of an object.
#[derive(Clone, Debug)]
enum Source {
    /// A C file.
    C(PathBuf),
    /// An object that a package has installed.
    Installed(PathBuf),
    /// The binary of the aya example with this name.
    Aya(String),
}

/// A directory of fixtures with their objects.
pub(crate) struct Group {
    pub(crate) name: String,
    /// The directory of the copies.
    pub(crate) fixtures: PathBuf,
    /// Source by object.
    objects: BTreeMap<PathBuf, Source>,
    built: Mutex<Option<Result<(), String>>>,
}

impl Group {
    fn new(name: &str, fixtures: PathBuf, objects: impl IntoIterator<Item = (PathBuf, Source)>) -> Self {
        Self {
            name: name.to_owned(),
            fixtures,
            objects: objects.into_iter().collect(),
            built: Mutex::default(),
        }
    }

    /// Builds the objects, once.
    pub(crate) fn build(&self) -> Result {
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        let built = built.get_or_insert_with(|| {
            let build = |(object, source): (&PathBuf, &Source)| source.build(object);
            self.objects.iter().try_for_each(build).map_err(|error| error.message().unwrap_or("").to_owned())
        });
        Ok(built.clone()?)
    }
}

impl Source {
    fn build(&self, object: &Path) -> Result {
        match self {
            Self::C(source) => compile(source, &[], object),
            Self::Installed(installed) => Ok(fs::copy(installed, object).map(drop)?),
            Self::Aya(name) => {
                fs::copy(aya::objects()?.join(name).with_extension("o"), object)?;
                Ok(())
            }
        }
    }
}

/// A fault to plant in an example, as `faults.toml` lists them.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Fault {
    pub(crate) name: String,
    /// Below `examples`.
    source: PathBuf,
    find: String,
    replace: String,
    /// The fixture that must find it.
    pub(crate) fixture: String,
    /// A part of the line that tells the difference.
    pub(crate) says: String,
}

#[derive(Deserialize)]
struct Faults {
    fault: Vec<Fault>,
}

impl Fault {
    pub(crate) fn all() -> Result<Vec<Self>> {
        let text = fs::read_to_string(Path::new(PACKAGE).join("tests/programs/faults.toml"))?;
        Ok(toml::from_str::<Faults>(&text)?.fault)
    }

    /// Returns the name of the example.
    pub(crate) fn example(&self) -> String {
        let first = self.source.components().next();
        first.map(|first| first.as_os_str().to_string_lossy().into_owned()).unwrap_or_default()
    }

    fn is_in_c(&self) -> bool {
        self.source.extension().is_some_and(|extension| extension == "c")
    }

    /// Returns the source with the fault in it.
    fn planted(&self) -> Result<String> {
        let source = fs::read_to_string(example(&self.source))?;
        match source.matches(&self.find).count() {
            1 => Ok(source.replace(&self.find, &self.replace)),
            count => {
                let Self { name, find, .. } = self;
                Err(format!("`{name}` finds {count} times, expected 1: {find}").into())
            }
        }
    }

    /// Builds the example with the fault, and returns the object.
    pub(crate) fn build(&self, workshop: &Workshop) -> Result<PathBuf> {
        if !self.is_in_c() {
            return Ok(aya::objects()?.join(&self.name).with_extension("o"));
        }
        let [source, object] =
            ["c", "o"].map(|extension| workshop.faults.join(&self.name).with_extension(extension));
        fs::write(&source, self.planted()?)?;
        compile(&source, &[], &object)?;
        Ok(object)
    }
}

/// A directory with copies of all fixtures, which is deleted when this is dropped.
pub(crate) struct Workshop {
    pub(crate) groups: Vec<Group>,
    faults: PathBuf,
    _directory: TempDir,
}

impl Workshop {
    pub(crate) fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let faults = directory.path().join("faults");
        fs::create_dir(&faults)?;
        let mut groups = Vec::new();
        for (name, source) in directories(&Path::new(PACKAGE).join("tests/programs"))? {
            let fixtures = copied(&source, &directory.path().join(&name))?;
            let mut objects: Vec<_> = sources(&source)?
                .map(|file| {
                    (fixtures.join(file.file_name().unwrap_or_default()).with_extension("o"), Source::C(file))
                })
                .collect();
            if name == XDP_FILTER {
                let installed = xdp_filter();
                let target = |file: PathBuf| {
                    (fixtures.join(file.file_name().unwrap_or_default()), Source::Installed(file))
                };
                objects.extend(installed.into_iter().map(target));
            }
            groups.push(Group::new(&name, fixtures, objects));
        }
        for (name, object, source) in [
            ("c-load-balancer", "balancer", Source::C(example("c-load-balancer/balancer.c"))),
            ("aya-firewall", "firewall", Source::Aya("firewall".to_owned())),
        ] {
            let base = directory.path().join(name);
            fs::create_dir_all(base.join("build"))?;
            let fixtures = copied(&example(name).join("fixtures"), &base.join("fixtures"))?;
            let object = base.join("build").join(object).with_extension("o");
            groups.push(Group::new(name, fixtures, [(object, source)]));
        }
        Ok(Self { groups, faults, _directory: directory })
    }

    pub(crate) fn group(&self, name: &str) -> Result<&Group> {
        let found = self.groups.iter().find(|group| group.name == name);
        found.ok_or_else(|| format!("no directory `{name}`").into())
    }
}

/// Returns the reason for which the fixtures of a group cannot run here.
pub(crate) fn obstacle_of(group: &Group) -> Option<&'static str> {
    (group.name == XDP_FILTER && xdp_filter().is_empty())
        .then_some("no objects of xdp-filter are installed (Debian: libxdp1, which xdp-tools depends on)")
}

fn example(path: impl AsRef<Path>) -> PathBuf {
    Path::new(PACKAGE).join("examples").join(path)
}

/// Returns the objects of xdp-filter that are installed.
fn xdp_filter() -> Vec<PathBuf> {
    let arch = env::consts::ARCH;
    let places =
        [format!("/usr/lib/{arch}-linux-gnu/bpf"), "/usr/lib64/bpf".to_owned(), "/usr/lib/bpf".to_owned()];
    let files = places.iter().filter_map(|place| fs::read_dir(place).ok()).flatten().flatten();
    let is_wanted = |file: &PathBuf| {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.starts_with("xdpfilt_") && name.ends_with(".o")
    };
    files.map(|entry| entry.path()).filter(is_wanted).collect()
}

fn directories(below: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(below)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.insert(entry.file_name().to_string_lossy().into_owned(), entry.path());
        }
    }
    Ok(found)
}

fn files(directory: &Path, extension: &'static str) -> Result<impl Iterator<Item = PathBuf>> {
    let entries: Vec<_> = fs::read_dir(directory)?.collect::<std::io::Result<_>>()?;
    let is_wanted = move |path: &PathBuf| path.extension().is_some_and(|its| its == extension);
    Ok(entries.into_iter().map(|entry| entry.path()).filter(is_wanted))
}

fn sources(directory: &Path) -> Result<impl Iterator<Item = PathBuf>> {
    files(directory, "c")
}

/// Copies the fixtures of a directory, and returns the directory of the copies.
fn copied(from: &Path, to: &Path) -> Result<PathBuf> {
    fs::create_dir_all(to)?;
    for file in files(from, "toml")? {
        fs::copy(&file, to.join(file.file_name().unwrap_or_default()))?;
    }
    Ok(to.to_owned())
}

/// The example with aya: a copy of its crate with one more binary for each fault, so that cargo builds all of them at once.
mod aya {
    use super::*;

    const CRATE: &str = "aya-firewall";

    /// Builds the objects, once, and returns their directory.
    pub(super) fn objects() -> Result<PathBuf> {
        static BUILT: Mutex<Option<Result<PathBuf, String>>> = Mutex::new(None);
        let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
        let built = built.get_or_insert_with(|| {
            build().map_err(|error| error.message().unwrap_or("the build failed").to_owned())
        });
        Ok(built.clone()?)
    }

    fn build() -> Result<PathBuf> {
        let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join(CRATE);
        let owner = fs::metadata(PACKAGE)?;
        let (user, group) = (owner.uid(), owner.gid());
        let manifest = fs::read_to_string(example(CRATE).join("Cargo.toml"))?;
        let mut wanted = BTreeMap::from([(
            PathBuf::from("Cargo.toml"),
            manifest.replace("\"../..\"", &format!("{PACKAGE:?}")),
        )]);
        for file in ["Cargo.lock", "build.sh", "src/main.rs", "tests/fixtures.rs"] {
            wanted.insert(file.into(), fs::read_to_string(example(CRATE).join(file))?);
        }
        for fault in Fault::all()?.into_iter().filter(|fault| !fault.is_in_c()) {
            wanted.insert(Path::new("src/bin").join(&fault.name).with_extension("rs"), fault.planted()?);
        }
        for directory in ["", "src", "src/bin", "tests", "build"] {
            let directory = copy.join(directory);
            fs::create_dir_all(&directory)?;
            std::os::unix::fs::chown(&directory, Some(user), Some(group))?;
        }
        for stale in files(&copy.join("src/bin"), "rs")? {
            if !wanted.contains_key(stale.strip_prefix(&copy)?) {
                fs::remove_file(stale)?;
            }
        }
        // Files that stay as they are do not make cargo build.
        for (file, text) in wanted {
            let file = copy.join(file);
            if fs::read_to_string(&file).ok().as_ref() != Some(&text) {
                fs::write(&file, text)?;
                std::os::unix::fs::chown(&file, Some(user), Some(group))?;
            }
        }
        // Cargo runs as the owner of the sources, never as root in another user's directories.
        let mut command = Command::new("bash");
        command.arg(copy.join("build.sh")).env("CARGO_TARGET_DIR", target()).env("PATH", path()?);
        if rustix::process::geteuid().as_raw() != user {
            command.uid(user).gid(group);
        }
        let output = command.output()?;
        if output.status.success() {
            return Ok(copy.join("build"));
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
    }

    /// Returns the target directory, in which `harness/build.rs` has built `core` and `aya-ebpf` already.
    fn target() -> &'static Path {
        let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
        temporary.parent().unwrap_or(temporary)
    }

    /// Returns `PATH` with the directories of cargo in front, which sudo leaves out.
    fn path() -> Result<std::ffi::OsString> {
        let cargo = env::var_os("CARGO").map(PathBuf::from);
        let home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
        let own =
            [home.map(|home| home.join("bin")), cargo.and_then(|cargo| Some(cargo.parent()?.to_owned()))];
        let inherited = env::var_os("PATH").unwrap_or_default();
        Ok(env::join_paths(own.into_iter().flatten().chain(env::split_paths(&inherited)))?)
    }
}
