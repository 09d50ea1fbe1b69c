//! The kernels of `kernels.toml` and the NICs of `nics.toml`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;
use serde::{Deserialize, de::DeserializeOwned};

/// Placeholder for the release in the name of a package.
pub(crate) const RELEASE: &str = "{release}";

/// The first process of a guest.
pub(crate) const INIT: &str = include_str!("../guest/init");

/// Name of the cell with the guest's own veth pair and its doctor, which is about the kernel and no NIC.
pub(crate) const GUEST: &str = "guest";

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kernels {
    /// URI of each archive.
    pub(crate) archives: BTreeMap<String, String>,
    /// The oldest first.
    #[serde(rename = "kernel")]
    pub(crate) kernels: Vec<Series>,
}

/// A kernel series, of which the newest release is tested.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Series {
    pub(crate) series: String,
    /// As `archive/suite`.
    pub(crate) suites: Vec<String>,
    /// POSIX extended regular expression of the releases.
    pub(crate) release: String,
    /// Packages of a release, with `{release}` in their names; the version of the first decides which release is newest.
    pub(crate) packages: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nics {
    /// Modules that every guest loads.
    pub(crate) modules: Vec<String>,
    pub(crate) tester: Tester,
    pub(crate) emulated: Vec<Emulated>,
    pub(crate) software: Vec<Software>,
}

/// The link partner of every emulated NIC.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tester {
    pub(crate) device: String,
    pub(crate) driver: String,
    /// Device properties if several frames may be in flight.
    pub(crate) batched: String,
    /// Device properties if frames are sent one at a time.
    pub(crate) unbatched: String,
}

/// A NIC that QEMU emulates.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Emulated {
    pub(crate) name: String,
    /// QEMU's device with its properties.
    pub(crate) device: String,
    pub(crate) driver: String,
    /// Modules of the driver and its bus; by default one with the driver's name.
    modules: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) bus: Bus,
    /// Limit of the frames in flight.
    pub(crate) window: Option<u16>,
    only_if_named: Option<String>,
    /// First octet of the MAC address, for a device whose QEMU model overrides it.
    #[serde(default = "qemu_octet")]
    pub(crate) first_octet: u8,
}

/// First octet of QEMU's range of MAC addresses (`52:54:00`).
const fn qemu_octet() -> u8 {
    0x52
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Bus {
    #[default]
    Root,
    /// A PCI Express root port for each device.
    RootPort,
    /// One xHCI controller for all devices.
    Usb,
}

/// A device that the guest's kernel creates.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Software {
    pub(crate) name: String,
    /// Suffix of the function in `guest/init` that creates the device.
    pub(crate) setup: String,
    /// Mode of a bond.
    pub(crate) mode: Option<String>,
    /// Modules of the driver, each with its parameters.
    #[serde(default)]
    modules: Vec<String>,
    only_if_named: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum Nic {
    Emulated(Emulated),
    Software(Software),
}

impl Nic {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Emulated(Emulated { name, .. }) | Self::Software(Software { name, .. }) => name,
        }
    }

    /// Returns the reason why the NIC is tested only if it is named, if there is one.
    pub(crate) fn only_if_named(&self) -> Option<&str> {
        match self {
            Self::Emulated(Emulated { only_if_named, .. })
            | Self::Software(Software { only_if_named, .. }) => only_if_named.as_deref(),
        }
    }

    /// Returns the modules that the guest loads for the NIC, each with its parameters.
    pub(crate) fn modules(&self) -> Vec<String> {
        match self {
            Self::Emulated(Emulated { driver, modules, .. }) => {
                modules.clone().unwrap_or_else(|| vec![driver.clone()])
            }
            Self::Software(Software { modules, .. }) => modules.clone(),
        }
    }
}

/// The NICs of a run.
#[derive(Clone, Debug)]
pub(crate) struct SelectedNics {
    /// Modules that every guest loads.
    pub(crate) modules: Vec<String>,
    pub(crate) tester: Tester,
    /// Each NIC with its number in `nics.toml`.
    pub(crate) selected: Vec<(usize, Nic)>,
}

impl Kernels {
    pub(crate) fn read(file: &Path) -> Result<Self> {
        read(file, Self::check)
    }

