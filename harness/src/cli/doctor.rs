//! `xdproof doctor`: the prerequisites check, with a fix for what is missing.
//!
//! Promises: a check that can be a trial is one, in namespaces that are gone afterwards; nothing is concluded from a version
//! number that a trial can show.

use std::{
    error::Error,
    io::{self, Write as _},
};

use anstyle::AnsiColor;
use clap::Args;
use procfs::{ConfigSetting, process::Process};
use serde::Serialize;
use xdproof_netns::{NetNs, XdpMode};
use xdproof_scenarios::{Scenario, load};

use crate::{
    cli::{Exit, Failure, Output},
    error::chain,
    host::kernel,
    model::{mode::InjectorKind, verdict::VerdictKind},
    plan::selection::{Selection, Trial},
    program::{LINK_KERNEL, Object, Program, RunCounting},
    report::terminal_style::Verbosity,
    testbed::{PortPair, Spec},
    trial::{
        Lab, LabOptions,
        preconditions::{self, CAPABILITIES, PreconditionError},
    },
};

/// Kernel options that a run needs.
const OPTIONS: &[&str] =
    &["CONFIG_BPF_SYSCALL", "CONFIG_BPF_JIT", "CONFIG_NET_NS", "CONFIG_VETH", "CONFIG_PACKET"];

/// The kernel's BTF.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// The sysctl by which the kernel counts the runs of every program.
const RUN_COUNTS: &str = "kernel.bpf_stats_enabled";

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

/// The detail of what is found, or the reason why it is not there.
type Found = Result<String, String>;

impl Check {
    fn is_missing(&self) -> bool {
        self.needed && self.answer == Availability::No
    }
}

/// The checks so far.
#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    /// Adds a prerequisite of `validate`.
    fn need(&mut self, name: impl Into<String>, found: Found, fix: &str) {
        self.add(name.into(), found, true, fix);
    }

    /// Adds something that `validate` runs without.
    fn want(&mut self, name: impl Into<String>, found: Found, fix: &str) {
        self.add(name.into(), found, false, fix);
    }

    fn add(&mut self, name: String, found: Found, needed: bool, fix: &str) {
        let (answer, fix) = match &found {
            Ok(_) => (Availability::Yes, None),
            Err(_) if fix.is_empty() => (Availability::Unknown, None),
            Err(_) => (Availability::No, Some(fix.to_owned())),
        };
        self.0.push(Check { name, answer, detail: found.unwrap_or_else(|reason| reason), needed, fix });
    }
}

fn found<T>(result: Result<T, impl Error + 'static>, detail: &str) -> Found {
    result.map(|_| detail.to_owned()).map_err(|error| chain(&error))
}

impl Doctor {
    pub(super) fn run(self, output: Output) -> Result<Exit, Failure> {
        let Self {} = self;
        let mut checks = Checks::default();
        check_kernel(&mut checks);
        check_capabilities(&mut checks);
        check_options(&mut checks);
        run_trials(&mut checks);
        let Checks(checks) = checks;
        if output.json {
            Output::print_json(&checks)?;
        } else {
            print(&checks, output).map_err(Failure::output)?;
        }
        Ok(if checks.iter().any(Check::is_missing) { Exit::Machine } else { Exit::AsExpected })
    }
}

fn check_kernel(checks: &mut Checks) {
    let version = match kernel::kernel_version() {
        Ok(version) if version >= LINK_KERNEL => Ok(version.to_string()),
        Ok(version) => Err(format!("{version} is older than {LINK_KERNEL}")),
        Err(error) => Err(error.to_string()),
    };
    let fix = "boot a kernel of 5.9 or later, which has bpf_link for XDP";
    checks.need(format!("kernel {LINK_KERNEL} or later"), version, fix);
    let jit = match kernel::bpf_jit() {
        Some(1 | 2) => Ok("on".to_owned()),
        Some(_) => Err("off".to_owned()),
        None => Err("failed to read net.core.bpf_jit_enable".to_owned()),
    };
    checks.want("BPF JIT compiler", jit, "sysctl net.core.bpf_jit_enable=1; interpreted programs are slower");
    let btf = found(std::fs::metadata(BTF), BTF);
    checks.want(
        "kernel BTF",
        btf,
        "build the kernel with CONFIG_DEBUG_INFO_BTF=y; only CO-RE objects need it",
    );
    let counting = "the kernel counts the runs of every program, which slows them";
    let off = if kernel::counts_runs() { Err(counting.to_owned()) } else { Ok(format!("{RUN_COUNTS} is 0")) };
    checks.want("run counting is off", off, &format!("sysctl {RUN_COUNTS}=0"));
}

