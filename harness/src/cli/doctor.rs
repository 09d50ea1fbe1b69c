//! `xdproof doctor`: what this machine can do, what it cannot, and how to mend it.
//!
//! Promises: what can be tried is tried, in namespaces that are gone afterwards; nothing is concluded from a version number
//! that a trial can show.

use std::io::{self, Write as _};

use anstyle::AnsiColor;
use clap::Args;
use procfs::{ConfigSetting, ProcError, process::Process};
use serde::Serialize;
use xdproof_netns::{NetNs, XdpMode};
use xdproof_scenarios::{Scenario, load};

use crate::cli::args::{Exit, Failure, Output};
use crate::{
    error::chain,
    host::kernel,
    model::{mode::InjectorKind, verdict::VerdictKind},
    plan::selection::{Selection, Trial},
    program::{LINK_KERNEL, Object, Program, RunCounting},
    report::console::Verbosity,
    testbed::{PortPair, Spec},
    trial::{Lab, LabOptions},
};

/// The capabilities that the main job needs: name, bit (include/uapi/linux/capability.h), what for.
const CAPABILITIES: &[(&str, u32, &str)] = &[
    ("CAP_NET_ADMIN", 12, "makes links and attaches programs"),
    ("CAP_NET_RAW", 13, "sends and receives whole frames"),
    ("CAP_SYS_ADMIN", 21, "makes network namespaces and counts program runs"),
    ("CAP_BPF", 39, "loads programs"),
];

/// The kernel options that the main job needs.
const OPTIONS: &[&str] =
    &["CONFIG_BPF_SYSCALL", "CONFIG_BPF_JIT", "CONFIG_NET_NS", "CONFIG_VETH", "CONFIG_PACKET"];

/// A simple scenario of the built-in corpus to try the main job with.
const SAMPLE: &str = "ipv4/udp";

#[derive(Debug, Args)]
pub(super) struct Doctor {}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: String,
    answer: Answer,
    detail: String,
    /// Whether `validate` cannot run without it.
    needed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Yes,
    No,
    Unknown,
}

impl Check {
    fn new(name: impl Into<String>, found: Result<String, String>, needed: bool, mend: &str) -> Self {
        let name = name.into();
        match found {
            Ok(detail) => Self { name, answer: Answer::Yes, detail, needed, mend: None },
            Err(detail) => Self { name, answer: Answer::No, detail, needed, mend: Some(mend.to_owned()) },
        }
    }

    fn is_in_the_way(&self) -> bool {
        self.needed && self.answer == Answer::No
    }
}

impl Doctor {
    pub(super) fn run(self, output: Output) -> Result<Exit, Failure> {
        let Self {} = self;
        let checks = examine();
        if output.json {
            Output::print_json(&checks)?;
        } else {
            print(&checks, output).map_err(Failure::output)?;
        }
        Ok(if checks.iter().any(Check::is_in_the_way) { Exit::Machine } else { Exit::AsExpected })
    }
}

fn examine() -> Vec<Check> {
    let mut checks = vec![kernel()];
    checks.extend(capabilities());
    checks.extend(options());
    checks.push(jit());
    checks.push(Check::new(
        "kernel type information",
        std::fs::metadata("/sys/kernel/btf/vmlinux")
            .map(|_| "/sys/kernel/btf/vmlinux".to_owned())
            .map_err(|error| format!("/sys/kernel/btf/vmlinux: {error}")),
        false,
        "build the kernel with CONFIG_DEBUG_INFO_BTF=y; only objects that relocate against the kernel need it",
    ));
    checks.extend(tries());
    checks
}

fn kernel() -> Check {
    let found = match kernel::kernel_version() {
        Ok(version) if version >= LINK_KERNEL => Ok(version.to_string()),
        Ok(version) => Err(format!("{version} is older than {LINK_KERNEL}")),
        Err(error) => Err(error.to_string()),
    };
    Check::new(
        format!("kernel {LINK_KERNEL} or later"),
        found,
        true,
        "boot a newer kernel: bpf_link for XDP came with 5.9",
    )
}

fn capabilities() -> Vec<Check> {
    let held = Process::myself().and_then(|process| process.status()).map(|status| status.capeff);
    CAPABILITIES
        .iter()
        .map(|&(name, bit, purpose)| {
            let found = match &held {
                Ok(held) if held >> bit & 1 == 1 => Ok(purpose.to_owned()),
                Ok(_) => Err(purpose.to_owned()),
                Err(error) => Err(error.to_string()),
            };
            // Others can stand in for some of them; whether that is enough, the tries show.
            Check::new(name, found, false, "run as root: sudo xdproof ...")
        })
        .collect()
}

/// The kernel's options, where it tells: they explain what a try shows, so that they are not needed themselves.
fn options() -> Vec<Check> {
    let config = procfs::kernel_config();
    OPTIONS
        .iter()
        .map(|&name| {
            let mend = format!("build the kernel with {name}=y, or load its module");
            let found = match &config {
                Err(error) => return unknown(name, error),
                Ok(config) => match config.get(name) {
                    Some(ConfigSetting::Yes) => Ok("built in".to_owned()),
                    Some(ConfigSetting::Module) => Ok("a module".to_owned()),
                    Some(ConfigSetting::Value(value)) => Ok(value.clone()),
                    None => Err("not set".to_owned()),
                },
            };
            Check::new(name, found, false, &mend)
        })
        .collect()
}

fn unknown(name: &str, error: &ProcError) -> Check {
    Check {
        name: name.to_owned(),
        answer: Answer::Unknown,
        detail: format!("the kernel's configuration cannot be read: {error}"),
        needed: false,
        mend: None,
    }
}

