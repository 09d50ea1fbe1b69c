//! Extern symbols, resolved for the running kernel as libbpf does (`bpf_object__resolve_externs()` of `src/libbpf.c`): options of
//! its configuration (`__kconfig`), variables and functions of the kernel (`__ksym`).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    sync::OnceLock,
};

use aya_obj::btf::BtfKind;
use procfs::ConfigSetting;
use xdproof_scenarios::KernelVersion;

use crate::{
    host::kernel,
    program::{
        btf::{Btf, kind},
        elf::Elf,
        linker::kernel_types,
    },
};

/// Sections in which the types of an object list extern symbols.
const OPTIONS: &str = ".kconfig";
const OF_KERNEL: &str = ".ksyms";

/// `enum libbpf_tristate` of `bpf/bpf_helpers.h`.
const TRISTATE: &str = "libbpf_tristate";
const TRI_YES: u8 = 1;
const TRI_MODULE: u8 = 2;

/// An extern symbol that cannot be resolved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExternProblem {
    #[error("the extern symbol `{symbol}` has no type; build the object with `clang -g`")]
    NoType { symbol: String },
    #[error("`{symbol}` is not in the configuration of this kernel ({place})")]
    NoOption { symbol: String, place: String },
    #[error("`{symbol}` is `{value}` in the configuration of this kernel, which does not fit its type")]
    Unfit { symbol: String, value: String },
    #[error("`{symbol}` is unknown; of LINUX_* there are LINUX_KERNEL_VERSION and LINUX_HAS_BPF_COOKIE")]
    UnknownOption { symbol: String },
    #[error("this kernel has no {what} `{symbol}` (those of modules are not looked for)")]
    NotInKernel { what: &'static str, symbol: String },
    #[error("this kernel has no types (/sys/kernel/btf/vmlinux), in which `{symbol}` is looked for")]
    NoKernelTypes { symbol: String },
}

/// Replacement of an extern symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resolved {
    /// A place in the values of the options.
    Option { offset: i32 },
    /// An address, or 0 for a weak symbol that the kernel does not have.
    Address(u64),
    /// A variable or a function of the kernel, by the number of its type.
    OfKernel { id: i32 },
}

/// The extern symbols of a program, by their index, and the values of the options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Externs {
    pub(super) symbols: BTreeMap<usize, Resolved>,
    pub(super) options: Vec<u8>,
}

/// Returns what the extern symbols of these indices are in the running kernel.
pub(super) fn resolve(
    elf: &Elf<'_>,
    types: Option<&Btf>,
    wanted: &BTreeSet<usize>,
) -> Result<Externs, ExternProblem> {
    let mut externs = Externs::default();
    for &index in wanted {
        let symbol = &elf.symbols[index];
        let name = symbol.name;
        let listed = types.and_then(|types| Some((types, listed(types, name)?)));
        let Some((types, (section, id))) = listed else {
            return Err(ExternProblem::NoType { symbol: name.to_owned() });
        };
        let resolved = match section {
            OPTIONS => {
                let value = option(types, id, name, symbol.is_weak)?;
                let alignment = value.len().next_power_of_two().min(8);
                externs.options.resize(externs.options.len().next_multiple_of(alignment), 0);
                let offset = i32::try_from(externs.options.len()).unwrap_or(i32::MAX);
                externs.options.extend(value);
                Resolved::Option { offset }
            }
            _ => of_kernel(types, id, name, symbol.is_weak)?,
        };
        externs.symbols.insert(index, resolved);
    }
    Ok(externs)
}

/// Finds an extern symbol in the types: its section, and the number of its variable or function.
fn listed(types: &Btf, name: &str) -> Option<(&'static str, u32)> {
    [OPTIONS, OF_KERNEL].into_iter().find_map(|section| {
        let (_, entries) = types.data_section(section)?;
        let is_it = |id: &u32| types.get(*id).is_some_and(|one| types.string(one.name) == name);
        Some((section, entries.iter().map(|entry| entry.kind).find(is_it)?))
    })
}

/// Returns the bytes of an option's value.
fn option(types: &Btf, variable: u32, name: &str, is_weak: bool) -> Result<Vec<u8>, ExternProblem> {
    let no_type = || ExternProblem::NoType { symbol: name.to_owned() };
    let id = types.get(variable).ok_or_else(no_type)?.size_or_type;
    // Strings of the configuration are short; other values are numbers.
    let size = types.size(id).filter(|size| (1..=4096).contains(size)).ok_or_else(no_type)?;
    let size = usize::try_from(size).map_err(|_| no_type())?;
    let number = |number: u64| Ok(number.to_le_bytes().into_iter().chain([0; 4096]).take(size).collect());
    match name {
        "LINUX_KERNEL_VERSION" => return number(version_code()),
        "LINUX_HAS_BPF_COOKIE" => return number(aya::features().bpf_cookie().into()),
        _ if name.starts_with("LINUX_") && !is_weak => {
            return Err(ExternProblem::UnknownOption { symbol: name.to_owned() });
        }
        _ => {}
    }
    let (settings, place) = settings();
    match settings.get(name) {
        Some(setting) => {
            let unfit = || ExternProblem::Unfit { symbol: name.to_owned(), value: shown(setting).to_owned() };
            value(types, id, size, setting).ok_or_else(unfit)
        }
        None if is_weak => Ok(vec![0; size]),
        None => Err(ExternProblem::NoOption { symbol: name.to_owned(), place: place.clone() }),
    }
}