    fn check(&self) -> Result<()> {
        let Self { archives, kernels } = self;
        ensure!(!kernels.is_empty(), "no kernel is defined");
        check_names(kernels.iter().map(|kernel| kernel.series.as_str()))?;
        for Series { series, suites, release, packages } in kernels {
            let empty = [("release", release.is_empty()), ("suites", suites.is_empty())];
            for (key, is_empty) in empty.into_iter().chain([("packages", packages.is_empty())]) {
                ensure!(!is_empty, "{series}: `{key}` is empty");
            }
            for suite in suites {
                let archive = suite.split_once('/').map(|(archive, _)| archive);
                ensure!(
                    archive.is_some_and(|archive| archives.contains_key(archive)),
                    "{series}: suite `{suite}` names no archive of [archives]; expected e.g. `debian/bookworm`"
                );
            }
            for package in packages {
                ensure!(package.contains(RELEASE), "{series}: package `{package}` has no {RELEASE}");
            }
        }
        Ok(())
    }

    pub(crate) fn series(&self, name: &str) -> Option<&Series> {
        self.kernels.iter().find(|kernel| kernel.series == name)
    }
}

impl Nics {
    pub(crate) fn read(file: &Path) -> Result<Self> {
        read(file, Self::check)
    }

    fn check(&self) -> Result<()> {
        let all = self.all();
        check_names(all.iter().map(Nic::name))?;
        for nic in &all {
            let name = nic.name();
            match nic {
                Nic::Emulated(Emulated { first_octet, .. }) => ensure!(
                    first_octet & 1 == 0,
                    "{name}: first_octet {first_octet:#x} makes a group address; expected an even number"
                ),
                Nic::Software(Software { setup, mode, .. }) => {
                    let function = format!("\nsoftware_{setup}() {{");
                    ensure!(INIT.contains(&function), "{name}: ci/guest/init has no setup `{setup}`");
                    ensure!(
                        mode.is_some() == (setup == "bond"),
                        "{name}: a bond needs a `mode`, and no other setup takes one"
                    );
                }
            }
        }
        // An octet of the MAC address numbers them.
        ensure!(self.emulated.len() <= 256, "at most 256 emulated NICs, got {}", self.emulated.len());
        Ok(())
    }

    /// Returns all NICs in the order of the file.
    pub(crate) fn all(&self) -> Vec<Nic> {
        let emulated = self.emulated.iter().cloned().map(Nic::Emulated);
        emulated.chain(self.software.iter().cloned().map(Nic::Software)).collect()
    }

    /// Selects the named NICs; without a name, those that need not be named.
    pub(crate) fn select(&self, names: &[String]) -> Result<SelectedNics> {
        let all = self.all();
        for name in names {
            if !all.iter().any(|nic| nic.name() == name) {
                let known: Vec<&str> = all.iter().map(Nic::name).collect();
                bail!("unknown NIC `{name}`; known are {}", known.join(", "));
            }
        }
        let is_selected = |nic: &Nic| match names {
            [] => nic.only_if_named().is_none(),
            names => names.iter().any(|name| name == nic.name()),
        };
        let selected = all.into_iter().enumerate().filter(|(_, nic)| is_selected(nic)).collect();
        Ok(SelectedNics { modules: self.modules.clone(), tester: self.tester.clone(), selected })
    }
}

/// Checks names that become file names, words in a shell and strings in JSON.
fn check_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte);
    let mut seen = BTreeSet::from([GUEST]);
    for name in names {
        let valid = !name.is_empty() && !name.starts_with(['.', '-']) && name.bytes().all(allowed);
        ensure!(valid, "`{name}` is not a valid name");
        ensure!(seen.insert(name), "the name `{name}` is already taken");
    }
    Ok(())
}

