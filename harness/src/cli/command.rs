//! The command line as a whole: its verbs, their help, and the dispatch to them.

use std::process::ExitCode;

use clap::{Arg, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::cli::{
    args::Output, bench, compare, doctor, export, list, manual, merge, report, restore, schema, test,
    validate, watch,
};

const AFTER_HELP: &str = "\
Exit codes: 0 as expected; 1 a trial failed or errored, or something is slower than allowed; 2 the command line or an input file \
is wrong; 3 this machine cannot run it; 4 inconclusive (interrupted, or nothing was proved).

Examples:
  xdproof validate                         run every scenario on a veth pair
  xdproof validate --scenario 'vlan/*'     run some of them
  xdproof test tests/ --object mine.o      run the fixtures of your program
  xdproof validate --out out --report      write result.json and reports
  xdproof bench --against old.o            check whether a counter became slower
  xdproof report out/ --out report         write one report of many results
  xdproof compare old/ new/                compare two sets of results
  xdproof watch eth0 -S                    count packets of eth0 by protocol";

/// The verbs by purpose, as the help shows them.
const GROUPS: [(&str, &[&str]); 4] = [
    ("Test and measure", &["doctor", "validate", "test", "bench", "watch"]),
    ("Read results", &["report", "compare", "merge"]),
    ("Scenarios", &["list", "export"]),
    ("Maintenance", &["restore", "schema", "completions", "man", "help"]),
];

/// Proves what an XDP program, a NIC driver and an attach mode do to frames.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    verb: Verb,
}

impl Cli {
    /// Returns the definition of the command line: the parser, and the source of help, completions and man pages.
    #[must_use]
    pub fn definition() -> Command {
        let command =
            Self::command().mut_args(list_values).mut_subcommands(|verb| verb.mut_args(list_values));
        let mut verbs = String::new();
        for (heading, names) in GROUPS {
            verbs.push_str(&format!("{heading}:\n"));
            for name in names {
                let verb = command.get_subcommands().find(|verb| verb.get_name() == *name);
                let about = verb.and_then(Command::get_about).map(ToString::to_string);
                let about = about.unwrap_or_else(|| "Print this, or the help of a command".to_owned());
                verbs.push_str(&format!("  {name:12} {about}\n"));
            }
            verbs.push('\n');
        }
        command.help_template(format!(
            "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{verbs}Options:\n{{options}}{{after-help}}"
        ))
    }

    /// Parses the command line. If it cannot be parsed, the process prints why and exits.
    #[must_use]
    pub fn from_command_line() -> Self {
        let matches = Self::definition().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// Moves the possible values of an option to its long help: in the short one they take a second line.
fn list_values(arg: Arg) -> Arg {
    let values = arg.get_possible_values();
    if values.is_empty() || !arg.get_action().takes_values() {
        return arg;
    }
    let help = arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string);
    let value = |value: &clap::builder::PossibleValue| {
        let help = value.get_help().map(|help| format!(": {help}")).unwrap_or_default();
        format!("\n- {}{help}", value.get_name())
    };
    let values: String = values.iter().map(value).collect();
    arg.hide_possible_values(true)
        .long_help(format!("{}\n\nPossible values:{values}", help.unwrap_or_default()))
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check the prerequisites on this machine, each with its fix.
    Doctor(doctor::Doctor),
    /// Count the packets of an interface by IP protocol, live.
    Watch(watch::Watch),
    /// List the scenarios.
    List(list::List),
    /// Send scenarios in each attach mode; check every frame and counter.
    Validate(validate::Validate),
    /// Test an XDP program by fixtures: actions, bytes and maps.
    Test(Box<test::Test>),
    /// Measure the cost of a program and the packet rate of a path.
    Bench(bench::Bench),
    /// Compare two sets of results: broken, fixed, slower.
    Compare(compare::Compare),
    /// Restore the NIC settings that a killed run changed.
    ///
    /// A run on devices of this host (`validate --dut DEV --tester DEV`) journals the settings of the devices below /run/xdproof
    /// before it changes any of them, and restores them when it ends. This command restores the devices of runs that were killed;
    /// so does the next run on devices. Runs that are alive are left alone. Each setting is printed, and with the reason if it
    /// cannot be restored. Call it in the network namespace that the devices belong to. A journal of which something cannot be restored
    /// is kept; --discard removes it.
    ///
    /// The environment variable `XDPROOF_RUN_DIR` replaces /run/xdproof, for tests.
    ///
    /// Exit codes: 0 nothing to restore, everything is restored, or the rest is discarded; 1 something is not; 3 without privilege.
    Restore(restore::Restore),
    /// Join the parts of a split run, or results of several machines.
    Merge(merge::Merge),
    /// Write reports from stored results.
    Report(report::Report),
    /// Print the JSON Schema of result.json.
    Schema(schema::Schema),
    /// Print shell completions.
    Completions(manual::Completions),
    /// Write man pages.
    Man(manual::Man),
    /// Write the frames of scenarios as pcap files.
    Export(export::Export),
}

/// Runs a verb.
#[must_use]
pub fn main(cli: Cli) -> ExitCode {
    let Cli { output, verb } = cli;
    raise_descriptor_limit();
    let done = match verb {
        Verb::Doctor(doctor) => doctor.run(output),
        Verb::Watch(watch) => watch.run(output),
        Verb::List(list) => list.run(output),
        Verb::Validate(validate) => validate.run(output),
        Verb::Test(test) => test.run(output),
        Verb::Bench(bench) => bench.run(output),
        Verb::Compare(compare) => compare.run(output),
        Verb::Restore(restore) => restore.run(output),
        Verb::Merge(merge) => merge.run(output),
        Verb::Report(report) => report.run(output),
        Verb::Schema(schema) => schema.run(),
        Verb::Completions(completions) => completions.run(Cli::definition()),
        Verb::Man(man) => man.run(Cli::definition(), output),
        Verb::Export(export) => export.run(output),
    };
    done.unwrap_or_else(|failure| failure.print()).into()
}

/// Raises the soft limit of file descriptors to the hard one: each concurrent trial holds about a dozen.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current: _, maximum } = getrlimit(Resource::Nofile);
    // Always allowed; if not, few trials at once still work.
    let _refused = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
