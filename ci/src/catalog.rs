//! What can be tested: the kernels of `kernels.toml` and the NICs of `nics.toml`.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, de::DeserializeOwned};

/// The kernels, as `kernels.toml` has them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kernels {
    /// Names of archives and their addresses.
    pub(crate) archives: BTreeMap<String, String>,
    /// By series, the oldest first.
    #[serde(rename = "kernel")]
    pub(crate) kernels: Vec<Series>,
}

/// The kernels of a series, of which the newest is taken.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Series {
    /// As in `6.12`.
    pub(crate) series: String,
    /// Where to look, as `archive/suite`.
    pub(crate) suites: Vec<String>,
    /// The releases that belong to it: a POSIX extended regular expression.
    pub(crate) release: String,
    /// The packages of a release, with `{release}` for it; the first decides which release is the newest.
    pub(crate) packages: Vec<String>,
}

/// Stands for the release in the name of a package.
pub(crate) const RELEASE: &str = "{release}";

/// The NICs, as `nics.toml` has them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nics {
    /// Modules that every guest loads.
    pub(crate) modules: Vec<String>,
    /// What sends to those that QEMU emulates.
    pub(crate) tester: Tester,
    /// Those that QEMU emulates.
    pub(crate) emulated: Vec<Emulated>,
    /// Those that the guest's kernel makes.
    pub(crate) software: Vec<Software>,
}

/// The NIC at the other end of the wire of those that QEMU emulates.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tester {
    /// QEMU's name of it.
    pub(crate) device: String,
    /// The driver that must bind to it.
    pub(crate) driver: String,
    /// More properties where several frames may be under way to the NIC at once.
    pub(crate) several: String,
    /// More properties where they go one at a time.
    pub(crate) single: String,
}

/// A NIC that QEMU emulates.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Emulated {
    /// What results call it.
    pub(crate) name: String,
    /// QEMU's name of it, with further properties.
    pub(crate) device: String,
    /// The driver that must bind to it.
    pub(crate) driver: String,
    /// The module that brings the driver; none: it is called as the driver.
    module: Option<String>,
    /// Where it is plugged in.
    #[serde(default)]
    pub(crate) bus: Bus,
    /// The most frames under way to it at once, if it takes fewer than it seems to.
    pub(crate) window: Option<u16>,
    /// Why it is tried only where it is named, if that is so.
    apart: Option<String>,
    /// The first octet of its address, where QEMU does not let it be chosen.
    #[serde(default = "local_octet")]
    pub(crate) first_octet: u8,
}

/// QEMU's own range of addresses (`52:54:00`).
const fn local_octet() -> u8 {
    0x52
}

/// Where a NIC is plugged in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Bus {
    /// The machine's root bus.
    #[default]
    Root,
    /// A PCI Express root port of its own.
    RootPort,
    /// An xHCI controller.
    Usb,
}

/// A device that the guest's kernel makes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Software {
    /// What results call it.
    pub(crate) name: String,
    /// How the guest makes it.
    pub(crate) setup: Setup,
    /// The mode of a bond.
    pub(crate) mode: Option<String>,
    /// The module that it takes, and its parameters.
    module: Option<String>,
    /// Why it is tried only where it is named, if that is so.
    apart: Option<String>,
}

/// How a guest makes a device; `ci/guest/init` has a function for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Setup {
    /// An end of a veth pair.
    Veth,
    /// One of two taps with a wire between them.
    Tap,
    /// A bond of one end of a veth pair.
    Bond,
    /// A bridge with one end of a veth pair as its port.
    Bridge,
    /// A macvlan on one end of a veth pair.
    Macvlan,
}

impl Setup {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Veth => "veth",
            Self::Tap => "tap",
            Self::Bond => "bond",
            Self::Bridge => "bridge",
            Self::Macvlan => "macvlan",
        }
    }
}

/// A NIC of either kind.
#[derive(Clone, Debug)]
pub(crate) enum Nic {
    Emulated(Emulated),
    Software(Software),
}

impl Nic {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Emulated(nic) => &nic.name,
            Self::Software(nic) => &nic.name,
        }
    }

    /// Why it is tried only where it is named, if that is so.
    pub(crate) fn apart(&self) -> Option<&str> {
        match self {
            Self::Emulated(nic) => nic.apart.as_deref(),
            Self::Software(nic) => nic.apart.as_deref(),
        }
    }

    /// The modules that it takes, each with its parameters.
    pub(crate) fn modules(&self) -> Vec<String> {
        match self {
            Self::Emulated(Emulated { driver, module, bus, .. }) => {
                let driver = module.as_ref().unwrap_or(driver).clone();
                if *bus == Bus::Usb { vec!["xhci_pci".to_owned(), driver] } else { vec![driver] }
            }
            Self::Software(Software { module, .. }) => module.iter().cloned().collect(),
        }
    }
}