/// Other capabilities include some of them; the trials show whether that is enough.
fn check_capabilities(checks: &mut Checks) {
    let held = Process::myself().and_then(|process| process.status()).map(|status| status.capeff);
    for (name, bit, purpose) in CAPABILITIES {
        let found = match &held {
            Ok(held) if held >> bit & 1 == 1 => Ok(purpose.to_owned()),
            Ok(_) => Err(purpose.to_owned()),
            Err(error) => Err(error.to_string()),
        };
        checks.want(name, found, "run as root: sudo xdproof ...");
    }
}

/// Reads the kernel's options, where it shows them. They explain a trial that fails, so that they are not needed themselves.
fn check_options(checks: &mut Checks) {
    let config = procfs::kernel_config();
    for &name in OPTIONS {
        let config = match &config {
            Ok(config) => config,
            Err(error) => {
                checks.want(name, Err(format!("failed to read the kernel's configuration: {error}")), "");
                continue;
            }
        };
        let found = match config.get(name) {
            Some(ConfigSetting::Yes) => Ok("built in".to_owned()),
            Some(ConfigSetting::Module) => Ok("module".to_owned()),
            Some(ConfigSetting::Value(value)) => Ok(value.clone()),
            None => Err("not set".to_owned()),
        };
        checks.want(name, found, &format!("build the kernel with {name}=y, or load its module"));
    }
}

/// Does each thing that a run does, as far as the things that it builds upon work.
fn run_trials(checks: &mut Checks) {
    // A cause that keeps everything from running says nothing about the age of the kernel.
    let obstacle = preconditions::check(1).err();
    let fix = |fix| if obstacle.is_some() { "fix the preconditions first" } else { fix };
    let root = fix("run as root, on a kernel with the options above");
    let met = obstacle.as_ref().map_or(Ok("they are met".to_owned()), |error| Err(chain(error)));
    let remedy = obstacle.as_ref().map_or("", PreconditionError::fix);
    checks.need("preconditions", met, remedy);
    let object = Object::default();
    checks.need("network namespaces", found(NetNs::create(), "created one"), root);
    let testbed = PortPair::veth(Spec::default()).map_err(|error| chain(&error));
    let veth = testbed.as_ref().map(|_| "created a pair in two namespaces".to_owned());
    checks.need("veth pairs", veth.map_err(Clone::clone), root);
    let loaded = Program::load_counter(&object).map(|(program, _)| program.identity().name.clone());
    checks.need("loading the counter", loaded.map_err(|error| chain(&error)), root);
    checks.need("counting program runs", found(RunCounting::enable(), "BPF_ENABLE_STATS"), root);
    let features = testbed.as_ref().map_err(Clone::clone).and_then(advertised);
    checks.want("XDP features of veth", features, fix("boot a kernel of 6.3 or later"));
    for mode in [XdpMode::Generic, XdpMode::Native] {
        let attached = testbed.as_ref().map_err(Clone::clone).and_then(|testbed| {
            let (worker, index) = (&testbed.dut, testbed.topology.dut.index);
            let attached =
                Program::load(&object).and_then(|program| program.attach(worker, index, Some(mode)));
            found(attached, "attached to a veth")
        });
        checks.need(format!("XDP in {mode} mode"), attached, root);
    }
    let scenarios = load::builtin().map_err(|errors| format!("{} scenarios are invalid", errors.len()));
    let smoke_test = |injectors: &[InjectorKind]| smoke_test(scenarios.as_ref()?, injectors);
    let else_see = "fix what is missing above; else see: xdproof validate";
    checks.need("end-to-end smoke test", smoke_test(&[]), else_see);
    for (injector, remedy) in [
        (InjectorKind::Ring, "boot a kernel with CONFIG_XDP_SOCKETS=y; or send by pnet, which is slower"),
        (InjectorKind::LiveFrames, "boot a kernel of 5.18 or later; or send by ring, which is slower"),
    ] {
        checks.want(format!("injector {injector}"), smoke_test(&[injector]), fix(remedy));
    }
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
