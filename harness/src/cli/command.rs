//! The command line as a whole: its verbs, their help, and the dispatch to them.

use std::process::ExitCode;

use clap::{Arg, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::cli::{
    args::Output, bench, compare, doctor, export, list, manual, merge, report, restore, schema, validate,
    watch,
};

const AFTER_HELP: &str = "\
Exit codes: 0 as expected; 1 a trial failed or errored, or something is slower than allowed; 2 the command line or an input file \
is wrong; 3 this machine cannot run it; 4 inconclusive (interrupted, or nothing was proved).

Examples:
  xdproof validate                         run every scenario on a veth pair
  xdproof validate --scenario 'vlan/*'     run some of them
  xdproof validate --object mine.o         test your counter
  xdproof validate --pcap traffic.pcap     send captured traffic
  xdproof validate --out out --report      write result.json and reports
  xdproof bench --against old.o            check whether a counter became slower
  xdproof report out/ --out report         write one report of many results
  xdproof compare old/ new/                compare two sets of results
  xdproof watch eth0 -S                    count packets of eth0 by protocol";

/// The verbs by purpose, as the help shows them.
const GROUPS: [(&str, &[&str]); 4] = [
    ("Test and measure", &["doctor", "validate", "bench", "watch"]),
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
    /// Measure the cost of a program and the packet rate of a path.
    Bench(bench::Bench),
    /// Compare two sets of results: broken, fixed, slower.
    Compare(compare::Compare),
    /// Restore the NIC settings that a killed run changed.
    ///
    /// A run on devices of this host (`validate --dut DEV --tester DEV`) journals the settings of the devices below /run/xdproof
    /// before it changes any of them, and restores them when it ends. This command restores the devices of runs that were killed;
    /// so does the next run on devices. Runs that are alive are left alone. Each setting is printed, and with the reason if it
    /// cannot be restored. Call it in the network namespace that the devices belong to.
    ///
    /// The environment variable `XDPROOF_RUN_DIR` replaces /run/xdproof, for tests.
    ///
    /// Exit codes: 0 nothing to restore, or everything is restored; 1 something is not; 3 without privilege.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the options as `-q --quiet`, each with its default behind `=`, and the operands in angle brackets.
    fn options(command: &Command) -> String {
        let option = |arg: &Arg| {
            let short = arg.get_short().map(|short| format!("-{short} ")).unwrap_or_default();
            let name =
                arg.get_long().map_or_else(|| format!("<{}>", arg.get_id()), |long| format!("--{long}"));
            let default: Vec<_> =
                arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
            let is_shown = !default.is_empty() && arg.get_action().takes_values();
            let default = if is_shown { format!("={}", default.join(",")) } else { String::new() };
            format!("{short}{name}{default}")
        };
        command.get_arguments().map(option).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn verbs_options_and_defaults_are_a_contract() {
        let scenarios = "--scenario --corpus --pcap";
        let object = "--object --program --map";
        let devices = "--dut --tester --label --window --force";
        let expected = [
            ("doctor", String::new()),
            ("watch", format!("<interface> -S --generic -N --native --mode --interval=2 --count {object}")),
            ("list", scenarios.to_owned()),
            (
                "validate",
                format!(
                    "--mode --injector --partition --most-frames --jobs --rules --nic=veth {devices} --keep \
                     {scenarios} {object} --expect-action=pass --out --report"
                ),
            ),
            (
                "bench",
                format!(
                    "--budget=60s --mode --injector --size --mix --cpus --rate {devices} {scenarios} {object} \
                     --against --against-program --against-map --out --report --baseline --tolerance"
                ),
            ),
            ("compare", "<old> <new> --tolerance --format=json,markdown,html --out".to_owned()),
            ("restore", String::new()),
            ("merge", "<results> --out".to_owned()),
            ("report", "<results> --format=html,markdown,junit,ktap --out".to_owned()),
            ("schema", "<document>=result".to_owned()),
            ("completions", "<shell>".to_owned()),
            ("man", "--out".to_owned()),
            ("export", format!("--out {scenarios}")),
        ];
        let command = Cli::definition();
        command.clone().debug_assert();
        let verbs: Vec<_> = command.get_subcommands().map(|verb| (verb.get_name(), options(verb))).collect();
        assert_eq!(verbs, expected);
        assert_eq!(options(&command), "--json -q --quiet -v --verbose --color=auto");
    }

    #[test]
    fn every_verb_is_in_one_group_of_the_help() {
        let command = Cli::definition();
        let mut verbs: Vec<&str> = command.get_subcommands().map(Command::get_name).chain(["help"]).collect();
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        verbs.sort_unstable();
        grouped.sort_unstable();
        assert_eq!(grouped, verbs);
    }

    #[test]
    fn the_short_help_names_every_value_and_the_long_one_describes_it() {
        let command = Cli::definition();
        for arg in command.get_subcommands().chain([&command]).flat_map(Command::get_arguments) {
            let [short, long] =
                [arg.get_help(), arg.get_long_help()].map(|help| help.map(ToString::to_string));
            let default =
                arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect::<String>();
            let values = Some(arg.get_possible_values()).filter(|_| arg.get_action().takes_values());
            for value in values.unwrap_or_default() {
                let name = value.get_name();
                let is_named =
                    short.as_ref().is_some_and(|help| help.contains(name)) || default.contains(name);
                let is_described = long.as_ref().is_some_and(|help| help.contains(&format!("\n- {name}")));
                assert!(is_named && is_described, "{}: {name}: {short:?} {long:?}", arg.get_id());
            }
        }
    }
}