impl Kernels {
    /// Reads `kernels.toml`.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let kernels: Self = read(file)?;
        kernels.check().with_context(|| file.display().to_string())?;
        Ok(kernels)
    }

    fn check(&self) -> Result<()> {
        let Self { archives, kernels } = self;
        ensure!(!kernels.is_empty(), "it names no kernel");
        unique(kernels.iter().map(|kernel| kernel.series.as_str()))?;
        for Series { series, suites, release, packages } in kernels {
            ensure!(is_name(series), "`{series}` is not the name of a series");
            ensure!(!release.is_empty(), "{series}: `release` is empty");
            ensure!(!suites.is_empty(), "{series}: `suites` is empty");
            for suite in suites {
                let archive = suite.split_once('/').map(|(archive, _)| archive);
                ensure!(
                    archive.is_some_and(|archive| archives.contains_key(archive)),
                    "{series}: suite `{suite}` is not one of an archive in [archives], as in `debian/bookworm`"
                );
            }
            ensure!(!packages.is_empty(), "{series}: `packages` is empty");
            for package in packages {
                ensure!(package.contains(RELEASE), "{series}: package `{package}` is without {RELEASE}");
            }
        }
        Ok(())
    }

    /// The kernels of a series.
    pub(crate) fn series(&self, name: &str) -> Option<&Series> {
        self.kernels.iter().find(|kernel| kernel.series == name)
    }
}

impl Nics {
    /// Reads `nics.toml`.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let nics: Self = read(file)?;
        nics.check().with_context(|| file.display().to_string())?;
        Ok(nics)
    }

    fn check(&self) -> Result<()> {
        let all = self.all();
        unique(all.iter().map(Nic::name))?;
        for nic in &all {
            let name = nic.name();
            ensure!(is_name(name) && name != GUEST, "`{name}` is not the name of a NIC");
            match nic {
                Nic::Emulated(Emulated { first_octet, .. }) => {
                    ensure!(
                        first_octet & 1 == 0,
                        "{name}: first_octet {first_octet:#x} makes a group address"
                    );
                }
                Nic::Software(Software { setup, mode, .. }) => ensure!(
                    mode.is_some() == (*setup == Setup::Bond),
                    "{name}: a bond has a `mode`, and nothing else has one"
                ),
            }
        }
        // Two hexadecimal digits of an address number them.
        ensure!(self.emulated.len() <= 256, "there are more than 256 emulated NICs");
        Ok(())
    }

    /// All of them, in the order of the file.
    pub(crate) fn all(&self) -> Vec<Nic> {
        let emulated = self.emulated.iter().cloned().map(Nic::Emulated);
        emulated.chain(self.software.iter().cloned().map(Nic::Software)).collect()
    }

    /// Those of the given names, in the order of the file; where no name is given, all that do not stand apart.
    pub(crate) fn select(&self, names: &[String]) -> Result<Vec<Nic>> {
        let all = self.all();
        for name in names {
            if !all.iter().any(|nic| nic.name() == name) {
                let known: Vec<&str> = all.iter().map(Nic::name).collect();
                bail!("there is no NIC `{name}`; known are {}", known.join(", "));
            }
        }
        let wanted = |nic: &Nic| {
            if names.is_empty() { nic.apart().is_none() } else { names.iter().any(|name| name == nic.name()) }
        };
        Ok(all.into_iter().filter(wanted).collect())
    }
}

/// The cell of a guest's own veth, and its doctor: it is about the kernel and no NIC.
pub(crate) const GUEST: &str = "guest";

/// Names become names of files, words in a shell and strings in JSON.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(['.', '-'])
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte))
}

fn unique<'a>(names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        ensure!(seen.insert(name), "`{name}` is there twice");
    }
    Ok(())
}

