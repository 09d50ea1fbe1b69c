//! The help of the command line, and the verbs, options and defaults that scripts rely on.

#![expect(clippy::unwrap_used, reason = "a command that does not start fails the test")]

use std::process::Command as Process;

use clap::{Arg, Command};
use xdproof::cli::Cli;

/// Returns the help of a verb on a terminal of so many columns.
fn help_of(verb: &[&str], option: &str, columns: &str) -> String {
    let mut command = Process::new(env!("CARGO_BIN_EXE_xdproof"));
    let output = command.env("COLUMNS", columns).args(verb).arg(option).output().unwrap();
    assert!(output.status.success(), "{verb:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_short_help_fits_two_screens_of_80_by_24_with_one_line_an_option() {
    let command = Cli::definition();
    let verbs: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
    for verb in verbs.iter().map(std::slice::from_ref).chain([&[][..]]) {
        let help = help_of(verb, "-h", "80");
        assert!(help.lines().count() <= 48, "{} lines\n{help}", help.lines().count());
        assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
        // A description that does not fit goes on in its column.
        let is_continued = |line: &str| line.starts_with("             ");
        assert!(!help.lines().any(is_continued), "{help}");
    }
}

#[test]
fn no_line_of_the_long_help_is_longer_than_100_columns() {
    let command = Cli::definition();
    for verb in command.get_subcommands().map(Command::get_name) {
        let help = help_of(&[verb], "--help", "300");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
}

/// Returns the options as `-q --quiet`, each with its default behind `=`, and the operands in angle brackets.
fn options(command: &Command) -> String {
    let option = |arg: &Arg| {
        let short = arg.get_short().map(|short| format!("-{short} ")).unwrap_or_default();
        let name = arg.get_long().map_or_else(|| format!("<{}>", arg.get_id()), |long| format!("--{long}"));
        let default: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
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
                "--mode --injector --partition --most-frames --jobs --attach-semantics --nic=veth {devices} --keep \
                 {scenarios} {object} --expect-action=pass --out --report"
            ),
        ),
        (
            "test",
            format!(
                "<paths> --new --accept --fixture --mode --injector --jobs --object --program --pinned --program-id \
                 --reuse-pins {devices} --out --report"
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
        ("restore", "--discard".to_owned()),
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
fn the_help_names_every_verb() {
    let help = help_of(&[], "-h", "80");
    let verbs = Cli::definition();
    for verb in verbs.get_subcommands().map(Command::get_name).chain(["help"]) {
        let times = help.lines().filter(|line| line.starts_with(&format!("  {verb} "))).count();
        assert_eq!(times, 1, "{verb}\n{help}");
    }
}

#[test]
fn the_short_help_names_every_value_and_the_long_one_describes_it() {
    let command = Cli::definition();
    for arg in command.get_subcommands().chain([&command]).flat_map(Command::get_arguments) {
        let [short, long] = [arg.get_help(), arg.get_long_help()].map(|help| help.map(ToString::to_string));
        let default =
            arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect::<String>();
        let values = Some(arg.get_possible_values()).filter(|_| arg.get_action().takes_values());
        for value in values.unwrap_or_default() {
            let name = value.get_name();
            let is_named = short.as_ref().is_some_and(|help| help.contains(name)) || default.contains(name);
            let is_described = long.as_ref().is_some_and(|help| help.contains(&format!("\n- {name}")));
            assert!(is_named && is_described, "{}: {name}: {short:?} {long:?}", arg.get_id());
        }
    }
}

#[test]
fn a_former_name_of_an_option_still_works() {
    assert!(Cli::definition().try_get_matches_from(["xdproof", "validate", "--rules"]).is_ok());
}