fn read<T: DeserializeOwned>(file: &Path, check: impl Fn(&T) -> Result<()>) -> Result<T> {
    let text = fs::read_to_string(file)?;
    let parsed = toml::from_str(&text).map_err(Into::into).and_then(|value| check(&value).map(|()| value));
    parsed.with_context(|| file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: &str = r#"
        [archives]
        debian = "http://deb.debian.org/debian"
        [[kernel]]
        series = "6.1"
        suites = ["debian/bookworm"]
        release = '6\.1\.0-[0-9]+-amd64'
        packages = ["linux-image-{release}"]
    "#;

    const NIC: &str = r#"
        modules = []
        tester = { device = "virtio-net-pci", driver = "virtio_net", batched = "tx=timer", unbatched = "ioeventfd=off" }
        [[emulated]]
        name = "igb"
        device = "igb"
        driver = "igb"
        [[software]]
        name = "bond"
        setup = "bond"
        mode = "802.3ad"
    "#;

    /// Checks that a file is valid, and that it is rejected with an error after each replacement.
    fn reject<T: DeserializeOwned>(
        valid: &str,
        check: impl Fn(&T) -> Result<()>,
        replacements: &[(&str, &str, &str)],
    ) {
        let error = |text: &str| {
            let checked = toml::from_str(text).map_err(Into::into).and_then(|value| check(&value));
            checked.err().map(|error| format!("{error:#}"))
        };
        assert_eq!(error(valid), None);
        for (from, to, expected) in replacements {
            assert!(valid.contains(from));
            let error = error(&valid.replace(from, to)).unwrap_or_else(|| panic!("{to} is accepted"));
            assert!(error.contains(expected), "`{error}` does not contain `{expected}`");
        }
    }

    #[test]
    fn the_files_of_the_repository_are_valid() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let kernels = Kernels::read(&here.join("kernels.toml")).unwrap();
        let series: Vec<&str> = kernels.kernels.iter().map(|kernel| kernel.series.as_str()).collect();
        assert_eq!(series, ["5.10", "6.1", "6.12", "6.18", "7.3"]);
        let nics = Nics::read(&here.join("nics.toml")).unwrap();
        for name in ["virtio-net", "igb", "vmxnet3", "e1000", "e1000e", "rtl8139", "tulip", "i82559er"] {
            assert_eq!(nics.select(&[name.to_owned()]).unwrap().selected.len(), 1);
        }
    }

    #[test]
    fn invalid_kernels_are_rejected() {
        let twice = KERNEL[KERNEL.find("[[kernel]]").unwrap()..].repeat(2);
        reject(
            KERNEL,
            Kernels::check,
            &[
                ("suites", "suite", "unknown field `suite`"),
                ("debian/bookworm", "bookworm", "suite `bookworm`"),
                ("debian/bookworm", "ubuntu/noble", "suite `ubuntu/noble`"),
                ("[\"debian/bookworm\"]", "[]", "`suites` is empty"),
                ("{release}", "6.1", "has no {release}"),
                ("\"6.1\"", "\"../6.1\"", "`../6.1` is not a valid name"),
                (&KERNEL[KERNEL.find("[[kernel]]").unwrap()..], &twice, "`6.1` is already taken"),
            ],
        );
    }

    #[test]
    fn invalid_nics_are_rejected() {
        reject(
            NIC,
            Nics::check,
            &[
                ("driver = \"igb\"", "drivr = \"igb\"", "unknown field `drivr`"),
                ("name = \"bond\"", "name = \"igb\"", "`igb` is already taken"),
                ("mode = \"802.3ad\"", "", "a bond needs a `mode`"),
                ("setup = \"bond\"", "setup = \"veth\"", "a bond needs a `mode`"),
                ("setup = \"bond\"", "setup = \"team\"", "no setup `team`"),
                ("driver = \"igb\"", "driver = \"igb\"\nfirst_octet = 1", "group address"),
                ("name = \"igb\"", "name = \"guest\"", "`guest` is already taken"),
                ("name = \"igb\"", "name = \"a b\"", "`a b` is not a valid name"),
            ],
        );
    }

    #[test]
    fn an_unknown_nic_is_rejected_and_the_known_ones_are_listed() {
        let nics: Nics = toml::from_str(NIC).unwrap();
        let error = nics.select(&["ixgbe".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("known are igb, bond"), "{error}");
        assert_eq!(nics.select(&[]).unwrap().selected.len(), 2);
        let text = NIC.replace("mode = \"802.3ad\"", "mode = \"802.3ad\"\nonly_if_named = \"it is slow\"");
        let nics: Nics = toml::from_str(&text).unwrap();
        assert_eq!(nics.select(&[]).unwrap().selected.len(), 1);
        assert_eq!(nics.select(&["bond".to_owned()]).unwrap().selected.len(), 1);
    }

    #[test]
    fn a_nic_loads_the_module_of_its_driver_or_those_that_are_named() {
        let nics = Nics::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("nics.toml")).unwrap();
        let modules = |name: &str| nics.select(&[name.to_owned()]).unwrap().selected[0].1.modules();
        assert_eq!(modules("igb"), ["igb"]);
        assert_eq!(modules("usb-net"), ["xhci_pci", "cdc_ether"]);
        assert_eq!(modules("bond-802.3ad"), ["bonding max_bonds=0"]);
    }
}
