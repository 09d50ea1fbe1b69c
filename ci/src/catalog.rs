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

/// `nics.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NicsFile {
    modules: Vec<String>,
    tester: Tester,
    emulated: Vec<Emulated>,
    software: Vec<Software>,
}

#[derive(Clone, Debug)]
pub(crate) struct Nics {
    /// Modules that every guest loads.
    pub(crate) modules: Vec<String>,
    pub(crate) tester: Tester,
    /// In the order of the file.
    pub(crate) nics: Vec<Nic>,
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
    /// Number in the file.
    #[serde(skip)]
    pub(crate) number: u8,
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
    pub(crate) first_octet: Option<u8>,
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
        let NicsFile { modules, tester, emulated, software } = read(file, NicsFile::check)?;
        let number = |(number, nic)| Ok(Nic::Emulated(Emulated { number: u8::try_from(number)?, ..nic }));
        let mut nics = emulated.into_iter().enumerate().map(number).collect::<Result<Vec<_>>>()?;
        nics.extend(software.into_iter().map(Nic::Software));
        Ok(Self { modules, tester, nics })
    }

    /// Keeps the named NICs; without a name, those that need not be named.
    pub(crate) fn select(mut self, names: &[String]) -> Result<Self> {
        let known: Vec<&str> = self.nics.iter().map(Nic::name).collect();
        if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
            bail!("unknown NIC `{unknown}`; known are {}", known.join(", "));
        }
        self.nics.retain(|nic| match names {
            [] => nic.only_if_named().is_none(),
            names => names.iter().any(|name| name == nic.name()),
        });
        Ok(self)
    }
}

impl NicsFile {
    fn check(&self) -> Result<()> {
        let Self { emulated, software, .. } = self;
        let names = emulated.iter().map(|nic| &nic.name).chain(software.iter().map(|nic| &nic.name));
        check_names(names.map(String::as_str))?;
        for Emulated { name, first_octet, .. } in emulated {
            let group = first_octet.is_some_and(|octet| octet & 1 == 1);
            ensure!(!group, "{name}: an odd first_octet makes a group address; expected an even one");
        }
        for Software { name, setup, mode, .. } in software {
            let function = format!("\nsoftware_{setup}() {{");
            ensure!(INIT.contains(&function), "{name}: ci/guest/init has no setup `{setup}`");
            let is_bond = setup == "bond";
            ensure!(mode.is_some() == is_bond, "{name}: a bond needs a `mode`, and no other setup takes one");
        }
        // An octet of the MAC address numbers them.
        ensure!(emulated.len() <= 256, "at most 256 emulated NICs, got {}", emulated.len());
        Ok(())
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

    const KERNELS: &str = include_str!("../kernels.toml");
    const NICS: &str = include_str!("../nics.toml");

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
            assert_eq!(nics.clone().select(&[name.to_owned()]).unwrap().nics.len(), 1);
        }
    }

    #[test]
    fn invalid_kernels_are_rejected() {
        reject(
            KERNELS,
            Kernels::check,
            &[
                ("suites =", "suite =", "unknown field `suite`"),
                ("debian/bookworm\"", "bookworm\"", "suite `bookworm`"),
                ("debian/bookworm\"", "ubuntu/noble\"", "suite `ubuntu/noble`"),
                ("[\"security/bullseye-security\"]", "[]", "`suites` is empty"),
                ("\"linux-image-{release}\"", "\"linux-image-6.1\"", "has no {release}"),
                ("\"6.1\"", "\"../6.1\"", "`../6.1` is not a valid name"),
                ("\"6.12\"", "\"6.1\"", "`6.1` is already taken"),
            ],
        );
    }

    #[test]
    fn invalid_nics_are_rejected() {
        reject(
            NICS,
            NicsFile::check,
            &[
                ("driver = \"igb\"", "drivr = \"igb\"", "unknown field `drivr`"),
                ("name = \"tap\"", "name = \"igb\"", "`igb` is already taken"),
                ("mode = \"802.3ad\"", "", "a bond needs a `mode`"),
                ("setup = \"bond\"", "setup = \"veth\"", "a bond needs a `mode`"),
                ("setup = \"bond\"", "setup = \"team\"", "no setup `team`"),
                ("first_octet = 0x40", "first_octet = 0x41", "group address"),
                ("name = \"igb\"", "name = \"guest\"", "`guest` is already taken"),
                ("name = \"igb\"", "name = \"a b\"", "`a b` is not a valid name"),
            ],
        );
    }

    #[test]
    fn an_unknown_nic_is_rejected_and_one_with_a_reason_must_be_named() {
        let nics = Nics::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("nics.toml")).unwrap();
        let error = nics.clone().select(&["ixgbe".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("unknown NIC `ixgbe`; known are virtio-net, igb, "), "{error}");
        let all = nics.nics.len();
        let selected = nics.clone().select(&[]).unwrap().nics;
        assert!(selected.len() == all - 1 && selected.iter().all(|nic| nic.name() != "usb-net"));
        assert_eq!(nics.select(&["usb-net".to_owned()]).unwrap().nics[0].name(), "usb-net");
    }

    #[test]
    fn a_nic_loads_the_module_of_its_driver_or_those_that_are_named() {
        let nics = Nics::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("nics.toml")).unwrap();
        let modules = |name: &str| nics.clone().select(&[name.to_owned()]).unwrap().nics[0].modules();
        assert_eq!(modules("igb"), ["igb"]);
        assert_eq!(modules("usb-net"), ["xhci_pci", "cdc_ether"]);
        assert_eq!(modules("bond-802.3ad"), ["bonding max_bonds=0"]);
    }
}