fn read<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let text = std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
    toml::from_str(&text).with_context(|| file.display().to_string())
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
        tester = { device = "virtio-net-pci", driver = "virtio_net", several = "tx=timer", single = "ioeventfd=off" }
        [[emulated]]
        name = "igb"
        device = "igb"
        driver = "igb"
        [[software]]
        name = "bond"
        setup = "bond"
        mode = "802.3ad"
    "#;

    /// What is wrong with a text, if anything.
    fn kernels(text: &str) -> Option<String> {
        let checked = toml::from_str::<Kernels>(text).map_err(Into::into).and_then(|kernels| kernels.check());
        checked.err().map(|error| format!("{error:#}"))
    }

    fn nics(text: &str) -> Option<String> {
        let checked = toml::from_str::<Nics>(text).map_err(Into::into).and_then(|nics| nics.check());
        checked.err().map(|error| format!("{error:#}"))
    }

    fn says(error: Option<String>, what: &str) {
        let error = error.unwrap_or_else(|| panic!("nothing is wrong, and `{what}` should be"));
        assert!(error.contains(what), "`{error}` does not say `{what}`");
    }

    #[test]
    fn the_files_that_come_with_the_matrix_are_right() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let kernels = Kernels::read(&here.join("kernels.toml")).unwrap();
        let series: Vec<&str> = kernels.kernels.iter().map(|kernel| kernel.series.as_str()).collect();
        assert_eq!(series, ["5.10", "6.1", "6.12", "6.18", "7.3"]);
        let nics = Nics::read(&here.join("nics.toml")).unwrap();
        for name in ["virtio-net", "igb", "vmxnet3", "e1000", "e1000e", "rtl8139", "tulip", "i82559er"] {
            assert_eq!(nics.select(&[name.to_owned()]).unwrap().len(), 1);
        }
    }

    #[test]
    fn what_is_wrong_with_a_kernel_is_said() {
        assert_eq!(kernels(KERNEL), None);
        says(kernels(&KERNEL.replace("suites", "suite")), "unknown field `suite`");
        says(kernels(&KERNEL.replace("debian/bookworm", "bookworm")), "suite `bookworm`");
        says(kernels(&KERNEL.replace("debian/bookworm", "ubuntu/noble")), "suite `ubuntu/noble`");
        says(kernels(&KERNEL.replace("{release}", "6.1")), "is without {release}");
        says(kernels(&KERNEL.replace("\"6.1\"", "\"../6.1\"")), "not the name of a series");
        let twice = format!("{KERNEL}{}", &KERNEL[KERNEL.find("[[kernel]]").unwrap()..]);
        says(kernels(&twice), "`6.1` is there twice");
    }

    #[test]
    fn what_is_wrong_with_a_nic_is_said() {
        assert_eq!(nics(NIC), None);
        says(nics(&NIC.replace("driver = \"igb\"", "drivr = \"igb\"")), "unknown field `drivr`");
        says(nics(&NIC.replace("\"bond\"\n        setup", "\"igb\"\n        setup")), "`igb` is there twice");
        says(nics(&NIC.replace("mode = \"802.3ad\"", "")), "a bond has a `mode`");
        says(nics(&NIC.replace("setup = \"bond\"", "setup = \"veth\"")), "a bond has a `mode`");
        says(nics(&NIC.replace("setup = \"bond\"", "setup = \"team\"")), "unknown variant `team`");
        says(nics(&NIC.replace("driver = \"igb\"", "driver = \"igb\"\nfirst_octet = 1")), "group address");
        says(nics(&NIC.replace("name = \"igb\"", "name = \"guest\"")), "not the name of a NIC");
        says(nics(&NIC.replace("name = \"igb\"", "name = \"a b\"")), "not the name of a NIC");
    }

    #[test]
    fn a_nic_that_is_not_known_is_refused_with_those_that_are() {
        let nics: Nics = toml::from_str(NIC).unwrap();
        says(nics.select(&["ixgbe".to_owned()]).err().map(|error| error.to_string()), "known are igb, bond");
        assert_eq!(nics.select(&[]).unwrap().len(), 2);
        let apart = NIC.replace("mode = \"802.3ad\"", "mode = \"802.3ad\"\napart = \"it is slow\"");
        let nics: Nics = toml::from_str(&apart).unwrap();
        assert_eq!(nics.select(&[]).unwrap().len(), 1);
        assert_eq!(nics.select(&["bond".to_owned()]).unwrap().len(), 1);
    }

    #[test]
    fn a_usb_nic_brings_the_module_of_its_controller() {
        let nic: Emulated =
            toml::from_str("name = 'u'\ndevice = 'usb-net'\ndriver = 'rndis_host'\nbus = 'usb'").unwrap();
        assert_eq!(Nic::Emulated(nic).modules(), ["xhci_pci", "rndis_host"]);
    }
}
