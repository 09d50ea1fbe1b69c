//! `xdproof doctor`: the prerequisites check, with a fix for what is missing.
//!
//! Promises: a check that can be a trial is one, in namespaces that are gone afterwards; nothing is concluded from a version
//! number that a trial can show.

use std::io::{self, Write as _};

use anstyle::AnsiColor;
use clap::Args;
use procfs::{ConfigSetting, ProcError, process::Process};
use serde::Serialize;
use xdproof_netns::{NetNs, XdpMode};
use xdproof_scenarios::{Scenario, load};

use crate::{
    cli::{
        args::Output,
        exit::{Exit, Failure},
    },
    error::chain,
    host::kernel,
    model::{mode::InjectorKind, verdict::VerdictKind},
    plan::selection::{Selection, Trial},
    program::{LINK_KERNEL, Object, Program, RunCounting},
    report::console::Verbosity,
    testbed::{PortPair, Spec},
    trial::{Lab, LabOptions},
};

/// Capabilities that a run needs: name, bit (include/uapi/linux/capability.h), purpose.
const CAPABILITIES: &[(&str, u32, &str)] = &[
    ("CAP_NET_ADMIN", 12, "to create links and attach programs"),
    ("CAP_NET_RAW", 13, "to send and receive frames"),
    ("CAP_SYS_ADMIN", 21, "to create network namespaces and count program runs"),
    ("CAP_BPF", 39, "to load programs"),
];

/// Kernel options that a run needs.
const OPTIONS: &[&str] =
    &["CONFIG_BPF_SYSCALL", "CONFIG_BPF_JIT", "CONFIG_NET_NS", "CONFIG_VETH", "CONFIG_PACKET"];

/// The scenario of the smoke test.
const SAMPLE: &str = "ipv4/udp";

#[derive(Debug, Args)]
pub(super) struct Doctor {}

/// One prerequisite.
#[derive(Debug, Serialize)]
struct Check {
    name: String,
    answer: Availability,
    detail: String,
    /// `validate` cannot run without it.
    needed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Availability {
    Yes,
    No,
    Unknown,
}

impl Check {
    fn new(name: impl Into<String>, found: Result<String, String>, needed: bool, fix: &str) -> Self {
        let name = name.into();
        match found {
            Ok(detail) => Self { name, answer: Availability::Yes, detail, needed, fix: None },
            Err(detail) => Self { name, answer: Availability::No, detail, needed, fix: Some(fix.to_owned()) },
        }
    }

    fn is_missing(&self) -> bool {
        self.needed && self.answer == Availability::No
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
        Ok(if checks.iter().any(Check::is_missing) { Exit::Machine } else { Exit::AsExpected })
    }
}

fn examine() -> Vec<Check> {
    let mut checks = vec![kernel()];
    checks.extend(capabilities());
    checks.extend(options());
    checks.push(jit());
    checks.push(Check::new(
        "kernel BTF",
        std::fs::metadata("/sys/kernel/btf/vmlinux")
            .map(|_| "/sys/kernel/btf/vmlinux".to_owned())
            .map_err(|error| format!("/sys/kernel/btf/vmlinux: {error}")),
        false,
        "build the kernel with CONFIG_DEBUG_INFO_BTF=y; only CO-RE objects need it",
    ));
    checks.extend(trials());
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
        "boot a kernel of 5.9 or later, which has bpf_link for XDP",
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
            // Other capabilities include some of them; the trials show whether that is enough.
            Check::new(name, found, false, "run as root: sudo xdproof ...")
        })
        .collect()
}

/// Reads the kernel's options, where it shows them. They explain a trial that fails, so that they are not needed themselves.
fn options() -> Vec<Check> {
    let config = procfs::kernel_config();
    OPTIONS
        .iter()
        .map(|&name| {
            let fix = format!("build the kernel with {name}=y, or load its module");
            let found = match &config {
                Err(error) => return unknown(name, error),
                Ok(config) => match config.get(name) {
                    Some(ConfigSetting::Yes) => Ok("built in".to_owned()),
                    Some(ConfigSetting::Module) => Ok("module".to_owned()),
                    Some(ConfigSetting::Value(value)) => Ok(value.clone()),
                    None => Err("not set".to_owned()),
                },
            };
            Check::new(name, found, false, &fix)
        })
        .collect()
}

fn unknown(name: &str, error: &ProcError) -> Check {
    Check {
        name: name.to_owned(),
        answer: Availability::Unknown,
        detail: format!("failed to read the kernel's configuration: {error}"),
        needed: false,
        fix: None,
    }
}

