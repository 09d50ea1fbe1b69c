//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser};

use crate::{
    fault_injection::Fault,
    initrd::{FIXTURES, GuestOptions},
};

const AFTER_HELP: &str = "\
Kernels and the static build are cached in $XDPROOF_CACHE, $XDG_CACHE_HOME/xdproof or
~/.cache/xdproof; with a filled cache, no network is needed. KVM is used where a guest boots with
it. See ci/README.md.

Exit codes:
  0  as expected
  1  a trial or a fixture failed, or a kernel reported a fault
  2  wrong arguments
  3  this machine cannot run the matrix
  4  inconclusive: an infrastructure failure that a retry did not resolve, or an interruption";

/// Boot kernels in virtual machines and run xdproof on their NICs.
#[derive(Debug, Parser)]
#[command(name = "ci/matrix", bin_name = "ci/matrix", version, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten, next_help_heading = "Cells")]
    pub(crate) cells: CellArgs,
    #[command(flatten, next_help_heading = "Trials")]
    pub(crate) trials: TrialArgs,
    #[command(flatten, next_help_heading = "Machines")]
    pub(crate) machines: MachineArgs,
    #[command(flatten, next_help_heading = "Output")]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CellArgs {
    /// Boot these kernels: series, or `IMAGE[:MODULES]` [default: all series]
    #[arg(long, value_delimiter = ',', value_name = "KERNEL,..")]
    pub(crate) kernel: Vec<String>,
    /// Test these NICs [default: all that --list shows without a reason]
    #[arg(long, value_delimiter = ',', value_name = "NIC,..")]
    pub(crate) nic: Vec<String>,
    /// List kernels and NICs, and exit
    #[arg(long)]
    pub(crate) list: bool,
    /// Fetch the kernels, and exit
    #[arg(long)]
    pub(crate) fetch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TrialArgs {
    /// On NICs, attach in these modes
    #[arg(long, value_delimiter = ',', value_name = "MODE,..", default_value = "generic,native,offload")]
    mode: Vec<String>,
    /// Run only scenarios whose id matches; repeatable
    #[arg(long, value_name = "GLOB")]
    pub(crate) scenario: Vec<String>,
    /// On NICs, skip scenarios that send more than N frames
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    most_frames: u64,
    /// On NICs, skip the attach-semantics tests
    #[arg(long, alias = "without-rules")]
    without_attach_semantics: bool,
    /// On NICs, also measure frame rates for up to TIME, for example 30s
    #[arg(long, value_name = "TIME")]
    bench: Option<String>,
    /// Also run the fixtures below DIR, whose files are carried into the guests
    #[arg(long, value_name = "DIR", conflicts_with = "partition")]
    pub(crate) fixtures: Option<PathBuf>,
    /// Run only the I-th of N parts of the trials
    #[arg(long, value_name = "I/N", value_parser = part)]
    partition: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct MachineArgs {
    /// Run N machines at once [default: 1 per CPU; without KVM 2 per CPU + 1]
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<usize>,
    /// Stop a machine after S seconds
    #[arg(long, value_name = "S", default_value_t = 3600)]
    pub(crate) timeout: u64,
    /// Stop a machine that prints nothing for S seconds
    #[arg(long, value_name = "S", default_value_t = 90)]
    pub(crate) silence: u64,
    /// Use static builds of xdproof and link-relay in DIR
    #[arg(long, value_name = "DIR")]
    pub(crate) programs: Option<PathBuf>,
    /// Inject a fault, see `ci/src/fault_injection.rs`
    #[arg(long, hide = true, value_name = "KIND@CELL[/first]")]
    pub(crate) inject_fault: Option<Fault>,
}

#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Write results and consoles to DIR
    #[arg(long, value_name = "DIR", default_value = "target/matrix")]
    pub(crate) out: PathBuf,
    /// Write the report, too
    #[arg(long)]
    pub(crate) report: bool,
    /// Keep initrd and raw results of each machine, and a script that boots it again
    #[arg(long)]
    pub(crate) keep: bool,
}

impl TrialArgs {
    /// Returns the options of xdproof in the guests.
    pub(crate) fn options(&self) -> GuestOptions {
        let Self { mode, scenario, most_frames, without_attach_semantics, bench, fixtures, partition } = self;
        let words = |words: &[&str]| words.iter().copied().map(str::to_owned).collect::<Vec<_>>();
        let mut validate: Vec<String> =
            scenario.iter().flat_map(|glob| words(&["--scenario", glob])).collect();
        validate.extend(partition.iter().flat_map(|part| words(&["--partition", part])));
        let modes = words(&["--mode", &mode.join(",")]);
        let mut nic = words(&["--most-frames", &most_frames.to_string()]);
        nic.extend((!without_attach_semantics).then(|| "--attach-semantics".to_owned()));
        let measure = ["--mode", "generic,native", "--size", "64", "--mix", "udp", "--budget"];
        let bench = bench.iter().flat_map(|time| words(&[&measure[..], &[time]].concat())).collect();
        let test = fixtures.iter().map(|_| format!("/{FIXTURES}")).collect();
        GuestOptions { validate, nic, modes, bench, test }
    }
}

fn part(text: &str) -> Result<String, String> {
    let numbers = text.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    match numbers {
        Some((part, of)) if (1..=of).contains::<u32>(&part) => Ok(text.to_owned()),
        _ => Err("expected a part and the number of parts, for example 1/3".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Cli {
        Cli::try_parse_from([&["ci/matrix"], arguments].concat()).unwrap()
    }

    #[test]
    fn a_part_lies_within_the_number_of_parts() {
        assert_eq!(part("1/3").as_deref(), Ok("1/3"));
        assert_eq!(part("3/3").as_deref(), Ok("3/3"));
        for wrong in ["0/3", "4/3", "0/0", "1", "a/b", "1/", "-1/2"] {
            assert!(part(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn options_reach_the_cells_that_they_are_for() {
        let GuestOptions { validate, nic, modes, bench, test } = parse(&[]).trials.options();
        assert!(validate.is_empty() && bench.is_empty() && test.is_empty());
        assert_eq!(modes, ["--mode", "generic,native,offload"]);
        assert_eq!(nic, ["--most-frames", "10000", "--attach-semantics"]);
        let given = [
            "--without-attach-semantics",
            "--mode=native",
            "--scenario=vlan/*",
            "--partition=1/2",
            "--bench=9s",
        ];
        let GuestOptions { validate, nic, modes, bench, test: _ } = parse(&given).trials.options();
        assert!(bench.ends_with(&["--budget".to_owned(), "9s".to_owned()]));
        assert_eq!(validate, ["--scenario", "vlan/*", "--partition", "1/2"]);
        assert_eq!(modes, ["--mode", "native"]);
        assert_eq!(nic, ["--most-frames", "10000"]);
        assert_eq!(parse(&["--fixtures", "balancer"]).trials.options().test, ["/fixtures"]);
    }

    #[test]
    fn fixtures_cannot_be_run_in_parts() {
        let error = Cli::try_parse_from(["ci/matrix", "--fixtures=balancer", "--partition=1/2"]).unwrap_err();
        assert_eq!(error.kind(), clap::error::ErrorKind::ArgumentConflict);
    }

    #[test]
    fn help_fits_100_columns() {
        let help = <Cli as clap::CommandFactory>::command().render_long_help().to_string();
        for line in help.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
}