/// Returns the configuration of the running kernel, which is read once, and where it is from.
fn settings() -> &'static (HashMap<String, ConfigSetting>, String) {
    static SETTINGS: OnceLock<(HashMap<String, ConfigSetting>, String)> = OnceLock::new();
    SETTINGS.get_or_init(|| match procfs::kernel_config() {
        Ok(settings) => (settings, "/proc/config.gz or /boot".to_owned()),
        Err(error) => (HashMap::new(), format!("which cannot be read: {error}")),
    })
}

fn shown(setting: &ConfigSetting) -> &str {
    match setting {
        ConfigSetting::Yes => "y",
        ConfigSetting::Module => "m",
        ConfigSetting::Value(value) => value,
    }
}

/// Returns a setting as a value of a type; none if it does not fit (`set_kcfg_value_*()` of libbpf).
fn value(types: &Btf, id: u32, size: usize, setting: &ConfigSetting) -> Option<Vec<u8>> {
    let (_, one) = types.resolve(id)?;
    let is_enumeration = one.kind() == kind::ENUM && types.string(one.name) == TRISTATE;
    match setting {
        ConfigSetting::Yes | ConfigSetting::Module => {
            let is_yes = matches!(setting, ConfigSetting::Yes);
            let byte = match one.kind() {
                _ if is_enumeration => Some(if is_yes { TRI_YES } else { TRI_MODULE }),
                kind::INT if one.is_bool() => is_yes.then_some(1),
                kind::INT if size == 1 => Some(if is_yes { b'y' } else { b'm' }),
                _ => None,
            };
            Some([byte?].into_iter().chain([0; 8]).take(size).collect())
        }
        ConfigSetting::Value(text) if one.array().is_some() => {
            let text = text.trim_matches('"');
            let cut = text.bytes().take(size - 1);
            Some(cut.chain(std::iter::repeat(0)).take(size).collect())
        }
        ConfigSetting::Value(text) if one.kind() == kind::INT && !one.is_bool() => {
            let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
            let number = match digits {
                Some(digits) => i128::from(u64::from_str_radix(digits, 16).ok()?),
                None => text.parse().ok()?,
            };
            let bits = 8 * u32::try_from(size).ok()?;
            let (least, most) = if one.is_signed() {
                (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1)
            } else {
                (0, (1_i128 << bits) - 1)
            };
            (least..=most).contains(&number).then(|| number.to_le_bytes()[..size].to_vec())
        }
        ConfigSetting::Value(_) => None,
    }
}

/// Returns `LINUX_VERSION_CODE` of the running kernel. Debian and Ubuntu do not have all of it in their release
/// (`get_kernel_version()` of libbpf, `src/libbpf_probes.c`).
fn version_code() -> u64 {
    let of_ubuntu = fs::read_to_string("/proc/version_signature").ok();
    let of_ubuntu = of_ubuntu.as_deref().and_then(|text| text.split_whitespace().nth(2));
    let of_debian = fs::read_to_string("/proc/sys/kernel/version").ok();
    let of_debian =
        of_debian.as_deref().and_then(|text| text.split_once("Debian ")).map(|(_, version)| version);
    let named = of_ubuntu.or(of_debian).and_then(KernelVersion::from_release);
    let version = named.or_else(|| kernel::kernel_version().ok());
    version.map_or(0, |KernelVersion { major, minor, patch }| {
        u64::from(major) << 16 | u64::from(minor) << 8 | u64::from(patch.min(255))
    })
}

/// Finds a variable or a function of the kernel.
fn of_kernel(types: &Btf, id: u32, name: &str, is_weak: bool) -> Result<Resolved, ExternProblem> {
    // `name___mine` is a variant of `name` for the object alone.
    let plain = name.split_once("___").map_or(name, |(plain, _)| plain);
    let one = types.get(id);
    let is_function = one.is_some_and(|one| one.kind() == kind::FUNC);
    let has_type =
        is_function || one.and_then(|one| types.resolve(one.size_or_type)).is_some_and(|(id, _)| id != 0);
    let what = if is_function { "function" } else { "variable" };
    let found = if has_type {
        let kind = if is_function { BtfKind::Func } else { BtfKind::Var };
        match kernel_types() {
            Some(kernel) => {
                let id = kernel.id_by_type_name_kind(plain, kind).ok();
                id.and_then(|id| i32::try_from(id).ok()).map(|id| Resolved::OfKernel { id })
            }
            None if is_weak => None,
            None => return Err(ExternProblem::NoKernelTypes { symbol: name.to_owned() }),
        }
    } else {
        address(plain).map(Resolved::Address)
    };
    match found {
        Some(found) => Ok(found),
        None if is_weak => Ok(Resolved::Address(0)),
        None => Err(ExternProblem::NotInKernel { what, symbol: name.to_owned() }),
    }
}

fn address(name: &str) -> Option<u64> {
    let symbols = fs::read_to_string("/proc/kallsyms").ok()?;
    symbols.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (address, found) = (words.next()?, words.nth(1)?);
        (found == name).then(|| u64::from_str_radix(address, 16).ok()).flatten()
    })
}
