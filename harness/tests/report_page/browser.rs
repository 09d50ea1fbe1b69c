//! A browser that looks at pages.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use libtest_mimic::Failed;

/// Where pages and what is needed to look at them are put.
pub(crate) fn scratch() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("report_page")
}

const SCRIPT: &str = include_str!("check.mjs");
const PACKAGE: &str = include_str!("package.json");
const LOCK: &str = include_str!("package-lock.json");

/// The browsers that are looked for in PATH.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// A browser, and the script that drives it.
pub(crate) struct Browser {
    program: PathBuf,
}

impl Browser {
    /// Finds a browser and installs what drives it, or says what is missing.
    pub(crate) fn find() -> Result<Self, String> {
        let program = NAMES.iter().find_map(|name| in_path(name)).ok_or("no chromium is installed")?;
        for name in ["node", "npm"] {
            in_path(name).ok_or_else(|| format!("no {name} is installed"))?;
        }
        install().map_err(|error| format!("{}: {error}", scratch().display()))?;
        Ok(Self { program })
    }

    /// Does one of the script's checks to a page.
    pub(crate) fn check(&self, check: &str, page: &Path) -> Result<(), Failed> {
        let mut node = Command::new("node");
        node.current_dir(scratch()).arg("check.mjs").arg(check).arg(page).env("BROWSER", &self.program);
        let Output { status, stdout, stderr } = node.stdin(Stdio::null()).output()?;
        let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        print!("{said}");
        if status.success() { Ok(()) } else { Err(said.into()) }
    }
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(name)).find(|program| program.is_file())
}

/// Puts the script and the packages that it needs below `target/`, where they are not there yet.
fn install() -> Result<(), Box<dyn std::error::Error>> {
    let directory = scratch();
    fs::create_dir_all(&directory)?;
    fs::write(directory.join("check.mjs"), SCRIPT)?;
    let installed = directory.join("installed.json");
    if fs::read_to_string(&installed).is_ok_and(|lock| lock == LOCK) {
        return Ok(());
    }
    fs::write(directory.join("package.json"), PACKAGE)?;
    fs::write(directory.join("package-lock.json"), LOCK)?;
    let npm = ["ci", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund"];
    let Output { status, stderr, .. } =
        Command::new("npm").args(npm).current_dir(&directory).stdin(Stdio::null()).output()?;
    if !status.success() {
        return Err(format!("npm ci: {status}: {}", String::from_utf8_lossy(&stderr)).into());
    }
    Ok(fs::write(installed, LOCK)?)
}