fn jit() -> Check {
    let found = match kernel::bpf_jit() {
        Some(1 | 2) => Ok("on".to_owned()),
        Some(_) => Err("off".to_owned()),
        None => Err("failed to read net.core.bpf_jit_enable".to_owned()),
    };
    Check::new(
        "BPF JIT compiler",
        found,
        false,
        "sysctl net.core.bpf_jit_enable=1; interpreted programs are slower",
    )
}

/// Does each thing that a run does, as far as the things that it builds upon work.
fn trials() -> Vec<Check> {
    let root = "run as root, on a kernel with the options above";
    let object = Object::default();
    let namespace = NetNs::create().map(|_| "created one".to_owned()).map_err(|error| chain(&error));
    let testbed = PortPair::veth(Spec::default()).map_err(|error| chain(&error));
    let veth = testbed.as_ref().map(|_| "created a pair in two namespaces".to_owned()).map_err(Clone::clone);
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
            "XDP features of veth",
            testbed.as_ref().map_err(Clone::clone).and_then(advertised),
            false,
            "boot a kernel of 6.3 or later",
        ),
    ];
    for mode in [XdpMode::Generic, XdpMode::Native] {
        let attached = testbed.as_ref().map_err(Clone::clone).and_then(|testbed| {
            let attached = Program::load(&object)
                .and_then(|program| program.attach(&testbed.dut, testbed.topology.dut.index, Some(mode)));
            attached.map(|_| "attached to a veth".to_owned()).map_err(|error| chain(&error))
        });
        checks.push(Check::new(format!("XDP in {mode} mode"), attached, true, root));
    }
    let scenarios = load::builtin().map_err(|errors| format!("{} scenarios are invalid", errors.len()));
    let smoke_test = |injectors: &[InjectorKind]| smoke_test(scenarios.as_ref()?, injectors);
    checks.push(Check::new(
        "end-to-end smoke test",
        smoke_test(&[]),
        true,
        "fix what is missing above; else see: xdproof validate",
    ));
    for (injector, fix) in [
        (InjectorKind::Ring, "boot a kernel with CONFIG_XDP_SOCKETS=y; or send by pnet, which is slower"),
        (InjectorKind::LiveFrames, "boot a kernel of 5.18 or later; or send by ring, which is slower"),
    ] {
        checks.push(Check::new(format!("injector {injector}"), smoke_test(&[injector]), false, fix));
    }
    checks.push(Check::new(
        "run counting is off",
        if kernel::counts_runs() {
            Err("the kernel counts the runs of every program, which slows them".to_owned())
        } else {
            Ok("kernel.bpf_stats_enabled is 0".to_owned())
        },
        false,
        "sysctl kernel.bpf_stats_enabled=0",
    ));
    checks
}

/// Reads the features that the DUT advertises by the netdev family of generic netlink.
fn advertised(testbed: &PortPair) -> Result<String, String> {
    let index = testbed.topology.dut.index;
    match testbed.dut.call(move |host| host.xdp_features(index)) {
        Ok(Some(features)) => Ok(features.to_string()),
        Ok(None) => Err("this kernel does not report them".to_owned()),
        Err(error) => Err(chain(&error)),
    }
}

/// Runs one scenario on every path of some injectors, or on the default ones.
fn smoke_test(scenarios: &[Scenario], injectors: &[InjectorKind]) -> Result<String, String> {
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
    let is_quiet = output.verbosity() == Verbosity::Quiet;
    for Check { name, answer, detail, needed, fix } in checks {
        if is_quiet && *answer == Availability::Yes {
            continue;
        }
        let (word, color) = match (answer, needed) {
            (Availability::Yes, _) => ("yes", AnsiColor::Green),
            (Availability::No, true) => ("no", AnsiColor::Red),
            (Availability::No, false) => ("no", AnsiColor::Yellow),
            (Availability::Unknown, _) => ("?", AnsiColor::Yellow),
        };
        let style = color.on_default();
        writeln!(to, "{style}{word:3}{style:#}  {name:width$}  {detail}")?;
        if let Some(fix) = fix {
            writeln!(to, "     fix: {fix}")?;
        }
    }
    let missing = checks.iter().filter(|check| check.is_missing()).count();
    match missing {
        0 => writeln!(to, "`xdproof validate` can run here.")?,
        _ => writeln!(to, "`xdproof validate` cannot run here: {missing} of its prerequisites are missing.")?,
    }
    to.flush()
}