fn jit() -> Check {
    let found = match kernel::bpf_jit() {
        Some(1 | 2) => Ok("on".to_owned()),
        Some(_) => Err("off".to_owned()),
        None => Err("net.core.bpf_jit_enable cannot be read".to_owned()),
    };
    Check::new(
        "BPF compiler",
        found,
        false,
        "sysctl net.core.bpf_jit_enable=1; without it programs are interpreted, and measurements mean little",
    )
}

/// Tries each thing that a trial does, each as far as what it builds upon works.
fn tries() -> Vec<Check> {
    let root = "run as root, on a kernel with the options above";
    let object = Object::default();
    let namespace = NetNs::create().map(|_| "made one".to_owned()).map_err(|error| chain(&error));
    let testbed = PortPair::veth(Spec::default()).map_err(|error| chain(&error));
    let veth = testbed.as_ref().map(|_| "made a pair in two namespaces, up".to_owned()).map_err(Clone::clone);
    let loaded = Program::load_counter(&object).map_err(|error| chain(&error));
    let load = loaded
        .as_ref()
        .map(|(program, _)| format!("program {}", program.identity().name))
        .map_err(Clone::clone);
    let counting =
        RunCounting::enable().map(|_| "BPF_ENABLE_STATS".to_owned()).map_err(|error| chain(&error));
    drop(loaded);
    let mut checks = vec![
        Check::new("network namespaces", namespace, true, root),
        Check::new("veth pairs", veth, true, root),
        Check::new("loading the counter", load, true, root),
        Check::new("counting program runs", counting, true, root),
        Check::new(
            "XDP features that veth advertises",
            testbed.as_ref().map_err(Clone::clone).and_then(advertised),
            false,
            "boot a kernel of 6.3 or later",
        ),
    ];
    for mode in [XdpMode::Generic, XdpMode::Native] {
        let attached = testbed.as_ref().map_err(Clone::clone).and_then(|testbed| {
            let attached = Program::load(&object)
                .and_then(|program| program.attach(&testbed.dut, testbed.topology.dut.index, Some(mode)));
            attached.map(|_| "attached to a veth and read back".to_owned()).map_err(|error| chain(&error))
        });
        checks.push(Check::new(format!("XDP in {mode} mode"), attached, true, root));
    }
    let scenarios = load::builtin().map_err(|errors| format!("{} scenarios are wrong", errors.len()));
    let whole_way = |injectors: &[InjectorKind]| whole_way(scenarios.as_ref()?, injectors);
    checks.push(Check::new(
        "the whole way",
        whole_way(&[]),
        true,
        "see what is missing above; else: xdproof validate",
    ));
    for (injector, mend) in [
        (InjectorKind::Ring, "boot a kernel with CONFIG_XDP_SOCKETS=y; pnet is slower and needs nothing"),
        (InjectorKind::LiveFrames, "boot a kernel of 5.18 or later; ring is slower and does without"),
    ] {
        checks.push(Check::new(format!("sending by {injector}"), whole_way(&[injector]), false, mend));
    }
    checks.push(Check::new(
        "undisturbed measurements",
        if kernel::counts_runs() {
            Err("the kernel counts program runs".to_owned())
        } else {
            Ok("kernel.bpf_stats_enabled is 0".to_owned())
        },
        false,
        "sysctl kernel.bpf_stats_enabled=0",
    ));
    checks
}

/// What the DUT says of itself by the netdev family of generic netlink.
fn advertised(testbed: &PortPair) -> Result<String, String> {
    let index = testbed.topology.dut.index;
    match testbed.dut.call(move |host| host.xdp_features(index)) {
        Ok(Some(features)) => Ok(features.to_string()),
        Ok(None) => Err("this kernel does not say".to_owned()),
        Err(error) => Err(chain(&error)),
    }
}

/// Runs one scenario on every path of some injectors, or on those that are tried by default.
fn whole_way(scenarios: &[Scenario], injectors: &[InjectorKind]) -> Result<String, String> {
    let selection = Selection {
        scenarios: vec![SAMPLE.to_owned()],
        injectors: injectors.to_vec(),
        ..Selection::default()
    };
    let plan: Vec<Trial<'_>> = selection.plan(scenarios).map_err(|error| chain(&error))?;
    let lab = Lab::open(Object::default(), LabOptions::default()).map_err(|error| chain(&error))?;
    let mut ids = Vec::new();
    for trial in &plan {
        let record = lab.run(trial);
        if record.verdict != VerdictKind::Pass {
            return Err(format!("{}: {}", record.id, record.reason.unwrap_or_default()));
        }
        ids.push(record.path().to_string());
    }
    Ok(format!("{SAMPLE} passes: {}", ids.join(", ")))
}

fn print(checks: &[Check], output: Output) -> io::Result<()> {
    let mut to = output.people();
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let quiet = output.verbosity() == Verbosity::Quiet;
    for Check { name, answer, detail, needed, mend } in checks {
        if quiet && *answer == Answer::Yes {
            continue;
        }
        let (word, color) = match (answer, needed) {
            (Answer::Yes, _) => ("yes", AnsiColor::Green),
            (Answer::No, true) => ("no", AnsiColor::Red),
            (Answer::No, false) => ("no", AnsiColor::Yellow),
            (Answer::Unknown, _) => ("?", AnsiColor::Yellow),
        };
        let style = color.on_default();
        writeln!(to, "{style}{word:3}{style:#}  {name:width$}  {detail}")?;
        if let Some(mend) = mend {
            writeln!(to, "     {:width$}  -> {mend}", "")?;
        }
    }
    let missing = checks.iter().filter(|check| check.is_in_the_way()).count();
    match missing {
        0 => writeln!(to, "`xdproof validate` can run here.")?,
        _ => writeln!(to, "`xdproof validate` cannot run here: {missing} things that it needs are missing.")?,
    }
    to.flush()
}
