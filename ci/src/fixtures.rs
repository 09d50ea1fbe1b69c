//! A directory of fixtures with their objects, which the guests get as `/fixtures`.

use std::{
    collections::BTreeMap,
    io::Read as _,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;

/// Limit in MiB of all files of a directory of fixtures: a guest has them in memory.
const MAX_MIB: u64 = 32;

/// Limit of the files and directories below a directory of fixtures.
const MAX_ENTRIES: usize = 10_000;

/// The content of all regular files below a directory, by their paths below it.
#[derive(Clone, Debug, Default)]
pub(crate) struct FixtureFiles(pub(crate) BTreeMap<PathBuf, Vec<u8>>);

impl FixtureFiles {
    /// Reads all regular files below a directory, and follows no symbolic link. Fails if the guests could not run them: without a
    /// fixture, or if a fixture names an object that is not below the directory.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let (mut files, mut left, mut entries) = (BTreeMap::new(), MAX_MIB << 20, 0);
        let mut pending = vec![PathBuf::new()];
        while let Some(below) = pending.pop() {
            // Joined with nothing, the directory would end in a slash.
            let searched = if below == Path::new("") { directory.to_owned() } else { directory.join(&below) };
            for entry in fs::read_dir(searched)? {
                let entry = entry?;
                entries += 1;
                ensure!(
                    entries <= MAX_ENTRIES,
                    "{} has more than {MAX_ENTRIES} entries; name a directory that has only fixtures and their objects",
                    directory.display()
                );
                let (kind, name) = (entry.file_type()?, below.join(entry.file_name()));
                if kind.is_dir() {
                    pending.push(name);
                } else if kind.is_file() {
                    ensure!(
                        name.to_str().is_some_and(|name| !name.contains('\0')),
                        "the name of {} is not UTF-8; rename it",
                        entry.path().display()
                    );
                    let mut content = Vec::new();
                    fs::File::open(entry.path())?.take(left + 1).read_to_end(&mut content)?;
                    left = left.checked_sub(content.len() as u64).with_context(|| {
                        format!(
                            "the files below {} have more than {MAX_MIB} MiB; name a directory that has only fixtures and their objects",
                            directory.display()
                        )
                    })?;
                    files.insert(name, content);
                }
            }
        }
        let read = Self(files);
        read.check(directory)?;
        Ok(read)
    }

    /// Checks that there is a fixture, and that the object of each is here.
    fn check(&self, directory: &Path) -> Result<()> {
        let mut fixtures = self.0.iter().filter(|(name, _)| is_fixture(name)).peekable();
        if fixtures.peek().is_none() {
            bail!("there is no fixture (*.toml) below {}", directory.display());
        }
        for (name, content) in fixtures {
            let file = directory.join(name);
            let table: toml::Table = str::from_utf8(content)
                .map_err(anyhow::Error::from)
                .and_then(|text| Ok(text.parse()?))
                .with_context(|| format!("failed to parse {}", file.display()))?;
            let object = table.get("program").and_then(|program| program.get("object")?.as_str());
            let Some(object) = object else { continue };
            let has_it = joined(name, Path::new(object)).is_some_and(|object| self.0.contains_key(&object));
            ensure!(
                has_it,
                "{} needs {object}, which is no regular file below {}; build it, or name a directory that has both",
                file.display(),
                directory.display()
            );
        }
        Ok(())
    }
}

/// Tells whether `xdproof test` takes a file of a directory for a fixture.
fn is_fixture(name: &Path) -> bool {
    let is_hidden = |part: Component<'_>| part.as_os_str().as_encoded_bytes().starts_with(b".");
    name.extension().is_some_and(|extension| extension == "toml")
        && name.file_name().is_some_and(|name| name != "Cargo.toml")
        && !name.components().any(is_hidden)
}

/// Returns the path that a file names relative to its own directory; none if it leads out of the root.
fn joined(file: &Path, named: &Path) -> Option<PathBuf> {
    let mut joined = file.parent()?.to_owned();
    for part in named.components() {
        match part {
            Component::Normal(name) => joined.push(name),
            Component::CurDir => {}
            Component::ParentDir => joined.pop().then_some(())?,
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(joined)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const FIXTURE: &str = "[program]\nobject = \"../build/a.o\"\n";

    /// Creates files with their content below a new directory.
    fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let file = directory.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content).unwrap();
        }
        directory
    }

    fn refusal(files: &[(&str, &[u8])]) -> String {
        format!("{:#}", FixtureFiles::read(directory(files).path()).unwrap_err())
    }

    #[test]
    fn all_regular_files_are_read_and_no_link_is_followed() {
        let files = [
            ("fixtures/a.toml", FIXTURE.as_bytes()),
            ("build/a.o", b"\x7fELF"),
            (".hidden/b.toml", b"= no TOML"),
        ];
        let directory = directory(&files);
        symlink("/etc/passwd", directory.path().join("passwd")).unwrap();
        symlink("/etc", directory.path().join("fixtures/etc")).unwrap();
        let read = FixtureFiles::read(directory.path()).unwrap().0;
        let expected = files.map(|(name, content)| (PathBuf::from(name), content.to_owned()));
        assert_eq!(read, BTreeMap::from(expected));
    }

    #[test]
    fn files_beyond_the_limit_are_refused_with_it() {
        let mib = |number: usize| vec![0; number << 20];
        let (fixture, most, more) = (b"".as_slice(), mib(16), mib(15));
        let within = directory(&[("a.toml", fixture), ("b", &most), ("c/d", &more)]);
        fs::write(within.path().join("e"), mib(1)).unwrap();
        assert_eq!(FixtureFiles::read(within.path()).unwrap().0.len(), 4);
        fs::write(within.path().join("f"), b"0").unwrap();
        let error = FixtureFiles::read(within.path()).unwrap_err().to_string();
        assert!(error.contains("more than 32 MiB"), "{error}");
    }

    #[test]
    fn a_directory_that_guests_could_not_run_is_refused() {
        assert!(refusal(&[("Cargo.toml", b""), (".a.toml", b"")]).contains("no fixture (*.toml)"));
        assert!(refusal(&[("a.toml", b"= no TOML")]).contains("failed to parse"));
        for object in ["../build/a.o", "b.o", "/etc/passwd", "../../a.o", "link.o"] {
            let fixture = format!("[program]\nobject = \"{object}\"\n");
            let error = refusal(&[("fixtures/a.toml", fixture.as_bytes()), ("a.o", b"")]);
            assert!(error.contains(&format!("needs {object}, which is no regular file below")), "{error}");
        }
        assert!(FixtureFiles::read(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn a_fixture_without_an_object_needs_none() {
        let directory = directory(&[("a.toml", b"[program]\npinned = \"/sys/fs/bpf/a\"\n")]);
        assert!(FixtureFiles::read(directory.path()).is_ok());
    }
}
